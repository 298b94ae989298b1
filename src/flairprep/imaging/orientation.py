"""Reorient a volume to the nearest axes, and name its plane of acquisition."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

STRIP = 64  # voxels of a row that are copied at a time, so that the processor's cache holds them
OBLIQUE = 35.0  # degrees between the slice normal and the nearest axis, above which a volume is oblique


class Turn(NamedTuple):
    """How the axes of an image become those of an orientation: in this `order`, then reversed where `flips` says so.

    Both are of the new axes, (x, y, z).
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    def view(self, voxels: np.ndarray) -> np.ndarray:
        """Return `voxels` (z, y, x) of the image along the new axes, (z, y, x) too, without a copy."""
        turned = voxels.transpose([2 - axis for axis in reversed(self.order)])
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(self.flips))]

    def region(self, part: Sequence[slice], shape: Sequence[int]) -> tuple[slice, ...]:
        """Return where `view` has a `part` (z, y, x) of a volume of `shape` (z, y, x)."""
        turned = []
        for axis, flip in zip(reversed(self.order), reversed(self.flips), strict=True):
            start, stop, _ = part[2 - axis].indices(n := shape[2 - axis])
            turned.append(slice(n - stop, n - start) if flip else slice(start, stop))
        return tuple(turned)


def turn_to(image: sitk.Image, orientation: str) -> Turn:
    """Return the turn of `image` to `orientation`, the directions of increasing x, y and z, such as LPS."""
    return _turned_corner(image[:1, :1, :1], orientation)[0]


def reorient(image: sitk.Image, orientation: str) -> sitk.Image:
    """Permute and flip the axes of `image` to those of `orientation`, like sitk.DICOMOrient, but faster.

    orientation: see `turn_to`.

    Returns:
        A new image, or `image` itself where its axes are those.
    """
    turn = turn_to(image, orientation)
    if turn.order == (0, 1, 2) and not any(turn.flips):
        return image
    voxels = sitk.GetArrayViewFromImage(image)
    return reorient_part(voxels, tuple(map(slice, voxels.shape)), image, orientation, 0)


def reorient_part(
    voxels: np.ndarray, region: Sequence[slice], image: sitk.Image, orientation: str, background: float
) -> sitk.Image:
    """Return a volume on the grid of `image`, reoriented, of `background` but for a part.

    Args:
        voxels: of the part (z, y, x).
        region: where the part lies in `image` (z, y, x).
        image: gives the grid alone.
        orientation: see `turn_to`.
        background: value of the other voxels.
    """
    corner = image[:1, :1, :1]
    turn, turned = _turned_corner(corner, orientation)
    shape = image.GetSize()[::-1]
    whole = np.full(turn.view(np.broadcast_to(0, shape)).shape, background, voxels.dtype)
    target, source = whole[turn.region(region, shape)], turn.view(voxels)
    for start in range(0, source.shape[2], STRIP):
        target[..., start : start + STRIP] = source[..., start : start + STRIP]
    reoriented = sitk.GetImageFromArray(whole)
    reoriented.SetSpacing(turned.GetSpacing())
    reoriented.SetDirection(turned.GetDirection())
    first = [n - 1 if flip else 0 for n, flip in zip(reoriented.GetSize(), turn.flips, strict=True)]
    reoriented.SetOrigin(sitk.PermuteAxes(corner, turn.order).TransformIndexToPhysicalPoint(first))
    return reoriented


def _turned_corner(corner: sitk.Image, orientation: str) -> tuple[Turn, sitk.Image]:
    """Return the turn of an image and its first voxel, turned: ITK finds the axes of one as of all."""
    turn = sitk.DICOMOrientImageFilter()
    turn.SetDesiredCoordinateOrientation(orientation)
    turned = turn.Execute(corner)
    return Turn(tuple(turn.GetPermuteOrder()), tuple(turn.GetFlipAxes())), turned


def plane_of(normal: Sequence[float]) -> str:
    """Name the plane: axial, coronal, sagittal, or oblique where the normal (LPS) is over 35 degrees off its axis."""
    share = np.abs(np.asarray(normal, float)) / np.linalg.norm(normal)
    axis = int(share.argmax())
    off = np.degrees(np.arccos(min(1.0, float(share[axis]))))
    return "oblique" if off > OBLIQUE else ("sagittal", "coronal", "axial")[axis]
