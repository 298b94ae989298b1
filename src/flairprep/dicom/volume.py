"""Read the DICOM files of one series as one volume with its geometry, or say why they are none.

Functional groups of enhanced files, DICOM PS3.3 C.7.6.16; Modality LUT, C.11.1; MONOCHROME1, C.7.6.3.1.2.
"""

import hashlib
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset
from zlib_ng import zlib_ng

from flairprep.core.codes import Code
from flairprep.core.console import plural
from flairprep.core.outcomes import CaseError
from flairprep.dicom import grouping, header, reading
from flairprep.dicom.copies import FEW
from flairprep.dicom.elements import holds, text
from flairprep.dicom.frames import Array, Frame
from flairprep.dicom.header import Header
from flairprep.dicom.padding import data_region
from flairprep.dicom.pixels import Described, check_pixels, describe, frames_of, is_classic
from flairprep.dicom.plain_files import Layout
from flairprep.dicom.reading import undamaged
from flairprep.dicom.stacking import OWN_PLACE, stack
from flairprep.imaging.orientation import plane_of
from flairprep.imaging.template_space import space_of

MAX_VOXELS = 2**27  # of one volume: 512 x 512 x 512
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class SeriesVolume:
    """The volume of a series as acquired, with its columns of cases.csv and what to warn of.

    header: column -> cell. identity: patient, study, frame_of_reference, voxels -> a value that series share only if
    they share that; "" where the header gives none. It never leaves the process in the clear. region: the slices
    (x, y, z) of the image that hold data, () for all.
    """

    image: sitk.Image
    header: dict[str, Any]
    identity: dict[str, str]
    warnings: tuple[tuple[Code, str], ...]
    region: tuple[slice, ...] = ()

    @property
    def data(self) -> sitk.Image:
        """Return the part of the image that padding does not surround."""
        return self.image[self.region] if self.region else self.image


def read_series(paths: Sequence[Path], *, any_modality: bool = False, volume: str | None = None) -> SeriesVolume:
    """Read the one series that `paths` hold, in any order.

    Args:
        paths: of its files.
        any_modality: accept other modalities than MR.
        volume: which of several volumes at the same positions, first or last; None refuses them.

    Returns:
        The image of (columns, rows, slices), LPS and mm: int16 or int32 where rescaling adds whole numbers, else
        float32.

    Raises:
        CaseError: with the code that says why the files are not one volume.
    """
    contents = [header.read_header(path, any_modality=any_modality) for path in paths]
    headers = [one for one in contents if one is not None]
    if not headers:
        raise CaseError(Code.NOT_DICOM, f"none of the {len(contents)} files is DICOM")
    images = [one for one in headers if one.frames] or headers
    if (series := len(grouping.group(images))) > 1:
        raise CaseError(Code.AMBIGUOUS_SERIES, f"{series} series")
    if fault := grouping.set_aside(images).fault:
        raise fault
    read = read_surveyed(headers, volume)
    if skipped := len(contents) - len(headers):
        note = (Code.NOT_DICOM, f"{skipped} of {len(contents)} files are not DICOM, skipped")
        return replace(read, warnings=(note, *read.warnings))
    return read


def read_surveyed(headers: Sequence[Header], volume: str | None = None) -> SeriesVolume:
    """Read a series as `read_series` does, from files whose headers were read before; non-images may be among them."""
    kept, aside, _ = grouping.set_aside(headers)
    notes: list[tuple[Code, str]] = []
    if objects := sum(not one.frames for one in headers):
        notes.append((Code.NO_PIXEL_DATA, f"{plural(objects, 'file')} without an image skipped"))
    contents = [reading.complete(one.path, one.opened) for one in kept]
    datasets = [dataset for dataset in contents if dataset is not None]
    if len(datasets) < len(contents):
        raise CaseError(Code.NOT_DICOM, "a file is no longer DICOM")
    with undamaged():
        described = _described(kept, datasets)
        frames, without_place = _frames(kept, datasets, described)
    if any(one.top is not None for one in described):
        notes.append((Code.INVERTED, "MONOCHROME1: stored values were inverted"))
    try:
        image, interpolated, stack_notes = stack(frames, volume)
    except CaseError as error:
        raise _own_fault(error, aside, kept) from error
    _check_aside(aside, kept, image, interpolated)
    if foreign := len(aside) + without_place:
        notes.append((Code.FOREIGN_IMAGES, f"{plural(foreign, 'image')} skipped: no slices of the volume"))
    voxels = sitk.GetArrayViewFromImage(image)
    notes += check_voxels(voxels)
    with undamaged():
        columns = {**header.columns(datasets[0]), **geometry(image), "interpolated": interpolated}
        identity = _identity(kept, datasets, voxels)
    return SeriesVolume(image, columns, identity, (*notes, *stack_notes), data_region(image, frames))


def _layout(one: Header) -> Layout | None:
    return one.opened.layout if one.opened else None


def _described(kept: Sequence[Header], datasets: Sequence[Dataset]) -> list[Described]:
    """Return what the data sets say of their pixels; refuse, before decoding one, that of images without pixels."""
    described: list[Described] = []
    known: dict[Layout, Described] = {}
    for one, dataset in zip(kept, datasets, strict=True):
        if not holds(dataset, "Columns") or not any(holds(dataset, key) for key in PIXELS):
            raise CaseError(Code.NO_PIXEL_DATA, "a file has no pixel data")
        layout = _layout(one)
        if layout is None:
            described.append(describe(dataset))
        else:
            if layout not in known:
                known[layout] = describe(dataset)
            described.append(known[layout])
        check_pixels(dataset, described[-1])
    if (voxels := sum(math.prod(one.shape) for one in described)) > MAX_VOXELS:
        raise CaseError(Code.TOO_LARGE, f"{voxels / 1e6:.0f} million voxels; {MAX_VOXELS / 1e6:.0f} can be read")
    return described


def _frames(
    kept: Sequence[Header], datasets: Sequence[Dataset], described: Sequence[Described]
) -> tuple[list[Frame], int]:
    """Decode all frames but a few foreign ones: of complex parts, or without a place and of another kind or size.

    Returns:
        The frames, and how many were left out.

    Raises:
        CaseError: see `pixels.frames_of`.
    """
    frames: list[Frame] = []
    placed: list[Header] = []
    unplaced: list[tuple[Header, CaseError]] = []
    known: dict[Layout, Frame] = {}
    for one, dataset, pixels in zip(kept, datasets, described, strict=True):
        layout = _layout(one)
        try:
            decoded = frames_of(dataset, pixels, known.get(layout) if layout else None)
        except CaseError as error:
            if error.code is not Code.NO_GEOMETRY:
                raise
            unplaced.append((one, error))
            continue
        frames += decoded
        placed.append(one)
        if layout and layout not in known and is_classic(dataset):
            known[layout] = decoded[0]
    kinds = {(one.size, one.image_type) for one in placed}
    for one, refusal in unplaced:
        if not placed or len(unplaced) * FEW > len(placed) or (one.size, one.image_type) in kinds:
            raise refusal
    magnitude = [frame for frame in frames if not frame.image_type & header.PARTS] or frames
    return magnitude, len(frames) - len(magnitude) + len(unplaced)


def _own_fault(error: CaseError, aside: Sequence[Header], kept: Sequence[Header]) -> CaseError:
    """Return the fault of an image that was set aside and may be the slice that is missing; else the error itself."""
    if error.code in (Code.MISSING_SLICES, Code.UNEVEN_SPACING):
        for one in aside:
            if one.size == kept[0].size and one.fault:
                return one.fault
    return error


def _check_aside(aside: Sequence[Header], kept: Sequence[Header], image: sitk.Image, interpolated: int) -> None:
    """Refuse where an image that was set aside lies at a place of the volume that no other one takes.

    Raises:
        CaseError: the fault of that image.
    """
    taken = {_place(one, image) for one in kept if one.frames == 1}
    whole = range(0) if interpolated else range(image.GetDepth())
    for one in aside:
        place = _place(one, image)
        if one.fault and place is not None and place not in taken and place not in whole:
            raise one.fault


def _place(one: Header, image: sitk.Image) -> int | None:
    """Return the index of the slice at a header's position, from -1 to the slices' number; None beside the volume."""
    if not one.position:
        return None
    x, y, z = image.TransformPhysicalPointToContinuousIndex(one.position)
    columns, rows, _ = image.GetSpacing()
    beside = max(abs(x) * columns, abs(y) * rows) > OWN_PLACE
    index = round(z)
    return None if beside or abs(z - index) > 0.2 or not -1 <= index <= image.GetDepth() else index


def check_voxels(voxels: Array) -> list[tuple[Code, str]]:
    """Return the warning of voxels (z, y, x) where slices between others hold one value only.

    Raises:
        CaseError: BLANK_VOLUME.
    """
    slices = voxels.reshape(len(voxels), -1)
    low, high = slices.min(axis=1), slices.max(axis=1)
    if low.min() == high.max():
        raise CaseError(Code.BLANK_VOLUME, f"all {voxels.size} voxels are {low[0]:g}")
    blank = low == high
    filled = np.flatnonzero(~blank)
    count = int(blank[filled[0] : filled[-1]].sum()) if len(filled) else 0
    return [(Code.BLANK_SLICES, f"{count} slices between others hold one value only")] if count else []


def geometry(image: sitk.Image) -> dict[str, Any]:
    """Return the columns of cases.csv that come from the grid: plane, size, spacing in mm, space of an atlas."""
    columns, rows, slices = image.GetSize()
    spacing = image.GetSpacing()
    return {
        "plane": plane_of(image.GetDirection()[2::3]),
        "rows": rows,
        "columns": columns,
        "slices": slices,
        **{f"spacing_{axis}": f"{value:.6g}" for axis, value in zip("xyz", spacing, strict=True)},
        "space": space_of(image),
    }


def _identity(kept: Sequence[Header], datasets: Sequence[Dataset], voxels: Array) -> dict[str, str]:
    """Return what the files agree on; "" where they do not."""

    def agreed(values: set[str]) -> str:
        return values.pop() if len(values) == 1 else ""

    own = {_layout(one) or index: dataset for index, (one, dataset) in enumerate(zip(kept, datasets, strict=True))}
    return {
        "patient": agreed({one.patient for one in kept}),
        "study": agreed({one.study for one in kept}),
        "frame_of_reference": agreed({text(dataset, "FrameOfReferenceUID") for dataset in own.values()}),
        "voxels": digest_of(voxels),
    }


def digest_of(voxels: Array) -> str:
    """Return what volumes share only if they share their shape and every voxel.

    Two checksums of 32 bits per slice: a tenth of the time of SHA-256 of all voxels, and volumes of equal shape that
    differ share both by a chance of 2^-64.
    """
    digest = hashlib.sha256(repr((voxels.shape, voxels.dtype.str)).encode())
    for plane in np.ascontiguousarray(voxels):
        digest.update(struct.pack("<2L", google_crc32c.value(plane.tobytes()), zlib_ng.crc32(plane)))
    return digest.hexdigest()
