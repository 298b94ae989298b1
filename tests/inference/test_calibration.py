"""Platt's calibration against another implementation, and against planted distortions."""

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from simulated_runs import simulate_run

from flairprep.core.errors import FlairprepError
from flairprep.inference.calibration import fit, platt


def simulated(count: int, slope: float, intercept: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities whose logits must be multiplied by `slope` and moved by `intercept` to be right."""
    rng = np.random.default_rng(count)
    logits = rng.normal(0, 1.5, count)
    y_true = (rng.random(count) < 1 / (1 + np.exp(-logits))).astype(int)
    return y_true, 1 / (1 + np.exp(-(logits - intercept) / slope))


@pytest.mark.parametrize("count", [12, 100, 1000])
def test_equals_a_binomial_regression_on_platts_targets(count: int) -> None:
    y_true, y_prob = simulated(count, 0.5, 0.3)
    ones = y_true.sum()
    target = np.where(y_true == 1, (ones + 1) / (ones + 2), 1 / (count - ones + 2))
    design = sm.add_constant(np.log(y_prob / (1 - y_prob)))
    intercept, slope = sm.GLM(target, design, family=sm.families.Binomial()).fit(tol=1e-12).params
    assert platt(y_true, y_prob) == pytest.approx((slope, intercept), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("slope", "intercept"), [(0.4, 0.0), (1.0, -1.0), (2.0, 0.5)])
def test_finds_what_was_planted(slope: float, intercept: float) -> None:
    assert platt(*simulated(20_000, slope, intercept)) == pytest.approx((slope, intercept), abs=0.06)


def test_labels_that_the_network_separates_stay_finite() -> None:
    y_true = np.arange(20) % 2
    slope, intercept = platt(y_true, np.where(y_true == 1, 0.9, 0.1))
    assert 0 < slope < 5
    assert abs(intercept) < 1e-3


def test_ranking_is_never_turned_round() -> None:
    y_true, y_prob = simulated(200, 1.0, 0.7)
    slope, intercept = platt(1 - y_true, y_prob)
    ones = 200 - y_true.sum()
    share = (ones * (ones + 1) / (ones + 2) + (200 - ones) / (202 - ones)) / 200
    assert slope == 0
    assert 1 / (1 + np.exp(-intercept)) == pytest.approx(share)


def test_pools_the_folds_and_counts_each_case_once() -> None:
    runs = [simulate_run(f"f{fold}", 0.7, fold) for fold in range(3)]
    made = fit([*runs, simulate_run("again", 0.7, 0, seed=1)])
    assert (made.cases, made.folds) == (120, 3)
    pooled = [(run.validation.y_true, run.validation.declared) for run in runs]
    expected = platt(*(np.concatenate(part) for part in zip(*pooled, strict=True)))
    only = fit(runs)
    assert (only.slope, only.intercept) == expected
    odds = 0.8 / 0.2
    assert only(0.8) == pytest.approx(1 / (1 + odds**-only.slope * np.exp(-only.intercept)))


def test_one_label_alone_is_refused() -> None:
    run = simulate_run("one", 0.7)
    constant = replace(run.validation, y_true=np.ones_like(run.validation.y_true))
    with pytest.raises(FlairprepError, match="one"):
        fit([replace(run, validation=constant)])


def test_probabilities_of_0_and_1_have_a_value() -> None:
    made = fit([simulate_run("f0", 0.9)])
    assert 0 < made(0.0) < made(1.0) < 1
