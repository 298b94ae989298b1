"""trial: a short run starts again from the same weights, and its steps are those of Keras."""

from typing import Any

import keras
import numpy as np
import pytest

from flairprep.network import model, training
from flairprep.sanity.trial import Trial, multiply_adds


def network(**changed: Any) -> keras.Model:
    """A small network of one block, compiled."""
    given: dict[str, Any] = {
        **dict.fromkeys(model.ModelParams.model_fields),
        "name": "resnet3d",
        "filters": [4],
        "dropout": 0.2,
        **changed,
    }
    return training.compiled(model.ModelParams(**given), (8, 12, 12, 1), prior=0.25, rate=1e-2)


def batch(size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(size, 8, 12, 12, 1)).astype(np.float16), np.arange(size) % 2


def step(trial: Trial, rate: float) -> tuple[float, np.ndarray]:
    images, labels = batch()
    return trial.step(trial.prepared(images), labels, rate)


def test_a_trial_starts_again_from_the_same_weights_dropout_and_optimizer() -> None:
    trial = Trial(network, 3)
    start = trial.weights()
    runs = []
    for _ in range(2):
        trial.reset()
        runs.append([step(trial, 1e-2)[0] for _ in range(5)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 5
    trial.reset()
    for path, weights in trial.weights().items():
        np.testing.assert_array_equal(weights, start[path])


def test_a_trial_goes_on_from_a_state_as_if_nothing_had_come_between() -> None:
    trial = Trial(network, 3)
    step(trial, 1e-2)
    state = trial.state()
    on = [step(trial, 1e-2)[0] for _ in range(3)]
    trial.reset(state)
    assert [step(trial, 1e-2)[0] for _ in range(3)] == on


def test_a_step_of_a_trial_is_a_step_of_keras() -> None:
    images, labels = batch()
    trial = Trial(lambda: network(dropout=0.0), 3)
    training.seeded(3)
    reference = network(dropout=0.0)
    for _ in range(3):
        y_prob = np.asarray(reference(images.astype(np.float32), training=False))[:, 0]
        np.testing.assert_allclose(trial.probabilities(trial.prepared(images)), y_prob, atol=1e-6)
        loss, _ = trial.step(trial.prepared(images), labels, 1e-2)
        assert loss == pytest.approx(reference.train_on_batch(images, labels[:, None])[0], rel=1e-5)
    for mine, theirs in zip(trial.network.weights, reference.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-5)


def test_what_comes_before_the_first_weights_is_computed_once_and_changes_nothing() -> None:
    halved, plain = Trial(network, 0), Trial(lambda: network(name="tutorial_cnn"), 0)
    images, _ = batch()
    assert halved.prepared(images).shape == (4, 4, 6, 6, 1)
    means = images.astype(np.float64).reshape(4, 4, 2, 6, 2, 6, 2, 1).mean(axis=(2, 4, 6))
    np.testing.assert_allclose(halved.prepared(images), means, atol=1e-6)
    np.testing.assert_array_equal(plain.prepared(images), images.astype(np.float32))


def test_the_rate_of_a_step_is_the_one_given() -> None:
    trial = Trial(network, 0)
    before = trial.weights()
    step(trial, 0.0)
    assert all(np.array_equal(before[path], weights) for path, weights in trial.weights().items())
    step(trial, 1e-3)
    largest = max(np.abs(before[path] - weights).max() for path, weights in trial.weights().items())
    assert 1e-4 < largest < 1.5e-3  # a step of Adam is about as long as its rate


def test_the_weights_of_a_trial_are_without_averages_and_seeds() -> None:
    paths = Trial(network, 0).weights()
    assert sum("gamma" in path for path in paths) == 3  # two convolutions and the projection of the shortcut
    assert not [path for path in paths if "moving" in path or "seed" in path]


def test_cases_are_coupled_where_the_network_mixes_a_batch() -> None:
    def mixing() -> keras.Model:
        plain = network()
        mixed = keras.layers.Lambda(lambda y: y - 0.1 * keras.ops.mean(y, axis=0, keepdims=True))(plain.output)
        whole = keras.Model(plain.input, mixed)
        whole.compile(keras.optimizers.Adam(1e-2), loss="binary_crossentropy", jit_compile=False)
        return whole

    for build, coupled in ((network, False), (mixing, True)):
        trial = Trial(build, 0)
        assert (trial.coupling(trial.prepared(batch()[0])) > 0) == coupled


def test_multiply_adds_are_those_of_the_convolutions_and_dense_layers() -> None:
    """By hand: halved to 4 x 6 x 6, then to 2 x 3 x 3 by the first convolution."""
    expected = 18 * (27 * 1 * 4 + 27 * 4 * 4 + 1 * 4) + 8 * 1
    assert multiply_adds(network()) == expected
