"""Calibrate probabilities by out-of-fold predictions (Platt 1999)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flairprep.core.console import plural
from flairprep.core.errors import FlairprepError
from flairprep.experiments.runs import ExperimentRun
from flairprep.stats.metrics import EPSILON

FEW = 50  # cases below which slope and intercept are hardly known: Steyerberg asks for 100 of each label to judge them


@dataclass(frozen=True)
class Calibration:
    """The map from a probability p to that with the logit slope * logit(p) + intercept, and where it comes from."""

    slope: float
    intercept: float
    cases: int
    folds: int

    def __call__(self, probability: float) -> float:
        """Return the calibrated probability."""
        return 1 / (1 + math.exp(-(self.slope * float(_logit(np.array(probability))) + self.intercept)))

    def told(self, networks: int) -> str:
        """Return what was fitted to which predictions, and what that leaves open; networks: of the ensemble."""
        fitted = f"logit = {self.slope:.3g} * logit + {self.intercept:.3g}, fitted to the out-of-fold predictions of"
        lines = [f"{fitted} {plural(self.cases, 'case')} in {plural(self.folds, 'fold')}"]
        if self.folds == 1:
            lines.append("they are the validation cases of the run itself: calibrated numbers of these say nothing new")
        if self.cases < FEW:
            lines.append(f"fewer than {FEW} cases hardly determine slope and intercept")
        if self.slope <= 0:
            lines.append(
                "the network ranks these cases no better than chance, so every case gets their share of label 1"
            )
        if networks > 1:
            lines.append("fitted to single networks, whose mean is less extreme: it may stay too close to the middle")
        return "; ".join(lines)


def fit(runs: Sequence[ExperimentRun]) -> Calibration:
    """Fit the calibration to the declared validation predictions of runs, which share a case only across seeds.

    Raises:
        FlairprepError: their cases all have one label.
    """
    y_true = np.concatenate([run.validation.y_true for run in runs])
    y_prob = np.concatenate([run.validation.declared for run in runs])
    if len(np.unique(y_true)) < 2:
        raise FlairprepError(
            f"--calibrate: all validation cases of {', '.join(run.name for run in runs)} have one label; run more folds"
        )
    cases = len({case for run in runs for case in run.validation.case_ids})
    return Calibration(*platt(y_true, y_prob), cases, len({(run.split_seed, run.fold) for run in runs}))


def platt(y_true: npt.NDArray[np.int_], y_prob: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and intercept of the logistic regression of y_true on logit(y_prob), both (n,).

    Targets are Platt's, (n1 + 1) / (n1 + 2) and 1 / (n0 + 2): a set that the network separates stays finite. A slope
    below 0 would turn the network's ranking round, so that of 0 is fitted instead.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second

    ones = int(np.sum(y_true))
    target = np.where(y_true == 1, (ones + 1) / (ones + 2), 1 / (len(y_true) - ones + 2))
    logits = np.tile(_logit(y_prob), 2).reshape(-1, 1)
    labels, weights = np.repeat([1, 0], len(y_true)), np.concatenate([target, 1 - target])
    # Sums of weighted cases stand for targets between 0 and 1, which scikit-learn does not take.
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(logits, labels, sample_weight=weights)
    if fitted.coef_[0, 0] <= 0:
        return 0.0, float(_logit(target.mean()))
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _logit(y_prob: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    p = np.clip(y_prob, EPSILON, 1 - EPSILON)
    return np.log(p) - np.log1p(-p)
