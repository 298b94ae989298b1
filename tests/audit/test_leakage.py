"""Identities shared between folds, against enumeration."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from flairprep.audit import leakage


def table(values: list[str], folds: list[int]) -> pd.DataFrame:
    ids = [f"{index:05d}" for index in range(len(values))]
    return pd.DataFrame({"case_id": ids, "fold": folds, "patient": values})


@pytest.mark.parametrize("seed", range(5))
def test_a_shared_patient_is_a_leak_across_folds_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = table(rng.integers(0, 12, 15).astype(str).tolist(), rng.integers(0, 3, 15).tolist())
    expected = set()
    for a, b in combinations(rows.itertuples(), 2):
        if a.patient == b.patient and a.fold != b.fold:
            expected |= {a.case_id, b.case_id}
    finding = leakage.find_shared(rows, "patient")
    assert (finding.verdict, finding.cases) == ("leak" if expected else "clean", tuple(sorted(expected)))


def test_one_value_in_all_cases_says_nothing() -> None:
    finding = leakage.find_shared(table(["00000"] * 4, [0, 0, 1, 1]), "patient")
    assert (finding.verdict, finding.cases) == ("not testable", ())


@pytest.mark.parametrize(
    ("intensity", "verdict"),
    [("zscore", "clean"), ("percentile", "clean"), ("white_stripe", "clean"), ("none", "clean"), ("nyul", "leak")],
)
def test_an_intensity_method_that_is_not_per_image_is_a_leak(intensity: str, verdict: str) -> None:
    finding = leakage.check_intensity_method(intensity)
    assert finding.verdict == verdict
    assert intensity in finding.text
