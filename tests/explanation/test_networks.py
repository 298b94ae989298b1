"""networks: logits that do not round away, and weights that were never trained."""

from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import expit, logit

from flairprep.core.errors import FlairprepError
from flairprep.explanation import networks
from flairprep.network import ensemble, model, saving
from flairprep.network.model_config import ModelParams

SHAPE = (8, 16, 16, 1)
BACKGROUND = -4.0


def untrained(seed: int, norm: str = "after_conv") -> keras.Model:
    keras.utils.set_random_seed(seed)
    values = dict.fromkeys(ModelParams.model_fields)
    return model.build(ModelParams(**{**values, "name": "resnet3d", "filters": [2, 3], "norm": norm}), SHAPE)


def mean_of(*seeds: int) -> keras.Model:
    """The mean of networks with the weights of untrained ones, as train saves it."""
    last = ensemble.LastEpochs()
    for epoch, seed in enumerate(seeds):
        last.set_model(untrained(seed))
        last.on_epoch_end(epoch)
    return last.mean()


@pytest.fixture(scope="module")
def volumes() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, *SHAPE[:3])).astype(np.float32)


@pytest.mark.parametrize("seeds", [(1,), pytest.param((1, 2, 3), marks=pytest.mark.slow)], ids=["one", "mean"])
def test_the_logits_are_those_of_the_saved_networks_probabilities(
    seeds: tuple[int, ...], volumes: np.ndarray, tmp_path: Path
) -> None:
    saving.save(mean_of(*seeds), tmp_path / "model.keras")
    network = networks.load(tmp_path / "model.keras")
    probabilities = np.asarray(network(volumes[..., np.newaxis], training=False))[:, 0]
    (answers,) = networks.answers(network)
    logits = [answers(volume, BACKGROUND)[0] for volume in volumes]
    np.testing.assert_allclose(logits, logit(probabilities.astype(np.float64)), atol=1e-5)
    assert np.ptp(probabilities) > 1e-4, "else the order of the cases would not be tested"


def test_the_logits_without_a_part_are_those_of_the_mean_of_the_members(volumes: np.ndarray) -> None:
    network = mean_of(1, 2)
    corner, all_but_one = (slice(0, 3), slice(0, 5), slice(0, 4)), (slice(0, 8), slice(0, 16), slice(1, 16))
    (answers,) = networks.answers(network)
    _, without = answers(volumes[0], BACKGROUND)
    copies = np.stack([volumes[0], volumes[0]])
    copies[0][corner], copies[1][all_but_one] = BACKGROUND, BACKGROUND
    probabilities = np.asarray(network(copies[..., np.newaxis], training=False))[:, 0].astype(np.float64)
    np.testing.assert_allclose(without([corner, all_but_one]), logit(probabilities), atol=1e-5)
    assert without([]).shape == (0,)


def test_the_logit_of_a_mean_probability_does_not_round_to_infinity() -> None:
    each = np.array([[0.3, -1.2, 2.0], [5.0, 5.0, 5.0]])
    np.testing.assert_allclose(networks.mean_logit(each), logit(expit(each).mean(axis=1)))
    np.testing.assert_allclose(networks.mean_logit(np.array([[100.0, 100.0], [-300.0, -300.0]])), [100, -300])
    sure, lost = networks.mean_logit(np.array([[90.0, 90.0], [90.0, 89.0]]))
    assert sure > lost


@pytest.mark.slow
def test_every_layer_is_drawn_anew_from_a_fixed_seed_and_for_each_member(volumes: np.ndarray) -> None:
    trained = mean_of(1, 2)
    for member in networks.members(trained):
        member.set_weights([weights + 0.5 for weights in member.get_weights()])
    one, again = networks.randomised(trained), networks.randomised(trained)
    for weights, other, former in zip(one.weights, again.weights, trained.weights, strict=True):
        np.testing.assert_array_equal(weights.numpy(), other.numpy())
        assert (weights.numpy() != former.numpy()).any(), weights.path
    first, second = networks.members(one)
    kernels = [
        (mine.numpy(), theirs.numpy())
        for mine, theirs in zip(first.weights, second.weights, strict=True)
        if mine.name == "kernel"
    ]
    assert len(kernels) > 3
    assert all((mine != theirs).all() for mine, theirs in kernels)
    random, learned = networks.answers(one, trained)
    assert all(random(volume, BACKGROUND)[0] != learned(volume, BACKGROUND)[0] for volume in volumes)


def test_what_is_no_network_of_one_probability_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with pytest.raises(FlairprepError, match=r"model\.keras: no such file"):
        networks.load(path)
    path.write_bytes(b"PK no archive")
    with pytest.raises(FlairprepError, match=r"model\.keras"):
        networks.load(path)
    images = keras.Input(SHAPE)
    pooled = keras.layers.GlobalAveragePooling3D()(images)
    keras.Model(images, keras.layers.Dense(2)(pooled)).save(path)
    with pytest.raises(FlairprepError, match=r"model\.keras: .*\(2,\)"):
        networks.load(path)
    linear = keras.Model(images, keras.layers.Dense(1)(pooled))
    with pytest.raises(FlairprepError, match="sigmoid"):
        networks.answers(linear)
