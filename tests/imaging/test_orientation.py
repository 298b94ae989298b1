"""Reorient volumes, compared with SimpleITK's own filter, and name their planes."""

import itertools
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from workspace import volume

from flairprep.imaging.orientation import plane_of, reorient, reorient_part

AXES = [
    np.array(signs)[:, None] * np.eye(3)[list(order)]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((-1, 1), repeat=3)
]

RIGHT_HANDED = [axes for axes in AXES if np.linalg.det(axes) > 0]


def assert_identical(image: sitk.Image, expected: sitk.Image) -> None:
    assert image.GetPixelID() == expected.GetPixelID()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected))
    for name in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(image, name)() == getattr(expected, name)()


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LAS", "RPS"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_reoriented_volume_is_that_of_simpleitk(dtype: Any, orientation: str) -> None:
    rng = np.random.default_rng(0)
    for axes in RIGHT_HANDED:
        values = rng.integers(-999, 999, (5, 4, 35)).astype(dtype)
        image = volume(values, (0.4, 0.7, 3.1), origin=(-30.1, 12.7, 7.3), direction=axes.ravel().tolist())
        assert_identical(reorient(image, orientation), sitk.DICOMOrient(image, orientation))


@pytest.mark.parametrize("orientation", ["LPS", "RAS"])
def test_a_part_becomes_what_the_whole_volume_around_it_would(orientation: str) -> None:
    rng = np.random.default_rng(2)
    for axes in RIGHT_HANDED:
        values = np.full((5, 6, 40), -7, np.int16)
        region = tuple(slice(*sorted(rng.choice(n + 1, 2, replace=False).tolist())) for n in values.shape)
        values[region] = rng.integers(-999, 999, values[region].shape)
        image = volume(values, (0.4, 0.7, 3.1), origin=(-30.1, 12.7, 7.3), direction=axes.ravel().tolist())
        assert_identical(
            reorient_part(values[region], region, image, orientation, -7), sitk.DICOMOrient(image, orientation)
        )


def test_reoriented_oblique_volume_is_that_of_simpleitk() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        axes[:, 0] *= np.sign(np.linalg.det(axes))
        image = volume(rng.integers(0, 99, (3, 4, 5)), (1, 2, 3), origin=(9, 8, 7), direction=axes.ravel().tolist())
        assert_identical(reorient(image, "LPS"), sitk.DICOMOrient(image, "LPS"))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("degrees", [0, 34, 36])
@pytest.mark.parametrize("sign", [1, -1])
def test_plane_is_that_of_the_nearest_axis_up_to_35_degrees(axis: int, degrees: float, sign: int) -> None:
    normal = np.zeros(3)
    normal[axis], normal[axis - 1] = sign * np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    assert plane_of(normal) == ("oblique" if degrees > 35 else ("sagittal", "coronal", "axial")[axis])
