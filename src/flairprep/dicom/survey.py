"""Survey the headers of a case's files, choose its series and read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flairprep.core import params
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import header as headers
from flairprep.dicom import series
from flairprep.dicom.discovery import RawCase, find_cases
from flairprep.dicom.series import Candidate
from flairprep.dicom.volume import Series, read_surveyed
from flairprep.runner.map_cases import map_cases


def patients(dicom_dir: Path, sequence: str, case_id: str) -> list[str]:
    """Return the patient ids in the headers of a case's files, sorted: the way back from a case id.

    Raises:
        FlairprepError: see `find_cases`; or there is no such case, or none of its files can be read.
    """
    cases = {case.case_id: case for case in find_cases(dicom_dir, sequence)}
    if case_id not in cases:
        raise FlairprepError(f"{dicom_dir}: no case {case_id!r}; {params.suggest(case_id, tuple(cases)[:9])}")
    [found] = map_cases(_patients, [cases[case_id]], "who", on_failure=lambda _, error: error)
    if isinstance(found, CaseError):
        raise FlairprepError(f"case {case_id}: {found.code}: {found.message}")
    return found


def _patients(case: RawCase) -> list[str] | CaseError:
    try:
        found = survey_case(case)
    except CaseError as error:
        return error
    names = sorted({header.patient for one in found.candidates for header in one.headers})
    return names or CaseError(Code.NOT_DICOM, "none of its files can be read")


SERIES = ("case_id", "series", "slices", "marks", "verdict")  # columns of series.csv


@dataclass(frozen=True)
class Survey:
    """The series of a case, and the files that are none's: damaged ones with the reason, and how many no DICOM."""

    candidates: list[Candidate]
    damaged: dict[Path, CaseError]
    foreign: int


def survey_case(case: RawCase, *, any_modality: bool = False) -> Survey:
    """Read the headers of a case's files.

    Raises:
        CaseError: LINK_OUTSIDE.
        FlairprepError: see `reading.undamaged`.
    """
    if case.stray:
        raise CaseError(Code.LINK_OUTSIDE, f"{case.stray} links to folders, out of the raw folder, or to nothing")
    found, damaged = [], {}
    for path in case.paths:
        try:
            found.append(headers.read_header(path, any_modality=any_modality))
        except CaseError as error:
            damaged[path] = error
    known = [header for header in found if header is not None]
    return Survey(series.group(known, case.folder), damaged, len(found) - len(known))


def choose_series(case: RawCase, found: Survey, sequence: str) -> tuple[Candidate, list[tuple[Code, str]]]:
    """Choose the series to read, and collect what to warn of.

    Raises:
        CaseError: see `sequences.choose`; NOT_DICOM; a damaged file among those of the series.
    """
    if not found.candidates:
        if found.damaged:
            raise next(iter(found.damaged.values()))
        if found.foreign:
            raise CaseError(Code.NOT_DICOM, f"none of the {found.foreign} files is DICOM")
    best = series.choose_candidate(found.candidates, sequence)
    folders = {path.parent for path in best.paths}
    for path, error in found.damaged.items():
        if path.parent in folders:
            raise error
    notes = []
    if marks := [mark for mark in best.marks if mark != "derived" and (mark, sequence) != ("post-contrast", "T1wCE")]:
        notes.append((Code.MARKED_SERIES, ", ".join(marks)))
    if found.damaged:
        notes.append((Code.DECODE_FAILED, f"{len(found.damaged)} damaged files in other folders, skipped"))
    if found.foreign:
        total = len(case.files)
        notes.append((Code.NOT_DICOM, f"{found.foreign} of {total} files are not DICOM, skipped"))
    return best, notes


def read_candidate(best: Candidate) -> Series:
    """Read the volume of a series whose headers were surveyed; see `volume.read_series`.

    Raises:
        CaseError: what its headers say against it, and what `dicom.read_series` finds.
    """
    if best.fault:
        raise best.fault
    return read_surveyed(best.headers)


def series_rows(
    case_id: str, found: Survey | None, best: Candidate | None, sequence: str, code: str = "read"
) -> list[dict[str, Any]]:
    """Make the rows of series.csv: what became of each series of a case, and why.

    best: the series that was to be read as `sequence`. code: what became of it.
    """
    candidates = found.candidates if found else []
    decisions = [code if one is best else series.decision(one, best, sequence) for one in candidates]
    cells = [(case_id, one.title, one.slices, ", ".join(one.marks)) for one in candidates]
    return [dict(zip(SERIES, (*cell, word), strict=True)) for cell, word in zip(cells, decisions, strict=True)]
