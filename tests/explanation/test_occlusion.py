"""occlusion: what is hidden, how a response is weighed, and what is measured on a map."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from scipy import stats

from flairprep.explanation import occlusion
from flairprep.explanation.occlusion import Array

BACKGROUND = -4.0
SHAPE = (16, 32, 32)


def head(rng: np.random.Generator | None = None) -> Array:
    """A ball of tissue, 0 or noise around it, among background."""
    z, y, x = np.indices(SHAPE) - (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) / 2
    ball = (2 * z) ** 2 + y**2 + x**2 < 14**2
    values = np.zeros(SHAPE) if rng is None else rng.normal(0, 1, SHAPE)
    return np.where(ball, values, BACKGROUND).astype(np.float32)


class Recorded:
    """A network that weighs every voxel, and remembers the volumes that it got."""

    def __init__(self, weights: Array) -> None:
        self.weights = weights
        self.volumes: list[Array] = []

    def __call__(self, volume: Array, background: float) -> tuple[float, occlusion.Hidden]:
        def without(parts: Sequence[occlusion.Block]) -> Array:
            copies = [volume.copy() for _ in parts]
            for copy, part in zip(copies, parts, strict=True):
                copy[part] = background
            return np.array([self.logit(copy) for copy in copies])

        return self.logit(volume), without

    def logit(self, volume: Array) -> float:
        self.volumes.append(volume)
        return float((volume.astype(np.float64) * self.weights).sum())


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("corner", [(4, 8, 8), (9, 20, 12), (7, 13, 15)])
def test_the_largest_response_lies_where_the_answer_comes_from(corner: tuple[int, int, int], sign: int) -> None:
    weights = np.zeros(SHAPE)
    spot = tuple(slice(start, start + size) for start, size in zip(corner, (3, 6, 6), strict=True))
    weights[spot] = sign
    one = occlusion.occlude(head(), Recorded(weights), BACKGROUND)
    z, y, x = np.rint(occlusion.peak(one.response)).astype(int)
    assert weights[z, y, x] == sign
    assert np.sign(one.response[z, y, x]) == sign, "tissue is above the background, so it speaks for the weights' sign"
    assert one.response.dtype == np.float32
    assert one.response.shape == SHAPE


def test_blocks_that_hold_tissue_are_hidden_whole_and_no_others() -> None:
    volume = head(np.random.default_rng(0))
    asked = Recorded(np.ones(SHAPE))
    occlusion.occlude(volume, asked, BACKGROUND)
    whole, *hidden = asked.volumes
    np.testing.assert_array_equal(whole, volume)
    inside = volume != BACKGROUND
    edges = [range(0, size, size // 8) for size in SHAPE]
    sizes = [size // 8 for size in SHAPE]
    coarse = [
        tuple(slice(start, start + size) for start, size in zip(corner, sizes, strict=True))
        for corner in product(*edges)
    ]
    expected = [block for block in coarse if inside[block].mean() >= 0.05]
    for block, copy in zip(expected, hidden, strict=False):
        changed = volume.copy()
        changed[block] = BACKGROUND
        np.testing.assert_array_equal(copy, changed)
    parts = hidden[len(expected) :]
    assert 24 < len(parts) <= 24 * 8
    for copy in parts:
        changed = np.argwhere(copy != volume)
        assert len(changed), "a part without tissue was hidden"
        assert (np.ptp(changed, axis=0) < (1, 2, 2)).all()
        assert (copy[copy != volume] == BACKGROUND).all()


def test_a_block_that_changes_more_counts_less_than_its_logit() -> None:
    np.testing.assert_allclose(occlusion.weights(np.array([0.0, 2.0, 8.0]), 2.0), [3 / 2, 1, 1 / 2])
    assert occlusion.change(np.full((2, 3, 6), -1.0), BACKGROUND) == pytest.approx(18)  # 36 voxels by 3


def test_a_volume_without_tissue_has_an_empty_map() -> None:
    one = occlusion.occlude(np.full(SHAPE, BACKGROUND, np.float32), Recorded(np.ones(SHAPE)), BACKGROUND)
    assert not one.response.any()
    assert one.logit == BACKGROUND * np.prod(SHAPE)


@pytest.mark.parametrize("shape", [(64, 128, 128), (8, 16, 16), (24, 48, 50), (3, 9, 130)])
def test_blocks_and_their_halves_cover_each_voxel_once(shape: tuple[int, int, int]) -> None:
    covered = np.zeros((2, *shape), int)
    for block in occlusion.blocks(shape):
        covered[0][block] += 1
        for part in occlusion.halves(block):
            covered[1][part] += 1
    assert (covered == 1).all()
    assert len(occlusion.blocks(shape)) == np.prod(np.minimum(shape, 8))


def test_mixed_voxels_count_as_what_they_hold_more_of_and_holes_as_tissue() -> None:
    volume = np.full((9, 9, 9), BACKGROUND)
    volume[2:7, 2:7, 2:7] = 1.0
    volume[1, 3:6, 3:6] = 0.9 * BACKGROUND + 0.1
    volume[7, 3:6, 3:6] = 0.2 * BACKGROUND + 0.8
    volume[4, 4, 4] = BACKGROUND
    inside = occlusion.tissue(volume, BACKGROUND)
    assert not inside[1].any()
    assert inside[7].sum() == 9
    assert inside[4, 4, 4]
    assert inside.sum() == 125 + 9
    above = occlusion.tissue(-volume, -BACKGROUND)
    np.testing.assert_array_equal(above, inside, "a background above the tissue is one too")


def test_the_correlation_is_spearmans_of_absolute_values_in_the_tissue() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 6, 7, 8))
    other += np.abs(one)
    inside = rng.uniform(size=one.shape) < 0.5
    expected = stats.spearmanr(np.abs(one[inside]), np.abs(other[inside])).statistic
    assert occlusion.correlation(one, other, inside) == pytest.approx(expected)
    assert occlusion.correlation(one, -one, inside) == pytest.approx(1)
    assert np.isnan(occlusion.correlation(one, np.zeros_like(one), inside))
    assert np.isnan(occlusion.correlation(one, other, np.zeros_like(inside)))


def test_the_share_within_tissue_is_of_absolute_values() -> None:
    response, inside = np.zeros((2, 2, 2)), np.zeros((2, 2, 2), bool)
    response[0, 0, 0], response[1, 1, 1] = -3, 1
    inside[0] = True
    assert occlusion.share_within(response, inside) == pytest.approx(0.75)
    assert np.isnan(occlusion.share_within(np.zeros((2, 2, 2)), inside))
