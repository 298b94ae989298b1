"""Survey the headers of a case's files, choose its series and read it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import archives, series
from flairprep.dicom.discovery import RawCase
from flairprep.dicom.header import Header, read_header
from flairprep.dicom.series import CandidateSeries
from flairprep.dicom.volume import SeriesVolume, read_surveyed

CASE_COLUMNS = (  # of cases.csv, after OUTCOME_COLUMNS
    *("plane", "rows", "columns", "slices", "spacing_x", "spacing_y", "spacing_z", "space"),
    *("manufacturer", "field_strength"),
    *("echo_time", "repetition_time", "inversion_time", "acquisition_type", "contrast_agent", "sex", "age_band"),
    *("skull_stripped", "interpolated", "session"),
)
SERIES_COLUMNS = ("case_id", "session", "series", "slices", "marks", "verdict")  # of series.csv


@dataclass(frozen=True)
class Survey:
    """The series of a case, its damaged files with the reason, and how many of its files are not DICOM.

    Members of archives count as files.
    """

    candidates: list[CandidateSeries]
    damaged: dict[Path, CaseError]
    foreign: int


def survey_case(
    case: RawCase, *, any_modality: bool = False, beside: Callable[[Path], None] = lambda path: None
) -> Survey:
    """Read the headers of a case's files and group them to series.

    any_modality: accept other modalities than MR. beside: called with each file that is not DICOM, or damaged, while
    `archives.open_raw` opens it at once.

    Raises:
        CaseError: LINK_OUTSIDE; an archive cannot be read as a whole, see `archives.entries`.
        FlairprepError: see `reading.undamaged`.
    """
    if case.stray:
        raise CaseError(Code.LINK_OUTSIDE, f"{case.stray} links to folders, out of the raw folder, or to nothing")
    headers: list[Header] = []
    damaged: dict[Path, CaseError] = {}
    foreign, inside = 0, False
    for path in archives.walk(case.files):
        if case.inner and lies_inside(path, case.inner) is not inside:
            if inside:
                continue
            headers, damaged, foreign, inside = [], {}, 0, True
        try:
            header = read_header(path, any_modality=any_modality)
        except CaseError as error:
            damaged[path] = error
            beside(path)
            continue
        if header is None:
            foreign += 1
            beside(path)
        else:
            headers.append(header)
    return Survey(series.group(headers, case.inner if inside else case.folder), damaged, foreign)


def lies_inside(path: Path, sequence: str) -> bool:
    """Return whether a member of an archive lies in a folder that is named as the sequence."""
    archive = archives.archive_of(path)
    if archive is None:
        return False
    return any(part.lower() == sequence.lower() for part in path.relative_to(archive).parent.parts)


def choose_series(case: RawCase, survey: Survey, sequence: str) -> tuple[CandidateSeries, list[tuple[Code, str]]]:
    """Choose the series to read as `sequence`, and collect what to warn of.

    Raises:
        CaseError: see `series.choose_candidate`; NOT_DICOM; the reason of a damaged file in a folder of the series.
    """
    if not survey.candidates:
        if survey.damaged:
            raise next(iter(survey.damaged.values()))
        if survey.foreign:
            raise CaseError(Code.NOT_DICOM, f"none of the {survey.foreign} files is DICOM")
    best = series.choose_candidate(survey.candidates, sequence)
    if survey.damaged:
        folders = {path.parent for path in best.paths}
        for path, error in survey.damaged.items():
            if path.parent in folders:
                raise error
    notes = []
    if marks := [mark for mark in best.marks if mark != "derived" and (mark, sequence) != ("post-contrast", "T1wCE")]:
        notes.append((Code.MARKED_SERIES, ", ".join(marks)))
    if best.against:
        notes.append((Code.OTHER_SEQUENCE, best.against))
    if len(series.equally_good(survey.candidates, best)) > 1:
        notes.append((Code.CORRECTED_CHOSEN, "of two series the one that the scanner corrected was read"))
    if best.split:
        notes.append((Code.SPLIT_SERIES, "the files of one volume name several series, studies or patients"))
    if survey.damaged:
        notes.append((Code.DECODE_FAILED, f"{len(survey.damaged)} damaged files in other folders, skipped"))
    if survey.foreign:
        dicom = {path for one in survey.candidates for path in one.paths}
        total = max(len(case.files), len(dicom) + len(survey.damaged) + survey.foreign)  # an archive holds several
        notes.append((Code.NOT_DICOM, f"{survey.foreign} of {total} files are not DICOM, skipped"))
    return best, notes


def read_candidate(best: CandidateSeries) -> SeriesVolume:
    """Read the volume of a series whose headers were surveyed.

    Raises:
        CaseError: its fault, or see `volume.read_series`.
    """
    if best.fault:
        raise best.fault
    with archives.loaded(best.paths):
        return read_surveyed(best.headers, best.volume)


def series_rows(
    case_id: str, survey: Survey | None, best: CandidateSeries | None, sequence: str, code: str = "read"
) -> list[dict[str, Any]]:
    """Return the rows of series.csv: what became of each series of a case.

    survey: None, or best: None, where the case failed before. best: the series chosen as `sequence`. code: what became
    of it.
    """
    candidates = survey.candidates if survey else []
    decisions = [code if one is best else series.decision(one, best, sequence) for one in candidates]
    cells = [(case_id, one.session or "", one.title, one.slices, ", ".join(one.marks)) for one in candidates]
    return [dict(zip(SERIES_COLUMNS, (*cell, word), strict=True)) for cell, word in zip(cells, decisions, strict=True)]
