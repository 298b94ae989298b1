"""Read the shards case by case, by number and without tensorflow, as PyTorch asks for the cases of a data set."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flairprep.core.errors import FlairprepError
from flairprep.dataset.shards import RESTORE, Place, chosen_folds, example, places_of, read_info

Case = tuple[npt.NDArray[np.float32], int, str]


class MapDataset:
    """The cases of some folds, in the order of the shards: by fold, then by case_id.

    Only the places of the cases are kept, so that it is pickled quickly and workers of any kind may share it; a case is
    read, and its checksum compared, when it is asked for. torch is not imported: PyTorch asks for a length and items.
    """

    def __init__(self, directory: Path | str, folds: Sequence[int] | None = None) -> None:
        """Index the shards in `directory`; folds: default all.

        Raises:
            FlairprepError: `directory` lacks a fold, or a shard lacks some of its cases.
            OSError: it holds no data set.
        """
        info = read_info(Path(directory))
        self.shape = (1, *info.image_shape[:3])
        self.places = places_of(info, chosen_folds(directory, info, folds))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Case:
        """Return image, float32 (1, z, y, x), label, 0 or 1, and case_id.

        Raises:
            IndexError: there is no such case.
            FlairprepError: the record is damaged.
        """
        return _decode(self.places[index], self.shape)

    def __iter__(self) -> Iterator[Case]:
        return (self[index] for index in range(len(self)))

    def labels(self) -> list[int]:
        """Read the label of each case, 0 or 1, but no image, so no checksum is compared.

        Raises:
            FlairprepError: what stands in place of a label is none.
        """
        return [_label(place) for place in self.places]


def _decode(place: Place, shape: tuple[int, ...]) -> Case:
    """Decode one tf.train.Example, see `shards.record`."""
    values = _values(memoryview(example(place)))
    image = np.frombuffer(values["image"], "<f2")
    if image.size != np.prod(shape):
        raise FlairprepError(f"{place.path}: a case of {image.size} voxels, features.json says {shape}; dvc checkout")
    return image.reshape(shape).astype(np.float32), _varint(values["label"], 0)[0], bytes(values["case_id"]).decode()


def _label(place: Place) -> int:
    """Return the label of one tf.train.Example; of the file, only what it takes to find it is read."""
    try:
        mapped = np.memmap(place.path, np.uint8, "r", place.start, (place.length,))
        label, _ = _varint(_values(memoryview(mapped))["label"], 0)  # type: ignore[arg-type]  # numpy arrays are buffers
    except (LookupError, ValueError):
        label = -1
    if label not in (0, 1):
        raise FlairprepError(f"{place.path}: damaged; {RESTORE}")
    return label


def _values(message: memoryview) -> dict[str, memoryview]:
    """Return the bytes of each feature of a tf.train.Example."""
    [(_, features)] = _fields(message)
    values: dict[str, memoryview] = {}
    for _, entry in _fields(features):
        (_, name), (_, feature) = _fields(entry)
        [(_, items)] = _fields(feature)
        [(_, values[bytes(name).decode()])] = _fields(items)
    return values


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of each field of a protobuf message whose fields all have a length."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        size, at = _varint(message, at)
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number, 7 bits per byte, the lowest first, and where it ends."""
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 0x80:
            return value, at
