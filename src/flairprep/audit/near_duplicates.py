"""What two folds must not share: a patient, a study, a frame of reference, voxels, or a scan that is almost another.

Near-duplicates are found in fingerprints: the tissue's bounding box in a fixed number of cells, whatever the field of
view. Heads of different patients correlate by up to 0.87, since a head is a head; without what all of a cohort have in
common they hardly do, and a copy still does.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flairprep.audit.finding import Finding
from flairprep.audit.leakage import REMEDY
from flairprep.imaging.foreground import bounds

Array = npt.NDArray[Any]
Fingerprints = Callable[[slice], Array]  # see `alike`
CELLS = (14, 20, 20)  # of a fingerprint, (z, y, x): about 10 mm each
NEAR = 0.93  # correlation from which two scans are one; bench/results/audit.txt shows how far apart the two kinds lie
FEWEST = 10  # cases from which what all have in common can be told from what two share
BLOCK = 128  # cases that are compared at a time with as many others
SHOWN = 5  # pairs that the text names
ORIENTATIONS = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]  # axes of (z, y, x) that are turned round
# (8, 8): what a turn (row) makes of the product of two even or odd parts (column); an eighth, since a part holds sums.
TURNS = np.array([[(-1.0) ** (turn & part).bit_count() for part in range(8)] for turn in range(8)], np.float32) / 8


class Pair(NamedTuple):
    """Two cases of different folds, and how alike they are: 1 is equal."""

    first: str
    second: str
    correlation: float


def near(case_ids: Sequence[str], folds: Array, fingerprints: Fingerprints, scratch: Path) -> Finding:
    """Which cases are almost the same as one of another fold, by their fingerprints.

    folds: (n_cases,); fingerprints: see `alike`, in the order of case_ids; scratch: a folder for about 70 KB a case.
    """
    name = "near-duplicates"
    if len(case_ids) < FEWEST:
        text = f"{len(case_ids)} cases are too few to tell what all share from what two share; {FEWEST} are needed"
        return Finding(name, "leak", "not testable", text)
    most: float | None = None
    pairs = []
    for row, column, correlation in alike(fingerprints, len(case_ids), scratch):
        rows, columns = (start + np.arange(size) for start, size in zip((row, column), correlation.shape, strict=True))
        across = (folds[rows, None] != folds[columns]) & (rows[:, None] < columns)
        if across.any():
            most = max(float(correlation[across].max()), -1.0 if most is None else most)
        for i, j in np.argwhere((correlation >= NEAR) & across).tolist():
            pairs.append(Pair(case_ids[rows[i]], case_ids[columns[j]], round(float(correlation[i, j]), 3)))
    if not pairs:
        text = f"no two scans of different folds are alike: they correlate by {most or 0:.2f} at most, not {NEAR}"
        return Finding(name, "leak", "clean", text, "correlation", most)
    pairs.sort(key=lambda pair: (-pair.correlation, pair))
    named = ", ".join(f"{pair.first} and {pair.second}" for pair in pairs[:SHOWN]) + (", ..." * (len(pairs) > SHOWN))
    text = f"{len(pairs)} pairs of scans in different folds are almost equal: {named}; {REMEDY}"
    cases = tuple(sorted({case for pair in pairs for case in pair[:2]}))
    return Finding(name, "leak", "leak", text, "correlation", most, cases=cases)


def fingerprint(values: Array, tissue: Array) -> tuple[Array, Array]:
    """The means over the tissue in each of CELLS cells of its bounding box, and the share of each cell that is tissue.

    values: (z, y, x); tissue: (z, y, x), bool. Cells are parted to fractions of a voxel, so that turning the volume
    round turns the fingerprint round.
    """
    box = tuple(slice(low, high + 1) for low, high in bounds(tissue))
    share = tissue[box].astype(np.float32)
    total = np.where(tissue[box], values[box], 0).astype(np.float32)
    for axis, cells in enumerate(CELLS):
        weights = _overlap(cells, share.shape[axis])
        share, total = (np.moveaxis(np.tensordot(weights, part, (1, axis)), 0, axis) for part in (share, total))
    return np.divide(total, share, out=np.zeros_like(total), where=share > 0), share


def _overlap(cells: int, length: int) -> Array:
    """(cells, length): which share of a cell each of `length` voxels is, where the cells part their whole length."""
    edges = np.linspace(0, length, cells + 1)
    low, high = np.maximum(edges[:-1, None], np.arange(length)), np.minimum(edges[1:, None], np.arange(length) + 1)
    return (np.maximum(high - low, 0) * cells / length).astype(np.float32)


def alike(fingerprints: Fingerprints, n: int, scratch: Path) -> Iterator[tuple[int, int, Array]]:
    """How alike any two of `n` cases are, the larger of all ways to turn one of them round: the upper triangle.

    The correlation over the cells that are tissue in both, after `remainders`: with r the remainder, zero outside the
    mask m, each sum of it over all pairs is one matrix product, as of r and r for the covariance, r^2 and m for the
    variance. In parts that are even or odd along each axis (Walsh and Hadamard), all ways to turn cost no more than
    one, since turning an odd part changes its sign. Neither fingerprints nor correlations are held for all cases.

    fingerprints: gives (k, 2, z, y, x) for a slice of k cases, the means and shares of `fingerprint`.

    Yields:
        (row, column, correlation): the cases row, row + 1, ... with the cases column, column + 1, ..., at most BLOCK.
    """
    blocks = [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    total, count = np.zeros(CELLS), np.zeros(CELLS)
    for block in blocks:
        means, masks = _parted(fingerprints(block))
        total, count = total + (means * masks).sum(axis=0), count + masks.sum(axis=0)
    mean = np.divide(total, count, out=np.zeros(CELLS), where=count > 0).astype(np.float32)
    used = (_parity(count[None] > 0)[0, 0] > 0).ravel()  # the corners of the box are not
    sizes = np.empty(n, np.float32)
    file = scratch / "parts"
    shape = (len(TURNS), 3, int(used.sum()))
    with file.open("wb") as written:
        for block in blocks:
            means, masks = _parted(fingerprints(block))
            rest = remainders(means, masks, mean)
            parts = [_parity(part).reshape(len(part), len(TURNS), -1)[..., used] for part in (rest, rest**2, masks)]
            sizes[block] = masks.sum(axis=(1, 2, 3))
            np.stack(parts, axis=2).tofile(written)

    def read(block: slice) -> Array:
        size = math.prod(shape)
        found = np.fromfile(file, np.float32, (block.stop - block.start) * size, offset=4 * block.start * size)
        return np.ascontiguousarray(found.reshape(-1, *shape).transpose(2, 1, 0, 3))  # (3, parts, k, cells)

    for number, rows in enumerate(blocks):
        left = read(rows)
        for columns in blocks[number:]:
            yield rows.start, columns.start, _correlation(left, read(columns), sizes[rows], sizes[columns])


def _parted(fingerprints: Array) -> tuple[Array, Array]:
    """The means, and where more than half of a cell is tissue, each (k, z, y, x)."""
    return fingerprints[:, 0], (fingerprints[:, 1] > 0.5).astype(np.float32)


def _parity(values: Array) -> Array:
    """(k, 8, z / 2, y / 2, x / 2): the even and odd parts of (k, z, y, x) along each axis, in the order of TURNS."""
    parts = values[:, None].astype(np.float32)
    for axis in (2, 3, 4):
        low, high = np.split(parts, 2, axis)
        high = np.flip(high, axis)
        parts = np.concatenate([low + high, low - high], axis=1)
    return parts


def _correlation(left: Array, right: Array, left_size: Array, right_size: Array) -> Array:
    """(k, l): the largest over all turns; left: (3, 8, k, cells) and right: (3, 8, l, cells), of r, r^2 and m."""
    (r, rr, m), (other_r, other_rr, other_m) = left, right.transpose(0, 1, 3, 2)

    def turned(a: Array, b: Array) -> Array:
        return np.tensordot(TURNS, a @ b, 1)

    count = np.maximum(turned(m, other_m), 1)
    own, other = turned(r, other_m) / count, turned(m, other_r) / count
    covariance = turned(r, other_r) / count - own * other
    variance = (turned(rr, other_m) / count - own**2) * (turned(m, other_rr) / count - other**2)
    # Cells of few voxels say little: half of the smaller mask has to be common.
    enough = (variance > 1e-12) & (count > 0.5 * np.minimum(left_size[:, None], right_size))
    return np.where(enough, covariance / np.sqrt(np.maximum(variance, 1e-12)), -1.0).max(axis=0)


def remainders(means: Array, masks: Array, mean: Array) -> Array:
    """What of each case is its own, (k, z, y, x): the remainder after least squares on the cohort's mean, zero outside.

    The mean enters in every orientation, or two scans that lie upside down would share what upside down means.

    means, masks: (k, z, y, x), masks 0 or 1; mean: (z, y, x), of all cases where they are tissue.
    """
    k = len(means)
    common = np.stack([np.ones(mean.size), *(np.flip(mean, axes).ravel() for axes in ORIENTATIONS)], 1)
    mask, values = masks.reshape(k, -1), (means * masks).reshape(k, -1)
    products = (mask @ (common[:, :, None] * common[:, None]).reshape(len(common), -1)).reshape(k, len(common.T), -1)
    weights = np.linalg.pinv(products, rcond=1e-6, hermitian=True) @ (values @ common)[..., None]
    return ((values - weights[..., 0] @ common.T) * mask).reshape(means.shape).astype(np.float32)
