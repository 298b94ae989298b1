"""Mixed precision: layers in float16, weights, answers and what is kept in float32, and a loss scale that goes on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from flairprep.core.params import validate
from flairprep.network import model, recorder, saving, states, training
from flairprep.network.train_config import TRAIN_CONFIGS, TrainConfig

SHAPE = (8, 8, 8, 1)
CONFIG = TrainConfig(reference_batch_size=4, precision="mixed_float16", **TRAIN_CONFIGS["resnet3d"])
LABELS = np.array([0, 1, 1, 0, 1, 0, 0, 1])
GROWTH = 3  # steps after which the scale doubles, so that it is another one after every epoch


def section(name: str = "resnet3d", **changed: Any) -> model.ModelParams:
    given = {**dict.fromkeys(model.ModelParams.model_fields), "name": name, "filters": [4, 8]}
    return validate(model.ModelParams, {**given, **changed}, "model")


@pytest.fixture
def images() -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal((len(LABELS), *SHAPE))
    return (noise + LABELS[:, None, None, None, None]).astype(np.float16)


def compiled(precision: Any = "mixed_float16") -> keras.Model:
    training.seeded(0)
    return training.compiled(section(), SHAPE, prior=0.5, rate=1e-2, precision=precision)


@pytest.mark.parametrize(("name", "shape"), [("resnet3d", SHAPE), ("tutorial_cnn", (12, 12, 12, 1))])
def test_layers_compute_in_float16_and_weights_and_answers_are_float32(name: str, shape: Any) -> None:
    network = model.build(section(name), shape, precision="mixed_float16")
    *inner, output = [layer for layer in network.layers if layer.weights]
    assert {layer.compute_dtype for layer in inner} == {"float16"}
    assert {weight.dtype for weight in network.weights} <= {"float32", "uint32"}  # the latter of dropout's generator
    answers = network(np.zeros((1, *shape)))
    assert (output.compute_dtype, answers.dtype) == ("float32", tf.float32)
    assert keras.config.dtype_policy().name == "float32"  # of what is built next
    single = model.in_float32(network)
    assert {layer.compute_dtype for layer in single.layers} == {"float32"}
    assert model.in_float32(single) is single


def test_float32_is_the_network_as_before_without_a_scale() -> None:
    plain, mixed = compiled("float32"), compiled()
    assert {layer.compute_dtype for layer in plain.layers} == {"float32"}
    assert isinstance(plain.optimizer, keras.optimizers.Adam)
    assert isinstance(mixed.optimizer, keras.optimizers.LossScaleOptimizer)
    for one, other in zip(plain.get_weights(), mixed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("gpus", "warned"), [([], True), ([tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")], False)]
)
def test_without_a_gpu_it_is_warned_of(
    gpus: list[Any], warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"prior": 0.5, "rate": 1e-2}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
    training.compiled(section(), SHAPE, precision="mixed_float16", **options)
    assert ("train.precision" in capsys.readouterr().err) == warned
    training.compiled(section(), SHAPE, **options)
    assert "train.precision" not in capsys.readouterr().err


def run(images: np.ndarray, folder: Path, epochs: int) -> tuple[keras.Model, keras.Model, recorder.Recorder]:
    """The network after `epochs`, the declared one, and the record; goes on where `folder` has a state."""
    network = compiled()
    network.optimizer.dynamic_growth_steps = GROWTH
    batches = tf.data.Dataset.from_tensor_slices((images, LABELS)).batch(4)
    cases: Any = SimpleNamespace(case_ids=list("abcdefgh"), labels=LABELS, images=[tf.constant(images, tf.float32)])
    record = recorder.Recorder(training.inference(network), [cases], cases, epochs)
    kept = states.States(folder / "training/key", "key", epochs, extendable=True)
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    declared = training.fit(network, batches, record, CONFIG, labels=LABELS, epochs=epochs, states=kept)
    kept.finish()
    return network, declared, record


@pytest.mark.slow
def test_a_run_that_goes_on_equals_an_undisturbed_one_its_loss_scale_included(
    tmp_path: Path, images: np.ndarray
) -> None:
    whole, declared, record = run(images, tmp_path / "whole", 5)
    run(images, tmp_path / "parts", 2)
    rest, declared_rest, record_rest = run(images, tmp_path / "parts", 5)
    assert record_rest.history == record.history
    for one, other in zip((whole, declared), (rest, declared_rest), strict=True):
        for weight, as_well in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, as_well)
    scale, scale_rest = (float(network.optimizer.dynamic_scale) for network in (whole, rest))
    assert scale == scale_rest == 2.0 ** (15 + 10 // GROWTH)
    assert int(whole.optimizer.step_counter) == int(rest.optimizer.step_counter)
    for one, other in zip(whole.optimizer.variables, rest.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


@pytest.mark.slow
def test_the_saved_mean_of_the_last_epochs_answers_in_float32(tmp_path: Path, images: np.ndarray) -> None:
    _, declared, record = run(images, tmp_path, 4)
    saving.save(declared, tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    answers = loaded(images.astype(np.float32), training=False)
    assert answers.dtype == tf.float32
    np.testing.assert_array_equal(answers, declared(images.astype(np.float32), training=False))
    np.testing.assert_allclose(answers[:, 0], np.mean(record.y_prob[-3:], axis=0), atol=2e-6)
    saving.save(run(images, tmp_path / "again", 4)[1], tmp_path / "again.keras")
    assert (tmp_path / "again.keras").read_bytes() == (tmp_path / "model.keras").read_bytes()
