"""One slice of a series, as decoded: its stored values, its place, and what tells it from others at the same place.

Positions and directions are DICOM's, mm in LPS: Image Position and Image Orientation (Patient), PS3.3 C.7.6.2.1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Frame:
    """One slice: stored values (rows, columns), their place and their rescaling.

    position: centre of the first voxel, mm LPS. orientation: directions of increasing column and row index (6 cosines).
    spacing: between rows, between columns, mm. values = stored * slope + intercept, PS3.3 C.11.1.1.2; None where the
    header gives no such number. padding: which voxels are no data (rows, columns), None for none of them; padded: the
    stored values, lowest and highest, that mean it, PS3.3 C.7.5.1.1.2. image_type: words of Image Type or Frame Type.
    echo (ms), inversion (ms), time_point, acquisition and instance tell volumes of one series apart; None where absent.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    slope: float | None
    intercept: float | None
    stored: Array
    padding: Array | None = None
    padded: tuple[float, float] | None = None
    image_type: frozenset[str] = frozenset()
    echo: float | None = None
    inversion: float | None = None
    time_point: float | None = None
    acquisition: float | None = None
    instance: float | None = None


def directions(frame: Frame) -> Array:
    """Return the directions of increasing column and row index, made perpendicular, and the normal; unit vectors."""
    row, column = np.array(frame.orientation).reshape(2, 3)
    row = row / np.linalg.norm(row)
    column = column - (row @ column) * row  # NIfTI's quaternion holds no shear
    column = column / np.linalg.norm(column)
    return np.array([row, column, np.cross(row, column)])
