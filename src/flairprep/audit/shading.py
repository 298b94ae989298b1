"""Measure where in the head a volume is bright: opposite halves, and slabs along each axis.

Receiver coils and multi-slab acquisitions shade a volume. A shading that depends on the label is a shortcut, and only
its direction may give it away. So values keep their signs, and axes are anatomical.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

AXES = ("z", "y", "x")
DIFFERENCES = ("top_minus_bottom", "front_minus_back", "left_minus_right")  # along z, y, x
HIGH_MINUS_LOW = (1, -1, 1)  # sign of each: LPS indices rise to the top, to the back and to the left
SLABS = 5
STEP = 0.01  # width of a histogram's bins, in units of the spread: a median is exact to half of it
LIMIT = 4.0  # scores beyond it count as equal to it, which the median of a part hardly notices


def shading_features(scores: Array, mask: Array, direction: Sequence[float]) -> dict[str, float]:
    """Return the difference of the medians of opposite halves per axis, and the median of each of SLABS slabs.

    Slabs are numbered from bottom to top (z), front to back (y) and right to left (x). Their medians are relative to
    the median of all voxels. Medians come from histograms, which costs a third of sorting each part.

    Args:
        scores: (z, y, x), in units of the spread.
        mask: (z, y, x), bool, the voxels that count, cropped to the head's bounding box.
        direction: 9 cosines of the image, LPS; its axes are the anatomical ones nearest to x, y and z.

    Returns:
        3 differences and 3 * SLABS medians, in units of the spread; a part without voxels has the median of all.
    """
    bins = round(2 * LIMIT / STEP)
    index = np.clip((scores[mask] + LIMIT) / STEP, 0, bins - 1).astype(np.intp)
    features = {}
    for axis, positions in enumerate(np.nonzero(mask)):
        length = mask.shape[axis]
        counts = np.bincount(positions * bins + index, minlength=length * bins).reshape(length, bins)
        if direction[8 - 4 * axis] < 0:
            counts = counts[::-1]
        middle, half = _median(counts, 0.0), max(1, length // 2)
        low, high = (_median(part, middle) for part in (counts[:half], counts[-half:]))
        features[DIFFERENCES[axis]] = HIGH_MINUS_LOW[axis] * (high - low)
        slabs = enumerate(np.array_split(counts, SLABS), start=1)
        features |= {f"slab_{AXES[axis]}_{number}": _median(slab, middle) - middle for number, slab in slabs}
    return features


def _median(counts: Array, default: float) -> float:
    """Return the median of the scores that histograms (k, n_bins) count, `default` where they count none."""
    cumulative = counts.sum(axis=0).cumsum()
    if not cumulative[-1]:
        return default
    return float((np.searchsorted(cumulative, cumulative[-1] / 2) + 0.5) * STEP - LIMIT)
