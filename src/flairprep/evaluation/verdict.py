"""Give the verdict of one run, and tell its numbers in words."""

from typing import Any

import numpy as np
import pandas as pd

from flairprep.evaluation import predictions
from flairprep.stats import power

HARDLY_VARIES = 0.01  # of the declared probabilities, largest minus smallest: no threshold makes use of less
REMEDY = "keep them in one fold (split.group_column), or list them in ingest.exclude"


def verdict(numbers: dict[str, Any], alpha: float) -> str:
    """Return the verdict of a run, from the permutation test of its declared AUC.

    Returns one of MEANING.

    Args:
        numbers: p_auc; p_without_leaks and p_within, None where the audit found none; predicted_positive; spread.
    """
    one_side = numbers["predicted_positive"] in (0, 1)
    if numbers["spread"] < HARDLY_VARIES or (one_side and numbers["p_auc"] >= alpha):
        return "constant prediction"
    if numbers["p_auc"] >= alpha:
        return "no evidence"
    for key, kind in (("p_without_leaks", "leak"), ("p_within", "shortcut")):
        if numbers[key] is not None and numbers[key] >= alpha:
            return f"learned ({kind})"
    return "learned (threshold off)" if one_side else "learned"


MEANING = {
    "constant prediction": "the network gives the same answer whatever the image",
    "no evidence": "chance ranks the cases as well; that is not proof that there is nothing",
    "learned (leak)": "without the leaked validation cases there is no evidence",
    "learned (shortcut)": "what it learned cannot be told from the shortcut; whether it used it is unknown",
    "learned (threshold off)": "it ranks, but its threshold is off: recalibrate it, or choose another threshold",
    "learned": "the network ranks cases by label better than chance",
}


def of_epochs(count: int) -> str:
    """Say which epochs the declared predictions come from; count: how many there are, at most three."""
    return "the only epoch" if count == 1 else f"mean of the last {count} epochs"


def of_test_fold(rows: pd.DataFrame, split: pd.DataFrame) -> dict[str, Any]:
    """Score the test fold, where there is one: once, by the declared network."""
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
    right = "better than" if m["better_than_nir"] else "not shown better than"
    lines = [
        f"verdict: {m['verdict']}: {MEANING[m['verdict']]}",
        f"  declared ({of_epochs(m['declared_epochs'])}): accuracy {m['accuracy']:.1%} {interval}, {auc}",
        f"  ranking: p {m['p_auc']:.3g} of the declared AUC, labels permuted",
        f"  accuracy: {right} always guessing the larger class (NIR): {m['nir']:.1%}; p {m['p_nir']:.3g}",
        f"  {_shares(m)}",
        f"  Brier score {m['brier']:.3f}, of always answering the share of label 1: {m['nir'] * (1 - m['nir']):.3f}",
        f"  selected (epoch {m['best_epoch']}, the best): accuracy {m['best_accuracy']:.1%}; "
        f"could it be luck? p {m['p_selection']:.3g} with the selection replayed",
    ]
    if m["leaked"]:
        lines.insert(
            1,
            f"  {m['leaked']} of {m['n']} validation cases leak from training folds (reports/audit.json): without them "
            f"p {m['p_without_leaks']:.3g}; {REMEDY}",
        )
    if m["p_within"] is not None:
        lines.append(f"  p {m['p_within']:.3g} among cases that the shortcuts of reports/audit.json do not tell apart")
    ones = round(m["n"] * m["prevalence"])
    least = power.detectable_auc(ones, m["n"] - ones, alpha)
    if np.isfinite(least):
        lines.append(f"  {m['n']} validation cases can show a true AUC of {least:.3f} or better (80 % power, p_auc)")
    return "\n".join(lines)


def _shares(m: dict[str, Any]) -> str:
    """Tell sensitivity, specificity and balanced accuracy with their intervals; a dash where there is none."""
    parts = []
    for name in ("sensitivity", "specificity", "balanced_accuracy"):
        value, low, high = (m[f"{name}{end}"] for end in ("", "_low", "_high"))
        text = "-" if value is None else f"{value:.1%} ({low:.1%}-{high:.1%})"
        parts.append(f"{name.replace('_', ' ')} {text}")
    return ", ".join(parts)
