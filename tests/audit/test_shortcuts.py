"""Shortcuts: every test against scipy or scikit-learn, the strata by hand, and whole cohorts with and without one."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import contingency, fisher_exact, mannwhitneyu
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict, permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flairprep.audit import association, shortcuts, strata
from flairprep.audit.shortcuts import Cohort
from flairprep.core.errors import FlairprepError
from flairprep.stats import hypothesis_tests, intervals

B = 4000


def cohort(n: int = 60, seed: int = 0, groups: np.ndarray | None = None) -> Cohort:
    """Half of the cases of each label, in five folds of equal shares."""
    ids = np.array([f"{index:05d}" for index in range(n)])
    labels = np.arange(n) % 2
    order = np.random.default_rng(seed).permutation(n)
    return Cohort(ids, labels[order], ids if groups is None else groups, (np.arange(n) // 2 % 5)[order])


def examine(of: Cohort, fields: dict[str, Any], **changes: Any) -> tuple[dict[str, Any], list[Any], dict[str, str]]:
    """Findings by name, bars, strata; all fields are header fields and tested one by one."""
    options = {"alpha": 0.05, "permutations": 999, "seed": 0} | changes
    columns = {name: np.asarray(values) for name, values in fields.items()}
    found, bars, strata = shortcuts.examine(of, {"header fields": columns}, list(fields), [], **options)
    return {one.name: one for one in found}, bars, strata


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.5", "3", ""], [1.5, 3, np.nan]),
        (["60-69", "90+", "0-9"], [60, 90, 0]),
        (["-1e-3", "+2"], [-0.001, 2]),
        (["2D", "3D"], None),
        (["M", "", "F"], None),
        (["", ""], None),
        (["1.5", "high"], None),
        (["٣"], None),
        (["1e400", "2"], None),
        (["-1e400", ""], None),
        (["1e200", "2"], None),
    ],
)
def test_text_is_numbers_only_where_all_of_it_is(values: list[str], expected: list[float] | None) -> None:
    found = association.column(values)
    if expected is None:
        assert found.tolist() == values
    else:
        np.testing.assert_array_equal(found, expected)


def test_gaps_among_numbers_are_a_column_of_their_own() -> None:
    table = pd.DataFrame({"echo_time": ["90", "", "110"], "sex": ["M", "", "F"], "rows": ["1", "2", "3"]})
    found = association.columns(table)
    assert list(found) == ["echo_time", "echo_time given", "sex", "rows"]
    assert found["echo_time given"].tolist() == ["yes", "no", "yes"]


@pytest.mark.parametrize("counts", [(12, 5, 4, 11), (9, 7, 8, 8), (15, 1, 9, 7), (30, 30, 2, 0)])
def test_two_categories_have_the_p_of_fishers_exact_test(counts: tuple[int, int, int, int]) -> None:
    values = np.repeat(["a", "a", "b", "b"], counts)
    labels = np.repeat([0, 1, 0, 1], counts)
    found = association.association(values, association.labelings(labels, np.arange(len(labels)), B, 0))
    table = np.reshape(counts, (2, 2))
    assert found.effect == pytest.approx(contingency.association(table, "cramer"))
    # chi^2 orders the tables of equal margins as their distance from expectation does; Fisher's orders them by their
    # probability: the two agree where the margins of the labels are equal.
    if table.sum(axis=0)[0] == table.sum(axis=0)[1]:
        assert found.p == pytest.approx(fisher_exact(table).pvalue, abs=4 * np.sqrt(0.25 / B))


@pytest.mark.parametrize("seed", range(3))
def test_cramers_v_of_many_categories_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, labels = rng.choice(["ge", "philips", "siemens", ""], 80), rng.integers(0, 2, 80)
    found = association.association(values, association.labelings(labels, np.arange(80), B, 0))
    table = pd.crosstab(values, labels).to_numpy()
    assert (found.measure, found.effect) == ("cramers_v", pytest.approx(contingency.association(table, "cramer")))
    exact = contingency.chi2_contingency(table, correction=False).pvalue
    assert found.p == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_numbers_have_the_auc_of_scikit_learn_and_the_p_of_mann_and_whitney(ties: bool, shift: float) -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(50) % 2
    values = rng.normal(size=50) + shift * labels
    values = values.round(0) if ties else values
    gaps = values.copy()
    gaps[:6] = np.nan  # what is not given does not count
    found = association.association(gaps, association.labelings(labels, np.arange(50), B, 0))
    assert (found.measure, found.effect) == ("auc", pytest.approx(roc_auc_score(labels[6:], values[6:])))
    whole = association.association(values, association.labelings(labels, np.arange(50), B, 0))
    expected = mannwhitneyu(values[labels == 1], values[labels == 0], method="auto" if ties else "exact").pvalue
    assert whole.p == pytest.approx(expected, abs=0.04)


def test_labelings_keep_patients_together_and_stay_within_a_fold() -> None:
    groups, labels = np.repeat(np.arange(20), 2), np.repeat(np.arange(20) % 2, 2)
    folds = np.repeat(np.arange(20) // 4 % 5, 2)
    found = association.labelings(labels, groups, 200, 0, folds)
    np.testing.assert_array_equal(found[:, 0], labels)
    np.testing.assert_array_equal(found[::2], found[1::2])
    for fold in range(5):
        assert (found[folds == fold].sum(axis=0) == labels[folds == fold].sum()).all()
    assert len({tuple(column) for column in found.T}) > 100


def test_scores_are_those_of_scikit_learns_cross_validation_for_every_labeling() -> None:
    of, rng = cohort(), np.random.default_rng(2)
    features = rng.normal(size=(60, 4)) * [1, 10, 100, 1]
    features[::7, 1] = np.nan
    features[:, 3] = 0
    labelings = association.labelings(of.labels, of.groups, 5, 0, of.folds)
    found = association.out_of_fold(features, of.folds, labelings)
    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), Ridge(alpha=4))
    for place in range(6):
        split = LeaveOneGroupOut()
        expected = cross_val_predict(model, features, labelings[:, place], groups=of.folds, cv=split)
        np.testing.assert_allclose(found[:, place], expected, atol=1e-6)


def test_auc_within_folds_is_the_mean_over_folds_weighted_by_pairs() -> None:
    rng = np.random.default_rng(3)
    folds, labels, scores = rng.integers(0, 4, 70), rng.integers(0, 2, 70), rng.normal(size=70).round(1)
    pairs = [(labels[folds == fold], scores[folds == fold]) for fold in range(4)]
    found = association.fold_auc(scores[:, None], labels[:, None], folds)
    assert found[0] == pytest.approx(intervals.pooled_auc(pairs)[0])
    assert association.fold_auc(scores[:, None], np.ones((70, 1)), folds) == 0.5  # no pair


@pytest.mark.parametrize("signal", [0.0, 0.45])
def test_p_of_a_classifier_is_that_of_scikit_learns_permutation_test(signal: float) -> None:
    of, rng = cohort(), np.random.default_rng(4)
    features = rng.normal(size=(60, 3)) + signal * of.labels[:, None]
    labelings = association.labelings(of.labels, of.groups, 999, 0, of.folds)
    areas = association.fold_auc(association.out_of_fold(features, of.folds, labelings), labelings, of.folds)
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=3))  # least squares on -1 and 1: the same order
    score, _, expected = permutation_test_score(
        model, features, of.labels, groups=of.folds, cv=LeaveOneGroupOut(), n_permutations=199, scoring="roc_auc"
    )  # it shuffles within groups, which are the folds here
    assert areas[0] == pytest.approx(score)
    assert association.p_value(areas) == pytest.approx(expected, abs=0.1)


def test_thirds_are_taken_in_each_fold_and_gaps_are_a_stratum() -> None:
    scores = np.array([1, 2, 3, 101, 102, 103, np.nan])
    assert strata.thirds(scores, np.array([0, 0, 0, 1, 1, 1, 1])) == (*("low", "middle", "high") * 2, "none")


def test_strata_are_categories_few_numbers_or_thirds_and_rare_categories_are_one() -> None:
    assert strata.strata(np.array(["a"] * 3 + ["b"] * 3 + ["c", "d"]), 2) == (*"aaabbb", "other", "other")
    assert strata.strata(np.array(["", "M", "", "M"]), 2) == ("none", "M", "none", "M")
    assert strata.strata(np.array([1.5, 3.0, 1.5, 3.0]), 2) == ("1.5", "3", "1.5", "3")
    assert Counter(strata.strata(np.arange(30.0), 2)) == {"low": 10, "middle": 10, "high": 10}


def test_strata_are_crossed_only_while_there_is_something_to_permute() -> None:
    labels, folds = np.arange(32) % 2, np.arange(32) // 16
    maker, sex = tuple("ab"[index // 4 % 2] for index in range(32)), tuple("mf"[index // 2 % 2] for index in range(32))
    alone = tuple(str(index) for index in range(32))
    joined, used = strata.combine({"maker": maker, "alone": alone, "sex": sex}, labels, folds)
    assert used == ["maker", "sex"]
    assert joined[:5] == ["maker: a; sex: m"] * 2 + ["maker: a; sex: f"] * 2 + ["maker: b; sex: m"]
    assert strata.permutable(joined, labels, folds) == 32
    assert strata.permutable(alone, labels, folds) == 0
    assert strata.combine({"alone": alone}, labels, folds)[1] == ["alone"]  # the first one always
    assert strata.combine({}, labels, folds) == ([], [])


def test_the_cases_told_are_those_whose_stratum_has_more_of_their_label() -> None:
    labels = np.array([1, 1, 0, 0, 0, 1])
    assert strata.told(["a", "a", "a", "b", "b", "b"], labels).tolist() == [True, True, False, True, True, False]
    assert not strata.told(["a"] * 6, labels).any()


def test_a_planted_field_is_a_shortcut_with_its_cases_and_strata() -> None:
    of, rng = cohort(), np.random.default_rng(5)
    own = rng.uniform(size=60) < 0.8
    maker = np.where(own, np.where(of.labels == 1, "philips", "siemens"), rng.choice(["ge", "canon"], 60))
    found, bars, strata = examine(of, {"manufacturer": maker, "sex": rng.choice(["F", "M"], 60)})
    item = found["manufacturer"]
    assert (item.verdict, item.measure) == ("shortcut", "cramers_v")
    assert item.p == 1 / 1000
    assert set(item.cases) >= set(of.case_ids[own])
    assert "p_within allows for it" in item.text
    assert found["sex"].verdict == "clean"
    assert found["header fields"].verdict == "shortcut"  # it holds the manufacturer
    assert "p_within allows for manufacturer instead" in found["header fields"].text
    assert set(strata) == set(of.case_ids)
    assert {"manufacturer: philips", "manufacturer: siemens"} < set(strata.values())
    assert bars[0]["name"] == "header fields"
    assert bars[0]["auc_low"] > 0.6
    assert bars[0]["p"] == 0.001


def test_what_only_a_classifier_sees_gives_thirds_of_its_score() -> None:
    of, rng = cohort(120), np.random.default_rng(6)
    signal = 0.5 * (of.labels[:, None] - 0.5) + rng.normal(size=(120, 8))
    columns = {f"field_{index}": signal[:, index] for index in range(8)}
    found, _, strata = shortcuts.examine(of, {"geometry": columns}, [], [], alpha=0.05, permutations=999, seed=0)
    assert [(one.name, one.verdict) for one in found] == [("geometry", "shortcut")]
    assert set(strata.values()) == {f"geometry: {third}" for third in ("low", "middle", "high")}


def test_what_does_not_carry_over_to_another_manufacturer_is_clean_with_one_left_out() -> None:
    of, rng = cohort(200, 1), np.random.default_rng(7)
    maker = rng.choice(["ge", "philips"], 200)
    sign = np.where(maker == "ge", 1, -1)
    values = sign * (of.labels - 0.5) * 3 + rng.normal(size=200) + 100 * (maker == "ge")
    columns = {"value": values, "manufacturer": maker, "product": values * (maker == "ge")}
    found, _, _ = shortcuts.examine(
        of, {"header fields": columns}, [], ["manufacturer"], alpha=0.05, permutations=499, seed=0
    )
    verdicts = {one.name: one.verdict for one in found}
    assert verdicts == {"header fields": "shortcut", "header fields, manufacturer left out": "clean"}


def few(n: int, groups: int, fields: int, **changes: Any) -> dict[str, Any]:
    """Findings of a perfect field, and of fields of noise, in two folds of n cases in so many groups."""
    labels = np.arange(n) * groups // n % 2
    of = Cohort(
        np.array([f"{index:05d}" for index in range(n)]),
        labels,
        np.arange(n) * groups // n,
        np.arange(n) * groups // n // 2 % 2,
    )
    rng = np.random.default_rng(10)
    noise = {f"field_{index}": rng.normal(size=n) for index in range(fields)}
    return examine(of, {"sex": np.where(labels == 1, "F", "M"), **noise}, **changes)[0]


def test_too_few_cases_to_show_anything_are_not_testable_and_said() -> None:
    found = few(8, 8, 7)
    one = found["sex"]  # 70 ways to deal four labels out, and the opposite is as good: 2 / 70 for 9 tests
    assert (one.verdict, one.measure, one.effect) == ("not testable", "cramers_v", 1)
    assert one.p == pytest.approx(2 / 70, abs=0.01)
    assert one.text.startswith("8 cases, permuted 999 times, are too few: even what gives every label away")
    assert {other.verdict for other in found.values()} == {"not testable"}
    assert few(12, 12, 0)["sex"].verdict == "shortcut"  # 2 / 924 for 2 tests


def test_what_counts_is_the_number_of_patients_and_of_permutations() -> None:
    assert few(24, 24, 0)["sex"].verdict == "shortcut"
    assert few(24, 4, 0)["sex"].verdict == "not testable"
    assert few(24, 24, 6, permutations=99)["sex"].verdict == "not testable"  # 1 / 100 for 8 tests
    assert few(24, 24, 6, permutations=999)["sex"].verdict == "shortcut"


@pytest.mark.parametrize(("two_sided", "ways"), [(True, 2), (False, 1)])
def test_the_smallest_p_is_the_share_of_the_labelings_that_say_the_same(two_sided: bool, ways: int) -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    everywhere = association.labelings(labels, np.arange(6), B, 0)
    assert association.least_p(everywhere, two_sided=two_sided) == pytest.approx(ways / 20, abs=0.02)
    within = association.labelings(labels, np.arange(6), B, 0, np.array([0, 0, 1, 1, 2, 2]))
    assert association.least_p(within, two_sided=two_sided) == pytest.approx(ways / 8, abs=0.02)
    assert association.least_p(everywhere[[0, 2, 4]], two_sided=two_sided) == 1  # one label: nothing to read
    values = np.array(["a", "b"] * 3)
    assert association.association(values, everywhere).p == association.association(values, everywhere).least


def test_a_clean_field_says_only_that_nothing_was_shown() -> None:
    found, _, _ = examine(cohort(), {"field": np.random.default_rng(8).normal(size=60)})
    assert found["field"].verdict == "clean"
    assert found["field"].text.startswith("nothing shows that the label can be read from it: AUC ")


@pytest.mark.parametrize("values", [[""] * 60, ["MR"] * 60, np.full(60, 1.5), np.r_[np.full(59, 1.5), np.nan]])
def test_a_field_that_is_empty_or_constant_is_not_testable(values: Any) -> None:
    rng = np.random.default_rng(8)
    found, _, _ = examine(cohort(), {"field": values, "other": rng.normal(size=60)})
    assert (found["field"].verdict, found["field"].p, found["field"].p_holm) == ("not testable", None, None)
    assert "for 2 tests" in found["other"].text  # the other one and the classifier


def test_one_manufacturer_can_not_be_left_out() -> None:
    columns = {"manufacturer": np.full(60, "ge"), "value": np.random.default_rng(0).normal(size=60)}
    found, _, _ = shortcuts.examine(
        cohort(), {"header fields": columns}, [], ["manufacturer"], alpha=0.05, permutations=99, seed=0
    )
    assert found[1].verdict == "not testable"


def test_two_scans_a_patient_count_once() -> None:
    """A field of the patient on 2 x 16 scans; permuting scans would take each for two independent ones."""
    groups = np.repeat(np.arange(16), 2)
    labels = np.repeat(np.arange(16) % 2, 2)
    sex = np.repeat(np.where((np.arange(16) % 2 == 1) ^ (np.arange(16) % 4 == 3), "F", "M"), 2)
    p_groups = association.association(sex, association.labelings(labels, groups, B, 0)).p
    p_cases = association.association(sex, association.labelings(labels, np.arange(32), B, 0)).p
    once = pd.crosstab(sex[::2], labels[::2]).to_numpy()
    assert p_groups == pytest.approx(fisher_exact(once).pvalue, abs=0.03)
    assert p_cases < p_groups / 4


def test_holm_counts_every_test() -> None:
    of, rng = cohort(), np.random.default_rng(9)
    fields = {f"field_{index}": rng.normal(size=60) for index in range(9)}
    found, _, _ = examine(of, fields)
    p = np.array([one.p for one in found.values()])
    np.testing.assert_allclose([one.p_holm for one in found.values()], hypothesis_tests.holm(p))
    assert len(p) == 10


def test_clean_cohorts_are_rarely_flagged() -> None:
    flagged = 0
    for seed in range(20):
        of, rng = cohort(seed=seed), np.random.default_rng([seed, 1])
        fields: dict[str, Any] = {f"field_{index}": rng.normal(size=60) for index in range(6)}
        fields |= {"maker": rng.choice(["ge", "philips", "siemens"], 60), "sex": rng.choice(["F", "M"], 60)}
        found, _, strata = examine(of, fields, permutations=299)
        flagged += any(one.verdict == "shortcut" for one in found.values())
        assert bool(strata) == any(one.verdict == "shortcut" for one in found.values())
    assert flagged <= 3  # 5 % of 20 are one


def test_cases_of_one_label_are_refused() -> None:
    of = cohort()._replace(labels=np.ones(60, int))
    with pytest.raises(FlairprepError, match="one label"):
        examine(of, {"field": np.arange(60.0)})
