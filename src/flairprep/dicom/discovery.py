"""The folder of raw scans: its cases, their files, and the one series of each that is read.

Two layouts. By folder, as on Kaggle: CASE/FLAIR/*, and the folder's name is the case id. By header, as archives export:
any folders and names, files grouped by what their headers say, and a case id is what a key makes of the patient id.
"""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flairprep.cohort import case_ids
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import header as headers
from flairprep.dicom.classify import SEQUENCES
from flairprep.runner.map_cases import map_cases
from flairprep.runner.result_cache import ResultCache

logger = logging.getLogger(__name__)

CACHED = re.compile(r"/(files/md5|cache)/[0-9a-f]{2}/[0-9a-f]{30}$")  # where DVC's own links lead
PIECE = 1000  # files of one folder whose patients are looked up, and kept, together


@dataclass(frozen=True)
class RawCase:
    """The files of one case. folder: the sequence whose folder they lie in, "" where the headers have to tell it.

    stray: links that are not followed, since they lead to folders, out of the raw folder, or to nothing.
    """

    case_id: str
    files: tuple[str | Path, ...]  # text of a whole cohort takes a seventh of what as many paths do
    folder: str = ""
    stray: int = 0

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return `files` as paths."""
        return tuple(map(Path, self.files))


def find_cases(dicom_dir: Path, sequence: str) -> list[RawCase]:
    """Find the cases of the raw folder, sorted by id, in either layout.

    Raises:
        FlairprepError: the folder is missing or holds no case, two ids cannot be told apart or one is no safe name, or
            the ids come from headers and there is no key.
    """
    if not dicom_dir.is_dir():
        raise FlairprepError(f"params.yaml: ingest.dicom_dir: {str(dicom_dir)!r} is no folder; put the scans there")
    cases = by_folder(dicom_dir, sequence) if named_by_folder(dicom_dir) else by_header(dicom_dir)
    if not cases:
        raise FlairprepError(
            f"params.yaml: ingest.dicom_dir: no case in {str(dicom_dir)!r}; expected CASE/{sequence}/, or DICOM files"
        )
    return cases


def named_by_folder(dicom_dir: Path) -> bool:
    """Return whether a folder of the raw folder holds one named as a sequence, as CASE/FLAIR does."""
    return any(sequence_of(child) for case in _folders(dicom_dir) for child in _folders(case))


def sequence_of(folder: Path) -> str:
    """Return which of the sequences a folder is named as, in any case of letters; "" for none."""
    return next((name for name in SEQUENCES if name.lower() == folder.absolute().name.lower()), "")


def in_folder(case_id: str, case: Path, sequence: str, dicom_dir: Path) -> RawCase:
    """Return the case in folder `case`: the files of its folder SEQUENCE, or all without one of that name."""
    if case.is_symlink():
        return RawCase(case_id, (), stray=1)
    own = [path for path in _folders(case) if sequence_of(path) == sequence]
    found = [_files(folder, dicom_dir) for folder in own or [case]]
    files = tuple(file for files, _ in found for file in files)
    return RawCase(case_id, files, sequence if own else "", sum(stray for _, stray in found))


def by_folder(dicom_dir: Path, sequence: str) -> list[RawCase]:
    """Find the cases of the layout CASE/SEQUENCE/*, sorted by id; see `in_folder`.

    Raises:
        FlairprepError: a folder's name is no safe id, or two cannot be told apart.
    """
    folders = {path.name: path for path in _folders(dicom_dir)}
    case_ids.check(folders, str(dicom_dir), "rename the folder")
    cases = [in_folder(case_id, case, sequence, dicom_dir) for case_id, case in sorted(folders.items())]
    beside = [folders[case.case_id] for case in cases if case.folder]
    if loose := sum(map(_loose, (dicom_dir, *beside))):
        logger.warning(f"{dicom_dir}: {loose} files lie beside the folders CASE/ or CASE/{sequence}/ and are skipped")
    return cases


def _loose(folder: Path) -> int:
    """How many files lie right in a folder, hidden ones and the key aside."""
    for _, _, names in os.walk(folder, onerror=_unlisted):
        return sum(not name.startswith(".") and name != case_ids.KEY for name in names)
    return 0


def by_header(dicom_dir: Path) -> list[RawCase]:
    """Find the cases of an export with any names, sorted by id: one per patient id, or study where that is empty.

    Raises:
        FlairprepError: there is no key, or see `by_subject`.
    """
    key = case_ids.read_key(dicom_dir)
    if key is None:
        if not _files(dicom_dir, dicom_dir)[0]:
            return []
        raise FlairprepError(
            f"{dicom_dir}: not CASE/FLAIR/, so the case ids come from headers and must be replaced; make the key for "
            f"that with: flairprep key, and then: dvc add {dicom_dir}"
        )
    return [RawCase(case_id, tuple(map(str, paths))) for case_id, paths in by_subject(dicom_dir, key).items()]


def by_subject(dicom_dir: Path, key: bytes | None = None) -> dict[str, list[Path]]:
    """Group all files below a folder by patient id (where it is empty: study), sorted.

    A damaged file counts as one of the patient whose files lie beside it, if there is just one. What belongs to no
    patient is told on standard error, in numbers. With a key there are case ids instead of patient ids, and of folders
    that have not changed since an earlier run no header is read.

    Raises:
        FlairprepError: a link that cannot be followed: whose it was is not known.
    """
    files, stray = _files(dicom_dir, dicom_dir)
    paths = list(map(Path, files))
    if stray:
        raise FlairprepError(f"{dicom_dir}: {stray} links lead to folders, out of it or to nothing; put files there")
    found = dict(zip(paths, _subjects(paths) if key is None else _kept_subjects(paths, key), strict=True))
    subjects: dict[str, list[Path]] = defaultdict(list)
    beside: dict[Path, set[str]] = defaultdict(set)
    for path, (subject, _) in found.items():
        if subject:
            subjects[subject].append(path)
            beside[path.parent].add(subject)
    nobodys: Counter[str] = Counter()
    for path, (subject, code) in found.items():
        if not subject:
            if code != Code.NOT_DICOM and len(beside[path.parent]) == 1:
                subjects[next(iter(beside[path.parent]))].append(path)
            else:
                nobodys[code] += 1
    for code, count in sorted(nobodys.items()):
        logger.warning(f"{code}: {count} of {len(paths)} files in {dicom_dir} belong to no case")
    return {subject: sorted(subjects[subject]) for subject in sorted(subjects)}


def _subjects(paths: Sequence[Path], key: bytes | None = None) -> list[tuple[str, str]]:
    """`_subject` of each file."""
    return list(map_cases(partial(_subject, key=key), paths, "headers", on_failure=_unreadable, unit="file"))


def _kept_subjects(paths: Sequence[Path], key: bytes) -> list[tuple[str, str]]:
    """`_subject` of each file, read folder by folder, or from the store. That holds case ids, never a patient's id."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    pieces = [files[start : start + PIECE] for files in folders.values() for start in range(0, len(files), PIECE)]
    work, store = partial(_subjects_of, key=key), ResultCache("headers", __file__, {"key": key.hex()})
    kept = store.map(work, pieces, inputs=_bytes_alone, on_failure=lambda *_: None, unit="folder")
    found: dict[Path, tuple[str, str]] = {}
    for piece, known in zip(pieces, kept, strict=True):
        # Where reading a piece has broken its process, one file at a time loses no more than the one that did.
        found |= zip(piece, _subjects(piece, key) if known is None else known, strict=True)
    return [found[path] for path in paths]


def _subjects_of(piece: Sequence[Path], *, key: bytes) -> list[tuple[str, str]]:
    return [_subject(path, key=key) for path in piece]


def _bytes_alone(piece: Sequence[Path]) -> tuple[Sequence[Path], None]:
    return piece, None


def _subject(path: Path, *, key: bytes | None) -> tuple[str, str]:
    """(patient id or study, why it may belong to nobody) of a file, with a key the case id; "" first where it does."""
    try:
        found = headers.read_header(path)
    except CaseError as error:
        return "", error.code.value
    if found is None:
        return "", Code.NOT_DICOM.value
    subject = found.patient or found.study or found.series
    return (subject if key is None else case_ids.pseudonym(subject, key)), Code.NO_SERIES.value


def _unreadable(path: Path, error: CaseError) -> tuple[str, str]:
    return "", error.code.value


def _folders(dicom_dir: Path) -> list[Path]:
    for place, names, _ in os.walk(dicom_dir, onerror=_unlisted):
        return [Path(place) / name for name in sorted(names) if not name.startswith(".")]
    return []


def _files(folder: Path, dicom_dir: Path) -> tuple[list[str], int]:
    """The files below a folder, sorted, hidden ones and the key aside; and how many links cannot be followed.

    Links to files are, where they lead to one inside `dicom_dir` or in DVC's cache; links to folders are not, so
    nothing loops.
    """
    inside, key = dicom_dir.resolve(), str(dicom_dir / case_ids.KEY)
    files, stray, waiting = [], int(folder.is_symlink()), [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                entries = [entry for entry in found if not entry.name.startswith(".") and entry.path != key]
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_symlink() and not _may_follow(Path(entry.path), inside):
                    stray += 1
                elif entry.is_file():
                    files.append(entry.path)
        except OSError as error:
            _unlisted(error)
    return sorted(files), stray


def _may_follow(link: Path, inside: Path) -> bool:
    target = Path(os.path.realpath(link))
    return target.is_file() and (target.is_relative_to(inside) or CACHED.search(target.as_posix()) is not None)


def _unlisted(error: OSError) -> None:
    raise FlairprepError(f"a folder of the raw scans cannot be listed ({error.strerror}); fix that and run again")
