"""Show what ingest would do with scans, one line per series; change nothing."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flairprep.cli.places import places_of
from flairprep.cohort import case_ids
from flairprep.core import console
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import archives, discovery, series, survey
from flairprep.dicom.ingest_params import IngestParams
from flairprep.nifti_input import sessions
from flairprep.nifti_input.discovery import find_cases, is_case, of_nifti
from flairprep.nifti_input.survey import read_candidate
from flairprep.runner.map_cases import map_cases

HEADINGS = ("case", "series", "verdict", "slices", "size", "spacing (mm)", "plane", "code", "remark")


class Line(NamedTuple):
    """A row of the table that `show` prints: one series, or a case without any."""

    case: str
    series: str = "-"
    verdict: str = "-"
    slices: str = "-"
    size: str = "-"
    spacing: str = "-"
    plane: str = "-"
    code: str = "-"
    remark: str = ""


def show(path: Path, params: IngestParams, *, any_modality: bool = False, files: bool = False) -> None:
    """Print the table of `inspect` for a folder of cases, one case, one series, an archive, or an export.

    Cases have the ids that ingest gives them; outside ingest.dicom_dir, where there is no key, they are numbered.

    any_modality: accept other modalities than MR. files: add where the files of each series lie.

    Raises:
        FlairprepError: no such folder or archive, no file in it, or what `find_cases` refuses.
    """
    if not (path.is_dir() or (path.is_file() and archives.is_archive(path.name))):
        raise FlairprepError(f"{path}: no such folder or archive; name one of DICOM or NIfTI files")
    raw_cases = cases(path, params)
    if not raw_cases:
        raise FlairprepError(f"{path}: no file in it; name a folder of DICOM or NIfTI files")
    # First the headers of each case, then every series for itself, so that one that breaks its process costs no other.
    look = partial(_survey, sequence=params.sequence, any_modality=any_modality)
    surveys = list(map_cases(look, raw_cases, "inspect", on_failure=lambda _, error: error))
    drafts = [
        draft for case, surveyed in zip(raw_cases, surveys, strict=True) for draft in plan(case, surveyed, params)
    ]
    work = partial(_with_volume, min_slices=params.min_slices, volume=params.volume)
    lines = list(map_cases(work, drafts, "inspect", on_failure=_lost, unit="series"))
    table: list[tuple[str, ...]] = [HEADINGS, *lines]
    if files:
        places = [places_of(draft.candidate) if draft.candidate else "-" for draft in drafts]
        table = [(*row, place) for row, place in zip(table, ["files", *places], strict=True)]
    for row in _aligned(table):
        console.say(row)
    read = sum(line.verdict == "read" for line in lines)
    console.say(f"inspect: {read} of {len(raw_cases)} cases would be read as {params.sequence}")


def cases(path: Path, params: IngestParams) -> list[discovery.RawCase]:
    """Find the cases in a folder or archive, as ingest does; with ingest.session each, one per session.

    A folder that is named as a sequence, or holds one that is, is one case of the layout CASE/FLAIR. So is one that
    holds NIfTI files itself, or is a BIDS subject. Cases of an export without a key are numbered by patient id.

    Raises:
        FlairprepError: see `nifti_input.discovery.find_cases`.
    """
    return sessions.split_sessions(_whole(path, params.sequence, Path(params.dicom_dir)), params, path)


def _whole(path: Path, sequence: str, dicom_dir: Path) -> list[discovery.RawCase]:
    packed = path.is_file()
    if not packed and discovery.named_by_folder(path):
        return find_cases(path, sequence)
    key = case_ids.read_key(path)
    inside = path.resolve().is_relative_to(dicom_dir.resolve())
    if inside and (own := case_ids.read_key(dicom_dir)) and not discovery.named_by_folder(dicom_dir):
        return discovery.case_of_each_subject(path, own)
    name = _own_id(path, dicom_dir) if inside else "case 1"
    if not packed:
        alone = discovery.case_in_folder(name, path, sequence, path)
        if folder := alone.folder or discovery.sequence_of(path):
            return [replace(alone, folder=folder)]
        if key is not None:
            return discovery.cases_by_header(path)
        if is_case(path):
            return [alone]
        if of_nifti(path):
            return find_cases(path, sequence)
        if name != "case 1" and path.parent.resolve() == dicom_dir.resolve():
            return [alone]
        return discovery.case_of_each_subject(path, None)
    folder = discovery.sequence_of(path)
    one = discovery.RawCase(name, (str(path),), folder, inner="" if folder else sequence)
    if inside:
        return [one]
    subjects = discovery.case_of_each_subject(path, None)
    return subjects if len(subjects) > 1 else [one]


def _own_id(path: Path, dicom_dir: Path) -> str:
    """Return the id that ingest gives to the case of a folder or archive in the raw folder, or of one in a case."""
    places = path.resolve().relative_to(dicom_dir.resolve()).parts
    named = len(places) == 1 or (len(places) == 2 and discovery.sequence_of(path))
    case_id = archives.stem_of(places[0]) if named else ""
    return case_id if case_id and not case_ids.fault(case_id) else "case 1"


class Draft(NamedTuple):
    """A line before its series, if any, is read; notes: warnings of choosing it."""

    line: Line
    candidate: series.CandidateSeries | None = None
    notes: tuple[tuple[Code, str], ...] = ()


def plan(case: discovery.RawCase, surveyed: survey.Survey | CaseError, params: IngestParams) -> list[Draft]:
    """Draft each line of a case, from the headers alone."""
    if isinstance(surveyed, CaseError):
        return [Draft(_failed(Line(case.case_id), surveyed))]
    best, refusal = None, None
    notes: list[tuple[Code, str]] = []
    try:
        if case.case_id in params.exclude:
            raise CaseError(Code.EXCLUDED, params.exclude[case.case_id] or "listed in ingest.exclude")
        surveyed, best, notes = sessions.choose(case, surveyed, params)
    except CaseError as error:
        refusal = error
    drafts = []
    several = len({candidate.session for candidate in surveyed.candidates} - {0}) > 1
    for candidate in surveyed.candidates:
        decision = series.decision(candidate, best, params.sequence)
        title = f"{candidate.title}, session {candidate.session}" if several and candidate.session else candidate.title
        line = Line(case.case_id, title, decision, str(candidate.slices))
        drafts.append(Draft(line, candidate, tuple(notes) if candidate is best else ()))
    if refusal and (refusal.code is not Code.NO_SERIES or not drafts):
        drafts.append(Draft(_failed(Line(case.case_id), refusal)))
    return drafts


def _survey(case: discovery.RawCase, *, sequence: str, any_modality: bool) -> survey.Survey | CaseError:
    try:
        return sessions.survey(case, sequence, any_modality=any_modality)
    except CaseError as error:
        return error


def _with_volume(draft: Draft, *, min_slices: int, volume: str | None = None) -> Line:
    """Return the line with the geometry and warnings of its series, or the code that stops it."""
    line, candidate, notes = draft
    if candidate is None:
        return line
    try:
        read = read_candidate(replace(candidate, volume=volume))
        header = read.header
        size = f"{header['columns']}x{header['rows']}x{header['slices']}"
        spacing = "x".join(f"{float(header[f'spacing_{axis}']):.3g}" for axis in "xyz")
        line = line._replace(size=size, spacing=spacing, plane=header["plane"] or "-", slices=str(header["slices"]))
        if header["slices"] < min_slices:
            raise CaseError(Code.TOO_FEW_SLICES, f"ingest.min_slices is {min_slices}")
    except CaseError as error:
        return _failed(line, error)
    warnings = [*notes, *read.warnings]
    codes = ",".join(dict.fromkeys(code.value for code, _ in warnings))
    marks = [mark for mark in candidate.marks if not any(mark in text for _, text in warnings)]
    return line._replace(code=codes or "-", remark="; ".join([*marks, *(text for _, text in warnings)]))


def _lost(draft: Draft, error: CaseError) -> Line:
    return _failed(draft.line, error)


def _failed(line: Line, error: CaseError) -> Line:
    """Return the line of a series, or a whole case, that cannot be read."""
    verdict = "would fail" if line.verdict in ("read", "-") else line.verdict
    return line._replace(verdict=verdict, code=error.code.value, remark=error.message)


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    cells = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return ["  ".join(row).rstrip() for row in cells]
