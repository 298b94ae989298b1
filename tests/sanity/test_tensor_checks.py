"""tensor_checks: each passes sound cases and fails the fault that it is there for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from heads import cohort, head

from flairprep.sanity import tensor_checks, tensor_summary
from flairprep.sanity.check import Check
from flairprep.sanity.tensor_summary import TensorSummary


def looked(images: list[np.ndarray]) -> list[TensorSummary]:
    """Labels in turn, two cases of each fold."""
    stored = (np.asarray(image, np.float32)[np.newaxis, ..., 0] for image in images)
    return [tensor_summary.summarise(image, n % 2, f"{n:05d}", n // 2 % 5) for n, image in enumerate(stored)]


def border(cases: list[TensorSummary]) -> Check:
    return tensor_checks.border(cases, [case.case_id for case in cases], 0)


def test_sound_cases_pass_every_check_of_the_tensors() -> None:
    cases = looked(cohort())
    split = pd.DataFrame([{"case_id": c.case_id, "label": str(c.label), "fold": str(c.fold)} for c in cases])
    checks = [
        *(check(cases) for check in (tensor_checks.finite, tensor_checks.clipping, tensor_checks.used_range)),
        *(check(cases) for check in (tensor_checks.slices, tensor_checks.duplicates, tensor_checks.orientation)),
        *(tensor_checks.labels(cases, split), border(cases)),
    ]
    assert [check.verdict for check in checks] == ["pass"] * len(checks)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_fails(value: float) -> None:
    images = cohort(4)
    images[2][8, 16, 16] = value
    check = tensor_checks.finite(looked(images))
    assert (check.verdict, check.value) == ("fail", 1)
    assert "00002" in check.text


def test_a_window_made_for_ct_saturates() -> None:
    """[-1000, 400] mapped to [0, 1], as the tutorial's loader does, on FLAIR values up to 1000."""
    raw = [np.where(image > -4, 400 + 150 * image.astype(float), 0) for image in cohort(6)]
    windowed = [((np.clip(image, -1000, 400) + 1000) / 1400).astype(np.float16) for image in raw]
    check = tensor_checks.clipping(looked(windowed))
    assert check.verdict == "fail"
    assert check.value == pytest.approx(np.mean([(i >= 400).sum() / (i != 0).sum() for i in raw]), abs=0.01)
    assert tensor_checks.clipping(looked([image.astype(np.float16) for image in raw])).verdict == "pass"


def test_one_case_at_its_limit_is_warned_of() -> None:
    images = cohort(20)
    images[3] = np.where(images[3] > 1, np.float16(1), images[3])
    check = tensor_checks.clipping(looked(images))
    assert check.verdict == "warn"
    assert "case 00003" in check.text


def test_an_extreme_voxel_that_stretches_the_range_is_warned_of() -> None:
    images = cohort(4)
    for image in images:
        image[8, 16, 16] = 1000
    check = tensor_checks.used_range(looked(images))
    assert check.verdict == "warn"
    assert check.value is not None
    assert check.value < 0.02


def test_zeroed_and_partly_empty_volumes_are_found() -> None:
    images = cohort(6)
    images[1] = np.zeros_like(images[1])
    check = tensor_checks.slices(looked(images))
    assert (check.verdict, check.value) == ("fail", 1)
    images = cohort(6)
    images[1][8] = -4
    check = tensor_checks.slices(looked(images))
    assert (check.verdict, check.value) == ("warn", 1)
    assert "00001" in check.text
    padded = cohort(6)
    padded[0][:3] = -4
    assert tensor_checks.slices(looked(padded)).verdict == "pass"


@pytest.mark.parametrize(("copy", "verdict"), [(1, "fail"), (3, "fail"), (10, "warn")])
def test_equal_tensors_fail_in_two_folds_or_with_two_labels(copy: int, verdict: str) -> None:
    """Case 0 lies in fold 0 with label 0; case 1 has the other label, case 10 has its fold and label."""
    images = cohort(12)
    images[copy] = images[0]
    check = tensor_checks.duplicates(looked(images))
    assert (check.verdict, check.value) == (verdict, 2)
    assert f"{copy:05d}" in check.text


@pytest.mark.parametrize(
    "turn", [lambda v: v[::-1], lambda v: v[:, ::-1], lambda v: v[::-1, ::-1], lambda v: v.transpose(0, 2, 1, 3)]
)
def test_a_case_that_lies_otherwise_is_found(turn: Any) -> None:
    images = cohort()
    images[4] = np.ascontiguousarray(turn(images[4]))
    check = tensor_checks.orientation(looked(images))
    assert check.verdict == "warn"
    assert "case 00004" in check.text
    images[5:8] = [np.ascontiguousarray(turn(image)) for image in images[5:8]]
    assert tensor_checks.orientation(looked(images)).verdict == "fail"


def test_labels_and_folds_other_than_in_split_fail() -> None:
    cases = looked(cohort(6))
    rows = [{"case_id": case.case_id, "label": case.label, "fold": case.fold} for case in cases]
    shuffled = [replace(case, label=label) for case, label in zip(cases, [0, 0, 1, 1, 0, 1], strict=True)]
    assert tensor_checks.labels(cases, pd.DataFrame(rows)).verdict == "pass"
    assert tensor_checks.labels(shuffled, pd.DataFrame(rows)).value == 2
    assert tensor_checks.labels([replace(cases[0], fold=4)], pd.DataFrame(rows)).verdict == "fail"
    assert tensor_checks.labels([replace(cases[0], case_id="x")], pd.DataFrame(rows)).verdict == "fail"


def test_a_mask_that_carries_the_label_fails() -> None:
    larger = [head(index, 0, radius=6.0 + index % 2) for index in range(20)]
    assert border(looked(larger)).verdict == "fail"


def test_a_background_that_carries_the_label_fails() -> None:
    images = [np.where(image == -4, np.float16(-4 - 0.1 * (n % 2)), image) for n, image in enumerate(cohort())]
    assert border(looked(images)).verdict == "fail"


def test_the_border_is_judged_by_patients_not_by_cases() -> None:
    """Four scans of each of six patients: chance agrees with the label in 20 arrangements, of cases in thousands."""
    images = [head(index, 0, radius=6.0 + index % 2) for index in range(24)]
    cases = looked(images)
    groups = [f"patient {case.label} {n // 8}" for n, case in enumerate(cases)]
    assert border(cases).value == pytest.approx(1e-3)
    of_patients = tensor_checks.border(cases, groups, 0)
    assert of_patients.value is not None
    assert of_patients.value > 0.05


def test_chance_borders_seldom_fail() -> None:
    failed = 0
    for seed in range(20):
        cases = looked([head(100 * seed + n) for n in range(12)])
        failed += border(cases).verdict == "fail"
    assert failed <= 2


def test_blocks_are_means_of_the_volume() -> None:
    volume = np.random.default_rng(0).normal(size=(16, 32, 48))
    expected = volume.reshape(8, 2, 16, 2, 16, 3).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(tensor_summary.shrunk(volume), expected, atol=1e-6)
    assert tensor_summary.shrunk(np.ones((5, 17, 33))).shape == (5, 16, 16)
    np.testing.assert_array_equal(tensor_summary.shrunk(np.ones((5, 17, 33), bool)), 1)


def test_what_is_compared_is_the_foreground_about_its_mean_and_what_lies_outside_of_it() -> None:
    image = np.full((16, 32, 48), -3, np.float32)
    image[3:14, 5:25, 7:40] = np.random.default_rng(0).normal(size=(11, 20, 33))
    inside = image != -3
    small, outside = (
        each.reshape(8, 2, 16, 2, 16, 3).mean(axis=(1, 3, 5))
        for each in (np.where(inside, image - image[inside].mean(), 0), np.where(inside, 0.0, image))
    )
    one = tensor_summary.summarise(image[np.newaxis], 0, "00000", 0)
    np.testing.assert_allclose(one.small, small, atol=1e-6)
    np.testing.assert_allclose(one.outside, outside, atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_infinite_voxels_leave_the_other_measures_finite() -> None:
    image = np.full((1, 8, 16, 16), -4, np.float32)
    image[0, 2:6, 4:12, 4:12] = np.random.default_rng(0).normal(size=(4, 8, 8))
    image[0, 3, 5, 5:9] = [np.inf, np.inf, -np.inf, np.nan]
    one = tensor_summary.summarise(image, 0, "00000", 0)
    assert not one.finite
    assert np.isfinite([*one.small.ravel(), *one.outside.ravel(), one.clipped, one.used]).all()
