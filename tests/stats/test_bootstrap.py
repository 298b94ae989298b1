"""Bootstrap draws of groups, against scipy's bootstrap."""

import math

import numpy as np
import pytest
import scipy.stats

from flairprep.stats import bootstrap


def test_the_interval_of_a_share_equals_scipys_bootstrap() -> None:
    right = np.random.default_rng(2).uniform(size=117) < 0.6
    expected = scipy.stats.bootstrap(
        (right,), np.mean, n_resamples=20_000, method="percentile", rng=0
    ).confidence_interval
    shares = bootstrap.draw_weights(np.arange(117), 20_000, 0) @ right / 117
    assert shares[0] == right.mean()
    low, high = np.quantile(shares[1:], [0.025, 0.975])
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1.01 / 117)  # one step of the percentile


def test_whole_groups_are_drawn() -> None:
    groups = np.array(["a", "b", "a", "c"])
    weights = bootstrap.draw_weights(groups, 3000, 0)
    assert (weights[0] == 1).all()
    weights = weights[1:]
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # as many as there are groups
    assert weights.mean(axis=0) == pytest.approx(np.ones(4), abs=4 * math.sqrt(0.67 / 3000))


def test_draws_are_seeded() -> None:
    first, again, other = (bootstrap.draw_weights(np.arange(40), 50, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
