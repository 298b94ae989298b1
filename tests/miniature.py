"""A project of its own for the tests: the real pipeline on a miniature cohort, in a git and DVC repository."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
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
    "audit.permutations": 999,
    "evaluate.permutations": 99,
}


class Project:
    """A git and DVC repository with the project's own files and a cohort of small phantoms."""

    def __init__(self, root: Path, **variables: str) -> None:
        self.root = root
        self.variables = {"FLAIRPREP_WORKERS": "1", **variables}

    def run(self, *command: str) -> str:
        """What `command` prints; fails with it where the command fails."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **self.variables}
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


def write_cohort(raw: Path, cases: int) -> None:
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


def make(root: Path, cases: int = 18, **environment: str) -> Project:
    """The project's files and a cohort, its scans under DVC; nothing has run and nothing is committed.

    environment: of its commands.
    """
    for name in PROJECT:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for folder in ("data", "reports"):
        (root / folder).mkdir()
        shutil.copy(ROOT / folder / ".gitignore", root / folder)
    shutil.copy(PARAMS, root)
    write_cohort(root / "data/raw", cases)
    project = Project(root, **environment)
    project.edit(**{key.replace(".", "__"): value for key, value in MINIATURE.items()})
    project.run("git", "init", "-q")
    project.run("dvc", "add", "-q", "data/raw/train")
    return project
