"""Remember how long each stage ran last, for estimates. No out depends on it."""

import json
import os
from contextlib import suppress
from pathlib import Path

from flairprep.core import files

FILE = Path(".dvc/tmp/stage_seconds.json")  # git ignores it as DVC's


def _file() -> Path:
    """Return the file of the project itself, whose root DVC names to queued runs in their copies."""
    return Path(os.environ.get("DVC_ROOT", ".")) / FILE


def note(stage: str, seconds: float) -> None:
    """Remember the seconds of a stage that ended well; nothing happens outside of a DVC project or on a full disk."""
    path = _file()
    if path.parent.is_dir() or path.parents[1].is_dir():
        with suppress(OSError):
            files.write_json(path, {**last(), stage: round(seconds, 3)})


def last() -> dict[str, float]:
    """Return stage -> seconds; empty before the first run."""
    try:
        read = json.loads(_file().read_text(encoding="utf-8"))
        return {str(stage): float(seconds) for stage, seconds in read.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
