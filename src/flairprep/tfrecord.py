"""The shards of flairprep.shards as a tf.data.Dataset."""

import flairprep.backend  # noqa: F401, I001  (before tensorflow)
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from flairprep.errors import FlairprepError
from flairprep.shards import Info, Place, example, places, read_info

__all__ = ["Info", "dataset", "read_info"]


def _shuffled(found: Sequence[Place], seed: int) -> Any:
    """The examples at `found` in an order that is drawn anew in every epoch.

    The places are shuffled, not the records: a buffer of these would have to be read before the first is out, in every
    epoch, and one of less than all cases shuffles less.
    """

    def read(number: Any) -> Any:
        answer = tf.numpy_function(lambda n: np.array(example(found[n]), object), [number], tf.string, stateful=False)
        return tf.ensure_shape(answer, ())

    order = tf.data.Dataset.range(len(found)).shuffle(len(found), seed=seed, reshuffle_each_iteration=True)
    return order.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def dataset(directory: Path | str, folds: Sequence[int] | None = None, *, shuffle_seed: int | None = None) -> Any:
    """The cases of `folds` (default: all) as a tf.data.Dataset, each case once.

    Elements: {"image": float16 (z, y, x, 1), "label": int64 (), "case_id": string ()}. The order is that of the
    shards (by fold, then by case_id), or shuffled anew in every epoch, reproducibly, where `shuffle_seed` is given.

    Raises:
        FlairprepError: a fold that the folder does not hold.
    """
    info = read_info(Path(directory))
    folds = sorted(info.cases) if folds is None else folds
    if unknown := set(folds) - set(info.cases):
        raise FlairprepError(
            f"{directory}: no fold {min(unknown)}; it holds the folds {', '.join(map(str, info.cases))}"
        )
    files = [path for fold in folds for path in info.shards[fold]]
    if shuffle_seed is None:
        records = tf.data.TFRecordDataset(list(map(str, files)), buffer_size=1 << 20)
    else:
        records = _shuffled([place for path in files for place in places(path)], shuffle_seed)
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "case_id": tf.io.FixedLenFeature([], tf.string),
    }

    def decode(record: Any) -> dict[str, Any]:
        example = tf.io.parse_single_example(record, spec)
        image = tf.reshape(tf.io.decode_raw(example["image"], tf.float16), info.image_shape)
        return {**example, "image": image}

    counted = tf.data.experimental.assert_cardinality(sum(info.cases[fold] for fold in folds))
    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE).apply(counted)
