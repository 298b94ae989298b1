"""Exact and corrected hypothesis tests."""

import numpy as np
import scipy  # whose parts come when they are first used

from flairprep.core.errors import FlairprepError
from flairprep.stats.metrics import Array

LEAST_DIFFERENCES = 10  # below, their variance is known too badly for the test of Nadeau and Bengio


def binomial_p_value(correct: int, n: int, rate: float) -> float:
    """P(X >= correct) for X ~ Binomial(n, rate): the exact one-sided test of an accuracy against `rate`.

    caret's confusionMatrix calls it "P-Value [Acc > NIR]".
    """
    return float(scipy.stats.binom.sf(correct - 1, n, rate))


def grouped_p_value(correct: int, groups: Array, rate: float) -> float:
    """`binomial_p_value` where cases of a group share a patient: P(as many right) if a group is right or wrong as one.

    Exact where the cases of a group stand and fall together. Any other way in which they depend on one another spreads
    the number of right cases less (Frechet and Hoeffding's bound), so that the test is too careful then, never too bold
    at the levels in use. Groups of one case give `binomial_p_value`.

    Args:
        groups: (n_cases,).
    """
    likely = np.ones(1)  # P(so many right) among the groups so far
    for size in np.unique(groups, return_counts=True)[1].tolist():
        none = np.zeros(size)
        likely = (1 - rate) * np.append(likely, none) + rate * np.append(none, likely)
    return min(1.0, float(likely[correct:].sum()))


def mcnemar_p_value(correct_a: Array, correct_b: Array) -> float:
    """Exact two-sided McNemar test of two settings on the same cases: of the cases that only one of them gets right,
    is either's share not one half? 1 where there are none.

    Args:
        correct_a, correct_b: (n_cases,), bool.
    """
    only_a = int(np.sum(np.asarray(correct_a, bool) & ~np.asarray(correct_b, bool)))
    only_b = int(np.sum(np.asarray(correct_b, bool) & ~np.asarray(correct_a, bool)))
    return float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def holm(p_values: Array) -> Array:
    """Adjusted p-values in the order given: the k-th smallest of m times m - k + 1, never falling, at most 1 (1979).

    Not statsmodels' multipletests, which spends a tenth of a second on collecting garbage.
    """
    p_values = np.asarray(p_values, float)
    order = p_values.argsort(kind="stable")
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    return adjusted.clip(max=1)


def nadeau_bengio(
    differences: Array, *, test_share: float, confidence: float = 0.95
) -> tuple[float, float, float, float]:
    """Mean of the differences of repeated splits: (mean, low, high, two-sided p); Nadeau and Bengio 2003.

    The training sets overlap, so the variance of the mean is variance * (1 / J + n_test / n_train), with J - 1 degrees
    of freedom.

    Args:
        differences: (J,), one per split seed and fold; seeds of training are averaged before.
        test_share: share of the cases in a test (validation) fold, 1 / folds.

    Raises:
        FlairprepError: fewer than 10 differences.
    """
    differences = np.asarray(differences, float)
    n = len(differences)
    if n < LEAST_DIFFERENCES:
        raise FlairprepError(
            f"{n} differences, one per split seed and fold, are too few for a variance: it takes {LEAST_DIFFERENCES}; "
            "run more split seeds"
        )
    mean = float(differences.mean())
    error = float(np.sqrt(differences.var(ddof=1) * (1 / n + test_share / (1 - test_share))))
    half = error * float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1))
    p = 2 * float(scipy.stats.t.sf(abs(mean) / error, n - 1)) if error > 0 else float(mean == 0)
    return mean, mean - half, mean + half, p
