"""Find padding, which is no data, and make it background.

Pixel Padding Value and Pixel Padding Range Limit, DICOM PS3.3 C.7.5.1.1.2: stored values, before the Modality LUT, that
do not represent the imaged object and take part in no statistics.
"""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.elements import value
from flairprep.dicom.frames import Array, Frame
from flairprep.imaging.foreground import bounding_region

KEYWORDS = (  # value, limit of the range
    ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
)


def padded_range(dataset: Dataset) -> tuple[float, float] | None:
    """Return the lowest and highest stored value that mean padding; None where the header names none.

    A value written as unsigned where pixels are signed, or the other way round, means the same bits.
    """
    for keyword, limit in KEYWORDS:
        if (first := _number(dataset, keyword)) is None:
            continue
        second = _number(dataset, limit)
        ends = [first if second is None else second, first]
        if keyword == "PixelPaddingValue":
            ends = [_as_stored(int(end), dataset) for end in ends]
        return min(ends), max(ends)
    return None


def _number(dataset: Dataset, keyword: str) -> float | None:
    try:
        stored = value(dataset, keyword)
        return None if stored is None or stored == "" else float(stored)
    except (TypeError, ValueError):  # several values, or text
        return None


def _as_stored(number: int, dataset: Dataset) -> int:
    bits = int(value(dataset, "BitsAllocated") or 16)
    if value(dataset, "PixelRepresentation"):
        return number - 2**bits if number >= 2 ** (bits - 1) else number
    return number + 2**bits if number < 0 else number


def is_padding(stored: Array, ends: tuple[float, float]) -> Array:
    """Return which of the stored values mean padding."""
    low, high = ends
    if np.isnan(low) or np.isnan(high):
        return np.isnan(stored)
    return (stored >= low) & (stored <= high)


def make_background(volume: Array, frames: Sequence[Frame]) -> None:
    """Give padding the lowest value of the data, in place; zeros stay where nothing is below them.

    Args:
        volume: rescaled values (slices, rows, columns).
        frames: its slices.

    Raises:
        CaseError: BLANK_VOLUME where all is padding; DECODE_FAILED where slices that name no padding hold its value.
    """
    masks = [frame.padding for frame in frames]
    if not any(mask is not None for mask in masks):
        return
    _check_named_by_all(frames)
    padding = np.stack([np.zeros(volume.shape[1:], bool) if mask is None else mask for mask in masks])
    data = volume[~padding]
    if not data.size:
        raise CaseError(Code.BLANK_VOLUME, "all voxels are padding")
    lowest = data.min()
    if lowest >= 0:
        padding &= volume != 0
    volume[padding] = lowest


def _check_named_by_all(frames: Sequence[Frame]) -> None:
    ranges = {frame.padded for frame in frames if frame.padded is not None and frame.padded != (0, 0)}
    silent = [frame for frame in frames if frame.padded is None]
    if any(is_padding(frame.stored, ends).any() for frame in silent for ends in ranges):
        text = f"{len(silent)} of {len(frames)} slices hold the others' padding value and do not name it"
        raise CaseError(Code.DECODE_FAILED, f"{text}; export the series from the archive again")


def data_region(image: sitk.Image, frames: Sequence[Frame]) -> tuple[slice, ...]:
    """Return the slices (x, y, z) of a volume that hold data; () where no frame has padding."""
    if all(frame.padding is None for frame in frames):
        return ()
    held = np.zeros(image.GetSize()[::-1], bool)
    for frame in frames:
        place = image.TransformPhysicalPointToIndex(frame.position)[2]
        if 0 <= place < len(held) and frame.stored.shape == held.shape[1:]:
            held[place] |= True if frame.padding is None else ~frame.padding
    return bounding_region(held)
