"""Compare the code that is installed with the code that a run was made with, by the hashes in dvc.lock."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flairprep.core import installed

STAGES = ("ingest", "normalize", "select_slices")
PACKAGE = "src/flairprep"
SOURCES = (f"{PACKAGE}/", f"{installed.RECORD}/")  # in a clone, and in a study
TENSOR = tuple(f"{place}stages/export.py" for place in SOURCES)  # of stage export, its other deps make shards


def dvc_hash(path: Path) -> str:
    """Return the hash that DVC 3 gives a file, or a folder of source files, in dvc.lock; "" where nothing is there."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    if not files:
        return ""
    entries = [{"md5": dvc_hash(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    entries.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def preprocessing_code(stages: Mapping[str, Any]) -> dict[str, str]:
    """Return path -> hash of the sources, or their record, that made the tensors of a run; stages: of dvc.lock."""
    deps = [dep for name in STAGES for dep in stages[name]["deps"] if dep["path"].startswith(SOURCES)]
    deps += [dep for dep in stages["export"]["deps"] if dep["path"].startswith(TENSOR)]
    return {dep["path"]: dep["md5"] for dep in deps}


def differing(code: Mapping[str, str], package: Path) -> list[str]:
    """Name the paths of `code` that are something else by the folder `package`, which stands for src/flairprep.

    Each with its hash in `code` and by the folder, 7 digits.
    """
    here = {path: _hash(path, package) for path in sorted(code)}
    return [
        f"{path} ({code[path][:7]}, here {md5[:7] or 'missing'})" for path, md5 in here.items() if md5 != code[path]
    ]


def _hash(path: str, package: Path) -> str:
    """Return DVC's hash of a source, or of what a study would record of it; "" where nothing is there."""
    if source := installed.source_of(path):
        text = installed.listing(source, package)
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() if text else ""
    return dvc_hash(package / Path(path).relative_to(PACKAGE))
