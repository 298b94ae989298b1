"""flairprep validate on a project that ran: a like cohort, copies, a shift, one label, a commit."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import phantoms
import pytest
from miniature import Project

from flairprep.core.tables import read_rows

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
CASES = 14


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A miniature run, committed, and a cohort of the same kind beside it."""
    made = miniature.make(tmp_path_factory.mktemp("validated"), cases=24)
    made.repro()
    made.run("git", "add", ".")
    made.run("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "run")
    write(made.root / "other", [index % 2 for index in range(CASES)])
    return made


def write(folder: Path, labels: list[int], **elements: Any) -> None:
    """Balls as those of the miniature cohort, from other random numbers, in folder/scans and folder/labels.csv."""
    z, y, x = np.indices((12, 20, 20)) - np.array([5.5, 9.5, 9.5]).reshape(3, 1, 1, 1)
    ball, rng = z**2 * 2 + y**2 + x**2 < 60, np.random.default_rng(5)
    settings = {"spacing": (2, 1, 1), "Manufacturer": "SIEMENS"} | elements
    for case, label in enumerate(labels):
        volume = np.where(ball, rng.integers(300, 400, ball.shape), 0)
        volume[5:8, 8:12, 6:10] += 300 * label
        series = phantoms.slices(volume.astype(np.uint16), PatientID=f"MRN {7654321 + case}", **settings)
        phantoms.save(series, folder / f"scans/site{case:02d}/FLAIR", seed=900 + case)
    table(folder / "labels.csv", {f"site{case:02d}": label for case, label in enumerate(labels)})


def table(path: Path, labels: dict[str, int]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("BraTS21ID", "MGMT_value"), *labels.items()])


def validate(project: Project, cohort: str, *options: str) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Return validation.json and the rows of predictions.csv by case."""
    command = ("python", "-c", "from flairprep.cli.main import main; main()", "validate")
    project.variables["PYTHONPATH"] = "src"
    project.run("env", "PYTHONPATH=src", *command, f"{cohort}/scans", f"{cohort}/labels.csv", "--out", "out", *options)
    out = project.root / "out"
    assert "<!doctype html>" in (out / "validation.html").read_text()
    content = json.loads((out / "validation.json").read_text())
    return content, {row["case_id"]: row for row in read_rows(out / "predictions.csv", ("case_id",))}


def test_a_like_cohort_has_no_flag_and_the_commit_gives_the_same_numbers(project: Project) -> None:
    content, rows = validate(project, "other")
    assert content["flags"] == []
    assert content["cases"] == {"found": CASES, "failed": 0, "without_label": 0, "measured": CASES}
    assert {leak["name"]: leak["verdict"] for leak in content["leaks"]} == {
        "study": "not testable",  # the miniature's files name none
        "patient": "clean",
        "near-duplicates": "clean",
    }
    assert content["measures"]["n"] == CASES
    again, same = validate(project, "other", "--run", "HEAD")
    assert same == rows
    assert again == content | {"run": "HEAD"}


def test_copies_of_training_cases_are_leaks_and_failed_cases_are_rows(project: Project) -> None:
    shutil.copytree(project.root / "other", project.root / "leaking")
    scans = project.root / "leaking/scans"
    shutil.copytree(project.root / "data/raw/train/00003", scans / "copied")
    (scans / "broken/FLAIR").mkdir(parents=True)
    (scans / "broken/FLAIR/1.dcm").write_text("no DICOM")
    labels = {
        row["BraTS21ID"]: int(row["MGMT_value"]) for row in read_rows(scans.parent / "labels.csv", ("BraTS21ID",))
    }
    table(scans.parent / "labels.csv", labels | {"copied": 1, "broken": 0})
    content, rows = validate(project, "leaking")
    (match,) = next(leak["matches"] for leak in content["leaks"] if leak["name"] == "near-duplicates")
    assert (match["case_id"], match["training_case"], match["correlation"]) == ("copied", "00003", 1)
    assert content["measures"]["leaked"] == 1
    assert content["measures"]["auc_without_leaks"] is not None
    assert (rows["broken"]["status"], rows["broken"]["probability"]) == ("failed", "")
    assert "near-duplicates" in rows["copied"]["leak"]


def test_thicker_slices_of_another_scanner_are_a_shift_outside_the_training_cohort(project: Project) -> None:
    write(project.root / "shifted", [index % 2 for index in range(CASES)], spacing=(4, 1, 1), Manufacturer="HITACHI")
    content, rows = validate(project, "shifted")
    assert {"manufacturer", "spacing_z"} <= set(content["shift"]["shifted"])
    assert content["outside"]["cases"] == CASES
    assert all("manufacturer hitachi" in row["outside"] for row in rows.values())


def test_one_label_is_told_and_no_output_names_a_patient_or_a_path(project: Project) -> None:
    write(project.root / "alone", [1] * CASES)
    content, _ = validate(project, "alone")
    assert content["measures"]["auc"] is None
    assert content["calibration"]["after"] is None
    written = [path for path in (project.root / "out").rglob("*") if path.is_file()]
    assert written
    for path in written:
        text = path.read_text(encoding="utf-8", errors="replace")
        assert "MRN" not in text
        assert "7654321" not in text
        assert str(project.root) not in text
