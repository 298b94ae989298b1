"""Test whether a new cohort differs from the training cohort: one two-sample test per field, corrected for all.

Numbers are compared by Kolmogorov and Smirnov's test, categories by Pearson's chi-squared under permutation. Rabanser,
Günnemann and Lipton (Failing loudly, NeurIPS 2019) found such tests, corrected for all, as good as heavier methods.
With many cases every difference is significant, so a shift is one that is also large.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import scipy  # its submodules load on first use

from flairprep.audit.association import Array, Columns, is_constant
from flairprep.core.files import number
from flairprep.stats.hypothesis_tests import holm

ALPHA = 0.01  # of all tests together: a cohort without a shift is flagged once in a hundred
LEAST_EFFECT = 0.1  # a smaller difference is no shift, however many cases show it
PERMUTATIONS = 49_999
GIVEN = " given"  # ends the names of columns that `association.parse_columns` makes of numbers with gaps
EMPTY_SAYS = ("code", "space")  # columns in which an empty cell is an answer: no warning, no standard space
LABEL = "label"  # the field whose numbers are labels
COMMON = 3  # categories that a description names

Verdict = Literal["shift", "clean", "not testable"]


@dataclass(frozen=True)
class FieldShift:
    """One field's comparison.

    effect: largest difference of the cumulative shares (numbers), total variation distance (categories); 0 to 1.
    p, p_holm: raw, and corrected for all fields. training, new: what the cohorts have, in words.
    """

    family: str
    field: str
    verdict: Verdict
    effect: float
    p: float
    p_holm: float
    training: str
    new: str

    def as_item(self) -> dict[str, Any]:
        """Return the comparison as JSON holds it."""
        return asdict(self) | {key: number(getattr(self, key)) for key in ("effect", "p", "p_holm")}


def compare(sources: Mapping[str, Columns], new: Array, seed: int = 0) -> list[FieldShift]:
    """Compare every field that is not constant, the strongest shift first.

    Args:
        sources: family -> field -> (n_cases,), numbers (NaN: not given) or text.
        new: (n_cases,), bool: the case is of the new cohort.
        seed: of the permutations.
    """
    rng = np.random.default_rng(seed)
    tested, untested = [], []
    for family, columns in sources.items():
        for name, values in columns.items():
            if is_constant(values):
                continue
            given = _given(name, values)
            lacking = not (given[new].any() and given[~new].any())
            if lacking and name.endswith(GIVEN):
                continue  # the numbers themselves are not testable, and say so
            kept = given if values.dtype.kind == "f" else np.full(len(values), True)
            training, others = values[kept & ~new], values[kept & new]
            told = share_of_one if name == LABEL else describe
            words = told(training), told(others)
            if not lacking:
                tested.append((family, name, *two_sample(training, others, rng), least_p(training, others), *words))
            else:
                untested.append(FieldShift(family, name, "not testable", 0.0, 1.0, 1.0, *words))
    corrected = holm(np.array([row[3] for row in tested])).tolist()
    rows = [
        FieldShift(family, name, _verdict(effect, p_holm, least * len(tested)), effect, p, p_holm, *words)
        for (family, name, effect, p, least, *words), p_holm in zip(tested, corrected, strict=True)
    ]
    return sorted([*rows, *untested], key=lambda row: (row.p_holm, -row.effect, row.field))


def _given(name: str, values: Array) -> Array:
    """Return which cases have a value, (n_cases,), bool: NIfTI files, which have no header, are no other scanner."""
    if values.dtype.kind == "f":
        return ~np.isnan(values)
    if name.endswith(GIVEN):
        return np.asarray(values == "yes")
    return np.full(len(values), True) if name in EMPTY_SAYS else np.asarray(values != "")


def _verdict(effect: float, p_holm: float, least: float) -> Verdict:
    if p_holm < ALPHA and effect >= LEAST_EFFECT:
        return "shift"
    return "not testable" if least >= ALPHA else "clean"


def two_sample(training: Array, new: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Return effect and p of two samples: numbers, or categories as text."""
    if training.dtype.kind == "f":
        tested = scipy.stats.ks_2samp(training, new)
        return float(tested.statistic), float(tested.pvalue)
    names = np.unique(np.concatenate([training, new]))
    counts = np.array([[np.sum(sample == name) for name in names] for sample in (training, new)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    expected = np.outer(rows, columns) / counts.sum()
    drawn = scipy.stats.random_table(rows, columns).rvs(PERMUTATIONS, random_state=rng)
    observed, others = (((tables - expected) ** 2 / expected).sum(axis=(-2, -1)) for tables in (counts, drawn))
    p = (1 + np.sum(others >= observed - 1e-9)) / (1 + PERMUTATIONS)
    return float(np.abs(np.diff(shares, axis=0)).sum() / 2), float(p)


def least_p(training: Array, new: Array) -> float:
    """Return the smallest p that samples of these sizes can have, where they do not overlap at all."""
    exact = 2 / math.comb(len(training) + len(new), len(new))
    return exact if training.dtype.kind == "f" else max(exact / 2, 1 / (1 + PERMUTATIONS))


def share_of_one(labels: Array) -> str:
    """Return the share of label 1 among labels, (n_cases,), 0 or 1."""
    return f"1 in {labels.mean():.0%}" if len(labels) else "not given"


def describe(values: Array) -> str:
    """Return median and quartiles of numbers, or the shares of the commonest categories."""
    if not len(values):
        return "not given"
    if values.dtype.kind == "f":
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        return f"{middle:.4g} ({low:.4g} to {high:.4g})"
    names, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = [f"{names[index] or 'not given'} {counts[index] / len(values):.0%}" for index in order[:COMMON]]
    return ", ".join(shown) + (f", {len(names) - COMMON} more" if len(names) > COMMON else "")
