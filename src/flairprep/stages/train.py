"""train: the 3D CNN, with every epoch's predictions left behind for evaluate."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import json
from pathlib import Path

import numpy as np
import pandas as pd

from flairprep.core import console, files, params
from flairprep.dataset import tf_data
from flairprep.network import model
from flairprep.stats import metrics
from flairprep.core.tables import write_csv
from flairprep.core.errors import FlairprepError
from flairprep.network.train_config import SweepParams, TrainParams, TrainConfig, resolve, scaled_rate
from flairprep.network.input_pipeline import Cases, training_batches
from flairprep.network.recorder import PREDICTIONS, Recorder, prediction_rows
from flairprep.network.saving import save
from flairprep.network.training import compiled, devices, fit, inference, predict, schedule, seeded

EXPORT = Path("data/export")
OUT = Path("data/train")
SANITY = Path("reports/sanity.json")


def check_rate(run: SweepParams, recipe: TrainConfig, rate: float) -> None:
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


def choose_folds(info: tf_data.Info, run: SweepParams) -> list[int]:
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


def train(run: SweepParams, recipe: TrainConfig, section: model.ModelParams, out: Path) -> Recorder:
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
    fit(network, batches, recorder, recipe, labels=training.labels, epochs=run.epochs, kept=out / "best.weights.h5")
    save(network, out / "model.keras")
    kept = metrics.best_epoch(validation.labels, np.array(recorder.y_prob), recipe.monitor) + 1
    test = pd.DataFrame(columns=PREDICTIONS)
    if run.test_fold is not None:
        cases = Cases(EXPORT, [run.test_fold], run.batch_size)
        test = prediction_rows(cases, kept, predict(infer, cases))
    write_csv(out / "test_predictions.csv", test)
    console.say(f"train: {len(recorder.history)} epochs, the weights of epoch {kept} kept (best {recipe.monitor})")
    return recorder


def main() -> None:
    """Reads data/export (and, for a warning, reports/sanity.json where it is), writes data/train."""
    run, section = params.load(SweepParams), params.load(model.ModelParams, "model")
    recipe = resolve(params.load(TrainParams, "train"), section.name)
    with files.atomic_folder(OUT) as out, tf_data.faults(EXPORT):
        recorder = train(run, recipe, section, out)
        write_csv(out / "history.csv", pd.DataFrame(recorder.history))
        write_csv(out / "val_predictions.csv", pd.concat(recorder.predictions))


if __name__ == "__main__":
    console.run(main, "train")
