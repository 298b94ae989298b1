"""Compare the settings of runs: has any learned, do they differ, and what would settle it?"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from flairprep.core.errors import FlairprepError
from flairprep.evaluation import predictions
from flairprep.experiments import screening, summary
from flairprep.experiments.inference import (
    POWER,
    detectable_auc,
    enough_permutations,
    learned_p_values,
    metric_interval,
    strata_of,
)
from flairprep.experiments.pairs import METRICS, compare_pairs, find_baseline
from flairprep.experiments.runs import ExperimentRun, setting_name
from flairprep.experiments.settings import FOLD_KEY, declared_table, group_by_setting, is_constant, varied_keys
from flairprep.stats import hypothesis_tests, metrics


def compare(
    runs: Sequence[ExperimentRun],
    current: Mapping[str, Any],
    *,
    alpha: float,
    primary: metrics.PairedMetric = "auc",
    baseline: str | None = None,
    margin: float | None = None,
    permutations: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the content of reports/compare.json: settings, pairs, effects, and the answer as sentences and commands.

    Args:
        runs: of one cohort, see `settings.select_comparable`.
        current: flat params of params.yaml, from which the commands start.
        alpha: level of all tests, each family corrected.
        primary: the measure that decides whether settings differ.
        baseline: the setting to compare the others with, see `pairs.find_baseline`; None: all pairs.
        margin: within it two settings are practically equal; None: not tested.
        permutations, seed: number and seed of the permutations; more where the settings are many.

    Raises:
        FlairprepError: no run, or no setting that is the baseline.
    """
    if not runs:
        raise FlairprepError("compare: no readable run; `dvc repro` or `dvc exp run` makes one")
    keys = varied_keys(runs)
    grouped = group_by_setting(runs, keys)
    values, runs_of = [setting for setting, _ in grouped], [setting_runs for _, setting_runs in grouped]
    tables = [declared_table(setting_runs) for setting_runs in runs_of]
    folds = runs[0].folds
    options: dict[str, Any] = {"permutations": enough_permutations(permutations, len(values), alpha), "seed": seed}
    p_auc, strata = learned_p_values(tables, folds, **options), strata_of(runs)
    none = [None] * len(values)
    p_within = none if strata is None else learned_p_values(tables, folds, strata=strata, **options)
    leaked = frozenset().union(*(run.leaked for run in runs))
    sound = [table[~table["case_id"].isin(leaked)] for table in tables]
    p_without_leaks = none if not leaked else learned_p_values(sound, folds, **options)
    settings = []
    for index, setting in enumerate(values):
        numbers = validation_numbers(runs_of[index], tables[index])
        constant = is_constant(runs_of[index], p_auc[index], alpha)
        p = {"p_auc": p_auc[index], "p_within": p_within[index], "p_without_leaks": p_without_leaks[index]}
        p |= {"leaked": tables[index]["case_id"].nunique() - sound[index]["case_id"].nunique(), "constant": constant}
        learnable = detectable_auc(tables[index], folds, alpha / len(values))
        tests = test_fold_numbers(runs_of[index])
        settings.append({"setting": setting, **numbers, **p, "learnable": learnable, **tests})
    add_corrected_test_p(settings)
    variability = seed_variability(runs_of)
    design = screening.find_design(values) if keys else None
    effects = screening.main_effects(design, values, tables, folds, measure=primary) if design else []
    # Main effects replace the pairs of a design; without a case that all its settings share, the pairs remain.
    in_design = {i for i in range(len(values)) if design and effects and any(levels[i] for levels in design.values())}
    compared = [i for i in range(len(values)) if i not in in_design]
    chosen = None if baseline is None else find_baseline([values[i] for i in compared], baseline)
    result = {
        "alpha": alpha,
        "power": POWER,
        "primary": primary,
        "baseline": None if chosen is None else setting_name(values[compared[chosen]]),
        "margin": margin,
        "keys": keys,
        "confounded": screening.confounded_params([values[i] for i in compared]),
        "settings": settings,
        "pairs": compare_pairs(
            *([grouped[i] for i in compared], [tables[i] for i in compared], alpha),
            primary=primary,
            baseline=chosen,
            margin=margin,
        ),
        "seed_variability": variability,
        "main_effects": effects,
    }
    return result | summary.summarise(result, grouped, current)


def validation_numbers(runs: Sequence[ExperimentRun], table: pd.DataFrame) -> dict[str, Any]:
    """Return counts, declared metrics with intervals, and the best epoch of a setting; table: its `declared_table`."""
    best_epochs = []
    for run in runs:
        epoch = metrics.best_epoch(run.validation.y_true, run.validation.y_prob, run.monitor)
        accuracy = metrics.accuracy(run.validation.y_true, run.validation.y_prob[epoch])
        best_epochs.append((accuracy, run.name, epoch + 1))
    best_accuracy, best_run, best_epoch = max(best_epochs, key=lambda entry: entry[0])
    numbers: dict[str, Any] = {
        "runs": len(runs),
        "names": [run.name for run in runs],
        "folds": table.groupby(FOLD_KEY).ngroups,
        "seeds": len({run.seed for run in runs}),
        "cases": table["case_id"].nunique(),
        "patients": table["group"].nunique(),
    }
    for metric in METRICS:
        names = (metric, f"{metric}_low", f"{metric}_high")
        numbers |= dict(zip(names, metric_interval(table, metric, runs[0].folds), strict=True))
    return {
        **numbers,
        "nir": metrics.no_information_rate(table["label"].to_numpy()),
        "predicted_positive": float((table["probability"] > 0.5).mean()),
        "best_accuracy": best_accuracy,
        "best_run": best_run,
        "best_epoch": best_epoch,
    }


def test_fold_numbers(runs: Sequence[ExperimentRun]) -> dict[str, Any]:
    """Return accuracy and p of a setting on the test fold, null without one: the runs' mean, and twice their mean p."""
    empty = {"test_accuracy": None, "test_p": None, "test_p_holm": None, "selected_on_test": False}
    tests = [predictions.declared(t.y_true, t.declared, t.groups) for run in runs if (t := run.test) is not None]
    if not tests:
        return empty
    accuracy, p = (float(np.mean([test[name] for test in tests])) for name in ("accuracy", "p_nir"))
    return {**empty, "test_accuracy": accuracy, "test_p": p if len(tests) == 1 else min(1.0, 2 * p)}


def add_corrected_test_p(settings: Sequence[dict[str, Any]]) -> None:
    """Add test_p_holm to the settings with a test fold, and mark the best of several as selected on it."""
    tested = [setting for setting in settings if setting["test_p"] is not None]
    best = max((setting["test_accuracy"] for setting in tested), default=None)
    for setting, p in zip(tested, hypothesis_tests.holm(np.array([s["test_p"] for s in tested])), strict=True):
        setting |= {"test_p_holm": float(p), "selected_on_test": len(tested) > 1 and setting["test_accuracy"] == best}


def seed_variability(grouped: Sequence[Sequence[ExperimentRun]]) -> dict[str, Any] | None:
    """Return the mean difference of the declared accuracies of two seeds of a setting and fold; None without a pair.

    Args:
        grouped: the runs of each setting.
    """
    differences = [
        abs(
            metrics.accuracy(a.validation.y_true, a.validation.declared)
            - metrics.accuracy(b.validation.y_true, b.validation.declared)
        )
        for runs in grouped
        for a, b in combinations(runs, 2)
        if (a.split_seed, a.fold) == (b.split_seed, b.fold) and a.seed != b.seed
    ]
    return {"pairs": len(differences), "accuracy": float(np.mean(differences))} if differences else None
