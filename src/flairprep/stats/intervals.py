"""Confidence intervals of proportions and of the AUC."""

from collections.abc import Sequence

import numpy as np
import scipy  # its submodules load on first use; that of scipy.stats would take a second

from flairprep.stats.metrics import Array, auc, ranks


def clopper_pearson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a proportion (Clopper and Pearson 1934)."""
    tail = (1 - confidence) / 2
    low = scipy.special.betaincinv(correct, n - correct + 1, tail) if correct else 0.0
    high = scipy.special.betaincinv(correct + 1, n - correct, 1 - tail) if correct < n else 1.0
    return float(low), float(high)


def delong_variance(y_true: Array, y_prob: Array) -> float:
    """Return the variance of the AUC (DeLong, DeLong and Clarke-Pearson 1988), by ranks (Sun and Xu 2014).

    NaN with fewer than two cases of a class.
    """
    positive = np.asarray(y_true) > 0.5
    y_prob = np.asarray(y_prob, float)
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if n1 < 2 or n0 < 2:
        return float("nan")
    ranked = ranks(y_prob)
    placements_1 = (ranked[positive] - ranks(y_prob[positive])) / n0
    placements_0 = 1 - (ranked[~positive] - ranks(y_prob[~positive])) / n1
    return float(placements_1.var(ddof=1) / n1 + placements_0.var(ddof=1) / n0)


def pooled_auc(folds: Sequence[tuple[Array, Array]], confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the AUC over folds, from pairs of cases of the same fold, and its interval.

    The AUC is the folds' mean with weights w proportional to n1 * n0. The interval is +- z * sqrt(sum of w^2 * DeLong's
    variance), clipped to [0, 1]. Scores of different models are never compared: stacking them biases the AUC.

    Where all pairs agree (AUC 0 or 1) DeLong's variance is 0. The interval then holds every A with
    |AUC - A| <= z * sqrt(V(A)). V is Hanley and McNeil's variance with (n1 + n0) / 2 in place of n1 and n0 in its
    numerator (Newcombe, Statistics in Medicine 2006, method 5).

    Args:
        folds: (labels, probabilities) per fold; a fold with one class has no pairs and no weight.
        confidence: level of the interval.

    Returns:
        (auc, low, high). All are NaN where no fold has both classes. low and high are NaN where such a fold has fewer
        than two cases of a class, or where every score is constant.
    """
    paired = [(np.asarray(y_true) > 0.5, y_prob) for y_true, y_prob in folds if 0 < np.mean(y_true) < 1]
    if not paired:
        return (float("nan"),) * 3
    sizes = [(int(positive.sum()), int((~positive).sum())) for positive, _ in paired]
    pairs = np.array([n1 * n0 for n1, n0 in sizes])
    estimate = float(pairs @ [auc(*fold) for fold in paired] / pairs.sum())
    weights = pairs / pairs.sum()
    variance = float(weights**2 @ [delong_variance(*fold) for fold in paired])
    z = float(scipy.special.ndtri((1 + confidence) / 2))
    if variance > 0 or np.isnan(variance):
        half_width = z * float(np.sqrt(variance))
        return estimate, float(np.clip(estimate - half_width, 0, 1)), float(np.clip(estimate + half_width, 0, 1))
    means = [(n1 + n0) / 2 for n1, n0 in sizes]  # make the variance the same at A and 1 - A

    def excess(distance: float) -> float:
        variances = [
            mean**2 * hanley_mcneil_variance(1 - distance, mean, mean) / (n1 * n0)
            for mean, (n1, n0) in zip(means, sizes, strict=True)
        ]
        return distance - z * float(np.sqrt(weights**2 @ variances))

    distance = float(scipy.optimize.brentq(excess, 1e-12, 1))
    if estimate == 1:
        return 1.0, 1 - distance, 1.0
    return (0.0, 0.0, distance) if estimate == 0 else (estimate, np.nan, np.nan)


def hanley_mcneil_variance(area: float, n1: float, n0: float) -> float:
    """Return the variance of an AUC of true value `area` for n1 and n0 cases (Hanley and McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    numerator = area * (1 - area) + (n1 - 1) * (q1 - area**2) + (n0 - 1) * (q2 - area**2)
    return numerator / (n1 * n0)


def wilson(share: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share of n cases, which need not be a whole number (Wilson 1927)."""
    z = float(scipy.special.ndtri((1 + confidence) / 2))
    centre, half = share + z**2 / (2 * n), z * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    scale = 1 + z**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def newcombe_auc(
    area: float, sizes: Sequence[tuple[int, int]], *, factor: float = 1.0, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of an AUC: the values A with |area - A| <= z * sqrt(V(A)) (Newcombe 2006, method 5).

    V is Hanley and McNeil's variance with (n1 + n0) / 2 for n1 and n0 in its numerator. Over folds it is the variance
    of the mean weighted with their pairs of cases. NaN where no fold has both classes.

    Args:
        sizes: (n1, n0) of each fold.
        factor: multiplies the variance, as where folds share training cases.
    """
    sizes = [(n1, n0) for n1, n0 in sizes if n1 and n0]
    if not sizes:
        return (float("nan"),) * 2
    pairs = np.array([n1 * n0 for n1, n0 in sizes], float)
    weights, z = pairs / pairs.sum(), float(scipy.special.ndtri((1 + confidence) / 2))

    def half(true: float) -> float:
        means = [(n1 + n0) / 2 for n1, n0 in sizes]
        variances = [hanley_mcneil_variance(true, m, m) * m**2 / p for m, p in zip(means, pairs, strict=True)]
        return z * float(np.sqrt(factor * (weights**2 @ variances)))

    low = 0.0 if area <= 0 else float(scipy.optimize.brentq(lambda a: area - a - half(a), 0, min(area, 1 - 1e-12)))
    high = 1.0 if area >= 1 else float(scipy.optimize.brentq(lambda a: a - area - half(a), max(area, 1e-12), 1))
    return low, high
