"""Group runs by setting, and collect what each setting declared."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from flairprep.experiments import runs as experiments
from flairprep.experiments.runs import ExperimentRun

T = TypeVar("T")
UNIT = ["split_seed", "fold"]  # what one network was validated on
ROW = [*UNIT, "case_id"]
REPEAT = ["split_seed", "repeat"]  # what shows all cases once


def same_cohort(
    runs: Sequence[ExperimentRun], preferred: str = experiments.WORKSPACE
) -> tuple[list[ExperimentRun], dict[str, str]]:
    """The runs on the data of the `preferred` one, else on what most share; and why each other one is left out.

    Runs of one split seed share data/split too: without it, a case would lie in two folds.
    """
    chosen = _chosen(runs, preferred, lambda run: run.cohort)
    others = {}
    for run in runs:
        if differing := [key for key in {**chosen, **run.cohort} if chosen.get(key) != run.cohort.get(key)]:
            others[run.name] = f"other {', '.join(differing)}: never pooled or compared with these"
    kept = [run for run in runs if run.name not in others]
    for split_seed in sorted({run.split_seed for run in kept}):
        alike = [run for run in kept if run.split_seed == split_seed]
        split = _chosen(alike, preferred, lambda run: run.split)
        for run in alike:
            if run.split != split:
                others[run.name] = (
                    f"other data/split than the other runs of split seed {split_seed}: never pooled or compared with "
                    "these; run it again"
                )
    return [run for run in runs if run.name not in others], others


def _chosen(runs: Sequence[ExperimentRun], preferred: str, of: Callable[[ExperimentRun], T]) -> T:
    """What the `preferred` run has, else what most have."""
    values = [of(run) for run in runs]
    return next((of(run) for run in runs if run.name == preferred), max(values, key=values.count))


def differing(runs: Sequence[ExperimentRun]) -> list[str]:
    """The params in which the settings of the runs differ."""
    keys = dict.fromkeys(key for run in runs for key in run.setting)
    return [key for key in keys if len({json.dumps(run.setting.get(key)) for run in runs}) > 1]


def by_setting(runs: Sequence[ExperimentRun], keys: Sequence[str]) -> list[tuple[dict[str, Any], list[ExperimentRun]]]:
    """The runs of each setting, with its values of `keys`; numbers in their order."""
    found: dict[str, tuple[dict[str, Any], list[ExperimentRun]]] = {}
    for run in runs:
        values = {key: run.setting.get(key) for key in keys}
        found.setdefault(json.dumps(values), (values, []))[1].append(run)

    def order(entry: tuple[dict[str, Any], list[ExperimentRun]]) -> list[tuple[int, float, str]]:
        numbers = [v if isinstance(v, int | float) else math.inf for v in entry[0].values()]
        return [(v is not None, n, json.dumps(v)) for n, v in zip(numbers, entry[0].values(), strict=True)]

    return sorted(found.values(), key=order)


def declared_of(runs: Sequence[ExperimentRun]) -> pd.DataFrame:
    """One row a run and case: split_seed, fold, seed, repeat, case_id, label, group, probability (declared).

    Networks of several training seeds are never averaged: the setting would be compared as an ensemble. `repeat`
    numbers the seeds of a fold from 0 on. Of runs with the same split seed, fold and seed the first counts.
    """
    first: dict[tuple[int, int, int], ExperimentRun] = {}
    for run in runs:
        first.setdefault((run.split_seed, run.fold, run.seed), run)
    rows = pd.concat(
        pd.DataFrame(
            {
                "split_seed": run.split_seed,
                "fold": run.fold,
                "seed": run.seed,
                "case_id": run.found.case_ids,
                "label": run.found.y_true,
                "group": run.found.groups,
                "probability": run.found.declared,
            }
        )
        for run in first.values()
    )
    rows["repeat"] = rows.groupby(UNIT)["seed"].rank("dense").astype(int) - 1
    return rows.sort_values([*REPEAT, "fold", "case_id"], ignore_index=True)


def is_constant(run: ExperimentRun) -> bool:
    """Whether the declared predictions name one label, whatever the image."""
    return len(np.unique(run.found.declared > 0.5)) == 1
