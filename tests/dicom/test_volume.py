"""Read files as one volume whose truth the test knows."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
from phantoms import assert_same_image, noise, refusal, voxels
from pydicom.data import get_testdata_file
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from flairprep.core.codes import Code
from flairprep.dicom.header import read_header
from flairprep.dicom.volume import read_series, read_surveyed


@pytest.mark.parametrize("plane", phantoms.PLANES)
def test_series_of_files_in_any_order_is_one_volume(plane: str, tmp_path: Path) -> None:
    stored = noise()
    paths = phantoms.files(
        tmp_path, stored, orientation=phantoms.PLANES[plane], spacing=(3.0, 0.7, 0.4), origin=(-9, 8, 7)
    )
    series, backwards = read_series(paths), read_series(paths[::-1])
    np.testing.assert_array_equal(voxels(series.image), stored)
    assert series.image.GetOrigin() == (-9, 8, 7)
    assert_same_image(series.image, backwards.image)
    assert (series.header, series.identity, series.warnings) == (backwards.header, backwards.identity, ())
    shape = {"plane": plane, "rows": 4, "columns": 5, "slices": 10, "interpolated": 0}
    spacing = {"spacing_x": "0.4", "spacing_y": "0.7", "spacing_z": "3"}
    assert series.header.items() >= (shape | spacing).items()


def test_spacing_comes_from_positions_and_not_from_what_the_header_claims(tmp_path: Path) -> None:
    paths = phantoms.files(tmp_path, spacing=(2.5, 1, 1), SliceThickness=9.0, SpacingBetweenSlices=7.5)
    assert read_series(paths).image.GetSpacing()[2] == pytest.approx(2.5)


def test_file_that_is_not_dicom_is_skipped_with_a_warning(tmp_path: Path) -> None:
    paths = phantoms.files(tmp_path)
    index = Path(get_testdata_file("DICOMDIR", download=False)).read_bytes()
    for name, content in (("notes.txt", b"text"), ("empty", b""), ("DICOMDIR", index)):
        (tmp_path / name).write_bytes(content)
    series = read_series([*paths, *(tmp_path / name for name in ("notes.txt", "empty", "DICOMDIR"))])
    [(code, text)] = series.warnings
    assert code is Code.NOT_DICOM
    assert "3 of 13 files" in text
    assert series.image.GetSize() == (5, 4, 10)
    assert refusal(read_series, [tmp_path / "notes.txt"]).code is Code.NOT_DICOM


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        (
            {"SeriesInstanceUID": [f"1.{i // 5 + 1}" for i in range(10)], "SeriesNumber": [i // 5 for i in range(10)]},
            Code.AMBIGUOUS_SERIES,
        ),
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
    assert refusal(read_series, phantoms.files(tmp_path, **elements)).code is code


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
    series = phantoms.slices(noise())
    delattr(series[4], keyword)
    assert refusal(read_series, phantoms.save(series, tmp_path)).code is code


def test_blank_volume_is_refused(tmp_path: Path) -> None:
    assert refusal(read_series, phantoms.files(tmp_path, np.full((10, 4, 5), 3, np.int16))).code is Code.BLANK_VOLUME


INTERLEAVED = (0, 5, 1, 6, 2, 7, 3, 8, 4, 9)


@pytest.mark.parametrize("order", [tuple(range(10)), tuple(range(9, -1, -1)), INTERLEAVED])
@pytest.mark.parametrize("shared", [(), ("PlaneOrientationSequence", "PixelMeasuresSequence")])
def test_enhanced_file_equals_the_classic_series(
    order: tuple[int, ...], shared: tuple[str, ...], tmp_path: Path
) -> None:
    elements = {"RescaleSlope": [0.5 + i for i in range(10)], "RescaleIntercept": [-3.0 * i for i in range(10)]}
    classic = phantoms.slices(noise(), orientation=phantoms.OBLIQUE, spacing=(2.0, 0.7, 0.4), **elements)
    ours = read_series(phantoms.save([phantoms.enhanced(classic, order, shared)], tmp_path / "enhanced"))
    theirs = read_series(phantoms.save(classic, tmp_path / "classic"))
    assert_same_image(ours.image, theirs.image)
    assert (ours.header, ours.identity) == (theirs.header, theirs.identity)


def test_identity_is_equal_where_the_header_or_the_voxels_are(tmp_path: Path) -> None:
    one = read_series(phantoms.files(tmp_path / "1", PatientID="a")).identity
    other = read_series(phantoms.files(tmp_path / "2", noise() + 1, PatientID="a", StudyInstanceUID="1.9")).identity
    assert one["patient"] == other["patient"] != ""
    assert one["frame_of_reference"] == other["frame_of_reference"] != ""
    assert one["study"] != other["study"]
    assert one["voxels"] != other["voxels"]
    nobody = phantoms.slices(noise())
    for dataset in nobody:
        del dataset.PatientID
    assert read_series(phantoms.save(nobody, tmp_path / "3")).identity["patient"] == ""


SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("bits", [16, 12])
def test_series_read_after_its_headers_is_the_series_read_at_once(bits: int, syntax: UID, tmp_path: Path) -> None:
    series = phantoms.slices(noise((3, 4, 6), np.uint16, 0, 4095), BitsStored=bits, HighBit=bits - 1)
    for dataset in series:
        if syntax == RLELossless:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.DataSetTrailingPadding = b"\0" * 6
    paths = phantoms.save(series, tmp_path)
    headers = [header for path in paths if (header := read_header(path))]
    at_once = read_series(paths)
    for surveyed in (headers, deepcopy(headers)):  # the copies have lost their data sets
        after = read_surveyed(surveyed)
        assert_same_image(after.image, at_once.image)
        assert (after.header, after.identity, after.warnings) == (at_once.header, at_once.identity, at_once.warnings)
