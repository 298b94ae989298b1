"""Give the verdict of one run, and tell its numbers in words."""

from typing import Any

import numpy as np
import pandas as pd

from flairprep.evaluation import predictions
from flairprep.evaluation.predictions import DECLARED_EPOCHS
from flairprep.stats import power


def verdict(numbers: dict[str, Any], alpha: float) -> str:
    """Return "constant prediction", "no evidence", "learned (shortcut)" or "learned"."""
    if numbers["predicted_positive"] in (0, 1):
        return "constant prediction"
    if numbers["p_selection"] >= alpha:
        return "no evidence"
    return "learned" if numbers["p_within"] is None or numbers["p_within"] < alpha else "learned (shortcut)"


def of_test_fold(rows: pd.DataFrame, split: pd.DataFrame) -> dict[str, Any]:
    """Score the test fold, where there is one: once, with the kept weights."""
    if rows.empty:
        return {}
    test = predictions.from_tables(rows, split)
    numbers = predictions.declared(test.y_true, test.declared, test.groups)
    return {f"test_{key}": numbers[key] for key in ("accuracy", "auc", "auc_low", "auc_high", "p_nir")}


def sentence(metrics: dict[str, Any], alpha: float) -> str:
    """Tell the verdict and its numbers in words; metrics: of metrics.json."""
    m = metrics
    auc = "no AUC (one label only)" if m["auc"] is None else f"AUC {m['auc']:.3f}"
    if m["auc_low"] is not None:  # no interval with a single case of a label
        auc += f" ({m['auc_low']:.3f}-{m['auc_high']:.3f})"
    interval = f"({m['accuracy_low']:.1%}-{m['accuracy_high']:.1%})"
    lines = [
        f"verdict: {m['verdict']}",
        f"  declared (mean of the last {DECLARED_EPOCHS} epochs): accuracy {m['accuracy']:.1%} {interval}, {auc}",
        f"  always guessing the larger class (NIR): {m['nir']:.1%}; p of the declared accuracy {m['p_nir']:.3g}",
        f"  Brier score {m['brier']:.3f}, of always answering the share of label 1: {m['nir'] * (1 - m['nir']):.3f}",
        f"  selected (epoch {m['best_epoch']}, the best): accuracy {m['best_accuracy']:.1%}; "
        f"p {m['p_selection']:.3g} with the selection replayed",
    ]
    if m["p_within"] is not None:
        lines.append(f"  p {m['p_within']:.3g} among cases that the shortcuts of reports/audit.json do not tell apart")
    least = power.detectable_accuracy(m["n"], m["nir"], alpha) if m["nir"] < 1 else float("nan")
    if np.isfinite(least):
        lines.append(f"  {m['n']} validation cases can show a true accuracy of {least:.1%} or better (80 % power)")
    return "\n".join(lines)
