"""Does a network rank cases by label? The permutation test of declared AUCs, of one setting or of a family of them.

A network that has learned nothing ranks the cases of its validation fold as well under any other labels. So labels of
whole groups are permuted (within folds, where each case lies in one; within the strata of shortcuts), and the AUC over
all networks of a setting is compared with that of every permutation: p = (1 + b) / (1 + B) (Phipson and Smyth 2010).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flairprep.stats.metrics import Array, ranks
from flairprep.stats.permutation import permuted_labels, step_down_min_p


class Declared(NamedTuple):
    """The declared predictions of one setting; each (n_rows,), a row per network and case."""

    cases: Array  # index into the labels of the cohort
    y_prob: Array
    units: Array  # split seed and fold
    repeats: Array  # networks of one unit, or splits of the same cases


def auc_p_value(
    y_true: Array,
    y_prob: Array,
    *,
    groups: Array,
    strata: Array | None = None,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> float:
    """Return the one-sided p of one network's AUC on one fold: how often permuted labels are ranked as well.

    Args:
        y_true, y_prob: (n_cases,).
        groups: (n_cases,); cases of a group share a patient and are permuted together, among groups of equal size.
        strata: (n_cases,); labels never leave their stratum. None: one stratum.
    """
    options = {"n_permutations": n_permutations, "seed": seed}
    return float(step_down_min_p(auc_null(y_true, y_prob, groups=groups, strata=strata, **options)[None])[0])


def auc_null(
    y_true: Array,
    y_prob: Array,
    *,
    groups: Array,
    strata: Array | None = None,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> Array:
    """Return the AUC of one network on one fold, and then its null distribution: under each permutation of the labels.

    (1 + n_permutations,), in whose order `auc_p_value` counts; 0.5 where there is one label only.
    """
    n = len(y_true)
    one = Declared(np.arange(n), np.asarray(y_prob), np.zeros(n), np.zeros(n))
    excess = _excess(y_true, [one], groups, strata, folds=1, n_permutations=n_permutations, seed=seed)
    return 0.5 + excess[0]


def family_p_values(
    y_true: Array,
    settings: Sequence[Declared],
    *,
    groups: Array,
    strata: Array | None = None,
    folds: int,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> Array:
    """Return the p of each setting, corrected for all of them by step-down minP (Westfall and Young 1993);
    (n_settings,).

    All settings see the same permutations, which keeps how they depend on one another. Folds of a split share training
    cases, so their AUCs are correlated where nothing was learned; permutation does not show that. The spread of a mean
    over several folds is therefore multiplied by sqrt(1 + (folds - 1) / folds), as in `replicates`.

    Args:
        y_true, groups, strata: (n_cases,), of the cohort.
        folds: of a split, run or not.
    """
    return step_down_min_p(_excess(y_true, settings, groups, strata, folds, n_permutations, seed))


def pooled_auc_of(setting: Declared, labelings: Array) -> Array:
    """Return the AUC over all networks of a setting under each labeling, from pairs of cases of one network.

    labelings: (n_cases, m), 0 or 1. Returns (m,), 0.5 where a labeling leaves no pair.
    """
    above, pairs = np.zeros(labelings.shape[1]), np.zeros(labelings.shape[1])
    for unit, repeat in sorted(set(zip(setting.units.tolist(), setting.repeats.tolist(), strict=True))):
        here = (setting.units == unit) & (setting.repeats == repeat)
        labels = labelings[setting.cases[here]].astype(float)
        ones = labels.sum(axis=0)
        above += ranks(setting.y_prob[here]) @ labels - ones * (ones + 1) / 2
        pairs += ones * (len(labels) - ones)
    return np.divide(above, pairs, out=np.full(len(above), 0.5), where=pairs > 0)


def _excess(
    y_true: Array,
    settings: Sequence[Declared],
    groups: Array,
    strata: Array | None,
    folds: int,
    n_permutations: int,
    seed: int,
) -> Array:
    """Return by how much the AUC of each setting is above 0.5, observed and then permuted: (n_settings, 1 + B)."""
    y_true = np.asarray(y_true)
    within = _permuted_within(len(y_true), settings, strata)
    rng = np.random.default_rng(seed)
    permuted = permuted_labels(y_true.astype(np.int8), groups, within, n_permutations, rng)
    labelings = np.column_stack([y_true.astype(np.int8), permuted])
    statistics = []
    for setting in settings:
        excess = pooled_auc_of(setting, labelings) - 0.5
        if len(np.unique(setting.units)) > 1:
            excess[1:] *= np.sqrt(1 + (folds - 1) / folds)
        statistics.append(excess)
    return np.round(statistics, 12)  # equal AUCs stay equal


def _permuted_within(n_cases: int, settings: Sequence[Declared], strata: Array | None) -> Array | None:
    """Return the strata that labels stay in: with one split also the fold of each case, that all settings agree on."""
    pairs = {pair for one in settings for pair in zip(one.cases.tolist(), one.units.tolist(), strict=True)}
    of_case = dict(pairs)
    if len(pairs) > len(of_case):  # several splits: no fold is the case's own
        return None if strata is None else np.asarray(strata)
    units = [str(of_case.get(case)) for case in range(n_cases)]
    return np.array(units if strata is None else [f"{unit} {one}" for unit, one in zip(units, strata, strict=True)])
