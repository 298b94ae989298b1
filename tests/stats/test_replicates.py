"""Estimates over folds and seeds, against scipy, DeLong's variance, and their own definitions; levels are in bench-
verdict."""

import math

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from flairprep.stats import intervals, metrics, replicates
from flairprep.stats.replicates import Rows

METRICS = ("accuracy", "auc")


def sample(seed: int, n: int = 100, networks: int = 2) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    y_true = np.arange(n) % 2
    shared = rng.normal(size=n)
    score = [0.6 * y_true + shared + rng.normal(size=n) for _ in range(networks)]
    return y_true, [1 / (1 + np.exp(-(one - np.median(one)))) for one in score]


def one_network(y_true: np.ndarray) -> Rows:
    n = len(y_true)
    return Rows(y_true, np.arange(n), np.zeros(n, int), np.zeros(n, int))


def stacked(y_true: np.ndarray, folds: int, repeats: int, *, splits: bool = False) -> Rows:
    n = len(y_true)
    units = [np.arange(n) % folds + (100 * r if splits else 0) for r in range(repeats)]
    return Rows(
        np.tile(y_true, repeats),
        np.tile(np.arange(n), repeats),
        np.concatenate(units),
        np.repeat(np.arange(repeats), n),
    )


def test_the_squares_of_influence_are_delongs_variance() -> None:
    y_true, (y_prob, _) = sample(0)
    area, values = replicates.influence(y_true, y_prob, np.zeros(100), "auc")
    assert area == pytest.approx(metrics.auc(y_true, y_prob))
    assert (values**2).sum() == pytest.approx(intervals.delong_variance(y_true, y_prob))
    assert values.sum() == pytest.approx(0, abs=1e-12)


def test_folds_are_weighted_by_their_pairs() -> None:
    y_true, (y_prob, _) = sample(1)
    units = np.arange(100) % 3
    expected = intervals.pooled_auc([(y_true[units == u], y_prob[units == u]) for u in range(3)])[0]
    assert replicates.influence(y_true, y_prob, units, "auc")[0] == pytest.approx(expected)


def test_one_accuracy_difference_is_the_paired_t_test() -> None:
    y_true, (a, b) = sample(2)
    right = [((prob > 0.5) == y_true).astype(float) for prob in (a, b)]
    expected = ttest_rel(right[1], right[0])
    found = replicates.difference(one_network(y_true), a, b, "accuracy", folds=5)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.of_networks


@pytest.mark.parametrize("metric", METRICS)
def test_over_folds_the_variance_holds_what_folds_share(metric: replicates.PairedMetric) -> None:
    y_true, (a, b) = sample(3, n=300)
    rows = stacked(y_true, 5, 1)
    found = replicates.difference(rows, a, b, metric, folds=5)
    _, of_a = replicates.influence(y_true, a, rows.units, metric)
    _, of_b = replicates.influence(y_true, b, rows.units, metric)
    cases = ((of_b - of_a) ** 2).sum() * 300 / 299
    assert found.error**2 >= 1.8 * cases - 1e-12
    assert not found.of_networks


@pytest.mark.parametrize("metric", METRICS)
def test_more_networks_of_the_same_cases_never_widen_by_the_count_of_rows(metric: replicates.PairedMetric) -> None:
    """Copies of one network are no evidence: estimate and error stay."""
    y_true, (a, b) = sample(4, n=200)
    once = replicates.difference(stacked(y_true, 5, 1), a, b, metric, folds=5)
    thrice = replicates.difference(stacked(y_true, 5, 3), np.tile(a, 3), np.tile(b, 3), metric, folds=5)
    assert (thrice.estimate, thrice.error) == pytest.approx((once.estimate, once.error))


@pytest.mark.parametrize("splits", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_averaging_networks_narrows_the_error(metric: replicates.PairedMetric, splits: bool) -> None:
    y_true, probs = sample(5, n=300, networks=12)
    a, b = np.concatenate(probs[:6]), np.concatenate(probs[6:])
    once = replicates.difference(stacked(y_true, 5, 1), probs[0], probs[6], metric, folds=5)
    six = replicates.difference(stacked(y_true, 5, 6, splits=splits), a, b, metric, folds=5)
    assert six.error < once.error


def test_networks_that_differ_by_more_than_their_cases_enter_the_error() -> None:
    """Seeds of a setting are right in 40 to 90 %: four of them say little, however many cases there are."""
    rng = np.random.default_rng(6)
    y_true = np.arange(2000) % 2
    levels = ((0.4, 0.9, 0.5, 0.8), (0.5, 0.95, 0.45, 0.85))
    probs = [
        np.concatenate(
            [np.where(rng.uniform(size=2000) < level, y_true, 1 - y_true) * 0.8 + 0.1 for level in of_setting]
        )
        for of_setting in levels
    ]
    found = replicates.difference(stacked(y_true, 1, 4), *probs, "accuracy", folds=5)
    gaps = np.subtract(levels[1], levels[0])
    of_networks, of_cases = gaps.var(ddof=1) / 4, 0.5 / 2000 / 4
    assert of_networks < found.error**2 < 1.5 * (of_networks + of_cases)
    assert 3 <= found.df < 10
    assert found.p == pytest.approx(2 * t.sf(abs(found.estimate) / found.error, found.df))


@pytest.mark.parametrize("metric", METRICS)
def test_scans_of_a_patient_are_one_draw(metric: replicates.PairedMetric) -> None:
    y_true, (a, b) = sample(7, n=80)
    four = [np.repeat(values, 4) for values in (y_true, a, b)]
    patients = np.repeat(np.arange(80), 4)
    zeros = np.zeros(320, int)
    once = replicates.difference(one_network(y_true), a, b, metric, folds=5)
    copied = replicates.difference(Rows(four[0], patients, zeros, zeros), four[1], four[2], metric, folds=5)
    assert copied.error == pytest.approx(once.error, rel=0.02)


def test_equal_predictions_do_not_differ() -> None:
    y_true, (a, _) = sample(8)
    found = replicates.difference(one_network(y_true), a, a, "auc", folds=5)
    assert (found.estimate, found.p) == (0, 1)


def test_intervals_of_one_network_are_the_exact_and_newcombes() -> None:
    y_true, (a, _) = sample(9)
    rows = one_network(y_true)
    right = int(((a > 0.5) == y_true).sum())
    assert replicates.estimate(rows, a, "accuracy", folds=5)[1:] == intervals.clopper_pearson(right, 100)
    area = metrics.auc(y_true, a)
    assert replicates.estimate(rows, a, "auc", folds=5)[1:] == pytest.approx(intervals.newcombe_auc(area, [(50, 50)]))


@pytest.mark.parametrize("metric", METRICS)
def test_intervals_over_folds_are_widened_by_what_they_share(metric: replicates.PairedMetric) -> None:
    y_true, (a, _) = sample(10, n=400)
    _, low, high = replicates.estimate(stacked(y_true, 5, 1), a, metric, folds=5)
    _, alone_low, alone_high = replicates.estimate(one_network(y_true), a, metric, folds=5)
    assert (high - low) / (alone_high - alone_low) == pytest.approx(math.sqrt(1.8), rel=0.05)


def test_a_fold_of_one_label_has_no_auc_and_no_weight() -> None:
    y_true, (a, b) = sample(11, n=60)
    units = np.where(np.arange(60) < 10, 0, 1)
    y_true = np.where(units == 0, 1, y_true)
    zeros = np.zeros(60, int)
    rows = Rows(y_true, np.arange(60), units, zeros)
    found = replicates.difference(rows, a, b, "auc", folds=5)
    inner = units == 1
    assert found.estimate == pytest.approx(metrics.auc(y_true[inner], b[inner]) - metrics.auc(y_true[inner], a[inner]))
    ones = Rows(np.ones(5), np.arange(5), np.zeros(5), np.zeros(5))
    assert all(map(math.isnan, replicates.estimate(ones, np.full(5, 0.4), "auc", folds=5)))
