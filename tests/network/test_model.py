"""The networks: what stands in them and in which order, what each parameter changes, and what is refused."""

import itertools
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from flairprep.core.errors import FlairprepError
from flairprep.core.params import validate
from flairprep.network import model, model_config

FULL = (64, 128, 128, 1)
SMALL = (48, 48, 48, 1)  # tutorial_cnn's four blocks need 46 voxels
NETWORKS = ("resnet3d", "tutorial_cnn")
UNCHANGED: dict[str, Any] = dict.fromkeys(model.ModelParams.model_fields)


def params(name: str, **changed: Any) -> model.ModelParams:
    return validate(model.ModelParams, {**UNCHANGED, "name": name, **changed}, "model")


def small(name: str, **changed: Any) -> keras.Model:
    return model.build(params(name, **changed), SMALL)


def test_what_null_stands_for_is_known_without_tensorflow() -> None:
    code = "import sys, flairprep.network.model_config; sys.exit(bool({'tensorflow', 'keras'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (model.ModelParams, model.NETWORKS) == (model_config.ModelParams, model_config.NETWORKS)
    assert model.resolve is model_config.resolve


def of_type(network: keras.Model, *types: type) -> list[Any]:
    return [layer for layer in network.layers if isinstance(layer, types)]


def type_names(network: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in network.layers]


def convolutions(network: keras.Model) -> list[Any]:
    """The 3x3x3 ones, not the projections of the shortcuts."""
    return [layer for layer in of_type(network, layers.Conv3D) if layer.kernel_size == (3, 3, 3)]


def followers(layer: Any) -> list[Any]:
    """The layers that take `layer`'s output."""
    return [node.operation for node in layer._outbound_nodes]


POOLS = {"resnet3d": ("global_pool", "global_max"), "tutorial_cnn": ("global_pool",)}


def leaders(layer: Any) -> list[Any]:
    """The layers whose outputs `layer` takes, in order."""
    return [tensor._keras_history.operation for tensor in layer._inbound_nodes[0].input_tensors]


@pytest.fixture(scope="module")
def tutorial_cnn() -> keras.Model:
    return model.build(params("tutorial_cnn"), FULL)


@pytest.fixture(scope="module")
def resnet3d() -> keras.Model:
    return model.build(params("resnet3d"), FULL, prior=0.3)


# tutorial_cnn, to the letter


def test_tutorial_cnn_has_its_layers_in_order(tutorial_cnn: keras.Model) -> None:
    block = ["Conv3D", "MaxPooling3D", "BatchNormalization"]
    head = ["GlobalAveragePooling3D", "Dense", "Dropout", "Dense"]
    assert type_names(tutorial_cnn) == ["InputLayer", *block * 4, *head]
    for before, after in zip(tutorial_cnn.layers, tutorial_cnn.layers[1:], strict=False):
        assert followers(before) == [after]


def test_tutorial_cnn_has_its_map_sizes(tutorial_cnn: keras.Model) -> None:
    sizes = [layer.output.shape[1:] for layer in of_type(tutorial_cnn, layers.Conv3D, layers.MaxPooling3D)]
    assert sizes == [
        (62, 126, 126, 64),
        (31, 63, 63, 64),
        (29, 61, 61, 64),
        (14, 30, 30, 64),
        (12, 28, 28, 128),
        (6, 14, 14, 128),
        (4, 12, 12, 256),
        (2, 6, 6, 256),
    ]
    pool = tutorial_cnn.get_layer("global_pool")
    assert pool.input.shape == (None, 2, 6, 6, 256)
    assert pool.output.shape == (None, 256)
    assert tutorial_cnn.output.shape == (None, 1)


def test_tutorial_cnn_has_its_settings(tutorial_cnn: keras.Model) -> None:
    for layer in of_type(tutorial_cnn, layers.Conv3D):
        assert (layer.kernel_size, layer.strides, layer.padding) == ((3, 3, 3), (1, 1, 1), "valid")
        assert layer.activation is keras.activations.relu
        assert layer.use_bias
    assert all(layer.pool_size == (2, 2, 2) for layer in of_type(tutorial_cnn, layers.MaxPooling3D))
    assert all(layer.momentum == 0.99 for layer in of_type(tutorial_cnn, layers.BatchNormalization))
    assert tutorial_cnn.get_layer("dropout").rate == 0.3
    dense, output = tutorial_cnn.get_layer("dense"), tutorial_cnn.get_layer("output")
    assert (dense.units, dense.activation) == (512, keras.activations.relu)
    assert (output.units, output.activation) == (1, keras.activations.sigmoid)
    for layer in of_type(tutorial_cnn, layers.Conv3D, layers.Dense):
        assert isinstance(layer.kernel_initializer, keras.initializers.GlorotUniform)
        assert isinstance(layer.bias_initializer, keras.initializers.Zeros)


def test_tutorial_cnn_has_1_352_897_parameters_moving_statistics_included(tutorial_cnn: keras.Model) -> None:
    moving_statistics = 2 * (64 + 64 + 128 + 256)
    assert tutorial_cnn.count_params() == 1_352_897
    assert sum(np.prod(weight.shape) for weight in tutorial_cnn.non_trainable_weights) == moving_statistics


def test_tutorial_cnn_ignores_the_prior() -> None:
    network = model.build(params("tutorial_cnn"), SMALL, prior=0.1)
    assert network.get_layer("output").bias.numpy() == pytest.approx([0.0])


# resnet3d, the default


def test_resnet3d_normalizes_between_each_convolution_and_its_activation(resnet3d: keras.Model) -> None:
    assert len(convolutions(resnet3d)) == 8
    for convolution in convolutions(resnet3d):
        assert convolution.activation is keras.activations.linear
        assert not convolution.use_bias
        (norm,) = followers(convolution)
        assert isinstance(norm, layers.BatchNormalization)
        assert norm.momentum == 0.9
        (after,) = followers(norm)
        if isinstance(after, layers.Add):
            (after,) = followers(after)
        assert isinstance(after, layers.ReLU)


def test_resnet3d_adds_to_each_block_what_entered_it(resnet3d: keras.Model) -> None:
    entering = resnet3d.get_layer("halve")
    for number in (1, 2, 3, 4):
        add = resnet3d.get_layer(f"add{number}")
        assert [layer.name for layer in leaders(add)] == [f"conv{number}b_norm", f"project{number}_norm"]
        assert set(followers(entering)) == {
            resnet3d.get_layer(f"conv{number}a"),
            resnet3d.get_layer(f"shrink{number}"),
        }
        (entering,) = followers(add)
    assert len(of_type(resnet3d, layers.Add)) == 4


def test_resnet3d_has_its_map_sizes_and_no_dropout_or_hidden_layer(resnet3d: keras.Model) -> None:
    assert resnet3d.get_layer("halve").output.shape == (None, 32, 64, 64, 1)
    assert [layer.output.shape[1:] for layer in of_type(resnet3d, layers.Add)] == [
        (16, 32, 32, 8),
        (8, 16, 16, 16),
        (4, 8, 8, 32),
        (2, 4, 4, 64),
    ]
    assert not of_type(resnet3d, layers.Dropout)
    assert [layer.name for layer in of_type(resnet3d, layers.Dense)] == ["output"]
    assert resnet3d.output.shape == (None, 1)


def test_a_shortcut_of_the_same_channels_is_not_projected() -> None:
    network = small("resnet3d", filters=[8, 8])
    assert [layer.name for layer in leaders(network.get_layer("add2"))] == ["conv2b_norm", "shrink2"]


@pytest.mark.parametrize("prior", [0.1, 0.5, 0.8])
def test_resnet3d_starts_near_the_prior(prior: float) -> None:
    keras.utils.set_random_seed(0)
    network = model.build(params("resnet3d"), SMALL, prior=prior)
    volumes = np.random.default_rng(0).normal(size=(4, *SMALL)).astype("float32")
    assert keras.ops.convert_to_numpy(network(volumes)) == pytest.approx(np.full((4, 1), prior), abs=0.05)


# What each parameter changes


@pytest.mark.parametrize("name", NETWORKS)
def test_null_and_the_networks_own_values_build_the_same(name: str) -> None:
    own = model.NETWORKS[name]
    values = {key: getattr(own, key) for key in UNCHANGED if key != "name"}
    assert small(name, **values).get_config() == small(name).get_config()


def test_skip_on_tutorial_cnn_adds_a_cropped_shortcut_around_each_convolution() -> None:
    network = small("tutorial_cnn", skip=True)
    for number in (1, 2, 3, 4):
        add = network.get_layer(f"add{number}")
        projected = number != 2  # 64 channels enter the second block and 64 leave it
        way = f"project{number}" if projected else f"crop{number}"
        assert [layer.name for layer in leaders(add)] == [f"conv{number}", way]
        assert leaders(network.get_layer(f"crop{number}")) == leaders(network.get_layer(f"conv{number}"))
        (relu,) = followers(add)
        assert isinstance(relu, layers.ReLU)
        assert followers(relu) == [network.get_layer(f"pool{number}")]
        assert network.get_layer(f"conv{number}").activation is keras.activations.linear
    assert not of_type(small("tutorial_cnn"), layers.Add, layers.Cropping3D)


def test_no_skip_on_resnet3d_leaves_a_chain() -> None:
    network = small("resnet3d", skip=False)
    assert [layer.name for layer in of_type(network, layers.Add, layers.AveragePooling3D)] == ["halve"]
    assert len(of_type(network, layers.Conv3D)) == len(convolutions(network)) == 8
    blocks = network.layers[: network.layers.index(network.get_layer("global_pool"))]
    for before, after in itertools.pairwise(blocks):
        assert followers(before) == [after]
    assert len(of_type(network, layers.ReLU)) == 8


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("norm", "kind"), [("after_conv", layers.BatchNormalization), ("group", layers.GroupNormalization)]
)
def test_norm_right_after_each_convolution(name: str, norm: str, kind: type) -> None:
    network = small(name, norm=norm)
    every = of_type(network, layers.Conv3D)
    for convolution in every:
        (after,) = followers(convolution)
        assert isinstance(after, kind)
        assert not convolution.use_bias
        assert convolution.activation is keras.activations.linear
    assert len(of_type(network, layers.BatchNormalization, layers.GroupNormalization)) == len(every)
    for convolution in convolutions(network):
        (after,) = followers(followers(convolution)[0])
        assert isinstance(after, (layers.ReLU, layers.Add))


@pytest.mark.parametrize("name", NETWORKS)
def test_norm_once_at_the_end_of_each_block(name: str) -> None:
    network = small(name, norm="after_pool")
    norms = of_type(network, layers.BatchNormalization)
    assert [norm.name for norm in norms] == ["norm1", "norm2", "norm3", "norm4"]
    assert all(convolution.use_bias for convolution in of_type(network, layers.Conv3D))
    for norm in norms:
        (before,) = leaders(norm)
        assert isinstance(before, layers.MaxPooling3D if name == "tutorial_cnn" else layers.ReLU)
    assert {layer.name for layer in followers(norms[-1])} == set(POOLS[name])


@pytest.mark.parametrize("name", NETWORKS)
def test_no_norm(name: str) -> None:
    network = small(name, norm="none")
    assert not of_type(network, layers.BatchNormalization, layers.GroupNormalization)
    assert not network.non_trainable_weights
    assert all(convolution.use_bias for convolution in of_type(network, layers.Conv3D))
    for convolution in convolutions(network):
        activated = convolution.activation is keras.activations.relu
        assert activated != isinstance(followers(convolution)[0], layers.Add)


@pytest.mark.parametrize("name", NETWORKS)
def test_norm_momentum(name: str) -> None:
    norms = of_type(small(name, norm_momentum=0.75), layers.BatchNormalization)
    assert norms
    assert {norm.momentum for norm in norms} == {0.75}


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_stands_before_the_output(name: str) -> None:
    network = small(name, dropout=0.25)
    (dropout,) = of_type(network, layers.Dropout)
    assert dropout.rate == 0.25
    assert followers(dropout) == [network.get_layer("output")]
    assert not of_type(small(name, dropout=0), layers.Dropout)


@pytest.mark.parametrize("name", NETWORKS)
def test_filters_are_one_a_block(name: str) -> None:
    network = small(name, filters=[4, 6, 10])
    per_block = model.NETWORKS[name].convs
    assert [layer.filters for layer in convolutions(network)] == [n for n in (4, 6, 10) for _ in range(per_block)]
    assert network.get_layer("global_pool").output.shape == (None, 10)


@pytest.mark.parametrize("name", NETWORKS)
def test_dense_is_the_hidden_layer(name: str) -> None:
    network = small(name, dense=7)
    dense = network.get_layer("dense")
    assert (dense.units, dense.activation) == (7, keras.activations.relu)
    assert leaders(dense) == [network.get_layer("pools" if len(POOLS[name]) > 1 else "global_pool")]
    assert network.get_layer("output").kernel.shape == (7, 1)
    assert [layer.name for layer in of_type(small(name, dense=0), layers.Dense)] == ["output"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("init", "kind"), [("glorot_uniform", keras.initializers.GlorotUniform), ("he_normal", keras.initializers.HeNormal)]
)
def test_init_is_that_of_every_layer_before_the_output(name: str, init: str, kind: type) -> None:
    drawn = of_type(small(name, init=init, dense=7), layers.Conv3D, layers.Dense)[:-1]
    assert {type(layer.kernel_initializer) for layer in drawn} == {kind}


@pytest.mark.parametrize("name", NETWORKS)
def test_group_counts_divide_the_channels(name: str) -> None:
    network = small(name, norm="group", filters=[6, 10, 9, 16])
    groups = {layer.output.shape[-1]: layer.groups for layer in of_type(network, layers.GroupNormalization)}
    assert groups == {6: 2, 10: 2, 9: 1, 16: 8}


# What is refused


@pytest.mark.parametrize(("name", "edge"), [("resnet3d", 18), ("tutorial_cnn", 46)])
def test_too_small_an_input_is_refused_and_the_smallest_allowed_is_built(name: str, edge: int) -> None:
    with pytest.raises(FlairprepError, match=rf"^model\.filters: .* {edge} .*\({edge - 1}, 64, 64, 1\)"):
        model.build(params(name), (edge - 1, 64, 64, 1))
    network = model.build(params(name), (edge, 64, 64, 1))
    assert network.get_layer("global_pool").input.shape[1] == 1
    assert model.build(params(name, filters=[4, 8]), (edge - 1, 64, 64, 1)).output.shape == (None, 1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "resnet"),
        ("skip", "yes"),
        ("norm", "batch"),
        ("norm_momentum", 1.0),
        ("dropout", 1.0),
        ("dropout", "0.3"),
        ("filters", []),
        ("filters", 8),
        ("dense", -1),
        ("dense", 1.5),
        ("init", "he"),
    ],
)
def test_a_wrong_value_is_refused_by_key_and_value(key: str, value: Any) -> None:
    with pytest.raises(FlairprepError) as refused:
        params(**{"name": "resnet3d", key: value})
    assert f"model.{key}: {value!r}: " in str(refused.value)


@pytest.mark.parametrize("wrong", [0, "8", 8.5, True])
def test_a_wrong_filter_is_refused_by_its_place(wrong: Any) -> None:
    with pytest.raises(FlairprepError) as refused:
        params("resnet3d", filters=[8, wrong])
    assert f"model.filters.1: {wrong!r}: " in str(refused.value)


def test_a_former_name_is_understood_with_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    model_config._warn_renamed.cache_clear()
    assert params("question_cnn") == params("question_cnn") == params("tutorial_cnn")
    (warning,) = capsys.readouterr().err.splitlines()
    for word in ("params.yaml", "model.name", "'question_cnn'", "'tutorial_cnn'"):
        assert word in warning


def test_an_unknown_key_is_refused_with_the_likely_one() -> None:
    with pytest.raises(FlairprepError, match=r"'model\.drop_out'.*'dropout'"):
        params("resnet3d", drop_out=0.3)


def test_a_missing_key_is_refused() -> None:
    with pytest.raises(FlairprepError, match=r"'model\.skip'"):
        validate(model.ModelParams, {key: value for key, value in UNCHANGED.items() if key != "skip"}, "model")


# One case's answer is its own


@pytest.mark.parametrize("name", NETWORKS)
def test_an_inferred_probability_depends_on_its_own_volume_alone(name: str) -> None:
    keras.utils.set_random_seed(0)
    network = small(name, filters=[4, 4])
    volumes = tf.constant(np.random.default_rng(0).normal(size=(2, *SMALL)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(volumes)
        first = network(volumes, training=False)[0, 0]
    own, other = np.abs(tape.gradient(first, volumes).numpy()).max(axis=(1, 2, 3, 4))
    assert own > 0
    assert other == 0
