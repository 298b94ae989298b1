"""Read the outs of train and evaluate for the template of the report."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from flairprep.core.tables import read_csv
from flairprep.evaluation import predictions
from flairprep.evaluation.baselines import told
from flairprep.report import captions, figures
from flairprep.stats.metrics import Metric

DATA, REPORTS = Path("data"), Path("reports")


class Outs(NamedTuple):
    """Outs of train and evaluate: metrics.json, and as text the validation predictions, the history and the cases."""

    metrics: dict[str, Any]
    rows: pd.DataFrame
    history: pd.DataFrame
    scored: pd.DataFrame


def outs() -> Outs | None:
    """Read the outs of train and evaluate; None where one of them has not run."""
    metrics, scored = optional_json(REPORTS / "metrics.json"), optional_csv(REPORTS / "evaluate/cases.csv")
    rows, history = optional_csv(DATA / "train/val_predictions.csv"), optional_csv(DATA / "train/history.csv")
    if metrics is None or rows is None or history is None or scored is None:
        return None
    return Outs(metrics, rows, history, scored)


def collect(
    outs: Outs | None, split: pd.DataFrame | None, monitor: Metric, *, alpha: float, permutations: int, seed: int
) -> dict[str, Any]:
    """Collect what the page shows of the training; `metrics` is None where a stage has not run.

    alpha, permutations, seed: of section `evaluate`, so that the band of the best epoch is the one behind p_selection.
    """
    if outs is None or split is None:
        return {"metrics": None, "beside": ""}
    (metrics, rows, history, _), evaluated = outs, REPORTS / "evaluate"
    validation = predictions.from_tables(rows, split)
    band = figures.chance_band(validation, monitor, permutations, seed)
    histogram, bins = numeric_csv(evaluated / "probability.csv"), numeric_csv(evaluated / "reliability.csv")
    by_group = numeric_csv(evaluated / "groups.csv", text=("by", "value"))
    ones = int(validation.y_true.sum())
    return {
        "metrics": metrics,
        "diagnosis": optional_json(evaluated / "diagnosis.json"),
        "significance": captions.significance(metrics, alpha),
        "smallest_effect": captions.smallest_effect(ones, len(validation.y_true) - ones, alpha),
        "training": figures.training(history.astype(float), metrics, band),
        "declared": figures.declared(validation, metrics, histogram, bins, numeric_csv(evaluated / "decision.csv")),
        "confusion": figures.confusion(validation),
        "beside": told(numeric_csv(evaluated / "baselines.csv", text=("baseline",))),
        "groups": figures.groups(by_group),
        "null": figures.null(metrics, numeric_csv(evaluated / "null.csv")),
        "group_rows": by_group.astype(object).where(by_group.notna(), None).to_dict("records"),
    }


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
