"""A project of git and DVC with a network of random weights in it, as a finished run leaves it; no stage ran."""

import json
import shutil
from pathlib import Path
from typing import Any

import exports
import numpy as np
import phantoms
from dvc_project import shell
from ruamel.yaml import YAML
from workspace import write_params

import flairprep
from flairprep.inference import code
from flairprep.network import model, saving, training

SHAPE = (8, 16, 16, 1)
RAW = "data/raw/train"
LABELS = {0: "0101", 1: "0110"}  # of fold 0, which is validated on, and of fold 1
SECTIONS = {"ingest": {"max_failed": 1}, "select_slices": {"count": SHAPE[0], "size": SHAPE[1]}}
PACKAGE = Path(flairprep.__file__).parent
CODE = ("cohort", "core", "dicom", "imaging", "nifti_input", "runner", "stages/ingest.py")


def make(root: Path, cases: int = 3) -> Path:
    """Write the project; its scans are 00000 and so on in data/raw/train."""
    write_params(root, **SECTIONS)
    for number in range(cases):
        put_scan(root / RAW / f"{number:05d}/FLAIR", number)
    exports.write_export(root, LABELS, lambda rng, label, _: exports.brain(rng, label, 1.0))
    ids = {fold: [f"{fold}{index:04d}" for index in range(len(labels))] for fold, labels in LABELS.items()}
    put(root / "data/export/cases.csv", "case_id,status", [f"{case},ok" for fold in ids for case in ids[fold]])
    rows = [
        f"{case},{label},{case},{fold}" for fold in ids for case, label in zip(ids[fold], LABELS[fold], strict=True)
    ]
    put(root / "data/split/split.csv", "case_id,label,group,fold", rows)
    write_network(root / "data/train/model.keras", seed=0)
    write_lock(root)
    shell(root, "git init -q -b main")
    shell(root, "git config user.email test@example.org")
    shell(root, "git config user.name test")
    shell(root, "dvc init -q")
    return root


def put(path: Path, head: str, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *rows]) + "\n")


def put_scan(folder: Path, seed: int) -> None:
    """Write a skull-stripped FLAIR."""
    values = np.random.default_rng(seed).integers(300, 999, (10, 14, 12))
    values[:, :, : 2 * seed] += 900  # so that cases differ in what a mean over all voxels sees
    values = np.pad(values, ((1, 1), (3, 3), (3, 3)))
    phantoms.save(phantoms.slices(values.astype(np.int16), spacing=(2.5, 1.0, 1.0)), folder, seed)


def write_network(path: Path, seed: int, filters: tuple[int, ...] | None = (4,)) -> None:
    """Write a network whose answers differ from case to case."""
    training.seeded(seed)
    given: dict[str, Any] = {
        **dict.fromkeys(model.ModelParams.model_fields),
        "name": "resnet3d",
        "filters": filters and list(filters),
    }
    network = training.compiled(model.ModelParams(**given), SHAPE, prior=0.5, rate=1e-3)
    last = network.layers[-1]
    last.set_weights([np.random.default_rng(seed).normal(0, 0.5, last.weights[0].shape), last.get_weights()[1]])
    path.parent.mkdir(parents=True, exist_ok=True)
    saving.save(network, path)


def write_lock(root: Path) -> None:
    """Write dvc.lock as if the stages had run with the params of params.yaml and the code that is installed."""
    yaml = YAML()
    values = json.loads(json.dumps(YAML(typ="safe").load(root / "params.yaml")))
    deps = [{"path": f"src/flairprep/{name}", "md5": code.dvc_hash(PACKAGE / name)} for name in CODE]
    stages: dict[str, Any] = {
        name: {"deps": own, "params": {"params.yaml": {key: values[key] for key in keys}}}
        for name, own, keys in (
            ("ingest", deps, ["ingest"]),
            ("normalize", [], ["normalize"]),
            ("select_slices", [], ["select_slices"]),
            ("export", [{"path": code.TENSOR[0], "md5": code.dvc_hash(PACKAGE / "stages/export.py")}], ["export"]),
            ("train", [], ["val_fold", "test_fold"]),
        )
    }
    yaml.dump({"schema": "2.0", "stages": stages}, root / "dvc.lock")


def copy_of(root: Path, target: Path) -> Path:
    """Copy the project, so that a test may change it."""
    shutil.copytree(root, target, dirs_exist_ok=True)
    return target
