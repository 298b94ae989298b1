"""Read the DICOM files of one series as one volume with its geometry, or say why they are none.

Functional groups of enhanced files, DICOM PS3.3 C.7.6.16; Modality LUT, C.11.1; MONOCHROME1, C.7.6.3.1.2.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import elements, header, reading
from flairprep.dicom.elements import text
from flairprep.dicom.header import Header
from flairprep.dicom.pixels import claimed_voxels, frames_of
from flairprep.dicom.reading import undamaged
from flairprep.dicom.stacking import Array, stack
from flairprep.imaging.orientation import plane_of

MAX_VOXELS = 2**27  # of one volume: 512 x 512 x 512
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class SeriesVolume:
    """The volume of a series as acquired, with its columns of cases.csv and what to warn of.

    header: column -> cell. identity: patient, study, frame_of_reference, voxels -> a value that series share only if
    they share that; "" where the header gives none. It never leaves the process in the clear.
    """

    image: sitk.Image
    header: dict[str, Any]
    identity: dict[str, str]
    warnings: tuple[tuple[Code, str], ...]


def read_series(paths: Sequence[Path], *, any_modality: bool = False) -> SeriesVolume:
    """Read the one series that `paths` hold, in any order.

    any_modality: accept other modalities than MR.

    Returns:
        The image of (columns, rows, slices), LPS and mm: int16 or int32 where rescaling adds whole numbers, else
        float32.

    Raises:
        CaseError: with the code that says why the files are not one volume.
    """
    datasets = [reading.read_dataset(path, pixels=True) for path in paths]
    return _series_volume(datasets, partial(header.fault, any_modality=any_modality))


def read_surveyed(headers: Sequence[Header]) -> SeriesVolume:
    """Read a series as `read_series` does, from files whose headers were read before and hold no fault."""
    return _series_volume([reading.complete(one.path, one.opened) for one in headers], lambda _: None)


def _series_volume(contents: Sequence[Dataset | None], fault: Callable[[Dataset], CaseError | None]) -> SeriesVolume:
    """Make the volume of files, of which `contents` are the data sets; None for what is not DICOM."""
    datasets = [dataset for dataset in contents if dataset is not None]
    total, skipped = len(contents), len(contents) - len(datasets)
    notes: list[tuple[Code, str]] = []
    if not datasets:
        raise CaseError(Code.NOT_DICOM, f"none of the {total} files is DICOM")
    if skipped:
        notes.append((Code.NOT_DICOM, f"{skipped} of {total} files are not DICOM, skipped"))
    with undamaged():
        images = [dataset for dataset in datasets if header.is_image(dataset)] or datasets
        if len(images) < len(datasets):
            notes.append((Code.NO_PIXEL_DATA, f"{len(datasets) - len(images)} files hold no image, skipped"))
        _check(images, fault)
        frames = [frame for dataset in images for frame in frames_of(dataset)]
    if any(text(dataset, "PhotometricInterpretation") == "MONOCHROME1" for dataset in images):
        notes.append((Code.INVERTED, "MONOCHROME1: stored values were inverted"))
    image, interpolated, stack_notes = stack(frames)
    voxels = sitk.GetArrayViewFromImage(image)
    notes += check_voxels(voxels)
    with undamaged():
        columns = {**header.columns(images[0]), **geometry(image), "interpolated": interpolated}
        identity = _identity(images[0], voxels)
    return SeriesVolume(image, columns, identity, (*notes, *stack_notes))


def _check(datasets: Sequence[Dataset], fault: Callable[[Dataset], CaseError | None]) -> None:
    """Refuse all but the slices of one series, and implausible sizes, before decoding a pixel."""
    if (series := len({text(dataset, "SeriesInstanceUID") for dataset in datasets})) > 1:
        raise CaseError(Code.AMBIGUOUS_SERIES, f"{series} series")
    for dataset in datasets:
        if error := fault(dataset):
            raise error
        if "Columns" not in dataset or not any(key in dataset for key in PIXELS):
            raise CaseError(Code.NO_PIXEL_DATA, "a file has no pixel data")
    if (voxels := sum(claimed_voxels(dataset) for dataset in datasets)) > MAX_VOXELS:
        raise CaseError(Code.TOO_LARGE, f"{voxels / 1e6:.0f} million voxels; {MAX_VOXELS / 1e6:.0f} can be read")


def check_voxels(voxels: Array) -> list[tuple[Code, str]]:
    """Return the warning of voxels (z, y, x) where slices between others hold one value only.

    Raises:
        CaseError: BLANK_VOLUME.
    """
    if voxels.min() == voxels.max():
        raise CaseError(Code.BLANK_VOLUME, f"all {voxels.size} voxels are {voxels.min():g}")
    blank = voxels.min(axis=(1, 2)) == voxels.max(axis=(1, 2))
    filled = np.flatnonzero(~blank)
    count = int(blank[filled[0] : filled[-1]].sum()) if len(filled) else 0
    return [(Code.BLANK_SLICES, f"{count} slices between others hold one value only")] if count else []


def geometry(image: sitk.Image) -> dict[str, Any]:
    """Return the columns of cases.csv that come from the grid: plane, size, spacing in mm."""
    columns, rows, slices = image.GetSize()
    spacing = image.GetSpacing()
    return {
        "plane": plane_of(image.GetDirection()[2::3]),
        "rows": rows,
        "columns": columns,
        "slices": slices,
        **{f"spacing_{axis}": f"{value:.6g}" for axis, value in zip("xyz", spacing, strict=True)},
    }


def _identity(dataset: Dataset, voxels: Array) -> dict[str, str]:
    return {
        "patient": elements.patient_id(dataset),
        "study": text(dataset, "StudyInstanceUID"),
        "frame_of_reference": text(dataset, "FrameOfReferenceUID"),
        "voxels": digest_of(voxels),
    }


def digest_of(voxels: Array) -> str:
    """Return what volumes share only if they share their shape and every voxel."""
    digest = hashlib.sha256(repr(voxels.shape).encode())
    digest.update(np.ascontiguousarray(voxels).data)
    return digest.hexdigest()
