"""A screening design for the seven usual pieces of advice: 8 runs instead of 128, and two base runs for the noise."""

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from flairprep.core.params import value_of
from flairprep.experiments.inference import align, join, rows_of
from flairprep.stats import hypothesis_tests, replicates

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
CENTRE_RUNS = 2  # seeds of the base setting; an effect must exceed their difference
MIN_FACTORS = 5  # of a design; with fewer, pairs tell more, and any small grid would count as a design


def plackett_burman() -> np.ndarray:
    """Return the design (8 runs, 7 factors) of -1 and +1: the generator rotated by one per run, then all -1.

    Each two columns hold each of the four pairs of signs twice, so each effect is measured on all 8 runs (Plackett and
    Burman 1946).
    """
    rotated = [np.roll(GENERATOR, shift) for shift in range(len(GENERATOR))]
    return np.array([*rotated, [-1] * len(GENERATOR)])


def design_settings() -> list[dict[str, Any]]:
    """Return the 8 settings of the design: param -> level."""
    return [
        {key: levels[(sign + 1) // 2] for (key, levels), sign in zip(FACTORS.items(), signs, strict=True)}
        for signs in plackett_burman().tolist()
    ]


def queue_commands(seed: int) -> list[str]:
    """Return the commands that queue the design, then the base setting of params.yaml with `seed` and the next."""
    overrides = [
        " ".join(f"-S {shlex.quote(f'{key}={value_of(value)}')}" for key, value in setting.items())
        for setting in design_settings()
    ]
    overrides += [f"-S seed={seed + run}" for run in range(CENTRE_RUNS)]
    return [f"dvc exp run --queue {override}" for override in overrides]


def plan(seed: int, folds: int, test_fold: int | None) -> str:
    """Return what `flairprep plan` prints; seed, folds and test_fold are those of params.yaml."""
    val_folds = ",".join(str(fold) for fold in range(folds) if fold != test_fold)
    lines = [
        f"# {len(FACTORS)} pieces of advice in {len(design_settings())} runs, then the base setting with "
        f"{CENTRE_RUNS} seeds.",
        f"# For all folds add -S val_fold={val_folds} to each line. Nothing runs before the queue starts.",
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
    variability: Mapping[str, Any] | None,
    folds: int,
) -> list[dict[str, Any]]:
    """Return the main effect of each factor: mean declared accuracy at its high level minus at its low level.

    On the cases that all settings of the design declared. Each pair of settings, one at either level, is a repeat, so
    that what networks differ by is in the error (`replicates.difference`). p_holm is corrected over the factors. A
    fractional design (`mixed`) aliases main effects with interactions, which no analysis can separate.

    Args:
        design: of `find_design`.
        settings: all settings.
        tables: `settings.declared_table` of each setting.
        variability: of `comparison.seed_variability`.
        folds: of a split, run or not.

    Returns:
        key, low_level, high_level, estimate, low, high, p, within_noise, mixed, p_holm (not where p is NaN), the
        largest effect first; empty without a shared case.
    """
    members = [i for i in range(len(settings)) if any(column[i] for column in design.values())]
    aligned = dict(zip(members, align([tables[i] for i in members]), strict=True))
    shared = aligned[members[0]]
    mixed = len({tuple(column[i] for column in design.values()) for i in members}) < 2 ** len(design)

    effects: list[dict[str, Any]] = []
    for key, column in design.items() if len(shared) else ():
        low, high = ([i for i in members if column[i] == sign] for sign in (-1, 1))
        networks = 1 + shared["repeat"].max()
        joined = [join(aligned[i], aligned[j]) for i, j in zip(low, high, strict=True)]
        pairs = pd.concat(rows.assign(repeat=rows["repeat"] + n * networks) for n, rows in enumerate(joined))
        test = replicates.difference(
            rows_of(pairs),
            pairs["probability_a"].to_numpy(),
            pairs["probability_b"].to_numpy(),
            "accuracy",
            folds=folds,
        )
        effect: dict[str, Any] = {"estimate": test.estimate, "low": test.low, "high": test.high, "p": test.p}
        within_noise = None if variability is None else abs(effect["estimate"]) <= variability["accuracy"]
        levels = {"low_level": settings[low[0]][key], "high_level": settings[high[0]][key]}
        effects.append({"key": key, **levels, **effect, "within_noise": within_noise, "mixed": mixed})
    tests = [effect for effect in effects if effect["p"] >= 0]
    for effect, p in zip(tests, hypothesis_tests.holm(np.array([effect["p"] for effect in tests])), strict=True):
        effect["p_holm"] = float(p)
    return sorted(effects, key=lambda effect: -abs(effect["estimate"]))
