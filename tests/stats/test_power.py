"""Detectable effects against the power that sums over all outcomes give."""

import math

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm

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


@pytest.mark.parametrize(("n", "discordant"), [(10, 0.9), (40, 0.3), (117, 0.2), (117, 1.0)])
@pytest.mark.parametrize(("alpha", "target"), [(0.05, 0.8), (0.01, 0.9)])
def test_detectable_difference_has_the_power(n: int, discordant: float, alpha: float, target: float) -> None:
    def power_at(difference: float) -> float:
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
        assert power_at(discordant) <= target
        return
    assert 0 < least <= discordant
    assert power_at(least) == pytest.approx(target, abs=1e-6)
    assert power_at(0) <= alpha


@pytest.mark.parametrize(("n", "discordant"), [(0, 0.5), (1, 1.0), (5, 1.0), (117, 0.02)])
def test_too_few_discordant_cases_detect_no_difference(n: int, discordant: float) -> None:
    assert math.isnan(power.detectable_difference(n, discordant))  # it takes 6: 2 / 2 ** 6 < 0.05 < 2 / 2 ** 5


def test_six_discordant_cases_are_the_fewest() -> None:
    assert power.detectable_difference(6, 1.0, power=0.95) == pytest.approx(2 * 0.95 ** (1 / 6) - 1, abs=1e-6)


def test_the_needed_cases_detect_the_difference() -> None:
    needed = power.cases_needed(0.1, 0.3)
    assert needed is not None
    assert power.detectable_difference(needed, 0.3) == pytest.approx(0.1, abs=0.006)
    assert power.cases_needed(0, 0.3) is None
