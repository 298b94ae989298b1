"""Detectable effects against the power that sums over all outcomes give."""

import math

import pytest
from scipy.stats import norm

from flairprep.stats import hypothesis_tests, intervals, power


@pytest.mark.parametrize(("n", "rate"), [(5, 0.5), (20, 0.6), (58, 0.52), (117, 61 / 117), (585, 307 / 585)])
@pytest.mark.parametrize(("alpha", "target"), [(0.05, 0.8), (0.01, 0.9)])
def test_detectable_accuracy_has_the_power(n: int, rate: float, alpha: float, target: float) -> None:
    def power_at(p: float) -> float:
        rejecting = [k for k in range(n + 1) if hypothesis_tests.binomial_p_value(k, n, rate) <= alpha]
        return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in rejecting)

    least = power.detectable_accuracy(n, rate, alpha, target)
    if power_at(1.0) == 0:  # no count of right cases is rare enough
        assert math.isnan(least)
        return
    assert rate < least < 1
    assert power_at(least) == pytest.approx(target, abs=1e-9)
    assert power_at(least - 1e-6) < target
    assert power_at(rate) <= alpha


@pytest.mark.parametrize(("n", "rate"), [(1, 0.5), (4, 0.5), (10, 0.75), (117, 0.99)])
def test_too_few_cases_detect_no_accuracy(n: int, rate: float) -> None:
    assert rate**n > 0.05
    assert math.isnan(power.detectable_accuracy(n, rate))


@pytest.mark.parametrize(("n1", "n0"), [(3, 3), (20, 5), (61, 56), (307, 278)])
@pytest.mark.parametrize(("alpha", "target"), [(0.05, 0.8), (0.01, 0.9)])
def test_detectable_auc_has_the_power(n1: int, n0: int, alpha: float, target: float) -> None:
    def power_at(area: float) -> float:
        critical = 0.5 + norm.isf(alpha) * math.sqrt((n1 + n0 + 1) / (12 * n1 * n0))
        return float(norm.sf((critical - area) / math.sqrt(intervals.hanley_mcneil_variance(area, n1, n0))))

    least = power.detectable_auc(n1, n0, alpha, target)
    if math.isnan(least):
        assert power_at(1 - 1e-9) < target
        return
    assert power_at(least) == pytest.approx(target, abs=1e-9)
    assert power_at(least - 1e-6) < target


@pytest.mark.parametrize(("n1", "n0"), [(0, 0), (0, 9), (9, 0), (1, 1), (1, 2)])
def test_too_few_cases_detect_no_auc(n1: int, n0: int) -> None:
    assert math.isnan(power.detectable_auc(n1, n0))


@pytest.mark.parametrize("error", [0.01, 0.08])
@pytest.mark.parametrize(("alpha", "target"), [(0.05, 0.8), (0.01, 0.9)])
def test_detectable_difference_has_the_power(error: float, alpha: float, target: float) -> None:
    least = power.detectable_difference(error, alpha, target)
    critical = norm.isf(alpha / 2) * error
    assert norm.sf(critical, least, error) == pytest.approx(target, abs=1e-9)  # the other tail is below 1e-6


def test_the_needed_cases_detect_the_difference() -> None:
    needed = power.cases_needed(117, 0.05, 0.1)
    assert needed is not None
    assert power.detectable_difference(0.05 * math.sqrt(117 / needed)) == pytest.approx(0.1, rel=0.01)
    assert power.detectable_difference(0.05 * math.sqrt(117 / needed)) <= 0.1
    assert power.cases_needed(117, 0.05, 0) is None
    assert power.cases_needed(117, 0.0, 0.1) is None


@pytest.mark.parametrize(("alpha", "target", "margin"), [(0.05, 0.8, 0.03), (0.01, 0.9, 0.1)])
def test_the_cases_for_equivalence_show_it_where_settings_are_equal(alpha: float, target: float, margin: float) -> None:
    n = power.cases_for_equivalence(200, 0.04, margin, alpha, target)
    error = 0.04 * math.sqrt(200 / n)
    bound = margin - norm.isf(alpha) * error  # both tests reject where the estimate lies inside -bound to bound
    assert norm.cdf(bound, 0, error) - norm.cdf(-bound, 0, error) == pytest.approx(target, abs=0.01)
