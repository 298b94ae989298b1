"""The largest response of a network that finds balls lies in the ball; that of random weights does not."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)

import keras
import numpy as np
import pytest
from keras import layers
from scipy.ndimage import gaussian_filter

from flairprep.explanation import networks, occlusion

pytestmark = pytest.mark.slow

SHAPE = (16, 32, 32)
BACKGROUND = -4.0
RADIUS = 4.0


def simulated(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """A head of noise with a ball as bright as its brightest tissue, if labelled 1, and where that ball is."""
    index = np.indices(SHAPE).astype(float)
    middle = (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2
    distance = np.sqrt((((index - middle) / (middle * 0.9)) ** 2).sum(axis=0))
    towards = rng.normal(size=3)
    centre = middle.ravel() + 0.5 * middle.ravel() * towards / np.linalg.norm(towards)
    ball = (
        np.sqrt((((index - centre.reshape(3, 1, 1, 1)) * np.array([2, 1, 1]).reshape(3, 1, 1, 1)) ** 2).sum(0)) < RADIUS
    )
    texture = gaussian_filter(rng.normal(size=SHAPE), 1)
    values = texture / texture.std() + 3.0 * label * ball
    return np.where(distance < 1, np.clip(values, -3, 6), BACKGROUND).astype(np.float32), ball


def finder() -> keras.Model:
    """A network whose weights are set by hand: label 1 where some 5 voxels in a row are bright along every axis."""
    images = keras.Input((*SHAPE, 1))
    x = layers.Conv3D(4, 5, padding="same", activation="relu", name="conv")(images)
    pooled = layers.Concatenate()([layers.GlobalAveragePooling3D()(x), layers.GlobalMaxPooling3D()(x)])
    network = keras.Model(images, layers.Dense(1, activation="sigmoid", name="output")(pooled))
    kernel, weights = np.zeros((5, 5, 5, 1, 4)), np.zeros((8, 1))
    kernel[1:4, ..., 0] = 1 / 75  # the mean of as many voxels as a ball holds
    weights[4] = 6
    network.get_layer("conv").set_weights([kernel, np.array([-1.4, 0, 0, 0])])
    network.get_layer("output").set_weights([weights, np.array([-3.0])])
    return network


def test_the_largest_response_of_label_1_lies_in_the_ball_and_not_by_chance() -> None:
    rng = np.random.default_rng(0)
    network = finder()
    functions = dict(
        zip(("trained", "randomised"), networks.answers(network, networks.randomised(network)), strict=True)
    )
    without = [functions["trained"](simulated(rng, 0)[0], BACKGROUND)[0] for _ in range(20)]
    assert sum(logit < 0 for logit in without) >= 16, "the network tells the labels apart"
    hits, right = dict.fromkeys(functions, 0), 0
    for _ in range(200):
        volume, ball = simulated(rng, 1)
        if right == 20 or functions["trained"](volume, BACKGROUND)[0] <= 0:
            continue
        right += 1
        for kind, answers in functions.items():
            peak = occlusion.peak(occlusion.occlude(volume, answers, BACKGROUND).response)
            hits[kind] += bool(ball[tuple(np.rint(peak).astype(int))])
    assert right == 20
    assert hits["trained"] >= 16
    assert hits["randomised"] <= 4
