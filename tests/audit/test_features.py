"""Features follow the scanner and hardly a lesion."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.stats import kurtosis, skew

from flairprep.audit import features, shading

SHAPE = (32, 64, 64)


def head(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    z, y, x = np.indices(SHAPE)
    tissue = ((z - 16) / 14) ** 2 + ((y - 30) / 26) ** 2 + ((x - 32) / 22) ** 2 < 1
    rng = np.random.default_rng(seed)
    values = gaussian_filter(rng.normal(size=SHAPE), 3) * 30 + rng.normal(0, 0.3, SHAPE)
    return np.where(tissue, values, -4).astype(np.float32), tissue


def both(values: np.ndarray, tissue: np.ndarray) -> dict[str, float]:
    reference = features.find_reference(values, tissue)
    geometry = features.geometry_features(tissue, reference, (1, 1, 1))
    shades = shading.shading_features(reference.scores, reference.both, np.eye(3).ravel())
    return geometry | features.intensity_features(reference) | shades


def test_an_offset_and_a_factor_change_only_median_and_spread() -> None:
    values, tissue = head()
    assert both(values * 3 + 50, tissue) == pytest.approx(both(values, tissue), abs=5e-3)  # float32
    plain, scaled = (features.find_reference(v, tissue) for v in (values, values * 3 + 50))
    assert scaled.spread == pytest.approx(3 * plain.spread, rel=1e-5)
    assert scaled.median == pytest.approx(3 * plain.median + 50, rel=1e-5)


@pytest.mark.parametrize("side", [20, 43])
def test_a_bright_lesion_on_one_side_and_the_normalisation_after_it_hardly_change_anything(side: int) -> None:
    values, tissue = head()
    values, tissue = (values + values[..., ::-1]) / 2, tissue & tissue[..., ::-1]  # both sides alike
    z, y, x = np.indices(SHAPE)
    lesion = np.sqrt((z - 16) ** 2 + (y - 30) ** 2 + (x - side) ** 2) < 7
    normalised = []
    for volume in (values, np.where(lesion, values + 8, values)):
        scores = (volume - volume[tissue].mean()) / volume[tissue].std()
        normalised.append(np.where(tissue, scores, -4))
    well, sick = normalised
    assert abs(np.percentile(sick[tissue], 5) / np.percentile(well[tissue], 5) - 1) > 0.1  # what a plain one would see
    assert both(sick, tissue) == pytest.approx(both(well, tissue), rel=0.05, abs=0.15)


def test_extent_and_padding_are_those_of_the_tissue() -> None:
    tissue = np.zeros((10, 20, 40), bool)
    tissue[2:8, 5:20, 4:36] = True
    values = np.random.default_rng(0).normal(size=tissue.shape)
    geometry = features.geometry_features(tissue, features.find_reference(values, tissue), (5, 1, 0.5))
    assert (geometry["extent_z"], geometry["extent_y"], geometry["extent_x"]) == (0.6, 0.75, 0.8)
    assert (geometry["padding_z"], geometry["padding_y"], geometry["padding_x"]) == (0.2, 0.25, 0.1)
    assert (geometry["size_z"], geometry["size_y"], geometry["size_x"]) == (30, 15, 16)
    assert geometry["filled"] == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_blur_tells_along_which_axis_a_volume_was_interpolated(axis: int) -> None:
    values, tissue = head()
    blurred, sharp = both(gaussian_filter1d(values, 1.0, axis=axis), tissue), both(values, tissue)
    ratios = [blurred[f"blur_{name}"] / sharp[f"blur_{name}"] for name in features.AXES]
    assert np.argmin(ratios) == axis
    assert ratios[axis] < 0.8


def test_statistics_are_those_of_scipy_on_the_voxels_that_count() -> None:
    values, tissue = head()
    reference = features.find_reference(values, tissue)
    statistics, scores = features.intensity_features(reference), reference.scores[reference.mask].astype(float)
    assert len(statistics) == 19
    assert statistics["skewness"] == pytest.approx(skew(scores), abs=1e-3)
    assert statistics["kurtosis"] == pytest.approx(kurtosis(scores), abs=1e-3)
    assert statistics["percentile_10"] == pytest.approx(np.percentile(scores, 10), abs=1e-3)
    assert statistics["distinct"] == pytest.approx(len(set(scores)) / len(scores), abs=1e-6)
    assert np.median(scores) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2), (1, 8, 8), (8, 16, 16)])
@pytest.mark.parametrize("constant", [True, False])
def test_small_and_constant_volumes_give_numbers(shape: tuple[int, ...], constant: bool) -> None:
    values = np.zeros(shape) if constant else np.random.default_rng(0).normal(size=shape)
    with np.errstate(all="raise"):
        measured = both(values, np.ones(shape, bool))
    assert np.isfinite(list(measured.values())).all()
