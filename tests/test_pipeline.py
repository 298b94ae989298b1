"""The real pipeline, run by DVC on a miniature cohort: what an edit reruns, and what a queued experiment executes."""

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
from ruamel.yaml import YAML
from workspace import PARAMS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ("src", ".dvc/config", ".dvc/.gitignore", ".dvc/plots", ".dvcignore", ".gitignore", "dvc.yaml")
MINIATURE = {
    "epochs": 2,
    "batch_size": 8,
    "select_slices.count": 8,
    "select_slices.size": 16,
    "split.folds": 3,
    "model.filters": [2],
    "train.augment": "none",
    "evaluate.permutations": 99,
}
TRAIN = ("train", "evaluate")
EXPORT = ("export", *TRAIN)


class Project:
    """A git and DVC repository with the project's own files and a cohort of small phantoms."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str) -> str:
        """What `command` prints; fails with it where the command fails."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "FLAIRPREP_WORKERS": "1"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def repro(self) -> tuple[str, ...]:
        """The stages that `dvc repro` ran, in order."""
        return tuple(re.findall(r"Running stage '(\w+)'", self.run("dvc", "repro")))

    def edit(self, **changes: Any) -> None:
        """Changes values of params.yaml; `section__key` stands for section.key."""
        yaml = YAML()
        params = yaml.load(self.root / "params.yaml")
        for key, value in changes.items():
            *sections, name = key.replace("__", ".").split(".")
            section = params
            for part in sections:
                section = section[part]
            section[name] = value
        yaml.dump(params, self.root / "params.yaml")

    def comment(self, module: str) -> None:
        """Adds a comment to a source file."""
        with (self.root / "src/flairprep" / module).open("a") as file:
            file.write("# one comment more\n")


def write_cohort(raw: Path, cases: int = 18) -> None:
    """Spheres among exact zeros, brighter where the label is 1."""
    z, y, x = np.indices((12, 20, 20)) - np.array([5.5, 9.5, 9.5]).reshape(3, 1, 1, 1)
    ball = z**2 * 2 + y**2 + x**2 < 60
    rng = np.random.default_rng(0)
    rows = []
    for case in range(cases):
        volume = np.where(ball, rng.integers(300, 400, ball.shape), 0)
        volume[5:8, 8:12, 6:10] += 300 * (case % 2)
        name = f"{case:05d}"
        series = phantoms.slices(volume.astype(np.uint16), spacing=(2, 1, 1), PatientID=name, Manufacturer="SIEMENS")
        phantoms.save(series, raw / "train" / name / "FLAIR", seed=case)
        rows.append((name, case % 2))
    with (raw / "train_labels.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("BraTS21ID", "MGMT_value"), *rows])


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The miniature after its first `dvc repro`, committed."""
    root = tmp_path_factory.mktemp("project")
    for name in PROJECT:
        source = ROOT / name
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for folder in ("data", "reports"):
        (root / folder).mkdir()
        shutil.copy(ROOT / folder / ".gitignore", root / folder)
    shutil.copy(PARAMS, root)
    write_cohort(root / "data/raw")
    project = Project(root)
    project.edit(**{key.replace(".", "__"): value for key, value in MINIATURE.items()})
    project.run("git", "init", "-q")
    project.run("git", "config", "user.email", "test@example.org")
    project.run("git", "config", "user.name", "test")
    project.run("dvc", "add", "-q", "data/raw/train")
    project.run("git", "add", "-A")
    ran = project.repro()
    assert ran == ("ingest", "normalize", "select_slices", "balance", "split", *EXPORT)
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "miniature")
    return project


def test_nothing_reruns_without_a_change(project: Project) -> None:
    assert project.repro() == ()


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"lr": 2e-4, "batch_size": 6, "epochs": 3, "seed": 1, "val_fold": 1, "test_fold": 2}, TRAIN),
        ({"train__schedule": "constant"}, TRAIN),
        ({"model__init": "glorot_uniform"}, TRAIN),
        ({"evaluate__seed": 1}, ("evaluate",)),
        ({"balance__power": 0.9}, ("balance",)),
        ({"export__cases_per_shard": 3}, EXPORT),
        ({"split__seed": 1}, ("split", *EXPORT)),
        ({"select_slices__method": "resample"}, ("select_slices", *EXPORT)),
        ({"normalize__background": -5.0}, ("normalize", "select_slices", *EXPORT)),
        ({"ingest__max_failed": 0.5}, ("ingest",)),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_param_reruns_what_it_touches(project: Project, changes: dict[str, Any], stages: tuple[str, ...]) -> None:
    project.edit(**changes)
    assert set(project.repro()) == set(stages)


def test_a_label_reruns_all_that_reads_labels(project: Project) -> None:
    table = project.root / "data/raw/train_labels.csv"
    table.write_text(table.read_text().replace("00000,0", "00000,1"))
    assert set(project.repro()) == {"balance", "split", *EXPORT}


def test_a_dicom_file_reruns_ingest_and_what_its_outs_change(project: Project) -> None:
    path = sorted((project.root / "data/raw/train/00003/FLAIR").iterdir())[0]
    content = bytearray(path.read_bytes())
    content[-201] ^= 1  # the low byte of a voxel at the border, outside the sphere
    path.unlink()  # DVC may have linked it to its cache
    path.write_bytes(content)
    ran = project.repro()
    assert ran[0] == "ingest"
    assert "split" not in ran, "same_as.csv and cases.csv did not change"
    assert set(ran) >= {"ingest", "normalize"}


@pytest.mark.parametrize("stage", ["ingest", "normalize", "select_slices", "balance", "split", "evaluate"])
def test_a_comment_reruns_its_stage_alone_since_outs_are_byte_stable(project: Project, stage: str) -> None:
    project.comment(f"stages/{stage}.py")
    assert project.repro() == (stage,)


def test_a_queued_run_executes_the_code_that_was_queued(project: Project) -> None:
    """With lr=1e-5 as DVC writes it, 1e-05, and the cohort linked, not copied, from the cache."""
    project.run("git", "commit", "-q", "-a", "-m", "before the queue")
    project.run("dvc", "exp", "run", "--queue", "--name", "queued", "-S", "lr=1e-5")
    source = project.root / "src/flairprep/stages/train.py"
    queued = source.read_text()
    source.write_text(queued.replace('console.say(f"train: ', 'raise SystemExit(f"train: '))
    assert source.read_text() != queued
    project.run("dvc", "queue", "start")
    deadline = time.monotonic() + 300  # of patience, in case the queue never ends
    while "Running" in (status := project.run("dvc", "queue", "status")) or "Queued" in status:
        assert time.monotonic() < deadline, status
        time.sleep(1)
    source.write_text(queued)
    assert "Success" in status, status + project.run("dvc", "queue", "logs", "queued")
    shown = project.run("dvc", "exp", "show", "--csv")
    row = next(row for row in csv.DictReader(shown.splitlines()) if row["Experiment"] == "queued")
    assert float(row["lr"]) == 1e-5
    assert row["verdict"] in {"learned", "no evidence", "constant prediction"}
