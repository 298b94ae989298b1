"""Masks closed by a ball: the voxels of ITK's filter in a tenth of its time, most of what a whole head took."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk


def closed(mask: np.ndarray, radius: Sequence[int]) -> np.ndarray:
    """Close `mask`: grow it by a ball, then shrink it, as if only background lay around the volume.

    Args:
        mask: (z, y, x), bool.
        radius: of the ball in voxels, (x, y, z), each at least 1; the shape is that of sitk.sitkBall.
    """
    ball = _ball(radius)
    around = [(2 * r, 2 * r) for r in reversed(radius)]
    grown = _dilated(np.pad(mask, around), ball)
    shrunk = ~_dilated(~grown, ball)
    return shrunk[tuple(slice(low, -high) for low, high in around)]


def _ball(radius: Sequence[int]) -> np.ndarray:
    """(z, y, x), bool: what ITK's ball makes of a point."""
    point = sitk.Image([2 * r + 1 for r in radius], sitk.sitkUInt8)
    point[[int(r) for r in radius]] = 1
    return sitk.GetArrayFromImage(sitk.BinaryDilate(point, list(radius), sitk.sitkBall)) > 0


def _dilated(mask: np.ndarray, ball: np.ndarray) -> np.ndarray:
    """`mask` grown by `ball`; what would come from beyond the array is missing.

    A ball is a bundle of rods along x: the mask is grown by each length of rod once, and what the rods add is joined
    eight voxels at a time, as bits, since along y and z a rod only moves.
    """
    reach, middle = ball.sum(axis=2) // 2, [n // 2 for n in ball.shape]
    grown, by_reach = mask, [np.packbits(mask, axis=2)]
    for _ in range(middle[2]):
        wider = grown.copy()
        wider[..., 1:] |= grown[..., :-1]
        wider[..., :-1] |= grown[..., 1:]
        grown = wider
        by_reach.append(np.packbits(grown, axis=2))
    found = np.zeros_like(by_reach[0])
    for place in np.argwhere(ball.any(axis=2)):
        to, of = zip(
            *(_moved(step - half, n) for step, half, n in zip(place, middle, mask.shape, strict=False)), strict=True
        )
        found[to] |= by_reach[reach[tuple(place)]][of]
    return np.unpackbits(found, axis=2, count=mask.shape[2]).view(bool)


def _moved(step: int, length: int) -> tuple[slice, slice]:
    """Where along an axis of `length` something lands that moves by `step`, and what of it does."""
    return slice(max(0, step), length + min(0, step)), slice(max(0, -step), length - max(0, step))
