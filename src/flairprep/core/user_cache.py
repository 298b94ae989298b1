"""Find the folder that keeps the user's results between runs, clones and branches, and make it theirs alone."""

import errno
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

LAYOUT = "v1"
STALE_SECONDS = 86_400  # then a temporary file belongs to no living run


def cache_folder() -> Path | None:
    """Return the folder of the cache: FLAIRPREP_CACHE, else flairprep/ in the user's cache folder; None for `off`.

    Raises:
        OSError: the user has no home folder.
    """
    chosen = os.environ.get("FLAIRPREP_CACHE")
    if chosen == "off":
        return None
    try:
        folder = Path(chosen).expanduser() if chosen else user_cache_path("flairprep", appauthor=False)
        return folder.expanduser().absolute() / LAYOUT
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "no home folder") from error


def open_folder() -> Path | None:
    """Return `cache_folder`, made where it is missing, with tmp/ in it; None where the cache is off.

    Raises:
        OSError: the folder cannot be made or read, or others may read it.
    """
    root = cache_folder()
    if root is None:
        return None
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (root, root / "tmp"):
        folder.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.geteuid() or root.stat().st_mode & 0o077:
        raise PermissionError(errno.EPERM, "its folder is not this user's alone")
    for leftover in (root / "tmp").iterdir():  # of a killed process
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                remove(leftover)
    return root


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as possible."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
