"""Read and write volumes as NIfTI: sitk.Image in LPS and mm; numpy only inside, as (z, y, x)."""

import errno
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from isal import isal_zlib
from zlib_ng import zlib_ng

from flairprep.core.files import atomic_part
from flairprep.imaging.lattice import Lattice, decoded

NIFTI_HEADER = 352  # bytes before the voxels of a single file without extensions, nifti1.h
NIFTI_DIM = 40  # byte of `dim`: the number of axes, then their lengths, 16 bits each, nifti1.h
NIFTI_DATATYPE = 70  # byte of `datatype`, 16 bits
NIFTI_SCALING = 112  # byte of `scl_slope` and `scl_inter`, 32 bits each
DTYPES: dict[int, np.dtype[Any]] = {4: np.dtype("<i2"), 8: np.dtype("<i4"), 16: np.dtype("<f4")}  # that stages write
DENSE = 8  # a file that is no more times smaller than its voxels at 32 bits is mostly noise
UNSCALED = Lattice(1.0, 0.0)  # as ITK writes it


def read_volume(path: Path) -> sitk.Image:
    """Read a .nii.gz that `write_volume` wrote; codes of a lattice come back as its values, float32.

    Raises:
        OSError: no such file, or it holds no complete volume.
    """
    return decoded(*read_stored(path))


def read_stored(path: Path) -> tuple[sitk.Image, Lattice | None]:
    """Read a .nii.gz as `write_volume` got it: the header by ITK, the voxels by faster libraries than its own.

    Returns:
        The volume, of codes where it has a lattice, and the lattice.

    Raises:
        OSError: no such file, or it holds no complete volume.
    """
    try:
        header = _described(path)
        shape = header.GetSize()[::-1]
        content = _inflated(path.read_bytes(), NIFTI_HEADER + 4 * math.prod(shape))
        dtype = DTYPES[struct.unpack_from("<h", content, NIFTI_DATATYPE)[0]]
        if len(content) != (length := NIFTI_HEADER + math.prod(shape) * dtype.itemsize):
            raise ValueError(f"{len(content)} bytes, not {length}")
        values = np.frombuffer(content, dtype, math.prod(shape), NIFTI_HEADER).reshape(shape)
        scaling = Lattice(*struct.unpack_from("<2f", content, NIFTI_SCALING))
    except (RuntimeError, KeyError, ValueError, struct.error, zlib_ng.error, isal_zlib.error) as error:  # type: ignore[misc]  # its stub is wrong
        raise OSError(f"{path}: cannot be read as NIfTI; restore it: `dvc checkout` or `dvc repro -f`") from error
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(header.GetSpacing())
    image.SetOrigin(header.GetOrigin())
    image.SetDirection(header.GetDirection())
    return image, None if scaling == UNSCALED else scaling


def _inflated(content: bytes, most: int) -> bytes:
    """Inflate a .nii.gz to at most so many bytes; ISA-L takes two thirds of zlib-ng's time for noise, not for zeros."""
    library = isal_zlib if len(content) * DENSE > most else zlib_ng
    return library.decompress(content, wbits=31, bufsize=most)


def volume_size(path: Path) -> tuple[int, ...]:
    """Read the size (x, y, z) of a NIfTI file from its header alone.

    Raises:
        RuntimeError: no such file, or no NIfTI header.
    """
    return tuple(_described(path).GetSize())


def _described(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def write_volume(image: sitk.Image, path: Path, scaling: Lattice | None = None) -> None:
    """Write `image` (x, y, z) as .nii.gz, completely or not at all; equal images give equal bytes.

    Where there is a `scaling`, the voxels are its codes, and every reader of NIfTI gives its values.

    No time stamp or name goes into the header. zlib-ng takes half the time of zlib's fastest level for floats. It takes
    a third for integers, whose files get up to a fifth larger. ISA-L is faster, but its bytes for one input vary.

    Raises:
        OSError: the disk did not take all of it.
    """
    with atomic_part(path) as partial:
        header = bytearray(_header(image, partial.with_name(partial.name + ".nii")))
        if scaling is not None:
            struct.pack_into("<2f", header, NIFTI_SCALING, *scaling)
        with partial.open("wb") as file:
            file.writelines(_gzip(header, sitk.GetArrayViewFromImage(image)))


def _header(image: sitk.Image, scratch: Path) -> bytes:
    """Return the bytes before the voxels: ITK writes the first voxel to `scratch`, and the whole size replaces its."""
    try:
        sitk.WriteImage(image[:1, :1, :1], str(scratch), imageIO="NiftiImageIO")
        header = bytearray(scratch.read_bytes()[:NIFTI_HEADER])
    except RuntimeError as error:
        raise OSError(f"{scratch}: cannot be written; is the disk full?") from error
    finally:
        scratch.unlink(missing_ok=True)
    if len(header) < NIFTI_HEADER:  # ITK does not check whether the disk took all of it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(scratch))
    struct.pack_into("<3h", header, NIFTI_DIM + 2, *image.GetSize())
    return bytes(header)


def _gzip(header: bytes | bytearray, voxels: np.ndarray) -> Iterator[bytes]:
    # Noisy integers repeat only by chance: searching for repeats takes twice the time and saves little.
    whole = np.issubdtype(voxels.dtype, np.integer)
    strategy = zlib_ng.Z_RLE if whole else zlib_ng.Z_DEFAULT_STRATEGY
    # 31: the gzip format, with an empty header; memLevel 9: half as many blocks, each with its table, as by default.
    compressor = zlib_ng.compressobj(level=2, wbits=31, memLevel=9, strategy=strategy)
    yield compressor.compress(header)
    yield compressor.compress(np.ascontiguousarray(voxels))
    yield compressor.flush()
