"""Correlate patterns in boxes over all eight flips of one of them, exactly or by an upper bound that costs a third.

A pattern is r, zero outside its mask m, in a box (z, y, x). Its arrays are split into parts that are even or odd along
each axis (a Walsh-Hadamard transform). A flip changes the sign of odd parts only, so a sum over all cells under all
flips costs no more than one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# (8, 8): sign of the product of two even or odd parts (column) under a flip (row); 1 / 8, since a part holds sums.
FLIP_SIGNS = np.array([[(-1.0) ** (flip & part).bit_count() for part in range(8)] for flip in range(8)], np.float32) / 8
EVEN = 4  # parts that are even along x, left to right: the first ones of FLIP_SIGNS
MIN_VARIANCE = 1e-12
MIN_SHARE = 1e-4  # of the product of two sums of r^2; below it rounding counts, and nothing is bounded


class Leading(NamedTuple):
    """What bounds the correlations of k patterns.

    r: (8, k, cells), parts of r. squares, masks, cores: (EVEN, k, cells), parts of r^2, m and `core`.
    energies, sums, sizes, core_sizes: (k,), sums of r^2, r, m and the core.
    """

    r: Array
    squares: Array
    masks: Array
    cores: Array
    energies: Array
    sums: Array
    sizes: Array
    core_sizes: Array


def parity_parts(values: Array) -> Array:
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


def core(masks: Array) -> Array:
    """Return the cells that stay inside each mask (k, z, y, x) when it is flipped left to right."""
    return masks * np.flip(masks, 3)


def all_products(a: Array, b: Array) -> Array:
    """Return the sums over cells of a times b for each two patterns, (8, k, l), of (8, k, cells) and (8, l, cells)."""
    return a @ b.transpose(0, 2, 1)


def pair_products(a: Array, b: Array) -> Array:
    """Return the sums over cells of a times b for pairs of patterns, (8, p), of (8, p, cells) twice."""
    return np.einsum("fpc,fpc->fp", a, b)


def max_correlation(products: Callable[[Array, Array], Array], left: Array, right: Array, smaller: Array) -> Array:
    """Return the maximum correlation over all flips, over the cells that are in both masks: (k, l), or (p,) of pairs.

    Args:
        products: `all_products` or `pair_products`.
        left, right: (3, 8, k, cells) and (3, 8, l, cells), the parts of r, r^2 and m.
        smaller: cells of the smaller mask, in the shape of the result.
    """
    (r, rr, m), (other_r, other_rr, other_m) = left, right

    def over_flips(a: Array, b: Array) -> Array:
        return np.tensordot(FLIP_SIGNS, products(a, b), 1)

    count = np.maximum(over_flips(m, other_m), 1)
    own, other = over_flips(r, other_m) / count, over_flips(m, other_r) / count
    covariance = over_flips(r, other_r) / count - own * other
    variance = (over_flips(rr, other_m) / count - own**2) * (over_flips(m, other_rr) / count - other**2)
    # A correlation of few cells is noise: the masks must share half of the smaller one.
    enough = (variance > MIN_VARIANCE) & (count > 0.5 * smaller)
    return np.where(enough, covariance / np.sqrt(np.maximum(variance, MIN_VARIANCE)), -1.0).max(axis=0)


@np.errstate(under="ignore")
def upper_bounds(left: Leading, right: Leading, limit: float) -> Array:
    """Return what no `max_correlation` of two patterns exceeds, (k, l), up to the rounding of float32.

    Under two flips that differ left to right, the cells that two masks share hold those of one mask in the other's
    `core`. No mean fits more cells better than their own mean fits some of them, so the sum of squares about the mean
    is least over the latter. What a mask has outside them, at most e of r^2 in s cells, bounds the sum of r over the
    shared cells by b = |sum of r| + sqrt(e s) (Cauchy-Schwarz), and the means add at most b b' / n to the covariance.

    Args:
        left, right: k and l patterns.
        limit: bounds below it need not be close: for them the cells that lie in all cores are enough.
    """
    covariance = np.tensordot(FLIP_SIGNS, all_products(left.r, right.r), 1)
    own, other = _in_all_cores(left, right.cores), _in_all_cores(right, left.cores)
    by_means = np.outer(own.sums, other.sums / max(1, own.cells, other.cells))
    energies = np.outer(left.energies, right.energies)
    bounds = _quotient(covariance.max(axis=0) + by_means, np.outer(own.squares, other.squares), energies)
    if (rows := (bounds >= limit).any(axis=1)).any():
        few = Leading(*(parts[:, rows] for parts in left[:4]), *(numbers[rows] for numbers in left[4:]))
        bounds[rows] = _close_bounds(covariance[:, rows], few, right, energies[rows])
    return bounds


class _Least(NamedTuple):
    """Over cells that masks share: least sums of squares about the mean, (k,), largest sums, (k,), least number."""

    squares: Array
    sums: Array
    cells: float


def _in_all_cores(of: Leading, cores: Array) -> _Least:
    """Return what patterns have in the cells that lie in all cores."""
    arrays = np.concatenate([of.squares, of.r[:EVEN], of.masks], axis=1)
    sums = FLIP_SIGNS[:EVEN, :EVEN] @ all_products(arrays, _constant(cores)[1])[..., 0]
    inside, total, count = np.split(sums, 3, axis=1)
    outside = np.maximum(of.energies - inside, 0) * np.maximum(of.sizes - count, 0)
    squares = inside - total**2 / np.maximum(count, 1)
    return _Least(
        np.maximum(squares.min(axis=0), 0), (np.abs(of.sums) + np.sqrt(outside)).max(axis=0), float(count.min())
    )


def _close_bounds(covariance: Array, left: Leading, right: Leading, energies: Array) -> Array:
    """Return the bounds of `upper_bounds` by the cells in each core; energies: (k, l), products of those of both."""
    squares, sums, count = np.split(
        _in_cores(np.concatenate([left.squares, left.r[:EVEN], left.masks], axis=1), right.cores), 3, axis=1
    )
    other_squares, other_sums = np.split(
        _in_cores(np.concatenate([right.squares, right.r[:EVEN]], axis=1), left.cores).transpose(0, 2, 1), 2, axis=2
    )
    missing = np.maximum(left.sizes[:, None] - count, 0)
    outside = np.maximum(left.energies[:, None] - squares, 0) * missing
    other_outside = np.maximum(right.energies - other_squares, 0) * np.maximum(right.sizes - count, 0)
    largest = (np.abs(left.sums[:, None]) + np.sqrt(outside)) * (np.abs(right.sums) + np.sqrt(other_outside))
    least = np.maximum(squares - sums**2 / np.maximum(count, 1), 0)
    other_count = left.core_sizes[:, None] - missing  # or more
    least *= np.maximum(other_squares - other_sums**2 / np.maximum(other_count, 1), 0)
    highest = np.maximum(covariance[:EVEN], covariance[EVEN:])  # the highest bit of a flip is x
    return _quotient(highest + largest / np.maximum(count, 1), least, energies).max(axis=0)


def _quotient(covariance: Array, squares: Array, energies: Array) -> Array:
    """Return the bounds by the largest covariance and the least product of sums of squares."""
    known = squares > MIN_SHARE * energies
    above = np.maximum(covariance, 0)
    return np.divide(above, np.sqrt(squares, where=known, out=squares), out=np.full_like(above, np.inf), where=known)


def _constant(cores: Array) -> tuple[Array, Array]:
    """Return which cells of parts vary between cores, (cells,), and the other ones of any, (EVEN, 1, cells)."""
    varies = (cores != cores[:, :1]).any(axis=(0, 1))
    return varies, np.where(varies, 0, cores[:, :1])


def _in_cores(arrays: Array, cores: Array) -> Array:
    """Return the sums of arrays over cores under EVEN flips, (EVEN, k, l), of parts (EVEN, k, cells), (EVEN, l, cells).

    Inside the head all cores are 1, and outside 0. One of them stands for all there.
    """
    varies, constant = _constant(cores)
    sums = all_products(arrays[..., varies], cores[..., varies]) + all_products(arrays, constant)
    return np.tensordot(FLIP_SIGNS[:EVEN, :EVEN], sums, 1)
