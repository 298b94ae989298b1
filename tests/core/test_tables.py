"""CSV tables: text as it stands, nothing a spreadsheet would run, and a table that is refused rather than misread."""

import csv
import itertools
import random
from pathlib import Path

import pandas as pd
import pytest

from flairprep.core.errors import FlairprepError
from flairprep.core.tables import read_csv, read_rows, write_csv, write_rows


def test_cells_are_read_back_as_the_text_that_they_were(tmp_path: Path) -> None:
    cells = ["00002", "NA", "", "1.0", "nan", "None", "True", "1e5", " a", 'say "no", twice', "zwei\nZeilen", "ä"]
    frame = pd.DataFrame({"case_id": cells, "other": cells[::-1]})
    write_csv(tmp_path / "a.csv", frame)
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()
    assert read_csv(tmp_path / "a.csv").to_dict("list") == frame.to_dict("list")


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"\xef\xbb\xbfa,b\r\n00002,1\r\n", [["00002", "1"]]),  # as Excel saves it
        (b"a,b\n1,2\n\n3,4\n\n", [["1", "2"], ["3", "4"]]),
        (b"a,b\n1\n2,3\n", [["1", ""], ["2", "3"]]),
        (b"a,b\n", []),
        (b"a,b,,\n1,2,,\n3,4,,\n", [["1", "2"], ["3", "4"]]),  # as Excel saves columns that were emptied
        (b'a,b\n"1" ,2\n', [["1 ", "2"]]),
        (b'a,b\n1,5" disk\n', [["1", '5" disk']]),
        (b'a,b\n1,"2"', [["1", "2"]]),
    ],
)
def test_tables_of_other_programs_are_read(content: bytes, rows: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    frame = read_csv(tmp_path / "a.csv", ("a", "b"))
    assert list(frame.columns) == ["a", "b"]
    assert frame.to_numpy().tolist() == rows


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"a,b\n1,2\n1,2,3\n",
        b"a,b\n1,2,3\n1,2,3\n",  # more cells than names: which is which?
        b"a,b\nM\xfcller,1\n",  # not UTF-8
        b'a,b\n"1,2\n',
        b'a,b\n1,2\n3,"4',
        b'a,b\n1,2\n3,"',
    ],
)
def test_what_is_no_table_is_refused_in_one_line_that_names_it(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FlairprepError) as caught:
        read_csv(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as a CSV table (")
    assert "\n" not in str(caught.value)


def test_what_stands_in_a_line_that_is_too_long_may_be_an_id_and_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\nDoe^Jane,1,2\n")
    with pytest.raises(FlairprepError, match="2 columns, but 3 cells in line 3") as caught:
        read_csv(tmp_path / "a.csv")
    assert "Doe" not in str(caught.value)


def test_columns_of_one_name_or_none_are_told_apart_as_pandas_does_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,a,a.1,,\n1,2,3,4,5,\n6,7,8,9,,\n")
    expected = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    frame = read_csv(tmp_path / "a.csv", ("b",))
    assert frame.columns.tolist() == ["a", "b", "a.1", "a.1.1", "Unnamed: 4"]
    assert frame.to_numpy().tolist() == expected.iloc[:, :5].to_numpy().tolist()
    assert read_rows(tmp_path / "a.csv") == frame.to_dict("records")
    with pytest.raises(FlairprepError, match="two columns 'a'; it has: a, b, a"):
        read_csv(tmp_path / "a.csv", ("a",))


def test_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FlairprepError, match="no column 'fold'; it has: a, b"):
        read_csv(tmp_path / "a.csv", ("a", "fold"))


# Formulas: what a spreadsheet would run, OWASP's "CSV injection".

FORMULAS = [
    *[
        "=1+1",
        "=HYPERLINK(1)",
        "@SUM(A1)",
        "+1+1",
        "-1-1",
        "+A1",
        "-A1",
        "--1",
        "+-1",
        "-",
        "+",
        "-.",
        "\t=1",
        "\r=1",
        "\t",
    ],
    *["-1 ", "-1e", "-1e-", "-e5", "+E5", "-1,5", "-1.5.2", "-inf", "+nan", "-0x1F", "=", "@", "-1\n", "- 1", "-1%"],
]
NUMBERS = ["-4.5", "+3", "1e-5", "-1e-05", "-1E+5", "0", "-0", "-0.25", "+.5", "-5.", "1", "00002", "-1000000"]
PLAIN = [
    "",
    "a",
    "a=b",
    "a-b",
    "1-2",
    " ",
    "'",
    "''",
    "'a",
    "it's",
    "a'",
    "é",
    "“=1”",
    "NOT_DICOM",
    "40-49",
    "'1",
    "'-1",
]


def raw_cells(path: Path) -> list[str]:
    """The second column as another program reads it."""
    with path.open(encoding="utf-8", newline="") as lines:
        return [row[1] for row in csv.reader(lines)][1:]


def round_trip(cells: list[str], path: Path) -> list[str]:
    """By both ways to write a table and to read it, which are to agree."""
    frame = pd.DataFrame({"case_id": [str(number) for number in range(len(cells))], "cell": cells})
    write_csv(path, frame)
    content = path.read_bytes()
    write_rows(path, frame.to_dict("records"), ("case_id", "cell"))  # type: ignore[arg-type]
    assert path.read_bytes() == content
    back = read_csv(path)
    assert read_rows(path) == back.to_dict("records")
    return back["cell"].tolist()


@pytest.mark.parametrize("cell", FORMULAS, ids=ascii)
def test_cell_that_a_spreadsheet_would_run_has_an_apostrophe_in_the_file_only(cell: str, tmp_path: Path) -> None:
    assert round_trip([cell], tmp_path / "a.csv") == [cell]
    assert raw_cells(tmp_path / "a.csv") == [f"'{cell}"]


@pytest.mark.parametrize("cell", [*NUMBERS, *PLAIN], ids=ascii)
def test_number_and_plain_text_stand_in_the_file_as_they_are(cell: str, tmp_path: Path) -> None:
    assert round_trip([cell], tmp_path / "a.csv") == [cell]
    assert raw_cells(tmp_path / "a.csv") == [cell]


def test_numbers_of_a_frame_are_written_as_numbers(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", pd.DataFrame({"i": [-3, 2], "x": [-4.5, -1e-05]}))
    assert (tmp_path / "a.csv").read_text() == "i,x\n-3,-4.5\n2,-1e-05\n"


def test_any_cell_comes_back_and_no_two_cells_look_alike_in_the_file(tmp_path: Path) -> None:
    """Property: over every short word of the characters that matter, and many longer ones at random."""
    alphabet = "'=+-@\t1.e a"
    cells = ["".join(word) for length in range(4) for word in itertools.product(alphabet, repeat=length)]
    source = random.Random(0)
    characters = "'''===+++---@@\t\r\n\",;0123456789.eE abcäé患 \u2028\x1f"
    cells += ["".join(source.choices(characters, k=source.randint(1, 12))) for _ in range(20_000)]
    cells = list(dict.fromkeys(cells))
    assert round_trip(cells, tmp_path / "a.csv") == cells
    written = raw_cells(tmp_path / "a.csv")
    assert len(set(written)) == len(cells)
    for cell, shown in zip(cells, written, strict=True):
        if shown and shown[0] in "=@\t\r+-":
            assert is_number(shown), cell
        assert shown in (cell, f"'{cell}")


def is_number(text: str) -> bool:
    """Whether a spreadsheet takes it for a number: a sign, digits with at most one point, an exponent."""
    return text.isascii() and "_" not in text and text == text.strip() and text[-1:] not in "fFnNyY" and _floats(text)


def _floats(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_carriage_returns_within_a_cell_do_not_end_its_row(tmp_path: Path) -> None:
    cells = ["a\rb", "a\r\nb", "a\n\rb", "\n", "a\r"]
    assert round_trip(cells, tmp_path / "a.csv") == cells
