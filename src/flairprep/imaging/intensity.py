"""Fit intensity maps of one image, an offset and a scale from its foreground, and remove bias fields.

There are no methods that need a population (Nyul): fitted before the split, they would leak the validation cases.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # its modules load on first use
import SimpleITK as sitk

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError

Array = npt.NDArray[Any]

PERCENTILES = (1.0, 99.0)  # %, mapped to -1 and 1
STRIPE = 0.05  # quantiles on either side of the mode, Shinohara et al. 2014
GRID = 80  # intensities at which the density is evaluated, as in the intensity-normalization package
BINS = 4096  # of the histogram that replaces the voxels in the density: the same curve, far sooner
N4_SPACING = 4.0  # mm, of the shrunk image on which the smooth bias field is estimated


def zscore(values: Array) -> tuple[float, float]:
    """Return mean and standard deviation of the foreground values; the map is (v - mean) / sd."""
    return float(values.mean()), float(values.std())


def percentile(values: Array) -> tuple[float, float]:
    """Return offset and scale that map the 1st percentile to -1 and the 99th to 1."""
    low, high = np.percentile(values, PERCENTILES)
    return float(low + high) / 2, float(high - low) / 2


def white_stripe(values: Array) -> tuple[float, float]:
    """Return mean and standard deviation of the values within 5 % of quantiles around the largest mode.

    In FLAIR and T2 the largest mode of the density is white matter: Shinohara et al., NeuroImage: Clinical 6 (2014).
    """
    counts, edges = np.histogram(values, bins=BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    filled = counts > 0
    if filled.sum() < 2:
        return float(values.mean()), 0.0
    bandwidth = len(values) ** -0.2  # Scott's factor in one dimension, of the voxels and not of the bins
    density = scipy.stats.gaussian_kde(centres[filled], weights=counts[filled], bw_method=bandwidth)
    grid = np.linspace(values.min(), values.max(), GRID)
    mode = grid[density(grid).argmax()]
    quantile = (values < mode).mean()
    low, high = np.quantile(values, [max(quantile - STRIPE, 0), min(quantile + STRIPE, 1)])
    stripe = values[(values > low) & (values < high)]
    return (float(stripe.mean()), float(stripe.std())) if len(stripe) else (float(mode), 0.0)


METHODS: dict[str, Callable[[Array], tuple[float, float]]] = {
    "zscore": zscore,
    "percentile": percentile,
    "white_stripe": white_stripe,
}


def fit(values: Array, method: str) -> tuple[float, float]:
    """Return offset and scale of `method` for the foreground `values` (n,); the map is (v - offset) / scale.

    Raises:
        CaseError: EMPTY_FOREGROUND without values, CONSTANT_FOREGROUND where the scale would be zero.
    """
    if values.size == 0:
        raise CaseError(Code.EMPTY_FOREGROUND, "no tissue found")
    offset, scale = METHODS[method](values.astype(np.float64))
    if not scale > np.finfo(np.float32).eps * abs(offset):
        raise CaseError(Code.CONSTANT_FOREGROUND, f"{method}: the foreground is constant at {offset:g}")
    return offset, scale


def remove_bias_field(image: sitk.Image, mask: sitk.Image) -> sitk.Image:
    """Divide `image` (float32) by its N4 bias field (Tustison et al. 2010), estimated in `mask` at about 4 mm.

    Raises:
        CaseError: EMPTY_FOREGROUND without a positive voxel in `mask`.
    """
    mask = sitk.And(mask, image > 0)  # N4 works on logarithms
    axes = zip(image.GetSpacing(), image.GetSize(), strict=True)
    shrink = [max(1, min(round(N4_SPACING / spacing), n // 8)) for spacing, n in axes]
    small, small_mask = sitk.Shrink(image, shrink), sitk.Shrink(mask, shrink)
    if sitk.GetArrayViewFromImage(small_mask).sum() == 0:
        raise CaseError(Code.EMPTY_FOREGROUND, "no tissue to estimate the bias field from")
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.Execute(small, small_mask)
    return image / sitk.Exp(n4.GetLogBiasFieldAsImage(image))
