"""Quality measures: their formulas written out by hand, and phantoms whose signal, noise and contrast are known."""

import math

import numpy as np
import pytest
from workspace import volume

from flairprep.imaging import quality
from flairprep.imaging.foreground import foreground
from flairprep.imaging.quality import Quality

SHAPE = (48, 64, 64)
FLUID, WHITE, GREY, LESION = 40.0, 100.0, 130.0, 220.0
RAYLEIGH = math.sqrt((4 - math.pi) / 2)  # deviation of a magnitude without signal, in that of its noise


def radii() -> np.ndarray:
    """The distance of each voxel from the centre of a brain, 1 at its surface."""
    z, y, x = np.indices(SHAPE) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2
    return np.sqrt((z / 20) ** 2 + (y / 26) ** 2 + (x / 26) ** 2)


def magnitude(signal: np.ndarray, noise: float) -> np.ndarray:
    """What a scanner shows of `signal`: the magnitude of it and of `noise` in both channels."""
    rng = np.random.default_rng(0)
    return np.hypot(signal + rng.normal(0, noise, SHAPE), rng.normal(0, noise, SHAPE)).astype(np.float32)


def head(noise: float, tissue: float = 200.0) -> np.ndarray:
    """A head of one tissue in air."""
    return magnitude(np.where(radii() < 1, tissue, 0.0), noise)


def brain(noise: float, white: float = WHITE, grey: float = GREY) -> np.ndarray:
    """A skull-stripped brain: fluid within white matter within grey matter, and a lesion."""
    r = radii()
    tissue = np.select([r < 0.35, r < 0.8], [FLUID, white], grey)
    tissue[20:28, 32:44, 48:55] = LESION
    values = tissue + np.random.default_rng(0).normal(0, noise, SHAPE)
    return np.where(r < 1, values, 0).astype(np.float32)


def measured(values: np.ndarray, skull_stripped: bool = False) -> Quality:
    image = volume(values, (1.0, 1.0, 1.0))
    return quality.measure(image, foreground(image, skull_stripped=skull_stripped), skull_stripped=skull_stripped)


def test_snr_is_the_mean_by_the_deviation() -> None:
    # mean 5, squares of the differences 9 + 1 + 1 + 9 = 20 over n - 1 = 3
    assert quality.snr(np.array([2.0, 4.0, 6.0, 8.0])) == pytest.approx(5 / math.sqrt(20 / 3))
    assert quality.snr(np.full(9, 3.0)) is None


def test_snr_by_air_corrects_for_rayleigh() -> None:
    assert quality.snr_dietrich(np.full(4, 10.0), np.array([1.0, 3.0])) == pytest.approx(
        10 / (math.sqrt(2 / (4 - math.pi)) * 1)
    )
    assert quality.snr_dietrich(np.full(4, 10.0), np.zeros(4)) is None


def test_cnr_adds_three_variances() -> None:
    white, grey = np.array([8.0, 12.0]), np.array([17.0, 23.0])  # deviations 2 and 3
    assert quality.cnr(white, grey, 6.0) == pytest.approx(10 / 7)  # 36 + 4 + 9 = 49
    assert quality.cnr(np.full(2, 1.0), np.full(2, 2.0), 0.0) is None


def test_fber_compares_energies() -> None:
    assert quality.fber(np.array([3.0, 4.0]), np.array([1.0, 2.0, 0.0])) == pytest.approx(12.5 / (5 / 3))
    assert quality.fber(np.array([3.0]), np.zeros(3)) is None
    assert quality.fber(np.array([3.0]), np.array([])) is None


def test_fber_of_small_integers_does_not_overflow() -> None:
    assert quality.fber(np.full(4, 30_000, np.int16), np.full(4, 15_000, np.int16)) == pytest.approx(4)


@pytest.mark.parametrize(("values", "expected"), [([7.0] * 16, 1.0), ([0.0] * 15 + [7.0], 0.0)])
def test_efc_goes_from_one_voxel_to_all(values: list[float], expected: float) -> None:
    assert quality.efc(np.array(values)) == pytest.approx(expected)


def test_efc_is_the_entropy_of_the_shares() -> None:
    shares = (3 / 5, 4 / 5)  # sqrt(9 + 16) = 5
    entropy = -sum(share * math.log(share) for share in shares)
    assert quality.efc(np.array([3.0, 0.0, 4.0, 0.0])) == pytest.approx(entropy / (2 * math.log(2)))


@pytest.mark.parametrize("values", [[0.0, 0.0], [-1.0, 2.0], [5.0]])
def test_efc_is_not_defined_everywhere(values: list[float]) -> None:
    assert quality.efc(np.array(values)) is None


@pytest.mark.parametrize("noise", [2.0, 5.0, 10.0])
def test_a_head_of_known_noise_has_its_snr(noise: float) -> None:
    found = measured(head(noise))
    assert found.snrd == pytest.approx(200 / noise, rel=0.03)
    # The mask's rim takes in some air, which the deviation within it shows.
    assert found.snr is not None
    assert found.snr <= 200 / noise * 1.01
    # E|F|^2 = tissue^2 + 2 noise^2 and E|B|^2 = 2 noise^2 for a magnitude
    assert found.fber == pytest.approx((200**2 + 2 * noise**2) / (2 * noise**2), rel=0.1)
    assert found.cnr is None


def test_noise_in_air_is_that_of_a_magnitude() -> None:
    """The phantom itself: its air has the deviation that the correction undoes."""
    assert head(5.0)[radii() > 1.2].std() == pytest.approx(5 * RAYLEIGH, rel=0.02)


def test_a_brain_of_one_noise_has_its_snr() -> None:
    values = np.where(radii() < 1, 200 + np.random.default_rng(1).normal(0, 5, SHAPE), 0).astype(np.float32)
    assert measured(values, skull_stripped=True).snr == pytest.approx(40, rel=0.02)


@pytest.mark.parametrize("noise", [3.0, 10.0, 20.0])
def test_a_brain_of_known_contrast_has_its_cnr(noise: float) -> None:
    found = measured(brain(noise), skull_stripped=True)
    assert found.cnr == pytest.approx((GREY - WHITE) / math.sqrt(2 * noise**2), rel=0.05)
    assert (found.snrd, found.fber, found.efc) == (None, None, None)


def test_matter_without_contrast_has_none() -> None:
    assert measured(brain(10.0, white=115, grey=115), skull_stripped=True).cnr is None


def test_tissue_of_one_value_has_no_contrast() -> None:
    found = measured(np.where(radii() < 1, 7.0, 0).astype(np.float32), skull_stripped=True)
    assert found == Quality()


def test_ghosts_and_noise_show_in_what_air_tells() -> None:
    sharp = head(3.0)
    ghost = sharp + 0.2 * np.roll(sharp, 32, axis=1)
    clean, spoilt = measured(sharp), measured(ghost)
    assert None not in (clean.efc, spoilt.efc, clean.fber, spoilt.fber)
    assert spoilt.efc > clean.efc
    assert spoilt.fber < clean.fber


def test_air_that_was_cut_away_tells_nothing() -> None:
    values = np.where(radii() < 1, head(5.0), 0).astype(np.float32)
    found = measured(values)
    assert found.snr is not None
    assert found[1:] == (None, None, None, None)


def test_too_little_tissue_tells_nothing() -> None:
    values = np.zeros(SHAPE, np.float32)
    values[:5, :5, :5] = 100
    assert measured(values) == Quality()
