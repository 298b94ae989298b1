"""Stack frames by their positions to one volume, or say why they are none.

Positions and directions are DICOM's, mm in LPS: Image Position and Image Orientation (Patient), PS3.3 C.7.6.2.1.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from flairprep.core.codes import Code
from flairprep.core.console import plural
from flairprep.core.outcomes import CaseError
from flairprep.dicom import grid, padding
from flairprep.dicom.copies import FEW, Notes, one_per_position
from flairprep.dicom.frames import Array, Frame, directions

ORIENTATION_TOLERANCE = 1e-3  # largest difference of a direction cosine between slices of a volume
TILT_WARNING = 0.1  # mm beside the normal; less is rounding
TILT_TOLERANCE = 1.0  # mm beside that normal; more is a gantry tilt
OWN_PLACE = 5.0  # mm beside the first voxels of the volume; an image nearer to a place of its grid may be its slice


def stack(frames: Sequence[Frame], volume: str | None = None) -> tuple[sitk.Image, int, Notes]:
    """Stack frames in any order to one volume, sorted along the slice normal.

    Exact copies are dropped, and so are a few images on another grid. Single missing slices are interpolated where
    their neighbours lie at most `grid.MAX_GAP` apart, and at most `grid.MAX_INTERPOLATED` of the slices are missing.

    Args:
        frames: at least one.
        volume: which of several volumes at the same positions is taken, first or last; None refuses them.

    Returns:
        The image of (columns, rows, slices), spacing along the normal (last - first) / (n - 1) mm; the number of
        interpolated slices; warnings (code, text).

    Raises:
        CaseError: MIXED_SIZE, MIXED_ORIENTATION, MULTIPLE_VOLUMES, GANTRY_TILT, MISSING_SLICES, UNEVEN_SPACING,
            DECODE_FAILED, BLANK_VOLUME.
    """
    frames, foreign = _one_grid(frames)
    frames = _rescaling_settled(frames)
    normal = directions(frames[0])[2]
    frames = sorted(frames, key=lambda frame: float(np.dot(frame.position, normal)))
    row, column, normal = directions(frames[0])
    frames, notes = one_per_position(frames, normal, volume)
    positions = np.array([frame.position for frame in frames])
    along = positions @ normal
    if (beside := grid.tilt(positions, normal)) > TILT_WARNING:
        text = f"slices lie up to {beside:.2f} mm beside the slice normal"
        if beside > TILT_TOLERANCE:
            raise CaseError(Code.GANTRY_TILT, text)
        notes.append((Code.GANTRY_TILT, text))
    try:
        missing = grid.missing(along)
    except CaseError:
        if foreign:  # what is missing may be what is on the other grid
            raise _other_grid(frames[0], foreign) from None
        raise
    if foreign:
        _check_foreign(frames, foreign, normal, bool(missing))
        notes.append((Code.FOREIGN_IMAGES, f"{plural(len(foreign), 'image')} on another grid skipped"))
    voxels = _rescaled(frames)
    if missing:
        for index in reversed(missing):  # a slice is missing after each
            between = (voxels[index].astype(np.float64) + voxels[index + 1]) / 2
            if np.issubdtype(voxels.dtype, np.integer):
                between = np.rint(between)
            voxels = np.insert(voxels, index + 1, between.astype(voxels.dtype), axis=0)
        notes.append((Code.MISSING_SLICES, f"{len(missing)} single missing slices interpolated"))
    slices = len(voxels)
    step = (along[-1] - along[0]) / (slices - 1) if slices > 1 else 1.0
    rows, columns = frames[0].spacing
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((columns, rows, float(step)))
    image.SetOrigin(frames[0].position)
    image.SetDirection(np.column_stack([row, column, normal]).ravel().tolist())
    return image, len(missing), notes


def _grid_of(frame: Frame, other: Frame) -> Code | None:
    """Return how two frames' grids differ, MIXED_SIZE or MIXED_ORIENTATION; None where they do not."""
    same_size = frame.stored.shape == other.stored.shape
    if same_size and (frame.spacing, frame.orientation) == (other.spacing, other.orientation):
        return None
    if not same_size or not np.allclose(frame.spacing, other.spacing, rtol=1e-3, atol=0):
        return Code.MIXED_SIZE
    apart = np.abs(np.subtract(frame.orientation, other.orientation)).max()
    return Code.MIXED_ORIENTATION if apart > ORIENTATION_TOLERANCE else None


def _one_grid(frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Return the frames of the grid that nearly all share, and the few others.

    Raises:
        CaseError: MIXED_SIZE, MIXED_ORIENTATION, where the others are too many to be foreign.
    """
    grids: list[list[Frame]] = []
    for frame in frames:
        for members in grids:
            if _grid_of(frame, members[0]) is None:
                members.append(frame)
                break
        else:
            grids.append([frame])
    main = max(grids, key=len)
    foreign = [frame for members in grids if members is not main for frame in members]
    if len(foreign) * FEW > len(main):
        raise _other_grid(main[0], foreign)
    return main, foreign


def _other_grid(frame: Frame, foreign: Sequence[Frame]) -> CaseError:
    codes = {_grid_of(other, frame) for other in foreign}
    if Code.MIXED_SIZE not in codes:
        return CaseError(Code.MIXED_ORIENTATION, "slices of different orientations in one series")
    shapes = {one.stored.shape for one in (frame, *foreign)}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{rows}x{columns}" for rows, columns in shapes))
        return CaseError(Code.MIXED_SIZE, f"slices of {sizes} in one series")
    spacings = np.array([one.spacing for one in (frame, *foreign)])
    return CaseError(Code.MIXED_SIZE, f"pixel spacings from {spacings.min():g} to {spacings.max():g} mm")


def _check_foreign(frames: Sequence[Frame], foreign: Sequence[Frame], normal: Array, has_gap: bool) -> None:
    """Refuse where an image on another grid lies at the next place of the volume, or may be what is missing inside.

    Raises:
        CaseError: MIXED_SIZE, MIXED_ORIENTATION.
    """
    own = [frame for frame in foreign if has_gap or continues(frames, frame.position, normal)]
    if own:
        raise _other_grid(frames[0], own)


def continues(frames: Sequence[Frame], position: Sequence[float], normal: Array) -> bool:
    """Return whether a position is the next one before the first or behind the last of sorted frames."""
    first, last = np.array(frames[0].position), np.array(frames[-1].position)
    step = float((last - first) @ normal) / max(1, len(frames) - 1)
    offset = np.array(position) - first
    along = float(offset @ normal)
    beside = float(np.linalg.norm(offset - along * normal))
    ends = (-step, float((last - first) @ normal) + step)
    return beside < OWN_PLACE and any(abs(along - end) < 0.2 * step for end in ends)


def _rescaling_settled(frames: Sequence[Frame]) -> list[Frame]:
    """Return frames with slope and intercept, 1 and 0 where no header gives them.

    Modality LUT, PS3.3 C.11.1: what only some slices have cannot be guessed for the others.

    Raises:
        CaseError: DECODE_FAILED.
    """
    for word, default in (("slope", 1.0), ("intercept", 0.0)):
        given = [value for frame in frames if (value := getattr(frame, word)) is not None]
        if len(given) < len(frames) and any(value != default for value in given):
            text = f"{len(frames) - len(given)} of {len(frames)} slices have no rescale {word}, the others have one"
            raise CaseError(Code.DECODE_FAILED, f"{text}; export the series from the archive again")
    return [
        frame
        if frame.slope is not None and frame.intercept is not None
        else replace(
            frame,
            slope=1.0 if frame.slope is None else frame.slope,
            intercept=0.0 if frame.intercept is None else frame.intercept,
        )
        for frame in frames
    ]


def _rescaled(frames: Sequence[Frame]) -> Array:
    """Rescale stored values to output units, slice by slice, and make padding background: (slices, rows, columns)."""
    scales = [(float(frame.slope or 0), float(frame.intercept or 0)) for frame in frames]
    whole = all(slope == 1 and intercept.is_integer() and abs(intercept) < 2**31 for slope, intercept in scales)
    if whole and all(np.issubdtype(frame.stored.dtype, np.integer) for frame in frames):
        if any(intercept for _, intercept in scales):
            volume = np.stack(
                [
                    frame.stored.astype(np.int64) + int(intercept)
                    for frame, (_, intercept) in zip(frames, scales, strict=True)
                ]
            )
        else:
            volume = np.stack([frame.stored for frame in frames])
        padding.make_background(volume, frames)
        if volume.dtype in (np.int16, np.int32):
            return volume
        for dtype in (np.int16, np.int32):
            if np.iinfo(dtype).min <= volume.min() and volume.max() <= np.iinfo(dtype).max:
                return volume.astype(dtype, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        scaled = [
            frame.stored.astype(np.float64) * slope + intercept
            for frame, (slope, intercept) in zip(frames, scales, strict=True)
        ]
        volume = np.stack([values.astype(np.float32) for values in scaled])
    padding.make_background(volume, frames)
    if not np.isfinite(volume).all():
        raise CaseError(Code.DECODE_FAILED, "some values are not finite numbers")
    return volume
