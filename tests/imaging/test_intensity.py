"""Intensity maps against their formulas and against the intensity-normalization package, and the bias field."""

from collections.abc import Callable

import intensity_normalization as inorm
import numpy as np
import pytest
import SimpleITK as sitk
from workspace import points, volume

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.imaging import intensity

METHODS = sorted(intensity.METHODS)


def tissues(rng: np.random.Generator) -> np.ndarray:
    """White matter, grey matter, fluid and a bright lesion."""
    parts = [(480, 30, 11000), (620, 40, 6000), (110, 25, 2000), (900, 60, 500)]
    return np.concatenate([rng.normal(mean, sd, n) for mean, sd, n in parts])


def skewed(rng: np.random.Generator) -> np.ndarray:
    """Its mode lies at the smallest values, where the stripe is cut off."""
    return 50 + rng.exponential(100, 20000)


def package(values: np.ndarray, mask: np.ndarray, method: str) -> np.ndarray:
    """`values` normalised by the package, whose entry differs between its versions 3 and 4."""
    name = method.replace("_", "")
    if hasattr(inorm, "normalize_image"):
        normalized = inorm.normalize_image(values, method=name, mask=mask.astype(float), modality="flair")
        return np.asarray(normalized.get_data())
    options = {"modality": "flair"} if method == "white_stripe" else {}
    return np.asarray(getattr(inorm, name)(values, mask=mask, **options))


@pytest.mark.parametrize(
    ("method", "values", "expected"),
    [
        ("zscore", [1, 2, 3, 4], (2.5, 1.25**0.5)),
        ("zscore", [-5, 5], (0, 5)),
        ("percentile", range(101), (50, 49)),  # 1 becomes -1 and 99 becomes 1
        ("percentile", [0, 10], (5, 4.9)),
    ],
)
def test_small_examples_by_hand(method: str, values: list[int], expected: tuple[float, float]) -> None:
    assert intensity.fit(np.array(values), method) == pytest.approx(expected)


@pytest.mark.parametrize("distribution", [tissues, skewed])
@pytest.mark.parametrize("method", ["zscore", "white_stripe"])
def test_the_package_gives_the_same_values(
    method: str, distribution: Callable[[np.random.Generator], np.ndarray]
) -> None:
    rng = np.random.default_rng(0)
    foreground = distribution(rng)
    values = rng.normal(20, 5, (30, 40, 50))
    mask = np.zeros(values.shape, bool)
    mask.flat[rng.permutation(values.size)[: len(foreground)]] = True
    values[mask] = foreground
    offset, scale = intensity.fit(values[mask], method)
    np.testing.assert_allclose((values - offset) / scale, package(values, mask, method), rtol=1e-4, atol=1e-4)


def test_white_stripe_lies_on_the_largest_mode_not_on_the_brightest() -> None:
    offset, scale = intensity.fit(tissues(np.random.default_rng(1)), "white_stripe")
    assert offset == pytest.approx(480, abs=15)
    assert 0 < scale < 30


@pytest.mark.parametrize("unit", [1e-9, 0.01, 1e6])
@pytest.mark.parametrize("method", METHODS)
def test_the_scanners_unit_cancels_out(method: str, unit: float) -> None:
    values = tissues(np.random.default_rng(2))
    offset, scale = intensity.fit(values, method)
    # a bin's edge may fall on the other side of a few values
    assert np.array(intensity.fit(values * unit, method)) / unit == pytest.approx([offset, scale], rel=1e-2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("values", "code"),
    [
        ([], Code.EMPTY_FOREGROUND),
        ([0.0] * 50, Code.CONSTANT_FOREGROUND),
        ([0.1] * 1000, Code.CONSTANT_FOREGROUND),  # the sum of which is rounded
        ([3e4], Code.CONSTANT_FOREGROUND),
    ],
)
def test_nothing_to_fit_to_is_a_code(method: str, values: list[float], code: Code) -> None:
    with pytest.raises(CaseError) as refused:
        intensity.fit(np.array(values, np.float32), method)
    assert refused.value.code is code


@pytest.mark.parametrize("method", ["percentile", "white_stripe"])
def test_one_odd_voxel_does_not_make_a_constant_foreground_a_scale(method: str) -> None:
    with pytest.raises(CaseError) as refused:
        intensity.fit(np.array([7.0] * 999 + [9.0]), method)
    assert refused.value.code is Code.CONSTANT_FOREGROUND


@pytest.mark.slow
def test_a_known_bias_field_is_removed_and_the_geometry_stays() -> None:
    geometry = {"origin": (-70, 30, 12.5), "direction": (0, 0, 1, 1, 0, 0, 0, -1, 0)}
    image = volume(np.zeros((20, 52, 48), np.float32), (2, 2, 6), **geometry)
    where = points(image)
    where = (where - where.reshape(-1, 3).mean(axis=0)) / 60
    head = np.linalg.norm(where, axis=-1) < 0.9
    core = np.linalg.norm(where, axis=-1) < 0.5
    field = np.exp(0.5 * where[..., 0] - 0.4 * where[..., 2] ** 2)
    rng = np.random.default_rng(0)
    values = np.where(core, 600, np.where(head, 400, 0)) * field + rng.normal(0, 3, field.shape) * head
    biased = sitk.GetImageFromArray(values.astype(np.float32))
    biased.CopyInformation(image)
    mask = sitk.GetImageFromArray(head.astype(np.uint8))
    mask.CopyInformation(image)

    corrected = intensity.remove_bias_field(biased, mask)

    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(corrected, name)() == getattr(image, name)()
    after = sitk.GetArrayFromImage(corrected)
    for tissue in (core, head & ~core):
        before = values[tissue].std() / values[tissue].mean()
        assert after[tissue].std() / after[tissue].mean() < before / 3


def test_no_tissue_to_estimate_the_bias_field_from_is_a_code() -> None:
    image = volume(np.full((16, 16, 16), -1, np.float32))
    with pytest.raises(CaseError) as refused:
        intensity.remove_bias_field(image, sitk.Cast(image < 0, sitk.sitkUInt8))
    assert refused.value.code is Code.EMPTY_FOREGROUND
