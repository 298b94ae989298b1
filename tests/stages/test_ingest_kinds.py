"""Kinds of input that real archives and anonymisers hand out: read, or refused with what is wrong and what helps."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pydicom
import pytest
import SimpleITK as sitk
from phantoms import PLANES
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from workspace import PARAMS

from flairprep.core.params import load
from flairprep.dicom import header
from flairprep.dicom.discovery import RawCase
from flairprep.dicom.ingest_params import IngestParams
from flairprep.imaging import nifti
from flairprep.stages import ingest

FLAIR = {
    **{"SeriesDescription": "ax flair", "SeriesNumber": 5, "EchoTime": 90, "RepetitionTime": 9000},
    **{"InversionTime": 2500, "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]},
}
SLICES = 20
BRAIN = np.pad(np.random.default_rng(3).integers(1, 999, (SLICES - 2, 6, 5)), 1).astype(np.int16)


def flair(stored: np.ndarray = BRAIN, **elements: Any) -> list[Dataset]:
    """A FLAIR of skull-stripped voxels, so that nothing warns of a face."""
    return phantoms.slices(stored, spacing=(3.0, 1.0, 1.0), **FLAIR | elements)


def foreign(like: Dataset, gone: Sequence[str] = (), **elements: Any) -> Dataset:
    """A copy of a slice with other elements and without some."""
    made = deepcopy(like)
    made.SOPInstanceUID = generate_uid()
    for keyword in gone:
        delattr(made, keyword)
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., tuple[str, str, np.ndarray | None]]:
    """The function that ingests data sets as one case: its status, code and voxels."""

    def run(
        series: Sequence[Dataset], folder: str = "FLAIR", sequence: str = "FLAIR", **params: Any
    ) -> tuple[str, str, np.ndarray | None]:
        paths = phantoms.save(series, tmp_path / "raw/00001" / (folder or "export"))
        section = load(IngestParams, "ingest", PARAMS).model_copy(update={"sequence": sequence, **params})
        case = RawCase("00001", tuple(map(str, paths)), folder)
        volumes = tmp_path / "volumes"
        volumes.mkdir(exist_ok=True)
        outcome = ingest.ingest(case, params=section, volumes_dir=volumes).outcome
        run.message = outcome.message  # type: ignore[attr-defined]
        written = volumes / "00001.nii.gz"
        image = sitk.GetArrayFromImage(nifti.read_volume(written)) if written.is_file() else None
        return outcome.status.value, outcome.code, image

    return run


def check(found: tuple[str, str, np.ndarray | None], status: str, code: str, voxels: np.ndarray = BRAIN) -> None:
    assert found[:2] == (status, code)
    np.testing.assert_array_equal(found[2], voxels)


# Objects without pixels

PIXEL_MODULE = (
    *("PixelData", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation"),
    "SamplesPerPixel",
)
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
PHILIPS = "1.3.46.670589.11.0.0.12.2"


@pytest.mark.parametrize("folder", ["FLAIR", ""])
@pytest.mark.parametrize(
    ("gone", "elements"),
    [
        ((*PIXEL_MODULE, *PLACE, "ImageType"), {"SOPClassUID": PHILIPS}),
        ((*PIXEL_MODULE, *PLACE, "Rows", "Columns"), {"SOPClassUID": PHILIPS}),
        (("PixelData",), {"SOPClassUID": "1.3.12.2.1107.5.9.1"}),  # Siemens CSA Non-Image
        ((*PIXEL_MODULE, *PLACE), {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4.2"}),  # MR Spectroscopy
        ((*PIXEL_MODULE, *PLACE), {"SOPClassUID": PHILIPS, "Modality": "PR"}),
        ((), {"SOPClassUID": PHILIPS, "PixelData": b""}),
    ],
)
def test_object_without_pixels_costs_no_series(
    gone: tuple[str, ...], elements: dict[str, Any], folder: str, read: Callable[..., Any]
) -> None:
    slices = flair()
    check(read([*slices, foreign(slices[0], gone, **elements)], folder), "warned", "NO_PIXEL_DATA")


@pytest.mark.parametrize("place", [0, 7])
def test_image_that_lost_its_pixels_stops_the_case(place: int, read: Callable[..., Any]) -> None:
    slices = flair()
    del slices[place].PixelData
    assert read(slices)[:2] == ("failed", "NO_PIXEL_DATA")


# Foreign images

CORONAL = [float(value) for value in PLANES["coronal"]]


@pytest.mark.parametrize(
    "make",
    [
        lambda one: foreign(one, SOPClassUID="1.2.840.10008.5.1.4.1.1.7"),
        lambda one: foreign(one, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], ImageOrientationPatient=CORONAL),
        lambda one: foreign(one, ImageOrientationPatient=CORONAL),
        lambda one: foreign(one, PLACE, ImageType=["DERIVED", "SECONDARY"]),
        lambda one: foreign(one, PLACE, Rows=one.Rows - 1, PixelData=one.PixelData[: 2 * (one.Rows - 1) * one.Columns]),
        lambda one: foreign(one, Rows=one.Columns, Columns=one.Rows),
        lambda one: foreign(one, ImageType=["DERIVED", "SECONDARY", "MIP"], PixelData=one.PixelData[::-1]),
        lambda one: foreign(one, Modality="OT"),
        lambda one: foreign(one, BurnedInAnnotation="YES"),
        lambda one: foreign(one, PhotometricInterpretation="RGB", SamplesPerPixel=3, PixelData=3 * one.PixelData),
    ],
)
@pytest.mark.parametrize("number", [1, 2])
def test_foreign_image_costs_no_series(
    number: int, make: Callable[[Dataset], Dataset], read: Callable[..., Any]
) -> None:
    slices = flair()
    check(read([*slices, *(make(slices[place]) for place in range(5, 5 + number))]), "warned", "FOREIGN_IMAGES")


@pytest.mark.parametrize("parts", [["R"], ["R", "I"], ["R", "I", "P"]])
def test_other_parts_of_complex_images_cost_no_magnitude(parts: list[str], read: Callable[..., Any]) -> None:
    slices = flair()
    others = [
        foreign(one, ImageType=["ORIGINAL", "PRIMARY", f"{part}_IR", part, "IR"], PixelData=one.PixelData[::-1])
        for part in parts
        for one in slices
    ]
    check(read([*slices, *others]), "warned", "FOREIGN_IMAGES")


@pytest.mark.parametrize("place", [0, 9, SLICES - 1])
@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"Modality": "CT"}, "NOT_MR"),
        ({"PhotometricInterpretation": "RGB"}, "NOT_GRAYSCALE"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P"]}, "NOT_MAGNITUDE"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.99875, 0.05]}, "MIXED_ORIENTATION"),
        ({"PixelSpacing": [1.0, 1.1]}, "MIXED_SIZE"),
        ({"ImagePositionPatient": None}, "NO_GEOMETRY"),
    ],
)
def test_slice_of_the_volume_is_not_taken_for_a_foreign_image(
    elements: dict[str, Any], code: str, place: int, read: Callable[..., Any]
) -> None:
    slices = flair()
    for keyword, value in elements.items():
        setattr(slices[place], keyword, value)
    assert read(slices)[:2] == ("failed", code)


# UIDs: one for each file, none, one for all


@pytest.mark.parametrize("folder", ["FLAIR", ""])
@pytest.mark.parametrize(
    "words",
    [
        ["SeriesInstanceUID"],
        ["StudyInstanceUID"],
        ["PatientID"],
        ["SeriesInstanceUID", "StudyInstanceUID", "PatientID", "FrameOfReferenceUID"],
    ],
)
def test_files_with_ids_of_their_own_are_one_volume(words: list[str], folder: str, read: Callable[..., Any]) -> None:
    slices = flair()
    for one in slices:
        for word in words:
            setattr(one, word, generate_uid())
    check(read(slices, folder), "warned", "SPLIT_SERIES")


def test_two_series_of_files_with_ids_of_their_own_stay_two(read: Callable[..., Any]) -> None:
    other = flair(BRAIN[::-1], SeriesDescription="ax t1", EchoTime=9, RepetitionTime=500, InversionTime=None)
    both = [*flair(), *other]
    for one in both:
        one.SeriesInstanceUID = generate_uid()
    check(read(both, ""), "warned", "SPLIT_SERIES")


def test_volume_whose_halves_have_two_uids_is_read(read: Callable[..., Any]) -> None:
    slices = flair()
    for one in slices[1::2]:
        one.SeriesInstanceUID = "1.2.77"
    check(read(slices), "warned", "SPLIT_SERIES")


def test_repeated_series_stays_ambiguous(read: Callable[..., Any]) -> None:
    again = flair(BRAIN + 1, SeriesInstanceUID="1.2.77", SeriesNumber=6, origin=(0, 0, 1.5))
    assert read([*flair(), *again])[:2] == ("failed", "AMBIGUOUS_SERIES")


@pytest.mark.parametrize("folder", ["FLAIR", ""])
@pytest.mark.parametrize("value", ["", None])
@pytest.mark.parametrize("words", [["SeriesInstanceUID"], ["SeriesInstanceUID", "StudyInstanceUID", "PatientID"]])
def test_missing_uid_is_no_damage(words: list[str], value: str | None, folder: str, read: Callable[..., Any]) -> None:
    other = flair(BRAIN[::-1], SeriesDescription="ax t1", SeriesNumber=6, EchoTime=9, InversionTime=None)
    both = [*flair(), *([] if folder else other)]
    for one in both:
        for word in words:
            delattr(one, word) if value is None else setattr(one, word, value)
    check(read(both, folder), "ok", "")


def test_two_series_under_one_uid_are_two(read: Callable[..., Any]) -> None:
    other = flair(BRAIN[::-1], SeriesDescription="ax t1", SeriesNumber=6, EchoTime=9, InversionTime=None)
    check(read([*flair(), *other], ""), "ok", "")


# What the header says of the sequence

T2 = {"SeriesDescription": "AX FSE T2", "ScanningSequence": "SE", "EchoTime": 91, "RepetitionTime": 5000}


@pytest.mark.parametrize(
    ("elements", "sequence", "code"),
    [
        (T2 | {"InversionTime": None}, "FLAIR", "OTHER_SEQUENCE"),
        (T2 | {"InversionTime": None, "SeriesDescription": ""}, "FLAIR", "OTHER_SEQUENCE"),  # by sequence and times
        ({"SeriesDescription": "ADC map", "InversionTime": None}, "FLAIR", "OTHER_SEQUENCE"),
        ({"SeriesDescription": "t2 flair", "EchoTime": None, "InversionTime": None}, "T2w", "OTHER_SEQUENCE"),
        ({"SeriesDescription": "AX T2 FLAIR"}, "FLAIR", ""),
        ({"SeriesDescription": "brain", "InversionTime": None, "EchoTime": None}, "FLAIR", ""),
        ({"SeriesDescription": "t1", "EchoTime": 9, "InversionTime": None}, "T1wCE", ""),
    ],
)
def test_header_that_speaks_against_the_folder_is_said(
    elements: dict[str, Any], sequence: str, code: str, read: Callable[..., Any]
) -> None:
    check(read(flair(**elements), sequence, sequence), "warned" if code else "ok", code)


@pytest.mark.parametrize(
    "name", ["ax flair (post-op loc)", "flair survey brain", "flair scout", "flair ax 3 plane mpr"]
)
def test_word_of_a_localizer_refuses_no_volume(name: str, read: Callable[..., Any]) -> None:
    check(read(flair(SeriesDescription=name), ""), "warned", "MARKED_SERIES")


@pytest.mark.parametrize("name", ["loc", "flair survey", "3-plane"])
def test_mixed_planes_by_the_name_of_a_localizer_are_one(name: str, read: Callable[..., Any]) -> None:
    planes = [
        foreign(one, ImageOrientationPatient=[float(value) for value in plane])
        for one in flair()[:5]
        for plane in PLANES.values()
    ]
    for one in planes:
        one.SeriesDescription = name
    assert read(planes)[:2] == ("failed", "LOCALIZER")


# Corrected pairs, volumes, compression


@pytest.mark.parametrize("words", [["NORM"], ["DIS2D"], ["NORM", "DIS3D"]])
@pytest.mark.parametrize("uid", ["1.2.2", "1.2.77"])
def test_of_a_pair_the_corrected_series_is_read(words: list[str], uid: str, read: Callable[..., Any]) -> None:
    corrected = flair(BRAIN // 2, ImageType=[*FLAIR["ImageType"], *words], SeriesInstanceUID=uid)
    if uid != "1.2.2":
        for one in corrected:
            one.SeriesNumber = 6
    check(read([*flair(), *corrected]), "warned", "CORRECTED_CHOSEN", BRAIN // 2)


def test_param_chooses_one_of_two_echoes(read: Callable[..., Any]) -> None:
    both = [*flair(), *flair(BRAIN // 2, EchoTime=120)]
    assert read(both)[:2] == ("failed", "MULTIPLE_VOLUMES")
    assert "ingest.volume" in read.message  # type: ignore[attr-defined]
    check(read(both, volume="first"), "warned", "VOLUME_CHOSEN")
    check(read(both, volume="last"), "warned", "VOLUME_CHOSEN", BRAIN // 2)


@pytest.mark.parametrize("late", [False, True], ids=["by its header", "by its decoders"])
@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_jpeg_of_12_bits_is_called_unsupported(
    name: str, late: bool, read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if late:
        monkeypatch.setattr(header, "JPEGExtended12Bit", None)
    dataset = pydicom.dcmread(get_testdata_file(name, download=False))
    dataset.Modality, dataset.SOPClassUID = "MR", "1.2.840.10008.5.1.4.1.1.4"
    assert dataset.BitsStored == 12
    assert read([dataset])[:2] == ("failed", "UNSUPPORTED_TRANSFER_SYNTAX")
