"""Find the cases in the folder of raw scans, and the files of each.

Two layouts. By folder, as on Kaggle: CASE/FLAIR/*, where the folder's name is the case id. By header, as archives
export: files in any folders, grouped by the patient ids of their headers, which a key turns into case ids.
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
from flairprep.dicom import header
from flairprep.dicom.classify import SEQUENCES
from flairprep.dicom.system_folders import is_skipped
from flairprep.runner.map_cases import map_cases
from flairprep.runner.result_cache import ResultCache

logger = logging.getLogger(__name__)

CACHED = re.compile(r"/(files/md5|cache)/[0-9a-f]{2}/[0-9a-f]{30}$")  # where DVC's own links lead
ALONE = 8  # files of a folder that name a patient each: rather slices whose ids an anonymiser made
CHUNK = 1000  # files of one folder whose subjects are read, and cached, together


@dataclass(frozen=True)
class RawCase:
    """The files of one case.

    folder: the sequence that names their folder, "" where the headers have to tell it. stray: how many links are not
    followed, since they lead to folders, out of the raw folder, or to nothing.
    """

    case_id: str
    files: tuple[str | Path, ...]  # text: a cohort's paths would take seven times the memory
    folder: str = ""
    stray: int = 0

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return `files` as paths."""
        return tuple(map(Path, self.files))


def find_cases(dicom_dir: Path, sequence: str) -> list[RawCase]:
    """Find the cases of the raw folder, sorted by id, in either layout.

    Raises:
        FlairprepError: the folder is missing or holds no case; an id is unsafe, or two look alike; or ids come from
            headers without a key.
    """
    if not dicom_dir.is_dir():
        raise FlairprepError(f"params.yaml: ingest.dicom_dir: {str(dicom_dir)!r} is not a folder; put the scans there")
    by_folder = named_by_folder(dicom_dir)
    cases = cases_by_folder(dicom_dir, sequence) if by_folder else cases_by_header(dicom_dir)
    if not cases:
        raise FlairprepError(
            f"params.yaml: ingest.dicom_dir: no case in {str(dicom_dir)!r}; expected CASE/{sequence}/, or DICOM files"
        )
    return cases


def named_by_folder(dicom_dir: Path) -> bool:
    """Return whether the layout is CASE/FLAIR: a folder of the raw folder holds one named as a sequence."""
    return any(sequence_of(child) for case in _folders(dicom_dir) for child in _folders(case))


def sequence_of(folder: Path) -> str:
    """Return the sequence that a folder is named as, upper or lower case; "" for none."""
    return next((name for name in SEQUENCES if name.lower() == folder.absolute().name.lower()), "")


def case_in_folder(case_id: str, case: Path, sequence: str, dicom_dir: Path) -> RawCase:
    """Return the case in folder `case`: the files of its folder SEQUENCE, or all where there is none."""
    if case.is_symlink():
        return RawCase(case_id, (), stray=1)
    own = [path for path in _folders(case) if sequence_of(path) == sequence]
    listings = [_files(folder, dicom_dir) for folder in own or [case]]
    files = tuple(file for files, _ in listings for file in files)
    return RawCase(case_id, files, sequence if own else "", sum(stray for _, stray in listings))


def cases_by_folder(dicom_dir: Path, sequence: str) -> list[RawCase]:
    """Find the cases of the layout CASE/SEQUENCE/*, sorted by id; see `case_in_folder`.

    Raises:
        FlairprepError: a folder's name is unsafe as an id, or two look alike.
    """
    folders = {path.name: path for path in _folders(dicom_dir)}
    case_ids.check(folders, str(dicom_dir), "rename the folder")
    cases = [case_in_folder(case_id, case, sequence, dicom_dir) for case_id, case in sorted(folders.items())]
    beside = [folders[case.case_id] for case in cases if case.folder]
    if loose := sum(map(_loose, (dicom_dir, *beside))):
        logger.warning(f"{dicom_dir}: {loose} files beside the folders CASE/ or CASE/{sequence}/ are skipped")
    return cases


def _loose(folder: Path) -> int:
    """Count the files directly in a folder, without hidden ones and the key."""
    for _, _, names in os.walk(folder, onerror=_unlisted):
        return sum(not name.startswith(".") and name != case_ids.KEY for name in names)
    return 0


def cases_by_header(dicom_dir: Path) -> list[RawCase]:
    """Find the cases of an export with any names, sorted by id: one per patient id, or study where that is empty.

    Raises:
        FlairprepError: there is no key, or see `group_by_subject`.
    """
    key = case_ids.read_key(dicom_dir)
    if key is None:
        if not _files(dicom_dir, dicom_dir)[0]:
            return []
        raise FlairprepError(
            f"{dicom_dir}: not CASE/FLAIR/, so case ids come from patient ids, which a key must replace; make the key "
            f"with: flairprep key, and then: dvc add {dicom_dir}"
        )
    return [RawCase(case_id, tuple(map(str, paths))) for case_id, paths in group_by_subject(dicom_dir, key).items()]


def group_by_subject(dicom_dir: Path, key: bytes | None = None) -> dict[str, list[Path]]:
    """Group all files below a folder by patient id, or by study where that is empty; both sorted.

    A damaged file belongs to the patient whose files lie beside it, if there is only one. Files of no patient are
    skipped and counted in a warning.

    key: turns patient ids into case ids; then headers of unchanged folders come from the result cache.

    Raises:
        FlairprepError: a link that cannot be followed, since its patient is unknown.
    """
    files, stray = _files(dicom_dir, dicom_dir)
    paths = list(map(Path, files))
    if stray:
        raise FlairprepError(f"{dicom_dir}: {stray} links lead to folders, out of it or to nothing; put files there")
    subject_of = dict(zip(paths, _subjects(paths) if key is None else _cached_subjects(paths, key), strict=True))
    files_of: dict[str, list[Path]] = defaultdict(list)
    beside: dict[Path, set[str]] = defaultdict(set)
    for path, (subject, _) in subject_of.items():
        if subject:
            files_of[subject].append(path)
            beside[path.parent].add(subject)
    skipped: Counter[str] = Counter()
    for path, (subject, code) in subject_of.items():
        if not subject:
            if code != Code.NOT_DICOM and len(beside[path.parent]) == 1:
                files_of[next(iter(beside[path.parent]))].append(path)
            else:
                skipped[code] += 1
    for code, count in sorted(skipped.items()):
        of_all = f"{count} of {len(paths)} files in {dicom_dir}"
        logger.warning(f"{code}: {of_all} belong to no case and are skipped{_remedy(code)}")
    alone = Counter(Path(files[0]).parent for files in files_of.values() if len(files) == 1)
    if alone and (most := max(alone.values())) >= ALONE:
        logger.warning(
            f"{most} files of one folder in {dicom_dir} name a patient each; where they are slices of one volume, give "
            "each case a folder CASE/FLAIR"
        )
    return {subject: sorted(files_of[subject]) for subject in sorted(files_of)}


def _remedy(code: str) -> str:
    """Return what helps where files name nobody: the folder's name is a case id, too."""
    return "; they name no patient, study or series: give each case a folder CASE/FLAIR" if code == "NO_SERIES" else ""


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


def _folders(dicom_dir: Path) -> list[Path]:
    for place, names, _ in os.walk(dicom_dir, onerror=_unlisted):
        return [Path(place) / name for name in sorted(names) if not is_skipped(name)]
    return []


def _files(folder: Path, dicom_dir: Path) -> tuple[list[str], int]:
    """List the files below a folder, sorted, without hidden ones and the key; count the links not followed.

    Links to files inside `dicom_dir` or in DVC's cache are followed; links to folders are not, so nothing loops.
    """
    inside, key = dicom_dir.resolve(), str(dicom_dir / case_ids.KEY)
    files, stray, waiting = [], int(folder.is_symlink()), [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listing:
                entries = [entry for entry in listing if not is_skipped(entry.name) and entry.path != key]
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
