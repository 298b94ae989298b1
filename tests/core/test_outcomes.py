"""Outcomes of cases and their rows: sorted, with one code, and failures that the next stage gets."""

import pickle
from pathlib import Path

import pytest

from flairprep.core.codes import EITHER, WARNS, Code
from flairprep.core.outcomes import (
    OUTCOME_COLUMNS,
    CaseError,
    Outcome,
    Status,
    count_failures,
    failure,
    separate_failures,
    success,
    table,
)
from flairprep.core.tables import read_rows, write_rows


def test_table_is_sorted_and_what_a_case_lacks_is_empty() -> None:
    outcomes = [
        Outcome("10", Status.OK, row={"slices": 64, "spacing": 0.5, "beyond": 1}),
        failure("2", CaseError(Code.MOSAIC, "a mosaic")),
        Outcome("00002", Status.WARNED, Code.INVERTED, "inverted", {"slices": 20}),
    ]
    columns = ("case_id", "status", "code", "slices", "spacing")
    assert [list(row.items()) for row in table(outcomes, columns)] == [
        list(zip(columns, cells, strict=True))
        for cells in (
            ("00002", "warned", "INVERTED", "20", ""),
            ("10", "ok", "", "64", "0.5"),
            ("2", "failed", "MOSAIC", "", ""),
        )
    ]
    assert table([]) == []


def test_failures_are_handed_on_and_the_others_go_on(tmp_path: Path) -> None:
    outcomes = [Outcome("a", Status.OK), failure("b", CaseError(Code.MOSAIC, "why")), Outcome("c", Status.WARNED)]
    write_rows(tmp_path / "cases.csv", table(outcomes), OUTCOME_COLUMNS)
    failed, going = separate_failures(read_rows(tmp_path / "cases.csv"))
    assert failed == [outcomes[1]]
    assert [row["case_id"] for row in going] == ["a", "c"]


def test_case_error_survives_the_way_back_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(CaseError(Code.MOSAIC, "why")))
    assert (error.code, error.message) == (Code.MOSAIC, "why")


@pytest.mark.parametrize("code", sorted(WARNS))
def test_a_code_that_only_warns_fails_no_case(code: Code) -> None:
    with pytest.raises(ValueError, match=code):
        CaseError(code, "why")


@pytest.mark.parametrize("code", sorted(set(Code) - WARNS - EITHER))
def test_a_code_that_fails_a_case_does_not_warn(code: Code) -> None:
    with pytest.raises(ValueError, match=code):
        success("a", [(Code.INVERTED, "inverted"), (code, "why")], {})


def test_notes_make_a_case_warned_with_the_first_code_and_the_text_of_all() -> None:
    assert success("a", [], {"rows": 3}) == Outcome("a", Status.OK, row={"rows": 3})
    notes = [(Code.NOT_DICOM, "one file"), (Code.INVERTED, "inverted")]
    assert success("a", notes, {}) == Outcome("a", Status.WARNED, "NOT_DICOM", "one file; inverted")


def test_excluded_cases_count_neither_as_failed_nor_as_tried() -> None:
    errors = [CaseError(code, "why") for code in (Code.EXCLUDED, Code.MOSAIC, Code.EXCLUDED)]
    outcomes = [*(failure(f"{number}", error) for number, error in enumerate(errors)), Outcome("3", Status.WARNED)]
    assert count_failures(outcomes) == (1, 2)
    assert count_failures([]) == (0, 0)
