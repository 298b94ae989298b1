"""Show what ingest would do with scans, one line per series; change nothing."""

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flairprep.cohort import case_ids
from flairprep.core import console
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import discovery, series, survey
from flairprep.nifti_input.discovery import find_cases, is_case, of_nifti
from flairprep.nifti_input.survey import choose_series, read_candidate, survey_case
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


def show(
    path: Path,
    sequence: str,
    min_slices: int,
    *,
    exclude: Collection[str] = (),
    any_modality: bool = False,
    volume: str | None = None,
) -> None:
    """Print the table of `inspect` for a folder of cases, one case, one series, or an export of any folders.

    Cases of an export have the ids that its key gives them; where there is none they are numbered.

    Raises:
        FlairprepError: no such folder, no file in it, or what `discovery.find_cases` refuses.
    """
    if not path.is_dir():
        raise FlairprepError(f"{path}: no such folder; name one of DICOM or NIfTI files")
    raw_cases = cases(path, sequence)
    if not raw_cases:
        raise FlairprepError(f"{path}: no file in it; name a folder of DICOM or NIfTI files")
    # First the headers of each case, then every series for itself, so that one that breaks its process costs no other.
    look = partial(_survey, any_modality=any_modality)
    surveys = list(map_cases(look, raw_cases, "inspect", on_failure=lambda _, error: error))
    drafts = [
        draft
        for case, surveyed in zip(raw_cases, surveys, strict=True)
        for draft in plan(case, surveyed, sequence, excluded=case.case_id in exclude)
    ]
    work = partial(_with_volume, min_slices=min_slices, volume=volume)
    lines = list(map_cases(work, drafts, "inspect", on_failure=_lost, unit="series"))
    for row in _aligned([Line(*HEADINGS), *lines]):
        console.say(row)
    read = sum(line.verdict == "read" for line in lines)
    console.say(f"inspect: {read} of {len(raw_cases)} cases would be read as {sequence}")


def cases(path: Path, sequence: str) -> list[discovery.RawCase]:
    """Find the cases below a folder; number those of an export without a key, in the order of the patient ids.

    A folder that is named as a sequence, or holds one that is, is one case of the layout CASE/FLAIR. So is one that
    holds NIfTI files itself, or is a BIDS subject.

    Raises:
        FlairprepError: see `nifti_input.discovery.find_cases`.
    """
    if discovery.named_by_folder(path):
        return find_cases(path, sequence)
    alone = discovery.case_in_folder("case 1", path, sequence, path)
    if folder := alone.folder or discovery.sequence_of(path):
        return [replace(alone, folder=folder)]
    if case_ids.read_key(path) is not None:
        return discovery.cases_by_header(path)
    if is_case(path):
        return [alone]
    if of_nifti(path):
        return find_cases(path, sequence)
    subjects = discovery.group_by_subject(path)
    return [discovery.RawCase(f"case {place}", tuple(files)) for place, files in enumerate(subjects.values(), 1)]


class Draft(NamedTuple):
    """A line before its series, if any, is read; notes: warnings of choosing it."""

    line: Line
    candidate: series.CandidateSeries | None = None
    notes: tuple[tuple[Code, str], ...] = ()


def plan(case: discovery.RawCase, surveyed: survey.Survey | CaseError, sequence: str, *, excluded: bool) -> list[Draft]:
    """Draft each line of a case, from the headers alone."""
    if isinstance(surveyed, CaseError):
        return [Draft(_failed(Line(case.case_id), surveyed))]
    best, refusal = None, None
    notes: list[tuple[Code, str]] = []
    try:
        if excluded:
            raise CaseError(Code.EXCLUDED, "listed in ingest.exclude")
        best, notes = choose_series(case, surveyed, sequence)
    except CaseError as error:
        refusal = error
    drafts = []
    for candidate in surveyed.candidates:
        decision = series.decision(candidate, best, sequence)
        line = Line(case.case_id, candidate.title, decision, str(candidate.slices))
        drafts.append(Draft(line, candidate, tuple(notes) if candidate is best else ()))
    if refusal and (refusal.code is not Code.NO_SERIES or not drafts):
        drafts.append(Draft(_failed(Line(case.case_id), refusal)))
    return drafts


def _survey(case: discovery.RawCase, *, any_modality: bool) -> survey.Survey | CaseError:
    try:
        return survey_case(case, any_modality=any_modality)
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


def _aligned(lines: list[Line]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    cells = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return ["  ".join(row).rstrip() for row in cells]
