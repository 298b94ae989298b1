"""recorder: each epoch's predictions and scores are those of the cases, and a loss that is not finite ends the run."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from flairprep.core.errors import FlairprepError
from flairprep.network.recorder import Recorder, prediction_rows

VALIDATION, TRAINING = np.array([0, 1, 1, 0, 1]), np.array([1, 0, 0])
LOGS = {"loss": 0.5, "accuracy": 0.75}


def cases(labels: np.ndarray, y_prob: list[float]) -> Any:
    """Cases whose images, in two batches, are the probabilities that `infer` gives back."""
    images = tf.data.Dataset.from_tensor_slices(np.float32(y_prob)[:, np.newaxis]).batch(3)
    return SimpleNamespace(case_ids=[f"{n:05d}" for n in range(len(labels))], labels=labels, images=images)


def recorder(y_prob: list[float], in_training: tuple[float, ...] = (0.9, 0.8, 0.2), rate: Any = 1e-3) -> Recorder:
    record = Recorder(lambda images: images, [cases(TRAINING, [*in_training])], cases(VALIDATION, y_prob), 2)
    record.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=rate)))
    return record


def test_an_epoch_adds_its_scores_to_the_logs_and_to_the_history() -> None:
    y_prob = [0.3, 0.9, 0.4, 0.6, 0.7]
    record, logs = recorder(y_prob), dict(LOGS)
    record.on_epoch_end(0, logs)
    record.on_epoch_end(1, dict(LOGS))
    assert logs == pytest.approx(
        {
            **LOGS,
            "val_loss": log_loss(VALIDATION, y_prob),
            "val_accuracy": accuracy_score(VALIDATION, np.array(y_prob) > 0.5),
            "val_auc": roc_auc_score(VALIDATION, y_prob),
            "accuracy_inference": 2 / 3,
            "learning_rate": 1e-3,
            "nir": 3 / 5,
        },
        rel=1e-5,
    )
    assert [row["epoch"] for row in record.history] == [1, 2]
    assert record.history[0] == {"epoch": 1, **{key: f"{value:.6g}" for key, value in logs.items()}}
    np.testing.assert_allclose(record.y_prob, [y_prob, y_prob], atol=1e-6)


def test_the_parts_of_the_training_cases_take_turns() -> None:
    record = recorder([0.5] * 5)
    record.training = [cases(np.array([1, 1]), p) for p in ([0.9, 0.9], [0.9, 0.1], [0.1, 0.1])]
    for epoch in (0, 1, 2, 3):
        record.on_epoch_end(epoch, dict(LOGS))
    assert [logs["accuracy_inference"] for logs in record.logs] == [1, 0.5, 0, 1]


def test_predictions_are_a_row_per_epoch_and_validation_case_with_six_digits() -> None:
    record = recorder([1 / 3, 0.9, 0.4, 0.6, 1.0])
    record.on_epoch_end(0, dict(LOGS))
    (rows,) = record.predictions
    assert rows.columns.tolist() == ["epoch", "case_id", "label", "probability"]
    assert rows["epoch"].tolist() == [1] * 5
    assert rows["case_id"].tolist() == [f"{n:05d}" for n in range(5)]
    assert rows["label"].tolist() == VALIDATION.tolist()
    assert rows["probability"].tolist() == ["0.333333", "0.900000", "0.400000", "0.600000", "1.000000"]
    test = prediction_rows(cases(VALIDATION, [0.5] * 5), 7, np.full(5, 0.5))
    assert set(test["epoch"]) == {7}


def test_the_rate_of_a_schedule_is_that_of_the_step() -> None:
    record, logs = recorder([0.5] * 5, rate=tf.Variable(2e-4)), dict(LOGS)
    record.on_epoch_end(0, logs)
    assert logs["learning_rate"] == pytest.approx(2e-4)


@pytest.mark.parametrize(("loss", "probability"), [(np.nan, 0.5), (np.inf, 0.5), (0.5, np.nan)])
def test_a_loss_or_a_prediction_that_is_not_finite_ends_the_run(loss: float, probability: float) -> None:
    record = recorder([0.5, 0.5, 0.5, 0.5, probability])
    with pytest.raises(FlairprepError, match=r"epoch 3; .*\blr\b.*params\.yaml"):
        record.on_epoch_end(2, {**LOGS, "loss": loss})
    assert (record.history, record.predictions, record.y_prob) == ([], [], [])
