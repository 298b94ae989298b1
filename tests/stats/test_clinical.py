"""Clinical measures against scikit-learn, statsmodels, published examples and their own definitions."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn import metrics as sklearn_metrics
from statsmodels.stats.proportion import proportion_confint

from flairprep.stats import clinical
from flairprep.stats.clinical import Measure


def sample(seed: int, n: int = 120, signal: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y_true = (rng.uniform(size=n) < 0.4).astype(int)
    return y_true, 1 / (1 + np.exp(-(rng.normal(size=n) + signal * (y_true - 0.5))))


@pytest.mark.parametrize("seed", range(5))
def test_values_equal_scikit_learns(seed: int) -> None:
    y_true, y_prob = sample(seed)
    y_pred, alone = y_prob > 0.5, np.arange(len(y_true))
    measures = clinical.clinical_measures(y_true, y_prob, alone)
    expected = {
        "sensitivity": sklearn_metrics.recall_score(y_true, y_pred),
        "specificity": sklearn_metrics.recall_score(1 - y_true, ~y_pred),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(y_true, y_pred),
        "mcc": sklearn_metrics.matthews_corrcoef(y_true, y_pred),
        "average_precision": sklearn_metrics.average_precision_score(y_true, y_prob),
        "ppv": sklearn_metrics.precision_score(y_true, y_pred),
        "npv": sklearn_metrics.precision_score(1 - y_true, ~y_pred),
    }
    assert {name: measures[name].value for name in expected} == pytest.approx(expected)
    for one in measures.values():
        assert one.low <= one.value <= one.high


def test_ties_of_average_precision_are_one_threshold() -> None:
    y_true, y_prob = np.array([1, 0, 1, 0, 0, 1]), np.array([0.9, 0.5, 0.5, 0.5, 0.2, 0.2])
    expected = sklearn_metrics.average_precision_score(y_true, y_prob)
    assert clinical.average_precision(y_true, y_prob).value == pytest.approx(expected)


def test_a_share_of_single_cases_has_the_exact_interval() -> None:
    right = np.array([1] * 9 + [0] * 3)
    low, high = proportion_confint(9, 12, method="beta")
    assert clinical.share(right, np.arange(12)) == pytest.approx((0.75, low, high))


def test_copies_of_patients_do_not_narrow_the_interval_of_a_share() -> None:
    right = np.random.default_rng(0).integers(0, 2, 40)
    once = clinical.share(right, np.arange(40))
    four = clinical.share(np.repeat(right, 4), np.repeat(np.arange(40), 4))
    rows = clinical.share(np.repeat(right, 4), np.arange(160))
    assert four.high - four.low == pytest.approx(once.high - once.low, rel=0.1)
    assert rows.high - rows.low < 0.6 * (four.high - four.low)


@pytest.mark.parametrize("seed", range(4))
def test_calibration_equals_a_logistic_regression_of_statsmodels(seed: int) -> None:
    y_true, y_prob = sample(seed, signal=2.0)
    logit = np.log(y_prob / (1 - y_prob))
    intercept, slope = clinical.calibration(y_true, y_prob, np.arange(len(y_true)))
    large = sm.GLM(y_true, np.ones((len(y_true), 1)), family=sm.families.Binomial(), offset=logit).fit()
    both = sm.GLM(y_true, sm.add_constant(logit), family=sm.families.Binomial()).fit()
    assert intercept == pytest.approx((large.params[0], *large.conf_int()[0]), rel=1e-4, abs=1e-6)
    assert slope == pytest.approx((both.params[1], *both.conf_int()[1]), rel=1e-4)


def test_calibration_of_correlated_cases_equals_statsmodels_robust_covariance() -> None:
    y_true, y_prob = sample(3, signal=2.0)
    y_true, y_prob, patients = np.repeat(y_true, 3), np.repeat(y_prob, 3), np.repeat(np.arange(120), 3)
    logit = np.log(y_prob / (1 - y_prob))
    fitted = sm.GLM(y_true, sm.add_constant(logit), family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": patients, "use_correction": False}
    )
    slope = clinical.calibration(y_true, y_prob, patients)[1]
    assert (slope.high - slope.low) / 2 / 1.959964 == pytest.approx(fitted.bse[1] * math.sqrt(120 / 119), rel=1e-3)


def test_ideal_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(1)
    y_prob = rng.uniform(0.05, 0.95, 50_000)
    y_true = (rng.uniform(size=50_000) < y_prob).astype(int)
    intercept, slope = clinical.calibration(y_true, y_prob, np.arange(50_000))
    assert intercept.low < 0 < intercept.high
    assert slope.low < 1 < slope.high
    overconfident = clinical.calibration(y_true, 1 / (1 + ((1 - y_prob) / y_prob) ** 2), np.arange(50_000))[1]
    assert overconfident.value == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_predictive_values_follow_bayes_and_cover() -> None:
    """Mercaldo, Lau and Zhou 2007: coverage of the logit interval near its level at a fixed prevalence."""
    rng = np.random.default_rng(0)
    sensitivity, specificity, prevalence = 0.8, 0.7, 0.2
    truth = sensitivity * prevalence / (sensitivity * prevalence + (1 - specificity) * (1 - prevalence))
    covered = 0
    for _ in range(400):
        hit = clinical.share((rng.uniform(size=80) < sensitivity).astype(int), np.arange(80))
        false = clinical.share((rng.uniform(size=90) < 1 - specificity).astype(int), np.arange(90))
        one = clinical.predictive_value(hit, false, prevalence)
        covered += one.low <= truth <= one.high
    assert 0.93 <= covered / 400 <= 0.99


def test_edges_give_nan_or_bounds_instead_of_errors() -> None:
    ones, alone = np.ones(5, int), np.arange(5)
    measures = clinical.clinical_measures(ones, np.full(5, 0.7), alone)
    assert measures["sensitivity"].value == 1
    assert math.isnan(measures["specificity"].value)
    assert math.isnan(measures["calibration_slope"].value)
    assert measures["mcc"].value == 0
    separated = clinical.clinical_measures(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]), np.arange(4))
    assert separated["balanced_accuracy"] == pytest.approx((1, separated["balanced_accuracy"].low, 1))
    assert separated["average_precision"].value == 1
    constant = clinical.clinical_measures(np.array([0, 1, 0, 1]), np.full(4, 0.4), np.arange(4))
    assert math.isnan(constant["ppv"].value)
    assert isinstance(constant["npv"], Measure)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.8])
def test_net_benefit_is_counted_cases_weighed_by_the_odds(threshold: float) -> None:
    rng = np.random.default_rng(2)
    y_true = rng.integers(0, 2, 200)
    y_prob = np.clip(y_true * 0.3 + rng.uniform(0, 0.7, 200), 0, 1)
    treated = y_prob > threshold
    true, false = int((treated & (y_true == 1)).sum()), int((treated & (y_true == 0)).sum())
    found = clinical.net_benefit(y_true, y_prob, np.arange(200), threshold)
    assert found.value == pytest.approx(true / 200 - false / 200 * threshold / (1 - threshold))
    draws = rng.integers(0, 200, (4000, 200))
    worth = np.where(y_true == 1, 1, -threshold / (1 - threshold)) * treated
    low, high = np.quantile(worth[draws].mean(axis=1), [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01)
    prevalence = y_true.mean()
    everyone = clinical.net_benefit(y_true, np.ones(200), np.arange(200), threshold).value
    assert everyone == pytest.approx(prevalence - (1 - prevalence) * threshold / (1 - threshold))


def test_net_benefit_of_scans_of_a_patient_has_a_wider_interval() -> None:
    y_true, y_prob = np.repeat(np.arange(40) % 2, 4), np.repeat(np.random.default_rng(0).uniform(size=40), 4)
    patients = np.repeat(np.arange(40), 4)
    alone, together = (clinical.net_benefit(y_true, y_prob, who, 0.4) for who in (np.arange(160), patients))
    assert together.high - together.low == pytest.approx(2 * (alone.high - alone.low), rel=0.05)
