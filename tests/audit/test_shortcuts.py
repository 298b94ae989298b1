"""Whole cohorts with and without a planted shortcut."""

from typing import Any

import numpy as np
import pytest
from simulated_cohort import cohort

from flairprep.audit import shortcuts
from flairprep.audit.shortcuts import Cohort
from flairprep.core.errors import FlairprepError
from flairprep.stats import hypothesis_tests


def examine(of: Cohort, fields: dict[str, Any], **changes: Any) -> tuple[dict[str, Any], list[Any], dict[str, str]]:
    """Return findings by name, baselines, strata; all fields are header fields and tested by themselves."""
    options = {"alpha": 0.05, "permutations": 999, "seed": 0} | changes
    columns = {name: np.asarray(values) for name, values in fields.items()}
    findings, baselines, strata = shortcuts.examine(of, {"header fields": columns}, list(fields), [], **options)
    return {finding.name: finding for finding in findings}, baselines, strata


def test_a_planted_field_is_a_shortcut_with_its_cases_and_strata() -> None:
    of, rng = cohort(), np.random.default_rng(5)
    own = rng.uniform(size=60) < 0.8
    maker = np.where(own, np.where(of.labels == 1, "philips", "siemens"), rng.choice(["ge", "canon"], 60))
    findings, baselines, strata = examine(of, {"manufacturer": maker, "sex": rng.choice(["F", "M"], 60)})
    item = findings["manufacturer"]
    assert (item.verdict, item.measure) == ("shortcut", "cramers_v")
    assert item.p == 1 / 1000
    assert set(item.cases) >= set(of.case_ids[own])
    assert findings["sex"].verdict == "clean"
    assert findings["header fields"].verdict == "shortcut"  # it holds the manufacturer
    assert "manufacturer" in findings["header fields"].text
    assert set(strata) == set(of.case_ids)
    assert {"manufacturer: philips", "manufacturer: siemens"} < set(strata.values())
    assert baselines[0]["name"] == "header fields"
    assert baselines[0]["auc_low"] > 0.6
    assert baselines[0]["p"] == 0.001


def test_what_only_a_classifier_sees_gives_tertiles_of_its_score() -> None:
    of, rng = cohort(120), np.random.default_rng(6)
    signal = 0.5 * (of.labels[:, None] - 0.5) + rng.normal(size=(120, 8))
    columns = {f"field_{index}": signal[:, index] for index in range(8)}
    findings, _, strata = shortcuts.examine(of, {"geometry": columns}, [], [], alpha=0.05, permutations=999, seed=0)
    assert [(finding.name, finding.verdict) for finding in findings] == [("geometry", "shortcut")]
    assert set(strata.values()) == {f"geometry: {third}" for third in ("low", "middle", "high")}


def test_what_does_not_carry_over_to_another_manufacturer_is_clean_with_one_left_out() -> None:
    of, rng = cohort(200, 1), np.random.default_rng(7)
    maker = rng.choice(["ge", "philips"], 200)
    sign = np.where(maker == "ge", 1, -1)
    values = sign * (of.labels - 0.5) * 3 + rng.normal(size=200) + 100 * (maker == "ge")
    columns = {"value": values, "manufacturer": maker, "product": values * (maker == "ge")}
    findings, _, _ = shortcuts.examine(
        of, {"header fields": columns}, [], ["manufacturer"], alpha=0.05, permutations=499, seed=0
    )
    verdicts = {finding.name: finding.verdict for finding in findings}
    assert verdicts == {"header fields": "shortcut", "header fields, manufacturer left out": "clean"}


def few(n: int, groups: int, fields: int, **changes: Any) -> dict[str, Any]:
    """Return findings of a perfect field and of fields of noise, in two folds of n cases in so many groups."""
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


def test_too_few_cases_to_detect_anything_are_not_testable() -> None:
    findings = few(8, 8, 7)
    sex = findings["sex"]  # 70 ways to deal four labels out, and the opposite is as good: 2 / 70 for 9 tests
    assert (sex.verdict, sex.measure, sex.effect) == ("not testable", "cramers_v", 1)
    assert sex.p == pytest.approx(2 / 70, abs=0.01)
    assert sex.text.startswith("8 cases, permuted 999 times, ")
    assert {finding.verdict for finding in findings.values()} == {"not testable"}
    assert few(12, 12, 0)["sex"].verdict == "shortcut"  # 2 / 924 for 2 tests


def test_what_counts_is_the_number_of_patients_and_of_permutations() -> None:
    assert few(24, 24, 0)["sex"].verdict == "shortcut"
    assert few(24, 4, 0)["sex"].verdict == "not testable"
    assert few(24, 24, 6, permutations=99)["sex"].verdict == "not testable"  # 1 / 100 for 8 tests
    assert few(24, 24, 6, permutations=999)["sex"].verdict == "shortcut"


def test_a_clean_field_has_its_effect_and_no_cases() -> None:
    findings, _, _ = examine(cohort(), {"field": np.random.default_rng(8).normal(size=60)})
    assert (findings["field"].verdict, findings["field"].measure, findings["field"].cases) == ("clean", "auc", ())


@pytest.mark.parametrize("values", [[""] * 60, ["MR"] * 60, np.full(60, 1.5), np.r_[np.full(59, 1.5), np.nan]])
def test_a_field_that_is_empty_or_constant_is_not_testable(values: Any) -> None:
    rng = np.random.default_rng(8)
    findings, _, _ = examine(cohort(), {"field": values, "other": rng.normal(size=60)})
    assert (findings["field"].verdict, findings["field"].p, findings["field"].p_holm) == ("not testable", None, None)
    assert "for 2 tests" in findings["other"].text  # the other one and the classifier


def test_one_manufacturer_cannot_be_left_out() -> None:
    columns = {"manufacturer": np.full(60, "ge"), "value": np.random.default_rng(0).normal(size=60)}
    findings, _, _ = shortcuts.examine(
        cohort(), {"header fields": columns}, [], ["manufacturer"], alpha=0.05, permutations=99, seed=0
    )
    assert findings[1].verdict == "not testable"


def test_holm_counts_every_test() -> None:
    of, rng = cohort(), np.random.default_rng(9)
    fields = {f"field_{index}": rng.normal(size=60) for index in range(9)}
    findings, _, _ = examine(of, fields)
    p = np.array([finding.p for finding in findings.values()])
    np.testing.assert_allclose([finding.p_holm for finding in findings.values()], hypothesis_tests.holm(p))
    assert len(p) == 10


def test_clean_cohorts_are_rarely_flagged() -> None:
    flagged = 0
    for seed in range(20):
        of, rng = cohort(seed=seed), np.random.default_rng([seed, 1])
        fields: dict[str, Any] = {f"field_{index}": rng.normal(size=60) for index in range(6)}
        fields |= {"maker": rng.choice(["ge", "philips", "siemens"], 60), "sex": rng.choice(["F", "M"], 60)}
        findings, _, strata = examine(of, fields, permutations=299)
        flagged += any(finding.verdict == "shortcut" for finding in findings.values())
        assert bool(strata) == any(finding.verdict == "shortcut" for finding in findings.values())
    assert flagged <= 3  # 5 % of 20 are one


def test_cases_of_one_label_are_refused() -> None:
    of = cohort()._replace(labels=np.ones(60, int))
    with pytest.raises(FlairprepError, match="one label"):
        examine(of, {"field": np.arange(60.0)})
