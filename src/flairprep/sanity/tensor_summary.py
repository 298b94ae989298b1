"""Summarise the exported tensors, without tensorflow, for the checks that compare cases."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

from flairprep.dataset.map_style import MapDataset
from flairprep.dataset.shards import read_info

Array = npt.NDArray[Any]
SMALL = (8, 16, 16)  # blocks that a case is averaged over where cases are compared


@dataclass(frozen=True)
class TensorSummary:
    """Measures of an exported case.

    digest: of all voxels; equal images have equal ones. clipped: share of the foreground at its largest or at its
    smallest value, the larger of both. used: share of the foreground's range between its 1st and 99th percentile.
    constant_slices: slices of one value between others with more. small: the foreground less its mean, averaged over
    blocks; outside: all but the foreground, likewise.
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
    corner = float(values[0, 0, 0])
    inside = values != corner
    foreground = values[inside] if inside.any() else values.ravel()
    least, most = float(foreground.min()), float(foreground.max())
    low, high = np.percentile(foreground[:: 1 + foreground.size // 100_000], [1, 99])
    varied = np.flatnonzero(np.ptp(values, axis=(1, 2)) > 0)
    share = shrunk(inside)
    outside = corner * (1 - share)
    return TensorSummary(
        case_id,
        label,
        fold,
        # 64 bits in a sixth of the time of a cryptographic hash; nobody forges an image here.
        f"{google_crc32c.value(voxels := image.tobytes()):08x}{zlib_ng.crc32(voxels):08x}",
        finite,
        blank=most == least and not varied.size,
        clipped=float(max(np.mean(foreground == most), np.mean(foreground == least))) if most > least else 0.0,
        used=float(high - low) / (most - least) if most > least else 0.0,
        constant_slices=int(np.ptp(varied) + 1 - len(varied)) if varied.size else 0,
        # Without the mean, so that the outline, which is much the same when turned, does not count.
        small=shrunk(values) - outside - foreground.mean(dtype=np.float64) * share,
        outside=outside,
    )


def shrunk(volume: Array) -> Array:
    """Average `volume` (z, y, x) over blocks, at most 8 x 16 x 16 of them, with the precision of float32."""
    z, y, x = (_blocks(size, most) for size, most in zip(volume.shape, SMALL, strict=True))
    # BLAS: three times as fast as np.add.reduceat. The sums of a mask are exact.
    sums = np.tensordot(z, y @ (volume.astype(np.float32, copy=False) @ x.T), 1)
    return np.asarray(sums / np.multiply.outer(np.outer(z.sum(1), y.sum(1)), x.sum(1)).astype(np.float64))


def _blocks(size: int, most: int) -> Array:
    """Return which voxels of an axis of `size` each of at most `most` blocks holds: 0 or 1, float32 (blocks, size)."""
    starts = np.unique(np.arange(most) * size // most)
    return np.repeat(np.eye(len(starts), dtype=np.float32), np.diff([*starts, size]), axis=1)


def parts(directory: Path, count: int) -> list[range]:
    """Return the numbers of the cases exported to `directory`, in at most `count` parts of equal size."""
    total = sum(read_info(directory).cases.values())
    edges = np.linspace(0, total, min(count, total) + 1).round().astype(int).tolist()
    return [range(*ends) for ends in pairwise(edges)]


def summaries(part: range, *, directory: Path) -> list[TensorSummary]:
    """Summarise the cases of `part`, see `parts`, in the order of the shards.

    Raises:
        FlairprepError: a shard lacks cases, or a record is damaged.
    """
    cases = MapDataset(directory)
    folds = [fold for fold, count in sorted(read_info(directory).cases.items()) for _ in range(count)]
    return [summarise(*cases[index], folds[index]) for index in part]
