"""Feed exported cases to the network: batches, shuffling and augmentation."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from flairprep.core import memory
from flairprep.dataset import tf_data
from flairprep.network.train_config import INFERRED

SHIFT = 6  # voxels
SHARE = 0.25  # of the free memory, for the images of some folds; twice as much while they are read
# A tf.data.Dataset of (image, label) that comes anew in every epoch, or a function from an epoch (a number or int64 ())
# to one, which can begin at any epoch.
Batches = Any


class Cases:
    """The cases of some folds in a fixed order: case_ids, labels (n,), and images in batches to predict from.

    hold: keep the images in memory where they take at most SHARE of what is free. Each epoch reads every case, and
    reading a shard takes five times as long as copying what is there.

    images: a tf.data.Dataset of float32 (batch, z, y, x, 1). at: see `tf_data.source`.
    """

    def __init__(self, directory: Path, folds: list[int], batch_size: int, *, hold: bool = True) -> None:
        elements = tf_data.dataset(directory, folds)
        size = int(elements.cardinality()) * 2 * elements.element_spec["image"].shape.num_elements()  # float16
        held = tf_data.held(elements) if hold and 0 < size <= SHARE * memory.available() else None
        if held is None:
            rows = list(elements.map(lambda e: (e["case_id"], e["label"])).as_numpy_iterator())
        else:
            rows = list(zip(held["case_id"].numpy(), held["label"].numpy(), strict=True))
        self.case_ids = [case_id.decode() for case_id, _ in rows]
        self.labels = np.array([label for _, label in rows])
        self.at, self._batch_size = tf_data.source(directory, folds, held), batch_size
        self.images = self._images(np.arange(len(rows)))

    def parts(self) -> "list[Cases]":
        """Return the cases in parts of at most INFERRED, as `dealt` deals them."""
        parts = []
        for ranks in dealt(self.labels, INFERRED):
            part = copy.copy(self)
            part.case_ids, part.labels = [self.case_ids[rank] for rank in ranks], self.labels[ranks]
            part.images = self._images(ranks)
            parts.append(part)
        return parts

    def _images(self, ranks: np.ndarray) -> Any:
        batches = self.at(tf.constant(ranks, tf.int32)).map(lambda case: case["image"]).batch(self._batch_size)
        return batches.map(lambda images: tf.cast(images, tf.float32)).prefetch(2)


def dealt(labels: np.ndarray, most: int) -> list[np.ndarray]:
    """Deal the ranks of cases with `labels`, (n,), into as few parts of at most `most` as hold all, always the same.

    The parts are of one size and of one share of each label, but for a case.
    """
    drawn = np.random.default_rng(0).permutation(len(labels))
    by_label, count = drawn[np.argsort(labels[drawn], kind="stable")], max(1, -(-len(labels) // most))
    return [np.sort(by_label[part::count]) for part in range(count)]


def augmented(volume: Any, seed: Any, kind: str) -> Any:
    """Mirror `volume` (z, y, x, 1) left to right in half of the cases, and shift it by up to SHIFT voxels each way.

    Voxels that come in from outside get the value of the corner, the background. seed: (2,) int64. kind: none, flip,
    shift or flip_shift.
    """
    voxels = tf.squeeze(volume, -1)  # the channel, of one voxel, makes tensorflow take five times as long
    if "flip" in kind:
        mirrored = tf.random.stateless_uniform([], seed) < 0.5
        voxels = tf.cond(mirrored, lambda: tf.reverse(voxels, [2]), lambda: voxels)
    if "shift" in kind:
        start = tf.random.stateless_uniform([3], seed + 1, 0, 2 * SHIFT + 1, tf.int32)
        padded = tf.pad(voxels, [[SHIFT, SHIFT]] * 3, constant_values=voxels[0, 0, 0])
        voxels = tf.slice(padded, start, tf.shape(voxels))
    return tf.expand_dims(voxels, -1)


def training_batches(
    at: Callable[[Any], Any], count: int, augment: str, *, batch_size: int, seed: int, whole: bool = False
) -> Callable[[Any], Any]:
    """Return a function from an epoch, a number or int64 (), to its batches (image, label), shuffled and augmented.

    at: of `count` cases, see `tf_data.source`. Order and augmentation follow from the seed and the epoch alone: a
    resumed training gets what an undisturbed one gets. An epoch's last batch may be smaller, or is dropped if `whole`.
    The images are float16, as exported: half as much is copied, and the network casts them to float32.
    """
    ordered = tf_data.shuffled(at, count, seed)

    def of_epoch(epoch: Any) -> Any:
        drawn = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
        (own,) = tf.unstack(tf.random.stateless_uniform([1], drawn, None, None, tf.int64))

        def prepare(rank: Any, case: dict[str, Any]) -> tuple[Any, Any]:
            return augmented(case["image"], tf.stack([own, rank]), augment), case["label"]

        pairs = ordered(epoch).enumerate().map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
        return _ahead(pairs.batch(batch_size, whole))

    return of_epoch


def epochs(batches: Batches, first: int, last: int) -> Any:
    """Return the batches of the epochs from `first` up to before `last`, one after the other.

    As one dataset, so that the next epoch's first batches are read during this one's validation.
    """
    return _ahead(tf.data.Dataset.range(first, last).flat_map(batches if callable(batches) else lambda _: batches))


def _ahead(batches: Any) -> Any:
    """Read two batches ahead, and the first ones while Keras still traces the first step."""
    early = tf.data.Options()
    early.experimental_warm_start = True
    return batches.prefetch(2).with_options(early)
