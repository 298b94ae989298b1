"""The shards of flairprep.shards as a tf.data.Dataset."""

import flairprep.backend  # noqa: F401, I001  (before tensorflow)
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from flairprep.errors import FlairprepError
from flairprep.shards import Info, read_info

__all__ = ["Info", "dataset", "read_info"]

SHUFFLE_BUFFER = 512  # serialised cases; a fold of 2 MB cases takes 1 GB at most


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
    files = [str(path) for fold in folds for path in info.shards[fold]]
    records = tf.data.TFRecordDataset(files, buffer_size=1 << 20)
    if shuffle_seed is not None:
        total = sum(info.cases[fold] for fold in folds)
        records = records.shuffle(min(total, SHUFFLE_BUFFER), seed=shuffle_seed, reshuffle_each_iteration=True)
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
