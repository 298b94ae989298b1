"""Find the cases that lie outside the training cohort: no training case is like them.

A case's score is its mean distance to the nearest training cases, over features in robust units. Its p is conformal
(Bates and others, Annals of Statistics 2023): the share of training cases that lie as far from the others. It needs no
assumption on the features' distribution, which has a mode for each plane and scanner.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

from flairprep.audit.association import Array, Columns

POWER = 4  # of Minkowski's distance: among fifty features that are as usual, one that is far out still counts
NEAREST = 5  # training cases that a distance averages over
LEVEL = 0.01  # share of training cases that lie as far out as a case that is called outside
LIMIT = 8.0  # robust standard deviations; what lies further counts as that far
IQR_TO_SD = 1.349  # interquartile range of a normal distribution in standard deviations
UNUSUAL = 2.0  # robust standard deviations from which a reason names a feature
NAMED = 3  # features that a reason names
FAR, LEAST_FAR = 0.5, 0.1  # shares of the training range, and of its middle, beyond which a value is far out
KINDS = ("manufacturer", "field_strength", "plane", "acquisition_type", "contrast_agent", "skull_stripped", "space")


@dataclass(frozen=True)
class Place:
    """Where a case lies: its conformal p, whether that is outside, and why: its new or most unusual values."""

    p: float
    outside: bool
    why: str


def robust_units(training: Array, others: Array) -> tuple[Array, Array]:
    """Return both (n, features) minus the training median, over the training spread, clipped to LIMIT.

    A gap (NaN) counts as the median. Features that are constant in training have the spread 1.
    """
    with np.errstate(all="ignore"):
        low, middle, high = (np.nan_to_num(q) for q in np.nanquantile(training, (0.25, 0.5, 0.75), axis=0))
        spread = (high - low) / IQR_TO_SD
        spread = np.where(spread > 0, spread, np.nan_to_num(np.nanstd(training, axis=0)))
    spread = np.where(spread > 0, spread, 1)
    scaled = [np.nan_to_num((values - middle) / spread).clip(-LIMIT, LIMIT) for values in (training, others)]
    return scaled[0], scaled[1]


def conformal_p(training: Array, others: Array) -> Array:
    """Return the p of each of `others`, (n, features), among training cases scored by leaving each one out."""
    nearest = min(NEAREST, len(training) - 1)
    apart = cdist(training, training, "minkowski", p=POWER)
    np.fill_diagonal(apart, np.inf)
    of_training = np.sort(apart, axis=1)[:, :nearest].mean(axis=1)
    of_others = np.sort(cdist(others, training, "minkowski", p=POWER), axis=1)[:, :nearest].mean(axis=1)
    return np.asarray((1 + (of_training >= of_others[:, None]).sum(axis=1)) / (1 + len(training)))


def beyond_range(training: Array, others: Array) -> Array:
    """Return which values of `others` lie far beyond the training cases' range, both (n, features); bool.

    Far is half of the range, and a tenth of the middle: with dozens of features some value always lies a little beyond.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a feature that no training case has: none is beyond
        low, high, middle = (f(training, axis=0) for f in (np.nanmin, np.nanmax, np.nanmedian))
    margin = np.maximum(FAR * (high - low), LEAST_FAR * np.abs(middle))
    return np.asarray((others < low - margin) | (others > high + margin))


def place_cases(sources: Mapping[str, Columns], new: Array) -> list[Place]:
    """Place each new case; sources and new: as in `shift.compare`, the header fields under "header fields".

    With fewer than 1 / LEVEL - 1 training cases, those are outside that lie further out than all of them.
    """
    numbers = {
        name: values for columns in sources.values() for name, values in columns.items() if values.dtype.kind == "f"
    }
    table = np.stack(list(numbers.values()), axis=1)
    training, others = robust_units(table[~new], table[new])
    level = max(LEVEL, 1 / (1 + len(training)))
    header = sources.get("header fields", {})
    unseen = _unseen({name: values for name, values in header.items() if name in KINDS}, new)
    beyond = beyond_range(table[~new], table[new])
    places = []
    for p, values, row, far, kinds in zip(
        conformal_p(training, others).tolist(), table[new], others, beyond, unseen, strict=True
    ):
        order = np.argsort(-(np.abs(row) + 2 * LIMIT * far), kind="stable")[:NAMED]  # those beyond the range first
        unusual = [f"{list(numbers)[at]} {values[at]:.4g}" for at in order if far[at] or abs(row[at]) > UNUSUAL]
        outside = p <= level + 1e-12 or bool(kinds) or bool(far.any())
        places.append(Place(p, outside, "; ".join([*kinds, *unusual]) if outside else ""))
    return places


def _unseen(header: Columns, new: Array) -> Sequence[list[str]]:
    """Return, for each new case, its header values that no training case has."""
    found: list[list[str]] = [[] for _ in range(int(new.sum()))]
    for name, values in header.items():
        gap = np.isnan(values) if values.dtype.kind == "f" else values == ""
        known = set(values[~new & ~gap].tolist())
        for reasons, value, missing in zip(found, values[new].tolist(), gap[new], strict=True):
            if known and not missing and value not in known:
                reasons.append(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}")
    return found
