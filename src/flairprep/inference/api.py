"""The functions that `import flairprep` offers: volumes, tensors, runs and data sets."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from flairprep.core import params as core_params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Outcome, Status
from flairprep.dataset.map_style import MapDataset
from flairprep.dicom.discovery import RawCase
from flairprep.experiments.runs import WORKSPACE
from flairprep.imaging import nifti
from flairprep.inference.predict import COLUMNS, SPREAD, OnFailure
from flairprep.inference.predictor import Predictor, fitting
from flairprep.inference.preprocess import Steps, network_input, preprocess_case, steps_of
from flairprep.inference.run import read_run
from flairprep.inference.scans import cases_at
from flairprep.nifti_input.sessions import split_sessions
from flairprep.stages.ingest import ingest

if TYPE_CHECKING:
    import pandas as pd

PathLike = Path | str
Params = Mapping[str, Any] | PathLike


def load_volume(path: PathLike, params: Params = core_params.FILE) -> sitk.Image:
    """Read one case as ingest reads it.

    Args:
        path: a case's folder, archive or NIfTI file.
        params: params.yaml, by its path or as its values; section ingest says which series is read.

    Returns:
        The volume as acquired, in LPS and millimetres: int16, int32 or float32.

    Raises:
        FlairprepError: there is no such case, several, or it fails; the text begins with the code.
    """
    case, steps = _one_case(Path(path), params)
    with tempfile.TemporaryDirectory(prefix="flairprep-") as name, _one_thread():
        outcome = ingest(case, params=steps.ingest, volumes_dir=Path(name)).outcome
        return _volume(Path(path), outcome, Path(name))


def preprocess(path: PathLike, params: Params = core_params.FILE) -> npt.NDArray[np.float32]:
    """Turn one case into the tensor that the pipeline makes of it, to the last bit.

    Args:
        path: a case's folder, archive or NIfTI file.
        params: params.yaml, by its path or as its values: sections ingest, normalize and select_slices.

    Returns:
        float32 (z, y, x), as `select_slices` says, (64, 128, 128) by default; the network takes it with a channel
        added. The values are those of the shards, rounded to float16.

    Raises:
        FlairprepError: there is no such case, several, or it fails; the text begins with the code.
    """
    case, steps = _one_case(Path(path), params)
    with tempfile.TemporaryDirectory(prefix="flairprep-") as name, _one_thread():
        outcome = preprocess_case(case, steps=steps, out=Path(name))
        return network_input(_volume(Path(path), outcome, Path(name)))[..., 0]


def _one_case(path: Path, params: Params) -> tuple[RawCase, Steps]:
    if isinstance(params, Mapping):
        steps = steps_of(params)
    else:
        steps = steps_of(core_params.read_params(Path(params)), Path(params))
    cases, folder = cases_at(path, steps.ingest.sequence)
    steps = steps.applied_to(folder)
    cases = split_sessions(cases, steps.ingest, folder)
    if len(cases) > 1:
        raise FlairprepError(f"{path}: {len(cases)} cases; name one of them, or predict them all: load_run().predict")
    return cases[0], steps


def _volume(path: Path, outcome: Outcome, folder: Path) -> sitk.Image:
    if outcome.status is Status.FAILED:
        raise FlairprepError(f"{outcome.code}: {path}: {outcome.message}")
    return nifti.read_volume(folder / f"{outcome.case_id}.nii.gz")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let SimpleITK sum in one thread, as the stages' workers do: several would round in another order."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


class Run:
    """The network of a run, or several as an ensemble, ready to be applied."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def prior(self) -> float:
        """Return the share of label 1 among the training cases."""
        return self._predictor.prior

    def predict(self, paths: PathLike | Sequence[PathLike], on_failure: OnFailure = "empty") -> "pd.DataFrame":
        """Predict scans in worker processes.

        A script has to call it below `if __name__ == "__main__":`, as everything that starts processes.

        Args:
            paths: folders of cases, cases, exports, archives or NIfTI files; one or several.
            on_failure: the probability of a case that failed: none, or the prior.

        Returns:
            One row per case, in the order of the paths: case_id, probability, predicted (0 or 1), status, code,
            message; for an ensemble spread, the standard deviation of its networks.

        Raises:
            FlairprepError: nothing is at a path.
        """
        import pandas as pd

        predictor = self._predictor
        fill = predictor.prior if on_failure == "prior" else None
        given = [paths] if isinstance(paths, Path | str) else paths
        rows = [made.row(None, fill) for path in given for made in predictor.predictions(Path(path))]
        columns = [*COLUMNS, *[SPREAD] * (len(predictor.runs) > 1)]
        table = pd.DataFrame(rows, columns=columns)
        numbers = [column for column in ("probability", SPREAD) if column in columns]
        table[numbers] = table[numbers].apply(pd.to_numeric)
        return table.assign(predicted=pd.to_numeric(table["predicted"]).astype("Int64"))


def load_run(names: str | Sequence[str] = WORKSPACE) -> Run:
    """Load the network of a run of the project in the current folder.

    Args:
        names: of an experiment, or a git revision; several are an ensemble. Default: the workspace.

    Raises:
        FlairprepError: there is no such run, or its network was made with other params or code of preprocessing.
    """
    return Run(fitting([read_run(name) for name in ([names] if isinstance(names, str) else names)]))


def torch_dataset(directory: PathLike, folds: Sequence[int] | None = None) -> MapDataset:
    """Return the cases of some folds of data/export as a map-style data set for PyTorch; see `MapDataset`."""
    return MapDataset(directory, folds)
