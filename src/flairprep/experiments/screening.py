"""A screening design for the seven pieces of advice, 8 runs instead of 128, and two base runs for the noise."""

import json
import shlex
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from flairprep.core.params import value_of
from flairprep.experiments import screening
from flairprep.experiments.inference import aligned, beside, of_draws, of_repeats, over_repeats, widened
from flairprep.stats import bootstrap, hypothesis_tests

# The advice that is usually given, each as the two levels that it is about: without it, with it.
LEVELS: dict[str, tuple[Any, Any]] = {
    "model.skip": (False, True),
    "model.norm": ("after_pool", "after_conv"),
    "model.dropout": (0.3, 0.0),
    "model.filters": ([8, 16, 32, 64], [4, 8, 16, 32]),
    "lr": (1e-4, 1e-5),
    "batch_size": (8, 2),
    "train.schedule": ("constant", "cosine"),
}
GENERATOR = (1, 1, 1, -1, 1, -1, -1)  # Plackett and Burman 1946, N = 8
CENTRES = 2  # seeds of the base setting: how far these lie apart is the noise that an effect must exceed


def design() -> np.ndarray:
    """(8 runs, 7 params) of -1 and +1: the generator turned by one place a run, then all -1 (Plackett and Burman 1946).

    Any two columns hold each of the four pairs of signs twice, so each effect is measured on all 8 runs.
    """
    turned = [np.roll(GENERATOR, places) for places in range(len(GENERATOR))]
    return np.array([*turned, [-1] * len(GENERATOR)])


def settings() -> list[dict[str, Any]]:
    """The 8 settings of the design: param -> level."""
    return [
        {key: levels[(sign + 1) // 2] for (key, levels), sign in zip(LEVELS.items(), signs, strict=True)}
        for signs in design().tolist()
    ]


def commands(seed: int) -> list[str]:
    """What queues the runs; the base setting is that of params.yaml, with `seed` and the ones after it."""
    queued = [" ".join(f"-S {shlex.quote(f'{k}={value_of(v)}')}" for k, v in setting.items()) for setting in settings()]
    queued += [f"-S seed={seed + centre}" for centre in range(CENTRES)]
    return [f"dvc exp run --queue {overrides}" for overrides in queued]


def text(seed: int, folds: int, test_fold: int | None) -> str:
    """What `flairprep plan` prints: seed, folds and test_fold as params.yaml has them."""
    every = ",".join(str(fold) for fold in range(folds) if fold != test_fold)
    said = [
        f"# {len(LEVELS)} pieces of advice in {len(settings())} runs, then the base setting with {CENTRES} seeds.",
        f"# Other folds: add -S val_fold={every} to each line. Nothing runs before the queue is started.",
        *commands(seed),
        "dvc queue start",
        "flairprep compare",
    ]
    return "\n".join(said)


def members(found: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which of the settings are runs of this design, so that it is recognised among others."""
    return [place for place, setting in enumerate(found) if {key: setting.get(key) for key in LEVELS} in settings()]


LEAST_COLUMNS = 5  # of a design: with fewer, pairs tell more, and any small grid would pass for one


def confounded(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Params that always changed together, so that nothing says which of the two mattered; one that never changed is
    none of them."""

    def levels(key: str) -> list[int]:
        values = [json.dumps(setting[key]) for setting in settings]
        return [values.index(value) for value in values]

    keys = [key for key in settings[0] if any(levels(key))] if settings else []
    return [(a, b) for a, b in combinations(keys, 2) if levels(a) == levels(b)]


def orthogonal(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[int]] | None:
    """The columns of a two-level design among the settings, key -> +1, -1, or 0 where one is no part of it; else None.

    The design may be all settings, all but one (the centre), or those of `plan`. At least LEAST_COLUMNS params must
    change in it, each between two values, half of the runs each, and the products of any two columns must sum to 0. +1
    is the larger value, or the later one in the alphabet.
    """
    every = range(len(settings))
    for members in (list(every), *([i for i in every if i != centre] for centre in every), screening.members(settings)):
        levels = {key: {json.dumps(settings[i][key]) for i in members} for key in settings[0]}
        levels = {key: values for key, values in levels.items() if len(values) > 1}
        if len(levels) < LEAST_COLUMNS or any(len(values) != 2 for values in levels.values()):
            continue
        high = {key: max(values, key=_order) for key, values in levels.items()}
        columns = {
            key: [(2 * (json.dumps(settings[i][key]) == high[key]) - 1) * (i in members) for i in every] for key in high
        }
        matrix = np.array(list(columns.values()))
        if not matrix.sum(axis=1).any() and (matrix @ matrix.T == len(members) * np.eye(len(matrix), dtype=int)).all():
            return columns
    return None


def _order(text: str) -> tuple[bool, float, str]:
    value = json.loads(text)
    number = isinstance(value, int | float)
    return not number, value if number else 0, text


def main_effects(
    columns: Mapping[str, Sequence[int]],
    settings: Sequence[Mapping[str, Any]],
    rows: Sequence[pd.DataFrame],
    noise: Mapping[str, Any] | None,
    of_split: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Of each param of a design: mean declared accuracy of the settings at its high level minus at its low level.

    On the cases that all settings declared, drawn as patients; p_holm is corrected over the params. Unless the design
    holds every combination of the levels (`mixed` false), it mixes effects with products of others, which no analysis
    can take apart.
    """
    members = [i for i in range(len(settings)) if any(column[i] for column in columns.values())]
    tables = dict(zip(members, aligned([rows[i] for i in members]), strict=True))
    shared = tables[members[0]]
    mixed = len({tuple(column[i] for column in columns.values()) for i in members}) < 2 ** len(columns)

    def once(part: pd.DataFrame) -> tuple[float, float, float, float]:
        y_true, a, b, groups, folds = (
            part[name].to_numpy() for name in ("label", "probability_a", "probability_b", "group", "fold")
        )
        *found, p = bootstrap.paired_difference(y_true, a, b, groups=groups, folds=folds, metric="accuracy", seed=seed)
        k = part["fold"].nunique()
        return *widened(found, k, of_split), of_draws(found, p, k, of_split)

    effects: list[dict[str, Any]] = []
    for key, column in columns.items() if len(shared) else ():
        low, high = ([i for i in members if column[i] == sign] for sign in (-1, 1))
        stacked = pd.concat([beside(tables[i], tables[j]) for i, j in zip(low, high, strict=True)])
        numbers = dict(zip(("estimate", "low", "high", "p"), over_repeats(stacked, once), strict=True))
        numbers["p"] = of_repeats(numbers["p"], shared)
        within = None if noise is None else abs(numbers["estimate"]) <= noise["accuracy"]
        levels = {"low_level": settings[low[0]][key], "high_level": settings[high[0]][key]}
        effects.append({"key": key, **levels, **numbers, "within_noise": within, "mixed": mixed})
    known = [effect for effect in effects if effect["p"] >= 0]
    for effect, p in zip(known, hypothesis_tests.holm(np.array([effect["p"] for effect in known])), strict=True):
        effect["p_holm"] = float(p)
    return sorted(effects, key=lambda effect: -abs(effect["estimate"]))
