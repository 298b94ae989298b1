"""What ingest would do with scans, a line a series, before anything is configured; nothing is changed."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flairprep import console, identifiers, raw, sequences
from flairprep.cases import CaseError, Code
from flairprep.errors import FlairprepError
from flairprep.pool import map_cases

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


def show(path: Path, sequence: str, min_slices: int, *, any_modality: bool = False) -> None:
    """Prints the table of `inspect` for a folder of cases, of one case, of one series, or an export of any folders.

    Cases of an export have the ids that its key gives them; where there is none they are numbered.

    Raises:
        FlairprepError: no such folder, or no file in it.
    """
    if not path.is_dir():
        raise FlairprepError(f"{path}: no such folder; name one of DICOM files")
    found = cases(path, sequence)
    if not found:
        raise FlairprepError(f"{path}: no file in it; name a folder of DICOM files")
    work = partial(inspect, sequence=sequence, min_slices=min_slices, any_modality=any_modality)
    lines = [line for some in map_cases(work, found, "inspect", lost=_lost) for line in some]
    for row in _aligned([Line(*HEADINGS), *lines]):
        console.say(row)
    read = sum(line.verdict == "read" for line in lines)
    console.say(f"inspect: {read} of {len(found)} cases would be read as {sequence}")


def cases(path: Path, sequence: str) -> list[raw.Case]:
    """The cases below a folder; without a key those of an export are numbered, in the order of the patient ids."""
    if raw.named_by_folder(path):
        return raw.by_folder(path, sequence)
    if identifiers.read_key(path) is not None:
        return raw.by_header(path)
    subjects = raw.by_subject(path)
    return [raw.Case(f"case {place}", tuple(files)) for place, files in enumerate(subjects.values(), 1)]


def inspect(case: raw.Case, *, sequence: str, min_slices: int, any_modality: bool) -> list[Line]:
    """The lines of one case; every series is read to the end, whether it would be ingested or not."""
    try:
        found = raw.survey(case, any_modality=any_modality)
    except CaseError as error:
        return [_lost_line(case, error)]
    best, refusal = None, None
    notes: list[tuple[Code, str]] = []
    try:
        best, notes = raw.choose(case, found, sequence)
    except CaseError as error:
        refusal = error
    lines = []
    for one in found.candidates:
        line = Line(case.case_id, one.title, sequences.verdict(one, best, sequence), str(one.slices))
        lines.append(_with_volume(line, one, min_slices, any_modality, notes if one is best else []))
    if refusal and refusal.code is not Code.NO_SERIES:
        lines.append(_lost_line(case, refusal))
    return lines or [_lost_line(case, refusal or CaseError(Code.NO_SERIES, "no series"))]


def _with_volume(
    line: Line, one: sequences.Candidate, min_slices: int, any_modality: bool, notes: Iterable[tuple[Code, str]]
) -> Line:
    """The line with what reading the series gave: geometry and warnings, or the code that stops it."""
    try:
        series = raw.read(one, any_modality=any_modality)
        header = series.header
        size = f"{header['columns']}x{header['rows']}x{header['slices']}"
        spacing = "x".join(f"{float(header[f'spacing_{axis}']):.3g}" for axis in "xyz")
        line = line._replace(size=size, spacing=spacing, plane=header["plane"], slices=str(header["slices"]))
        if header["slices"] < min_slices:
            raise CaseError(Code.TOO_FEW_SLICES, f"ingest.min_slices is {min_slices}")
    except CaseError as error:
        verdict = "would fail" if line.verdict == "read" else line.verdict
        return line._replace(verdict=verdict, code=error.code.value, remark=error.message)
    found = [*notes, *series.warnings]
    codes = ",".join(dict.fromkeys(code.value for code, _ in found))
    marks = [mark for mark in one.marks if not any(mark in text for _, text in found)]
    return line._replace(code=codes or "-", remark="; ".join([*marks, *(text for _, text in found)]))


def _lost_line(case: raw.Case, error: CaseError) -> Line:
    return Line(case.case_id, verdict="would fail", code=error.code.value, remark=error.message)


def _lost(case: raw.Case, error: CaseError) -> list[Line]:
    return [_lost_line(case, error)]


def _aligned(lines: list[Line]) -> list[str]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    cells = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return ["  ".join(row).rstrip() for row in cells]
