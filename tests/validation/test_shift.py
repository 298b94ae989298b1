"""Two-sample tests of fields: against scipy, planted shifts, and how often a cohort without a shift is flagged."""

import numpy as np
import pytest
import scipy

from flairprep.validation import shift
from flairprep.validation.shift import FieldShift, compare, describe, two_sample

Sources = dict[str, dict[str, np.ndarray]]


def cohorts(seed: int, new: int = 24, training: int = 80) -> tuple[Sources, np.ndarray]:
    """Two cohorts of one kind: 30 numbers that depend on one another, and three categories."""
    rng = np.random.default_rng(seed)
    n = new + training
    common = rng.normal(size=(n, 1))
    numbers = common + rng.normal(size=(n, 30))
    scanner = rng.choice(["siemens", "ge", "philips"], n)
    sources = {
        "geometry": {f"number {index}": numbers[:, index] for index in range(30)},
        "header fields": {"manufacturer": scanner, "plane": rng.choice(["axial", "sagittal"], n)},
        "constant": {"space": np.full(n, "SRI24"), "tesla": np.full(n, 3.0)},
    }
    return sources, np.arange(n) >= training


def shifted(rows: list[FieldShift]) -> set[str]:
    return {row.field for row in rows if row.verdict == "shift"}


def test_numbers_are_compared_as_scipy_does() -> None:
    rng = np.random.default_rng(1)
    training, new = rng.normal(size=60), rng.normal(0.7, 1, 25)
    expected = scipy.stats.ks_2samp(training, new)
    assert two_sample(training, new, rng) == pytest.approx((expected.statistic, expected.pvalue))


def test_two_categories_are_compared_as_by_fisher() -> None:
    """With equal chi-squared order, the permutation of a 2 x 2 table is Fisher's test, up to Monte Carlo error."""
    training, new = np.repeat(["a", "b"], [40, 20]), np.repeat(["a", "b"], [10, 20])
    effect, p = two_sample(training, new, np.random.default_rng(0))
    assert effect == pytest.approx(40 / 60 - 10 / 30)
    assert p == pytest.approx(scipy.stats.fisher_exact([[40, 20], [10, 20]]).pvalue, abs=0.002)


def test_the_p_of_three_categories_is_that_of_scipys_permutations() -> None:
    training, new = np.repeat(["a", "b", "c"], [30, 20, 10]), np.repeat(["a", "b", "c"], [10, 14, 12])
    _, p = two_sample(training, new, np.random.default_rng(0))
    table = [[30, 20, 10], [10, 14, 12]]
    method = scipy.stats.MonteCarloMethod(n_resamples=20000, rng=np.random.default_rng(5))
    assert p == pytest.approx(scipy.stats.chi2_contingency(table, correction=False, method=method).pvalue, abs=0.006)


@pytest.mark.slow
def test_cohorts_of_one_kind_are_flagged_once_in_a_hundred() -> None:
    flagged = sum(bool(shifted(compare(*cohorts(seed)))) for seed in range(60))
    assert flagged <= 4  # more has a chance of 1 in 2600 at the level of 1 %


@pytest.mark.parametrize("field", ["number 3", "number 17"])
def test_a_planted_shift_of_a_number_is_the_strongest(field: str) -> None:
    for seed in range(3):
        sources, new = cohorts(seed)
        sources["geometry"][field][new] += 3
        rows = compare(sources, new)
        assert rows[0].field == field
        assert shifted(rows) >= {field}


def test_another_scanner_is_a_shift() -> None:
    sources, new = cohorts(0)
    sources["header fields"]["manufacturer"][new] = "hitachi"
    row = compare(sources, new)[0]
    assert (row.family, row.field, row.verdict, row.effect) == ("header fields", "manufacturer", "shift", 1.0)
    assert row.new == "hitachi 100%"


def test_constant_fields_are_not_tested() -> None:
    fields = {row.field for row in compare(*cohorts(0))}
    assert fields == {"manufacturer", "plane", *(f"number {index}" for index in range(30))}


def test_gaps_are_left_out_and_a_cohort_without_values_is_not_testable() -> None:
    sources, new = cohorts(0)
    sources["geometry"]["number 0"][:40] = np.nan
    sources["geometry"]["number 1"][new] = np.nan
    rows = {row.field: row for row in compare(sources, new)}
    expected = scipy.stats.ks_2samp(sources["geometry"]["number 0"][40:80], sources["geometry"]["number 0"][new])
    assert rows["number 0"].p == pytest.approx(expected.pvalue)
    assert (rows["number 1"].verdict, rows["number 1"].new) == ("not testable", "not given")


def test_a_header_that_one_cohort_lacks_is_not_testable_but_a_warning_that_it_lacks_is() -> None:
    """As of NIfTI files beside DICOM: `association.parse_columns` gives numbers with gaps a column of their own."""
    sources, new = cohorts(0)
    header = sources["header fields"]
    header["manufacturer"] = np.where(new, "", header["manufacturer"])
    header["code"] = np.where(new, "", "WHOLE_HEAD")
    header["echo_time"] = np.where(new, np.nan, 100 + np.arange(len(new)) % 9.0)
    header["echo_time given"] = np.where(new, "no", "yes")
    rows = {row.field: row.verdict for row in compare(sources, new)}
    assert (rows["manufacturer"], rows["code"], rows["echo_time"]) == ("not testable", "shift", "not testable")
    assert "echo_time given" not in rows


def test_one_case_cannot_show_a_shift() -> None:
    rows = compare(*cohorts(0, new=1))
    assert {row.verdict for row in rows} == {"not testable"}


def test_a_small_difference_of_many_cases_is_no_shift() -> None:
    rng = np.random.default_rng(0)
    values, new = rng.normal(size=40000), np.arange(40000) >= 20000
    values[new] += 0.1  # shares differ by 0.04
    (row,) = compare({"geometry": {"size": values}}, new)
    assert row.p_holm < shift.ALPHA
    assert row.verdict == "clean"


def test_json_holds_six_digits() -> None:
    item = compare(*cohorts(0))[0].as_item()
    assert item["p"] == float(f"{item['p']:.6g}")
    assert set(item) == {"family", "field", "verdict", "effect", "p", "p_holm", "training", "new"}


def test_another_share_of_label_1_is_a_shift_and_unlabelled_cases_do_not_count() -> None:
    new = np.arange(160) >= 100
    labels = np.where(new, np.arange(160) % 10 != 0, np.arange(160) % 10 == 0).astype(float)
    labels[-20:] = np.nan
    (row,) = compare({"label": {"label": labels}}, new)
    assert (row.verdict, row.training, row.new, row.effect) == ("shift", "1 in 10%", "1 in 90%", pytest.approx(0.8))


def test_words_for_numbers_and_shares() -> None:
    assert describe(np.array([1.0, 2.0, 3.0])) == "2 (1.5 to 2.5)"
    assert describe(np.array([1.0, 1.0])) == "1 (1 to 1)"
    assert describe(np.array(["a", "a", "b", ""])) == "a 50%, not given 25%, b 25%"
