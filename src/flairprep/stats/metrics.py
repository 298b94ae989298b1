"""Statistics of a binary classifier's predictions. Pure functions; y_true is 0 or 1, y_prob the probability of 1."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy  # whose parts come when they are first used

from flairprep.core.errors import FlairprepError

Array = npt.NDArray[Any]
Metric = Literal["val_accuracy", "val_loss", "val_auc"]  # what chooses an epoch
PairedMetric = Literal["accuracy", "auc"]  # what settings are compared by

EPSILON = 1e-7  # probabilities are kept this far from 0 and 1 in the log loss, as Keras does
LEAST_DIFFERENCES = 10  # below, their variance is known too badly for the test of Nadeau and Bengio


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


def clopper_pearson(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson 1934)."""
    interval = scipy.stats.binomtest(correct, n).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def auc(y_true: Array, y_prob: Array) -> float:
    """Area under the ROC curve: P(a case of class 1 scores above one of class 0), ties half; NaN for one class."""
    ranks = scipy.stats.rankdata(y_prob)
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


def detectable_accuracy(n: int, rate: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true accuracy at which the exact one-sided test against `rate` rejects with `power`; NaN if none.

    The test rejects from the smallest k with P(X >= k | rate) <= alpha; the accuracy p solves P(X >= k | p) = power.
    From scipy.special, as in `detectable_auc`: to import scipy.stats takes longer than all else that balance does.
    """
    rejects = scipy.special.bdtrc(np.arange(-1, n), n, rate) <= alpha  # P(X >= k) for k = 0 to n
    if not rejects.any():
        return float("nan")
    critical = int(rejects.argmax())
    return float(scipy.optimize.brentq(lambda p: scipy.special.bdtrc(critical - 1, n, p) - power, rate, 1))


def detectable_auc(n1: int, n0: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true AUC that a one-sided test against 0.5 finds with `power`; NaN if none below 1.

    Solves A - 0.5 = z_alpha * sd(0.5) + z_power * sd(A) with Hanley and McNeil's variance (Obuchowski 1997).
    """

    def excess(area: float) -> float:
        null = scipy.special.ndtri(1 - alpha) * np.sqrt(hanley_mcneil_variance(0.5, n1, n0))
        return area - 0.5 - null - scipy.special.ndtri(power) * np.sqrt(hanley_mcneil_variance(area, n1, n0))

    return float(scipy.optimize.brentq(excess, 0.5, 1)) if n1 and n0 and excess(1.0) > 0 else float("nan")


def detectable_difference(n: int, discordant: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference of two accuracies on the same n cases that exact McNemar finds with `power`.

    M ~ Binomial(n, discordant) cases are right under one setting only, X ~ Binomial(M, (1 + difference / discordant) /
    2) of them under the better; the test rejects where 2 * P(Binomial(M, 1/2) <= min(X, M - X)) <= alpha.

    Args:
        discordant: share of the cases that exactly one of the settings gets right, above 0; no difference exceeds it.

    Returns:
        The difference; NaN where even `discordant` itself would not be found.
    """
    m = np.arange(n + 1)
    k = scipy.stats.binom.ppf(alpha / 2, m, 0.5)
    k = np.where(scipy.stats.binom.cdf(k, m, 0.5) > alpha / 2, k - 1, k)  # the largest that is rare enough, -1 if none

    def excess(difference: float) -> float:
        share = (1 + difference / discordant) / 2
        found = scipy.stats.binom.cdf(k, m, share) + scipy.stats.binom.sf(m - k - 1, m, share)
        return float(scipy.stats.binom.pmf(m, n, discordant) @ found) - power

    return float(scipy.optimize.brentq(excess, 0, discordant)) if excess(discordant) > 0 else float("nan")


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


def bootstrap_interval(
    y_true: Array,
    y_prob: Array,
    *,
    groups: Array,
    folds: Array | None = None,
    metric: PairedMetric,
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Accuracy or AUC of declared predictions over folds, (estimate, low, high): percentiles of the bootstrap.

    Whole groups are drawn with replacement within each fold, since cases of a group share a patient. An AUC is that of
    `pooled_auc`. Where all cases are right, or all pairs, the interval has no width: `clopper_pearson` and `pooled_auc`
    then say more. NaN for an AUC without both labels in a fold.

    Args:
        y_true, y_prob: (n_cases,), each case once: several seeds of a case are averaged before.
        groups, folds: (n_cases,); None: one fold.
    """
    weights = _resampled(groups, folds, n_bootstrap, seed)
    return _summary(_measure(weights, y_true, y_prob, folds, metric), confidence)[:3]


def paired_difference(
    y_true: Array,
    prob_a: Array,
    prob_b: Array,
    *,
    groups: Array,
    folds: Array | None = None,
    metric: PairedMetric,
    confidence: float = 0.95,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float, float]:
    """Accuracy or AUC of setting b minus that of setting a on the same cases: (estimate, low, high, two-sided p).

    Both settings get the same draws of `bootstrap_interval`. p is the smallest 1 - confidence at which the percentile
    interval leaves out 0, 2 * (1 + b) / (1 + B) with b draws on the rarer side of 0 or on it (Davison and Hinkley
    1997): 1 where the predictions are equal. A handful of patients has too few draws that differ for that to mean much:
    p is at least 2 / 2^k, the smallest of a test that swaps a and b by group, with k groups in which they differ.

    Args:
        y_true, prob_a, prob_b: (n_cases,), declared predictions; several seeds of a case are averaged before.
        groups, folds: (n_cases,); None: one fold.
    """
    weights = _resampled(groups, folds, n_bootstrap, seed)
    of_a, of_b = (_measure(weights, y_true, y_prob, folds, metric) for y_prob in (prob_a, prob_b))
    estimate, low, high, p = _summary(of_b - of_a, confidence)
    return estimate, low, high, max(p, _least_p(prob_a, prob_b, groups, metric))


def _least_p(prob_a: Array, prob_b: Array, groups: Array, metric: PairedMetric) -> float:
    """The smallest two-sided p of a sign-flip test over groups; an accuracy knows the sides of 0.5 only."""
    sides = [(prob > 0.5) if metric == "accuracy" else prob for prob in (np.asarray(prob_a), np.asarray(prob_b))]
    return min(1.0, 2 * 0.5 ** len(np.unique(np.asarray(groups)[sides[0] != sides[1]])))


def _resampled(groups: Array, folds: Array | None, n_bootstrap: int, seed: int) -> Array:
    """How often each draw takes each case, (1 + n_bootstrap, n_cases); the first takes each once."""
    groups = np.asarray(groups)
    folds = np.zeros(len(groups)) if folds is None else np.asarray(folds)
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + n_bootstrap, len(groups)))
    for fold in np.unique(folds):
        names, of_case = np.unique(groups[folds == fold], return_inverse=True)
        drawn = rng.integers(len(names), size=(n_bootstrap, len(names)))
        places = drawn + len(names) * np.arange(n_bootstrap)[:, None]  # counted at once: five times rng.multinomial
        times = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape)
        weights[1:, folds == fold] = times[:, of_case]
    return weights


def _measure(weights: Array, y_true: Array, y_prob: Array, folds: Array | None, metric: PairedMetric) -> Array:
    """`metric` under each row of weights, (n_draws,); AUC from pairs of a fold, NaN where a draw has no pair."""
    ones, y_prob = np.asarray(y_true) > 0.5, np.asarray(y_prob, float)
    if metric == "accuracy":
        return weights @ ((y_prob > 0.5) == ones) / weights.sum(axis=1)
    folds = np.zeros(len(ones)) if folds is None else np.asarray(folds)
    won, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for fold in np.unique(folds):
        one, zero = ones & (folds == fold), ~ones & (folds == fold)
        wins = (1 + np.sign(y_prob[one][:, None] - y_prob[zero])) / 2
        won += ((weights[:, one] @ wins) * weights[:, zero]).sum(axis=1)
        pairs += weights[:, one].sum(axis=1) * weights[:, zero].sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def _summary(values: Array, confidence: float) -> tuple[float, float, float, float]:
    """(estimate, low, high, p of 0) of `values`, the estimate and then its bootstrap."""
    estimate, drawn = float(values[0]), values[1:][~np.isnan(values[1:])]
    if np.isnan(estimate):
        return (float("nan"),) * 4
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    beyond = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
    return estimate, float(low), float(high), min(1.0, 2 * float(1 + beyond) / (1 + len(drawn)))


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


def check_predictions(case_ids: Sequence[str], y_true: Array, y_prob: Array) -> None:
    """Everything else here takes its numbers for granted: this looks at them.

    Args:
        case_ids: (n_cases,).
        y_true: (n_cases,), numbers 0 and 1.
        y_prob: (n_cases,) or (n_epochs, n_cases).

    Raises:
        FlairprepError: the lengths differ, a label that is not the number 0 or 1, a probability that is NaN or outside
            [0, 1]; it names the case.
    """
    rows = np.atleast_2d(np.asarray(y_prob, float))
    if not len(case_ids) == len(y_true) == rows.shape[1]:
        raise FlairprepError(
            f"predictions: {len(case_ids)} cases, {len(y_true)} labels and {rows.shape[1]} probabilities; "
            "each case needs one of both: train again"
        )
    for case, label in zip(case_ids, np.asarray(y_true).tolist(), strict=True):
        if isinstance(label, str) or label not in (0, 1):
            raise FlairprepError(f"predictions: case {case!r}: the label is {label!r}; it must be the number 0 or 1")
    odd = np.argwhere(~((rows >= 0) & (rows <= 1)))
    if len(odd):
        epoch, place = odd[0]
        value = rows[epoch, place]
        remedy = "the network diverged: train again with a lower lr" if np.isnan(value) else "it must be 0 to 1"
        raise FlairprepError(
            f"predictions: case {case_ids[place]!r}, epoch {epoch + 1}: the probability is {value}; {remedy}"
        )
