"""Separate tissue from background: the mask for intensity statistics."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from flairprep.imaging.morphology import binary_closing

THRESHOLD = 0.5  # of Otsu's, which alone drops 6 to 17 % of the brain in FLAIR: fluid and necrosis are dark
BINS = 128  # of the histogram, as in ITK
TIE = 1e-9  # relative difference of variances that counts as rounding
CLOSING = 3.0  # mm, radius; joins what dark sulci separate, without growing outwards


def foreground(image: sitk.Image, *, skull_stripped: bool) -> sitk.Image:
    """Return the mask of the tissue (sitkUInt8, 0 or 1) on the grid of `image`.

    Skull-stripped: everything but exact zeros. Otherwise the largest component above half of Otsu's threshold, closed
    by 3 mm; empty where nothing is above it. Holes are filled either way, in the faces that cut the head too. On four
    real FLAIR volumes with noise added, it loses 1 to 2 % of the brain and adds at most 0.3 %.
    """
    if skull_stripped:
        return _filled(sitk.GetArrayViewFromImage(image) != 0, image)
    values = sitk.GetArrayViewFromImage(image)
    mask = values > otsu_threshold(values) * THRESHOLD
    region = bounding_region(mask)  # closing adds nothing outside of it
    radius = [max(1, round(CLOSING / spacing)) for spacing in image.GetSpacing()]
    closed = sitk.GetImageFromArray(binary_closing(mask[region[::-1]], radius).view(np.uint8))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(closed), sortByObjectSize=True) == 1
    mask[region[::-1]] = sitk.GetArrayViewFromImage(largest)
    return _filled(mask, image)


def otsu_threshold(values: np.ndarray) -> float:
    """Return the threshold with the largest variance between two classes of `values` (Otsu 1979).

    It equals that of sitk.OtsuThreshold up to the rounding of bins, in a quarter of the time. Of equally good ones ITK
    takes the lowest, this the middle one, so that its half still exceeds the background. For a single value it is that.

    Args:
        values: of any shape, finite, at least one.
    """
    ends = np.float64(values.min()), np.float64(values.max())  # edges of 32 bits may not separate close values
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


def _filled(mask: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Fill the holes of `mask` (z, y, x), as an image on `grid`: all that is not connected to a margin around it.

    Where the field of view cuts the head, dark fluid within it reaches the volume's face and is no hole in 3D; it is
    one in that face, so each face is filled first. Apart from that, the result of sitk.BinaryFillhole in a quarter of
    the time.
    """
    region = bounding_region(mask)[::-1]
    inner = mask[region].copy()
    for axis, part in enumerate(region):
        for face, cut in ((0, part.start == 0), (-1, part.stop >= mask.shape[axis])):
            if cut:
                np.moveaxis(inner, axis, 0)[face] |= _without_holes(np.moveaxis(mask[region], axis, 0)[face])
    filled = np.zeros(mask.shape, np.uint8)
    filled[region] = _without_holes(inner)
    image = sitk.GetImageFromArray(filled)
    image.CopyInformation(grid)
    return image


def _without_holes(mask: np.ndarray) -> np.ndarray:
    """Return `mask` (2D or 3D) with all that is not connected to a margin around it."""
    outside = sitk.GetImageFromArray(np.pad(~mask, 1, constant_values=True).view(np.uint8))
    components = sitk.GetArrayFromImage(sitk.ConnectedComponent(outside))
    return np.asarray((components != components.flat[0])[(slice(1, -1),) * mask.ndim])


def bounding_box(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the first and last index of `mask` (z, y, x) along each axis; the whole axis where it is empty."""
    box = []
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        box.append((int(filled[0]), int(filled[-1])) if len(filled) else (0, mask.shape[axis] - 1))
    return tuple(box)


def bounding_region(mask: np.ndarray, margins: Sequence[int] = (0, 0, 0)) -> tuple[slice, ...]:
    """Return the slices (x, y, z) of a sitk.Image that hold `mask` (z, y, x), with margins (x, y, z) in voxels."""
    ends = zip(bounding_box(mask)[::-1], margins, strict=True)
    return tuple(slice(max(0, low - margin), high + margin + 1) for (low, high), margin in ends)
