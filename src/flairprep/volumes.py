"""Volumes on disk, and what a stage may ask of one: sitk.Image in LPS and mm; numpy only inside, as (z, y, x)."""

import errno
import os
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from flairprep.files import whole_file

NIFTI_HEADER = 352  # bytes before the voxels of a single file without extensions
SKULL_STRIPPED_BORDER = 0.97  # share of exact zeros on each of the six faces; a neck fills more than 3 % of one
SKULL_STRIPPED_INSIDE = (0.02, 0.8)  # share of voxels that are not zero


def read(path: Path) -> sitk.Image:
    """The volume in a NIfTI file.

    Raises:
        OSError: no such file, or no whole volume in it.
    """
    try:
        return sitk.ReadImage(str(path), imageIO="NiftiImageIO")
    except RuntimeError as error:
        raise OSError(f"{path}: cannot be read as NIfTI; `dvc checkout` or `dvc repro -f` brings it back") from error


def size(path: Path) -> tuple[int, ...]:
    """The size (x, y, z) of the volume in a NIfTI file, by its header alone; RuntimeError where it has none."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return tuple(reader.GetSize())


def write(image: sitk.Image, path: Path) -> None:
    """`image` as .nii.gz, whole or not at all; equal images give equal bytes.

    zlib's fastest level takes a fraction of the time of ITK's own, and no time stamp or name goes into the header.
    ISA-L would be faster still, but now and then gives other bytes for the same input.

    Raises:
        OSError: the disk did not take it whole.
    """
    with whole_file(path) as partial:
        plain = partial.with_name(partial.name + ".nii")
        try:
            sitk.WriteImage(image, str(plain), imageIO="NiftiImageIO")
            content = plain.read_bytes()
            # ITK does not look whether the disk took all of it.
            if len(content) != NIFTI_HEADER + image.GetNumberOfPixels() * image.GetSizeOfPixelComponent():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            partial.write_bytes(_gzip(content))
        except RuntimeError as error:
            raise OSError(f"{path}: cannot be written; is the disk full?") from error
        finally:
            plain.unlink(missing_ok=True)


def _gzip(content: bytes) -> bytes:
    compressor = zlib.compressobj(level=1, wbits=31)  # 31: the gzip format, with an empty header
    return compressor.compress(content) + compressor.flush()


def is_skull_stripped(image: sitk.Image) -> bool:
    """Whether everything outside the brain was set to exactly zero.

    A stripped brain is an island of values among exact zeros that hardly touches the volume's faces. A head whose air
    was zeroed is not: its neck, or its cross section in the lowest slice, fills a good part of a face.
    """
    filled = sitk.GetArrayViewFromImage(image) != 0
    low, high = SKULL_STRIPPED_INSIDE
    if not low <= filled.mean() <= high:
        return False
    faces = [np.take(filled, index, axis) for axis in range(3) for index in (0, -1)]
    return all(face.mean() <= 1 - SKULL_STRIPPED_BORDER for face in faces)
