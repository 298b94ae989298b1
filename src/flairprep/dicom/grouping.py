"""Group files to series by their UIDs, and by what the images say where UIDs are missing, or one too many or too few.

A volume's files share a folder, their names, times, size and orientation, and their positions are one regular grid.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.copies import FEW, SAME_POSITION
from flairprep.dicom.grid import is_regular
from flairprep.dicom.header import Header

Key = tuple[object, ...]
FOREIGN = frozenset(  # faults of images that are whole, but no slices of the volume beside them
    {
        *(Code.NOT_MR, Code.NOT_GRAYSCALE, Code.NOT_MAGNITUDE, Code.SECONDARY_CAPTURE),
        *(Code.MOSAIC, Code.LOCALIZER, Code.BURNED_IN),
    }
)


class Parts(NamedTuple):
    """The files of a series: those that are read, the foreign ones set aside, and why the series cannot be read."""

    kept: list[Header]
    aside: list[Header]
    fault: CaseError | None


def set_aside(headers: Sequence[Header]) -> Parts:
    """Set aside the images that cannot be slices, where the others may be a volume; non-images are in neither part."""
    images = [header for header in headers if header.frames] or list(headers)
    faulty = [header for header in images if header.fault]
    sound = [header for header in images if not header.fault]
    if not faulty:
        return Parts(images, [], None)
    faults = [header.fault for header in faulty if header.fault]
    grave = [fault for fault in faults if fault.code not in FOREIGN]
    few = sum(header.frames for header in sound) * FEW < sum(header.frames for header in faulty)
    if grave or few or not sound:
        return Parts(images, [], (grave or faults)[0])
    return Parts(sound, faulty, None)


def group(headers: Iterable[Header]) -> list[list[Header]]:
    """Group the files of a case to series; each is sorted by path.

    Files without Series Instance UID are grouped by folder, number and names. Series of one UID that have numbers of
    their own are taken apart. Series of several UIDs, studies or patients that are one volume are put together.
    """
    series: dict[Key, list[Header]] = {}
    for header in sorted(headers, key=lambda header: header.path):
        own: Key = (header.series,) if header.series else ("", header.path.parent, header.number, header.names[1:3])
        series.setdefault((header.patient, header.study, *own), []).append(header)
    return _joined([part for members in series.values() for part in _by_number(members)])


def _by_number(members: list[Header]) -> list[list[Header]]:
    """Take apart what shares a UID by mistake: parts of several images each, with numbers or descriptions of their own.

    Series Number and Series Description belong to the series, PS3.3 C.7.3.1.
    """
    images = [header for header in members if header.frames]
    parts: dict[Key, list[Header]] = {}
    for header in images:
        parts.setdefault((header.number, header.names[1:2]), []).append(header)
    if len(parts) < 2 or min(map(len, parts.values())) < 3:
        return [members]
    others = [header for header in members if not header.frames]
    first, *rest = parts.values()
    return [sorted([*first, *others], key=lambda header: header.path), *rest]


def _joined(series: list[list[Header]]) -> list[list[Header]]:
    """Put series together that are one volume."""
    if len(series) < 2:
        return series
    alike: dict[Key, list[list[Header]]] = {}
    apart: list[list[Header]] = []
    for members in series:
        looks = {_looks(header) for header in members}
        if len(looks) == 1 and all(header.frames == 1 and header.position for header in members):
            alike.setdefault(next(iter(looks)), []).append(members)
        else:
            apart.append(members)
    for parts in alike.values():
        if len(parts) > 1 and _is_volume(parts):
            apart.append(sorted((header for part in parts for header in part), key=lambda header: header.path))
        else:
            apart += parts
    return apart


def _looks(header: Header) -> Key:
    """Return what the files of a volume share, whatever their UIDs."""
    times = (header.echo_time, header.repetition_time, header.inversion_times)
    plane = tuple(round(cosine, 3) + 0.0 for cosine in header.orientation)
    kind = (header.path.parent, header.names[1:], header.image_type, header.scanning, header.volumetric)
    return (*kind, *times, header.size, plane, header.contrast_agent, header.fault and header.fault.code)


def _is_volume(parts: Sequence[Sequence[Header]]) -> bool:
    """Return whether series of the same looks are one volume: they share no position, and together they leave no gap.

    Where every file is a series of its own, gaps may be: then slices are missing. Several files of a series share its
    number, so that a repeated series is not one.
    """
    members = [header for part in parts for header in part]
    if not members[0].orientation:
        return False
    row, column = np.array(members[0].orientation).reshape(2, 3)
    along = np.sort(np.array([header.position for header in members]) @ np.cross(row, column))
    if np.diff(along).min() <= SAME_POSITION:
        return False
    if len(parts) == len(members) > 2:
        return True
    return len({header.number for header in members}) == 1 and len(members) > 2 and is_regular(along)
