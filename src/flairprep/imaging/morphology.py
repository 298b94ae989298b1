"""Close and dilate masks by a ball: the results of ITK's filters in a tenth of their time."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk


def binary_closing(mask: np.ndarray, radius: Sequence[int]) -> np.ndarray:
    """Close `mask`: dilate it by a ball, then erode it, as if only background lay around the volume.

    Args:
        mask: (z, y, x), bool.
        radius: of the ball in voxels, (x, y, z), each at least 1; the shape is that of sitk.sitkBall.
    """
    ball = _ball(radius)
    margins = [(2 * r, 2 * r) for r in reversed(radius)]
    dilated = _dilate(np.pad(mask, margins), ball)
    eroded = ~_dilate(~dilated, ball)
    return eroded[tuple(slice(low, -high) for low, high in margins)]


def binary_dilation(mask: np.ndarray, radius: Sequence[int]) -> np.ndarray:
    """Dilate `mask` (z, y, x), bool, by a ball of `radius` (x, y, z) voxels, each at least 1, as sitk.sitkBall."""
    return _dilate(mask, _ball(radius))


def _ball(radius: Sequence[int]) -> np.ndarray:
    """Return ITK's ball (z, y, x), bool: a point dilated by it."""
    point = sitk.Image([2 * r + 1 for r in radius], sitk.sitkUInt8)
    point[[int(r) for r in radius]] = 1
    return sitk.GetArrayFromImage(sitk.BinaryDilate(point, list(radius), sitk.sitkBall)) > 0


def _dilate(mask: np.ndarray, ball: np.ndarray) -> np.ndarray:
    """Dilate `mask` by `ball`, as if only background lay beyond the array.

    A ball is a bundle of rods along x. The mask is dilated once by each length of rod; along y and z a rod only shifts
    that result. All of it is done with eight voxels at a time, as bits.
    """
    reach, centre = ball.sum(axis=2) // 2, [n // 2 for n in ball.shape]
    by_reach = [np.packbits(mask, axis=2)]
    for _ in range(centre[2]):
        by_reach.append(_wider(by_reach[-1]))
    joined = np.zeros_like(by_reach[0])
    for rod in np.argwhere(ball.any(axis=2)):
        shifts = (_shift(index - half, n) for index, half, n in zip(rod, centre, mask.shape, strict=False))
        target, source = zip(*shifts, strict=True)
        joined[target] |= by_reach[reach[tuple(rod)]][source]
    return np.unpackbits(joined, axis=2, count=mask.shape[2]).view(bool)


def _wider(bits: np.ndarray) -> np.ndarray:
    """Dilate a mask of bits along the last axis by one on either side; what crosses its end comes back no farther."""
    wider = bits | bits >> 1 | bits << 1
    wider[..., 1:] |= bits[..., :-1] << 7
    wider[..., :-1] |= bits[..., 1:] >> 7
    return wider


def _shift(step: int, length: int) -> tuple[slice, slice]:
    """Return where on an axis of `length` a shift by `step` puts values, and which values stay on the axis."""
    return slice(max(0, step), length + min(0, step)), slice(max(0, -step), length - max(0, step))
