"""Can the label be read from what is no biology: header fields, blur, padding, the shape of the histogram?

Every test compares with labels permuted over whole groups (patients): p = (1 + b) / (1 + B), ties counted against the
observed (Phipson and Smyth 2010). `labelings` is (n_cases, 1 + B) everywhere: the labels themselves, then permuted. A
column is (n_cases,): of float where it holds numbers (NaN: none), else of text.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy  # whose parts come when they are first used

from flairprep.audit.finding import Finding, Verdict
from flairprep.core.errors import FlairprepError
from flairprep.core.files import number
from flairprep.stats import metrics
from flairprep.stats.permutation import permuted_labels

Array = npt.NDArray[Any]
Columns = dict[str, Array]

NUMBER = re.compile(r"([+-]?\d+\.?\d*(?:e[+-]?\d+)?)(?:-\d+|\+)?", re.ASCII | re.IGNORECASE)  # 1.5, or 60-69, 90+
TOGETHER = 500  # labelings that are worked on at a time
LARGEST = 1e100  # beyond, the squares that a variance sums are no numbers
BANDS = ("low", "middle", "high")
NOTES = {"intensity statistics": "; it may be the disease itself as well as the scanner"}
MEASURES = {"cramers_v": "Cramer's V", "auc": "AUC"}


class Test(NamedTuple):
    """measure: cramers_v (0 to 1), or auc (that label 1 has the larger value; 0.5 says nothing).

    least: the smallest p that it could have, see `least_p`. cases: how many it tested.
    """

    measure: str
    effect: float
    p: float
    least: float
    cases: int


def labelings(labels: Array, groups: Array, count: int, seed: int, within: Array | None = None) -> Array:
    """(n_cases, 1 + count), int8: the labels, and permutations over groups of equal size that agree in `within`."""
    rng, small = np.random.default_rng(seed), labels.astype(np.int8)
    counts = [min(TOGETHER, count - start) for start in range(0, count, TOGETHER)]
    return np.column_stack([small, *(permuted_labels(small, groups, within, some, rng) for some in counts)])


def _for_each(labelings: Array, statistic: Callable[[Array], Array]) -> Array:
    """(1 + B,): the statistic of each labeling, of TOGETHER at a time, as numbers of eight bytes."""
    parts = [labelings[:, start : start + TOGETHER] for start in range(0, labelings.shape[1], TOGETHER)]
    return np.concatenate([statistic(part.astype(float)) for part in parts])


def column(values: Sequence[str]) -> Array:
    """Text as numbers where each given value is one, or a band of ages, which counts as its lower end; else as text.

    What is too large to calculate with is no number.
    """
    found = [float(match[1]) if (match := NUMBER.fullmatch(value)) else np.nan for value in values]
    numbers = [abs(number) < LARGEST for number in found]
    if any(value and not is_one for value, is_one in zip(values, numbers, strict=True)) or not any(numbers):
        return np.array(values, str)
    return np.array(found)


def columns(table: pd.DataFrame) -> Columns:
    """The columns of a table of text, and beside one of numbers with gaps another: whether a number is given at all."""
    found: Columns = {}
    for name in table.columns:
        found[name] = column(table[name].tolist())
        if found[name].dtype.kind == "f" and (gaps := np.isnan(found[name])).any():
            found[f"{name} given"] = np.where(gaps, "no", "yes")
    return found


def constant(values: Array) -> bool:
    """Whether all values are one, gaps among numbers aside."""
    return len(set(values[~np.isnan(values)] if values.dtype.kind == "f" else values)) < 2


def association(values: Array, labelings: Array) -> Test:
    """A column that is not constant against the label, two-sided: AUC of the numbers, Cramer's V of the categories.

    Cramer's V with two labels is sqrt(chi^2 / n). Of two categories, and without groups, its permutation test is
    Fisher's exact test but for the Monte Carlo error.
    """
    if values.dtype.kind == "f":
        given = ~np.isnan(values)
        scores, nowhere = values[given, None], np.zeros(given.sum())
        areas = _for_each(labelings[given], lambda some: fold_auc(scores, some, nowhere))
        least = least_p(labelings[given], two_sided=True)
        return Test("auc", float(areas[0]), p_value(np.abs(areas - 0.5)), least, int(given.sum()))
    rows = (np.unique(values)[:, None] == values).astype(float)  # (n_categories, n_cases)
    n, ones = len(values), labelings[:, 0].sum()
    expected = rows.sum(axis=1)[:, None] * (ones / n)
    v = _for_each(labelings, lambda some: np.sqrt(((rows @ some - expected) ** 2 / expected).sum(axis=0) / (n - ones)))
    return Test("cramers_v", float(v[0]), p_value(v), least_p(labelings, two_sided=True), n)


def p_value(statistics: Array) -> float:
    """The share of (1 + B,) statistics that reach the first of them, the observed one."""
    return float(np.mean(statistics >= statistics[0] - 1e-9))


def least_p(labelings: Array, *, two_sided: bool) -> float:
    """The p of what gives every label away: only the labels themselves, and two-sided their opposite, do as well.

    Not small where there are few permutations, or few ways to deal the labels out; 1 where the cases have one label.
    """
    labels = labelings[:, :1]
    as_good = (labelings == labels).all(axis=0)
    if two_sided:
        as_good |= (labelings != labels).all(axis=0)
    return float(as_good.mean()) if len(np.unique(labels)) == 2 else 1.0


def features(columns: Columns) -> Array:
    """(n_cases, n_features): numbers as they are (NaN: none), a 0-1 feature for each category of text."""
    found: list[Array] = []
    for values in columns.values():
        found += [values] if values.dtype.kind == "f" else [(values == one).astype(float) for one in np.unique(values)]
    return np.stack(found, axis=1)


def prepare() -> None:
    """Begins to import what `examine` needs, which takes a second: the volumes can be looked at meanwhile."""
    Thread(target=import_module, args=["sklearn.linear_model"], daemon=True).start()


def out_of_fold(features: Array, folds: Array, labelings: Array) -> Array:
    """Scores of cases that the classifier was not fitted on, as `labelings` (n_cases, m), refitted for every labeling.

    A ridge classifier: least squares on the labels, with the number of features as the penalty. Its fit is linear in
    the labels, so all labelings of a fold are one system of equations with many right sides, where a forest or a
    logistic regression would take hours. What it imputes and scales by comes from the training folds alone.
    """
    from sklearn.impute import SimpleImputer  # see `prepare`
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    scores = np.empty(labelings.shape)
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        Ridge(alpha=features.shape[1], solver="cholesky"),
    )
    for fold in np.unique(folds):
        test = folds == fold
        scores[test] = model.fit(features[~test], labelings[~test]).predict(features[test]).reshape(test.sum(), -1)
    return scores.round(9)  # equal cases stay equal


def fold_auc(scores: Array, labelings: Array, folds: Array) -> Array:
    """AUC from the pairs within folds, (1 + B,), 0.5 where there is none; scores: (n_cases, 1) or (n_cases, 1 + B)."""
    above, pairs = np.zeros(labelings.shape[1]), np.zeros(labelings.shape[1])
    for fold in np.unique(folds):
        here = folds == fold
        ones = labelings[here].sum(axis=0)
        above += (scipy.stats.rankdata(scores[here], axis=0) * labelings[here]).sum(axis=0) - ones * (ones + 1) / 2
        pairs += ones * (here.sum() - ones)
    return np.divide(above, pairs, out=np.full(len(above), 0.5), where=pairs > 0)


def thirds(scores: Array, folds: Array) -> tuple[str, ...]:
    """The third of each case among the scores (n_cases,) of its fold, "none" where it has none (NaN).

    Scores out of different folds come from different fits and are not comparable.
    """
    names = np.full(len(scores), "none", object)
    for fold in np.unique(folds):
        here = (folds == fold) & ~np.isnan(scores)
        places = (scipy.stats.rankdata(scores[here]) - 0.5) * len(BANDS) // max(1, here.sum())
        names[here] = [BANDS[int(place)] for place in places]
    return tuple(names.tolist())


def strata(values: Array, smallest: int) -> tuple[str, ...]:
    """The stratum of each case by a column: its category, or its third where there are many numbers.

    Categories of fewer than `smallest` cases are one, `other`: alone they would leave nothing to permute.
    """
    if values.dtype.kind == "f" and len(np.unique(values)) > len(BANDS):
        return thirds(values, np.zeros(len(values)))
    texts = [f"{value:g}" if values.dtype.kind == "f" else value or "none" for value in values]
    counts = Counter(texts)
    return tuple(text if counts[text] >= smallest else "other" for text in texts)


def combine(found: dict[str, tuple[str, ...]], labels: Array, folds: Array) -> tuple[list[str], list[str]]:
    """One stratum for each case from the strata by several shortcuts, the strongest first, and the names of those used.

    Labels are permuted within a fold and a stratum, so a case counts for something only where both labels are there. A
    further shortcut is left out where it would leave fewer than half as many such cases as the first one does.
    """
    used: dict[str, tuple[str, ...]] = {}
    least = 0.0
    for name, values in found.items():
        count = permutable(_joined({**used, name: values}), labels, folds)
        if used and count < least:
            continue
        least = least if used else count / 2
        used[name] = values
    return _joined(used), list(used)


def _joined(found: dict[str, tuple[str, ...]]) -> list[str]:
    parts = [[f"{name}: {value}" for value in values] for name, values in found.items()]
    return ["; ".join(part) for part in zip(*parts, strict=True)]


def permutable(strata: Sequence[str], labels: Array, folds: Array) -> int:
    """The number of cases whose fold and stratum hold both labels."""
    frame = pd.DataFrame({"fold": folds, "stratum": list(strata), "label": labels})
    return int((frame.groupby(["fold", "stratum"])["label"].transform("nunique") > 1).sum())


def told(strata: Sequence[str], labels: Array) -> Array:
    """(n_cases,), bool: whose label their stratum gives away, by having more of it than all cases have."""
    share = pd.Series(labels, dtype=float).groupby(np.array(strata)).transform("mean").to_numpy()
    return np.asarray(np.where(labels > 0.5, share > labels.mean(), share < labels.mean()))


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
    areas = _for_each(within, lambda some: fold_auc(out_of_fold(features, folds, some), some, folds))
    paired = np.isin(folds, both)  # no other fold has a pair
    test = Test("auc", float(areas[0]), p_value(areas), least_p(within[paired], two_sided=False), int(paired.sum()))
    area, low, high = metrics.pooled_auc([(within[folds == fold, 0], scores[folds == fold]) for fold in both])
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
    adjusted = metrics.holm(np.array([test.p for test in tested.values()]))
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
