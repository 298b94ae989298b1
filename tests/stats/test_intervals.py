"""Intervals against statsmodels, pROC, the equations that they solve, and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import norm
from simulated_predictions import sample
from statsmodels.stats.proportion import proportion_confint

from flairprep.stats import intervals, metrics

# S100B (1/100 ug/l) of 113 patients after a subarachnoid haemorrhage (Turck et al. 2010; aSAH in R's pROC), by outcome.
POOR = (
    "3 7 7 7 8 9 9 10 10 11 12 13 13 14 16 22 23 25 26 27 30 32 33 35 41 44 44 48 49 52 56 58 70 71 71 74 77 82 86 96 "
    "207"
)
GOOD = (
    "4 4 4 4 4 5 5 5 6 6 7 7 7 7 7 7 8 8 8 8 8 8 9 9 9 9 9 9 10 10 10 10 10 10 10 11 11 11 11 13 13 13 14 14 14 14 15 "
    "15 15 15 16 16 16 17 17 18 19 19 24 28 32 33 34 38 43 45 46 47 47 48 50 50"
)


def auc_interval(y_true: np.ndarray, y_prob: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Of a single fold."""
    return intervals.pooled_auc([(y_true, y_prob)], confidence)[1:]


@pytest.mark.parametrize("n", [1, 7, 117, 585])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_clopper_pearson_equals_statsmodels(n: int, confidence: float) -> None:
    for correct in sorted({0, 1, n // 3, n - 1, n}):
        expected = proportion_confint(correct, n, alpha=1 - confidence, method="beta")
        low, high = intervals.clopper_pearson(correct, n, confidence)
        assert (low, high) == pytest.approx(np.nan_to_num(expected, nan=float(correct == n)), abs=1e-9)


@pytest.mark.parametrize(
    ("correct", "percent", "low", "high"), [(63, 54, 44, 63), (70, 60, 50, 69), (73, 62, 53, 71), (78, 66.7, 57, 75)]
)
def test_the_four_published_accuracies_cannot_be_told_apart(correct: int, percent: float, low: int, high: int) -> None:
    assert 100 * correct / 117 == pytest.approx(percent, abs=0.5)
    interval = intervals.clopper_pearson(correct, 117)
    assert [round(100 * end) for end in interval] == pytest.approx([low, high], abs=1)
    assert interval[0] < 0.6 < interval[1]  # one true accuracy explains all four


@pytest.mark.parametrize("seed", range(5))
def test_delong_variance_equals_the_variance_of_the_placements(seed: int) -> None:
    y_true, y_prob = sample(seed, n=25 + seed)
    ones, zeros = y_prob[y_true == 1], y_prob[y_true == 0]
    wins = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in zeros] for a in ones])
    expected = wins.mean(axis=1).var(ddof=1) / len(ones) + wins.mean(axis=0).var(ddof=1) / len(zeros)
    assert metrics.auc(y_true, y_prob) == pytest.approx(wins.mean(), rel=1e-12)
    assert intervals.delong_variance(y_true, y_prob) == pytest.approx(expected, rel=1e-12)
    half = 1.959963984540054 * math.sqrt(expected)
    assert auc_interval(y_true, y_prob) == pytest.approx((wins.mean() - half, min(1, wins.mean() + half)))


def test_auc_and_delong_equal_proc() -> None:
    poor, good = ([int(cell) / 100 for cell in cells.split()] for cells in (POOR, GOOD))
    y_true, y_prob = np.repeat([1, 0], (41, 72)), np.array(poor + good)
    assert metrics.auc(y_true, y_prob) == pytest.approx(0.73136856368563685, rel=1e-14)
    assert intervals.delong_variance(y_true, y_prob) == pytest.approx(0.0026686824571724378, rel=1e-12)
    assert auc_interval(y_true, y_prob) == pytest.approx((0.6301, 0.8326), abs=5e-5)


@pytest.mark.parametrize(("n1", "n0"), [(2, 2), (5, 5), (3, 40), (56, 61), (1000, 20)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_of_a_perfect_area_solves_its_equation(n1: int, n0: int, confidence: float) -> None:
    y_true = np.repeat([1, 0], (n1, n0))
    low, one = auc_interval(y_true, y_true * 1.0, confidence)
    zero, high = auc_interval(y_true, 1.0 - y_true, confidence)
    assert (one, zero) == (1, 0)
    assert 0 < low < 1
    assert high == pytest.approx(1 - low, rel=1e-9)  # turning the scores round turns the interval round
    star = (n1 + n0) / 2 - 1
    variance = low * (1 - low) * (1 + star * (1 - low) / (2 - low) + star * low / (1 + low)) / (n1 * n0)
    assert 1 - low == pytest.approx(norm.ppf((1 + confidence) / 2) * math.sqrt(variance), rel=1e-6)


@pytest.mark.parametrize(
    ("y_true", "area"), [([1, 1, 1], math.nan), ([0, 0, 0], math.nan), ([1, 0, 0], 0.75), ([0, 1, 1], 0.25)]
)
def test_too_few_of_a_class_for_an_interval(y_true: list[int], area: float) -> None:
    y_prob = np.array([0.4, 0.2, 0.4])
    assert metrics.auc(np.array(y_true), y_prob) == pytest.approx(area, nan_ok=True)
    assert math.isnan(intervals.delong_variance(np.array(y_true), y_prob))
    assert all(map(math.isnan, auc_interval(np.array(y_true), y_prob)))


def test_a_constant_score_has_an_area_of_one_half_and_no_interval() -> None:
    y_true, y_prob = np.array([0, 1, 0, 1, 1]), np.full(5, 0.3)
    assert metrics.auc(y_true, y_prob) == 0.5
    assert all(map(math.isnan, auc_interval(y_true, y_prob)))


@pytest.mark.parametrize(("n1", "n0"), [(1, 1), (5, 12), (56, 61), (307, 278)])
def test_hanley_mcneil_variance_has_the_known_limits(n1: int, n0: int) -> None:
    at = intervals.hanley_mcneil_variance
    assert at(0.5, n1, n0) == pytest.approx((n1 + n0 + 1) / (12 * n1 * n0), rel=1e-12)  # Mann and Whitney's
    assert at(1.0, n1, n0) == pytest.approx(0, abs=1e-15) == at(0.0, n1, n0)
    assert at(0.8, n1, n0) == pytest.approx(at(0.2, n0, n1), rel=1e-12)


def test_hanley_mcneil_variance_is_exact_for_exponential_scores() -> None:
    rng = np.random.default_rng(0)  # P(X > Y) = 0.8 for means 4 and 1
    ones, zeros = rng.exponential(4, (20_000, 6, 1)), rng.exponential(1, (20_000, 1, 9))
    areas = (ones > zeros).mean(axis=(1, 2))
    assert areas.var() == pytest.approx(intervals.hanley_mcneil_variance(0.8, 6, 9), rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_pooled_auc_counts_the_pairs_of_each_fold(seed: int) -> None:
    folds = [sample(10 * seed + fold, n) for fold, n in enumerate((9, 25, 40))]
    folds += [(np.ones(5), np.linspace(0, 1, 5)), (np.array([0]), np.array([0.9]))]  # without pairs
    wins = [
        (p > q) + 0.5 * (p == q) for y, prob in folds for p, q in itertools.product(prob[y == 1], prob[y == 0])
    ]  # pairs within a fold only
    area, low, high = intervals.pooled_auc(folds, 0.9)
    assert area == pytest.approx(np.mean(wins), rel=1e-12)
    shares = [np.sum(y == 1) * np.sum(y == 0) / len(wins) for y, _ in folds[:3]]
    variance = sum(share**2 * intervals.delong_variance(*fold) for share, fold in zip(shares, folds[:3], strict=True))
    half = 1.6448536269514722 * math.sqrt(variance)
    assert (low, high) == pytest.approx((area - half, min(area + half, 1)))


def test_scores_of_different_folds_are_never_compared() -> None:
    rng = np.random.default_rng(0)
    y_true = rng.permutation(np.arange(585) < 307).astype(int)
    fold = rng.integers(0, 5, 585)
    prior = np.array([y_true[fold != k].mean() for k in range(5)])[fold]  # a model that knows the prior alone
    assert metrics.auc(y_true, prior) < 0.5
    assert intervals.pooled_auc([(y_true[fold == k], prior[fold == k]) for k in range(5)])[0] == 0.5
    shifted = rng.normal(y_true, 1) + 5 * fold
    pooled = intervals.pooled_auc([(y_true[fold == k], shifted[fold == k]) for k in range(5)])[0]
    assert metrics.auc(y_true, shifted) < 0.65
    assert pooled == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.05)


def test_one_fold_is_the_plain_area_with_delongs_interval() -> None:
    y_true, y_prob = sample(3)
    assert intervals.pooled_auc([(y_true, y_prob)]) == (
        metrics.auc(y_true, y_prob),
        *auc_interval(y_true, y_prob),
    )


def test_perfect_folds_have_an_interval_that_narrows_with_their_number() -> None:
    perfect = (np.repeat([0, 1], 12), np.repeat([0.2, 0.8], 12))
    widths = []
    for n_folds in (1, 2, 5):
        area, low, high = intervals.pooled_auc([perfect] * n_folds)
        assert (area, high) == (1, 1)
        assert intervals.pooled_auc([(1 - y, p) for y, p in [perfect] * n_folds]) == pytest.approx((0, 0, 1 - low))
        # low solves 1 - A = z * sqrt(V(A) / folds): folds of the same size are so many times the information
        variance = low * (1 - low) * (1 + 11 * ((1 - low) / (2 - low) + low / (1 + low))) / (144 * n_folds)
        assert 1 - low == pytest.approx(norm.ppf(0.975) * math.sqrt(variance), rel=1e-6)
        widths.append(1 - low)
    assert widths == sorted(widths, reverse=True)
    odd = [(np.repeat([0, 1], sizes), np.repeat([0.2, 0.8], sizes)) for sizes in ((3, 7), (11, 13), (5, 6), (2, 29))]
    area, low, high = intervals.pooled_auc(odd)  # shares that do not add up to exactly 1
    assert (area, high) == (1, 1)
    assert 0.8 < low < 1


@pytest.mark.parametrize("folds", [[], [(np.zeros(4), np.linspace(0, 1, 4))], [(np.ones(1), np.array([0.3]))] * 2])
def test_no_fold_with_both_classes_has_no_area(folds: list[tuple[np.ndarray, np.ndarray]]) -> None:
    assert all(map(math.isnan, intervals.pooled_auc(folds)))


def test_a_single_case_of_a_class_in_a_fold_leaves_no_interval() -> None:
    area, low, high = intervals.pooled_auc([sample(0), (np.array([1, 0, 0]), np.array([0.9, 0.1, 0.2]))])
    assert 0 < area < 1
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("area", [0.0, 0.3, 0.5, 0.83, 1.0])
@pytest.mark.parametrize("factor", [1.0, 1.8])
def test_newcombes_bounds_are_where_the_score_equation_holds(area: float, factor: float) -> None:
    n1, n0, z = 8, 30, 1.959963984540054
    mean = (n1 + n0) / 2
    for bound in intervals.newcombe_auc(area, [(n1, n0)], factor=factor):
        q1, q2 = bound / (2 - bound), 2 * bound**2 / (1 + bound)
        spread = bound * (1 - bound) + (mean - 1) * (q1 - bound**2 + q2 - bound**2)
        if 0 < bound < 1:
            assert abs(area - bound) == pytest.approx(z * math.sqrt(factor * spread / (n1 * n0)), abs=1e-9)
        else:
            assert bound == area


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 7), (61, 117), (117, 117)])
def test_wilson_equals_statsmodels(right: int, n: int) -> None:
    assert intervals.wilson(right / n, n) == pytest.approx(proportion_confint(right, n, method="wilson"), abs=1e-12)
