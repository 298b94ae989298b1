"""Cost of an epoch and of a training step, and whether the shards can feed them.

python bench/training.py [--json bench/results/training.json] > bench/results/training.txt

All cores are used. The stage train and the same network in plain Keras on arrays in memory take turns, each in a
process of its own; each ratio is the median over the turns.

An epoch of the default network is one of the stage as it is: cases shuffled, validation cases and some of the training
cases predicted in inference mode, measures, history.csv, the networks of the last epochs, the state to go on from. Bare
Keras gets float32 arrays and validation_data, keeps and writes nothing. Neither augments. Epochs are timed from the end
of the first one to the end of the last, so neither start nor tracing counts.
"""

import os

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # as flairprep sets it; without it plain Keras takes three times as long

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import machine
import numpy as np

from flairprep.dataset import shards

SHAPE = (64, 128, 128)  # of the network's input, (z, y, x)
EPOCHS = 3  # in which its waiting is timed
BATCH = {"resnet3d": 4, "tutorial_cnn": 2}
TRAINED = 32  # cases per timed epoch, enough to make its start negligible
MANY = 192  # cases per epoch of reading and waiting
COHORT, FOLDS = 585, 5  # of the stage's epochs: fold 0 is validated on
TIMED = 3  # epochs of a turn, after the first
KINDS: dict[str, Any] = dict.fromkeys(("skip", "norm", "norm_momentum", "dropout", "filters", "dense", "init"))


@cache
def _ours(directory: Path, name: str) -> Any:
    from flairprep.network import (
        input_pipeline,
        training,  # with tensorflow, in the processes that measure alone
    )

    training.seeded(0)
    cases = input_pipeline.Cases(directory, [0], BATCH[name], hold=False)
    batches = input_pipeline.training_batches(cases.at, len(cases.labels), "none", batch_size=BATCH[name], seed=0)(0)
    network = training.compiled(training.model.ModelParams(name=name, **KINDS), (*SHAPE, 1), prior=0.5, rate=1e-4)
    return network, batches


def epoch_of_ours(directory: Path, name: str) -> float:
    """Return the seconds per training step of a network of flairprep fed from shards."""
    network, batches = _ours(directory, name)
    return _epoch(lambda: network.fit(batches, verbose=0, shuffle=False), name)


@cache
def _bare() -> Any:
    import keras
    from keras import layers

    inputs = keras.Input((*SHAPE, 1))
    x = inputs
    for filters in (64, 64, 128, 256):
        x = layers.Conv3D(filters, 3, activation="relu")(x)
        x = layers.MaxPool3D(2)(x)
        x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling3D()(x)
    x = layers.Dense(512, activation="relu")(x)
    x = layers.Dropout(0.3)(x)
    network = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    network.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", metrics=["acc"], jit_compile=False)
    rng = np.random.default_rng(0)
    return network, rng.standard_normal((TRAINED, *SHAPE, 1), np.float32), np.arange(TRAINED) % 2


def epoch_of_bare() -> float:
    """Return the seconds per training step of the tutorial's network in plain Keras on arrays in memory."""
    network, images, labels = _bare()
    return _epoch(lambda: network.fit(images, labels, batch_size=BATCH["tutorial_cnn"], verbose=0), "tutorial_cnn")


def stage_epoch(folder: Path, augment: str) -> tuple[float, float]:
    """Return the seconds and the processor's seconds per epoch of the stage train on the export in `folder`."""
    from flairprep.network import watching
    from flairprep.stages import train

    run = train.SweepParams(lr=1e-4, batch_size=BATCH["resnet3d"], epochs=TIMED + 1, seed=0, val_fold=0, test_fold=None)
    given = dict.fromkeys(train.TrainParams.model_fields) | {
        **{"augment": augment, "precision": "float32", "reference_batch_size": 4, "tensorboard": False}
    }
    section, clock = train.TrainParams(**given), _clock()
    of_run = watching.of_run
    watching.of_run = lambda *arguments: [*of_run(*arguments), clock]
    try:
        with tempfile.TemporaryDirectory() as name, contextlib.chdir(folder), contextlib.redirect_stdout(None):
            os.environ["FLAIRPREP_CACHE"] = f"{name}/cache"
            out = Path(name) / "out"
            out.mkdir()
            train.train(run, section, train.ModelParams(name="resnet3d", **KINDS), out)
    finally:
        watching.of_run = of_run
    return clock.per_epoch()


@cache
def _arrays() -> list[tuple[np.ndarray, np.ndarray]]:
    rng, parts = np.random.default_rng(0), [COHORT - COHORT // FOLDS, COHORT // FOLDS]
    return [(rng.standard_normal((count, *SHAPE, 1), np.float32), np.arange(count) % 2) for count in parts]


def bare_epoch() -> tuple[float, float]:
    """Return the same of the default network in plain Keras."""
    import keras

    from flairprep.network import model

    network, clock = model.build(model.ModelParams(name="resnet3d", **KINDS), (*SHAPE, 1)), _clock()
    network.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    fitted, validation = _arrays()
    options: dict[str, Any] = {"validation_data": validation, "callbacks": [clock], "verbose": 0}
    network.fit(*fitted, batch_size=BATCH["resnet3d"], epochs=TIMED + 1, **options)
    return clock.per_epoch()


def _clock() -> Any:
    import keras

    class Clock(keras.callbacks.Callback):
        """Note the time and the processor's at the end of each epoch."""

        def __init__(self) -> None:
            super().__init__()
            self.ends: list[tuple[float, float]] = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.ends.append((time.perf_counter(), time.process_time()))

        def per_epoch(self) -> tuple[float, float]:
            first, last = self.ends[0], self.ends[-1]
            wall, processor = ((b - a) / (len(self.ends) - 1) for a, b in zip(first, last, strict=True))
            return wall, processor

    return Clock()


def _epoch(fit: Callable[[], Any], name: str) -> float:
    start = time.perf_counter()
    fit()
    return (time.perf_counter() - start) / (TRAINED // BATCH[name])


def reading(directory: Path, augment: str) -> float:
    """Return cases per second from shards to shuffled batches, median of the epochs without the first, which traces."""
    from flairprep.network import input_pipeline

    cases = input_pipeline.Cases(directory, [0], 4, hold=False)
    batches = input_pipeline.training_batches(cases.at, len(cases.labels), augment, batch_size=4, seed=0)(0)
    rates = []
    for _ in range(6):
        start = time.perf_counter()
        count = sum(len(labels) for _, labels in batches)
        rates.append(count / (time.perf_counter() - start))
    return median(rates[1:])


def waiting(directory: Path) -> tuple[float, float]:
    """Return the share of EPOCHS of the default network, augmented as by default, spent waiting for the next batch.

    As in fit, the first step is traced while the first batches are read. Keras fetches batches inside its step.
    Fetching them from Python, as here, takes time even if a batch is ready.

    Returns:
        The share, and its excess over the share with one batch in memory that repeats.
    """
    from flairprep.network import input_pipeline

    network, _ = _ours(directory, "resnet3d")
    cases = input_pipeline.Cases(directory, [0], BATCH["resnet3d"], hold=False)
    batches = input_pipeline.training_batches(
        cases.at, len(cases.labels), "flip_shift", batch_size=BATCH["resnet3d"], seed=0
    )
    first, steps = next(iter(batches(0))), len(batches(0))
    source = iter(input_pipeline.epochs(batches, 0, EPOCHS))
    network.train_on_batch(*first)
    waited, total = _waited(network, source)
    ready = input_pipeline.tf.data.Dataset.from_tensors(first).repeat(EPOCHS * steps).prefetch(2)
    ready_waited, _ = _waited(network, iter(ready))
    return waited / total, (waited - ready_waited) / total


def _waited(network: Any, source: Any) -> tuple[float, float]:
    """Train on all batches of `source`; return the seconds of waiting, and all seconds."""
    waited, start = 0.0, time.perf_counter()
    while True:
        asked = time.perf_counter()
        batch = next(source, None)
        waited += time.perf_counter() - asked
        if batch is None:
            return waited, time.perf_counter() - start
        network.train_on_batch(*batch)


def write_shards(directory: Path, count: int, folds: int = 1) -> None:
    """Write `count` cases of the network's shape, of which few differ, in turn into the folds of `directory`."""
    rng = np.random.default_rng(0)
    directory.mkdir(parents=True)
    images = [rng.standard_normal((*SHAPE, 1), np.float32).astype(np.float16) for _ in range(16)]
    cases = [(number % folds, f"{number:05d}", number // folds % 2) for number in range(count)]
    lengths = {}
    for shard in shards.plan(cases, 64):
        records = [directory / f"{case_id}.record" for case_id, _ in shard.cases]
        for path, (case_id, label) in zip(records, shard.cases, strict=True):
            path.write_bytes(shards.record(images[int(case_id) % 16], label, case_id))
        shards.join(records, directory / shard.name)
        lengths[shard] = len(records)
    shards.write_info(directory, shards.splits_of(directory, lengths), (*SHAPE, 1))


def epochs(folder: Path, rounds: int) -> dict[str, float]:
    """Return the measurements of the default network's epochs; one process at a time holds the memory it needs."""
    write_shards(folder / "data/export", COHORT, FOLDS)
    turns: list[tuple[float, ...]] = []
    with ProcessPoolExecutor(1, get_context("spawn")) as ours, ProcessPoolExecutor(1, get_context("spawn")) as bare:
        for _ in range(rounds):
            pair = ours.submit(stage_epoch, folder, "none").result(), bare.submit(bare_epoch).result()
            turns.append((*pair[0], *pair[1]))
        augmented = ours.submit(stage_epoch, folder, "flip_shift").result()
    return {
        "stage_epoch": median(turn[0] for turn in turns),
        "stage_epoch_processor": median(turn[1] for turn in turns),
        "bare_epoch": median(turn[2] for turn in turns),
        "bare_epoch_processor": median(turn[3] for turn in turns),
        "stage_over_bare": median(turn[0] / turn[2] for turn in turns),
        "stage_over_bare_processor": median(turn[1] / turn[3] for turn in turns),
        "stage_epoch_augmented": augmented[0],
        "stage_epoch_augmented_processor": augmented[1],
    }


def measure(folder: Path, rounds: int) -> dict[str, float]:
    """Return all measurements."""
    few, many = folder / "few", folder / "many"
    write_shards(few, TRAINED)
    write_shards(many, MANY)
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context) as ours, ProcessPoolExecutor(1, context) as bare:
        rate, augmented = (ours.submit(reading, many, augment).result() for augment in ("none", "flip_shift"))
        waits = [ours.submit(waiting, many).result() for _ in range(rounds)]
        default = [ours.submit(epoch_of_ours, few, "resnet3d").result() for _ in range(rounds + 1)][1:]
        pairs = []
        for number in range(rounds + 1):
            pair = ours.submit(epoch_of_ours, few, "tutorial_cnn").result(), bare.submit(epoch_of_bare).result()
            pairs += [pair] if number else []
    consumed = BATCH["resnet3d"] / median(default)
    return {
        "cases_a_second_read": rate,
        "cases_a_second_augmented": augmented,
        "cases_a_second_trained": consumed,
        "read_over_trained": rate / consumed,
        "waiting": median(share for share, _ in waits),
        "waiting_for_what_is_not_ready": median(share for _, share in waits),
        "tutorial_cnn_step": median(one for one, _ in pairs),
        "bare_keras_step": median(other for _, other in pairs),
        "tutorial_cnn_over_bare": median(one / other for one, other in pairs),
        **epochs(folder / "cohort", rounds),
    }


def main() -> None:
    """Print the measurements; with --json also write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    environment = f"{machine.header(('numpy', 'tensorflow-cpu', 'keras'))}, {len(os.sched_getaffinity(0))} cores"
    print(f"{environment}\n{arguments.rounds} rounds\n")
    with tempfile.TemporaryDirectory() as name:
        measured = measure(Path(name), arguments.rounds)
    print(
        f"shards to batches: {measured['cases_a_second_read']:.0f} cases per second, "
        f"{measured['read_over_trained']:.1f} times what a training step of resnet3d takes "
        f"({measured['cases_a_second_trained']:.1f}); "
        f"flipped and shifted too {measured['cases_a_second_augmented']:.0f}"
    )
    print(
        f"{EPOCHS} epochs of {MANY} cases: {measured['waiting_for_what_is_not_ready']:.1%} of the time waits for data "
        f"({measured['waiting']:.1%} with what it takes to ask for a batch that is ready)"
    )
    print(
        f"a step of tutorial_cnn from shards: {measured['tutorial_cnn_step']:.2f} s, in bare Keras from memory "
        f"{measured['bare_keras_step']:.2f} s, ratio {measured['tutorial_cnn_over_bare']:.3f}"
    )
    print(
        f"an epoch of resnet3d, {COHORT - COHORT // FOLDS} cases and {COHORT // FOLDS} of validation, not augmented: "
        f"stage {measured['stage_epoch']:.1f} s (of the processor {measured['stage_epoch_processor']:.1f}), bare Keras "
        f"from memory {measured['bare_epoch']:.1f} s ({measured['bare_epoch_processor']:.1f}), ratio "
        f"{measured['stage_over_bare']:.3f} ({measured['stage_over_bare_processor']:.3f}); the stage with flips and "
        f"shifts {measured['stage_epoch_augmented']:.1f} s ({measured['stage_epoch_augmented_processor']:.1f})"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": environment, **measured}, indent=2) + "\n")


if __name__ == "__main__":
    main()
