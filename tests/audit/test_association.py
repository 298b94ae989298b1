"""Tests of association against scipy and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import contingency, fisher_exact, mannwhitneyu
from simulated_cohort import cohort
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict, permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from flairprep.audit import association
from flairprep.stats import intervals

B = 4000


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
    column = association.parse_column(values)
    if expected is None:
        assert column.tolist() == values
    else:
        np.testing.assert_array_equal(column, expected)


def test_gaps_among_numbers_are_a_column_of_their_own() -> None:
    table = pd.DataFrame({"echo_time": ["90", "", "110"], "sex": ["M", "", "F"], "rows": ["1", "2", "3"]})
    columns = association.parse_columns(table)
    assert list(columns) == ["echo_time", "echo_time given", "sex", "rows"]
    assert columns["echo_time given"].tolist() == ["yes", "no", "yes"]


@pytest.mark.parametrize("counts", [(12, 5, 4, 11), (9, 7, 8, 8), (15, 1, 9, 7), (30, 30, 2, 0)])
def test_two_categories_have_the_p_of_fishers_exact_test(counts: tuple[int, int, int, int]) -> None:
    values = np.repeat(["a", "a", "b", "b"], counts)
    labels = np.repeat([0, 1, 0, 1], counts)
    result = association.association(values, association.draw_labelings(labels, np.arange(len(labels)), B, 0))
    table = np.reshape(counts, (2, 2))
    assert result.effect == pytest.approx(contingency.association(table, "cramer"))
    # chi^2 orders the tables of equal margins as their distance from expectation does; Fisher's orders them by their
    # probability: the two agree where the margins of the labels are equal.
    if table.sum(axis=0)[0] == table.sum(axis=0)[1]:
        assert result.p == pytest.approx(fisher_exact(table).pvalue, abs=4 * np.sqrt(0.25 / B))


@pytest.mark.parametrize("seed", range(3))
def test_cramers_v_of_many_categories_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, labels = rng.choice(["ge", "philips", "siemens", ""], 80), rng.integers(0, 2, 80)
    result = association.association(values, association.draw_labelings(labels, np.arange(80), B, 0))
    table = pd.crosstab(values, labels).to_numpy()
    assert (result.measure, result.effect) == ("cramers_v", pytest.approx(contingency.association(table, "cramer")))
    exact = contingency.chi2_contingency(table, correction=False).pvalue
    assert result.p == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_numbers_have_the_auc_of_scikit_learn_and_the_p_of_mann_and_whitney(ties: bool, shift: float) -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(50) % 2
    values = rng.normal(size=50) + shift * labels
    values = values.round(0) if ties else values
    gaps = values.copy()
    gaps[:6] = np.nan  # what is not given does not count
    result = association.association(gaps, association.draw_labelings(labels, np.arange(50), B, 0))
    assert (result.measure, result.effect) == ("auc", pytest.approx(roc_auc_score(labels[6:], values[6:])))
    whole = association.association(values, association.draw_labelings(labels, np.arange(50), B, 0))
    expected = mannwhitneyu(values[labels == 1], values[labels == 0], method="auto" if ties else "exact").pvalue
    assert whole.p == pytest.approx(expected, abs=0.04)


def test_labelings_keep_patients_together_and_stay_within_a_fold() -> None:
    groups, labels = np.repeat(np.arange(20), 2), np.repeat(np.arange(20) % 2, 2)
    folds = np.repeat(np.arange(20) // 4 % 5, 2)
    labelings = association.draw_labelings(labels, groups, 200, 0, folds)
    np.testing.assert_array_equal(labelings[:, 0], labels)
    np.testing.assert_array_equal(labelings[::2], labelings[1::2])
    for fold in range(5):
        assert (labelings[folds == fold].sum(axis=0) == labels[folds == fold].sum()).all()
    assert len({tuple(column) for column in labelings.T}) > 100


def test_scores_are_those_of_scikit_learns_cross_validation_for_every_labeling() -> None:
    of, rng = cohort(), np.random.default_rng(2)
    features = rng.normal(size=(60, 4)) * [1, 10, 100, 1]
    features[::7, 1] = np.nan
    features[:, 3] = 0
    labelings = association.draw_labelings(of.labels, of.groups, 5, 0, of.folds)
    scores = association.out_of_fold_scores(features, of.folds, labelings)
    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), Ridge(alpha=4))
    for index in range(6):
        split = LeaveOneGroupOut()
        expected = cross_val_predict(model, features, labelings[:, index], groups=of.folds, cv=split)
        np.testing.assert_allclose(scores[:, index], expected, atol=1e-6)


def test_auc_within_folds_is_the_mean_over_folds_weighted_by_pairs() -> None:
    rng = np.random.default_rng(3)
    folds, labels, scores = rng.integers(0, 4, 70), rng.integers(0, 2, 70), rng.normal(size=70).round(1)
    pairs = [(labels[folds == fold], scores[folds == fold]) for fold in range(4)]
    area = association.fold_auc(scores[:, None], labels[:, None], folds)
    assert area[0] == pytest.approx(intervals.pooled_auc(pairs)[0])
    assert association.fold_auc(scores[:, None], np.ones((70, 1)), folds) == 0.5  # no pair


@pytest.mark.slow
@pytest.mark.parametrize("signal", [0.0, 0.45])
def test_p_of_a_classifier_is_that_of_scikit_learns_permutation_test(signal: float) -> None:
    of, rng = cohort(), np.random.default_rng(4)
    features = rng.normal(size=(60, 3)) + signal * of.labels[:, None]
    labelings = association.draw_labelings(of.labels, of.groups, 999, 0, of.folds)
    areas = association.fold_auc(association.out_of_fold_scores(features, of.folds, labelings), labelings, of.folds)
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=3))  # least squares on -1 and 1: the same order
    score, _, expected = permutation_test_score(
        model, features, of.labels, groups=of.folds, cv=LeaveOneGroupOut(), n_permutations=199, scoring="roc_auc"
    )  # it shuffles within groups, which are the folds here
    assert areas[0] == pytest.approx(score)
    assert association.p_value(areas) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(("two_sided", "ways"), [(True, 2), (False, 1)])
def test_the_smallest_attainable_p_is_the_share_of_equal_labelings(two_sided: bool, ways: int) -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    unrestricted = association.draw_labelings(labels, np.arange(6), B, 0)
    assert association.min_attainable_p(unrestricted, two_sided=two_sided) == pytest.approx(ways / 20, abs=0.02)
    within = association.draw_labelings(labels, np.arange(6), B, 0, np.array([0, 0, 1, 1, 2, 2]))
    assert association.min_attainable_p(within, two_sided=two_sided) == pytest.approx(ways / 8, abs=0.02)
    assert association.min_attainable_p(unrestricted[[0, 2, 4]], two_sided=two_sided) == 1  # one label: nothing to read
    values = np.array(["a", "b"] * 3)
    assert association.association(values, unrestricted).p == association.association(values, unrestricted).min_p


def test_two_scans_per_patient_count_once() -> None:
    """A field of the patient on 2 x 16 scans; permuting scans would take each for two independent ones."""
    groups = np.repeat(np.arange(16), 2)
    labels = np.repeat(np.arange(16) % 2, 2)
    sex = np.repeat(np.where((np.arange(16) % 2 == 1) ^ (np.arange(16) % 4 == 3), "F", "M"), 2)
    p_groups = association.association(sex, association.draw_labelings(labels, groups, B, 0)).p
    p_cases = association.association(sex, association.draw_labelings(labels, np.arange(32), B, 0)).p
    once = pd.crosstab(sex[::2], labels[::2]).to_numpy()
    assert p_groups == pytest.approx(fisher_exact(once).pvalue, abs=0.03)
    assert p_cases < p_groups / 4
