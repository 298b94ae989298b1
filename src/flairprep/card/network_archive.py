"""Read a network's layers and parameters from its .keras archive, without tensorflow and without running anything."""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]  # comes with keras

from flairprep.core.errors import FlairprepError

NESTED = {"Functional", "Sequential"}


@dataclass(frozen=True)
class NetworkArchive:
    """One member network of model.keras. members: whose answers are averaged; layers: kind -> number, of one member.

    parameters, all_parameters: numbers stored for one member (moving averages of batch normalisation among them), and
    for all members; input_shape: (z, y, x, channels).
    """

    members: int
    layers: dict[str, int]
    parameters: int
    all_parameters: int
    input_shape: tuple[int, ...]
    keras: str


def read(path: Path) -> NetworkArchive:
    """Read the archive that train writes: one network, or several and the layer that averages them.

    Raises:
        FlairprepError: it is no .keras archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))["config"]
            version = json.loads(archive.read("metadata.json"))["keras_version"]
            weights = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(weights) as file:
            stored = _numbers(file)
        (shape,) = [layer["config"]["batch_shape"] for layer in config["layers"] if _kind(layer) == "InputLayer"]
        inner = [layer for layer in config["layers"] if _kind(layer) in NESTED]
        one = inner[0]["config"] if inner else config
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise FlairprepError(f"{path}: not a .keras archive ({error}); restore it: dvc checkout") from error
    members = len(inner) or 1
    layers = Counter(_kind(layer) for layer in _flat(one))
    return NetworkArchive(members, dict(sorted(layers.items())), stored // members, stored, tuple(shape[1:]), version)


def _kind(layer: dict[str, Any]) -> str:
    return str(layer["class_name"])


def _flat(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the layers of a network, those of networks inside it too."""
    for layer in config["layers"]:
        if _kind(layer) in NESTED:
            yield from _flat(layer["config"])
        else:
            yield layer


def _numbers(file: Any) -> int:
    """Count the stored numbers of all layers; an optimizer's and a random generator's state are no parameters."""
    total = 0

    def visit(name: str, node: Any) -> None:
        nonlocal total
        if isinstance(node, h5py.Dataset) and not {"optimizer", "seed_generator"} & set(name.split("/")):
            total += int(node.size)

    file.visititems(visit)
    return total
