"""`flairprep numbers`: what accuracies mean, for those who have nothing but accuracies."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from flairprep.core.errors import FlairprepError
from flairprep.stats import by_chance, hypothesis_tests, intervals

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)  # of discordant cases between two settings: from alike networks to unrelated ones
ALPHA = 0.05


class Number(NamedTuple):
    """One accuracy: its cases, interval and p as if fixed in advance; ranges over how smooth curves may be."""

    accuracy: float
    right: int
    low: float
    high: float
    p: float
    best_epoch: tuple[float, float]  # share of runs without signal whose best epoch reaches it
    best_setting: tuple[float, float]  # the same of the best of all settings


def judge(cases: int, positives: int, epochs: int, accuracies: Sequence[float]) -> list[Number]:
    """Judge each accuracy against the no-information rate, and against what a search reaches on noise.

    Args:
        cases, positives: validation cases, and those of label 1.
        epochs: the accuracies are each the best of so many.
        accuracies: of settings on the same cases, 0 to 1.

    Raises:
        FlairprepError: a number is out of range.
    """
    if not 0 < positives < cases:
        raise FlairprepError(f"--positives {positives}: must be at least 1 and below --cases {cases}")
    if epochs < 1:
        raise FlairprepError(f"--epochs {epochs}: must be at least 1")
    for accuracy in accuracies:
        if not 0 <= accuracy <= 1:
            remedy = f"; write {accuracy / 100:g}" if 1 < accuracy <= 100 else ""
            raise FlairprepError(f"accuracy {accuracy:g}: must lie between 0 and 1{remedy}")
    nir = max(positives, cases - positives) / cases
    chance = [by_chance.best_of_epochs(cases, epochs, correlation) for correlation in by_chance.CORRELATIONS]
    numbers = []
    for accuracy in accuracies:
        right = round(accuracy * cases)
        reached = [float(np.mean(best >= right)) for best in chance]
        searched = [by_chance.best_of_settings(best, right, len(accuracies)) for best in chance]
        interval = intervals.clopper_pearson(right, cases)
        p = hypothesis_tests.binomial_p_value(right, cases, nir)
        ranges = (min(reached), max(reached)), (min(searched), max(searched))
        numbers.append(Number(accuracy, right, *interval, p, *ranges))
    return numbers


def text(cases: int, positives: int, epochs: int, accuracies: Sequence[float]) -> str:
    """Return what `flairprep numbers` prints: a table, the pairs that could differ, an answer in three sentences."""
    numbers = judge(cases, positives, epochs, accuracies)
    nir = max(positives, cases - positives) / cases
    settings = len(numbers)
    lines = [
        f"{cases} cases, {positives} of label 1: always guessing the larger class is right in {nir:.1%} (NIR)",
        "",
        f"{'accuracy':>8}  {'right':>5}  {'95 % interval':>13}  {'p against NIR':>13}  "
        f"{f'best of {epochs} on noise':>20}  {f'best of all {settings} on noise':>24}",
    ]
    for one in numbers:
        lines.append(
            f"{one.accuracy:>8.1%}  {one.right:>5}  {f'{one.low:.1%}-{one.high:.1%}':>13}  {one.p:>13.2g}  "
            f"{_range(one.best_epoch):>20}  {_range(one.best_setting):>24}"
        )
    pairs = [(a, b, *by_chance.mcnemar_range(a.right, b.right, cases, SHARES)) for a, b in combinations(numbers, 2)]
    lines += ["", "p: as if setting and epoch had been fixed in advance; on noise: for smooth to erratic curves"]
    if pairs:
        lines += ["", f"pairs (exact McNemar, {SHARES[0]:.0%} to {SHARES[-1]:.0%} of the cases right under one alone):"]
        lines += [f"  {a.accuracy:.1%} and {b.accuracy:.1%}: p {low:.2g} to {high:.2g}" for a, b, low, high in pairs]
    return "\n".join([*lines, "", *_answer(numbers, pairs, epochs)])


def _range(bounds: tuple[float, float]) -> str:
    low, high = (f"{bound:.1%}" if bound < 0.1 else f"{bound:.0%}" for bound in bounds)
    return low if low == high else f"{low} to {high}"


def _answer(numbers: Sequence[Number], pairs: Sequence[tuple[Number, Number, float, float]], epochs: int) -> list[str]:
    """Return three sentences: what chance explains, what it may not, and whether settings differ."""
    chance = [one for one in numbers if one.best_setting[0] >= ALPHA]
    unclear = [one for one in numbers if one.best_setting[0] < ALPHA <= one.best_setting[1]]
    beyond = [one for one in numbers if one.best_setting[1] < ALPHA]
    sentences = []
    if chance:
        sentences.append(f"{_list(chance)}: the best of {epochs} epochs reaches that on noise, so it shows nothing.")
    else:
        sentences.append("No accuracy here is one that the search reaches on noise in every case.")
    more = [f"{_list(beyond)}: chance reaches that in less than {ALPHA:.0%} of such searches"] if beyond else []
    more += [f"{_list(unclear)}: borderline, it depends on how smooth the curves are"] if unclear else []
    sentences.append(f"{'; '.join(more)}." if more else "Nothing here is beyond what such a search reaches by chance.")
    level = ALPHA / max(1, len(pairs))
    if sure := [pair for pair in pairs if pair[3] < level]:
        sentences.append(f"{_pairs(sure)} differ whatever the cases, corrected for {len(pairs)} pairs.")
    elif some := [pair for pair in pairs if pair[2] < level]:
        sentences.append(
            f"{_pairs(some)} could differ, if the settings agree on most cases: compare them case by case "
            "(flairprep compare)."
        )
    else:
        sentences.append("No two of them can differ for sure, whatever the cases." if pairs else "One setting alone.")
    return sentences


def _list(numbers: Sequence[Number]) -> str:
    return ", ".join(f"{one.accuracy:.1%}" for one in numbers)


def _pairs(pairs: Sequence[tuple[Number, Number, float, float]]) -> str:
    return ", ".join(f"{a.accuracy:.1%} and {b.accuracy:.1%}" for a, b, *_ in pairs)
