"""Cases as TFRecord shards, one split a fold, in the layout that TensorFlow Datasets reads too.

An example holds image (float16, (z, y, x, 1), as raw little-endian bytes), label (int64) and case_id (UTF-8). Beside
the shards lie features.json and dataset_info.json, so `tfds.builder_from_directory` needs no code of ours.
"""

import flairprep.backend  # noqa: F401, I001  (before tensorflow)
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from flairprep.errors import FlairprepError
from flairprep.files import write_json

NAME = "flairprep"
VERSION = "1.0.0"
SHUFFLE_BUFFER = 512  # serialised cases; a fold of 2 MB cases takes 1 GB at most


@dataclass(frozen=True)
class Info:
    """What a folder of shards holds. image_shape: (z, y, x, 1); cases: fold -> number of cases."""

    image_shape: tuple[int, int, int, int]
    cases: dict[int, int]
    shards: dict[int, tuple[Path, ...]]


def encode(image: npt.NDArray[np.float16], label: int, case_id: str) -> bytes:
    """One case as a serialised tf.train.Example; image: (z, y, x, 1)."""
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.astype("<f2").tobytes()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "case_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[case_id.encode()])),
    }
    message = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(message.SerializeToString(deterministic=True))


def write_fold(
    directory: Path, fold: int, examples: Iterable[bytes | None], count: int, per_shard: int
) -> dict[str, Any]:
    """`count` serialised examples (None: left out) as shards of at most `per_shard`.

    Returns:
        The entry of dataset_info.json for this split, with the lengths as written.

    Raises:
        OSError: a shard cannot be written.
    """
    shards = -(-count // per_shard)
    source = iter(examples)
    lengths, size = [], 0
    for index in range(shards):
        written = 0
        path = directory / f"{NAME}-fold{fold}.tfrecord-{index:05d}-of-{shards:05d}"
        try:
            with tf.io.TFRecordWriter(str(path)) as writer:
                for example in islice(source, count // shards + (index < count % shards)):
                    if example is not None:
                        writer.write(example)
                        written, size = written + 1, size + len(example)
        except tf.errors.OpError as error:
            raise OSError(f"{path}: cannot be written; is the disk full? ({type(error).__name__})") from error
        lengths.append(written)
    return {
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "name": f"fold{fold}",
        "numBytes": str(size),
        "shardLengths": [str(length) for length in lengths],
    }


def write_info(directory: Path, splits: Sequence[dict[str, Any]], image_shape: Sequence[int]) -> None:
    """features.json and dataset_info.json, as TensorFlow Datasets 4 writes them."""
    classes = "tensorflow_datasets.core.features"
    dimensions = [str(n) for n in image_shape]
    image = {"shape": {"dimensions": dimensions}, "dtype": "float16", "encoding": "bytes"}
    features = {
        "case_id": {"pythonClassName": f"{classes}.text_feature.Text", "text": {}},
        "image": {"pythonClassName": f"{classes}.tensor_feature.Tensor", "tensor": image},
        "label": {"pythonClassName": f"{classes}.class_label_feature.ClassLabel", "classLabel": {"numClasses": "2"}},
    }
    kind = f"{classes}.features_dict.FeaturesDict"
    write_json(directory / "features.json", {"pythonClassName": kind, "featuresDict": {"features": features}})
    info = {"name": NAME, "version": VERSION, "fileFormat": "tfrecord", "splits": list(splits)}
    write_json(directory / "dataset_info.json", info)


def read_info(directory: Path) -> Info:
    """What the folder `directory` holds, by its two JSON files."""
    info = json.loads((directory / "dataset_info.json").read_text())
    features = json.loads((directory / "features.json").read_text())["featuresDict"]["features"]
    z, y, x, channels = (int(n) for n in features["image"]["tensor"]["shape"]["dimensions"])
    cases, shards = {}, {}
    for entry in info["splits"]:
        fold, lengths = int(entry["name"].removeprefix("fold")), entry["shardLengths"]
        names = [f"{NAME}-fold{fold}.tfrecord-{index:05d}-of-{len(lengths):05d}" for index in range(len(lengths))]
        cases[fold] = sum(map(int, lengths))
        shards[fold] = tuple(directory / name for name in names)
    return Info((z, y, x, channels), cases, shards)


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
