"""Metrics of a binary classifier's predictions: y_true is 0 or 1, y_prob the probability of 1."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flairprep.core.errors import FlairprepError

Array = npt.NDArray[Any]
Metric = Literal["val_accuracy", "val_loss", "val_auc"]  # selects an epoch
PairedMetric = Literal["accuracy", "auc"]  # compares settings
EPSILON = 1e-7  # log loss clips probabilities to [EPSILON, 1 - EPSILON], as Keras does


def no_information_rate(y_true: Array) -> float:
    """Return the accuracy of always predicting the more frequent class: max(share of 1, share of 0)."""
    share = float(np.mean(y_true))
    return max(share, 1 - share)


def accuracy(y_true: Array, y_prob: Array) -> float:
    """Return the share of cases on the right side of 0.5; exactly 0.5 predicts 0, as in Keras."""
    return float(np.mean((y_prob > 0.5) == (y_true > 0.5)))


def log_loss(y_true: Array, y_prob: Array) -> float:
    """Return the mean of -log of the true class's probability (binary cross-entropy, natural logarithm)."""
    p = np.clip(np.asarray(y_prob, float), EPSILON, 1 - EPSILON)
    return float(-np.mean(np.where(y_true > 0.5, np.log(p), np.log1p(-p))))


def brier(y_true: Array, y_prob: Array) -> float:
    """Return the mean squared difference of probability and outcome (Brier 1950)."""
    return float(np.mean((np.asarray(y_prob, float) - y_true) ** 2))


def ranks(values: Array) -> Array:
    """Return the ranks of `values`, (n,), from 1; ties share the mean of theirs.

    As scipy.stats.rankdata, whose import takes longer than `flairprep verdict` may.
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[place])


def auc(y_true: Array, y_prob: Array) -> float:
    """Return the area under the ROC curve, NaN for one class.

    P(a case of class 1 scores above a case of class 0); a tie counts half.
    """
    positive = np.asarray(y_true) > 0.5
    n1, n0 = int(positive.sum()), int((~positive).sum())
    return float((ranks(y_prob)[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)) if n1 and n0 else float("nan")


def check_predictions(case_ids: Sequence[str], y_true: Array, y_prob: Array) -> None:
    """Refuse predictions that the other functions of this module, which check nothing, cannot take.

    Args:
        case_ids: (n_cases,).
        y_true: (n_cases,), numbers 0 and 1.
        y_prob: (n_cases,) or (n_epochs, n_cases).

    Raises:
        FlairprepError: the lengths differ, a label is not the number 0 or 1, or a probability is NaN or outside [0, 1];
            the message names the case.
    """
    rows = np.atleast_2d(np.asarray(y_prob, float))
    if not len(case_ids) == len(y_true) == rows.shape[1]:
        raise FlairprepError(
            f"predictions: {len(case_ids)} cases, {len(y_true)} labels and {rows.shape[1]} probabilities; "
            "each case needs one label and one probability: train again"
        )
    for case, label in zip(case_ids, np.asarray(y_true).tolist(), strict=True):
        if isinstance(label, str) or label not in (0, 1):
            raise FlairprepError(f"predictions: case {case!r}: the label is {label!r}; it must be the number 0 or 1")
    invalid = np.argwhere(~((rows >= 0) & (rows <= 1)))
    if len(invalid):
        epoch, index = invalid[0]
        value = rows[epoch, index]
        remedy = "the network diverged: train again with a lower lr" if np.isnan(value) else "it must be 0 to 1"
        raise FlairprepError(
            f"predictions: case {case_ids[index]!r}, epoch {epoch + 1}: the probability is {value}; {remedy}"
        )


def best_epoch(y_true: Array, y_prob: Array, metric: Metric) -> int:
    """Return the index of the epoch that `metric` selects, the first on a tie; y_prob: (n_epochs, n_cases)."""
    return int(epoch_scores(np.asarray(y_true, float)[:, None], np.asarray(y_prob, float), metric)[:, 0].argmax())


def epoch_scores(labels: Array, y_prob: Array, metric: Metric) -> Array:
    """Return scores that order epochs as `metric` does, higher is better: (n_epochs, n_labelings).

    Args:
        labels: (n_cases, n_labelings), each column with the same number of ones.
        y_prob: (n_epochs, n_cases).
    """
    match metric:
        case "val_accuracy":
            return accuracies(labels, y_prob)
        case "val_loss":
            p = np.clip(y_prob, EPSILON, 1 - EPSILON)
            log_likelihood = (np.log(p) - np.log1p(-p)) @ labels + np.log1p(-p).sum(axis=1)[:, None]
            return log_likelihood.round(9)  # equal epochs stay equal: BLAS may sum equal rows in different orders
        case "val_auc":
            return np.array([ranks(epoch) for epoch in y_prob]) @ labels  # with n1 constant, rank sums order AUCs


def accuracies(labels: Array, y_prob: Array) -> Array:
    """Return the accuracy of each epoch under each labeling: (n_epochs, n_labelings)."""
    positive = (y_prob > 0.5).astype(float)
    true_positives = positive @ labels
    true_negatives = (1 - labels).sum(axis=0) - (positive.sum(axis=1)[:, None] - true_positives)
    return (true_positives + true_negatives) / labels.shape[0]
