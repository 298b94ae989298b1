"""Cases that share a patient, a study or voxels: rows of same_as.csv, and values that identify nobody."""

import hashlib
import hmac

import pytest

from flairprep.cohort.identity import IDENTITY, pseudonymise, same_as

SECRET = bytes(range(32))


def identity(**values: str) -> dict[str, str]:
    return dict.fromkeys(IDENTITY, "") | values


def test_each_cell_is_the_first_case_that_shares_the_value() -> None:
    rows = same_as(
        {
            "c": identity(patient="p", voxels="v"),
            "a": identity(patient="p", study="s"),
            "b": identity(patient="q", study="s", voxels="v"),
        }
    )
    assert rows == [
        {"case_id": "a", "patient": "a", "study": "a", "frame_of_reference": "a", "voxels": "a"},
        {"case_id": "b", "patient": "b", "study": "a", "frame_of_reference": "b", "voxels": "b"},
        {"case_id": "c", "patient": "a", "study": "c", "frame_of_reference": "c", "voxels": "b"},
    ]


def test_value_of_one_kind_is_not_that_of_another() -> None:
    rows = same_as({"a": identity(patient="1.2"), "b": identity(study="1.2")})
    assert [row["study"] for row in rows] == ["a", "b"]


def test_empty_value_is_shared_with_nobody() -> None:
    assert all(set(row.values()) == {row["case_id"]} for row in same_as({"b": identity(), "a": identity()}))


@pytest.mark.parametrize("patient", ["007", "Müller^Jürgen", "a\udcffb"])
def test_pseudonyms_are_equal_where_values_are_and_never_show_them(patient: str) -> None:
    first, again = (pseudonymise(identity(patient=patient), SECRET) for _ in range(2))
    assert first == again
    plain = patient.encode("utf-8", "surrogatepass")
    assert first["patient"] == hmac.new(SECRET, plain, hashlib.sha256).hexdigest()
    assert pseudonymise(identity(patient=f"{patient}0"), SECRET)["patient"] != first["patient"]
    assert pseudonymise(identity(patient=patient), SECRET[::-1])["patient"] != first["patient"]
    assert {key for key, value in first.items() if not value} == {"study", "frame_of_reference", "voxels"}
