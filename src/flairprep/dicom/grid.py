"""Judge positions by their distance from a regular grid, in mm, and tell which slices are missing."""

import numpy as np

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.frames import Array

OFF_GRID = 0.09  # mm from the regular grid; rounding each coordinate to 0.1 mm moves a slice by 0.087 at most
STEP_TOLERANCE = 0.05  # of the step between slices; of thick slices more than OFF_GRID
MAX_GAP = 6.0  # mm between the neighbours of a missing slice that may be interpolated
MAX_INTERPOLATED = 0.02  # share of the slices


def missing(along: Array) -> list[int]:
    """Return the indices after which one slice is missing that may be interpolated.

    Args:
        along: positions along the normal, sorted, mm.

    Raises:
        CaseError: UNEVEN_SPACING, MISSING_SLICES.
    """
    steps = np.diff(along)
    if not len(steps):
        return []
    multiples = _multiples(steps)
    guessed = (multiples == 1).mean() < 0.5  # a step that few pairs of slices have is no grid
    if guessed or (multiples < 1).any() or _off_grid(along, multiples):
        text = f"steps between slices from {steps.min():.3f} to {steps.max():.3f} mm"
        raise CaseError(Code.UNEVEN_SPACING, text)
    gaps = np.flatnonzero(multiples > 1)
    absent = int((multiples - 1).sum())
    total = len(along) + absent
    if len(gaps) and (multiples.max() > 2 or absent > MAX_INTERPOLATED * total or steps[gaps].max() > MAX_GAP):
        raise CaseError(Code.MISSING_SLICES, f"{absent} of {total} slices missing between the first and the last")
    return gaps.tolist()


def is_regular(along: Array) -> bool:
    """Return whether positions along a normal (mm, in any order) are those of a volume without a gap."""
    ordered = np.sort(along)
    steps = np.diff(ordered)
    if not len(steps) or steps.min() <= 0:
        return False
    multiples = _multiples(steps)
    return bool((multiples == 1).all()) and not _off_grid(ordered, multiples)


def _multiples(steps: Array) -> Array:
    """Return how many steps of the regular grid each step is."""
    step = _step(steps)
    single = steps[np.rint(steps / step) == 1]  # their mean is not rounded, as each of them may be
    return np.rint(steps / (single.mean() if len(single) else step))


def _step(steps: Array) -> float:
    """Return the step that all others should be multiples of: the typical short one, no outlier below the median."""
    median = float(np.median(steps))
    short = float(np.median(steps[steps <= steps.min() * (1 + 2 * STEP_TOLERANCE)]))
    return short if short >= median / 3 else median


def _off_grid(along: Array, multiples: Array) -> bool:
    """Return whether a slice lies too far from the grid that fits all best, by least squares."""
    places = np.concatenate([[0.0], np.cumsum(multiples)])
    step, start = np.polyfit(places, along, 1)
    off = np.abs(along - (start + step * places)).max()
    return bool(off > max(OFF_GRID, STEP_TOLERANCE * step))


def tilt(positions: Array, normal: Array) -> float:
    """Return how far slices lie beside their normal, mm: the drift from first to last, or that of a single slice.

    Args:
        positions: (slices, 3), mm, sorted along the normal.
        normal: unit vector (3,).
    """
    along = (positions - positions[0]) @ normal
    beside = positions - positions[0] - np.outer(along, normal)
    if len(positions) < 3 or along[-1] <= 0:
        return float(np.linalg.norm(beside, axis=1).max())
    slope, start = np.polyfit(along, beside, 1)
    single = np.linalg.norm(beside - (start + np.outer(along, slope)), axis=1).max()
    return float(max(np.linalg.norm(slope) * along[-1], single))
