"""Every number against somebody else's: scipy, statsmodels, scikit-learn, pROC, full enumeration, slow replays."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as of_scipy
from scipy.stats import binom, binomtest, norm, ttest_1samp
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from flairprep.core.errors import FlairprepError
from flairprep.stats import bootstrap, hypothesis_tests, intervals, power
from flairprep.stats import metrics as stats

PAIRED: tuple[stats.PairedMetric, ...] = ("accuracy", "auc")

# S100B (1/100 ug/l) of 113 patients after a subarachnoid haemorrhage (Turck et al. 2010; aSAH in R's pROC), by outcome.
POOR = (
    "3 7 7 7 8 9 9 10 10 11 12 13 13 14 16 22 23 25 26 27 30 32 33 35 41 44 44 48 49 52 56 58 70 71 71 74 77 82 86 96 "
    "207"
)
GOOD = (
    "4 4 4 4 4 5 5 5 6 6 7 7 7 7 7 7 8 8 8 8 8 8 9 9 9 9 9 9 10 10 10 10 10 10 10 11 11 11 11 13 13 13 14 14 14 14 15 "
    "15 15 15 16 16 16 17 17 18 19 19 24 28 32 33 34 38 43 45 46 47 47 48 50 50"
)


def sample(seed: int, n: int = 40, levels: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities with many ties; both labels occur."""
    rng = np.random.default_rng(seed)
    y_true = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return y_true, np.clip(rng.integers(0, levels, n) / levels + 0.1 * y_true, 0, 1)


# Shares and single numbers


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


def test_one_look_at_117_cases_needs_71_right() -> None:
    rejected = [k for k in range(118) if hypothesis_tests.binomial_p_value(k, 117, 61 / 117) <= 0.05]
    assert rejected == list(range(71, 118))


@pytest.mark.parametrize(("n", "rate"), [(1, 0.5), (9, 0.3), (9, 1.0), (117, 61 / 117)])
def test_binomial_p_value_equals_scipy_and_the_sum_of_the_tail(n: int, rate: float) -> None:
    for correct in sorted({0, 1, n // 2, n}):
        tail = sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(correct, n + 1))
        p = hypothesis_tests.binomial_p_value(correct, n, rate)
        assert p == pytest.approx(tail, rel=1e-9)
        assert p == pytest.approx(binomtest(correct, n, rate, alternative="greater").pvalue, rel=1e-9)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 2, 2), (1, 3, 2, 1, 5)])
@pytest.mark.parametrize("rate", [0.5, 0.8, 1.0])
def test_grouped_p_value_is_the_sum_over_all_ways_in_which_groups_are_right(
    sizes: tuple[int, ...], rate: float
) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    for correct in range(sum(sizes) + 1):
        ways = [way for way in itertools.product((0, 1), repeat=len(sizes)) if np.dot(way, sizes) >= correct]
        expected = sum(math.prod(rate if right else 1 - rate for right in way) for way in ways)
        p = hypothesis_tests.grouped_p_value(correct, groups, rate)
        assert p == pytest.approx(expected, abs=1e-12)
        if max(sizes) == 1:
            assert p == pytest.approx(hypothesis_tests.binomial_p_value(correct, len(groups), rate), rel=1e-9)


@pytest.mark.parametrize("alike", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("sizes", [[2] * 30, [1] * 20 + [5] * 3])
def test_grouped_p_value_rejects_at_most_at_its_level(sizes: list[int], alike: float) -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    shape = (600, len(groups))
    own, of_patient = rng.uniform(size=shape), rng.uniform(size=(600, len(sizes)))[:, groups]
    right = np.where(rng.uniform(size=shape) < alike, of_patient, own) < 0.5
    counts = right.sum(axis=1).tolist()
    grouped = [hypothesis_tests.grouped_p_value(count, groups, 0.5) <= 0.05 for count in counts]
    blind = [hypothesis_tests.binomial_p_value(count, len(groups), 0.5) <= 0.05 for count in counts]
    assert np.mean(grouped) < 0.065  # 5 % and 1.7 errors
    assert alike < 1 or np.mean(blind) > 0.08


@pytest.mark.parametrize("seed", range(5))
def test_losses_and_areas_equal_scikit_learn(seed: int) -> None:
    y_true, y_prob = sample(seed)
    clipped = np.clip(y_prob, stats.EPSILON, 1 - stats.EPSILON)
    assert stats.log_loss(y_true, y_prob) == pytest.approx(metrics.log_loss(y_true, clipped), rel=1e-12)
    assert stats.brier(y_true, y_prob) == pytest.approx(metrics.brier_score_loss(y_true, y_prob), rel=1e-12)
    assert stats.auc(y_true, y_prob) == pytest.approx(metrics.roc_auc_score(y_true, y_prob), rel=1e-12)
    assert stats.accuracy(y_true, y_prob) == metrics.accuracy_score(y_true, y_prob > 0.5)
    assert stats.no_information_rate(y_true) == max(np.bincount(y_true)) / len(y_true)


def test_edges_of_the_simple_numbers() -> None:
    one, zero = np.array([1]), np.array([0])
    assert stats.accuracy(zero, np.array([0.5])) == 1 == stats.accuracy(one, np.array([0.51]))
    assert stats.log_loss(one, np.array([0.0])) == pytest.approx(-math.log(1e-7)) == stats.log_loss(zero, one)
    assert stats.log_loss(one, one) == pytest.approx(1e-7, rel=1e-6)
    assert stats.no_information_rate(one) == stats.no_information_rate(zero) == 1


# AUC


@pytest.mark.parametrize("seed", range(5))
def test_delong_variance_equals_the_variance_of_the_placements(seed: int) -> None:
    y_true, y_prob = sample(seed, n=25 + seed)
    ones, zeros = y_prob[y_true == 1], y_prob[y_true == 0]
    wins = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in zeros] for a in ones])
    expected = wins.mean(axis=1).var(ddof=1) / len(ones) + wins.mean(axis=0).var(ddof=1) / len(zeros)
    assert stats.auc(y_true, y_prob) == pytest.approx(wins.mean(), rel=1e-12)
    assert intervals.delong_variance(y_true, y_prob) == pytest.approx(expected, rel=1e-12)
    half = 1.959963984540054 * math.sqrt(expected)
    assert intervals.auc_interval(y_true, y_prob) == pytest.approx((wins.mean() - half, min(1, wins.mean() + half)))


def test_auc_and_delong_equal_proc() -> None:
    poor, good = ([int(cell) / 100 for cell in cells.split()] for cells in (POOR, GOOD))
    y_true, y_prob = np.repeat([1, 0], (41, 72)), np.array(poor + good)
    assert stats.auc(y_true, y_prob) == pytest.approx(0.73136856368563685, rel=1e-14)
    assert intervals.delong_variance(y_true, y_prob) == pytest.approx(0.0026686824571724378, rel=1e-12)
    assert intervals.auc_interval(y_true, y_prob) == pytest.approx((0.6301, 0.8326), abs=5e-5)


@pytest.mark.parametrize(("n1", "n0"), [(2, 2), (5, 5), (3, 40), (56, 61), (1000, 20)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_of_a_perfect_area_solves_its_equation(n1: int, n0: int, confidence: float) -> None:
    y_true = np.repeat([1, 0], (n1, n0))
    low, one = intervals.auc_interval(y_true, y_true * 1.0, confidence)
    zero, high = intervals.auc_interval(y_true, 1.0 - y_true, confidence)
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
    assert stats.auc(np.array(y_true), y_prob) == pytest.approx(area, nan_ok=True)
    assert math.isnan(intervals.delong_variance(np.array(y_true), y_prob))
    assert all(map(math.isnan, intervals.auc_interval(np.array(y_true), y_prob)))


def test_a_constant_score_has_an_area_of_one_half_and_no_interval() -> None:
    y_true, y_prob = np.array([0, 1, 0, 1, 1]), np.full(5, 0.3)
    assert stats.auc(y_true, y_prob) == 0.5
    assert all(map(math.isnan, intervals.auc_interval(y_true, y_prob)))


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
    assert stats.auc(y_true, prior) < 0.5
    assert intervals.pooled_auc([(y_true[fold == k], prior[fold == k]) for k in range(5)])[0] == 0.5
    shifted = rng.normal(y_true, 1) + 5 * fold
    pooled = intervals.pooled_auc([(y_true[fold == k], shifted[fold == k]) for k in range(5)])[0]
    assert stats.auc(y_true, shifted) < 0.65
    assert pooled == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.05)


def test_one_fold_is_the_plain_area_with_delongs_interval() -> None:
    y_true, y_prob = sample(3)
    assert intervals.pooled_auc([(y_true, y_prob)]) == (
        stats.auc(y_true, y_prob),
        *intervals.auc_interval(y_true, y_prob),
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


# What can be detected


@pytest.mark.parametrize(("n", "rate"), [(5, 0.5), (20, 0.6), (58, 0.52), (117, 61 / 117), (585, 307 / 585)])
@pytest.mark.parametrize(("alpha", "target"), [(0.05, 0.8), (0.01, 0.9)])
def test_detectable_accuracy_has_the_power(n: int, rate: float, alpha: float, target: float) -> None:
    def found(p: float) -> float:
        rejecting = [k for k in range(n + 1) if hypothesis_tests.binomial_p_value(k, n, rate) <= alpha]
        return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in rejecting)

    least = power.detectable_accuracy(n, rate, alpha, target)
    if found(1.0) == 0:  # no count of right cases is rare enough
        assert math.isnan(least)
        return
    assert rate < least < 1
    assert found(least) == pytest.approx(target, abs=1e-9)
    assert found(least - 1e-6) < target
    assert found(rate) <= alpha


@pytest.mark.parametrize(("n", "rate"), [(1, 0.5), (4, 0.5), (10, 0.75), (117, 0.99)])
def test_too_few_cases_detect_no_accuracy(n: int, rate: float) -> None:
    assert rate**n > 0.05
    assert math.isnan(power.detectable_accuracy(n, rate))


@pytest.mark.parametrize(("n1", "n0"), [(3, 3), (20, 5), (61, 56), (307, 278)])
@pytest.mark.parametrize(("alpha", "target"), [(0.05, 0.8), (0.01, 0.9)])
def test_detectable_auc_has_the_power(n1: int, n0: int, alpha: float, target: float) -> None:
    def found(area: float) -> float:
        critical = 0.5 + norm.isf(alpha) * math.sqrt((n1 + n0 + 1) / (12 * n1 * n0))
        return float(norm.sf((critical - area) / math.sqrt(intervals.hanley_mcneil_variance(area, n1, n0))))

    least = power.detectable_auc(n1, n0, alpha, target)
    if math.isnan(least):
        assert found(1 - 1e-9) < target
        return
    assert found(least) == pytest.approx(target, abs=1e-9)
    assert found(least - 1e-6) < target


@pytest.mark.parametrize(("n1", "n0"), [(0, 0), (0, 9), (9, 0), (1, 1), (1, 2)])
def test_too_few_cases_detect_no_auc(n1: int, n0: int) -> None:
    assert math.isnan(power.detectable_auc(n1, n0))


@pytest.mark.parametrize(("n", "discordant"), [(10, 0.9), (40, 0.3), (117, 0.2), (117, 1.0)])
@pytest.mark.parametrize(("alpha", "target"), [(0.05, 0.8), (0.01, 0.9)])
def test_detectable_difference_has_the_power(n: int, discordant: float, alpha: float, target: float) -> None:
    def found(difference: float) -> float:
        share, total = (1 + difference / discordant) / 2, 0.0
        for m, tails in enumerate(rejected):
            total += binom.pmf(m, n, discordant) * binom.pmf(tails, m, share).sum()
        return total

    # binomtest is slow: beyond 40, twice the smaller tail, which is the same for a share of one half
    rejected = [
        [x for x in range(m + 1) if binomtest(x, m).pvalue <= alpha]
        if 0 < m < 40
        else np.flatnonzero(2 * binom.cdf(np.minimum(np.arange(m + 1), m - np.arange(m + 1)), m, 0.5) <= alpha)
        for m in range(n + 1)
    ]
    least = power.detectable_difference(n, discordant, alpha, target)
    if math.isnan(least):
        assert found(discordant) <= target
        return
    assert 0 < least <= discordant
    assert found(least) == pytest.approx(target, abs=1e-6)
    assert found(0) <= alpha


@pytest.mark.parametrize(("n", "discordant"), [(0, 0.5), (1, 1.0), (5, 1.0), (117, 0.02)])
def test_too_few_discordant_cases_detect_no_difference(n: int, discordant: float) -> None:
    assert math.isnan(power.detectable_difference(n, discordant))  # it takes 6: 2 / 2 ** 6 < 0.05 < 2 / 2 ** 5


def test_six_discordant_cases_are_the_fewest() -> None:
    assert power.detectable_difference(6, 1.0, power=0.95) == pytest.approx(2 * 0.95 ** (1 / 6) - 1, abs=1e-6)


# Several tests, two settings


@pytest.mark.parametrize("seed", range(6))
def test_mcnemar_equals_statsmodels_and_the_sum_of_the_tails(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.uniform(size=(2, 30 + seed)) < np.array([[0.5], [0.7]])
    p = hypothesis_tests.mcnemar_p_value(a, b)
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    assert p == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)
    one, other = sorted((int(np.sum(a & ~b)), int(np.sum(~a & b))))
    tail = sum(math.comb(one + other, k) for k in range(one + 1)) / 2 ** (one + other)
    assert p == pytest.approx(min(1, 2 * tail), rel=1e-9)
    assert p == hypothesis_tests.mcnemar_p_value(b, a)


def test_mcnemar_at_its_edges() -> None:
    right = np.ones(6, bool)
    assert (
        hypothesis_tests.mcnemar_p_value(right, right) == 1 == hypothesis_tests.mcnemar_p_value(right[:1], ~right[:1])
    )
    assert hypothesis_tests.mcnemar_p_value(right, ~right) == 2 / 2**6
    assert (
        hypothesis_tests.mcnemar_p_value(np.array([1, 1, 0]), np.array([1, 0, 1])) == 1
    )  # 0 and 1 are as good as bools


def test_holm_by_hand() -> None:
    assert hypothesis_tests.holm(np.array([0.01, 0.02, 0.03, 0.04])) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert hypothesis_tests.holm(np.array([0.04, 0.001, 0.6, 0.5])) == pytest.approx([0.12, 0.004, 1, 1])
    assert hypothesis_tests.holm(np.array([0.3])) == pytest.approx([0.3])
    assert hypothesis_tests.holm(np.array([])).shape == (0,)


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_the_closed_test_of_bonferroni_and_statsmodels(seed: int) -> None:
    p = np.random.default_rng(seed).uniform(size=5).round(2) ** 2
    subsets = [s for size in range(1, 6) for s in itertools.combinations(range(5), size)]
    closed = [max(min(1, len(s) * min(p[list(s)])) for s in subsets if i in s) for i in range(5)]
    assert hypothesis_tests.holm(p) == pytest.approx(closed)
    assert hypothesis_tests.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


# The bootstrap


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_measures_what_scikit_learn_measures_with_weights(seed: int) -> None:
    y_true, y_prob = sample(seed)
    weights = bootstrap._resampled(np.arange(40), None, 20, seed)
    assert (weights[0] == 1).all()
    for metric, expected in (
        ("accuracy", lambda w: metrics.accuracy_score(y_true, y_prob > 0.5, sample_weight=w)),
        ("auc", lambda w: metrics.roc_auc_score(y_true, y_prob, sample_weight=w)),
    ):
        measured = bootstrap._measure(weights, y_true, y_prob, None, metric)  # type: ignore[arg-type]
        assert measured == pytest.approx([expected(w) for w in weights], rel=1e-9)


def test_over_folds_the_estimate_is_the_pooled_area() -> None:
    y_true, y_prob = sample(1, n=60)
    folds = np.arange(60) % 4
    parts = [(y_true[folds == k], y_prob[folds == k]) for k in range(4)]
    area, low, high = bootstrap.bootstrap_interval(y_true, y_prob, groups=np.arange(60), folds=folds, metric="auc")
    assert area == pytest.approx(intervals.pooled_auc(parts)[0], rel=1e-12)
    assert (low, high) == pytest.approx(intervals.pooled_auc(parts)[1:], abs=0.02)


def test_the_interval_of_an_accuracy_equals_scipys_bootstrap() -> None:
    y_true, y_prob = sample(2, n=117)
    right = (y_prob > 0.5) == (y_true == 1)
    expected = of_scipy.bootstrap((right,), np.mean, n_resamples=20_000, method="percentile", rng=0).confidence_interval
    share, low, high = bootstrap.bootstrap_interval(
        y_true, y_prob, groups=np.arange(117), metric="accuracy", n_bootstrap=20_000
    )
    assert share == right.mean()
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1.01 / 117)  # one step of the percentile


def test_whole_groups_are_drawn_within_their_fold() -> None:
    groups = np.array(["a", "b", "a", "c", "d", "e", "d"])
    folds = np.array([0, 0, 0, 0, 1, 1, 1])
    weights = bootstrap._resampled(groups, folds, 3000, 0)[1:]
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 4] == weights[:, 6]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # as many groups as the fold has
    assert (weights[:, [4, 5]].sum(axis=1) == 2).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=4 * math.sqrt(0.67 / 3000))


@pytest.mark.parametrize("metric", PAIRED)
def test_paired_difference_nears_the_enumeration_of_all_draws(metric: stats.PairedMetric) -> None:
    y_true, groups = np.array([1, 0, 1, 0, 1, 0]), np.array([0, 0, 1, 1, 2, 3])
    a, b = np.array([0.6, 0.2, 0.3, 0.4, 0.9, 0.8]), np.array([0.7, 0.4, 0.3, 0.6, 0.2, 0.1])
    score = {"accuracy": stats.accuracy, "auc": stats.auc}[metric]
    drawn = []
    for draw in itertools.product(range(4), repeat=4):
        cases = np.concatenate([np.flatnonzero(groups == group) for group in draw])
        drawn.append(score(y_true[cases], b[cases]) - score(y_true[cases], a[cases]))
    kept = np.array(drawn)[~np.isnan(drawn)]
    assert metric == "accuracy" or len(kept) < 256  # draws of group 2 alone hold one label only
    estimate, low, high, p = bootstrap.paired_difference(
        y_true, a, b, groups=groups, metric=metric, confidence=0.8, n_bootstrap=20_000
    )
    assert estimate == pytest.approx(score(y_true, b) - score(y_true, a))
    for end, level in ((low, 0.1), (high, 0.9)):  # the quantile of a discrete distribution, within Monte Carlo error
        assert np.quantile(kept, level - 0.01) - 1e-9 <= end <= np.quantile(kept, level + 0.01) + 1e-9
    exact = min(1, 2 * min(np.mean(kept <= 1e-9), np.mean(kept >= -1e-9)))
    assert p == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("metric", PAIRED)
def test_the_sign_of_a_difference_is_b_minus_a(metric: stats.PairedMetric) -> None:
    y_true, worse = sample(0, n=90)
    better = np.where(np.arange(90) % 3 == 0, y_true, worse)
    common = {"groups": np.arange(90), "folds": np.arange(90) % 3, "metric": metric, "n_bootstrap": 999}
    gain, low, high, p = bootstrap.paired_difference(y_true, worse, better, **common)
    loss = bootstrap.paired_difference(y_true, better, worse, **common)
    assert 0 < low < gain < high
    assert loss == pytest.approx((-gain, -high, -low, p))
    assert p < 0.05


def test_draws_are_seeded() -> None:
    y_true, y_prob = sample(0)
    intervals = [
        bootstrap.bootstrap_interval(y_true, y_prob, groups=np.arange(40), metric="auc", n_bootstrap=200, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert intervals[0] == intervals[1] != intervals[2]


@pytest.mark.parametrize("metric", PAIRED)
@pytest.mark.parametrize("patients", [1, 2, 4, 6])
def test_p_is_never_below_what_swapping_the_settings_by_patient_could_give(
    patients: int, metric: stats.PairedMetric
) -> None:
    y_true, groups = np.tile([1, 0], patients), np.repeat(np.arange(patients), 2)
    wrong, right = 0.5 - 0.1 * (2 * y_true - 1), 0.5 + 0.1 * (2 * y_true - 1)
    flips = [sum(signs) for signs in itertools.product((-1, 1), repeat=patients)]  # all ways to swap a and b
    least = np.mean(np.abs(flips) >= patients)
    folds = groups  # pairs within a patient only, so that an area is the mean of the patients' own
    p = bootstrap.paired_difference(y_true, wrong, right, groups=groups, folds=folds, metric=metric, n_bootstrap=999)[3]
    assert p == pytest.approx(max(least, 0.002))


def test_a_probability_that_moves_on_its_side_of_one_half_is_no_other_accuracy() -> None:
    y_true, a = np.array([1, 0, 1, 0]), np.array([0.4, 0.2, 0.3, 0.1])
    b = np.array([0.6, 0.1, 0.2, 0.2])
    p = bootstrap.paired_difference(y_true, a, b, groups=np.arange(4), metric="accuracy", n_bootstrap=99)[3]
    assert p == 1  # one case alone changes sides


@pytest.mark.parametrize("metric", PAIRED)
def test_equal_predictions_do_not_differ(metric: stats.PairedMetric) -> None:
    y_true, y_prob = sample(0)
    common = {"groups": np.arange(40), "metric": metric, "n_bootstrap": 99}
    assert bootstrap.paired_difference(y_true, y_prob, y_prob, **common) == (0, 0, 0, 1)
    assert bootstrap.paired_difference(y_true, np.full(40, 0.6), np.full(40, 0.7), **common) == (0, 0, 0, 1)


def test_edges_of_the_bootstrap() -> None:
    one, zero = np.array([1]), np.array([0.2])
    assert bootstrap.bootstrap_interval(one, zero, groups=one, metric="accuracy") == (0, 0, 0)
    assert all(map(math.isnan, bootstrap.bootstrap_interval(one, zero, groups=one, metric="auc")))
    assert all(map(math.isnan, bootstrap.paired_difference(one, zero, zero, groups=one, metric="auc")))
    apart = bootstrap.bootstrap_interval(np.array([1, 0]), np.array([0.9, 0.1]), groups=np.arange(2), metric="auc")
    assert apart == (1, 1, 1)  # draws of one case twice have no pair and are left out


def test_rows_that_share_a_patient_widen_the_interval() -> None:
    y_true, y_prob = (np.repeat(values, 4) for values in sample(5))
    patient, row = np.repeat(np.arange(40), 4), np.arange(160)
    wide, narrow = (
        bootstrap.bootstrap_interval(y_true, y_prob, groups=groups, metric="auc") for groups in (patient, row)
    )
    assert wide[0] == narrow[0]
    assert wide[2] - wide[1] == pytest.approx(2 * (narrow[2] - narrow[1]), rel=0.15)  # the square root of 4


# Repeated splits


def test_nadeau_bengio_equals_the_published_example_of_scikit_learn() -> None:
    # "Statistical comparison of models using grid search": 10 x 10 folds, t 2.611 and p 0.005 become 0.750 and 0.227
    noise = np.random.default_rng(0).normal(size=100)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    differences = 0.003 * (noise + 2.611 / 10)
    mean, low, high, p = hypothesis_tests.nadeau_bengio(differences, test_share=0.1)
    assert ttest_1samp(differences, 0).statistic == pytest.approx(2.611)
    assert p / 2 == pytest.approx(0.227, abs=5e-4)
    assert mean / ((high - low) / 2 / 1.9842169515) == pytest.approx(0.750, abs=5e-4)  # t, 99 degrees of freedom


@pytest.mark.parametrize("seed", range(3))
def test_without_shared_training_cases_nadeau_bengio_nears_the_t_test(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1, 10)
    plain = ttest_1samp(differences, 0)
    interval = plain.confidence_interval(0.9)
    mean, low, high, p = hypothesis_tests.nadeau_bengio(differences, test_share=1e-12, confidence=0.9)
    assert (mean, low, high, p) == pytest.approx((differences.mean(), interval.low, interval.high, plain.pvalue))
    wide = hypothesis_tests.nadeau_bengio(differences, test_share=0.2, confidence=0.9)
    assert wide[2] - wide[1] == pytest.approx((high - low) * math.sqrt((1 / 10 + 0.25) / (1 / 10)))


@pytest.mark.parametrize("n", [0, 1, 9])
def test_fewer_than_ten_differences_are_too_few(n: int) -> None:
    with pytest.raises(FlairprepError, match=rf"{n} differences.*too few.*10.*more split seeds"):
        hypothesis_tests.nadeau_bengio(np.zeros(n), test_share=0.2)


def test_differences_without_variance() -> None:
    assert hypothesis_tests.nadeau_bengio(np.zeros(10), test_share=0.2) == (0, 0, 0, 1)
    assert hypothesis_tests.nadeau_bengio(np.full(10, 0.5), test_share=0.2) == (0.5, 0.5, 0.5, 0)


# Whether they are predictions at all

CASES = ["00002", "00005", "00009"]


@pytest.mark.parametrize("y_prob", [[0.0, 0.5, 1.0], [[0.1, 0.2, 0.3], [1, 0, 1]]])
@pytest.mark.parametrize("y_true", [[0, 1, 1], [0.0, 1.0, 0.0], [True, False, True], np.array([1, 1, 1], np.int8)])
def test_predictions_that_are_some_pass(y_true: list, y_prob: list) -> None:
    stats.check_predictions(CASES, np.array(y_true), np.array(y_prob))


@pytest.mark.parametrize(
    ("y_true", "y_prob", "says"),
    [
        ([0, 1, 1], [0.1, math.nan, 0.2], "'00005', epoch 1: the probability is nan; the network diverged.*lower lr"),
        ([0, 1, 1], [[0.1, 0.2, 0.3], [0.1, 0.2, math.nan]], "'00009', epoch 2: the probability is nan"),
        ([0, 1, 1], [0.1, 0.2, 1.5], "'00009', epoch 1: the probability is 1.5; it must be 0 to 1"),
        ([0, 1, 1], [-0.1, 0.2, 0.5], "'00002', epoch 1: the probability is -0.1"),
        ([0, 1, 1], [math.inf, 0.2, 0.5], "'00002', epoch 1: the probability is inf"),
        ([0, 2, 1], [0.1, 0.2, 0.3], "'00005': the label is 2; it must be the number 0 or 1"),
        ([0, 1, math.nan], [0.1, 0.2, 0.3], "'00009': the label is nan"),
        (["0", "1", "1"], [0.1, 0.2, 0.3], "'00002': the label is '0'; it must be the number"),
        (np.array([0, 1, "1"], object), [0.1, 0.2, 0.3], "'00009': the label is '1'"),
        ([0, None, 1], [0.1, 0.2, 0.3], "'00005': the label is None"),
        ([0, 1], [0.1, 0.2, 0.3], "3 cases, 2 labels and 3 probabilities"),
        ([0, 1, 1], [[0.1, 0.2]], "3 cases, 3 labels and 2 probabilities"),
    ],
)
def test_what_is_no_prediction_is_named_with_its_case(y_true: list, y_prob: list, says: str) -> None:
    with pytest.raises(FlairprepError, match=says):
        stats.check_predictions(CASES, np.array(y_true), np.array(y_prob))
