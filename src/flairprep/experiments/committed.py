"""Compare params.yaml of the workspace with that of the last commit."""

import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flairprep.core import params
from flairprep.core.errors import FlairprepError

MISSING = "no such key"


class Change(NamedTuple):
    """A value of params.yaml in the workspace and in the last commit; MISSING where it has none."""

    now: Any
    then: Any


def committed_params() -> dict[str, Any] | None:
    """Return all of the last commit's params.yaml; None without a commit, or one that holds no such file.

    Raises:
        FlairprepError: it is another version's, or no YAML.
    """
    shown = subprocess.run(["git", "show", f"HEAD:./{params.FILE}"], capture_output=True, text=True, check=False)
    if shown.returncode:
        return None
    try:
        values = YAML(typ="safe", pure=True).load(shown.stdout)
    except YAMLError as error:
        raise FlairprepError(f"{params.FILE} of the last commit: not valid YAML; commit the present one") from error
    if not isinstance(values, dict):
        raise FlairprepError(f"{params.FILE} of the last commit: holds no keys; commit the present one")
    return values


def changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Change]:
    """Return the dotted keys whose values differ, in the order of `then`.

    A key of an empty section (`ingest.exclude: {}`) stands for the section, unless the other side has keys in it.
    """
    flat_now, flat_then = params.flatten(now), params.flatten(then)
    return {
        key: Change(flat_now.get(key, MISSING), flat_then.get(key, MISSING))
        for key in {**flat_then, **flat_now}
        if (key in flat_now, flat_now.get(key)) != (key in flat_then, flat_then.get(key))
        and not any(_is_above(key, other) for flat in (flat_now, flat_then) for other in flat)
    }


def _is_above(key: str, other: str) -> bool:
    return other.startswith(f"{key}.")


def told(found: Mapping[str, Change]) -> str:
    """Say what differs: lr 1e-05 (committed: 0.0001), ..."""
    return ", ".join(
        f"{key} {params.value_of(change.now)} (committed: {params.value_of(change.then)})"
        for key, change in found.items()
    )
