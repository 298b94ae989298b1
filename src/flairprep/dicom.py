"""From DICOM files to one volume with its geometry, or to the reason why not.

Positions and directions are DICOM's: millimetres in LPS. Image Position and Orientation (Patient), PS3.3 C.7.6.2.1;
functional groups of enhanced files, PS3.3 C.7.6.16; Modality LUT, PS3.3 C.11.1.
"""

import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from flairprep.cases import CaseError, Code

Array = npt.NDArray[Any]

ORIENTATION_TOLERANCE = 1e-3  # largest difference of a direction cosine between two slices of a volume
TILT_TOLERANCE = 1.0  # mm that a slice may lie beside the line along the normal through the first one
SAME_POSITION = 0.01  # mm along the normal; closer slices lie at one position
STEP_TOLERANCE = 0.05  # of the median step; within it steps count as equal
MAX_GAP = 6.0  # mm between the neighbours of a missing slice that may be interpolated
MAX_INTERPOLATED = 0.02  # of the slices
OBLIQUE = 35.0  # degrees between the slice normal and the nearest axis, above which no plane is named

MANUFACTURERS = {  # the start of the header's text, lower case -> the name that leaves the raw folder
    "siemens": "siemens",
    "philips": "philips",
    "ge ": "ge",
    "ge_": "ge",
    "general electric": "ge",
    "toshiba": "canon",
    "canon": "canon",
    "hitachi": "hitachi",
    "fujifilm": "hitachi",
    "hyperfine": "hyperfine",
    "united imaging": "united imaging",
    "uih": "united imaging",
}


@dataclass(frozen=True)
class Frame:
    """One slice: stored values (rows, columns) and what places them.

    position: the centre of the first voxel, mm LPS. orientation: the directions of increasing column and row index
    (6 cosines). spacing: between rows, between columns, mm. values = stored * slope + intercept.
    """

    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    slope: float
    intercept: float
    stored: Array


@dataclass(frozen=True)
class Series:
    """A volume as acquired, what its headers say of it (columns of cases.csv), and what to warn of.

    identity: patient, study, frame_of_reference, voxels -> a value that is equal where they are the same, "" where
    the header does not say. It never leaves the process in the clear.
    """

    image: sitk.Image
    header: dict[str, Any]
    identity: dict[str, str]
    warnings: tuple[tuple[Code, str], ...]


def read_series(paths: Sequence[Path]) -> Series:
    """The one series that `paths` hold, in any order.

    Returns:
        A `Series`: image of (columns, rows, slices), int16 or int32 where rescaling adds whole numbers, else float32.

    Raises:
        CaseError: with the code that says why the files are not one volume.
    """
    datasets = [dataset for path in paths if (dataset := _read(path)) is not None]
    notes: list[tuple[Code, str]] = []
    if not datasets:
        raise CaseError(Code.NOT_DICOM, f"none of the {len(paths)} files is DICOM")
    if len(datasets) < len(paths):
        notes.append((Code.NOT_DICOM, f"{len(paths) - len(datasets)} of {len(paths)} files are not DICOM, passed over"))
    with _undamaged():
        _check_kind(datasets)
        frames = [frame for dataset in datasets for frame in _frames(dataset)]
    if any(dataset.PhotometricInterpretation == "MONOCHROME1" for dataset in datasets):
        notes.append((Code.INVERTED, "MONOCHROME1: stored values were inverted"))
    image, interpolated, stacking = stack(frames)
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.min() == voxels.max():
        raise CaseError(Code.BLANK_VOLUME, f"all {voxels.size} voxels are {voxels.min():g}")
    with _undamaged():
        header = {**_header(datasets[0]), **_geometry(image), "interpolated": interpolated}
        identity = _identity(datasets[0], voxels)
    return Series(image, header, identity, (*notes, *stacking))


def stack(frames: Sequence[Frame]) -> tuple[sitk.Image, int, list[tuple[Code, str]]]:
    """Frames in any order as one volume, sorted along the slice normal.

    Exact duplicates are dropped. A missing slice is interpolated where it is a single interior one, its neighbours lie
    at most MAX_GAP apart and at most MAX_INTERPOLATED of the slices are missing.

    Returns:
        The image (spacing along the normal is (last - first) / (n - 1)), the number of interpolated slices, and
        warnings (code, text).

    Raises:
        CaseError: MIXED_SIZE, MIXED_ORIENTATION, MULTIPLE_VOLUMES, GANTRY_TILT, MISSING_SLICES, UNEVEN_SPACING.
    """
    _check_one_grid(frames)
    normal = _directions(frames[0])[2]
    frames = sorted(frames, key=lambda frame: float(np.dot(frame.position, normal)))
    row, column, normal = _directions(frames[0])
    frames, notes = _drop_duplicates(frames, normal)
    positions = np.array([frame.position for frame in frames])
    along = positions @ normal
    beside = np.linalg.norm((positions - positions[0]) - np.outer(along - along[0], normal), axis=1).max()
    if beside > TILT_TOLERANCE:
        raise CaseError(Code.GANTRY_TILT, f"slices lie up to {beside:.2f} mm beside the slice normal")
    missing = _missing(along)
    volume = _rescaled(frames)
    if missing:
        for index in reversed(missing):  # a slice is missing behind each of these
            between = (volume[index].astype(np.float64) + volume[index + 1]) / 2
            if np.issubdtype(volume.dtype, np.integer):
                between = np.rint(between)
            volume = np.insert(volume, index + 1, between.astype(volume.dtype), axis=0)
        notes.append((Code.MISSING_SLICES, f"{len(missing)} single missing slices interpolated"))
    slices = len(volume)
    step = (along[-1] - along[0]) / (slices - 1) if slices > 1 else 1.0
    rows, columns = frames[0].spacing
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((columns, rows, float(step)))
    image.SetOrigin(frames[0].position)
    image.SetDirection(np.column_stack([row, column, normal]).ravel().tolist())
    return image, len(missing), notes


def _directions(frame: Frame) -> Array:
    """The directions of increasing column and row index, and the unit normal."""
    row, column = np.array(frame.orientation).reshape(2, 3)
    normal = np.cross(row, column)
    return np.array([row, column, normal / np.linalg.norm(normal)])


def plane_of(normal: Sequence[float]) -> str:
    """axial | coronal | sagittal, or oblique where the slice normal (LPS) is over 35 degrees off its nearest axis."""
    share = np.abs(np.asarray(normal, float)) / np.linalg.norm(normal)
    axis = int(share.argmax())
    off = np.degrees(np.arccos(min(1.0, float(share[axis]))))
    return "oblique" if off > OBLIQUE else ("sagittal", "coronal", "axial")[axis]


def age_band(age: str) -> str:
    """A DICOM Age String ("063Y") as a 10-year band ("60-69"; "90+" from 90 on), "" where there is none."""
    if not re.fullmatch("[0-9]{3}[YMWD]", age):
        return ""
    years = int(int(age[:3]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[age[3]])
    return "90+" if years >= 90 else f"{years // 10 * 10}-{years // 10 * 10 + 9}"


@contextmanager
def _undamaged() -> Iterator[None]:
    """Makes a CaseError of what a damaged file raises, when it is read or when an element is first asked for."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom quotes values, which may identify a patient
            yield
    except CaseError:
        raise
    except Exception as error:  # it can be anything, a RecursionError included; the case gets the kind, never the text
        raise CaseError(Code.DECODE_FAILED, f"a file is damaged ({type(error).__name__})") from error


def _read(path: Path) -> Dataset | None:
    with _undamaged():
        try:
            dataset = pydicom.dcmread(path)
        except (InvalidDicomError, EOFError):
            return None
    return None if "DirectoryRecordSequence" in dataset else dataset


def _check_kind(datasets: Sequence[Dataset]) -> None:
    series = {str(dataset.get("SeriesInstanceUID", "")) for dataset in datasets}
    if len(series) > 1:
        raise CaseError(Code.AMBIGUOUS_SERIES, f"{len(series)} series lie in one folder")
    for dataset in datasets:
        if (modality := dataset.get("Modality", "")) != "MR":
            raise CaseError(Code.NOT_MR, f"modality {str(modality)[:2] or 'not given'}")
        if "Rows" not in dataset or not {"PixelData", "FloatPixelData", "DoubleFloatPixelData"} & set(dataset.dir()):
            raise CaseError(Code.NO_PIXEL_DATA, "a file has no pixel data")
        if dataset.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
            raise CaseError(Code.NOT_GRAYSCALE, "the pixels are not gray values")
        if "MOSAIC" in (dataset.get("ImageType") or ()):
            raise CaseError(Code.MOSAIC, "a Siemens mosaic: the slices lie side by side in one image")


def _pixels(dataset: Dataset) -> Array:
    """Stored values (frames, rows, columns), inverted where MONOCHROME1 says that high is dark."""
    try:
        stored: Array = dataset.pixel_array
    except Exception as error:  # a decoder can raise anything; the case gets the kind, never the text
        raise CaseError(Code.DECODE_FAILED, f"the pixels cannot be decoded ({type(error).__name__})") from error
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        top = -1 if dataset.PixelRepresentation else 2**dataset.BitsStored - 1
        stored = (top - stored.astype(np.int64)).astype(stored.dtype)
    return stored.reshape(-1, dataset.Rows, dataset.Columns)


def _frames(dataset: Dataset) -> list[Frame]:
    stored = _pixels(dataset)
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or [Dataset()] * len(stored)
    if len(groups) != len(stored):
        raise CaseError(Code.NO_GEOMETRY, f"{len(stored)} frames but {len(groups)} descriptions of frames")
    return [_frame(pixels, (group, shared, dataset)) for pixels, group in zip(stored, groups, strict=True)]


def _frame(pixels: Array, levels: tuple[Dataset, ...]) -> Frame:
    position = _numbers(levels, "PlanePositionSequence", "ImagePositionPatient", 3)
    orientation = _numbers(levels, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = _numbers(levels, "PixelMeasuresSequence", "PixelSpacing", 2)
    row, column = np.array(orientation).reshape(2, 3)
    if abs(np.linalg.norm(row) - 1) > 0.01 or abs(np.linalg.norm(column) - 1) > 0.01 or abs(row @ column) > 0.01:
        raise CaseError(Code.NO_GEOMETRY, "the directions of rows and columns are not perpendicular unit vectors")
    if min(spacing) <= 0:
        raise CaseError(Code.NO_GEOMETRY, f"pixel spacing {spacing[0]:g} x {spacing[1]:g} mm")
    slope = _number(levels, "PixelValueTransformationSequence", "RescaleSlope", 1.0)
    intercept = _number(levels, "PixelValueTransformationSequence", "RescaleIntercept", 0.0)
    return Frame(position, orientation, spacing, slope, intercept, pixels)


def _first(dataset: Dataset, keyword: str) -> Dataset:
    sequence = dataset.get(keyword)
    return sequence[0] if sequence else Dataset()


def _find(levels: tuple[Dataset, ...], sequence: str, keyword: str) -> Any:
    """The value from the frame's own group, else the shared one, else the top of the file."""
    for level in levels:
        for holder in (_first(level, sequence), level):
            if (value := holder.get(keyword)) is not None:
                return value
    return None


def _numbers(levels: tuple[Dataset, ...], sequence: str, keyword: str, count: int) -> tuple[float, ...]:
    try:
        values = tuple(float(value) for value in _find(levels, sequence, keyword) or ())
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not np.isfinite(values).all():
        raise CaseError(Code.NO_GEOMETRY, f"{keyword} is missing or not {count} numbers")
    return values


def _number(levels: tuple[Dataset, ...], sequence: str, keyword: str, default: float) -> float:
    value = _find(levels, sequence, keyword)
    try:
        number = default if value is None else float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise CaseError(Code.DECODE_FAILED, f"{keyword} is not a number")
    return number


def _check_one_grid(frames: Sequence[Frame]) -> None:
    first = frames[0]
    shapes = {frame.stored.shape for frame in frames}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{rows}x{columns}" for rows, columns in shapes))
        raise CaseError(Code.MIXED_SIZE, f"slices of {sizes} in one series")
    spacings = np.array([frame.spacing for frame in frames])
    if not np.allclose(spacings, first.spacing, rtol=1e-3, atol=0):
        raise CaseError(Code.MIXED_SIZE, f"pixel spacings from {spacings.min():g} to {spacings.max():g} mm")
    orientations = np.array([frame.orientation for frame in frames])
    if np.abs(orientations - orientations[0]).max() > ORIENTATION_TOLERANCE:
        raise CaseError(Code.MIXED_ORIENTATION, "the slices do not all have the same orientation")


def _drop_duplicates(frames: list[Frame], normal: Array) -> tuple[list[Frame], list[tuple[Code, str]]]:
    kept = frames[:1]
    for frame in frames[1:]:
        last = kept[-1]
        if np.dot(np.subtract(frame.position, last.position), normal) > SAME_POSITION:
            kept.append(frame)
        elif (frame.slope, frame.intercept) != (last.slope, last.intercept) or (frame.stored != last.stored).any():
            raise CaseError(Code.MULTIPLE_VOLUMES, "different images at the same position")
    dropped = len(frames) - len(kept)
    return kept, [(Code.DUPLICATE_SLICES, f"{dropped} exact copies of slices dropped")] if dropped else []


def _missing(along: Array) -> list[int]:
    """The indices behind which one slice is missing that may be interpolated; `along`: sorted positions in mm."""
    steps = np.diff(along)
    if not len(steps):
        return []
    step = float(np.median(steps))
    multiples = np.rint(steps / step)
    off = np.abs(steps - multiples * step)
    if (multiples < 1).any() or (off > STEP_TOLERANCE * step).any():
        raise CaseError(Code.UNEVEN_SPACING, f"steps between slices from {steps.min():.3f} to {steps.max():.3f} mm")
    gaps = np.flatnonzero(multiples > 1)
    absent = int((multiples - 1).sum())
    total = len(along) + absent
    if len(gaps) and (multiples.max() > 2 or absent > MAX_INTERPOLATED * total or steps[gaps].max() > MAX_GAP):
        raise CaseError(Code.MISSING_SLICES, f"{absent} of {total} slices missing between the first and the last")
    return gaps.tolist()


def _rescaled(frames: Sequence[Frame]) -> Array:
    """Stored values to output units, slice by slice: (slices, rows, columns)."""
    whole = all(frame.slope == 1 and frame.intercept == int(frame.intercept) for frame in frames)
    if whole and all(np.issubdtype(frame.stored.dtype, np.integer) for frame in frames):
        volume = np.stack([frame.stored.astype(np.int64) + int(frame.intercept) for frame in frames])
        for dtype in (np.int16, np.int32):
            if np.iinfo(dtype).min <= volume.min() and volume.max() <= np.iinfo(dtype).max:
                return volume.astype(dtype)
    scaled = [frame.stored.astype(np.float64) * frame.slope + frame.intercept for frame in frames]
    volume = np.stack([values.astype(np.float32) for values in scaled])
    if not np.isfinite(volume).all():
        raise CaseError(Code.DECODE_FAILED, "some values are not finite numbers")
    return volume


def _geometry(image: sitk.Image) -> dict[str, Any]:
    columns, rows, slices = image.GetSize()
    spacing = image.GetSpacing()
    return {
        "plane": plane_of(image.GetDirection()[2::3]),
        "rows": rows,
        "columns": columns,
        "slices": slices,
        **{f"spacing_{axis}": f"{value:.6g}" for axis, value in zip("xyz", spacing, strict=True)},
    }


def _header(dataset: Dataset) -> dict[str, Any]:
    """The columns of cases.csv that a header fills: numbers and words from closed lists, no free text."""
    text = str(dataset.get("Manufacturer", "")).lower()
    known = [name for start, name in MANUFACTURERS.items() if f"{text} ".startswith(start)]
    sex = str(dataset.get("PatientSex", ""))
    acquisition = str(dataset.get("MRAcquisitionType", ""))
    groups = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
    levels = (*(_first(dataset, group) for group in groups), dataset)

    def number(sequence: str, *keywords: str) -> str:
        for keyword in keywords:
            value = _find(levels, sequence, keyword)
            try:
                return f"{float(value):g}" if np.isfinite(float(value)) else ""
            except (TypeError, ValueError):
                continue
        return ""

    return {
        "manufacturer": known[0] if known else "other",
        "field_strength": number("", "MagneticFieldStrength"),
        "echo_time": number("MREchoSequence", "EchoTime", "EffectiveEchoTime"),
        "repetition_time": number("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        "inversion_time": number("MRModifierSequence", "InversionTime", "InversionTimes"),
        "acquisition_type": acquisition if acquisition in ("2D", "3D") else "",
        "contrast_agent": "yes" if dataset.get("ContrastBolusAgent") else "no",
        "sex": sex if sex in ("M", "F", "O") else "",
        "age_band": age_band(str(dataset.get("PatientAge", ""))),
    }


def _identity(dataset: Dataset, voxels: Array) -> dict[str, str]:
    return {
        "patient": str(dataset.get("PatientID", "")),
        "study": str(dataset.get("StudyInstanceUID", "")),
        "frame_of_reference": str(dataset.get("FrameOfReferenceUID", "")),
        "voxels": hashlib.sha256(repr(voxels.shape).encode() + np.ascontiguousarray(voxels).tobytes()).hexdigest(),
    }
