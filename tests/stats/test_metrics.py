"""Metrics against scikit-learn and slow references."""

import math

import numpy as np
import pytest
import sklearn.metrics
from simulated_predictions import sample, simulated_run, slow_scores

from flairprep.core.errors import FlairprepError
from flairprep.stats import metrics

METRICS: tuple[metrics.Metric, ...] = ("val_accuracy", "val_loss", "val_auc")
CASES = ["00002", "00005", "00009"]


@pytest.mark.parametrize("seed", range(5))
def test_losses_and_areas_equal_scikit_learn(seed: int) -> None:
    y_true, y_prob = sample(seed)
    clipped = np.clip(y_prob, metrics.EPSILON, 1 - metrics.EPSILON)
    assert metrics.log_loss(y_true, y_prob) == pytest.approx(sklearn.metrics.log_loss(y_true, clipped), rel=1e-12)
    assert metrics.brier(y_true, y_prob) == pytest.approx(sklearn.metrics.brier_score_loss(y_true, y_prob), rel=1e-12)
    assert metrics.auc(y_true, y_prob) == pytest.approx(sklearn.metrics.roc_auc_score(y_true, y_prob), rel=1e-12)
    assert metrics.accuracy(y_true, y_prob) == sklearn.metrics.accuracy_score(y_true, y_prob > 0.5)
    assert metrics.no_information_rate(y_true) == max(np.bincount(y_true)) / len(y_true)


def test_edges_of_the_simple_numbers() -> None:
    one, zero = np.array([1]), np.array([0])
    assert metrics.accuracy(zero, np.array([0.5])) == 1 == metrics.accuracy(one, np.array([0.51]))
    assert metrics.log_loss(one, np.array([0.0])) == pytest.approx(-math.log(1e-7)) == metrics.log_loss(zero, one)
    assert metrics.log_loss(one, one) == pytest.approx(1e-7, rel=1e-6)
    assert metrics.no_information_rate(one) == metrics.no_information_rate(zero) == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(10))
def test_best_epoch_is_the_first_of_the_best(metric: metrics.Metric, seed: int) -> None:
    y_true, y_prob = simulated_run(seed, epochs=12, n=20)
    y_prob = np.concatenate([y_prob, y_prob[::-1]])  # every epoch has an equal one
    scores = slow_scores(y_true, y_prob, metric)
    assert metrics.best_epoch(y_true, y_prob, metric) == scores.index(max(scores))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("epochs", "n"), [(42, 120), (47, 8), (58, 92), (35, 41), (7, 117), (1, 1)])
def test_best_of_equal_epochs_is_the_first_whatever_the_shape(metric: metrics.Metric, epochs: int, n: int) -> None:
    rng = np.random.default_rng(0)  # several, since the order of a dot product's sums depends on shape and place
    for _ in range(20):
        y_true, row = rng.integers(0, 2, n), rng.uniform(size=n)
        assert metrics.best_epoch(y_true, np.tile(row, (epochs, 1)), metric) == 0


@pytest.mark.parametrize("y_prob", [[0.0, 0.5, 1.0], [[0.1, 0.2, 0.3], [1, 0, 1]]])
@pytest.mark.parametrize("y_true", [[0, 1, 1], [0.0, 1.0, 0.0], [True, False, True], np.array([1, 1, 1], np.int8)])
def test_valid_predictions_pass(y_true: list, y_prob: list) -> None:
    metrics.check_predictions(CASES, np.array(y_true), np.array(y_prob))


@pytest.mark.parametrize(
    ("y_true", "y_prob", "named"),
    [
        ([0, 1, 1], [0.1, math.nan, 0.2], "'00005', epoch 1: .* nan.* lr"),
        ([0, 1, 1], [[0.1, 0.2, 0.3], [0.1, 0.2, math.nan]], "'00009', epoch 2: .* nan"),
        ([0, 1, 1], [0.1, 0.2, 1.5], "'00009', epoch 1: .* 1.5; .* 0 to 1"),
        ([0, 1, 1], [-0.1, 0.2, 0.5], "'00002', epoch 1: .* -0.1"),
        ([0, 1, 1], [math.inf, 0.2, 0.5], "'00002', epoch 1: .* inf"),
        ([0, 2, 1], [0.1, 0.2, 0.3], "'00005': .* 2; .* 0 or 1"),
        ([0, 1, math.nan], [0.1, 0.2, 0.3], "'00009': .* nan"),
        (["0", "1", "1"], [0.1, 0.2, 0.3], "'00002': .* '0'"),
        (np.array([0, 1, "1"], object), [0.1, 0.2, 0.3], "'00009': .* '1'"),
        ([0, None, 1], [0.1, 0.2, 0.3], "'00005': .* None"),
        ([0, 1], [0.1, 0.2, 0.3], "3 cases, 2 labels and 3 probabilities"),
        ([0, 1, 1], [[0.1, 0.2]], "3 cases, 3 labels and 2 probabilities"),
    ],
)
def test_invalid_predictions_are_named_with_their_case(y_true: list, y_prob: list, named: str) -> None:
    with pytest.raises(FlairprepError, match=named):
        metrics.check_predictions(CASES, np.array(y_true), np.array(y_prob))
