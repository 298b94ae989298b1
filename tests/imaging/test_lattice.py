"""Intensities on 16 bits: near enough, the background exact and apart, and read alike by nibabel and ITK."""

import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from flairprep.imaging import nifti
from flairprep.imaging.lattice import encoded, lattice_of

RANGES = [(-4.0, 6.0), (-4.1, 6.0), (0.0, 6.0), (-7.0, 6.0), (3.3, 5.0), (-1e-3, 1.0), (-4.0, 0.5), (12.0, 10.0)]
UNITS = [1.0, 0.0102, 1 / 97.3, 0.31, 1e-5, 7.7]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("background", "clip"), RANGES)
def test_every_value_is_near_and_the_background_is_exact_and_nobody_elses(
    background: float, clip: float, unit: float, whole: bool
) -> None:
    rng = np.random.default_rng(0)
    offset, scale = 10.0, 1 / unit
    values = np.concatenate([rng.uniform(-2 * clip, 2 * clip, 5000), [background, -clip, clip]]) * scale + offset
    values = np.rint(values).astype(np.int32) if whole else values
    codes, empty, lattice = encoded(values, offset, scale, background, clip)
    assert lattice is not None
    assert codes.dtype == np.int16
    assert lattice.decode(np.array([empty], np.int16))[0] == np.float32(background)
    assert lattice.code(background) == empty
    decoded = lattice.decode(codes)
    assert (decoded != np.float32(background)).all()
    assert np.abs(decoded).max() <= np.float32(clip)
    expected = np.clip((values - offset) / scale, -clip, clip)
    at_an_end = (np.abs(expected) >= clip) | (np.abs(expected - background) < lattice.slope)
    off = np.abs(decoded - expected)
    step = max(2.5e-4, 2 * max(abs(background), clip) / 32510)
    assert off[~at_an_end].max(initial=0) <= step / 2 + 1e-6
    assert off.max() <= 2 * step


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32])
@pytest.mark.parametrize("clip", [6.0, 1000.0], ids=["codes", "float32"])
@pytest.mark.parametrize("span", [(0, 2**16 - 1), (3, 4000), (5, 5), (0, 2**16)])
def test_integers_become_what_each_alone_would(dtype: type, clip: float, span: tuple[int, int]) -> None:
    low = np.iinfo(dtype).min
    high = min(np.iinfo(dtype).max, low + span[1])
    values = np.array(
        [low + span[0], *np.random.default_rng(0).integers(low + span[0], high, 500, endpoint=True), high], dtype
    )
    codes, empty, lattice = encoded(values, low + 900.0, 150.0, -4.0, clip)
    mapped = (values.astype(np.float64) - (low + 900.0)) / 150.0
    expected = np.clip(mapped, -clip, clip).astype(np.float32) if lattice is None else lattice.encode(mapped, -6, 6)
    beside = np.nextafter(np.float32(-4), np.float32(4)) if lattice is None else empty + 1
    np.testing.assert_array_equal(codes, np.where(expected == empty, beside, expected))


def test_values_that_reach_less_get_a_finer_lattice() -> None:
    """One whose low bytes are a quarter as many, where 48 to a step become 64: 0.0098 / 64 reaches to 4.98."""
    counts = {}
    for reach in (4.5, 6.0):
        levels = np.arange(-int(reach / 0.0098), int(reach / 0.0098) + 1)
        codes, _, lattice = encoded(levels, 0.0, 1 / 0.0098, -4.0, 6.0)
        assert lattice is not None
        counts[reach] = len(np.unique(codes & 255)), round(0.0098 / lattice.slope)
    assert counts == {4.5: (4, 64), 6.0: (16, 48)}


@pytest.mark.parametrize("values", [[], [900], [900, 900]], ids=["none", "one", "equal"])
def test_values_that_reach_nothing_have_a_lattice_too(values: list[int]) -> None:
    codes, empty, lattice = encoded(np.array(values, np.int16), 900.0, 150.0, 0.0, 6.0)
    assert lattice is not None
    assert lattice.slope <= 2.5e-4
    assert (codes == empty + 1).all()


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
    values, empty, lattice = encoded(np.array([-3.14159, 2.71828, 999.0]), 0.0, 1.0, background, clip)
    assert lattice is None
    assert empty == background
    np.testing.assert_array_equal(values, np.float32(np.clip([-3.14159, 2.71828, 999.0], -clip, clip)))


@pytest.mark.parametrize("background", [-900.0, 0.0, 900.0])
def test_of_float32_too_no_tissue_has_the_background(background: float) -> None:
    values, _, lattice = encoded(np.full(3, background), 0.0, 1.0, background, 1000.0)
    assert lattice is None
    assert (values != background).all()
    np.testing.assert_allclose(values, background, atol=1e-3)


def test_nibabel_and_itk_read_the_values(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes, _, lattice = encoded(rng.integers(0, 900, (9, 10, 11)), 450.0, 98.0, -4.0, 6.0)
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
