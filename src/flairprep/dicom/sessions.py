"""Tell the sessions of a patient apart, by study or folder ses-X, and keep those that params.yaml asks for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.header import Header
from flairprep.dicom.series import CandidateSeries

Session = Literal["first", "last", "each"]
Key = tuple[str, str]  # patient; study, or folder of the session where there is none

DAY = slice(8)  # of a date with its time, 20 digits
NO_TIME = "0" * 12
LISTED = 4  # series that a message names


@dataclass(frozen=True)
class _Session:
    """A session; when: its first date and time, as in `Header.when`; name: X of its folder ses-X; "" for none."""

    key: Key
    when: str
    name: str


def numbered(candidates: Sequence[CandidateSeries], sequence: str, session: int = 0) -> list[CandidateSeries]:
    """Return the series of a case with the ordinals of their sessions, from 1 in the order of acquisition.

    A session is a study with a sound series of the sequence. The series of other studies keep 0.

    session: the ordinal of the only one, where the case is one of several of a patient.
    """
    place = {one.key: number for number, one in enumerate(_sessions(candidates, sequence), 1)}
    if session:
        place = dict.fromkeys(place, session)
    return [replace(one, session=place.get(_key(one.headers[0]), 0)) for one in candidates]


def are_several(candidates: Sequence[CandidateSeries], sequence: str) -> bool:
    """Return whether there are several sessions, of one patient as far as ids tell."""
    return len(_sessions(candidates, sequence)) > 1 and not _are_people(candidates, sequence)


def limited(
    candidates: Sequence[CandidateSeries], case_id: str, sequence: str, pick: int | None, session: Session | None
) -> list[CandidateSeries]:
    """Return the series, with those that are not asked for as no longer of the sequence.

    Args:
        candidates: of one case, `numbered`.
        case_id: for messages.
        sequence: the one to read.
        pick: the number of the series to read; None for the best one.
        session: first or last keeps the series of one session; each and None keep all.

    Raises:
        CaseError: NO_SERIES where none has the number; AMBIGUOUS_SERIES where two have it, or where nothing tells which
            session is the first.
    """
    if pick is not None:
        return _picked(candidates, case_id, sequence, pick)
    sessions = _sessions(candidates, sequence)
    if session not in ("first", "last") or len(sessions) < 2 or _are_people(candidates, sequence):
        return list(candidates)
    one, other = sessions[:2] if session == "first" else sessions[-2:]
    if not _is_known(one, other):
        text = f"ingest.session: {session}: no date or name tells the order of its {len(sessions)} sessions"
        raise CaseError(Code.AMBIGUOUS_SERIES, f"{text}; {remedy(candidates, case_id, sequence, by_session=False)}")
    kept = sessions[0 if session == "first" else -1].key
    return [one if _key(one.headers[0]) == kept else _aside(one, sequence, "another session") for one in candidates]


def remedy(candidates: Sequence[CandidateSeries], case_id: str, sequence: str, *, by_session: bool = True) -> str:
    """Return what to write into params.yaml where several series are equally good."""
    sound = [one for one in candidates if one.sequence == sequence and one.fault is None]
    picks = [f'{{"{case_id}": {one.number}}}' for one in sound[:LISTED]]
    text = f"see their files: flairprep who {case_id} --files; then in params.yaml ingest.pick: {' or '.join(picks)}"
    if by_session and are_several(candidates, sequence):
        text += ", or for all cases ingest.session: first, last or each"
    if _are_people(candidates, sequence):
        text += f"; where these are different people, give each a folder CASE/{sequence}"
    return text


def _picked(candidates: Sequence[CandidateSeries], case_id: str, sequence: str, pick: int) -> list[CandidateSeries]:
    named = [one for one in candidates if one.number == pick]
    chosen = [one for one in named if one.sequence == sequence] or named
    where = f'ingest.pick: {{"{case_id}": {pick}}}'
    if not chosen:
        titles = ", ".join(one.title for one in candidates[: 2 * LISTED]) or "none"
        more = ", ..." if len(candidates) > 2 * LISTED else ""
        raise CaseError(Code.NO_SERIES, f"{where}: no series has this number; there are: {titles}{more}")
    if len(chosen) > 1:
        text = f"{where}: {len(chosen)} series have this number; keep the files of one in the raw folder"
        raise CaseError(Code.AMBIGUOUS_SERIES, text)
    return [
        _as_picked(one, sequence) if one is chosen[0] else _aside(one, sequence, "another one is picked")
        for one in candidates
    ]


def _as_picked(one: CandidateSeries, sequence: str) -> CandidateSeries:
    if one.sequence == sequence:
        return one
    doubt = one.veto or (f"recognised as {one.sequence}" if one.sequence else "not recognised")
    return replace(one, sequence=sequence, veto="", against=f"picked in ingest.pick, though {doubt}")


def _aside(one: CandidateSeries, sequence: str, reason: str) -> CandidateSeries:
    """Return a series as one that is not read, with the reason as its decision."""
    return replace(one, sequence="", veto=reason) if one.sequence == sequence else one


def _sessions(candidates: Sequence[CandidateSeries], sequence: str) -> list[_Session]:
    """Return the sessions of a case in the order of acquisition; where that is unknown, of names and UIDs."""
    members: dict[Key, list[Header]] = {}
    for one in _sound(candidates, sequence):
        members.setdefault(_key(one.headers[0]), []).extend(one.kept)
    sessions = [
        _Session(key, min((header.when for header in headers if header.when), default=""), _name(headers[0]))
        for key, headers in members.items()
    ]
    return sorted(sessions, key=lambda one: (one.when, _natural(one.name), one.key))


def _sound(candidates: Sequence[CandidateSeries], sequence: str) -> list[CandidateSeries]:
    return [one for one in candidates if one.sequence == sequence and one.fault is None]


def _are_people(candidates: Sequence[CandidateSeries], sequence: str) -> bool:
    """Return whether the series of the sequence name several patients."""
    return len({one.headers[0].patient for one in _sound(candidates, sequence)} - {""}) > 1


def _key(header: Header) -> Key:
    return header.patient, header.study or _folder(header)


def _name(header: Header) -> str:
    """Return X of ses-X, from a folder, or from the name of a NIfTI file, whose study that is; "" for none."""
    nifti = header.series == str(header.path)  # a series of DICOM is a UID, and none is a path
    return (header.study if nifti else "") or _folder(header)


def _folder(header: Header) -> str:
    return next((part[4:] for part in reversed(header.path.parts[:-1]) if part.lower().startswith("ses-")), "")


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts 2 before 10."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def _is_known(one: _Session, other: _Session) -> bool:
    """Return whether it is known which of two sessions was earlier."""
    if one.when and other.when:
        timed = not one.when.endswith(NO_TIME) and not other.when.endswith(NO_TIME)
        return one.when[DAY] != other.when[DAY] or (timed and one.when != other.when)
    return not one.when and not other.when and "" not in (one.name, other.name) and one.name != other.name
