"""Score a run's predictions: the declared ones, each case over the epochs, calibration, and groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flairprep.network.train_config import DECLARED_EPOCHS
from flairprep.stats import clinical, hypothesis_tests, intervals, metrics, replicates

BINS = 20  # of the histogram
THRESHOLDS = [step / 50 for step in range(1, 50)]  # of the decision curve
RELIABILITY_BINS = 10  # of the reliability curve: about ten cases per bin in a fold of a hundred
NULL_BINS = 20  # of the null distribution of the AUC
LEAST_OF_A_LABEL = 10  # cases of each label in a group for an AUC of its own: with fewer, its interval is 0.5 wide


@dataclass(frozen=True)
class Predictions:
    """Every epoch's probabilities of label 1. case_ids, y_true, groups: (n_cases,); y_prob: (n_epochs, n_cases)."""

    case_ids: np.ndarray
    y_true: np.ndarray
    y_prob: np.ndarray
    groups: np.ndarray

    @property
    def declared(self) -> np.ndarray:
        """Return the probabilities that count, (n_cases,): see DECLARED_EPOCHS."""
        return self.y_prob[-DECLARED_EPOCHS:].mean(axis=0)


def from_tables(rows: pd.DataFrame, split: pd.DataFrame) -> Predictions:
    """Join val_predictions.csv or test_predictions.csv with the groups of split.csv, sorted by case_id.

    Raises:
        FlairprepError: a label is not 0 or 1, or a probability not in [0, 1]; it names the case.
    """
    numbers = rows[["epoch", "label", "probability"]].apply(pd.to_numeric, errors="coerce").assign(case=rows["case_id"])
    table = numbers.pivot(index="epoch", columns="case", values="probability")
    case_ids, y_prob = table.columns.to_numpy(), table.to_numpy()
    y_true = numbers.drop_duplicates("case").set_index("case")["label"].loc[case_ids].to_numpy()
    metrics.check_predictions(list(case_ids), y_true, y_prob)
    groups = split.set_index("case_id")["group"].loc[case_ids].to_numpy()
    return Predictions(case_ids, y_true.astype(int), y_prob, groups)


def declared(y_true: np.ndarray, y_prob: np.ndarray, groups: np.ndarray | None = None) -> dict[str, Any]:
    """Score predictions whose choice was fixed before the run; y_true, y_prob: (n_cases,).

    groups: (n_cases,); cases of a group share a patient, which intervals and p_nir allow for. None: no two do.
    """
    n, correct = len(y_true), round(metrics.accuracy(y_true, y_prob) * len(y_true))
    groups = np.arange(n) if groups is None else groups
    low, high = interval(y_true, y_prob, groups, "accuracy")
    auc_low, auc_high = interval(y_true, y_prob, groups, "auc")
    nir = metrics.no_information_rate(y_true)
    return {
        "accuracy": correct / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "auc": metrics.auc(y_true, y_prob),
        "auc_low": auc_low,
        "auc_high": auc_high,
        "log_loss": metrics.log_loss(y_true, y_prob),
        "log_loss_prior": metrics.log_loss(y_true, np.full(n, np.mean(y_true))),
        "brier": metrics.brier(y_true, y_prob),
        "nir": nir,
        "p_nir": hypothesis_tests.grouped_p_value(correct, groups, nir)
        if shared(groups)
        else hypothesis_tests.binomial_p_value(correct, n, nir),
        "predicted_positive": float(np.mean(y_prob > 0.5)),
        "spread": float(np.ptp(y_prob)),
    }


def clinical_numbers(
    y_true: np.ndarray, y_prob: np.ndarray, groups: np.ndarray, prevalence: float | None
) -> dict[str, Any]:
    """Return the measures of `clinical.clinical_measures` flat: each with its bounds, NAME_low and NAME_high."""
    measures = clinical.clinical_measures(y_true, y_prob, groups, prevalence=prevalence)
    keys = (("", "value"), ("_low", "low"), ("_high", "high"))
    return {f"{name}{end}": getattr(one, field) for name, one in measures.items() for end, field in keys}


def shared(groups: np.ndarray) -> bool:
    """Return whether any two cases share a group."""
    return len(np.unique(groups)) < len(groups)


def interval(
    y_true: np.ndarray, y_prob: np.ndarray, groups: np.ndarray, metric: metrics.PairedMetric
) -> tuple[float, float]:
    """Return the 95 % interval of one network's accuracy or AUC; y_true, y_prob, groups: (n_cases,).

    Clopper-Pearson, and Newcombe's method 5; wider where cases of a group (a patient) stand and fall together, see
    `replicates.estimate`. NaN for an AUC with one label only.
    """
    zeros = np.zeros(len(y_true), int)
    rows = replicates.Rows(np.asarray(y_true), np.asarray(groups), zeros, zeros)
    return replicates.estimate(rows, np.asarray(y_prob), metric, folds=1)[1:]


def flips(y_prob: np.ndarray) -> np.ndarray:
    """Return whether each case changed sides of 0.5 since the epoch before, (n_epochs - 1, n_cases), bool."""
    return np.diff(y_prob > 0.5, axis=0)


def per_case(predictions: Predictions) -> pd.DataFrame:
    """Return one row per case: label, declared probability, share of epochs that had it wrong, number of flips.

    Look for a wrong label first among cases that are wrong in every epoch.
    """
    wrong = ((predictions.y_prob > 0.5) != predictions.y_true).mean(axis=0)
    declared = predictions.declared.round(6)
    columns = {"case_id": predictions.case_ids, "label": predictions.y_true, "probability": declared}
    return pd.DataFrame({**columns, "wrong": wrong.round(6), "flips": flips(predictions.y_prob).sum(axis=0)})


def over_epochs(predictions: Predictions) -> pd.DataFrame:
    """Return the rows of the plot over the epochs: epoch, case_id, label, probability, and a note if always wrong."""
    epochs, n = predictions.y_prob.shape
    note = np.where(((predictions.y_prob > 0.5) != predictions.y_true).all(axis=0), "always wrong", "")
    return pd.DataFrame(
        {
            "epoch": np.repeat(np.arange(1, epochs + 1), n),
            "case_id": np.tile(predictions.case_ids, epochs),
            "label": np.tile(predictions.y_true, epochs),
            "probability": predictions.y_prob.ravel(),
            "note": np.tile(note, epochs),
        }
    )


def reliability(y_true: np.ndarray, y_prob: np.ndarray) -> pd.DataFrame:
    """Compute the reliability curve (Murphy and Winkler 1977): one row per bin of probability that holds cases.

    A row has the cases, their mean probability, and the share of label 1 among them with its exact 95 % interval. A
    calibrated network's share equals its probability.
    """
    bins = np.minimum((np.asarray(y_prob) * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    rows = []
    for index in np.unique(bins):
        label, probability = y_true[bins == index], y_prob[bins == index]
        low, high = intervals.clopper_pearson(int(label.sum()), len(label))
        rows.append((len(label), float(probability.mean()), float(label.mean()), low, high))
    return pd.DataFrame(rows, columns=["cases", "probability", "share", "share_low", "share_high"]).round(6)


def decision_curve(predictions: Predictions) -> pd.DataFrame:
    """Compute the decision curve of the declared predictions: net benefit by threshold, see `clinical.net_benefit`.

    One row per threshold of THRESHOLDS, with the 95 % interval, and the net benefit of treating all; none has 0.
    """
    y_true, y_prob, groups = predictions.y_true, predictions.declared, predictions.groups
    rows = [
        (
            threshold,
            *clinical.net_benefit(y_true, y_prob, groups, threshold),
            clinical.net_benefit(y_true, np.ones(len(y_true)), groups, threshold).value,
        )
        for threshold in THRESHOLDS
    ]
    return pd.DataFrame(rows, columns=["threshold", "net_benefit", "low", "high", "treat_all"]).round(6)


def by_group(predictions: Predictions, cases: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Compute the AUC of the declared predictions in the groups that the columns `names` of cases.csv make.

    NaN where a group has fewer than LEAST_OF_A_LABEL cases of a label. One model scored all of them, so its scores can
    be compared within a group as they are.
    """
    table = cases.set_index("case_id").reindex(index=predictions.case_ids, columns=list(names)).fillna("")
    rows = []
    for name in names:
        for value, places in sorted(table.groupby(name).indices.items()):
            y_true, y_prob = predictions.y_true[places], predictions.declared[places]
            ones, numbers = int(y_true.sum()), (float("nan"),) * 3
            if min(ones, len(y_true) - ones) >= LEAST_OF_A_LABEL:
                numbers = metrics.auc(y_true, y_prob), *interval(y_true, y_prob, predictions.groups[places], "auc")
            rows.append((name, value or "not given", len(y_true) - ones, ones, *numbers))
    return pd.DataFrame(rows, columns=["by", "value", "label_0", "label_1", "auc", "auc_low", "auc_high"]).round(6)


def charts(y_true: np.ndarray, y_prob: np.ndarray) -> dict[str, pd.DataFrame]:
    """Return the rows of the plots of the declared predictions: roc, confusion, probability."""
    from sklearn.metrics import roc_curve  # takes a second

    both = len(np.unique(y_true)) == 2
    fpr, tpr, _ = roc_curve(y_true, y_prob, drop_intermediate=False) if both else ([], [], [])
    edges = np.linspace(0, 1, BINS + 1)
    sides = set((y_prob > 0.5).astype(int).tolist())
    note = f"constant prediction: all {min(sides)}" if len(sides) == 1 else ""
    histogram = [
        (f"{low + 0.5 / BINS:.3f}", label, count, note)
        for label in (0, 1)
        for low, count in zip(edges, np.histogram(y_prob[y_true == label], edges)[0], strict=False)
    ]
    return {
        "roc": pd.DataFrame({"false_positive_rate": fpr, "true_positive_rate": tpr}).round(6),
        "confusion": pd.DataFrame({"actual": y_true, "predicted": (y_prob > 0.5).astype(int)}),
        "probability": pd.DataFrame(histogram, columns=["probability", "label", "cases", "note"]),
    }


def null_distribution(aucs: np.ndarray) -> pd.DataFrame:
    """Count the permutations of the labels by the AUC that they reach: one row per bin of NULL_BINS from 0 to 1.

    as_high: those that reach the run's AUC. p_auc is (1 + their sum) / (1 + the sum of permutations).

    Args:
        aucs: (1 + n_permutations,), of `ranking.auc_null`: the run's comes first.
    """
    bins = np.minimum(np.floor(np.round(aucs[1:] * NULL_BINS, 9)).astype(int), NULL_BINS - 1)
    counts = (np.bincount(those, minlength=NULL_BINS) for those in (bins, bins[aucs[1:] >= aucs[0]]))
    middles = [f"{(index + 0.5) / NULL_BINS:.4f}" for index in range(NULL_BINS)]
    return pd.DataFrame(dict(zip(("auc", "permutations", "as_high"), (middles, *counts), strict=True)))


def strata_of(predictions: Predictions, strata: Mapping[str, str]) -> np.ndarray | None:
    """Return the stratum of each case, (n_cases,), from audit's report; None where the audit found no shortcut."""
    return np.array([strata.get(case, "") for case in predictions.case_ids]) if strata else None


def leaked(predictions: Predictions, items: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return which cases audit's report (`items` of audit.json) names in a leak between folds, (n_cases,), bool."""
    named = leaked_cases(items)
    return np.array([case in named for case in predictions.case_ids], bool)


def leaked_cases(items: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Return the cases that audit's report (`items` of audit.json) names in a leak between folds."""
    return frozenset(case for item in items if item["verdict"] == "leak" for case in item["cases"])
