"""Read the shards of flairprep.dataset.shards as a tf.data.Dataset."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from flairprep.dataset.shards import HEAD, Info, Place, chosen_folds, example, places_of, read_info

BUFFER = 1 << 20  # bytes


def _records(order: Sequence[Place], seed: int | None) -> Any:
    """Read the examples at the places of `order`: as they stand, or with a seed drawn anew in every epoch.

    Places are shuffled, not records. A shuffle buffer of records would have to be full before the first is out, in
    every epoch, and one of less than all cases shuffles less.
    """
    positions = tf.data.Dataset.from_tensor_slices(_positions(order))
    if seed is not None:
        positions = positions.shuffle(len(order), seed=seed, reshuffle_each_iteration=True)
    return _read(positions, len(order))


def _positions(order: Sequence[Place]) -> tuple[Any, Any]:
    """Return the shard and the offset of each record, (n_cases,), as `_read` takes them."""
    paths, offsets = [str(place.path) for place in order], [place.start - HEAD for place in order]
    return tf.constant(paths, tf.string), tf.constant(offsets, tf.int64)


def _read(positions: Any, count: int) -> Any:
    """Read the `count` records at `positions`, in their order.

    Only tensorflow reads: a Python function among the threads of tf.data can wait for the interpreter for ever when a
    run ends in the middle of an epoch.
    """

    def read(path: Any, offset: Any) -> Any:
        # tf.data.TFRecordDataset lacks byte_offsets, which its operation has.
        shard = tf.raw_ops.TFRecordDatasetV2(
            filenames=[path], compression_type="", buffer_size=BUFFER, byte_offsets=[offset]
        )
        return tf.data.experimental.from_variant(shard, tf.TensorSpec((), tf.string)).take(1)

    records = positions.interleave(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return records.apply(tf.data.experimental.assert_cardinality(count))


@contextmanager
def faults(directory: Path) -> Iterator[None]:
    """Name the damaged shard in `directory` where reading fails: tensorflow does not say which file it is.

    Raises:
        FlairprepError: see `shards.example`.
    """
    try:
        yield
    except tf.errors.DataLossError:
        info = read_info(directory)
        for place in places_of(info, list(info.shards)):
            example(place)
        raise


def dataset(directory: Path | str, folds: Sequence[int] | None = None, *, shuffle_seed: int | None = None) -> Any:
    """Return the cases of `folds` (default: all) as a tf.data.Dataset, each case once.

    Elements: {"image": float16 (z, y, x, 1), "label": int64 (), "case_id": string ()}. The order is that of the
    shards (by fold, then by case_id). With `shuffle_seed` each epoch has another order, the same in every run.

    Raises:
        FlairprepError: `directory` lacks a fold, or a shard lacks some of its cases; for a damaged record see `faults`.
    """
    info, order = _of_folds(Path(directory), folds)
    return _decoded(_records(order, shuffle_seed), info)


def held(elements: Any) -> dict[str, Any]:
    """Return the cases of a `dataset` in memory: its elements, stacked along a first axis (n_cases, ...).

    On the CPU, where tf.data works.
    """
    with tf.device("CPU:0"):
        return dict(next(iter(elements.batch(elements.cardinality()))))


def source(directory: Path | str, folds: Sequence[int], cases: dict[str, Any] | None = None) -> Callable[[Any], Any]:
    """Return a function from ranks, integers (n,), to a dataset of the cases at these ranks of `dataset`, in order.

    cases: as `held` returns them; None to read the shards anew each time.

    Raises:
        FlairprepError: see `dataset`.
    """
    if cases is not None:

        def remembered(rank: Any) -> dict[str, Any]:
            return {name: tf.gather(values, rank) for name, values in cases.items()}

        # One at a time: a copy takes less than it does to hand it to another thread and to wait for it.
        return lambda ranks: tf.data.Dataset.from_tensor_slices(ranks).map(remembered)
    info, order = _of_folds(Path(directory), folds)
    paths, offsets = _positions(order)

    def read(ranks: Any) -> Any:
        positions = tf.data.Dataset.from_tensor_slices((tf.gather(paths, ranks), tf.gather(offsets, ranks)))
        return _decoded(_read(positions, ranks.shape[0]), info)

    return read


def shuffled(at: Callable[[Any], Any], count: int, seed: int) -> Callable[[Any], Any]:
    """Return a function from an epoch, a number or int64 (), to a dataset of `count` cases in the epoch's own order.

    at: see `source`. The order follows from the seed and the epoch alone, so a training can begin at any epoch.
    """

    def of_epoch(epoch: Any) -> Any:
        drawn = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
        return at(tf.random.experimental.stateless_shuffle(tf.range(count), drawn))

    return of_epoch


def _of_folds(directory: Path, folds: Sequence[int] | None) -> tuple[Info, list[Place]]:
    info = read_info(directory)
    return info, places_of(info, chosen_folds(directory, info, folds))


def _decoded(records: Any, info: Info) -> Any:
    """Parse serialised examples into the elements of `dataset`."""
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "case_id": tf.io.FixedLenFeature([], tf.string),
    }

    def decode(record: Any) -> dict[str, Any]:
        case = tf.io.parse_single_example(record, spec)
        image = tf.reshape(tf.io.decode_raw(case["image"], tf.float16), info.image_shape)
        return {**case, "image": image}

    return records.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
