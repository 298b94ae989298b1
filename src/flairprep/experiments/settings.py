"""Group runs by setting, and collect the predictions that each setting declared."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from flairprep.evaluation.verdict import HARDLY_VARIES
from flairprep.experiments.runs import WORKSPACE, ExperimentRun

T = TypeVar("T")
FOLD_KEY = ["split_seed", "fold"]  # cases that one network was validated on
CASE_KEY = [*FOLD_KEY, "case_id"]
REPEAT_KEY = ["split_seed", "repeat"]  # networks that together were validated on each case once


def select_comparable(
    runs: Sequence[ExperimentRun], preferred: str = WORKSPACE
) -> tuple[list[ExperimentRun], dict[str, str]]:
    """Select the runs on the cohort of the run called `preferred`, else on the most frequent cohort.

    Runs of one split seed must also share data/split. Otherwise a case would lie in two folds.

    Returns:
        The runs, and why each other run is left out, by name.
    """
    cohort = _preferred_value(runs, preferred, lambda run: run.cohort)
    left_out = {}
    for run in runs:
        if differing := [key for key in {**cohort, **run.cohort} if cohort.get(key) != run.cohort.get(key)]:
            left_out[run.name] = f"different {', '.join(differing)}, so not comparable"
    same_cohort = [run for run in runs if run.name not in left_out]
    for split_seed in sorted({run.split_seed for run in same_cohort}):
        same_seed = [run for run in same_cohort if run.split_seed == split_seed]
        split = _preferred_value(same_seed, preferred, lambda run: run.split)
        for run in same_seed:
            if run.split != split:
                left_out[run.name] = (
                    f"different data/split than other runs of split seed {split_seed}, so not comparable; run it again"
                )
    return [run for run in runs if run.name not in left_out], left_out


def _preferred_value(runs: Sequence[ExperimentRun], preferred: str, value: Callable[[ExperimentRun], T]) -> T:
    """Return the value of the run called `preferred`, else the most frequent value."""
    values = [value(run) for run in runs]
    return next((value(run) for run in runs if run.name == preferred), max(values, key=values.count))


def varied_keys(runs: Sequence[ExperimentRun]) -> list[str]:
    """Return the params in which the settings of the runs differ."""
    keys = dict.fromkeys(key for run in runs for key in run.setting)
    return [key for key in keys if len({json.dumps(run.setting.get(key)) for run in runs}) > 1]


def group_by_setting(
    runs: Sequence[ExperimentRun], keys: Sequence[str]
) -> list[tuple[dict[str, Any], list[ExperimentRun]]]:
    """Return each setting's values of `keys` with its runs, in the order of the values."""
    groups: dict[str, tuple[dict[str, Any], list[ExperimentRun]]] = {}
    for run in runs:
        values = {key: run.setting.get(key) for key in keys}
        groups.setdefault(json.dumps(values), (values, []))[1].append(run)

    def order(group: tuple[dict[str, Any], list[ExperimentRun]]) -> list[tuple[int, float, str]]:
        numbers = [v if isinstance(v, int | float) else math.inf for v in group[0].values()]
        return [(v is not None, n, json.dumps(v)) for n, v in zip(numbers, group[0].values(), strict=True)]

    return sorted(groups.values(), key=order)


def declared_table(runs: Sequence[ExperimentRun]) -> pd.DataFrame:
    """Return one row per run and case: split_seed, fold, seed, repeat, case_id, label, group, probability (declared).

    Probabilities of several training seeds are never averaged, since that would compare the setting as an ensemble.
    `repeat` numbers the seeds of a fold from 0. Of runs with the same split seed, fold and seed the first counts.
    """
    first: dict[tuple[int, int, int], ExperimentRun] = {}
    for run in runs:
        first.setdefault((run.split_seed, run.fold, run.seed), run)
    table = pd.concat(
        pd.DataFrame(
            {
                "split_seed": run.split_seed,
                "fold": run.fold,
                "seed": run.seed,
                "case_id": run.validation.case_ids,
                "label": run.validation.y_true,
                "group": run.validation.groups,
                "probability": run.validation.declared,
            }
        )
        for run in first.values()
    )
    table["repeat"] = table.groupby(FOLD_KEY)["seed"].rank("dense").astype(int) - 1
    return table.sort_values([*REPEAT_KEY, "fold", "case_id"], ignore_index=True)


def is_constant(runs: Sequence[ExperimentRun], p_auc: float, alpha: float) -> bool:
    """Return whether all runs of a setting are a constant prediction, as `evaluation.verdict` defines it."""
    declared = [run.validation.declared for run in runs]
    if all(np.ptp(y_prob) < HARDLY_VARIES for y_prob in declared):
        return True
    return p_auc >= alpha and all(len(np.unique(y_prob > 0.5)) == 1 for y_prob in declared)
