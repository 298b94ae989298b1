"""Save a network as a .keras archive whose bytes depend on the network alone."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from flairprep.core.files import atomic_file

SAVED = "1980-01-01@00:00:00"  # as Keras writes a time; zipfile.ZipInfo's own default, the earliest that zip can hold


def save(network: keras.Model, path: Path) -> None:
    """Write `network` to `path`, whole or not at all, so that equal networks give equal bytes.

    Keras puts the time of saving into metadata.json and the archive's directory. It names objects that layers share by
    their addresses in memory, in config.json. Its HDF5 weights hold neither. keras.models.load_model reads the result.
    """
    with atomic_file(path) as partial:
        as_saved = partial.with_name(f"{partial.name}.keras")  # Keras takes no other ending
        try:
            network.save(as_saved)
            with zipfile.ZipFile(as_saved) as source, zipfile.ZipFile(partial, "w") as target:
                for name in sorted(source.namelist()):
                    target.writestr(zipfile.ZipInfo(name), _reproducible(name, source.read(name)))
        finally:
            as_saved.unlink(missing_ok=True)


def _reproducible(name: str, content: bytes) -> bytes:
    """Return an entry of the archive without times and addresses."""
    if name == "metadata.json":
        return json.dumps(json.loads(content) | {"date_saved": SAVED}).encode()
    return _numbered(content) if name == "config.json" else content


def _numbered(config: bytes) -> bytes:
    """Replace each shared_object_id by its rank of first occurrence: 1, 2, ..."""
    ranks: dict[int, int] = {}

    def renumber(node: dict[str, Any]) -> dict[str, Any]:
        if "shared_object_id" in node:
            address = node["shared_object_id"]
            node["shared_object_id"] = ranks.setdefault(address, len(ranks) + 1)
        return node

    return json.dumps(json.loads(config, object_hook=renumber)).encode()
