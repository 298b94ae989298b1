"""Scores of cases by what is no image, fitted on the other folds."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from flairprep.audit.association import Columns
from flairprep.audit.baseline_scores import baseline_scores
from flairprep.audit.shortcuts import Cohort

N = 60
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % 2
FOLDS = np.arange(N) // 2 % 5
COHORT = Cohort(np.array([f"{case:03d}" for case in range(N)]), LABELS, np.arange(N), FOLDS)
AGE = 50 + 10 * LABELS + RNG.normal(0, 5, N)


def sources(**header: np.ndarray) -> dict[str, Columns]:
    return {"header fields": {"age_band": AGE, **header}, "geometry": {"size_z": RNG.normal(size=N)}}


def test_a_score_is_of_a_ridge_on_the_other_folds() -> None:
    table = baseline_scores(COHORT, sources())
    assert list(table.columns) == ["case_id", "fold", "header fields", "geometry", "age and sex"]
    assert table["case_id"].tolist() == COHORT.case_ids.tolist()
    for fold in range(5):
        test = fold == FOLDS
        mean, spread = AGE[~test].mean(), AGE[~test].std()
        model = Ridge(alpha=1).fit(((AGE[~test] - mean) / spread)[:, None], LABELS[~test])
        expected = model.predict(((AGE[test] - mean) / spread)[:, None])
        np.testing.assert_allclose(table.loc[test, "age and sex"], expected, atol=1e-6)
    assert roc_auc_score(LABELS, table["age and sex"]) > 0.85
    assert roc_auc_score(LABELS, table["geometry"]) < 0.7


@pytest.mark.parametrize("sex", [np.array(["M", "F"])[LABELS], np.array(["F"] * N)])
def test_sex_counts_where_it_varies(sex: np.ndarray) -> None:
    alone, both = (baseline_scores(COHORT, sources(**more))["age and sex"] for more in ({}, {"sex": sex}))
    assert alone.equals(both) == (len(set(sex)) == 1)


def test_what_is_the_same_in_all_cases_is_no_baseline() -> None:
    same: dict[str, Columns] = {"header fields": {"age_band": np.full(N, np.nan), "sex": np.array(["F"] * N)}}
    one_fold = Cohort(COHORT.case_ids, LABELS, np.arange(N), np.zeros(N, int))
    for table in (baseline_scores(COHORT, same), baseline_scores(one_fold, sources()), baseline_scores(COHORT, {})):
        assert table["age and sex"].isna().all()
        assert table.drop(columns=["case_id", "fold"]).isna().all(axis=None)
