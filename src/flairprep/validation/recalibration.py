"""Recalibrate in the large: move the logit of every probability by one number, and see what that is worth.

The number is fitted to the new cohort's labels; measures of recalibrated probabilities are therefore cross-validated:
each patient's number comes from the other patients (Steyerberg 2019, chapter 15).
"""

from dataclasses import dataclass

import numpy as np
import scipy  # its submodules load on first use

from flairprep.stats.metrics import EPSILON, Array

FOLDS = 10


@dataclass(frozen=True)
class Recalibration:
    """intercept: added to the logit, fitted to all cases. y_prob: (n_cases,), cross-validated probabilities."""

    intercept: float
    y_prob: Array


def fit_intercept(y_true: Array, y_prob: Array) -> float:
    """Return the number to add to logit(y_prob), both (n_cases,), so that they sum to the labels' sum.

    It is the maximum likelihood estimate with slope 1. NaN for one label only.
    """
    total = float(np.sum(y_true))
    if not 0 < total < len(y_true):
        return float("nan")
    logits = _logit(y_prob)
    span = float(np.abs(logits).max()) + float(np.log(len(y_true))) + 1
    return float(
        scipy.optimize.brentq(lambda a: scipy.special.expit(logits + a).sum() - total, -span, span, xtol=1e-10)
    )


def moved(y_prob: Array, intercept: float) -> Array:
    """Return the probabilities with logits moved by `intercept`."""
    return np.asarray(scipy.special.expit(_logit(y_prob) + intercept))


def recalibrate(y_true: Array, y_prob: Array, patients: Array, seed: int = 0) -> Recalibration | None:
    """Recalibrate in the large, by cross-validation over patients.

    Args:
        y_true, y_prob, patients: (n_cases,); cases of a patient stay in one fold.
        seed: of the folds, which hold like shares of each label.

    Returns:
        None where fewer than two patients have a label.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second

    fewest = min(len(np.unique(patients[y_true == label])) for label in (0, 1))
    if fewest < 2:
        return None
    intercept, across = fit_intercept(y_true, y_prob), np.empty(len(y_prob))
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    for rest, part in folds.split(y_prob, y_true, patients):
        own = fit_intercept(y_true[rest], y_prob[rest])
        across[part] = moved(y_prob[part], intercept if np.isnan(own) else own)
    return Recalibration(intercept, across)


def _logit(y_prob: Array) -> Array:
    return np.asarray(scipy.special.logit(np.clip(np.asarray(y_prob, float), EPSILON, 1 - EPSILON)))
