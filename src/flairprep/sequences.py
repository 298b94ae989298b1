"""Which of a case's series is the FLAIR (or T1w, T1wCE, T2w) to read, by physics first and by name second.

A name alone is weak: "T1 FLAIR" and the second inversion of an MP2RAGE are no FLAIR, whatever they are called. So the
times can veto a name, and where they are characteristic they need none.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flairprep.cases import CaseError, Code
from flairprep.headers import Header

SEQUENCES = ("FLAIR", "T1w", "T1wCE", "T2w")

FLAIR_INVERSION = (1200.0, 3200.0)  # ms; nulls the fluid: 1400 at 64 mT to 2800 at 3 T. T1 FLAIR has 600 to 1100
FLAIR_ECHO = 70.0  # ms at least; a 3D FLAIR states nominal echo times of several hundred
T1_ECHO = 40.0  # ms at most
T2_ECHO, T2_REPETITION = 60.0, 2000.0  # ms at least
MPRAGE_INVERSION, MPRAGE_ECHO = (500.0, 1300.0), 10.0  # ms; a gradient echo behind an inversion

NAMES = {  # of folders, series and protocols, lower case
    "FLAIR": r"flair|dark.?fluid|da-?fl(?![a-z])",
    "T1wCE": r"(?<![a-z])t1.*(ce|gd|gad|post|contrast|\+c|km)(?![a-z])|(?<![a-z])(ce|gd|post).*t1",
    "T1w": r"(?<![a-z])t1|mp.?rage|bravo|f?spgr|tfl3d|mp2rage",
    "T2w": r"(?<![a-z])t2(?!\s*(\*|star|_star|w?_?flair))",
}
HIGHEST_NUMBER = 100_000  # of a series that is told; a longer one may be a date or an id
LOCALIZER = r"locali[sz]er|scout|(?<![a-z])(loc|survey|3.?plane|aa_?head)(?![a-z])"
POST_CONTRAST = r"(?<![a-z])(ce|gd|gad|post|km)(?![a-z])|\+c(?![a-z])|gadolinium|contrast"
SUBTRACTION = r"(?<![a-z])sub(tr\w*)?(?![a-z])"
REFORMATTED = {"DERIVED", "MPR", "REFORMATTED", "PROJECTION IMAGE", "RESAMPLED", "MIP", "MNIP", "CSAMANIPULATED"}


@dataclass(frozen=True)
class Candidate:
    """A series: its files, what it was recognised as ("" where it is none of SEQUENCES), and what speaks against it.

    title: the number of the series and the sequence, which is all that may be told of its names. veto: why the times
    contradict its name. marks: post-contrast, subtraction, two inversion times, derived. fault: why it is no volume.
    """

    title: str
    headers: tuple[Header, ...]
    sequence: str
    veto: str
    marks: tuple[str, ...]
    fault: CaseError | None

    @property
    def paths(self) -> list[Path]:
        return [header.path for header in self.headers]

    @property
    def slices(self) -> int:
        return sum(header.frames for header in self.headers)

    @property
    def volumetric(self) -> bool:
        return any(header.volumetric for header in self.headers)

    @property
    def rank(self) -> tuple[bool, int, bool, bool, int]:
        """The smallest is read: sound, unmarked, 3D, with the most slices."""
        special = [mark for mark in self.marks if mark != "derived"]
        return self.fault is not None, len(special), "derived" in self.marks, not self.volumetric, -self.slices


def group(headers: Iterable[Header], folder: str = "") -> list[Candidate]:
    """The series of a case's files, in the order of their numbers.

    folder: the sequence whose folder the files lie in, where the layout says so; it is then what they claim to be.
    """
    series: dict[tuple[str, ...], list[Header]] = {}
    for header in headers:
        series.setdefault((header.patient, header.study, header.series), []).append(header)
    numbered = sorted(series.values(), key=lambda members: (members[0].number is None, members[0].number or 0))
    return [_candidate(place, members, folder) for place, members in enumerate(numbered, 1)]


def _candidate(place: int, headers: list[Header], folder: str) -> Candidate:
    images = [header for header in headers if header.frames] or headers
    sequence, veto = recognise(images, folder)
    number = images[0].number
    if number is None or not 0 <= number < HIGHEST_NUMBER:
        number = place
    title = f"series {number} ({sequence or 'not recognised'})"
    fault = next((header.fault for header in images if header.fault), None)
    if fault is None and _named(images, LOCALIZER):
        fault = CaseError(Code.LOCALIZER, "a localizer, by its name")
    return Candidate(title, tuple(headers), sequence, veto, _marks(images), fault)


def recognise(headers: Sequence[Header], folder: str = "") -> tuple[str, str]:
    """Which of SEQUENCES a series is, "" for none of them; and why its times contradict what it is called, if so.

    Sources of the limits: FLAIR nulls fluid of T1 4 s, so TI is ln 2 x T1 less what a finite TR takes (Hajnal 1992);
    AcquisitionContrast, DICOM PS3.3 C.8.13.3.1.1.
    """
    head = headers[0]
    claims = [folder] if folder else [name for name in NAMES if _named(headers, NAMES[name])]
    if head.acquisition_contrast == "FLUID_ATTENUATED" and "FLAIR" not in claims:
        claims.append("FLAIR")
    vetoes = [veto for claim in claims if (veto := _veto(headers, claim))]
    for claim in claims:
        if not _veto(headers, claim):
            return ("T1wCE" if claim == "T1w" and not folder and "post-contrast" in _marks(headers) else claim), ""
    return (_physics(headers) if not folder else ""), "; ".join(vetoes[:1])


def _times(headers: Sequence[Header]) -> tuple[float, ...]:
    return tuple(sorted({time for header in headers for time in header.inversion_times}))


def _veto(headers: Sequence[Header], sequence: str) -> str:
    """How the times contradict a name, "" where they do not; times that are not given contradict nothing."""
    echo, inversions = headers[0].echo_time, _times(headers)
    nulled = [time for time in inversions if FLAIR_INVERSION[0] <= time <= FLAIR_INVERSION[1]]
    if sequence == "FLAIR":
        if inversions and not nulled:
            return f"TI {inversions[0]:g} ms is no FLAIR's"
        return f"TE {echo:g} ms is no FLAIR's" if echo is not None and echo < FLAIR_ECHO else ""
    if sequence == "T2w":
        if nulled and (echo is None or echo >= FLAIR_ECHO):
            return f"TI {nulled[0]:g} ms is a FLAIR's"
        return f"TE {echo:g} ms is no T2w's" if echo is not None and echo < T2_ECHO else ""
    return f"TE {echo:g} ms is no T1w's" if echo is not None and echo > T1_ECHO else ""


def _physics(headers: Sequence[Header]) -> str:
    """The sequence that times alone tell, "" where they do not."""
    head, inversions = headers[0], _times(headers)
    echo, repetition = head.echo_time, head.repetition_time
    if echo is None or "EP" in head.scanning:  # echo-planar: diffusion, perfusion
        return ""
    if any(FLAIR_INVERSION[0] <= time <= FLAIR_INVERSION[1] for time in inversions) and echo >= FLAIR_ECHO:
        return "FLAIR"
    low, high = MPRAGE_INVERSION
    if inversions and low <= inversions[0] <= high and len(inversions) == 1 and echo <= MPRAGE_ECHO:
        return "T1wCE" if "post-contrast" in _marks(headers) else "T1w"
    spin_echo = "SE" in head.scanning and "GR" not in head.scanning
    if spin_echo and not inversions and echo >= T2_ECHO and repetition and repetition >= T2_REPETITION:
        return "T2w"
    return ""


def _named(headers: Sequence[Header], pattern: str) -> bool:
    return any(re.search(pattern, name) for name in headers[0].names)


def _marks(headers: Sequence[Header]) -> tuple[str, ...]:
    head = headers[0]
    found = {
        "post-contrast": head.contrast_agent or _named(headers, POST_CONTRAST),
        "subtraction": bool(head.image_type & {"SUBTRACT", "SUBTRACTION", "SUB"}) or _named(headers, SUBTRACTION),
        "two inversion times": len(_times(headers)) > 1,
        "derived": bool(head.image_type & REFORMATTED),
    }
    return tuple(mark for mark, holds in found.items() if holds)


def choose(candidates: Sequence[Candidate], sequence: str) -> Candidate:
    """The series to read as `sequence`: the best by `Candidate.rank` of those that were recognised as it.

    Raises:
        CaseError: NO_SERIES; AMBIGUOUS_SERIES where the two best are equally good or lie in two studies; or why the
            best one is no volume.
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


def verdict(one: Candidate, best: Candidate | None, sequence: str) -> str:
    """What became of a series, in words: "read", or what decided against it.

    best: the one that is read, None where the case failed.
    """
    if one is best:
        return "read"
    if one.sequence != sequence:
        return one.veto or (f"{one.sequence}, not {sequence}" if one.sequence else "not recognised")
    if one.fault:
        return one.fault.code.value
    if best is None:
        return "another one is as good"
    if more := [mark for mark in one.marks if mark not in best.marks]:
        return ", ".join(more)
    return "not 3D" if best.volumetric and not one.volumetric else f"{one.slices} slices, not {best.slices}"
