"""The methods to paste: their numbers follow the params and the tables."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flairprep.card import cohort, data_passages, methods, model_passages
from flairprep.card.facts import RunFacts
from flairprep.report.provenance import Commit

Paragraph = Callable[..., str]


@pytest.fixture
def paragraph(finished: RunFacts) -> Paragraph:
    """Return the paragraph of the run with params changed: section={key: value} or key=value."""

    def write(run: RunFacts = finished, **changed: Any) -> str:
        values = {key: {**run.values[key], **v} if isinstance(v, dict) else v for key, v in changed.items()}
        run = replace(run, values={**run.values, **values})
        described = cohort.describe(run)
        return methods.text(data_passages.passages(run, described) | model_passages.passages(run, described))

    return write


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"normalize": {"intensity": "percentile"}}, "1st and 99th percentiles"),
        ({"normalize": {"intensity": "white_stripe"}}, "[@stripe]"),
        ({"normalize": {"clip": 4.5}}, "[-4.5, 4.5]"),
        ({"normalize": {"bias_field": "n4"}}, "[@n4]"),
        ({"normalize": {"background": -7}}, "set to -7"),
        ({"normalize": {"orientation": "RAS"}}, "RAS"),
        ({"ingest": {"min_slices": 13}}, "13 slices"),
        ({"ingest": {"exclude": {"a": "b", "c": "d"}}}, "params.yaml: 2."),
        ({"split": {"folds": 7}}, "7 folds"),
        ({"split": {"seed": 41}}, "seed 41"),
        ({"split": {"group_column": "site"}}, "one site in one fold"),
        ({"split": {"stratify_by": ["label", "plane"]}}, "label and plane"),
        ({"lr": 0.00025}, "0.00025"),
        ({"batch_size": 8, "train": {"scale_lr": "linear"}}, "0.0002 "),
        ({"epochs": 77}, "77 epochs"),
        ({"seed": 1234}, "Seed 1234"),
        ({"train": {"augment": "none"}}, "no augmentation"),
        ({"train": {"class_weight": "balanced"}}, "classes weighted equally"),
        ({"train": {"patience": 9}}, "after 9 epochs"),
        ({"train": {"schedule": "cosine"}}, "[@cosine]"),
        ({"model": {"filters": [3, 5]}}, "3 and 5 filters"),
        ({"model": {"norm": "group"}}, "[@groupnorm]"),
        ({"model": {"dropout": 0.35}}, "0.35"),
        ({"model": {"name": "tutorial_cnn"}}, "[@zunair]"),
        ({"evaluate": {"permutations": 12345}}, "12,345 permutations"),
        ({"evaluate": {"alpha": 0.01}}, "level 0.01"),
        ({"audit": {"permutations": 6789}}, "6,789 permutations"),
    ],
)
def test_a_changed_param_changes_the_paragraph(changed: dict, words: str, paragraph: Paragraph) -> None:
    assert words not in paragraph()
    assert words in paragraph(**changed)


def test_without_a_map_nothing_is_clipped(paragraph: Paragraph) -> None:
    assert "cut to" in paragraph()
    assert "cut to" not in paragraph(normalize={"intensity": "none"})


def test_slices_and_spacing_are_those_of_the_volumes(paragraph: Paragraph, finished: RunFacts) -> None:
    assert "8 axial slices" in paragraph()
    assert "16 x 16 pixels" in paragraph()
    assert "spacing 1 mm in the plane and 2 mm between slices" in paragraph()
    wider = replace(finished, spacings=[(1.5, 1.5, 2.0), (1.25, 1.25, 2.0), (1.75, 1.75, 2.0)])
    assert "1.5 (1.25 to 1.75) mm in the plane" in paragraph(wider)


def test_epochs_that_ran_and_versions_are_told(paragraph: Paragraph, finished: RunFacts) -> None:
    run = replace(finished, epochs=17, packages={"Python": "3.99.1", "numpy": "9.8.7"})
    assert "17 of at most" in paragraph(run)
    assert "Python 3.99.1 and numpy 9.8.7" in paragraph(run)


def test_several_scans_of_a_patient_take_another_interval(paragraph: Paragraph, finished: RunFacts) -> None:
    assert "[@clopper]" in paragraph()
    split = finished.split.copy()
    validated = split.index[split["fold"] == "0"][:2]
    split.loc[validated, "group"] = split.loc[validated[0], "group"]
    assert "[@wilson]" in paragraph(replace(finished, split=split))


def test_a_commit_with_later_edits_says_so(finished: RunFacts) -> None:
    run = replace(finished, commit=Commit("c0ffee", "2026-01-02", ("params.yaml",)))
    told = model_passages.passages(run, cohort.describe(run))["code"]
    assert all(word in told for word in ("c0ffee", "2026-01-02", "params.yaml"))
