"""The choice of an epoch, and what that choice is worth: permutation tests that replay it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy  # whose parts come when they are first used

from flairprep.stats.metrics import Array, Metric, accuracies, epoch_scores


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
    reached = replayed_accuracies(y_true, [y_prob], [metric], groups, strata, n_permutations, seed)
    return float(step_down_min_p(reached)[0])


def joint_selection_p_values(
    y_true: Array,
    y_probs: Sequence[Array],
    *,
    metrics: Sequence[Metric],
    groups: Array,
    strata: Array | None = None,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> Array:
    """`selection_p_value` of several runs on the same cases, corrected for there being several.

    Each permutation is dealt to all runs, which keeps how they depend on one another, and every run replays its own
    selection. `step_down_min_p` then controls the chance of one false "learned" among them, whichever have learned.

    Args:
        y_true: (n_cases,), 0 or 1.
        y_probs: of each run (n_epochs, n_cases); runs may differ in epochs, never in cases.
        metrics: of each run, what chooses its epoch.
        groups, strata, n_permutations, seed: as for `selection_p_value`.

    Returns:
        (n_runs,): family-wise p-values; a single run's is its `selection_p_value`.
    """
    return step_down_min_p(replayed_accuracies(y_true, y_probs, metrics, groups, strata, n_permutations, seed))


def replayed_accuracies(
    y_true: Array,
    y_probs: Sequence[Array],
    metrics: Sequence[Metric],
    groups: Array,
    strata: Array | None,
    n_permutations: int,
    seed: int,
) -> Array:
    """The selected epoch's accuracy of each run, (n_runs, 1 + n_permutations): with the true labels, then permuted."""
    y_true, y_probs = np.asarray(y_true, float), [np.asarray(y_prob, float) for y_prob in y_probs]
    rng = np.random.default_rng(seed)
    reached = [_selected_accuracies(y_true[:, None], y_probs, metrics)]
    for start in range(0, n_permutations, 1000):  # what is in memory at a time
        permuted = permuted_labels(y_true, groups, strata, min(1000, n_permutations - start), rng)
        reached.append(_selected_accuracies(permuted, y_probs, metrics))
    return np.concatenate(reached, axis=1).round(9)  # equal accuracies stay equal


def step_down_min_p(reached: Array) -> Array:
    """Family-wise p-values of tests whose statistics were permuted together: step-down minP.

    The p-value of each entry is the share of its row that is at least as large. With the rows in the order of their
    observed p, each gets the share of the columns in which it or a later row has a p-value as small as its observed
    one, and no less than the row before (Westfall and Young 1993, algorithm 2.8; p-values and their minima from one
    set of permutations: Ge, Dudoit and Speed 2003). As the observed column counts, no p is below 1 / (1 + B).

    Args:
        reached: (n_tests, 1 + B), large where the test finds something; the first column is the observed one.

    Returns:
        (n_tests,), in the order given.
    """
    p = scipy.stats.rankdata(-reached, method="max", axis=1)  # times 1 + B, so that ties are ties
    order = p[:, 0].argsort(kind="stable")
    smallest = np.minimum.accumulate(p[order][::-1])[::-1]  # among this row and the later ones
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate((smallest <= p[order, :1]).mean(axis=1))
    return adjusted


def permuted_labels(y_true: Array, groups: Array, strata: Array | None, count: int, rng: np.random.Generator) -> Array:
    """(n_cases, count): the labels of groups dealt out anew among the groups of the same size and stratum.

    y_true, groups, strata: (n_cases,).
    """
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


def _selected_accuracies(labels: Array, y_probs: Sequence[Array], metrics: Sequence[Metric]) -> Array:
    """(n_runs, n_labelings): the accuracy at the epoch that each run's metric chooses."""
    chosen = [
        accuracies(labels, y_prob)[epoch_scores(labels, y_prob, metric).argmax(axis=0), np.arange(labels.shape[1])]
        for y_prob, metric in zip(y_probs, metrics, strict=True)
    ]
    return np.array(chosen)
