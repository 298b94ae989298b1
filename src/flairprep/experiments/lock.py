"""Read dvc.lock of many runs at once: it says what has run, and most of its parts are the same in most runs."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flairprep.core.errors import FlairprepError

HEADER = "schema: '2.0'\nstages:\n"  # and after it a block per stage


def parse_lock(lock: str) -> dict[str, Any]:
    """Return the stages of dvc.lock.

    Raises:
        FlairprepError: it holds none, as with merge conflict markers.
    """
    try:
        if lock.startswith(HEADER):
            return _parse_blocks(lock.removeprefix(HEADER), 2)
        return dict(_parse_yaml(lock)["stages"])
    except (YAMLError, TypeError, KeyError) as error:
        raise FlairprepError(
            "dvc.lock: no stages, perhaps because of merge conflict markers; "
            "git checkout --ours dvc.lock, then dvc repro"
        ) from error


def _parse_blocks(text: str, indent: int) -> dict[str, Any]:
    """Parse a mapping whose keys stand behind `indent` spaces: most of its parts are the same in most runs.

    Down to the items of lists: a run of another rate differs in a dozen of some hundred deps and outs.
    """
    values: dict[str, Any] = {}
    for block in re.split(rf"^(?= {{{indent}}}[^\s-])", text, flags=re.MULTILINE):
        head, _, body = block.partition("\n")
        if re.fullmatch(r" *[^\s:]+:", head) and re.match(rf" {{{indent + 2}}}[^\s-]", body):
            (key,) = _parse_yaml(head)
            values[key] = _parse_blocks(body, indent + 2)
        elif re.fullmatch(r" *[^\s:]+:", head) and body.startswith(item := f"{' ' * indent}- "):
            (key,) = _parse_yaml(head)
            items = re.split(rf"^(?={item})", body, flags=re.MULTILINE)[1:]
            values[key] = [entry for text in items for entry in _parse_yaml(f"{key}:\n{text}")[key]]
        elif block:
            values |= _parse_yaml(block)
    return values


@lru_cache(maxsize=10_000)
def _parse_yaml(text: str) -> dict[str, Any]:
    """Parse YAML that must be a mapping; callers must not change what they get."""
    values = YAML(typ="safe", pure=True).load(text)
    if not isinstance(values, dict):
        raise TypeError(type(values).__name__)
    return values


def find_stale(stages: Mapping[str, Any]) -> str | None:
    """Find a stage that read an out whose hash in dvc.lock has changed since, as after an interrupted run."""
    outs = {entry["path"]: entry["md5"] for stage in stages.values() for entry in stage.get("outs", ())}
    for name, stage in stages.items():
        if any(outs.get(entry["path"], entry["md5"]) != entry["md5"] for entry in stage.get("deps", ())):
            return name
    return None
