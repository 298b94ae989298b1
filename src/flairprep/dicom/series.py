"""Group the files of a case to series and choose the one to read."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import grouping
from flairprep.dicom.classify import LOCALIZER, contradiction, is_named, marks_of, recognise
from flairprep.dicom.copies import corrections, without_corrections
from flairprep.dicom.header import Header

HIGHEST_NUMBER = 100_000  # Series Numbers from here on are not shown: they may be a date or an id. See `_numbers`
LOCALIZER_SLICES = 8  # a series of fewer that is named like a localizer is one


@dataclass(frozen=True)
class CandidateSeries:
    """A series of a case that may be read: its files, its sequence ("" for none of SEQUENCES), what speaks against it.

    title: the number of the series and the sequence; its names may identify a patient. number: as in the title, which
    no other series of the case has. session: the ordinal of its session, 0 for none. veto: why the times contradict its
    name. marks: of `classify.marks_of`, or "named like a localizer". fault: why it cannot become a volume. against:
    what the header says against the folder's name. split: whether its files name several series, studies or patients.
    volume: which of several volumes at the same positions is read, first or last; None for none of them.
    """

    title: str
    headers: tuple[Header, ...]
    sequence: str
    veto: str
    marks: tuple[str, ...]
    fault: CaseError | None
    against: str = ""
    split: bool = False
    volume: str | None = None
    number: int = 0
    session: int = 0

    @property
    def kept(self) -> tuple[Header, ...]:
        """Return the headers of the images that are read, without foreign ones."""
        return tuple(grouping.set_aside(self.headers).kept)

    @property
    def paths(self) -> list[Path]:
        """Return the files."""
        return [header.path for header in self.headers]

    @property
    def slices(self) -> int:
        """Return how many slices the files hold."""
        return sum(header.frames for header in self.kept)

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
    series = grouping.group(headers)
    numbered = sorted(series, key=lambda members: (members[0].number is None, members[0].number or 0))
    numbers = _numbers([grouping.set_aside(members).kept[0].number for members in numbered])
    return [_candidate(number, members, folder) for number, members in zip(numbers, numbered, strict=True)]


def _numbers(stored: Sequence[int | None]) -> list[int]:
    """Return a number per series that no other one has.

    The k-th of those that share a Series Number gets k in front, from HIGHEST_NUMBER on: 5 and 5 become 100005 and
    200005, so that neither is taken for the only one. Unusable numbers become the first free ones from the place on.
    """
    usable = [number if number is not None and 0 <= number < HIGHEST_NUMBER else None for number in stored]
    counts, seen = Counter(usable), Counter[int]()
    taken = set(usable)
    numbers = []
    for place, number in enumerate(usable, 1):
        if number is None:
            number = next(free for free in count(place) if free not in taken)
            taken.add(number)
        elif counts[number] > 1:
            seen[number] += 1
            number += seen[number] * HIGHEST_NUMBER
        numbers.append(number)
    return numbers


def _candidate(number: int, headers: list[Header], folder: str) -> CandidateSeries:
    parts = grouping.set_aside(headers)
    images = parts.kept
    sequence, veto = recognise(images, folder)
    title = f"series {number} ({sequence or 'not recognised'})"
    fault, marks = parts.fault, marks_of(images)
    if fault is None and is_named(images, LOCALIZER):
        if _like_localizer(images):
            fault = CaseError(Code.LOCALIZER, "a localizer, by its name, and by few slices or mixed planes")
        else:
            marks = (*marks, "named like a localizer")
    against = contradiction(images, folder) if folder and not veto else ""
    split = len({(header.patient, header.study, header.series) for header in images}) > 1
    return CandidateSeries(title, tuple(headers), sequence, veto, marks, fault, against, split, number=number)


def _like_localizer(images: Sequence[Header]) -> bool:
    """Return whether a series has few slices, or planes that mix as a localizer's do."""
    slices = sum(header.frames for header in images)
    planes = Counter(tuple(round(cosine) for cosine in header.orientation) for header in images if header.orientation)
    return slices < LOCALIZER_SLICES or (len(planes) > 1 and max(planes.values()) < 0.8 * sum(planes.values()))


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
    equal = equally_good(sound, best)
    if len(equal) == 1:
        return best
    if (corrected := _corrected(equal)) is None:
        raise CaseError(Code.AMBIGUOUS_SERIES, f"equally good: {_few([one.title for one in equal])}")
    return corrected


def equally_good(candidates: Sequence[CandidateSeries], best: CandidateSeries) -> list[CandidateSeries]:
    """Return the candidates of the same sequence and rank as `best`, itself included."""
    return [one for one in candidates if one.sequence == best.sequence and one.rank == best.rank]


def _corrected(equal: Sequence[CandidateSeries]) -> CandidateSeries | None:
    """Return the one that the scanner corrected most, where the others are the same images without; None otherwise."""
    types = [frozenset.intersection(*(header.image_type for header in one.kept)) for one in equal]
    images = {
        (
            without_corrections(kind),
            *((header.echo_time, header.repetition_time, header.inversion_times) for header in one.kept[:1]),
            frozenset(tuple(round(value, 1) for value in header.position) for header in one.kept),
        )
        for kind, one in zip(types, equal, strict=True)
    }
    ranked = sorted(zip(map(corrections, types), range(len(equal)), strict=True))
    return None if len(images) > 1 or ranked[-1][0] == ranked[-2][0] else equal[ranked[-1][1]]


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
    if one.rank == best.rank:
        return "less corrected by the scanner"
    return "not 3D" if best.volumetric and not one.volumetric else f"{one.slices} slices, not {best.slices}"
