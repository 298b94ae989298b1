"""Train a network for a few steps, always from the same first weights."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flairprep.network.training import inference, seeded


class Trial:
    """Train a network in short runs, each from the same first weights: `reset`, then `step` by `step`.

    All its images are those that `prepared` returns, else every step would halve them again.

    build: returns the compiled network, with the same weights for the same seed.
    """

    def __init__(self, build: Callable[[], keras.Model], seed: int) -> None:
        seeded(seed)
        self.network = build()
        self.network.optimizer.build(self.network.trainable_variables)
        self._halve, self._learning = halved_apart(self.network)
        self._variables = [*self.network.variables, *self.network.optimizer.variables]
        self._first = self.state()
        images = tf.TensorSpec((None, *self._learning.input_shape[1:]), tf.float32)
        labels = tf.TensorSpec((None, 1), tf.float32)
        self._step = tf.function(self._train, input_signature=[images, labels], autograph=False)
        self._infer = inference(self._learning)

    def state(self) -> list[np.ndarray]:
        """Return the weights and what the optimizer keeps, for `reset`."""
        return [variable.numpy() for variable in self._variables]

    def reset(self, state: Sequence[np.ndarray] | None = None) -> None:
        """Restore the first weights and a fresh optimizer, or `state`."""
        for variable, value in zip(self._variables, self._first if state is None else state, strict=True):
            variable.assign(value)

    def prepared(self, images: np.ndarray) -> np.ndarray:
        """Return `images`, (n, z, y, x, 1), as the first layer that learns gets them: halved, if that comes first."""
        if self._halve is None:
            return images.astype(np.float32)
        return np.concatenate(
            [self._halve(image[np.newaxis]).numpy() for image in images.astype(np.float32, copy=False)]
        )

    def step(self, images: np.ndarray, labels: np.ndarray, rate: float) -> tuple[float, np.ndarray]:
        """Take a step at `rate` on a batch of `prepared` images and labels (n,).

        Returns:
            The loss and the probabilities of label 1, (n,), before the step.
        """
        self.network.optimizer.learning_rate.assign(rate)
        loss, y_prob = self._step(images, labels.astype(np.float32)[:, None])
        return float(loss), y_prob.numpy()[:, 0]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Predict the probability of label 1 in inference mode, (n,)."""
        return np.asarray(self._infer(images).numpy()[:, 0])

    def weights(self) -> dict[str, np.ndarray]:
        """Return all weights that training should change, by path: without averages of normalisation and seeds."""
        learned = [w for layer in self.network.layers for w in layer.weights if "moving_" not in w.path]
        return {w.path: w.numpy() for w in learned if "seed_generator" not in w.path}

    def coupling(self, images: np.ndarray) -> float:
        """Return the largest gradient of the first case's output with respect to a voxel of another's image.

        In inference mode.
        """
        inputs = tf.constant(images, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            first = self._learning(inputs, training=False)[0]
        return float(tf.reduce_max(tf.abs(tape.gradient(first, inputs)[1:])))

    def _train(self, images: Any, labels: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            y_prob = self._learning(images, training=True)
            loss = self.network.compute_loss(images, labels, y_prob)
        learned = self.network.trainable_variables
        self.network.optimizer.apply_gradients(zip(tape.gradient(loss, learned), learned, strict=True))
        return loss, y_prob


def halved_apart(network: keras.Model) -> tuple[keras.Layer | None, keras.Model]:
    """Return the pooling that `network` begins with, if it does, and the rest of it, which shares its weights."""
    first = network.layers[1]
    if isinstance(first, keras.layers.AveragePooling3D):
        return first, keras.Model(first.output, network.output)
    return None, network


def multiply_adds(network: keras.Model) -> int:
    """Count one case's multiplications in convolutions and dense layers, forward: outputs x weights of each."""
    kernels = [layer for layer in network.layers if hasattr(layer, "kernel")]
    return sum(math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape) for layer in kernels)
