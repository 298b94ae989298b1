"""Read the members of zip and tar archives in place, as if each were a file, without unpacking to disk.

A member has a path below its archive, CASE.zip/FLAIR/IM1, at which no file lies. `open_raw` opens it as if one did. An
address, CASE.zip/#7, names a member by its place instead: names may be those of patients, and go into no table.
"""

import io
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.archive_entries import ENDINGS, MAX_FILE, entries
from flairprep.dicom.system_folders import is_skipped

_held: dict[Path, bytes | CaseError] = {}  # what this process holds of members at the moment


def is_hidden(name: str) -> bool:
    """Return whether a reader skips a member by its name: a hidden one, or of a system."""
    return any(map(is_skipped, name.split("/")))


def is_archive(name: str) -> bool:
    """Return whether a file is an archive by its name."""
    return name.lower().endswith(ENDINGS)


def stem_of(name: str) -> str:
    """Return a name without the ending of an archive, if it has one."""
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def address(archive: Path, place: int) -> str:
    """Return the address of a member, which holds nothing of its name."""
    return f"{archive}/#{place}"


def sources(files: Iterable[str | Path]) -> tuple[str | Path, ...]:
    """Return the files that exist on disk among files and addresses: each archive once instead of its members."""
    pairs = ((file, split_address(file)) for file in files)
    return tuple(dict.fromkeys(file if place is None else str(path) for file, (path, place) in pairs))


def split_address(file: str | Path) -> tuple[Path, int | None]:
    """Split an address into archive and place; the place of another file is None."""
    path = Path(file)
    if path.name.startswith("#") and path.name[1:].isdecimal() and is_archive(path.parent.name):
        return path.parent, int(path.name[1:])
    return path, None


def archive_of(path: Path) -> Path | None:
    """Return the archive that a member's path leads into; None for the path of a file."""
    return next((parent for parent in path.parents if is_archive(parent.name) and parent.is_file()), None)


def walk(files: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the paths of files, and of the members of archives and addresses among them, each archive in one pass.

    While a member's path is the last one yielded, `open_raw` opens it at once.

    Raises:
        CaseError: see `entries`.
    """
    for _, path in walk_addressed(files):
        yield path


def walk_addressed(files: Iterable[str | Path]) -> Iterator[tuple[str, Path]]:
    """Yield the file, or the address of a member, with each path of `walk`.

    Raises:
        CaseError: see `entries`.
    """
    places: dict[Path, set[int] | None] = {}
    for file in files:
        path, place = split_address(file)
        if place is not None:
            wanted = places.setdefault(path, set())
            if wanted is not None:
                wanted.add(place)
        elif is_archive(path.name):
            places[path] = None
        else:
            yield str(file), path
    for archive, wanted in places.items():
        for place, path in walk_one(archive, wanted):
            yield address(archive, place), path


def walk_one(archive: Path, places: Container[int] | None = None) -> Iterator[tuple[int, Path]]:
    """Yield place and path of the members of an archive, or of those at `places`, as `walk` does.

    Folders and what is hidden are left out, as in folders.

    Raises:
        CaseError: see `entries`.
    """

    def wanted(place: int, name: str) -> bool:
        return (places is None or place in places) and not is_hidden(name)

    for entry in entries(archive, wanted):
        if entry.content is not None:
            path = archive / entry.name
            with _holding({path: entry.content}):
                yield entry.place, path


@contextmanager
def loaded(paths: Iterable[Path]) -> Iterator[None]:
    """Hold the members among `paths` in memory while the block runs, after one pass over each archive.

    Raises:
        CaseError: TOO_LARGE where they have over MAX_FILE bytes; see `entries`.
    """
    names: dict[Path, set[str]] = {}
    for path in paths:
        if path not in _held and (archive := archive_of(path)):
            names.setdefault(archive, set()).add(path.relative_to(archive).as_posix())
    contents: dict[Path, bytes | CaseError] = {}
    size = 0
    for archive, wanted in names.items():
        missing = set(wanted)
        for entry in entries(archive, partial(_is_named, names=wanted)):
            contents[archive / entry.name] = entry.content or b""
            size += len(entry.content) if isinstance(entry.content, bytes) else 0
            if size > MAX_FILE:
                raise CaseError(Code.TOO_LARGE, f"a series of over {MAX_FILE >> 20} MB in an archive")
            missing.discard(entry.name)
            if not missing:
                break
    with _holding(contents):
        yield


def _is_named(_: int, name: str, *, names: Container[str]) -> bool:
    return name in names


@contextmanager
def _holding(contents: dict[Path, bytes | CaseError]) -> Iterator[None]:
    _held.update(contents)
    try:
        yield
    finally:
        for path in contents:
            _held.pop(path, None)


def open_raw(path: Path) -> BinaryIO:
    """Open a file, or a member of an archive, for reading.

    Raises:
        CaseError: the member is damaged, encrypted or too large; see `entries`.
        OSError: a file cannot be opened.
    """
    content = _held.get(path)
    if content is None:
        try:
            return path.open("rb")
        except NotADirectoryError:
            with loaded([path]):
                if path not in _held:
                    raise
                content = _held[path]
    if isinstance(content, CaseError):
        raise content
    return io.BytesIO(content)
