"""Rates of effects that a screening design shows where nothing matters, and its power, beside other designs.

python bench/plan.py [--quick] > bench/results/plan.txt

A simulated network scores case i with q * (2 * y - 1) + sqrt(0.6) * z[i] + sqrt(0.4) * noise. All networks share z, the
noise is a network's own. q gives the network's true accuracy, which is normal around 0.6 with the standard deviation
called sd, plus or minus half of the effect of its factor's level. Half of the cases have label 1.

Trained networks: ridge regression on 40 random features of 20 noisy columns, with the same penalty and data for all.
Nothing but their seed differs.

The exit status is 1 where a requirement is not met.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # one core, before numpy is imported

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from typing import Any

import machine
import numpy as np
from scipy.stats import norm
from selection import Table, at_most, percent

from flairprep.experiments import screening
from flairprep.experiments.effects import factor_effects
from flairprep.stats import hypothesis_tests, metrics, replicates

PACKAGES = ("numpy", "scipy")
PROCESSES = 2
ALPHA, LIMIT = 0.05, 0.06
CORRELATION, ACCURACY = 0.6, 0.6
PENALTY, FEATURES, COLUMNS, TRAINING = 10.0, 40, 20, 468
Array = metrics.Array
Networks = tuple[Array, list[Array]]  # labels of a fold, and the scores of each (n_settings, n_repeats, n_cases)


def effects_test(signs: Array, networks: Networks, metric: metrics.PairedMetric) -> Array:
    """Return the corrected p of each factor, by `factor_effects`."""
    y_true, scores = networks
    settings, repeats, cases = scores[0].shape
    values = np.empty((settings, len(scores), repeats))
    influence = np.zeros((settings, len(scores), repeats, len(scores) * cases))
    for unit, of_unit in enumerate(scores):
        here = slice(unit * cases, (unit + 1) * cases)
        for s, r in np.ndindex(settings, repeats):
            values[s, unit, r], influence[s, unit, r, here] = replicates.influence(
                y_true, of_unit[s, r], np.zeros(cases), metric
            )
    shared = replicates.shared_training(rows(networks), 5)
    return factor_effects(signs, values, influence, shared=shared).p_corrected


def pairs_test(signs: Array, networks: Networks, metric: metrics.PairedMetric) -> Array:
    """Return the corrected p of each factor: its settings at either level are paired in their order, as repeats."""
    _, scores = networks
    p_values = []
    for column in signs.T:
        low, high = (np.concatenate([of_unit[column == sign].ravel() for of_unit in scores]) for sign in (-1, 1))
        p_values.append(replicates.difference(rows(networks, len(column) // 2), low, high, metric, folds=5).p)
    return hypothesis_tests.holm(np.array(p_values))


def rows(networks: Networks, settings: int = 1) -> replicates.Rows:
    """Return labels, patients, folds and repeats of so many settings' networks."""
    y_true, scores = networks
    repeats, cases, units = settings * scores[0].shape[1], len(y_true), len(scores)
    unit, repeat, case = (axis.ravel() for axis in np.indices((units, repeats, cases)))
    return replicates.Rows(np.tile(y_true, units * repeats), unit * cases + case, unit, repeat)


# name: design, networks per setting and fold, test, share of the studies (the pairs take ten times as long)
DESIGNS: dict[str, tuple[Array, int, Callable[[Array, Networks, metrics.PairedMetric], Array], float]] = {
    "8 runs, 4 pairs": (screening.plackett_burman(), 1, pairs_test, 0.2),
    "8 runs, PSE": (screening.plackett_burman(), 1, effects_test, 0.25),
    "8 runs twice": (screening.plackett_burman(), 2, effects_test, 0.25),
    "16 runs (plan)": (screening.folded_over(), 1, effects_test, 1.0),
}
PLAN = "16 runs (plan)"


def simulated(
    rng: np.random.Generator,
    signs: Array,
    repeats: int,
    *,
    folds: int,
    cases: int,
    sd: float,
    effect: float,
    of: str,
    correlation: float = CORRELATION,
) -> Networks:
    """Return networks; `of`: factor, the first; interaction, of the first two; both."""
    y_true, scores = np.arange(cases) % 2, []
    level = {"factor": signs[:, 0], "interaction": signs[:, 0] * signs[:, 1]}
    level["both"] = level["factor"] + level["interaction"]
    for _ in range(folds):
        accuracy = ACCURACY + effect / 2 * level[of][:, None] + sd * rng.standard_normal((len(signs), repeats))
        q = norm.ppf(accuracy.clip(0.02, 0.98))[..., None]
        noise = np.sqrt(1 - correlation) * rng.standard_normal((len(signs), repeats, cases))
        score = q * (2 * y_true - 1) + np.sqrt(correlation) * rng.standard_normal(cases) + noise
        scores.append(norm.cdf(score))
    return y_true, scores


def trained(
    rng: np.random.Generator, signs: Array, repeats: int, *, folds: int, cases: int, one_seed: bool
) -> Networks:
    """Return trained networks; one_seed: a run has the same weights on all of its folds, as with -S val_fold=0,1,..."""
    y_all = np.arange(TRAINING + cases * folds) % 2
    columns = rng.standard_normal((len(y_all), COLUMNS)) + 0.15 * (2 * y_all[:, None] - 1)
    y_true, scores = y_all[:cases], []
    weights = rng.standard_normal((len(signs), repeats, COLUMNS, FEATURES))
    for fold in range(folds):
        if not one_seed:
            weights = rng.standard_normal(weights.shape)
        held_out = np.zeros(len(y_all), bool)
        held_out[fold * cases : (fold + 1) * cases] = True
        of_fold = np.empty((len(signs), repeats, cases))
        for s, r in np.ndindex(len(signs), repeats):
            hidden = np.maximum(0, columns @ weights[s, r])
            x, y = hidden[~held_out], 2 * y_all[~held_out] - 1
            solved = np.linalg.solve(x.T @ x + PENALTY * np.eye(FEATURES), x.T @ y)
            of_fold[s, r] = norm.cdf(hidden[held_out] @ solved)
        scores.append(of_fold)
    return y_true, scores


def study(seed: int, design: str, metric: metrics.PairedMetric, networks: str, **options: Any) -> list[bool]:
    """Return whether a study shows any effect, and that of the first factor."""
    signs, repeats, test, _ = DESIGNS[design]
    make: Any = {"simulated": simulated, "trained": trained}[networks]
    made = make(np.random.default_rng([6, seed]), signs, repeats, **options)
    shown = test(signs, made, metric) < ALPHA
    return [bool(shown.any()), bool(shown[0])]


def bench(studies: int, count: Callable[..., Array], table: Table) -> None:
    """Print all rows; `count` returns how many of a number of studies show any effect, and the first."""
    sizes = ((1, 117), (1, 585), (5, 117))

    def rates(what: str, index: int, share: float, required: bool, **options: Any) -> None:
        for design, (*_, of_design) in DESIGNS.items():
            some = max(20, round(studies * share * min(1.0, of_design / share)))
            shown = count(some, design=design, **options)[index]
            limit, met = (
                (f"at most {LIMIT:.0%}, within error", at_most(shown, some, LIMIT))
                if required and design == PLAN
                else ("", None)
            )
            table.row(f"{what}: {design}", limit, f"{percent(shown, some)} of {some}", met)

    simulation = {"networks": "simulated", "of": "factor"}
    table.print("\nNothing matters: rate of any effect shown")
    for (folds, cases), sd, metric in itertools.product(sizes, (0.0, 0.03, 0.06), ("auc", "accuracy")):
        options: dict[str, Any] = {"folds": folds, "cases": cases, "sd": sd, "effect": 0.0, "metric": metric}
        rates(f"{folds} x {cases} cases, sd {sd:g}, {metric}", 0, 1, True, **simulation, **options)

    table.print("\nTrained networks that differ by their seed: rate of any effect shown")
    for folds, one_seed, metric in ((1, True, "auc"), (1, True, "accuracy"), (5, True, "auc"), (5, False, "auc")):
        seeds = "" if folds == 1 else ", a seed per run" if one_seed else ", a seed per run and fold"
        options = {"folds": folds, "cases": 117, "one_seed": one_seed, "metric": metric, "networks": "trained"}
        rates(f"{folds} x 117 cases{seeds}, {metric}", 0, 0.5, True, **options)

    table.print("\nOne factor matters, by its effect on the accuracy; AUC: rate of it shown")
    for (folds, cases), sd, effect in itertools.product(sizes[::2], (0.0, 0.03, 0.06), (0.03, 0.05, 0.07)):
        options = {"folds": folds, "cases": cases, "sd": sd, "effect": effect, "metric": "auc"}
        rates(f"{folds} x {cases} cases, sd {sd:g}, effect {effect:g}", 1, 0.2, False, **simulation, **options)

    options = {"folds": 5, "cases": 117, "sd": 0.03, "effect": 0.07, "metric": "auc", "networks": "simulated"}
    table.print("\nAn interaction of two factors matters, by 0.07, 5 x 117 cases, sd 0.03, AUC")
    rates("no factor does: rate of any shown", 0, 0.25, True, of="interaction", **options)
    rates("one factor does, by 0.07: rate of it shown", 1, 0.25, False, of="both", **options)

    table.print(
        "\nThe effect on the accuracy that plan shows in 80 %, where networks differ as it says, by their sampling"
    )
    for folds, some in ((1, studies // 2), (5, studies // 4)):
        effect = screening.detectable(117, folds, ALPHA)
        of_right = 1 - screening.NETWORK_SD**2 * screening.SD_CASES / ACCURACY / (1 - ACCURACY)
        options = {"folds": folds, "cases": 117, "sd": 0.0, "effect": effect, "metric": "accuracy"}
        options["correlation"] = np.sin(of_right * np.pi / 2)
        shown = count(some, design=PLAN, **simulation, **options)[1]
        what = f"{folds} x 117 cases, effect {effect:.3f}: {PLAN}"
        table.row(what, "at least 75 %", f"{percent(shown, some)} of {some}", shown >= 0.75 * some)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500, help="simulated studies where nothing matters")
    parser.add_argument("--quick", action="store_true", help="100 studies: too few to judge by, status 0")
    options = parser.parse_args()
    table = Table()
    table.print(machine.header(PACKAGES))
    table.print(" ".join(["python", "bench/plan.py", *sys.argv[1:]]))
    table.print("+- is one standard error")
    start = time.monotonic()
    with get_context("spawn").Pool(PROCESSES) as pool:

        def count(studies: int, **setting: Any) -> Array:
            return np.sum(pool.map(partial(study, **setting), range(studies), chunksize=10), axis=0)

        bench(100 if options.quick else options.studies, count, table)
    table.print(f"\n{table.failed} not met; {time.monotonic() - start:.0f} s with {PROCESSES} processes")
    sys.exit(1 if table.failed and not options.quick else 0)


if __name__ == "__main__":
    main()
