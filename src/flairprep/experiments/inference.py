"""Intervals, differences and p-values of settings over folds, split seeds and training seeds.

All evidence of a setting enters one estimate and one test: see `stats.replicates` and `stats.ranking`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from flairprep.experiments.runs import ExperimentRun
from flairprep.experiments.settings import CASE_KEY, FOLD_KEY, REPEAT_KEY
from flairprep.stats import hypothesis_tests, metrics, power, ranking, replicates
from flairprep.stats.metrics import Array

POWER = 0.8
LEAST_PERMUTATIONS = 10


Columns = Mapping[str, Array] | pd.DataFrame


def rows_of(table: Columns) -> replicates.Rows:
    """Return labels, patients, units (split seed, fold) and repeats of a `declared_table`, or of `pair`."""
    units, repeats = (_codes([np.asarray(table[name]) for name in key]) for key in (FOLD_KEY, REPEAT_KEY))
    return replicates.Rows(np.asarray(table["label"]), np.asarray(table["group"]), units, repeats)


def _codes(columns: Sequence[Array]) -> npt.NDArray[np.intp]:
    """Number the distinct rows of `columns`, (n,) each, in their order: 0, 1, ..."""
    codes = np.zeros(len(columns[0]), np.intp)
    for column in columns:
        values, places = np.unique(column, return_inverse=True)
        codes = np.unique(codes * len(values) + places, return_inverse=True)[1]
    return codes


def metric_interval(table: pd.DataFrame, metric: metrics.PairedMetric, folds: int) -> tuple[float, float, float]:
    """Return declared accuracy or AUC over all networks of a setting, (estimate, low, high); see `replicates.estimate`.

    folds: of a split, run or not.
    """
    return replicates.estimate(rows_of(table), table["probability"].to_numpy(), metric, folds=folds)


def enough_permutations(permutations: int, tests: int, alpha: float) -> int:
    """Return `permutations`, or more where so many `tests` need them: their smallest p is about tests / permutations.

    With LEAST_PERMUTATIONS / alpha for each test, alpha / LEAST_PERMUTATIONS is within reach.
    """
    return max(permutations, math.ceil(LEAST_PERMUTATIONS * tests / alpha))


def learned_p_values(
    tables: Sequence[pd.DataFrame],
    folds: int,
    *,
    strata: dict[str, str] | None = None,
    permutations: int,
    seed: int,
) -> list[float]:
    """Return the p of each setting's declared AUC over all its networks, corrected for all settings.

    Args:
        tables: `settings.declared_table` of each setting.
        folds: of a split, run or not.
        strata: by case id, that labels stay in when they are permuted; None: one stratum.
        permutations, seed: number and seed of the permutations.
    """
    cases = pd.concat(tables).drop_duplicates("case_id").set_index("case_id").sort_index()
    units = pd.concat(tables)[FOLD_KEY].drop_duplicates().reset_index(drop=True)
    unit_of = {tuple(unit): code for code, unit in enumerate(units.itertuples(index=False, name=None))}
    settings = [
        ranking.Declared(
            cases.index.get_indexer(pd.Index(table["case_id"])),
            table["probability"].to_numpy(),
            np.array([unit_of[unit] for unit in table[FOLD_KEY].itertuples(index=False, name=None)]),
            table.groupby(REPEAT_KEY).ngroup().to_numpy(),
        )
        for table in tables
    ]
    p_values = ranking.family_p_values(
        cases["label"].to_numpy(),
        settings,
        groups=cases["group"].to_numpy(),
        strata=None if strata is None else np.array([strata.get(case, "") for case in cases.index]),
        folds=folds,
        n_permutations=permutations,
        seed=seed,
    )
    return [float(p) for p in p_values]


def strata_of(runs: Sequence[ExperimentRun]) -> dict[str, str] | None:
    """Return the strata of the audit's shortcuts by case id, those of all runs together; None where no run has any."""
    values: dict[str, set[str]] = {}
    for run in runs:
        for case, stratum in (run.strata or {}).items():
            values.setdefault(case, set()).add(stratum)
    return {case: " ".join(sorted(of_case)) for case, of_case in values.items()} if values else None


class Indexed(NamedTuple):
    """The columns of a `declared_table`, and the places of each network's rows by split seed, fold and seed."""

    columns: dict[str, Array]
    networks: dict[tuple[int, int, int], npt.NDArray[np.intp]]


def indexed(table: pd.DataFrame) -> Indexed:
    """Index a `declared_table`: many pairs are made of few settings."""
    places: dict[tuple[int, int, int], list[int]] = {}
    for place, network in enumerate(zip(*(table[name].to_list() for name in (*FOLD_KEY, "seed")), strict=True)):
        places.setdefault(network, []).append(place)
    columns = {str(name): table[name].to_numpy() for name in table.columns}
    return Indexed(columns, {network: np.array(rows, np.intp) for network, rows in places.items()})


def align(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return the rows of `declared_table` that all settings share, row n of each being the same case and repeat.

    Per fold the training seeds that all settings have are paired. Without any, seeds are paired in their order if all
    settings have equally many, else the first of each. So no setting has more networks than another.
    """
    places, repeats = _shared_rows(list(map(indexed, tables)))
    return [table.iloc[rows].assign(repeat=repeats) for table, rows in zip(tables, places, strict=True)]


def pair(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that two settings share, see `align`: with probability_a, probability_b, seed_a and seed_b."""
    return pd.DataFrame(pair_indexed(indexed(a), indexed(b)))


def pair_indexed(a: Indexed, b: Indexed) -> dict[str, Array]:
    """Return the columns of what `pair` does: of hundreds of pairs, tables alone would take half the time."""
    (rows_a, rows_b), repeats = _shared_rows([a, b])
    both = {name: a.columns[name][rows_a] for name in (*CASE_KEY, "label", "group")}
    own = {
        f"{name}_{side}": one.columns[name][rows]
        for side, one, rows in (("a", a, rows_a), ("b", b, rows_b))
        for name in ("seed", "probability")
    }
    return {**both, "repeat": repeats, **own}


def _shared_rows(settings: Sequence[Indexed]) -> tuple[list[npt.NDArray[np.intp]], npt.NDArray[np.intp]]:
    """Return the places that `align` pairs, of each setting in the order of fold, case and repeat; and the repeats."""
    seeds_by_fold: list[dict[tuple[int, int], list[int]]] = [{} for _ in settings]
    for seeds, setting in zip(seeds_by_fold, settings, strict=True):
        for split_seed, fold, seed in sorted(setting.networks):
            seeds.setdefault((split_seed, fold), []).append(seed)
    nothing = np.empty(0, np.intp)
    places, repeats = [[nothing] for _ in settings], [nothing]
    for split_seed, fold in sorted(set.intersection(*map(set, seeds_by_fold))):
        paired = [seeds[split_seed, fold] for seeds in seeds_by_fold]
        if shared := sorted(set.intersection(*map(set, paired))):
            paired = [shared for _ in settings]
        elif len(set(map(len, paired))) > 1:
            paired = [seeds[:1] for seeds in paired]
        by_repeat = [
            _of_shared_cases(
                settings, [s.networks[split_seed, fold, seed] for s, seed in zip(settings, of, strict=True)]
            )
            for of in zip(*paired, strict=True)
        ]
        ids = np.concatenate([settings[0].columns["case_id"][rows[0]] for rows in by_repeat])
        order = ids.argsort(kind="stable")
        repeats.append(np.repeat(np.arange(len(by_repeat)), [len(rows[0]) for rows in by_repeat])[order])
        for index, of_setting in enumerate(places):
            of_setting.append(np.concatenate([rows[index] for rows in by_repeat])[order])
    return [np.concatenate(of_setting) for of_setting in places], np.concatenate(repeats)


def _of_shared_cases(settings: Sequence[Indexed], places: Sequence[npt.NDArray[np.intp]]) -> list[npt.NDArray[np.intp]]:
    """Return the `places` of the cases that one network of each setting has; they are sorted by case in each."""
    ids = [setting.columns["case_id"][here] for setting, here in zip(settings, places, strict=True)]
    if all(np.array_equal(ids[0], other) for other in ids[1:]):
        return list(places)
    shared = set.intersection(*map(set, ids))
    return [here[[case in shared for case in of]] for of, here in zip(ids, places, strict=True)]


def metric_difference(
    pairs: Columns,
    metric: metrics.PairedMetric,
    folds: int,
    margin: float | None = None,
    rows: replicates.Rows | None = None,
) -> dict[str, Any]:
    """Test whether setting b and setting a differ on the cases that both declared: b minus a.

    One paired test over all networks, see `replicates.difference`. The accuracies of one network each, on one case per
    patient, are compared by exact McNemar. Nadeau and Bengio's test of the folds' differences stands beside.

    Args:
        pairs: of `pair` or `pair_indexed`.
        metric: accuracy or AUC.
        folds: of a split, run or not.
        margin: of practical equivalence; None: not tested.
        rows: `rows_of` the pairs, where they are at hand.

    Returns:
        estimate, low, high, error, p (NaN without both labels in a fold), p_equivalence (None without a margin),
        of_networks (there is one network each, so that nothing is said of the settings), and nadeau_bengio, None or its
        estimate, low, high, p.
    """
    rows = rows_of(pairs) if rows is None else rows
    prob_a, prob_b = np.asarray(pairs["probability_a"]), np.asarray(pairs["probability_b"])
    test = replicates.difference(rows, prob_a, prob_b, metric, folds=folds)
    p = test.p
    if metric == "accuracy" and test.of_networks and len(set(rows.patients)) == len(rows.patients):
        p = hypothesis_tests.mcnemar_p_value((prob_a > 0.5) == rows.y_true, (prob_b > 0.5) == rows.y_true)
    numbers: dict[str, Any] = {
        "estimate": test.estimate,
        "low": test.low,
        "high": test.high,
        "error": test.error,
        "p": p,
    }
    equivalence = None if margin is None else replicates.equivalence_p_value(test, margin)
    numbers |= {"p_equivalence": equivalence, "of_networks": test.of_networks}
    enough = len(set(rows.units)) >= hypothesis_tests.MIN_DIFFERENCES
    return {**numbers, "nadeau_bengio": _nadeau_bengio(rows, prob_a, prob_b, metric, folds) if enough else None}


def _nadeau_bengio(
    rows: replicates.Rows, prob_a: Array, prob_b: Array, metric: metrics.PairedMetric, folds: int
) -> dict[str, float] | None:
    """Return Nadeau and Bengio's numbers of the differences by split seed and fold; None where one is not defined."""
    measure = metrics.accuracy if metric == "accuracy" else metrics.auc

    def network_difference(here: Array) -> float:
        return measure(rows.y_true[here], prob_b[here]) - measure(rows.y_true[here], prob_a[here])

    differences = np.array(
        [
            np.mean(
                [network_difference(of_unit & (rows.repeats == repeat)) for repeat in np.unique(rows.repeats[of_unit])]
            )
            for unit in np.unique(rows.units)
            for of_unit in [rows.units == unit]
        ]
    )
    if not np.isfinite(differences).all():
        return None
    numbers = hypothesis_tests.nadeau_bengio(differences, test_share=1 / folds)
    return dict(zip(("estimate", "low", "high", "p"), numbers, strict=True))


def detectable_auc(table: pd.DataFrame, folds: int, alpha: float) -> float:
    """Return the smallest true AUC that a setting's cases show with POWER, NaN if none; alpha: of this one test.

    Cases of several folds count as fewer, by `replicates.shared_training`.
    """
    labels = table.drop_duplicates("case_id")["label"]
    worth = 1 / replicates.shared_training(rows_of(table), folds)
    return power.detectable_auc(round(labels.sum() * worth), round((1 - labels).sum() * worth), alpha, POWER)


def design_effect(k: int, folds: int) -> float:
    """Return how much k folds of a split multiply the variance, as `replicates.shared_training` does."""
    return 1 + (folds - 1) / folds if k > 1 else 1.0
