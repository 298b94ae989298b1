"""What chance reaches in a search, against exact distributions and enumeration."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from flairprep.stats import by_chance


def test_one_epoch_is_binomial() -> None:
    best = by_chance.best_of_epochs(117, 1, 0.9, runs=20_000)
    for k in (55, 60, 65):
        assert np.mean(best >= k) == pytest.approx(binom.sf(k - 1, 117, 0.5), abs=0.012)


@pytest.mark.slow
def test_independent_epochs_are_the_largest_of_binomials() -> None:
    best = by_chance.best_of_epochs(117, 60, 0.0, runs=20_000)
    assert np.mean(best >= 70) == pytest.approx(1 - binom.cdf(69, 117, 0.5) ** 60, abs=0.012)


@pytest.mark.slow
def test_a_smoother_curve_reaches_less() -> None:
    shares = [np.mean(by_chance.best_of_epochs(117, 60, r) >= 70) for r in by_chance.CORRELATIONS]
    assert shares == sorted(shares, reverse=True)


@pytest.mark.slow
def test_the_questions_numbers() -> None:
    """Best of 60 epochs of 117 cases: 60 % in 18 to 74 % of runs, and of four such runs 66.7 % in 0.7 to 5.5 %."""
    best = [by_chance.best_of_epochs(117, 60, r) for r in by_chance.CORRELATIONS]
    at_60 = [float(np.mean(one >= round(0.6 * 117))) for one in best]
    at_66 = [by_chance.best_of_settings(one, round(0.667 * 117), 4) for one in best]
    assert 0.14 < min(at_60) < 0.22
    assert 0.68 < max(at_60) < 0.78
    assert 0.004 < min(at_66) < 0.02
    assert 0.03 < max(at_66) < 0.06


def test_mcnemar_over_the_shares_of_discordant_cases_by_enumeration() -> None:
    n, a, b = 20, 12, 16
    p_values = [
        binomtest(only_b, only_a + only_b).pvalue
        for only_a in range(n)
        for only_b in range(n)
        if only_b - only_a == b - a and only_a <= min(a, n - b) and 0 < only_a + only_b <= n
    ]
    low, high = by_chance.mcnemar_range(a, b, n, np.linspace(0, 1, 21).tolist())
    assert (low, high) == pytest.approx((min(p_values), max(p_values)))


def test_equal_accuracies_never_differ() -> None:
    assert by_chance.mcnemar_range(10, 10, 20, (0.0, 0.2, 0.5)) == (1.0, 1.0)
