"""Confidence intervals of shares and of the AUC."""

from collections.abc import Sequence

import numpy as np
import scipy  # whose parts come when they are first used

from flairprep.stats.metrics import Array, auc


def clopper_pearson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson 1934)."""
    interval = scipy.stats.binomtest(correct, n).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def delong_variance(y_true: Array, y_prob: Array) -> float:
    """Variance of the AUC (DeLong, DeLong and Clarke-Pearson 1988), by ranks (Sun and Xu 2014).

    NaN with fewer than two cases of a class.
    """
    ones = np.asarray(y_true) > 0.5
    y_prob = np.asarray(y_prob, float)
    n1, n0 = int(ones.sum()), int((~ones).sum())
    if n1 < 2 or n0 < 2:
        return float("nan")
    ranks = scipy.stats.rankdata(y_prob)
    of_ones = (ranks[ones] - scipy.stats.rankdata(y_prob[ones])) / n0
    of_zeros = 1 - (ranks[~ones] - scipy.stats.rankdata(y_prob[~ones])) / n1
    return float(of_ones.var(ddof=1) / n1 + of_zeros.var(ddof=1) / n0)


def auc_interval(y_true: Array, y_prob: Array, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of `pooled_auc` for a single fold: NaN with fewer than two cases of a class, or a constant score."""
    return pooled_auc([(y_true, y_prob)], confidence)[1:]


def pooled_auc(folds: Sequence[tuple[Array, Array]], confidence: float = 0.95) -> tuple[float, float, float]:
    """AUC over folds, from pairs of cases of the same fold, and its interval.

    The folds' AUC averaged with weights w proportional to n1 x n0, +- z * sqrt(sum of w^2 * DeLong's variance), cut to
    [0, 1]. Scores of different models are never compared: stacked over folds they bias the AUC.

    Where all pairs agree (AUC 0 or 1) DeLong's variance is 0 and says nothing; then the values A for which
    |AUC - A| <= z * sqrt(V(A)) are taken instead, V being Hanley and McNeil's variance with (n1 + n0) / 2 for n1 and n0
    in its numerator (Newcombe, Statistics in Medicine 2006, method 5).

    Args:
        folds: of each fold the labels and the probabilities; a fold with one class only has no pairs and no weight.

    Returns:
        (auc, low, high). low and high are NaN where a fold with both classes has fewer than two cases of one, and where
        every score is constant; auc too where no fold has both classes.
    """
    paired = [(np.asarray(y_true) > 0.5, y_prob) for y_true, y_prob in folds if 0 < np.mean(y_true) < 1]
    if not paired:
        return (float("nan"),) * 3
    sizes = [(int(ones.sum()), int((~ones).sum())) for ones, _ in paired]
    pairs = np.array([n1 * n0 for n1, n0 in sizes])
    estimate = float(pairs @ [auc(*fold) for fold in paired] / pairs.sum())
    weights = pairs / pairs.sum()
    variance = float(weights**2 @ [delong_variance(*fold) for fold in paired])
    z = float(scipy.stats.norm.ppf((1 + confidence) / 2))
    if variance > 0 or np.isnan(variance):
        half = z * float(np.sqrt(variance))
        return estimate, float(np.clip(estimate - half, 0, 1)), float(np.clip(estimate + half, 0, 1))
    means = [(n1 + n0) / 2 for n1, n0 in sizes]  # make the variance the same at A and 1 - A

    def outside(distance: float) -> float:
        of_folds = [
            mean**2 * hanley_mcneil_variance(1 - distance, mean, mean) / (n1 * n0)
            for mean, (n1, n0) in zip(means, sizes, strict=True)
        ]
        return distance - z * float(np.sqrt(weights**2 @ of_folds))

    far = float(scipy.optimize.brentq(outside, 1e-12, 1))
    return (1.0, 1 - far, 1.0) if estimate == 1 else (0.0, 0.0, far) if estimate == 0 else (estimate, np.nan, np.nan)


def hanley_mcneil_variance(area: float, n1: float, n0: float) -> float:
    """Variance of an AUC of true value `area` for n1 and n0 cases (Hanley and McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n1 - 1) * (q1 - area**2) + (n0 - 1) * (q2 - area**2)
    return spread / (n1 * n0)
