"""Permutation tests that replay the selection of an epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flairprep.stats.metrics import Array, Metric, accuracies, epoch_scores

CHUNK = 1000  # permutations in memory at a time


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
    """Test whether chance reaches the selected epoch's accuracy: a permutation test that replays the selection.

    Each permutation deals the labels of whole groups out anew, among groups of equal size within `strata`. `metric`
    then selects an epoch again, whose accuracy at 0.5 is compared with the observed one. p = (1 + b) / (1 + B), with
    ties counted against the observed (Phipson and Smyth 2010).

    Args:
        y_true: (n_cases,), 0 or 1.
        y_prob: (n_epochs, n_cases), every epoch that ran.
        metric: selects the epoch.
        groups: (n_cases,); cases of a group share a patient.
        strata: (n_cases,); labels never leave their stratum. None: one stratum.
        n_permutations, seed: number and seed of the permutations.
    """
    selected = replayed_accuracies(y_true, [y_prob], [metric], groups, strata, n_permutations, seed)
    return float(step_down_min_p(selected)[0])


def replayed_accuracies(
    y_true: Array,
    y_probs: Sequence[Array],
    metrics: Sequence[Metric],
    groups: Array,
    strata: Array | None,
    n_permutations: int,
    seed: int,
) -> Array:
    """Return the selected epoch's accuracy per run, observed and then permuted: (n_runs, 1 + n_permutations)."""
    y_true, y_probs = np.asarray(y_true, float), [np.asarray(y_prob, float) for y_prob in y_probs]
    rng = np.random.default_rng(seed)
    selected = [_selected_accuracies(y_true[:, None], y_probs, metrics)]
    for start in range(0, n_permutations, CHUNK):
        permuted = permuted_labels(y_true, groups, strata, min(CHUNK, n_permutations - start), rng)
        selected.append(_selected_accuracies(permuted, y_probs, metrics))
    return np.concatenate(selected, axis=1).round(9)  # equal accuracies stay equal


def step_down_min_p(statistics: Array) -> Array:
    """Return family-wise p-values of tests whose statistics were permuted together: step-down minP.

    The raw p-value of an entry is the share of its row that is at least as large. Rows are taken in the order of their
    observed raw p. In each column the smallest raw p of a row and all later rows is compared with the row's observed
    one. The adjusted p is the share of columns where it is no larger, made monotone (Westfall and Young 1993, algorithm
    2.8). One set of permutations gives both the p-values and their minima (Ge, Dudoit and Speed 2003). The observed
    column counts, so p >= 1 / (1 + B).

    Args:
        statistics: (n_tests, 1 + B), large values speak against the null hypothesis; the first column is observed.

    Returns:
        (n_tests,), in the order given.
    """
    # p times 1 + B, so that ties are ties
    counts = np.array([np.searchsorted(np.sort(row), row, side="right") for row in -statistics])
    order = counts[:, 0].argsort(kind="stable")
    smallest = np.minimum.accumulate(counts[order][::-1])[::-1]  # over this row and the later ones
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate((smallest <= counts[order, :1]).mean(axis=1))
    return adjusted


def permuted_labels(y_true: Array, groups: Array, strata: Array | None, count: int, rng: np.random.Generator) -> Array:
    """Return `count` permutations of the labels over groups of equal size and stratum: (n_cases, count).

    Args:
        y_true, groups, strata: (n_cases,).
        count: number of permutations.
        rng: source of the permutations.
    """
    members: dict[Any, list[int]] = {}
    for case, group in enumerate(groups):
        members.setdefault(group, []).append(case)
    exchangeable: dict[Any, list[list[int]]] = {}
    for cases in members.values():
        stratum = None if strata is None else tuple(strata[case] for case in cases)
        exchangeable.setdefault((len(cases), stratum), []).append(cases)
    permuted = np.repeat(y_true[:, None], count, axis=1)
    for blocks in exchangeable.values():
        cases_by_group = np.array(blocks)  # (n_groups, size)
        order = rng.permuted(np.tile(np.arange(len(blocks)), (count, 1)), axis=1)  # (count, n_groups)
        permuted[cases_by_group.ravel()] = y_true[cases_by_group[order]].reshape(count, -1).T
    return permuted


def _selected_accuracies(labels: Array, y_probs: Sequence[Array], metrics: Sequence[Metric]) -> Array:
    """Return the accuracy at the epoch that each run's metric selects: (n_runs, n_labelings)."""
    selected = [
        accuracies(labels, y_prob)[epoch_scores(labels, y_prob, metric).argmax(axis=0), np.arange(labels.shape[1])]
        for y_prob, metric in zip(y_probs, metrics, strict=True)
    ]
    return np.array(selected)
