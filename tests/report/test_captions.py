"""Sentences: declared numbers, their intervals, and nothing where there is nothing."""

import math
import re

import pytest
from scipy.stats import binom

from flairprep.report import captions

METRICS = {
    **{"accuracy": 0.75, "accuracy_low": 0.476229, "accuracy_high": 0.927338, "auc": 0.9, "auc_low": 0.7},
    **{"auc_high": 1.0, "nir": 0.5, "n": 16, "verdict": "learned", "best_accuracy": 0.875, "best_epoch": 29},
    **{"p_auc": 0.0012, "p_selection": 0.0056, "p_within": None, "leaked": 0, "brier": 0.1, "predicted_positive": 0.25},
}


def test_the_verdict_is_one_sentence_with_the_declared_numbers_only() -> None:
    text = captions.verdict(METRICS)
    assert re.fullmatch(r"[^.]*(\.\d[^.]*)*\.", text), "one full stop, at the end"
    assert "75.0 % (95 % interval 47.6 % to 92.7 %) of 16" in text
    assert "AUC 0.900 (95 % interval 0.700 to 1.000)" in text
    assert "87.5" not in text


@pytest.mark.parametrize("verdict", captions.MEANING)
def test_every_verdict_has_its_words(verdict: str) -> None:
    assert captions.verdict(METRICS | {"verdict": verdict}).startswith(captions.MEANING[verdict])


def test_no_evidence_is_not_called_no_signal() -> None:
    assert "no signal" not in captions.MEANING["no evidence"]


def test_the_selected_epoch_stands_beside_its_luck() -> None:
    text = captions.significance(METRICS, 0.05)
    assert "87.5 %" in text
    assert "0.0056" in text
    assert "0.0012" in text
    assert "p_without_leaks" not in text
    assert "(p_without_leaks)" in captions.significance(METRICS | {"leaked": 2, "p_without_leaks": 0.3}, 0.05)
    assert "p_within" not in text
    assert "0.2 (p_within)" in captions.significance(METRICS | {"p_within": 0.2}, 0.05)


def test_the_smallest_effect_is_found_in_four_of_five_studies() -> None:
    """By the definition: the exact test against the NIR rejects with a chance of 0.8 there."""
    text = captions.smallest_effect(60, 57, 0.05)
    accuracy = float(re.search(r"accuracy of ([\d.]+) %", text).group(1)) / 100  # type: ignore[union-attr]
    critical = next(k for k in range(118) if binom.sf(k - 1, 117, 60 / 117) <= 0.05)
    assert binom.sf(critical - 1, 117, accuracy) == pytest.approx(0.8, abs=0.02)
    assert "AUC" in text


@pytest.mark.parametrize(("ones", "zeros"), [(3, 0), (0, 3), (1, 1)])
def test_too_few_cases_show_nothing(ones: int, zeros: int) -> None:
    assert not re.search(r"(accuracy|AUC) of", captions.smallest_effect(ones, zeros, 0.05))


def test_without_an_auc_the_sentence_says_why() -> None:
    assert captions.area(None, None, None) == "no AUC, since there is one label only"
    assert captions.area(0.5, None, None) == "AUC 0.500"
    assert "no ROC curve" in captions.roc(METRICS | {"auc": None}, None)


def test_what_the_network_has_to_beat_is_named() -> None:
    assert "above it" in captions.baselines(["geometry", "header fields"], ("geometry", 0.6), 0.7)
    assert "not above it" in captions.baselines(["geometry"], ("geometry", 0.6), 0.6)
    assert "network" not in captions.baselines(["geometry"], ("geometry", 0.6), None)
    assert "No classifier" in captions.baselines([], None, 0.9)


def test_a_loss_above_the_priors_is_told() -> None:
    assert "above" in captions.loss_by_epoch(0.69, 0.8)
    assert "above" not in captions.loss_by_epoch(0.69, 0.5)


def test_no_sentence_holds_nan() -> None:
    assert "nan" not in captions.share(None, None, None) + captions.smallest_effect(2, 1, 0.05)
    assert not math.isnan(len(captions.NO_RUN))
