"""train: the 3D CNN, with every epoch's predictions left behind for evaluate."""

import flairprep.backend  # noqa: F401, I001  (before tensorflow)
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from flairprep import console, files, model, params, stats, tfrecord
from flairprep.cases import write_csv
from flairprep.errors import FlairprepError
from flairprep.recipe import Params, Recipe, resolve, scaled_rate

EXPORT = Path("data/export")
OUT = Path("data/train")
DECAY_STEPS, DECAY_RATE = 100_000, 0.96  # the question's ExponentialDecay
SHIFT = 6  # voxels
PREDICTIONS = ["epoch", "case_id", "label", "probability"]
Inference = Callable[[Any], Any]  # images, float32 (batch, z, y, x, 1), to probabilities, float32 (batch, 1)


class Run(params.Section):
    """The swept values at the top of params.yaml."""

    lr: PositiveFloat
    batch_size: PositiveInt
    epochs: PositiveInt
    seed: int = Field(ge=0, lt=2**32)
    val_fold: int = Field(ge=0)
    test_fold: int | None = Field(ge=0)

    @model_validator(mode="after")
    def _two_folds(self) -> "Run":
        if self.val_fold == self.test_fold:
            raise ValueError(
                f"val_fold and test_fold are both {self.val_fold}; choose another one, or null for no test"
            )
        return self


class Cases:
    """The cases of some folds, in a fixed order, and a tf.data.Dataset of their images in batches to predict from."""

    def __init__(self, folds: list[int], batch_size: int) -> None:
        elements = tfrecord.dataset(EXPORT, folds)
        names = list(elements.map(lambda e: (e["case_id"], e["label"])).as_numpy_iterator())
        self.case_ids = [case_id.decode() for case_id, _ in names]
        self.labels = np.array([label for _, label in names])
        self.images = elements.map(image).batch(batch_size).prefetch(2)

    def predictions(self, epoch: int, y_prob: np.ndarray) -> pd.DataFrame:
        """Rows of val_predictions.csv or test_predictions.csv."""
        columns = (epoch, self.case_ids, self.labels, [f"{p:.6f}" for p in y_prob])
        return pd.DataFrame(dict(zip(PREDICTIONS, columns, strict=True)))


def image(element: dict[str, Any]) -> Any:
    """The float32 image of an element of tfrecord.dataset."""
    return tf.cast(element["image"], tf.float32)


def augmented(volume: Any, seed: Any, kind: str) -> Any:
    """`volume` (z, y, x, 1), mirrored left to right in half of the cases and shifted by up to 6 voxels each way.

    What comes in from outside is the value of the corner, the background. seed: (2,) int64.
    """
    if "flip" in kind:
        mirrored = tf.random.stateless_uniform([], seed) < 0.5
        volume = tf.where(mirrored, tf.reverse(volume, [2]), volume)
    if "shift" in kind:
        size = tf.shape(volume)
        start = tf.random.stateless_uniform([3], seed + 1, 0, 2 * SHIFT + 1, tf.int32)
        corner = volume[0, 0, 0, 0]
        padded = tf.pad(volume, [[SHIFT, SHIFT]] * 3 + [[0, 0]], constant_values=corner)
        volume = tf.slice(padded, tf.concat([start, [0]], 0), size)
    return volume


def training_batches(folds: list[int], run: Run, recipe: Recipe, *, whole: bool = False) -> Any:
    """Shuffled, augmented batches (image, label); the last one of an epoch may be smaller, or left out if `whole`."""
    cases = tfrecord.dataset(EXPORT, folds, shuffle_seed=run.seed)
    seeds = tf.data.Dataset.random(run.seed, rerandomize_each_iteration=True)
    seeds = seeds.map(lambda value: tf.stack([value, tf.constant(run.seed, tf.int64)]))

    def prepare(element: dict[str, Any], seed: Any) -> tuple[Any, Any]:
        return augmented(image(element), seed, recipe.augment), element["label"]

    pairs = tf.data.Dataset.zip((cases, seeds))
    return pairs.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(run.batch_size, whole).prefetch(2)


def schedule(recipe: Recipe, rate: float, steps: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate, or its schedule over the run's `steps`; warns of one that never changes the rate."""
    if recipe.schedule == "exponential":
        if steps <= DECAY_STEPS:
            console.warn(
                f"train: train.schedule exponential first lowers the rate at step {DECAY_STEPS}, but the run has "
                f"{steps} steps: the rate stays constant; choose cosine, or constant to say so"
            )
        return keras.optimizers.schedules.ExponentialDecay(rate, DECAY_STEPS, DECAY_RATE, staircase=True)
    return keras.optimizers.schedules.CosineDecay(rate, steps) if recipe.schedule == "cosine" else rate


class Recorder(keras.callbacks.Callback):
    """After every epoch: predictions for the validation cases, and accuracy on the training cases in inference mode.

    Adds val_loss, val_accuracy, val_auc, accuracy_inference and learning_rate to the epoch's logs, so that callbacks
    after it can watch them.
    """

    def __init__(self, infer: Inference, training: Cases, validation: Cases, epochs: int) -> None:
        super().__init__()
        self.infer, self.training, self.validation, self.epochs = infer, training, validation, epochs
        self.history: list[dict[str, Any]] = []
        self.predictions: list[pd.DataFrame] = []
        self.y_prob: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keras's hook."""
        logs = {} if logs is None else logs
        y_true, y_prob = self.validation.labels, predict(self.infer, self.validation)
        in_inference = predict(self.infer, self.training)
        if not math.isfinite(logs["loss"]) or not np.isfinite(y_prob).all():
            raise FlairprepError(f"train: the loss is not a number in epoch {epoch + 1}; lower lr in params.yaml")
        logs |= {
            "val_loss": stats.log_loss(y_true, y_prob),
            "val_accuracy": stats.accuracy(y_true, y_prob),
            "val_auc": stats.auc(y_true, y_prob),
            "accuracy_inference": stats.accuracy(self.training.labels, in_inference),
            "learning_rate": float(tf.convert_to_tensor(self.model.optimizer.learning_rate)),
            "nir": stats.no_information_rate(y_true),
        }
        self.y_prob.append(y_prob)
        self.history.append({"epoch": epoch + 1, **{key: f"{value:.6g}" for key, value in logs.items()}})
        self.predictions.append(self.validation.predictions(epoch + 1, y_prob))
        console.say(
            f"train: epoch {epoch + 1} of {self.epochs}: loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.3f}; "
            f"validation loss {logs['val_loss']:.4f}, accuracy {logs['val_accuracy']:.3f}, AUC {logs['val_auc']:.3f}"
        )


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


def choose_folds(info: tfrecord.Info, run: Run) -> list[int]:
    """The training folds: all but val_fold and test_fold.

    Raises:
        FlairprepError: one of the two is not in the export, or no fold is left to train on.
    """
    for key, fold in (("val_fold", run.val_fold), ("test_fold", run.test_fold)):
        if fold is not None and fold not in info.cases:
            raise FlairprepError(f"params.yaml: {key}: {fold}: the data set has the folds 0 to {max(info.cases)}")
    left = sorted(set(info.cases) - {run.val_fold, run.test_fold})
    if not left:
        raise FlairprepError(f"params.yaml: test_fold: {run.test_fold}: no fold is left to train on; raise split.folds")
    return left


def train(run: Run, recipe: Recipe, section: model.Params, out: Path) -> Recorder:
    """Trains the network, writes model.keras and the test predictions into `out`, gives the record of the epochs.

    The kept weights are those of the first epoch that is best by recipe.monitor.

    Raises:
        FlairprepError: a fold that does not exist, one label only, a volume too small for the network, or a loss that
            is not a number.
    """
    info = tfrecord.read_info(EXPORT)
    folds = choose_folds(info, run)
    training, validation = Cases(folds, run.batch_size), Cases([run.val_fold], run.batch_size)
    if len(set(training.labels)) < 2:
        raise FlairprepError("train: all training cases have one label; see the folds in data/split/split.csv")
    if recipe.monitor == "val_auc" and len(set(validation.labels)) < 2:
        raise FlairprepError("params.yaml: train.monitor: 'val_auc': all validation cases have one label; use val_loss")
    keras.utils.set_random_seed(run.seed)
    tf.config.experimental.enable_op_determinism()
    strategy = devices(run.batch_size, len(training.labels))
    whole = strategy.num_replicas_in_sync > 1
    batches = training_batches(folds, run, recipe, whole=whole)
    steps = int(batches.cardinality())
    rate = schedule(recipe, scaled_rate(recipe, run.lr, run.batch_size), steps * run.epochs)
    with strategy.scope():
        network = model.build(section, info.image_shape, prior=float(training.labels.mean()))
        # XLA makes 3D convolutions on a CPU several times slower.
        network.compile(
            keras.optimizers.Adam(rate), loss="binary_crossentropy", metrics=["accuracy"], jit_compile=False
        )
    infer = inference(network)
    recorder = Recorder(infer, training, validation, run.epochs)
    mode = "min" if recipe.monitor == "val_loss" else "max"
    best = out / "best.weights.h5"
    watched = {"monitor": recipe.monitor, "mode": mode}
    callbacks = [
        recorder,
        keras.callbacks.ModelCheckpoint(best, save_best_only=True, save_weights_only=True, **watched),
    ]
    if recipe.patience:
        callbacks.append(keras.callbacks.EarlyStopping(patience=recipe.patience, **watched))
    shares = np.bincount(training.labels, minlength=2) / len(training.labels)
    weights = {label: 0.5 / share for label, share in enumerate(shares)} if recipe.class_weight == "balanced" else None
    network.fit(batches, epochs=run.epochs, callbacks=callbacks, class_weight=weights, shuffle=False, verbose=0)
    network.load_weights(best)
    best.unlink()
    network.save(out / "model.keras")
    kept = stats.best_epoch(validation.labels, np.array(recorder.y_prob), recipe.monitor) + 1
    test = pd.DataFrame(columns=PREDICTIONS)
    if run.test_fold is not None:
        cases = Cases([run.test_fold], run.batch_size)
        test = cases.predictions(kept, predict(infer, cases))
    write_csv(out / "test_predictions.csv", test)
    console.say(f"train: {len(recorder.history)} epochs, the weights of epoch {kept} kept (best {recipe.monitor})")
    return recorder


def main() -> None:
    """Reads data/export, writes data/train."""
    run, section = params.load(Run), params.load(model.Params, "model")
    recipe = resolve(params.load(Params, "train"), section.name)
    with files.whole_folder(OUT) as out:
        recorder = train(run, recipe, section, out)
        write_csv(out / "history.csv", pd.DataFrame(recorder.history))
        write_csv(out / "val_predictions.csv", pd.concat(recorder.predictions))


if __name__ == "__main__":
    console.run(main, "train")
