"""Closing and dilation by a ball, beside ITK's own filter."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from flairprep.imaging.morphology import binary_closing, binary_dilation

RADII = [(1, 1, 1), (3, 3, 3), (3, 2, 1), (1, 2, 5), (4, 3, 1), (1, 1, 8)]  # (x, y, z)


def by_itk(mask: np.ndarray, radius: tuple[int, ...]) -> np.ndarray:
    """ITK's closing of the mask in margins that the ball fits into."""
    padded = sitk.ConstantPad(sitk.GetImageFromArray(mask.astype(np.uint8)), radius, radius)
    closed = sitk.BinaryMorphologicalClosing(padded, radius, sitk.sitkBall)
    return sitk.GetArrayFromImage(sitk.Crop(closed, radius, radius)) > 0


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("shape", [(20, 31, 40), (9, 17, 8), (3, 2, 1)])
def test_closed_masks_are_those_of_itk(shape: tuple[int, ...], radius: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for sigma in (0.0, 0.7, 1.5):
        smooth = gaussian_filter(rng.standard_normal(shape), sigma)
        for share in (0.02, 0.3, 0.8):
            mask = smooth > np.quantile(smooth, 1 - share)
            np.testing.assert_array_equal(binary_closing(mask, radius), by_itk(mask, radius))


@pytest.mark.parametrize("fill", [False, True])
def test_what_is_empty_or_full_stays_so(fill: bool) -> None:
    mask = np.full((5, 6, 7), fill)
    np.testing.assert_array_equal(binary_closing(mask, (3, 2, 1)), mask)


def test_the_mask_itself_is_left_as_it_was() -> None:
    mask = np.zeros((4, 9, 9), bool)
    mask[1:3, 2], mask[1:3, 5] = True, True
    before = mask.copy()
    assert binary_closing(mask, (1, 2, 1)).sum() > mask.sum()
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize("radius", RADII)
def test_dilated_masks_are_those_of_itk(radius: tuple[int, ...]) -> None:
    mask = gaussian_filter(np.random.default_rng(0).standard_normal((9, 17, 20)), 1) > 0.4
    dilated = sitk.BinaryDilate(sitk.GetImageFromArray(mask.astype(np.uint8)), radius, sitk.sitkBall)
    np.testing.assert_array_equal(binary_dilation(mask, radius), sitk.GetArrayFromImage(dilated) > 0)
