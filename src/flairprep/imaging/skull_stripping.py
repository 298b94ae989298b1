"""Recognise skull-stripped volumes."""

import numpy as np
import SimpleITK as sitk

SKULL_STRIPPED_BORDER = 0.97  # share of exact zeros on each of the six faces; a neck fills more than 3 % of one
SKULL_STRIPPED_INSIDE = (0.02, 0.8)  # share of voxels that are not zero


def is_skull_stripped(image: sitk.Image) -> bool:
    """Return whether everything outside the brain is exactly zero.

    A stripped brain is an island of values among exact zeros that hardly touches the volume's faces. A head whose air
    was zeroed is not: its neck, or its cross section in the lowest slice, fills a good part of a face.
    """
    filled = sitk.GetArrayViewFromImage(image) != 0
    low, high = SKULL_STRIPPED_INSIDE
    if not low <= filled.mean() <= high:
        return False
    faces = [np.take(filled, index, axis) for axis in range(3) for index in (0, -1)]
    return all(face.mean() <= 1 - SKULL_STRIPPED_BORDER for face in faces)
