"""Make the grid of a volume, LPS and mm, from the qform and sform of a NIfTI header, by the rules of nifti1.h."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.pixels import MAX_POSITION, MAX_SPACING, MIN_SPACING
from flairprep.dicom.stacking import TILT_TOLERANCE, TILT_WARNING
from flairprep.imaging.orientation import plane_of
from flairprep.nifti_input.header import NiftiFields

Matrix = npt.NDArray[np.float64]
LPS = np.diag([-1.0, -1.0, 1.0])  # of NIfTI's directions: x and y increase to the right and to the front
QUATERNION_TOLERANCE = 1e-4  # by which the square of (b, c, d) may exceed 1; 32 bits round to a thousandth of that
HALF_TURN = 3 * float(np.finfo(np.float32).eps)  # by which 1 may exceed it in a turn by 180 degrees: rounding
ROUNDING = 0.1  # mm by which qform and sform may differ
SIZE_TOLERANCE = 0.01  # of a voxel's length: beyond it, the two state different sizes
THICK = 1.5  # times the other axes: how long a voxel is along the slice normal of a scan in slices


class Grid(NamedTuple):
    """Where the voxels lie: spacing (x, y, z) in mm, direction (3 x 3, orthonormal), centre of the first voxel, LPS."""

    spacing: tuple[float, ...]
    direction: Matrix
    origin: tuple[float, ...]


@np.errstate(all="ignore")  # of damaged headers; what comes out is checked
def grid_of(fields: NiftiFields) -> tuple[Grid, list[tuple[Code, str]]]:
    """Return the grid of a header, and what to warn of.

    The sform is used where it is set, as nibabel and FSL do, else the qform. Where both are set and differ, they may be
    two coordinate systems; that only warns. It fails where both claim the same one, or state other sizes or another
    nearest orientation: one of them is wrong, and which one cannot be told.

    Raises:
        CaseError: NO_GEOMETRY, AFFINE_CONFLICT, SHEARED.
    """
    if fields.qform_code <= 0 and fields.sform_code <= 0:
        raise CaseError(Code.NO_GEOMETRY, "neither qform nor sform is set, so left and right are not known")
    notes = []
    if fields.qform_code > 0:
        affine = _of_qform(fields)
    if fields.sform_code > 0:
        if not np.isfinite(fields.srow).all():
            raise CaseError(Code.NO_GEOMETRY, "the sform is no matrix of numbers")
        if fields.qform_code > 0:
            notes += _compare(affine, fields.srow, fields)
        affine = fields.srow
    grid, shear = _rigid(affine, fields.size)
    return grid, notes + shear


def _of_qform(fields: NiftiFields) -> Matrix:
    """Return the affine (3 x 4, RAS) of the qform: nifti1.h, method 2."""
    vector, lengths = fields.quaternion, fields.voxel_size
    square = float(vector @ vector)
    numbers = np.isfinite([*fields.qoffset, *lengths]).all()
    if not (square <= 1 + QUATERNION_TOLERANCE and numbers and (lengths > 0).all()):
        raise CaseError(Code.NO_GEOMETRY, "the qform is no rotation with voxel sizes")
    first = np.sqrt(1 - square) if 1 - square >= HALF_TURN else 0.0
    from scipy.spatial.transform import Rotation  # takes a quarter of a second, and only a qform needs it

    rotation = Rotation.from_quat([*vector, first]).as_matrix()
    return np.column_stack([rotation * lengths * [1, 1, fields.qfac], fields.qoffset])


def _compare(qform: Matrix, sform: Matrix, fields: NiftiFields) -> list[tuple[Code, str]]:
    """Return the warning that the two differ, or raise where they contradict each other."""
    apart = float(np.linalg.norm((qform - sform) @ _corners(fields.size), axis=0).max())
    if not apart > ROUNDING:
        return []
    sizes = [np.linalg.norm(affine[:, :3], axis=0) for affine in (qform, sform)]
    if fields.qform_code == fields.sform_code:
        reason = "both claim the same space"
    elif np.abs(sizes[0] - sizes[1]).max() > SIZE_TOLERANCE * sizes[0].max():
        reason = "with other voxel sizes"
    elif not np.array_equal(_nearest(qform), _nearest(sform)):
        reason = "with other orientations"
    else:
        return [(Code.AFFINE_CONFLICT, f"qform and sform are up to {apart:.3g} mm apart; the sform is used")]
    raise CaseError(Code.AFFINE_CONFLICT, f"qform and sform are up to {apart:.3g} mm apart, {reason}")


def _nearest(affine: Matrix) -> Matrix:
    """Return the axis, and its sign, that each column comes nearest to."""
    columns = affine[:, :3]
    axes = np.abs(columns).argmax(axis=0)
    return np.stack([axes, np.sign(columns[axes, range(3)])])


def _corners(size: tuple[int, ...]) -> Matrix:
    """Return the indices of the eight corner voxels, homogeneous: (4, 8)."""
    last = np.array(size) - 1
    return np.array([[*(last * [i, j, k]), 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float).T


def _rigid(affine: Matrix, size: tuple[int, ...]) -> tuple[Grid, list[tuple[Code, str]]]:
    """Return the grid nearest to an affine (3 x 4, RAS), and the warning of a slight shear."""
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    if not (spacing.min() >= MIN_SPACING and spacing.max() <= MAX_SPACING):
        raise CaseError(Code.NO_GEOMETRY, "voxels of impossible sizes")
    if np.abs(affine[:, 3]).max() > MAX_POSITION:
        raise CaseError(Code.NO_GEOMETRY, f"a voxel over {MAX_POSITION:g} mm from the origin")
    left, _, right = np.linalg.svd(affine[:, :3] / spacing)
    rigid = left @ right  # the nearest orthonormal matrix, reflections included
    off = float(np.linalg.norm((affine[:, :3] - rigid * spacing) @ _corners(size)[:3], axis=0).max())
    if off > TILT_TOLERANCE:
        raise CaseError(Code.SHEARED, f"the grid is sheared by up to {off:.3g} mm")
    notes = [(Code.SHEARED, f"the grid is sheared by up to {off:.2g} mm, taken as straight")]
    grid = Grid(tuple(map(float, spacing)), LPS @ rigid, tuple(map(float, LPS @ affine[:, 3])))
    return grid, notes if off > TILT_WARNING else []


def plane(fields: NiftiFields, grid: Grid) -> str:
    """Name the plane of acquisition, "" where the header does not show it, as after resampling to cubes."""
    axis = fields.slice_axis
    if axis is None:
        *others, longest = np.argsort(grid.spacing)
        if grid.spacing[longest] < THICK * max(grid.spacing[other] for other in others):
            return ""
        axis = int(longest)
    return plane_of(tuple(grid.direction[:, axis]))
