"""Leave one image at each position: drop exact copies, and choose among volumes that share their positions."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from flairprep.core.codes import Code
from flairprep.core.console import plural
from flairprep.core.outcomes import CaseError
from flairprep.dicom.frames import Array, Frame

Volume = Literal["first", "last"]
VOLUMES: tuple[str, ...] = get_args(Volume)
SAME_POSITION = 0.01  # mm along the normal; closer slices share a position
FEW = 4  # images of another kind are foreign ones where the volume has at least so many times more
KEYS = ("echo", "inversion", "time_point", "acquisition")  # what volumes of one series differ by
OWN = ("image_type", "instance")  # what else they may differ by
CORRECTIONS = ("NORM", "DIS3D", "DIS2D", "FIL")  # the scanner's own, as words of Image Type; the most telling first
UNCORRECTED = ("ND",)  # no distortion correction

Notes = list[tuple[Code, str]]


def corrections(image_type: frozenset[str]) -> tuple[bool, ...]:
    """Return which corrections an image had; the larger, the better."""
    return tuple(word in image_type for word in CORRECTIONS)


def without_corrections(image_type: frozenset[str]) -> frozenset[str]:
    """Return the words of an Image Type that are not about corrections."""
    return image_type - {*CORRECTIONS, *UNCORRECTED}


def one_per_position(frames: Sequence[Frame], normal: Array, volume: str | None) -> tuple[list[Frame], Notes]:
    """Return one frame for each position, and what to warn of.

    Args:
        frames: sorted along the normal.
        normal: of the slices, a unit vector.
        volume: which of several volumes to take, one of VOLUMES; None refuses them.

    Raises:
        CaseError: MULTIPLE_VOLUMES.
    """
    positions: list[list[Frame]] = []
    for frame in frames:
        if positions and np.dot(np.subtract(frame.position, positions[-1][0].position), normal) <= SAME_POSITION:
            positions[-1].append(frame)
        else:
            positions.append([frame])
    distinct = [_distinct(stack) for stack in positions]
    dropped = len(frames) - sum(map(len, distinct))
    if dropped * 2 > len(frames) and volume is None:
        raise CaseError(
            Code.MULTIPLE_VOLUMES,
            f"{dropped} of {len(frames)} slices are exact copies of others at the same position, as of a volume stored "
            "several times; `ingest.volume: first` reads one of them",
        )
    notes = [(Code.DUPLICATE_SLICES, f"{dropped} exact copies of slices dropped")] if dropped else []
    if max(map(len, distinct)) == 1:
        return [stack[0] for stack in distinct], notes
    # An image of two volumes may be the same, as blank ones are: there only copies with the same header are dropped.
    kept, more = _one_volume([_distinct(stack, KEYS + OWN) for stack in positions], volume)
    return kept, more


def _distinct(stack: Sequence[Frame], fields: Sequence[str] = ()) -> list[Frame]:
    """Return the frames of one position without exact copies; those that differ in `fields` are none."""
    kept: list[Frame] = []
    for frame in stack:
        if not any(_same(frame, other, fields) for other in kept):
            kept.append(frame)
    return kept


def _same(one: Frame, other: Frame, fields: Sequence[str]) -> bool:
    told = all(getattr(one, field) == getattr(other, field) for field in ("slope", "intercept", *fields))
    return told and bool((one.stored == other.stored).all())


def _one_volume(positions: list[list[Frame]], volume: str | None) -> tuple[list[Frame], Notes]:
    kinds = Counter(frame.image_type for stack in positions for frame in stack)
    whole = [
        kind for kind in kinds if all(sum(frame.image_type == kind for frame in stack) == 1 for stack in positions)
    ]
    total, slices = sum(kinds.values()), len(positions)
    if len(whole) == 1 and (total - slices) * FEW <= slices:
        kept = [frame for stack in positions for frame in stack if frame.image_type == whole[0]]
        return kept, [(Code.FOREIGN_IMAGES, f"{plural(total - slices, 'image')} of another Image Type skipped")]
    if len(whole) * slices == total and len({without_corrections(kind) for kind in whole}) == 1:
        ranked = sorted(whole, key=corrections)
        if corrections(ranked[-1]) != corrections(ranked[-2]):
            kept = [frame for stack in positions for frame in stack if frame.image_type == ranked[-1]]
            return kept, [(Code.CORRECTED_CHOSEN, "of two volumes the one that the scanner corrected was read")]
    chosen = _chosen(positions, volume or VOLUMES[0])
    most = max(map(len, positions))
    text = f"up to {most} different images at one position{_differing(positions)}"
    if chosen is None:
        raise CaseError(Code.MULTIPLE_VOLUMES, f"{text}; nothing in the headers tells the volumes apart, so keep one")
    if volume is None:
        raise CaseError(Code.MULTIPLE_VOLUMES, f"{text}; `ingest.volume: first` or `last` reads one of the volumes")
    return chosen, [(Code.VOLUME_CHOSEN, f"{text}; the {volume} was read")]


def _chosen(positions: list[list[Frame]], volume: str) -> list[Frame] | None:
    """Return the first or last volume by each of KEYS in turn, else by Instance Number; None where none tells it."""
    pick = min if volume == "first" else max
    for key in KEYS:
        if all(len(stack) == 1 for stack in positions):
            break
        values = {getattr(frame, key) for stack in positions for frame in stack}
        if None in values or len(values) < 2:
            continue
        kept = [[frame for frame in stack if getattr(frame, key) == pick(values)] for stack in positions]
        if all(kept):
            positions = kept
    if any(len(stack) > 1 for stack in positions):
        positions = _by_instance(positions, volume)
    return [stack[0] for stack in positions] if all(len(stack) == 1 for stack in positions) else None


def _by_instance(positions: list[list[Frame]], volume: str) -> list[list[Frame]]:
    """Take the first or last by Instance Number, where the volumes follow each other or alternate slice by slice."""
    numbers = [[frame.instance for frame in stack] for stack in positions]
    if len({len(stack) for stack in numbers}) > 1 or any(number is None for stack in numbers for number in stack):
        return positions
    ordered = np.sort(np.array(numbers, float), axis=1)  # (positions, volumes)
    follow = bool((ordered[:, 1:].min(axis=0) > ordered[:, :-1].max(axis=0)).all())
    alternate = bool((np.diff(ordered, axis=1) == 1).all())
    if not (follow or alternate):
        return positions
    wanted = ordered[:, 0] if volume == "first" else ordered[:, -1]
    return [
        [frame for frame in stack if frame.instance == number] for stack, number in zip(positions, wanted, strict=True)
    ]


def _differing(positions: list[list[Frame]]) -> str:
    """Name what the images at one position differ by: echo times, inversion times, time points; "" for none of them."""
    words = {"echo": "echo times", "inversion": "inversion times", "time_point": "time points"}
    told = []
    for key, word in words.items():
        values = {value for stack in positions for frame in stack if (value := getattr(frame, key)) is not None}
        if len(values) > 1:
            told.append(f"{len(values)} {word}")
    return f" ({', '.join(told)})" if told else ""
