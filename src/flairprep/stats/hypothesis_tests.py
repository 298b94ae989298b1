"""Exact and corrected hypothesis tests."""

import math

import numpy as np
import scipy  # its submodules load on first use; that of scipy.stats would take a second

from flairprep.core.errors import FlairprepError
from flairprep.stats.metrics import Array

MIN_DIFFERENCES = 10  # fewer estimate their variance too badly for Nadeau and Bengio's test


def binomial_p_value(correct: int, n: int, rate: float) -> float:
    """Return P(X >= correct) for X ~ Binomial(n, rate), the exact one-sided test of an accuracy against `rate`.

    caret's confusionMatrix calls it "P-Value [Acc > NIR]".
    """
    return float(scipy.special.betainc(correct, n - correct + 1, rate)) if correct > 0 else 1.0


def grouped_p_value(correct: int, groups: Array, rate: float) -> float:
    """Return P(at least `correct` right) where the cases of a group, a patient, are right or wrong together.

    Exact if the cases of a group agree. Any other dependence within groups spreads the count of right cases less
    (Frechet and Hoeffding's bound). The test is then conservative at the levels in use. Groups of one case give
    `binomial_p_value`.

    Args:
        correct: number of right cases.
        groups: (n_cases,).
        rate: probability that a case is right under the null hypothesis.
    """
    distribution = np.ones(1)  # P(number right) over the groups so far
    for size in np.unique(groups, return_counts=True)[1].tolist():
        padding = np.zeros(size)
        distribution = (1 - rate) * np.append(distribution, padding) + rate * np.append(padding, distribution)
    return min(1.0, float(distribution[correct:].sum()))


def mcnemar_p_value(correct_a: Array, correct_b: Array) -> float:
    """Test whether two settings have the same accuracy on the same cases: exact two-sided McNemar (1947).

    Under the null hypothesis each setting gets half of the discordant cases right. Without any, p is 1.

    Args:
        correct_a, correct_b: (n_cases,), bool.
    """
    only_a = int(np.sum(np.asarray(correct_a, bool) & ~np.asarray(correct_b, bool)))
    only_b = int(np.sum(np.asarray(correct_b, bool) & ~np.asarray(correct_a, bool)))
    discordant, fewer = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * sum(math.comb(discordant, k) for k in range(fewer + 1)) / 2**discordant)


def holm(p_values: Array) -> Array:
    """Return Holm's (1979) adjusted p-values, in the order given.

    The k-th smallest of m is multiplied by m - k + 1, made monotone, and capped at 1. statsmodels' multipletests gives
    the same but spends a tenth of a second on garbage collection.
    """
    p_values = np.asarray(p_values, float)
    order = p_values.argsort(kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return adjusted.clip(max=1)


def nadeau_bengio(
    differences: Array, *, test_share: float, confidence: float = 0.95
) -> tuple[float, float, float, float]:
    """Test whether the mean difference over repeated splits is 0: (mean, low, high, two-sided p).

    Training sets overlap, so the variance of the mean is variance * (1 / J + n_test / n_train) (Nadeau and Bengio
    2003). The t-test has J - 1 degrees of freedom.

    Args:
        differences: (J,), one per split seed and fold, averaged over training seeds.
        test_share: share of the cases in a test (validation) fold, 1 / folds.
        confidence: level of the interval.

    Raises:
        FlairprepError: fewer than 10 differences.
    """
    differences = np.asarray(differences, float)
    n = len(differences)
    if n < MIN_DIFFERENCES:
        raise FlairprepError(
            f"{n} differences, one per split seed and fold, are too few to estimate a variance; {MIN_DIFFERENCES} are "
            "needed: run more split seeds"
        )
    mean = float(differences.mean())
    error = float(np.sqrt(differences.var(ddof=1) * (1 / n + test_share / (1 - test_share))))
    half_width = error * float(scipy.special.stdtrit(n - 1, (1 + confidence) / 2))
    p = 2 * float(scipy.special.stdtr(n - 1, -abs(mean) / error)) if error > 0 else float(mean == 0)
    return mean, mean - half_width, mean + half_width, p
