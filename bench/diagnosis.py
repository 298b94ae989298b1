"""What the diagnosis says of runs with one planted fault, and of sound ones, on cohorts of 12 to 200 cases.

python bench/diagnosis.py [--first SEED] [--seeds N] [--sizes N ...] [--runs FILE] > bench/results/diagnosis.txt

A run trains a small network of the package, with the package's own training, on volumes of 8 x 16 x 16 voxels of noise.
The volumes of label 1 hold a brighter box. A fifth of the cases, as many of each label, are for validation. The faults
change the rate, the network, the labels or the length of a sound run, see FAULTS. Ten seeds draw cases, weights and
order. The thresholds of flairprep.evaluation.diagnosis were chosen on the seeds 0 to 4 and 100 to 109; those from 300
on, which this bench takes unless told otherwise, confirm them. Where even guessing would not show, "too few cases to
tell" is right for a sound run.

A diagnosis must name its own fault in at least 8 of 10 runs, and no fault in more than 1 of 10 sound runs. The exit
status is 1 where it does not. --runs keeps the runs in FILE: the next bench diagnoses them again instead of training.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # one core, before numpy is imported

import argparse
import contextlib
import io
import math
import pickle
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import machine
import numpy as np
import pandas as pd

from flairprep.evaluation import diagnosis
from flairprep.network import model_config, train_config
from flairprep.stats import ranking

PACKAGES = ("numpy", "scipy", "tensorflow-cpu", "keras")
PROCESSES = 2
SHAPE = (8, 16, 16)
SIZES = (12, 30, 60, 120, 200)
SEEDS = 10
STEPS = 240  # that a run takes at least, unless its fault is that it does not
EPOCHS = 10  # likewise
FOLDS = 5
ALPHA = 0.05


@dataclass(frozen=True)
class Planted:
    """A kind of run: how it differs from a sound one, and the diagnoses that name its fault.

    signal: brightness of label 1's box, in standard deviations of a voxel. wrong: share of wrong labels. ones: share of
    label 1. rate, batch: of Adam. steps, epochs: the least of both. model: section `model`, where it is not the
    sound one's. sizes: the cohorts in which the fault exists. lower: whether the command must lower the rate; None
    where it need not touch it.
    """

    named: tuple[str, ...]
    signal: float = 1.0
    wrong: float = 0.0
    ones: float = 0.5
    rate: float = 1e-3
    batch: int = 4
    steps: int = STEPS
    epochs: int = EPOCHS
    model: Mapping[str, Any] = field(default_factory=dict)
    sizes: tuple[int, ...] = SIZES
    lower: bool | None = None


CONFIG = train_config.TrainConfig(reference_batch_size=4, **train_config.TRAIN_CONFIGS["resnet3d"])
BATCH_NORM = {"norm": "after_conv"}
LAGGING = {"norm_momentum": 0.999}
TUTORIAL = {"name": "tutorial_cnn", "norm": "after_pool", "norm_momentum": 0.9, "filters": (8,), "dense": 32}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet3d, group norm": {},
    "resnet3d, batch norm": BATCH_NORM,
    "resnet3d, no norm": {"norm": "none"},
    "tutorial_cnn": TUTORIAL,
}
RATE_SIZES = (12, 60, 200)
LARGE = (60, 120, 200)  # fewer cases are learned by heart, whatever the rate or the network
SOUND = ("fine", "too few cases to tell")
FAULTS = {
    "none": Planted(SOUND),
    "none, batch norm": Planted(SOUND, model=BATCH_NORM),
    "none, 70 % label 1": Planted(SOUND, ones=0.7),
    "none, a tenth of the labels wrong": Planted(SOUND, signal=2, wrong=0.1, steps=200, epochs=8),
    "rate far too low, 70 % label 1": Planted(("constant", "not fitting"), ones=0.7, rate=1e-7, lower=False),
    "rate too low": Planted(("constant", "not fitting"), rate=1e-6, lower=False),
    "rate far too high": Planted(("constant",), rate=1.0, lower=True),
    "averages lag": Planted(("batch-norm lag",), model=BATCH_NORM | LAGGING),
    "averages lag, tutorial_cnn": Planted(("batch-norm lag",), model=TUTORIAL | LAGGING),
    "stopped too early": Planted(("still improving at the end",), signal=1.5, rate=1e-4, steps=120, epochs=10),
    "labels of noise, not yet learned": Planted(
        ("not fitting",), wrong=0.5, rate=1e-4, steps=150, epochs=8, model=TUTORIAL | {"filters": (4,), "dense": 8}
    ),
    "labels wrong, learned by heart": Planted(
        ("overconfident",), signal=2, wrong=0.2, rate=1.5e-3, steps=600, epochs=30, model=BATCH_NORM
    ),
    "labels of noise, learned by heart": Planted(
        ("memorising",), wrong=0.5, rate=2e-3, steps=400, epochs=25, model=BATCH_NORM
    ),
    "rate high, signal weak": Planted(
        ("unstable", "constant"), signal=0.4, wrong=0.3, rate=1.5e-2, model=BATCH_NORM, lower=True, sizes=LARGE
    ),
}


@dataclass(frozen=True)
class Run:
    """What diagnose needs of a run, and whose it is."""

    fault: str
    cases: int
    seed: int
    history: pd.DataFrame
    train_labels: np.ndarray
    y_true: np.ndarray
    y_prob: np.ndarray
    epochs: int


def labels_of(cases: int, ones: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the training and of the validation cases; at least one of each label in both."""
    validation = max(2, round(cases / FOLDS))

    def some(n: int) -> np.ndarray:
        return (np.arange(n) < min(max(round(ones * n), 1), n - 1)).astype(int)

    return some(cases - validation), some(validation)


def volumes(rng: np.random.Generator, labels: np.ndarray, planted: Planted) -> np.ndarray:
    """Return (n_cases, z, y, x, 1), float32; a share `planted.wrong` of the cases looks like the other label."""
    images = np.full((len(labels), *SHAPE), -4.0)  # the background
    images[:, 1:7, 2:14, 2:14] = rng.standard_normal((len(labels), 6, 12, 12))
    looks = np.where(rng.uniform(size=len(labels)) < planted.wrong, 1 - labels, labels)
    images[looks == 1, 2:5, 4:9, 6:11] += planted.signal
    return images[..., np.newaxis].astype(np.float32)


def section_of(changed: Mapping[str, Any]) -> model_config.ModelParams:
    """Return section `model`: two blocks with group normalisation, but for what is `changed`."""
    given = {"name": "resnet3d", "filters": [8, 16], "norm": "group", **changed}
    return model_config.ModelParams(**{**dict.fromkeys(model_config.ModelParams.model_fields), **given})


@cache
def network_of(model: tuple[tuple[str, Any], ...]) -> tuple[Any, Any]:
    """Return a compiled network and its inference: traced once per process, not once per run."""
    from flairprep.network import training  # tensorflow

    network = training.compiled(section_of(dict(model)), (*SHAPE, 1), prior=0.5, rate=1e-3)
    network.optimizer.build(network.trainable_variables)
    return network, training.inference(network)


def trained(fault: str, cases: int, seed: int, planted: Planted | None = None) -> Run:
    """Train one run as the stage train does, the volumes in memory and without augmentation."""
    import tensorflow as tf

    from flairprep.network import model, recorder, training  # tensorflow

    planted = planted or FAULTS[fault]
    rng = np.random.default_rng([seed, cases])
    train_labels, y_true = labels_of(cases, planted.ones)
    network, infer = network_of(tuple(planted.model.items()))
    training.seeded(seed)
    fresh = model.build(section_of(planted.model), (*SHAPE, 1), prior=float(train_labels.mean()))
    network.set_weights(fresh.get_weights())
    for variable in network.optimizer.variables:
        variable.assign(tf.zeros_like(variable))
    network.optimizer.learning_rate.assign(planted.rate)
    sets = []
    for labels in (train_labels, y_true):
        images = volumes(rng, labels, planted)
        sets.append(
            (images, SimpleNamespace(case_ids=np.arange(len(labels)), labels=labels, images=[tf.constant(images)]))
        )
    (images, fitted), (_, validation) = sets
    pairs = tf.data.Dataset.from_tensor_slices((images, train_labels.astype(np.int64)))
    batches = pairs.shuffle(len(images), seed=seed).batch(planted.batch)
    epochs = max(planted.epochs, math.ceil(planted.steps / int(batches.cardinality())))
    record = recorder.Recorder(infer, fitted, validation, epochs)
    with contextlib.redirect_stdout(io.StringIO()):
        training.fit(network, batches, record, CONFIG, labels=train_labels, epochs=epochs)
    history = pd.DataFrame(record.history).astype(float)
    return Run(fault, cases, seed, history, train_labels, y_true, np.array(record.y_prob), epochs)


def kept_runs(file: Path | None, seeds: range, sizes: Sequence[int], pool: Any) -> list[Run]:
    """Train all runs, or read them from `file`, where it exists; otherwise keep them there."""
    if file and file.is_file():
        return pickle.loads(file.read_bytes())
    jobs = [(f, n, seed) for n in sizes for f, planted in FAULTS.items() if n in planted.sizes for seed in seeds]
    runs = pool.starmap(trained, jobs, chunksize=1)
    if file:
        file.write_bytes(pickle.dumps(runs))
    return runs


def diagnosed(run: Run) -> diagnosis.Diagnosis:
    """Diagnose a run as the stage evaluate does."""
    planted = FAULTS[run.fault]
    p_auc = ranking.auc_p_value(
        run.y_true, run.y_prob[-3:].mean(axis=0), groups=np.arange(len(run.y_true)), n_permutations=999, seed=0
    )
    return diagnosis.diagnose(
        *(run.history, run.y_true, run.y_prob),
        **{"lr": planted.rate, "epochs": run.epochs, "folds": FOLDS, "val_fold": 0, "test_fold": None},
        train_labels=run.train_labels,
        ranks=p_auc < ALPHA,
        network=model_config.resolve(section_of(planted.model)),
        config=CONFIG,
    )


def rates_of(model: Mapping[str, Any], cases: int, seed: int) -> tuple[float, float, float, bool]:
    """Return the usable rates as sanity finds them, and how training goes there and at 0.5, with other weights.

    The last two: the loss of the last epochs at the upper end, and whether the first epoch's loss at 0.5 is above that
    of a constant answer by diagnosis.DIVERGED.
    """
    from flairprep.network import training  # tensorflow
    from flairprep.sanity import network_checks, rate_checks
    from flairprep.sanity.trial import Trial, multiply_adds

    labels = np.arange(min(cases, 80)) % 2
    images = volumes(np.random.default_rng([seed, cases, 1]), labels, FAULTS["none"])
    trial = Trial(lambda: training.compiled(section_of(model), (*SHAPE, 1), prior=0.5, rate=network_checks.RATE), seed)
    band = rate_checks.band(trial, network_checks.Budget(multiply_adds(trial.network)), images, labels)
    low, high = band or (math.nan, math.nan)
    there = replace(FAULTS["none"], model=model, rate=high) if band else None
    last = trained("none", cases, seed + 1, there).history["loss"].tail(3).mean() if there else math.nan
    ruined = trained("none", cases, seed + 1, replace(FAULTS["none"], model=model, rate=0.5)).history["loss"].max()
    return low, high, float(last), bool(ruined > math.log(2) + diagnosis.DIVERGED)


def right_way(run: Run, given: diagnosis.Diagnosis) -> bool:
    """Return whether the command moves the rate as the fault needs, if it names one."""
    lower, rate = FAULTS[run.fault].lower, re.search(r"-S lr=(\S+)", given.command)
    return lower is None or rate is None or (float(rate.group(1)) < FAULTS[run.fault].rate) == lower


def print_diagnoses(runs: Sequence[Run], sizes: Sequence[int]) -> int:
    """Print what was said per fault and size, then the table of docs/metrics.md; return how many are below the bar."""
    failed, table = 0, []
    print(f"\n{'planted':<36} cases  said", flush=True)
    for fault, planted in FAULTS.items():
        cells = []
        for cases in sizes:
            given = [(run, diagnosed(run)) for run in runs if (run.fault, run.cases) == (fault, cases)]
            named = sum(one.diagnosis in planted.named and right_way(run, one) for run, one in given)
            said = [f"{count} {name}" for name, count in Counter(one.diagnosis for _, one in given).most_common()]
            wrong_way = sum(not right_way(run, one) for run, one in given)
            said += [f"{wrong_way} with the rate the wrong way"] * (wrong_way > 0)
            met = named >= (0.9 if "fine" in planted.named else 0.8) * len(given)
            failed += not met
            cells.append(f"{named} of {len(given)}" if given else "")
            if given:
                print(f"{fault:<36} {cases:5}  {', '.join(said)}{'' if met else '  NOT MET'}", flush=True)
        table.append(f"| {fault} | {' or '.join(f'`{name}`' for name in planted.named)} | {' | '.join(cells)} |")
    print(f"\n| planted | named rightly | {' | '.join(f'{cases} cases' for cases in sizes)} |")
    print("\n".join(["|---" * (2 + len(sizes)) + "|", *table]), flush=True)
    return failed


def print_rates(seeds: int, pool: Any) -> int:
    """Print a row per network and size; return in how many the loss does not fall at the upper end in 8 of 10."""
    failed = 0
    print(f"\n{'usable rates of':<36} cases  upper end         loss falls there  0.5 above it  0.5 diverges")
    for name, model in NETWORKS.items():
        for cases in RATE_SIZES:
            rows = pool.starmap(rates_of, [(model, cases, seed) for seed in range(2000, 2000 + seeds)], chunksize=1)
            ends = [high for _, high, _, _ in rows]
            falls = sum(last < 0.75 * math.log(2) for _, _, last, _ in rows)
            above, ruined = sum(high < 0.5 for high in ends), sum(diverges for *_, diverges in rows)
            met = "" if falls >= 0.8 * seeds and above == seeds else "  NOT MET"
            failed += bool(met)
            span = f"{min(ends):g} to {max(ends):g}"
            print(
                f"{name:<36} {cases:5}  {span:<16}  {falls:2} of {seeds:2}          {above:2} of {seeds:2}      "
                f"{ruined:2} of {seeds:2}{met}",
                flush=True,
            )
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=300, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10, help="runs of a fault and size")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="cohorts")
    parser.add_argument("--runs", type=Path, help="keep the runs in this file, or diagnose those that it holds again")
    parser.add_argument("--no-rates", action="store_true", help="leave out the usable rates")
    options = parser.parse_args()
    print(machine.header(PACKAGES))
    print(f"python bench/diagnosis.py --first {options.first} --seeds {options.seeds}")
    with get_context("spawn").Pool(PROCESSES) as pool:
        runs = kept_runs(options.runs, range(options.first, options.first + options.seeds), options.sizes, pool)
        failed = print_diagnoses(runs, options.sizes)
        failed += 0 if options.no_rates else print_rates(min(options.seeds, 5), pool)
    print(f"\n{failed} not met")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
