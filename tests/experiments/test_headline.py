"""The answer of a comparison in a line and a paragraph."""

from typing import Any

import pytest
from simulated_runs import compare, simulate_run

from flairprep.experiments import headline
from flairprep.experiments.runs import ExperimentRun


def runs(*settings: tuple[float, float], folds: int = 5) -> list[ExperimentRun]:
    """Return runs of settings, (lr, accuracy) each, on several folds."""
    return [simulate_run(f"{lr}{fold}", right, fold, lr=lr) for lr, right in settings for fold in range(folds)]


CASES: list[tuple[list[ExperimentRun], dict[str, Any], str, list[str]]] = [
    (runs((1e-4, 0.95)), {}, "One setting: learned", ["no other setting"]),
    (runs((1e-4, 0.95), (1e-5, 0.5)), {}, "lr=0.0001 is better than the other setting", ["better than lr=1e-05"]),
    (
        runs((1e-4, 0.97), (1e-5, 0.5), (1e-3, 0.55)),
        {},
        "lr=0.0001 is better than all 2 others",
        ["better than lr=1e-05 and lr=0.001"],
    ),
    (
        runs((1e-4, 0.95), (2e-4, 0.94), (1e-5, 0.5)),
        {},
        "lr=0.0001 is ahead, and better than 1 of 2 others",
        ["better than lr=1e-05", "cannot be told from lr=0.0002", "3 pairs"],
    ),
    (runs((1e-4, 0.8), (2e-4, 0.78)), {}, "Cannot tell which of 2 settings is best", ["told from", "1 pair."]),
    (runs((1e-4, 0.5), (2e-4, 0.5)), {}, "No evidence that any of 2 settings has learned", ["told from"]),
    (
        runs((1e-4, 0.95), (2e-4, 0.94), (1e-5, 0.5)),
        {"baseline": "lr=1e-05"},
        "2 of 2 settings differ from lr=1e-05",
        ["better than lr=1e-05", "2 pairs"],
    ),
]


@pytest.mark.parametrize(("given", "options", "title", "told"), CASES, ids=[case[2] for case in CASES])
def test_the_answer_says_whether_the_best_setting_differs(
    given: list[ExperimentRun], options: dict[str, Any], title: str, told: list[str]
) -> None:
    result = compare(*given, **options)
    best = headline.ranked(result)[0]
    assert best["auc"] == max(s["auc"] for s in result["settings"])
    assert headline.title(result) == title
    for part in told:
        assert part in headline.lead(result)


def test_of_one_network_each_nothing_is_said_of_the_settings() -> None:
    result = compare(*runs((1e-4, 0.95), (1e-5, 0.5), folds=1))
    assert "not of the settings" in headline.lead(result)
