"""What can be measured on a preprocessed volume without looking at what is in it: extent, padding, blur, histogram.

A lesion is biology, not a shortcut, and lesions are bright in FLAIR. So blur and histogram are those of `Ordinary`
tissue: of the half of the head that has fewer bright voxels, without these, in units of its own spread.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # whose parts come when they are first used
import SimpleITK as sitk

from flairprep.audit.near_duplicates import fingerprint
from flairprep.imaging.foreground import bounds

Array = npt.NDArray[Any]

AXES = ("z", "y", "x")
NORMAL = 1.4826  # standard deviations of a normal distribution in its median absolute deviation
BRIGHT = 2.5  # such standard deviations above the median, from which a voxel does not count
RIM = 32  # the outermost 1 / RIM of the volume's width is left out: 7 mm
PERCENTILES = (1, 2, 5, 10, 20, 30, 40, 60, 70, 80, 90)
SLABS = 4  # parts of the head along an axis, whose medians tell how uneven the receiving coils were
BINS = 64


class Ordinary(NamedTuple):
    """The tissue's bounding box as standard scores (z, y, x), which voxels count, and what the scores come from."""

    scores: Array
    mask: Array
    median: float
    spread: float


def ordinary(values: Array, tissue: Array) -> Ordinary:
    """What of the tissue has little to do with a lesion; values: (z, y, x); tissue: (z, y, x), bool.

    The rim is left out, since there the tissue was interpolated with the background, and how far that lies from the
    tissue, in units of its spread, depends on the lesion.
    """
    rim = max(1, tissue.shape[-1] // RIM)
    box = tuple(slice(low, high + 1) for low, high in bounds(tissue))
    values, tissue = values[box].astype(np.float32), np.ascontiguousarray(tissue[box])
    inner = scipy.ndimage.binary_erosion(tissue, iterations=rim)
    inner = inner if inner.any() else tissue
    median, spread = _location(values[inner])
    bright = values > median + BRIGHT * spread
    middle = tissue.shape[-1] // 2
    halves = [slice(0, middle), slice(-middle, None)]
    shares = [(bright & inner)[..., half].sum() / max(1, inner[..., half].sum()) for half in halves]
    half = halves[int(np.argmin(shares))]
    mask = np.zeros_like(inner)
    mask[..., half] = (inner & ~bright)[..., half]
    mask = mask if mask.any() else inner
    median, spread = _location(values[mask])
    return Ordinary((values - median) / spread, mask, median, spread)


def _location(values: Array) -> tuple[float, float]:
    median = float(np.median(values))
    spread = NORMAL * float(np.median(np.abs(values - median)))
    return median, spread if spread > 0 else 1.0


def geometry(tissue: Array, usual: Ordinary) -> dict[str, float]:
    """Extent and padding of the tissue along each axis as shares of the volume, its share of its box, and blur.

    The blur is the median difference of neighbours in units of the spread: small along an axis that was interpolated
    from thick slices.
    """
    box = bounds(tissue)
    found = {"filled": float(tissue[tuple(slice(low, high + 1) for low, high in box)].mean())}
    for axis, name in enumerate(AXES):
        (low, high), length = box[axis], tissue.shape[axis]
        both = np.delete(usual.mask, 0, axis) & np.delete(usual.mask, -1, axis)
        steps = np.abs(np.diff(usual.scores, axis=axis)[both])
        found |= {f"extent_{name}": (high + 1 - low) / length, f"padding_{name}": low / length}
        found[f"blur_{name}"] = float(np.median(steps)) if len(steps) else 0.0
    return found


def intensity_statistics(usual: Ordinary) -> dict[str, float]:
    """Nineteen numbers of the ordinary tissue's histogram, the same under an offset and a factor of the values."""
    kept = usual.scores[usual.mask]
    shares = np.histogram(kept, BINS)[0] / len(kept)
    found = {f"percentile_{p}": float(v) for p, v in zip(PERCENTILES, np.percentile(kept, PERCENTILES), strict=True)}
    found |= {
        **shape(kept),
        "entropy": float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()),
        "lowest": float((kept == kept.min()).mean()),
        "distinct": len(np.unique(kept)) / len(kept),
    }
    for axis, name in enumerate(AXES):
        parts = np.array_split(np.arange(usual.mask.shape[axis]), SLABS)
        slabs = [(usual.scores.take(part, axis), usual.mask.take(part, axis)) for part in parts]
        found[f"unevenness_{name}"] = float(np.std([np.median(scores[mask]) for scores, mask in slabs if mask.any()]))
    return found


def shape(values: Array) -> dict[str, float]:
    """Skewness m3 / m2^1.5 and excess kurtosis m4 / m2^2 - 3 of (n,) values, m their central moments; 0 of a constant.

    As scipy.stats has them, which takes longer to import than a case to measure.
    """
    centred = values - values.mean(dtype=np.float64)
    m2, m3, m4 = (float((centred**power).mean()) for power in (2, 3, 4))
    if not np.ptp(values):
        return {"skewness": 0.0, "kurtosis": 0.0}
    return {"skewness": m3 / m2**1.5, "kurtosis": m4 / m2**2 - 3}


def level(usual: Ordinary) -> dict[str, float]:
    """Median and spread, which normalisation takes away."""
    return {"median": usual.median, "spread": usual.spread}


class CaseFeatures(NamedTuple):
    """Features of one preprocessed volume, by name."""

    geometry: dict[str, float]
    statistics: dict[str, float]


def extract_features(image: sitk.Image, intensity: str, background: float) -> tuple[CaseFeatures, Array]:
    """Extract the features of a volume from data/select_slices, and its fingerprint.

    intensity: the method of normalize. background: what is not tissue.

    Returns:
        The features, and (2, z, y, x), the means and shares of `near_duplicates.fingerprint`.
    """
    values = sitk.GetArrayViewFromImage(image)
    tissue = values != background
    usual = ordinary(values, tissue)
    statistics = intensity_statistics(usual)
    if intensity == "none":  # else it was taken away; here it is the scanner's own
        statistics |= level(usual)
    return CaseFeatures(geometry(tissue, usual), statistics), np.stack(fingerprint(values, tissue))
