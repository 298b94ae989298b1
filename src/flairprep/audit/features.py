"""Measure features of a preprocessed volume that are not anatomy: extent, padding, blur, histogram, shading.

A lesion is biology, not a shortcut, and lesions are bright in FLAIR. Blur and histogram therefore come from
`ReferenceTissue`: the half of the head with fewer bright voxels, without these, in units of its own spread. Shading
compares both halves, without bright voxels too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # its submodules load on first use
import SimpleITK as sitk

from flairprep.audit.near_duplicates import fingerprint
from flairprep.audit.shading import AXES, shading_features
from flairprep.imaging.foreground import bounding_box

Array = npt.NDArray[Any]

MAD_TO_SD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
BRIGHT = 2.5  # standard deviations above the median from which a voxel is excluded
RIM = 32  # the outermost 1 / RIM of the volume's width is excluded: 7 mm
PERCENTILES = (1, 2, 5, 10, 20, 30, 40, 60, 70, 80, 90)
QUARTERS = 4  # parts of the head along an axis, whose medians show how uneven the receiver coils were
BINS = 64


class ReferenceTissue(NamedTuple):
    """Bounding box of the tissue as standard scores (z, y, x), the mask of its reference voxels, and their location.

    Scores are (values - median) / spread. both: the mask of the same kind of voxels in both halves of the head.
    """

    scores: Array
    mask: Array
    both: Array
    median: float
    spread: float


def find_reference(values: Array, tissue: Array) -> ReferenceTissue:
    """Find the tissue that depends least on a lesion.

    The rim is excluded: interpolation mixed it with the background, whose distance from the tissue, in units of its
    spread, depends on the lesion.

    Args:
        values: (z, y, x).
        tissue: (z, y, x), bool.
    """
    rim = max(1, tissue.shape[-1] // RIM)
    box = tuple(slice(low, high + 1) for low, high in bounding_box(tissue))
    values, tissue = values[box].astype(np.float32), np.ascontiguousarray(tissue[box])
    inner = scipy.ndimage.binary_erosion(tissue, iterations=rim)
    inner = inner if inner.any() else tissue
    median, spread = _location(values[inner])
    bright = values > median + BRIGHT * spread
    both = inner & ~bright
    middle = tissue.shape[-1] // 2
    halves = [slice(0, middle), slice(-middle, None)]
    bright_shares = [(bright & inner)[..., half].sum() / max(1, inner[..., half].sum()) for half in halves]
    half = halves[int(np.argmin(bright_shares))]
    mask = np.zeros_like(inner)
    mask[..., half] = both[..., half]
    mask = mask if mask.any() else inner
    median, spread = _location(values[mask])
    return ReferenceTissue((values - median) / spread, mask, both, median, spread)


def _location(values: Array) -> tuple[float, float]:
    """Return the median and the spread, a standard deviation from the median absolute deviation; 1 if that is 0."""
    median = float(np.median(values))
    spread = MAD_TO_SD * float(np.median(np.abs(values - median)))
    return median, spread if spread > 0 else 1.0


def geometry_features(tissue: Array, reference: ReferenceTissue, spacing: Sequence[float]) -> dict[str, float]:
    """Return extent and padding of the tissue per axis as shares of the volume, its size, share of its box, and blur.

    The size is the extent in mm. Blur is the median difference of neighbours in units of the spread. It is small along
    an axis that was interpolated from thick slices.

    Args:
        tissue: (z, y, x), bool.
        reference: of the same volume.
        spacing: (z, y, x), mm.
    """
    box = bounding_box(tissue)
    features = {"filled": float(tissue[tuple(slice(low, high + 1) for low, high in box)].mean())}
    for axis, name in enumerate(AXES):
        (low, high), length = box[axis], tissue.shape[axis]
        neighbours = np.delete(reference.mask, 0, axis) & np.delete(reference.mask, -1, axis)
        steps = np.abs(np.diff(reference.scores, axis=axis)[neighbours])
        features |= {f"extent_{name}": (high + 1 - low) / length, f"padding_{name}": low / length}
        features[f"size_{name}"] = (high + 1 - low) * spacing[axis]
        features[f"blur_{name}"] = float(np.median(steps)) if len(steps) else 0.0
    return features


def intensity_features(reference: ReferenceTissue) -> dict[str, float]:
    """Return 19 numbers of the reference tissue's histogram, invariant to an offset and a factor of the values."""
    scores = reference.scores[reference.mask]
    shares = np.histogram(scores, BINS)[0] / len(scores)
    percentiles = np.percentile(scores, PERCENTILES)
    features = {f"percentile_{p}": float(value) for p, value in zip(PERCENTILES, percentiles, strict=True)}
    features |= {
        **moments(scores),
        "entropy": float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()),
        "lowest": float((scores == scores.min()).mean()),
        "distinct": len(np.unique(scores)) / len(scores),
    }
    for axis, name in enumerate(AXES):
        parts = np.array_split(np.arange(reference.mask.shape[axis]), QUARTERS)
        slabs = [(reference.scores.take(part, axis), reference.mask.take(part, axis)) for part in parts]
        medians = [np.median(slab_scores[mask]) for slab_scores, mask in slabs if mask.any()]
        features[f"unevenness_{name}"] = float(np.std(medians))
    return features


def moments(values: Array) -> dict[str, float]:
    """Return skewness m3 / m2^1.5 and excess kurtosis m4 / m2^2 - 3 of (n,) values; 0 for a constant.

    mk is the k-th central moment. scipy.stats has both, but its import takes longer than a case.
    """
    centred = values - values.mean(dtype=np.float64)
    m2, m3, m4 = (float((centred**power).mean()) for power in (2, 3, 4))
    if not np.ptp(values):
        return {"skewness": 0.0, "kurtosis": 0.0}
    return {"skewness": m3 / m2**1.5, "kurtosis": m4 / m2**2 - 3}


class CaseFeatures(NamedTuple):
    """Features of one preprocessed volume, by name."""

    geometry: dict[str, float]
    statistics: dict[str, float]
    shading: dict[str, float]


def extract_features(image: sitk.Image, intensity: str, background: float) -> tuple[CaseFeatures, Array]:
    """Extract the features of a volume from data/select_slices, and its fingerprint.

    Args:
        image: the volume.
        intensity: method of normalize. With "none" the statistics hold median and spread, which are the scanner's own.
        background: value of all voxels that are not tissue.

    Returns:
        The features, and (2, z, y, x), the means and shares of `near_duplicates.fingerprint`.
    """
    values = sitk.GetArrayViewFromImage(image)
    tissue = values != background
    reference = find_reference(values, tissue)
    shading = shading_features(reference.scores, reference.both, image.GetDirection())
    statistics = intensity_features(reference)
    if intensity == "none":
        statistics |= {"median": reference.median, "spread": reference.spread}
    geometry = geometry_features(tissue, reference, image.GetSpacing()[::-1])
    return CaseFeatures(geometry, statistics, shading), np.stack(fingerprint(values, tissue))
