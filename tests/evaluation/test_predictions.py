"""Cases, calibration and groups of a run's predictions, against direct computations."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from flairprep.core.errors import FlairprepError
from flairprep.evaluation import predictions
from flairprep.evaluation.predictions import Predictions
from flairprep.stats import intervals


def made(y_true: list[int], y_prob: list[list[float]]) -> Predictions:
    ids = np.array([f"{case:05d}" for case in range(len(y_true))])
    return Predictions(ids, np.array(y_true), np.array(y_prob), ids)


def noise(n: int = 200, epochs: int = 4) -> Predictions:
    rng = np.random.default_rng(0)
    return made(list(rng.permutation(np.arange(n) % 2)), rng.uniform(size=(epochs, n)).tolist())


def long(run: Predictions) -> pd.DataFrame:
    """The table as train writes it and read_csv reads it: text, in any order."""
    table = predictions.over_epochs(run).drop(columns="note").astype(str)
    return table.sample(frac=1, random_state=0)


def split_of(run: Predictions) -> pd.DataFrame:
    return pd.DataFrame({"case_id": run.case_ids, "group": run.groups}).iloc[::-1]


def test_a_table_in_any_order_gives_epochs_by_cases_sorted_by_case_id() -> None:
    run = noise(20)
    again = predictions.from_tables(long(run), split_of(run))
    assert again.case_ids.tolist() == run.case_ids.tolist()
    assert again.groups.tolist() == run.groups.tolist()
    assert again.y_true.tolist() == run.y_true.tolist()
    np.testing.assert_array_equal(again.y_prob, run.y_prob)
    np.testing.assert_allclose(again.declared, run.y_prob[1:].mean(axis=0))


@pytest.mark.parametrize(
    ("column", "value"), [("probability", ""), ("probability", "1.2"), ("probability", "x"), ("label", "2")]
)
def test_what_no_prediction_can_be_is_an_error_that_names_the_case(column: str, value: str) -> None:
    run = noise(6)
    rows = long(run)
    rows.loc[rows["case_id"] == "00003", column] = value
    with pytest.raises(FlairprepError, match="00003"):
        predictions.from_tables(rows, split_of(run))


def test_without_shared_patients_groups_change_no_number() -> None:
    run = noise(40)
    plain = predictions.declared(run.y_true, run.declared)
    assert predictions.declared(run.y_true, run.declared, run.groups) == plain


def test_two_equal_scans_of_each_patient_tell_no_more_than_one() -> None:
    run = noise(60)
    y_true, y_prob, groups = (np.repeat(values, 2) for values in (run.y_true, run.declared, run.groups))
    y_prob = np.clip(y_prob + 0.25 * (y_true - 0.5), 0, 1)
    once, twice = (predictions.declared(y_true[::step], y_prob[::step], groups[::step]) for step in (2, 1))
    assert twice["p_nir"] == pytest.approx(once["p_nir"])
    blind = predictions.declared(y_true, y_prob)
    assert blind["p_nir"] < once["p_nir"]
    for metric in ("accuracy", "auc"):
        assert twice[metric] == pytest.approx(once[metric])
        of_once, of_twice, of_blind = (rows[f"{metric}_high"] - rows[f"{metric}_low"] for rows in (once, twice, blind))
        assert of_twice == pytest.approx(of_once, rel=0.15)
        assert of_blind < 0.8 * of_twice


def test_perfect_scans_of_a_few_patients_have_the_intervals_of_so_many_patients() -> None:
    y_true, groups = np.repeat([0, 1, 0, 1, 0, 1], 3), np.repeat(np.arange(6), 3)
    y_prob = 0.2 + 0.6 * y_true
    numbers = predictions.declared(y_true, y_prob, groups)
    bounds = (numbers["accuracy_low"], numbers["accuracy_high"], numbers["auc_low"], numbers["auc_high"])
    assert bounds == pytest.approx((*intervals.wilson(1.0, 6), *intervals.newcombe_auc(1.0, [(9, 9)], factor=3)))
    assert numbers["p_nir"] == pytest.approx(0.5**6)


def test_a_label_of_a_single_patient_has_a_wide_interval() -> None:
    y_true, groups = np.array([1, 1, 1, 0, 0, 0]), np.array([0, 0, 0, 1, 2, 3])
    numbers = predictions.declared(y_true, np.array([0.9, 0.2, 0.6, 0.5, 0.1, 0.3]), groups)
    assert numbers["auc"] == pytest.approx(7 / 9)
    assert numbers["auc_high"] - numbers["auc_low"] > 0.3


def test_a_case_that_is_always_wrong_stands_out() -> None:
    run = made([1, 1, 0, 0], [[0.9, 0.1, 0.2, 0.9], [0.9, 0.2, 0.9, 0.1], [0.9, 0.3, 0.2, 0.9], [0.9, 0.4, 0.2, 0.2]])
    rows = predictions.per_case(run).set_index("case_id")
    assert rows["wrong"].tolist() == [0, 1, 0.25, 0.5]
    assert rows["flips"].tolist() == [0, 0, 2, 3]
    assert rows["probability"].tolist() == pytest.approx([0.9, 0.3, 1.3 / 3, 0.4], abs=1e-6)
    epochs = predictions.over_epochs(run)
    assert set(epochs.loc[epochs["note"] == "always wrong", "case_id"]) == {"00001"}
    assert len(epochs) == 16


def test_a_probability_of_exactly_one_half_is_a_prediction_of_0() -> None:
    rows = predictions.per_case(made([0, 1], [[0.5, 0.5]]))
    assert rows["wrong"].tolist() == [0, 1]
    assert rows["flips"].tolist() == [0, 0]


def test_the_reliability_curve_is_that_of_scikit_learn() -> None:
    run = noise(500)
    y_prob = run.y_prob[0] ** 2
    rows = predictions.reliability(run.y_true, y_prob)
    share, probability = calibration_curve(run.y_true, y_prob, n_bins=10)
    np.testing.assert_allclose(rows["share"], share, atol=1e-6)
    np.testing.assert_allclose(rows["probability"], probability, atol=1e-6)
    assert rows["cases"].sum() == 500
    row = rows.iloc[0]
    exact = binomtest(round(row["share"] * row["cases"]), int(row["cases"])).proportion_ci(method="exact")
    assert (row["share_low"], row["share_high"]) == pytest.approx((exact.low, exact.high), abs=1e-6)


def test_probabilities_of_0_and_1_have_a_bin() -> None:
    rows = predictions.reliability(np.array([0, 1, 1]), np.array([0.0, 1.0, 0.95]))
    assert rows["cases"].tolist() == [1, 2]


def test_the_null_distribution_has_every_bin_and_counts_ties_as_high() -> None:
    table = predictions.null_distribution(np.array([0.6, 0.0, 0.599, 0.6, 0.61, 0.65, 1.0]))
    assert len(table) == predictions.NULL_BINS
    found = table[table["permutations"] > 0]
    assert found.to_numpy().tolist() == [
        *(["0.0250", 1, 0], ["0.5750", 1, 0], ["0.6250", 2, 2], ["0.6750", 1, 1], ["0.9750", 1, 1])
    ]


def test_auc_by_group_where_each_label_has_ten_cases() -> None:
    run = noise(60)
    order = np.argsort(run.y_true, kind="stable")  # 30 of each label
    vendor = np.full(60, "")
    vendor[order[[*range(10), *range(30, 40)]]] = "a"  # 10 and 10
    vendor[order[[*range(10, 19), *range(40, 60)]]] = "b"  # 9 and 20
    cases = pd.DataFrame({"case_id": run.case_ids, "manufacturer": vendor}).iloc[::-1]
    rows = predictions.by_group(run, cases, ["manufacturer"]).set_index("value")
    assert rows[["label_0", "label_1"]].to_numpy().tolist() == [[11, 0], [10, 10], [9, 20]]
    assert rows.index.tolist() == ["not given", "a", "b"]
    inside = vendor == "a"
    assert rows.loc["a", "auc"] == pytest.approx(roc_auc_score(run.y_true[inside], run.declared[inside]), abs=1e-6)
    assert rows.loc["a", "auc_low"] < rows.loc["a", "auc"] < rows.loc["a", "auc_high"]
    assert rows.loc[["b", "not given"], ["auc", "auc_low", "auc_high"]].isna().all(axis=None)


def test_cases_that_ingest_does_not_list_are_in_no_group() -> None:
    run = noise(4)
    rows = predictions.by_group(run, pd.DataFrame({"case_id": ["00001"], "sex": ["F"]}), ["sex"])
    assert rows["value"].tolist() == ["not given", "F"]


def test_strata_are_those_of_the_audit_and_none_without_a_shortcut() -> None:
    run = noise(4)
    assert predictions.strata_of(run, {}) is None
    strata = predictions.strata_of(run, {"00001": "a", "99999": "b"})
    assert strata is not None
    assert strata.tolist() == ["", "a", "", ""]
