"""The shards of flairprep.dataset.shards as a tf.data.Dataset."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from flairprep.core.errors import FlairprepError
from flairprep.dataset.shards import HEAD, Info, Place, example, places, read_info

__all__ = ["Info", "dataset", "faults", "read_info"]

BUFFER = 1 << 20  # bytes


def _records(found: Sequence[Place], seed: int | None) -> Any:
    """The examples at `found`: in that order, or with a seed in one that is drawn anew in every epoch.

    The places are shuffled, not the records: a buffer of these would have to be read before the first is out, in every
    epoch, and one of less than all cases shuffles less. tensorflow alone reads: a function of Python's among the
    threads of tf.data can wait for the interpreter for ever when a run ends in the middle of an epoch.
    """
    paths, offsets = [str(place.path) for place in found], [place.start - HEAD for place in found]
    order = tf.data.Dataset.from_tensor_slices((tf.constant(paths, tf.string), tf.constant(offsets, tf.int64)))
    if seed is not None:
        order = order.shuffle(len(found), seed=seed, reshuffle_each_iteration=True)

    def read(path: Any, offset: Any) -> Any:
        # tf.data.TFRecordDataset lacks byte_offsets, which its operation has.
        shard = tf.raw_ops.TFRecordDatasetV2(
            filenames=[path], compression_type="", buffer_size=BUFFER, byte_offsets=[offset]
        )
        return tf.data.experimental.from_variant(shard, tf.TensorSpec((), tf.string)).take(1)

    records = order.interleave(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return records.apply(tf.data.experimental.assert_cardinality(len(found)))


def _places(info: Info, folds: Sequence[int]) -> list[Place]:
    """Those of all cases of `folds`.

    Raises:
        FlairprepError: a fold holds another number of them than its description says, or see `shards.places`.
    """
    found = {fold: [place for path in info.shards[fold] for place in places(path)] for fold in folds}
    for fold, there in found.items():
        if len(there) != info.cases[fold]:
            raise FlairprepError(
                f"{info.shards[fold][0].parent}: fold {fold} holds {len(there)} cases, its description says "
                f"{info.cases[fold]}; `dvc checkout` or `dvc repro -f export` brings it back"
            )
    return [place for there in found.values() for place in there]


@contextmanager
def faults(directory: Path) -> Iterator[None]:
    """Raises what `shards.example` does of a damaged record in `directory`; tensorflow does not say which file it is.

    Raises:
        FlairprepError: see `shards.example`.
    """
    try:
        yield
    except tf.errors.DataLossError:
        info = read_info(directory)
        for place in _places(info, list(info.shards)):
            example(place)
        raise


def dataset(directory: Path | str, folds: Sequence[int] | None = None, *, shuffle_seed: int | None = None) -> Any:
    """The cases of `folds` (default: all) as a tf.data.Dataset, each case once.

    Elements: {"image": float16 (z, y, x, 1), "label": int64 (), "case_id": string ()}. The order is that of the
    shards (by fold, then by case_id), or shuffled anew in every epoch, reproducibly, where `shuffle_seed` is given.

    Raises:
        FlairprepError: a fold that the folder does not hold, or a shard that lacks some of its cases; of a damaged
            record see `faults`.
    """
    info = read_info(Path(directory))
    folds = sorted(info.cases) if folds is None else folds
    if unknown := set(folds) - set(info.cases):
        raise FlairprepError(
            f"{directory}: no fold {min(unknown)}; it holds the folds {', '.join(map(str, info.cases))}"
        )
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "case_id": tf.io.FixedLenFeature([], tf.string),
    }

    def decode(record: Any) -> dict[str, Any]:
        example = tf.io.parse_single_example(record, spec)
        image = tf.reshape(tf.io.decode_raw(example["image"], tf.float16), info.image_shape)
        return {**example, "image": image}

    return _records(_places(info, folds), shuffle_seed).map(decode, num_parallel_calls=tf.data.AUTOTUNE)
