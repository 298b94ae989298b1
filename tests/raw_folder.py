"""The folder of raw scans as archives and people leave it, in a project of its own."""

import hashlib
import hmac
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
from pydicom import config
from pydicom.dataset import Dataset
from workspace import in_this_process, write_params

from flairprep.cli import who
from flairprep.core.tables import read_csv
from flairprep.dicom import subjects
from flairprep.runner import result_cache
from flairprep.stages import ingest

RAW = Path("data/raw/train")
OUT = Path("data/ingest")
KEY = bytes(range(32))


def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the current folder, in a folder of its own, so that there is an outside."""
    root = tmp_path / "project"
    (root / RAW).mkdir(parents=True)
    monkeypatch.chdir(root)
    for module, name in ((subjects, "map_cases"), (who, "map_cases"), (result_cache, "run_cases")):
        monkeypatch.setattr(module, name, in_this_process)
    write_params(root, ingest={"max_failed": 1, "min_slices": 6}, split={"folds": 2})
    return root


def brain(seed: int, slices: int = 6) -> np.ndarray:
    """A skull-stripped volume, so that nothing warns of a face."""
    return np.pad(np.random.default_rng(seed).integers(1, 999, (slices - 2, 4, 4)), 1).astype(np.int16)


def put(folder: Path, patient: str, seed: int, **elements: Any) -> list[Path]:
    """A FLAIR of a patient in `folder`, as an archive names files: without an extension, in no order."""
    own = {
        **{"PatientID": patient, "StudyInstanceUID": f"1.2.{seed}", "SeriesInstanceUID": f"1.2.{seed}.1"},
        **{"SeriesDescription": "t2_flair", "EchoTime": 90, "InversionTime": 2500, "RepetitionTime": 9000},
    }
    values = elements.pop("values", brain(seed))
    with config.disable_value_validation():  # an id of 400 characters is longer than DICOM allows
        series = phantoms.slices(values, SpecificCharacterSet="ISO_IR 192", **own | elements)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for index, dataset in enumerate(series):
            path = folder / f"IM{hashlib.sha256(f'{patient} {seed} {index}'.encode()).hexdigest()[:8]}"
            dataset.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def damage(path: Path) -> None:
    """Damage a file so that its patient id cannot be read."""
    content = path.read_bytes()
    assert content.count(b"\x10\x00\x20\x00LO") == 1  # PatientID
    path.write_bytes(content.replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00XX"))


def put_damaged(path: Path) -> None:
    """Write a damaged file of nobody."""
    (whole, *others) = put(path.parent / "made", "p9", 9)
    damage(whole)
    whole.rename(path)
    for other in others:
        other.unlink()
    (path.parent / "made").rmdir()


def pseudonym(patient: str, key: bytes = KEY) -> str:
    """The case id of a patient, by the standard library alone."""
    return hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:16]


def put_key() -> None:
    """Put KEY into the raw folder."""
    (RAW / "flairprep.key").write_text(KEY.hex() + "\n")


def ingested() -> dict[str, str]:
    """Case id -> code, or status where there is none, after ingest."""
    ingest.main()
    return {row["case_id"]: row["code"] or row["status"] for row in read_csv(OUT / "cases.csv").to_dict("records")}


def export() -> dict[str, list[str]]:
    """An export as archives make it; for each patient the folders that his files lie in."""
    put(RAW / "DICOM/0000/A", "p1", 1)
    put(RAW / "DICOM/0000/A", "p2", 2)  # two patients in one folder
    third = put(RAW / "x", "p3", 3)
    for index, path in enumerate(third):  # one patient over several folders
        target = RAW / f"y/{index % 3}/{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    put(RAW / "z", "p4", 4)  # several series in one folder
    put(RAW / "z", "p4", 41, StudyInstanceUID="1.2.4", SeriesDescription="t1 mprage", EchoTime=3, InversionTime=900)
    put(RAW / "z", "p4", 42, StudyInstanceUID="1.2.4", SeriesDescription="t2 tse", InversionTime=None)
    for folder in ("", "DICOM", "z"):
        (RAW / folder / "readme.txt").write_text("an export")
        put_directory(RAW / folder / "DICOMDIR")
    (RAW / "empty").mkdir()
    return {"p1": ["DICOM/0000/A"], "p2": ["DICOM/0000/A"], "p3": ["y/0", "y/1", "y/2"], "p4": ["z"]}


def put_directory(path: Path) -> None:
    """A DICOMDIR as archives add one; it names patients and holds no image."""
    dataset = phantoms.slices(brain(0))[0]
    for keyword in ("PatientID", "PixelData", "Rows", "Columns", "SeriesInstanceUID", "StudyInstanceUID"):
        delattr(dataset, keyword)
    dataset.SOPClassUID = "1.2.840.10008.1.3.10"
    dataset.DirectoryRecordSequence = [Dataset()]
    dataset.save_as(path, enforce_file_format=True)
