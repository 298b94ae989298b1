"""Padding is no data: DICOM PS3.3 C.7.5.1.1.2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from phantoms import noise, refusal, voxels
from workspace import PARAMS

from flairprep.core.codes import Code
from flairprep.core.params import load
from flairprep.dicom.volume import read_series
from flairprep.imaging.skull_stripping import is_skull_stripped
from flairprep.stages import normalize


def head(air: int = 6) -> np.ndarray:
    """A whole head in noise (20, 32, 32), values below 700, its tissue away from the borders."""
    rng = np.random.default_rng(0)
    z, y, x = np.mgrid[-1:1:20j, -1:1:32j, -1:1:32j]
    inside = (x / 0.7) ** 2 + (y / 0.7) ** 2 + (z / 1.2) ** 2 < 1
    noisy = np.abs(rng.normal(0, air, inside.shape)) + 1
    return np.rint(np.where(inside, 400 + 150 * np.sin(5 * x) * np.cos(4 * y), 0) + noisy).astype(np.int16)


def bordered(value: int, rows: int = 3) -> np.ndarray:
    """The head with padding in its first rows."""
    stored = head().astype(np.int32)
    stored[:, :rows] = value
    return stored


def normalized(image: sitk.Image) -> np.ndarray:
    params = load(normalize.NormalizeParams, "normalize", PARAMS)
    return voxels(normalize.normalize(image, params, skull_stripped=is_skull_stripped(image)))


@pytest.mark.parametrize(
    ("value", "dtype", "elements"),
    [
        (-32768, np.int16, {"PixelPaddingValue": -32768}),
        (-2000, np.int16, {"PixelPaddingValue": -2000}),
        (4095, np.uint16, {"PixelPaddingValue": 4095}),
        (65535, np.uint16, {"PixelPaddingValue": 65535}),
        (3000, np.uint16, {"PixelPaddingValue": 2900, "PixelPaddingRangeLimit": 4000}),
        (3000, np.uint16, {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 2900}),
        (4095, np.uint16, {"PixelPaddingValue": 4095, "RescaleSlope": 1, "RescaleIntercept": 0}),
    ],
)
def test_padding_changes_no_normalised_value(value: int, dtype: Any, elements: dict[str, Any], tmp_path: Path) -> None:
    plain = read_series(phantoms.files(tmp_path / "plain", head().astype(dtype))).image
    read = read_series(phantoms.files(tmp_path / "padded", bordered(value).astype(dtype), **elements)).image
    np.testing.assert_array_equal(voxels(read)[:, 3:], voxels(plain)[:, 3:])
    assert (voxels(read)[:, :3] == voxels(plain)[:, 3:].min()).all()
    np.testing.assert_array_equal(normalized(read), normalized(plain))


def test_signed_padding_that_is_written_as_unsigned_means_the_same_bits(tmp_path: Path) -> None:
    series = phantoms.slices(bordered(-2000).astype(np.int16))
    for dataset in series:
        dataset.add_new(0x00280120, "US", 63536)
    assert voxels(read_series(phantoms.save(series, tmp_path)).image).min() == head().min()


def test_padding_is_a_stored_value_before_rescaling_and_inversion(tmp_path: Path) -> None:
    stored = bordered(0).astype(np.uint16)
    bits = {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0}
    image = read_series(phantoms.files(tmp_path, stored, **bits, RescaleSlope=0.5, RescaleIntercept=3)).image
    expected = (4095 - stored.astype(np.float64)) * 0.5 + 3
    expected[:, :3] = expected[:, 3:].min()
    np.testing.assert_array_equal(voxels(image), expected)


def test_padding_of_zero_stays_zero(tmp_path: Path) -> None:
    stored = bordered(0).astype(np.int16)
    np.testing.assert_array_equal(
        voxels(read_series(phantoms.files(tmp_path, stored, PixelPaddingValue=0)).image), stored
    )


@pytest.mark.parametrize(
    "surround", [lambda values: np.pad(values[1:-1, 2:-2, 2:-2], ((1, 1), (2, 2), (2, 2)), constant_values=-1)]
)
def test_padding_all_round_makes_no_stripped_brain(surround: Callable[..., np.ndarray], tmp_path: Path) -> None:
    air = head() - 1  # zeros are among the air
    read = read_series(phantoms.files(tmp_path, surround(air), PixelPaddingValue=-1))
    assert voxels(read.image).min() == 0
    assert not is_skull_stripped(read.data)


def test_series_of_padding_is_blank(tmp_path: Path) -> None:
    stored = noise(low=5, high=9)
    elements = {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 9}
    assert refusal(read_series, phantoms.files(tmp_path, stored, **elements)).code is Code.BLANK_VOLUME


def test_padding_value_that_only_some_slices_name_is_refused(tmp_path: Path) -> None:
    series = phantoms.slices(bordered(4095).astype(np.int16), PixelPaddingValue=4095)
    for index in (4, 11):
        del series[index].PixelPaddingValue
    assert refusal(read_series, phantoms.save(series, tmp_path / "held")).code is Code.DECODE_FAILED
    series = phantoms.slices(head())
    for dataset in series[:9]:  # the others hold no such value
        dataset.PixelPaddingValue = 4095
    np.testing.assert_array_equal(voxels(read_series(phantoms.save(series, tmp_path / "free")).image), head())


@pytest.mark.parametrize(
    "given",
    [
        {"RescaleSlope": 2.5, "RescaleIntercept": 0},
        {"RescaleSlope": 1, "RescaleIntercept": -50},
    ],
)
@pytest.mark.parametrize("gone", [[0], [4, 11], list(range(1, 20))])
def test_rescaling_that_only_some_slices_have_is_refused(
    given: dict[str, Any], gone: list[int], tmp_path: Path
) -> None:
    series = phantoms.slices(head(), **given)
    for index in gone:
        del series[index].RescaleSlope, series[index].RescaleIntercept
    assert refusal(read_series, phantoms.save(series, tmp_path)).code is Code.DECODE_FAILED


def test_rescaling_by_one_and_zero_may_be_left_out(tmp_path: Path) -> None:
    series = phantoms.slices(head(), RescaleSlope=1, RescaleIntercept=0)
    del series[4].RescaleSlope, series[4].RescaleIntercept
    np.testing.assert_array_equal(voxels(read_series(phantoms.save(series, tmp_path)).image), head())
