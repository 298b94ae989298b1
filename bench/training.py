"""What a training step costs, and whether the shards can feed it.

python bench/training.py [--json bench/results/training.json] > bench/results/training.txt

All cores are used. tutorial_cnn, fed from shards, and the same network in plain Keras, on arrays in memory, take turns,
each in a process of its own; the ratio is the median of those of the turns.
"""

import os

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"  # as flairprep sets it: without, plain Keras takes three times as long

import argparse
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

import numpy as np
from machine import header

from flairprep.dataset import shards

SHAPE = (64, 128, 128)  # of the network's input, (z, y, x)
EPOCHS = 3  # through which it is watched waiting
BATCH = {"resnet3d": 4, "tutorial_cnn": 2}
TRAINED = 32  # cases an epoch of the timed ones, so that its start is little of it
MANY = 192  # of those in which it reads and waits


@cache
def _ours(directory: Path, name: str) -> Any:
    from flairprep.network import (
        input_pipeline,
        training,  # with tensorflow, in the processes that measure alone
    )

    kinds: dict[str, Any] = dict.fromkeys(("skip", "norm", "norm_momentum", "dropout", "filters", "dense", "init"))
    training.seeded(0)
    batches = input_pipeline.training_batches(directory, [0], "none", batch_size=BATCH[name], seed=0)
    network = training.compiled(training.model.ModelParams(name=name, **kinds), (*SHAPE, 1), prior=0.5, rate=1e-4)
    return network, batches


def epoch_of_ours(directory: Path, name: str) -> float:
    """Seconds a training step, of a network of flairprep's fed from shards."""
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
    """Seconds a training step, of the question's network in plain Keras on arrays in memory."""
    network, images, labels = _bare()
    return _epoch(lambda: network.fit(images, labels, batch_size=BATCH["tutorial_cnn"], verbose=0), "tutorial_cnn")


def _epoch(fit: Callable[[], Any], name: str) -> float:
    start = time.perf_counter()
    fit()
    return (time.perf_counter() - start) / (TRAINED // BATCH[name])


def reading(directory: Path, augment: str) -> float:
    """Cases a second from the shards on the disk to batches, shuffled; the median epoch but the first, which traces."""
    from flairprep.network import input_pipeline

    batches = input_pipeline.training_batches(directory, [0], augment, batch_size=4, seed=0)
    rates = []
    for _ in range(6):
        start = time.perf_counter()
        count = sum(len(labels) for _, labels in batches)
        rates.append(count / (time.perf_counter() - start))
    return median(rates[1:])


def waiting(directory: Path) -> tuple[float, float]:
    """The share of EPOCHS of the default network, augmented as by default, in which it waits for the next batch.

    As in fit, the first step is traced when the reading of the first batches has begun. Keras itself asks for batches
    inside its step; here they are asked for from Python, which takes time though a batch is ready.

    Returns:
        The share, and what of it is more than as many batches take that are one and the same in memory.
    """
    from flairprep.network import input_pipeline

    network, _ = _ours(directory, "resnet3d")
    batches = input_pipeline.training_batches(directory, [0], "flip_shift", batch_size=BATCH["resnet3d"], seed=0)
    first = next(iter(batches))
    source = iter(batches.repeat(EPOCHS))
    network.train_on_batch(*first)
    waited, spent = _waited(network, source)
    ready = input_pipeline.tf.data.Dataset.from_tensors(first).repeat(EPOCHS * len(batches)).prefetch(2)
    least, _ = _waited(network, iter(ready))
    return waited / spent, (waited - least) / spent


def _waited(network: Any, source: Any) -> tuple[float, float]:
    """Seconds in which a network that trains on all batches of `source` waits, and of the whole."""
    waited, start = 0.0, time.perf_counter()
    while True:
        asked = time.perf_counter()
        batch = next(source, None)
        waited += time.perf_counter() - asked
        if batch is None:
            return waited, time.perf_counter() - start
        network.train_on_batch(*batch)


def write_shards(directory: Path, count: int) -> None:
    """A fold of `count` cases of the network's shape."""
    rng = np.random.default_rng(0)
    directory.mkdir(parents=True)
    paths = []
    for number in range(count):
        image = rng.standard_normal((*SHAPE, 1), np.float32).astype(np.float16)
        paths.append(directory / f"{number}.record")
        paths[-1].write_bytes(shards.record(image, number % 2, f"{number:05d}"))
    entry = shards.write_fold(directory, 0, paths, count, 64)
    shards.write_info(directory, [entry], (*SHAPE, 1))


def measured(folder: Path, rounds: int) -> dict[str, float]:
    """The figures of both lines."""
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
    }


def main() -> None:
    """Prints the two lines, and writes the figures as JSON where --json says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machine = f"{header(('numpy', 'tensorflow-cpu', 'keras'))}, {len(os.sched_getaffinity(0))} cores"
    print(f"{machine}\n{arguments.rounds} rounds\n")
    with tempfile.TemporaryDirectory() as name:
        found = measured(Path(name), arguments.rounds)
    print(
        f"shards to batches: {found['cases_a_second_read']:.0f} cases a second, {found['read_over_trained']:.1f} times "
        f"what a training step of resnet3d takes ({found['cases_a_second_trained']:.1f}); "
        f"flipped and shifted too {found['cases_a_second_augmented']:.0f}"
    )
    print(
        f"{EPOCHS} epochs of {MANY} cases: {found['waiting_for_what_is_not_ready']:.1%} of the time waits for data "
        f"({found['waiting']:.1%} with what it takes to ask for a batch that is ready)"
    )
    print(
        f"a step of tutorial_cnn from shards: {found['tutorial_cnn_step']:.2f} s, in bare Keras from memory "
        f"{found['bare_keras_step']:.2f} s, ratio {found['tutorial_cnn_over_bare']:.3f}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
