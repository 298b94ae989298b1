"""Check a network before training, after Karpathy, "A Recipe for Training Neural Networks" (2019).

`fit` trains it a few steps on a few cases, always from the same weights. Each check is a pure function of what it
returns. The range test of the learning rate stands in rate_checks.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from flairprep.sanity.check import Check, Verdict
from flairprep.sanity.trial import Trial
from flairprep.stats import metrics

Array = npt.NDArray[Any]
RATE = 1e-3  # of Adam in the short runs
FITTED = 0.01  # below this loss, cases are known by heart


class Start(NamedTuple):
    """The first losses of a network, (n_steps,), and its weights after them, by path."""

    losses: Array
    weights: dict[str, Array]


@dataclass(frozen=True)
class ShortRun:
    """Result of a short run on one batch, losses by step.

    y_prob: in training mode, at the first and the last step, (n_cases,) each. inference: in inference mode after the
    last step, (n_cases,). cut: the budget ended it before it had its `most` steps.
    """

    labels: Array
    losses: list[float]
    y_prob: tuple[Array, Array]
    inference: Array
    cut: bool

    @property
    def note(self) -> str:
        """Return how long it was, for texts whose verdict may depend on it."""
        ran = f" after {len(self.losses)} steps"
        return f"{ran}, all that there is time for with a network of this size" if self.cut else ran


class Budget:
    """Number of cases that may still pass through a network of `multiply_adds` per case.

    Counted, not clocked: the same network takes the same steps on every machine. With the backward passes, two times
    `total` multiply-adds side by side take less than a minute on 2 cores.
    """

    def __init__(self, multiply_adds: int, total: float = 1.2e12) -> None:
        self.left = int(total / multiply_adds)

    def afford(self, cases: int) -> bool:
        """Return whether `cases` are left, and take them off."""
        enough = self.left >= cases
        self.left -= cases if enough else 0
        return enough


def fit(
    trial: Trial, budget: Budget, images: Array, labels: Array, *, least: int, most: int, goal: float = FITTED / 2
) -> ShortRun | None:
    """Train `least` to `most` steps from the first weights, until the loss is below `goal` and all cases are right.

    images: (n_cases, z, y, x, 1); labels: (n_cases,). None where the budget allows no step.
    """
    trial.reset()
    losses: list[float] = []
    outputs: list[Array] = []
    for step in range(most):
        if not (affordable := budget.afford(len(labels))):
            break
        loss, y_prob = trial.step(images, labels, RATE)
        losses, outputs = [*losses, loss], [*outputs[:1], y_prob]
        if step + 1 >= least and loss < goal and metrics.accuracy(labels, y_prob) == 1:
            break
    if not outputs:
        return None
    return ShortRun(labels, losses, (outputs[0], outputs[-1]), trial.probabilities(images), not affordable)


def not_run(name: str) -> Check:
    """Return the warning in place of a check that the budget does not allow."""
    text = "not run: the network is too large for the time of this stage; look at its first epochs instead"
    return Check(name, "warn", None, None, text)


def repeatable(first: Start, second: Start) -> Check:
    """Check that two starts from one seed give equal losses and equal weights."""
    apart = float(np.abs(first.losses - second.losses).max())
    pairs = [(first.losses, second.losses), *((first.weights[key], second.weights[key]) for key in first.weights)]
    same = all(np.array_equal(*pair, equal_nan=True) for pair in pairs)  # NaN in the tensors is another check's fault
    text = "the same seed gives the same two losses and weights"
    if not same:
        text = "the same seed gives other losses or weights; look for randomness without a seed"
    return Check("repeatable", "pass" if same else "fail", apart, 0, text)


def initial_loss(y_prob: Array, prior: float, threshold: float = 0.3) -> Check:
    """Check the loss before the first step against the entropy of the labels, the loss of always answering the prior.

    The loss is the expected one for labels drawn with `prior`, so that it does not depend on the cases drawn.
    """
    p = np.clip(y_prob.astype(float), metrics.EPSILON, 1 - metrics.EPSILON)
    excess = float(np.mean(xlogy(prior, prior / p) + xlogy(1 - prior, (1 - prior) / (1 - p))))
    verdict: Verdict = "pass" if excess <= threshold else "warn" if excess <= 1 else "fail"
    text = f"the first loss is {excess:.2f} above the entropy of the labels"
    if verdict != "pass":
        text += ": the network starts sure of wrong answers; normalise inputs and layers, start the output small"
    return Check("initial loss", verdict, excess, threshold, text)


def output_bias(bias: float, prior: float, starts_at_prior: bool, threshold: float = 0.1) -> Check:
    """Check that the output's bias is the log odds of the prior; warn only of a 0 that is the network's own start."""
    off = abs(bias - math.log(prior / (1 - prior)))
    verdict: Verdict = "pass" if off <= threshold else "fail"
    if verdict == "fail" and bias == 0 and not starts_at_prior:
        verdict = "warn"
    text = f"the output's bias is {off:.2f} off the log odds of the labels"
    if verdict != "pass":
        text += "; set it to log(p / (1 - p)), or the first epochs learn nothing else"
    return Check("output bias", verdict, off, threshold, text)


def all_layers(before: dict[str, Array], after: dict[str, Array]) -> Check:
    """Check that training changes every weight."""
    unchanged = [path for path in before if np.array_equal(before[path], after[path])]
    text = "every layer learns"
    if unchanged:
        text = f"no change in {', '.join(unchanged[:3])}; unfreeze it, or find why no gradient reaches it"
    return Check("layers", "fail" if unchanged else "pass", len(unchanged), 0, text)


def coupling(gradient: float) -> Check:
    """Check that in inference mode the gradient of one case's output with respect to another's input is 0."""
    text = "in inference mode no case changes the output of another"
    if gradient != 0:
        text = "a case changes the output of another in inference mode; look for an operation over the batch's axis"
    return Check("coupling", "pass" if gradient == 0 else "fail", gradient, 0, text)


def loss_falls(run: ShortRun, threshold: float = 0.5) -> Check:
    """Check that the last loss of a run is below `threshold` times its first."""
    ratio = run.losses[-1] / max(run.losses[0], FITTED)
    text = f"the loss falls from {run.losses[0]:.3g} to {run.losses[-1]:.3g}{run.note}"
    verdict: Verdict = "pass" if ratio < threshold else "warn" if run.cut else "fail"
    if verdict != "pass":
        text += "; look at the rate, the labels' order and what reaches the loss"
    return Check("loss falls", verdict, ratio, threshold, text)


def overfit(run: ShortRun) -> Check:
    """Check that one case of each label is known by heart, in training mode."""
    loss, right = run.losses[-1], metrics.accuracy(run.labels, run.y_prob[1])
    text = f"one case of each label: loss {loss:.2g}, {right:.0%} right{run.note}"
    verdict: Verdict = "pass" if loss < FITTED and right == 1 else "warn" if run.cut else "fail"
    if verdict == "fail":
        text += "; it cannot even learn two cases by heart: look for a fault before you tune anything"
    return Check("overfit", verdict, loss, FITTED, text)


def overfit_inference(run: ShortRun, own: bool) -> Check:
    """Check the same in inference mode, with the averages of batch normalisation. own: see `suite.to_the_letter`."""
    loss, right = metrics.log_loss(run.labels, run.inference), metrics.accuracy(run.labels, run.inference)
    text = f"the same in inference mode: loss {loss:.2g}, {right:.0%} right"
    verdict: Verdict = "pass" if loss < FITTED and right == 1 else "warn" if own or run.cut else "fail"
    if verdict != "pass":
        text += run.note
        lag = "the averages of batch normalisation lag: set model.norm_momentum 0.9, or model.norm group"
        text += f"; {lag if run.losses[-1] < FITTED else 'it was not learned in training mode either'}"
    return Check("overfit, inference", verdict, loss, FITTED, text)


def zeroed(run: ShortRun, blind: ShortRun, threshold: float = 0.5) -> Check:
    """Check that a run's loss is below `threshold` times that of the same run with zeros for voxels, at equal steps."""
    steps = min(len(run.losses), len(blind.losses))
    ratio = run.losses[steps - 1] / max(blind.losses[steps - 1], metrics.EPSILON)
    text = f"the loss is {ratio:.2g} times that without an image after {steps} steps"
    verdict: Verdict = "pass" if ratio < threshold else "warn" if run.cut else "fail"
    if verdict != "pass":
        text += "; the network does not use the image: look at the tensors of data/export"
    return Check("zeroed input", verdict, ratio, threshold, text)


def capacity(run: ShortRun) -> Check:
    """Check that shuffled labels are learned by heart: a network that is large enough can."""
    right = metrics.accuracy(run.labels, run.y_prob[1])
    verdict: Verdict = "pass" if right == 1 else "warn" if run.cut else "fail"
    text = f"{right:.0%} of {len(run.labels)} cases with shuffled labels learned by heart{run.note}"
    if verdict != "pass":
        text += "; the network may be too small: give it more model.filters"
    return Check("capacity", verdict, right, 1, text)


def batch_norm(run: ShortRun, own: bool, threshold: float = 0.15) -> Check:
    """Check the accuracy on the training cases: inference mode against training mode. own: see `overfit_inference`."""
    gap = metrics.accuracy(run.labels, run.y_prob[1]) - metrics.accuracy(run.labels, run.inference)
    verdict: Verdict = "pass" if gap <= threshold else "warn" if own or run.cut else "fail"
    text = f"accuracy on the training cases is {gap:.2f} lower in inference mode{run.note}"
    if verdict != "pass":
        text += (
            "; the averages of batch normalisation lag: a smaller model.norm_momentum, more steps, or model.norm group"
        )
    return Check("batch norm", verdict, gap, threshold, text)
