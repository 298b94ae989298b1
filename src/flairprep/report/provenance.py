"""Say which run a page is of: its cohort, commit, experiment, version and params, and the hashes in dvc.lock."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flairprep import __version__
from flairprep.core import installed
from flairprep.core.errors import FlairprepError
from flairprep.core.params import SECTIONS, flatten, value_of

EXPERIMENT = "DVC_EXP_NAME"  # the variable in which DVC names the experiment to a stage
INPUTS = ("params.yaml", "dvc.yaml", "src", str(installed.RECORD))  # not dvc.lock, which a running stage changes
DEFAULTS = Path(__file__).with_name("templates") / "defaults.json"  # docs/generate.py makes it of params.yaml
ORDER = ("raw", *SECTIONS)  # of the folders in data/


@dataclass(frozen=True)
class Commit:
    """The last commit that changed the run. date: of the commit, YYYY-MM-DD; changed: its files with later edits."""

    revision: str
    date: str
    changed: tuple[str, ...]


class Changed(NamedTuple):
    """A param whose value is not the default, as texts."""

    key: str
    value: str
    default: str


@dataclass(frozen=True)
class Identity:
    """What tells a run from others, and is the same for the same run in another place or at another time.

    cohort: its name, or the folder of its scans; experiment: as DVC calls it, "" outside one.
    """

    cohort: str
    commit: Commit | None
    experiment: str
    version: str
    changed: tuple[Changed, ...]

    @property
    def title(self) -> str:
        """Return the identity in one line, for the head of each printed page."""
        run = [f"experiment {self.experiment}"] if self.experiment else []
        run += [f"commit {self.commit.revision[:7]} of {self.commit.date}"] if self.commit else ["no commit"]
        return ", ".join([self.cohort, *run, f"flairprep {self.version}"])


def identify(values: Mapping[str, Any], cohort: str | None) -> Identity:
    """Identify the run in the working folder; values: of params.yaml; cohort: its name, None where it has none."""
    scans, labels = Path(values["ingest"]["dicom_dir"]), values["labels"]["table"]
    commit = last_commit([*INPUTS, f"{scans}.dvc", labels])
    changed = differing(values, json.loads(DEFAULTS.read_text(encoding="utf-8")))
    return Identity(cohort or scans.as_posix(), commit, os.environ.get(EXPERIMENT, ""), __version__, changed)


def differing(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[Changed, ...]:
    """Return the params whose value is not the default, in the order of `values`, without those of the page itself.

    Args:
        values: of params.yaml, in sections.
        defaults: by dotted key.
    """
    here = {key: value_of(value) for key, value in flatten(values).items() if not key.startswith("report.")}
    usual = {key: value_of(value) for key, value in defaults.items()}
    return tuple(Changed(key, value, usual.get(key, "none")) for key, value in here.items() if value != usual.get(key))


def last_commit(paths: Iterable[str]) -> Commit | None:
    """Return the last commit that changed one of `paths`, None without git or before the first commit.

    Not HEAD: a commit of what was made of them would then change what is made of them.
    """
    there = [path for path in paths if Path(path).exists()]
    told = _git("log", "-1", "--format=%H %cs", "--", *there).split()
    if len(told) != 2:
        return None
    changed = [line[3:] for line in _git("status", "--porcelain", "--", *there).splitlines()]
    return Commit(told[0], told[1], tuple(sorted(changed)))


def _git(*arguments: str) -> str:
    command = ["git", "--no-optional-locks", *arguments]  # DVC may be at work in the same repository
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:  # no git on this machine
        return ""


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
