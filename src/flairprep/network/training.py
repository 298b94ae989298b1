"""Train a network: its optimizer, schedule, devices, inference and fit."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from flairprep.network import model
from flairprep.network.ensemble import LastEpochs
from flairprep.network.input_pipeline import Cases
from flairprep.network.train_config import TrainConfig

logger = logging.getLogger(__name__)

DECAY_STEPS, DECAY_RATE = 100_000, 0.96  # of the ExponentialDecay in keras.io's tutorial, see model
Inference = Callable[[Any], Any]  # images, float32 (batch, z, y, x, 1), to probabilities, float32 (batch, 1)


def schedule(kind: str, rate: float, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate, or its schedule over the run's `steps`; warn of one that never changes the rate."""
    if kind == "exponential":
        if steps <= DECAY_STEPS:
            logger.warning(
                f"train: train.schedule exponential first lowers the rate at step {DECAY_STEPS}, but the run has "
                f"{steps} steps: the rate stays constant; choose cosine, or constant to say so"
            )
        return keras.optimizers.schedules.ExponentialDecay(rate, DECAY_STEPS, DECAY_RATE, staircase=True)
    return keras.optimizers.schedules.CosineDecay(rate, steps) if kind == "cosine" else rate


def seeded(seed: int) -> None:
    """Seed weights, dropout and shuffling of this process, and make every sum deterministic."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def compiled(section: model.ModelParams, shape: tuple[int, int, int, int], *, prior: float, rate: Any) -> keras.Model:
    """Build the network of `section`, untrained, with its loss and Adam at `rate`, a number or a schedule."""
    network = model.build(section, shape, prior=prior)
    # XLA makes 3D convolutions on a CPU several times slower.
    network.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    return network


def inference(network: keras.Model) -> Inference:
    """Return `network` in inference mode, on one device: Keras's predict fails where a device gets no case."""
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)]
    return tf.function(lambda images: network(images, training=False), input_signature=signature)


def predict(infer: Inference, cases: Cases) -> np.ndarray:
    """Return the probability of label 1 for each case, (n_cases,), rounded as in the tables."""
    answers = [infer(images).numpy()[:, 0] for images in cases.images]
    return np.round(np.concatenate(answers).astype(np.float64), 6)


def devices(batch_size: int, cases: int) -> tf.distribute.Strategy:
    """Return a strategy over the GPUs (or the logical CPUs): as many as share a batch evenly.

    Keras fails on uneven shares: with several devices an epoch has whole batches only. With less than a batch of cases
    one device works alone.
    """
    available = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    count = max(n for n in range(1, len(available) + 1) if batch_size % n == 0)
    if count < 2 or cases < batch_size:
        return tf.distribute.get_strategy()
    return tf.distribute.MirroredStrategy([device.name for device in available[:count]])


def fit(
    network: keras.Model,
    batches: Any,
    recorder: keras.callbacks.Callback,
    config: TrainConfig,
    *,
    labels: np.ndarray,
    epochs: int,
) -> keras.Model:
    """Train `network` on `batches` of one epoch, `epochs` times; return the network of the declared predictions.

    recorder: adds what `config.monitor` names to the logs of each epoch. labels: (n_cases,) of the training cases, for
    the class weights.
    """
    last = LastEpochs()
    callbacks = [recorder, last]
    if config.patience:
        watched = {"monitor": config.monitor, "mode": "min" if config.monitor == "val_loss" else "max"}
        callbacks.append(keras.callbacks.EarlyStopping(patience=config.patience, **watched))
    shares = np.bincount(labels, minlength=2) / len(labels)
    weights = {label: 0.5 / share for label, share in enumerate(shares)} if config.class_weight == "balanced" else None
    # Repeated, so that the next epoch's first batches are read during this one's validation.
    network.fit(
        batches.repeat(),
        epochs=epochs,
        steps_per_epoch=int(batches.cardinality()),
        callbacks=callbacks,
        class_weight=weights,
        shuffle=False,
        verbose=0,
    )
    return last.mean()
