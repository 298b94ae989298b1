"""A screening design for the seven usual pieces of advice: 16 runs instead of 128."""

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from flairprep.core.params import value_of
from flairprep.experiments.effects import detectable_effect, factor_effects
from flairprep.experiments.inference import POWER, align, rows_of
from flairprep.experiments.summary import MEASURES
from flairprep.stats import replicates
from flairprep.stats.metrics import Array, PairedMetric

# The usual advice, each factor with its two levels: without the advice, with it.
FACTORS: dict[str, tuple[Any, Any]] = {
    "model.skip": (False, True),
    "model.norm": ("after_pool", "after_conv"),
    "model.dropout": (0.3, 0.0),
    "model.filters": ([8, 16, 32, 64], [4, 8, 16, 32]),
    "lr": (1e-4, 1e-5),
    "batch_size": (8, 2),
    "train.schedule": ("constant", "cosine"),
}
GENERATOR = (1, 1, 1, -1, 1, -1, -1)  # Plackett and Burman 1946, N = 8
MIN_FACTORS = 5  # of a design; with fewer, pairs tell more, and any small grid would count as a design

NETWORK_SD, SD_CASES = 0.03, 117  # what networks of one setting differ by on the same cases, and on how many cases


def plackett_burman() -> Array:
    """Return the design (8 runs, 7 factors) of -1 and +1: the generator rotated by one per run, then all -1.

    Each two columns hold each of the four pairs of signs twice, so each effect is measured on all 8 runs (Plackett and
    Burman 1946).
    """
    rotated = [np.roll(GENERATOR, shift) for shift in range(len(GENERATOR))]
    return np.array([*rotated, [-1] * len(GENERATOR)])


def folded_over() -> Array:
    """Return the design (16 runs, 7 factors): `plackett_burman`, then the same with all signs reversed.

    No main effect is aliased with an interaction of two factors (Box and Wilson 1951). 8 further contrasts, mostly of
    interactions, help to estimate the error.
    """
    return np.vstack([plackett_burman(), -plackett_burman()])


def design_settings() -> list[dict[str, Any]]:
    """Return the 16 settings of the design: param -> level."""
    return [
        {key: levels[(sign + 1) // 2] for (key, levels), sign in zip(FACTORS.items(), signs, strict=True)}
        for signs in folded_over().tolist()
    ]


def queue_commands(seed: int) -> list[str]:
    """Return the commands that queue the design; each has a training seed of its own, from `seed` on.

    Networks of one seed and shape start from the same weights: with one seed for all, the luck of these weights would
    count as an effect of the shape.
    """
    commands = []
    for run, setting in enumerate(design_settings()):
        values = {**setting, "seed": seed + run}
        overrides = " ".join(f"-S {shlex.quote(f'{key}={value_of(value)}')}" for key, value in values.items())
        commands.append(f"dvc exp run --queue {overrides}")
    return commands


def network_sd(cases: int) -> float:
    """Return what networks usually differ by, a standard deviation: NETWORK_SD, and more on fewer cases than SD_CASES.

    On more cases it is not taken to be smaller, since networks differ by more than the sampling of cases.
    """
    return NETWORK_SD * max(1.0, SD_CASES / cases) ** 0.5


def detectable(cases: int, folds: int, alpha: float) -> float:
    """Return the effect that the design shows with POWER, from what networks usually differ by.

    Args:
        cases: validation cases of a fold.
        folds: that the design is run on.
        alpha: level of all effects together.
    """
    runs, factors = folded_over().shape
    sd = network_sd(cases) / folds**0.5
    return detectable_effect(runs, factors, alpha=alpha, power=POWER) * sd


def plan(
    seed: int,
    folds: int,
    test_fold: int | None,
    *,
    cases: Mapping[int, int] | None = None,
    val_fold: int = 0,
    measure: PairedMetric = "auc",
    alpha: float = 0.05,
) -> str:
    """Return what `flairprep plan` prints: comments, and commands for a shell.

    Args:
        seed, folds, test_fold, val_fold: of params.yaml.
        cases: number of cases by fold; None before split has run.
        measure: that compare tests effects on.
        alpha: level of all effects together.
    """
    val_folds = [fold for fold in range(folds) if fold != test_fold]
    every, sizes = ",".join(map(str, val_folds)), cases or {}
    lines = [f"# {len(FACTORS)} pieces of advice in {len(design_settings())} runs, each with a seed of its own."]
    for which, used in (("one fold", [val_fold]), ("all folds", val_folds)):
        total = sum(sizes.get(fold, 0) for fold in used)
        per_fold = round(total / len(used)) or SD_CASES
        known = f"{total} validation cases" if total else f"if each has {SD_CASES} validation cases"
        lines.append(
            f"# {which.capitalize()}, {known}: {POWER:.0%} power to show a main effect of "
            f"{detectable(per_fold, len(used), alpha):.3f} in {MEASURES[measure]},"
        )
        lines.append(f"#   where networks of one setting differ by a standard deviation of {network_sd(per_fold):.3f}.")
    lines += [
        "# Main effects are aliased with interactions of three params, not of two.",
        f"# For all folds add -S val_fold={every} to each line. Nothing runs before the queue starts.",
        *queue_commands(seed),
        "dvc queue start",
        "flairprep compare",
    ]
    return "\n".join(lines)


def confounded_params(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the pairs of params that always changed together, so that their effects cannot be separated."""

    def level_indices(key: str) -> list[int]:
        values = [json.dumps(setting[key]) for setting in settings]
        return [values.index(value) for value in values]

    varied = [key for key in settings[0] if any(level_indices(key))] if settings else []
    return [(a, b) for a, b in combinations(varied, 2) if level_indices(a) == level_indices(b)]


def find_design(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[int]] | None:
    """Find an orthogonal two-level design among the settings.

    Its runs may be all settings, all but one (the centre), or those of `plan`. At least MIN_FACTORS params must change
    in it, each between two values, half of the runs each, and any two columns must be orthogonal.

    Returns:
        param -> column of +1 (the larger value, or the later one in the alphabet), -1, or 0 for a setting outside of
        the design; None without a design.
    """
    indices = range(len(settings))
    planned = [i for i in indices if {key: settings[i].get(key) for key in FACTORS} in design_settings()]
    for members in (list(indices), *([i for i in indices if i != centre] for centre in indices), planned):
        levels = {key: {json.dumps(settings[i][key]) for i in members} for key in settings[0]}
        levels = {key: values for key, values in levels.items() if len(values) > 1}
        if len(levels) < MIN_FACTORS or any(len(values) != 2 for values in levels.values()):
            continue
        high = {key: max(values, key=_order) for key, values in levels.items()}
        columns = {
            key: [(2 * (json.dumps(settings[i][key]) == high[key]) - 1) * (i in members) for i in indices]
            for key in high
        }
        matrix = np.array(list(columns.values()))
        orthogonal = (matrix @ matrix.T == len(members) * np.eye(len(matrix), dtype=int)).all()
        if orthogonal and not matrix.sum(axis=1).any():
            return columns
    return None


def _order(text: str) -> tuple[bool, float, str]:
    """Sort key of a JSON value: numbers by size, then others by their text."""
    value = json.loads(text)
    is_number = isinstance(value, int | float)
    return not is_number, value if is_number else 0, text


def main_effects(
    design: Mapping[str, Sequence[int]],
    settings: Sequence[Mapping[str, Any]],
    tables: Sequence[pd.DataFrame],
    folds: int,
    *,
    measure: PairedMetric = "auc",
) -> list[dict[str, Any]]:
    """Return the main effect of each factor: mean declared AUC or accuracy at its high level minus at its low level.

    On the cases that all settings of the design declared, and as many repeats as every fold has; folds count equally.
    What networks differ by is in the error, see `effects.factor_effects`. An effect that correlates with an interaction
    of two other factors is `mixed`: no analysis can separate the two.

    Args:
        design: of `find_design`.
        settings: all settings.
        tables: `settings.declared_table` of each setting.
        folds: of a split, run or not.
        measure: auc or accuracy.

    Returns:
        key, measure, low_level, high_level, estimate, low, high, p, p_holm (corrected over the factors), mixed, the
        largest effect first; empty without a shared fold that the measure is defined on.
    """
    members = [i for i in range(len(settings)) if any(column[i] for column in design.values())]
    signs = np.array([[column[i] for column in design.values()] for i in members])
    measured = _measure_networks(align([tables[i] for i in members]), measure)
    if measured is None:
        return []
    values, influence = measured
    shared = 1 + (folds - 1) / folds if values.shape[1] > 1 else 1.0
    tests = factor_effects(signs, values, influence, shared=shared)
    mixed = _mixed(signs)
    effects: list[dict[str, Any]] = []
    for index, (key, column) in enumerate(design.items()):
        low, high = column.index(-1), column.index(1)
        effects.append(
            {
                "key": key,
                "measure": measure,
                "low_level": settings[low][key],
                "high_level": settings[high][key],
                "estimate": float(tests.estimate[index]),
                "low": float(tests.low[index]),
                "high": float(tests.high[index]),
                "p": float(tests.p[index]),
                "p_holm": float(tests.p_corrected[index]),
                "mixed": mixed[index],
            }
        )
    return sorted(effects, key=lambda effect: -abs(effect["estimate"]))


def _measure_networks(aligned: Sequence[pd.DataFrame], measure: PairedMetric) -> tuple[Array, Array] | None:
    """Return the measure of each network and its influence values by patient, as `factor_effects` takes them.

    aligned: of `inference.align`. Folds on which the measure is not defined are left out; None without any fold.
    """
    rows = rows_of(aligned[0])
    _, patients = np.unique(rows.patients, return_inverse=True)
    units = [
        unit
        for unit in np.unique(rows.units)
        if measure == "accuracy" or len(np.unique(rows.y_true[rows.units == unit])) > 1
    ]
    if not units:
        return None
    numbers = aligned[0]["repeat"].to_numpy()
    repeats = min(len(np.unique(numbers[rows.units == unit])) for unit in units)
    values = np.empty((len(aligned), len(units), repeats))
    influence = np.zeros((*values.shape, patients.max() + 1))
    probabilities = [table["probability"].to_numpy() for table in aligned]
    for u, unit in enumerate(units):
        for repeat in range(repeats):
            here = np.flatnonzero((rows.units == unit) & (numbers == repeat))
            one = np.zeros(len(here))
            for s, y_prob in enumerate(probabilities):
                value, of_cases = replicates.influence(rows.y_true[here], y_prob[here], one, measure)
                values[s, u, repeat] = value
                np.add.at(influence[s, u, repeat], patients[here], of_cases)
    return values, influence


def _mixed(signs: Array) -> list[bool]:
    """Return whether the column of each factor (n_settings, k) correlates with the product of two others."""
    factors = range(signs.shape[1])
    return [
        any(
            (signs[:, i] * signs[:, j] * signs[:, k]).sum() != 0 for j, k in combinations(factors, 2) if i not in (j, k)
        )
        for i in factors
    ]
