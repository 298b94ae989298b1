"""From the DICOM files of one series to one volume with its geometry, or to the reason why not.

Functional groups of enhanced files, DICOM PS3.3 C.7.6.16; Modality LUT, C.11.1; MONOCHROME1, C.7.6.3.1.2.
"""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from flairprep.core.outcomes import CaseError, Code
from flairprep.dicom import codestream
from flairprep.dicom import header as headers
from flairprep.dicom.header import MAX_LENGTH, MAX_VOXELS, find, first, text, undamaged, value
from flairprep.dicom.stacking import Array, Frame, plane_of, stack

MIN_SPACING, MAX_SPACING = 0.01, 100.0  # mm between rows and columns; outside it is a damaged number
MAX_POSITION = 1e5  # mm from the origin
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class Series:
    """A volume as acquired, what its headers say of it (columns of cases.csv), and what to warn of.

    identity: patient, study, frame_of_reference, voxels -> a value that is equal where they are the same, "" where
    the header does not say. It never leaves the process in the clear.
    """

    image: sitk.Image
    header: dict[str, Any]
    identity: dict[str, str]
    warnings: tuple[tuple[Code, str], ...]


def read_series(paths: Sequence[Path], *, any_modality: bool = False) -> Series:
    """The one series that `paths` hold, in any order.

    any_modality: reads what is no MR too.

    Returns:
        A `Series`: image of (columns, rows, slices), int16 or int32 where rescaling adds whole numbers, else float32.

    Raises:
        CaseError: with the code that says why the files are not one volume.
    """
    datasets = [headers.read(path, pixels=True) for path in paths]
    return _series(datasets, partial(headers.fault, any_modality=any_modality))


def read_surveyed(found: Sequence[headers.Header]) -> Series:
    """As `read_series`, of files whose headers were read before, and hold no fault."""
    return _series([headers.whole(one) for one in found], lambda _: None)


def _series(found: Sequence[Dataset | None], fault: Callable[[Dataset], CaseError | None]) -> Series:
    datasets = [dataset for dataset in found if dataset is not None]
    notes: list[tuple[Code, str]] = []
    if not datasets:
        raise CaseError(Code.NOT_DICOM, f"none of the {len(found)} files is DICOM")
    if len(datasets) < len(found):
        notes.append((Code.NOT_DICOM, f"{len(found) - len(datasets)} of {len(found)} files are not DICOM, passed over"))
    with undamaged():
        images = [dataset for dataset in datasets if headers.is_image(dataset)] or datasets
        if len(images) < len(datasets):
            notes.append((Code.NO_PIXEL_DATA, f"{len(datasets) - len(images)} files hold no image, passed over"))
        _check(images, fault)
        frames = [frame for dataset in images for frame in _frames(dataset)]
    if any(text(dataset, "PhotometricInterpretation") == "MONOCHROME1" for dataset in images):
        notes.append((Code.INVERTED, "MONOCHROME1: stored values were inverted"))
    image, interpolated, stacking = stack(frames)
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.min() == voxels.max():
        raise CaseError(Code.BLANK_VOLUME, f"all {voxels.size} voxels are {voxels.min():g}")
    if blank := _blank_slices(voxels):
        notes.append((Code.BLANK_SLICES, f"{blank} slices between others hold one value only"))
    with undamaged():
        header = {**headers.columns(images[0]), **_geometry(image), "interpolated": interpolated}
        identity = _identity(images[0], voxels)
    return Series(image, header, identity, (*notes, *stacking))


def _check(datasets: Sequence[Dataset], fault: Callable[[Dataset], CaseError | None]) -> None:
    """Refuses what is no series of MR slices, and sizes that no series has, before a pixel is decoded."""
    if (series := len({text(dataset, "SeriesInstanceUID") for dataset in datasets})) > 1:
        raise CaseError(Code.AMBIGUOUS_SERIES, f"{series} series")
    for dataset in datasets:
        if error := fault(dataset):
            raise error
        if "Columns" not in dataset or not any(key in dataset for key in PIXELS):
            raise CaseError(Code.NO_PIXEL_DATA, "a file has no pixel data")
    if (voxels := sum(_size(dataset) for dataset in datasets)) > MAX_VOXELS:
        raise CaseError(Code.TOO_LARGE, f"{voxels / 1e6:.0f} million voxels; {MAX_VOXELS / 1e6:.0f} can be read")


def _size(dataset: Dataset) -> int:
    """The number of voxels that a data set claims, which its pixel data must be able to hold."""
    rows, columns = int(value(dataset, "Rows")), int(value(dataset, "Columns"))
    frames = headers.number_of_frames(dataset)
    if min(rows, columns, frames) < 1:
        raise CaseError(Code.DECODE_FAILED, "rows, columns or frames are not at least 1")
    if max(rows, columns) > MAX_LENGTH:
        raise CaseError(Code.TOO_LARGE, f"over {MAX_LENGTH} voxels in a row, more than NIfTI holds")
    allocated, stored, highest = (value(dataset, key) for key in ("BitsAllocated", "BitsStored", "HighBit"))
    allocated, stored = (16 if bits is None else int(bits) for bits in (allocated, stored))
    if (highest is not None and int(highest) != stored - 1) or stored > allocated:
        raise CaseError(Code.DECODE_FAILED, "the header contradicts itself about the bits of a voxel")
    if "PixelData" not in dataset:
        return rows * columns * frames
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        said = frames * rows * columns * allocated // 8
        padding = dataset.PixelData[said:]
        if len(dataset.PixelData) < said or len(padding) > max(1, columns * allocated // 8) or any(padding):
            raise CaseError(Code.DECODE_FAILED, "there are fewer or more pixels than the header says")
    elif codestream.says_its_size(syntax):
        for stream in generate_frames(dataset.PixelData, number_of_frames=frames):
            if codestream.size(stream, syntax) != (rows, columns, 1):
                raise CaseError(Code.DECODE_FAILED, "a compressed image has another size than the header says")
    return rows * columns * frames


def _blank_slices(voxels: Array) -> int:
    """How many slices between the first and the last that hold more than one value hold one value only."""
    blank = voxels.min(axis=(1, 2)) == voxels.max(axis=(1, 2))
    filled = np.flatnonzero(~blank)
    return int(blank[filled[0] : filled[-1]].sum()) if len(filled) else 0


def _pixels(dataset: Dataset) -> Array:
    """Stored values (frames, rows, columns), inverted where MONOCHROME1 says that high is dark."""
    stored = _decoded(dataset)
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        top = -1 if dataset.PixelRepresentation else 2**dataset.BitsStored - 1
        stored = (top - stored.astype(np.int64)).astype(stored.dtype)
    return stored.reshape(-1, value(dataset, "Rows"), value(dataset, "Columns"))


def _decoded(dataset: Dataset) -> Array:
    if _is_plain(dataset):
        kind = np.dtype("<i2" if value(dataset, "PixelRepresentation") else "<u2")
        count = headers.number_of_frames(dataset) * value(dataset, "Rows") * value(dataset, "Columns")
        return np.frombuffer(dataset.PixelData, kind, count)
    try:
        with warnings.catch_warnings():
            if dataset.file_meta.TransferSyntaxUID == RLELossless:  # this decoder compares sizes with the header
                dataset.pixel_array_options(decoding_plugin="pydicom")
                warnings.filterwarnings("error", message="The decoded RLE segment contains")
            stored: Array = dataset.pixel_array
    except MemoryError:
        raise
    except Exception as error:  # a decoder can raise anything; the case gets the kind, never the text
        raise CaseError(Code.DECODE_FAILED, f"the pixels cannot be decoded ({type(error).__name__})") from error
    return stored


def _is_plain(dataset: Dataset) -> bool:
    """Whether the pixels are whole little-endian 16-bit numbers, as they nearly always are, and need no decoder."""
    syntax = dataset.file_meta.TransferSyntaxUID
    plain = syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) and "PixelData" in dataset
    signed = value(dataset, "PixelRepresentation")
    return plain and signed in (0, 1) and value(dataset, "BitsAllocated") == value(dataset, "BitsStored") == 16


def _frames(dataset: Dataset) -> list[Frame]:
    stored = _pixels(dataset)
    shared = first(dataset, "SharedFunctionalGroupsSequence")
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * len(stored)
    if len(stored) != headers.number_of_frames(dataset):
        raise CaseError(Code.DECODE_FAILED, "there are fewer or more frames than the header says")
    if len(groups) != len(stored):
        raise CaseError(Code.NO_GEOMETRY, f"{len(stored)} frames but {len(groups)} descriptions of frames")
    return [_frame(pixels, (group, shared, dataset)) for pixels, group in zip(stored, groups, strict=True)]


def _frame(pixels: Array, levels: tuple[Dataset, ...]) -> Frame:
    position = _numbers(levels, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = _numbers(levels, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _numbers(levels, "PixelMeasuresSequence", "PixelSpacing", 2)
    row, column = np.array(orientation).reshape(2, 3)
    if abs(np.linalg.norm(row) - 1) > 0.01 or abs(np.linalg.norm(column) - 1) > 0.01 or abs(row @ column) > 0.01:
        raise CaseError(Code.NO_GEOMETRY, "the directions of rows and columns are not perpendicular unit vectors")
    if not MIN_SPACING <= min(spacing) <= max(spacing) <= MAX_SPACING:
        raise CaseError(Code.NO_GEOMETRY, f"pixel spacing {spacing[0]:g} x {spacing[1]:g} mm")
    if np.abs(position).max() > MAX_POSITION:
        raise CaseError(Code.NO_GEOMETRY, f"a slice over {MAX_POSITION:g} mm from the origin")
    slope = _number(levels, "PixelValueTransformationSequence", "RescaleSlope", 1.0)
    intercept = _number(levels, "PixelValueTransformationSequence", "RescaleIntercept", 0.0)
    return Frame(position, orientation, spacing, slope, intercept, pixels)


def _numbers(levels: tuple[Dataset, ...], sequence: str, keyword: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(map(float, find(levels, sequence, keyword) or ()))
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not np.isfinite(values).all():
        raise CaseError(Code.NO_GEOMETRY, f"{keyword} is missing or not {count} numbers")
    return values


def _number(levels: tuple[Dataset, ...], sequence: str, keyword: str, default: float) -> float:
    found = find(levels, sequence, keyword)
    try:
        number = default if found is None else float(found)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise CaseError(Code.DECODE_FAILED, f"{keyword} is not a number")
    return number


def _geometry(image: sitk.Image) -> dict[str, Any]:
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
    digest = hashlib.sha256(repr(voxels.shape).encode())
    digest.update(np.ascontiguousarray(voxels).data)
    return {
        "patient": headers.patient_id(dataset),
        "study": text(dataset, "StudyInstanceUID"),
        "frame_of_reference": text(dataset, "FrameOfReferenceUID"),
        "voxels": digest.hexdigest(),
    }
