"""Reorient a volume to the nearest axes, and name its plane of acquisition."""

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

STRIP = 16  # voxels of a row that are copied at a time, so that the processor's cache holds them
OBLIQUE = 35.0  # degrees between the slice normal and the nearest axis, above which a volume is oblique


def reorient(image: sitk.Image, orientation: str) -> sitk.Image:
    """Permute and flip the axes of `image` to those of `orientation`, like sitk.DICOMOrient, but faster.

    orientation: the directions of increasing x, y and z, such as LPS.

    Returns:
        A new image, or `image` itself where its axes are those.
    """
    turn, corner = sitk.DICOMOrientImageFilter(), image[:1, :1, :1]
    turn.SetDesiredCoordinateOrientation(orientation)
    turned = turn.Execute(corner)
    order, flips = turn.GetPermuteOrder(), turn.GetFlipAxes()
    if tuple(order) == (0, 1, 2) and not any(flips):
        return image
    voxels = sitk.GetArrayViewFromImage(image).transpose([2 - axis for axis in reversed(order)])
    voxels = voxels[tuple(slice(None, None, -1 if flip else 1) for flip in reversed(flips))]
    copied = np.empty(voxels.shape, voxels.dtype)
    for start in range(0, voxels.shape[2], STRIP):
        copied[..., start : start + STRIP] = voxels[..., start : start + STRIP]
    reoriented = sitk.GetImageFromArray(copied)
    reoriented.SetSpacing(turned.GetSpacing())
    reoriented.SetDirection(turned.GetDirection())
    first = [n - 1 if flip else 0 for n, flip in zip(reoriented.GetSize(), flips, strict=True)]
    reoriented.SetOrigin(sitk.PermuteAxes(corner, order).TransformIndexToPhysicalPoint(first))
    return reoriented


def plane_of(normal: Sequence[float]) -> str:
    """Name the plane: axial, coronal, sagittal, or oblique where the normal (LPS) is over 35 degrees off its axis."""
    share = np.abs(np.asarray(normal, float)) / np.linalg.norm(normal)
    axis = int(share.argmax())
    off = np.degrees(np.arccos(min(1.0, float(share[axis]))))
    return "oblique" if off > OBLIQUE else ("sagittal", "coronal", "axial")[axis]
