"""Intervals, differences and p-values of settings over folds, split seeds and training seeds."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy  # whose parts come when they are first used

from flairprep.experiments.runs import ExperimentRun
from flairprep.experiments.settings import REPEAT, ROW, UNIT
from flairprep.stats import bootstrap, hypothesis_tests, intervals, metrics, permutation, power

POWER = 0.8
MOST_P = 0.99  # of a fold: a p of 1, of which discrete tests have many, has no z-score


def over_repeats(rows: pd.DataFrame, numbers: Any) -> tuple[float, ...]:
    """The mean of what `numbers` gives for the rows of each split seed and repeat, weighted with their cases.

    Other split seeds, and other seeds of training, show the same cases again. So the mean of the bounds is taken, as if
    the intervals had one and the same error: an interval that is too wide rather than too narrow.
    """
    parts = [part for _, part in rows.groupby(REPEAT)]
    values = np.array([numbers(part) for part in parts], float)
    return tuple(np.average(values, axis=0, weights=[len(part) for part in parts]).tolist())


def measured(rows: pd.DataFrame, metric: metrics.PairedMetric, seed: int) -> tuple[float, float, float]:
    """Declared accuracy or AUC over folds with its 95 % interval, (estimate, low, high), by drawing patients.

    Where all are right, or all wrong, drawing says nothing: then the exact interval (Clopper-Pearson) or that of
    stats.pooled_auc.
    """

    def once(part: pd.DataFrame) -> tuple[float, float, float]:
        y_true, y_prob, fold = (part[name].to_numpy() for name in ("label", "probability", "fold"))
        found = bootstrap.bootstrap_interval(
            y_true, y_prob, groups=part["group"].to_numpy(), folds=fold, metric=metric, seed=seed
        )
        if found[1] < found[2] or math.isnan(found[0]):
            return found
        if metric == "auc":
            return intervals.pooled_auc([(y_true[fold == f], y_prob[fold == f]) for f in np.unique(fold)])
        patients = part["group"].nunique()
        return found[0], *intervals.clopper_pearson(round(found[0] * patients), patients)

    estimate, low, high = over_repeats(rows, once)
    return estimate, low, high


def aligned(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The rows of `declared_of` that all settings share, so that row n of each is the same case and `repeat`.

    In each fold the training seeds that all have are paired; where there are none, the seeds in their order if all have
    equally many, else the first of each. So no setting has more networks in it than another.
    """
    of_unit: list[dict[tuple[int, int], list[int]]] = [{} for _ in tables]
    for seeds_of, table in zip(of_unit, tables, strict=True):
        for split_seed, fold, seed in sorted(map(tuple, table[[*UNIT, "seed"]].drop_duplicates().to_numpy().tolist())):
            seeds_of.setdefault((split_seed, fold), []).append(seed)
    numbered: list[list[tuple[int, int, int, int]]] = [[] for _ in tables]
    for split_seed, fold in sorted(set.intersection(*(set(seeds) for seeds in of_unit))):
        seeds = [found[split_seed, fold] for found in of_unit]
        if shared := sorted(set.intersection(*map(set, seeds))):
            seeds = [shared for _ in tables]
        elif len(set(map(len, seeds))) > 1:
            seeds = [of_one[:1] for of_one in seeds]
        for rows, of_one in zip(numbered, seeds, strict=True):
            rows += [(split_seed, fold, seed, repeat) for repeat, seed in enumerate(of_one)]
    key = [*ROW, "repeat"]
    kept = [
        table.drop(columns="repeat").merge(pd.DataFrame(rows, columns=[*UNIT, "seed", "repeat"]), on=[*UNIT, "seed"])
        for table, rows in zip(tables, numbered, strict=True)
    ]
    counts = pd.concat([table[key] for table in kept]).value_counts()
    shared_rows = counts[counts == len(tables)].index.to_frame(index=False).sort_values(key)
    return [shared_rows.merge(table, on=key) for table in kept]


def paired(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The rows that two settings share, see `aligned`: with probability_a, probability_b, seed_a and seed_b."""
    return beside(*aligned([a, b]))


def beside(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    key = [*ROW, "repeat"]
    return a.merge(b[[*key, "seed", "probability"]], on=key, suffixes=("_a", "_b"))


def difference(rows: pd.DataFrame, metric: metrics.PairedMetric, folds: int, seed: int) -> dict[str, Any]:
    """Setting b minus setting a on the cases that both declared: estimate, low, high, p, and nadeau_bengio.

    The interval is that of drawing patients; p of accuracies comes from exact McNemar where each patient has one scan,
    else from the draws; p is corrected by `for_folds`, the interval by `widened`. Over several split seeds or seeds of
    training p is twice the mean (Vovk and Wang 2020: valid however they depend on one another). With ten folds or more
    over the split seeds, Nadeau and Bengio's test asks too whether other training sets would show the difference: then
    the larger p counts. p is NaN where the cases are too few for one.

    Args:
        rows: of `paired`.
        folds: of a split, run or not.
    """

    def once(part: pd.DataFrame) -> tuple[float, float, float, float]:
        y_true, prob_a, prob_b = (part[name].to_numpy() for name in ("label", "probability_a", "probability_b"))
        groups, fold, k = part["group"].to_numpy(), part["fold"].to_numpy(), part["fold"].nunique()
        *found, p = bootstrap.paired_difference(
            y_true, prob_a, prob_b, groups=groups, folds=fold, metric=metric, seed=seed
        )
        if metric == "accuracy" and len(set(groups.tolist())) == len(groups):
            p = hypothesis_tests.mcnemar_p_value((prob_a > 0.5) == y_true, (prob_b > 0.5) == y_true)
            return *widened(found, k, folds), for_folds(p, k, folds)
        return *widened(found, k, folds), of_draws(found, p, k, folds)

    estimate, low, high, p = over_repeats(rows, once)
    p = of_repeats(p, rows)
    measure = metrics.accuracy if metric == "accuracy" else metrics.auc

    def of_network(unit: pd.DataFrame) -> float:
        y_true, prob_a, prob_b = unit[["label", "probability_a", "probability_b"]].to_numpy().T
        return measure(y_true, prob_b) - measure(y_true, prob_a)

    values = np.array(
        [np.mean([of_network(unit) for _, unit in of_unit.groupby("repeat")]) for _, of_unit in rows.groupby(UNIT)]
    )
    again = None
    if len(values) >= hypothesis_tests.MIN_DIFFERENCES and np.isfinite(values).all():
        numbers = hypothesis_tests.nadeau_bengio(values, test_share=1 / folds)
        again, p = dict(zip(("estimate", "low", "high", "p"), numbers, strict=True)), max(p, numbers[3])
    return {"estimate": estimate, "low": low, "high": high, "p": p, "nadeau_bengio": again}


def for_folds(p: float, k: int, folds: int) -> float:
    """A two-sided p of k folds of a split that took them for independent: its z-score over sqrt(`correlated`).

    Without it, two settings that had each learned a noise of its own "differed" in 9 % of 1,000 trials over 5 folds.
    """
    return float(2 * scipy.stats.norm.sf(scipy.stats.norm.isf(p / 2) / math.sqrt(correlated(k, folds))))


def of_repeats(p: float, rows: pd.DataFrame) -> float:
    """Twice the mean p where `rows` hold several repeats, see `over_repeats`; one repeat's p as it is."""
    return p if rows.groupby(REPEAT).ngroups == 1 or math.isnan(p) else min(1.0, 2 * p)


def widened(found: Sequence[float], k: int, folds: int) -> tuple[float, float, float]:
    """(estimate, low, high) of a difference with the bounds sqrt(`correlated`) further away, as far as -1 and 1."""
    estimate, low, high = found
    if k == 1:
        return estimate, low, high
    more = math.sqrt(correlated(k, folds))
    return estimate, max(-1.0, estimate + more * (low - estimate)), min(1.0, estimate + more * (high - estimate))


def of_draws(found: Sequence[float], p: float, k: int, folds: int) -> float:
    """`for_folds` of (estimate, low, high) and p by drawing patients.

    Of one fold p itself. The p of 2,000 draws is at least 0.001, too coarse to be corrected: over several folds the
    z-score comes from the width of the interval.
    """
    estimate, low, high = found
    if k == 1 or low == high or math.isnan(p):
        return for_folds(p, k, folds)
    return for_folds(
        float(2 * scipy.stats.norm.sf(abs(estimate) * 2 * scipy.stats.norm.isf(0.025) / (high - low))), k, folds
    )


def family_wise(
    runs: Sequence[ExperimentRun], *, permutations: int, seed: int, within: bool = False
) -> dict[tuple[int, int], dict[str, float]]:
    """By split seed and fold: each run's p of its selected epoch, corrected for all runs and epochs of that fold.

    Runs that lost different cases on the way are judged on those that all of the fold have; without any, p is 1.

    within: labels are permuted inside the strata of the audit's shortcuts only.
    """
    found = {}
    for unit in sorted({(run.split_seed, run.fold) for run in runs}):
        there = [run for run in runs if (run.split_seed, run.fold) == unit]
        shared = sorted(set.intersection(*(set(run.found.case_ids) for run in there)))
        if not shared:
            found[unit] = {run.name: 1.0 for run in there}
            continue
        places = [np.searchsorted(run.found.case_ids, shared) for run in there]
        strata = [" ".join((run.strata or {}).get(case, "") for run in there) for case in shared]
        p_values = permutation.joint_selection_p_values(
            there[0].found.y_true[places[0]],
            [run.found.y_prob[:, place] for run, place in zip(there, places, strict=True)],
            metrics=[run.monitor for run in there],
            groups=there[0].found.groups[places[0]],
            strata=np.array(strata) if within else None,
            n_permutations=permutations,
            seed=seed,
        )
        found[unit] = dict(zip((run.name for run in there), map(float, p_values), strict=True))
    return found


def over_folds(
    p_values: Mapping[tuple[int, int], Mapping[str, float]], grouped: Sequence[Sequence[ExperimentRun]]
) -> list[float]:
    """One family-wise p of each setting from those of its runs, see `family_wise`; grouped: the runs by setting.

    In a fold the smallest of a setting's runs counts, since they are corrected for one another; `stouffer` puts the
    folds of a split together. Among settings with the same folds the smallest p of those that learned nothing then is
    a valid p too, since in each fold the smallest is. What is left is Bonferroni: times the number of different sets
    of folds, as where another split seed shows the same cases again, or one setting has more folds than another.
    """
    smallest: list[dict[int, dict[int, float]]] = []
    for runs in grouped:
        by_split: dict[int, dict[int, float]] = {}
        for run in runs:
            folds, p = by_split.setdefault(run.split_seed, {}), p_values[run.split_seed, run.fold][run.name]
            folds[run.fold] = min(p, folds.get(run.fold, 1.0))
        smallest.append(by_split)
    times = families(grouped)
    return [
        min(1.0, times * min(stouffer(list(of_folds.values()), runs[0].folds) for of_folds in by_split.values()))
        for by_split, runs in zip(smallest, grouped, strict=True)
    ]


def families(grouped: Sequence[Sequence[ExperimentRun]]) -> int:
    """How many different sets of folds of a split the settings have, see `over_folds`."""
    found = set()
    for runs in grouped:
        for split_seed in {run.split_seed for run in runs}:
            found.add((split_seed, *sorted({run.fold for run in runs if run.split_seed == split_seed})))
    return len(found)


def learnable(
    grouped: Sequence[Sequence[ExperimentRun]], runs: Sequence[ExperimentRun], cases: int, nir: float, alpha: float
) -> float:
    """The smallest true accuracy that a setting could show with its cases, by the exact test, NaN if none.

    Args:
        grouped: the runs of all settings: the level is that of as many tests as `over_folds` corrects for.
        runs, cases, nir: of the setting. Cases of several folds count as by `correlated`.
    """
    there = Counter((run.split_seed, run.fold) for of in grouped for run in of)
    tests = families(grouped) * max(there[run.split_seed, run.fold] for run in runs)
    k = max(len({run.fold for run in runs if run.split_seed == one.split_seed}) for one in runs)
    worth = round(cases / correlated(k, runs[0].folds))
    return power.detectable_accuracy(worth, nir, alpha / tests, POWER) if nir < 1 else math.nan


def stouffer(p_values: Sequence[float], folds: int) -> float:
    """One p from those of some folds of a split: the sum of their z-scores over its standard deviation.

    The networks of two folds share most of their training cases, so what they got from noise is alike: z-scores have
    the correlation that Nadeau and Bengio (2003) give the errors, the share of a fold, 1 / folds. (For linear learners
    of noise it was 0.12 to 0.15 with 5 folds; taken as 0, a sum over the folds rejected 7 to 9 % of 1,000.)
    """
    if len(p_values) == 1:
        return p_values[0]
    z = scipy.stats.norm.isf(np.minimum(p_values, MOST_P))
    return float(scipy.stats.norm.sf(z.sum() / math.sqrt(len(z) * correlated(len(z), folds))))


def correlated(k: int, folds: int) -> float:
    """How much larger the variance of a sum over k folds is than that of independent ones, see `stouffer`."""
    return 1 + (k - 1) / folds
