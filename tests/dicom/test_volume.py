"""DICOM to a volume: slices whose truth the tests know."""

import pickle
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import elements, reading
from flairprep.dicom import header as headers
from flairprep.dicom.header import age_band
from flairprep.dicom.stacking import Frame, stack
from flairprep.dicom.volume import read_series, read_surveyed
from flairprep.imaging import nifti
from flairprep.imaging.orientation import plane_of

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def voxels(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image)


def assert_equal(one: sitk.Image, other: sitk.Image) -> None:
    assert one.GetPixelIDTypeAsString() == other.GetPixelIDTypeAsString()
    np.testing.assert_array_equal(voxels(one), voxels(other))
    assert one.GetSpacing() == pytest.approx(other.GetSpacing())
    assert one.GetOrigin() == pytest.approx(other.GetOrigin())
    assert one.GetDirection() == pytest.approx(other.GetDirection())


def random(shape: tuple[int, ...] = (10, 4, 5), dtype: Any = np.int16, low: int = -99, high: int = 999) -> np.ndarray:
    return np.random.default_rng(1).integers(low, high, shape).astype(dtype)


def frames(
    stored: np.ndarray,
    along: Sequence[float] | None = None,
    *,
    orientation: Sequence[float] = phantoms.PLANES["axial"],
    spacing: tuple[float, float] = (1.0, 1.0),
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> list[Frame]:
    """Frames at `along` mm (default 0, 1, 2 ...) of the normal, spacing between rows and between columns."""
    normal = np.cross(orientation[:3], orientation[3:])
    positions = [np.array(origin) + distance * normal for distance in (along or range(len(stored)))]
    return [
        Frame(tuple(position), tuple(map(float, orientation)), spacing, 1.0, 0.0, pixels)
        for position, pixels in zip(positions, stored, strict=True)
    ]


def refused(call: Callable[..., Any], *arguments: Any) -> CaseError:
    with pytest.raises(CaseError) as caught:
        call(*arguments)
    return caught.value


# Frames to a volume


def test_voxel_lies_where_its_frame_says() -> None:
    stored = random((6, 4, 5))
    made = frames(stored, [2.5 * i for i in range(6)], orientation=OBLIQUE, spacing=(0.7, 0.4), origin=(-30, 12, 7))
    image, _, _ = stack(made)
    assert image.GetSpacing() == pytest.approx((0.4, 0.7, 2.5))  # between columns is x, between rows is y
    for frame, pixels in zip(made, stored, strict=True):
        for row, column in product(range(4), range(5)):
            step = 0.4 * column * np.array(OBLIQUE[:3]) + 0.7 * row * np.array(OBLIQUE[3:])
            index = image.TransformPhysicalPointToIndex(np.array(frame.position) + step)
            assert image.GetPixel(index) == pixels[row, column]


def test_order_of_frames_is_irrelevant() -> None:
    made = frames(random(), orientation=OBLIQUE)
    made[3] = replace(made[3], orientation=(0.8003, 0.5996, 0.0, 0.0, 0.0, -1.0))  # within the tolerance
    expected, _, _ = stack(made)
    for order in (made[::-1], [made[i] for i in np.random.default_rng(0).permutation(10)]):
        image, _, _ = stack(order)
        assert_equal(image, expected)
        assert image.GetDirection() == expected.GetDirection()


def test_each_slice_is_rescaled_by_its_own_numbers() -> None:
    stored = random((3, 4, 5))
    numbers = [(0.5, -3.0), (2.0, 0.25), (1.0, 0.0)]  # binary fractions: exact in float32
    made = [replace(frame, slope=a, intercept=b) for frame, (a, b) in zip(frames(stored), numbers, strict=True)]
    image, _, _ = stack(made)
    assert image.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(voxels(image), [stored[i] * a + b for i, (a, b) in enumerate(numbers)])


@pytest.mark.parametrize(
    ("value", "dtype", "slope", "intercept", "kind"),
    [
        (32767, np.uint16, 1, 0, sitk.sitkInt16),
        (32768, np.uint16, 1, 0, sitk.sitkInt32),
        (65535, np.uint16, 1, -32768, sitk.sitkInt16),
        (-32768, np.int16, 1, -1, sitk.sitkInt32),
        (2**31, np.uint32, 1, -1, sitk.sitkInt32),
        (2**31, np.uint32, 1, 0, sitk.sitkFloat32),
        (7, np.uint16, 1, 0.5, sitk.sitkFloat32),
        (7, np.uint16, 0.5, 0, sitk.sitkFloat32),
        (7, np.float32, 1, 0, sitk.sitkFloat32),
    ],
)
def test_smallest_type_that_holds_the_rescaled_values(
    value: int, dtype: Any, slope: float, intercept: float, kind: int
) -> None:
    stored = np.full((2, 2, 2), value, dtype)
    image, _, _ = stack([replace(frame, slope=slope, intercept=intercept) for frame in frames(stored)])
    assert image.GetPixelID() == kind
    assert image.GetPixel(0, 0, 0) == value * slope + intercept


def test_exact_copy_is_dropped_with_a_warning() -> None:
    made = frames(random())
    image, _, notes = stack([*made, made[4], made[0]])
    assert_equal(image, stack(made)[0])
    assert [code for code, _ in notes] == [Code.DUPLICATE_SLICES]
    assert notes[0][1].startswith("2 ")


@pytest.mark.parametrize("changed", [{"stored": random((1, 4, 5))[0] + 1}, {"slope": 2.0}, {"intercept": 1.0}])
def test_other_image_at_the_same_position_is_refused(changed: dict[str, Any]) -> None:
    made = frames(random())
    assert refused(stack, [*made, replace(made[4], **changed)]).code is Code.MULTIPLE_VOLUMES


def absent(total: int, *gone: int, step: float = 1.0) -> list[float]:
    """The positions of `total` slices without those at the indices `gone`."""
    return [step * index for index in range(total) if index not in gone]


@pytest.mark.parametrize(
    ("along", "missing"),
    [
        (absent(60, 30), [30]),
        (absent(50, 1), [1]),  # exactly 2 % of the slices
        (absent(60, 30, step=3.0), [30]),  # exactly 6 mm between the neighbours
        (absent(120, 30, 90), [30, 90]),
        (absent(120, 30, 32), [30, 32]),  # not adjacent: each has both neighbours
        (absent(60, 0), []),  # an outer slice cannot be missed
        (absent(60, 59), []),
    ],
)
def test_single_missing_slices_become_the_mean_of_their_neighbours(along: list[float], missing: list[int]) -> None:
    step = min(np.diff(along))
    truth = random((len(along) + len(missing), 4, 5), np.float32)
    for index in missing:
        truth[index] = (truth[index - 1] + truth[index + 1]) / 2
    image, count, notes = stack(frames(np.delete(truth, missing, axis=0), along))
    assert count == len(missing)
    assert [code for code, _ in notes] == [Code.MISSING_SLICES] * bool(missing)
    np.testing.assert_array_equal(voxels(image), truth)
    assert image.GetSpacing()[2] == pytest.approx(step)


def test_interpolated_slice_of_whole_numbers_is_whole() -> None:
    stored = np.zeros((59, 2, 2), np.int16)
    stored[30:] = [[1, 3], [-3, 2]]
    image, _, _ = stack(frames(stored, absent(60, 30)))
    assert image.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(voxels(image)[30], [[0, 2], [-2, 1]])  # halves to the even number


@pytest.mark.parametrize(
    ("along", "code"),
    [
        (absent(120, 30, 31), Code.MISSING_SLICES),  # two adjacent ones
        (absent(60, 20, 40), Code.MISSING_SLICES),  # over 2 % of the slices
        (absent(49, 20), Code.MISSING_SLICES),
        (absent(60, 30, step=3.1), Code.MISSING_SLICES),  # over 6 mm between the neighbours
        ([*range(30), *np.arange(30.2, 60)], Code.UNEVEN_SPACING),
        ([0.0, 1.0, 2.0, 3.5], Code.UNEVEN_SPACING),
        ([0.0, 1.0, 1.3, 2.0, 3.0], Code.UNEVEN_SPACING),
    ],
)
def test_uneven_or_missing_slices_are_refused(along: list[float], code: Code) -> None:
    assert refused(stack, frames(random((len(along), 2, 2)), along)).code is code


def test_steps_within_five_percent_are_averaged() -> None:
    along = [0.0, 1.0, 2.04, 3.0, 4.02]
    assert stack(frames(random((5, 2, 2)), along))[0].GetSpacing()[2] == pytest.approx(4.02 / 4)


@pytest.mark.parametrize(("shift", "tilted"), [(0.9, False), (1.1, True)])
def test_slices_beside_their_normal_are_a_gantry_tilt(shift: float, tilted: bool) -> None:
    made = [
        replace(frame, position=(0.0, shift * index / 9, frame.position[2]))
        for index, frame in enumerate(frames(random()))
    ]
    if tilted:
        assert refused(stack, made).code is Code.GANTRY_TILT
    else:
        stack(made)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"orientation": (1.0, 0.0, 0.0, 0.0, np.cos(0.02), np.sin(0.02))}, Code.MIXED_ORIENTATION),
        ({"stored": random((1, 5, 4))[0]}, Code.MIXED_SIZE),
        ({"spacing": (1.0, 1.01)}, Code.MIXED_SIZE),
    ],
)
def test_frames_of_two_grids_are_refused(changed: dict[str, Any], code: Code) -> None:
    made = frames(random())
    made[4] = replace(made[4], **changed)
    assert refused(stack, made).code is code


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [0, 34, 36])
@pytest.mark.parametrize("sign", [1, -1])
def test_plane_is_that_of_the_nearest_axis_up_to_35_degrees(axis: int, degrees: float, sign: int) -> None:
    normal = np.zeros(3)
    normal[axis], normal[axis - 1] = sign * np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    assert plane_of(normal) == ("oblique" if degrees > 35 else ("sagittal", "coronal", "axial")[axis])


# Files to a series


def saved(folder: Path, stored: np.ndarray | None = None, **elements: Any) -> list[Path]:
    return phantoms.save(phantoms.slices(random() if stored is None else stored, **elements), folder)


def patched(path: Path, old: bytes, new: bytes) -> None:
    """Other bytes in a file, which pydicom would refuse to write."""
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new.ljust(len(old))))


@pytest.mark.parametrize("plane", phantoms.PLANES)
def test_series_of_files_in_any_order_is_one_volume(plane: str, tmp_path: Path) -> None:
    stored = random()
    paths = saved(tmp_path, stored, orientation=phantoms.PLANES[plane], spacing=(3.0, 0.7, 0.4), origin=(-9, 8, 7))
    series, backwards = read_series(paths), read_series(paths[::-1])
    np.testing.assert_array_equal(voxels(series.image), stored)
    assert series.image.GetOrigin() == (-9, 8, 7)
    assert_equal(series.image, backwards.image)
    assert (series.header, series.identity, series.warnings) == (backwards.header, backwards.identity, ())
    shape = {"plane": plane, "rows": 4, "columns": 5, "slices": 10, "interpolated": 0}
    spacing = {"spacing_x": "0.4", "spacing_y": "0.7", "spacing_z": "3"}
    assert series.header.items() >= (shape | spacing).items()


def test_spacing_comes_from_positions_and_not_from_what_the_header_claims(tmp_path: Path) -> None:
    paths = saved(tmp_path, spacing=(2.5, 1, 1), SliceThickness=9.0, SpacingBetweenSlices=7.5)
    assert read_series(paths).image.GetSpacing()[2] == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("dtype", "low", "high", "inverted"),
    [(np.uint16, 0, 4096, lambda x: 4095 - x), (np.int16, -2048, 2048, lambda x: -1 - x)],
)
def test_monochrome1_of_12_bits_is_inverted_before_rescaling(
    dtype: Any, low: int, high: int, inverted: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    stored = random((3, 4, 5), dtype, low, high)
    stored[0, 0, :2] = low, high - 1
    bits = {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"}
    paths = saved(tmp_path, stored, **bits, RescaleSlope=0.5, RescaleIntercept=10.0)
    series = read_series(paths)
    np.testing.assert_array_equal(voxels(series.image), inverted(stored.astype(np.int64)) * 0.5 + 10)
    assert [code for code, _ in series.warnings] == [Code.INVERTED]


def test_file_that_is_not_dicom_is_passed_over_with_a_warning(tmp_path: Path) -> None:
    paths = saved(tmp_path)
    index = Path(get_testdata_file("DICOMDIR", download=False)).read_bytes()
    for name, content in (("notes.txt", b"text"), ("empty", b""), ("DICOMDIR", index)):
        (tmp_path / name).write_bytes(content)
    series = read_series([*paths, *(tmp_path / name for name in ("notes.txt", "empty", "DICOMDIR"))])
    assert series.warnings == ((Code.NOT_DICOM, "3 of 13 files are not DICOM, skipped"),)
    assert series.image.GetSize() == (5, 4, 10)
    assert refused(read_series, [tmp_path / "notes.txt"]).code is Code.NOT_DICOM


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"SeriesInstanceUID": [f"1.{i // 5 + 1}" for i in range(10)]}, Code.AMBIGUOUS_SERIES),
        ({"Modality": "CT"}, Code.NOT_MR),
        ({"Modality": None}, Code.NOT_MR),
        ({"PhotometricInterpretation": "RGB"}, Code.NOT_GRAYSCALE),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, Code.MOSAIC),
        ({"Rows": 60000, "Columns": 60000}, Code.TOO_LARGE),  # gigabytes, by a file of 1 kB
        ({"Rows": 20000, "Columns": 20000}, Code.DECODE_FAILED),
        ({"BitsAllocated": 12}, Code.DECODE_FAILED),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.5, 0]}, Code.NO_GEOMETRY),
        ({"ImageOrientationPatient": [1, 0, 0, 0.6, 0.8, 0]}, Code.NO_GEOMETRY),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, Code.NO_GEOMETRY),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, Code.NO_GEOMETRY),
        ({"ImagePositionPatient": None}, Code.NO_GEOMETRY),
        ({"PixelSpacing": [1.0, 0.0]}, Code.NO_GEOMETRY),
        ({"PixelSpacing": 1.0}, Code.NO_GEOMETRY),
    ],
)
def test_series_that_is_no_volume_is_refused(elements: dict[str, Any], code: Code, tmp_path: Path) -> None:
    assert refused(read_series, saved(tmp_path, **elements)).code is code


@pytest.mark.parametrize(
    ("keyword", "code"),
    [
        ("Modality", Code.NOT_MR),
        ("Rows", Code.NO_PIXEL_DATA),
        ("PixelData", Code.NO_PIXEL_DATA),
        ("PhotometricInterpretation", Code.NOT_GRAYSCALE),
        ("ImagePositionPatient", Code.NO_GEOMETRY),
        ("ImageOrientationPatient", Code.NO_GEOMETRY),
        ("PixelSpacing", Code.NO_GEOMETRY),
    ],
)
def test_one_slice_without_what_a_volume_needs_stops_the_case(keyword: str, code: Code, tmp_path: Path) -> None:
    series = phantoms.slices(random())
    delattr(series[4], keyword)
    assert refused(read_series, phantoms.save(series, tmp_path)).code is code


@pytest.mark.parametrize("text", [b"nan\\1.125", b"1.125\\inf", b"CANARY", b"1.25", b"1\\2\\3"])
def test_malformed_spacing_is_no_geometry_and_is_not_quoted(
    text: bytes, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = saved(tmp_path, spacing=(1, 1.125, 1.125))[0]
    patched(path, b"1.125\\1.125", text)
    error = refused(read_series, sorted(tmp_path.iterdir()))
    assert error.code is Code.NO_GEOMETRY
    assert "CANARY" not in error.message
    assert not recwarn.list


@pytest.mark.parametrize("text", [b"nan", b"CANARY"])
def test_malformed_rescale_is_refused(text: bytes, tmp_path: Path) -> None:
    path = saved(tmp_path, RescaleSlope=1.0625, RescaleIntercept=0)[0]
    patched(path, b"1.0625", text)
    assert refused(read_series, sorted(tmp_path.iterdir())).code is Code.DECODE_FAILED


def test_blank_volume_is_refused(tmp_path: Path) -> None:
    assert refused(read_series, saved(tmp_path, np.full((10, 4, 5), 3, np.int16))).code is Code.BLANK_VOLUME


def damaged_files() -> dict[str, bytes]:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return {
        "nested sequences": (struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"SQ", 0, 0xFFFFFFFF) + item) * 3000,
        "unknown kind of value": struct.pack("<HH2sH", 0x7FE1, 0x1010, b"\x8e\x44", 2) + b"ab",
        "length beyond the end": struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 2**31) + b"ab",
    }


@pytest.mark.parametrize("damage", damaged_files())
def test_damage_behind_the_pixels_stops_no_more_than_the_case(damage: str, tmp_path: Path) -> None:
    paths = saved(tmp_path)
    paths[3].write_bytes(paths[3].read_bytes() + damaged_files()[damage])
    try:
        assert read_series(paths).image.GetSize() == (5, 4, 10)
    except CaseError as error:
        assert error.code is Code.DECODE_FAILED  # noqa: PT017


KINDS = [
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "DT",
    "FD",
    "FL",
    "IS",
    "LO",
    "LT",
    "PN",
    "SH",
    "SL",
    "SS",
    "ST",
    "TM",
    "UL",
    "US",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, UID("1.2.3.4")], ids=str)
def test_transfer_syntax_of_another_kind_is_taken_as_it_reads_or_fails_the_case(
    kind: str, syntax: UID, tmp_path: Path
) -> None:
    paths = saved(tmp_path)
    for path in paths:
        patched(path, b"\x02\x00\x10\x00UI", b"\x02\x00\x10\x00" + kind.encode())
        if syntax != ExplicitVRLittleEndian:  # of other pixels than there are
            old = ExplicitVRLittleEndian.encode()
            patched(path, struct.pack("<H", len(old) + 1) + old + b"\0", struct.pack("<H", len(old) + 1) + b"1.2.3.4")
    try:
        found = [header for path in paths if (header := headers.read_header(path))]
        if fault := found[0].fault:
            raise fault
        after = read_surveyed(found).image
    except CaseError as error:
        assert error.code in (Code.DECODE_FAILED, Code.UNSUPPORTED_TRANSFER_SYNTAX)  # noqa: PT017
    else:
        assert syntax == ExplicitVRLittleEndian
        assert_equal(after, read_series(saved(tmp_path / "sound")).image)


@pytest.mark.parametrize("value", [b"", b"\x00", b"S", b"\xff"])  # b"": the file ends there
def test_damaged_byte_never_raises_anything_but_a_case_error(value: bytes, tmp_path: Path) -> None:
    original = saved(tmp_path, random((1, 4, 5)), PatientAge="061Y", EchoTime=90.0)[0].read_bytes()
    [whole] = phantoms.save([enhanced(phantoms.slices(random((2, 4, 5))))], tmp_path / "enhanced")
    for content, step in ((original, 3), (whole.read_bytes(), 7)):
        path = tmp_path / "damaged.dcm"
        for place in range(128, len(content), step):
            path.write_bytes(content[:place] + value + (content[place + 1 :] if value else b""))
            try:
                read_series([path])
            except CaseError as error:
                assert error.code in Code  # noqa: PT017


# Enhanced multi-frame files

GROUPS = {  # sequence -> its elements, taken from classic slices
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope"),
}


def enhanced(series: Sequence[Dataset], order: Sequence[int] | None = None, shared: Sequence[str] = ()) -> Dataset:
    """Classic slices as one enhanced file, stored in `order`; the groups `shared` stand there once."""
    frames = [series[index] for index in (range(len(series)) if order is None else order)]

    def group(classic: Dataset, sequences: Sequence[str]) -> Dataset:
        made = Dataset()
        for sequence in sequences:
            item = Dataset()
            for keyword in GROUPS[sequence]:
                if keyword in classic:
                    setattr(item, keyword, classic[keyword].value)
            setattr(made, sequence, Items([item]))
        return made

    whole = pydicom.dcmread(pydicom.filebase.DicomBytesIO(as_bytes(frames[0])))
    whole.ImagePositionPatient, whole.ImageOrientationPatient, whole.PixelSpacing = (
        [9, 9, 9],
        [0, 1, 0, 0, 0, 1],
        [9, 9],
    )
    whole.RescaleSlope, whole.RescaleIntercept = 9, 9  # what the groups say comes first
    whole.NumberOfFrames = len(frames)
    whole.PixelData = b"".join(frame.PixelData for frame in frames)
    own = [sequence for sequence in GROUPS if sequence not in shared]
    whole.SharedFunctionalGroupsSequence = Items([group(frames[0], shared)])
    whole.PerFrameFunctionalGroupsSequence = Items([group(frame, own) for frame in frames])
    return whole


def as_bytes(dataset: Dataset) -> bytes:
    buffer = pydicom.filebase.DicomBytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


INTERLEAVED = (0, 5, 1, 6, 2, 7, 3, 8, 4, 9)


@pytest.mark.parametrize("order", [tuple(range(10)), tuple(range(9, -1, -1)), INTERLEAVED])
@pytest.mark.parametrize("shared", [(), ("PlaneOrientationSequence", "PixelMeasuresSequence")])
def test_enhanced_file_equals_the_classic_series(
    order: tuple[int, ...], shared: tuple[str, ...], tmp_path: Path
) -> None:
    elements = {"RescaleSlope": [0.5 + i for i in range(10)], "RescaleIntercept": [-3.0 * i for i in range(10)]}
    classic = phantoms.slices(random(), orientation=OBLIQUE, spacing=(2.0, 0.7, 0.4), **elements)
    ours = read_series(phantoms.save([enhanced(classic, order, shared)], tmp_path / "enhanced"))
    theirs = read_series(phantoms.save(classic, tmp_path / "classic"))
    assert_equal(ours.image, theirs.image)
    assert (ours.header, ours.identity) == (theirs.header, theirs.identity)


def test_enhanced_header_is_read_from_functional_groups(tmp_path: Path) -> None:
    whole = enhanced(phantoms.slices(random()))
    echo, timing = Dataset(), Dataset()
    echo.EffectiveEchoTime, timing.RepetitionTime = 87.5, 9000.0
    for group in whole.PerFrameFunctionalGroupsSequence:
        group.MREchoSequence = Items([echo])
    whole.SharedFunctionalGroupsSequence[0].MRTimingAndRelatedParametersSequence = Items([timing])
    header = read_series(phantoms.save([whole], tmp_path)).header
    assert (header["echo_time"], header["repetition_time"]) == ("87.5", "9000")


def test_enhanced_file_that_describes_too_few_frames_is_refused(tmp_path: Path) -> None:
    whole = enhanced(phantoms.slices(random()))
    del whole.PerFrameFunctionalGroupsSequence[-1]
    assert refused(read_series, phantoms.save([whole], tmp_path)).code is Code.NO_GEOMETRY


# What leaves the header


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SIEMENS", "siemens"),
        ("Siemens Healthineers", "siemens"),
        ("Philips Medical Systems", "philips"),
        ("GE MEDICAL SYSTEMS", "ge"),
        ("GE", "ge"),
        ("TOSHIBA_MEC", "canon"),
        ("Canon Medical Systems", "canon"),
        ("Hitachi Medical Corporation", "hitachi"),
        ("UIH", "united imaging"),
        ("General Imaging of Dr Smith", "other"),
        ("Generic", "other"),
        ("", "other"),
    ],
)
def test_manufacturer_is_of_a_closed_list(text: str, name: str, tmp_path: Path) -> None:
    assert read_series(saved(tmp_path, random((2, 4, 5)), Manufacturer=text)).header["manufacturer"] == name


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("000D", "0-9"),
        ("009Y", "0-9"),
        ("010Y", "10-19"),
        ("089Y", "80-89"),
        ("090Y", "90+"),
        ("123Y", "90+"),
        ("119M", "0-9"),
        ("120M", "10-19"),
        ("999W", "10-19"),
        ("999D", "0-9"),
        *((junk, "") for junk in ("", "61", "61Y", "0610", "061y", "-61Y", "06 Y", "0061Y", "0²3Y", "CANARY")),
    ],
)
def test_age_band_is_ten_years_wide_and_open_from_90(age: str, band: str) -> None:
    assert age_band(age) == band


def test_header_is_numbers_and_words_of_closed_lists(tmp_path: Path) -> None:
    elements = {"MagneticFieldStrength": 3.0, "EchoTime": 87.5, "RepetitionTime": 9000, "InversionTime": 2500.0}
    words = {"MRAcquisitionType": "3D", "ContrastBolusAgent": "CANARY", "PatientSex": "F", "PatientAge": "061Y"}
    header = read_series(saved(tmp_path, **elements, **words)).header
    expected = {"field_strength": "3", "echo_time": "87.5", "repetition_time": "9000", "inversion_time": "2500"}
    expected |= {"acquisition_type": "3D", "contrast_agent": "yes", "sex": "F", "age_band": "60-69"}
    assert header.items() >= expected.items()


def test_header_without_elements_has_empty_cells(tmp_path: Path) -> None:
    header = read_series(saved(tmp_path)).header
    empty = ("field_strength", "echo_time", "repetition_time", "inversion_time", "acquisition_type", "sex", "age_band")
    assert {header[name] for name in empty} == {""}
    assert (header["manufacturer"], header["contrast_agent"]) == ("other", "no")


def test_free_text_and_malformed_elements_are_not_quoted(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("PatientName", "InstitutionName", "ImageComments", "Manufacturer", "SeriesDescription", "PatientSex")
    elements = dict.fromkeys(words, "CANARY") | {
        "FrameOfReferenceUID": "1.2.9999",
        "EchoTime": 1.0625,
        "PatientAge": "061Y",
        "MagneticFieldStrength": 1.9375,
    }
    paths = saved(tmp_path, **elements)
    for path in paths:
        patched(path, b"1.0625", b"CANARY")
        patched(path, b"1.9375", b"nan")
        patched(path, b"061Y", b"CANA")
        patched(path, b"1.2.9999", b"CANARY^X")
    series = read_series(paths)
    nifti.write_volume(series.image, tmp_path / "volume.nii.gz")
    assert "CANA" not in repr((series.header, series.warnings))
    assert series.header.items() >= {"echo_time": "", "field_strength": "", "age_band": "", "sex": ""}.items()
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")
    assert not any(map(nifti.read_volume(tmp_path / "volume.nii.gz").HasMetaDataKey, elements))


def test_identity_is_equal_where_the_header_or_the_voxels_are(tmp_path: Path) -> None:
    one = read_series(saved(tmp_path / "1", PatientID="a")).identity
    other = read_series(saved(tmp_path / "2", random() + 1, PatientID="a", StudyInstanceUID="1.9")).identity
    assert one["patient"] == other["patient"] != ""
    assert one["frame_of_reference"] == other["frame_of_reference"] != ""
    assert one["study"] != other["study"]
    assert one["voxels"] != other["voxels"]
    nobody = phantoms.slices(random())
    for dataset in nobody:
        del dataset.PatientID
    assert read_series(phantoms.save(nobody, tmp_path / "3")).identity["patient"] == ""


SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("bits", [16, 12])
def test_series_read_after_its_headers_is_the_series_read_at_once(bits: int, syntax: UID, tmp_path: Path) -> None:
    series = phantoms.slices(random((3, 4, 6), np.uint16, 0, 4095), BitsStored=bits, HighBit=bits - 1)
    for dataset in series:
        if syntax == RLELossless:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.DataSetTrailingPadding = b"\0" * 6
    paths = phantoms.save(series, tmp_path)
    found = [header for path in paths if (header := headers.read_header(path))]
    at_once = read_series(paths)
    for known in (found, deepcopy(found)):  # the copies have lost their data sets
        after = read_surveyed(known)
        assert_equal(after.image, at_once.image)
        assert (after.header, after.identity, after.warnings) == (at_once.header, at_once.identity, at_once.warnings)


def test_header_takes_no_data_set_to_another_process(tmp_path: Path) -> None:
    [path, *_] = saved(tmp_path, PatientName="Canary")
    assert b"Canary" not in pickle.dumps(headers.read_header(path))


@pytest.mark.parametrize("length", [1, 100, 240])
def test_file_that_got_shorter_after_its_header_was_read_costs_the_case(length: int, tmp_path: Path) -> None:
    paths = saved(tmp_path, random((3, 8, 15)))
    found = [header for path in paths if (header := headers.read_header(path))]
    paths[1].write_bytes(paths[1].read_bytes()[:-length])
    assert refused(read_surveyed, found).code is Code.DECODE_FAILED


@pytest.mark.parametrize("text", [b"1.5", b" 1.5 ", b"-2e3", b"+.5", b"1\\2\\3", b"0.1\\ -7 ", b"1.5\0", b"", b"  "])
@pytest.mark.parametrize("implicit", [True, False])
def test_decimals_are_what_pydicom_reads(implicit: bool, text: bytes) -> None:
    tag = Tag("EchoTime")
    dataset = Dataset()
    dataset[tag] = RawDataElement(tag, None if implicit else "DS", len(text), text, 0, implicit, True)
    found = elements.value(dataset, "EchoTime")
    assert (found or None) == (dataset.EchoTime or None)


def test_values_read_quickly_are_those_of_pydicom() -> None:
    """Over every element of pydicom's own files whose kind of value is not left to pydicom."""

    def plain(values: object) -> list[str]:
        return [str(float(v)) if isinstance(v, (int, float)) else str(v) for v in elements.values_of(values)]

    compared: Counter[str] = Counter()
    for path in sorted((Path(pydicom.__file__).parent / "data/test_files").rglob("*.dcm")):
        try:
            ours, theirs = reading.read_dataset(path, pixels=False), reading.read_dataset(path, pixels=False)
        except CaseError:
            continue
        if ours is None or theirs is None:
            continue
        for tag in list(ours.keys()):
            keyword, item = keyword_for_tag(tag), ours.get_item(tag)
            if keyword and tag_for_keyword(keyword) == tag and isinstance(item, RawDataElement) and item.VR != "SQ":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of values that break the standard
                    found, expected = elements.value(ours, keyword), theirs[tag].value
                if not isinstance(expected, bytes):
                    assert plain(found) == plain(expected), (path.name, keyword)
                    compared[str(item.VR)] += 1
    assert min(compared[kind] for kind in ("CS", "DS", "IS", "LO", "SH", "UI", "US")) > 100


@pytest.mark.parametrize("kind", ["CS", "LO", "SH", "UI"])
@pytest.mark.parametrize("stored", [b"A", b"A ", b"A\\B", b"A \\B ", b" A\\ B", b"A\\", b"\\", b"A\0", b"1.2\\3.4\0"])
def test_words_are_what_pydicom_reads(kind: str, stored: bytes) -> None:
    tag = Tag({"CS": "ImageType", "LO": "PatientID", "SH": "StationName", "UI": "StudyInstanceUID"}[kind])
    dataset = Dataset()
    dataset[tag] = RawDataElement(tag, kind, len(stored), stored, 0, False, True)
    found = elements.values_of(elements.value(dataset, keyword_for_tag(tag)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found == [str(value) for value in elements.values_of(dataset[tag].value)]


@pytest.mark.parametrize("bits", [16, 12])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_pixels_that_may_be_signed_or_not_are_not_guessed(photometric: str, bits: int, tmp_path: Path) -> None:
    series = phantoms.slices(random((3, 4, 6), np.int16, -100, 900), PhotometricInterpretation=photometric)
    for dataset in series:
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        del dataset.PixelRepresentation
    assert refused(read_series, phantoms.save(series, tmp_path)).code is Code.DECODE_FAILED
