"""What two folds must not share: a patient, a study, a frame of reference, voxels, or a scan that is almost another.

Near-duplicates are found in fingerprints: the tissue's bounding box in a fixed number of cells, whatever the field of
view. Heads of different patients correlate by up to 0.87, since a head is a head; without what all of a cohort have in
common they hardly do, and a copy still does.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from flairprep.findings import Finding
from flairprep.foreground import bounds

Array = npt.NDArray[Any]

IDENTITY = {  # columns of same_as.csv, and what a case has of each
    "patient": "its patient",
    "study": "its study",
    "frame_of_reference": "its frame of reference",
    "voxels": "every voxel",
}
REMEDY = "keep them in one fold (split.group_column) or list all but one in ingest.exclude"
CELLS = (14, 20, 20)  # of a fingerprint, (z, y, x): about 10 mm each
NEAR = 0.93  # correlation from which two scans are one; bench/results/audit.txt shows how far apart the two kinds lie
FEWEST = 10  # cases from which what all have in common can be told from what two share
BLOCK = 64  # rows of a matrix of all pairs that are worked out at a time
SHOWN = 5  # pairs that the text names
ORIENTATIONS = [(), (1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)]  # axes of (n, z, y, x) that are turned round


class Pair(NamedTuple):
    """Two cases of different folds, and how alike they are: 1 is equal."""

    first: str
    second: str
    correlation: float


def shared(table: pd.DataFrame, name: str) -> Finding:
    """Which cases have the value of column `name` of same_as.csv in common with a case of another fold.

    table: case_id, fold and the column. Where all cases have one value, headers were rewritten: it tells nothing.
    """
    if table[name].nunique() == 1:
        text = f"all cases have one {name.replace('_', ' ')}, so it was written over and says nothing"
        return Finding(name, "leak", "not testable", text)
    cases = table.loc[table.groupby(name)["fold"].transform("nunique") > 1, "case_id"]
    if cases.empty:
        return Finding(name, "leak", "clean", f"no case has {IDENTITY[name]} in common with a case of another fold")
    text = f"{len(cases)} cases have {IDENTITY[name]} in common with a case of another fold; {REMEDY}"
    return Finding(name, "leak", "leak", text, cases=tuple(sorted(cases)))


def near(case_ids: Sequence[str], folds: Array, means: Array, shares: Array) -> Finding:
    """Which cases are almost the same as one of another fold, by their fingerprints (n, z, y, x)."""
    name = "near-duplicates"
    if len(case_ids) < FEWEST:
        text = f"{len(case_ids)} cases are too few to tell what all share from what two share; {FEWEST} are needed"
        return Finding(name, "leak", "not testable", text)
    found = correlations(means, shares)
    across = folds[:, None] != folds
    pairs = near_duplicates(case_ids, found, across)
    most = float(found[across].max()) if across.any() else None
    if not pairs:
        text = f"no two scans of different folds are alike: they correlate by {most or 0:.2f} at most, not {NEAR}"
        return Finding(name, "leak", "clean", text, "correlation", most)
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


def near_duplicates(case_ids: Sequence[str], correlation: Array, across: Array) -> list[Pair]:
    """Pairs that correlate by NEAR or more, the most alike first, of those that `across` allows; both (n, n)."""
    places = np.argwhere(np.triu((correlation >= NEAR) & across, 1)).tolist()
    pairs = [Pair(case_ids[i], case_ids[j], round(float(correlation[i, j]), 3)) for i, j in places]
    return sorted(pairs, key=lambda pair: (-pair.correlation, pair))


def correlations(means: Array, shares: Array) -> Array:
    """(n, n): how alike any two cases are, the larger of all ways to turn one of them round.

    The correlation over the cells that are tissue in both, after `individual`: with r the remainders, zero outside the
    mask m, each sum of it over all pairs is one matrix product, as of r and r for the covariance, r^2 and m for the
    variance.
    """
    masks = (shares > 0.5).astype(np.float32)
    rest = individual(means, masks)
    n = len(means)
    best = np.full((n, n), -1.0)
    somewhere = masks.any(axis=0, keepdims=True)
    used = np.any([np.flip(somewhere, axes) for axes in ORIENTATIONS], axis=0)[0]  # the corners of the box are not
    left = np.stack([part[:, used] for part in (rest, rest**2, masks)])
    for axes in ORIENTATIONS:
        right = np.stack([np.flip(part, axes)[:, used] for part in (rest, rest**2, masks)])
        for start in range(0, n, BLOCK):  # of rows, against themselves and the later ones: the rest is symmetric
            here = np.s_[start : start + BLOCK, start:]
            best[here] = np.maximum(best[here], _correlation(left[:, here[0]], right[:, start:]))
    return np.maximum(best, best.T)


def _correlation(left: Array, right: Array) -> Array:
    """(n, m): over the cells in both masks; left: (3, n, cells) and right: (3, m, cells), of r, r^2 and m."""
    (r, rr, m), (other_r, other_rr, other_m) = left, right.transpose(0, 2, 1)
    count = np.maximum(m @ other_m, 1)
    own, other = r @ other_m / count, m @ other_r / count
    covariance = r @ other_r / count - own * other
    variance = (rr @ other_m / count - own**2) * (m @ other_rr / count - other**2)
    # Cells of few voxels say little: half of the smaller mask has to be common.
    enough = (variance > 1e-12) & (count > 0.5 * np.minimum(m.sum(axis=1)[:, None], other_m.sum(axis=0)))
    return np.where(enough, covariance / np.sqrt(np.maximum(variance, 1e-12)), -1.0)


def individual(means: Array, masks: Array) -> Array:
    """What of each case is its own, (n, z, y, x): the remainder after least squares on the cohort's mean, zero outside.

    The mean enters in every orientation, or two scans that lie upside down would share what upside down means.
    """
    n = len(means)
    total = masks.sum(axis=0)
    mean = np.divide((means * masks).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    common = np.stack([np.ones(mean.size), *(np.flip(mean[None], axes).ravel() for axes in ORIENTATIONS)], 1)
    mask, values = masks.reshape(n, -1), (means * masks).reshape(n, -1)
    products = (mask @ (common[:, :, None] * common[:, None]).reshape(len(common), -1)).reshape(n, len(common.T), -1)
    weights = np.linalg.pinv(products, rcond=1e-6, hermitian=True) @ (values @ common)[..., None]
    return ((values - weights[..., 0] @ common.T) * mask).reshape(means.shape).astype(np.float32)
