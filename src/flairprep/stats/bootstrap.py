"""Bootstrap intervals and paired differences, drawing whole groups within folds."""

import numpy as np

from flairprep.stats.metrics import Array, PairedMetric


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
