"""Identify a data set by the hashes in dvc.lock."""

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
        FlairprepError: it is not YAML, e.g. since a merge left conflict markers.
    """
    if not path.is_file():
        return {}
    try:
        return YAML(typ="safe").load(path) or {}
    except YAMLError as error:
        raise FlairprepError(f"{path}: not valid YAML; `dvc repro` after `git checkout {path}` restores it") from error


def hashes(lock: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (path, md5) of the files of data/, in the order of the pipeline; of a folder's parts the folder.

    The outs of report are left out: a page cannot hold its own hash.
    """
    md5s: dict[str, str] = {}
    for stage in lock.get("stages", {}).values():
        entries = [*stage.get("deps", []), *stage.get("outs", [])]
        md5s |= {entry["path"]: entry["md5"] for entry in entries if "md5" in entry}
    there = [path for path in md5s if path.startswith("data/") and Path(path).exists()]
    whole = [path for path in there if not any(path.startswith(f"{other}/") for other in there)]
    return [(path, md5s[path]) for path in sorted(whole, key=_order)]


def _order(path: str) -> tuple[int, str]:
    folder = path.split("/")[1]
    return (ORDER.index(folder) if folder in ORDER else len(ORDER), path)
