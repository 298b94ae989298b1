"""What chance reaches in a search: the best of several epochs, of several settings, on labels that nothing predicts."""

import math
from collections.abc import Sequence

import numpy as np
import scipy  # whose parts come when they are first used

from flairprep.stats.metrics import Array

CORRELATIONS = (0.0, 0.5, 0.9, 0.99)  # of one case's score in consecutive epochs: from erratic curves to smooth ones
RUNS = 4000


def best_of_epochs(n: int, epochs: int, correlation: float, *, runs: int = RUNS, seed: int = 0) -> Array:
    """Simulate how many of n cases the best of `epochs` gets right where nothing can be learned; (runs,), sorted.

    Each case's score is a stationary Gaussian AR(1) over the epochs, right where it is positive: a classifier that
    guesses either label as often.
    """
    rng = np.random.default_rng([seed, n, epochs, round(1000 * correlation)])
    score = rng.standard_normal((runs, n), np.float32)
    best = (score > 0).sum(axis=1)
    fresh = np.float32(math.sqrt(1 - correlation**2))
    for _ in range(epochs - 1):
        score *= np.float32(correlation)
        score += fresh * rng.standard_normal(score.shape, np.float32)
        np.maximum(best, (score > 0).sum(axis=1), out=best)
    return np.sort(best)


def best_of_settings(best: Array, right: int, settings: int) -> float:
    """Return P(the best of independent `settings` gets `right` cases or more), from `best_of_epochs` of one."""
    return 1 - (1 - float(np.mean(best >= right))) ** settings


def mcnemar_range(right_a: int, right_b: int, n: int, shares: Sequence[float]) -> tuple[float, float]:
    """Return the least and the largest p of exact McNemar tests of two accuracies, over the shares of discordant cases.

    Of m = share * n cases that exactly one setting gets right, (m + |a - b|) / 2 speak for the better one. Shares that
    the accuracies exclude are left out: m is at least |a - b| and at most a + b and 2n - a - b.
    """
    gap = abs(right_a - right_b)
    most = min(right_a + right_b, 2 * n - right_a - right_b, n)
    p_values = []
    for share in shares:
        m = min(max(round(share * n), gap), most)
        m -= (m - gap) % 2
        p_values.append(float(scipy.stats.binomtest((m + gap) // 2, m).pvalue) if m else 1.0)
    return min(p_values), max(p_values)
