"""What a data set is known by: the hashes that DVC keeps of it, and the params that made it."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flairprep.core.errors import FlairprepError
from flairprep.core.params import SECTIONS

ORDER = ("raw", *SECTIONS)  # of the folders in data/


def read_lock(path: Path) -> dict[str, Any]:
    """Read dvc.lock, empty where there is none: the stages were run by hand.

    Raises:
        FlairprepError: it is no YAML, since a merge left its marks, say.
    """
    if not path.is_file():
        return {}
    try:
        return YAML(typ="safe").load(path) or {}
    except YAMLError as error:
        raise FlairprepError(f"{path}: not valid YAML; `dvc repro` after `git checkout {path}` mends it") from error


def hashes(lock: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (path, md5) of the files of data/, in the order of the pipeline; of a folder's parts the folder.

    What the report itself wrote is left out: a page cannot hold its own hash.
    """
    found: dict[str, str] = {}
    for stage in lock.get("stages", {}).values():
        entries = [*stage.get("deps", []), *stage.get("outs", [])]
        found |= {entry["path"]: entry["md5"] for entry in entries if "md5" in entry}
    there = [path for path in found if path.startswith("data/") and Path(path).exists()]
    whole = [path for path in there if not any(path.startswith(f"{other}/") for other in there)]
    return [(path, found[path]) for path in sorted(whole, key=_order)]


def _order(path: str) -> tuple[int, str]:
    folder = path.split("/")[1]
    return (ORDER.index(folder) if folder in ORDER else len(ORDER), path)
