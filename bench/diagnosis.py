"""What the diagnosis says of runs with one planted fault, and of sound ones, on cohorts of 12 to 200 cases.

python bench/diagnosis.py [--first SEED] [--seeds N] [--sizes N ...] [--runs FILE] > bench/results/diagnosis.txt

A run trains a small network of the package, with the package's own training, on volumes of 8 x 16 x 16 voxels of noise.
The volumes of label 1 hold a brighter box. A fifth of the cases, as many of each label, are for validation. The faults
change the rate, the network, the labels or the length of a sound run, see planted_faults.py. Ten seeds draw cases,
weights and order. The thresholds of flairprep.evaluation.diagnosis were chosen on the seeds 0 to 4 and 100 to 109.
Later seeds confirm them: those from 300 on, and from 400 or 500 on for the faults that were planted anew after the
former ones were seen.

A diagnosis must name its own fault in at least 8 of 10 runs, and no fault in more than 1 of 10 sound runs. The exit
status is 1 where it does not. Where even a network that guesses would not differ from one that knows its cases, "too
few cases to tell" is right for a sound run, and for a fault that only validation cases show. Some faults do not come
about in every run. Their seeds are drawn until ten runs have the fault, by a measure that no threshold of the diagnosis
has, see planted_faults.TOOK; the others do not count, and what was drawn is printed.

--runs keeps the runs in FILE: the next bench diagnoses them again and trains only what FILE lacks, or what is planted
otherwise now.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # one core, before numpy is imported

import argparse
import itertools
import math
import pickle
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import machine
import numpy as np
from planted_faults import (
    CONFIG,
    FAULTS,
    FOLDS,
    NETWORKS,
    SHAPE,
    SIZES,
    TOOK,
    Run,
    labels_of,
    section_of,
    trained,
    training_of,
    volumes,
)
from scipy import stats

from flairprep.evaluation import diagnosis
from flairprep.network import model_config
from flairprep.stats import ranking

PACKAGES = ("numpy", "scipy", "tensorflow-cpu", "keras")
PROCESSES = 2
SEEDS = 10
ALPHA = 0.05
RATE_SIZES = (12, 60, 200)
DRAWN = 3  # times as many seeds as runs that count, at most


def kept_runs(file: Path | None, first: int | None, seeds: int, sizes: Sequence[int], pool: Any) -> list[Run]:
    """Return all runs: those that `file` holds of the same fault, and the others trained, and kept there.

    Of each fault and size, seeds are drawn until it took in `seeds` runs, or DRAWN times as many are drawn.

    first: the first seed of every fault; None for its own.
    """
    kept = pickle.loads(file.read_bytes()) if file and file.is_file() else []
    held = {
        (run.fault, run.cases, run.seed): run
        for run in kept
        if training_of(run.planted) == training_of(FAULTS.get(run.fault))
    }
    drawn: dict[tuple[str, int], list[Run]] = {
        (fault, n): [] for n, (fault, planted) in itertools.product(sizes, FAULTS.items()) if n in planted.sizes
    }
    while True:
        jobs = []
        for (fault, n), runs in drawn.items():
            start = (FAULTS[fault].first if first is None else first) + len(runs)
            lacking = min(seeds - sum(map(took, runs)), DRAWN * seeds - len(runs))
            jobs += [(fault, n, seed) for seed in range(start, start + lacking)]
        if not jobs:
            return [run for runs in drawn.values() for run in runs]
        missing = [job for job in jobs if job not in held]
        held |= dict(zip(missing, pool.starmap(trained, missing, chunksize=1), strict=True))
        if file and missing:
            file.write_bytes(pickle.dumps([*held.values()]))
        for job in jobs:
            drawn[job[:2]].append(held[job])


def took(run: Run) -> bool:
    """Return whether the planted fault came about."""
    planted = FAULTS[run.fault]
    return not planted.took or TOOK[planted.took](run)


@cache
def told(cases: int) -> bool:
    """Return whether a network that knows its training cases and guesses the others shows in `cases` of both labels.

    That is: Fisher's exact test at the level of the diagnosis finds it with its power.
    """
    n_training, n = map(len, labels_of(cases, 0.5))
    right = np.arange(n + 1)
    p_values = stats.hypergeom.cdf(right, n_training + n, n_training + right, n)
    return bool(stats.binom.pmf(right, n, 0.5)[p_values < diagnosis.LEVEL].sum() >= diagnosis.POWER)


def diagnosed(run: Run) -> diagnosis.Diagnosis:
    """Diagnose a run as the stage evaluate does."""
    planted = FAULTS[run.fault]
    p_auc = ranking.auc_p_value(
        run.y_true, run.y_prob[-3:].mean(axis=0), groups=np.arange(len(run.y_true)), n_permutations=999, seed=0
    )
    return diagnosis.diagnose(
        *(run.history, run.y_true, run.y_prob),
        **{"lr": planted.rate, "epochs": run.epochs, "folds": FOLDS, "val_fold": 0, "test_fold": None},
        train_labels=run.train_labels,
        ranks=p_auc < ALPHA,
        network=model_config.resolve(section_of(planted.model)),
        config=CONFIG,
    )


def rates_of(model: Mapping[str, Any], cases: int, seed: int) -> tuple[float, float, float, bool]:
    """Return the usable rates as sanity finds them, and how training goes there and at 0.5, with other weights.

    The last two: the loss of the last epochs at the upper end, and whether the first epoch's loss at 0.5 is above that
    of a constant answer by diagnosis.DIVERGED.
    """
    from flairprep.network import training  # tensorflow
    from flairprep.sanity import network_checks, rate_checks
    from flairprep.sanity.trial import Trial, multiply_adds

    labels = np.arange(min(cases, 80)) % 2
    images = volumes(np.random.default_rng([seed, cases, 1]), labels, FAULTS["none"])
    trial = Trial(lambda: training.compiled(section_of(model), (*SHAPE, 1), prior=0.5, rate=network_checks.RATE), seed)
    given = trial.prepared(images), labels
    ends = (
        find(trial, network_checks.Budget(multiply_adds(trial.network)), *given)
        for find in (rate_checks.range_test, rate_checks.fresh_runs)
    )
    band = rate_checks.band(*ends)
    low, high = band or (math.nan, math.nan)
    there = replace(FAULTS["none"], model=model, rate=high) if band else None
    last = trained("none", cases, seed + 1, there).history["loss"].tail(3).mean() if there else math.nan
    ruined = trained("none", cases, seed + 1, replace(FAULTS["none"], model=model, rate=0.5)).history["loss"].max()
    return low, high, float(last), bool(ruined > math.log(2) + diagnosis.DIVERGED)


def right_way(run: Run, given: diagnosis.Diagnosis) -> bool:
    """Return whether the command moves the rate as the fault needs, if it names one."""
    lower, rate = FAULTS[run.fault].lower, re.search(r"-S lr=(\S+)", given.command)
    return lower is None or rate is None or (float(rate.group(1)) < FAULTS[run.fault].rate) == lower


def is_named(run: Run, given: diagnosis.Diagnosis) -> bool:
    """Return whether the diagnosis names the run's fault, or says that so few cases cannot show it."""
    planted = FAULTS[run.fault]
    honest = planted.unseen and not told(run.cases) and given.diagnosis == "too few cases to tell"
    return honest or (given.diagnosis in planted.named and right_way(run, given))


def print_diagnoses(runs: Sequence[Run], sizes: Sequence[int]) -> int:
    """Print what was said per fault and size, then the table of docs/metrics.md; return how many are below the bar."""
    failed, table = 0, []
    least = min(cases for cases in range(10, 201) if all(told(more) for more in range(cases, 201)))
    of_them = len(labels_of(least, 0.5)[1])
    print(f"\nfaults that only validation cases show can be told from {least} cases on, {of_them} for validation;")
    print("in fewer, too few cases to tell is right")
    print(f"\n{'planted':<41} cases  said", flush=True)
    for fault, planted in FAULTS.items():
        cells = []
        for cases in sizes:
            of_cell = [run for run in runs if (run.fault, run.cases) == (fault, cases)]
            given = [(run, diagnosed(run)) for run in of_cell if took(run)]
            named = sum(is_named(run, one) for run, one in given)
            said = [f"{count} {name}" for name, count in Counter(one.diagnosis for _, one in given).most_common()]
            wrong_way = sum(not right_way(run, one) for run, one in given)
            said += [f"{wrong_way} with the rate the wrong way"] * (wrong_way > 0)
            if len(given) < len(of_cell):
                said.append(f"of {len(of_cell)} drawn")
            met = named >= (0.9 if "fine" in planted.named else 0.8) * len(given)
            failed += not met
            cells.append(f"{named} of {len(given)}" if of_cell else "")
            if of_cell:
                print(f"{fault:<41} {cases:5}  {', '.join(said)}{'' if met else '  NOT MET'}", flush=True)
        names = [*planted.named, *["too few cases to tell"] * (planted.unseen and not all(map(told, planted.sizes)))]
        table.append(f"| {fault} | {' or '.join(f'`{name}`' for name in names)} | {' | '.join(cells)} |")
    print(f"\n| planted | named rightly | {' | '.join(f'{cases} cases' for cases in sizes)} |")
    print("\n".join(["|---" * (2 + len(sizes)) + "|", *table]), flush=True)
    return failed


def print_rates(seeds: int, pool: Any) -> int:
    """Print a row per network and size; return in how many the loss does not fall at the upper end in 8 of 10."""
    failed = 0
    print(f"\n{'usable rates of':<36} cases  upper end         loss falls there  0.5 above it  0.5 diverges")
    for name, model in NETWORKS.items():
        for cases in RATE_SIZES:
            rows = pool.starmap(rates_of, [(model, cases, seed) for seed in range(2000, 2000 + seeds)], chunksize=1)
            ends = [high for _, high, _, _ in rows]
            falls = sum(last < 0.75 * math.log(2) for _, _, last, _ in rows)
            above, ruined = sum(high < 0.5 for high in ends), sum(diverges for *_, diverges in rows)
            met = "" if falls >= 0.8 * seeds and above == seeds else "  NOT MET"
            failed += bool(met)
            span = f"{min(ends):g} to {max(ends):g}"
            print(
                f"{name:<36} {cases:5}  {span:<16}  {falls:2} of {seeds:2}          {above:2} of {seeds:2}      "
                f"{ruined:2} of {seeds:2}{met}",
                flush=True,
            )
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, help="the first seed, instead of each fault's own")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="runs of a fault and size")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="cohorts")
    parser.add_argument("--runs", type=Path, help="keep the runs in this file, or diagnose those that it holds again")
    parser.add_argument("--no-rates", action="store_true", help="leave out the usable rates")
    options = parser.parse_args()
    print(machine.header(PACKAGES))
    first = "" if options.first is None else f" --first {options.first}"
    print(f"python bench/diagnosis.py{first} --seeds {options.seeds}")
    with get_context("spawn").Pool(PROCESSES) as pool:
        runs = kept_runs(options.runs, options.first, options.seeds, options.sizes, pool)
        failed = print_diagnoses(runs, options.sizes)
        failed += 0 if options.no_rates else print_rates(min(options.seeds, 5), pool)
    print(f"\n{failed} not met")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
