"""A project in which the stages before `report` have run, made by hand and small, for the tests of the page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tables import put, put_labels
from workspace import volume, write_params

from flairprep.imaging import nifti
from flairprep.stages import balance, evaluate

HOSTILE = (
    "<script>window.ran = 1</script>",
    "\"'><img src=x onerror='window.ran = 1'>",
    "\u202egnp.exe\u202c \u200fright to left",
    "{{ 7 * 7 }} {% raw %} &amp; </style></script>",
    "long " + "x" * 10_000,
)
INGESTED = (
    *("case_id", "status", "code", "message", "plane", "rows", "columns", "slices", "spacing_z"),
    *("manufacturer", "field_strength", "sex", "age_band"),
)


def write_cases(cases: pd.DataFrame) -> None:
    """ingest's table and split.csv for `cases`: case_id, label, fold, and any of the columns of cases.csv."""
    given = {"status": "ok", "plane": "axial", "manufacturer": "siemens", "field_strength": "3", "sex": "F"}
    filled = cases.assign(**{name: cases.get(name, value) for name, value in given.items()})
    put("data/ingest/cases.csv", filled.reindex(columns=list(INGESTED)).to_csv(index=False))
    going = cases[filled["status"] != "failed"].assign(group=cases["case_id"])
    put("data/split/split.csv", going[["case_id", "label", "group", "fold"]].to_csv(index=False))
    put_labels(cases[["case_id", "label"]])


def write_volumes(case_ids: list[str], shape: tuple[int, int, int] = (8, 16, 16)) -> None:
    """What ingest and select_slices leave of each case: a ball, brighter on the patient's left."""
    z, y, x = np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2
    ball = (z / shape[0]) ** 2 + (y / shape[1]) ** 2 + (x / shape[2]) ** 2 < 0.16
    acquired = np.where(ball, 100 + 10 * (x > 0) + z, 0).astype(np.int16)
    seen = np.where(ball, (acquired - 100) / 10, -4).astype(np.float32)
    for case_id in case_ids:
        for folder, values in (("data/ingest/volumes", acquired), ("data/select_slices", seen)):
            Path(folder).mkdir(parents=True, exist_ok=True)
            nifti.write_volume(volume(values, (1.0, 1.0, 2.0)), Path(folder) / f"{case_id}.nii.gz")


def write_run(case_ids: list[str], labels: list[int], epochs: int = 6) -> None:
    """What train leaves of validation cases: right more often from epoch to epoch, the last case wrong in all."""
    rng = np.random.default_rng(0)
    rows = []
    for epoch in range(1, epochs + 1):
        for index, (case_id, label) in enumerate(zip(case_ids, labels, strict=True)):
            sure = 0.5 + 0.4 * epoch / epochs * rng.uniform(0.2, 1)
            right = index != len(labels) - 1
            rows.append((epoch, case_id, label, round(sure if (label == 1) == right else 1 - sure, 6)))
    table = pd.DataFrame(rows, columns=["epoch", "case_id", "label", "probability"])
    put("data/train/val_predictions.csv", table.to_csv(index=False))
    put("data/train/test_predictions.csv", "epoch,case_id,label,probability\n")
    down = np.linspace(0.7, 0.4, epochs).round(3)
    named = ("accuracy", "accuracy_inference", "val_accuracy", "val_auc")
    history = {"epoch": range(1, epochs + 1), "loss": down, "val_loss": down + 0.1, **dict.fromkeys(named, 1 - down)}
    put("data/train/history.csv", pd.DataFrame(history).to_csv(index=False))


def write_checks(text: str = "told") -> None:
    """reports/audit.json and sanity.json with an item of each verdict, each saying `text`."""
    verdicts = ("clean", "shortcut", "leak", "not testable")
    items = [
        {"name": f"{verdict} item", "kind": "leak", "verdict": verdict, "p": 0.5, "p_holm": 1.0, "effect": 0.1}
        | {"measure": "auc", "cases": [], "text": text}
        for verdict in verdicts
    ]
    baselines = [{"name": "header fields", "auc": 0.6, "auc_low": 0.4, "auc_high": 0.8, "p": 0.2}]
    checks = [
        {"name": f"{verdict} check", "verdict": verdict, "value": 1.0, "threshold": None, "text": text}
        for verdict in ("pass", "warn", "fail")
    ]
    put("reports/audit.json", json.dumps({"items": items, "baselines": baselines, "strata": {}}))
    put("reports/sanity.json", json.dumps({"checks": checks, "learning_rate": None}))


def write_project(folder: Path, count: int = 12, pictures: bool = True, **report: Any) -> pd.DataFrame:
    """A whole project of `count` cases in three folds in the working folder `folder`; its cases.

    The first case failed, the second is warned of; fold 0 is validated on.
    """
    write_params(folder, evaluate={"permutations": 99}, report=report)
    index = np.arange(count)
    cases = pd.DataFrame({"case_id": [f"{i:05d}" for i in index], "label": index % 2, "fold": index // 2 % 3})
    cases["plane"] = np.where(index % 3, "axial", "coronal")
    cases.loc[0, ["status", "code", "message"]] = ["failed", "BLANK_VOLUME", "all voxels are 0"]
    cases.loc[1, ["status", "code", "message"]] = ["warned", "WHOLE_HEAD", "not skull-stripped"]
    cases["status"] = cases["status"].fillna("ok")
    write_cases(cases)
    if pictures:
        write_volumes(cases["case_id"].tolist()[1:])
    validated = cases[(cases["fold"] == 0) & (cases["status"] != "failed")]
    write_run(validated["case_id"].tolist(), validated["label"].tolist())
    write_checks()
    balance.main()
    evaluate.main()
    return cases
