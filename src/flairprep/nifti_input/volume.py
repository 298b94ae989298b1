"""Read a NIfTI scan as one volume with its geometry, or say why it is none."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.volume import SeriesVolume, check_voxels, digest_of, geometry
from flairprep.nifti_input.geometry import grid_of, plane
from flairprep.nifti_input.header import NiftiFields
from flairprep.nifti_input.reading import parts_of, read_header, read_voxels

LARGEST = float(np.finfo(np.float32).max)


def voxels_path(path: Path) -> Path:
    """Return the file that holds the voxels of the scan in a .nii or .hdr: itself, or the .img of its name.

    Raises:
        CaseError: NO_PIXEL_DATA where that .img is missing; NO_GEOMETRY where `path` is an .img without its header.
    """
    stem, suffix = parts_of(path.name)
    if suffix == ".nii":
        return path
    if suffix == ".img":
        raise CaseError(Code.NO_GEOMETRY, "an .img without its .hdr, which would tell size and orientation")
    for end in (".img", ".img.gz", ".IMG"):
        if (partner := path.with_name(f"{stem}{end}")).is_file():
            return partner
    raise CaseError(Code.NO_PIXEL_DATA, "an .hdr without its .img, which would hold the voxels")


def read_scan(path: Path) -> SeriesVolume:
    """Read the scan of a .nii or .hdr file; its columns of cases.csv are those of the grid alone.

    Returns:
        The image as stored, in LPS and mm: int16 or int32 where scaling leaves whole numbers that fit, else float32.

    Raises:
        CaseError: with the code that says why it is no volume.
        FlairprepError: see `dicom.reading.undamaged`.
    """
    holder = voxels_path(path)
    fields = read_header(path)
    grid, notes = grid_of(fields)
    stored = np.frombuffer(read_voxels(holder, fields), fields.dtype).reshape(fields.size[::-1])
    image = sitk.GetImageFromArray(_values(stored, fields))
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    voxels = sitk.GetArrayViewFromImage(image)
    notes += check_voxels(voxels)
    columns = {**geometry(image), "plane": plane(fields, grid), "interpolated": ""}
    identity = {"patient": "", "study": "", "frame_of_reference": "", "voxels": digest_of(voxels)}
    return SeriesVolume(image, columns, identity, tuple(notes))


def _values(stored: npt.NDArray[np.generic], fields: NiftiFields) -> npt.NDArray[np.generic]:
    """Return stored * slope + intercept as int16, int32 or float32."""
    whole = stored.dtype.kind in "iu"
    if whole and fields.slope == 1 and fields.intercept == int(fields.intercept):
        low, high = (int(bound) + int(fields.intercept) for bound in (stored.min(), stored.max()))
        for dtype in (np.int16, np.int32):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return (stored.astype(np.int64) + int(fields.intercept)).astype(dtype)
    values = np.empty(stored.shape, np.float32)
    with np.errstate(all="ignore"):
        for index, plane_values in enumerate(stored):  # one by one: 64 bits each for all would double the memory
            exact = plane_values.astype(np.float64) * fields.slope + fields.intercept
            if not np.abs(exact).max() <= LARGEST:  # nan, too
                bad = int((~(np.abs(exact) <= LARGEST)).sum())
                raise CaseError(Code.NOT_FINITE, f"{bad} voxels of a slice are NaN, infinite or too large")
            values[index] = exact
    return values
