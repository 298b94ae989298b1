"""Read headers: what leaves them is numbers and words of closed lists."""

import pickle
from pathlib import Path
from typing import Any

import phantoms
import pytest
from phantoms import noise
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from flairprep.core.outcomes import CaseError
from flairprep.dicom import header
from flairprep.dicom.header import age_band, read_header
from flairprep.dicom.volume import read_series
from flairprep.imaging import nifti


def test_enhanced_header_is_read_from_functional_groups(tmp_path: Path) -> None:
    whole = phantoms.enhanced(phantoms.slices(noise()))
    echo, timing = Dataset(), Dataset()
    echo.EffectiveEchoTime, timing.RepetitionTime = 87.5, 9000.0
    for group in whole.PerFrameFunctionalGroupsSequence:
        group.MREchoSequence = Items([echo])
    whole.SharedFunctionalGroupsSequence[0].MRTimingAndRelatedParametersSequence = Items([timing])
    header = read_series(phantoms.save([whole], tmp_path)).header
    assert (header["echo_time"], header["repetition_time"]) == ("87.5", "9000")


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
    assert read_series(phantoms.files(tmp_path, noise((2, 4, 5)), Manufacturer=text)).header["manufacturer"] == name


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
    header = read_series(phantoms.files(tmp_path, **elements, **words)).header
    expected = {"field_strength": "3", "echo_time": "87.5", "repetition_time": "9000", "inversion_time": "2500"}
    expected |= {"acquisition_type": "3D", "contrast_agent": "yes", "sex": "F", "age_band": "60-69"}
    assert header.items() >= expected.items()


def test_header_without_elements_has_empty_cells(tmp_path: Path) -> None:
    header = read_series(phantoms.files(tmp_path)).header
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
    paths = phantoms.files(tmp_path, **elements)
    for path in paths:
        phantoms.patch(path, b"1.0625", b"CANARY")
        phantoms.patch(path, b"1.9375", b"nan")
        phantoms.patch(path, b"061Y", b"CANA")
        phantoms.patch(path, b"1.2.9999", b"CANARY^X")
    series = read_series(paths)
    nifti.write_volume(series.image, tmp_path / "volume.nii.gz")
    assert "CANA" not in repr((series.header, series.warnings))
    assert series.header.items() >= {"echo_time": "", "field_strength": "", "age_band": "", "sex": ""}.items()
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")
    assert not any(map(nifti.read_volume(tmp_path / "volume.nii.gz").HasMetaDataKey, elements))


def test_header_takes_no_data_set_to_another_process(tmp_path: Path) -> None:
    [path, *_] = phantoms.files(tmp_path, PatientName="Canary")
    assert b"Canary" not in pickle.dumps(read_header(path))


def test_a_header_kept_for_the_next_files_is_that_of_each_file(scans: Path) -> None:
    """Read the files of several series in turn, as kept from the file before and anew."""
    series = [
        sorted(path for path in folder.iterdir() if path.is_file())
        for folder in sorted(scans.rglob("*"))[:400]
        if folder.is_dir()
    ]
    paths = [path for files in series for path in files[:6] if path.stat().st_size < 2**22]

    def fields(path: Path) -> Any:
        try:
            one = header.read_header(path)
        except CaseError as error:
            return error.code
        if one is None:
            return None
        return [
            (value.code, str(value)) if isinstance(value, CaseError) else value
            for name, value in vars(one).items()
            if name != "opened"
        ]

    header._KNOWN.clear()
    kept = [fields(path) for path in paths]
    anew = []
    for path in paths:
        header._KNOWN.clear()
        anew.append(fields(path))
    assert kept == anew
    assert len(paths) > 50


@pytest.mark.parametrize(
    ("keyword", "first", "second"),
    [
        ("ImagePositionPatient", [0, 0, 1], [0, 0, 2]),
        ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]),
        ("EchoTime", 80, 90),
        ("SeriesDescription", "FLAIR", "T2"),
        ("PatientID", "a", "b"),
        ("ImageType", ["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY"]),
        ("AcquisitionTime", "101010", "101011"),
    ],
)
def test_what_differs_between_two_files_differs_between_their_headers(
    keyword: str, first: Any, second: Any, tmp_path: Path
) -> None:
    series = phantoms.slices(phantoms.noise((2, 4, 5)), AcquisitionDate="20200101")
    for dataset, stored in zip(series, (first, second), strict=True):
        setattr(dataset, keyword, stored)
    one, other = (header.read_header(path) for path in phantoms.save(series, tmp_path))
    assert one is not None
    assert other is not None
    own = {"path", "opened", "position"} - ({"position"} if keyword == "ImagePositionPatient" else set())
    assert {name: value for name, value in vars(one).items() if name not in own} != {
        name: value for name, value in vars(other).items() if name not in own
    }
