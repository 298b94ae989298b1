"""A screening design for the seven pieces of advice, 8 runs instead of 128, and two base runs for the noise."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flairprep.core.params import value_of

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
