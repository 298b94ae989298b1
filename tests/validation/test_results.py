"""The numbers of an external validation, from predictions made by hand: sklearn, failures, one label."""

import json

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score
from validations import SECTION, applied, found, made

from flairprep.core.errors import FlairprepError
from flairprep.experiments.run_reports import Laid
from flairprep.report.provenance import Identity as RunIdentity
from flairprep.validation import page
from flairprep.validation.results import COLUMNS, Validation, validate


def rendered(validation: Validation, name: str) -> str:
    network = page.Network(name, RunIdentity("a cohort", None, "", "1.0", ()), Laid("", "", ""))
    return page.render(validation, page.draw(validation), network)


@pytest.fixture(scope="module")
def numbers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(60) % 2)
    return labels, np.clip(0.25 + 0.2 * labels + rng.normal(0, 0.15, 60), 0.01, 0.99)


def test_measures_are_those_of_sklearn_on_labelled_cases(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    content = made(*numbers).content
    assert content["measures"]["auc"] == pytest.approx(roc_auc_score(*numbers), abs=1e-6)
    assert content["measures"]["brier"] == pytest.approx(brier_score_loss(*numbers), abs=1e-6)
    assert content["measures"]["auc_low"] < content["measures"]["auc"] < content["measures"]["auc_high"]
    assert content["cases"] == {"found": 62, "failed": 1, "without_label": 1, "measured": 60}
    assert content["development"] == {"n": 30, "auc": 0.9}
    assert not {"best_epoch", "p_selection"} & set(content["measures"])


def test_leaked_cases_are_scored_apart(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, y_prob = numbers
    content = made(labels, y_prob).content
    kept = np.arange(60) != 2
    assert content["measures"]["leaked"] == 1
    assert content["measures"]["auc_without_leaks"] == pytest.approx(
        roc_auc_score(labels[kept], y_prob[kept]), abs=1e-6
    )
    assert content["leaks"][0]["matches"][0]["fold"] == "3"
    assert len(content["flags"]) == 2
    assert made(labels, y_prob, clean=True).content["flags"] == []


def test_recalibration_is_told_before_and_after(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    calibration = made(*numbers).content["calibration"]
    before, after = calibration["before"], calibration["after"]
    assert before["expected_over_observed"] == pytest.approx(numbers[1].mean() / numbers[0].mean(), abs=1e-5)
    assert abs(after["intercept"]) < abs(before["intercept"])
    assert after["brier"] < before["brier"]


def test_every_case_is_a_row_and_a_failed_one_has_no_probability(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    rows = {row["case_id"]: row for row in made(*numbers).rows}
    assert len(rows) == 62
    assert all(tuple(row) == COLUMNS for row in rows.values())
    assert (rows["c99"]["status"], rows["c99"]["code"], rows["c99"]["probability"]) == ("failed", "NOT_DICOM", "")
    assert (rows["c98"]["label"], rows["c98"]["probability"]) == ("", "0.5000000")
    assert (rows["c02"]["leak"], rows["c01"]["outside"]) == ("study", "size_z -5.0 SD")


def test_groups_hold_their_cases(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    labels, y_prob = numbers
    groups = {(row["by"], row["value"]): row for row in made(labels, y_prob).content["subgroups"]}
    own = groups["manufacturer", "ge"]
    assert own["label_0"] + own["label_1"] == 30
    assert own["auc"] == pytest.approx(roc_auc_score(labels[::2], y_prob[::2]), abs=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_has_no_auc_and_no_recalibration_but_a_page(label: int) -> None:
    validation = made(np.full(12, label), np.linspace(0.1, 0.9, 12))
    content = validation.content
    assert content["measures"]["auc"] is None
    assert content["measures"]["p_auc"] == 1
    assert content["calibration"]["after"] is None
    json.dumps(content, allow_nan=False)
    assert "<h2" in rendered(validation, "the workspace")


def test_the_page_holds_findings_and_no_identity(numbers: tuple[np.ndarray, np.ndarray]) -> None:
    validation = made(*numbers)
    text = rendered(validation, "<run>")
    assert "&lt;run&gt;" in text
    assert "size_z" in text
    assert "t05" in text
    assert "NOT_DICOM" in text
    for output in (text, json.dumps(validation.content), str(validation.rows)):
        assert "secret" not in output


def test_without_a_labelled_case_that_was_predicted_there_is_no_validation() -> None:
    cohort = applied(np.array([]), np.array([]))
    with pytest.raises(FlairprepError):
        validate(cohort, found(cohort, clean=True), SECTION, {}, {})
