"""Train a network: its optimizer, schedule, devices, inference and fit."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import logging
import os
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from flairprep.network import input_pipeline, model
from flairprep.network.ensemble import LastEpochs
from flairprep.network.input_pipeline import Batches, Cases
from flairprep.network.states import State, States
from flairprep.network.train_config import Precision, TrainConfig

if TYPE_CHECKING:
    from flairprep.network.recorder import Recorder  # which imports this module

logger = logging.getLogger(__name__)

DECAY_STEPS, DECAY_RATE = 100_000, 0.96  # of the ExponentialDecay in keras.io's tutorial, see model
SWITCHES = ("TF_", "XLA_", "OMP_", "NVIDIA_TF32")  # of the environment
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


def compiled(
    section: model.ModelParams,
    shape: tuple[int, int, int, int],
    *,
    prior: float,
    rate: Any,
    precision: Precision = "float32",
) -> keras.Model:
    """Build the network of `section`, untrained, with its loss and Adam at `rate`, a number or a schedule.

    With mixed_float16 Keras scales the loss by a factor that it keeps among the optimizer's variables.
    """
    if precision == "mixed_float16" and not tf.config.list_physical_devices("GPU"):
        logger.warning(
            "train: train.precision mixed_float16 is meant for GPUs, and there is none: float32 is faster here"
        )
    network = model.build(section, shape, prior=prior, precision=precision)
    # XLA makes 3D convolutions on a CPU several times slower.
    network.compile(keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    return network


def inference(network: keras.Model) -> Inference:
    """Return `network` in inference mode, on one device: Keras's predict fails where a device gets no case.

    In float32, also where the network trains in mixed precision, so that model.keras gives the same answers.
    """
    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)]
    if (single := model.in_float32(network)) is network:
        return tf.function(lambda images: network(images, training=False), input_signature=signature, autograph=False)

    def answer(images: Any) -> Any:
        weights = network.trainable_variables, network.non_trainable_variables
        return single.stateless_call(*weights, images, training=False)[0]

    return tf.function(answer, input_signature=signature, autograph=False)


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


def machine() -> dict[str, Any]:
    """Return, as JSON, what makes the same training end in other bytes: versions, devices, and switches of tensorflow.

    Without a GPU the kind and the number of cores round sums in another order.
    """
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    switches = {name: value for name, value in os.environ.items() if name.startswith(SWITCHES)}
    return {
        "versions": [platform.python_version(), tf.version.VERSION, keras.__version__, np.__version__],
        "devices": details or [platform.machine(), _cpu(), len(os.sched_getaffinity(0))],
        "logical": len(tf.config.list_logical_devices()),
        "switches": {name: value for name, value in sorted(switches.items()) if not name.startswith("TF_CPP_")},
    }


def _cpu() -> str:
    """Return the processor's name where Linux tells it."""
    with suppress(OSError):
        names = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return names[0] if names else ""
    return ""


class Patience(keras.callbacks.EarlyStopping):
    """Stop after `config.patience` epochs without a better `config.monitor`, those before a resumption included."""

    def __init__(self, config: TrainConfig, recorder: "Recorder") -> None:
        mode = "min" if config.monitor == "val_loss" else "max"
        super().__init__(config.monitor, patience=config.patience, mode=mode)
        self.recorder = recorder

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Count the epochs that are over; Keras calls it."""
        super().on_train_begin(logs)
        for epoch, former in enumerate(list(self.recorder.logs)):
            self.on_epoch_end(epoch, former)


class Keeper(keras.callbacks.Callback):
    """Keep the state of the training after every epoch, behind all callbacks that change it."""

    def __init__(self, states: States, recorder: "Recorder", last: LastEpochs) -> None:
        super().__init__()
        self.states, self.recorder, self.last = states, recorder, last

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keep the state of the epoch; Keras calls it."""
        values = [variable.numpy() for variable in _variables(self.model)]
        kept, y_prob = list(self.last.weights), np.array(self.recorder.y_prob)
        self.states.keep(State(epoch + 1, self.recorder.logs, y_prob, kept, values))


def _variables(network: keras.Model) -> list[Any]:
    """Return all that steps change: the weights, the states of random generators, and the optimizer's averages."""
    return [*network.variables, *network.optimizer.variables]


def restore(network: keras.Model, state: State) -> None:
    """Set a network that was just compiled to `state`."""
    with network.distribute_strategy.scope():
        network.optimizer.build(network.trainable_variables)  # else Keras makes its averages at the first step
        for variable, value in zip(_variables(network), state.variables, strict=True):
            variable.assign(value)


def fit(
    network: keras.Model,
    batches: Batches,
    recorder: "Recorder",
    config: TrainConfig,
    *,
    labels: np.ndarray,
    epochs: int,
    states: States | None = None,  # none are kept
    watchers: Sequence[keras.callbacks.Callback] = (),
) -> keras.Model:
    """Train `network` for `epochs` epochs, or the rest of them; return the network of the declared predictions.

    batches: see `input_pipeline.epochs`. recorder: adds what `config.monitor` names to the logs of each epoch. labels:
    (n_cases,) of the training cases, for the class weights. states: where the training may go on, and where it keeps
    its own. watchers: callbacks that look on; each gets on_train_begin, with the epochs before in `recorder`.
    """
    state = states.latest() if states else None
    last = LastEpochs(state.kept if state else ())
    last.set_model(network)  # as Keras does where an epoch is left
    if state:
        recorder.resume(state.logs, state.y_prob)
        restore(network, state)
    patience = [Patience(config, recorder)] if config.patience else []
    keepers = [Keeper(states, recorder, last)] if states else []
    shares = np.bincount(labels, minlength=2) / len(labels)
    weights = {label: 0.5 / share for label, share in enumerate(shares)} if config.class_weight == "balanced" else None
    first = state.epoch if state else 0
    if first == epochs or _stopped(network, patience):
        for watcher in watchers:
            watcher.on_train_begin()
    else:
        one = batches(first) if callable(batches) else batches
        network.fit(
            input_pipeline.epochs(batches, first, epochs),
            initial_epoch=first,
            epochs=epochs,
            steps_per_epoch=int(one.cardinality()),
            callbacks=[recorder, last, *patience, *watchers, *keepers],
            class_weight=weights,
            shuffle=False,
            verbose=0,
        )
    return last.mean()


def _stopped(network: keras.Model, patience: Sequence[Patience]) -> bool:
    """Return whether the epochs that are over have used up the patience."""
    network.stop_training = False
    for callback in patience:
        callback.set_model(network)
        callback.on_train_begin()
    return bool(network.stop_training)
