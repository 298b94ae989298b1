"""Lay the reports of runs beside a page that links to them: index.html from git, its pictures from DVC's cache."""

import hashlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from flairprep.experiments import repository
from flairprep.experiments.lock import parse_lock

PAGE, LOCK = "reports/index.html", "dvc.lock"
FOLDERS = ("reports/assets", "reports/preview")  # of charts and pictures, beside the page
MOST_COPIED = 2_000_000_000  # bytes where no file can be linked to the cache: on another disk


class Laid(NamedTuple):
    """The report of a run: href from the page, "" without one; what it lacks, in words, and the command that helps."""

    href: str
    lacks: str
    command: str


class Known(Protocol):
    """What git knows by a revision, None: the workspace."""

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str | None: ...


def lay(runs: Iterable[Known], folder: Path, called: str) -> dict[str, Laid]:
    """Write the report of each run into a folder of its own in `folder`; return each run's by its name.

    What neither git nor the cache of this machine holds is not fetched: the report may be left out, or its pictures.
    The workspace's report stays where it is.

    Args:
        runs: the runs.
        folder: beside the page that links to the reports.
        called: what `folder` is called when the page is read.
    """
    laid: dict[str, Laid] = {}
    taken: list[str] = []
    places = _Places()
    with repository.opened() as blobs:
        for run in runs:
            if run.revision is None:
                laid[run.name] = _of_workspace(folder.parent)
                continue
            files = repository.Files(run.revision, blobs)
            taken.append(name := folder_name(run.name, taken))
            laid[run.name] = _lay_one(run, files, folder / name, f"{called}/{name}/index.html", places)
    return laid


def folder_name(run: str, taken: Iterable[str]) -> str:
    """Return the name of a run as that of a folder, which none of `taken` is, whatever case a file system ignores."""
    plain = re.sub(r"[^\w.-]+", "_", run, flags=re.ASCII).lstrip(".") or "run"
    used = {name.lower() for name in taken}
    names = (plain if number == 1 else f"{plain}_{number}" for number in range(1, len(used) + 2))
    return next(name for name in names if name.lower() not in used)


def _of_workspace(out: Path) -> Laid:
    if Path(PAGE).is_file():
        return Laid(os.path.relpath(PAGE, out).replace(os.sep, "/"), "", "")
    return Laid("", "no report in the workspace", "dvc repro report")


def _lay_one(run: Known, files: repository.Files, place: Path, href: str, places: "_Places") -> Laid:
    files.know(stages := parse_lock((files.read_here(LOCK) or b"").decode()))
    made = {entry["path"]: entry.get("md5") for entry in stages.get("report", {}).get("outs", ())}
    page = files.read_here(PAGE)
    command = f"{_take_up(run)} && dvc repro report"
    if page is None or made.get(PAGE) != hashlib.md5(page, usedforsecurity=False).hexdigest():
        return Laid("", "its report is neither in git nor in the cache", command)
    place.mkdir(parents=True)
    (place / "index.html").write_bytes(page)
    known = {path: files.folder_here(path) for path in FOLDERS if path in files.outs}
    put = [
        places.put(source, place / Path(path).name / name)
        for path, inside in known.items()
        for name, source in sorted(inside.items())
    ]
    listed = bool(known) and all(known.values())
    if listed and all(put):
        return Laid(href, "", "")
    missing = f"{put.count(False)} of {len(put)}" if listed else "some or all"
    return Laid(href, f"{missing} files of its pictures and charts are not in the cache", command)


def _take_up(run: Known) -> str:
    known = repository.git("for-each-ref", "--format=%(refname)", "refs/exps")
    experiment = run.name.split(" (")[0]
    is_experiment = any(ref.endswith(f"/{experiment}") for ref in known)
    return f"dvc exp apply {experiment}" if is_experiment else f"git checkout {run.revision}"


class _Places:
    """Files of the cache and where they already lie: runs share most pictures, which are linked, else copied once."""

    def __init__(self) -> None:
        self._first: dict[Path, Path] = {}
        self._copied = 0

    def put(self, source: Path, target: Path) -> bool:
        """Put a file of the cache at `target`; return whether it is there."""
        if not source.is_file():
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        for origin in (source, self._first.get(source)):
            try:
                if origin is not None:
                    os.link(origin, target)
                    return True
            except OSError:  # on another disk, or the file system has no links
                continue
        size = source.stat().st_size
        if self._copied + size > MOST_COPIED:
            return False
        shutil.copyfile(source, target)
        self._copied += size
        self._first.setdefault(source, target)
        return True
