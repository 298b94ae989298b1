"""Turn data/train/model.keras into functions from a volume to logits: as trained, and with randomised weights."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import logsumexp

from flairprep.core.errors import FlairprepError
from flairprep.explanation import incremental
from flairprep.explanation.occlusion import Answers, Array, Hidden

SEED = 0  # of the randomised weights


def load(path: Path) -> keras.Model:
    """Load the network that train saved, of probabilities, (batch, 1).

    Raises:
        FlairprepError: no such file, or it holds no network that ends in one probability.
    """
    if not path.is_file():
        raise FlairprepError(f"{path}: no such file; dvc repro train makes it, dvc pull or dvc checkout restores it")
    try:
        network = keras.models.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError) as error:
        raise FlairprepError(f"{path}: not a network that Keras can read; dvc repro train makes it again") from error
    if network.output_shape[1:] != (1,):
        raise FlairprepError(f"{path}: ends in {network.output_shape[1:]} values, not in one probability")
    return network


def members(network: keras.Model) -> list[keras.Model]:
    """Return the networks of the last epochs whose mean `network` is, see network.ensemble; alone, itself."""
    return [layer for layer in network.layers if isinstance(layer, keras.Model)] or [network]


def answers(*networks: keras.Model) -> list[Answers]:
    """Return of each network the function from a volume to the logit of its probability, and to those without parts.

    networks: alike but for their weights.

    The logit of the mean probability comes from the members' own logits: float32 rounds a probability near 0 or 1 to
    it, where a block that is hidden would change nothing.
    """
    traced = incremental.Incremental(_linear(members(networks[0])[0]))
    return [_answers(traced, [incremental.weights_of(member) for member in members(network)]) for network in networks]


def _answers(traced: incremental.Incremental, weights: Sequence[incremental.Weights]) -> Answers:
    def start(volume: Array, background: float) -> tuple[float, Hidden]:
        each, without = zip(*(traced.start(own, volume, background) for own in weights), strict=True)
        (logit,) = mean_logit(np.array([each]))
        return float(logit), lambda parts: mean_logit(np.stack([logits(parts) for logits in without], axis=1))

    return start


def mean_logit(each: Array) -> Array:
    """Return the logit of the mean probability, (batch,), of the logits of each member, (batch, members)."""
    return np.asarray(logsumexp(-np.logaddexp(0, -each), axis=1) - logsumexp(-np.logaddexp(0, each), axis=1))


def randomised(network: keras.Model, seed: int = SEED) -> keras.Model:
    """Return `network` with the weights of every layer drawn anew from their initialisers (Adebayo and others 2018).

    Every member gets weights of its own. Batch normalisation starts from its initial statistics, as before training.
    """
    keras.utils.set_random_seed(seed)
    return keras.Model.from_config(network.get_config())


def _linear(member: keras.Model) -> keras.Model:
    """Return `member` without the sigmoid at its end."""
    config: dict[str, Any] = member.get_config()
    last = config["layers"][-1]
    if last["class_name"] != "Dense" or last["config"]["activation"] != "sigmoid":
        raise FlairprepError(f"the network {member.name} does not end in a sigmoid; its logit is unknown")
    last["config"]["activation"] = "linear"
    linear = keras.Model.from_config(config)
    linear.set_weights(member.get_weights())
    return linear


def keep_to(threads: int) -> None:
    """Keep this process to the CPU and to `threads`, each for a map of its own, so sums are equal on every machine.

    A worker calls it once, before its first network.
    """
    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
