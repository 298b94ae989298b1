"""Test whether the label can be predicted from what is not biology: header fields, geometry, intensities.

Every test permutes labels over whole groups (patients): p = (1 + b) / (1 + B), ties counted against the observed
(Phipson and Smyth 2010). `labelings` is (n_cases, 1 + B) everywhere: the labels, then their permutations. A column is
(n_cases,): float where it holds numbers (NaN: not given), else text.
"""

import logging
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
    classifier,
    draw_labelings,
    encode,
    fold_auc,
    is_constant,
    map_labelings,
    min_attainable_p,
    p_value,
)
from flairprep.audit.finding import Finding, Verdict
from flairprep.audit.strata import combine, is_predicted, stratify, tertiles
from flairprep.core.errors import FlairprepError
from flairprep.core.files import number
from flairprep.stats import hypothesis_tests, intervals

logger = logging.getLogger(__name__)

NOTES = dict.fromkeys(("intensity statistics", "shading"), "; it may be the disease itself as well as the scanner")
MEASURES = {"cramers_v": "Cramer's V", "auc": "AUC"}


class Cohort(NamedTuple):
    """Ids, labels, groups and folds of the cases, each (n_cases,)."""

    case_ids: Array
    labels: Array
    groups: Array
    folds: Array


@dataclass(frozen=True)
class Candidate:
    """A possible shortcut: one column, or a classifier on all columns of a source.

    source: name of the classifier, for a column of the one that uses it. test: None where it cannot be tested, for the
    `reason`. strata: one per case, see `strata.combine`.
    """

    name: str
    source: str
    is_column: bool
    test: Test | None = None
    strata: tuple[str, ...] = ()
    reason: str = ""

    @property
    def strength(self) -> float:
        """Return 0 for no association with the label, 1 for a perfect one."""
        if self.test is None:
            return 0.0
        return self.test.effect if self.test.measure == "cramers_v" else abs(2 * self.test.effect - 1)


def examine(
    cohort: Cohort,
    sources: dict[str, Columns],
    single: Sequence[str],
    leave_out: Sequence[str],
    *,
    alpha: float,
    permutations: int,
    seed: int,
) -> tuple[list[Finding], list[dict[str, Any]], dict[str, str]]:
    """Test single columns, and a classifier per source of columns, against the label, as one Holm family.

    A classifier is scored over the cohort's folds, and again leaving out each value of a column in turn: what it learns
    from the manufacturer does not carry over to another one. Labels are permuted within the folds of the score.

    Args:
        cohort: the cases.
        sources: columns per classifier.
        single: columns that are tested by themselves too.
        leave_out: columns whose values are left out in turn.
        alpha: level of the family of tests.
        permutations, seed: number and seed of the permutations.

    Returns:
        The findings. Per classifier its AUC in the cohort's folds, a baseline that a network has to beat. Per case its
        stratum by the shortcuts found, {} without any; a classifier adds strata only if none of its columns does.

    Raises:
        FlairprepError: all cases have one label.
    """
    if len(np.unique(cohort.labels)) < 2:
        raise FlairprepError("audit: all usable cases have one label; both labels are needed")
    all_columns = {name: values for columns in sources.values() for name, values in columns.items()}
    unrestricted = draw_labelings(cohort.labels, cohort.groups, permutations, seed)
    candidates = [
        _test_column(name, source, all_columns[name], cohort, unrestricted)
        for source, columns in sources.items()
        for name in columns
        if name in single
    ]
    baselines: list[dict[str, Any]] = []
    for column in ("", *leave_out):
        folds = _folds_by_value(all_columns[column], cohort.groups) if column else cohort.folds
        within_folds = draw_labelings(cohort.labels, cohort.groups, permutations, seed, folds)
        for source, columns in sources.items():
            candidate, baseline = _test_classifier(source, column, encode(columns), folds, within_folds)
            candidates.append(candidate)
            baselines += [] if column or baseline is None else [baseline]
    findings, strata = _judge(candidates, cohort, alpha, permutations)
    return findings, baselines, strata


def _test_column(name: str, source: str, values: Array, cohort: Cohort, labelings: Array) -> Candidate:
    if is_constant(values):
        return Candidate(name, source, True, reason="empty, or the same in all cases")
    min_cases = 2 * len(np.unique(cohort.folds))
    return Candidate(name, source, True, association(values, labelings), stratify(values, min_cases))


def _folds_by_value(values: Array, groups: Array) -> Array:
    """Return `values` as folds; all cases of a group get its first case's value."""
    return pd.Series(values).astype(str).groupby(groups).transform("first").to_numpy()


def _test_classifier(
    source: str, left_out: str, features: Array, folds: Array, labelings: Array
) -> tuple[Candidate, dict[str, Any] | None]:
    """Test a classifier on `features`; the second value is its baseline, None where it cannot be tested."""
    name = f"{source}, {left_out} left out" if left_out else source
    paired_folds = [fold for fold in np.unique(folds) if 0 < labelings[folds == fold, 0].mean() < 1]
    if len(paired_folds) < 2:
        return Candidate(name, source, False, reason="both labels are in fewer than two of the parts"), None
    score = classifier(features, folds)
    scores = score(labelings[:, :1])[:, 0]
    areas = map_labelings(labelings, lambda chunk: fold_auc(score(chunk), chunk, folds))
    paired = np.isin(folds, paired_folds)  # no other fold has a pair
    min_p = min_attainable_p(labelings[paired], two_sided=False)
    test = Test("auc", float(areas[0]), p_value(areas), min_p, int(paired.sum()))
    area, low, high = intervals.pooled_auc(
        [(labelings[folds == fold, 0], scores[folds == fold]) for fold in paired_folds]
    )
    baseline = {"auc": number(area), "auc_low": number(low), "auc_high": number(high), "p": number(test.p)}
    return Candidate(name, source, False, test, tertiles(scores, folds)), {"name": source, **baseline}


def _judge(
    candidates: list[Candidate], cohort: Cohort, alpha: float, permutations: int
) -> tuple[list[Finding], dict[str, str]]:
    """Return the findings, with p corrected over all tests, and the strata of the shortcuts among them.

    A candidate is not testable if even the smallest p that its test can have is not below alpha after correction.
    """
    tests = {candidate.name: candidate.test for candidate in candidates if candidate.test is not None}
    adjusted = hypothesis_tests.holm(np.array([test.p for test in tests.values()]))
    p_holm = dict(zip(tests, adjusted.tolist(), strict=True))
    shortcuts = [candidate for candidate in candidates if p_holm.get(candidate.name, 1.0) < alpha]
    shortcuts.sort(key=lambda s: (not s.is_column, s.name != s.source, p_holm[s.name], -s.strength))
    stratifying: dict[str, Candidate] = {}
    for shortcut in shortcuts:
        if shortcut.is_column or shortcut.source not in {other.source for other in stratifying.values()}:
            stratifying[shortcut.name] = shortcut
    strata_by_name = {name: shortcut.strata for name, shortcut in stratifying.items()}
    strata, crossed = combine(strata_by_name, cohort.labels, cohort.folds)
    findings = []
    for candidate in candidates:
        name, test = candidate.name, candidate.test
        if test is None:
            findings.append(Finding(name, "shortcut", "not testable", candidate.reason))
            continue
        verdict: Verdict = "clean"
        numbers = (
            f"{MEASURES[test.measure]} {test.effect:.2f}, p {test.p:.2g}, {p_holm[name]:.2g} for {len(tests)} tests"
        )
        text, cases = f"no sign of the label: {numbers}", ()
        if candidate in shortcuts:
            verdict, cases = "shortcut", tuple(cohort.case_ids[is_predicted(candidate.strata, cohort.labels)].tolist())
            role = (
                "p_within allows for it" if name in crossed else f"p_within allows for {' and '.join(crossed)} instead"
            )
            text = f"the label can be read from it: {numbers}; {role}{NOTES.get(candidate.source, '')}"
        elif test.min_p * len(tests) >= alpha:
            verdict = "not testable"
            text = (
                f"{test.cases} cases, permuted {permutations} times, are too few: even what gives every label away "
                f"would have p {test.min_p:.2g}, {min(1.0, test.min_p * len(tests)):.2g} for {len(tests)} tests; "
                f"found: {numbers}"
            )
        findings.append(
            Finding(name, "shortcut", verdict, text, test.measure, test.effect, test.p, p_holm[name], cases)
        )
    return findings, dict(zip(cohort.case_ids.tolist(), strata, strict=bool(crossed)))


def check_permutations(items: Sequence[dict[str, Any]], alpha: float, permutations: int) -> None:
    """Warn if no p of so many permutations can be below `alpha` after Holm's correction."""
    tests = sum(item["p"] is not None for item in items)
    if tests >= alpha * (1 + permutations):
        logger.warning(
            f"params.yaml: audit.permutations: {permutations}: too few for {tests} tests to reach audit.alpha {alpha} "
            f"after Holm's correction; set it to {round(tests / alpha)} or more"
        )
