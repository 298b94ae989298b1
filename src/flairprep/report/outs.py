"""Read the outs of the stages as tables and JSON, without what draws them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from flairprep.core.tables import read_csv

DATA, REPORTS = Path("data"), Path("reports")


class Trained(NamedTuple):
    """Outs of train and evaluate: metrics.json, and as text the validation predictions, the history and the cases."""

    metrics: dict[str, Any]
    rows: pd.DataFrame
    history: pd.DataFrame
    scored: pd.DataFrame


def trained() -> Trained | None:
    """Read the outs of train and evaluate; None where one of them has not run."""
    metrics, scored = optional_json(REPORTS / "metrics.json"), optional_csv(REPORTS / "evaluate/cases.csv")
    rows, history = optional_csv(DATA / "train/val_predictions.csv"), optional_csv(DATA / "train/history.csv")
    if metrics is None or rows is None or history is None or scored is None:
        return None
    return Trained(metrics, rows, history, scored)


def optional_csv(path: Path) -> pd.DataFrame | None:
    """Read a table of text, None where there is none."""
    return read_csv(path) if path.is_file() else None


def numeric_csv(path: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a table of numbers (NaN where empty), but for the columns `text`."""
    table = read_csv(path)
    for name in table.columns.difference(list(text)):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table


def optional_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object, None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
