"""Look at a folder of scans for what section `ingest` of params.yaml needs: its layout, its cases, its sequence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flairprep.cohort import case_ids
from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import discovery
from flairprep.dicom.discovery import RawCase
from flairprep.dicom.ingest_params import IngestParams
from flairprep.dicom.survey import Survey
from flairprep.nifti_input import sessions
from flairprep.nifti_input.discovery import find_cases, of_nifti
from flairprep.runner.map_cases import map_cases

LOOKED_AT = 24  # cases whose headers are read, evenly spaced
DEFAULT = "FLAIR"
LAYOUTS = {
    "folders": "a folder or archive per case",
    "nifti": "NIfTI files, a folder per case",
    "export": "an export, its cases by the patient ids of the headers",
}


@dataclass(frozen=True)
class Scans:
    """What a folder of scans holds.

    layout: one of LAYOUTS. keyed: whether a key makes case ids of patient ids. ids: case ids; of an export without a
    key its patient ids, which are for comparing alone. sequences: in how many of the cases looked at each was seen.
    sequence: the one to read. outcomes: code -> how many of those cases it stops, "" for those that would be read.
    """

    layout: str
    keyed: bool
    ids: frozenset[str]
    sequences: dict[str, int]
    sequence: str
    outcomes: dict[str, int]

    def describe(self) -> list[str]:
        """Return what was found, as sentences without any id."""
        looked = sum(self.outcomes.values())
        seen = ", ".join(f"{name} in {count}" for name, count in self.sequences.items()) or "no known sequence"
        lines = [
            f"{len(self.ids)} cases: {LAYOUTS[self.layout]}",
            f"of {looked} cases looked at: {seen}; {self.outcomes.get('', 0)} would be read as {self.sequence}",
        ]
        if failing := {code: count for code, count in self.outcomes.items() if code}:
            lines[1] += ", not " + ", ".join(f"{count} ({code})" for code, count in failing.items())
        return lines


def look(folder: Path) -> Scans:
    """Look at a raw folder; of each of up to LOOKED_AT cases read the headers.

    Raises:
        FlairprepError: it is no folder or holds no case; see `nifti_input.discovery.find_cases`.
    """
    if not folder.is_dir():
        raise FlairprepError(f"--scans {folder}: not a folder; name the one that holds the cases")
    layout, keyed = _layout(folder), case_ids.read_key(folder) is not None
    cases, ids = _cases(folder, layout, keyed, DEFAULT)
    if not cases:
        raise FlairprepError(f"--scans {folder}: no case in it; see docs on the layouts: CASE/FLAIR/, NIfTI, an export")
    surveys = _surveys(cases, DEFAULT)
    seen = Counter(name for case, one in surveys for name in _sequences(case, one, folder))
    sequence = DEFAULT if DEFAULT in seen or not seen else seen.most_common(1)[0][0]
    if sequence != DEFAULT:
        cases, _ = _cases(folder, layout, keyed, sequence)
        surveys = _surveys(cases, sequence)
    outcomes = Counter(_outcome(case, one, sequence) for case, one in surveys)
    return Scans(layout, keyed, frozenset(ids), dict(seen.most_common()), sequence, dict(outcomes.most_common()))


def _layout(folder: Path) -> str:
    if discovery.named_by_folder(folder):
        return "folders"
    return "nifti" if of_nifti(folder) else "export"


def _cases(folder: Path, layout: str, keyed: bool, sequence: str) -> tuple[list[RawCase], list[str]]:
    """Return the cases and their ids; without its key those of an export are numbered, and its ids are patient ids."""
    if layout != "export" or keyed:
        cases = find_cases(folder, sequence)
        return cases, [case.case_id for case in cases]
    subjects = discovery.group_by_subject(folder, None)
    cases = [RawCase(f"case {place}", tuple(files)) for place, files in enumerate(subjects.values(), 1)]
    return cases, list(subjects)


def _surveys(cases: Sequence[RawCase], sequence: str) -> list[tuple[RawCase, Survey | CaseError]]:
    step = max(1, len(cases) // LOOKED_AT)
    sample = cases[::step][:LOOKED_AT]
    found = map_cases(partial(_survey, sequence=sequence), sample, "init", on_failure=lambda _, error: error)
    return list(zip(sample, found, strict=True))


def _survey(case: RawCase, *, sequence: str) -> Survey | CaseError:
    try:
        return sessions.survey(case, sequence)
    except CaseError as error:
        return error


def _sequences(case: RawCase, survey: Survey | CaseError, folder: Path) -> set[str]:
    """Return the sequences of a case, by its headers and by the names of its folders."""
    own = folder / case.case_id
    names = {discovery.sequence_of(path) for path in own.iterdir()} if own.is_dir() else set()
    series = survey.candidates if isinstance(survey, Survey) else []
    return (names | {one.sequence for one in series}) - {""}


def _outcome(case: RawCase, survey: Survey | CaseError, sequence: str) -> str:
    if isinstance(survey, CaseError):
        return survey.code.value
    try:
        sessions.choose(case, survey, _section(sequence))
    except CaseError as error:
        return error.code.value
    return ""


def _section(sequence: str) -> IngestParams:
    """Return section ingest with nothing excluded or picked."""
    empty: dict[str, Any] = {
        "exclude": {},
        "pick": {},
        "session": None,
        "max_failed": 0.0,
        "min_slices": 1,
        "volume": None,
    }
    return params.validate(IngestParams, {"dicom_dir": "data/raw/train", "sequence": sequence, **empty}, "ingest")
