"""Build the networks: a small residual 3D CNN and a plain one, both stacks of the same kind of block.

The plain one is that of keras.io's tutorial "3D image classification from CT scans". A block is one or two
convolutions, with or without a shortcut around them, and a halving of the map. model_config.NETWORKS holds what is
a network's own; section `model` of params.yaml overrides it key by key.
"""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from flairprep.core.errors import FlairprepError
from flairprep.network.model_config import NETWORKS, ModelParams, NetworkConfig, resolve
from flairprep.network.train_config import Precision

__all__ = ["NETWORKS", "ModelParams", "NetworkConfig", "build", "resolve", "smallest_edge"]


def smallest_edge(network: NetworkConfig) -> int:
    """Return the fewest voxels along an axis of the input with which every block has a map to halve."""
    edge = 1
    for _ in network.filters:
        edge = max(2, 2 * edge - 1) if network.strided else 2 * edge + 2 * network.convs
    return 2 * edge if network.halve_input else edge


@contextmanager
def _policy(name: str) -> Iterator[None]:
    """Give `name` as policy of types to all layers made meanwhile, and to the network, which scales its loss by it."""
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(former)


def build(
    params: ModelParams,
    input_shape: tuple[int, int, int, int],
    *,
    prior: float = 0.5,
    precision: Precision = "float32",
) -> keras.Model:
    """Build the network of `params`, untrained.

    Args:
        params: section `model`.
        input_shape: one volume, (z, y, x, 1) voxels, channels last.
        prior: share of positive cases in the training set, in (0, 1); resnet3d starts from it, tutorial_cnn does not.
        precision: of the layers, but for the output's: probabilities are float32. Pooling is float32 too: tensorflow
            has no such kernels for float16 on a CPU.

    Returns:
        A functional model from (batch, z, y, x, 1) intensities to (batch, 1) probabilities of the positive class.

    Raises:
        FlairprepError: the input is too small for as many blocks as `model.filters` asks for.
    """
    network = resolve(params)
    edge = smallest_edge(network)
    if min(input_shape[:3]) < edge:
        raise FlairprepError(
            f"model.filters: {list(network.filters)}: {params.name} with {len(network.filters)} blocks needs at least "
            f"{edge} voxels along each axis, the input is {input_shape}; give fewer filters or larger volumes"
        )
    with _policy(precision):
        return _network(params.name, network, input_shape, prior)


def in_float32(network: keras.Model) -> keras.Model:
    """Return `network` with layers that compute in float32 and weights of its own; itself where they all do.

    It answers on a CPU too, where tensorflow lacks kernels for float16.
    """
    if all(layer.compute_dtype == "float32" for layer in network.layers):
        return network
    return keras.models.clone_model(
        network, clone_function=lambda layer: type(layer).from_config({**layer.get_config(), "dtype": "float32"})
    )


def _network(name: str, network: NetworkConfig, input_shape: tuple[int, ...], prior: float) -> keras.Model:
    inputs = keras.Input(input_shape, name="input")
    x = layers.AveragePooling3D(2, dtype="float32", name="halve")(inputs) if network.halve_input else inputs
    for number, filters in enumerate(network.filters, start=1):
        x = _block(x, filters, number, network)
    pooled = layers.GlobalAveragePooling3D(name="global_pool")(x)
    if network.global_max:
        pooled = layers.Concatenate(name="pools")([pooled, layers.GlobalMaxPooling3D(name="global_max")(x)])
    x = pooled
    if network.dense:
        x = layers.Dense(network.dense, activation="relu", kernel_initializer=network.init, name="dense")(x)
    if network.dropout:
        x = layers.Dropout(network.dropout, name="dropout")(x)
    return keras.Model(inputs, _output(x, network, prior), name=name)


def _block(x: Any, filters: int, number: int, network: NetworkConfig) -> Any:
    """Add convolutions, the shortcut around them and the halving: (b, z, y, x, c) to (b, z/2, y/2, x/2, filters)."""
    shortcut = x
    for index in range(network.convs):
        name = f"conv{number}" + ("ab"[index] if network.convs > 1 else "")
        strides = 2 if network.strided and index == 0 else 1
        # Beside a shortcut, the last ReLU rectifies the sum.
        relu = not (network.skip and index == network.convs - 1)
        x = _conv(x, filters, name, network, kernel_size=3, strides=strides, relu=relu)
    if network.skip:
        x = layers.Add(name=f"add{number}")([x, _shortcut(shortcut, filters, number, network)])
        x = layers.ReLU(name=f"add{number}_relu")(x)
    if not network.strided:
        x = layers.MaxPooling3D(2, dtype="float32", name=f"pool{number}")(x)
    if network.norm == "after_pool":
        x = _batch_norm(x, f"norm{number}", network)
    return x


def _shortcut(x: Any, filters: int, number: int, network: NetworkConfig) -> Any:
    """Bring `x` to the shape that the block's convolutions give it."""
    if network.strided:
        # A strided projection would see one voxel in eight.
        x = layers.AveragePooling3D(2, padding="same", dtype="float32", name=f"shrink{number}")(x)
    else:
        x = layers.Cropping3D(network.convs, name=f"crop{number}")(x)
    if x.shape[-1] == filters:
        return x
    return _conv(x, filters, f"project{number}", network, kernel_size=1, strides=1, relu=False)


def _conv(
    x: Any, filters: int, name: str, network: NetworkConfig, *, kernel_size: int, strides: int, relu: bool
) -> Any:
    """Add a convolution, the normalisation right after it, if any, and ReLU, where asked for."""
    normalized = network.norm in ("after_conv", "group")
    x = layers.Conv3D(
        filters,
        kernel_size,
        strides,
        padding="same" if network.strided else "valid",
        activation="relu" if relu and not normalized else None,
        use_bias=not normalized,  # normalisation would subtract the bias again
        kernel_initializer=network.init,
        name=name,
    )(x)
    if network.norm == "after_conv":
        x = _batch_norm(x, f"{name}_norm", network)
    if network.norm == "group":
        x = layers.GroupNormalization(math.gcd(8, filters), name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu and normalized else x


def _batch_norm(x: Any, name: str, network: NetworkConfig) -> Any:
    """Add batch normalisation over the whole batch, also where several devices share it."""
    shared = tf.distribute.get_strategy().num_replicas_in_sync > 1
    return layers.BatchNormalization(momentum=network.norm_momentum, synchronized=shared, name=name)(x)


def _output(x: Any, network: NetworkConfig, prior: float) -> Any:
    if not network.start_at_prior:
        return layers.Dense(1, activation="sigmoid", kernel_initializer=network.init, dtype="float32", name="output")(x)
    # Small weights let the bias decide at first: He's would add a random logit. Smaller still, the first epochs crawl.
    return layers.Dense(
        1,
        activation="sigmoid",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.05),
        bias_initializer=keras.initializers.Constant(math.log(prior / (1 - prior))),
        dtype="float32",
        name="output",
    )(x)
