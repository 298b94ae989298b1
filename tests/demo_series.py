"""A small demo cohort, and its series read back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest

from flairprep.demo import cohort
from flairprep.demo.plan import DemoCase, Fault

CASES, SIGNAL, SEED = 10, 1.0, 3


@dataclass(frozen=True)
class Series:
    """One case read back; its datasets are in spatial order along the slices' normal."""

    case: DemoCase
    paths: list[Path]
    datasets: list[pydicom.Dataset]
    positions: np.ndarray


def make_cohort(out: Path, workers: int) -> Path:
    """The cohort in `out`, made by as many workers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAIRPREP_WORKERS", str(workers))
        cohort.make(out, cases=CASES, signal=SIGNAL, seed=SEED)
    return out


def read_series(folder: Path, case: DemoCase) -> Series:
    """The series of `case` below `folder`."""
    files = [(path, pydicom.dcmread(path)) for path in (folder / case.case_id / "FLAIR").iterdir()]
    cosines = np.array(files[0][1].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    along = [float(np.dot(normal, np.array(dataset.ImagePositionPatient, float))) for _, dataset in files]
    order = np.argsort(along, kind="stable")
    paths, datasets = [files[i][0] for i in order], [files[i][1] for i in order]
    return Series(case, paths, datasets, np.array(along)[order])


def volume_of(series: Series) -> np.ndarray:
    """Its intensities, (slice, row, column)."""
    return np.stack([float(d.RescaleSlope) * d.pixel_array for d in series.datasets])


def faulty(scanned: list[Series], fault: Fault) -> Series:
    """The case that has this fault."""
    return next(series for series in scanned if series.case.fault is fault)
