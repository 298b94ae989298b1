"""Measures of a binary classifier as clinical papers report them, with 95 % intervals (STARD 2015, TRIPOD+AI 2024).

y_true is 0 or 1, y_prob the probability of 1, both (n_cases,); cases of a patient are correlated, and their intervals
are wider by the design effect. A measure that cannot be had (one label only, say) is NaN.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy  # whose parts come when they are first used

from flairprep.stats import intervals
from flairprep.stats.bootstrap import draw_weights
from flairprep.stats.metrics import EPSILON, Array

N_BOOTSTRAP = 2000
Z = 1.959963984540054  # of a 95 % interval


class Measure(NamedTuple):
    """A number and its interval."""

    value: float
    low: float
    high: float


NONE = Measure(math.nan, math.nan, math.nan)


def share(right: Array, patients: Array, confidence: float = 0.95) -> Measure:
    """Return the mean of a 0-1 variable: Clopper and Pearson's interval, Wilson's where patients have several cases."""
    n = len(right)
    if not n:
        return NONE
    value = float(np.mean(right))
    _, of_case = np.unique(patients, return_inverse=True)
    sums = np.bincount(of_case, weights=np.asarray(right, float) - value)
    if len(sums) == n:
        return Measure(value, *intervals.clopper_pearson(int(np.sum(right)), n, confidence))
    plain = value * (1 - value) / n
    clustered = float((sums**2).sum()) / n**2 * len(sums) / max(len(sums) - 1, 1)
    effective = n * plain / clustered if plain > 0 and clustered > 0 else len(sums)
    return Measure(value, *intervals.wilson(value, effective, confidence))


def net_benefit(y_true: Array, y_prob: Array, patients: Array, threshold: float) -> Measure:
    """Return the net benefit of treating where y_prob > threshold: TP/n - FP/n t/(1 - t) (Vickers and Elkin 2006).

    It is a mean over cases, so its interval is that of a mean, by patient; normal.
    """
    ones = np.asarray(y_true) > 0.5
    worth = np.where(ones, 1.0, -threshold / (1 - threshold)) * (np.asarray(y_prob) > threshold)
    n, value = len(worth), float(worth.mean())
    _, of_case = np.unique(patients, return_inverse=True)
    sums = np.bincount(of_case, weights=worth - value)
    error = math.sqrt(float((sums**2).sum()) * len(sums) / max(len(sums) - 1, 1)) / n
    return Measure(value, value - Z * error, value + Z * error)


def balanced_accuracy(sensitivity: Measure, specificity: Measure) -> Measure:
    """Return the mean of the two, its interval from theirs (MOVER: Zou and Donner 2008)."""
    value = (sensitivity.value + specificity.value) / 2
    below = math.hypot(sensitivity.value - sensitivity.low, specificity.value - specificity.low) / 2
    above = math.hypot(sensitivity.high - sensitivity.value, specificity.high - specificity.value) / 2
    return Measure(value, value - below, value + above)


def predictive_value(hit: Measure, false: Measure, prevalence: float) -> Measure:
    """Return P(disease | test) at a prevalence: hit * prevalence / (hit * prevalence + false * (1 - prevalence)).

    The interval is that of the logit of hit / false, by the delta method (Mercaldo, Lau and Zhou 2007), with the
    variance of each share read off its own interval.

    Args:
        hit: sensitivity for a positive test, specificity for a negative one.
        false: the share of the other class with the same result.
        prevalence: of what the result speaks for.
    """
    if not 0 < prevalence < 1 or math.isnan(hit.value + false.value):
        return NONE
    total = hit.value * prevalence + false.value * (1 - prevalence)
    if not total:
        return NONE
    value = hit.value * prevalence / total
    if not (hit.value and false.value):  # no logit: the bounds of both shares
        odds = prevalence / (1 - prevalence)
        low = hit.low * odds / (hit.low * odds + false.high)
        high = hit.high * odds / (hit.high * odds + false.low)
        return Measure(value, low, high)
    error = math.hypot(_log_error(hit), _log_error(false))
    logit = scipy.special.logit(value)
    return Measure(value, float(scipy.special.expit(logit - Z * error)), float(scipy.special.expit(logit + Z * error)))


def _log_error(one: Measure) -> float:
    """Return the standard error of the log of a share, from its interval."""
    return (math.log(one.high) - math.log(max(one.low, 1e-9))) / (2 * Z)


def matthews(y_true: Array, y_prob: Array, patients: Array, *, seed: int = 0) -> Measure:
    """Return Matthews' correlation of prediction and label, 0 where one is constant; bootstrap over patients."""
    ones, positive = np.asarray(y_true) > 0.5, np.asarray(y_prob) > 0.5
    cells = np.stack([ones & positive, ~ones & ~positive, ~ones & positive, ones & ~positive], axis=1).astype(float)
    tp, tn, fp, fn = (draw_weights(patients, N_BOOTSTRAP, seed) @ cells).T
    norm = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    values = np.divide(tp * tn - fp * fn, norm, out=np.zeros(len(norm)), where=norm > 0)
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Measure(float(values[0]), float(low), float(high))


def average_precision(y_true: Array, y_prob: Array) -> Measure:
    """Return the area under the precision-recall steps; the logit interval of Boyd, Eng and Page (2013)."""
    ones = np.asarray(y_true) > 0.5
    n = int(ones.sum())
    if not n:
        return NONE
    order = np.argsort(-np.asarray(y_prob, float), kind="stable")
    scores, hits = np.asarray(y_prob, float)[order], np.cumsum(ones[order])
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # the last case of each score
    precision = hits[last] / (last + 1)
    value = float((np.diff(hits[last], prepend=0) * precision).sum() / n)
    if value in (0.0, 1.0):
        return Measure(value, math.nan, math.nan)
    logit, error = scipy.special.logit(value), 1 / math.sqrt(n * value * (1 - value))
    return Measure(value, float(scipy.special.expit(logit - Z * error)), float(scipy.special.expit(logit + Z * error)))


def calibration(y_true: Array, y_prob: Array, patients: Array) -> tuple[Measure, Measure]:
    """Return calibration intercept and slope (Cox 1958): of a logistic regression of the label on the logit of y_prob.

    The intercept is that with slope 1 (calibration in the large), ideal 0; the slope is ideal 1, below it predictions
    are too extreme. Wald intervals, robust to correlated cases of a patient (Liang and Zeger 1986). NaN for one label
    only, for constant probabilities (the slope), and where the labels are separated.
    """
    y = np.asarray(y_true, float)
    if len(np.unique(y)) < 2:
        return NONE, NONE
    logit = scipy.special.logit(np.clip(np.asarray(y_prob, float), EPSILON, 1 - EPSILON))
    intercept = _logistic(np.ones((len(y), 1)), y, logit, patients)[0]
    if np.ptp(logit) < 1e-6:
        return intercept, NONE
    return intercept, _logistic(np.stack([np.ones(len(y)), logit], axis=1), y, np.zeros(len(y)), patients)[1]


def _logistic(design: Array, y: Array, offset: Array, patients: Array) -> list[Measure]:
    """Return the coefficients of a logistic regression by Newton's method, with cluster-robust Wald intervals."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(50):
        p = scipy.special.expit(design @ coefficients + offset)
        hessian = design.T @ (design * (p * (1 - p))[:, None])
        if np.linalg.cond(hessian) > 1e12:
            return [NONE] * design.shape[1]
        step = np.linalg.solve(hessian, design.T @ (y - p))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            break
    else:
        return [NONE] * design.shape[1]
    _, of_case = np.unique(patients, return_inverse=True)
    scores = np.zeros((of_case.max() + 1, design.shape[1]))
    np.add.at(scores, of_case, design * (y - p)[:, None])
    bread, groups = np.linalg.inv(hessian), len(scores)
    meat = scores.T @ scores * groups / max(groups - 1, 1) if groups < len(y) else hessian
    errors = np.sqrt(np.diag(bread @ meat @ bread))
    return [Measure(float(c), float(c - Z * e), float(c + Z * e)) for c, e in zip(coefficients, errors, strict=True)]


def clinical_measures(
    y_true: Array, y_prob: Array, patients: Array, *, prevalence: float | None = None, seed: int = 0
) -> dict[str, Measure]:
    """Return all measures by name, at the threshold 0.5 where one is needed.

    Args:
        prevalence: of label 1 where the network would be used, for the predictive values; None: the cases' own.
    """
    ones, positive = np.asarray(y_true) > 0.5, np.asarray(y_prob, float) > 0.5
    patients = np.asarray(patients)
    sensitivity = share(positive[ones], patients[ones])
    specificity = share(~positive[~ones], patients[~ones])
    at = float(ones.mean()) if prevalence is None else prevalence
    missed, alarmed = _complement(sensitivity), _complement(specificity)
    intercept, slope = calibration(y_true, y_prob, patients)
    return {
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy": balanced_accuracy(sensitivity, specificity),
        "mcc": matthews(y_true, y_prob, patients, seed=seed),
        "average_precision": average_precision(y_true, y_prob),
        "calibration_intercept": intercept,
        "calibration_slope": slope,
        "ppv": predictive_value(sensitivity, alarmed, at),
        "npv": predictive_value(specificity, missed, 1 - at),
    }


def _complement(one: Measure) -> Measure:
    return Measure(1 - one.value, 1 - one.high, 1 - one.low)
