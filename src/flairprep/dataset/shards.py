"""Write cases as TFRecord shards, one split per fold, in the layout of TensorFlow Datasets; without tensorflow.

An example holds image (float16, (z, y, x, 1), as raw little-endian bytes), label (int64) and case_id (UTF-8). Beside
the shards lie features.json and dataset_info.json, so tfds.builder_from_directory reads the folder without flairprep.

Why not tf.io: importing it takes longer than writing a small cohort, in every worker that writes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

from flairprep.core.errors import FlairprepError
from flairprep.core.files import write_json

NAME = "flairprep"
VERSION = "1.0.0"
HEAD = 12  # bytes of a record before its example: the length and its checksum
FRAME = 16  # bytes of a record beside its example: the length and two checksums
RESTORE = "restore it: dvc checkout, or dvc repro -f export"


@dataclass(frozen=True)
class Info:
    """Content of a folder of shards. image_shape: (z, y, x, 1); cases: fold -> number of cases."""

    image_shape: tuple[int, int, int, int]
    cases: dict[int, int]
    shards: dict[int, tuple[Path, ...]]


class Shard(NamedTuple):
    """A file of the shards to be, with its (case_id, label)."""

    fold: int
    name: str
    cases: tuple[tuple[str, int], ...]


class Place(NamedTuple):
    """Position of an example in a shard, in bytes."""

    path: Path
    start: int
    length: int


def record(image: npt.NDArray[np.float16], label: int, case_id: str) -> bytes:
    """Return one case as a record: a serialised tf.train.Example in its frame; image: (z, y, x, 1), label: 0 or 1.

    The bytes equal those of tf.io.TFRecordWriter for a tf.train.Example serialised with its keys in order.
    """
    features = {
        "case_id": _field(1, _field(1, [case_id.encode()])),  # bytes_list
        "image": _field(1, _field(1, [image.astype("<f2", copy=False).tobytes()])),
        "label": _field(3, _field(1, [_varint(label)])),  # int64_list, packed
    }
    entries = [_field(1, _field(1, [key.encode()]) + _field(2, value)) for key, value in features.items()]
    example = _field(1, [part for entry in entries for part in entry])
    length = sum(map(len, example)).to_bytes(8, "little")
    return b"".join([length, _checksum([length]), *example, _checksum(example)])


def _varint(value: int) -> bytes:
    """Encode `value`, at least 0, as protobuf does: 7 bits per byte, the lowest first."""
    digits = []
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*digits, value])


def _field(number: int, parts: list[bytes]) -> list[bytes]:
    """Return a length-delimited field of a protobuf message, in parts: an image is copied once, at the end."""
    return [bytes([number << 3 | 2]) + _varint(sum(map(len, parts))), *parts]


def _checksum(parts: Sequence[bytes]) -> bytes:
    """Return the CRC32C of the joined `parts`, masked as in TFRecord."""
    crc = reduce(google_crc32c.extend, parts, 0)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def places(path: Path) -> list[Place]:
    """Return where each record of a shard has its example, in order; read only the frames.

    Raises:
        FlairprepError: the file ends inside a record, or the checksum of a record's length does not match.
    """
    in_order, position, end = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while position < end:
            file.seek(position)
            length, checksum = file.read(8), file.read(4)
            if len(checksum) == 4 and _checksum([length]) != checksum:
                raise FlairprepError(f"{path}: damaged; {RESTORE}")
            in_order.append(Place(path, position + HEAD, size := int.from_bytes(length, "little")))
            position += FRAME + size
    if position > end:
        raise FlairprepError(f"{path}: ends inside a record; {RESTORE}")
    return in_order


def example(place: Place) -> bytes:
    """Read the serialised tf.train.Example at `place`.

    Raises:
        FlairprepError: its checksum does not match.
    """
    with place.path.open("rb") as file:
        file.seek(place.start)
        serialised, checksum = file.read(place.length), file.read(4)
    if _checksum([serialised]) != checksum:
        raise FlairprepError(f"{place.path}: damaged; {RESTORE}")
    return serialised


def places_of(info: Info, folds: Sequence[int]) -> list[Place]:
    """Return the places of all cases of `folds`.

    Raises:
        FlairprepError: a fold holds another number of cases than dataset_info.json says; see also `places`.
    """
    by_fold = {fold: [place for path in info.shards[fold] for place in places(path)] for fold in folds}
    for fold, of_fold in by_fold.items():
        if len(of_fold) != info.cases[fold]:
            raise FlairprepError(
                f"{info.shards[fold][0].parent}: fold {fold} holds {len(of_fold)} cases, dataset_info.json says "
                f"{info.cases[fold]}; {RESTORE}"
            )
    return [place for of_fold in by_fold.values() for place in of_fold]


def chosen_folds(directory: Path | str, info: Info, folds: Sequence[int] | None) -> list[int]:
    """Return `folds`, by default all of them.

    Raises:
        FlairprepError: `directory` lacks one.
    """
    folds = sorted(info.cases) if folds is None else list(folds)
    if unknown := set(folds) - set(info.cases):
        raise FlairprepError(f"{directory}: no fold {min(unknown)}; it has folds {', '.join(map(str, info.cases))}")
    return folds


def shard_names(fold: int, shards: int) -> list[str]:
    """Return the names of the files that hold a fold."""
    return [f"{NAME}-fold{fold}.tfrecord-{index:05d}-of-{shards:05d}" for index in range(shards)]


def plan(cases: Iterable[tuple[int, str, int]], per_shard: int) -> list[Shard]:
    """Divide cases, each (fold, case_id, label), among as few shards of at most `per_shard` as possible, evenly."""
    planned = []
    for fold, members in groupby(sorted(cases), key=itemgetter(0)):
        own = tuple((case_id, label) for _, case_id, label in members)
        names = shard_names(fold, -(-len(own) // per_shard))
        least, more = divmod(len(own), len(names))
        ends = list(accumulate(least + (index < more) for index in range(len(names))))
        planned += [
            Shard(fold, name, own[start:end]) for name, start, end in zip(names, [0, *ends], ends, strict=False)
        ]
    return planned


def join(records: Sequence[Path], shard: Path) -> None:
    """Move files of one record each into the file `shard`; the disk need not have room for both.

    Raises:
        OSError: it cannot be written.
    """
    try:
        with shard.open("wb") as file:
            for record in records:
                file.write(record.read_bytes())
                record.unlink()
    except OSError as error:
        raise OSError(f"{shard}: cannot be written; is the disk full? ({error})") from error


def splits_of(directory: Path, lengths: Mapping[Shard, int]) -> list[dict[str, Any]]:
    """Return the splits of dataset_info.json, one per fold; lengths: how many cases each shard in `directory` holds."""
    splits = []
    for fold, shards in groupby(lengths, key=lambda shard: shard.fold):
        of_fold = {directory / shard.name: lengths[shard] for shard in shards}
        size = sum(file.stat().st_size - FRAME * length for file, length in of_fold.items())
        splits.append(
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": f"fold{fold}",
                "numBytes": str(size),
                "shardLengths": list(map(str, of_fold.values())),
            }
        )
    return splits


def write_info(directory: Path, splits: Sequence[dict[str, Any]], image_shape: Sequence[int]) -> None:
    """Write features.json and dataset_info.json as TensorFlow Datasets 4 does."""
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
    """Read what the folder `directory` holds from its two JSON files."""
    info = json.loads((directory / "dataset_info.json").read_text())
    features = json.loads((directory / "features.json").read_text())["featuresDict"]["features"]
    z, y, x, channels = (int(n) for n in features["image"]["tensor"]["shape"]["dimensions"])
    cases, shards = {}, {}
    for entry in info["splits"]:
        fold, lengths = int(entry["name"].removeprefix("fold")), entry["shardLengths"]
        cases[fold] = sum(map(int, lengths))
        shards[fold] = tuple(directory / name for name in shard_names(fold, len(lengths)))
    return Info((z, y, x, channels), cases, shards)
