"""Decode the pixels of a data set into frames with their geometry."""

import warnings

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import codestream, elements
from flairprep.dicom.elements import find, first, text, value
from flairprep.dicom.header import MAX_LENGTH
from flairprep.dicom.stacking import Array, Frame

MIN_SPACING, MAX_SPACING = 0.01, 100.0  # mm between rows and columns; outside it is a damaged number
MAX_POSITION = 1e5  # mm from the origin


def claimed_voxels(dataset: Dataset) -> int:
    """Return the number of voxels that a data set claims, after checking that its pixel data can hold them."""
    rows, columns = int(value(dataset, "Rows")), int(value(dataset, "Columns"))
    frames = elements.number_of_frames(dataset)
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
        count = elements.number_of_frames(dataset) * value(dataset, "Rows") * value(dataset, "Columns")
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


def frames_of(dataset: Dataset) -> list[Frame]:
    stored = _pixels(dataset)
    shared = first(dataset, "SharedFunctionalGroupsSequence")
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * len(stored)
    if len(stored) != elements.number_of_frames(dataset):
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
