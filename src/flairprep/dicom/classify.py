"""Which of a case's series is the FLAIR (or T1w, T1wCE, T2w) to read, by physics first and by name second.

A name alone is weak: "T1 FLAIR" and the second inversion of an MP2RAGE are no FLAIR, whatever they are called. So the
times can veto a name, and where they are characteristic they need none.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from flairprep.core.outcomes import CaseError, Code
from flairprep.dicom.header import Header

Name = Literal["FLAIR", "T1w", "T1wCE", "T2w"]
SEQUENCES: tuple[str, ...] = get_args(Name)

FLAIR_INVERSION = (1200.0, 3200.0)  # ms; nulls the fluid: 1400 at 64 mT to 2800 at 3 T. T1 FLAIR has 600 to 1100
FLAIR_ECHO = 70.0  # ms at least; a 3D FLAIR states nominal echo times of several hundred
T1_ECHO, T1_INVERSION = 40.0, 1600.0  # ms at most; the second inversion of an MP2RAGE has 2500
T2_ECHO, T2_REPETITION = 60.0, 2000.0  # ms at least
MPRAGE_INVERSION, MPRAGE_ECHO = (300.0, 1300.0), 10.0  # ms; a gradient echo behind an inversion

HEAD = r"(?<![a-z])(?:[des]|cs|wip|ax|sag|cor|tra)?"  # what sites write onto a weighting: 3DT1, eT1W_SE; not "rest1"
FLUID = r"flair|dark.?fluid|da[-_ ]?fl(?![a-z])|fluid.?att"
GADOLINIUM = r"(?:w?ce|gd|gad[a-z]*|km|contrast[a-z]*)(?![a-z])"  # km: German
NAMES = {  # of series and protocols, lower case, the most telling first; "" is what has the words but is none of them
    "": (
        r"t2[-_ ]*w?[-_ ]*(\*|star)|t2s(?![a-z])|(?<![a-z])(t1.?rho|inv[-_ ]?[12]|t[12][-_ ]images)(?![a-z])"
        r"|(?<![a-z])(adc|dwi|dti|diff(usion)?|tracew?|perf(usion)?|p?c?asl|dsc|dce|bold|fmri)(?![a-z])"
        r"|(?<![a-z])(swi|swan|hemo|stir|psir|tof|mr[av]|map(s|ping|it)?)(?![a-z])"
    ),
    "T1w": rf"{HEAD}t1(?!\d)|mp.?rage|bravo|spgr|tfl3d",  # before FLAIR: a "T1 FLAIR" is a T1w
    "FLAIR": FLUID,
    "T2w": rf"^(?!.*(tirm|{FLUID})).*{HEAD}t2(?!\d)",  # a tirm is a STIR or a FLAIR; its TI tells
}
HIGHEST_NUMBER = 100_000  # of a series that is told; a longer one may be a date or an id
LOCALIZER = r"locali[sz]er|scout|(?<![a-z])(loc|survey|3.?pl(ane)?|aa_?head)(?![a-z])"
POST_CONTRAST = (  # not: post-op, posterior, postprocessing
    rf"(?<![a-z]){GADOLINIUM}|(?<![a-z])post(?![a-z]|[-_ ]?(op|rt|proc|foss|trea))|\+ ?c(?![a-z])|(?<![a-z])c ?\+"
    r"|t1w?c(?![a-z0-9])"
)
NATIVE = rf"(?<![a-z])((non?|pre|ohne|sin|sans)[^a-z]*{GADOLINIUM}|(w/?o|without)(?![a-z]).*{GADOLINIUM})"
SUBTRACTION = r"(?<![a-z])sub(tr[a-z]*)?(?![a-z]|-\w|_?\d)"  # not: subject, nor the "sub-01" of BIDS
TWO_INVERSIONS = r"(?<![a-z0-9])dir(?![a-z0-9])|double.?inv"
REFORMATS = r"reformat|(?<!t1)(?<!t1w)[-_ ]mpr(?![a-z])|(?<![a-z])m(in)?ip(?![a-z])"  # t1_mpr is an MPRAGE
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
        expected = ("derived", "post-contrast") if self.sequence == "T1wCE" else ("derived",)
        special = [mark for mark in self.marks if mark not in expected]
        return self.fault is not None, len(special), "derived" in self.marks, not self.volumetric, -self.slices


def group(headers: Iterable[Header], folder: str = "") -> list[Candidate]:
    """The series of a case's files, in the order of their numbers.

    folder: the sequence whose folder the files lie in, where the layout says so; it is then what they claim to be.
    """
    series: dict[tuple[str, ...], list[Header]] = {}
    for header in sorted(headers, key=lambda header: header.path):
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

    What the file says first decides: the acquisition contrast, the names from the series' own to the folder's, the
    times. Only what the times contradict, or what says nothing, leaves it to the next.

    Sources of the limits: FLAIR nulls fluid of T1 4 s, so TI is ln 2 x T1 less what a finite TR takes (Hajnal 1992);
    AcquisitionContrast, DICOM PS3.3 C.8.13.3.1.1.
    """
    if folder:
        veto = _veto(headers, folder)
        return ("" if veto else folder), veto
    claims = ["FLAIR"] if headers[0].acquisition_contrast == "FLUID_ATTENUATED" else []
    claims += [claim for name in _names(headers) for claim in NAMES if re.search(NAMES[claim], name)]
    first = ""
    for claim in claims:
        if not claim:
            return "", first or "another kind of image, by its name"
        if not (veto := _veto(headers, claim)):
            return _with_contrast(headers, claim), ""
        first = first or veto
    return _with_contrast(headers, _physics(headers)), first


def _with_contrast(headers: Sequence[Header], sequence: str) -> str:
    return "T1wCE" if sequence == "T1w" and "post-contrast" in _marks(headers) else sequence


def _times(headers: Sequence[Header]) -> tuple[float, ...]:
    return tuple(sorted({time for header in headers for time in header.inversion_times}))


def _echoes(headers: Sequence[Header]) -> tuple[float, ...]:
    return tuple(sorted({header.echo_time for header in headers if header.echo_time is not None}))


def _veto(headers: Sequence[Header], sequence: str) -> str:
    """How the physics contradicts a name, "" where it does not; what is not given contradicts nothing."""
    echoes, inversions, scanning = _echoes(headers), _times(headers), headers[0].scanning
    low, high = FLAIR_INVERSION
    if sequence == "FLAIR":
        if inversions and not any(low <= time <= high for time in inversions):
            return f"TI {inversions[0]:g} ms is no FLAIR's"
        return f"TE {echoes[0]:g} ms is no FLAIR's" if echoes and echoes[0] < FLAIR_ECHO else ""
    if "EP" in scanning:  # diffusion, perfusion, their reference images
        return f"echo-planar, no {sequence}"
    if sequence == "T2w":
        if inversions:
            return f"TI {inversions[0]:g} ms is no T2w's"
        if "IR" in scanning or ("GR" in scanning and "SE" not in scanning):  # STIR; T2*
            return "no spin echo without inversion, no T2w"
        return f"TE {echoes[0]:g} ms is no T2w's" if echoes and echoes[0] < T2_ECHO else ""
    if inversions and inversions[0] > T1_INVERSION:
        return f"TI {inversions[0]:g} ms is no {sequence}'s"
    return f"TE {echoes[-1]:g} ms is no {sequence}'s" if echoes and echoes[-1] > T1_ECHO else ""


def _physics(headers: Sequence[Header]) -> str:
    """The sequence that times alone tell, "" where they do not."""
    echoes, inversions, scanning = _echoes(headers), _times(headers), headers[0].scanning
    if not echoes or "EP" in scanning:
        return ""
    if inversions and not _veto(headers, "FLAIR"):
        return "FLAIR"
    low, high = MPRAGE_INVERSION
    if len(inversions) == 1 and low <= inversions[0] <= high and echoes[-1] <= MPRAGE_ECHO:
        return "T1w"
    long = (headers[0].repetition_time or 0) >= T2_REPETITION
    return "T2w" if "SE" in scanning and "GR" not in scanning and long and not _veto(headers, "T2w") else ""


def _names(headers: Sequence[Header]) -> tuple[str, ...]:
    """The names of a series, its own first; the folder's only where it has none, as after an anonymisation."""
    folder, *own = headers[0].names
    return tuple(own) if any(own[:2]) else (*own, folder)


def _named(headers: Sequence[Header], pattern: str, *, unless: str = "^$") -> bool:
    return any(re.search(pattern, name) and not re.search(unless, name) for name in _names(headers))


def _marks(headers: Sequence[Header]) -> tuple[str, ...]:
    head = headers[0]
    kinds = frozenset[str]().union(*(header.image_type for header in headers))
    found = {
        "post-contrast": head.contrast_agent or _named(headers, POST_CONTRAST, unless=NATIVE),
        "subtraction": bool(kinds & {"SUBTRACT", "SUBTRACTION", "SUB"}) or _named(headers, SUBTRACTION),
        "two inversion times": len({round(time) for time in _times(headers)}) > 1 or _named(headers, TWO_INVERSIONS),
        "derived": bool(kinds & REFORMATTED) or _named(headers, REFORMATS),
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
        return "the case failed"  # as ambiguous, or for a damaged file; its own row says
    if more := [mark for mark in one.marks if mark not in best.marks]:
        return ", ".join(more)
    return "not 3D" if best.volumetric and not one.volumetric else f"{one.slices} slices, not {best.slices}"
