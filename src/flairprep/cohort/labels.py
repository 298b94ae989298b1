"""Read the labels table: people edit it, so every row is checked."""

import csv
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flairprep.cohort import case_ids
from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import read_csv


class LabelsParams(params.Section):
    """Section `labels` of params.yaml."""

    table: params.InsidePath
    """CSV, one row per case; a change of the file reruns the same stages."""
    case_column: str
    """Its column of case ids: the folders' names, or patient ids."""
    label_column: str
    """Its column of labels: 0, 1 or empty."""


def read_labels(section: LabelsParams, known: Collection[str] = (), key: bytes | None = None) -> pd.DataFrame:
    """Read the labelled cases, sorted: case_id (text), label (0 or 1), every other column of the table as text.

    Rows without a label are left out.

    Args:
        section: section `labels` of params.yaml.
        known: case ids of the scans.
        key: the raw folder's, if it has one. Then ids that are not `known` count as patient ids and become case ids.

    Raises:
        FlairprepError: no such table or column; a case without an id or listed twice; an unsafe id; a label other than
            0 and 1.
    """
    path = Path(section.table)
    if not path.is_file():
        raise FlairprepError(f"params.yaml: labels.table: {section.table!r} is not a file; put the labels table there")
    frame = read_csv(path)
    for name in ("case_column", "label_column"):
        if (column := getattr(section, name)) not in frame.columns:
            hint = params.suggest(column, tuple(map(str, frame.columns)))
            raise FlairprepError(f"{path}: no column {column!r}, which params.yaml names as labels.{name}; {hint}")
    ids = frame[section.case_column].str.strip()
    labels = frame[section.label_column].str.strip()
    if (empty := ids == "").any():
        line = _line(path, empty)
        raise FlairprepError(f"{path}: line {line}: no {section.case_column}; name the case or delete the line")
    if key is None:
        for place, case in enumerate(ids):
            if fault := case_ids.fault(case):
                line = _line(path, ids.index == place)
                raise FlairprepError(f"{path}: line {line}: the case id {ascii(case)[:120]} {fault}; rename the case")
        case_ids.check(set(ids), str(path), "rename the case")
    else:
        ids = ids.map(lambda case: case if case in known else case_ids.pseudonym(case, key))
    if (twice := ids.duplicated()).any():
        line = _line(path, twice)
        case = f"case {ids[twice].iloc[0]!r}" if key is None else "a case"  # it may be a patient id
        raise FlairprepError(f"{path}: line {line}: {case} is listed twice; keep one of the lines")
    numbers = pd.to_numeric(labels, errors="coerce")
    if (odd := (labels != "") & ~numbers.isin([0, 1])).any():
        raise FlairprepError(
            f"{path}: line {_line(path, odd)}: {section.label_column} is {labels[odd].iloc[0]!r}; "
            "labels must be 0 or 1 (or empty: not labelled)"
        )
    others = frame.drop(columns=[section.case_column, section.label_column])
    others = others.drop(columns=[name for name in ("case_id", "label") if name in others.columns])
    labelled = pd.DataFrame({"case_id": ids, "label": numbers}).join(others)[labels != ""]
    return labelled.astype({"label": int}).sort_values("case_id", ignore_index=True)


def _line(path: Path, at_fault: Any) -> int:
    """Return the line of the file, from 1, that holds the first row at fault; pandas skips blank lines.

    at_fault: bool, one per row of the table.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        ends = [reader.line_num for row in reader if len(row) > 1 or "".join(row).strip()]
    return ends[int(np.argmax(at_fault)) + 1]
