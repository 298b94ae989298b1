"""Compare pairs of settings: do they differ, are they practically equal, or can these cases not tell?"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd

from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.experiments.inference import (
    POWER,
    Indexed,
    design_effect,
    indexed,
    metric_difference,
    pair_indexed,
    rows_of,
)
from flairprep.experiments.runs import ExperimentRun, setting_name
from flairprep.stats import hypothesis_tests, metrics, power

METRICS: tuple[metrics.PairedMetric, ...] = ("accuracy", "auc")
Answer = Literal["differ", "equal", "cannot tell"]


def find_baseline(settings: Sequence[Mapping[str, Any]], text: str) -> int:
    """Return the index of the one setting that `text` describes: KEY=VALUE, several separated by spaces.

    Raises:
        FlairprepError: none or several settings fit.
    """
    wanted = [item.partition("=") for item in text.split()]
    fitting = [
        index
        for index, setting in enumerate(settings)
        if wanted and all(key in setting and setting[key] == params.parsed(value) for key, _, value in wanted)
    ]
    if len(fitting) != 1:
        fit = "no setting fits" if not fitting else f"{len(fitting)} settings fit"
        names = "; ".join(map(setting_name, settings))
        raise FlairprepError(f"--baseline {text!r}: {fit}; name one of: {names}")
    return fitting[0]


def compare_pairs(
    grouped: Sequence[tuple[dict[str, Any], list[ExperimentRun]]],
    tables: Sequence[pd.DataFrame],
    alpha: float,
    *,
    primary: metrics.PairedMetric = "auc",
    baseline: int | None = None,
    margin: float | None = None,
) -> list[dict[str, Any]]:
    """Return each pair of settings with the difference of declared predictions, b minus a.

    The primary measure alone is tested: its p over the pairs are one Holm family, and so are its p of equivalence. The
    other measure has an interval and an uncorrected p beside it.

    Args:
        grouped: of `settings.group_by_setting`.
        tables: `declared_table` of each setting.
        alpha: level of each family.
        primary: the measure that decides.
        baseline: index of the setting to compare the others with; None: all pairs.
        margin: of practical equivalence; None: not tested.
    """
    chosen = list(combinations(range(len(grouped)), 2))
    if baseline is not None:
        chosen = [(baseline, other) for other in range(len(grouped)) if other != baseline]
    declared = list(map(indexed, tables))
    pairs = [_pair(grouped, declared, i, j, margin) for i, j in chosen]
    tested = [entry for entry in pairs if entry["cases"] and entry[primary]["p"] >= 0]
    for corrected, key in (("p_holm", "p"), ("p_equivalence", "p_equivalence")):
        values = [entry[primary][key] for entry in tested]
        if None not in values:
            for entry, p in zip(tested, hypothesis_tests.holm(np.array(values)), strict=True):
                entry[corrected] = float(p)
    for entry in pairs:
        entry |= {"p_holm": entry.get("p_holm"), "p_equivalence": entry.get("p_equivalence")}
        entry["answer"] = _answer(entry, alpha) if entry["cases"] else None
        entry |= _more_cases(entry, primary, grouped[0][1][0].folds, margin, alpha / max(1, len(tested)))
    return pairs


def _pair(
    grouped: Sequence[tuple[dict[str, Any], list[ExperimentRun]]],
    declared: Sequence[Indexed],
    i: int,
    j: int,
    margin: float | None,
) -> dict[str, Any]:
    (a, runs), (b, _) = grouped[i], grouped[j]
    rows = pair_indexed(declared[i], declared[j])
    folds = set(zip(np.asarray(rows["split_seed"]).tolist(), np.asarray(rows["fold"]).tolist(), strict=True))
    changed = [key for key in a if a[key] != b[key]]
    entry: dict[str, Any] = {
        "a": setting_name(a),
        "b": setting_name(b),
        "changed": changed,
        "confounded": len(changed) > 1,
        "other_seeds": bool(np.any(np.asarray(rows["seed_a"]) != np.asarray(rows["seed_b"]))),
        "cases": len(set(rows["case_id"])),
        "folds": max(Counter(split_seed for split_seed, _ in folds).values(), default=0),
    }
    of_both = rows_of(rows)
    return entry | {
        metric: metric_difference(rows, metric, runs[0].folds, margin, of_both)
        for metric in METRICS
        if len(of_both.y_true)
    }


def _answer(entry: Mapping[str, Any], alpha: float) -> Answer:
    """Equivalence first: a difference inside the margin does not matter, however sure it is."""
    if entry["p_equivalence"] is not None and entry["p_equivalence"] < alpha:
        return "equal"
    return "differ" if entry["p_holm"] is not None and entry["p_holm"] < alpha else "cannot tell"


def _more_cases(
    entry: Mapping[str, Any], primary: str, folds: int, margin: float | None, alpha: float
) -> dict[str, Any]:
    """Return what a pair's cases detect, and the cases that its difference, or equivalence, needs; null if none."""
    nothing = {"detectable": None, "cases_needed": None, "cases_for_equivalence": None}
    if not entry["cases"]:
        return nothing
    cases, error, estimate = entry["cases"], entry[primary]["error"], entry[primary]["estimate"]
    if not error or math.isnan(error):
        return nothing
    needed = power.cases_needed(cases, error, estimate, alpha, POWER)
    equivalent = None if margin is None else power.cases_for_equivalence(cases, error, margin, alpha, POWER)

    def over_folds(number: int | None) -> int | None:
        """What one fold lacks comes from other folds, whose networks share training cases."""
        more = number is not None and number > cases and entry["folds"] == 1
        return math.ceil(number * design_effect(folds, folds)) if number is not None and more else number

    return {
        "detectable": power.detectable_difference(error, alpha, POWER),
        "cases_needed": over_folds(needed),
        "cases_for_equivalence": over_folds(equivalent),
    }
