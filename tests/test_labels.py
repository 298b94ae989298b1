"""The table of labels: what is read, and each fault with the line that it stands in."""

from pathlib import Path

import pytest

from flairprep.errors import FlairprepError
from flairprep.labels import Params, read_labels


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def section(**changed: str) -> Params:
    return Params(**{"table": "labels.csv", "case_column": "BraTS21ID", "label_column": "MGMT_value"} | changed)


def write(*lines: str, header: str = "BraTS21ID,MGMT_value") -> None:
    Path("labels.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def refused(**changed: str) -> str:
    with pytest.raises(FlairprepError) as caught:
        read_labels(section(**changed))
    return str(caught.value)


def test_cases_are_sorted_text_and_labels_whole_numbers() -> None:
    write("00010,1", "00002,0", " 00003 , 1 ", "1e5,1.0")
    assert read_labels(section()).to_dict("list") == {
        "case_id": ["00002", "00003", "00010", "1e5"],
        "label": [0, 1, 1, 1],
    }


def test_case_without_a_label_is_left_out() -> None:
    write("00002,", "00003,0", "00004,  ", "00005")
    assert read_labels(section())["case_id"].tolist() == ["00003"]


def test_other_columns_stay_text_in_their_rows() -> None:
    write("NA,007,00010,1", ",x,00002,0", header="site,label,BraTS21ID,MGMT_value")
    table = read_labels(section())
    assert table.columns.tolist() == ["case_id", "label", "site"]  # `label` is the label
    assert table.to_numpy().tolist() == [["00002", 0, ""], ["00010", 1, "NA"]]


def test_byte_order_mark_and_carriage_returns_of_excel_are_no_part_of_the_table() -> None:
    Path("labels.csv").write_bytes(b"\xef\xbb\xbfBraTS21ID,MGMT_value\r\n00002,1\r\n")
    assert read_labels(section()).to_numpy().tolist() == [["00002", 1]]


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        (["1,0", ",1"], 3, "no BraTS21ID"),
        (["1,0", "  ,1"], 3, "no BraTS21ID"),
        (["1,0", "2,1", "1,0"], 4, "case '1' is listed twice"),
        (["1,0", " 1 ,1"], 3, "case '1' is listed twice"),
        (["1,0", "", "  ", "2,2"], 5, "MGMT_value is '2'"),  # blank lines count
        (['"1', '",0', "2,x"], 4, "MGMT_value is 'x'"),  # as do those within a cell
        *(
            ([f"1,{label}"], 2, f"MGMT_value is {label!r}")
            for label in ("-1", "0.5", "yes", "True", "nan", "inf", "NA")
        ),
    ],
)
def test_fault_is_told_with_its_line(lines: list[str], line: int, message: str) -> None:
    write(*lines)
    assert refused().startswith(f"labels.csv: line {line}: {message}")


def test_missing_table_is_told_with_its_key() -> None:
    expected = "params.yaml: labels.table: '{}' is no file"
    assert refused().startswith(expected.format("labels.csv"))
    assert refused(table=".").startswith(expected.format("."))


@pytest.mark.parametrize("key", ["case_column", "label_column"])
def test_missing_column_is_told_with_its_key_and_the_nearest_one(key: str) -> None:
    write("00002,1", header="BraTS21ID,MGMT_value")
    wanted = {"case_column": "BraTS21Id", "label_column": "MGMT_values"}[key]
    near = {"case_column": "BraTS21ID", "label_column": "MGMT_value"}[key]
    text = refused(**{key: wanted})
    assert text.startswith(f"labels.csv: no column {wanted!r}, which params.yaml names as labels.{key}; ")
    assert text.endswith(f"did you mean {near!r}?")


def test_table_that_is_no_csv_is_refused() -> None:
    write("00002,1,", "00003,0,")  # a cell more than the header: not to be read one column off
    assert refused().startswith("labels.csv: cannot be read as a CSV table")
