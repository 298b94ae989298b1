"""train: the 3D CNN, with every epoch's predictions left behind for evaluate."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import json
import math
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from flairprep.core import console, files, params
from flairprep.dataset import tf_data
from flairprep.network import model
from flairprep.stats import metrics
from flairprep.core.tables import write_csv
from flairprep.core.errors import FlairprepError
from flairprep.network.train_config import Params, Recipe, resolve, scaled_rate
from flairprep.network.input_pipeline import Cases, training_batches
from flairprep.network.training import Inference, compiled, devices, inference, predict, schedule, seeded

EXPORT = Path("data/export")
OUT = Path("data/train")
SANITY = Path("reports/sanity.json")
PREDICTIONS = ["epoch", "case_id", "label", "probability"]


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
            "val_loss": metrics.log_loss(y_true, y_prob),
            "val_accuracy": metrics.accuracy(y_true, y_prob),
            "val_auc": metrics.auc(y_true, y_prob),
            "accuracy_inference": metrics.accuracy(self.training.labels, in_inference),
            "learning_rate": float(tf.convert_to_tensor(self.model.optimizer.learning_rate)),
            "nir": metrics.no_information_rate(y_true),
        }
        self.y_prob.append(y_prob)
        self.history.append({"epoch": epoch + 1, **{key: f"{value:.6g}" for key, value in logs.items()}})
        self.predictions.append(rows(self.validation, epoch + 1, y_prob))
        console.say(
            f"train: epoch {epoch + 1} of {self.epochs}: loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.3f}; "
            f"validation loss {logs['val_loss']:.4f}, accuracy {logs['val_accuracy']:.3f}, AUC {logs['val_auc']:.3f}"
        )


def rows(cases: Cases, epoch: int, y_prob: np.ndarray) -> pd.DataFrame:
    """Rows of val_predictions.csv or test_predictions.csv."""
    columns = (epoch, cases.case_ids, cases.labels, [f"{p:.6f}" for p in y_prob])
    return pd.DataFrame(dict(zip(PREDICTIONS, columns, strict=True)))


def check_rate(run: Run, recipe: Recipe, rate: float) -> None:
    """Warns of a rate that does not fit the batch size, or that lies outside what sanity's range test found usable.

    reports/sanity.json is no dependency of the stage: it changes a warning and nothing that is written, so that a new
    sanity check need not train again.
    """
    if recipe.scale_lr == "none" and run.batch_size != recipe.reference_batch_size:
        console.warn(
            f"train: lr {run.lr:g} is meant for batches of {recipe.reference_batch_size}, these have {run.batch_size}: "
            "choose train.scale_lr linear or sqrt, or lower both together"
        )
    band = json.loads(SANITY.read_text())["learning_rate"] if SANITY.is_file() else None
    if band and not band["low"] <= rate <= band["high"]:
        side = "below" if rate < band["low"] else "above"
        console.warn(
            f"train: the rate {rate:g} is {side} the usable rates that sanity found, {band['low']:.2g} to "
            f"{band['high']:.2g}: the loss may {'hardly fall' if side == 'below' else 'jump or stay high'}"
        )


def choose_folds(info: tf_data.Info, run: Run) -> list[int]:
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
    info = tf_data.read_info(EXPORT)
    folds = choose_folds(info, run)
    training, validation = (Cases(EXPORT, chosen, run.batch_size) for chosen in (folds, [run.val_fold]))
    if len(set(training.labels)) < 2:
        raise FlairprepError("train: all training cases have one label; see the folds in data/split/split.csv")
    if recipe.monitor == "val_auc" and len(set(validation.labels)) < 2:
        raise FlairprepError("params.yaml: train.monitor: 'val_auc': all validation cases have one label; use val_loss")
    seeded(run.seed)
    strategy = devices(run.batch_size, len(training.labels))
    whole = strategy.num_replicas_in_sync > 1
    batches = training_batches(EXPORT, folds, recipe.augment, batch_size=run.batch_size, seed=run.seed, whole=whole)
    steps = int(batches.cardinality())
    first_rate = scaled_rate(recipe, run.lr, run.batch_size)
    check_rate(run, recipe, first_rate)
    rate = schedule(recipe.schedule, first_rate, steps * run.epochs)
    with strategy.scope():
        network = compiled(section, info.image_shape, prior=float(training.labels.mean()), rate=rate)
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
    # Repeated, so that the next epoch's first batches are read during this one's validation.
    network.fit(
        batches.repeat(),
        epochs=run.epochs,
        steps_per_epoch=steps,
        callbacks=callbacks,
        class_weight=weights,
        shuffle=False,
        verbose=0,
    )
    network.load_weights(best)
    best.unlink()
    network.save(out / "model.keras")
    kept = metrics.best_epoch(validation.labels, np.array(recorder.y_prob), recipe.monitor) + 1
    test = pd.DataFrame(columns=PREDICTIONS)
    if run.test_fold is not None:
        cases = Cases(EXPORT, [run.test_fold], run.batch_size)
        test = rows(cases, kept, predict(infer, cases))
    write_csv(out / "test_predictions.csv", test)
    console.say(f"train: {len(recorder.history)} epochs, the weights of epoch {kept} kept (best {recipe.monitor})")
    return recorder


def main() -> None:
    """Reads data/export (and, for a warning, reports/sanity.json where it is), writes data/train."""
    run, section = params.load(Run), params.load(model.Params, "model")
    recipe = resolve(params.load(Params, "train"), section.name)
    with files.whole_folder(OUT) as out, tf_data.faults(EXPORT):
        recorder = train(run, recipe, section, out)
        write_csv(out / "history.csv", pd.DataFrame(recorder.history))
        write_csv(out / "val_predictions.csv", pd.concat(recorder.predictions))


if __name__ == "__main__":
    console.run(main, "train")
