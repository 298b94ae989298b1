"""Decode the pixels of a data set into frames with their geometry.

Image Pixel, DICOM PS3.3 C.7.6.3; Image Plane, C.7.6.2; functional groups, C.7.6.16.
"""

import math
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import codestream, elements, padding
from flairprep.dicom.elements import find, first, holds, plausible_number, tag_of, text, value, values_of
from flairprep.dicom.frames import Array, Frame
from flairprep.dicom.header import MAX_LENGTH

MIN_SPACING, MAX_SPACING = 0.01, 100.0  # mm between rows or columns; numbers beyond are damaged
MAX_POSITION = 1e5  # mm from the origin
SHARED_GROUPS, FRAME_GROUPS = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
UNIT_TOLERANCE = 0.01  # of the directions' lengths and of their scalar product


class Described(NamedTuple):
    """What a data set says of its pixels besides the elements of SINGLE: all files of one layout say the same.

    shape: frames, rows, columns. size: bytes of a frame that is not compressed, and of a row. syntax: of the transfer.
    plain: the type of values that need no decoder. padded: see `padding.padded_range`. top: what inverted values are
    subtracted from, None where low is dark.
    """

    shape: tuple[int, int, int]
    size: tuple[int, int]
    syntax: UID
    plain: np.dtype[Any] | None
    padded: tuple[float, float] | None
    top: int | None


def describe(dataset: Dataset) -> Described:
    """Return what a data set says of its pixels.

    Raises:
        CaseError: DECODE_FAILED where the header contradicts itself, TOO_LARGE.
    """
    rows, columns = int(value(dataset, "Rows")), int(value(dataset, "Columns"))
    frames = elements.number_of_frames(dataset)
    if min(rows, columns, frames) < 1:
        raise CaseError(Code.DECODE_FAILED, "Rows, Columns or NumberOfFrames is below 1")
    if max(rows, columns) > MAX_LENGTH:
        raise CaseError(Code.TOO_LARGE, f"over {MAX_LENGTH} rows or columns; NIfTI holds no more")
    allocated, stored, highest = (value(dataset, key) for key in ("BitsAllocated", "BitsStored", "HighBit"))
    allocated, stored = (16 if bits is None else int(bits) for bits in (allocated, stored))
    if (highest is not None and int(highest) != stored - 1) or stored > allocated:
        raise CaseError(Code.DECODE_FAILED, "BitsAllocated, BitsStored and HighBit contradict each other")
    top = None
    if text(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        top = -1 if dataset.PixelRepresentation else 2**dataset.BitsStored - 1
    return Described(
        (frames, rows, columns),
        (rows * columns * allocated // 8, columns * allocated // 8),
        dataset.file_meta.TransferSyntaxUID,
        _plain_type(dataset),
        padding.padded_range(dataset),
        top,
    )


def check_pixels(dataset: Dataset, described: Described) -> None:
    """Refuse pixel data that holds other pixels than its header says.

    Raises:
        CaseError: DECODE_FAILED.
    """
    if not holds(dataset, "PixelData"):
        return
    frames, rows, columns = described.shape
    if not described.syntax.is_encapsulated:
        pixels, (frame, row) = _pixel_data(dataset), described.size
        length = frames * frame
        if len(pixels) < length or len(pixels) > length + max(1, row) or any(pixels[length:]):
            raise CaseError(Code.DECODE_FAILED, "more or fewer pixels than Rows, Columns and NumberOfFrames say")
    elif codestream.holds_size(described.syntax):
        for stream in generate_frames(dataset.PixelData, number_of_frames=frames):
            if codestream.size(stream, described.syntax) != (rows, columns, 1):
                raise CaseError(Code.DECODE_FAILED, "the size of a compressed image differs from Rows and Columns")


def _pixel_data(dataset: Dataset) -> Any:
    """Return the value of Pixel Data, without pydicom's detour where it is the bytes of the file."""
    item = dataset.get_item(tag_of("PixelData"))
    return item.value if isinstance(item, RawDataElement) and item.value else dataset.PixelData


def _pixels(dataset: Dataset, described: Described) -> tuple[Array, Array | None, tuple[float, float] | None]:
    """Return the stored values (frames, rows, columns), which of them are padding, and the range that means it.

    MONOCHROME1, where high is dark, is inverted, C.7.6.3.1.2, with its padding.
    """
    stored = _decoded(dataset, described).reshape(-1, *described.shape[1:])
    padded, top = described.padded, described.top
    mask = None if padded is None else padding.is_padding(stored, padded)
    if top is not None:
        stored = (top - stored.astype(np.int64)).astype(stored.dtype)
        padded = padded and (top - padded[1], top - padded[0])
    return stored, mask if mask is not None and mask.any() else None, padded


def _decoded(dataset: Dataset, described: Described) -> Array:
    if described.plain is not None and holds(dataset, "PixelData"):
        return np.frombuffer(_pixel_data(dataset), described.plain, math.prod(described.shape))
    try:
        with warnings.catch_warnings():
            if dataset.file_meta.TransferSyntaxUID == RLELossless:  # pydicom's own decoder compares sizes
                dataset.pixel_array_options(decoding_plugin="pydicom")
                warnings.filterwarnings("error", message="The decoded RLE segment contains")
            stored: Array = dataset.pixel_array
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything; its text may quote the header
        if isinstance(error, NotImplementedError) or "does not support" in str(error):  # as pydicom's plugins say
            words = "no installed decoder reads this depth of the compression"
            raise CaseError(Code.UNSUPPORTED_TRANSFER_SYNTAX, words) from error
        raise CaseError(Code.DECODE_FAILED, f"the pixels cannot be decoded ({type(error).__name__})") from error
    return stored


def _plain_type(dataset: Dataset) -> np.dtype[Any] | None:
    """Return the type of pixels that are little-endian 16-bit integers, as in most series; None for others."""
    syntax, signed = dataset.file_meta.TransferSyntaxUID, value(dataset, "PixelRepresentation")
    bits = value(dataset, "BitsAllocated"), value(dataset, "BitsStored")
    if syntax not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) or signed not in (0, 1) or bits != (16, 16):
        return None
    return np.dtype("<i2" if signed else "<u2")


def frames_of(dataset: Dataset, described: Described, like: Frame | None = None) -> list[Frame]:
    """Decode the frames of a data set: one of a classic file, all of an enhanced one.

    like: the one frame of a classic file that shares all elements but those of SINGLE.

    Raises:
        CaseError: DECODE_FAILED; NO_GEOMETRY where position, orientation or spacing is missing or implausible.
    """
    stored, mask, padded = _pixels(dataset, described)
    if len(stored) != described.shape[0]:
        raise CaseError(Code.DECODE_FAILED, "more or fewer frames than NumberOfFrames says")
    if like is not None:
        position, number = _position((dataset,)), plausible_number(value(dataset, "InstanceNumber"))
        own = mask[0] if mask is not None else None
        return [replace(like, position=position, stored=stored[0], padding=own, padded=padded, instance=number)]
    shared = first(dataset, SHARED_GROUPS)
    groups = dataset.get(FRAME_GROUPS) or [Dataset()] * len(stored)
    if len(groups) != len(stored):
        raise CaseError(Code.NO_GEOMETRY, f"{len(stored)} frames, but {len(groups)} per-frame functional groups")
    frames = []
    for index, (pixels, group) in enumerate(zip(stored, groups, strict=True)):
        frame = _frame(pixels, (group, shared, dataset), index)
        own = mask[index] if mask is not None and mask[index].any() else None
        frames.append(replace(frame, padding=own, padded=padded))
    return frames


def is_classic(dataset: Dataset) -> bool:
    """Return whether a data set has one frame and no functional groups."""
    return elements.number_of_frames(dataset) == 1 and FRAME_GROUPS not in dataset and SHARED_GROUPS not in dataset


def _frame(pixels: Array, levels: tuple[Dataset, ...], index: int) -> Frame:
    position = _position(levels)
    orientation = _numbers(levels, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _numbers(levels, "PixelMeasuresSequence", "PixelSpacing", 2)
    row, column = np.array(orientation).reshape(2, 3)
    off = (np.linalg.norm(row) - 1, np.linalg.norm(column) - 1, row @ column)
    if np.abs(off).max() > UNIT_TOLERANCE:
        raise CaseError(Code.NO_GEOMETRY, "ImageOrientationPatient is not two perpendicular unit vectors")
    if not MIN_SPACING <= min(spacing) <= max(spacing) <= MAX_SPACING:
        raise CaseError(Code.NO_GEOMETRY, f"pixel spacing {spacing[0]:g} x {spacing[1]:g} mm")
    return Frame(
        position,
        orientation,
        spacing,
        _number(levels, "PixelValueTransformationSequence", "RescaleSlope"),
        _number(levels, "PixelValueTransformationSequence", "RescaleIntercept"),
        pixels,
        **_distinguishing(levels, index),
    )


def _position(levels: tuple[Dataset, ...]) -> tuple[float, ...]:
    position = _numbers(levels, "PlanePositionSequence", "ImagePositionPatient", 3)
    if max(map(abs, position)) > MAX_POSITION:
        raise CaseError(Code.NO_GEOMETRY, f"a slice over {MAX_POSITION:g} mm from the origin")
    return position


def _distinguishing(levels: tuple[Dataset, ...], index: int) -> dict[str, Any]:
    """Return what tells volumes of one series apart: the fields of `Frame` from image_type on.

    Frame Type, PS3.3 C.8.13.5.1; Frame Content, C.7.6.16.2.2.
    """
    kind = find(levels, "MRImageFrameTypeSequence", "FrameType") or value(levels[-1], "ImageType")
    own = first(levels[0], "FrameContentSequence")
    point = value(own, "TemporalPositionIndex") or value(levels[-1], "TemporalPositionIdentifier")
    number = value(own, "FrameAcquisitionNumber") or value(levels[-1], "AcquisitionNumber")
    echo = find(levels, "MREchoSequence", "EffectiveEchoTime")
    times = values_of(find(levels, "MRModifierSequence", "InversionTimes"))
    return {
        "image_type": frozenset(str(word).strip().upper() for word in values_of(kind)),
        "echo": plausible_number(value(levels[-1], "EchoTime") if echo is None else echo),
        "inversion": plausible_number(times[0] if times else value(levels[-1], "InversionTime")),
        "time_point": plausible_number(point),
        "acquisition": plausible_number(number),
        "instance": index if own is not elements.NOTHING else plausible_number(value(levels[-1], "InstanceNumber")),
    }


def _numbers(levels: tuple[Dataset, ...], sequence: str, keyword: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(map(float, find(levels, sequence, keyword) or ()))
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise CaseError(Code.NO_GEOMETRY, f"{keyword} is missing or not {count} numbers")
    return values


def _number(levels: tuple[Dataset, ...], sequence: str, keyword: str) -> float | None:
    stored = find(levels, sequence, keyword)
    if stored is None or stored == "":
        return None
    try:
        number = float(stored)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise CaseError(Code.DECODE_FAILED, f"{keyword} is not a number")
    return number
