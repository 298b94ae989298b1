"""Summarise the exported tensors, without tensorflow, for the checks that compare cases."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flairprep.dataset.map_style import MapDataset
from flairprep.dataset.shards import read_info

Array = npt.NDArray[Any]
SMALL = (8, 16, 16)  # blocks that a case is averaged over where cases are compared


@dataclass(frozen=True)
class TensorSummary:
    """Measures of an exported case.

    clipped: share of the foreground at its largest or at its smallest value, the larger of both. used: share of the
    foreground's range between its 1st and 99th percentile. constant_slices: slices of one value between others with
    more. small: the foreground less its mean, averaged over blocks; outside: all but the foreground, likewise.
    """

    case_id: str
    label: int
    fold: int
    digest: str
    finite: bool
    blank: bool
    clipped: float
    used: float
    constant_slices: int
    small: Array
    outside: Array


def summarise(image: Array, label: int, case_id: str, fold: int) -> TensorSummary:
    """Summarise an exported image (1, z, y, x), float32; foreground: what differs from its corner, the background."""
    values = image[0]
    finite = bool(np.isfinite(values).all())
    values = values if finite else np.nan_to_num(values, posinf=0, neginf=0)
    inside = values != values[0, 0, 0]
    foreground = values[inside] if inside.any() else values.ravel()
    least, most = float(foreground.min()), float(foreground.max())
    low, high = np.percentile(foreground[:: 1 + foreground.size // 100_000], [1, 99])
    varied = np.flatnonzero(np.ptp(values, axis=(1, 2)) > 0)
    return TensorSummary(
        case_id,
        label,
        fold,
        hashlib.sha256(image.tobytes()).hexdigest(),
        finite,
        blank=most == least and not varied.size,
        clipped=float(max(np.mean(foreground == most), np.mean(foreground == least))) if most > least else 0.0,
        used=float(high - low) / (most - least) if most > least else 0.0,
        constant_slices=int(np.ptp(varied) + 1 - len(varied)) if varied.size else 0,
        # Without the mean, so that the outline, which is much the same when turned, does not count.
        small=shrunk(np.where(inside, values - foreground.mean(), 0)),
        outside=shrunk(np.where(inside, 0, values)),
    )


def shrunk(volume: Array) -> Array:
    """Average `volume` (z, y, x) over blocks, at most 8 x 16 x 16 of them."""
    for axis, blocks in reversed([*enumerate(SMALL)]):  # first along the axis whose voxels lie side by side
        size = volume.shape[axis]
        starts = np.unique(np.arange(blocks) * size // blocks)
        counts = np.diff([*starts, size]).reshape([-1 if a == axis else 1 for a in range(3)])
        volume = np.add.reduceat(volume, starts, axis=axis, dtype=np.float64) / counts
    return volume


@contextmanager
def begun(directory: Path) -> Iterator[Callable[[], list[TensorSummary]]]:
    """Begin to summarise every case exported to `directory`, and yield the function that waits for the summaries.

    By threads: numpy leaves the interpreter to the others.

    Raises:
        FlairprepError: a shard lacks cases; the function raises it too, where a record is damaged.
    """
    folds = [(fold, MapDataset(directory, [fold])) for fold in read_info(directory).cases]
    threads = ThreadPoolExecutor()
    try:
        futures = [
            threads.submit(lambda fold, cases, index: summarise(*cases[index], fold), fold, cases, index)
            for fold, cases in folds
            for index in range(len(cases))
        ]
        yield lambda: [future.result() for future in futures]
    finally:
        threads.shutdown(cancel_futures=True)
