"""What trains a network: batches of the exported cases, augmentation, schedules, inference, and short trials of it."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flairprep.core import console
from flairprep.dataset import tf_data
from flairprep.network import model

DECAY_STEPS, DECAY_RATE = 100_000, 0.96  # the question's ExponentialDecay
SHIFT = 6  # voxels
Inference = Callable[[Any], Any]  # images, float32 (batch, z, y, x, 1), to probabilities, float32 (batch, 1)


class Cases:
    """The cases of some folds, in a fixed order, and a tf.data.Dataset of their images in batches to predict from."""

    def __init__(self, directory: Path, folds: list[int], batch_size: int) -> None:
        elements = tf_data.dataset(directory, folds)
        names = list(elements.map(lambda e: (e["case_id"], e["label"])).as_numpy_iterator())
        self.case_ids = [case_id.decode() for case_id, _ in names]
        self.labels = np.array([label for _, label in names])
        self.images = elements.map(lambda e: tf.cast(e["image"], tf.float32)).batch(batch_size).prefetch(2)


def augmented(volume: Any, seed: Any, kind: str) -> Any:
    """`volume` (z, y, x, 1), mirrored left to right in half of the cases and shifted by up to 6 voxels each way.

    What comes in from outside is the value of the corner, the background. seed: (2,) int64.
    """
    voxels = tf.squeeze(volume, -1)  # the channel, of one voxel, makes tensorflow take five times as long
    if "flip" in kind:
        mirrored = tf.random.stateless_uniform([], seed) < 0.5
        voxels = tf.cond(mirrored, lambda: tf.reverse(voxels, [2]), lambda: voxels)
    if "shift" in kind:
        start = tf.random.stateless_uniform([3], seed + 1, 0, 2 * SHIFT + 1, tf.int32)
        padded = tf.pad(voxels, [[SHIFT, SHIFT]] * 3, constant_values=voxels[0, 0, 0])
        voxels = tf.slice(padded, start, tf.shape(voxels))
    return tf.expand_dims(voxels, -1)


def training_batches(
    directory: Path, folds: list[int], augment: str, *, batch_size: int, seed: int, whole: bool = False
) -> Any:
    """Shuffled, augmented batches (image, label); the last one of an epoch may be smaller, or left out if `whole`.

    The images are float16, as exported: the network makes float32 of them, and half as much is copied on the way.
    """
    cases = tf_data.dataset(directory, folds, shuffle_seed=seed)
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    seeds = seeds.map(lambda value: tf.stack([value, tf.constant(seed, tf.int64)]))

    def prepare(element: dict[str, Any], drawn: Any) -> tuple[Any, Any]:
        return augmented(element["image"], drawn, augment), element["label"]

    pairs = tf.data.Dataset.zip((cases, seeds))
    early = tf.data.Options()
    early.experimental_warm_start = True  # reads the first batches while Keras still traces the first step
    batches = pairs.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size, whole).prefetch(2)
    return batches.with_options(early)


def schedule(kind: str, rate: float, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate, or its schedule over the run's `steps`; warns of one that never changes the rate."""
    if kind == "exponential":
        if steps <= DECAY_STEPS:
            console.warn(
                f"train: train.schedule exponential first lowers the rate at step {DECAY_STEPS}, but the run has "
                f"{steps} steps: the rate stays constant; choose cosine, or constant to say so"
            )
        return keras.optimizers.schedules.ExponentialDecay(rate, DECAY_STEPS, DECAY_RATE, staircase=True)
    return keras.optimizers.schedules.CosineDecay(rate, steps) if kind == "cosine" else rate


def seeded(seed: int) -> None:
    """Makes weights, dropout and every sum of this process the same again with the same `seed`."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def compiled(section: model.Params, shape: tuple[int, int, int, int], *, prior: float, rate: Any) -> keras.Model:
    """The network of `section`, untrained, with its loss and Adam at `rate`, a number or a schedule."""
    network = model.build(section, shape, prior=prior)
    # XLA makes 3D convolutions on a CPU several times slower.
    network.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    return network


def inference(network: keras.Model) -> Inference:
    """`network` in inference mode, on one device: Keras's predict fails where a device gets no case of a batch."""
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)]
    return tf.function(lambda images: network(images, training=False), input_signature=signature)


def predict(infer: Inference, cases: Cases) -> np.ndarray:
    """The probability of label 1 for each case, rounded as the tables hold it."""
    answers = [infer(images).numpy()[:, 0] for images in cases.images]
    return np.round(np.concatenate(answers).astype(np.float64), 6)


def devices(batch_size: int, cases: int) -> tf.distribute.Strategy:
    """Mirrored over the GPUs (or the logical CPUs) where there are several: as many as share a batch evenly.

    Keras fails on uneven shares, so an epoch has whole batches alone then; one device works on less than a batch.
    """
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    count = max(n for n in range(1, len(found) + 1) if batch_size % n == 0)
    if count < 2 or cases < batch_size:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in found[:count]])


class Trial:
    """A network in short runs of training, each from the same first weights: `reset`, then `step` by `step`.

    build: makes the network, compiled, with the same weights for the same seed.
    """

    def __init__(self, build: Callable[[], keras.Model], seed: int) -> None:
        seeded(seed)
        self.network = build()
        self.network.optimizer.build(self.network.trainable_variables)
        self._variables = [*self.network.variables, *self.network.optimizer.variables]
        self._first = [variable.numpy() for variable in self._variables]
        images = tf.TensorSpec((None, *self.network.input_shape[1:]), tf.float32)
        labels = tf.TensorSpec((None, 1), tf.float32)
        self._step = tf.function(self._train, input_signature=[images, labels])
        self._infer = inference(self.network)

    def reset(self) -> None:
        """Back to the first weights, and an optimizer that has seen nothing."""
        for variable, value in zip(self._variables, self._first, strict=True):
            variable.assign(value)

    def step(self, images: np.ndarray, labels: np.ndarray, rate: float) -> tuple[float, np.ndarray]:
        """One step at `rate` on a batch, (n, z, y, x, 1) and (n,); its loss and probabilities (n,) before the step."""
        self.network.optimizer.learning_rate.assign(rate)
        loss, y_prob = self._step(images.astype(np.float32), labels.astype(np.float32)[:, None])
        return float(loss), y_prob.numpy()[:, 0]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """The probability of label 1 in inference mode, (n,)."""
        return np.asarray(self._infer(images.astype(np.float32)).numpy()[:, 0])

    def weights(self) -> dict[str, np.ndarray]:
        """What training is meant to change: all weights by their paths, without the averages of normalisation."""
        learned = [w for layer in self.network.layers for w in layer.weights if "moving_" not in w.path]
        return {w.path: w.numpy() for w in learned if "seed_generator" not in w.path}

    def coupling(self, images: np.ndarray) -> float:
        """The largest gradient of the first case's output with respect to a voxel of another, in inference mode."""
        inputs = tf.constant(images, tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            first = self.network(inputs, training=False)[0]
        return float(tf.reduce_max(tf.abs(tape.gradient(first, inputs)[1:])))

    def _train(self, images: Any, labels: Any) -> tuple[Any, Any]:
        with tf.GradientTape() as tape:
            y_prob = self.network(images, training=True)
            loss = self.network.compute_loss(images, labels, y_prob)
        learned = self.network.trainable_variables
        self.network.optimizer.apply_gradients(zip(tape.gradient(loss, learned), learned, strict=True))
        return loss, y_prob


def multiply_adds(network: keras.Model) -> int:
    """Multiplications for one case through the convolutions and dense layers, forward: outputs x weights of each."""
    kernels = [layer for layer in network.layers if hasattr(layer, "kernel")]
    return sum(math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape) for layer in kernels)
