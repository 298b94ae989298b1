"""Interpret the header of a NIfTI-1 or NIfTI-2 file, in either byte order; nothing in it is trusted unchecked.

Fields and their rules: nifti1.h and nifti2_io's nifti2.h. Free text of a header is not even read.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.header import MAX_LENGTH
from flairprep.dicom.volume import MAX_VOXELS

LENGTH = 540  # bytes of the longer header, NIfTI-2
MAX_OFFSET = 2**24  # bytes before the voxels of one file: header and extensions
MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # of a unit of space, xyzt_units; unknown is mm, as programs agree
FIELDS = {  # size of the header -> field: (type without byte order, byte)
    348: {
        **{"dim_info": ("u1", 39), "dim": ("8i2", 40), "datatype": ("i2", 70), "bitpix": ("i2", 72)},
        **{"pixdim": ("8f4", 76), "vox_offset": ("f4", 108), "scl_slope": ("f4", 112), "scl_inter": ("f4", 116)},
        **{"xyzt_units": ("u1", 123), "qform_code": ("i2", 252), "sform_code": ("i2", 254)},
        **{"quatern": ("3f4", 256), "qoffset": ("3f4", 268), "srow": ("12f4", 280), "magic": ("S4", 344)},
    },
    540: {
        **{"magic": ("S4", 4), "datatype": ("i2", 12), "bitpix": ("i2", 14), "dim": ("8i8", 16)},
        **{"pixdim": ("8f8", 104), "vox_offset": ("i8", 168), "scl_slope": ("f8", 176), "scl_inter": ("f8", 184)},
        **{"qform_code": ("i4", 344), "sform_code": ("i4", 348), "quatern": ("3f8", 352), "qoffset": ("3f8", 376)},
        **{"srow": ("12f8", 400), "xyzt_units": ("i4", 500), "dim_info": ("u1", 524)},
    },
}
MAGIC = {348: (b"n+1", b"ni1"), 540: (b"n+2", b"ni2")}  # of one file, of a pair
TYPES = {  # NIFTI_TYPE_... of gray values -> numpy's type without byte order
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
COLOURS = {128, 2304}  # RGB24, RGBA32
COMPLEX = {32, 1792, 2048}


@dataclass(frozen=True)
class NiftiFields:
    """A checked header. size: voxels along x, y, z. offset: the byte of the voxels, in their file; lengths in mm.

    volumes: how many of that size follow each other. told: whether the fourth axis alone tells them apart.

    dtype: of a stored voxel, with its byte order. slope, intercept: values = stored * slope + intercept; (1, 0) where
    the header asks for no scaling. slice_axis: 0 to 2, None where it is not stated. qform: code, quaternion (b, c, d),
    offset, qfac, voxel size; sform: code and the rows of the matrix.
    """

    pair: bool
    size: tuple[int, int, int]
    volumes: int
    told: bool
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    slice_axis: int | None
    qform_code: int
    quaternion: npt.NDArray[np.float64]
    qoffset: npt.NDArray[np.float64]
    qfac: float
    voxel_size: npt.NDArray[np.float64]
    sform_code: int
    srow: npt.NDArray[np.float64]

    @property
    def bytes(self) -> int:
        """Return how many bytes the voxels of one volume take."""
        return math.prod(self.size) * self.dtype.itemsize


def interpret(start: bytes, *, alone: bool) -> NiftiFields:
    """Interpret the first bytes of a file.

    alone: whether header and voxels share one file (.nii), or the voxels lie in an .img.

    Raises:
        CaseError: DECODE_FAILED, NO_GEOMETRY (Analyze 7.5), NOT_GRAYSCALE, NOT_MAGNITUDE, TOO_LARGE.
    """
    length, order = _form(start)
    spec = FIELDS[length]
    record = np.dtype(
        {
            "names": list(spec),
            "formats": [
                order + kind if kind[0] not in "0123456789" else f"{kind[:-2]}{order}{kind[-2:]}"
                for kind, _ in spec.values()
            ],
            "offsets": [place for _, place in spec.values()],
            "itemsize": length,
        }
    )
    fields = np.frombuffer(start, record, 1)[0]
    pair = _is_pair(bytes(fields["magic"]), length, alone)
    slope, intercept = _scaling(float(fields["scl_slope"]), float(fields["scl_inter"]))
    unit = MILLIMETRES.get(int(fields["xyzt_units"]) & 7)
    if unit is None:
        raise CaseError(Code.DECODE_FAILED, "the header's unit of space is none of NIfTI's")
    pixdim = fields["pixdim"].astype(np.float64)
    size, times, others = _sizes([int(one) for one in fields["dim"]])
    return NiftiFields(
        pair=pair,
        size=size,
        volumes=times * others,
        told=others == 1,
        dtype=_dtype(int(fields["datatype"]), int(fields["bitpix"]), order),
        offset=_offset(float(fields["vox_offset"]), 0 if pair else length + 4),
        slope=slope,
        intercept=intercept,
        slice_axis=axis - 1 if (axis := int(fields["dim_info"]) >> 4 & 3) else None,
        qform_code=int(fields["qform_code"]),
        quaternion=fields["quatern"].astype(np.float64),
        qoffset=fields["qoffset"].astype(np.float64) * unit,
        qfac=-1.0 if pixdim[0] < 0 else 1.0,
        voxel_size=pixdim[1:4] * unit,
        sform_code=int(fields["sform_code"]),
        srow=fields["srow"].astype(np.float64).reshape(3, 4) * unit,
    )


def _form(start: bytes) -> tuple[int, str]:
    """Return the length of the header and its byte order."""
    for length in FIELDS:
        for name, order in (("little", "<"), ("big", ">")):
            if int.from_bytes(start[:4], name) == length:  # type: ignore[arg-type]
                if len(start) < length:
                    raise CaseError(Code.DECODE_FAILED, "a file ends too early")
                return length, order
    raise CaseError(Code.DECODE_FAILED, "a file begins with no NIfTI header")


def _is_pair(magic: bytes, length: int, alone: bool) -> bool:
    single, pair = MAGIC[length]
    if magic not in (single, pair):
        if length == 348 and not alone:
            raise CaseError(Code.NO_GEOMETRY, "an Analyze 7.5 header, which states no orientation")
        raise CaseError(Code.DECODE_FAILED, "a file does not say that it is NIfTI")
    if alone != (magic == single):
        where = "the same file" if magic == single else "another file"
        raise CaseError(Code.DECODE_FAILED, f"the header says that the voxels lie in {where}")
    return not alone


def _sizes(dim: list[int]) -> tuple[tuple[int, int, int], int, int]:
    """Return the size of a volume, the length of the fourth axis, time or echo, and how many lie along all others."""
    axes, lengths = dim[0], dim[1:]
    if not 1 <= axes <= 7 or min(lengths[:axes]) < 1:
        raise CaseError(Code.DECODE_FAILED, "the header's sizes are none")
    lengths = lengths[:axes] + [1] * (7 - axes)
    if math.prod(lengths[:3]) > MAX_VOXELS or max(lengths[:3]) > MAX_LENGTH:
        raise CaseError(Code.TOO_LARGE, f"{math.prod(lengths[:3]) / 1e6:.0f} million voxels, or too long an axis")
    return (lengths[0], lengths[1], lengths[2]), lengths[3], math.prod(lengths[4:])


def _dtype(datatype: int, bitpix: int, order: str) -> np.dtype[Any]:
    if datatype in COLOURS:
        raise CaseError(Code.NOT_GRAYSCALE, "the voxels are colours")
    if datatype in COMPLEX:
        raise CaseError(Code.NOT_MAGNITUDE, "the voxels are complex numbers")
    if datatype not in TYPES:
        raise CaseError(Code.DECODE_FAILED, "a type of voxels that is not supported")
    dtype = np.dtype(order + TYPES[datatype])
    if bitpix != 8 * dtype.itemsize:
        raise CaseError(Code.DECODE_FAILED, "the header's bits per voxel contradict its type of voxels")
    return dtype


def _offset(stated: float, least: int) -> int:
    if not least <= stated <= MAX_OFFSET or stated != int(stated):  # false for nan, too
        raise CaseError(Code.DECODE_FAILED, "the voxels cannot begin where the header says")
    return int(stated)


def _scaling(slope: float, intercept: float) -> tuple[float, float]:
    """Return slope and intercept; a slope of 0 asks for no scaling, and NaN or infinity is read so, as by nibabel."""
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise CaseError(Code.DECODE_FAILED, "the header's intercept is not a number")
    return slope, intercept
