"""Write files atomically: under another name first, then synced and renamed."""

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

SYNC_THREADS = 16
SCRATCH = Path(".dvc/tmp/flairprep")  # git ignores it as DVC's, and it shares the outs' file system


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it becomes `path` when the block ends without an error.

    Leftovers of a killed process are removed first.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        leftover.unlink(missing_ok=True)
    with atomic_part(path) as partial:
        yield partial
        sync(partial)
    sync(path.parent)


@contextmanager
def atomic_part(path: Path) -> Iterator[Path]:
    """Yield a path as `atomic_file` does, for one of many files of an `atomic_folder`, which syncs and cleans up.

    Looking for leftovers here would take longer with every file in the folder.
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
    """Yield an empty folder, on the file system of the outs, that is removed when the block ends.

    Leftovers of a killed run are removed first. The name holds the process id: a worker that outlives a killed run
    for a moment writes nothing into the next run's folder.
    """
    for leftover in SCRATCH.glob(f"{glob.escape(name)}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = SCRATCH / f"{name}.{os.getpid()}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a `scratch` folder that replaces `path` when the block ends without an error."""
    previous = SCRATCH / f"{path.name}.former"
    with scratch(path.name) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for leftover in partial.rglob(".*.partial*"):  # of a worker that was killed while it wrote
            leftover.unlink()
        with ThreadPoolExecutor(SYNC_THREADS) as threads:  # a disk writes waiting files together
            list(threads.map(sync, partial.rglob("*")))
        if path.exists():
            path.rename(previous)
        partial.rename(path)
        sync(path.parent)
        shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def shown_folder(path: Path) -> Iterator[Path]:
    """Yield `path`, emptied, for files that people may watch while the block makes an `atomic_folder` of that name.

    A block that fails removes it, so that nothing looks like a finished out.
    """
    shutil.rmtree(path, ignore_errors=True)
    try:
        yield path
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically, as UTF-8 with "\\n" line ends."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def number(value: float) -> float | None:
    """Return `value` for JSON: 6 significant digits; None for NaN and infinity."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically, as indented JSON with its keys in the order given.

    Raises:
        ValueError: it holds NaN or infinity, see `number`.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
