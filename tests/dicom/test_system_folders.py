"""Folders that systems make by themselves are no cases and cost none."""

from pathlib import Path

import phantoms
import pytest
import raw_folder

from flairprep.dicom import discovery, system_folders

NAMES = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", ".Trashes", "#recycle")


@pytest.fixture(autouse=True)
def _told_anew() -> None:
    system_folders._tell.cache_clear()


@pytest.mark.parametrize("name", [*NAMES, "#Recycle", ".snapshot", "System volume information"])
def test_system_folder_is_skipped_with_one_line(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for case in ("00001", "00002"):
        phantoms.files(tmp_path / case / "FLAIR")
        phantoms.files(tmp_path / case / name / "FLAIR")
        phantoms.files(tmp_path / case / "FLAIR" / name)
    phantoms.files(tmp_path / name / "FLAIR")
    cases = discovery.find_cases(tmp_path, "FLAIR")
    assert [(case.case_id, len(case.files)) for case in cases] == [("00001", 10), ("00002", 10)]
    assert len([record for record in caplog.records if name.lower() in record.message]) == 1


def test_system_folder_that_nobody_may_list_stops_nothing(tmp_path: Path) -> None:
    phantoms.files(tmp_path / "00001/FLAIR")
    locked = tmp_path / "lost+found"
    locked.mkdir(mode=0)
    try:
        assert [case.case_id for case in discovery.find_cases(tmp_path, "FLAIR")] == ["00001"]
    finally:
        locked.chmod(0o700)


def test_system_folder_of_an_export_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw_folder.make_project(tmp_path, monkeypatch)
    raw_folder.put(raw_folder.RAW / "a", "p1", 1)
    raw_folder.put(raw_folder.RAW / "a/@eaDir", "p2", 2)
    raw_folder.put_key()
    [case] = discovery.find_cases(raw_folder.RAW, "FLAIR")
    assert case.case_id == raw_folder.pseudonym("p1")
    assert len(case.files) == 6


def test_export_whose_files_name_a_patient_each_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    raw_folder.make_project(tmp_path, monkeypatch)
    phantoms.files(raw_folder.RAW / "a", PatientID=[f"anon{index}" for index in range(10)])
    raw_folder.put_key()
    assert len(discovery.find_cases(raw_folder.RAW, "FLAIR")) == 10
    assert any("CASE/FLAIR" in record.message for record in caplog.records)
