"""Codes of cases: each is the text of its own name, and says what it does to a case."""

from typing import get_args

from flairprep.core.codes import EITHER, WARNS, Code, Kind


def test_every_code_is_its_own_name() -> None:
    assert [code.value for code in Code] == list(Code.__members__)
    assert f"{Code.MOSAIC}" == "MOSAIC"


def test_every_code_has_a_kind_a_cause_and_a_remedy() -> None:
    for code in Code:
        assert code.kind in get_args(Kind)
        assert code.cause
        assert code.remedy
    assert {code for code in Code if code.kind == "warning"} == WARNS
    assert {code for code in Code if code.kind == "warning or failure"} == EITHER
