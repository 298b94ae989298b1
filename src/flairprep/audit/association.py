"""Measure how much of the label a column, or a classifier of columns, gives away."""

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy  # whose parts come when they are first used

from flairprep.stats.permutation import permuted_labels

Array = npt.NDArray[Any]
Columns = dict[str, Array]
NUMBER = re.compile(r"([+-]?\d+\.?\d*(?:e[+-]?\d+)?)(?:-\d+|\+)?", re.ASCII | re.IGNORECASE)  # 1.5, or 60-69, 90+
TOGETHER = 500  # labelings that are worked on at a time
LARGEST = 1e100  # beyond, the squares that a variance sums are no numbers


class Test(NamedTuple):
    """measure: cramers_v (0 to 1), or auc (that label 1 has the larger value; 0.5 says nothing).

    least: the smallest p that it could have, see `least_p`. cases: how many it tested.
    """

    measure: str
    effect: float
    p: float
    least: float
    cases: int


def labelings(labels: Array, groups: Array, count: int, seed: int, within: Array | None = None) -> Array:
    """(n_cases, 1 + count), int8: the labels, and permutations over groups of equal size that agree in `within`."""
    rng, small = np.random.default_rng(seed), labels.astype(np.int8)
    counts = [min(TOGETHER, count - start) for start in range(0, count, TOGETHER)]
    return np.column_stack([small, *(permuted_labels(small, groups, within, some, rng) for some in counts)])


def for_each(labelings: Array, statistic: Callable[[Array], Array]) -> Array:
    """(1 + B,): the statistic of each labeling, of TOGETHER at a time, as numbers of eight bytes."""
    parts = [labelings[:, start : start + TOGETHER] for start in range(0, labelings.shape[1], TOGETHER)]
    return np.concatenate([statistic(part.astype(float)) for part in parts])


def column(values: Sequence[str]) -> Array:
    """Text as numbers where each given value is one, or a band of ages, which counts as its lower end; else as text.

    What is too large to calculate with is no number.
    """
    found = [float(match[1]) if (match := NUMBER.fullmatch(value)) else np.nan for value in values]
    numbers = [abs(number) < LARGEST for number in found]
    if any(value and not is_one for value, is_one in zip(values, numbers, strict=True)) or not any(numbers):
        return np.array(values, str)
    return np.array(found)


def columns(table: pd.DataFrame) -> Columns:
    """The columns of a table of text, and beside one of numbers with gaps another: whether a number is given at all."""
    found: Columns = {}
    for name in table.columns:
        found[name] = column(table[name].tolist())
        if found[name].dtype.kind == "f" and (gaps := np.isnan(found[name])).any():
            found[f"{name} given"] = np.where(gaps, "no", "yes")
    return found


def constant(values: Array) -> bool:
    """Whether all values are one, gaps among numbers aside."""
    return len(set(values[~np.isnan(values)] if values.dtype.kind == "f" else values)) < 2


def association(values: Array, labelings: Array) -> Test:
    """A column that is not constant against the label, two-sided: AUC of the numbers, Cramer's V of the categories.

    Cramer's V with two labels is sqrt(chi^2 / n). Of two categories, and without groups, its permutation test is
    Fisher's exact test but for the Monte Carlo error.
    """
    if values.dtype.kind == "f":
        given = ~np.isnan(values)
        scores, nowhere = values[given, None], np.zeros(given.sum())
        areas = for_each(labelings[given], lambda some: fold_auc(scores, some, nowhere))
        least = least_p(labelings[given], two_sided=True)
        return Test("auc", float(areas[0]), p_value(np.abs(areas - 0.5)), least, int(given.sum()))
    rows = (np.unique(values)[:, None] == values).astype(float)  # (n_categories, n_cases)
    n, ones = len(values), labelings[:, 0].sum()
    expected = rows.sum(axis=1)[:, None] * (ones / n)
    v = for_each(labelings, lambda some: np.sqrt(((rows @ some - expected) ** 2 / expected).sum(axis=0) / (n - ones)))
    return Test("cramers_v", float(v[0]), p_value(v), least_p(labelings, two_sided=True), n)


def p_value(statistics: Array) -> float:
    """The share of (1 + B,) statistics that reach the first of them, the observed one."""
    return float(np.mean(statistics >= statistics[0] - 1e-9))


def least_p(labelings: Array, *, two_sided: bool) -> float:
    """The p of what gives every label away: only the labels themselves, and two-sided their opposite, do as well.

    Not small where there are few permutations, or few ways to deal the labels out; 1 where the cases have one label.
    """
    labels = labelings[:, :1]
    as_good = (labelings == labels).all(axis=0)
    if two_sided:
        as_good |= (labelings != labels).all(axis=0)
    return float(as_good.mean()) if len(np.unique(labels)) == 2 else 1.0


def features(columns: Columns) -> Array:
    """(n_cases, n_features): numbers as they are (NaN: none), a 0-1 feature for each category of text."""
    found: list[Array] = []
    for values in columns.values():
        found += [values] if values.dtype.kind == "f" else [(values == one).astype(float) for one in np.unique(values)]
    return np.stack(found, axis=1)


def prepare() -> None:
    """Begins to import what `examine` needs, which takes a second: the volumes can be looked at meanwhile."""
    Thread(target=import_module, args=["sklearn.linear_model"], daemon=True).start()


def out_of_fold(features: Array, folds: Array, labelings: Array) -> Array:
    """Scores of cases that the classifier was not fitted on, as `labelings` (n_cases, m), refitted for every labeling.

    A ridge classifier: least squares on the labels, with the number of features as the penalty. Its fit is linear in
    the labels, so all labelings of a fold are one system of equations with many right sides, where a forest or a
    logistic regression would take hours. What it imputes and scales by comes from the training folds alone.
    """
    from sklearn.impute import SimpleImputer  # see `prepare`
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.empty(labelings.shape)
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        Ridge(alpha=features.shape[1], solver="cholesky"),
    )
    for fold in np.unique(folds):
        test = folds == fold
        scores[test] = model.fit(features[~test], labelings[~test]).predict(features[test]).reshape(test.sum(), -1)
    return scores.round(9)  # equal cases stay equal


def fold_auc(scores: Array, labelings: Array, folds: Array) -> Array:
    """AUC from the pairs within folds, (1 + B,), 0.5 where there is none; scores: (n_cases, 1) or (n_cases, 1 + B)."""
    above, pairs = np.zeros(labelings.shape[1]), np.zeros(labelings.shape[1])
    for fold in np.unique(folds):
        here = folds == fold
        ones = labelings[here].sum(axis=0)
        above += (scipy.stats.rankdata(scores[here], axis=0) * labelings[here]).sum(axis=0) - ones * (ones + 1) / 2
        pairs += ones * (here.sum() - ones)
    return np.divide(above, pairs, out=np.full(len(above), 0.5), where=pairs > 0)
