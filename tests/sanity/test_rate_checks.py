"""rate_checks: the usable rates end where fresh networks stop learning, which training there shows."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from heads import SHAPE, cohort
from scipy.special import expit

from flairprep.network import model, training
from flairprep.sanity import rate_checks
from flairprep.sanity.network_checks import Budget
from flairprep.sanity.trial import Trial

IMAGES, LABELS = np.array(cohort(8)), np.arange(8) % 2
GROWING = rate_checks.FIRST_RATE * rate_checks.GROWTH ** np.arange(rate_checks.RANGE_STEPS)


class Played:
    """Stand in for a Trial: the loss before each step is `loss(rates of the steps before)`."""

    def __init__(self, loss: Callable[[list[float]], float]) -> None:
        self.loss, self.rates = loss, list[float]()

    def state(self) -> list[float]:
        return list(self.rates)

    def reset(self, state: list[float] | None = None) -> None:
        self.rates = list(state or [])

    def step(self, images: np.ndarray, labels: np.ndarray, rate: float) -> tuple[float, np.ndarray]:
        before = self.loss(self.rates)
        self.rates.append(rate)
        return before, labels


def learns(rates: list[float], ruin: float = 0.1) -> float:
    """Fall with the distance covered, as the loss of a network that learns by heart; explode at `ruin` in the start."""
    moved = sum(rate for rate in rates if rate < ruin)
    known = moved > 0.05  # by heart: then no rate undoes it
    return 0.02 if known else 30.0 if rates and rates[-1] >= ruin else 0.7 * math.exp(-moved / 0.02)


def band(loss: Callable[[list[float]], float], budget: Budget | None = None) -> tuple[float, float] | None:
    trial: Any = Played(loss)
    return found(trial, IMAGES, budget or Budget(1))


def found(trial: Trial, images: np.ndarray, budget: Budget) -> tuple[float, float] | None:
    low = rate_checks.range_test(trial, budget, images, LABELS)
    return rate_checks.band(low, rate_checks.fresh_runs(trial, budget, images, LABELS))


def test_a_rate_that_only_a_network_that_knows_its_cases_survives_is_not_usable() -> None:
    growing = [learns(list(GROWING[: step + 1])) for step in range(len(GROWING))]
    assert max(growing) < 1, "a growing rate never meets the ruin"
    assert learns([1.0]) > 10
    rates = band(learns)
    assert rates is not None
    assert rates[1] == 0.01, "0.03 is the last half decade below the ruin"
    check = rate_checks.learning_rate(rates)
    assert (check.verdict, check.value) == ("pass", 0.01)


def test_a_rate_above_one_that_diverges_is_not_usable_though_it_falls() -> None:
    def luck(rates: list[float]) -> float:
        return learns(rates, 10 if rates and rates[-1] >= 0.3 else 0.009)

    rates = band(luck)
    assert rates is not None
    assert rates[1] == 0.001


def test_what_ruins_a_network_slowly_is_found_by_training_for_longer() -> None:
    def slow(rates: list[float]) -> float:
        dies = len(rates) > rate_checks.FRESH_STEPS and set(rates) <= {0.01, 0.03}
        return math.log(2) if dies else learns(rates)

    rates = band(slow)
    assert rates is not None
    assert rates[1] == 0.001


def test_below_a_rate_that_learns_a_network_is_trained_no_longer_than_until_it_has_learned() -> None:
    trial: Any = Played(learns)
    taken: list[float] = []
    trial.step = lambda images, labels, rate: (taken.append(rate), Played.step(trial, images, labels, rate))[1]
    assert rate_checks.fresh_runs(trial, Budget(1), IMAGES, LABELS) is not None
    assert taken.count(0.03) == rate_checks.LONGER_STEPS
    assert rate_checks.FRESH_STEPS <= taken.count(0.01) < rate_checks.LONGER_STEPS


def test_a_rate_that_is_ruined_before_it_has_learned_is_not_usable() -> None:
    def relapses(rates: list[float]) -> float:
        return 1.0 if len(rates) > 30 and set(rates) == {0.01} else 0.6 if set(rates) == {0.01} else learns(rates)

    rates = band(relapses)
    assert rates is not None
    assert rates[1] == 0.003


def test_a_loss_that_never_falls_has_no_usable_rates() -> None:
    assert band(lambda _: 0.7) is None
    assert band(lambda rates: 0.7 if len(rates) < 3 else math.nan) is None
    assert rate_checks.learning_rate(None).verdict == "warn"


def test_no_rate_is_usable_below_the_lower_end() -> None:
    assert rate_checks.band(1e-4, (1e-5, 1e-2)) == (1e-4, 1e-2)
    assert rate_checks.band(None, (1e-5, 1e-2)) == (1e-5, 1e-2)
    assert rate_checks.band(1e-2, (1e-5, 1e-2)) is None
    assert rate_checks.band(1e-4, None) is None


def test_a_network_too_large_for_the_steps_is_not_tried() -> None:
    with pytest.raises(rate_checks.OverBudgetError):
        band(learns, Budget(1, total=1000))


def test_a_run_that_goes_on_has_the_losses_of_one_from_the_start() -> None:
    rates = [1e-2] * 6
    trial: Any = Played(learns)
    whole = rate_checks.losses_at(trial, Budget(1), IMAGES, LABELS, rates)
    begun = rate_checks.losses_at(trial, Budget(1), IMAGES, LABELS, rates[:2]), trial.state()
    rate_checks.losses_at(trial, Budget(1), IMAGES, LABELS, [0.5] * 3)  # another run between them
    budget = Budget(1, total=4 * rate_checks.BATCH)
    assert rate_checks.losses_at(trial, budget, IMAGES, LABELS, rates, begun=begun) == whole
    assert budget.left == 0


def test_a_run_ends_where_it_diverges_and_the_range_test_where_it_has_risen_again() -> None:
    trial: Any = Played(lambda rates: 30.0 if len(rates) == 3 else 0.7)
    assert rate_checks.losses_at(trial, Budget(1), IMAGES, LABELS, [1.0] * 9, ends=rate_checks.diverges) == [
        0.7
    ] * 3 + [30.0]
    learned: Any = [0.1, 0.1], [1e-3, 1e-3]
    assert rate_checks.losses_at(
        trial, Budget(1), IMAGES, LABELS, [1e-3] * 9, ends=rate_checks.settled, begun=learned
    ) == [
        0.1,
        0.1,
    ]
    falls = iter(curve(1e-3, 1e-1))
    trial = Played(lambda _: next(falls))
    ended = rate_checks.losses_at(trial, Budget(1), IMAGES, LABELS, GROWING, ends=rate_checks.has_risen_again)
    assert rate_checks.LEAST_STEPS < len(ended) < len(GROWING)
    whole = curve(1e-3, 1e-1)
    assert ended == whole[: len(ended)]
    assert rate_checks.lower_end(ended) == rate_checks.lower_end(whole), "what it leaves out does not count"


def curve(falls_at: float, rises_at: float) -> list[float]:
    """A loss of 0.7 that halves around one rate and explodes around another, at the rates of the range test."""
    return list(0.7 - 0.5 * expit(4 * np.log(GROWING / falls_at)) + 3 * expit(4 * np.log(GROWING / rises_at)))


def test_the_lower_end_is_in_proportion_to_the_rate_where_the_loss_falls() -> None:
    low, later = rate_checks.lower_end(curve(1e-3, 1e-1)), rate_checks.lower_end(curve(1e-2, 1e-1))
    assert low is not None
    assert 1e-6 < low < 1e-4
    assert later == pytest.approx(10 * low, rel=0.2)


def test_what_a_network_learns_again_after_it_diverged_does_not_count_for_the_lower_end() -> None:
    losses = curve(1e-3, 1e-1)
    assert rate_checks.lower_end([*losses[:85], *[0.01] * 15]) == rate_checks.lower_end(losses)


@pytest.mark.parametrize(
    "losses", [[0.7] * 100, [0.7] * 5, [], curve(10, 1e-2)], ids=["flat", "ended", "none", "rises"]
)
def test_without_a_fall_there_is_no_lower_end(losses: list[float]) -> None:
    assert rate_checks.lower_end(losses) is None


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["group", "after_conv", "none"])
def test_networks_learn_at_the_upper_end_and_are_warned_of_the_rate_that_ruins_them(norm: str) -> None:
    """Trained there from new weights, which the test of the rates has not seen."""

    def build() -> keras.Model:
        given = {**dict.fromkeys(model.ModelParams.model_fields), "name": "resnet3d", "filters": [8, 16], "norm": norm}
        return training.compiled(model.ModelParams(**given), (*SHAPE, 1), prior=0.5, rate=1e-3)

    trial = Trial(build, 0)
    images = trial.prepared(IMAGES)
    rates = found(trial, images, Budget(1))
    assert rates is not None
    assert rates[0] < 1e-3 < rates[1] < 0.5

    def last(rate: float, seed: int) -> float:
        losses = rate_checks.losses_at(Trial(build, seed), Budget(1), images, LABELS, [rate] * 150)
        return float(np.mean(losses[-20:]))

    assert sum(last(rates[1], seed) < rate_checks.LEARNED for seed in (1, 2, 3)) >= 2
    first = rate_checks.losses_at(Trial(build, 1), Budget(1), images, LABELS, [0.5] * 10)
    assert rate_checks.diverges(first)
