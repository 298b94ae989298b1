"""Test the main effects of a two-level design, with the differences between networks in the error.

A case counts for all networks and a network for all its cases, as in a study of readers: networks are the readers,
settings the modalities. The error of an effect therefore has Obuchowski and Rockette's (1995) two parts: what networks
of one setting differ by, and what the two levels would differ by on other cases.
"""

from functools import lru_cache
from itertools import chain, combinations
from typing import NamedTuple

import numpy as np
import scipy  # whose parts come when they are first used

from flairprep.stats import hypothesis_tests
from flairprep.stats.metrics import Array

DRAWS = 100_000  # of a study without effects: errors of 0.0007 at p = 0.05
POWER_DRAWS = 10_000
ROUNDING = 1e-12  # of the sum of settings' measures


class Effects(NamedTuple):
    """Effects of k factors, each (k,): high level minus low level; p_corrected: over all factors."""

    estimate: Array
    low: Array
    high: Array
    p: Array
    p_corrected: Array


def pseudo_standard_error(effects: Array) -> Array:
    """Return Lenth's (1989) standard error of effects most of which are 0, over the last axis.

    s0 = 1.5 * median(abs(effect)); PSE = 1.5 * median(those within 2.5 * s0).
    """
    size = np.abs(effects)
    first = 1.5 * np.median(size, axis=-1, keepdims=True)
    return np.asarray(1.5 * np.nanmedian(np.where(size <= 2.5 * first, size, np.nan), axis=-1))


@lru_cache
def lenth_null(contrasts: int, factors: int) -> tuple[Array, Array]:
    """Return abs(effect) / PSE of studies without effects, sorted: of one factor, and the largest of all factors.

    By simulation of normal effects, as the critical values of Ye and Hamada (2000).

    Args:
        contrasts: that the PSE comes from.
        factors: how many of them are tested.
    """
    draws = np.random.default_rng(0).standard_normal((DRAWS, contrasts))
    ratios = np.abs(draws[:, :factors]) / pseudo_standard_error(draws)[:, None]
    return np.sort(ratios, axis=None), np.sort(ratios.max(axis=1))


def contrasts_of(signs: Array) -> Array:
    """Return the contrasts (n_settings, n_settings - 1) of a design: a mean of one half minus that of the other.

    First the factors, then products of factors as far as they are orthogonal to all before: each interaction that can
    be told from main effects stands in a contrast of its own. Any basis of the rest completes them.

    Args:
        signs: (n_settings, k), -1 or +1, columns orthogonal to each other and to the mean.
    """
    settings, factors = signs.shape
    columns = [np.ones(settings), *signs.T]
    for members in chain.from_iterable(combinations(range(factors), size) for size in range(2, factors + 1)):
        if len(columns) == settings:
            break
        product = signs[:, members].prod(axis=1)
        if not (np.array(columns) @ product).any():
            columns.append(product)
    basis = np.column_stack(columns[1:]) / np.sqrt(settings)
    rest = scipy.linalg.null_space(np.array(columns))
    return np.column_stack([basis, rest]) * 2 / np.sqrt(settings)


def factor_effects(signs: Array, values: Array, influence: Array, *, shared: float = 1.0) -> Effects:
    """Estimate the effect of each factor of an orthogonal design, and test it.

    Where settings have repeats, networks of other seeds, their variance is the error between networks, p is Student's
    and p_corrected Holm's. Otherwise the error is Lenth's PSE of all contrasts between settings, which takes most
    factors and interactions to be without effect; p and p_corrected then come from `lenth_null`.

    That error contains the sampling of cases as far as networks of one setting differ by it, and is that sampling, from
    influence values, where all networks do equally well. The sampling of what the levels of a factor differ by beyond
    that is added; degrees of freedom as Hillis (2007).

    Args:
        signs: (n_settings, k), -1 or +1, columns orthogonal to each other and to the mean.
        values: (n_settings, n_units, n_repeats), a network's AUC or accuracy.
        influence: (n_settings, n_units, n_repeats, n_patients), see `replicates.influence`; 0 in units without the
            patient.
        shared: factor of the variance of cases where networks share training cases, see `replicates.shared_training`.
    """
    settings, factors = signs.shape
    of_repeats, patients_of_repeats = values.mean(axis=1), influence.mean(axis=1)
    contrasts = contrasts_of(signs)
    effects = contrasts.T @ of_repeats.mean(axis=1)
    effects[np.abs(effects) < ROUNDING] = 0
    sampling = ((contrasts.T @ patients_of_repeats.mean(axis=1)) ** 2).sum(axis=1)
    repeats = of_repeats.shape[1]
    df = (settings - 1) * (repeats - 1)
    if df:
        scale = 4 / settings / repeats / df  # 4 / settings: the sum of a contrast's squares
        networks = float((_residuals(of_repeats) ** 2).sum()) * scale
        typical = float((_residuals(patients_of_repeats) ** 2).sum()) * scale
    else:
        networks, typical = float(pseudo_standard_error(effects)) ** 2, float(np.median(sampling))
    estimate = effects[:factors]
    networks = networks if networks > ROUNDING**2 else typical
    variance = networks + shared * np.maximum(0, sampling[:factors] - typical)
    error = np.sqrt(variance)
    ratio = np.divide(np.abs(estimate), error, out=np.zeros(factors), where=error > 0)  # no error: the same networks
    if df:
        degrees = df * (variance / networks) ** 2 if networks > 0 else np.full(factors, np.inf)
        degrees = np.clip(degrees, df, max(df, influence.shape[-1] - 1))
        p = 2 * scipy.special.stdtr(degrees, -ratio)
        p_corrected = hypothesis_tests.holm(p)
        half = scipy.special.stdtrit(degrees, 0.975) * error
    else:
        single, largest = lenth_null(settings - 1, factors)
        p, p_corrected = _share_beyond(single, ratio), _share_beyond(largest, ratio)
        half = np.quantile(single, 0.95) * error
    return Effects(estimate, estimate - half, estimate + half, p, p_corrected)


def _residuals(values: Array) -> Array:
    """Return values (n_settings, n_repeats, ...) less the means of their setting and of their repeat."""
    by_setting, by_repeat = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    return np.asarray(values - by_setting - by_repeat + by_repeat.mean(axis=1, keepdims=True))


def _share_beyond(null: Array, ratios: Array) -> Array:
    """Return the share of the sorted null distribution at or beyond each ratio, never 0."""
    return np.asarray((len(null) - np.searchsorted(null, ratios) + 1) / (len(null) + 1))


@lru_cache
def detectable_effect(runs: int, factors: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the effect of one factor that an unreplicated design shows with `power`, corrected for its factors.

    By simulation of normal effects, the others 0.

    Args:
        runs: settings of the design.
        factors: number of tests.
        alpha, power: level of all tests together, and power of one.

    Returns:
        The effect in units of the standard deviation between settings without effect: of a network, or of a mean over
        folds.
    """
    _, largest = lenth_null(runs - 1, factors)
    critical = np.quantile(largest, 1 - alpha)
    draws = np.random.default_rng(1).standard_normal((POWER_DRAWS, runs - 1))

    def excess(effect: float) -> float:
        shifted = draws + effect * (np.arange(runs - 1) == 0)
        return float((np.abs(shifted[:, 0]) > critical * pseudo_standard_error(shifted)).mean()) - power

    return float(scipy.optimize.brentq(excess, 0, 100, xtol=0.001) * 2 / np.sqrt(runs))
