"""Find the cases in the folder of raw scans, and the files of each.

Two layouts. By folder, as on Kaggle: CASE/FLAIR/*, where the folder's name is the case id; CASE.zip may stand for
CASE/, and CASE/FLAIR.zip for CASE/FLAIR/. By header, as archives export: files and zip or tar archives in any folders,
grouped by the patient ids of their headers, which a key turns into case ids.
"""

import logging
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flairprep.cohort import case_ids
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.dicom import archives
from flairprep.dicom.classify import SEQUENCES
from flairprep.dicom.subjects import owners_of
from flairprep.dicom.system_folders import is_skipped

logger = logging.getLogger(__name__)

CACHED = re.compile(r"/(files/md5|cache)/[0-9a-f]{2}/[0-9a-f]{30}$")  # where DVC's own links lead
ALONE = 8  # files of a folder that name a patient each: rather slices whose ids an anonymiser made


@dataclass(frozen=True)
class RawCase:
    """The files of one case.

    files: archives and addresses of their members (see `archives`) among them. folder: the sequence that names their
    folder, "" where the headers have to tell it. stray: how many links are not followed, since they lead to folders,
    out of the raw folder, or to nothing. inner: where archives have a folder of this name, only its files count.
    session: the ordinal of the session, 0 where the case is a whole patient. patient: the id of that whole case.
    """

    case_id: str
    files: tuple[str | Path, ...]  # text: a cohort's paths would take seven times the memory
    folder: str = ""
    stray: int = 0
    inner: str = ""
    session: int = 0
    patient: str = ""

    @property
    def named(self) -> "RawCase":
        """Return the case under the name of its folder, which its files may have in their names."""
        return replace(self, case_id=self.patient or self.case_id)

    def depends_on(self, dicom_dir: Path) -> tuple[tuple[str | Path, ...], list[Any]]:
        """Return the files that a result of the case depends on, and what else: ids and places in the raw folder."""
        places = [str(file).removeprefix(f"{dicom_dir}/") for file in self.files]
        return archives.sources(self.files), [self.case_id, self.folder, self.stray, self.inner, self.session, places]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return `files` as paths."""
        return tuple(map(Path, self.files))


def volume_name(case: RawCase) -> str:
    """Name the volume that ingest makes of a case."""
    return f"{case.case_id}.nii.gz"


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
    """Return whether the layout is CASE/FLAIR: a folder of the raw folder holds one named as a sequence.

    Without a key, archives in the raw folder or directly in a folder of it make it this layout, too.
    """
    cases = _folders(dicom_dir)
    if any(sequence_of(child) for case in cases for child in _folders(case)):
        return True
    return case_ids.read_key(dicom_dir) is None and any(map(_archives, (dicom_dir, *cases)))


def sequence_of(folder: Path) -> str:
    """Return the sequence that a folder, or an archive, is named as, upper or lower case; "" for none."""
    name = archives.stem_of(folder.absolute().name).lower()
    return next((sequence for sequence in SEQUENCES if sequence.lower() == name), "")


def case_in_folder(case_id: str, case: Path, sequence: str, dicom_dir: Path) -> RawCase:
    """Return the case in folder `case`: the files of its folder, or archive, SEQUENCE; all where there is none."""
    if case.is_symlink():
        return RawCase(case_id, (), stray=1)
    own = [path for path in (*_folders(case), *_archives(case)) if sequence_of(path) == sequence]
    listings = [_files(path, dicom_dir) if path.is_dir() else _listed([path], dicom_dir) for path in own or [case]]
    files = tuple(file for files, _ in listings for file in files)
    stray = sum(stray for _, stray in listings)
    return RawCase(case_id, files, sequence if own else "", stray, "" if own else sequence)


def cases_by_folder(dicom_dir: Path, sequence: str) -> list[RawCase]:
    """Find the cases of the layout CASE/SEQUENCE/* or CASE.zip, sorted by id; see `case_in_folder`.

    Raises:
        FlairprepError: a folder's name is unsafe as an id, two look alike, or CASE/ lies beside CASE.zip.
    """
    folders = {path.name: path for path in _folders(dicom_dir)}
    packed: dict[str, Path] = {}
    for path in _archives(dicom_dir):
        if (case_id := archives.stem_of(path.name)) in folders | packed:
            raise FlairprepError(f"{dicom_dir}: case {case_id!r} is there as folder and archive, or twice; keep one")
        packed[case_id] = path
    case_ids.check(folders | packed, str(dicom_dir), "rename the folder or archive")
    cases = [case_in_folder(case_id, case, sequence, dicom_dir) for case_id, case in folders.items()]
    for case_id, path in packed.items():
        files, stray = _listed([path], dicom_dir)
        cases.append(RawCase(case_id, tuple(files), "", stray, sequence))
    cases.sort(key=lambda case: case.case_id)
    beside = [folders[case.case_id] for case in cases if case.folder]
    if loose := sum(_loose(folder, dicom_dir) for folder in (dicom_dir, *beside)):
        logger.warning(f"{dicom_dir}: {loose} files beside the folders CASE/ or CASE/{sequence}/ are skipped")
    return cases


def _loose(folder: Path, dicom_dir: Path) -> int:
    """Count the files directly in a folder, without hidden ones, the key, and archives that are cases or sequences."""
    used = {path.name for path in _archives(folder) if folder == dicom_dir or sequence_of(path)} | {case_ids.KEY}
    for _, _, names in os.walk(folder, onerror=_unlisted):
        return sum(not name.startswith(".") and name not in used for name in names)
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
            f"with: flairprep key, and then: {'git' if dicom_dir.is_symlink() else 'dvc'} add {dicom_dir}"
        )
    return case_of_each_subject(dicom_dir, key)


def case_of_each_subject(path: Path, key: bytes | None) -> list[RawCase]:
    """Return a case per patient of the export `path`; without a key they are numbered in the order of their ids.

    Raises:
        FlairprepError: see `group_by_subject`.
    """
    subjects = group_by_subject(path, key).items()
    names = [subject if key else f"case {place}" for place, (subject, _) in enumerate(subjects, 1)]
    return [RawCase(name, tuple(files)) for name, (_, files) in zip(names, subjects, strict=True)]


def group_by_subject(dicom_dir: Path, key: bytes | None = None) -> dict[str, list[str]]:
    """Group all files below a folder, or in an archive, by patient id, or by study where that is empty; both sorted.

    A damaged file belongs to the patient whose files lie beside it, if there is only one. Files of no patient are
    skipped and counted in a warning. Members of archives are files in folders, here by their addresses.

    key: turns patient ids into case ids; then headers of unchanged folders come from the result cache.

    Raises:
        FlairprepError: a link that cannot be followed, since its patient is unknown.
    """
    files, stray = ([str(dicom_dir)], 0) if dicom_dir.is_file() else _files(dicom_dir, dicom_dir)
    paths = list(map(Path, files))
    if stray:
        raise FlairprepError(f"{dicom_dir}: {stray} links lead to folders, out of it or to nothing; put files there")
    owners = owners_of(paths, key)
    files_of: dict[str, list[str]] = defaultdict(list)
    beside: dict[str, set[str]] = defaultdict(set)
    for owner in owners:
        if owner.subject:
            files_of[owner.subject].append(owner.file)
            beside[owner.folder].add(owner.subject)
    skipped: Counter[str] = Counter()
    for owner in owners:
        if not owner.subject:
            if owner.code != Code.NOT_DICOM and len(beside[owner.folder]) == 1:
                files_of[next(iter(beside[owner.folder]))].append(owner.file)
            else:
                skipped[owner.code] += 1
    for code, count in sorted(skipped.items()):
        of_all = f"{count} of {len(owners)} files in {dicom_dir}"
        logger.warning(f"{code}: {of_all} belong to no case and are skipped{_remedy(code)}")
    alone = Counter(Path(files[0]).parent for files in files_of.values() if len(files) == 1)
    if alone and (most := max(alone.values())) >= ALONE:
        logger.warning(
            f"{most} files of one folder in {dicom_dir} name a patient each; where they are slices of one volume, give "
            "each case a folder CASE/FLAIR"
        )
    return {subject: sorted(files_of[subject], key=Path) for subject in sorted(files_of)}


def _remedy(code: str) -> str:
    """Return what helps where files name nobody: the folder's name is a case id, too."""
    return "; they name no patient, study or series: give each case a folder CASE/FLAIR" if code == "NO_SERIES" else ""


def _folders(dicom_dir: Path) -> list[Path]:
    for place, names, _ in os.walk(dicom_dir, onerror=_unlisted):
        return [Path(place) / name for name in sorted(names) if not is_skipped(name)]
    return []


def _archives(folder: Path) -> list[Path]:
    """List the archives directly in a folder, sorted, without hidden ones."""
    for place, _, names in os.walk(folder, onerror=_unlisted):
        return [Path(place) / name for name in sorted(names) if archives.is_archive(name) and not name.startswith(".")]
    return []


def _listed(paths: Sequence[Path], dicom_dir: Path) -> tuple[list[str], int]:
    """Return files, and how many of them are links that are not followed, as `_files` does of a folder."""
    inside = dicom_dir.resolve()
    followed = [path for path in paths if not path.is_symlink() or may_follow(path, inside)]
    return list(map(str, followed)), len(paths) - len(followed)


def _files(folder: Path, dicom_dir: Path) -> tuple[list[str], int]:
    """List the files below a folder, sorted, without hidden ones and the key; count the links not followed.

    Links to files inside `dicom_dir` or in DVC's cache are followed; links to folders are not, so nothing loops.
    """
    inside, key = dicom_dir.resolve(), str(dicom_dir / case_ids.KEY)
    files, stray, waiting = [], int(folder.is_symlink() and folder != dicom_dir), [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as listing:
                entries = [entry for entry in listing if not is_skipped(entry.name) and entry.path != key]
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_symlink() and not may_follow(Path(entry.path), inside):
                    stray += 1
                elif entry.is_file():
                    files.append(entry.path)
        except OSError as error:
            _unlisted(error)
    return sorted(files), stray


def may_follow(link: Path, inside: Path) -> bool:
    target = Path(os.path.realpath(link))
    return target.is_file() and (target.is_relative_to(inside) or CACHED.search(target.as_posix()) is not None)


def _unlisted(error: OSError) -> None:
    raise FlairprepError(f"a folder of the raw scans cannot be listed ({error.strerror}); fix that and run again")
