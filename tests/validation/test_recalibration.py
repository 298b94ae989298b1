"""Recalibration in the large: the estimate, what it is worth on new patients, and where there is none."""

import numpy as np
import pytest
from scipy.special import expit, logit

from flairprep.stats import metrics
from flairprep.stats.clinical import calibration
from flairprep.validation.recalibration import fit_intercept, moved, recalibrate


def simulated(n: int = 300, offset: float = 1.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities that are too low by `offset` in logits, and patients."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.2, n)
    return (rng.uniform(size=n) < expit(logits)).astype(int), expit(logits - offset), np.arange(n)


def test_the_intercept_is_calibration_in_the_large() -> None:
    y_true, y_prob, patients = simulated()
    intercept = fit_intercept(y_true, y_prob)
    assert intercept == pytest.approx(calibration(y_true, y_prob, patients)[0].value, abs=1e-6)
    assert moved(y_prob, intercept).mean() == pytest.approx(y_true.mean())
    assert intercept == pytest.approx(1.5, abs=0.3)


def test_it_makes_new_probabilities_better_and_keeps_their_order() -> None:
    y_true, y_prob, patients = simulated()
    done = recalibrate(y_true, y_prob, patients)
    assert done is not None
    assert metrics.brier(y_true, done.y_prob) < metrics.brier(y_true, y_prob) - 0.03
    assert np.corrcoef(logit(done.y_prob), logit(y_prob))[0, 1] > 0.99
    assert calibration(y_true, done.y_prob, patients)[0].value == pytest.approx(0, abs=0.1)


def test_probabilities_that_were_right_get_no_better() -> None:
    """Its effect is told from cases that it was not fitted to: the fit itself would always look better."""
    worse = 0
    for seed in range(20):
        y_true, y_prob, patients = simulated(40, 0.0, seed)
        done = recalibrate(y_true, y_prob, patients)
        assert done is not None
        worse += metrics.log_loss(y_true, done.y_prob) > metrics.log_loss(y_true, y_prob)
        assert metrics.log_loss(y_true, moved(y_prob, done.intercept)) <= metrics.log_loss(y_true, y_prob)
    assert worse >= 10


def test_a_patients_own_cases_do_not_enter_its_number() -> None:
    y_true, y_prob, _ = simulated(60)
    patients = np.arange(60) // 3
    y_true = y_true[patients * 3]
    done = recalibrate(y_true, y_prob, patients)
    assert done is not None
    shifts = np.round(logit(done.y_prob) - logit(y_prob), 8).reshape(20, 3)
    assert (shifts == shifts[:, :1]).all()
    assert len(np.unique(shifts)) > 1


@pytest.mark.parametrize("y_true", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]])
def test_without_two_patients_of_each_label_there_is_none(y_true: list[int]) -> None:
    assert recalibrate(np.array(y_true), np.array([0.1, 0.4, 0.5, 0.8]), np.arange(4)) is None
