"""Separate tissue from background: the mask for intensity statistics."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from flairprep.imaging.morphology import binary_closing

THRESHOLD = 0.5  # of Otsu's, which alone drops 6 to 17 % of the brain in FLAIR: fluid and necrosis are dark
BINS = 128  # of the histogram, as in ITK
BLOCK = 2**18  # voxels that are counted at a time, so that the processor's cache holds them
TIE = 1e-9  # relative difference of variances that counts as rounding
CLOSING = 3.0  # mm, radius; joins what dark sulci separate, without growing outwards


class Tissue(NamedTuple):
    """Where the tissue is: the part (z, y, x) of a volume that holds it, and which voxels of that part it fills."""

    region: tuple[slice, ...]
    inside: np.ndarray

    def mask(self, image: sitk.Image) -> sitk.Image:
        """Return the tissue as a mask (sitkUInt8, 0 or 1) on the grid of its `image`."""
        whole = np.zeros(image.GetSize()[::-1], np.uint8)
        whole[self.region] = self.inside
        mask = sitk.GetImageFromArray(whole)
        mask.CopyInformation(image)
        return mask


def tissue(image: sitk.Image, *, skull_stripped: bool) -> Tissue:
    """Return where the tissue of `image` is.

    Skull-stripped: everything but exact zeros. Otherwise the largest component above half of Otsu's threshold, closed
    by 3 mm; empty where nothing is above it. Holes are filled either way, in the faces that cut the head too. On four
    real FLAIR volumes with noise added, it loses 1 to 2 % of the brain and adds at most 0.3 %.
    """
    values = sitk.GetArrayViewFromImage(image)
    mask = values != 0 if skull_stripped else _above(values, otsu_threshold(values) * THRESHOLD)
    region = bounding_region(mask)[::-1]  # closing adds nothing outside of it
    mask = mask[region]
    if not skull_stripped:
        radius = [max(1, round(CLOSING / spacing)) for spacing in image.GetSpacing()]
        largest = _largest(binary_closing(mask, radius))
        inner = bounding_region(largest)[::-1]
        mask = largest[inner]
        region = tuple(
            slice(outer.start + part.start, outer.start + part.stop) for outer, part in zip(region, inner, strict=True)
        )
    return Tissue(region, _filled(mask, region, values.shape))


def foreground(image: sitk.Image, *, skull_stripped: bool) -> sitk.Image:
    """Return the mask of `tissue` (sitkUInt8, 0 or 1) on the grid of `image`."""
    return tissue(image, skull_stripped=skull_stripped).mask(image)


def otsu_threshold(values: np.ndarray) -> float:
    """Return the threshold with the largest variance between two classes of `values` (Otsu 1979).

    It equals that of sitk.OtsuThreshold up to the rounding of bins, in a quarter of the time. Of equally good ones ITK
    takes the lowest, this the middle one, so that its half still exceeds the background. For a single value it is that.

    Args:
        values: of any shape, finite, at least one.
    """
    ends = np.float64(values.min()), np.float64(values.max())  # edges of 32 bits may not separate close values
    if np.issubdtype(values.dtype, np.integer) and ends[1] - ends[0] < 2**16:
        levels = np.arange(int(ends[0]), int(ends[1]) + 1)
        counts, edges = np.histogram(levels, BINS, ends, weights=_counts(values, levels))
    else:
        counts, edges = np.histogram(values, BINS, ends)
    sums = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    below = np.cumsum(counts)
    separates = (below > 0) & (below < below[-1])
    if not separates.any():
        return float(values.flat[0])
    low, high = below[separates], below[-1] - below[separates]
    between = low * high * (sums[separates] / low - (sums[-1] - sums[separates]) / high) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - TIE))
    return float(edges[1:][separates][best[len(best) // 2]])


def _above(values: np.ndarray, threshold: float) -> np.ndarray:
    """Return which of `values` exceed the threshold; integers are not converted for that."""
    return values > (math.floor(threshold) if np.issubdtype(values.dtype, np.integer) else threshold)


def _counts(values: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Count the integers of `values` (any shape) at each of `levels`, from the smallest to the largest, one by one."""
    flat, counts = values.reshape(-1), np.zeros(len(levels), np.int64)
    for start in range(0, len(flat), BLOCK):
        block = flat[start : start + BLOCK]
        above = block - block.dtype.type(levels[0]) if levels[0] else block
        counts += np.bincount(above.astype(np.uint16), minlength=len(levels))  # what overflows keeps its low 16 bits
    return counts


def _largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest component of `mask` (z, y, x), the first one of equals; `mask` itself where it is empty."""
    components = _components(mask)
    labels = sitk.GetArrayViewFromImage(components)
    if labels.max() <= 1:
        return mask
    return np.asarray(labels == np.bincount(labels.ravel())[1:].argmax() + 1)


def _filled(mask: np.ndarray, region: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Fill the holes of a mask, the `region` (z, y, x) of a volume: all that is not connected to a margin around it.

    Where the field of view cuts the head, dark fluid within it reaches the volume's face and is no hole in 3D; it is
    one in that face, so each face is filled first. Apart from that, the result of sitk.BinaryFillhole in a fraction of
    the time.
    """
    filled = mask.copy()
    for axis, part in enumerate(region):
        for face, cut in ((0, part.start == 0), (-1, part.stop >= shape[axis])):
            if cut:
                np.moveaxis(filled, axis, 0)[face] |= _without_holes(np.moveaxis(mask, axis, 0)[face])
    return _without_holes(filled)


def _without_holes(mask: np.ndarray) -> np.ndarray:
    """Return `mask` (2D or 3D) with all that is not connected to a margin around it.

    Nearly all that is connected is in sight of it along the first axis; from there the rest is reached step by step.
    """
    outside = np.pad(np.ascontiguousarray(~mask), 1, constant_values=True)
    seen = _in_sight(outside)
    hidden = outside & ~seen
    flat, steps = hidden.reshape(-1), np.array([*hidden.strides, *(-step for step in hidden.strides)])
    places = np.flatnonzero(flat)
    reached = places[seen.reshape(-1)[places[:, None] + steps].any(axis=1)]
    while reached.size:
        flat[reached] = False
        around = (reached[:, None] + steps).reshape(-1)
        reached = np.unique(around[flat[around]])
    return np.asarray(mask | hidden[(slice(1, -1),) * mask.ndim])


def _in_sight(free: np.ndarray) -> np.ndarray:
    """Return which voxels of `free` have nothing but such between them and an end of the first axis."""
    seen, before, after = np.empty_like(free), free[0], free[-1]
    for plane, place in zip(free, seen, strict=True):
        before = np.logical_and(before, plane, out=place)
    for plane, place in zip(free[::-1], seen[::-1], strict=True):
        after = after & plane
        place |= after
    return seen


def _components(mask: np.ndarray) -> sitk.Image:
    """Return the components of `mask` (2D or 3D), which share faces, numbered from 1 on; 0 outside."""
    return sitk.ConnectedComponent(sitk.GetImageFromArray(mask.view(np.uint8)))


def bounding_box(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the first and last index of `mask` (z, y, x) along each axis; the whole axis where it is empty."""
    shadow = np.asarray(mask.any(axis=0))  # one pass over the volume for two of its axes
    profiles = mask.any(axis=(1, 2)), shadow.any(axis=1), shadow.any(axis=0)
    filled = [np.flatnonzero(profile) for profile in profiles]
    return tuple(
        (int(places[0]), int(places[-1])) if len(places) else (0, n - 1)
        for places, n in zip(filled, mask.shape, strict=True)
    )


def bounding_region(mask: np.ndarray, margins: Sequence[int] = (0, 0, 0)) -> tuple[slice, ...]:
    """Return the slices (x, y, z) of a sitk.Image that hold `mask` (z, y, x), with margins (x, y, z) in voxels."""
    ends = zip(bounding_box(mask)[::-1], margins, strict=True)
    return tuple(slice(max(0, low - margin), high + margin + 1) for (low, high), margin in ends)
