"""Find the cases of a raw folder of NIfTI files: CASE/ with the case's files, or BIDS (sub-X/[ses-Y/]anat/)."""

import logging
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from flairprep.cohort import case_ids
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import archive_entries, archives, discovery
from flairprep.dicom.discovery import RawCase
from flairprep.nifti_input.reading import parts_of

logger = logging.getLogger(__name__)

SUBJECT = "sub-"  # before the name of a BIDS subject's folder
NOT_RAW = {"derivatives", "sourcedata", "code", "stimuli"}  # folders of a BIDS data set without raw scans
DATA_SETS = 4  # zips that are searched for subjects; more are the cases of a cohort, and looking into each takes time
DICOM = slice(128, 132), b"DICM"  # PS3.10 7.1


def find_cases(dicom_dir: Path, sequence: str) -> list[RawCase]:
    """Find the cases of a raw folder, sorted by id: of DICOM files, NIfTI files, or both.

    Raises:
        FlairprepError: see `dicom.discovery.find_cases` and `of_nifti`; NIfTI files outside the folders of cases.
    """
    if not dicom_dir.is_dir():
        return discovery.find_cases(dicom_dir, sequence)
    if discovery.named_by_folder(dicom_dir):
        cases = discovery.find_cases(dicom_dir, sequence)
    elif of_nifti(dicom_dir):
        cases = cases_of_nifti(dicom_dir, sequence)
    else:
        return discovery.find_cases(dicom_dir, sequence)
    return _with_inherited(_with_subjects(cases, dicom_dir), dicom_dir)


def of_nifti(dicom_dir: Path) -> bool:
    """Return whether the cases of a folder without CASE/FLAIR/ are those of NIfTI files.

    With a key they are not: then case ids come from patient ids, which no NIfTI file has.

    Raises:
        FlairprepError: DICOM files lie there, too, or the NIfTI files lie in no folder of a case.
    """
    if case_ids.read_key(dicom_dir) is not None:
        return False
    files = [path for path in dicom_dir.rglob("*") if not _hidden(path, dicom_dir)]
    scans = [path for path in files if _is_scan(path)]
    if not scans:
        return False
    if any(_is_dicom(path) for path in files if path.is_file() and not _is_scan(path) and path.suffix != ".json"):
        raise FlairprepError(
            f"{dicom_dir}: DICOM and NIfTI files, but no folder CASE/FLAIR/; put each case's DICOM files into one, or "
            "make a key for an export of DICOM files alone: flairprep key"
        )
    if all(path.parent == dicom_dir for path in scans):
        raise FlairprepError(f"{dicom_dir}: NIfTI files in no folder of a case; put each case's into CASE/")
    return True


def is_case(folder: Path) -> bool:
    """Return whether a folder is one case: it holds NIfTI files itself, or is a BIDS subject."""
    return any(map(_is_scan, folder.iterdir())) or (
        folder.absolute().name.startswith(SUBJECT) and any(map(_is_scan, folder.rglob("*")))
    )


def cases_of_nifti(dicom_dir: Path, sequence: str) -> list[RawCase]:
    """Find the cases of folders of NIfTI files; of a BIDS data set only sub-X, since others are no raw scans.

    Raises:
        FlairprepError: a folder's name is unsafe as an id, or two look alike.
    """
    cases = discovery.cases_by_folder(dicom_dir, sequence)
    subjects = [case for case in cases if case.case_id.startswith(SUBJECT)]
    if subjects and len(subjects) < len(cases):
        logger.warning(f"{dicom_dir}: {len(cases) - len(subjects)} folders beside those of BIDS subjects are skipped")
    return subjects or cases


def _with_subjects(cases: list[RawCase], dicom_dir: Path) -> list[RawCase]:
    """Return the cases with each zip of a whole BIDS data set as one case per subject, sorted by id.

    Raises:
        FlairprepError: a subject's name is unsafe as an id, looks like another one, or is another case's, too.
    """
    sets = [case for case in cases if len(case.files) == 1 and _may_be_data_set(Path(case.files[0]), dicom_dir)]
    subjects = {case.case_id: subjects_in(Path(case.files[0])) for case in sets[: DATA_SETS + 1]}
    if len(sets) > DATA_SETS or not any(subjects.values()):
        return cases
    split = [one for case in cases for one in subjects.get(case.case_id) or [case]]
    names = [case.case_id for case in split]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise FlairprepError(f"{dicom_dir}: subject {twice[0]!r} is there twice, in a zip and beside it; keep one")
    case_ids.check(names, str(dicom_dir), "rename the subject")
    return sorted(split, key=lambda case: case.case_id)


def _may_be_data_set(path: Path, dicom_dir: Path) -> bool:
    """Return whether a file may be a zip of a whole data set: it lies in the raw folder, and names no subject."""
    return path.parent == dicom_dir and path.suffix.lower() == ".zip" and not path.name.startswith(SUBJECT)


def subjects_in(archive: Path) -> list[RawCase]:
    """Return the subjects of a BIDS data set in an archive, [] of fewer than two: then it is a case itself."""
    places: dict[str, list[int]] = defaultdict(list)
    shared: list[int] = []
    with_scans: set[str] = set()

    def note(place: int, name: str) -> bool:
        *folders, own = name.split("/")
        depth = next((n for n, folder in enumerate(folders) if folder.startswith(SUBJECT)), len(folders))
        if depth <= 1 and not (depth and folders[0] in NOT_RAW) and not archives.is_hidden(name):
            if depth < len(folders):
                places[folders[depth]].append(place)
                with_scans.update([folders[depth]] if parts_of(own)[1] else [])
            elif own.endswith(".json"):
                shared.append(place)
        return False

    try:
        for _ in archive_entries.entries(archive, note):
            pass
    except CaseError:  # of the case that the archive then is
        return []
    files = {subject: [*places[subject], *shared] for subject in with_scans}
    made = [RawCase(case, tuple(archives.address(archive, place) for place in own)) for case, own in files.items()]
    return made if len(made) > 1 else []


def _with_inherited(cases: list[RawCase], dicom_dir: Path) -> list[RawCase]:
    """Add the sidecars of the raw folder itself to BIDS subjects, which inherit their fields."""
    shared = tuple(str(path) for path in sorted(dicom_dir.glob("*.json")) if path.is_file() and not _leads_out(path))
    return [
        replace(case, files=(*case.files, *shared)) if shared and case.case_id.startswith(SUBJECT) else case
        for case in cases
    ]


def _leads_out(path: Path) -> bool:
    """Return whether a file of the raw folder is a link out of it, other than DVC's own into its cache."""
    target = path.resolve()
    return not (target.is_relative_to(path.parent.resolve()) or discovery.CACHED.search(target.as_posix()))


def _is_scan(path: Path) -> bool:
    return parts_of(path.name)[1] in (".nii", ".hdr")


def _is_dicom(path: Path) -> bool:
    place, mark = DICOM
    try:
        with path.open("rb") as file:
            return file.read(place.stop)[place] == mark
    except OSError:
        return False


def _hidden(path: Path, dicom_dir: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(dicom_dir).parts)
