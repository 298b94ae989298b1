"""Record every epoch of a training: predictions, losses and accuracies of the cases."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import math
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from flairprep.core import console
from flairprep.core.errors import FlairprepError
from flairprep.network.input_pipeline import Cases
from flairprep.network.training import Inference, predict
from flairprep.stats import metrics

PREDICTIONS = ["epoch", "case_id", "label", "probability"]


class Recorder(keras.callbacks.Callback):
    """Predict the validation cases after every epoch, and a part of the training cases in inference mode.

    training: the parts, which take turns from epoch to epoch, for their accuracy.

    Add val_loss, val_accuracy, val_auc, accuracy_inference, learning_rate and nir to the epoch's logs, where later
    callbacks can watch them.
    """

    def __init__(self, infer: Inference, training: Sequence[Cases], validation: Cases, epochs: int) -> None:
        super().__init__()
        self.infer, self.training, self.validation, self.epochs = infer, training, validation, epochs
        self.logs: list[dict[str, float]] = []
        self.y_prob: list[np.ndarray] = []

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of history.csv."""
        rows = enumerate(self.logs, 1)
        return [{"epoch": epoch, **{key: f"{value:.6g}" for key, value in logs.items()}} for epoch, logs in rows]

    @property
    def predictions(self) -> list[pd.DataFrame]:
        """The rows of val_predictions.csv, a table per epoch."""
        return [prediction_rows(self.validation, epoch, y_prob) for epoch, y_prob in enumerate(self.y_prob, 1)]

    def resume(self, logs: Iterable[dict[str, float]], y_prob: Iterable[np.ndarray]) -> None:
        """Take over the epochs before, of a training that goes on; y_prob: (n_cases,) of each."""
        self.logs, self.y_prob = list(logs), list(y_prob)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the epoch; Keras calls it.

        Raises:
            FlairprepError: the loss or a prediction is not finite.
        """
        logs = {} if logs is None else logs
        y_true, y_prob = self.validation.labels, predict(self.infer, self.validation)
        part = self.training[epoch % len(self.training)]
        in_inference = predict(self.infer, part)
        if not math.isfinite(logs["loss"]) or not np.isfinite(y_prob).all():
            raise FlairprepError(f"train: the loss is not a number in epoch {epoch + 1}; lower lr in params.yaml")
        logs |= {
            "val_loss": metrics.log_loss(y_true, y_prob),
            "val_accuracy": metrics.accuracy(y_true, y_prob),
            "val_auc": metrics.auc(y_true, y_prob),
            "accuracy_inference": metrics.accuracy(part.labels, in_inference),
            "learning_rate": float(tf.convert_to_tensor(self.model.optimizer.learning_rate)),
            "nir": metrics.no_information_rate(y_true),
        }
        self.y_prob.append(y_prob)
        self.logs.append(dict(logs))
        console.say(
            f"train: epoch {epoch + 1} of {self.epochs}: loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.3f}; "
            f"validation loss {logs['val_loss']:.4f}, accuracy {logs['val_accuracy']:.3f}, AUC {logs['val_auc']:.3f}"
        )


def prediction_rows(cases: Cases, epoch: int, y_prob: np.ndarray) -> pd.DataFrame:
    """Return rows of val_predictions.csv or test_predictions.csv; y_prob: (n_cases,)."""
    columns = (epoch, cases.case_ids, cases.labels, [f"{p:.6f}" for p in y_prob])
    return pd.DataFrame(dict(zip(PREDICTIONS, columns, strict=True)))
