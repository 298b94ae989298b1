"""Lenth's method, the error of main effects, their level and their power."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, t

from flairprep.experiments import effects, screening
from flairprep.stats import replicates

PB, FOLDED = screening.plackett_burman(), screening.folded_over()

# The filtration rate of Montgomery, Design and analysis of experiments, in standard order: A changes fastest.
FILTRATION = (45, 71, 48, 65, 68, 60, 80, 65, 43, 100, 45, 104, 75, 86, 70, 96)


def filtration_effects() -> tuple[np.ndarray, np.ndarray]:
    """Return the signs (16, 4) and the 15 contrasts of the example."""
    signs = np.array(list(product((-1, 1), repeat=4)))[:, ::-1]
    return signs, effects.contrasts_of(signs).T @ np.array(FILTRATION)


def test_the_pse_of_a_published_example() -> None:
    signs, contrasts = filtration_effects()
    np.testing.assert_allclose(contrasts[:4], [21.625, 3.125, 9.875, 14.625])
    published = (0.125, -18.125, 2.375, 1.875, 16.625, -0.375, 4.125, -1.125, -1.625, -2.625, 1.375)
    np.testing.assert_allclose(np.sort(contrasts[4:]), np.sort(published))
    pse = effects.pseudo_standard_error(contrasts)
    assert pse == pytest.approx(2.625)
    assert pse * t.isf(0.025, 15 / 3) == pytest.approx(6.748, abs=0.001), "the published margin of error"
    tests = effects.factor_effects(signs, np.array(FILTRATION, float)[:, None, None], np.zeros((16, 1, 1, 50)))
    assert (tests.p < 0.05).tolist() == [True, False, True, True]


def test_an_effect_beyond_the_median_is_not_in_the_pse() -> None:
    assert effects.pseudo_standard_error(np.array([1.0, -2, 3, 100])) == pytest.approx(1.5 * 2)
    assert effects.pseudo_standard_error(np.array([[1.0, 1, -1], [2, -2, 2]])).tolist() == [1.5, 3]
    assert effects.pseudo_standard_error(np.array([0.0, 0, 0, 5])) == 0


@pytest.mark.parametrize(("contrasts", "single", "largest"), [(7, 2.297, 4.867), (15, 2.156, 4.240)])
def test_critical_values_are_those_of_ye_and_hamada(contrasts: int, single: float, largest: float) -> None:
    """Wu and Hamada, Experiments, table of critical values for Lenth's method, level 5 %."""
    of_one, of_all = (np.quantile(null, 0.95) for null in effects.lenth_null(contrasts, contrasts))
    assert of_one == pytest.approx(single, abs=0.02)
    assert of_all == pytest.approx(largest, abs=0.05)


@pytest.mark.parametrize("signs", [PB, FOLDED, PB[:, :5], FOLDED[:, :6]])
def test_contrasts_are_orthogonal_and_begin_with_the_factors(signs: np.ndarray) -> None:
    settings, factors = signs.shape
    contrasts = effects.contrasts_of(signs)
    np.testing.assert_allclose(contrasts.T @ contrasts, 4 / settings * np.eye(settings - 1), atol=1e-12)
    np.testing.assert_allclose(contrasts.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(contrasts[:, :factors], signs * 2 / settings)


def test_each_interaction_of_two_has_one_contrast() -> None:
    contrasts = effects.contrasts_of(FOLDED)
    for a in range(7):
        for b in range(a):
            assert np.count_nonzero(np.abs(contrasts.T @ (FOLDED[:, a] * FOLDED[:, b])) > 1e-9) == 1


def test_with_repeats_the_error_is_that_of_a_two_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.03, (8, 1, 3)) + 0.05 * PB[:, 0, None, None]
    tests = effects.factor_effects(PB, values, np.zeros((8, 1, 3, 100)))
    table = values[:, 0]
    design = np.column_stack([np.kron(np.eye(8), np.ones((3, 1))), np.tile(np.eye(3), (8, 1))])
    residual = table.ravel() - design @ np.linalg.lstsq(design, table.ravel(), rcond=None)[0]
    error = np.sqrt(4 / 24 * residual @ residual / 14)
    estimate = table[PB[:, 0] > 0].mean() - table[PB[:, 0] < 0].mean()
    assert tests.estimate[0] == pytest.approx(estimate)
    assert tests.p[0] == pytest.approx(2 * t.sf(estimate / error, 14))
    assert tests.high[0] == pytest.approx(estimate + t.ppf(0.975, 14) * error)


@pytest.mark.parametrize("repeats", [1, 2])
def test_what_levels_differ_by_on_other_cases_is_in_the_error(repeats: int) -> None:
    """The first factor changes which cases are right: more networks cannot tell that from its effect."""
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1e-3, (16, 1, repeats)) + 0.03 * FOLDED[:, 0, None, None]
    influence = np.zeros((16, 1, repeats, 200))
    influence += rng.choice([-1, 1], 200) / 200 / 2 * FOLDED[:, 0, None, None, None]
    tests = effects.factor_effects(FOLDED, values, influence)
    half = norm.ppf(0.975) * np.sqrt(200 / 200**2)  # each case is right under one level alone
    assert (tests.high - tests.low)[0] / 2 == pytest.approx(half, rel=0.25)
    assert (tests.high - tests.low)[1:].max() < 0.01
    alone = effects.factor_effects(FOLDED, values, 0 * influence)
    assert (alone.high - alone.low)[0] < 0.01
    wider = effects.factor_effects(FOLDED, values, influence, shared=1.8)
    assert (wider.high - wider.low)[0] == pytest.approx((tests.high - tests.low)[0] * np.sqrt(1.8), rel=0.02)


@pytest.mark.parametrize("repeats", [1, 2])
def test_the_same_network_everywhere_has_no_effect(repeats: int) -> None:
    tests = effects.factor_effects(PB, np.full((8, 2, repeats), 0.625), np.zeros((8, 2, repeats, 40)))
    np.testing.assert_array_equal(tests.estimate, 0)
    np.testing.assert_allclose(tests.p_corrected, 1)


def rate_shown(
    signs: np.ndarray, repeats: int, studies: int, *, metric: Any, sd: float, effect: float = 0, shared: float = 0.6
) -> Any:
    """Return the rates of any factor shown, and of the first.

    sd, effect: of the true accuracy of a network; shared: share of a score's variance that all networks have in common.
    """
    cases, rng = 117, np.random.default_rng(0)
    y_true, shown = np.arange(cases) % 2, np.zeros(2)
    for _ in range(studies):
        accuracy = 0.6 + effect / 2 * signs[:, :1] + sd * rng.standard_normal((len(signs), repeats))
        score = norm.ppf(accuracy)[..., None] * (2 * y_true - 1) + np.sqrt(shared) * rng.standard_normal(cases)
        score += np.sqrt(1 - shared) * rng.standard_normal(score.shape)
        values, influence = np.empty((len(signs), 1, repeats)), np.empty((len(signs), 1, repeats, cases))
        for s, r in np.ndindex(len(signs), repeats):
            values[s, 0, r], influence[s, 0, r] = replicates.influence(
                y_true, norm.cdf(score[s, r]), np.zeros(cases), metric
            )
        p = effects.factor_effects(signs, values, influence).p_corrected
        shown += (p < 0.05).any(), p[0] < 0.05
    return shown / studies


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["auc", "accuracy"])
@pytest.mark.parametrize(("signs", "repeats"), [(PB, 1), (PB, 2), (FOLDED, 1)])
@pytest.mark.parametrize("sd", [0, 0.06])
def test_seldom_any_effect_is_shown_where_nothing_matters(
    signs: np.ndarray, repeats: int, sd: float, metric: str
) -> None:
    assert rate_shown(signs, repeats, 400, metric=metric, sd=sd)[0] < 0.09, "5 % and four standard errors"


@pytest.mark.slow
def test_the_promised_effect_is_shown_about_as_often_as_promised() -> None:
    """Networks that differ by the sampling of their cases alone, by what plan takes for usual."""
    correlation = 1 - screening.NETWORK_SD**2 * screening.SD_CASES / (0.6 * 0.4)  # of being right
    shared = np.sin(correlation * np.pi / 2)  # of normal scores, at an accuracy near 0.5
    effect = screening.detectable(117, 1, 0.05)
    assert 0.7 < rate_shown(FOLDED, 1, 400, metric="accuracy", sd=0, effect=effect, shared=shared)[1] < 0.9


def test_sixteen_runs_show_half_the_effect_that_eight_show() -> None:
    """Their standard error is smaller by the root of two, and the PSE of 15 effects varies less than that of 7."""
    assert effects.detectable_effect(8, 7) > 1.8 * effects.detectable_effect(16, 7)
    standard_error, z = 2 / np.sqrt(16), norm.isf(0.05 / 14) + norm.ppf(0.8)
    assert effects.detectable_effect(16, 7) > z * standard_error, "what a known error would show"
