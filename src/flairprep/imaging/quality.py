"""Measure a scan's quality without a reference, in the definitions that MRIQC documents (Esteban et al. 2017).

The formulas stand alone, on plain numbers and arrays; `measure` chooses the voxels that they get.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # imports its parts when they are first used
import SimpleITK as sitk

from flairprep.imaging.foreground import bounding_region
from flairprep.imaging.morphology import binary_dilation

Array = npt.NDArray[Any]

CLEARANCE = 10.0  # mm between tissue and the air that is measured: blur and wrap of the skin end there
LEAST = 1000  # voxels that a mean or deviation is taken of
EMPTIED = 0.5  # share of exact zeros from which the air counts as cut away
SMOOTHING = 1.0  # mm, standard deviation: noise must not decide which voxel is of which tissue
CLASSES = 4  # fluid, white and grey matter, lesion
OTSU = 200_000  # voxels that thresholds are found with: more take ten times as long
SLABS, THICK = 16, 3  # slabs of slices that white and grey matter are told apart in: within 1 % of what all show
SMALLEST = 0.15  # share of the brain that white and grey matter each take at least


class Quality(NamedTuple):
    """Measures of one scan without units, None where they are undefined; higher is better, of `efc` lower."""

    snr: float | None = None
    snrd: float | None = None
    cnr: float | None = None
    fber: float | None = None
    efc: float | None = None


def snr(tissue: Array) -> float | None:
    """Return mean / (deviation sqrt(n / (n - 1))) of `tissue` (n,), deviation over n; None if it is constant.

    Signal-to-noise ratio of one region, as MRIQC defines it: the root makes it the deviation over n - 1.
    """
    deviation = float(tissue.std(ddof=1)) if tissue.size > 1 else 0.0
    return float(tissue.mean()) / deviation if deviation > 0 else None


def snr_dietrich(tissue: Array, air: Array) -> float | None:
    """Return mean(tissue) / (sqrt(2 / (4 - pi)) deviation(air)) of both (n,); None if the air is constant.

    Noise of a magnitude image follows Rayleigh's distribution in air; the root makes its deviation that of the noise in
    the tissue (Dietrich et al. 2007, J Magn Reson Imaging 26:375, equation A.12).
    """
    deviation = float(air.std())
    return float(tissue.mean()) / (np.sqrt(2 / (4 - np.pi)) * deviation) if deviation > 0 else None


def cnr(white: Array, grey: Array, air: float) -> float | None:
    """Return |mean(white) - mean(grey)| / sqrt(air^2 + var(white) + var(grey)); None if all are constant.

    Contrast-to-noise ratio (Magnotta and Friedman 2006, J Digit Imaging 19:140), with the variances of the tissues as
    MRIQC adds them.

    Args:
        white: values (n,) of white matter; grey: (m,) of grey matter.
        air: the deviation in air.
    """
    noise = float(np.sqrt(air**2 + white.var() + grey.var()))
    return abs(float(white.mean()) - float(grey.mean())) / noise if noise > 0 else None


def fber(inside: Array, outside: Array) -> float | None:
    """Return mean(inside^2) / mean(outside^2), None where nothing is outside.

    Foreground-to-background energy ratio (Shehzad et al. 2015).
    """
    energy = float(np.square(outside, dtype=np.float64).mean()) if outside.size else 0.0
    return float(np.square(inside, dtype=np.float64).mean()) / energy if energy > 0 else None


def efc(values: Array) -> float | None:
    """Return the entropy of `values` (n,) by their energy, as a share of the largest possible: 0 to 1.

    Entropy focus criterion (Atkinson et al. 1997, IEEE Trans Med Imaging 16:903): -sum(b ln b) with
    b = x / sqrt(sum(x^2)), divided by sqrt(n) ln sqrt(n), which equal values reach. Blur and ghosts raise it.
    None where a value is negative, or all are 0.
    """
    flat = values.ravel().astype(np.float64)
    energy = float(np.sqrt(np.square(flat).sum()))
    if flat.size < 2 or energy == 0 or flat.min() < 0:
        return None
    shares = flat[flat > 0] / energy
    return float(-(shares * np.log(shares)).sum() / (np.sqrt(flat.size) * np.log(np.sqrt(flat.size))))


def measure(image: sitk.Image, mask: sitk.Image, *, skull_stripped: bool) -> Quality:
    """Measure `image`, as acquired, with its tissue `mask` on the same grid.

    Skull-stripped: no air is left for snrd, fber and efc; white and grey matter can be told apart, and the air, which
    is exactly 0, adds nothing to the cnr. Whole heads have no cnr, since skin, fat and muscle are as bright as the
    brain. Of a head whose air was set to 0 snr alone remains.
    """
    values, inside = sitk.GetArrayViewFromImage(image), sitk.GetArrayViewFromImage(mask) > 0
    tissue = values[inside].astype(np.float64)
    if tissue.size < LEAST:
        return Quality()
    if skull_stripped:
        matters = white_and_grey(image, mask)
        return Quality(snr(tissue), cnr=cnr(*matters, air=0.0) if matters else None)
    outside = values[~inside]
    if outside.size < LEAST or np.count_nonzero(outside == 0) > EMPTIED * outside.size:
        return Quality(snr(tissue))
    radius = [max(1, round(CLEARANCE / spacing)) for spacing in image.GetSpacing()]
    air = values[~binary_dilation(inside, radius)].astype(np.float64)
    noise = snr_dietrich(tissue, air) if air.size >= LEAST else None
    return Quality(snr(tissue), noise, None, fber(tissue, outside), efc(values))


def white_and_grey(image: sitk.Image, mask: sitk.Image) -> tuple[Array, Array] | None:
    """Return the values (n,), (m,) of white and grey matter, the darker one first; None where they cannot be told.

    Otsu's thresholds part the smoothed brain into CLASSES; voxels beside another class are left out, since smoothing
    mixed them. White and grey matter are the two largest classes, if they are neighbours in brightness and neither is
    smaller than SMALLEST. The values are those of `image`, not smoothed, in SLABS slabs of its slices.
    """
    inside = sitk.GetArrayViewFromImage(mask) > 0
    region = bounding_region(inside)[::-1]
    inside, values = inside[region], sitk.GetArrayViewFromImage(image)[region].astype(np.float32)
    spacing = image.GetSpacing()[::-1]
    planes, inner = _slabs(len(values))
    sums, shares = (_smooth(each, spacing, planes) for each in (np.where(inside, values, 0), inside.astype(np.float32)))
    inside, values = inside[planes], values[planes]
    brain = sums[inside] / shares[inside]
    if not (brain.size and brain.max() > brain.min()):
        return None
    labels = np.full(inside.shape, CLASSES, np.uint8)
    labels[inside] = np.searchsorted(_thresholds(brain), brain)
    labels = np.where(_among_equals(labels) & inner[:, None, None], labels, CLASSES)
    sizes = np.bincount(labels.ravel(), minlength=CLASSES + 1)[:CLASSES]
    darker, brighter = sorted(np.argsort(sizes)[-2:])
    if brighter - darker != 1 or min(sizes[darker], sizes[brighter]) < SMALLEST * sizes.sum():
        return None
    return values[labels == darker].astype(np.float64), values[labels == brighter].astype(np.float64)


def _slabs(n: int) -> tuple[Array, Array]:
    """Return the slices of SLABS slabs, evenly spread over `n`, and which of them have both neighbours among them.

    Of fewer slices all, each of which counts.
    """
    if n <= SLABS * THICK:
        return np.arange(n), np.ones(n, bool)
    starts = np.linspace(0, n - THICK, SLABS).round().astype(int)
    within = np.arange(THICK)
    return (starts[:, None] + within).ravel(), np.tile((within > 0) & (within < THICK - 1), SLABS)


def _smooth(values: Array, spacing: Sequence[float], planes: Array) -> Array:
    """Smooth `values` (z, y, x), float32, by a Gaussian; return the `planes` (k,) along z; spacing: mm of each axis."""
    across, *within = (SMOOTHING / step for step in spacing)
    point = np.eye(len(values), dtype=np.float32)
    weights = scipy.ndimage.gaussian_filter1d(point, across, axis=0, mode="nearest")[planes]
    mixed = (scipy.sparse.csr_array(weights) @ values.reshape(len(values), -1)).reshape(-1, *values.shape[1:])
    return np.asarray(scipy.ndimage.gaussian_filter(mixed, (0, *within), mode="nearest"))


def _thresholds(values: Array) -> list[float]:
    """Return Otsu's thresholds between CLASSES of `values` (n,), of every kth one where they are more than OTSU.

    With both ends, between which the bins lie.
    """
    drawn = np.append(values[:: -(-values.size // OTSU)], [values.min(), values.max()])
    otsu = sitk.OtsuMultipleThresholdsImageFilter()
    otsu.SetNumberOfThresholds(CLASSES - 1)
    otsu.SetNumberOfWorkUnits(1)  # equal bytes with any number of threads
    otsu.Execute(sitk.GetImageFromArray(drawn[np.newaxis]))
    return list(otsu.GetThresholds())


def _among_equals(labels: Array) -> Array:
    """Return the voxels (z, y, x) whose neighbours along all three axes have the same label."""
    equal = np.ones(labels.shape, bool)
    for axis in range(labels.ndim):
        same, moved = np.diff(labels, axis=axis) == 0, np.moveaxis(equal, axis, 0)
        moved[1:] &= np.moveaxis(same, axis, 0)
        moved[:-1] &= np.moveaxis(same, axis, 0)
    return equal
