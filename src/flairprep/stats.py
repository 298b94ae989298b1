"""Statistics of a binary classifier's predictions. Pure functions; y_true is 0 or 1, y_prob the probability of 1."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import binom, binomtest, norm, rankdata

Array = npt.NDArray[Any]
Metric = Literal["val_accuracy", "val_loss", "val_auc"]

EPSILON = 1e-7  # probabilities are kept this far from 0 and 1 in the log loss, as Keras does


def no_information_rate(y_true: Array) -> float:
    """The accuracy of always predicting the more frequent class: max(share of 1, share of 0)."""
    share = float(np.mean(y_true))
    return max(share, 1 - share)


def accuracy(y_true: Array, y_prob: Array) -> float:
    """Share of the cases on the right side of 0.5; a probability of exactly 0.5 predicts 0, as Keras does."""
    return float(np.mean((y_prob > 0.5) == (y_true > 0.5)))


def log_loss(y_true: Array, y_prob: Array) -> float:
    """Mean of -log of the probability given to the true class (binary cross-entropy, natural logarithm)."""
    p = np.clip(np.asarray(y_prob, float), EPSILON, 1 - EPSILON)
    return float(-np.mean(np.where(y_true > 0.5, np.log(p), np.log1p(-p))))


def brier(y_true: Array, y_prob: Array) -> float:
    """Mean squared difference of probability and outcome (Brier 1950)."""
    return float(np.mean((np.asarray(y_prob, float) - y_true) ** 2))


def binomial_p_value(correct: int, n: int, rate: float) -> float:
    """P(X >= correct) for X ~ Binomial(n, rate): the exact one-sided test of an accuracy against `rate`.

    caret's confusionMatrix calls it "P-Value [Acc > NIR]".
    """
    return float(binom.sf(correct - 1, n, rate))


def clopper_pearson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson 1934)."""
    interval = binomtest(correct, n).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def auc(y_true: Array, y_prob: Array) -> float:
    """Area under the ROC curve: P(a case of class 1 scores above one of class 0), ties half; NaN for one class."""
    ranks = rankdata(y_prob)
    ones = np.asarray(y_true) > 0.5
    n1, n0 = int(ones.sum()), int((~ones).sum())
    return float((ranks[ones].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)) if n1 and n0 else float("nan")


def delong_variance(y_true: Array, y_prob: Array) -> float:
    """Variance of the AUC (DeLong, DeLong and Clarke-Pearson 1988), by ranks (Sun and Xu 2014).

    NaN with fewer than two cases of a class.
    """
    ones = np.asarray(y_true) > 0.5
    y_prob = np.asarray(y_prob, float)
    n1, n0 = int(ones.sum()), int((~ones).sum())
    if n1 < 2 or n0 < 2:
        return float("nan")
    ranks = rankdata(y_prob)
    of_ones = (ranks[ones] - rankdata(y_prob[ones])) / n0
    of_zeros = 1 - (ranks[~ones] - rankdata(y_prob[~ones])) / n1
    return float(of_ones.var(ddof=1) / n1 + of_zeros.var(ddof=1) / n0)


def auc_interval(y_true: Array, y_prob: Array, confidence: float = 0.95) -> tuple[float, float]:
    """AUC +- z * sqrt(DeLong's variance), cut to [0, 1].

    Where all pairs agree (AUC 0 or 1) DeLong's variance is 0 and says nothing; then the values A for which
    |AUC - A| <= z * sqrt(V(A)) are taken instead, V being Hanley and McNeil's variance with (n1 + n0) / 2 for n1 and n0
    in its numerator (Newcombe, Statistics in Medicine 2006, method 5).

    Returns:
        (low, high); NaN with fewer than two cases of a class, and for a constant score.
    """
    estimate, variance = auc(y_true, y_prob), delong_variance(y_true, y_prob)
    z = float(norm.ppf((1 + confidence) / 2))
    if variance > 0 or np.isnan(variance):
        half = z * float(np.sqrt(variance))
        return float(np.clip(estimate - half, 0, 1)), float(np.clip(estimate + half, 0, 1))
    n1 = int(np.sum(y_true))
    n0 = len(y_true) - n1
    mean = (n1 + n0) / 2  # makes the variance the same at A and 1 - A

    def outside(distance: float) -> float:
        return distance - z * mean * np.sqrt(hanley_mcneil_variance(1 - distance, mean, mean) / (n1 * n0))

    far = float(brentq(outside, 1e-12, 1))
    return (1 - far, 1.0) if estimate == 1 else (0.0, far) if estimate == 0 else (float("nan"), float("nan"))


def hanley_mcneil_variance(area: float, n1: float, n0: float) -> float:
    """Variance of an AUC of true value `area` for n1 and n0 cases (Hanley and McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (n1 - 1) * (q1 - area**2) + (n0 - 1) * (q2 - area**2)
    return spread / (n1 * n0)


def detectable_accuracy(n: int, rate: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true accuracy at which the exact one-sided test against `rate` rejects with `power`; NaN if none.

    The test rejects from the smallest k with P(X >= k | rate) <= alpha; the accuracy p solves P(X >= k | p) = power.
    """
    critical = int(binom.isf(alpha, n, rate)) + 1
    if critical > n:
        return float("nan")
    return float(brentq(lambda p: binom.sf(critical - 1, n, p) - power, rate, 1))


def detectable_auc(n1: int, n0: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true AUC that a one-sided test against 0.5 finds with `power`; NaN if none below 1.

    Solves A - 0.5 = z_alpha * sd(0.5) + z_power * sd(A) with Hanley and McNeil's variance (Obuchowski 1997).
    """

    def excess(area: float) -> float:
        null = norm.isf(alpha) * np.sqrt(hanley_mcneil_variance(0.5, n1, n0))
        return area - 0.5 - null - norm.ppf(power) * np.sqrt(hanley_mcneil_variance(area, n1, n0))

    return float(brentq(excess, 0.5, 1)) if n1 and n0 and excess(1.0) > 0 else float("nan")


def best_epoch(y_true: Array, y_prob: Array, metric: Metric) -> int:
    """The epoch that `metric` chooses, the first one on a tie; y_prob has the shape (n_epochs, n_cases)."""
    return int(_scores(np.asarray(y_true, float)[:, None], np.asarray(y_prob, float), metric)[:, 0].argmax())


def selection_p_value(
    y_true: Array,
    y_prob: Array,
    *,
    metric: Metric,
    groups: Array,
    strata: Array | None = None,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """How often chance does as well as the selected epoch: a permutation test that replays the selection.

    The labels of whole groups are permuted (among groups of equal size, within `strata`); each time `metric` chooses
    an epoch again, and its accuracy at 0.5 is compared with the observed one. p = (1 + b) / (1 + B), ties counted
    against the observed (Phipson and Smyth 2010).

    Args:
        y_true: (n_cases,), 0 or 1.
        y_prob: (n_epochs, n_cases), every epoch that ran.
        metric: what chooses the epoch.
        groups: (n_cases,); cases of a group share a patient.
        strata: (n_cases,); labels never leave their stratum. None: one stratum.
        n_permutations, seed: of the permutations.
    """
    y_true, y_prob = np.asarray(y_true, float), np.asarray(y_prob, float)
    observed = _selected_accuracy(y_true[:, None], y_prob, metric)[0]
    beaten = 0
    rng = np.random.default_rng(seed)
    for start in range(0, n_permutations, 1000):
        count = min(1000, n_permutations - start)
        permuted = _permuted_labels(y_true, groups, strata, count, rng)
        beaten += int((_selected_accuracy(permuted, y_prob, metric) >= observed - 1e-12).sum())
    return (1 + beaten) / (1 + n_permutations)


def _permuted_labels(y_true: Array, groups: Array, strata: Array | None, count: int, rng: np.random.Generator) -> Array:
    """(n_cases, count): the labels of groups dealt out anew among the groups of the same size and stratum."""
    members: dict[Any, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    alike: dict[Any, list[list[int]]] = {}
    for cases in members.values():
        stratum = None if strata is None else tuple(strata[case] for case in cases)
        alike.setdefault((len(cases), stratum), []).append(cases)
    permuted = np.repeat(y_true[:, None], count, axis=1)
    for blocks in alike.values():
        cases_of = np.array(blocks)  # (n_groups, size)
        order = rng.permuted(np.tile(np.arange(len(blocks)), (count, 1)), axis=1)  # (count, n_groups)
        permuted[cases_of.ravel()] = y_true[cases_of[order]].reshape(count, -1).T
    return permuted


def _scores(labels: Array, y_prob: Array, metric: Metric) -> Array:
    """What `metric` maximises, up to a constant, as (n_epochs, n_labelings); labels: (n_cases, n_labelings)."""
    match metric:
        case "val_accuracy":
            return _accuracies(labels, y_prob)
        case "val_loss":
            p = np.clip(y_prob, EPSILON, 1 - EPSILON)
            likelihood = (np.log(p) - np.log1p(-p)) @ labels + np.log1p(-p).sum(axis=1)[:, None]
            return likelihood.round(9)  # equal epochs stay equal: BLAS may sum two equal rows in different orders
        case "val_auc":
            return rankdata(y_prob, axis=1) @ labels  # permuting keeps the number of ones, so the rank sum orders AUCs


def _accuracies(labels: Array, y_prob: Array) -> Array:
    positive = (y_prob > 0.5).astype(float)
    return (positive @ labels + (1 - positive) @ (1 - labels)) / labels.shape[0]


def _selected_accuracy(labels: Array, y_prob: Array, metric: Metric) -> Array:
    chosen = _scores(labels, y_prob, metric).argmax(axis=0)
    return _accuracies(labels, y_prob)[chosen, np.arange(labels.shape[1])]
