"""What a look at a folder of scans finds: its layout, its cases, its sequence."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import phantoms
import pytest
import raw_folder
from workspace import in_this_process

from flairprep.core.errors import FlairprepError
from flairprep.dicom import subjects
from flairprep.runner import result_cache
from flairprep.study import scans


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder of scans; no worker process starts."""
    for module, name in ((scans, "map_cases"), (subjects, "map_cases"), (result_cache, "run_cases")):
        monkeypatch.setattr(module, name, in_this_process)
    root = tmp_path / "scans"
    root.mkdir()
    return root


def put(folder: Path, seed: int, **elements: Any) -> None:
    """Write a series that no header names a sequence of."""
    own = {"PatientID": f"p{seed}", "StudyInstanceUID": f"1.2.{seed}", "SeriesInstanceUID": f"1.2.{seed}.1"}
    phantoms.save(phantoms.slices(raw_folder.brain(seed), **own, **elements), folder)


def test_a_folder_per_case(folder: Path) -> None:
    for case in range(3):
        put(folder / f"{case:05d}/FLAIR", case)
        put(folder / f"{case:05d}/T1w", case + 10)
    (folder / "00003/T1w").mkdir(parents=True)
    found = scans.look(folder)
    assert (found.layout, found.keyed, found.sequence) == ("folders", False, "FLAIR")
    assert found.ids == {"00000", "00001", "00002", "00003"}
    assert found.sequences == {"FLAIR": 3, "T1w": 4}
    assert found.outcomes == {"": 3, "NO_SERIES": 1}
    assert "00003" not in " ".join(found.describe())


def test_the_commonest_sequence_is_read_where_there_is_no_flair(folder: Path) -> None:
    for case, sequences in enumerate((["T2w"], ["T2w", "T1w"], ["T2w"])):
        for sequence in sequences:
            put(folder / f"c{case}" / sequence, case)
    found = scans.look(folder)
    assert found.sequence == "T2w"
    assert found.outcomes == {"": 3}


def test_nifti_files(folder: Path) -> None:
    for case in ("a", "b"):
        (folder / case).mkdir()
        nib.save(nib.Nifti1Image(np.ones((6, 7, 8), np.int16), np.eye(4)), folder / case / f"{case}_flair.nii.gz")
    found = scans.look(folder)
    assert (found.layout, found.ids, found.outcomes) == ("nifti", {"a", "b"}, {"": 2})


@pytest.mark.parametrize("keyed", [False, True])
def test_an_export_is_told_without_any_patient_id(folder: Path, keyed: bool) -> None:
    for seed, patient in enumerate(("MILLER", "SMITH")):
        raw_folder.put(folder / f"x{seed}/y", patient, seed)
    if keyed:
        (folder / "flairprep.key").write_text(f"{raw_folder.KEY.hex()}\n")
    found = scans.look(folder)
    pseudonyms = {raw_folder.pseudonym("MILLER"), raw_folder.pseudonym("SMITH")}
    assert (found.layout, found.keyed, found.sequence) == ("export", keyed, "FLAIR")
    assert found.ids == (pseudonyms if keyed else {"MILLER", "SMITH"})
    told = " ".join(found.describe())
    assert "MILLER" not in told
    assert not any(name in told for name in pseudonyms)


def test_cases_that_are_looked_at_are_spread_over_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "LOOKED_AT", 3)
    for case in range(9):
        put(folder / f"{case:05d}/{'FLAIR' if case % 3 else 'T2w'}", case)
    found = scans.look(folder)
    assert len(found.ids) == 9
    assert sum(found.outcomes.values()) == 3
    assert found.sequences == {"T2w": 3}


@pytest.mark.parametrize("name", ["", "missing"])
def test_no_case_is_an_error(folder: Path, name: str) -> None:
    with pytest.raises(FlairprepError, match="--scans"):
        scans.look(folder / name)
