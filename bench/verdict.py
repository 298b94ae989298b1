"""Do the verdicts hold? Simulated runs of a network: false verdicts, power, and what a verdict costs.

python bench/verdict.py [--quick] > bench/results/verdict.txt

A run: 117 cases, 61 of label 1, and 60 epochs. The latent score of a case follows an AR(1) process over the epochs,
z[e] = r * z[e-1] + sqrt(1 - r^2) * noise, standard normal in every epoch and independent between cases; r is the epoch
correlation. The probability is the logistic function of z + q for label 1 and of z - q for label 0, q being the normal
quantile of the true accuracy, the same in every epoch; q = 0 is no signal. The settings see the same random numbers.

p-values come from 499 permutations a run, where evaluate takes 10,000: p = (1 + b) / (1 + B) holds its level for every
B. The exit status is 1 where a requirement is not met.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # one core, before numpy is imported

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
from machine import header
from scipy.signal import lfilter
from scipy.special import expit
from scipy.stats import binom, norm

from flairprep.evaluation import predictions
from flairprep.experiments import comparison
from flairprep.experiments import runs as experiments
from flairprep.stats import bootstrap, hypothesis_tests, metrics, permutation
from flairprep.stats import metrics as stats

PACKAGES = ("numpy", "scipy", "statsmodels")
PROCESSES = 2
N, ONES, EPOCHS, FOLDS = 117, 61, 60, 5
ALPHA = 0.05
PERMUTATIONS, DRAWS = 499, 999
CORRELATIONS = (0.0, 0.9, 0.99)
SWEEP = (0.0, 0.5, 0.9, 0.99)  # epoch correlation of four runs
WITHIN_PATIENT = 0.9  # correlation of the scores of a patient's two scans
METRICS: tuple[stats.Metric, ...] = ("val_accuracy", "val_loss", "val_auc")

Array = stats.Array


# What is simulated


def labels(rng: np.random.Generator, n: int = N, ones: int = ONES) -> Array:
    """(n,): so many of label 1, in random order."""
    return rng.permutation(np.arange(n) < ones).astype(int)


def smooth(noise: Array, correlation: float) -> Array:
    """AR(1) over the first axis, stationary with variance 1, out of standard normal noise."""
    driven = np.sqrt(1 - correlation**2) * noise
    driven[0] = noise[0]
    return lfilter([1.0], [1.0, -correlation], driven, axis=0)


def probabilities(rng: np.random.Generator, y_true: Array, correlation: float, accuracy: float = 0.5) -> Array:
    """(epochs, cases) of a run whose every epoch has this true accuracy."""
    score = smooth(rng.standard_normal((EPOCHS, len(y_true))), correlation)
    return expit(score + norm.ppf(accuracy) * (2 * y_true - 1))


def stopped(y_true: Array, y_prob: Array, patience: int) -> Array:
    """The epochs that run until the accuracy has not risen for so many."""
    right = ((y_prob > 0.5) == y_true).sum(axis=1)
    best = 0
    for epoch, count in enumerate(right):
        if count > right[best]:
            best = epoch
        elif epoch - best >= patience:
            return y_prob[: epoch + 1]
    return y_prob


def p_value(
    y_true: Array,
    y_prob: Array,
    metric: stats.Metric = "val_accuracy",
    groups: Array | None = None,
    strata: Array | None = None,
) -> float:
    """p_selection, each case a patient unless groups are given."""
    groups = np.arange(len(y_true)) if groups is None else groups
    return permutation.selection_p_value(
        y_true, y_prob, metric=metric, groups=groups, strata=strata, n_permutations=PERMUTATIONS
    )


def naive(y_true: Array, y_prob: Array) -> float:
    """The exact binomial test of the most accurate epoch against the NIR, as if there had been no choice."""
    right = int(((y_prob > 0.5) == y_true).sum(axis=1).max())
    return hypothesis_tests.binomial_p_value(right, len(y_true), stats.no_information_rate(y_true))


# One run of each experiment: which of its tests rejected


def one_run(seed: int, correlation: float, accuracy: float, metric: stats.Metric, patience: int) -> list[float]:
    """p_selection, the naive test, Bonferroni over the epochs that ran; then the share of the epochs that ran."""
    rng = np.random.default_rng([1, seed])
    y_true = labels(rng)
    y_prob = stopped(y_true, probabilities(rng, y_true, correlation, accuracy), patience)
    best = naive(y_true, y_prob)
    return [
        p_value(y_true, y_prob, metric) < ALPHA,
        best < ALPHA,
        best * len(y_prob) < ALPHA,
        len(y_prob) / EPOCHS,
    ]


def two_scans(seed: int, correlation: float) -> list[bool]:
    """p_selection with patients permuted, and with scans permuted; 58 patients with two scans, one with one."""
    rng = np.random.default_rng([2, seed])
    patient = np.arange(N) // 2
    y_true = labels(rng, 59, 31)[patient]
    of_patient = smooth(rng.standard_normal((EPOCHS, 59)), correlation)[:, patient]
    of_scan = smooth(rng.standard_normal((EPOCHS, N)), correlation)
    y_prob = expit(np.sqrt(WITHIN_PATIENT) * of_patient + np.sqrt(1 - WITHIN_PATIENT) * of_scan)
    return [p_value(y_true, y_prob, groups=patient) < ALPHA, p_value(y_true, y_prob) < ALPHA]


def reads_manufacturer(seed: int, correlation: float) -> list[bool]:
    """learned, learned (shortcut), no evidence: a network that reads the manufacturer and nothing else.

    With probability 0.8 the manufacturer is the label's own, else drawn uniformly from two.
    """
    rng = np.random.default_rng([3, seed])
    y_true = labels(rng)
    manufacturer = np.where(rng.uniform(size=N) < 0.8, y_true, rng.integers(0, 2, N))
    y_prob = probabilities(rng, manufacturer, correlation, accuracy=0.9)
    learned = p_value(y_true, y_prob) < ALPHA
    within = p_value(y_true, y_prob, strata=manufacturer) < ALPHA
    return [learned and within, learned and not within, not learned]


def settings_differ(seed: int, correlations: tuple[float, ...]) -> list[bool]:
    """Settings without signal, over all folds: does compare say that any pair differs in accuracy, AUC, or either?

    Beside it the same for the accuracy of selected epochs, each pair by its bootstrap, Holm-corrected.
    """
    rng = np.random.default_rng([4, seed])
    of_folds = [labels(rng) for _ in range(FOLDS)]
    runs = [
        simulated_run(f"{lr} {fold}", {"lr": lr}, fold, y_true, probabilities(rng, y_true, correlation))
        for lr, correlation in enumerate(correlations)
        for fold, y_true in enumerate(of_folds)
    ]
    current = {"lr": 0, "seed": 0, "split.seed": 0, "val_fold": 0}
    pairs = comparison.compare(runs, current, alpha=ALPHA, permutations=99, seed=seed)["pairs"]
    differ = [any(metric in pair["differ"] for pair in pairs) for metric in ("accuracy", "auc")]
    y_true = np.concatenate(of_folds)
    selected = np.split(np.concatenate([best_of(run.found) for run in runs]), len(correlations))
    given: dict[str, Any] = {"groups": np.arange(len(y_true)), "folds": np.arange(len(y_true)) // N, "seed": seed}
    p_values = [
        bootstrap.paired_difference(y_true, a, b, metric="accuracy", n_bootstrap=DRAWS, **given)[3]
        for a, b in itertools.combinations(selected, 2)
    ]
    return [*differ, any(differ), bool((hypothesis_tests.holm(np.array(p_values)) < ALPHA).any())]


def simulated_run(
    name: str, setting: dict[str, Any], fold: int, y_true: Array, y_prob: Array
) -> experiments.ExperimentRun:
    """A run as compare reads it from DVC; every case is a patient of its own."""
    case_ids = np.array([f"{fold} {case:03d}" for case in range(len(y_true))])
    found = predictions.Predictions(case_ids, y_true, y_prob, case_ids)
    return experiments.ExperimentRun(name, {}, setting, 0, fold, 0, "val_accuracy", found, folds=FOLDS, cases=FOLDS * N)


def best_of(found: predictions.Predictions) -> Array:
    """(n_cases,): the probabilities of the epoch with the best accuracy."""
    return np.asarray(found.y_prob[metrics.best_epoch(found.y_true, found.y_prob, "val_accuracy")])


def four_runs(seed: int, accuracy: float) -> list[bool]:
    """Four runs of one fold, the smoothest with this true accuracy, the others without signal.

    Rejected by step-down minP: any without signal, any at all, the smoothest; the smoothest by the maximum over the
    runs, and by Bonferroni over the runs.
    """
    rng = np.random.default_rng([5, seed])
    y_true = labels(rng)
    runs = [probabilities(rng, y_true, correlation) for correlation in SWEEP[:-1]]
    runs.append(probabilities(rng, y_true, SWEEP[-1], accuracy))
    metrics: list[stats.Metric] = ["val_accuracy", "val_loss", "val_auc", "val_accuracy"]
    reached = permutation.replayed_accuracies(y_true, runs, metrics, np.arange(N), None, PERMUTATIONS, seed)
    p = permutation.step_down_min_p(reached)
    of_maximum = (reached.max(axis=0) >= reached[-1, 0]).mean()
    alone = (reached[-1] >= reached[-1, 0]).mean()
    return [
        p[:-1].min() < ALPHA,
        p.min() < ALPHA,
        p[-1] < ALPHA,
        of_maximum < ALPHA,
        alone * len(SWEEP) < ALPHA,
    ]


def seconds(metric: stats.Metric, tests: int) -> float:
    """Processor time of a verdict, the median of three: 60 epochs, 585 cases, 10,000 permutations, so many tests."""
    rng = np.random.default_rng(0)
    y_true = labels(rng, 585, 307)
    y_prob = probabilities(rng, y_true, 0.9)
    taken = []
    for _ in range(3):
        start = time.process_time()
        for test in range(tests):
            strata = np.arange(585) % 4 if test else None
            permutation.selection_p_value(y_true, y_prob, metric=metric, groups=np.arange(585), strata=strata)
        taken.append(time.process_time() - start)
    return sorted(taken)[1]


# The table


class Table:
    """Prints rows as they are measured and remembers what was not met."""

    def __init__(self) -> None:
        self.failed = 0

    def say(self, line: str = "") -> None:
        """A line as it is."""
        print(line.rstrip(), flush=True)

    def row(self, what: str, requirement: str, measured: str, met: bool | None = None) -> None:
        """What was measured against what is required; met is None where nothing is."""
        self.failed += met is not None and not met
        verdict = "" if met is None else "met" if met else "NOT MET"
        self.say(f"{what:<67} {requirement:<24} {measured:<24} {verdict}")


def at_most(count: int, runs: int, limit: float) -> bool:
    """Whether a true rate of `limit` gives so many in at least 1 of 100 benches: Monte Carlo error is no failure."""
    return count <= int(binom.isf(0.01, runs, limit))


def percent(count: float, runs: int) -> str:
    """A share with its standard error."""
    share = count / runs
    return f"{share:.1%} +- {np.sqrt(share * (1 - share) / runs):.1%}"


def bench(runs: int, count: Callable[..., Array], table: Table) -> None:
    """Every line; `count` gives how often each test of an experiment rejected in so many runs."""
    say, row = table.say, table.row
    level = "at most 5 %, within error"

    say(f"\nNo signal, {runs} runs of each: how often it says learned")
    for metric, r in itertools.product(METRICS, CORRELATIONS):
        ours, best, bonferroni, _ = count(one_run, runs, correlation=r, accuracy=0.5, metric=metric, patience=EPOCHS)
        row(f"p_selection, {metric} chooses, correlation {r:g}", level, percent(ours, runs), at_most(ours, runs, ALPHA))
        if metric == "val_accuracy":
            row("  beside it: binomial test of the best epoch", "(13 to 55 % expected)", percent(best, runs))
            row("  beside it: that test with Bonferroni's correction", "", percent(bonferroni, runs))
    for patience, r in itertools.product((5, 20), CORRELATIONS):
        ours, best, _, ran = count(one_run, runs, correlation=r, accuracy=0.5, metric="val_accuracy", patience=patience)
        what = f"p_selection, stopped after {patience} without a better, correlation {r:g}"
        row(what, level, percent(ours, runs), at_most(ours, runs, ALPHA))
        row(f"  beside it: binomial test of the best of {EPOCHS * ran / runs:.0f} epochs", "", percent(best, runs))

    say(f"\nTwo scans a patient (scores correlated {WITHIN_PATIENT:g}), no signal, {runs} runs of each")
    for r in CORRELATIONS:
        grouped, scans = count(two_scans, runs, correlation=r)
        row(f"patients permuted, correlation {r:g}", level, percent(grouped, runs), at_most(grouped, runs, ALPHA))
        row("  beside it: scans permuted as if they were patients", "(25 % expected)", percent(scans, runs))

    some = max(runs // 2, 1)
    say(f"\nA network that reads the manufacturer only (its own label's with probability 0.8), {some} runs of each")
    for r in CORRELATIONS:
        learned, shortcut, none = count(reads_manufacturer, some, correlation=r)
        row(f"learned, correlation {r:g}", level, percent(learned, some), at_most(learned, some, ALPHA))
        row(f"learned (shortcut), correlation {r:g}", "at least 90 %", percent(shortcut, some), shortcut >= 0.9 * some)
        row("  the rest: no evidence", "", percent(none, some))

    say(f"\nPower: how often it says learned where there is something, {some} runs of each")
    twice = {(0.55, 0.9), (0.55, 0.99), (0.58, 0.99)}
    for accuracy, r in itertools.product((0.55, 0.58, 0.62), (0.9, 0.99)):
        ours, _, bonferroni, _ = count(
            one_run, some, correlation=r, accuracy=accuracy, metric="val_accuracy", patience=EPOCHS
        )
        what = f"true accuracy {accuracy:g}, correlation {r:g}"
        row(f"p_selection, {what}", "", percent(ours, some))
        row("  beside it: Bonferroni", "", percent(bonferroni, some))
        ratio = ours / max(bonferroni, 1)
        error = ratio * np.sqrt(1 / max(ours, 1) + 1 / max(bonferroni, 1))  # too large, as both saw the same runs
        met = ratio >= 2 if (accuracy, r) in twice else None
        row("  times Bonferroni's", "" if met is None else "at least 2", f"{ratio:.1f} +- {error:.1f}", met)

    say(f"\nSettings without signal, {FOLDS} folds of {N}: does compare say that any pair differs?")
    for correlations, differing in (((0.0, 0.99), runs), (SWEEP, min(runs, 400))):
        name = f"{len(correlations)} settings, correlation {', '.join(f'{r:g}' for r in correlations)}"
        say(f"  {differing} comparisons of {name}")
        *declared, chosen = count(settings_differ, differing, correlations=correlations)
        for measure, found in zip(("accuracy", "AUC", "accuracy or AUC"), declared, strict=True):
            row(
                f"{measure}, {len(correlations)} settings",
                "at most 6 %",
                percent(found, differing),
                found <= 0.06 * differing,
            )
        expected = "(33 % expected)" if len(correlations) == 2 else ""
        row("  beside it: accuracy of selected epochs", expected, percent(chosen, differing))

    say(f"\nA sweep of four runs on one fold, correlation {', '.join(f'{r:g}' for r in SWEEP)}; three metrics choose")
    _, either, *_ = count(four_runs, runs, accuracy=0.5)
    row("any learned, no signal", level, percent(either, runs), at_most(either, runs, ALPHA))
    for accuracy in (0.58, 0.6, 0.62):
        false, _, ours, maximum, bonferroni = count(four_runs, some, accuracy=accuracy)
        row(
            f"smoothest has accuracy {accuracy:g}: another learned",
            level,
            percent(false, some),
            at_most(false, some, ALPHA),
        )
        row("  the smoothest learned: step-down minP", "above the maximum's", percent(ours, some), ours > maximum)
        row("  beside it: maximum over the runs", "(minP 54, maximum 39 %)", percent(maximum, some))
        row("  beside it: Bonferroni over the runs", "", percent(bonferroni, some))

    say("\nWhat a verdict costs: 60 epochs, 585 cases, 10,000 permutations, processor time on one core")
    for metric in METRICS:
        alone, both = seconds(metric, 1), seconds(metric, 2)
        row(f"p_selection, {metric} chooses", "at most 2 s", f"{alone:.2f} s", alone <= 2)
        row("  with p_within", "at most 2 s", f"{both:.2f} s", both <= 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, help="simulated runs of each setting without signal")
    parser.add_argument("--quick", action="store_true", help="100 runs: too few to judge by, status 0")
    options = parser.parse_args()
    runs = 100 if options.quick else options.runs
    table = Table()
    table.say(header(PACKAGES))
    table.say(" ".join(["python", "bench/verdict.py", *sys.argv[1:]]))
    table.say(f"{PERMUTATIONS} permutations and {DRAWS} bootstrap draws a simulated run; +- is one standard error")
    start = time.monotonic()
    with get_context("spawn").Pool(PROCESSES) as pool:

        def count(experiment: Callable[..., Sequence[float]], times: int, **setting: object) -> Array:
            return np.sum(pool.map(partial(experiment, **setting), range(times), chunksize=10), axis=0)

        bench(runs, count, table)
    table.say(f"\n{table.failed} not met; {time.monotonic() - start:.0f} s with {PROCESSES} processes")
    sys.exit(1 if table.failed and not options.quick else 0)


if __name__ == "__main__":
    main()
