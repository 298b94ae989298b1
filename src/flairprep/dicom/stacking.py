"""Stack frames by their positions to one volume, or say why they are none.

Positions and directions are DICOM's, mm in LPS: Image Position and Image Orientation (Patient), PS3.3 C.7.6.2.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError

Array = npt.NDArray[Any]
ORIENTATION_TOLERANCE = 1e-3  # largest difference of a direction cosine between slices of a volume
TILT_WARNING = 0.1  # mm beside the normal through the first slice; less is rounding
TILT_TOLERANCE = 1.0  # mm beside that normal; more is a gantry tilt
SAME_POSITION = 0.01  # mm along the normal; closer slices share a position
STEP_TOLERANCE = 0.05  # of the step between slices; within it steps count as equal
MAX_GAP = 6.0  # mm between the neighbours of a missing slice that may be interpolated
MAX_INTERPOLATED = 0.02  # share of the slices


@dataclass(frozen=True)
class Frame:
    """One slice: stored values (rows, columns), their place and their rescaling.

    position: centre of the first voxel, mm LPS. orientation: directions of increasing column and row index (6 cosines).
    spacing: between rows, between columns, mm. values = stored * slope + intercept, PS3.3 C.11.1.1.2.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    slope: float
    intercept: float
    stored: Array


def stack(frames: Sequence[Frame]) -> tuple[sitk.Image, int, list[tuple[Code, str]]]:
    """Stack frames in any order to one volume, sorted along the slice normal.

    Exact duplicates are dropped. Single missing slices are interpolated where their neighbours lie at most MAX_GAP
    apart, and at most MAX_INTERPOLATED of the slices are missing.

    Returns:
        The image of (columns, rows, slices), spacing along the normal (last - first) / (n - 1) mm; the number of
        interpolated slices; warnings (code, text).

    Raises:
        CaseError: MIXED_SIZE, MIXED_ORIENTATION, MULTIPLE_VOLUMES, GANTRY_TILT, MISSING_SLICES, UNEVEN_SPACING,
            DECODE_FAILED.
    """
    _check_one_grid(frames)
    normal = _directions(frames[0])[2]
    frames = sorted(frames, key=lambda frame: float(np.dot(frame.position, normal)))
    row, column, normal = _directions(frames[0])
    frames, notes = _drop_duplicates(frames, normal)
    positions = np.array([frame.position for frame in frames])
    along = positions @ normal
    beside = np.linalg.norm((positions - positions[0]) - np.outer(along - along[0], normal), axis=1).max()
    if beside > TILT_WARNING:
        text = f"slices lie up to {beside:.2f} mm beside the slice normal"
        if beside > TILT_TOLERANCE:
            raise CaseError(Code.GANTRY_TILT, text)
        notes.append((Code.GANTRY_TILT, text))
    missing = _missing(along)
    volume = _rescaled(frames)
    if missing:
        for index in reversed(missing):  # a slice is missing after each
            between = (volume[index].astype(np.float64) + volume[index + 1]) / 2
            if np.issubdtype(volume.dtype, np.integer):
                between = np.rint(between)
            volume = np.insert(volume, index + 1, between.astype(volume.dtype), axis=0)
        notes.append((Code.MISSING_SLICES, f"{len(missing)} single missing slices interpolated"))
    slices = len(volume)
    step = (along[-1] - along[0]) / (slices - 1) if slices > 1 else 1.0
    rows, columns = frames[0].spacing
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((columns, rows, float(step)))
    image.SetOrigin(frames[0].position)
    image.SetDirection(np.column_stack([row, column, normal]).ravel().tolist())
    return image, len(missing), notes


def _directions(frame: Frame) -> Array:
    """Return the directions of increasing column and row index, made perpendicular, and the normal; unit vectors."""
    row, column = np.array(frame.orientation).reshape(2, 3)
    row = row / np.linalg.norm(row)
    column = column - (row @ column) * row  # NIfTI's quaternion holds no shear
    column = column / np.linalg.norm(column)
    return np.array([row, column, np.cross(row, column)])


def _check_one_grid(frames: Sequence[Frame]) -> None:
    first = frames[0]
    shapes = {frame.stored.shape for frame in frames}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{rows}x{columns}" for rows, columns in shapes))
        raise CaseError(Code.MIXED_SIZE, f"slices of {sizes} in one series")
    spacings = np.array([frame.spacing for frame in frames])
    if not np.allclose(spacings, first.spacing, rtol=1e-3, atol=0):
        raise CaseError(Code.MIXED_SIZE, f"pixel spacings from {spacings.min():g} to {spacings.max():g} mm")
    orientations = np.array([frame.orientation for frame in frames])
    if np.abs(orientations - orientations[0]).max() > ORIENTATION_TOLERANCE:
        raise CaseError(Code.MIXED_ORIENTATION, "slices of different orientations in one series")


def _drop_duplicates(frames: list[Frame], normal: Array) -> tuple[list[Frame], list[tuple[Code, str]]]:
    kept = frames[:1]
    for frame in frames[1:]:
        last = kept[-1]
        if np.dot(np.subtract(frame.position, last.position), normal) > SAME_POSITION:
            kept.append(frame)
        elif (frame.slope, frame.intercept) != (last.slope, last.intercept) or (frame.stored != last.stored).any():
            raise CaseError(Code.MULTIPLE_VOLUMES, "different images at the same position")
    dropped = len(frames) - len(kept)
    return kept, [(Code.DUPLICATE_SLICES, f"{dropped} exact copies of slices dropped")] if dropped else []


def _missing(along: Array) -> list[int]:
    """Return the indices after which one slice is missing that may be interpolated; `along`: sorted positions, mm."""
    steps = np.diff(along)
    if not len(steps):
        return []
    step = _step(steps)
    multiples = np.rint(steps / step)
    off = np.abs(steps - multiples * step)
    if (multiples < 1).any() or (off > STEP_TOLERANCE * step).any():
        raise CaseError(Code.UNEVEN_SPACING, f"steps between slices from {steps.min():.3f} to {steps.max():.3f} mm")
    gaps = np.flatnonzero(multiples > 1)
    absent = int((multiples - 1).sum())
    total = len(along) + absent
    if len(gaps) and (multiples.max() > 2 or absent > MAX_INTERPOLATED * total or steps[gaps].max() > MAX_GAP):
        raise CaseError(Code.MISSING_SLICES, f"{absent} of {total} slices missing between the first and the last")
    return gaps.tolist()


def _step(steps: Array) -> float:
    """Return the step that all others should be multiples of: the typical short one, no outlier below the median."""
    median = float(np.median(steps))
    short = float(np.median(steps[steps <= steps.min() * (1 + 2 * STEP_TOLERANCE)]))
    return short if short >= median / 3 else median


def _rescaled(frames: Sequence[Frame]) -> Array:
    """Rescale stored values to output units, slice by slice: (slices, rows, columns)."""
    whole = all(
        frame.slope == 1 and float(frame.intercept).is_integer() and abs(frame.intercept) < 2**31 for frame in frames
    )
    if whole and all(np.issubdtype(frame.stored.dtype, np.integer) for frame in frames):
        if any(frame.intercept for frame in frames):
            volume = np.stack([frame.stored.astype(np.int64) + int(frame.intercept) for frame in frames])
        else:
            volume = np.stack([frame.stored for frame in frames])
        for dtype in (np.int16, np.int32):
            if np.iinfo(dtype).min <= volume.min() and volume.max() <= np.iinfo(dtype).max:
                return volume.astype(dtype, copy=False)
    scaled = [frame.stored.astype(np.float64) * frame.slope + frame.intercept for frame in frames]
    with np.errstate(over="ignore"):  # refused below
        volume = np.stack([values.astype(np.float32) for values in scaled])
    if not np.isfinite(volume).all():
        raise CaseError(Code.DECODE_FAILED, "some values are not finite numbers")
    return volume
