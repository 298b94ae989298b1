"""Compare the installed source code with what a study recorded of it.

A study is a project made by `flairprep init`: it has no src/ that DVC could hash. Its stages depend on files in
.flairprep/ instead, one for each source that dvc.yaml lists in a clone: `.flairprep/network.md5` stands for
src/flairprep/network. Each lists the MD5 of the source's files as md5sum writes them.
"""

import hashlib
import re
from pathlib import Path

from flairprep import __version__

RECORD = Path(".flairprep")
REQUIREMENTS = Path("requirements.txt")  # pins the version that the study is of
PIN = re.compile(r"^flairprep(\[[\w,. -]*\])? *== *([^\s;#,]+)", re.MULTILINE)
PACKAGE = Path(__file__).resolve().parents[1]


def listing(source: str, package: Path = PACKAGE) -> str:
    """Return one line `MD5  path` per file of a source, sorted by path; "" where nothing is there.

    source: a folder or file, relative to `package`, which is flairprep's own folder; paths are relative to it, too.
    """
    top = package / source
    files = [top] if top.is_file() else [path for path in top.rglob("*") if path.is_file()]
    own = sorted(path for path in files if "__pycache__" not in path.parts)
    md5s = (hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in own)
    return "".join(f"{md5}  {path.relative_to(package).as_posix()}\n" for md5, path in zip(md5s, own, strict=True))


def source_of(path: str) -> str | None:
    """Return the source that a file of the record stands for, None for another path."""
    inside = path.startswith(f"{RECORD}/") and path.endswith(".md5")
    return path[len(f"{RECORD}/") : -len(".md5")] if inside else None


def pinned(text: str) -> str | None:
    """Return the version of flairprep that the text of requirements.txt pins, None where it pins none."""
    return pin[2] if (pin := PIN.search(text)) else None


def differing(root: Path = Path(), package: Path = PACKAGE) -> list[str]:
    """Name the sources whose record in the study `root` is not that of the installed code, sorted."""
    paths = sorted((root / RECORD).rglob("*.md5"))
    sources = {path.relative_to(root / RECORD).as_posix().removesuffix(".md5"): path for path in paths}
    return [name for name, path in sources.items() if path.read_text("utf-8") != listing(name, package)]


def fault() -> str | None:
    """Say why the installed code is not the one that the study in the working folder recorded, and the remedy.

    None where it is, or where nothing is recorded: in a clone DVC hashes the code itself.
    """
    if not RECORD.is_dir() or not (sources := differing()):
        return None
    of = pinned(REQUIREMENTS.read_text("utf-8")) if REQUIREMENTS.is_file() else None
    told = f"flairprep {of}" if of else "another version"
    here = f"flairprep {__version__}" + (" with other code" if of == __version__ else "")
    return (
        f"{RECORD}: the study is of {told}, and {here} is installed (they differ in {', '.join(sources)}); bring the "
        f"study to what is installed: flairprep upgrade, or install what it is of: pip install -r {REQUIREMENTS}"
    )
