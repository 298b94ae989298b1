"""What a look at a table of labels finds: its columns, and the text that means 1."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import raw_folder

from flairprep.cohort.labels import LabelsParams, read_labels
from flairprep.core.errors import FlairprepError
from flairprep.study import labels

IDS = [f"{number:05d}" for number in range(6)]
AGES = ["50", "61", "72", "50", "61", "72"]
SEX = ["F", "M", "F", "M", "F", "M"]
BITS = ["1", "0", "0", "1", "1", ""]
TEXTS = ["Methylated", "unmethylated", "unmethylated", "methylated", " METHYLATED", ""]


def table(path: Path, separator: str = ",", **columns: Sequence[str]) -> Path:
    rows = [list(columns), *(list(row) for row in zip(*columns.values(), strict=True))]
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_are_found_by_what_they_hold(tmp_path: Path, separator: str) -> None:
    path = table(tmp_path / "t.csv", separator, age=AGES, scan=IDS, value=BITS)
    found = labels.look(path, IDS, None)
    assert (found.case_column, found.label_column, found.positive) == ("scan", "value", None)
    assert (found.rows, found.matched, found.counts) == (6, 6, {"0": 2, "1": 3, "": 1})


def test_of_several_columns_of_two_values_the_one_called_so_has_the_labels(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", sex=SEX, scan=IDS, MGMT_value=BITS)
    assert labels.look(path, IDS, None).label_column == "MGMT_value"
    path = table(tmp_path / "t.csv", sex=SEX, scan=IDS, x=BITS)
    with pytest.raises(FlairprepError, match=r"--label-column.*sex, x"):
        labels.look(path, IDS, None)
    assert labels.look(path, IDS, None, "x").counts["1"] == 3


def test_two_texts_need_the_one_that_means_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = table(Path("t.csv"), scan=IDS, mgmt=TEXTS)
    with pytest.raises(FlairprepError, match=r"methylated \(3\) and unmethylated \(2\).*--positive"):
        labels.look(path, IDS, None)
    with pytest.raises(FlairprepError, match="--positive yes"):
        labels.look(path, IDS, None, positive="yes")
    found = labels.look(path, IDS, None, positive="METHYLATED")
    section = LabelsParams(
        table="t.csv",
        **{key: value for key, value in dataclasses.asdict(found).items() if key in LabelsParams.model_fields},
    )
    assert read_labels(section)["label"].tolist() == [1, 0, 0, 1, 1]  # what the stages make of the found values


@pytest.mark.parametrize("column", [["a", "b", "c"] * 2, ["1", "0", "2"] * 2, ["1"] * 6, [""] * 6])
def test_other_than_two_values_are_no_labels(tmp_path: Path, column: list[str]) -> None:
    path = table(tmp_path / "t.csv", scan=IDS, mgmt=column)
    with pytest.raises(FlairprepError, match="--label-column"):
        labels.look(path, IDS, None)
    if set(column) != {"1"}:
        with pytest.raises(FlairprepError, match="mgmt"):
            labels.look(path, IDS, None, "mgmt")


@pytest.mark.parametrize("cells", [[f"sub-{one}" for one in IDS], [one.lstrip("0") or "0" for one in IDS]])
def test_ids_are_found_by_bids_and_after_a_spreadsheet(tmp_path: Path, cells: list[str]) -> None:
    path = table(tmp_path / "t.csv", age=AGES, scan=cells, value=BITS)
    found = labels.look(path, [one for one in IDS if one != "00000"], None)
    assert found.case_column == "scan"
    assert found.matched == 5


def test_patient_ids_are_matched_by_the_key_and_never_told(tmp_path: Path) -> None:
    patients = ["MILLER", "SMITH", "KING"]
    path = table(tmp_path / "t.csv", patient=patients, value=["1", "0", "1"])
    keyed = {raw_folder.pseudonym(patient) for patient in patients[:2]}
    found = labels.look(path, keyed, raw_folder.KEY)
    assert (found.case_column, found.matched) == ("patient", 2)
    assert not any(patient in " ".join(found.describe()) for patient in patients)
    with pytest.raises(FlairprepError) as refused:
        labels.look(path, {"ab", "cd"}, None)
    assert not any(patient in str(refused.value) for patient in patients)


def test_without_scans_the_first_column_of_unlike_cells_has_the_ids(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", age=AGES, scan=IDS, other=[*IDS[::-1]], value=BITS)
    found = labels.look(path, None, None)
    assert (found.case_column, found.matched) == ("scan", None)
    with pytest.raises(FlairprepError, match="age, value"):
        labels.look(table(tmp_path / "u.csv", age=AGES, value=BITS), None, None)
    with pytest.raises(FlairprepError, match="--labels"):
        labels.look(tmp_path / "missing.csv", None, None)
