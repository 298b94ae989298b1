"""Place the network's voxels in a volume, slices along the third axis and one spacing in the plane, and resample."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy  # its modules load on first use
import SimpleITK as sitk

from flairprep.imaging.foreground import bounding_region
from flairprep.imaging.lattice import Lattice

HEAD = 170.0  # mm from the vertex down; the neck begins below
KERNEL = 64  # voxels, largest width of a smoothing kernel
EDGE = 1e-9  # voxels by which rounding may move a new voxel out of the field of view


def slice_positions(image: sitk.Image, method: str, count: int, background: float) -> tuple[float, float]:
    """Return where along the third axis of `image` (n slices) the `count` slices lie.

    centre: the middle slices as acquired, padded where there are fewer. uniform: equally spaced from the first to the
    last slice. resample: the centres of equal slabs that fill the volume's extent. foreground: as uniform, from the
    highest slice that is not all `background` down to the lowest one, at most 170 mm.

    Returns:
        The continuous index of the first slice (may lie outside the volume) and the step in mm.
    """
    n, spacing = image.GetSize()[2], image.GetSpacing()[2]
    if method == "centre":
        return (n - count) // 2, spacing
    if method == "resample":
        return 0.5 * n / count - 0.5, spacing * n / count
    low, high = 0.0, float(n - 1)
    if method == "foreground":
        filled = np.flatnonzero((sitk.GetArrayViewFromImage(image) != background).any(axis=(1, 2)))
        low, high = (float(filled[0]), float(filled[-1])) if len(filled) else (low, high)
        if image.GetDirection()[8] > 0:
            low = max(low, high - HEAD / spacing)
        else:
            high = min(high, low + HEAD / spacing)
    if count == 1 or high == low:
        return (low + high) / 2 - (count - 1) / 2, spacing
    return low, spacing * (high - low) / (count - 1)


def in_plane(image: sitk.Image, size: int) -> tuple[float, tuple[float, float]]:
    """Return one spacing for both axes with which the larger field of view fills `size` voxels, centred.

    Returns:
        The spacing (mm) and the continuous indices of the first voxel along the first and second axis.
    """
    (nx, ny, _), (dx, dy, _) = image.GetSize(), image.GetSpacing()
    spacing = max(nx * dx, ny * dy) / size
    half = (size - 1) / 2 * spacing
    return spacing, ((nx - 1) / 2 - half / dx, (ny - 1) / 2 - half / dy)


def resample(
    image: sitk.Image,
    size: Sequence[int],
    spacing: Sequence[float],
    first: Sequence[float],
    background: float,
    scaling: Lattice | None = None,
) -> sitk.Image:
    """Resample `image` on a grid of its own directions, once and linearly; `background` outside its field of view.

    An axis that becomes coarser by a factor k is smoothed first, or fine structures would alias. A Gaussian of variance
    (k^2 - 1) / (8 ln 2) voxels^2 widens the old point spread to the new one (Cardoso et al., MICCAI 2015). Both are
    linear and separate by axis, so that one sparse matrix per axis does both. Voxels that see nothing but background
    are exactly `background`.

    Args:
        image: float volume, or codes of a lattice.
        size, spacing: of the result, (x, y, z), mm.
        first: continuous index in `image` of the result's first voxel.
        background: value outside.
        scaling: the lattice of codes.
    """
    factors = [new / old for new, old in zip(spacing, image.GetSpacing(), strict=True)]
    kernels = [_kernel(max(0.0, k * k - 1) / (8 * math.log(2))) for k in factors]
    values = sitk.GetArrayViewFromImage(image)
    empty = values.dtype.type(background if scaling is None else scaling.code(background))
    region = bounding_region(values != empty, [len(kernel) // 2 + 1 for kernel in kernels])
    part = values[region[::-1]]
    voxels = part.astype(np.float32) if scaling is None else scaling.decode(part)
    voxels -= np.float32(background)  # so that background, which is zero now, stays exact in the sums
    shape = [int(n) for n in size]
    axes = sorted(range(3), key=lambda axis: shape[2 - axis] / voxels.shape[axis])  # what shrinks most comes first
    for axis in axes:
        low = region[2 - axis].start
        weights = _weights(
            voxels.shape[axis], kernels[2 - axis], first[2 - axis] - low, factors[2 - axis], shape[2 - axis]
        )
        voxels = _weighted(voxels, weights, axis)
    voxels += np.float32(background)
    resampled = sitk.GetImageFromArray(voxels)
    resampled.SetOrigin(image.TransformContinuousIndexToPhysicalPoint([float(index) for index in first]))
    resampled.SetSpacing([float(length) for length in spacing])
    resampled.SetDirection(image.GetDirection())
    return resampled


def _weighted(voxels: np.ndarray, weights: scipy.sparse.csr_array, axis: int) -> np.ndarray:
    """Multiply the lines of `voxels` (z, y, x) along an axis of n voxels by `weights` (m, n).

    Slice by slice along the second and third axis: the processor's cache holds the transpose of one slice.
    """
    if axis == 0:
        return np.asarray(weights @ voxels.reshape(len(voxels), -1)).reshape(-1, *voxels.shape[1:])
    if axis == 1:
        return np.stack([weights @ plane for plane in voxels])
    return np.stack([np.ascontiguousarray((weights @ plane.T).T) for plane in voxels])


@lru_cache(maxsize=64)  # the cases of a protocol share their grid
def _kernel(variance: float) -> np.ndarray:
    """Return ITK's discrete Gaussian of a variance in voxels^2 (Lindeberg, PAMI 1990), as its response to a point."""
    if not variance:
        return np.ones(1)
    point = np.zeros((1, 1, 2 * KERNEL + 1))
    point[0, 0, KERNEL] = 1
    options = {"maximumKernelWidth": KERNEL, "useImageSpacing": False}
    response = sitk.DiscreteGaussian(sitk.GetImageFromArray(point), [variance, 0.0, 0.0], **options)
    return np.trim_zeros(sitk.GetArrayFromImage(response)[0, 0])


def _weights(n: int, kernel: np.ndarray, first: float, step: float, size: int) -> scipy.sparse.csr_array:
    """Return the matrix (size, n) that smooths an axis by `kernel` and interpolates it linearly.

    Beyond its ends the axis goes on with its last values. Rows outside the field of view, half a voxel around the
    centres of the outermost voxels, are zero.

    Args:
        n: voxels of the axis.
        kernel: odd length, sum 1.
        first, step, size: of the new voxels, in indices of the axis.
    """
    places = first + step * np.arange(size)
    inside = np.flatnonzero((places >= -0.5 - EDGE) & (places < n - 0.5 + EDGE))
    places = np.clip(places[inside], 0, n - 1)
    below = np.minimum(places.astype(int), max(0, n - 2))
    share = places - below
    half = len(kernel) // 2
    columns = np.clip(below[:, None] + np.arange(-half, half + 2), 0, n - 1)
    weights = np.outer(1 - share, np.append(kernel, 0)) + np.outer(share, np.append(0, kernel))
    rows = np.broadcast_to(inside[:, None], columns.shape)
    matrix = scipy.sparse.coo_array((weights.ravel(), (rows.ravel(), columns.ravel())), (size, n))
    return matrix.tocsr().astype(np.float32)
