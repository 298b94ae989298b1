"""Find the rates at which a network can be trained: the range test, and fresh networks trained at its upper end.

The range test trains one network at a growing rate (Smith 2017). By the time the rates are large it knows its few
cases by heart, so its loss stays low at rates that ruin a new network. It therefore gives the lower end only. The upper
end comes from networks that start anew at each of a few rates: a half decade below the largest rate at which such a
network learns a few cases and below which none diverges.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from flairprep.sanity.check import Check
from flairprep.sanity.network_checks import Budget
from flairprep.sanity.trial import Trial

Array = npt.NDArray[Any]
BATCH = 4  # cases per step
FIRST_RATE, GROWTH, RANGE_STEPS = 1e-6, 1.15, 100  # of the range test: from 1e-6 to 1
FLAT_STEPS, LEAST_STEPS = 10, 20  # of it: whose rates do nothing yet, and which tell nothing alone
RUN_STEPS = 1000  # of the run that the lower end of the usable rates is meant for
RATES = tuple(float(f"{10 ** (half / 2):.1g}") for half in range(-12, 1))  # 1e-6, 3e-6, ... 1: half decades
MODEST = 1e-3  # below it, a rate is tried only where the larger ones diverge: most networks take it
TRIED = 5  # half decades below the least that diverges: lower still, it is the network that does not learn
HEART = 16  # cases of the fresh networks: they learn them by heart, so a cohort without a signal has a band too
FRESH_STEPS, LONGER_STEPS = 24, 100  # of a fresh network at each rate, and at the largest that do not diverge
# Nats; a ruined network comes back to log(2), the loss of always answering 0.5.
FALLS, LEARNED = 0.95 * math.log(2), 0.75 * math.log(2)
DIVERGED = 1.25  # share of the first loss that it rises above: what it learns after that, it learns despite the rate


class OverBudgetError(Exception):
    """The budget does not allow the next run."""


def range_test(trial: Trial, budget: Budget, images: Array, labels: Array) -> float | None:
    """Find the lower end of the usable rates by a range test, or None where its loss never fell.

    images: (n_cases, z, y, x, 1); labels: (n_cases,), in turn 0, 1, 0, ...

    Raises:
        OverBudgetError: the network is too large for the steps that this takes.
    """
    growing = FIRST_RATE * GROWTH ** np.arange(RANGE_STEPS)
    return lower_end(losses_at(trial, budget, images, labels, growing, ends=has_risen_again))


def fresh_runs(trial: Trial, budget: Budget, images: Array, labels: Array) -> tuple[float, float] | None:
    """Find the upper end of the usable rates by networks that start anew at each rate, or None where none learns.

    Arguments and errors as of `range_test`.

    Returns:
        A lower end for want of that of a range test, from when such a network had learned; and the upper end.
    """
    images, labels = images[:HEART], labels[:HEART]
    sound = [rate for rate in RATES if FIRST_RATE < rate < MODEST]
    begun: dict[float, tuple[list[float], Any]] = {}  # losses of the short runs, and where each ended
    for rate in RATES[1 + len(sound) :]:
        losses = losses_at(trial, budget, images, labels, [rate] * FRESH_STEPS, ends=diverges)
        if diverges(losses):
            break
        sound.append(rate)
        begun = dict([*begun.items(), (rate, (losses, trial.state()))][-TRIED:])
    # A few steps do not show what ruins a network slowly, so the largest rates are tried for longer, and the upper end
    # is a half decade below: some networks that learn HEART cases by heart are ruined by many cases at the same rate.
    # What a larger rate did not ruin, this one need only teach.
    learned = None
    for rate in sound[: -TRIED - 1 : -1]:
        ends = settled if learned else diverges
        losses = losses_at(trial, budget, images, labels, [rate] * LONGER_STEPS, ends=ends, begun=begun.get(rate))
        last = smoothed(losses)[-1]
        if learned and last < FALLS and not diverges(losses):
            return learned, rate
        if last < LEARNED and not diverges(losses):
            learned = rate * (1 + int(np.argmax(smoothed(losses) < FALLS))) / RUN_STEPS
    return None


def band(low: float | None, fresh: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the usable rates, (low, high), of what `range_test` and `fresh_runs` found, or None: there are none."""
    if fresh is None or fresh[1] <= (low or FIRST_RATE):
        return None
    return low or fresh[0], fresh[1]


def losses_at(
    trial: Trial,
    budget: Budget,
    images: Array,
    labels: Array,
    rates: Iterable[float],
    *,
    ends: Callable[[Sequence[float]], bool] | None = None,
    begun: tuple[Sequence[float], Any] | None = None,
) -> list[float]:
    """Train a fresh network one step at each of `rates`, on batches of BATCH cases in turn; return the loss per step.

    The last loss is the first that is not finite, or with which the run `ends`: nothing later would count.

    begun: losses and state of a run whose steps were the first ones of this one, which goes on from there.

    Raises:
        OverBudgetError: the budget does not allow all steps.
    """
    losses = list(begun[0]) if begun else []
    rates = list(rates)[len(losses) :]
    if not budget.afford(len(rates) * BATCH):
        raise OverBudgetError
    trial.reset(begun[1]) if begun else trial.reset()
    for step, rate in enumerate(rates, start=len(losses)):
        if losses and (not math.isfinite(losses[-1]) or (ends and ends(losses))):
            break
        batch = np.arange(BATCH * step, BATCH * (step + 1)) % len(labels)
        losses.append(trial.step(images[batch], labels[batch], rate)[0])
    return losses


def smoothed(losses: Sequence[float]) -> Array:
    """Return the exponential average of weight 0.8 of the losses up to each step, (n_steps,), without its bias."""
    averages, average = [], 0.0
    for step, loss in enumerate(losses, 1):
        average = 0.8 * average + 0.2 * loss
        averages.append(average / (1 - 0.8**step))
    return np.array(averages)


def diverges(losses: Sequence[float]) -> bool:
    """Return whether the loss of a fresh network, smoothed, is ever far above its first, or not finite."""
    return not bool((smoothed(losses) <= DIVERGED * losses[0]).all())


def settled(losses: Sequence[float]) -> bool:
    """Return whether a fresh network has learned its cases, or `diverges`."""
    return diverges(losses) or bool(smoothed(losses)[-1] < LEARNED)


def has_risen_again(losses: Sequence[float]) -> bool:
    """Return whether the losses of a range test rose by half of their fall, after which `lower_end` counts none."""
    return len(losses) >= LEAST_STEPS and bool(_risen(smoothed(losses)).any())


def _risen(averages: Array) -> Array:
    """Return after which steps the smoothed losses of a range test are up again by half of their fall, (n_steps,)."""
    start, least = averages[:FLAT_STEPS].mean(), np.minimum.accumulate(averages)
    return (start - least > 0.2 * start) & (averages - least > 0.5 * (start - least))


def lower_end(losses: Sequence[float]) -> float | None:
    """Return the rate at which RUN_STEPS steps move the weights as far as the range test until its loss fell, or None.

    The losses are those of RANGE_STEPS steps whose rate grows by GROWTH each; None where they never fell. They end
    where they have risen again by half of their fall. Fell: by a quarter of its fall. A step of Adam is as long as its
    rate, so the result is the sum of the test's rates up to there over RUN_STEPS.
    """
    averages = smoothed([loss for loss in losses if math.isfinite(loss)])
    if len(averages) < LEAST_STEPS:
        return None
    start, risen = float(np.mean(averages[:FLAT_STEPS])), _risen(averages)
    lowest = int(np.argmin(averages[: int(risen.argmax())] if risen.any() else averages))
    if lowest < FLAT_STEPS or start - averages[lowest] < 0.05 * start:
        return None
    above = [step for step in range(lowest) if averages[step] >= start - 0.25 * (start - averages[lowest])]
    return float((FIRST_RATE * GROWTH ** np.arange(above[-1] + 1)).sum()) / RUN_STEPS


def learning_rate(rates: tuple[float, float] | None) -> Check:
    """Report the usable rates, as `band` returns them."""
    if rates is None:
        text = "the loss fell at no rate from 1e-6 to 1; look for a fault before you tune the rate"
        return Check("learning rate", "warn", None, None, text)
    low, high = rates
    text = f"usable rates of Adam: {low:.2g} to {high:.2g}; the next half decade still trains a fresh network"
    return Check("learning rate", "pass", high, None, text)
