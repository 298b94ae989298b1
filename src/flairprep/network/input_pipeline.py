"""Feed exported cases to the network: batches, shuffling and augmentation."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
from pathlib import Path
from typing import Any
import numpy as np
import tensorflow as tf
from flairprep.dataset import tf_data


SHIFT = 6  # voxels


class Cases:
    """The cases of some folds, in a fixed order, and a tf.data.Dataset of their images in batches to predict from."""

    def __init__(self, directory: Path, folds: list[int], batch_size: int) -> None:
        elements = tf_data.dataset(directory, folds)
        names = list(elements.map(lambda e: (e["case_id"], e["label"])).as_numpy_iterator())
        self.case_ids = [case_id.decode() for case_id, _ in names]
        self.labels = np.array([label for _, label in names])
        self.images = elements.map(lambda e: tf.cast(e["image"], tf.float32)).batch(batch_size).prefetch(2)


def augmented(volume: Any, seed: Any, kind: str) -> Any:
    """`volume` (z, y, x, 1), mirrored left to right in half of the cases and shifted by up to 6 voxels each way.

    What comes in from outside is the value of the corner, the background. seed: (2,) int64.
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
    directory: Path, folds: list[int], augment: str, *, batch_size: int, seed: int, whole: bool = False
) -> Any:
    """Shuffled, augmented batches (image, label); the last one of an epoch may be smaller, or left out if `whole`.

    The images are float16, as exported: the network makes float32 of them, and half as much is copied on the way.
    """
    cases = tf_data.dataset(directory, folds, shuffle_seed=seed)
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    seeds = seeds.map(lambda value: tf.stack([value, tf.constant(seed, tf.int64)]))

    def prepare(element: dict[str, Any], drawn: Any) -> tuple[Any, Any]:
        return augmented(element["image"], drawn, augment), element["label"]

    pairs = tf.data.Dataset.zip((cases, seeds))
    early = tf.data.Options()
    early.experimental_warm_start = True  # reads the first batches while Keras still traces the first step
    batches = pairs.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size, whole).prefetch(2)
    return batches.with_options(early)
