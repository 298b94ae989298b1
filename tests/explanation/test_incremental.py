"""incremental: the logits without each part are those of the whole network for the volume without it."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from flairprep.explanation import incremental, occlusion
from flairprep.explanation.occlusion import Block
from flairprep.network import model
from flairprep.network.model_config import ModelParams

BACKGROUND = -4.0


def built(shape: tuple[int, int, int], seed: int = 0, **given: Any) -> keras.Model:
    """A network of `shape` with weights and statistics as if trained, whose answers are logits."""
    values = {**dict.fromkeys(ModelParams.model_fields), "name": "resnet3d", **given}
    keras.utils.set_random_seed(seed)
    network = model.build(ModelParams(**values), (*shape, 1))
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        weights = [w + rng.normal(0, 0.3, w.shape) for w in layer.get_weights()]
        if isinstance(layer, layers.BatchNormalization):
            weights[-1] = np.abs(weights[-1]) + 0.5  # a variance
        layer.set_weights(weights)
    network.layers[-1].activation = keras.activations.linear
    return network


def whole(network: keras.Model, volume: np.ndarray, parts: list[Block]) -> np.ndarray:
    """The logits of the volumes without each of `parts`, each through the whole network."""
    copies = np.repeat(volume[np.newaxis], len(parts), axis=0)
    for copy, part in zip(copies, parts, strict=True):
        copy[part] = BACKGROUND
    chunks = [copies[start : start + 8, ..., np.newaxis] for start in range(0, len(copies), 8)]
    return np.concatenate([np.asarray(network(chunk, training=False))[:, 0] for chunk in chunks])


def some_parts(shape: tuple[int, int, int], rng: np.random.Generator) -> list[Block]:
    """Blocks as the maps hide them, their halves, and boxes anywhere: single voxels, corners, the whole volume."""
    coarse = occlusion.blocks(shape)
    chosen = [coarse[number] for number in rng.choice(len(coarse), 12)] + [coarse[0], coarse[-1]]
    parts = [*chosen, *(half for block in chosen[:3] for half in occlusion.halves(block))]
    for _ in range(12):
        ends = [sorted(rng.choice(size + 1, 2, replace=False).tolist()) for size in shape]
        parts.append(tuple(slice(*each) for each in ends))
    last = tuple(slice(size - 1, size) for size in shape)
    return [*parts, (slice(0, 1),) * 3, last, tuple(slice(0, size) for size in shape)]


CASES: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "resnet3d": ((16, 32, 32), {"filters": [2, 3]}),
    "deep": ((32, 64, 64), {"filters": [2, 3, 4, 5]}),
    "odd": ((17, 35, 30), {"filters": [2, 3]}),
    "odd and deep": ((23, 53, 47), {"filters": [2, 2, 2]}),
    "no shortcut": ((16, 32, 32), {"filters": [2, 3], "skip": False}),
    "norm after pool": ((16, 32, 32), {"filters": [2, 3], "norm": "after_pool"}),
    "group norm": ((16, 32, 32), {"filters": [2, 3], "norm": "group"}),
    "no norm": ((16, 32, 32), {"filters": [2, 3], "norm": "none"}),
    "tutorial": ((24, 40, 40), {"name": "tutorial_cnn", "filters": [2, 3]}),
    "tutorial, odd": ((23, 45, 38), {"name": "tutorial_cnn", "filters": [2, 3, 4]}),
    "tutorial with shortcuts": ((25, 41, 40), {"name": "tutorial_cnn", "filters": [2, 3], "skip": True}),
    "dense": ((16, 32, 32), {"filters": [2], "dense": 5, "dropout": 0.3}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_logits_without_a_part_are_those_of_the_whole_network(name: str) -> None:
    shape, given = CASES[name]
    rng = np.random.default_rng(list(CASES).index(name))
    network = built(shape, **given)
    volume = rng.normal(0, 2, shape).astype(np.float32)
    logit, without = incremental.Incremental(network).start(incremental.weights_of(network), volume, BACKGROUND)
    parts = some_parts(shape, rng)
    expected, found = whole(network, volume, parts), without(parts)
    assert logit == pytest.approx(float(np.asarray(network(volume[np.newaxis, ..., np.newaxis]))[0, 0]), abs=1e-4)
    assert found.dtype == np.float64
    scale = np.abs(expected - logit).max()
    np.testing.assert_allclose(found - logit, expected - logit, atol=1e-4 * scale)
    assert np.ptp(expected) > 0, "else any order would do"


def test_as_few_volumes_go_through_the_rest_at_once_as_its_largest_maps_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Group normalisation sees all of a map, so the rest begins at the input, whose maps have 4 times as much."""
    shape = (16, 32, 32)
    network = built(shape, name="tutorial_cnn", filters=[4, 4], norm="group", skip=True)
    monkeypatch.setattr(incremental, "MOST_BYTES", 3 * 4 * 4 * 14 * 30 * 30)
    traced = incremental.Incremental(network)
    (rest,) = traced._rests
    assert rest.most == 3
    volume = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    _, without = traced.start(incremental.weights_of(network), volume, BACKGROUND)
    parts = occlusion.blocks(shape)[:8]
    np.testing.assert_allclose(without(parts), whole(network, volume, parts), atol=1e-5)


def test_a_part_that_no_layer_sees_changes_nothing() -> None:
    keras.utils.set_random_seed(1)
    images = keras.Input((6, 16, 16, 1))
    x = layers.Cropping3D(((0, 0), (0, 0), (8, 0)))(images)
    x = layers.MaxPooling3D(2)(layers.Conv3D(2, 2)(x))  # none sees the last of 5 x 15 x 7 voxels
    network = keras.Model(images, layers.Dense(1)(layers.GlobalAveragePooling3D()(x)))
    volume = np.random.default_rng(1).normal(size=(6, 16, 16)).astype(np.float32)
    logit, without = incremental.Incremental(network).start(incremental.weights_of(network), volume, BACKGROUND)
    parts = [tuple(slice(low, low + 1) for low in corner) for corner in ((0, 0, 0), (5, 15, 15), (2, 3, 7), (2, 3, 8))]
    parts += [(slice(0, 2), slice(0, 4), slice(0, 4)), (slice(0, 2), slice(0, 4), slice(6, 10))]
    np.testing.assert_allclose(without(parts), whole(network, volume, parts), atol=1e-6)
    np.testing.assert_allclose(without(parts)[[0, 1, 2, 4]], logit, atol=1e-7)


def test_a_small_part_is_computed_anew_in_small_cuts_of_the_maps() -> None:
    """Else the answers above would be right, but no faster than those of the whole network."""
    shape = (32, 64, 64)
    network = built(shape, filters=[2, 3, 4, 5])
    traced = incremental.Incremental(network)
    _, without = traced.start(incremental.weights_of(network), np.zeros(shape, np.float32), BACKGROUND)
    sizes = []
    for segment in traced._segments:
        segment.run = lambda weights, maps, run=segment.run, shape=segment.shape: (
            sizes.append(np.prod(maps.shape[1:4]) / np.prod(shape)),
            run(weights, maps),
        )[1]
    without([(slice(12, 16), slice(24, 32), slice(40, 48))])
    assert len(sizes) >= 2, "the halving and the first block"
    assert max(sizes[:2]) < 0.25
