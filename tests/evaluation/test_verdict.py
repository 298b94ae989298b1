"""verdict: what decides on it, the numbers of the test fold, and what the sentence tells."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from flairprep.evaluation.verdict import of_test_fold, sentence, verdict

NUMBERS: dict[str, Any] = {
    **{"accuracy": 0.75, "accuracy_low": 0.588, "accuracy_high": 0.873, "auc": 0.8, "auc_low": 0.65, "auc_high": 0.95},
    **{"brier": 0.19, "nir": 0.55, "p_nir": 0.0081, "predicted_positive": 0.5, "best_accuracy": 0.825, "best_epoch": 7},
    **{"p_auc": 0.012, "p_selection": 0.03, "p_within": None, "p_without_leaks": None, "n": 40, "verdict": "learned"},
    **{"better_than_nir": True, "leaked": 0, "prevalence": 0.45, "spread": 0.7, "declared_epochs": 3},
    **{
        f"{name}{end}": 0.7
        for name in ("sensitivity", "specificity", "balanced_accuracy")
        for end in ("", "_low", "_high")
    },
}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "learned"),
        ({"p_auc": 0.0499, "p_selection": 0.5}, "learned"),  # the best epoch is another question
        ({"p_auc": 0.0499, "better_than_nir": False}, "learned"),  # ranks, and is no more accurate than the NIR
        ({"p_auc": 0.05}, "no evidence"),
        ({"p_auc": 1.0, "p_within": 0.01}, "no evidence"),
        ({"p_within": 0.0499}, "learned"),
        ({"p_within": 0.05}, "learned (shortcut)"),
        ({"p_without_leaks": 0.0499}, "learned"),
        ({"p_without_leaks": 0.05, "p_within": 0.5}, "learned (leak)"),
        ({"predicted_positive": 0.0}, "learned (threshold off)"),
        ({"predicted_positive": 1.0, "p_within": 0.01}, "learned (threshold off)"),
        ({"predicted_positive": 0.0, "p_auc": 1.0}, "constant prediction"),
        ({"spread": 0.0099}, "constant prediction"),
        ({"spread": 0.01}, "learned"),
    ],
)
def test_the_verdict(changed: dict[str, Any], expected: str) -> None:
    assert verdict(NUMBERS | changed, alpha=0.05) == expected


def test_alpha_is_the_line() -> None:
    assert verdict(NUMBERS, alpha=0.012) == "no evidence"
    assert verdict(NUMBERS, alpha=0.0121) == "learned"


def test_a_run_without_a_test_fold_has_no_numbers_of_one() -> None:
    rows = pd.DataFrame(columns=["epoch", "case_id", "label", "probability"])
    assert of_test_fold(rows, pd.DataFrame({"case_id": [], "group": []})) == {}


def test_the_numbers_of_the_test_fold_are_those_of_its_one_epoch() -> None:
    y_true, y_prob = np.arange(20) % 2, np.random.default_rng(0).uniform(size=20).round(6)
    case_ids = [f"{case:05d}" for case in range(20)]
    rows = pd.DataFrame({"epoch": 9, "case_id": case_ids, "label": y_true, "probability": y_prob}).astype(str)
    numbers = of_test_fold(rows, pd.DataFrame({"case_id": case_ids, "group": case_ids}))
    right = int(((y_prob > 0.5) == y_true).sum())
    assert list(numbers) == ["test_accuracy", "test_auc", "test_auc_low", "test_auc_high", "test_p_nir"]
    assert numbers["test_accuracy"] == right / 20
    assert numbers["test_auc"] == pytest.approx(roc_auc_score(y_true, y_prob))
    assert numbers["test_p_nir"] == pytest.approx(binomtest(right, 20, 0.5, alternative="greater").pvalue)
    assert numbers["test_auc_low"] < numbers["test_auc"] < numbers["test_auc_high"]


def test_the_sentence_tells_the_verdict_and_its_numbers() -> None:
    text = sentence(NUMBERS, alpha=0.05)
    assert text.startswith("verdict: learned: ")
    for number in ("75.0%", "(58.8%-87.3%)", "0.800", "(0.650-0.950)", "55.0%", "0.0081", "epoch 7", "82.5%", "0.012"):
        assert number in text
    assert "reports/audit.json" not in text


@pytest.mark.parametrize(
    ("changed", "told", "untold"),
    [
        ({"p_within": 0.34}, ["0.34", "reports/audit.json"], []),
        ({"auc_low": None, "auc_high": None}, ["AUC 0.800\n"], ["0.650"]),
        ({"auc": None, "auc_low": None, "auc_high": None}, ["no AUC"], ["0.800", "0.650"]),
        ({"prevalence": 1.0}, ["55.0%"], ["80 % power"]),  # one label only: no AUC can be shown
        ({"leaked": 3, "p_without_leaks": 0.21}, ["3 of 40", "0.21", "split.group_column"], []),
        ({"sensitivity": None, "sensitivity_low": None, "sensitivity_high": None}, ["sensitivity -"], []),
    ],
)
def test_the_sentence_leaves_out_what_there_is_not(changed: dict[str, Any], told: list[str], untold: list[str]) -> None:
    text = sentence(NUMBERS | changed, alpha=0.05)
    assert all(part in text for part in told)
    assert not any(part in text for part in untold)
