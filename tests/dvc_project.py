"""A project of git and DVC whose stages take a moment."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from workspace import PARAMS

FAKE = """
import csv, json, pathlib, random, sys
from ruamel.yaml import YAML

p = YAML(typ="safe", pure=True).load(pathlib.Path("params.yaml"))
read = lambda path: list(csv.reader(open(path)))[1:]


def put(path, *rows):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    csv.writer(path.open("w", newline=""), lineterminator="\\n").writerows(rows)


match sys.argv[1]:
    case "ingest":
        put("data/ingest/cases.csv", ("case_id", "status"), *((case, "ok") for case, _ in read(p["labels"]["table"])))
    case "split":
        rows = read(p["labels"]["table"])
        folds = [i // 2 % p["split"]["folds"] for i in range(len(rows))]
        random.Random(p["split"]["seed"]).shuffle(folds)
        rows = [(case, label, case, fold) for (case, label), fold in zip(rows, folds)]
        put("data/split/split.csv", ("case_id", "label", "group", "fold"), *rows)
    case "train":
        if p["lr"] > 1:
            sys.exit("diverged")
        head = ("epoch", "case_id", "label", "probability")
        rng, signal = random.Random(str((p["seed"], p["lr"], p["val_fold"]))), p["lr"] < 5e-5
        cases = [row for row in read("data/split/split.csv") if int(row[3]) == p["val_fold"]]
        score = lambda label: round(0.5 * rng.random() + (int(label) / 2 if signal else 0.25), 6)
        rows = [(epoch, case, label, score(label)) for epoch in (1, 2, 3) for case, label, *_ in cases]
        put("data/train/val_predictions.csv", head, *rows)
        put("data/train/test_predictions.csv", head)
    case "audit":
        pathlib.Path("reports/audit.json").write_text(json.dumps({"items": [], "strata": {}}))
    case "evaluate":
        pathlib.Path("reports/metrics.json").write_text(json.dumps({"accuracy": 0.5}))
"""


PIPELINE = {
    "ingest": (["data/raw/train_labels.csv"], ["ingest", "labels"], "data/ingest"),
    "split": (["data/raw/train_labels.csv", "data/ingest/cases.csv"], ["labels", "split"], "data/split"),
    "train": (
        ["data/split"],
        ["lr", "batch_size", "epochs", "seed", "val_fold", "test_fold", "model", "train"],
        "data/train",
    ),
}


def project(root: Path) -> Path:
    """Create a project of git and DVC whose stages take a moment, without a commit."""
    (root / "reports").mkdir()
    (root / "data/raw").mkdir(parents=True)
    (root / "fake.py").write_text(FAKE)
    (root / "data/raw/train_labels.csv").write_text("id,label\n" + "".join(f"{i:05d},{i % 2}\n" for i in range(60)))
    (root / "params.yaml").write_text(PARAMS.read_text())
    stages: dict[str, Any] = {
        name: {"cmd": f"{sys.executable} fake.py {name}", "deps": deps, "params": params, "outs": [out]}
        for name, (deps, params, out) in PIPELINE.items()
    }
    metrics = [{"reports/metrics.json": {"cache": False}}]
    stages["evaluate"] = {"cmd": f"{sys.executable} fake.py evaluate", "deps": ["data/train"], "metrics": metrics}
    audit = {"cmd": f"{sys.executable} fake.py audit", "deps": ["data/split"]}
    stages["audit"] = audit | {"outs": [{"reports/audit.json": {"cache": False}}]}
    YAML().dump({"stages": stages}, root / "dvc.yaml")
    shell(root, "git init -q -b main")
    shell(root, "git config user.email test@example.org")
    shell(root, "git config user.name test")
    shell(root, "dvc init -q")
    (root / ".dvc/config").write_text("[core]\n    autostage = true\n    analytics = false\n")
    return root


def shell(root: Path, command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command), cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def wait(root: Path, done: Any) -> None:
    deadline = time.monotonic() + 120
    while not done(status := shell(root, "dvc queue status")):
        assert time.monotonic() < deadline, status
        time.sleep(0.5)
