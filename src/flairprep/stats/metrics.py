"""Statistics of a binary classifier's predictions. Pure functions; y_true is 0 or 1, y_prob the probability of 1."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy  # whose parts come when they are first used

from flairprep.core.errors import FlairprepError

Array = npt.NDArray[Any]
Metric = Literal["val_accuracy", "val_loss", "val_auc"]  # what chooses an epoch
PairedMetric = Literal["accuracy", "auc"]  # what settings are compared by
EPSILON = 1e-7  # probabilities are kept this far from 0 and 1 in the log loss, as Keras does


def no_information_rate(y_true: Array) -> float:
    """The accuracy of always predicting the more frequent class: max(share of 1, share of 0)."""
    share = float(np.mean(y_true))
    return max(share, 1 - share)


def accuracy(y_true: Array, y_prob: Array) -> float:
    """Share of the cases on the right side of 0.5; a probability of exactly 0.5 predicts 0, as Keras does."""
    return float(np.mean((y_prob > 0.5) == (y_true > 0.5)))


def log_loss(y_true: Array, y_prob: Array) -> float:
    """Mean of -log of the probability given to the true class (binary cross-entropy, natural logarithm)."""
    p = np.clip(np.asarray(y_prob, float), EPSILON, 1 - EPSILON)
    return float(-np.mean(np.where(y_true > 0.5, np.log(p), np.log1p(-p))))


def brier(y_true: Array, y_prob: Array) -> float:
    """Mean squared difference of probability and outcome (Brier 1950)."""
    return float(np.mean((np.asarray(y_prob, float) - y_true) ** 2))


def auc(y_true: Array, y_prob: Array) -> float:
    """Area under the ROC curve: P(a case of class 1 scores above one of class 0), ties half; NaN for one class."""
    ranks = scipy.stats.rankdata(y_prob)
    ones = np.asarray(y_true) > 0.5
    n1, n0 = int(ones.sum()), int((~ones).sum())
    return float((ranks[ones].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)) if n1 and n0 else float("nan")


def check_predictions(case_ids: Sequence[str], y_true: Array, y_prob: Array) -> None:
    """Everything else here takes its numbers for granted: this looks at them.

    Args:
        case_ids: (n_cases,).
        y_true: (n_cases,), numbers 0 and 1.
        y_prob: (n_cases,) or (n_epochs, n_cases).

    Raises:
        FlairprepError: the lengths differ, a label that is not the number 0 or 1, a probability that is NaN or outside
            [0, 1]; it names the case.
    """
    rows = np.atleast_2d(np.asarray(y_prob, float))
    if not len(case_ids) == len(y_true) == rows.shape[1]:
        raise FlairprepError(
            f"predictions: {len(case_ids)} cases, {len(y_true)} labels and {rows.shape[1]} probabilities; "
            "each case needs one of both: train again"
        )
    for case, label in zip(case_ids, np.asarray(y_true).tolist(), strict=True):
        if isinstance(label, str) or label not in (0, 1):
            raise FlairprepError(f"predictions: case {case!r}: the label is {label!r}; it must be the number 0 or 1")
    odd = np.argwhere(~((rows >= 0) & (rows <= 1)))
    if len(odd):
        epoch, place = odd[0]
        value = rows[epoch, place]
        remedy = "the network diverged: train again with a lower lr" if np.isnan(value) else "it must be 0 to 1"
        raise FlairprepError(
            f"predictions: case {case_ids[place]!r}, epoch {epoch + 1}: the probability is {value}; {remedy}"
        )


def best_epoch(y_true: Array, y_prob: Array, metric: Metric) -> int:
    """The epoch that `metric` chooses, the first one on a tie; y_prob has the shape (n_epochs, n_cases)."""
    return int(epoch_scores(np.asarray(y_true, float)[:, None], np.asarray(y_prob, float), metric)[:, 0].argmax())


def epoch_scores(labels: Array, y_prob: Array, metric: Metric) -> Array:
    """What `metric` maximises, up to a constant, as (n_epochs, n_labelings); labels: (n_cases, n_labelings)."""
    match metric:
        case "val_accuracy":
            return accuracies(labels, y_prob)
        case "val_loss":
            p = np.clip(y_prob, EPSILON, 1 - EPSILON)
            likelihood = (np.log(p) - np.log1p(-p)) @ labels + np.log1p(-p).sum(axis=1)[:, None]
            return likelihood.round(9)  # equal epochs stay equal: BLAS may sum two equal rows in different orders
        case "val_auc":
            return (
                scipy.stats.rankdata(y_prob, axis=1) @ labels
            )  # permuting keeps the number of ones, so the rank sum orders AUCs


def accuracies(labels: Array, y_prob: Array) -> Array:
    positive = (y_prob > 0.5).astype(float)
    true_positive = positive @ labels
    true_negative = (1 - labels).sum(axis=0) - (positive.sum(axis=1)[:, None] - true_positive)
    return (true_positive + true_negative) / labels.shape[0]
