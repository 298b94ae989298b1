"""Recognise skull-stripped volumes."""

import numpy as np
import SimpleITK as sitk

BORDER = 0.97  # least share of exact zeros on each of the six faces; a neck fills more than 3 % of one
INSIDE = (0.02, 0.8)  # least and largest share of voxels that are not zero


def is_skull_stripped(image: sitk.Image) -> bool:
    """Return whether everything outside the brain is exactly zero.

    A stripped brain is an island among exact zeros that hardly touches the volume's faces. Of a head whose air was set
    to zero, the neck or the lowest cross section fills a good part of a face.
    """
    filled = sitk.GetArrayViewFromImage(image) != 0
    low, high = INSIDE
    if not low <= np.count_nonzero(filled) / filled.size <= high:
        return False
    faces = [np.take(filled, index, axis) for axis in range(3) for index in (0, -1)]
    return all(face.mean() <= 1 - BORDER for face in faces)
