"""Predict cases from their scans: bounded memory, a row for each case, also for one that failed."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from flairprep.core.outcomes import Outcome
from flairprep.inference.preprocess import Preprocessed, network_input

BATCH = 4  # cases that a network sees together
THRESHOLD = 0.5  # a probability above it is label 1, as in every other place of the project
COLUMNS = ("case_id", "probability", "predicted", "status", "code", "message")
SPREAD = "spread"  # column of ensembles
UNCALIBRATED = "uncalibrated"  # column beside a calibrated probability

OnFailure = Literal["empty", "prior"]
Predict = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float64]]  # (cases, z, y, x, 1) to (networks, cases)


@dataclass(frozen=True)
class Prediction:
    """A case's outcome, with the mean probability of label 1 of the networks and their standard deviation.

    Both are None for a case that failed; the deviation (of the sample, n - 1) is None for one network, too.
    """

    outcome: Outcome
    probability: float | None = None
    spread: float | None = None

    def row(self, calibrate: Callable[[float], float] | None, fill: float | None) -> dict[str, str]:
        """Return the cells of COLUMNS, SPREAD and UNCALIBRATED.

        Args:
            calibrate: applied to the probability, None: it stays.
            fill: the probability of a case that failed, None: no value.
        """
        value = self.probability
        if value is not None and calibrate:
            value = calibrate(value)
        value = fill if value is None else value
        cells = self.outcome.as_row()
        return {
            **{name: str(cells[name]) for name in ("case_id", "status", "code", "message")},
            "probability": _text(value),
            "predicted": "" if value is None else str(int(value > THRESHOLD)),
            SPREAD: _text(self.spread),
            UNCALIBRATED: _text(self.probability),
        }


def _text(value: float | None) -> str:
    """Format with a digit more than the tables of a run have, so that rounding twice stays below 1e-6."""
    return "" if value is None else f"{value:.7f}"


def predict_cases(cases: Iterable[Preprocessed], predict: Predict) -> Iterator[Prediction]:
    """Predict preprocessed cases in order, BATCH at a time."""
    waiting: list[tuple[Outcome, npt.NDArray[np.float32] | None]] = []
    for outcome, volume in cases:
        waiting.append((outcome, None if volume is None else network_input(volume)))
        if sum(image is not None for _, image in waiting) == BATCH:
            yield from _predicted(waiting, predict)
            waiting = []
    yield from _predicted(waiting, predict)


def _predicted(waiting: list[tuple[Outcome, npt.NDArray[np.float32] | None]], predict: Predict) -> Iterator[Prediction]:
    images = [image for _, image in waiting if image is not None]
    answers = predict(np.stack(images)) if images else np.empty((1, 0))
    columns = iter(answers.T)
    for outcome, image in waiting:
        if image is None:
            yield Prediction(outcome)
        else:
            of_case = next(columns)
            spread = float(of_case.std(ddof=1)) if len(of_case) > 1 else None
            yield Prediction(outcome, float(of_case.mean()), spread)
