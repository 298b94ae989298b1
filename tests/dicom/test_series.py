"""Group files to series and choose the one to read."""

import re
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms import refusal
from series_headers import IR, MPR, NO_TIMES, REFORMATTED, SE, T1_TIMES, T2_TIMES, made, only, timed

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.header import Header
from flairprep.dicom.series import choose_candidate, decision, group


def flair(number: int | None, slices: int = 20, **values: Any) -> list[Header]:
    """A FLAIR series of `slices` files."""
    known = {"echo_time": 90.0, "inversion_times": (2500.0,), "series": f"1.{number}"} | values
    description = known.pop("description", "FLAIR")
    paths = [Path(f"{known['series']}/{place:03}.dcm") for place in range(slices)]
    return [made(description, number=number, path=path, **known) for path in paths]


FAULT = CaseError(Code.MOSAIC, "a Siemens mosaic")


@pytest.mark.parametrize(
    ("name", "localizer"),
    [
        ("localizer", True),
        ("AAHead_Scout_MPR_tra", True),
        ("3 PLANE LOC T1", True),
        ("3Plane_Loc_SSFSE", True),
        ("Survey", True),
        ("3-Pl T2* FGRE", True),
        ("FLAIR block 1", False),
        ("AX T1 local shim", False),
        ("FLAIR", False),
    ],
)
def test_localizer_is_recognised_by_its_name(name: str, localizer: bool) -> None:
    fault = only(made(name)).fault
    assert (fault is not None and fault.code is Code.LOCALIZER) == localizer


@pytest.mark.parametrize(
    ("better", "worse", "reason"),
    [
        (flair(1, volumetric=True), flair(2, 99), "not 3D"),
        (flair(1, 30), flair(2, 20), "20 slices, not 30"),
        (flair(1, 1, frames=30), flair(2, 20), "20 slices, not 30"),
        (flair(1), flair(2, 99, volumetric=True, image_type=frozenset(MPR)), "derived"),
        (flair(1), flair(2, 99, volumetric=True, image_type=frozenset(REFORMATTED)), "derived"),
        (flair(1), flair(2, 99, volumetric=True, description="FLAIR +C"), "post-contrast"),
        (flair(1), flair(2, 99, description="FLAIR sub"), "subtraction"),
        (flair(1), flair(2, 99, inversion_times=(450.0, 3000.0)), "two inversion times"),
        (flair(1, image_type=frozenset(MPR)), flair(2, 99, contrast_agent=True), "post-contrast"),
        (flair(1, contrast_agent=True), flair(2, contrast_agent=True, description="FLAIR sub"), "subtraction"),
        (flair(1, contrast_agent=True), flair(2, 99, volumetric=True, fault=FAULT), "MOSAIC"),
        (flair(1), flair(2, 7, description="FLAIR localizer"), "LOCALIZER"),
        (flair(1), flair(2, 99, description="FLAIR localizer"), "named like a localizer"),
    ],
)
def test_better_series_is_read_and_the_other_one_has_a_reason(
    better: list[Header], worse: list[Header], reason: str
) -> None:
    for members in ([*better, *worse], [*worse, *better], [*worse, *better][::-1]):
        candidates = group(members)
        best = choose_candidate(candidates, "FLAIR")
        assert set(best.headers) == set(better)
        assert [decision(one, best, "FLAIR") for one in candidates] == ["read", reason]


def test_contrast_agent_is_no_flaw_of_a_contrast_enhanced_series() -> None:
    plain = made("t1", series="1.1", path=Path("1"), number=1)
    thick = [made("t1", series="1.2", path=Path(f"2/{i}"), number=2, contrast_agent=True) for i in range(9)]
    candidates = group([plain, *thick], "T1wCE")
    assert choose_candidate(candidates, "T1wCE").slices == 9


def test_derived_or_marked_series_is_read_where_it_is_the_only_one() -> None:
    for values in ({"image_type": frozenset(MPR)}, {"contrast_agent": True}, {"inversion_times": (450.0, 3000.0)}):
        candidates = group(flair(1, **values))
        assert choose_candidate(candidates, "FLAIR") is candidates[0]


def test_equally_good_series_are_ambiguous() -> None:
    candidates = group([*flair(5), *flair(6), *flair(7, 3)])
    error = refusal(choose_candidate, candidates, "FLAIR")
    assert error.code is Code.AMBIGUOUS_SERIES
    assert re.findall(r"series \d", error.message) == ["series 5", "series 6"]
    assert all(decision(one, None, "FLAIR") for one in candidates)


@pytest.mark.parametrize("element", ["study", "patient"])
def test_series_of_two_studies_are_ambiguous_however_they_rank(element: str) -> None:
    candidates = group([*flair(1, 30, **{element: "1"}), *flair(1, 20, **{element: "2"})])
    assert refusal(choose_candidate, candidates, "FLAIR").code is Code.AMBIGUOUS_SERIES


def test_series_of_two_studies_are_no_matter_where_one_of_them_is_faulty() -> None:
    best = choose_candidate(group([*flair(1, 30, study="1"), *flair(1, 20, study="2", fault=FAULT)]), "FLAIR")
    assert best.slices == 30


def test_fault_of_the_only_series_is_what_is_raised() -> None:
    assert refusal(choose_candidate, group(flair(1, fault=FAULT)), "FLAIR") is FAULT
    localizer = group(flair(1, 7, description="FLAIR localizer"))
    assert refusal(choose_candidate, localizer, "FLAIR").code is Code.LOCALIZER


def test_series_that_is_missing_is_refused_with_those_that_exist() -> None:
    members = [
        timed("AX T1 FLAIR", (9, 2000, 860), IR, series="1.1", number=1),
        timed("FLAIR", (20, 9000, 2500), IR, series="1.2", number=2),
        timed("T2 tse", T2_TIMES, SE, series="1.3", number=3),
        timed("PATIENT CANARY", NO_TIMES, series="1.4", number=4),
    ]
    candidates = group(members)
    error = refusal(choose_candidate, candidates, "FLAIR")
    assert error.code is Code.NO_SERIES
    for one in candidates:
        assert (f"{one.title}: {one.veto}" if one.veto else one.title) in error.message
    assert [bool(one.veto) for one in candidates] == [False, True, False, False]
    assert "CANARY" not in error.message
    assert refusal(choose_candidate, [], "FLAIR").code is Code.NO_SERIES
    many = refusal(choose_candidate, [only(*flair(number)) for number in range(99)], "T2w")
    assert len(many.message) < 200


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (timed("AX T1", T1_TIMES, SE), "T1w, not FLAIR"),
        (timed("FLAIR", (20, 9000, 2500), IR), "TE 20 ms is no FLAIR's"),
        (timed("ADC", NO_TIMES), "another kind of image, by its name"),
        (made("something"), "not recognised"),
    ],
)
def test_series_of_another_sequence_has_a_reason(header: Header, expected: str) -> None:
    assert decision(only(header), None, "FLAIR") == expected


@pytest.mark.parametrize(
    ("number", "told"), [(0, 0), (7, 7), (99_999, 99_999), (100_000, 1), (20260131, 1), (-1, 1), (None, 1)]
)
def test_title_is_a_small_number_and_the_sequence(number: int | None, told: int) -> None:
    names = {"description": "FLAIR CANARY", "patient": "CANARY", "study": "CANARY"}
    assert only(*flair(number, **names)).title == f"series {told} (FLAIR)"
    assert only(made("CANARY", number=number)).title == f"series {told} (not recognised)"


def test_series_are_in_the_order_of_their_numbers_and_those_without_come_last() -> None:
    members = [*flair(None, 1), *flair(20260131, 2), *flair(12, 3), *flair(3, 4)]
    for order in permutations(members[::2]):
        assert [one.title for one in group(order)] == [one.title for one in group(members[::2])]
    titles = [one.title.removesuffix(" (FLAIR)") for one in group(members)]
    assert titles == ["series 3", "series 12", "series 4", "series 5"]  # of the last two the first free numbers


def test_order_of_files_changes_nothing() -> None:
    members = [*flair(1, 3), *flair(None, 3, series="1.8"), *flair(None, 3, series="1.9", contrast_agent=True)]
    members += [timed("T1 +C", T1_TIMES, SE, series="1.5", number=9), *flair(1, 2, series="1.7", volumetric=True)]
    expected = group(members)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(len(members))
        assert group([members[place] for place in order]) == expected


def test_files_without_pixels_do_not_speak_for_their_series() -> None:
    report = made("FLAIR", path=Path("0"), frames=0, fault=CaseError(Code.NO_PIXEL_DATA, "a file holds no image"))
    one = only(report, made("FLAIR", path=Path("1")))
    assert (one.slices, one.fault, one.sequence) == (1, None, "FLAIR")
    assert only(report).fault is report.fault
