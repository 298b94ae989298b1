"""Find scans of different folds that are almost equal, by correlating fingerprints.

A fingerprint divides the tissue's bounding box into a fixed number of cells, whatever the field of view. Heads of
different patients correlate by up to 0.87. After removing the cohort's common pattern they hardly do; copies still do.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flairprep.audit import flips
from flairprep.audit.finding import Finding
from flairprep.audit.leakage import REMEDY
from flairprep.imaging.foreground import bounding_box

Array = npt.NDArray[Any]
Fingerprints = Callable[[slice], Array]  # slice of k cases -> (k, 2, z, y, x), means and shares of `fingerprint`
CELLS = (14, 20, 20)  # of a fingerprint, (z, y, x): about 10 mm each
MIN_CORRELATION = 0.93  # of near-duplicates; bench/results/audit.txt shows the correlations of copies and of others
MIN_CASES = 10  # fewer do not separate the cohort's common pattern from what two cases share
BLOCK = 128  # cases correlated at a time with as many others
ROWS = 4  # blocks of cases whose bounds with another block are computed at a time
PARTS = len(flips.FLIP_SIGNS)
MAX_NAMED = 5  # pairs that the text names
FLIPS = [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]  # flipped axes of (z, y, x)
ROUNDING = 1e-3  # what float32 may add to a correlation, or take from a bound
FEW, MANY = 64, 512  # pairs of a block correlated at a time, and pairs from which on the whole block is quicker


class Alike(NamedTuple):
    """Two cases by their place in the cohort, first < second, and their correlation."""

    first: int
    second: int
    correlation: float


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
        scratch: a folder for about 120 KB per case.
    """
    name = "near-duplicates"
    if len(case_ids) < MIN_CASES:
        text = f"{len(case_ids)} cases are too few to tell what all share from what two share; {MIN_CASES} are needed"
        return Finding(name, "leak", "not testable", text)
    highest, alike = closest_pairs(fingerprints, folds, scratch)
    pairs = [Pair(case_ids[i], case_ids[j], round(correlation, 3)) for i, j, correlation in alike]
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
    variance; see `flips`. Neither fingerprints nor correlations of all cases are in memory at once.

    Args:
        fingerprints: of the cases.
        n: number of cases.
        scratch: a folder for the parts.

    Yields:
        (row, column, correlation): cases row, row + 1, ... with cases column, column + 1, ..., at most BLOCK each.
    """
    parts = Parts(fingerprints, n, scratch)
    blocks = _blocks(n, BLOCK)
    for number, rows in enumerate(blocks):
        left = parts.read(rows)
        for columns in blocks[number:]:
            yield rows.start, columns.start, parts.correlate(left, parts.read(columns), rows, columns)


def closest_pairs(fingerprints: Fingerprints, folds: Array, scratch: Path) -> tuple[float | None, list[Alike]]:
    """Return the highest of `correlations` between folds, and the pairs of at least MIN_CORRELATION.

    Only pairs are correlated whose `flips.upper_bounds` reaches MIN_CORRELATION, or the highest correlation so far
    where that is lower. Cases are taken by fold, since two blocks of one fold have no pair.

    Args:
        fingerprints: of the cases.
        folds: (n_cases,).
        scratch: a folder for the parts.

    Returns:
        The highest correlation, None where all cases are in one fold, and the pairs.
    """
    order = np.argsort(folds, kind="stable")
    folds = folds[order]

    def by_fold(block: slice) -> Array:
        return np.concatenate([fingerprints(slice(case, case + 1)) for case in order[block].tolist()])

    parts = Parts(by_fold, len(order), scratch)
    highest, alike = -np.inf, []
    for rows in _blocks(len(order), ROWS * BLOCK):
        left = None
        for columns in _blocks(len(order), BLOCK):
            across = folds[rows, None] < folds[columns]  # each pair once
            if not across.any():
                continue
            left = parts.read_leading(rows) if left is None else left
            limit = min(highest, MIN_CORRELATION) - ROUNDING
            bounds = flips.upper_bounds(left, parts.read_leading(columns), limit)
            for most in (FEW, across.size):  # the first ones raise the highest, and leave few others
                pairs = np.argwhere(across & (bounds >= min(highest, MIN_CORRELATION) - ROUNDING))
                pairs = pairs[np.argsort(-bounds[tuple(pairs.T)], kind="stable")[:most]]
                correlation = parts.correlate_pairs(rows, columns, pairs)
                across[tuple(pairs.T)] = False
                highest = float(correlation.max(initial=highest))
                for (i, j), value in zip(pairs.tolist(), correlation.tolist(), strict=True):
                    if value >= MIN_CORRELATION:
                        first, second = sorted((int(order[rows.start + i]), int(order[columns.start + j])))
                        alike.append(Alike(first, second, value))
    return (None if highest == -np.inf else highest), alike


def _blocks(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


class Parts:
    """The parts of the residuals r of `n` cases, of r^2 and of the masks, in files of the folder `scratch`."""

    def __init__(self, fingerprints: Fingerprints, n: int, scratch: Path) -> None:
        blocks = _blocks(n, BLOCK)
        total, count = np.zeros(CELLS), np.zeros(CELLS)
        for block in blocks:
            means, masks = _means_and_masks(fingerprints(block))
            total, count = total + (means * masks).sum(axis=0), count + masks.sum(axis=0)
        mean = np.divide(total, count, out=np.zeros(CELLS), where=count > 0).astype(np.float32)
        used = (flips.parity_parts(count[None] > 0)[0, 0] > 0).ravel()  # the corners of the box are never tissue
        self._cells = int(used.sum())
        self._all, self._leading = scratch / "parts", scratch / "leading"
        self._numbers = np.empty((4, n), np.float32)  # sums of r^2, r, m and its core
        with self._all.open("wb") as every, self._leading.open("wb") as leading:
            for block in blocks:
                means, masks = _means_and_masks(fingerprints(block))
                r = residuals(means, masks, mean)
                cores = flips.core(masks)
                self._numbers[:, block] = [array.sum(axis=(1, 2, 3)) for array in (r**2, r, masks, cores)]
                split = [
                    flips.parity_parts(array).reshape(len(r), PARTS, -1)[..., used] for array in (r, r**2, masks, cores)
                ]
                first = [split[0], *(parts[:, : flips.EVEN] for parts in split[1:])]
                every.write(np.stack(split[:3], axis=1).tobytes())
                leading.write(np.concatenate(first, axis=1).swapaxes(0, 1).tobytes())

    def read(self, cases: slice | list[int]) -> Array:
        """Return all parts of k cases, (3, 8, k, cells)."""
        runs = [cases] if isinstance(cases, slice) else [slice(case, case + 1) for case in cases]
        flat = np.concatenate([_read(self._all, run, 3 * PARTS * self._cells) for run in runs])
        return np.ascontiguousarray(flat.reshape(-1, 3, PARTS, self._cells).transpose(1, 2, 0, 3))

    def read_leading(self, cases: slice) -> flips.Leading:
        """Return what bounds the correlations of whole blocks of cases."""
        starts = range(cases.start, cases.stop, BLOCK)
        runs = [slice(start, min(start + BLOCK, cases.stop)) for start in starts]
        parts = PARTS + 3 * flips.EVEN
        flat = [_read(self._leading, run, parts * self._cells).reshape(parts, -1, self._cells) for run in runs]
        arrays = np.split(np.concatenate(flat, axis=1), range(PARTS, parts, flips.EVEN))
        return flips.Leading(*arrays, *self._numbers[:, cases])

    def correlate(self, left: Array, right: Array, rows: slice, columns: slice) -> Array:
        """Return the correlations of k cases with l, (k, l), given their parts."""
        sizes = self._numbers[2]
        return flips.max_correlation(flips.all_products, left, right, np.minimum(sizes[rows, None], sizes[columns]))

    def correlate_pairs(self, rows: slice, columns: slice, pairs: Array) -> Array:
        """Return the correlations of pairs (p, 2) of places in two blocks, (p,)."""
        if not len(pairs):
            return np.empty(0, np.float32)
        if len(pairs) > MANY:
            return self.correlate(self.read(rows), self.read(columns), rows, columns)[tuple(pairs.T)]
        (first, i), (second, j) = (
            np.unique(block.start + places, return_inverse=True)
            for block, places in zip((rows, columns), pairs.T, strict=True)
        )
        left, right = self.read(first.tolist()), self.read(second.tolist())
        smaller = np.minimum(self._numbers[2, first[i]], self._numbers[2, second[j]])
        return flips.max_correlation(flips.pair_products, left[:, :, i], right[:, :, j], smaller)


def _read(path: Path, cases: slice, size: int) -> Array:
    """Return the numbers of cases, `size` each."""
    return np.fromfile(path, np.float32, (cases.stop - cases.start) * size, offset=4 * cases.start * size)


def _means_and_masks(fingerprints: Array) -> tuple[Array, Array]:
    """Return the means, and the masks of cells that are more than half tissue, each (k, z, y, x)."""
    return fingerprints[:, 0], (fingerprints[:, 1] > 0.5).astype(np.float32)


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
