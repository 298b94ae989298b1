"""Bootstrap intervals and paired differences, resampling whole groups within folds."""

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
    """Return accuracy or AUC of declared predictions over folds with its percentile interval: (estimate, low, high).

    Whole groups are drawn with replacement within each fold, since cases of a group share a patient. The AUC is that of
    `intervals.pooled_auc`; it is NaN where no fold has both labels. Where all cases, or all pairs, are right the
    interval has no width: use `intervals.clopper_pearson` or `intervals.pooled_auc` there.

    Args:
        y_true, y_prob: (n_cases,), one entry per case.
        groups, folds: (n_cases,); None: one fold.
        confidence: level of the interval.
        n_bootstrap, seed: number and seed of the draws.
    """
    weights = draw_weights(groups, folds, n_bootstrap, seed)
    return _percentile_summary(_weighted_metric(weights, y_true, y_prob, folds, metric), confidence)[:3]


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
    """Return accuracy or AUC of setting b minus setting a on the same cases: (estimate, low, high, two-sided p).

    Both settings get the same draws, those of `bootstrap_interval`. p inverts the percentile interval (Davison and
    Hinkley 1997): 2 * (1 + b) / (1 + B), with b draws on the rarer side of 0 or on it. Equal predictions give 1. With
    few patients too few draws differ, so p is at least 2 / 2^k. That is the smallest p of a sign-flip
    test over the k groups whose predictions differ.

    Args:
        y_true, prob_a, prob_b: (n_cases,), declared predictions, one entry per case.
        groups, folds: (n_cases,); None: one fold.
        confidence: level of the interval.
        n_bootstrap, seed: number and seed of the draws.
    """
    weights = draw_weights(groups, folds, n_bootstrap, seed)
    values_a, values_b = (_weighted_metric(weights, y_true, y_prob, folds, metric) for y_prob in (prob_a, prob_b))
    estimate, low, high, p = _percentile_summary(values_b - values_a, confidence)
    return estimate, low, high, max(p, _min_attainable_p(prob_a, prob_b, groups, metric))


def _min_attainable_p(prob_a: Array, prob_b: Array, groups: Array, metric: PairedMetric) -> float:
    """Return the smallest two-sided p of a sign-flip test over groups; for an accuracy only sides of 0.5 differ."""
    a, b = ((prob > 0.5) if metric == "accuracy" else prob for prob in (np.asarray(prob_a), np.asarray(prob_b)))
    return min(1.0, 2 * 0.5 ** len(np.unique(np.asarray(groups)[a != b])))


def draw_weights(groups: Array, folds: Array | None, n_bootstrap: int, seed: int) -> Array:
    """Return how often each draw takes each case, (1 + n_bootstrap, n_cases); the first row takes each once."""
    groups = np.asarray(groups)
    folds = np.zeros(len(groups)) if folds is None else np.asarray(folds)
    rng = np.random.default_rng(seed)
    weights = np.ones((1 + n_bootstrap, len(groups)))
    for fold in np.unique(folds):
        names, group_index = np.unique(groups[folds == fold], return_inverse=True)
        drawn = rng.integers(len(names), size=(n_bootstrap, len(names)))
        cells = drawn + len(names) * np.arange(n_bootstrap)[:, None]  # one bincount: 5 times faster than multinomial
        counts = np.bincount(cells.ravel(), minlength=drawn.size).reshape(drawn.shape)
        weights[1:, folds == fold] = counts[:, group_index]
    return weights


def _weighted_metric(weights: Array, y_true: Array, y_prob: Array, folds: Array | None, metric: PairedMetric) -> Array:
    """Return `metric` under each row of weights, (n_draws,); AUC from pairs within folds, NaN for a draw without."""
    positive, y_prob = np.asarray(y_true) > 0.5, np.asarray(y_prob, float)
    if metric == "accuracy":
        return weights @ ((y_prob > 0.5) == positive) / weights.sum(axis=1)
    folds = np.zeros(len(positive)) if folds is None else np.asarray(folds)
    wins, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for fold in np.unique(folds):
        ones, zeros = positive & (folds == fold), ~positive & (folds == fold)
        outranks = (1 + np.sign(y_prob[ones][:, None] - y_prob[zeros])) / 2
        wins += ((weights[:, ones] @ outranks) * weights[:, zeros]).sum(axis=1)
        pairs += weights[:, ones].sum(axis=1) * weights[:, zeros].sum(axis=1)
    return np.divide(wins, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def _percentile_summary(values: Array, confidence: float) -> tuple[float, float, float, float]:
    """Return (estimate, low, high, p of 0) of `values`: the estimate, then its bootstrap replicates."""
    estimate, replicates = float(values[0]), values[1:][~np.isnan(values[1:])]
    if np.isnan(estimate):
        return (float("nan"),) * 4
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    rarer = min(np.sum(replicates <= 0), np.sum(replicates >= 0))
    return estimate, float(low), float(high), min(1.0, 2 * float(1 + rarer) / (1 + len(replicates)))
