"""Show, prune or clear the folder of the result cache."""

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from flairprep.core.errors import FlairprepError
from flairprep.core.user_cache import cache_folder, remove

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


class Usage(NamedTuple):
    """Content of the cache: the number of cases' results, and bytes in all."""

    folder: Path
    results: int
    bytes: int


def info() -> Usage:
    """Measure the cache.

    Raises:
        FlairprepError: FLAIRPREP_CACHE is off.
    """
    root = _folder()
    entries = _entries(root)
    return Usage(root, sum((path / "record").exists() for _, _, path in entries), sum(size for _, size, _ in entries))


def prune(max_bytes: int) -> int:
    """Remove the least recently used entries until at most `max_bytes` are left; return the bytes removed.

    Raises:
        FlairprepError: see `info`.
    """
    entries = sorted(_entries(_folder()))
    before = left = sum(size for _, size, _ in entries)
    for _, size, path in entries:
        if left <= max_bytes:
            break
        remove(path)
        left -= size
    return before - left


def clear() -> int:
    """Remove everything in the cache; return the bytes removed.

    Raises:
        FlairprepError: see `info`.
    """
    root = _folder()
    freed = prune(-1)
    remove(root / "secret")
    return freed


def size(text: str) -> int:
    """Return the bytes of a size as people write it: 10GB, 500 M, 1.5T.

    Raises:
        FlairprepError: the text is not a size.
    """
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper(), re.ASCII)
    if not parts:
        raise FlairprepError(f"{text!r}: must be a size, such as 500MB or 10GB")
    return int(float(parts[1]) * UNITS[parts[2]])


def _folder() -> Path:
    root = cache_folder()
    if root is None:
        raise FlairprepError("FLAIRPREP_CACHE=off: no cache; unset it, or set it to a folder")
    return root


def _entries(root: Path) -> list[tuple[float, int, Path]]:
    """Return the time of last use, the bytes and the path of each entry, digest, training and temporary file."""
    entries = []
    patterns = ("[0-9a-f][0-9a-f]/*", "seen/*/*", "training/*/*", "tmp/*")
    for path in (path for pattern in patterns for path in root.glob(pattern)):
        with suppress(OSError):  # another run has removed it
            files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
            entries.append((path.stat().st_mtime, sum(file.stat().st_size for file in files), path))
    return entries
