"""Read whose each file of an export is: patient by patient id, from headers, kept in the result cache by key."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flairprep.cohort import case_ids
from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import archives, header
from flairprep.runner.map_cases import map_cases
from flairprep.runner.result_cache import ResultCache

CHUNK = 1000  # files of one folder whose subjects are read, and cached, together


class Owner(NamedTuple):
    """A file, or the address of a member; the folder that it lies in; see `_subject`."""

    file: str
    folder: str
    subject: str
    code: str


def owners_of(paths: Sequence[Path], key: bytes | None = None) -> list[Owner]:
    """Return whose files are, and whose the members of archives among them.

    key: turns patient ids into case ids; then what is unchanged comes from the result cache.
    """
    packed = [path for path in paths if archives.is_archive(path.name)]
    plain = [path for path in paths if not archives.is_archive(path.name)]
    subjects = _subjects(plain) if key is None else _cached_subjects(plain, key)
    of_files = [
        Owner(str(path), str(path.parent), subject, code) for path, (subject, code) in zip(plain, subjects, strict=True)
    ]
    return of_files + _owners_in_archives(packed, key)


def _subjects(paths: Sequence[Path], key: bytes | None = None) -> list[tuple[str, str]]:
    """Read `_subject` of each file."""
    return list(map_cases(partial(_subject, key=key), paths, "headers", on_failure=_unreadable, unit="file"))


def _cached_subjects(paths: Sequence[Path], key: bytes) -> list[tuple[str, str]]:
    """Read `_subject` of each file, folder by folder, or take it from the result cache, which holds no patient id."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    chunks = [files[start : start + CHUNK] for files in folders.values() for start in range(0, len(files), CHUNK)]
    work, cache = partial(_subjects_of, key=key), ResultCache("headers", __file__, {"key": key.hex()})
    results = cache.map(work, chunks, inputs=_bytes_alone, on_failure=lambda *_: None, unit="folder")
    subject_of: dict[Path, tuple[str, str]] = {}
    for chunk, subjects in zip(chunks, results, strict=True):
        # After a chunk that broke its process, reading file by file loses only the file at fault.
        subject_of |= zip(chunk, _subjects(chunk, key) if subjects is None else subjects, strict=True)
    return [subject_of[path] for path in paths]


class _Listing(NamedTuple):
    """What an archive holds: why it cannot be read, or "", and of each member place, folder, subject and code.

    Folders are numbers: their names may be those of patients, and this is cached.
    """

    code: str
    members: list[tuple[int, int, str, str]]


def _owners_in_archives(packed: Sequence[Path], key: bytes | None) -> list[Owner]:
    """Return whose the members of archives are; an archive that cannot be read is one file of nobody."""
    if not packed:
        return []
    work = partial(_list_archive, key=key)
    if key is None:
        listings = list(map_cases(work, packed, "headers", on_failure=_lost_archive, unit="archive"))
    else:
        cache = ResultCache("headers", __file__, {"key": key.hex()})
        listings = list(cache.map(work, packed, inputs=_bytes_of_archive, on_failure=_lost_archive, unit="archive"))
    owners = []
    for archive, (code, members) in zip(packed, listings, strict=True):
        if code:
            owners.append(Owner(str(archive), str(archive.parent), "", code))
        owners += [
            Owner(archives.address(archive, place), archives.address(archive, folder), subject, of_member)
            for place, folder, subject, of_member in members
        ]
    return owners


def _list_archive(archive: Path, *, key: bytes | None) -> _Listing:
    members: list[tuple[int, int, str, str]] = []
    folders: dict[Path, int] = {}
    try:
        for place, path in archives.walk_one(archive):
            folder = folders.setdefault(path.parent, len(folders))
            members.append((place, folder, *_subject(path, key=key)))
    except CaseError as error:
        return _Listing(error.code.value, [])
    return _Listing("", members)


def _lost_archive(_: Path, error: CaseError) -> _Listing:
    return _Listing(error.code.value, [])


def _bytes_of_archive(archive: Path) -> tuple[Sequence[Path], str]:
    return (archive,), "archive"


def _subjects_of(chunk: Sequence[Path], *, key: bytes) -> list[tuple[str, str]]:
    return [_subject(path, key=key) for path in chunk]


def _bytes_alone(chunk: Sequence[Path]) -> tuple[Sequence[Path], None]:
    return chunk, None


def _subject(path: Path, *, key: bytes | None) -> tuple[str, str]:
    """Return (patient id, or study where that is empty; code) of a file; with a key the case id.

    The first is "" for a file that names no patient, and the code says why.
    """
    try:
        head = header.read_header(path)
    except CaseError as error:
        return "", error.code.value
    if head is None:
        return "", Code.NOT_DICOM.value
    subject = head.patient or head.study or head.series
    return (subject if key is None else case_ids.pseudonym(subject, key)), Code.NO_SERIES.value


def _unreadable(path: Path, error: CaseError) -> tuple[str, str]:
    return "", error.code.value
