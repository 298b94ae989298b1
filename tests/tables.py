"""Hand-written tables for the stages that read no voxels, in the working folder."""

import json
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

INGESTED = ("case_id", "status", "code", "message", "plane", "manufacturer", "field_strength")


def put(path: str, text: str) -> None:
    """Writes a table as a person would type it."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def put_scans(scans: pd.DataFrame) -> None:
    """ingest's two tables for `scans`: case_id, and any of status, patient and the columns of cases.csv."""
    same_as = pd.DataFrame({"case_id": scans["case_id"], "patient": scans.get("patient", scans["case_id"])})
    cases = scans.assign(status=scans.get("status", "ok")).reindex(columns=list(INGESTED))
    put("data/ingest/cases.csv", cases.to_csv(index=False))
    put("data/ingest/same_as.csv", same_as.to_csv(index=False))


def put_labels(labels: pd.DataFrame) -> None:
    """The table of labels under the column names of params.yaml."""
    table = labels.rename(columns={"case_id": "BraTS21ID", "label": "MGMT_value"})
    put("data/raw/train_labels.csv", table.to_csv(index=False))


def get_json(path: str) -> dict[str, Any]:
    """A JSON file as every parser reads it: NaN and Infinity, which Python's would take, are refused."""

    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(Path(path).read_text(), parse_constant=refuse)
