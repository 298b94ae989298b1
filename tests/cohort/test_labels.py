"""The table of labels: what is read, and each fault with the line that it stands in."""

import csv
import hashlib
import hmac
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from flairprep.cohort.labels import GROUP, LabelsParams, read_labels
from flairprep.core.errors import FlairprepError
from flairprep.core.params import validate


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def section(**changed: str | None) -> LabelsParams:
    given: dict[str, str | None] = {"table": "labels.csv", "case_column": "BraTS21ID", "label_column": "MGMT_value"}
    return LabelsParams.model_validate(given | {"positive": None} | changed)


def write(*lines: str, header: str = "BraTS21ID,MGMT_value") -> None:
    Path("labels.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


def refused(known: Collection[str] = (), key: bytes | None = None, **changed: str | None) -> str:
    with pytest.raises(FlairprepError) as caught:
        read_labels(section(**changed), known, key)
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
    expected = "params.yaml: labels.table: '{}' "
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


# Ids that are no safe names, and ids that a key replaces.

HOSTILE = [
    *[
        "../../etc/passwd",
        "/abs",
        "..",
        ".",
        "a\tb",
        "a\x1b[2J",
        "a\u202eb",
        "a.",
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "x" * 101,
    ],
    *["é" * 51, "C:\\a", 'a"b', "a*", "x" * 5000],
]


def write_rows(*ids: str) -> None:
    with Path("labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("BraTS21ID", "MGMT_value"), *((case, 1) for case in ids)])


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: ascii(case)[:30])
def test_id_that_is_no_safe_name_is_refused_in_one_line_that_shows_it_escaped(case: str) -> None:
    write_rows("00002", case)
    text = refused()
    assert text.startswith(f"labels.csv: line 3: the case id {ascii(case)[:100]}")
    assert text.isprintable()
    assert text.isascii()
    assert len(text) < 300


def test_line_break_in_an_id_is_refused_in_one_line() -> None:
    write_rows("00002", "a\nb")
    text = refused()
    assert text.startswith("labels.csv: line ")
    assert r"'a\nb' holds a control character" in text
    assert text.isprintable()


@pytest.mark.parametrize("pair", [("A1", "a1"), ("é", "e\u0301")], ids=ascii)
def test_ids_that_look_alike_are_refused_together(pair: tuple[str, str]) -> None:
    write_rows("00002", *pair)
    text = refused()
    assert text.startswith("labels.csv: ")
    assert "differ only in case or Unicode form" in text
    assert text.isprintable()


KEY = bytes(range(32))


def pseudonym(patient: str) -> str:
    return hmac.new(KEY, patient.encode(), hashlib.sha256).hexdigest()[:16]


@pytest.mark.parametrize("patient", ["p1", "../../etc/passwd", "=1", "Müller^Jürgen", "x" * 400, "a\\b", "0007"])
def test_key_makes_case_ids_of_patient_ids_whatever_they_hold(patient: str) -> None:
    write_rows(f"  {patient} ")
    assert read_labels(section(), key=KEY)["case_id"].tolist() == [pseudonym(patient)]


def test_known_case_ids_stay_beside_patient_ids() -> None:
    known = pseudonym("p1")
    write_rows(known, "p2")
    assert read_labels(section(), {known}, KEY)["case_id"].tolist() == sorted([known, pseudonym("p2")])
    assert read_labels(section(), (), KEY)["case_id"].tolist() == sorted([pseudonym(known), pseudonym("p2")])


def test_other_rows_stay_with_their_patients() -> None:
    write("p1,0,a", "p2,1,b", "p3,1,c", header="BraTS21ID,MGMT_value,site")
    table = read_labels(section(), (), KEY).set_index("case_id")
    assert {patient: tuple(table.loc[pseudonym(patient)]) for patient in ("p1", "p2", "p3")} == {
        "p1": (0, "a"),
        "p2": (1, "b"),
        "p3": (1, "c"),
    }


def test_patient_and_case_id_of_one_case_are_a_case_listed_twice_and_not_quoted() -> None:
    write_rows("secret", pseudonym("secret"))
    with pytest.raises(FlairprepError) as caught:
        read_labels(section(), {pseudonym("secret")}, KEY)
    assert str(caught.value) == "labels.csv: line 3: a case is listed twice; keep one of the lines"


def test_patient_listed_twice_is_not_quoted() -> None:
    write_rows("secret", "other", " secret")
    with pytest.raises(FlairprepError) as caught:
        read_labels(section(), (), KEY)
    assert str(caught.value) == "labels.csv: line 4: a case is listed twice; keep one of the lines"


@pytest.mark.parametrize("table", ["/etc/passwd", "../labels.csv", "data/../../labels.csv", "~/labels.csv", "a\nb", ""])
def test_table_outside_the_project_is_refused_with_key_and_value(table: str) -> None:
    values = {"table": table, "case_column": "BraTS21ID", "label_column": "MGMT_value", "positive": None}
    with pytest.raises(FlairprepError) as caught:
        validate(LabelsParams, values, "labels")
    assert str(caught.value).startswith(f"params.yaml: labels.table: {table!r}: ")
    assert "\n" not in str(caught.value)


def test_pipe_is_no_table() -> None:
    os.mkfifo("labels.csv")
    assert refused().startswith("params.yaml: labels.table: 'labels.csv' ")


# Labels that are two texts.


def test_text_that_means_1_is_found_in_any_case_and_with_blanks() -> None:
    write("1, Methylated ", "2,unmethylated", "3,METHYLATED", "4,", "5,\u00a0Unmethylated")
    table = read_labels(section(positive=" methylated"))
    assert dict(table.to_numpy().tolist()) == {"1": 1, "2": 0, "3": 1, "5": 0}


def test_third_text_is_refused_with_its_rows() -> None:
    write("1,pos", "2,neg", "3,unclear", "4,NEG", "5,Pos", "6,unclear")
    text = refused(positive="pos")
    assert text.startswith("labels.csv: lines 4, 7: MGMT_value is 'unclear'")


def test_text_that_no_row_has_is_refused_with_those_there_are() -> None:
    write("1,pos", "2,neg")
    text = refused(positive="methylated")
    assert text.startswith("params.yaml: labels.positive: 'methylated': ")
    assert "'pos', 'neg'" in text


def test_two_texts_without_positive_name_the_key() -> None:
    write("1,pos", "2,neg")
    assert "labels.positive" in refused()


# Ids that a spreadsheet took for numbers.

SCANS = ("00002", "00012", "00100", "5000", "120", "1.0", "0")


@pytest.mark.parametrize(
    ("case", "scan"),
    [("12", "00012"), ("012", "00012"), ("00120", "120"), ("5.00E+03", "5000"), ("5,00E+03", "5000"), ("2.0", "00002")],
)
def test_id_that_differs_from_a_scan_in_its_form_alone_is_named(case: str, scan: str) -> None:
    write_rows("00002", "00100", "site-7", case)
    text = refused(SCANS)
    assert text.startswith(f"labels.csv: line 5: BraTS21ID: {case!r} ")
    assert scan in text


@pytest.mark.parametrize("case", ["1.23E+11", "17.0", "17,00", "1,2E-05"])
def test_id_that_lost_its_digits_is_named_though_no_scan_is_like_it(case: str) -> None:
    write_rows("00002", case)
    assert refused(SCANS).startswith(f"labels.csv: line 3: BraTS21ID: {case!r} ")


def test_ids_that_scans_have_or_no_scan_resembles_pass() -> None:
    write_rows(*SCANS, "00013", "7", "A12", "1e5")
    assert set(read_labels(section(), SCANS)["case_id"]) == {*SCANS, "00013", "7", "A12", "1e5"}


def test_rows_of_lost_zeros_are_listed_and_counted() -> None:
    known = [f"{number:05d}" for number in range(40)]
    write_rows(*(str(int(case)) if int(case) % 2 else case for case in known))
    assert refused(known).startswith("labels.csv: lines 3, 5, 7 and 17 more: BraTS21ID: '1' ")


def test_patient_id_without_its_zeros_is_named_and_not_quoted() -> None:
    known = {pseudonym("0007341"), pseudonym("55")}
    write_rows("55", "7341", "0055")
    text = refused(known, KEY)
    assert text.startswith("labels.csv: lines 3, 4: ")
    assert "7341" not in text


# Columns by their own names.


def test_group_is_the_column_that_has_the_name_in_the_table() -> None:
    write("7,2,a,0", "8,1,b,1", header="case_id,BraTS21ID,label,MGMT_value")

    def group(column: str, key: bytes | None = None) -> list[str]:
        return read_labels(section(), (), key, column)[GROUP].tolist()

    assert group("case_id") == ["8", "7"]
    assert group("label") == ["b", "a"]
    assert group("MGMT_value") == ["1", "0"]
    assert group("BraTS21ID") == ["1", "2"]
    assert group("BraTS21ID", KEY) == sorted(map(pseudonym, "12"))
    with pytest.raises(FlairprepError, match=r"no column 'site', .* split\.group_column; it has: case_id, BraTS21ID"):
        group("site")


# BIDS


def of_bids(*lines: str, known: Collection[str], table: str = "participants.tsv", **changed: str | None) -> list[Any]:
    """(case_id, label) of a BIDS table of participants."""
    Path(table).write_text("\n".join(["participant_id\tage\tmgmt\tsite", *lines]) + "\n")
    own = section(table=table, case_column="participant_id", label_column="mgmt", **changed)
    return list(read_labels(own, known)[["case_id", "label"]].itertuples(index=False, name=None))


def test_table_of_participants_is_read_as_it_is_with_n_a_for_empty() -> None:
    lines = ("sub-02\tn/a\tn/a\tx", "sub-01\t63\t1\tx", "sub-03\t61\t0\tn/a")
    assert of_bids(*lines, known=["sub-01", "sub-02", "sub-03"]) == [("sub-01", 1), ("sub-03", 0)]
    own = section(table="participants.tsv", case_column="participant_id", label_column="mgmt")
    assert list(read_labels(own, group_column="site")[GROUP]) == ["x", ""]
    with pytest.raises(FlairprepError, match="'n/a'"):  # no empty cell in a table that is none of BIDS
        of_bids(*lines, known=[], table="participants.csv")


def test_texts_of_participants_may_be_labels() -> None:
    lines = ("sub-1\t\tMethylated\t", "sub-2\t\tunmethylated\t", "sub-3\t\tn/a\t")
    assert of_bids(*lines, known=["sub-1"], positive="methylated") == [("sub-1", 1), ("sub-2", 0)]


@pytest.mark.parametrize(("ids", "known"), [(("01", "sub-02"), ("sub-01", "sub-02")), (("sub-01", "02"), ("01", "02"))])
def test_ids_with_and_without_sub_meet(ids: tuple[str, str], known: tuple[str, str]) -> None:
    found = of_bids(f"{ids[0]}\t\t1\t", f"{ids[1]}\t\t0\t", known=known)
    assert found == [(known[0], 1), (known[1], 0)]


def test_subject_listed_with_and_without_sub_is_listed_twice() -> None:
    with pytest.raises(FlairprepError, match="twice"):
        of_bids("01\t\t1\t", "sub-01\t\t1\t", known=["sub-01"])


def test_subject_that_lost_its_zeros_is_named_with_its_scan() -> None:
    with pytest.raises(FlairprepError, match=r"line 2.*sub-0001.*TEXT\(A2,\"0000\"\)"):
        of_bids("1\t\t1\t", known=["sub-0001"])
