"""Which voxels are tissue: the mask that intensity statistics come from and that the background lies outside of."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from flairprep.imaging.morphology import closed

THRESHOLD = 0.5  # of Otsu's, which alone drops 6 to 17 % of the brain in FLAIR: fluid and necrosis are dark
BINS = 128  # of the histogram, as in ITK
TIE = 1e-9  # what rounding makes of equal variances, as a share
CLOSING = 3.0  # mm; joins what dark sulci cut apart, without growing outwards


def foreground(image: sitk.Image, *, skull_stripped: bool) -> sitk.Image:
    """Return the mask of the tissue (sitkUInt8, 0 or 1) on the grid of `image`.

    Skull-stripped: everything but the exact zeros. Otherwise the largest component above half of Otsu's threshold
    (Otsu 1979), closed by 3 mm. Holes are filled either way. On four real FLAIR volumes with noise added, 1 to 2 % of
    the brain is lost and at most 0.3 % is added. A volume with nothing above the threshold gives an empty mask.
    """
    if skull_stripped:
        return _filled(sitk.GetArrayViewFromImage(image) != 0, image)
    values = sitk.GetArrayViewFromImage(image)
    mask = values > otsu(values) * THRESHOLD
    part = region(mask)  # closing adds nothing outside of it
    radius = [max(1, round(CLOSING / spacing)) for spacing in image.GetSpacing()]
    joined = sitk.GetImageFromArray(closed(mask[part[::-1]], radius).view(np.uint8))
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(joined), sortByObjectSize=True) == 1
    mask[part[::-1]] = sitk.GetArrayViewFromImage(largest)
    return _filled(mask, image)


def otsu(values: np.ndarray) -> float:
    """Return the threshold that parts `values` with the most variance between two classes (Otsu 1979).

    That of sitk.OtsuThreshold, but for the rounding of its bins, in a quarter of the time. Where no value lies between
    several that are equally good the middle one, since half of it is to be above the background; ITK takes the lowest.
    The value itself where there is only one.

    Args:
        values: of any shape, finite, at least one.
    """
    ends = np.float64(values.min()), np.float64(values.max())  # for edges of 64 bits: 32 may not part what lies close
    counts, edges = np.histogram(values, BINS, ends)
    sums = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    below = np.cumsum(counts)
    parts = (below > 0) & (below < below[-1])
    if not parts.any():
        return float(values.flat[0])
    low, high = below[parts], below[-1] - below[parts]
    between = low * high * (sums[parts] / low - (sums[-1] - sums[parts]) / high) ** 2
    best = np.flatnonzero(between >= between.max() * (1 - TIE))
    return float(edges[1:][parts][best[len(best) // 2]])


def _filled(mask: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """`mask` (z, y, x) without holes, on the grid of `grid`: all but what is joined to a margin around the mask.

    The voxels of sitk.BinaryFillhole, which takes four times as long.
    """
    part = region(mask)[::-1]
    around = sitk.GetImageFromArray(np.pad(~mask[part], 1, constant_values=True).view(np.uint8))
    apart = sitk.GetArrayFromImage(sitk.ConnectedComponent(around))
    filled = np.zeros(mask.shape, np.uint8)
    filled[part] = (apart != apart[0, 0, 0])[1:-1, 1:-1, 1:-1]
    image = sitk.GetImageFromArray(filled)
    image.CopyInformation(grid)
    return image


def bounds(mask: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the first and last index of `mask` (z, y, x) along each axis; the whole axis where it is empty."""
    found = []
    for axis in range(mask.ndim):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        found.append((int(filled[0]), int(filled[-1])) if len(filled) else (0, mask.shape[axis] - 1))
    return tuple(found)


def region(mask: np.ndarray, margins: Sequence[int] = (0, 0, 0)) -> tuple[slice, ...]:
    """Return the slices (x, y, z) of a sitk.Image that hold `mask` (z, y, x), with a margin in voxels."""
    ends = zip(bounds(mask)[::-1], margins, strict=True)
    return tuple(slice(max(0, low - margin), high + margin + 1) for (low, high), margin in ends)
