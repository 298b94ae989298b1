"""Recognise folders that systems make among people's own: they hold no scans, and some cannot be listed."""

import logging
from functools import cache

logger = logging.getLogger(__name__)

SYSTEM = frozenset(  # lower case: of macOS and its archives, Windows, Linux, Synology, QNAP and NetApp
    {
        *("__macosx", ".trashes", ".trash", ".spotlight-v100", ".fseventsd", ".temporaryitems"),
        *("$recycle.bin", "recycler", "system volume information", "lost+found", ".trash-0", ".trash-1000"),
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@recycle", "@recently-snapshot", ".@__thumb"),
        *(".snapshot", ".snapshots", "~snapshot", ".zfs"),
    }
)


def is_skipped(name: str) -> bool:
    """Return whether a file or folder is hidden or a system's own; each kind of the latter is told of once."""
    if name.lower() in SYSTEM:
        _tell(name.lower())
        return True
    return name.startswith(".")


@cache
def _tell(name: str) -> None:
    logger.warning(f"folders {name}, which the system made, are skipped")
