"""Can the label be read from what is no biology: header fields, blur, padding, the shape of the histogram?

Every test compares with labels permuted over whole groups (patients): p = (1 + b) / (1 + B), ties counted against the
observed (Phipson and Smyth 2010). `labelings` is (n_cases, 1 + B) everywhere: the labels themselves, then permuted. A
column is (n_cases,): of float where it holds numbers (NaN: none), else of text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from flairprep.audit.association import (
    Array,
    Columns,
    Test,
    association,
    constant,
    features,
    fold_auc,
    for_each,
    labelings,
    least_p,
    out_of_fold,
    p_value,
)
from flairprep.audit.finding import Finding, Verdict
from flairprep.audit.strata import combine, strata, thirds, told
from flairprep.core import console
from flairprep.core.errors import FlairprepError
from flairprep.core.files import number
from flairprep.stats import hypothesis_tests, intervals

NOTES = {"intensity statistics": "; it may be the disease itself as well as the scanner"}
MEASURES = {"cramers_v": "Cramer's V", "auc": "AUC"}


class Cohort(NamedTuple):
    """What is known of the cases beside what may give their labels away; each (n_cases,)."""

    case_ids: Array
    labels: Array
    groups: Array
    folds: Array


@dataclass(frozen=True)
class Candidate:
    """What may be a shortcut. test is None where it can not be tested, for the reason `why`.

    source: the name of the classifier, or of the one that has this field among its columns. strata: see `combine`.
    """

    name: str
    source: str
    is_field: bool
    test: Test | None = None
    strata: tuple[str, ...] = ()
    why: str = ""

    @property
    def strength(self) -> float:
        """0 where it says nothing of the label, 1 where it says all."""
        if self.test is None:
            return 0.0
        return self.test.effect if self.test.measure == "cramers_v" else abs(2 * self.test.effect - 1)


def examine(
    cohort: Cohort,
    sources: dict[str, Columns],
    alone: Sequence[str],
    left_out: Sequence[str],
    *,
    alpha: float,
    permutations: int,
    seed: int,
) -> tuple[list[Finding], list[dict[str, Any]], dict[str, str]]:
    """Columns one by one and each source of columns through a classifier against the label: one Holm family.

    A classifier is judged on the cohort's folds, and beside them with each value of a column left out in turn: what it
    reads off the manufacturer does not carry over to another one. Labels are permuted within the folds it is judged on.

    Args:
        sources: of each classifier the columns.
        alone: the columns that are tested one by one too.
        left_out: the columns whose values are left out.

    Returns:
        The findings; of each classifier the AUC in the cohort's folds, what a network has to beat; and the stratum of
        each case by the shortcuts found, {} where there is none. A classifier adds to these only where it was found and
        none of its columns was.
    """
    if len(np.unique(cohort.labels)) < 2:
        raise FlairprepError("audit: all cases that went through have one label; both are needed")
    fields = {name: values for columns in sources.values() for name, values in columns.items()}
    everywhere = labelings(cohort.labels, cohort.groups, permutations, seed)
    candidates = [
        _field(name, source, fields[name], cohort, everywhere)
        for source, columns in sources.items()
        for name in columns
        if name in alone
    ]
    bars: list[dict[str, Any]] = []
    for by in ("", *left_out):
        folds = _held_together(fields[by], cohort.groups) if by else cohort.folds
        within = labelings(cohort.labels, cohort.groups, permutations, seed, folds)
        for source, columns in sources.items():
            candidate, bar = _classifier(source, by, features(columns), folds, within)
            candidates.append(candidate)
            bars += [] if by or bar is None else [bar]
    findings, strata = _judged(candidates, cohort, alpha, permutations)
    return findings, bars, strata


def _field(name: str, source: str, values: Array, cohort: Cohort, everywhere: Array) -> Candidate:
    if constant(values):
        return Candidate(name, source, True, why="empty, or the same in all cases")
    smallest = 2 * len(np.unique(cohort.folds))
    return Candidate(name, source, True, association(values, everywhere), strata(values, smallest))


def _held_together(values: Array, groups: Array) -> Array:
    """`values` as folds: cases of a group get their first case's value."""
    return pd.Series(values).astype(str).groupby(groups).transform("first").to_numpy()


def _classifier(
    source: str, by: str, features: Array, folds: Array, within: Array
) -> tuple[Candidate, dict[str, Any] | None]:
    name = f"{source}, {by} left out" if by else source
    both = [fold for fold in np.unique(folds) if 0 < within[folds == fold, 0].mean() < 1]
    if len(both) < 2:
        return Candidate(name, source, False, why="both labels are in fewer than two of the parts"), None
    scores = out_of_fold(features, folds, within[:, :1])[:, 0]
    areas = for_each(within, lambda some: fold_auc(out_of_fold(features, folds, some), some, folds))
    paired = np.isin(folds, both)  # no other fold has a pair
    test = Test("auc", float(areas[0]), p_value(areas), least_p(within[paired], two_sided=False), int(paired.sum()))
    area, low, high = intervals.pooled_auc([(within[folds == fold, 0], scores[folds == fold]) for fold in both])
    bar = {"name": source, "auc": number(area), "auc_low": number(low), "auc_high": number(high), "p": number(test.p)}
    return Candidate(name, source, False, test, thirds(scores, folds)), bar


def _judged(
    candidates: list[Candidate], cohort: Cohort, alpha: float, permutations: int
) -> tuple[list[Finding], dict[str, str]]:
    """The findings, with p corrected for all that was tested, and the strata of the shortcuts among them.

    Not testable is what could not have been found whatever the cases say: where even the smallest p that its test can
    have is no smaller than alpha once corrected.
    """
    tested = {one.name: one.test for one in candidates if one.test is not None}
    adjusted = hypothesis_tests.holm(np.array([test.p for test in tested.values()]))
    p_holm = dict(zip(tested, adjusted.tolist(), strict=True))
    found = [one for one in candidates if p_holm.get(one.name, 1.0) < alpha]
    found.sort(key=lambda one: (not one.is_field, one.name != one.source, p_holm[one.name], -one.strength))
    named: dict[str, Candidate] = {}
    for one in found:
        if one.is_field or one.source not in {other.source for other in named.values()}:
            named[one.name] = one
    combined, used = combine({name: one.strata for name, one in named.items()}, cohort.labels, cohort.folds)
    findings = []
    for one in candidates:
        if one.test is None:
            findings.append(Finding(one.name, "shortcut", "not testable", one.why))
            continue
        verdict: Verdict = "shortcut" if one in found else "clean"
        measure, effect, p, least, n = one.test
        numbers = f"{MEASURES[measure]} {effect:.2f}, p {p:.2g}, {p_holm[one.name]:.2g} for {len(tested)} tests"
        text, cases = f"nothing shows that the label can be read from it: {numbers}", ()
        if one not in found and least * len(tested) >= alpha:
            verdict = "not testable"
            text = (
                f"{n} cases, permuted {permutations} times, are too few: even what gives every label away would have "
                f"p {least:.2g}, {min(1.0, least * len(tested)):.2g} for {len(tested)} tests; found: {numbers}"
            )
        if one in found:
            cases = tuple(cohort.case_ids[told(one.strata, cohort.labels)].tolist())
            role = "p_within allows for it" if one.name in used else f"p_within allows for {' and '.join(used)} instead"
            text = f"the label can be read from it: {numbers}; {role}{NOTES.get(one.source, '') * (not one.is_field)}"
        findings.append(Finding(one.name, "shortcut", verdict, text, measure, effect, p, p_holm[one.name], cases))
    return findings, dict(zip(cohort.case_ids.tolist(), combined, strict=bool(used)))


def check_permutations(items: Sequence[dict[str, Any]], alpha: float, permutations: int) -> None:
    """Warn where so many permutations cannot reach `alpha` after Holm's correction, whatever the cases say."""
    tests = sum(item["p"] is not None for item in items)
    if tests >= alpha * (1 + permutations):
        console.warn(
            f"params.yaml: audit.permutations: {permutations}: too few for {tests} tests to reach audit.alpha {alpha} "
            f"after Holm's correction; set it to {round(tests / alpha)} or more"
        )
