"""Classify a series as FLAIR, T1w, T1wCE or T2w by its names and its echo, repetition and inversion times.

A name alone is weak: a "T1 FLAIR" and the second inversion of an MP2RAGE are not FLAIR. So times can veto a name, and
where they are characteristic they need none.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

from flairprep.dicom.header import Header

MRSequence = Literal["FLAIR", "T1w", "T1wCE", "T2w"]
SEQUENCES: tuple[str, ...] = get_args(MRSequence)
FLAIR_INVERSION = (1200.0, 3200.0)  # ms; nulls fluid: 1400 at 64 mT to 2800 at 3 T. T1 FLAIR has 600 to 1100
FLAIR_ECHO = 70.0  # ms at least; a 3D FLAIR states nominal echo times of several hundred
T1_ECHO, T1_INVERSION = 40.0, 1600.0  # ms at most; the second inversion of an MP2RAGE has 2500
T2_ECHO, T2_REPETITION = 60.0, 2000.0  # ms at least
MPRAGE_INVERSION, MPRAGE_ECHO = (300.0, 1300.0), 10.0  # ms; range, at most. A gradient echo after an inversion
HEAD = r"(?<![a-z])(?:[des]|cs|wip|ax|sag|cor|tra)?"  # what sites write onto a weighting: 3DT1, eT1W_SE; not "rest1"
FLUID = r"flair|dark.?fluid|da[-_ ]?fl(?![a-z])|fluid.?att"
GADOLINIUM = r"(?:w?ce|gd|gad[a-z]*|km|contrast[a-z]*)(?![a-z])"  # km: German
NAMES = {  # of series and protocols, lower case, the most telling first; "": other images that use these words
    "": (
        r"t2[-_ ]*w?[-_ ]*(\*|star)|t2s(?![a-z])|(?<![a-z])(t1.?rho|inv[-_ ]?[12]|t[12][-_ ]images)(?![a-z])"
        r"|(?<![a-z])(adc|dwi|dti|diff(usion)?|tracew?|perf(usion)?|p?c?asl|dsc|dce|bold|fmri)(?![a-z])"
        r"|(?<![a-z])(swi|swan|hemo|stir|psir|tof|mr[av]|map(s|ping|it)?)(?![a-z])"
    ),
    "T1w": rf"{HEAD}t1(?!\d)|mp.?rage|bravo|spgr|tfl3d",  # before FLAIR: a "T1 FLAIR" is T1w
    "FLAIR": FLUID,
    "T2w": rf"^(?!.*(tirm|{FLUID})).*{HEAD}t2(?!\d)",  # a tirm is STIR or FLAIR; its TI tells
}
POST_CONTRAST = (  # not: post-op, posterior, postprocessing
    rf"(?<![a-z]){GADOLINIUM}|(?<![a-z])post(?![a-z]|[-_ ]?(op|rt|proc|foss|trea))|\+ ?c(?![a-z])|(?<![a-z])c ?\+"
    r"|t1w?c(?![a-z0-9])"
)
NATIVE = rf"(?<![a-z])((non?|pre|ohne|sin|sans)[^a-z]*{GADOLINIUM}|(w/?o|without)(?![a-z]).*{GADOLINIUM})"
SUBTRACTION = r"(?<![a-z])sub(tr[a-z]*)?(?![a-z]|-\w|_?\d)"  # not: subject, nor the "sub-01" of BIDS
TWO_INVERSIONS = r"(?<![a-z0-9])dir(?![a-z0-9])|double.?inv"
REFORMATS = r"reformat|(?<!t1)(?<!t1w)[-_ ]mpr(?![a-z])|(?<![a-z])m(in)?ip(?![a-z])"  # t1_mpr is an MPRAGE
OTHER_KIND = "another kind of image, by its name"
LOCALIZER = r"locali[sz]er|scout|(?<![a-z])(loc|survey|3.?pl(ane)?|aa_?head)(?![a-z])"
REFORMATTED = {"DERIVED", "MPR", "REFORMATTED", "PROJECTION IMAGE", "RESAMPLED", "MIP", "MNIP", "CSAMANIPULATED"}


def recognise(headers: Sequence[Header], folder: str = "") -> tuple[str, str]:
    """Recognise which of SEQUENCES a series is ("" for none), and why its times contradict its name ("" if not).

    The first claim that the times do not veto decides: Acquisition Contrast, then the names from the series' own to
    the folder's. Without one the times decide alone.

    Sources: FLAIR nulls fluid of T1 4 s, so TI is ln 2 x T1 less what a finite TR takes (Hajnal 1992); Acquisition
    Contrast, DICOM PS3.3 C.8.13.3.1.1.

    Args:
        headers: of the files of the series, at least one.
        folder: the sequence that names the files' folder; then the only claim.
    """
    if folder:
        veto = _veto(headers, folder)
        return ("" if veto else folder), veto
    claims = ["FLAIR"] if headers[0].acquisition_contrast == "FLUID_ATTENUATED" else []
    claims += [claim for name in _names(headers) for claim in NAMES if re.search(NAMES[claim], name)]
    first = ""
    for claim in claims:
        if not claim:
            return "", first or OTHER_KIND
        if not (veto := _veto(headers, claim)):
            return _with_contrast(headers, claim), ""
        first = first or veto
    return _with_contrast(headers, _physics(headers)), first


def contradiction(headers: Sequence[Header], folder: str) -> str:
    """Return what names, sequence and times say against the sequence that names the folder, "" where they agree.

    T1w and T1wCE count as one: whether an agent was given is a mark of its own.
    """
    first, *others = headers  # the first one gives the names
    own, why = recognise([replace(first, names=("", *first.names[1:])), *others])
    if own and own.removesuffix("CE") != folder.removesuffix("CE"):
        return f"the header says {own}, the folder {folder}"
    return f"{why}, in a folder {folder}" if why == OTHER_KIND else ""


def _with_contrast(headers: Sequence[Header], sequence: str) -> str:
    return "T1wCE" if sequence == "T1w" and "post-contrast" in marks_of(headers) else sequence


def _times(headers: Sequence[Header]) -> tuple[float, ...]:
    return tuple(sorted({time for header in headers for time in header.inversion_times}))


def _echoes(headers: Sequence[Header]) -> tuple[float, ...]:
    return tuple(sorted({header.echo_time for header in headers if header.echo_time is not None}))


def _veto(headers: Sequence[Header], sequence: str) -> str:
    """Return how the times and Scanning Sequence contradict a name, "" where they do not or are absent."""
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
    """Return the sequence that the times alone imply, "" for none."""
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
    """Return the names of a series, its own first; the folder's only where it has none, as after anonymisation."""
    folder, *own = headers[0].names
    return tuple(own) if any(own[:2]) else (*own, folder)


def is_named(headers: Sequence[Header], pattern: str, *, unless: str = "^$") -> bool:
    """Return whether a name of the series matches `pattern` and not `unless`."""
    return any(re.search(pattern, name) and not re.search(unless, name) for name in _names(headers))


def marks_of(headers: Sequence[Header]) -> tuple[str, ...]:
    """Return what speaks against a series: post-contrast, subtraction, two inversion times, derived.

    Image Type, DICOM PS3.3 C.7.6.1.1.2 and C.8.3.1.1.1; Contrast/Bolus Agent, C.7.6.4.
    """
    kinds = frozenset[str]().union(*(header.image_type for header in headers))
    marks = {
        "post-contrast": headers[0].contrast_agent or is_named(headers, POST_CONTRAST, unless=NATIVE),
        "subtraction": bool(kinds & {"SUBTRACT", "SUBTRACTION", "SUB"}) or is_named(headers, SUBTRACTION),
        "two inversion times": len({round(time) for time in _times(headers)}) > 1 or is_named(headers, TWO_INVERSIONS),
        "derived": bool(kinds & REFORMATTED) or is_named(headers, REFORMATS),
    }
    return tuple(mark for mark, holds in marks.items() if holds)
