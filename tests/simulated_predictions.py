"""Simulated predictions of a binary classifier, and slow references of how an epoch is selected."""

import itertools
import math
from collections.abc import Callable

import numpy as np


def sample(seed: int, n: int = 40, levels: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities with many ties; both labels occur."""
    rng = np.random.default_rng(seed)
    y_true = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return y_true, np.clip(rng.integers(0, levels, n) / levels + 0.1 * y_true, 0, 1)


def simulated_run(seed: int, epochs: int, n: int, signal: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities of epochs, rounded so that ties occur."""
    rng = np.random.default_rng(seed)
    y_true = rng.permutation(np.arange(n) % 2)
    logits = rng.normal(signal * (2 * y_true - 1), 1, (epochs, n))
    return y_true, np.round(1 / (1 + np.exp(-logits)), 1)


def slow_scores(y_true: np.ndarray, y_prob: np.ndarray, metric: str) -> list[float]:
    """Score each epoch case by case, higher is better; rounded, so that ties are ties."""
    return [round(SLOW[metric](y_true.tolist(), row.tolist()), 10) for row in y_prob]


def slow_accuracy(y_true: list[float], y_prob: list[float]) -> float:
    return sum((p > 0.5) == (y == 1) for y, p in zip(y_true, y_prob, strict=True)) / len(y_true)


def slow_log_likelihood(y_true: list[float], y_prob: list[float]) -> float:
    kept = [min(max(p, 1e-7), 1 - 1e-7) for p in y_prob]
    return sum(math.log(p if y == 1 else 1 - p) for y, p in zip(y_true, kept, strict=True)) / len(kept)


def slow_auc(y_true: list[float], y_prob: list[float]) -> float:
    cases = list(zip(y_true, y_prob, strict=True))
    pairs = [(p > q) + 0.5 * (p == q) for (y, p), (z, q) in itertools.product(cases, cases) if (y, z) == (1, 0)]
    return sum(pairs) / len(pairs) if pairs else 0.0


SLOW: dict[str, Callable[[list[float], list[float]], float]] = {
    "val_accuracy": slow_accuracy,
    "val_loss": slow_log_likelihood,
    "val_auc": slow_auc,
}


def slow_selected(y_true: np.ndarray, y_prob: np.ndarray, metric: str) -> float:
    scores = slow_scores(y_true, y_prob, metric)
    return slow_accuracy(y_true.tolist(), y_prob[scores.index(max(scores))].tolist())
