"""Run all checks of the tensors and of the network that train will use."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from flairprep.core.errors import FlairprepError
from flairprep.dataset import tf_data
from flairprep.dataset.map_style import MapDataset
from flairprep.dataset.shards import read_info
from flairprep.network import input_pipeline, model, training
from flairprep.sanity import network_checks, rate_checks, tensor_checks
from flairprep.sanity.check import Check
from flairprep.sanity.tensor_summary import TensorSummary
from flairprep.sanity.trial import Trial, multiply_adds

PER_LABEL = 40  # cases of each label in the range test
CAPACITY = 8  # cases with shuffled labels
SURE = 0.2  # loss at which they count as learned: right by a hair, they would be wrong in the other mode
LETTER = "tutorial_cnn"  # built to the letter, so its own batch normalisation is warned of and fails nothing


def set_up_tensorflow() -> None:
    """Let tensorflow use half of the cores for one operation, since `of_network` trains two networks at a time.

    To be called before its first operation. What the user has set, TF_NUM_INTRAOP_THREADS, stays. Graphs run as they
    are traced: rewriting one takes longer than it saves in runs as short as these.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    if "TF_NUM_INTRAOP_THREADS" not in os.environ:
        tf.config.threading.set_intra_op_parallelism_threads(max(1, len(os.sched_getaffinity(0)) // 2))


def drawn(directory: Path, seed: int, prepared: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many cases of each label, at most PER_LABEL: images, and labels (n,) in turn 0, 1, 0, ...

    prepared: of images (n, z, y, x, 1) what is kept of them, see `Trial`.

    Raises:
        FlairprepError: a record is damaged.
    """
    by_label: dict[int, list[np.ndarray]] = {0: [], 1: []}
    cases = MapDataset(directory)
    for index in np.random.default_rng(seed).permutation(len(cases)):
        image, label, _ = cases[index]
        if len(same := by_label[label]) < PER_LABEL:
            same.append(prepared(image[..., np.newaxis])[0])
        if min(map(len, by_label.values())) == PER_LABEL:
            break
    pairs = list(zip(by_label[0], by_label[1], strict=False))
    return np.array([image for pair in pairs for image in pair]), np.tile([0, 1], len(pairs))


def of_tensors(cases: Sequence[TensorSummary], split: pd.DataFrame | None, seed: int) -> list[Check]:
    """Run the checks of the exported tensors; split: split.csv, None where it is missing."""
    groups = [case.case_id for case in cases]
    checks = [
        tensor_checks.finite(cases),
        tensor_checks.clipping(cases),
        tensor_checks.used_range(cases),
        tensor_checks.slices(cases),
        tensor_checks.duplicates(cases),
        tensor_checks.orientation(cases),
    ]
    if split is not None:
        checks.append(tensor_checks.labels(cases, split))
        group_of = dict(zip(split["case_id"], split["group"], strict=True))
        groups = [group_of.get(case_id, case_id) for case_id in groups]
    return [*checks, tensor_checks.border(cases, groups, seed)]


def of_network(
    directory: Path, section: model.ModelParams, prior: float, seed: int
) -> tuple[list[Check], tuple[float, float] | None]:
    """Run the checks of the network; return them and the usable rates, if any; prior: share of label 1.

    Raises:
        FlairprepError: all cases have one label, or a record is damaged.
    """
    if prior in (0, 1):
        raise FlairprepError(
            f"sanity: all cases in {directory} have one label; see data/split/split.csv and labels in params.yaml"
        )
    shape = read_info(directory).image_shape
    training.seeded(seed)  # the order of tf.data depends on it too
    # Two networks from the same seed: that they start alike is one of the checks, and the second one's runs need not
    # wait for those of the first.
    trial, twin = (
        Trial(lambda: training.compiled(section, shape, prior=prior, rate=network_checks.RATE), seed) for _ in range(2)
    )
    budget, of_twin = (network_checks.Budget(multiply_adds(trial.network)) for _ in range(2))
    size = 2 if budget.left > 100 else 1
    budget.afford(2 * size + 2)  # for its start and for the coupling
    of_twin.afford(2 * size)
    with ThreadPoolExecutor(1) as beside:
        with _spent_afterwards(of_twin):
            second = beside.submit(first_steps, directory, twin, size, seed)
            images, labels = drawn(directory, seed, trial.prepared)
            fresh = beside.submit(rate_checks.fresh_runs, twin, of_twin, images, labels)
            first = first_steps(directory, trial, size, seed)
            of_pair = pair_run(trial, budget, images, labels)
            blind = beside.submit(blind_run, twin, images, labels, of_pair.known)
            filled = shuffled_labels(trial, budget, images)
            try:
                band = rate_checks.band(rate_checks.range_test(trial, budget, images, labels), fresh.result())
                of_rate = rate_checks.learning_rate(band)
            except rate_checks.OverBudgetError:
                band, of_rate = None, network_checks.not_run("learning rate")
        checks = of_runs(of_pair, blind.result(), filled, section, prior)
    return [network_checks.repeatable(first, second.result()), *checks, of_rate], band


@contextmanager
def _spent_afterwards(budget: network_checks.Budget) -> Iterator[None]:
    """Take what is left of `budget` after the block, however it ends: runs in another thread end with it."""
    try:
        yield
    finally:
        budget.left = 0


class PairRun(NamedTuple):
    """What `pair_run` measures: bias and coupling at the start, weights by path; known: None where not run."""

    bias: float
    coupled: float
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    known: network_checks.ShortRun | None


def pair_run(trial: Trial, budget: network_checks.Budget, images: np.ndarray, labels: np.ndarray) -> PairRun:
    """Train on two cases until they are known by heart, from the first weights; images and labels as of `drawn`."""
    trial.reset()
    before, bias = trial.weights(), float(trial.network.layers[-1].bias.numpy()[0])
    coupled = trial.coupling(images[:2])
    known = network_checks.fit(trial, budget, images[:2], labels[:2], least=40, most=200)
    return PairRun(bias, coupled, before, trial.weights(), known)


def blind_run(
    trial: Trial, images: np.ndarray, labels: np.ndarray, known: network_checks.ShortRun | None
) -> network_checks.ShortRun | None:
    """Train as `pair_run` did, as long and on the same labels, without the images; None where it did not."""
    steps = len(known.losses) if known else 0
    unlimited = network_checks.Budget(1)  # for there was a budget for as many steps
    return network_checks.fit(trial, unlimited, np.zeros_like(images[:2]), labels[:2], least=steps, most=steps)


def shuffled_labels(trial: Trial, budget: network_checks.Budget, images: np.ndarray) -> network_checks.ShortRun | None:
    """Train on CAPACITY cases whose labels say nothing of them, until they are known by heart; images as of `drawn`."""
    some = images[:CAPACITY]
    shuffled = np.tile([0, 1, 1, 0], len(some))[: len(some)]
    return network_checks.fit(trial, budget, some, shuffled, least=20, most=200, goal=SURE)


def of_runs(
    of_pair: PairRun,
    blind: network_checks.ShortRun | None,
    filled: network_checks.ShortRun | None,
    section: model.ModelParams,
    prior: float,
) -> list[Check]:
    """Run the checks of the first weights and of a few steps from there; filled: of `shuffled_labels`."""
    bias, coupled, before, after, known = of_pair
    own = to_the_letter(section)
    each: list[tuple[str, Any, Callable[[Any], Check]]] = [
        ("initial loss", known, lambda run: network_checks.initial_loss(run.y_prob[0], prior)),
        ("layers", known, lambda _: network_checks.all_layers(before, after)),
        ("loss falls", known, network_checks.loss_falls),
        ("overfit", known, network_checks.overfit),
        ("overfit, inference", known, lambda run: network_checks.overfit_inference(run, own)),
        ("zeroed input", known and blind and (known, blind), lambda runs: network_checks.zeroed(*runs)),
        ("capacity", filled, network_checks.capacity),
        ("batch norm", filled or known, lambda run: network_checks.batch_norm(run, own)),
    ]
    return [
        network_checks.output_bias(bias, prior, model.resolve(section).start_at_prior),
        network_checks.coupling(coupled),
        *(check(run) if run else network_checks.not_run(name) for name, run, check in each),
    ]


def first_steps(directory: Path, trial: Trial, size: int, seed: int) -> network_checks.Start:
    """Take two steps with the batches that train would make of `size` cases per step."""
    in_fold = read_info(directory).cases
    at, count = tf_data.source(directory, sorted(in_fold)), sum(in_fold.values())
    batches = input_pipeline.training_batches(at, count, "flip_shift", batch_size=size, seed=seed)
    two = batches(0).take(2).as_numpy_iterator()
    losses = [trial.step(trial.prepared(images), labels, network_checks.RATE)[0] for images, labels in two]
    return network_checks.Start(np.array(losses), trial.weights())


def to_the_letter(section: model.ModelParams) -> bool:
    """Return whether the batch normalisation is tutorial_cnn's own, and so its lag."""
    given, own = model.resolve(section), model.NETWORKS[LETTER]
    return section.name == LETTER and (given.norm, given.norm_momentum) == (own.norm, own.norm_momentum)
