"""The report's figures: a chart, its title and its caption each."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from flairprep.evaluation.predictions import Predictions
from flairprep.report import captions, charts, cohort_charts
from flairprep.report.html import anchor
from flairprep.report.quality import FAR, LEAST, NAMES, Measured
from flairprep.stats import intervals, permutation
from flairprep.stats.metrics import Metric

INSIDE = (0.025, 0.975)  # of the runs without signal: the band of the best epoch
EDGE = 8.0  # robust deviations that the axis of quality shows
BY = ("plane", "manufacturer", "field_strength")


class Figure(NamedTuple):
    """A chart with its title and caption (words); chart is empty where there is nothing to draw, words then say why."""

    name: str
    title: str
    chart: Markup
    words: str


def labels(balance: dict[str, Any]) -> Figure:
    """Draw cases by label, in all and by plane, manufacturer and field strength; balance: of reports/balance.json."""
    rows = [{"group": "all", **balance["overall"]}]
    for by in BY:
        rows += [{"group": f"{_called(by)}: {row['value'] or 'not given'}", **row} for row in balance[f"by_{by}"]]
    return Figure("labels-chart", "Cases by label", cohort_charts.balance("labels", pd.DataFrame(rows)), _ticks())


def folds(split: pd.DataFrame) -> Figure:
    """Draw cases by label in each fold; split: case_id, label, group, fold, as text."""
    ones = split.assign(one=split["label"].astype(int), fold=split["fold"].astype(int)).groupby("fold")["one"]
    table = ones.agg(["count", "sum"]).reset_index()
    rows = pd.DataFrame(
        {
            "group": "fold " + table["fold"].astype(str),
            "label_0": table["count"] - table["sum"],
            "label_1": table["sum"],
            "nir": np.maximum(table["sum"], table["count"] - table["sum"]) / table["count"],
        }
    )
    sizes, shares = table["count"], table["sum"] / table["count"]
    text = (
        f"{split['case_id'].nunique()} cases of {split['group'].nunique()} groups in {len(table)} folds of "
        f"{sizes.min()} to {sizes.max()} cases; the share of label 1 lies between {shares.min():.0%} and "
        f"{shares.max():.0%}. {_ticks()}"
    )
    return Figure("folds-chart", "Cases by label in each fold", cohort_charts.balance("folds", rows), text)


def cohort_bar(split: pd.DataFrame, val_fold: int, test_fold: int | None) -> list[dict[str, Any]]:
    """Count the cases of each fold by label, for the bar of the cohort; split: as for `folds`.

    Returns fold, label_0, label_1 and role (training, validation or test), in the order of the folds.
    """
    roles = {val_fold: "validation", test_fold: "test"}
    counts = split.groupby([split["fold"].astype(int), "label"]).size()
    folds = sorted(split["fold"].astype(int).unique().tolist())
    return [
        {"fold": fold, "role": roles.get(fold, "training")}
        | {f"label_{label}": int(counts.get((fold, label), 0)) for label in ("0", "1")}
        for fold in folds
    ]


def _called(column: str) -> str:
    return {"field_strength": "tesla"}.get(column, column)


def _ticks() -> str:
    return "The tick marks the cases that always guessing the larger class gets right; their share is the NIR."


def baselines(audit: dict[str, Any], metrics: dict[str, Any] | None, beside: str) -> Figure:
    """Draw the AUCs that the audit's classifiers reach without the images, and the network's.

    beside: the paired comparison on the validation cases in words, of `evaluation.baselines.told`; may be empty.
    """
    rows = [{key: baseline[key] for key in ("name", "auc", "auc_low", "auc_high")} for baseline in audit["baselines"]]
    network = metrics["auc"] if metrics else None
    best = max(((row["name"], row["auc"]) for row in rows if row["auc"] is not None), key=lambda b: b[1], default=None)
    text = captions.baselines([row["name"] for row in rows], best, network)
    text += f" {beside}." if beside else ""
    if network is not None and metrics:
        rows.append({"name": "the network", "auc": network, **{k: metrics[k] for k in ("auc_low", "auc_high")}})
    chart = charts.areas("bars", pd.DataFrame(rows)) if rows else Markup()
    return Figure("bars-chart", "What the network has to beat", chart, text)


def outcome(metrics: dict[str, Any], audit: dict[str, Any] | None) -> Figure:
    """Draw the declared accuracy and AUC with what they have to beat: NIR, chance, and the audit's baselines."""
    names = (("accuracy", "nir"), ("auc", None))
    rows: list[dict[str, Any]] = [
        {"name": f"{'AUC' if name == 'auc' else name} {metrics[name]:.3f}", "value": metrics[name], "of": "network"}
        | {"low": metrics[f"{name}_low"], "high": metrics[f"{name}_high"]}
        | {"reference": 0.5 if nir is None else metrics[nir]}
        for name, nir in names
        if metrics[name] is not None
    ]
    rows += [
        {"name": baseline["name"], "value": baseline["auc"], "of": "baseline", "reference": 0.5}
        | {"low": baseline["auc_low"], "high": baseline["auc_high"]}
        for baseline in (audit or {"baselines": []})["baselines"]
        if baseline["auc"] is not None
    ]
    chart = charts.outcome("outcome", pd.DataFrame(rows))
    return Figure("outcome-chart", "What the run reached", chart, captions.outcome(metrics))


def null(metrics: dict[str, Any], table: pd.DataFrame) -> Figure:
    """Draw the null distribution of the AUC with the run's; table: of reports/evaluate/null.csv, as numbers."""
    chart = charts.null("null", table, metrics["auc"]) if metrics["auc"] is not None and len(table) else Markup()
    total, high = (int(table[name].sum()) for name in ("permutations", "as_high"))
    return Figure("null-chart", "Could it be chance?", chart, captions.null(metrics, total, high))


def chance_band(validation: Predictions, monitor: Metric, n_permutations: int, seed: int) -> tuple[float, float]:
    """Return the 95 % band of the selected epoch's accuracy in runs without signal.

    From the permutations that p_selection counts: labels permuted, the choice of the epoch replayed.
    """
    reached = permutation.replayed_accuracies(
        validation.y_true, [validation.y_prob], [monitor], validation.groups, None, n_permutations, seed
    )
    low, high = np.quantile(reached[0, 1:], INSIDE)
    return float(low), float(high)


def training(history: pd.DataFrame, metrics: dict[str, Any], chance: tuple[float, float]) -> list[Figure]:
    """Draw accuracy and loss over the epochs; history: of history.csv, as numbers."""
    best = (metrics["best_epoch"], metrics["best_accuracy"])
    curve = charts.accuracy("accuracy", history, metrics["nir"], chance, best)
    prior = metrics["log_loss_prior"]
    return [
        Figure("accuracy-chart", "Accuracy by epoch", curve, captions.accuracy_by_epoch(metrics, chance)),
        Figure(
            *("loss-chart", "Loss by epoch", charts.loss("loss", history, prior)),
            captions.loss_by_epoch(prior, metrics["log_loss"]),
        ),
    ]


def declared(
    validation: Predictions,
    metrics: dict[str, Any],
    thresholds: pd.DataFrame,
    histogram: pd.DataFrame,
    bins: pd.DataFrame,
    curve: pd.DataFrame,
) -> list[Figure]:
    """Draw ROC, histogram of the probabilities, calibration and decision curve of the declared predictions.

    thresholds, histogram, bins, curve: of reports/evaluate/roc.csv, probability.csv, reliability.csv and decision.csv,
    as numbers.
    """
    point, ranked = operating_point(validation), Markup()
    if point is not None:
        ranked = charts.roc("roc", roc_band(thresholds, validation.y_true), point)
    return [
        Figure("roc-chart", "ROC curve", ranked, captions.roc(metrics, point)),
        Figure(
            *("probability-chart", "Declared probabilities", charts.probability("probability", histogram)),
            captions.probability(metrics),
        ),
        Figure(
            *("calibration-chart", "Calibration", charts.calibration("calibration", bins)),
            captions.calibration(metrics),
        ),
        Figure("decision-chart", "Decision curve", charts.decision("decision", curve), captions.decision(curve)),
    ]


def roc_band(thresholds: pd.DataFrame, y_true: np.ndarray) -> pd.DataFrame:
    """Return fpr, tpr and, as low and high, the exact 95 % interval of tpr at each corner of the ROC curve.

    thresholds: false_positive_rate and true_positive_rate at each, as reports/evaluate/roc.csv has them.
    """
    ones = int(y_true.sum())
    cases = np.rint(thresholds.to_numpy() * [len(y_true) - ones, ones]).astype(int)
    steps = np.diff(cases, axis=0)
    corners = np.array([True, *(steps[1:] != steps[:-1]).any(axis=1), True])
    band = np.array([intervals.clopper_pearson(count, ones) for count in cases[corners, 1]])
    fpr, tpr = thresholds.to_numpy()[corners].T
    return pd.DataFrame({"fpr": fpr, "tpr": tpr, "low": band[:, 0], "high": band[:, 1]}).round(6)


def confusion(validation: Predictions) -> list[list[int]]:
    """Count cases by label (rows: 0, 1) and declared prediction (columns: 0, 1)."""
    predicted = validation.declared > 0.5
    return [[int(((validation.y_true == label) & (predicted == side)).sum()) for side in (0, 1)] for label in (0, 1)]


def operating_point(validation: Predictions) -> dict[str, float] | None:
    """Return fpr and tpr at the threshold 0.5 with exact 95 % intervals; None with one label only."""
    of_zero, of_one = confusion(validation)
    if not sum(of_zero) or not sum(of_one):
        return None
    point: dict[str, float] = {}
    for name, row in (("fpr", of_zero), ("tpr", of_one)):
        low, high = intervals.clopper_pearson(row[1], sum(row))
        point |= {name: row[1] / sum(row), f"{name}_low": low, f"{name}_high": high}
    return point


def quality(compared: Mapping[str, Measured]) -> Figure | None:
    """Draw the cases' quality beside the cohort's; None where too few cases have a measure to compare them."""
    rows = [
        {"measure": called, "case": case, "value": value, "z": found.z[name], "place": f"case-{anchor(case)}"}
        for name, called in NAMES.items()
        if len([one for one in compared.values() if name in one.shown]) >= LEAST
        for case, found in sorted(compared.items())
        if (value := found.shown.get(name)) is not None
    ]
    if not rows:
        return None
    return Figure(
        "quality-chart", "Quality", cohort_charts.quality("quality", pd.DataFrame(rows), FAR, EDGE), captions.QUALITY
    )


def groups(table: pd.DataFrame) -> Figure:
    """Draw AUC in groups; table: by, value, auc, auc_low, auc_high of reports/evaluate/groups.csv."""
    known = table[table["auc"].notna()].assign(name=lambda rows: rows["by"] + ": " + rows["value"])
    chart = charts.areas("groups", known[["name", "auc", "auc_low", "auc_high"]]) if len(known) else Markup()
    return Figure("groups-chart", "AUC by group", chart, captions.groups(len(known), len(table) - len(known)))
