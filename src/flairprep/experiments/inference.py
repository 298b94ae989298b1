"""Intervals, differences and p-values of settings over folds, split seeds and training seeds.

Networks of two folds share most training cases, so their errors correlate; training seeds and split seeds repeat cases.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy  # its submodules load on first use

from flairprep.experiments.runs import ExperimentRun
from flairprep.experiments.settings import CASE_KEY, FOLD_KEY, REPEAT_KEY
from flairprep.stats import bootstrap, hypothesis_tests, intervals, metrics, permutation, power

POWER = 0.8
MAX_FOLD_P = 0.99  # of a fold in `stouffer`: discrete tests often give p = 1, which has no z-score


def average_over_repeats(
    table: pd.DataFrame, statistic: Callable[[pd.DataFrame], tuple[float, ...]]
) -> tuple[float, ...]:
    """Return the mean of `statistic` over split seeds and repeats, weighted by their cases.

    Repeats show the same cases again, so bounds of intervals are averaged too, as if all had the same error. The
    interval is too wide rather than too narrow.

    Args:
        table: of `declared_table`, or `pair`.
        statistic: gets the rows of one split seed and repeat.
    """
    repeats = [repeat for _, repeat in table.groupby(REPEAT_KEY)]
    values = np.array([statistic(repeat) for repeat in repeats], float)
    return tuple(np.average(values, axis=0, weights=[len(repeat) for repeat in repeats]).tolist())


def metric_interval(table: pd.DataFrame, metric: metrics.PairedMetric, seed: int) -> tuple[float, float, float]:
    """Return declared accuracy or AUC over folds with its 95 % bootstrap interval: (estimate, low, high).

    If all cases are right, or all wrong, the bootstrap has no width. Then the interval is Clopper-Pearson's over
    patients, or that of `intervals.pooled_auc`.
    """

    def one_repeat(repeat: pd.DataFrame) -> tuple[float, float, float]:
        y_true, y_prob, folds, groups = (repeat[name].to_numpy() for name in ("label", "probability", "fold", "group"))
        estimate, low, high = bootstrap.bootstrap_interval(
            y_true, y_prob, groups=groups, folds=folds, metric=metric, seed=seed
        )
        if low < high or math.isnan(estimate):
            return estimate, low, high
        if metric == "auc":
            return intervals.pooled_auc([(y_true[folds == fold], y_prob[folds == fold]) for fold in np.unique(folds)])
        patients = repeat["group"].nunique()
        return estimate, *intervals.clopper_pearson(round(estimate * patients), patients)

    estimate, low, high = average_over_repeats(table, one_repeat)
    return estimate, low, high


def align(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return the rows of `declared_table` that all settings share, row n of each being the same case and repeat.

    Per fold the training seeds that all settings have are paired. Without any, seeds are paired in their order if all
    settings have equally many, else the first of each. So no setting has more networks than another.
    """
    seeds_by_fold: list[dict[tuple[int, int], list[int]]] = [{} for _ in tables]
    for seeds, table in zip(seeds_by_fold, tables, strict=True):
        networks = table[[*FOLD_KEY, "seed"]].drop_duplicates().to_numpy().tolist()
        for split_seed, fold, seed in sorted(map(tuple, networks)):
            seeds.setdefault((split_seed, fold), []).append(seed)
    numbered: list[list[tuple[int, int, int, int]]] = [[] for _ in tables]
    for split_seed, fold in sorted(set.intersection(*map(set, seeds_by_fold))):
        paired = [seeds[split_seed, fold] for seeds in seeds_by_fold]
        if shared := sorted(set.intersection(*map(set, paired))):
            paired = [shared for _ in tables]
        elif len(set(map(len, paired))) > 1:
            paired = [seeds[:1] for seeds in paired]
        for rows, paired_seeds in zip(numbered, paired, strict=True):
            rows += [(split_seed, fold, seed, repeat) for repeat, seed in enumerate(paired_seeds)]
    key = [*CASE_KEY, "repeat"]
    renumbered = [
        table.drop(columns="repeat").merge(
            pd.DataFrame(rows, columns=[*FOLD_KEY, "seed", "repeat"]), on=[*FOLD_KEY, "seed"]
        )
        for table, rows in zip(tables, numbered, strict=True)
    ]
    counts = pd.concat([table[key] for table in renumbered]).value_counts()
    shared_rows = counts[counts == len(tables)].index.to_frame(index=False).sort_values(key)
    return [shared_rows.merge(table, on=key) for table in renumbered]


def pair(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that two settings share, see `align`: with probability_a, probability_b, seed_a and seed_b."""
    return join(*align([a, b]))


def join(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Join aligned tables of two settings, as `pair` returns them."""
    key = [*CASE_KEY, "repeat"]
    return a.merge(b[[*key, "seed", "probability"]], on=key, suffixes=("_a", "_b"))


def metric_difference(pairs: pd.DataFrame, metric: metrics.PairedMetric, folds: int, seed: int) -> dict[str, Any]:
    """Test whether setting b and setting a differ on the cases that both declared: b minus a.

    The interval is the bootstrap's, widened by `widen_for_folds`. p of accuracies is exact McNemar's where each
    patient has one scan, else the bootstrap's; `correct_for_folds` corrects it. Over several repeats p is twice the
    mean (`correct_for_repeats`). With ten folds or more over the split seeds, Nadeau and Bengio's test asks whether
    other training sets would show the difference too. Then the larger p counts.

    Args:
        pairs: of `pair`.
        metric: accuracy or AUC.
        folds: of a split, run or not.
        seed: of the bootstrap.

    Returns:
        estimate, low, high, p (NaN with too few cases), and nadeau_bengio, None or its estimate, low, high, p.
    """

    def one_repeat(repeat: pd.DataFrame) -> tuple[float, float, float, float]:
        y_true, prob_a, prob_b = (repeat[name].to_numpy() for name in ("label", "probability_a", "probability_b"))
        groups, fold, k = repeat["group"].to_numpy(), repeat["fold"].to_numpy(), repeat["fold"].nunique()
        *interval, p = bootstrap.paired_difference(
            y_true, prob_a, prob_b, groups=groups, folds=fold, metric=metric, seed=seed
        )
        if metric == "accuracy" and len(set(groups.tolist())) == len(groups):
            p = hypothesis_tests.mcnemar_p_value((prob_a > 0.5) == y_true, (prob_b > 0.5) == y_true)
            return *widen_for_folds(interval, k, folds), correct_for_folds(p, k, folds)
        return *widen_for_folds(interval, k, folds), bootstrap_p_value(interval, p, k, folds)

    estimate, low, high, p = average_over_repeats(pairs, one_repeat)
    p = correct_for_repeats(p, pairs)
    measure = metrics.accuracy if metric == "accuracy" else metrics.auc

    def network_difference(rows: pd.DataFrame) -> float:
        y_true, prob_a, prob_b = rows[["label", "probability_a", "probability_b"]].to_numpy().T
        return measure(y_true, prob_b) - measure(y_true, prob_a)

    fold_differences = np.array(
        [
            np.mean([network_difference(rows) for _, rows in fold.groupby("repeat")])
            for _, fold in pairs.groupby(FOLD_KEY)
        ]
    )
    nadeau_bengio = None
    if len(fold_differences) >= hypothesis_tests.MIN_DIFFERENCES and np.isfinite(fold_differences).all():
        numbers = hypothesis_tests.nadeau_bengio(fold_differences, test_share=1 / folds)
        nadeau_bengio = dict(zip(("estimate", "low", "high", "p"), numbers, strict=True))
        p = max(p, numbers[3])
    return {"estimate": estimate, "low": low, "high": high, "p": p, "nadeau_bengio": nadeau_bengio}


def correct_for_folds(p: float, k: int, folds: int) -> float:
    """Return a two-sided p of k folds that assumed independence with its z-score over sqrt(`design_effect`).

    Uncorrected, two settings that each fit other noise "differed" in 9 % of 1,000 trials over 5 folds.
    """
    return float(2 * scipy.stats.norm.sf(scipy.stats.norm.isf(p / 2) / math.sqrt(design_effect(k, folds))))


def correct_for_repeats(p: float, table: pd.DataFrame) -> float:
    """Return twice the mean p where `table` holds several repeats, valid under any dependence (Vovk and Wang 2020)."""
    return p if table.groupby(REPEAT_KEY).ngroups == 1 or math.isnan(p) else min(1.0, 2 * p)


def widen_for_folds(interval: Sequence[float], k: int, folds: int) -> tuple[float, float, float]:
    """Return (estimate, low, high) of a difference, widened by sqrt(`design_effect`), clipped to [-1, 1]."""
    estimate, low, high = interval
    if k == 1:
        return estimate, low, high
    factor = math.sqrt(design_effect(k, folds))
    return estimate, max(-1.0, estimate + factor * (low - estimate)), min(1.0, estimate + factor * (high - estimate))


def bootstrap_p_value(interval: Sequence[float], p: float, k: int, folds: int) -> float:
    """Return the p of a bootstrapped difference over k folds, corrected by `correct_for_folds`.

    One fold keeps its p. 2,000 draws give no p below 0.001, which is too coarse to correct. Over several folds the
    z-score therefore comes from the width of the interval.

    Args:
        interval: (estimate, low, high) of the bootstrap, 95 %.
        p: of the bootstrap.
        k: folds in the difference.
        folds: of a split.
    """
    estimate, low, high = interval
    if k > 1 and low != high and not math.isnan(p):
        z = abs(estimate) * 2 * scipy.stats.norm.isf(0.025) / (high - low)
        p = float(2 * scipy.stats.norm.sf(z))
    return correct_for_folds(p, k, folds)


def family_wise_p_values(
    runs: Sequence[ExperimentRun], *, permutations: int, seed: int, within: bool = False
) -> dict[tuple[int, int], dict[str, float]]:
    """Return each run's p of its selected epoch, corrected for all runs and epochs of its fold.

    Runs with different failed cases are judged on the cases that all runs of the fold have; without any, p is 1.

    Args:
        runs: of one cohort.
        permutations, seed: number and seed of the permutations.
        within: permute labels only within the strata of the audit's shortcuts.

    Returns:
        (split seed, fold) -> run name -> p.
    """
    p_values = {}
    for split_seed, fold in sorted({(run.split_seed, run.fold) for run in runs}):
        fold_runs = [run for run in runs if (run.split_seed, run.fold) == (split_seed, fold)]
        names = [run.name for run in fold_runs]
        shared = sorted(set.intersection(*(set(run.validation.case_ids) for run in fold_runs)))
        if not shared:
            p_values[split_seed, fold] = dict.fromkeys(names, 1.0)
            continue
        indices = [np.searchsorted(run.validation.case_ids, shared) for run in fold_runs]
        strata = [" ".join((run.strata or {}).get(case, "") for run in fold_runs) for case in shared]
        adjusted = permutation.joint_selection_p_values(
            fold_runs[0].validation.y_true[indices[0]],
            [run.validation.y_prob[:, index] for run, index in zip(fold_runs, indices, strict=True)],
            metrics=[run.monitor for run in fold_runs],
            groups=fold_runs[0].validation.groups[indices[0]],
            strata=np.array(strata) if within else None,
            n_permutations=permutations,
            seed=seed,
        )
        p_values[split_seed, fold] = dict(zip(names, map(float, adjusted), strict=True))
    return p_values


def combine_folds(
    p_values: Mapping[tuple[int, int], Mapping[str, float]], grouped: Sequence[Sequence[ExperimentRun]]
) -> list[float]:
    """Return one family-wise p per setting, from those of its runs.

    Per fold the smallest p of a setting's runs counts, since these are corrected for one another. `stouffer` combines
    the folds of a split. Among settings with the same folds, the smallest p of those without signal is then valid,
    because it is valid in each fold. Bonferroni corrects for the number of different sets of folds (`count_families`).

    Args:
        p_values: of `family_wise_p_values`.
        grouped: the runs of each setting.
    """
    smallest: list[dict[int, dict[int, float]]] = []
    for runs in grouped:
        by_split: dict[int, dict[int, float]] = {}
        for run in runs:
            by_fold, p = by_split.setdefault(run.split_seed, {}), p_values[run.split_seed, run.fold][run.name]
            by_fold[run.fold] = min(p, by_fold.get(run.fold, 1.0))
        smallest.append(by_split)
    families = count_families(grouped)
    return [
        min(1.0, families * min(stouffer(list(by_fold.values()), runs[0].folds) for by_fold in by_split.values()))
        for by_split, runs in zip(smallest, grouped, strict=True)
    ]


def count_families(grouped: Sequence[Sequence[ExperimentRun]]) -> int:
    """Return the number of different sets of folds of a split among the settings, see `combine_folds`.

    There are several if another split seed repeats the cases, or if settings have run on different folds.
    """
    families = set()
    for runs in grouped:
        for split_seed in {run.split_seed for run in runs}:
            families.add((split_seed, *sorted({run.fold for run in runs if run.split_seed == split_seed})))
    return len(families)


def detectable_accuracy(
    grouped: Sequence[Sequence[ExperimentRun]], runs: Sequence[ExperimentRun], cases: int, nir: float, alpha: float
) -> float:
    """Return the smallest true accuracy that the exact test detects in a setting's cases with POWER, NaN if none.

    Args:
        grouped: the runs of all settings; `alpha` is divided by the number of tests that `combine_folds` corrects for.
        runs, cases, nir: of the setting. Cases of several folds count as fewer, by `design_effect`.
        alpha: level of all tests together.
    """
    runs_by_fold = Counter((run.split_seed, run.fold) for setting_runs in grouped for run in setting_runs)
    tests = count_families(grouped) * max(runs_by_fold[run.split_seed, run.fold] for run in runs)
    k = max(len({run.fold for run in runs if run.split_seed == one.split_seed}) for one in runs)
    effective_cases = round(cases / design_effect(k, runs[0].folds))
    return power.detectable_accuracy(effective_cases, nir, alpha / tests, POWER) if nir < 1 else math.nan


def stouffer(p_values: Sequence[float], folds: int) -> float:
    """Combine the p of some folds of a split: the sum of their z-scores over its standard deviation (Stouffer 1949).

    z-scores of two folds have the correlation 1 / folds, which Nadeau and Bengio (2003) give to errors. For linear
    learners of noise it was 0.12 to 0.15 with 5 folds. Taken as 0, a sum over the folds rejected 7 to 9 % of 1,000.
    """
    if len(p_values) == 1:
        return p_values[0]
    z = scipy.stats.norm.isf(np.minimum(p_values, MAX_FOLD_P))
    return float(scipy.stats.norm.sf(z.sum() / math.sqrt(len(z) * design_effect(len(z), folds))))


def design_effect(k: int, folds: int) -> float:
    """Return Kish's (1965) design effect of k folds: the variance of their sum relative to independent ones.

    It is 1 + (k - 1) * r, with the correlation r = 1 / folds of `stouffer`.
    """
    return 1 + (k - 1) / folds
