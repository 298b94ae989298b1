"""Bootstrap against scipy, scikit-learn with weights, and the enumeration of all draws."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from simulated_predictions import sample

from flairprep.stats import bootstrap, intervals, metrics

PAIRED: tuple[metrics.PairedMetric, ...] = ("accuracy", "auc")


@pytest.mark.parametrize("seed", range(3))
def test_a_draw_measures_what_scikit_learn_measures_with_weights(seed: int) -> None:
    y_true, y_prob = sample(seed)
    weights = bootstrap.draw_weights(np.arange(40), None, 20, seed)
    assert (weights[0] == 1).all()
    for metric, expected in (
        ("accuracy", lambda w: sklearn.metrics.accuracy_score(y_true, y_prob > 0.5, sample_weight=w)),
        ("auc", lambda w: sklearn.metrics.roc_auc_score(y_true, y_prob, sample_weight=w)),
    ):
        measured = bootstrap._weighted_metric(weights, y_true, y_prob, None, metric)  # type: ignore[arg-type]
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
    expected = scipy.stats.bootstrap(
        (right,), np.mean, n_resamples=20_000, method="percentile", rng=0
    ).confidence_interval
    share, low, high = bootstrap.bootstrap_interval(
        y_true, y_prob, groups=np.arange(117), metric="accuracy", n_bootstrap=20_000
    )
    assert share == right.mean()
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1.01 / 117)  # one step of the percentile


def test_whole_groups_are_drawn_within_their_fold() -> None:
    groups = np.array(["a", "b", "a", "c", "d", "e", "d"])
    folds = np.array([0, 0, 0, 0, 1, 1, 1])
    weights = bootstrap.draw_weights(groups, folds, 3000, 0)[1:]
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 4] == weights[:, 6]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # as many groups as the fold has
    assert (weights[:, [4, 5]].sum(axis=1) == 2).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(7), abs=4 * math.sqrt(0.67 / 3000))


@pytest.mark.parametrize("metric", PAIRED)
def test_paired_difference_nears_the_enumeration_of_all_draws(metric: metrics.PairedMetric) -> None:
    y_true, groups = np.array([1, 0, 1, 0, 1, 0]), np.array([0, 0, 1, 1, 2, 3])
    a, b = np.array([0.6, 0.2, 0.3, 0.4, 0.9, 0.8]), np.array([0.7, 0.4, 0.3, 0.6, 0.2, 0.1])
    score = {"accuracy": metrics.accuracy, "auc": metrics.auc}[metric]
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
def test_the_sign_of_a_difference_is_b_minus_a(metric: metrics.PairedMetric) -> None:
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
    patients: int, metric: metrics.PairedMetric
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
def test_equal_predictions_do_not_differ(metric: metrics.PairedMetric) -> None:
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
