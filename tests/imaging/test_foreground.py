"""The mask of the tissue: phantoms whose tissue is known, and real scans."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import binary_fill_holes, gaussian_filter
from workspace import points, volume

from flairprep.imaging.foreground import BINS, bounding_box, foreground, otsu_threshold


def mask_of(image: sitk.Image, *, skull_stripped: bool) -> np.ndarray:
    mask = foreground(image, skull_stripped=skull_stripped)
    assert mask.GetPixelID() == sitk.sitkUInt8
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, name)() == pytest.approx(getattr(image, name)())
    values = sitk.GetArrayFromImage(mask)
    assert set(np.unique(values)) <= {0, 1}
    return values > 0


def rician(values: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """The magnitude of a complex signal with noise of `sigma` in both channels."""
    rng = np.random.default_rng(seed)
    return np.hypot(values + rng.normal(0, sigma, values.shape), rng.normal(0, sigma, values.shape)).astype(np.float32)


def test_skull_stripped_means_everything_but_the_exact_zeros_with_holes_filled() -> None:
    values = np.zeros((12, 12, 12), np.float32)
    values[2:10, 2:10, 2:10] = 100
    values[4, 4, 4] = 0  # enclosed
    values[2, 5, 5], values[5, 5, 2] = -2, 1e-3  # at the surface; such values come from interpolation
    values[0, 0, 0] = 1e-6  # a part of its own stays too: no threshold, no largest component
    expected = np.zeros(values.shape, bool)
    expected[2:10, 2:10, 2:10] = expected[0, 0, 0] = True
    np.testing.assert_array_equal(mask_of(volume(values, (1, 1, 5)), skull_stripped=True), expected)


@pytest.mark.parametrize("cut", [False, True], ids=["whole head", "cut by the lowest slice"])
@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (1.5, 1.5, 5.0)])
def test_a_head_in_noise_is_found_with_its_dark_fluid_and_without_what_lies_beside_it(
    spacing: tuple[float, float, float], cut: bool
) -> None:
    size = [round(180 / step) for step in spacing]
    image = volume(np.zeros(size[::-1], np.float32), spacing, origin=(10, -40, 7))
    where = points(image) - points(image).reshape(-1, 3).mean(axis=0)
    distance = np.linalg.norm(where - [0, 0, -45 if cut else 0], axis=-1)
    head, fluid = distance < 70, np.linalg.norm(where - [12, 5, 0], axis=-1) < 15
    beside = np.linalg.norm(where - [80, 80, 0], axis=-1) < 8
    values = np.where(fluid, 20.0, np.where(head, 500.0, np.where(beside, 900.0, 0.0)))
    clean = sitk.GetImageFromArray(values)
    clean.CopyInformation(image)
    partial = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(clean, 1.0))  # voxels that hold two tissues
    noisy = sitk.GetImageFromArray(rician(partial, 12, seed=0))
    noisy.CopyInformation(image)

    mask = mask_of(noisy, skull_stripped=False)

    assert mask[fluid].all()
    assert not mask[beside].any()
    assert (head & ~mask).sum() / head.sum() < 0.01
    assert (mask & ~head).sum() / head.sum() < 0.02
    assert not mask[distance > 70 + 2 * max(spacing)].any()


@pytest.mark.parametrize("patient", ["patient07", "patient19", "patient26"])
def test_real_flair_with_noise_loses_and_adds_little(scans: Path, patient: str) -> None:
    (path,) = (scans / "flair-nifti/open-ms/cross_sectional/MNI" / patient).glob("FLAIR*.nii.gz")
    image = sitk.Shrink(sitk.ReadImage(str(path)), [1, 1, 2])
    values = sitk.GetArrayFromImage(image)
    brain = values != 0
    noisy = sitk.GetImageFromArray(rician(np.maximum(values, 0), 0.03 * float(np.median(values[brain])), seed=1))
    noisy.CopyInformation(image)
    mask = mask_of(noisy, skull_stripped=False)
    assert (brain & ~mask).sum() / brain.sum() <= 0.03
    assert (mask & ~brain).sum() / brain.sum() <= 0.01


@pytest.mark.parametrize("skull_stripped", [False, True])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_blank_volume_has_no_foreground(dtype: type, skull_stripped: bool) -> None:
    assert not mask_of(volume(np.zeros((8, 9, 10), dtype)), skull_stripped=skull_stripped).any()


def test_bounds_are_the_first_and_last_filled_index_of_each_axis() -> None:
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) == ((0, 4), (0, 5), (0, 6))
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounding_box(mask) == ((1, 3), (2, 2), (3, 6))


def with_filled_faces(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of each face of the volume, by scipy."""
    filled = mask.copy()
    for axis in range(3):
        for face in (0, -1):
            np.moveaxis(filled, axis, 0)[face] |= binary_fill_holes(np.moveaxis(mask, axis, 0)[face])
    return filled


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_holes_are_those_that_simpleitk_fills_once_the_faces_have_none(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        values = gaussian_filter(rng.standard_normal(rng.integers(1, 24, 3)), rng.uniform(0.5, 2))
        values = np.where(values > np.quantile(values, rng.uniform(0.2, 0.9)), 1000 * values, 0).astype(dtype)
        if number % 2:
            values[: rng.integers(0, len(values))] = 0
        image = volume(values, (1, 2, 3), origin=(4, 5, 6))
        faces = sitk.GetImageFromArray(with_filled_faces(values != 0).astype(np.uint8))
        around = sitk.ConstantPad(faces, [1] * 3, [1] * 3)  # else what the faces enclose were no hole
        expected = sitk.GetArrayFromImage(sitk.Crop(sitk.BinaryFillhole(around), [1] * 3, [1] * 3)) > 0
        np.testing.assert_array_equal(mask_of(image, skull_stripped=True), expected)


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_winding_tunnel_is_a_hole_only_where_it_is_closed(axes: tuple[int, int, int], is_open: bool) -> None:
    block = np.zeros((9, 21, 21), bool)
    block[2:7, 1:-1, 1:-1] = True
    for row in range(3, 18, 2):
        block[4, row, 3:18] = False
        block[4, row + 1, 17 if row % 4 == 3 else 3] = False
    if is_open:
        block[4, 3, :3] = False
    mask = block.transpose(axes)
    found = mask_of(volume(1000.0 * mask.astype(np.float32), (1, 1, 1)), skull_stripped=True)
    np.testing.assert_array_equal(found, mask if is_open else binary_fill_holes(mask))
    assert found.sum() - mask.sum() == (0 if is_open else 128)


@pytest.mark.parametrize("patient", ["patient07", "patient19", "patient26"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_otsus_threshold_is_that_of_itk(scans: Path, patient: str, dtype: type) -> None:
    (path,) = (scans / "flair-nifti/open-ms/cross_sectional/MNI" / patient).glob("FLAIR*.nii.gz")
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[::2, ::2, ::2].astype(dtype)
    itk = sitk.OtsuThresholdImageFilter()
    itk.Execute(sitk.GetImageFromArray(values.astype(np.float32)))
    assert otsu_threshold(values) == pytest.approx(itk.GetThreshold(), abs=float(values.max() - values.min()) / BINS)


@pytest.mark.parametrize("seed", range(20))
def test_no_other_threshold_parts_the_values_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0, 20, rng.integers(1, 300)), rng.normal(300, 50, rng.integers(1, 300))])
    edges = np.linspace(values.min(), values.max(), BINS + 1)[1:-1]
    binned = values.min() + (np.floor((values - values.min()) / (np.ptp(values) / BINS)).clip(max=BINS - 1) + 0.5) * (
        np.ptp(values) / BINS
    )

    def between(threshold: float) -> float:
        low, high = binned[binned <= threshold], binned[binned > threshold]
        return float(len(low) * len(high) * (low.mean() - high.mean()) ** 2) if len(low) and len(high) else 0.0

    assert between(otsu_threshold(values)) == pytest.approx(max(map(between, edges)))


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.int64])
@pytest.mark.parametrize("span", [1, 90, 4000, 2**15 - 1, 2**16 - 1, 2**16])
def test_integers_have_the_threshold_of_the_same_real_numbers(dtype: type, span: int) -> None:
    rng = np.random.default_rng(span)
    low = max(np.iinfo(dtype).min, -1000 - span // 2)
    parts = rng.integers(0, span // 3 + 1, 70_000), rng.integers(span // 2, span, 9000, endpoint=True), [0, span]
    values = np.minimum(low + np.concatenate(parts), np.iinfo(dtype).max).astype(dtype)
    assert otsu_threshold(values) == otsu_threshold(values.astype(np.float64))


@pytest.mark.parametrize("ends", [(1000.0, 1000.0015), (0.0, 1e-44), (-3e38, 3e38), (-5.0, -1.0)])
def test_values_that_lie_very_close_or_very_far_apart_are_parted(ends: tuple[float, float]) -> None:
    values = np.array([ends[0]] * 3 + [ends[1]] * 2, np.float32)
    assert values[0] <= otsu_threshold(values) <= values[-1]
    assert len({float(value) > otsu_threshold(values) for value in values}) == 2


@pytest.mark.parametrize(("values", "expected"), [([7, 7, 7], 7), ([0, 0], 0)])
def test_one_value_is_its_own_threshold(values: list[int], expected: int) -> None:
    assert otsu_threshold(np.array(values, np.int16)) == expected


def test_tissue_that_reaches_the_faces_of_the_volume_is_closed_as_that_within() -> None:
    """The voxels of ITK's closing of the whole volume in a margin as wide as its ball."""
    rng = np.random.default_rng(3)
    smooth = gaussian_filter(rng.standard_normal((24, 30, 36)), 1.5)
    image = volume(np.where(smooth > 0.01, 500, 5).astype(np.float32), (1.0, 1.5, 3.0))
    mask = sitk.GetImageFromArray((smooth > 0.01).astype(np.uint8))
    padded = sitk.BinaryMorphologicalClosing(sitk.ConstantPad(mask, [9] * 3, [9] * 3), [3, 2, 1], sitk.sitkBall)
    largest = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.Crop(padded, [9] * 3, [9] * 3))) == 1
    faces = sitk.GetImageFromArray(with_filled_faces(sitk.GetArrayFromImage(largest) > 0).astype(np.uint8))
    around = sitk.ConstantPad(faces, [1] * 3, [1] * 3)
    expected = sitk.GetArrayFromImage(sitk.Crop(sitk.BinaryFillhole(around), [1] * 3, [1] * 3)) > 0
    np.testing.assert_array_equal(mask_of(image, skull_stripped=False), expected)
    assert expected[0].any()
    assert expected[:, :, -1].any()


@pytest.mark.parametrize("skull_stripped", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_a_head_that_the_field_of_view_cuts_has_no_holes(axis: int, end: int, skull_stripped: bool) -> None:
    """A ball cut by one face, with a dark ball within it and a dark shell between skin and brain; both reach it."""
    size = 48
    distance = np.linalg.norm(np.indices((size,) * 3).T[..., ::-1].T - 23.5, axis=0)
    values = np.where(distance < 21, 500.0, 0.0)
    values[(distance < 18) & (distance > 13)] = 0
    values[distance < 5] = 0
    inside = distance < 21
    half = [slice(None)] * 3
    half[axis] = slice(24, None) if end == 0 else slice(None, 24)
    mask = mask_of(volume(values[tuple(half)].astype(np.float32), (4, 4, 4)), skull_stripped=skull_stripped)
    np.testing.assert_array_equal(mask, inside[tuple(half)])


def test_air_that_only_two_faces_enclose_stays_air() -> None:
    values = np.zeros((10, 12, 14), np.float32)
    values[:, 3:9, 3:11] = 100
    values[:, 5:7, :] = 0  # open to both sides in x
    np.testing.assert_array_equal(mask_of(volume(values, (1, 1, 1)), skull_stripped=True), values > 0)
