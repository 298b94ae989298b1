"""Intensities on 16 bits: near enough, the background exact and apart, and read alike by nibabel and ITK."""

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from flairprep.imaging import nifti
from flairprep.imaging.lattice import lattice_of, stored

RANGES = [(-4.0, 6.0), (-4.1, 6.0), (0.0, 6.0), (-7.0, 6.0), (3.3, 5.0), (-1e-3, 1.0), (-4.0, 0.5), (12.0, 10.0)]
UNITS = [1.0, 0.0102, 1 / 97.3, 0.31, 1e-5, 7.7]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("background", "clip"), RANGES)
def test_every_value_is_near_and_the_background_is_exact_and_nobody_elses(
    background: float, clip: float, unit: float
) -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.uniform(-2 * clip, 2 * clip, 5000), [background, -clip, clip]])
    inside = np.zeros((3, 20, 100), bool)
    inside.flat[: len(values)] = True
    codes, lattice = stored(values, inside, background, clip, unit)
    assert lattice is not None
    assert codes.dtype == np.int16
    decoded = lattice.decode(codes)
    assert (decoded[~inside] == np.float32(background)).all()
    assert (decoded[inside] != np.float32(background)).all()
    assert np.abs(decoded[inside]).max() <= np.float32(clip)
    expected = np.clip(values, -clip, clip)
    at_an_end = (np.abs(expected) >= clip) | (np.abs(expected - background) < lattice.slope)
    off = np.abs(decoded[inside] - expected)
    step = max(2.5e-4, 2 * max(abs(background), clip) / 32510)
    assert off[~at_an_end].max() <= step / 2 + 1e-6
    assert off.max() <= 2 * step


def test_the_default_range_is_within_1_3e_4_whatever_the_scanners_step() -> None:
    for unit in np.geomspace(1e-6, 10, 400):
        made = lattice_of(-4.0, 6.0, float(unit))
        assert made is not None
        assert made[0].slope <= 2.51e-4


def test_the_steps_of_integers_are_evenly_divided() -> None:
    for unit in np.geomspace(1e-3, 1, 50):
        made = lattice_of(-4.0, 6.0, float(unit))
        assert made is not None
        parts = unit / made[0].slope
        assert parts == pytest.approx(round(parts), rel=1e-6)
        assert math.log2(round(parts) / (round(parts) & -round(parts))) in (0, math.log2(3), math.log2(5))


@pytest.mark.parametrize(("background", "clip"), [(-4.0, 1000.0), (-1e6, 6.0)])
def test_a_wide_range_stays_float32(background: float, clip: float) -> None:
    inside = np.ones((1, 1, 3), bool)
    volume, lattice = stored(np.array([-3.14159, 2.71828, 999.0]), inside, background, clip, 1.0)
    assert lattice is None
    np.testing.assert_array_equal(volume[0, 0], np.float32(np.clip([-3.14159, 2.71828, 999.0], -clip, clip)))


@pytest.mark.parametrize("background", [-900.0, 0.0, 900.0])
def test_of_float32_too_no_tissue_has_the_background(background: float) -> None:
    volume, lattice = stored(np.full(3, background), np.ones((1, 1, 3), bool), background, 1000.0, 1.0)
    assert lattice is None
    assert (volume != background).all()
    np.testing.assert_allclose(volume, background, atol=1e-3)


def test_nibabel_and_itk_read_the_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inside = rng.random((9, 10, 11)) < 0.5
    codes, lattice = stored(rng.normal(0, 2, inside.sum()), inside, -4.0, 6.0, 0.0102)
    assert lattice is not None
    image = sitk.GetImageFromArray(codes)
    image.SetSpacing((0.4, 0.7, 3.0))
    path = tmp_path / "a.nii.gz"
    nifti.write_volume(image, path, lattice)
    ours = sitk.GetArrayFromImage(nifti.read_volume(path))
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, lattice.decode(codes))
    np.testing.assert_allclose(np.asarray(nibabel.load(path).dataobj).T, ours, rtol=0, atol=1e-6)
    np.testing.assert_allclose(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), ours, rtol=0, atol=1e-6)
