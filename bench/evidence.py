"""How often compare and the verdict are right, on small trained networks: more evidence, false findings, coverage.

python bench/evidence.py [--quick] > bench/results/evidence.txt

The networks are those of bench/learners.py: 585 cases, 5 folds, 30 epochs. "Before" is what version 0.1.0 did with the
same networks: a paired test per fold and repeat whose p were combined (twice the mean over repeats; over ten folds the
larger one of that and Nadeau and Bengio's), learning judged by the best epoch per fold. The exit status is 1 where a
requirement is not met.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # one core, before numpy is imported

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any

import learners
import machine
import numpy as np
from learners import Array
from scipy.stats import norm

from flairprep.evaluation.measures import EvaluateParams, measure
from flairprep.experiments import inference
from flairprep.experiments.pairs import compare_pairs
from flairprep.experiments.runs import ExperimentRun
from flairprep.experiments.settings import declared_table
from flairprep.stats import hypothesis_tests, intervals, permutation, power, ranking

PACKAGES = ("numpy", "scipy")
PROCESSES = 2
ALPHA, PERMUTATIONS = 0.05, 499
SMALL, ONES = 117, 61  # cases of a fold alone
SECTION = EvaluateParams(alpha=ALPHA, permutations=PERMUTATIONS, seed=0, prevalence=None, primary="auc")


# What version 0.1.0 did


def p_before(pairs: Any) -> float:
    """Return the p of a difference in accuracy: McNemar by repeat, corrected for folds, then combined."""
    p_values = []
    for _, part in pairs.groupby(["split_seed", "repeat"]):
        right = [(part[f"probability_{side}"] > 0.5) == (part["label"] > 0.5) for side in "ab"]
        z = norm.isf(hypothesis_tests.mcnemar_p_value(*(side.to_numpy() for side in right)) / 2)
        p_values.append(2 * norm.sf(z / math.sqrt(inference.design_effect(part["fold"].nunique(), learners.FOLDS))))
    p = p_values[0] if len(p_values) == 1 else min(1.0, 2 * float(np.mean(p_values)))
    beside = inference.metric_difference(pairs, "accuracy", learners.FOLDS)["nadeau_bengio"]
    return p if beside is None else max(p, beside["p"])


def learned_before(settings: Sequence[Sequence[ExperimentRun]], seed: int) -> list[float]:
    """Return a p per setting: best epochs corrected for all settings in each fold, then Stouffer's sum over folds."""
    by_fold = []
    for fold in range(learners.FOLDS):
        here = [next(run for run in runs if run.fold == fold) for runs in settings]
        first = here[0].validation
        replayed = permutation.replayed_accuracies(
            *(first.y_true, [run.validation.y_prob for run in here], ["val_loss"] * len(here), first.groups, None),
            *(PERMUTATIONS, seed),
        )
        by_fold.append(permutation.step_down_min_p(replayed))
    z = norm.isf(np.minimum(np.array(by_fold), 0.99)).sum(axis=0)
    return norm.sf(z / math.sqrt(learners.FOLDS * inference.design_effect(2, learners.FOLDS))).tolist()


# Trials: each returns numbers whose mean is told, most of them 0 or 1


def differ(
    seed: int, accuracies: tuple[float, float], width: int, splits: int, seeds: int, used: int
) -> tuple[float, float, float]:
    """Return whether two settings are called different: by accuracy before, by accuracy, by AUC.

    What is said of two networks does not count as said of settings.
    """
    cases = learners.cohort(seed)
    settings = [
        learners.runs(
            *(cases, learners.shift_of(accuracy, width), index),
            **{"splits": splits, "seeds": seeds, "used": used, "width": width, "cohort_seed": seed},
        )
        for index, accuracy in enumerate(accuracies)
    ]
    tables = [declared_table(runs) for runs in settings]
    before = p_before(inference.pair(*tables)) < ALPHA
    now = []
    for primary in ("accuracy", "auc"):
        (pair,) = compare_pairs(learners.tables_of(settings), tables, ALPHA, primary=primary)
        now.append(pair["answer"] == "differ" and not pair[primary]["of_networks"])
    return float(before), *map(float, now)


def equal(seed: int, accuracies: tuple[float, float], margin: float) -> tuple[float]:
    """Return whether two settings over 5 folds of 2 splits are called practically equal in accuracy."""
    cases = learners.cohort(seed)
    settings = [
        learners.runs(cases, learners.shift_of(accuracy, learners.STEADY), index, splits=2, cohort_seed=seed)
        for index, accuracy in enumerate(accuracies)
    ]
    tables = [declared_table(runs) for runs in settings]
    (pair,) = compare_pairs(learners.tables_of(settings), tables, ALPHA, primary="accuracy", margin=margin)
    return (float(pair["answer"] == "equal"),)


def learned(seed: int, accuracies: tuple[float, ...], splits: int = 1) -> tuple[float, float]:
    """Return whether the first setting over 5 folds is called learned, before and now."""
    cases = learners.cohort(seed)
    shifts = [0.0 if accuracy == 0.5 else learners.shift_of(accuracy, learners.STEADY) for accuracy in accuracies]
    settings = [
        learners.runs(cases, shift, index, splits=splits, cohort_seed=seed) for index, shift in enumerate(shifts)
    ]
    before = learned_before(settings, seed)[0] if splits == 1 else math.nan
    tables = [declared_table(runs) for runs in settings]
    now = inference.learned_p_values(tables, learners.FOLDS, permutations=PERMUTATIONS, seed=seed)[0]
    return float(before < ALPHA), float(now < ALPHA)


def any_learned(seed: int, count: int) -> tuple[float, float]:
    """Return whether some of `count` runs on noise, 117 validation cases, is called learned: each alone, the family."""
    cases = learners.cohort(seed)
    runs = []
    for index in range(count):
        weakest = np.geomspace(1e5, 1, count)[index]  # settings differ by their rate
        penalties = np.geomspace(1e3 * weakest, weakest, 30)
        runs.append(learners.run(cases, 0.0, index, fold=0, cohort_seed=seed, penalties=penalties))
    tables = [declared_table([run]) for run in runs]
    family = inference.learned_p_values(tables, learners.FOLDS, permutations=PERMUTATIONS, seed=seed)
    options = {"n_permutations": PERMUTATIONS, "seed": seed}
    alone = [
        ranking.auc_p_value(one.validation.y_true, one.validation.declared, groups=one.validation.groups, **options)
        for one in runs
    ]
    return float(min(alone) < ALPHA), float(min(family) < ALPHA)


def one_run(seed: int, accuracy: float) -> tuple[float, float]:
    """Return whether a run on 117 validation cases is called learned: by its best epoch, by its declared AUC."""
    shift = 0.0 if accuracy == 0.5 else learners.shift_of(accuracy, learners.STEADY)
    found = learners.run(learners.cohort(seed), shift, 0, fold=0, cohort_seed=seed).validation
    options = {"groups": found.groups, "n_permutations": PERMUTATIONS, "seed": seed}
    best = permutation.selection_p_value(found.y_true, found.y_prob, metric="val_loss", **options)
    return float(best < ALPHA), float(ranking.auc_p_value(found.y_true, found.declared, **options) < ALPHA)


def covered(seed: int, width: int, truth: tuple[float, float], splits: int) -> tuple[float, float, float, float]:
    """Return whether the interval over 5 folds holds the truth: accuracy before and now, AUC before and now."""
    shift = learners.shift_of(0.63, width)
    runs = learners.runs(learners.cohort(seed), shift, 0, splits=splits, width=width, cohort_seed=seed)
    table = declared_table(runs)
    first = table[table["split_seed"] == 0]
    right = (first["probability"] > 0.5) == (first["label"] > 0.5)
    plain = intervals.clopper_pearson(int(right.sum()), len(right))
    by_fold = [(fold["label"].to_numpy(), fold["probability"].to_numpy()) for _, fold in first.groupby("fold")]
    bounds = [
        plain,
        inference.metric_interval(table, "accuracy", learners.FOLDS)[1:],
        intervals.pooled_auc(by_fold)[1:],
        inference.metric_interval(table, "auc", learners.FOLDS)[1:],
    ]
    inside = [float(low <= truth[index // 2] <= high) for index, (low, high) in enumerate(bounds)]
    return inside[0], inside[1], inside[2], inside[3]


def one_sided(seed: int) -> tuple[float, float, float]:
    """Return the verdicts of a calibrated network with AUC about 0.65 where 20 % have label 1.

    Whether it is constant before (all declared on one side), constant now, or learned (threshold off or not).
    """
    cases = learners.cohort(seed, ones=SMALL)
    found = learners.run(cases, 0.6, 0, fold=0, cohort_seed=seed).validation
    numbers = measure(found, "val_loss", SECTION)
    side = float(numbers["predicted_positive"] in (0, 1))
    return side, float(numbers["verdict"] == "constant prediction"), float(numbers["verdict"].startswith("learned"))


def smallest_auc(seed: int, ones: int, zeros: int) -> tuple[float]:
    """Return whether the verdict's test finds the AUC that `power.detectable_auc` gives for so many cases."""
    area = power.detectable_auc(ones, zeros, ALPHA)
    rng = np.random.default_rng(seed)
    y_true = np.repeat([1, 0], [ones, zeros])
    score = rng.standard_normal(ones + zeros) + math.sqrt(2) * norm.ppf(area) * y_true
    p = ranking.auc_p_value(
        y_true, norm.cdf(score), groups=np.arange(ones + zeros), n_permutations=PERMUTATIONS, seed=seed
    )
    return (float(p < ALPHA),)


# Table


class Table:
    """Lines of the output; counts what is not met."""

    def __init__(self) -> None:
        self.failed = 0

    def print(self, line: str = "") -> None:
        print(line, flush=True)

    def row(self, what: str, measured: str, requirement: str = "", met: bool = True) -> None:
        self.failed += not met
        self.print(f"{what:<74} {measured:<34} {requirement + ('' if met else '  NOT MET')}".rstrip())


def percent(values: Array) -> str:
    """Return a share in per cent, with its standard error."""
    mean = float(values.mean())
    return f"{mean:.1%} +- {math.sqrt(mean * (1 - mean) / len(values)):.1%}"


def below(values: Array, limit: float) -> bool:
    """Return whether a share is at most `limit`, but for two standard errors of the bench."""
    return float(values.mean()) <= limit + 2 * math.sqrt(limit * (1 - limit) / len(values))


def bench(times: int, trials: Callable[..., Array], table: Table) -> None:
    """Print every row; trials: partial function of a seed, and how many, to (times, k)."""
    more = ((1, 1), (2, 1), (3, 1), (1, 2), (1, 3))
    for width, name in ((learners.STEADY, "networks' sd 1 point"), (learners.VARIED, "networks' sd 3 points")):
        table.print(f"\nSettings of true accuracy 0.60 and 0.67, 5 folds, {name}: called different")
        table.print(f"{'':74} {'before':<15} {'accuracy':<15} AUC")
        last: dict[str, float] = {}
        for splits, seeds in more:
            found = trials(
                partial(differ, accuracies=(0.60, 0.67), width=width, splits=splits, seeds=seeds, used=5), times
            )
            way = "splits" if seeds == 1 else "seeds"
            start = last.get("first", 0.0) if (splits, seeds) == (1, 2) else last.get("power", 0.0)
            grows = float(found[:, 2].mean()) >= start - 0.04
            last = {"power": float(found[:, 2].mean()), "first": last.get("first", float(found[:, 2].mean()))}
            texts = [percent(found[:, column]) for column in range(3)]
            table.row(
                f"  {splits} split seeds, {seeds} training seeds", "   ".join(texts), f"never falls with {way}", grows
            )
    table.print("\nEqual settings, true accuracy 0.63: called different (requirement: at most 6 %)")
    table.print(f"{'':74} {'before':<15} {'accuracy':<15} AUC")
    for width, splits, seeds, used in (
        *((learners.VARIED, 1, seeds, 1) for seeds in (1, 2, 3)),
        *((learners.VARIED, splits, seeds, 5) for splits, seeds in more),
        (learners.STEADY, 1, 1, 5),
        (learners.STEADY, 3, 1, 5),
    ):
        trial = partial(differ, accuracies=(0.63, 0.63), width=width, splits=splits, seeds=seeds, used=used)
        found = trials(trial, 3 * times)
        sd = "sd 3 points" if width == learners.VARIED else "sd 1 point"
        texts = [percent(found[:, column]) for column in range(3)]
        met = below(found[:, 1], 0.06) and below(found[:, 2], 0.06)
        table.row(
            f"  {sd}, {used} folds, {splits} split seeds, {seeds} training seeds", "   ".join(texts), "<= 6 %", met
        )
    table.print("\nPractically equal within 0.03 of accuracy, 5 folds of 2 splits")
    found = trials(partial(equal, accuracies=(0.63, 0.66), margin=0.03), 2 * times)
    table.row(
        "  true difference 0.03, so not equal: called equal", percent(found[:, 0]), "<= 5 %", below(found[:, 0], 0.05)
    )
    found = trials(partial(equal, accuracies=(0.63, 0.63), margin=0.08), times)
    table.row("  equal settings, margin 0.08: called equal", percent(found[:, 0]))

    table.print("\nLearned, over 5 folds")
    table.print(f"{'':74} {'before':<15} now")
    for what, accuracies, limit in (
        ("one of 4 settings has accuracy 0.56: it is found", (0.56, 0.5, 0.5, 0.5), None),
        ("one of 10 settings has accuracy 0.56: it is found", (0.56, *[0.5] * 9), None),
        ("one setting on noise: called learned", (0.5,), ALPHA),
    ):
        found = trials(partial(learned, accuracies=accuracies), times if limit is None else 3 * times)
        texts = "   ".join(percent(found[:, column]) for column in range(2))
        met = below(found[:, 1], limit) if limit else bool(found[:, 1].mean() >= found[:, 0].mean())
        table.row(f"  {what}", texts, "<= 5 %" if limit else "no less than before", met)
    for splits in (2, 3):
        found = trials(partial(learned, accuracies=(0.56, 0.5, 0.5, 0.5), splits=splits), times)
        table.row(f"  one of 4 settings, {splits} split seeds", f"{'-':<15}  {percent(found[:, 1])}")

    table.print(f"\nOne fold, {SMALL} validation cases")
    table.print(f"{'':74} {'best epoch':<15} declared AUC")
    for accuracy in (0.5, 0.60, 0.64):
        found = trials(partial(one_run, accuracy=accuracy), 3 * times if accuracy == 0.5 else times)
        texts = "   ".join(percent(found[:, column]) for column in range(2))
        noise = accuracy == 0.5
        met = below(found[:, 1], ALPHA) if noise else True
        table.row(f"  true accuracy {accuracy:.2f}: called learned", texts, "<= 5 %" if noise else "", met)
    found = trials(partial(any_learned, count=20), times)
    text = f"{percent(found[:, 0])}   {percent(found[:, 1])}"
    table.row(
        "  20 rates on noise: some run called learned; each alone, corrected", text, "<= 5 %", below(found[:, 1], ALPHA)
    )
    found = trials(one_sided, times)
    table.row(
        "  calibrated, AUC 0.65, 20 % of label 1: one side; constant; learned",
        "   ".join(percent(found[:, column]) for column in range(3)),
        "constant <= 25 %",
        below(found[:, 1], 0.25),
    )
    for ones, zeros in ((61, 56), (23, 94), (12, 12)):
        found = trials(partial(smallest_auc, ones=ones, zeros=zeros), 4 * times)
        near = abs(float(found.mean()) - 0.8) <= 0.03 + 2 * math.sqrt(0.16 / len(found))
        area = power.detectable_auc(ones, zeros, ALPHA)
        table.row(
            f"  the AUC {area:.3f} that {ones} + {zeros} cases are said to show: learned",
            percent(found[:, 0]),
            "80 % +- 3",
            near,
        )

    table.print("\nThe 95 % interval of one setting over 5 folds, true accuracy 0.63: holds the truth (93 to 97 %)")
    table.print(f"{'':74} accuracy before, now; AUC before, now")
    for width, splits in ((learners.STEADY, 1), (learners.STEADY, 3), (learners.VARIED, 1)):
        truth = tuple(float(values.mean()) for values in learners.true_values(learners.shift_of(0.63, width), width))
        found = trials(partial(covered, width=width, truth=truth, splits=splits), 2 * times)
        error = 2 * math.sqrt(0.95 * 0.05 / len(found))
        met = all(0.93 - error <= found[:, column].mean() <= 0.97 + error for column in (1, 3))
        sd = "sd 3 points" if width == learners.VARIED else "sd 1 point"
        texts = ", ".join(f"{found[:, column].mean():.1%}" for column in range(4))
        table.row(f"  networks' {sd}, {splits} split seeds", texts, "93 to 97 %", met)


def main() -> None:
    """Print the table; exit status 1 where a requirement is not met."""
    arguments = argparse.ArgumentParser(description="Rates of the verdict on small trained networks.")
    arguments.add_argument("--quick", action="store_true", help="an eighth of the trials, for a look")
    times = 20 if arguments.parse_args().quick else 160
    start, table = time.monotonic(), Table()
    table.print(machine.header(PACKAGES))
    table.print(" ".join(["python", "bench/evidence.py", *sys.argv[1:]]))
    sd = [learners.spread(0.63, width) for width in (learners.STEADY, learners.VARIED)]
    table.print(
        f"networks of a setting differ by {sd[0]:.3f} and {sd[1]:.3f} of accuracy (sd); +- is one standard error"
    )
    for accuracy, width in itertools.product((0.56, 0.60, 0.63, 0.64, 0.66, 0.67), (learners.STEADY, learners.VARIED)):
        learners.shift_of(accuracy, width)  # before the processes are forked, which then know it
    with get_context("fork").Pool(PROCESSES) as pool:

        def trials(trial: Callable[..., Sequence[float]], count: int) -> Array:
            return np.array(pool.map(trial, range(count), chunksize=4))

        bench(times, trials, table)
    table.print(f"\n{table.failed} not met; {time.monotonic() - start:.0f} s with {PROCESSES} processes")
    sys.exit(table.failed > 0)


if __name__ == "__main__":
    main()
