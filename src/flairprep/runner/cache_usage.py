"""What `flairprep cache` does with the folder of cache_dir.py: how much lies in it, and how to have less."""

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flairprep.core.errors import FlairprepError
from flairprep.runner import cache_dir

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Usage(NamedTuple):
    """What lies in the store: how many results of cases, and bytes in all."""

    folder: Path
    results: int
    bytes: int


def info() -> Usage:
    """Return what lies in the cache.

    Raises:
        FlairprepError: FLAIRPREP_CACHE is off.
    """
    root = _existing()
    held = _held(root)
    return Usage(root, sum((path / "record").exists() for _, _, path in held), sum(size for _, size, _ in held))


def prune(max_bytes: int) -> int:
    """Remove the least recently used until at most `max_bytes` are left; return the bytes removed.

    Raises:
        FlairprepError: see `info`.
    """
    held = sorted(_held(_existing()))
    before = left = sum(size for _, size, _ in held)
    for _, size, path in held:
        if left <= max_bytes:
            break
        cache_dir.remove(path)
        left -= size
    return before - left


def clear() -> int:
    """Remove everything in the cache; return the bytes removed.

    Raises:
        FlairprepError: see `info`.
    """
    root = _existing()
    freed = prune(-1)
    cache_dir.remove(root / "secret")
    return freed


def size(text: str) -> int:
    """Parse a size as people write it: 10GB, 500 M, 1.5T; in bytes.

    Raises:
        FlairprepError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper(), re.ASCII)
    if not found:
        raise FlairprepError(f"{text!r}: must be a size, such as 500MB or 10GB")
    return int(float(found[1]) * UNITS[found[2]])


def _existing() -> Path:
    root = cache_dir.cache_folder()
    if root is None:
        raise FlairprepError("FLAIRPREP_CACHE=off: there is no store; unset it, or set it to a folder")
    return root


def _held(root: Path) -> list[tuple[float, int, Path]]:
    """When each thing in the store was last used, its bytes, and where it lies."""
    held = []
    for path in (*root.glob("[0-9a-f][0-9a-f]/*"), *root.glob("seen/*/*"), *root.glob("tmp/*")):
        with suppress(OSError):  # another run has removed it
            files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
            held.append((path.stat().st_mtime, sum(file.stat().st_size for file in files), path))
    return held
