"""Collect what the template of the report shows of train and evaluate."""

from typing import Any

import pandas as pd

from flairprep.evaluation import predictions
from flairprep.evaluation.baselines import told
from flairprep.report import captions, figures
from flairprep.report.outs import REPORTS, Trained, numeric_csv, optional_json
from flairprep.stats.metrics import Metric


def collect(
    trained: Trained | None, split: pd.DataFrame | None, monitor: Metric, *, alpha: float, permutations: int, seed: int
) -> dict[str, Any]:
    """Collect what the page shows of the training; `metrics` is None where a stage has not run.

    alpha, permutations, seed: of section `evaluate`, so that the band of the best epoch is the one behind p_selection.
    """
    if trained is None or split is None:
        return {"metrics": None, "beside": ""}
    (metrics, rows, history, _), evaluated = trained, REPORTS / "evaluate"
    validation = predictions.from_tables(rows, split)
    band = figures.chance_band(validation, monitor, permutations, seed)
    plotted = (numeric_csv(evaluated / f"{name}.csv") for name in ("roc", "probability", "reliability", "decision"))
    by_group = numeric_csv(evaluated / "groups.csv", text=("by", "value"))
    ones = int(validation.y_true.sum())
    return {
        "metrics": metrics,
        "diagnosis": optional_json(evaluated / "diagnosis.json"),
        "significance": captions.significance(metrics, alpha),
        "smallest_effect": captions.smallest_effect(ones, len(validation.y_true) - ones, alpha),
        "training": figures.training(history.astype(float), metrics, band),
        "declared": figures.declared(validation, metrics, *plotted),
        "confusion": figures.confusion(validation),
        "beside": told(numeric_csv(evaluated / "baselines.csv", text=("baseline",))),
        "groups": figures.groups(by_group),
        "null": figures.null(metrics, numeric_csv(evaluated / "null.csv")),
        "group_rows": by_group.astype(object).where(by_group.notna(), None).to_dict("records"),
    }
