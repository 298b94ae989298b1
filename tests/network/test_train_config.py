"""What null stands for with each network, and the learning rate for a batch size."""

from typing import Any

import pytest

from flairprep.core.errors import FlairprepError
from flairprep.core.params import validate
from flairprep.evaluation import predictions
from flairprep.network.train_config import LEAST_PATIENCE, TrainConfig, TrainParams, resolve, scaled_rate

OPEN: dict[str, Any] = {**dict.fromkeys(TrainParams.model_fields), "reference_batch_size": 4}
OPEN |= {"precision": "float32", "tensorboard": False}
OWN = {
    "resnet3d": TrainConfig(
        schedule="constant",
        scale_lr="none",
        reference_batch_size=4,
        augment="flip_shift",
        class_weight="none",
        monitor="val_loss",
        patience=0,
        precision="float32",
    ),
    "tutorial_cnn": TrainConfig(
        schedule="exponential",
        scale_lr="none",
        reference_batch_size=4,
        augment="none",
        class_weight="none",
        monitor="val_accuracy",
        patience=20,
        precision="float32",
    ),
}
OTHER = {
    "schedule": "cosine",
    "scale_lr": "sqrt",
    "reference_batch_size": 16,
    "augment": "shift",
    "class_weight": "balanced",
    "monitor": "val_auc",
    "patience": 3,
    "precision": "mixed_float16",
}


def params(**changed: Any) -> TrainParams:
    return validate(TrainParams, {**OPEN, **changed}, "train")


def test_a_run_that_is_stopped_declares_none_but_later_epochs_than_the_selected_one() -> None:
    assert LEAST_PATIENCE == predictions.DECLARED_EPOCHS
    with pytest.raises(FlairprepError, match=r"train\.patience: 2: .*at least 3"):
        params(patience=2)


@pytest.mark.parametrize("network", OWN)
def test_null_is_as_the_network_has_it(network: str) -> None:
    assert resolve(params(), network) == OWN[network]


@pytest.mark.parametrize("network", OWN)
@pytest.mark.parametrize(("key", "value"), [*OTHER.items(), ("patience", 0)])
def test_a_given_value_replaces_that_key_alone(network: str, key: str, value: Any) -> None:
    assert resolve(params(**{key: value}), network) == OWN[network].model_copy(update={key: value})


@pytest.mark.parametrize(
    ("kind", "batch_size", "reference", "expected"),
    [
        ("none", 64, 4, 1e-4),
        ("linear", 16, 4, 4e-4),
        ("linear", 1, 4, 2.5e-5),
        ("sqrt", 16, 4, 2e-4),
        ("sqrt", 1, 4, 5e-5),
        ("linear", 7, 7, 1e-4),
        ("sqrt", 7, 7, 1e-4),
    ],
)
def test_the_rate_scales_with_the_batch_size(kind: str, batch_size: int, reference: int, expected: float) -> None:
    config = resolve(params(scale_lr=kind, reference_batch_size=reference), "resnet3d")
    assert scaled_rate(config, 1e-4, batch_size) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schedule", "step"),
        ("scale_lr", True),
        ("reference_batch_size", None),
        ("reference_batch_size", 0),
        ("augment", "rotate"),
        ("class_weight", "auto"),
        ("monitor", "accuracy"),
        ("precision", None),
        ("precision", "float16"),
        ("patience", -1),
        ("patience", 1),
        ("patience", 2),
        ("patience", 2.5),
    ],
)
def test_a_wrong_value_is_refused_by_key_and_value(key: str, value: Any) -> None:
    with pytest.raises(FlairprepError) as refused:
        params(**{key: value})
    assert f"train.{key}: {value!r}: " in str(refused.value)
