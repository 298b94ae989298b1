"""Read the swept values and section `train` of params.yaml, and fill in each network's own training settings.

Without tensorflow: evaluate needs to know what chose the epoch.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from flairprep.core.params import Section
from flairprep.stats.metrics import Metric

DECLARED_EPOCHS = 3  # fixed before any run: the declared probability is the mean of the last three epochs
# Most training cases that are predicted in inference mode after an epoch, others after the next one: all of them would
# take a quarter of its time.
INFERRED = 64
LEAST_PATIENCE = DECLARED_EPOCHS  # with less, the selected epoch would be among the declared ones
Precision = Literal["float32", "mixed_float16"]  # as Keras names its policies


def _enough(patience: int) -> int:
    """Refuse a patience that mixes declared and selected numbers."""
    if 0 < patience < LEAST_PATIENCE:
        raise ValueError(
            f"{patience!r}: must be 0 for never, or at least {LEAST_PATIENCE}: the declared predictions are the mean "
            f"of the last {LEAST_PATIENCE} epochs, which must not be chosen by their result"
        )
    return patience


class SweepParams(Section):
    """The swept values at the top of params.yaml."""

    lr: PositiveFloat
    """Learning rate of Adam at the start."""
    batch_size: PositiveInt
    """Cases per step."""
    epochs: PositiveInt
    """Most passes over the training cases."""
    seed: int = Field(ge=0, lt=2**32)
    """Of the weights, the shuffling and the augmentation; the split has its own."""
    val_fold: int = Field(ge=0)
    """Validation fold; below `split.folds`."""
    test_fold: int | None = Field(ge=0)
    """Test fold, kept away from every choice and scored once by the declared network; null: none. Never equal to
    `val_fold`."""

    @model_validator(mode="after")
    def _two_folds(self) -> "SweepParams":
        if self.val_fold == self.test_fold:
            raise ValueError(
                f"val_fold and test_fold are both {self.val_fold}; choose another one, or null for no test"
            )
        return self


class TrainParams(Section):
    """Section `train` of params.yaml; null: the named network's own value."""

    schedule: Literal["constant", "exponential", "cosine"] | None
    """Of the rate over the run; the stage warns of one that never changes it."""
    scale_lr: Literal["none", "linear", "sqrt"] | None
    """`lr` times batch_size / reference_batch_size, or its square root."""
    reference_batch_size: int = Field(ge=1)
    """The batch size that lr is meant for."""
    augment: Literal["none", "flip", "shift", "flip_shift"] | None
    """Left and right mirrored, shifts by up to 6 voxels."""
    class_weight: Literal["none", "balanced"] | None
    """`balanced`: both labels weigh the same in the loss."""
    monitor: Metric | None
    """What chooses the best epoch, and stops a run that has patience; the declared predictions do not depend on it."""
    patience: Annotated[int, Field(ge=0), AfterValidator(_enough)] | None
    """Epochs without a better monitor before it stops, 3 or more (the declared predictions are those of the last
    three); 0 for never."""
    precision: Precision
    """Of the layers in training: with mixed_float16 they compute in half precision, and the loss is scaled. Weights,
    predictions and model.keras are float32. Meant for GPUs, slow on a CPU; sanity checks the network in float32."""
    tensorboard: bool
    """Write the measures of each epoch for TensorBoard, into tensorboard/ of the project; no result depends on it."""


def inferred(cases: int) -> int:
    """Return how many of so many training cases are predicted in inference mode in the last DECLARED_EPOCHS epochs."""
    parts = -(-cases // INFERRED)
    return round(cases * min(1, DECLARED_EPOCHS / parts))


class TrainConfig(Section):
    """Section `train` with nothing left open. patience: epochs without a better `monitor`, 0 for no early stop."""

    schedule: Literal["constant", "exponential", "cosine"]
    scale_lr: Literal["none", "linear", "sqrt"]
    reference_batch_size: int
    augment: Literal["none", "flip", "shift", "flip_shift"]
    class_weight: Literal["none", "balanced"]
    monitor: Metric
    patience: int
    precision: Precision


TRAIN_CONFIGS = {
    "resnet3d": {
        "schedule": "constant",
        "scale_lr": "none",
        "augment": "flip_shift",
        "class_weight": "none",
        "monitor": "val_loss",
        "patience": 0,
    },
    "tutorial_cnn": {
        "schedule": "exponential",
        "scale_lr": "none",
        "augment": "none",
        "class_weight": "none",
        "monitor": "val_accuracy",
        "patience": 20,
    },
}


def resolve(params: TrainParams, network: str) -> TrainConfig:
    """Return `params` with each null replaced by the value of the network called `network`."""
    given = {key: value for key, value in params.model_dump(exclude={"tensorboard"}).items() if value is not None}
    return TrainConfig(**{**TRAIN_CONFIGS[network], **given})


def scaled_rate(config: TrainConfig, lr: float, batch_size: int) -> float:
    """Return the learning rate for `batch_size`: lr at config.reference_batch_size, times the ratio or its square root.

    linear: Goyal et al. 2017; sqrt: Krizhevsky 2014.
    """
    ratio = batch_size / config.reference_batch_size
    return lr * {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}[config.scale_lr]
