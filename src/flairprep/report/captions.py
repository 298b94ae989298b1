"""Captions and sentences of the report, with the numbers of a run."""

import math
from typing import Any

import pandas as pd

from flairprep.evaluation.predictions import LEAST_OF_A_LABEL
from flairprep.evaluation.verdict import REMEDY, of_epochs
from flairprep.report.html import number, percent
from flairprep.stats import power

MEANING = {
    "learned": "The network ranks cases that it has not seen by label, better than chance",
    "learned (threshold off)": "The network ranks cases that it has not seen, but its threshold is off",
    "learned (leak)": "There is no evidence of learning without the validation cases that leak from training folds",
    "learned (shortcut)": "What the network has learned cannot be told from a shortcut that the audit found",
    "no evidence": "There is no evidence that the network has learned anything",
    "constant prediction": "The network gives every validation case the same answer, so it has learned nothing of use",
}
QUALITY = (
    "One point per case and measure; outliers are orange, beyond the dashed lines. A point at the edge lies there or "
    "further out. A click on a point leads to its case."
)
NO_RUN = "There is no verdict: no network has been trained and evaluated on this data set, or the run did not finish."


def share(value: float | None, low: float | None, high: float | None) -> str:
    """Format a share with its 95 % interval."""
    return percent(value) + ("" if low is None else f" (95 % interval {percent(low)} to {percent(high)})")


def area(value: float | None, low: float | None, high: float | None) -> str:
    """Format an area under the ROC curve with its 95 % interval."""
    if value is None:
        return "no AUC, since there is one label only"
    return f"AUC {value:.3f}" + ("" if low is None else f" (95 % interval {low:.3f} to {high:.3f})")


def verdict(metrics: dict[str, Any]) -> str:
    """Give the verdict in one sentence with its declared numbers; metrics: of reports/metrics.json."""
    m = metrics
    return (
        f"{MEANING[m['verdict']]}: by predictions that were fixed before the run, "
        f"{share(m['accuracy'], m['accuracy_low'], m['accuracy_high'])} of {m['n']} validation cases are right, where "
        f"always guessing the larger class gets {percent(m['nir'])}; {area(m['auc'], m['auc_low'], m['auc_high'])}."
    )


def outcome(metrics: dict[str, Any]) -> str:
    """Say what the drawing of the run's numbers shows."""
    return (
        f"Blue: declared on {metrics['n']} validation cases. Grey: AUC of classifiers without the images' content. "
        "Lines: 95 % intervals. Ticks: always guessing the larger class (NIR), and chance."
    )


def null(metrics: dict[str, Any], total: int, high: int) -> str:
    """Say what the null distribution shows; total: permutations of the labels; high: those that reach the run's AUC."""
    if metrics["auc"] is None:
        return "There is no AUC to test, since the validation cases have one label only."
    return f"{high} of {total} permutations of the labels are ranked as well: p = {number(metrics['p_auc'])}."


def significance(metrics: dict[str, Any], alpha: float) -> str:
    """Give the p-values: of the verdict, and of the selected epoch by chance."""
    m = metrics
    text = (
        f"The verdict rests on the declared predictions: with labels permuted, a share of {number(m['p_auc'])} ranks "
        f"the cases as well (p_auc; below {alpha:g} counts as learned). Epoch {m['best_epoch']} was the best one "
        f"({percent(m['best_accuracy'])} right); with the choice of the epoch replayed, chance does as well in "
        f"{number(m['p_selection'])} (p_selection)."
    )
    if m["leaked"]:
        text += (
            f" {m['leaked']} validation cases leak from training folds; without them the share is "
            f"{number(m['p_without_leaks'])} (p_without_leaks): {REMEDY}."
        )
    if m["p_within"] is not None:
        text += f" Among cases that the shortcuts do not tell apart, the share is {number(m['p_within'])} (p_within)."
    return text


def smallest_effect(n1: int, n0: int, alpha: float) -> str:
    """Say which effects `n1` cases of label 1 and `n0` of label 0 would show with 80 % power."""
    n, nir = n1 + n0, max(n1, n0) / (n1 + n0)
    accuracy = power.detectable_accuracy(n, nir, alpha) if nir < 1 else math.nan
    auc = power.detectable_auc(n1, n0, alpha)
    least = [] if math.isnan(accuracy) else [f"a true accuracy of {percent(accuracy)}"]
    least += [] if math.isnan(auc) else [f"a true AUC of {auc:.3f}"]
    if not least:
        return f"With {n} validation cases ({n1} of label 1), no effect would be detected with 80 % power."
    return (
        f"With {n} validation cases ({n1} of label 1), {' or '.join(least)} would be detected with 80 % power. Smaller "
        "effects may exist undetected."
    )


def counts(overall: dict[str, Any]) -> str:
    """Say how the labels are balanced; overall: of reports/balance.json."""
    return (
        f"{overall['cases']} cases have a label and a scan: {overall['label_1']} of label 1, {overall['label_0']} of "
        f"label 0. Always guessing the larger class is right in {percent(overall['nir'])} of them (no-information "
        "rate, NIR)."
    )


def accuracy_by_epoch(metrics: dict[str, Any], chance: tuple[float, float] | None) -> str:
    """Say what the curve of the accuracy shows."""
    text = (
        f"Dashed: the NIR, {percent(metrics['nir'])}. The circle is the chosen epoch {metrics['best_epoch']}, "
        f"{percent(metrics['best_accuracy'])}; it is chosen with the validation cases, so it is optimistic."
    )
    if chance is not None:
        low, high = chance
        text += f" Grey: {percent(low)} to {percent(high)}, where the best epoch of 95 in 100 runs without signal lies."
    return text


def loss_by_epoch(prior: float, declared: float) -> str:
    """Say what the curve of the loss shows."""
    side = "above" if declared > prior else "below"
    return (
        f"Dashed: {prior:.3f}, what always answering the share of label 1 costs. The declared predictions cost "
        f"{declared:.3f}, {side} it{': they are overconfident' if side == 'above' else ''}."
    )


def roc(metrics: dict[str, Any], point: dict[str, float] | None) -> str:
    """Say what the ROC curve shows."""
    if point is None:
        return "There is no ROC curve, since the validation cases have one label only."
    text = area(metrics["auc"], metrics["auc_low"], metrics["auc_high"]).replace("AUC", "Area under the curve", 1)
    sensitivity = share(point["tpr"], point["tpr_low"], point["tpr_high"])
    specificity = share(1 - point["fpr"], 1 - point["fpr_high"], 1 - point["fpr_low"])
    return (
        f"{text}. The cross is the threshold 0.5: sensitivity {sensitivity}, specificity {specificity}. The band is "
        "the exact 95 % interval of the sensitivity at each threshold. Dashed: chance."
    )


def probability(metrics: dict[str, Any]) -> str:
    """Say what the histogram of the probabilities shows."""
    positive = round(metrics["predicted_positive"] * metrics["n"])
    return (
        f"{positive} of {metrics['n']} cases are predicted 1 (right of the dashed line), {metrics['n'] - positive} are "
        f"predicted 0. Declared: {of_epochs(metrics['declared_epochs'])}."
    )


def calibration(metrics: dict[str, Any]) -> str:
    """Say what the reliability curve shows."""
    return (
        f"On the dashed line, probabilities mean what they say. Brier score {metrics['brier']:.3f}; always answering "
        f"the share of label 1 has {metrics['nir'] * (1 - metrics['nir']):.3f}. Lines: exact 95 % intervals; larger "
        "points hold more cases."
    )


def decision(curve: pd.DataFrame) -> str:
    """Say what the decision curve shows; curve: threshold, net_benefit, low, high, treat_all."""
    better = curve.loc[curve["net_benefit"] > curve["treat_all"].clip(lower=0), "threshold"]
    useful = "At no threshold is it above both."
    if len(better):
        useful = (
            f"It is above both at {len(better)} of {len(curve)} thresholds from {better.min():g} to {better.max():g}."
        )
    return (
        "Blue: true positives minus false positives, weighed by the odds of the threshold, per case; band: 95 % "
        f"interval. Orange: calling all cases 1. Dashed: calling none 1. {useful}"
    )


def baselines(names: list[str], best: tuple[str, float] | None, network: float | None) -> str:
    """Name the best baseline, and whether the network beats it.

    best: the best baseline and its AUC; network: the AUC of the declared predictions.
    """
    if best is None:
        return "No classifier could be tried without the images."
    text = f"Without the images' content, {best[0]} alone reach an AUC of {best[1]:.3f}, the highest of {len(names)}."
    if network is not None:
        text += f" The network's is {network:.3f}: {'above' if network > best[1] else 'not above'} it."
    return text + " Dashed: chance. Lines: 95 % intervals; they are not paired."


def groups(shown: int, left_out: int) -> str:
    """Say what the AUCs of the groups show."""
    large = f"{shown} groups" if shown else "No group"
    return (
        f"{large} with {LEAST_OF_A_LABEL} cases of each label or more; {left_out} with fewer have no AUC of their own: "
        "its interval would span half of the scale."
    )
