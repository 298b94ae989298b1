"""The whole pipeline on NIfTI scans: real ones as a BIDS data set, and archives that are full of canaries."""

import json
import shutil
from pathlib import Path

import miniature
import nifti_canaries
import numpy as np
import pytest
from archived import replace_folder
from test_privacy import leaks

from flairprep.core.tables import read_csv

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def make(folder: Path, **changes: object) -> miniature.Project:
    """A miniature project without its scans and labels, which are to follow."""
    project = miniature.make(folder / "project", 2, FLAIRPREP_CACHE=str(folder / "cache"))
    shutil.rmtree(project.root / "data/raw/train")
    (project.root / "data/raw/train").mkdir()
    project.edit(**changes)
    return project


def repro(project: miniature.Project) -> str:
    """Put the scans under DVC and run the pipeline; return all that it printed."""
    return project.run("dvc", "add", "-q", "data/raw/train") + project.run("sh", "-c", "dvc repro 2>&1")


def test_real_scans_as_a_bids_data_set_come_to_a_verdict(scans: Path, tmp_path: Path) -> None:
    table = "data/raw/train/participants.tsv"
    project = make(
        tmp_path,
        **{"labels__table": table, "labels__case_column": "participant_id", "labels__label_column": "lesion"},
        **{"split__folds": 2, "select_slices__count": 64, "select_slices__size": 64},
    )
    raw = project.root / "data/raw/train"
    rows = []
    for number, path in enumerate(sorted((scans / "flair-nifti").rglob("FLAIR*.nii.gz")), 1):
        anat = raw / f"sub-{number:02d}/anat"
        anat.mkdir(parents=True)
        shutil.copy(path, anat / f"sub-{number:02d}_FLAIR.nii.gz")
        rows.append(f"{number:02d}\t{number % 2}")  # without sub-
    (raw / "participants.tsv").write_text("\n".join(["participant_id\tlesion", *rows, "05\tn/a"]) + "\n")
    (raw / "FLAIR.json").write_text(json.dumps({"MagneticFieldStrength": 3}))
    repro(project)
    cases = read_csv(project.root / "data/ingest/cases.csv")
    assert list(cases["case_id"]) == [f"sub-{number:02d}" for number in range(1, len(rows) + 1)]
    assert set(cases["field_strength"]) == {"3"}
    assert set(cases["status"]) <= {"ok", "warned"}
    assert len(read_csv(project.root / "data/split/split.csv")) == len(rows) == 4
    metrics = json.loads((project.root / "reports/metrics.json").read_text())
    assert 0 <= metrics["accuracy"] <= 1
    assert metrics["verdict"] in project.run("flairprep", "verdict")
    assert project.run("dvc", "status").strip() == "Data and pipelines are up to date."


def test_nothing_of_archives_and_scans_comes_out_of_the_pipeline(tmp_path: Path) -> None:
    cases = 12
    project = make(tmp_path, audit__permutations=99)
    raw = project.root / "data/raw"
    z, y, x = np.indices((12, 20, 20)) - np.array([5.5, 9.5, 9.5]).reshape(3, 1, 1, 1)
    ball = z**2 * 2 + y**2 + x**2 < 60
    rng = np.random.default_rng(0)
    for case in range(cases):
        values = np.where(ball, rng.integers(300, 400, ball.shape), 0)
        values[5:8, 8:12, 6:10] += 300 * (case % 2)
        nifti_canaries.put(raw / f"train/{case:05d}/CANARY 19610203_FLAIR.nii.gz", values.T.astype(np.int16))
        kind = (".zip", ".tar", ".tar.gz", ".tar.zst")[case % 4]
        nifti_canaries.mark(replace_folder(raw / f"train/{case:05d}", kind, "CANARY/19610203/"))
    rows = [f"{case:05d},{case % 2}" for case in range(cases)]
    (raw / "train_labels.csv").write_text("\n".join(["BraTS21ID,MGMT_value", *rows]) + "\n")
    shown = repro(project) + project.run("flairprep", "inspect", "data/raw/train") + project.run("flairprep", "verdict")
    paths = [path for name in ("data", "reports") for path in (project.root / name).rglob("*")]
    files = [path for path in paths if path.is_file() and raw / "train" not in path.parents]
    contents = {str(path.relative_to(project.root)): nifti_canaries.unpacked(path) for path in files}
    contents["dvc.lock"] = (project.root / "dvc.lock").read_bytes()
    contents["shown"] = shown.encode()
    assert {"dvc.lock", "shown", "data/ingest/cases.csv", "reports/index.html"} <= set(contents)
    assert len([name for name in contents if name.endswith(".nii.gz")]) == 3 * cases
    assert leaks(contents, []) == []
