"""Files appear whole or not at all: written under another name, synced, renamed."""

import glob
import json
import math
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SYNCS = 16  # files at a time
PARTIAL = Path(".dvc/tmp/flairprep")  # inside what DVC's own .gitignore hides, on the outs' file system


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that becomes `path` when the block ends without an error.

    What a killed process left behind is removed first.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        left.unlink(missing_ok=True)
    with atomic_part(path) as partial:
        yield partial
        _sync(partial)
    _sync(path.parent)


@contextmanager
def atomic_part(path: Path) -> Iterator[Path]:
    """Do as `atomic_file` for one of many files of an `atomic_folder`, which syncs them all in the end.

    It does not look for what was left behind: that takes the longer the more files the folder holds.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Give an empty folder for the time of the block, on the file system of the outs.

    What an interrupted run left behind is removed first. The name is this process's own, so that a worker that outlives
    a killed run for a moment writes nothing into the next one's.
    """
    for left in PARTIAL.glob(f"{glob.escape(name)}.*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = PARTIAL / f"{name}.{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a `scratch` folder that replaces `path` when the block ends without an error."""
    former = PARTIAL / f"{path.name}.former"
    with scratch(path.name) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for left in partial.rglob(".*.partial*"):  # by a worker that was killed while it wrote
            left.unlink()
        with ThreadPoolExecutor(SYNCS) as threads:  # a disk takes what waits together at once
            list(threads.map(_sync, partial.rglob("*")))
        if path.exists():
            path.rename(former)
        partial.rename(path)
        _sync(path.parent)
        shutil.rmtree(former, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with "\\n" line ends, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def number(value: float) -> float | None:
    """Return `value` as JSON holds it: 6 significant digits, null for NaN and infinity."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, keys in the order given; refuse NaN, see `number`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
