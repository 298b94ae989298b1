"""Small networks on simulated cohorts: random features of the cases, trained by ridge regression along a path.

A case has 20 features, standard normal and the same for all networks; label 1 shifts one direction of them by `shift`.
A network sees few random projections of these through tanh, and is trained on the cases of the other folds: an epoch
is a penalty, from strong to weak. So networks of folds share training cases, networks of settings and seeds share the
validation cases and their peculiarities, and networks differ by the projections that they drew: the fewer, the more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.special import expit, logit

from flairprep.evaluation.predictions import Predictions
from flairprep.experiments.runs import ExperimentRun
from flairprep.stats import metrics

FEATURES, FOLDS = 20, 5
STEADY, VARIED = (
    20,
    8,
)  # projections: networks of a setting differ little, or by three points of accuracy (see `spread`)
PENALTIES = np.geomspace(1e4, 10, 30)  # an epoch each

Array = metrics.Array


@dataclass(frozen=True)
class Cohort:
    """Cases: y_true (n,), features (n, FEATURES) of noise."""

    y_true: Array
    noise: Array

    @property
    def ids(self) -> Array:
        """Return the case ids."""
        return np.array([f"{case:05d}" for case in range(len(self.y_true))])


def cohort(seed: int, n: int = 585, ones: int | None = None) -> Cohort:
    """Draw a cohort with `ones` cases of label 1, by default 52 %."""
    rng = np.random.default_rng([seed, n])
    count = round(0.52 * n) if ones is None else ones
    return Cohort(rng.permutation(np.arange(n) < count).astype(int), rng.standard_normal((n, FEATURES)))


def folds(cases: Cohort, split_seed: int) -> Array:
    """Return the fold of each case, stratified by label, (n,)."""
    rng, fold = np.random.default_rng([split_seed, 7]), np.empty(len(cases.y_true), int)
    for label in (0, 1):
        here = rng.permutation(np.flatnonzero(cases.y_true == label))
        fold[here] = np.arange(len(here)) % FOLDS
    return fold


def network(
    train: tuple[Array, Array], see: Array, rng: np.random.Generator, width: int, penalties: Array = PENALTIES
) -> Array:
    """Train on (features, labels) and return the probabilities of the cases `see`, (n_epochs, n_cases).

    The probability is the logistic one of a linear discriminant: calibrated where the penalty is weak.
    """
    features, labels = train
    weights = np.linalg.qr(rng.standard_normal((FEATURES, FEATURES)))[0][:, :width]
    hidden, seen = np.tanh(features @ weights), np.tanh(see @ weights)
    centre, prior = hidden.mean(axis=0), labels.mean()
    u, s, vt = np.linalg.svd(hidden - centre, full_matrices=False)
    shrunk = s / (s**2 + penalties[:, None]) * (u.T @ (labels - prior))
    score = shrunk @ vt @ (seen - centre).T
    return expit(logit(prior) + score / (prior * (1 - prior)))


def shifted(cases: Cohort, shift: float) -> Array:
    """Return the features of the cases as a setting that sees `shift` of the label has them."""
    return cases.noise + shift * (cases.y_true[:, None] - 0.5) * np.eye(FEATURES)[0]


def run(
    cases: Cohort,
    shift: float,
    setting: int,
    *,
    fold: int,
    seed: int = 0,
    split_seed: int = 0,
    width: int = STEADY,
    cohort_seed: int = 0,
    penalties: Array = PENALTIES,
) -> ExperimentRun:
    """Return one network of a setting as compare reads it."""
    place = folds(cases, split_seed)
    here, features = place == fold, shifted(cases, shift)
    rng = np.random.default_rng([cohort_seed, setting, seed, split_seed, fold])
    y_prob = network((features[~here], cases.y_true[~here]), features[here], rng, width, penalties)
    validation = Predictions(cases.ids[here], cases.y_true[here], y_prob, cases.ids[here])
    name = f"setting {setting}, split {split_seed}, fold {fold}, seed {seed}"
    values: dict[str, Any] = {"setting": setting}
    total = len(cases.y_true)
    return ExperimentRun(
        name,
        {},
        values,
        split_seed,
        fold,
        seed,
        "val_loss",
        validation,
        folds=FOLDS,
        cases=total,
        split=str(split_seed),
    )


def runs(
    cases: Cohort, shift: float, setting: int, *, splits: int = 1, seeds: int = 1, used: int = FOLDS, **more: Any
) -> list[ExperimentRun]:
    """Return the networks of a setting over `used` folds of `splits` splits, with `seeds` training seeds each."""
    return [
        run(cases, shift, setting, fold=fold, seed=seed, split_seed=split, **more)
        for split in range(splits)
        for fold in range(used)
        for seed in range(seeds)
    ]


def true_values(shift: float, width: int, *, n: int = 585, networks: int = 300) -> tuple[Array, Array]:
    """Return accuracy and AUC of networks trained on other cohorts, on 4,000 new cases each, (networks,) each."""
    found = []
    for seed in range(networks):
        known, new = cohort(10_000 + seed, n * (FOLDS - 1) // FOLDS), cohort(20_000 + seed, 4000)
        rng = np.random.default_rng([seed, 1])
        y_prob = network((shifted(known, shift), known.y_true), shifted(new, shift), rng, width)[-3:].mean(axis=0)
        found.append((metrics.accuracy(new.y_true, y_prob), metrics.auc(new.y_true, y_prob)))
    accuracies, areas = np.array(found).T
    return accuracies, areas


@cache
def shift_of(accuracy: float, width: int, n: int = 585) -> float:
    """Return the shift that gives networks this accuracy in the mean, by bisection."""
    low, high = 0.0, 6.0
    for _ in range(12):
        middle = (low + high) / 2
        reached = true_values(middle, width, n=n, networks=60)[0].mean()
        low, high = (middle, high) if reached < accuracy else (low, middle)
    return (low + high) / 2


def spread(accuracy: float, width: int) -> float:
    """Return the standard deviation of the true accuracies of a setting's networks."""
    return float(true_values(shift_of(accuracy, width), width)[0].std(ddof=1))


def tables_of(settings: Sequence[Sequence[ExperimentRun]]) -> list[tuple[dict[str, Any], list[ExperimentRun]]]:
    """Return the settings as `settings.group_by_setting` groups them."""
    return [({"setting": index}, list(of_setting)) for index, of_setting in enumerate(settings)]
