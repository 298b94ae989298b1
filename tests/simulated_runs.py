"""Simulated runs with a planted accuracy, in five balanced folds."""

from typing import Any

import numpy as np

from flairprep.evaluation.predictions import Predictions
from flairprep.experiments import comparison
from flairprep.experiments.runs import ExperimentRun

FOLDS, PER_FOLD, EPOCHS = 5, 40, 6
Y_TRUE = np.arange(FOLDS * PER_FOLD) % 2
IDS = np.array([f"{case:05d}" for case in range(len(Y_TRUE))])
BASE = {"lr": 1e-4, "batch_size": 4, "code": "0000000"}
CURRENT = {**BASE, "split.seed": 0, "seed": 0, "val_fold": 0}


def fold_of(split_seed: int) -> np.ndarray:
    """Return the fold of each case; each fold has as many cases of either label."""
    rng = np.random.default_rng(split_seed)
    folds = np.empty(len(Y_TRUE), int)
    for label in (0, 1):
        folds[rng.permutation(np.flatnonzero(label == Y_TRUE))] = np.arange(len(Y_TRUE) // 2) % FOLDS
    return folds


def simulate_run(
    name: str,
    right: float = 0.5,
    fold: int = 0,
    seed: int = 0,
    split_seed: int = 0,
    scans: int = 1,
    **setting: Any,
) -> ExperimentRun:
    """Return a run with the declared accuracy `right`; of a patient's `scans` all are right or none."""
    rng = np.random.default_rng([ord(letter) for letter in name])
    cases = np.flatnonzero(fold_of(split_seed) == fold)
    patients = len(cases) // scans
    correct = np.repeat(rng.permutation(np.arange(patients) < round(right * patients)), scans)
    side = np.where(correct, 1, -1) * (2 * Y_TRUE[cases] - 1)
    y_prob = 0.5 + side * rng.uniform(0.1, 0.4, (EPOCHS, len(cases)))
    groups = IDS[cases][np.arange(len(cases)) // scans * scans]
    validation = Predictions(IDS[cases], Y_TRUE[cases], y_prob, groups)
    setting = {**BASE, **setting}
    return ExperimentRun(
        name, {}, setting, split_seed, fold, seed, "val_accuracy", validation, folds=FOLDS, cases=len(Y_TRUE)
    )


def compare(*runs: ExperimentRun, **options: Any) -> dict[str, Any]:
    return comparison.compare(runs, CURRENT, **{"alpha": 0.05, "permutations": 199, **options})


def answer(result: dict[str, Any]) -> str:
    """Return the sentences of a comparison as one text."""
    return "\n".join(result["answer"])
