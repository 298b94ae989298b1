"""train: train the 3D CNN, and leave every epoch's predictions behind for evaluate."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import write_csv
from flairprep.dataset.shards import Info, read_info
from flairprep.network.model_config import ModelParams
from flairprep.network.train_config import DECLARED_EPOCHS, SweepParams, TrainConfig, TrainParams, resolve, scaled_rate

if TYPE_CHECKING:
    from flairprep.network.states import States

EXPORT = Path("data/export")
OUT = Path("data/train")
SANITY = Path("reports/sanity.json")


def check_rate(run: SweepParams, config: TrainConfig, rate: float) -> None:
    """Warn of a rate meant for another batch size, or outside the usable rates of sanity's range test.

    reports/sanity.json is no dependency of the stage: it changes a warning and no out, so a new sanity check need not
    train again.
    """
    if config.scale_lr == "none" and run.batch_size != config.reference_batch_size:
        console.warn(
            f"train: lr {run.lr:g} is meant for batches of {config.reference_batch_size}, these have {run.batch_size}: "
            "choose train.scale_lr linear or sqrt, or lower both together"
        )
    band = json.loads(SANITY.read_text())["learning_rate"] if SANITY.is_file() else None
    if band and not band["low"] <= rate <= band["high"]:
        side, effect = ("below", "hardly fall") if rate < band["low"] else ("above", "jump or stay high")
        console.warn(
            f"train: the rate {rate:g} is {side} the usable rates of {SANITY}, {band['low']:.2g} to "
            f"{band['high']:.2g}: the loss may {effect}"
        )


def choose_folds(info: Info, run: SweepParams) -> list[int]:
    """Return the training folds: all but val_fold and test_fold.

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


def train(run: SweepParams, given: TrainParams, section: ModelParams, out: Path) -> "States":
    """Train the network and write model.keras, history.csv, val_predictions.csv and test_predictions.csv into `out`.

    model.keras gives the declared predictions: it is the mean of the networks of the last epochs. OUT shows history.csv
    meanwhile. Goes on where such a run was ended. Return the states, to finish once `out` is in its place.

    Raises:
        FlairprepError: tensorflow is not installed, a fold does not exist, all cases have one label, the volumes are
            too small for the network, or the loss is not finite.
        Interrupted: by Ctrl-C or SIGTERM.
    """
    from flairprep.network import input_pipeline, recorder, saving, states, training, watching  # import tensorflow

    info, config = read_info(EXPORT), resolve(given, section.name)
    folds = choose_folds(info, run)
    fitted, validation = (input_pipeline.Cases(EXPORT, chosen, run.batch_size) for chosen in (folds, [run.val_fold]))
    if len(set(fitted.labels)) < 2:
        raise FlairprepError("train: all training cases have one label; see the folds in data/split/split.csv")
    if config.monitor == "val_auc" and len(set(validation.labels)) < 2:
        raise FlairprepError("params.yaml: train.monitor: 'val_auc': all validation cases have one label; use val_loss")
    training.seeded(run.seed)
    strategy = training.devices(run.batch_size, len(fitted.labels))
    whole, feeding = strategy.num_replicas_in_sync > 1, {"batch_size": run.batch_size, "seed": run.seed}
    batches = input_pipeline.training_batches(fitted.at, len(fitted.labels), config.augment, whole=whole, **feeding)
    first_rate = scaled_rate(config, run.lr, run.batch_size)
    check_rate(run, config, first_rate)
    rate = training.schedule(config.schedule, first_rate, int(batches(0).cardinality()) * run.epochs)
    with strategy.scope():
        options: dict[str, Any] = {"rate": rate, "precision": config.precision}
        network = training.compiled(section, info.image_shape, prior=float(fitted.labels.mean()), **options)
    record = recorder.Recorder(training.inference(network), fitted.parts(), validation, run.epochs)
    kept = states.of_run(run, config, section, training.machine(), EXPORT)
    watchers = watching.of_run(record, OUT, run, kept.key if given.tensorboard else "")
    with files.shown_folder(OUT), console.interruptible(kept.remedy):
        options = {"epochs": run.epochs, "states": kept, "watchers": watchers}
        declared = training.fit(network, batches, record, config, labels=fitted.labels, **options)
        saving.save(declared, out / "model.keras")
        write_csv(out / "history.csv", pd.DataFrame(record.history))
        write_csv(out / "val_predictions.csv", pd.concat(record.predictions))
        epochs, test = len(record.logs), pd.DataFrame(columns=recorder.PREDICTIONS)
        if run.test_fold is not None:
            cases = input_pipeline.Cases(EXPORT, [run.test_fold], run.batch_size)
            test = recorder.prediction_rows(cases, epochs, training.predict(training.inference(declared), cases))
        write_csv(out / "test_predictions.csv", test)
    console.say(f"train: {epochs} epochs; model.keras is the mean of the last {min(epochs, DECLARED_EPOCHS)}")
    return kept


def main() -> None:
    """Read data/export (and, for a warning, reports/sanity.json where it is), write data/train."""
    run, section, given = params.load(SweepParams), params.load(ModelParams, "model"), params.load(TrainParams, "train")
    from flairprep.dataset import tf_data  # imports tensorflow

    memory = console.out_of_memory("batch_size, model.filters or select_slices.size")
    with memory, tf_data.faults(EXPORT):
        with files.atomic_folder(OUT) as out:
            kept = train(run, given, section, out)
        kept.finish()


if __name__ == "__main__":
    console.run(main, "train")
