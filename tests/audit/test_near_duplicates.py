"""Near-duplicates against numpy's own correlation."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from flairprep.audit import flips, near_duplicates

SHAPE = (28, 40, 40)


def head(seed: int, lean: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """A lopsided ellipsoid that is common to all, with a smooth pattern of its own; values and tissue."""
    z, y, x = np.indices(SHAPE) / (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) * 2 - 1
    tissue = z**2 + y**2 + x**2 < 0.8
    common = lean * z + 2 * y - y * z
    own = gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2)
    return (common + own / own.std()).astype(np.float32), tissue


def lacking_a_corner(seed: int) -> tuple[np.ndarray, np.ndarray]:
    values, tissue = head(seed)
    tissue[:10, :18, 25:] = False
    return values, tissue


def prints(heads: list[tuple[np.ndarray, np.ndarray]]) -> near_duplicates.Fingerprints:
    return np.stack([np.stack(near_duplicates.fingerprint(*one)) for one in heads]).__getitem__


def test_a_fingerprint_is_the_mean_over_the_tissue_of_each_cell() -> None:
    values = np.random.default_rng(0).normal(size=[2 * n for n in near_duplicates.CELLS]).astype(np.float32)
    tissue = np.random.default_rng(1).uniform(size=values.shape) < 0.7
    tissue[::27, ::39, ::39] = True  # the box is the whole
    means, shares = near_duplicates.fingerprint(values, tissue)
    z, y, x = near_duplicates.CELLS
    parts = [np.where(tissue, array, 0).reshape(z, 2, y, 2, x, 2).sum(axis=(1, 3, 5)) for array in (values, 1.0)]
    np.testing.assert_allclose(shares, parts[1] / 8, atol=1e-6)
    np.testing.assert_allclose(means[shares > 0], (parts[0] / np.maximum(parts[1], 1))[shares > 0], atol=1e-5)
    assert (means[shares == 0] == 0).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_fingerprint_turns_with_the_volume_and_ignores_the_field_of_view(axis: int) -> None:
    values, tissue = head(0)
    means, shares = near_duplicates.fingerprint(values, tissue)
    turned = near_duplicates.fingerprint(np.flip(values, axis), np.flip(tissue, axis))
    np.testing.assert_allclose(np.flip(turned[0], axis), means, atol=1e-4)
    np.testing.assert_allclose(np.flip(turned[1], axis), shares, atol=1e-5)
    wider = near_duplicates.fingerprint(np.pad(values, (3, 7), constant_values=-4), np.pad(tissue, (3, 7)))
    np.testing.assert_array_equal(wider[0], means)


def test_a_volume_of_a_single_voxel_has_a_fingerprint() -> None:
    tissue = np.zeros((3, 3, 3), bool)
    tissue[1, 1, 1] = True
    means, shares = near_duplicates.fingerprint(np.full((3, 3, 3), 2.0), tissue)
    np.testing.assert_allclose(means, 2, rtol=1e-6)
    np.testing.assert_allclose(shares, 1, rtol=1e-6)


@pytest.mark.parametrize("block", [2, 3, 5, 256])
def test_correlations_equal_those_of_numpy_pair_by_pair(
    block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK", block)
    fingerprints = prints([*map(head, range(4)), lacking_a_corner(4)])
    means, shares = fingerprints(np.s_[:]).swapaxes(0, 1)
    masks = shares > 0.5
    common = np.where(masks.any(axis=0), (means * masks).sum(axis=0) / np.maximum(masks.sum(axis=0), 1), 0)
    flips = [axes for count in range(4) for axes in combinations((0, 1, 2), count)]
    regressors = np.stack([np.ones(common.size), *(np.flip(common, axes).ravel() for axes in flips)], axis=1)
    residuals = np.zeros_like(means)
    for index, mask in enumerate(masks):
        inside = regressors[mask.ravel()]
        fit = np.linalg.lstsq(inside, means[index][mask], rcond=None)[0]
        residuals[index][mask] = means[index][mask] - inside @ fit
    correlations = np.full((5, 5), np.nan)
    for row, column, correlation in near_duplicates.correlations(fingerprints, 5, tmp_path):
        correlations[row : row + len(correlation), column : column + correlation.shape[1]] = correlation
    for i, j in combinations(range(5), 2):
        expected = -1.0
        for axes in flips:
            both = masks[i] & np.flip(masks[j], axes)
            expected = max(expected, np.corrcoef(residuals[i][both], np.flip(residuals[j], axes)[both])[0, 1])
        assert correlations[i, j] == pytest.approx(expected, abs=2e-3)


def cohort(seed: int, cases: int = 40) -> np.ndarray:
    """Fingerprints of heads of varied shape, of which some are turned copies with so much noise that 0.93 is near."""
    rng = np.random.default_rng(seed)
    z, y, x = (np.indices(near_duplicates.CELLS) + 0.5) / np.reshape(near_duplicates.CELLS, (3, 1, 1, 1)) * 2 - 1
    prints = np.zeros((cases, 2, *near_duplicates.CELLS), np.float32)
    for case in range(cases):
        lean, power = rng.normal(0, 0.1, 3), rng.uniform(1.6, 3)
        shape = abs(z + lean[0] * y) ** power + abs(y + lean[1] * x) ** power + abs(x + lean[2]) ** power
        own = gaussian_filter(rng.normal(size=z.shape), rng.uniform(0.3, 1.5))
        prints[case] = 1.5 * z + 2 * y - y * z + own / own.std(), np.clip((1.1 - shape) * 4, 0, 1)
        if case % 4 == 3:
            turned = near_duplicates.FLIPS[rng.integers(8)]
            copy = np.flip(prints[case - rng.integers(1, 4)], [axis + 1 for axis in turned])
            prints[case] = copy
            prints[case, 0] += rng.uniform(0.2, 0.5) * rng.normal(size=z.shape)
    prints[rng.integers(cases), 1, : rng.integers(1, 8)] = 0  # a crop
    return prints


@pytest.mark.parametrize(("seed", "block", "folds"), [(0, 4, 2), (1, 4, 5), (7, 6, 3), (3, 128, 5), (4, 4, 40)])
def test_the_closest_pairs_are_those_of_all_correlations(
    seed: int, block: int, folds: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK", block)
    fold = np.random.default_rng(seed).permutation(np.arange(40) % folds)
    for cases, copies in ((cohort(seed), True), (np.delete(cohort(seed), np.s_[3::4], axis=0), False)):
        n = len(cases)
        every = np.full((n, n), -1.0)
        for row, column, part in near_duplicates.correlations(cases.__getitem__, n, tmp_path):
            every[row : row + len(part), column : column + part.shape[1]] = part
        every[np.tril_indices(n)] = -1
        every[fold[:n, None] == fold[:n]] = -1
        highest, alike = near_duplicates.closest_pairs(cases.__getitem__, fold[:n], tmp_path)
        assert highest == pytest.approx(every.max(), abs=1e-5)
        expected = {(i, j): every[i, j] for i, j in np.argwhere(every >= near_duplicates.MIN_CORRELATION).tolist()}
        assert bool(expected) == copies
        assert {pair[:2]: pair[2] for pair in alike} == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_no_correlation_exceeds_its_bound(seed: int) -> None:
    prints, rng = cohort(seed, 24), np.random.default_rng(seed)
    masks = (prints[:, 1] > rng.uniform(0.2, 0.8)).astype(np.float32)
    r = (prints[:, 0] - 0.05 * (seed % 2)) * masks  # also where the sum of r is not 0
    r[5] *= 1e-4
    parts = [
        flips.parity_parts(array).reshape(len(r), 8, -1).swapaxes(0, 1) for array in (r, r**2, masks, flips.core(masks))
    ]
    numbers = [array.sum(axis=(1, 2, 3)) for array in (r**2, r, masks, flips.core(masks))]
    leading = flips.Leading(parts[0], *(part[: flips.EVEN] for part in parts[1:]), *numbers)
    whole = np.stack(parts[:3])
    smaller = np.minimum.outer(numbers[2], numbers[2])
    correlation = flips.max_correlation(flips.all_products, whole, whole, smaller)
    close, mixed, crude = (flips.upper_bounds(leading, leading, limit) for limit in (-1.0, 0.9, np.inf))
    for bounds in (close, mixed, crude):
        assert (correlation <= bounds + near_duplicates.ROUNDING).all()
    others = ~np.eye(len(r), dtype=bool)
    assert np.median(close[others]) < 0.9  # a bound that skips nothing would pass, too
    i, j = np.argwhere(others).T
    pairs = flips.max_correlation(flips.pair_products, whole[:, :, i], whole[:, :, j], smaller[i, j])
    np.testing.assert_allclose(pairs, correlation[i, j], atol=1e-5)


@pytest.mark.parametrize("block", [4, 256])
def test_every_pair_of_two_folds_counts_once_whatever_the_blocks(
    block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK", block)
    heads = [head(seed) for seed in range(12)]
    heads += [heads[1], heads[1], heads[6]]
    ids, folds = [f"{index:05d}" for index in range(15)], np.array([0, 1, 2] * 4 + [0, 1, 2])
    finding = near_duplicates.find_near_duplicates(ids, folds, prints(heads), tmp_path)
    assert finding.text.startswith("3 pairs ")  # 1 and 13 are in one fold
    for pair in ("00001 and 00012", "00012 and 00013", "00006 and 00014"):
        assert pair in finding.text
    assert finding.cases == ("00001", "00006", "00012", "00013", "00014")


@pytest.mark.parametrize(
    ("turned", "noise"), [((), 0.0), ((), 0.3), ((0,), 0.3), ((1,), 0.0), ((2,), 0.3), ((0, 2), 0.3)]
)
def test_a_copy_is_found_whatever_way_it_is_turned(turned: tuple[int, ...], noise: float, tmp_path: Path) -> None:
    heads = [head(seed) for seed in range(14)]
    values, tissue = heads[3]
    values = values * 1.7 + 20 + noise * np.random.default_rng(9).normal(size=SHAPE).astype(np.float32)
    heads.append((np.flip(values, turned), np.flip(tissue, turned)))
    ids, folds = [f"{index:05d}" for index in range(15)], np.arange(15) % 2
    finding = near_duplicates.find_near_duplicates(ids, folds, prints(heads), tmp_path)
    assert (finding.verdict, finding.cases) == ("leak", ("00003", "00014"))
    assert finding.effect is not None
    assert finding.effect > 0.98
    assert "00003 and 00014" in finding.text
    same_fold = near_duplicates.find_near_duplicates(
        ids, np.where(np.arange(15) == 14, folds[3], folds), prints(heads), tmp_path
    )
    assert (same_fold.verdict, same_fold.cases) == ("clean", ())


def test_different_heads_are_no_copies_even_where_two_of_them_lie_upside_down(tmp_path: Path) -> None:
    heads = [head(seed) for seed in range(14)]
    raw = np.corrcoef(*(values[tissue] for values, tissue in heads[:2]))[0, 1]
    assert raw > 0.4  # a head is a head
    heads[2:4] = [(np.flip(values, (0, 1)), np.flip(tissue, (0, 1))) for values, tissue in heads[2:4]]
    finding = near_duplicates.find_near_duplicates(
        [str(index) for index in range(14)], np.arange(14) % 2, prints(heads), tmp_path
    )
    assert finding.verdict == "clean"
    assert finding.effect is not None
    assert finding.effect < 0.5


def test_a_few_cases_do_not_show_what_all_have_in_common(tmp_path: Path) -> None:
    heads = [head(seed) for seed in range(near_duplicates.MIN_CASES - 1)]
    finding = near_duplicates.find_near_duplicates(
        [str(index) for index in range(len(heads))], np.arange(len(heads)) % 2, prints(heads), tmp_path
    )
    assert (finding.verdict, finding.effect) == ("not testable", None)


def test_equal_volumes_without_any_pattern_do_not_divide_by_zero(tmp_path: Path) -> None:
    tissue = np.ones(SHAPE, bool)
    heads = [(np.ones(SHAPE), tissue)] * 12
    with np.errstate(all="raise"):
        finding = near_duplicates.find_near_duplicates(
            [str(index) for index in range(12)], np.arange(12) % 2, prints(heads), tmp_path
        )
    assert finding.verdict == "clean"
