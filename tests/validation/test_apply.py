"""A labelled cohort read, predicted and measured: labels by id, patients, identities, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
from workspace import in_this_process, write_params

from flairprep.cohort.labels import LabelsParams
from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.inference.preprocess import Steps, steps_of
from flairprep.runner import result_cache
from flairprep.validation.apply import Applied, apply
from flairprep.validation.identities import of_training
from flairprep.validation.measured import HEADER

SETTINGS: dict[str, dict[str, Any]] = {"ingest": {"max_failed": 1}, "select_slices": {"count": 6, "size": 16}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as the current folder, whose cases run in this process, and beside it a cohort of three cases."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    write_params(tmp_path / "project", **SETTINGS)
    for case in range(3):
        put(tmp_path / "scans" / f"case{case}" / "FLAIR", case)
    (tmp_path / "fingerprints").mkdir()
    return tmp_path


def put(folder: Path, case: int, **elements: Any) -> None:
    values = np.pad(np.random.default_rng(case).integers(300, 999, (10, 14, 12)), ((1, 1), (3, 3), (3, 3)))
    own = {"PatientID": f"MRN {4000000 + case // 2}", "StudyInstanceUID": f"1.2.840.{case}.55"}
    series = phantoms.slices(
        values.astype(np.int16), spacing=(3, 1, 1), SeriesDescription="ax flair", Manufacturer="GE ", **own | elements
    )
    phantoms.save(series, folder, seed=case)


def steps() -> Steps:
    return steps_of(params.read_params())


def applied(root: Path, table: str, path: str = "scans", **columns: Any) -> Applied:
    """Apply a network that answers with the mean of its input to the scans in `path`."""
    (root / "labels.csv").write_text(table)
    section = {"case_column": "id", "label_column": "label", "positive": None, **columns}
    labels = LabelsParams.model_construct(table=str(root / "labels.csv"), **section)
    return apply(steps(), root / path, labels, root / "fingerprints", lambda x: x.mean((1, 2, 3, 4))[None] / 9 + 0.5)


def test_cases_have_predictions_labels_features_and_patients(project: Path) -> None:
    put(project / "scans/broken/FLAIR", 7)
    for file in (project / "scans/broken/FLAIR").iterdir():
        file.write_text("no DICOM")
    one = applied(project, "id,label\ncase0,0\ncase1,1\nbroken,1\nnowhere,1\n")
    assert one.labels == {"case0": 0, "case1": 1, "broken": 1}
    assert [each.outcome.case_id for each in one.predictions] == ["broken", "case0", "case1", "case2"]
    assert [each.outcome.case_id for each in one.scored()] == ["case0", "case1"]
    assert one.cohort.case_ids == ["case0", "case1", "case2"]
    assert one.cohort.header["manufacturer"].tolist() == ["ge"] * 3
    assert list(one.cohort.header.columns) == list(HEADER)
    assert all(path.is_file() for path in one.cohort.files)
    assert one.patients["case0"] == one.patients["case1"] != one.patients["case2"]
    assert "MRN" not in str(one)


def test_labels_may_be_texts_in_columns_of_any_name(project: Path) -> None:
    table = "Subject;Status\ncase0;Methylated\ncase2;unmethylated\n"
    one = applied(project, table, case_column="Subject", label_column="Status", positive="methylated")
    assert one.labels == {"case0": 1, "case2": 0}


def test_sessions_of_a_patient_are_cases_that_share_its_label(project: Path) -> None:
    write_params(Path(), **SETTINGS | {"ingest": {"session": "each"}})
    put(project / "scans/case2/FLAIR/later", 9, PatientID="MRN 4000001", StudyDate="20200101")
    one = applied(project, "id,label\ncase0,0\ncase2,1\n")
    assert one.labels == {"case0": 0, "case2_1": 1, "case2_2": 1}
    assert one.patients["case2_1"] == one.patients["case2_2"]
    assert one.cohort.case_ids == ["case0", "case1", "case2_1", "case2_2"]


def test_an_id_that_was_written_over_makes_no_patient_of_all_cases(project: Path) -> None:
    for case in range(4):
        put(project / f"overwritten/case{case}/FLAIR", case, PatientID="ANONYMIZED")
    one = applied(project, "id,label\ncase0,0\n", "overwritten")
    assert one.patients == {case: case for case in ("case0", "case1", "case2", "case3")}


def test_one_case_alone_is_a_cohort(project: Path) -> None:
    assert applied(project, "id,label\ncase1,1\n", "scans/case1").labels == {"case1": 1}


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("id,label\nother,1\n", {}),
        ("id,label\ncase0,\n", {}),
        ("id,label\ncase0,2\n", {}),
        ("name,label\ncase0,1\n", {}),
        ("id,label\ncase0,1\n", {"label_column": "status"}),
    ],
)
def test_tables_without_a_usable_label_are_refused(project: Path, table: str, columns: dict[str, str]) -> None:
    with pytest.raises(FlairprepError):
        applied(project, table, **columns)


def test_scans_or_labels_that_are_not_there_are_refused(project: Path) -> None:
    (project / "empty").mkdir()
    for path in ("empty", "missing"):
        with pytest.raises(FlairprepError):
            applied(project, "id,label\ncase0,1\n", path)
    section = LabelsParams.model_construct(table="none.csv", case_column="id", label_column="label", positive=None)
    with pytest.raises(FlairprepError, match=r"none\.csv"):
        apply(steps(), project / "scans", section, project / "fingerprints", lambda x: x)


def test_the_training_cohort_and_the_new_one_name_a_patient_alike(project: Path) -> None:
    put(Path("data/raw/train/a/FLAIR"), 0)
    put(Path("data/raw/train/b/FLAIR"), 5, PatientID="00001")
    put(Path("data/raw/train/c/FLAIR"), 6)
    known = of_training(steps().ingest, ["a", "b"])
    new = applied(project, "id,label\ncase0,1\n").identities
    assert known is not None
    assert set(known) == {"a", "b"}
    assert known["a"] == new["case0"]
    assert known["a"].patient == new["case1"].patient
    assert known["a"].study != new["case1"].study
    assert (known["a"].serial, known["b"].serial) == (False, True)


def test_without_its_raw_files_nothing_is_known_of_the_training_cohort(project: Path) -> None:
    assert of_training(steps().ingest, ["a"]) is None
