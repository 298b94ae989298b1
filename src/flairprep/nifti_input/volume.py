"""Read a NIfTI scan as one volume with its geometry, or say why it is none."""

from collections.abc import Callable
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


def voxels_path(path: Path, exists: Callable[[Path], bool] = Path.is_file) -> Path:
    """Return the file that holds the voxels of the scan in a .nii or .hdr: itself, or the .img of its name.

    exists: of a path, whether the case has it.

    Raises:
        CaseError: NO_PIXEL_DATA where that .img is missing; NO_GEOMETRY where `path` is an .img without its header.
    """
    stem, suffix = parts_of(path.name)
    if suffix == ".nii":
        return path
    if suffix == ".img":
        raise CaseError(Code.NO_GEOMETRY, "an .img without its .hdr, which would tell size and orientation")
    for end in (".img", ".img.gz", ".IMG"):
        if exists(partner := path.with_name(f"{stem}{end}")):
            return partner
    raise CaseError(Code.NO_PIXEL_DATA, "an .hdr without its .img, which would hold the voxels")


def read_scan(path: Path, holder: Path | None = None, volume: str | None = None) -> SeriesVolume:
    """Read the scan of a .nii or .hdr file; its columns of cases.csv are those of the grid alone.

    Args:
        path: of the header.
        holder: of the voxels; None: see `voxels_path`.
        volume: which of several volumes in the file, first or last; None refuses them.

    Returns:
        The image as stored, in LPS and mm: int16 or int32 where scaling leaves whole numbers that fit, else float32.

    Raises:
        CaseError: with the code that says why it is no volume.
        FlairprepError: see `dicom.reading.undamaged`.
    """
    holder = holder or voxels_path(path)
    fields = read_header(path)
    grid, notes = grid_of(fields)
    notes += _chosen(fields, volume)
    place = fields.volumes - 1 if volume == "last" else 0
    stored = np.frombuffer(read_voxels(holder, fields, place), fields.dtype).reshape(fields.size[::-1])
    image = sitk.GetImageFromArray(_values(stored, fields))
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    voxels = sitk.GetArrayViewFromImage(image)
    notes += check_voxels(voxels)
    columns = {**geometry(image), "plane": plane(fields, grid), "interpolated": ""}
    identity = {"patient": "", "study": "", "frame_of_reference": "", "voxels": digest_of(voxels)}
    return SeriesVolume(image, columns, identity, tuple(notes))


def _chosen(fields: NiftiFields, volume: str | None) -> list[tuple[Code, str]]:
    """Return the warning that one of several volumes is read, or refuse them; see `dicom.copies`."""
    if fields.volumes == 1:
        return []
    text = f"{fields.volumes} volumes in one file"
    if not fields.told:
        raise CaseError(Code.MULTIPLE_VOLUMES, f"{text}, along a fifth axis or more; keep one")
    if volume is None:
        raise CaseError(Code.MULTIPLE_VOLUMES, f"{text}; `ingest.volume: first` or `last` reads one of them")
    return [(Code.VOLUME_CHOSEN, f"{text}; the {volume} was read")]


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
