"""JSON sidecars: which apply to a scan, which fields are taken, and in which unit."""

import json
from pathlib import Path
from typing import Any

import pytest

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.nifti_input import sidecar
from flairprep.nifti_input.sidecar import Sidecar, read_sidecars, sidecars_of

FLAIR = {
    **{"Manufacturer": "Siemens", "MagneticFieldStrength": 3, "EchoTime": 0.388, "RepetitionTime": 5},
    **{"InversionTime": 1.8, "MRAcquisitionType": "3D", "PatientSex": "F", "PatientAge": "063Y"},
}


def columns(**fields: Any) -> dict[str, str]:
    return {name: cell for name, cell in Sidecar(fields).columns.items() if cell}


def test_every_field_in_the_unit_of_its_column() -> None:
    assert columns(**FLAIR, ContrastBolusIngredient="GADOLINIUM") == {
        **{"manufacturer": "siemens", "field_strength": "3", "echo_time": "388", "repetition_time": "5000"},
        **{"inversion_time": "1800", "acquisition_type": "3D", "contrast_agent": "yes", "sex": "F"},
        "age_band": "60-69",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"EchoTime": 90},  # in ms, or damaged: it is not known which
        {"EchoTime": 10**400, "MagneticFieldStrength": -(10**400)},
        {"EchoTime": -0.09, "InversionTime": 0, "RepetitionTime": float("nan")},
        {"EchoTime": "0.09", "RepetitionTime": [9, 9], "InversionTime": True, "MagneticFieldStrength": None},
        {"MagneticFieldStrength": 15000, "MRAcquisitionType": "Jane Doe", "PatientSex": "Jane", "PatientAge": 63},
        {"Manufacturer": ["Siemens"], "ContrastBolusIngredient": "none", "PatientAge": "Jane"},
        {"PatientName": "Jane", "PatientID": "7", "PatientBirthDate": "1961-02-03", "AcquisitionDateTime": "1999"},
    ],
)
def test_unknown_field_is_empty(fields: dict[str, Any]) -> None:
    assert columns(**fields) == {}


def test_unlisted_manufacturer_is_other() -> None:
    assert columns(Manufacturer="Jane Doe Inc.") == {"manufacturer": "other"}


def test_sidecar_of_its_name_and_those_that_bids_inherits(tmp_path: Path) -> None:
    scan = tmp_path / "sub-1/ses-1/anat/sub-1_ses-1_acq-3D_FLAIR.nii.gz"
    names = {
        "FLAIR.json": True,
        "acq-3D_FLAIR.json": True,
        "acq-2D_FLAIR.json": False,
        "T1w.json": False,
        "dataset_description.json": False,
        "sub-1/sub-1_FLAIR.json": True,
        "sub-2/sub-2_FLAIR.json": False,
        "sub-1/ses-1/anat/sub-1_ses-1_acq-3D_FLAIR.json": True,
        "sub-1/ses-1/anat/sub-1_ses-1_acq-3D_run-1_FLAIR.json": False,
        "sub-1/ses-2/anat/sub-1_ses-1_acq-3D_FLAIR.json": False,
    }
    applied = [tmp_path / name for name, applies in names.items() if applies]
    assert sidecars_of(scan, sorted(tmp_path / name for name in names)) == applied  # the most general one first
    assert sidecars_of(Path("a/flair.nii"), [Path("a/flair.json"), Path("FLAIR.json"), Path("a/x.json")]) == [
        Path("a/flair.json")
    ]


def test_nearer_sidecar_replaces_fields(tmp_path: Path) -> None:
    for name, fields in (("a", {"EchoTime": 0.1, "MagneticFieldStrength": 1.5}), ("b", {"EchoTime": 0.4})):
        (tmp_path / name).write_text(json.dumps(fields))
    merged = read_sidecars([tmp_path / "a", tmp_path / "b"])
    assert (merged.number("EchoTime"), merged.number("MagneticFieldStrength")) == (400, 1.5)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe{}", b"1", b"[" * 100_000, b'{"a": 1} more'])
def test_damaged_sidecar_has_a_code(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CaseError) as caught:
        read_sidecars([tmp_path / "a.json"])
    assert caught.value.code is Code.DECODE_FAILED


def test_huge_sidecar_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b" " * (sidecar.MAX_SIDECAR + 1))
    with pytest.raises(CaseError) as caught:
        read_sidecars([tmp_path / "a.json"])
    assert caught.value.code is Code.TOO_LARGE
