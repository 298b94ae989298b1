"""Apply the networks of runs to scans: choose the runs, refuse what would not fit, preprocess and predict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import flairprep
from flairprep.cohort import case_ids
from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.experiments.runs import WORKSPACE
from flairprep.inference import code
from flairprep.inference.predict import Predict, Prediction, predict_cases
from flairprep.inference.preprocess import Steps, preprocess_cases, steps_of
from flairprep.inference.run import NETWORK, TrainedRun
from flairprep.inference.scans import cases_at
from flairprep.nifti_input.sessions import split_sessions


class OtherCodeError(FlairprepError):
    """The code that runs is not the one that made the networks; `run` is one of theirs."""

    def __init__(self, text: str, run: TrainedRun) -> None:
        super().__init__(text)
        self.run = run


@dataclass(frozen=True)
class Predictor:
    """Networks with one preprocessing, ready to be applied; they are loaded when the first case is ready."""

    runs: tuple[TrainedRun, ...]

    @property
    def steps(self) -> Steps:
        """Return the steps from a scan to a tensor, as the networks' runs took them."""
        return self.runs[0].steps

    @property
    def prior(self) -> float:
        """Return the share of label 1 among the training cases, the mean over the networks."""
        return float(np.mean([run.prior for run in self.runs]))

    def predictions(self, path: Path) -> Iterator[Prediction]:
        """Predict the cases at `path`, in the order of their ids.

        Raises:
            FlairprepError: see `scans.cases_at`, `networks.Ensemble` and `preprocess_cases`; at the first case.
        """
        home = Path(self.steps.ingest.dicom_dir)
        cases, folder = cases_at(path, self.steps.ingest.sequence, case_ids.read_key(home))
        steps = self.steps.applied_to(folder)
        cases = split_sessions(cases, steps.ingest, folder)
        yield from predict_cases(preprocess_cases(cases, steps), _Networks(self.runs))


class _Networks:
    """The networks of runs, which are loaded when they first predict: by then workers preprocess the next cases."""

    def __init__(self, runs: Sequence[TrainedRun]) -> None:
        self._runs = runs
        self._predict: Predict | None = None

    def __call__(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        if self._predict is None:
            from flairprep.inference.networks import Ensemble  # imports tensorflow

            ensemble = Ensemble({run.name: run.network for run in self._runs})
            if ensemble.shape != images.shape[1:]:
                raise FlairprepError(
                    f"{NETWORK} of {self._runs[0].name} takes volumes of {ensemble.shape}, its dvc.lock makes them "
                    f"{images.shape[1:]}; restore it: dvc checkout data/train, or make it: dvc repro"
                )
            self._predict = ensemble.predict
        return self._predict(images)


def fitting(runs: Sequence[TrainedRun]) -> Predictor:
    """Return the predictor of runs whose networks all fit the same tensors, made by the code that is installed.

    Raises:
        FlairprepError: params of preprocessing differ between runs, or from params.yaml for the workspace's network.
        OtherCodeError: the code of preprocessing differs from the installed one.
    """
    first = runs[0]
    for run in runs:
        if run.code != first.code:
            paths = [path for path in {**first.code, **run.code} if first.code.get(path) != run.code.get(path)]
            raise FlairprepError(
                f"{first.name} and {run.name} were made with other code: {', '.join(paths)}; name equal runs"
            )
    if paths := code.differing(first.code, Path(flairprep.__file__).parent):
        raise OtherCodeError(
            f"{first.name}: its network was made with other preprocessing code: {', '.join(paths)}; make a new one: "
            "dvc repro, or take network and code of a revision: --run HEAD",
            first,
        )
    for run in runs:  # after the code: other code may have other keys
        if run.name == WORKSPACE:
            _check_params(run, params.read_params())
        if told := _differences(first.steps, run.steps):
            raise FlairprepError(f"{first.name} and {run.name} were made with other params: {told}; name equal runs")
    return Predictor(tuple(runs))


def _check_params(run: TrainedRun, values: dict[str, Any]) -> None:
    if told := _differences(run.steps, steps_of(values)):
        raise FlairprepError(
            f"params.yaml: {NETWORK} was made with other params: {told}; make a new network: dvc repro, or take the "
            "params of a revision: --run HEAD"
        )


def _differences(then: Steps, now: Steps) -> str:
    """Name each param of preprocessing that differs, with both values; "" where none does."""
    old, new = then.decisive, now.decisive
    return ", ".join(
        f"{key} {params.value_of(old.get(key))}, now {params.value_of(new.get(key))}"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    )
