"""Recognise the space of an atlas that a volume was resampled to, by its grid alone.

SRI24 (Rohlfing et al. 2010, doi:10.1002/hbm.20906) in the grid that BraTS and the sets prepared like it use.
"""

import numpy as np
import SimpleITK as sitk

SRI24 = (240, 240, 155)  # voxels of 1 mm
CORNERS = np.array([[0, -239, 0], [239, 0, 154]])  # least and largest coordinates of voxel centres, LPS, mm
TOLERANCE = 0.1  # mm; of a header's rounding


def space_of(image: sitk.Image) -> str:
    """Return "SRI24" for a volume of 240 x 240 x 155 mm at 1 mm where BraTS places it, "" for any other.

    The order and direction of the axes make no difference: programs flip them.
    """
    size, spacing = image.GetSize(), np.array(image.GetSpacing())
    if sorted(size) != sorted(SRI24) or np.abs(spacing - 1).max() * max(SRI24) > TOLERANCE:
        return ""
    indices = [[index * (n - 1) for index, n in zip(place, size, strict=True)] for place in np.ndindex(2, 2, 2)]
    corners = np.array([image.TransformIndexToPhysicalPoint(index) for index in indices])
    apart = np.abs([corners.min(axis=0) - CORNERS[0], corners.max(axis=0) - CORNERS[1]]).max()
    return "SRI24" if apart <= TOLERANCE else ""
