"""Find scans of different folds that are almost equal, by correlating fingerprints.

A fingerprint divides the tissue's bounding box into a fixed number of cells, whatever the field of view. Heads of
different patients correlate by up to 0.87. After removing the cohort's common pattern they hardly do; copies still do.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flairprep.audit.finding import Finding
from flairprep.audit.leakage import REMEDY
from flairprep.imaging.foreground import bounding_box

Array = npt.NDArray[Any]
Fingerprints = Callable[[slice], Array]  # slice of k cases -> (k, 2, z, y, x), means and shares of `fingerprint`
CELLS = (14, 20, 20)  # of a fingerprint, (z, y, x): about 10 mm each
MIN_CORRELATION = 0.93  # of near-duplicates; bench/results/audit.txt shows the correlations of copies and of others
MIN_CASES = 10  # fewer do not separate the cohort's common pattern from what two cases share
BLOCK = 128  # cases correlated at a time with as many others
MAX_NAMED = 5  # pairs that the text names
FLIPS = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]  # flipped axes of (z, y, x)
# (8, 8): sign of the product of two even or odd parts (column) under a flip (row); 1 / 8, since a part holds sums.
FLIP_SIGNS = np.array([[(-1.0) ** (flip & part).bit_count() for part in range(8)] for flip in range(8)], np.float32) / 8


class Pair(NamedTuple):
    """Two cases of different folds and their correlation."""

    first: str
    second: str
    correlation: float


def find_near_duplicates(case_ids: Sequence[str], folds: Array, fingerprints: Fingerprints, scratch: Path) -> Finding:
    """Find the cases that are almost equal to a case of another fold.

    Args:
        case_ids, folds: (n_cases,).
        fingerprints: in the order of case_ids.
        scratch: a folder for about 70 KB per case.
    """
    name = "near-duplicates"
    if len(case_ids) < MIN_CASES:
        text = f"{len(case_ids)} cases are too few to tell what all share from what two share; {MIN_CASES} are needed"
        return Finding(name, "leak", "not testable", text)
    highest: float | None = None
    pairs = []
    for row, column, block in correlations(fingerprints, len(case_ids), scratch):
        rows, columns = (start + np.arange(size) for start, size in zip((row, column), block.shape, strict=True))
        across = (folds[rows, None] != folds[columns]) & (rows[:, None] < columns)
        if across.any():
            highest = max(float(block[across].max()), -1.0 if highest is None else highest)
        for i, j in np.argwhere((block >= MIN_CORRELATION) & across).tolist():
            pairs.append(Pair(case_ids[rows[i]], case_ids[columns[j]], round(float(block[i, j]), 3)))
    if not pairs:
        text = (
            "no two scans of different folds are alike: "
            f"they correlate by {highest or 0:.2f} at most, not {MIN_CORRELATION}"
        )
        return Finding(name, "leak", "clean", text, "correlation", highest)
    pairs.sort(key=lambda pair: (-pair.correlation, pair))
    named = ", ".join(f"{pair.first} and {pair.second}" for pair in pairs[:MAX_NAMED])
    text = (
        f"{len(pairs)} pairs of scans in different folds are almost equal: "
        f"{named}{', ...' * (len(pairs) > MAX_NAMED)}; {REMEDY}"
    )
    cases = tuple(sorted({case for pair in pairs for case in pair[:2]}))
    return Finding(name, "leak", "leak", text, "correlation", highest, cases=cases)


def saved_fingerprints(folder: Path, case_ids: Sequence[str]) -> Fingerprints:
    """Return the fingerprints saved as folder/ID.npy, in the order of `case_ids`; each block is read when asked for."""

    def read(block: slice) -> Array:
        return np.stack([np.load(folder / f"{case_id}.npy", allow_pickle=False) for case_id in case_ids[block]])

    return read


def fingerprint(values: Array, tissue: Array) -> tuple[Array, Array]:
    """Return the tissue's mean in each of CELLS cells of its bounding box, and the share of each cell that is tissue.

    Cells divide voxels fractionally, so that flipping the volume flips the fingerprint.

    Args:
        values: (z, y, x).
        tissue: (z, y, x), bool.

    Returns:
        Means and shares, each (z, y, x) of CELLS.
    """
    box = tuple(slice(low, high + 1) for low, high in bounding_box(tissue))
    share = tissue[box].astype(np.float32)
    total = np.where(tissue[box], values[box], 0).astype(np.float32)
    for axis, cells in enumerate(CELLS):
        weights = _overlap(cells, share.shape[axis])
        share, total = (np.moveaxis(np.tensordot(weights, part, (1, axis)), 0, axis) for part in (share, total))
    return np.divide(total, share, out=np.zeros_like(total), where=share > 0), share


def _overlap(cells: int, length: int) -> Array:
    """Return the share of each cell that each voxel fills, (cells, length), where `cells` divide `length` voxels."""
    edges = np.linspace(0, length, cells + 1)
    low, high = np.maximum(edges[:-1, None], np.arange(length)), np.minimum(edges[1:, None], np.arange(length) + 1)
    return (np.maximum(high - low, 0) * cells / length).astype(np.float32)


def correlations(fingerprints: Fingerprints, n: int, scratch: Path) -> Iterator[tuple[int, int, Array]]:
    """Correlate each two of `n` cases, the maximum over all flips of one of them: the upper triangle, by blocks.

    The correlation of `residuals` is taken over the cells that are tissue in both cases. With r the residual, zero
    outside the mask m, each sum over all pairs is one matrix product: r and r for the covariance, r^2 and m for the
    variance. The arrays are split into parts that are even or odd along each axis (a Walsh-Hadamard transform). A flip
    changes the sign of odd parts only, so all flips cost no more than one. Neither fingerprints nor correlations of
    all cases are in memory at once.

    Args:
        fingerprints: of the cases.
        n: number of cases.
        scratch: a folder for the parts.

    Yields:
        (row, column, correlation): cases row, row + 1, ... with cases column, column + 1, ..., at most BLOCK each.
    """
    blocks = [slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK)]
    total, count = np.zeros(CELLS), np.zeros(CELLS)
    for block in blocks:
        means, masks = _means_and_masks(fingerprints(block))
        total, count = total + (means * masks).sum(axis=0), count + masks.sum(axis=0)
    mean = np.divide(total, count, out=np.zeros(CELLS), where=count > 0).astype(np.float32)
    used = (_parity_parts(count[None] > 0)[0, 0] > 0).ravel()  # the corners of the box are never tissue
    sizes = np.empty(n, np.float32)
    path = scratch / "parts"
    shape = (len(FLIP_SIGNS), 3, int(used.sum()))
    with path.open("wb") as file:
        for block in blocks:
            means, masks = _means_and_masks(fingerprints(block))
            r = residuals(means, masks, mean)
            parts = [
                _parity_parts(array).reshape(len(array), len(FLIP_SIGNS), -1)[..., used] for array in (r, r**2, masks)
            ]
            sizes[block] = masks.sum(axis=(1, 2, 3))
            np.stack(parts, axis=2).tofile(file)

    def read(block: slice) -> Array:
        size = math.prod(shape)
        flat = np.fromfile(path, np.float32, (block.stop - block.start) * size, offset=4 * block.start * size)
        return np.ascontiguousarray(flat.reshape(-1, *shape).transpose(2, 1, 0, 3))  # (3, parts, k, cells)

    for number, rows in enumerate(blocks):
        left = read(rows)
        for columns in blocks[number:]:
            yield rows.start, columns.start, _max_correlation(left, read(columns), sizes[rows], sizes[columns])


def _means_and_masks(fingerprints: Array) -> tuple[Array, Array]:
    """Return the means, and the masks of cells that are more than half tissue, each (k, z, y, x)."""
    return fingerprints[:, 0], (fingerprints[:, 1] > 0.5).astype(np.float32)


def _parity_parts(values: Array) -> Array:
    """Split (k, z, y, x) into even and odd parts along each axis, in the order of FLIP_SIGNS.

    Returns:
        (k, 8, z / 2, y / 2, x / 2).
    """
    parts = values[:, None].astype(np.float32)
    for axis in (2, 3, 4):
        low, high = np.split(parts, 2, axis)
        high = np.flip(high, axis)
        parts = np.concatenate([low + high, low - high], axis=1)
    return parts


def _max_correlation(left: Array, right: Array, left_size: Array, right_size: Array) -> Array:
    """Return the maximum correlation over all flips, (k, l).

    Args:
        left, right: (3, 8, k, cells) and (3, 8, l, cells), the parts of r, r^2 and m.
        left_size, right_size: (k,) and (l,), cells of tissue.
    """
    (r, rr, m), (other_r, other_rr, other_m) = left, right.transpose(0, 1, 3, 2)

    def over_flips(a: Array, b: Array) -> Array:
        return np.tensordot(FLIP_SIGNS, a @ b, 1)

    count = np.maximum(over_flips(m, other_m), 1)
    own, other = over_flips(r, other_m) / count, over_flips(m, other_r) / count
    covariance = over_flips(r, other_r) / count - own * other
    variance = (over_flips(rr, other_m) / count - own**2) * (over_flips(m, other_rr) / count - other**2)
    # A correlation of few cells is noise: the masks must share half of the smaller one.
    enough = (variance > 1e-12) & (count > 0.5 * np.minimum(left_size[:, None], right_size))
    return np.where(enough, covariance / np.sqrt(np.maximum(variance, 1e-12)), -1.0).max(axis=0)


def residuals(means: Array, masks: Array, mean: Array) -> Array:
    """Return the residuals of each case after least squares on the cohort's mean: (k, z, y, x), zero outside the mask.

    The mean enters in every flip. Otherwise two scans that lie upside down would share the flipped mean.

    Args:
        means, masks: (k, z, y, x), masks 0 or 1.
        mean: (z, y, x), over all cases where they are tissue.
    """
    k = len(means)
    regressors = np.stack([np.ones(mean.size), *(np.flip(mean, axes).ravel() for axes in FLIPS)], 1)
    mask, values = masks.reshape(k, -1), (means * masks).reshape(k, -1)
    products = (mask @ (regressors[:, :, None] * regressors[:, None]).reshape(len(regressors), -1)).reshape(
        k, len(regressors.T), -1
    )
    weights = np.linalg.pinv(products, rcond=1e-6, hermitian=True) @ (values @ regressors)[..., None]
    return ((values - weights[..., 0] @ regressors.T) * mask).reshape(means.shape).astype(np.float32)
