"""Which cases predict finds in one archive: patients of an export, subjects of a data set, or one case."""

from pathlib import Path
from typing import Any

import archived
import nibabel
import numpy as np
import phantoms
import pytest

from flairprep.cohort import case_ids
from flairprep.inference.scans import cases_at

KEY = bytes(range(32))
KINDS = (".zip", ".tar.zst")


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))


def export(folder: Path, patients: dict[str, int], **elements: Any) -> Path:
    """A folder of the series of each patient, of so many slices."""
    for number, (patient, slices) in enumerate(patients.items()):
        own = {"PatientID": patient, "StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.2.{number}.1"}
        series = phantoms.slices(phantoms.noise((slices, 4, 5)), **own | elements)
        phantoms.save(series, folder / f"x/{number}", seed=number)
    return folder


def packed(folder: Path, kind: str) -> Path:
    return archived.write(folder.parent / f"all{kind}", archived.of_folder(folder))


def found(path: Path, key: bytes | None = None) -> dict[str, int]:
    """Case id -> number of files."""
    cases, folder = cases_at(path, "FLAIR", key)
    assert folder == path.parent
    return {case.case_id: len(case.files) for case in cases}


@pytest.mark.parametrize("kind", KINDS)
def test_patients_of_an_archive_are_cases_as_those_of_the_folder_are(tmp_path: Path, kind: str) -> None:
    folder = export(tmp_path / "export", {"b": 7, "a": 5, "c": 6})
    archive = packed(folder, kind)
    assert found(archive) == {"case 1": 5, "case 2": 7, "case 3": 6}
    ids = {case_ids.pseudonym(patient, KEY): slices for patient, slices in (("a", 5), ("b", 7), ("c", 6))}
    assert found(archive, KEY) == ids
    cases, _ = cases_at(folder, "FLAIR", KEY)
    assert {case.case_id: len(case.files) for case in cases} == ids


@pytest.mark.parametrize("key", [None, KEY])
def test_one_patient_is_one_case_named_as_the_archive(tmp_path: Path, key: bytes | None) -> None:
    assert found(packed(export(tmp_path / "export", {"a": 9}), ".zip"), key) == {"all": 1}


def test_slices_that_name_a_patient_each_are_one_case(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    for number, one in enumerate(phantoms.slices(phantoms.noise((12, 4, 5)))):
        one.PatientID = f"anonymous {number}"
        phantoms.save([one], folder / str(number), seed=number)
    assert found(packed(folder, ".zip")) == {"all": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_subjects_of_a_data_set_are_cases(tmp_path: Path, kind: str) -> None:
    for subject in ("sub-07", "sub-11"):
        path = tmp_path / f"set/{subject}/anat/{subject}_FLAIR.nii.gz"
        path.parent.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), path)
    (tmp_path / "set/dataset_description.json").write_text("{}")
    assert found(packed(tmp_path / "set", kind)) == {"sub-07": 2, "sub-11": 2}


def test_damaged_archive_is_one_case_whose_row_will_say_so(tmp_path: Path) -> None:
    archive = packed(export(tmp_path / "export", {"a": 5, "b": 5}), ".zip")
    archive.write_bytes(archive.read_bytes()[:-40])
    assert found(archive) == {"all": 1}
