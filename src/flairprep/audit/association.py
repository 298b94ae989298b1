"""Measure how well a column, or a classifier on columns, predicts the label."""

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy  # its submodules load on first use

from flairprep.stats.permutation import permuted_labels

Array = npt.NDArray[Any]
Columns = dict[str, Array]
NUMBER = re.compile(r"([+-]?\d+\.?\d*(?:e[+-]?\d+)?)(?:-\d+|\+)?", re.ASCII | re.IGNORECASE)  # 1.5, or 60-69, 90+
CHUNK = 500  # labelings in work at a time
MAX_MAGNITUDE = 1e100  # the squares of larger numbers, which a variance sums, overflow


class Test(NamedTuple):
    """Result of a permutation test.

    measure: cramers_v (0 to 1), or auc (P(label 1 has the larger value); 0.5 is no association).
    min_p: smallest p that the test could have, see `min_attainable_p`.
    cases: number of cases tested.
    """

    measure: str
    effect: float
    p: float
    min_p: float
    cases: int


def draw_labelings(labels: Array, groups: Array, count: int, seed: int, within: Array | None = None) -> Array:
    """Return the labels and `count` permutations of them: (n_cases, 1 + count), int8.

    Labels of whole groups move, among groups of equal size that agree in `within`.
    """
    rng, labels = np.random.default_rng(seed), labels.astype(np.int8)
    counts = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    return np.column_stack([labels, *(permuted_labels(labels, groups, within, size, rng) for size in counts)])


def map_labelings(labelings: Array, statistic: Callable[[Array], Array]) -> Array:
    """Return the statistic of each labeling, (1 + B,); `statistic` gets CHUNK of them at a time, as float64."""
    chunks = [labelings[:, start : start + CHUNK] for start in range(0, labelings.shape[1], CHUNK)]
    return np.concatenate([statistic(chunk.astype(float)) for chunk in chunks])


def parse_column(values: Sequence[str]) -> Array:
    """Return text as numbers (empty: NaN) if each value is a number or an age band, else as text.

    A band counts as its lower end. A number beyond MAX_MAGNITUDE is text.
    """
    numbers = [float(match[1]) if (match := NUMBER.fullmatch(value)) else np.nan for value in values]
    usable = [abs(number) < MAX_MAGNITUDE for number in numbers]
    if any(value and not is_usable for value, is_usable in zip(values, usable, strict=True)) or not any(usable):
        return np.array(values, str)
    return np.array(numbers)


def parse_columns(table: pd.DataFrame) -> Columns:
    """Return the columns of a table of text; a numeric column with gaps gets a "NAME given" column of yes and no."""
    columns: Columns = {}
    for name in table.columns:
        values = columns[name] = parse_column(table[name].tolist())
        if values.dtype.kind == "f" and (gaps := np.isnan(values)).any():
            columns[f"{name} given"] = np.where(gaps, "no", "yes")
    return columns


def is_constant(values: Array) -> bool:
    """Return whether all values are equal, not counting gaps among numbers."""
    return len(set(values[~np.isnan(values)] if values.dtype.kind == "f" else values)) < 2


def association(values: Array, labelings: Array) -> Test:
    """Test a column that is not constant against the label, two-sided: numbers by AUC, categories by Cramer's V.

    With two labels Cramer's V (1946) is sqrt(chi^2 / n). With two categories, and without groups, the permutation test
    is Fisher's exact test up to Monte Carlo error.

    Args:
        values: (n_cases,), float (NaN: not given) or text.
        labelings: (n_cases, 1 + B).
    """
    if values.dtype.kind == "f":
        given = ~np.isnan(values)
        scores, one_fold = values[given, None], np.zeros(given.sum())
        areas = map_labelings(labelings[given], lambda chunk: fold_auc(scores, chunk, one_fold))
        min_p = min_attainable_p(labelings[given], two_sided=True)
        return Test("auc", float(areas[0]), p_value(np.abs(areas - 0.5)), min_p, int(given.sum()))
    indicators = (np.unique(values)[:, None] == values).astype(float)  # (n_categories, n_cases)
    n, n1 = len(values), labelings[:, 0].sum()
    expected = indicators.sum(axis=1)[:, None] * (n1 / n)

    def cramers_v(chunk: Array) -> Array:
        return np.sqrt(((indicators @ chunk - expected) ** 2 / expected).sum(axis=0) / (n - n1))

    v = map_labelings(labelings, cramers_v)
    return Test("cramers_v", float(v[0]), p_value(v), min_attainable_p(labelings, two_sided=True), n)


def p_value(statistics: Array) -> float:
    """Return the share of the statistics (1 + B,) that reach the observed one, the first."""
    return float(np.mean(statistics >= statistics[0] - 1e-9))


def min_attainable_p(labelings: Array, *, two_sided: bool) -> float:
    """Return the p of a perfect predictor: the share of labelings that equal the labels, or two-sided their opposite.

    It is large where permutations, or ways to permute the labels, are few. It is 1 where the cases have one label.
    """
    labels = labelings[:, :1]
    as_extreme = (labelings == labels).all(axis=0)
    if two_sided:
        as_extreme |= (labelings != labels).all(axis=0)
    return float(as_extreme.mean()) if len(np.unique(labels)) == 2 else 1.0


def encode(columns: Columns) -> Array:
    """Return the columns as features (n_cases, n_features): numbers as they are (NaN: not given), text one-hot."""
    features: list[Array] = []
    for values in columns.values():
        if values.dtype.kind == "f":
            features.append(values)
        else:
            features += [(values == category).astype(float) for category in np.unique(values)]
    return np.stack(features, axis=1)


def import_in_background() -> None:
    """Start importing scikit-learn, which takes a second, while the caller reads the volumes."""
    Thread(target=import_module, args=["sklearn.impute"], daemon=True).start()


def out_of_fold_scores(features: Array, folds: Array, labelings: Array) -> Array:
    """Return the scores of cases by a classifier fitted on the other folds, per labeling: (n_cases, m).

    Args:
        features, folds: see `classifier`.
        labelings: (n_cases, m).
    """
    return classifier(features, folds)(labelings)


def classifier(features: Array, folds: Array) -> Callable[[Array], Array]:
    """Return the function from labelings to `out_of_fold_scores`.

    Ridge regression on the labels, with the number of features as the penalty (Hoerl and Kennard 1970). A forest or a
    logistic regression would take hours. Imputation and scaling use the training folds alone.

    The fit is linear in the labels, so that one system of equations per fold serves all labelings.

    Args:
        features: (n_cases, n_features), NaN: not given.
        folds: (n_cases,).
    """
    from sklearn.impute import SimpleImputer  # see `import_in_background`
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    fits = []
    for test in (folds == fold for fold in np.unique(folds)):
        scaled = scaler.fit_transform(features[~test])
        penalised = scaled.T @ scaled + features.shape[1] * np.eye(features.shape[1])
        of_labels = scipy.linalg.solve(penalised, scaled.T, assume_a="pos")  # (n_features, n_training)
        fits.append((test, scaler.transform(features[test]), of_labels))

    def scores(labelings: Array) -> Array:
        values = np.empty(labelings.shape)
        for test, scaled, of_labels in fits:
            labels = labelings[~test].astype(float)
            values[test] = scaled @ (of_labels @ labels) + labels.mean(axis=0)
        return values.round(9)  # equal cases stay equal

    return scores


def fold_auc(scores: Array, labelings: Array, folds: Array) -> Array:
    """Return the AUC from pairs of cases within folds, per labeling (m,); 0.5 where there is no pair.

    Args:
        scores: (n_cases, 1) or (n_cases, m).
        labelings: (n_cases, m).
        folds: (n_cases,).
    """
    wins, pairs = np.zeros(labelings.shape[1]), np.zeros(labelings.shape[1])
    for fold in np.unique(folds):
        inside = folds == fold
        n1 = labelings[inside].sum(axis=0)
        wins += (scipy.stats.rankdata(scores[inside], axis=0) * labelings[inside]).sum(axis=0) - n1 * (n1 + 1) / 2
        pairs += n1 * (inside.sum() - n1)
    return np.divide(wins, pairs, out=np.full(len(wins), 0.5), where=pairs > 0)
