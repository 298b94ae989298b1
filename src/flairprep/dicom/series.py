"""Group the files of a case to series and choose the one to read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.classify import is_named, marks_of, recognise
from flairprep.dicom.header import Header

HIGHEST_NUMBER = 100_000  # Series Numbers from here on are not shown: they may be a date or an id
LOCALIZER = r"locali[sz]er|scout|(?<![a-z])(loc|survey|3.?pl(ane)?|aa_?head)(?![a-z])"


@dataclass(frozen=True)
class CandidateSeries:
    """A series of a case that may be read: its files, its sequence ("" for none of SEQUENCES), what speaks against it.

    title: the number of the series and the sequence; its names may identify a patient. veto: why the times contradict
    its name. marks: post-contrast, subtraction, two inversion times, derived. fault: why it cannot become a volume.
    """

    title: str
    headers: tuple[Header, ...]
    sequence: str
    veto: str
    marks: tuple[str, ...]
    fault: CaseError | None

    @property
    def paths(self) -> list[Path]:
        """Return the files."""
        return [header.path for header in self.headers]

    @property
    def slices(self) -> int:
        """Return how many slices the files hold."""
        return sum(header.frames for header in self.headers)

    @property
    def volumetric(self) -> bool:
        """Return whether MR Acquisition Type is 3D, PS3.3 C.8.3.1.1.2."""
        return any(header.volumetric for header in self.headers)

    @property
    def rank(self) -> tuple[bool, int, bool, bool, int]:
        """Return the sort key of a choice, best first: sound, unmarked, original, 3D, with the most slices."""
        expected = ("derived", "post-contrast") if self.sequence == "T1wCE" else ("derived",)
        special = [mark for mark in self.marks if mark not in expected]
        return self.fault is not None, len(special), "derived" in self.marks, not self.volumetric, -self.slices


def group(headers: Iterable[Header], folder: str = "") -> list[CandidateSeries]:
    """Group the files of a case to series, in the order of their Series Numbers.

    folder: the sequence that names the files' folder, where the layout has such folders; the times must fit it.
    """
    series: dict[tuple[str, ...], list[Header]] = {}
    for header in sorted(headers, key=lambda header: header.path):
        series.setdefault((header.patient, header.study, header.series), []).append(header)
    numbered = sorted(series.values(), key=lambda members: (members[0].number is None, members[0].number or 0))
    return [_candidate(place, members, folder) for place, members in enumerate(numbered, 1)]


def _candidate(place: int, headers: list[Header], folder: str) -> CandidateSeries:
    images = [header for header in headers if header.frames] or headers
    sequence, veto = recognise(images, folder)
    number = images[0].number
    if number is None or not 0 <= number < HIGHEST_NUMBER:
        number = place
    title = f"series {number} ({sequence or 'not recognised'})"
    fault = next((header.fault for header in images if header.fault), None)
    if fault is None and is_named(images, LOCALIZER):
        fault = CaseError(Code.LOCALIZER, "a localizer, by its name")
    return CandidateSeries(title, tuple(headers), sequence, veto, marks_of(images), fault)


def choose_candidate(candidates: Sequence[CandidateSeries], sequence: str) -> CandidateSeries:
    """Choose the series to read as `sequence`: of those recognised as it, the best by `CandidateSeries.rank`.

    Raises:
        CaseError: NO_SERIES; AMBIGUOUS_SERIES where several are equally good or lie in two studies; or the fault of the
            best one.
    """
    fitting = sorted((one for one in candidates if one.sequence == sequence), key=lambda one: one.rank)
    if not fitting:
        known = [f"{one.title}{f': {one.veto}' if one.veto else ''}" for one in candidates]
        raise CaseError(Code.NO_SERIES, f"no {sequence} among {len(known)} series{': ' if known else ''}{_few(known)}")
    best = fitting[0]
    if best.fault:
        raise best.fault
    sound = [one for one in fitting if one.fault is None]
    if len(studies := {(one.headers[0].patient, one.headers[0].study) for one in sound}) > 1:
        raise CaseError(Code.AMBIGUOUS_SERIES, f"{len(sound)} {sequence} series in {len(studies)} studies")
    if equal := [one.title for one in sound[1:] if one.rank == best.rank]:
        raise CaseError(Code.AMBIGUOUS_SERIES, f"equally good: {_few([best.title, *equal])}")
    return best


def _few(titles: list[str]) -> str:
    return "; ".join(titles[:6]) + ("; ..." if len(titles) > 6 else "")


def decision(one: CandidateSeries, best: CandidateSeries | None, sequence: str) -> str:
    """Return what became of a series: "read", or what decided against it.

    best: the series that is read, None where the case failed.
    """
    if one is best:
        return "read"
    if one.sequence != sequence:
        return one.veto or (f"{one.sequence}, not {sequence}" if one.sequence else "not recognised")
    if one.fault:
        return one.fault.code.value
    if best is None:
        return "the case failed"  # as ambiguous or for a damaged file; its row in cases.csv says
    if more := [mark for mark in one.marks if mark not in best.marks]:
        return ", ".join(more)
    return "not 3D" if best.volumetric and not one.volumetric else f"{one.slices} slices, not {best.slices}"
