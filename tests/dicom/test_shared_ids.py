"""Patient ids that heads of different people share are told of before split keeps them in one fold."""

from typing import Any

import pytest

from flairprep.dicom.shared_ids import NAMED, warnings_of


def told(*cases: tuple[str, str, str], rows: dict[int, dict[str, Any]] | None = None) -> list[str]:
    """The lines about cases of (patient, study, voxels), some with columns of cases.csv."""
    ids = [f"{place:05d}" for place in range(len(cases))]
    words = ("patient", "study", "voxels")
    identities = {case_id: dict(zip(words, case, strict=True)) for case_id, case in zip(ids, cases, strict=True)}
    columns = {case_id: (rows or {}).get(place, {}) for place, case_id in enumerate(ids)}
    return warnings_of(identities, columns)


def shared(number: int, patient: str = "p") -> list[tuple[str, str, str]]:
    return [(patient, f"{patient} study {place}", f"{patient} head {place}") for place in range(number)]


@pytest.mark.parametrize("number", [4, 20, 40])
def test_placeholder_of_many_studies_is_told_of_with_the_remedy(number: int) -> None:
    [line] = told(*shared(number), ("other", "s", "v"))
    assert f"{number} case folders" in line
    assert f"{number} studies" in line
    assert "00000" in line
    assert "split.group_column" in line


@pytest.mark.parametrize(
    ("rows", "number"),
    [
        ({0: {"sex": "M"}, 1: {"sex": "F"}}, 1),
        ({0: {"age_band": "20-29"}, 1: {"age_band": "50-59"}}, 1),
        ({0: {"age_band": "90+"}, 1: {"age_band": "50-59"}}, 1),
        ({0: {"age_band": "50-59"}, 1: {"age_band": "60-69"}}, 0),  # a birthday between two scans
        ({0: {"sex": "M"}, 1: {"sex": ""}}, 0),
        ({}, 0),
    ],
)
def test_two_scans_are_one_persons_unless_sex_or_age_contradicts(rows: dict[int, dict[str, str]], number: int) -> None:
    assert len(told(*shared(2), rows=rows)) == number


@pytest.mark.parametrize(
    "cases",
    [
        [("", f"s{place}", f"v{place}") for place in range(9)],  # nobody's
        [("p", "s", f"v{place}") for place in range(9)],  # one study
        [("p", f"s{place}", "v") for place in range(9)],  # one head under many names
        [(f"p{place}", f"s{place}", f"v{place}") for place in range(9)],
    ],
)
def test_nothing_is_told_where_no_heads_share_an_id(cases: list[tuple[str, str, str]]) -> None:
    assert told(*cases) == []


def test_many_shared_ids_are_few_lines_and_none_names_an_id() -> None:
    lines = told(*(case for patient in "abcdefgh" for case in shared(4, f"CANARY {patient}")))
    assert len(lines) == NAMED + 1
    assert "CANARY" not in "".join(lines)


def test_sessions_of_one_patient_are_expected_to_share_its_id() -> None:
    """Five sessions of one folder say nothing; folders that share an id do, however many sessions each has."""
    studies = [f"study {place}" for place in range(5)]

    def lines(cases: list[str]) -> list[str]:
        identities = {
            case: {"patient": "p", "study": study, "voxels": study} for case, study in zip(cases, studies, strict=True)
        }
        return warnings_of(identities, {case: {"session": case.split("_")[1]} for case in cases})

    assert lines([f"a_{session}" for session in range(1, 6)]) == []
    assert len(lines(["a_1", "b_1", "c_1", "d_1", "d_2"])) == 1
