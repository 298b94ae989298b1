"""Plant a fault in a training of a small network, for bench/diagnosis.py; see there."""

import os

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # one core, before numpy is imported

import contextlib
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from flairprep.network import model_config, train_config

SHAPE = (8, 16, 16)
SIZES = (12, 30, 60, 120, 200)
STEPS = 240  # that a run takes at least, unless its fault is that it does not
EPOCHS = 10  # likewise
FOLDS = 5


@dataclass(frozen=True)
class Planted:
    """A kind of run: how it differs from a sound one, and the diagnoses that name its fault.

    signal: brightness of label 1's box, in standard deviations of a voxel. wrong: share of wrong labels. ones: share of
    label 1. rate, batch: of Adam. steps, epochs: the least of both. model: section `model`, where it is not the
    sound one's. sizes: the cohorts in which the fault exists. lower: whether the command must lower the rate; None
    where it need not touch it. unseen: whether only validation cases show the fault. first: seed, in the published
    results. took: a name of TOOK, by which a run counts only if its fault came about. sound_rate: that of a twin which
    is trained beside the run, for TOOK; None for no twin.
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
    unseen: bool = False
    first: int = 300
    took: str = ""
    sound_rate: float | None = None


CONFIG = train_config.TrainConfig(reference_batch_size=4, precision="float32", **train_config.TRAIN_CONFIGS["resnet3d"])
BATCH_NORM = {"norm": "after_conv"}
LAGGING = {"norm_momentum": 0.999}
TUTORIAL = {"name": "tutorial_cnn", "norm": "after_pool", "norm_momentum": 0.9, "filters": (8,), "dense": 32}
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet3d, group norm": {},
    "resnet3d, batch norm": BATCH_NORM,
    "resnet3d, no norm": {"norm": "none"},
    "tutorial_cnn": TUTORIAL,
}
LARGE = (60, 120, 200)  # fewer cases are learned by heart, whatever the rate or the network
BY_HEART = ("memorising", "overconfident")  # two faces of one fault: never knew better, or did before
NOTHING = ("constant", "not fitting")  # likewise: nothing learned, which a higher rate mends
HEART: dict[str, Any] = {"unseen": True, "took": "learned by heart"}
RESTLESS = ("unstable", "constant", "batch-norm lag")  # likewise: it moves too far for answers, or averages, to follow
SOUND = ("fine", "too few cases to tell")
FAULTS = {
    "none": Planted(SOUND),
    "none, batch norm": Planted(SOUND, model=BATCH_NORM),
    "none, 70 % label 1": Planted(SOUND, ones=0.7),
    "none, a tenth of the labels wrong": Planted(SOUND, signal=2, wrong=0.1, steps=200, epochs=8),
    "rate far too low, 70 % label 1": Planted(NOTHING, ones=0.7, rate=1e-7, lower=False),
    "rate too low": Planted(NOTHING, rate=1e-6, lower=False),
    "rate far too high": Planted(("constant",), rate=1.0, lower=True),
    "averages lag": Planted(("batch-norm lag",), model=BATCH_NORM | LAGGING, took="averages lag"),
    "averages lag, tutorial_cnn": Planted(
        ("batch-norm lag",), rate=1e-2, model=TUTORIAL | LAGGING, first=500, took="averages lag"
    ),
    "stopped too early": Planted(("still improving at the end",), signal=1.5, rate=1e-4, steps=120, epochs=10),
    "labels of noise, not yet learned": Planted(
        *(NOTHING, 1.0, 0.5),
        **{"rate": 1e-4, "steps": 150, "epochs": 8, "lower": False},
        model=TUTORIAL | {"filters": (4,), "dense": 8},
    ),
    "labels wrong, learned by heart": Planted(
        *(BY_HEART, 2.0, 0.2), rate=1.5e-3, steps=600, epochs=30, model=BATCH_NORM, sizes=(12, 30), **HEART
    ),
    "labels wrong, learned by heart, longer": Planted(
        *(BY_HEART, 2.0, 0.3), rate=2e-3, batch=8, steps=400, epochs=45, sizes=LARGE, first=500, **HEART
    ),
    "labels of noise, learned by heart": Planted(
        *(BY_HEART, 1.0, 0.5), rate=2e-3, steps=400, epochs=25, model=BATCH_NORM, sizes=(12, 30), **HEART
    ),
    "labels of noise, learned by heart, longer": Planted(
        *(BY_HEART, 1.0, 0.5), rate=2e-3, batch=8, steps=400, epochs=45, sizes=LARGE, first=400, **HEART
    ),
    "rate high, signal weak": Planted(
        *(RESTLESS, 0.4, 0.3),
        **{"rate": 1.5e-2, "model": BATCH_NORM, "lower": True, "sizes": (120, 200), "first": 500},
        **{"took": "rate harms", "sound_rate": 1e-3},
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
    planted: Planted
    lost: float  # share of the training cases that are right with the statistics of all of them, not with the averages
    behind: float  # share of the training cases that the twin knows and the run does not, in the last third of both


def by_heart(run: Run) -> bool:
    """Return whether the network knows the labels of its training cases, wrong ones too."""
    return known(run.history, 3) >= 0.95


def averages_harm(run: Run) -> bool:
    """Return whether the averages that normalise cost the network a fifth of its training cases or more."""
    return run.lost >= 0.2


def rate_harms(run: Run) -> bool:
    """Return whether a twentieth of the training cases or more is known at the sound rate only."""
    return run.behind >= 0.05


def known(history: pd.DataFrame, epochs: int) -> float:
    """Return the share of the training cases that are right in inference mode, the mean of the last `epochs`."""
    return float(history["accuracy_inference"].tail(epochs).mean())


TOOK: dict[str, Callable[[Run], bool]] = {
    "learned by heart": by_heart,
    "averages lag": averages_harm,
    "rate harms": rate_harms,
}


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

    from flairprep.network import input_pipeline, model, recorder, training  # tensorflow

    planted = planted or FAULTS[fault]
    rng = np.random.default_rng([seed, cases])
    train_labels, y_true = labels_of(cases, planted.ones)
    network, infer = network_of(tuple(planted.model.items()))
    training.seeded(seed)
    fresh = model.build(section_of(planted.model), (*SHAPE, 1), prior=float(train_labels.mean()))
    for variable, first in zip(network.variables, fresh.variables, strict=True):  # the state of dropout among them
        variable.assign(first)
    for variable in network.optimizer.variables:
        variable.assign(tf.zeros_like(variable))
    network.optimizer.learning_rate.assign(planted.rate)
    images, unseen = (volumes(rng, labels, planted) for labels in (train_labels, y_true))

    def in_memory(of_labels: np.ndarray, labels: np.ndarray) -> Any:
        return SimpleNamespace(case_ids=np.arange(len(labels)), labels=labels, images=[tf.constant(of_labels)])

    parts = input_pipeline.dealt(train_labels, train_config.INFERRED)
    fitted = [in_memory(images[ranks], train_labels[ranks]) for ranks in parts]
    pairs = tf.data.Dataset.from_tensor_slices((images, train_labels.astype(np.int64)))
    batches = pairs.shuffle(len(images), seed=seed).batch(planted.batch)
    epochs = max(planted.epochs, math.ceil(planted.steps / int(batches.cardinality())))
    record = recorder.Recorder(infer, fitted, in_memory(unseen, y_true), epochs)
    with contextlib.redirect_stdout(io.StringIO()):
        training.fit(network, batches, record, CONFIG, labels=train_labels, epochs=epochs)
    history = pd.DataFrame(record.history).astype(float)
    averaged, exact = infer(images).numpy(), network(images, training=True).numpy()  # one batch of all cases
    right, best = (float(np.mean((y_prob[:, 0] > 0.5) == train_labels)) for y_prob in (averaged, exact))
    y_prob, behind = np.array(record.y_prob), 0.0
    if planted.sound_rate is not None:
        twin = trained(fault, cases, seed, replace(planted, rate=planted.sound_rate, sound_rate=None))
        behind = known(twin.history, len(history) // 3) - known(history, len(history) // 3)
    return Run(fault, cases, seed, history, train_labels, y_true, y_prob, epochs, planted, best - right, behind)


def training_of(planted: Planted | None) -> Any:
    """Return what decides how a run is trained, so that a kept one is as good as a new one."""
    return planted and replace(planted, named=(), sizes=(), lower=None, unseen=False, first=0, took="")
