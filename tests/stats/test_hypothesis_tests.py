"""Tests against scipy, statsmodels, scikit-learn, enumeration and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from flairprep.core.errors import FlairprepError
from flairprep.stats import hypothesis_tests


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
    with pytest.raises(FlairprepError, match=rf"^{n} differences.* 10 .*split seeds"):
        hypothesis_tests.nadeau_bengio(np.zeros(n), test_share=0.2)


def test_differences_without_variance() -> None:
    assert hypothesis_tests.nadeau_bengio(np.zeros(10), test_share=0.2) == (0, 0, 0, 1)
    assert hypothesis_tests.nadeau_bengio(np.full(10, 0.5), test_share=0.2) == (0.5, 0.5, 0.5, 0)
