"""Estimates and differences of accuracy and AUC over folds, split seeds and training seeds.

Rows are predictions: one case, by one network. A network is a (unit, repeat): a unit is a fold of a split seed, repeats
are further networks of the same unit, or further splits of the same cases. Every estimate averages per patient over
repeats first, so that more evidence narrows the error instead of adding tests.

Sampling error comes from influence values: of an AUC, DeLong's placement values (DeLong and others 1988), of an
accuracy, correctness. Two things besides widen it:

- folds share training cases, so their errors are correlated. The variance over two units or more is multiplied by
  1 + (folds - 1) / folds, the correlation 1 / folds being that of Nadeau and Bengio (2003);
- networks of one setting differ by more than their cases: the variance between the networks of a unit, or beyond
  sampling between units (DerSimonian and Laird 1986), enters where it is larger.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # whose parts come when they are first used; scipy.stats, which takes a second, is not among these

from flairprep.stats import intervals
from flairprep.stats.metrics import Array, ranks

PairedMetric = Literal["accuracy", "auc"]


class Rows(NamedTuple):
    """Predictions of one setting, or of two on the same cases; each (n_rows,)."""

    y_true: Array
    patients: Array  # cases of a patient are drawn together
    units: Array  # split seed and fold
    repeats: Array  # a repeat shows each case at most once


class Difference(NamedTuple):
    """Setting b minus setting a. of_networks: there is one network each, so nothing is said of the settings."""

    estimate: float
    low: float
    high: float
    p: float
    error: float
    df: float
    of_networks: bool


def placement_values(y_true: Array, y_prob: Array) -> Array:
    """Return, for each case, the share of the other class that it is on the right side of, ties half; (n_cases,).

    The mean over either class is the AUC (DeLong, DeLong and Clarke-Pearson 1988; by ranks, Sun and Xu 2014).
    """
    ones = np.asarray(y_true) > 0.5
    n1, n0 = int(ones.sum()), int((~ones).sum())
    ranked, values = ranks(y_prob), np.empty(len(ones))
    values[ones] = (ranked[ones] - ranks(y_prob[ones])) / n0
    values[~ones] = 1 - (ranked[~ones] - ranks(y_prob[~ones])) / n1
    return values


def influence(y_true: Array, y_prob: Array, units: Array, metric: PairedMetric) -> tuple[float, Array]:
    """Return an estimate over units and its influence values (n_cases,): the sum of their squares is its variance.

    An AUC is the mean over units weighted by their pairs of cases, as in `intervals.pooled_auc`; units with one class
    have no weight. NaN where no unit has both classes.
    """
    y_true, y_prob = np.asarray(y_true), np.asarray(y_prob, float)
    if metric == "accuracy":
        right = ((y_prob > 0.5) == (y_true > 0.5)).astype(float)
        return float(right.mean()), (right - right.mean()) / len(right)
    values, total, estimate = np.zeros(len(y_true)), 0.0, 0.0
    for unit in np.unique(units):
        here = np.flatnonzero(units == unit)
        ones = y_true[here] > 0.5
        n1, n0 = int(ones.sum()), int((~ones).sum())
        if not n1 or not n0:
            continue
        placed = placement_values(y_true[here], y_prob[here])
        area = float(placed[ones].mean())
        size = np.where(ones, n1, n0)
        unbiased = np.sqrt(size / np.maximum(size - 1, 1))
        values[here] = n1 * n0 * unbiased * (placed - area) / size
        estimate, total = estimate + n1 * n0 * area, total + n1 * n0
    return (estimate / total, values / total) if total else (float("nan"), values)


def over_repeats(rows: Rows, y_prob: Array, metric: PairedMetric) -> tuple[float, Array]:
    """Return the mean estimate over repeats, weighted by their cases, and its influence values by patient."""
    _, patients = np.unique(rows.patients, return_inverse=True)
    total, estimate, values = 0, 0.0, np.zeros(patients.max() + 1)
    for repeat in np.unique(rows.repeats):
        here = rows.repeats == repeat
        part, of_cases = influence(rows.y_true[here], y_prob[here], rows.units[here], metric)
        if np.isnan(part):
            continue
        n = int(here.sum())
        estimate, total = estimate + n * part, total + n
        np.add.at(values, patients[here], n * of_cases)
    return (estimate / total, values / total) if total else (float("nan"), values)


def variance_of(values: Array) -> float:
    """Return the sampling variance of an estimate from its influence values by patient, (n_patients,)."""
    n = len(values)
    return float((values**2).sum()) * n / max(n - 1, 1)


def shared_training(rows: Rows, folds: int) -> float:
    """Return by how much the training cases that folds share multiply the variance; 1 with a single unit."""
    return 1 + (folds - 1) / folds if len(np.unique(rows.units)) > 1 else 1.0


def estimate(
    rows: Rows, y_prob: Array, metric: PairedMetric, *, folds: int, confidence: float = 0.95
) -> tuple[float, float, float]:
    """Return (estimate, low, high) of one setting.

    One network on one case a patient has the exact interval of an accuracy (Clopper-Pearson); otherwise Wilson's, for
    as many cases as have that variance. The interval of an AUC is Newcombe's method 5, with the variance multiplied
    likewise.

    Args:
        y_prob: (n_rows,).
        folds: of a split, run or not.
    """
    value, values = over_repeats(rows, y_prob, metric)
    if np.isnan(value):
        return (float("nan"),) * 3
    first = rows.repeats == rows.repeats.min()
    single = len(np.unique(rows.repeats)) == 1
    factor = shared_training(rows, folds) * _design_effect(rows, y_prob, metric, variance_of(values))
    if metric == "auc":
        sizes = [
            (int(ones.sum()), int((~ones).sum()))
            for unit in np.unique(rows.units[first])
            for ones in [rows.y_true[first & (rows.units == unit)] > 0.5]
        ]
        return value, *intervals.newcombe_auc(value, sizes, factor=factor, confidence=confidence)
    n = int(first.sum())
    if single and factor == 1:
        return value, *intervals.clopper_pearson(round(value * n), n, confidence)
    return value, *intervals.wilson(value, n / factor, confidence)


def _design_effect(rows: Rows, y_prob: Array, metric: PairedMetric, variance: float) -> float:
    """Return the variance over that of a single repeat with independent cases: below 1 where repeats are averaged.

    Where all cases are right, or all pairs, there is no variance: then patients count, whatever their cases.
    """
    repeats, patients = len(np.unique(rows.repeats)), len(np.unique(rows.patients))
    if repeats == 1 and patients == len(rows.patients):
        return 1.0
    alone = []
    for repeat in np.unique(rows.repeats):
        here = rows.repeats == repeat
        _, of_cases = influence(rows.y_true[here], y_prob[here], rows.units[here], metric)
        alone.append(float((of_cases**2).sum()))
    mean = float(np.mean(alone))
    return variance / mean if mean > 0 and variance > 0 else len(rows.patients) / repeats / patients


def difference(
    rows: Rows, prob_a: Array, prob_b: Array, metric: PairedMetric, *, folds: int, confidence: float = 0.95
) -> Difference:
    """Compare two settings on the same rows: one paired test over all networks, by Student's t.

    The variance is the larger of two: that of the cases times `shared_training`, and that of the cases plus that
    between networks. Degrees of freedom of a sum of variances are Satterthwaite's (1946). With one network each,
    nothing can be said of the variance between networks: `of_networks`.

    Args:
        prob_a, prob_b: (n_rows,), in the order of `rows`.
        folds: of a split, run or not.
    """
    a, values_a = over_repeats(rows, prob_a, metric)
    b, values_b = over_repeats(rows, prob_b, metric)
    values = values_b - values_a
    cases, n = variance_of(values), int((values != 0).sum())
    of_networks = bool((rows.units == rows.units[0]).all() and (rows.repeats == rows.repeats[0]).all())
    between, df_between = (0.0, 1.0) if of_networks else _between_networks(rows, prob_a, prob_b, metric)
    units = len(np.unique(rows.units))
    shared = shared_training(rows, folds) * cases
    variance, df = cases + between, float(max(len(values) - 1, 1))
    if units > 1 and shared >= variance:
        variance = shared
    elif between > 0:
        df = variance**2 / (cases**2 / df + between**2 / df_between)
    error = float(np.sqrt(variance))
    half = float(scipy.special.stdtrit(df, (1 + confidence) / 2)) * error
    gain = b - a
    if np.isnan(gain):
        return Difference(*(float("nan"),) * 6, of_networks=False)
    p = 2 * float(scipy.special.stdtr(df, -abs(gain) / error)) if error > 0 else float(gain == 0)
    if not n:  # the same predictions
        p = 1.0
    return Difference(gain, max(-1.0, gain - half), min(1.0, gain + half), min(1.0, p), error, df, of_networks)


def equivalence_p_value(difference: Difference, margin: float) -> float:
    """Return the p of two one-sided tests that a difference lies inside -margin to margin (Schuirmann 1987).

    It is below alpha exactly where the 1 - 2 alpha interval lies inside. 0 for equal predictions, NaN without an error.
    """
    estimate, error, df = difference.estimate, difference.error, difference.df
    if error == 0:
        return float(abs(estimate) >= margin)
    below = scipy.special.stdtr(df, -(estimate + margin) / error)
    above = scipy.special.stdtr(df, (estimate - margin) / error)
    return float(max(below, above))


def _between_networks(rows: Rows, prob_a: Array, prob_b: Array, metric: PairedMetric) -> tuple[float, float]:
    """Return what the networks add to the variance of a difference, and the degrees of freedom of that.

    The larger of two estimates: the variance between the repeats of a unit; and that between units beyond sampling, by
    the method of moments. 0 where neither can be had.
    """
    differences: list[npt.NDArray[np.float64]] = []
    samplings: list[float] = []
    for unit in np.unique(rows.units):
        pairs = []
        for repeat in np.unique(rows.repeats[rows.units == unit]):
            here = (rows.units == unit) & (rows.repeats == repeat)
            one = np.zeros(int(here.sum()))
            a, values_a = influence(rows.y_true[here], prob_a[here], one, metric)
            b, values_b = influence(rows.y_true[here], prob_b[here], one, metric)
            if not np.isnan(a):
                pairs.append((b - a, float(((values_b - values_a) ** 2).sum())))
        if pairs:
            differences.append(np.array([value for value, _ in pairs]))
            samplings.append(float(np.mean([sampling for _, sampling in pairs])))
    networks, units = sum(map(len, differences)), len(differences)
    between, df = 0.0, 1.0
    if networks > units:
        squares = sum(float(((of_unit - of_unit.mean()) ** 2).sum()) for of_unit in differences)
        between, df = squares / (networks - units) / networks, float(networks - units)
    if units > 1:
        means, weights = np.array([of_unit.mean() for of_unit in differences]), 1 / np.maximum(samplings, 1e-12)
        heterogeneity = float((weights * (means - np.average(means, weights=weights)) ** 2).sum())
        scale = float(weights.sum() - (weights**2).sum() / weights.sum())
        beyond = max(0.0, (heterogeneity - (units - 1)) / scale) / units if scale > 0 else 0.0
        if beyond > between:
            between, df = beyond, float(units - 1)
    return between, df
