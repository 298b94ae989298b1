"""Where the network's voxels lie in a volume, by hand and in millimetres, and the one interpolation between them."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from workspace import volume

from flairprep.imaging.resampling import in_plane, resample, slice_positions

BACKGROUND = -4.0
UP = (1, 0, 0, 0, 1, 0, 0, 0, 1)
DOWN = (-1, 0, 0, 0, 1, 0, 0, 0, -1)


def stack(n: int, step: float, brain: tuple[int, int] | None = None, direction: tuple[int, ...] = UP) -> sitk.Image:
    """`n` slices of 2 x 2, of which those from brain[0] to brain[1] are not all background."""
    values = np.full((n, 2, 2), BACKGROUND, np.float32)
    low, high = brain or (0, n - 1)
    values[low : high + 1, 1, 0] = 1
    return volume(values, (1, 1, step), direction=direction)


@pytest.mark.parametrize(
    ("method", "n", "step", "count", "expected"),
    [
        ("centre", 8, 5, 64, (-28, 5)),
        ("centre", 63, 2, 64, (-1, 2)),
        ("centre", 64, 2, 64, (0, 2)),
        ("centre", 65, 2, 64, (0, 2)),
        ("centre", 400, 1, 64, (168, 1)),
        ("uniform", 64, 2.5, 64, (0, 2.5)),
        ("uniform", 20, 5, 64, (0, 5 * 19 / 63)),
        ("uniform", 400, 0.5, 64, (0, 0.5 * 399 / 63)),
        ("uniform", 9, 5, 1, (4, 5)),
        ("uniform", 1, 5, 4, (-1.5, 5)),
        ("resample", 64, 2, 64, (0, 2)),
        ("resample", 32, 2, 64, (-0.25, 1)),
        ("resample", 128, 1, 64, (0.5, 2)),
        ("resample", 9, 5, 1, (4, 45)),
    ],
)
def test_slice_positions_by_hand(method: str, n: int, step: float, count: int, expected: tuple[float, float]) -> None:
    assert slice_positions(stack(n, step), method, count, BACKGROUND) == pytest.approx(expected)


@pytest.mark.parametrize("n", [8, 20, 63, 64, 65, 400])
def test_resample_cuts_the_whole_extent_into_equal_slabs(n: int) -> None:
    first, step = slice_positions(stack(n, 3), "resample", 64, BACKGROUND)
    lower_face, upper_face = -0.5 * 3, (n - 0.5) * 3
    assert first * 3 - step / 2 == pytest.approx(lower_face)
    assert first * 3 + 63.5 * step == pytest.approx(upper_face)


@pytest.mark.parametrize(
    ("direction", "n", "step", "brain", "expected"),
    [
        (UP, 100, 1.5, (10, 90), (10, 90)),
        (DOWN, 100, 1.5, (10, 90), (10, 90)),
        (UP, 400, 1, (20, 390), (220, 390)),  # 170 mm from the vertex at 390 down
        (DOWN, 400, 1, (20, 390), (20, 190)),  # the vertex is at 20
        (UP, 60, 4, (0, 59), (16.5, 59)),
        (DOWN, 60, 4, (0, 59), (0, 42.5)),
        (UP, 171, 1, (0, 170), (0, 170)),
        (UP, 30, 2, (0, -1), (0, 29)),  # nothing but background: all slices
    ],
)
def test_foreground_goes_from_the_vertex_to_the_brains_end_or_170_mm_down(
    direction: tuple[int, ...], n: int, step: float, brain: tuple[int, int], expected: tuple[float, float]
) -> None:
    first, apart = slice_positions(stack(n, step, brain, direction), "foreground", 64, BACKGROUND)
    assert (first, first + 63 * apart / step) == pytest.approx(expected)


def test_a_brain_of_one_slice_lies_in_the_middle_of_the_slices() -> None:
    assert slice_positions(stack(30, 2, (7, 7)), "foreground", 5, BACKGROUND) == (5, 2)


def test_a_background_that_float32_rounds_is_still_recognised() -> None:
    image = stack(20, 1, (5, 14))
    values = sitk.GetArrayFromImage(image)
    values[values == BACKGROUND] = -4.1
    assert slice_positions(volume(values), "foreground", 10, -4.1) == pytest.approx((5, 1))


@pytest.mark.parametrize(
    ("size", "spacing", "expected"),
    [
        ((128, 128), (0.9, 0.9), 0.9),
        ((256, 256), (0.9, 0.9), 1.8),
        ((240, 100), (0.5, 1.0), 120 / 128),
        ((100, 200), (1.0, 1.1), 220 / 128),
        ((17, 31), (3.0, 2.0), 62 / 128),
    ],
)
def test_in_plane_the_larger_field_of_view_fills_the_picture_and_both_are_centred(
    size: tuple[int, int], spacing: tuple[float, float], expected: float
) -> None:
    image = volume(np.zeros((1, *size[::-1]), np.float32), (*spacing, 1.0))
    chosen, first = in_plane(image, 128)
    assert chosen == pytest.approx(expected)
    for start, n, step in zip(first, size, spacing, strict=True):
        assert start * step + 63.5 * chosen == pytest.approx((n - 1) / 2 * step)


GRIDS = {
    "finer": ((40, 36, 30), (0.5, 0.6, 0.7), (0.2, 1.3, 2.1)),
    "coarser": ((7, 9, 6), (2.9, 2.1, 3.3), (1.0, 0.4, 0.7)),
    "beyond the edges": ((30, 30, 30), (1.3, 1.7, 2.0), (-6.2, -4.9, -3.4)),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_a_constant_stays_constant_inside_and_the_background_outside(
    grid: tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]],
) -> None:
    size, spacing, first = grid
    image = volume(np.full((18, 20, 22), 3.25, np.float32), (1, 1.5, 2), origin=(5, 6, 7), direction=DOWN)
    resampled = resample(image, size, spacing, first, BACKGROUND)
    assert (resampled.GetSize(), resampled.GetDirection()) == (size, DOWN)
    assert resampled.GetSpacing() == pytest.approx(spacing)
    inside = np.ones(size[::-1], bool)
    for axis in range(3):
        index = first[axis] + np.arange(size[axis]) * spacing[axis] / image.GetSpacing()[axis]
        within = (index > -0.5) & (index < image.GetSize()[axis] - 0.5)
        inside &= within.reshape([-1 if axis == 2 - other else 1 for other in range(3)])
    values = sitk.GetArrayFromImage(resampled)
    assert values[inside] == pytest.approx(3.25, abs=1e-5)
    assert (values[~inside] == BACKGROUND).all()


@pytest.mark.parametrize("spacing", [(0.7, 0.8, 0.9), (2.1, 2.7, 4.4), (0.6, 2.3, 2.0)])
def test_a_linear_ramp_is_reproduced_away_from_the_edges(spacing: tuple[float, float, float]) -> None:
    z, y, x = np.mgrid[0:40, 0:50, 0:60]
    image = volume((2 * x - 3 * y + 0.5 * z).astype(np.float32), (1, 1.5, 2))
    first, size = (20.3, 17.1, 14.9), (6, 5, 4)
    resampled = sitk.GetArrayFromImage(resample(image, size, spacing, first, BACKGROUND))
    z, y, x = np.mgrid[0:4, 0:5, 0:6]
    at = [
        start + index * new / old for start, index, new, old in zip(first, (x, y, z), spacing, (1, 1.5, 2), strict=True)
    ]
    np.testing.assert_allclose(resampled, 2 * at[0] - 3 * at[1] + 0.5 * at[2], atol=1e-3)


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_a_coarser_grid_spreads_a_point_by_the_difference_of_the_voxels_point_spreads(factor: int) -> None:
    """Both are Gaussians whose full width at half maximum is one voxel; the coarse grids are read interleaved."""
    values = np.zeros((3, 3, 20 * factor + 1), np.float32)
    values[:, :, 10 * factor] = 1
    image = volume(values, (0.4, 1, 1))
    lines = [
        sitk.GetArrayFromImage(resample(image, (20, 1, 1), (0.4 * factor, 1, 1), (start, 1, 1), 0.0))[0, 0]
        for start in range(factor)
    ]
    line = np.stack(lines, axis=1).ravel()
    away = np.arange(len(line)) - 10 * factor
    one_voxel = (1 / (2 * math.sqrt(2 * math.log(2)))) ** 2
    assert line.sum() == pytest.approx(1, abs=1e-4)
    assert (line * away**2).sum() == pytest.approx((factor**2 - 1) * one_voxel, rel=0.1)


def test_a_pattern_that_the_coarser_grid_cannot_hold_does_not_turn_into_another_one() -> None:
    stripes = volume(np.tile(np.array([-1, 1], np.float32), (8, 8, 40)), (1, 1, 1))
    resampled = sitk.GetArrayFromImage(resample(stripes, (25, 6, 6), (3, 1, 1), (3, 1, 1), 0.0))
    assert np.abs(resampled).max() < 0.1


def by_simpleitk(
    image: sitk.Image, size: list[int], spacing: list[float], first: list[float], background: float
) -> np.ndarray:
    """Smooth and interpolate the whole volume by SimpleITK's own filters."""
    factors = np.array(spacing) / image.GetSpacing()
    variances = (np.maximum(0, factors**2 - 1) / (8 * math.log(2))).tolist()
    smooth = sitk.DiscreteGaussian(image, variances, maximumKernelWidth=64, useImageSpacing=False)
    origin = image.TransformContinuousIndexToPhysicalPoint(first)
    place = (size, sitk.Transform(), sitk.sitkLinear, origin, spacing, image.GetDirection(), background)
    return sitk.GetArrayFromImage(sitk.Resample(smooth, *place))


def tolerance(values: np.ndarray, background: float) -> float:
    """Three roundings to float32 of the largest step from the background: one per axis."""
    return 3 * float(np.finfo(np.float32).eps) * float(np.abs(values - background).max(initial=1))


@pytest.mark.parametrize("background", [-4.0, -4.1, 0.0])
def test_smoothing_and_interpolation_are_those_of_simpleitk_on_the_whole_volume(background: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        shape = rng.integers(6, 30, 3)
        low = rng.integers(0, shape)
        values = np.full(shape, background, np.float32)
        filled = tuple(slice(a, rng.integers(a, b) + 1) for a, b in zip(low, shape, strict=True))
        values[filled] = rng.standard_normal(values[filled].shape)
        image = volume(values, tuple(rng.uniform(0.5, 3, 3)), origin=(5, 6, 7), direction=DOWN)
        factors, first = rng.uniform(0.3, 6, 3), rng.uniform(-5, 15, 3).tolist()
        spacing, size = (factors * image.GetSpacing()).tolist(), rng.integers(1, 30, 3).tolist()
        resampled = sitk.GetArrayFromImage(resample(image, size, spacing, first, background))
        expected = by_simpleitk(image, size, spacing, first, background)
        np.testing.assert_allclose(resampled, expected, rtol=0, atol=tolerance(values, background))
        assert (resampled[expected == np.float32(background)] == np.float32(background)).mean() > 0.99


@pytest.mark.parametrize("shape", [(20, 60, 50), (70, 24, 24), (9, 40, 64)], ids=["few slices", "many", "very few"])
@pytest.mark.parametrize("direction", [UP, DOWN], ids=["up", "down"])
@pytest.mark.parametrize("method", ["centre", "uniform", "foreground", "resample"])
def test_every_method_gives_what_simpleitk_gives(
    method: str, direction: tuple[int, ...], shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(1)
    values = np.full(shape, BACKGROUND, np.float32)
    values[2:-1, 3:-4, 5:-2] = rng.uniform(-6, 6, values[2:-1, 3:-4, 5:-2].shape)
    image = volume(values, (0.9, 1.1, 4.0), origin=(5, 6, 7), direction=direction)
    first, step = slice_positions(image, method, 32, BACKGROUND)
    spacing, (left, top) = in_plane(image, 32)
    grid = ([32, 32, 32], [spacing, spacing, step], [left, top, first])
    resampled = resample(image, *grid, BACKGROUND)
    origin = image.TransformContinuousIndexToPhysicalPoint(grid[2])
    assert resampled.GetOrigin() == pytest.approx(origin)
    assert (resampled.GetDirection(), resampled.GetPixelID()) == (image.GetDirection(), sitk.sitkFloat32)
    expected = by_simpleitk(image, *grid, BACKGROUND)
    atol = tolerance(values, BACKGROUND)
    np.testing.assert_allclose(sitk.GetArrayFromImage(resampled), expected, rtol=0, atol=atol)
