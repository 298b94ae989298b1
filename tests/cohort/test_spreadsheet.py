"""Tables as spreadsheets of several locales save them hold the same cells."""

import codecs
import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from flairprep.cohort.spreadsheet import read_spreadsheet
from flairprep.core.errors import FlairprepError

ROWS = [("Fall", "Größe", "Ort"), ("00012", "1,0", "Köln"), ("00002", "0,0", 'a;b,c\t"d"|e'), ("3", "", "x\ny")]
WANTED = ("Fall", "Größe")


def text(separator: str) -> str:
    """The table as the csv module writes it."""
    lines = io.StringIO(newline="")
    csv.writer(lines, delimiter=separator, lineterminator="\r\n").writerows(ROWS)
    return lines.getvalue()


def read(content: bytes, columns: tuple[str, ...] = WANTED) -> pd.DataFrame:
    Path("t.csv").write_bytes(content)
    return read_spreadsheet(Path("t.csv"), columns)


def refused(content: bytes) -> str:
    with pytest.raises(FlairprepError) as caught:
        read(content)
    return str(caught.value)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"], ids=["comma", "semicolon", "tab", "bar"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_separator_and_encoding_make_no_difference(separator: str, encoding: str) -> None:
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    frame = read(mark + text(separator).encode(encoding))
    assert tuple(frame.columns) == ROWS[0]
    assert [tuple(row) for row in frame.to_numpy().tolist()] == ROWS[1:]
    assert frame.index.tolist() == [2, 3, 5]  # the last cell has two lines


def test_old_line_ends_and_a_line_that_names_the_separator() -> None:
    assert read(text(";").replace("\r\n", "\r").encode())["Fall"].tolist() == ["00012", "00002", "3"]
    frame = read(b"sep=|\r\n" + text("|").encode())
    assert frame["Größe"].tolist() == ["1,0", "0,0", ""]
    assert frame.index.tolist() == [3, 4, 6]


def test_blanks_around_names_and_cells_are_no_part_of_them() -> None:
    frame = read(" Fall ;\u00a0Größe; \n 1 ;0;\n".encode())
    assert frame.to_dict("list") == {"Fall": ["1"], "Größe": ["0"]}


def test_rows_of_empty_cells_are_no_rows() -> None:
    frame = read("Fall;Größe\n;\n1;0\n ;\u00a0\n;;\n2;\n;1\n\n;\n".replace(";;", ";").encode())
    assert frame.to_dict("index") == {
        **{3: {"Fall": "1", "Größe": "0"}, 6: {"Fall": "2", "Größe": ""}, 7: {"Fall": "", "Größe": "1"}}
    }
    assert read("Fall;Größe\n;\n".encode()).shape == (0, 2)


def test_formula_that_keeps_a_text_is_its_text() -> None:
    whole = b'Fall,Gr\xc3\xb6\xc3\x9fe,Ort\n="00012","=""1""",=1+1\n="=""x""",0,"=a"\n'
    assert read(whole).to_numpy().tolist() == [["00012", "1", "=1+1"], ['="=""x"""', "0", "=a"]]


def test_columns_are_told_apart_where_none_is_the_wanted_one() -> None:
    assert read(b"a;b,c;d\n1;2;3\n", ("x", "y")).columns.tolist() == ["a", "b,c", "d"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04rest", "workbook"),
        (b"\xd0\xcf\x11\xe0rest", "workbook"),
        (text(",").encode("utf-16-le"), "UTF-16"),  # without its mark
        (b"Fall,Gr\xf6\xdfe\n1,0\nx\x81,1\n", "line 3"),
        (codecs.BOM_UTF16_LE + b"a", "utf-16"),
        ("Fall,Größe\n1,0,0\n".encode(), "3 cells in line 2"),  # a decimal comma between commas
        ("Fall,Größe,Fall\n1,0,2\n".encode(), "two columns 'Fall'"),
        (b'Fall,"b\n', "quote"),
        (b"", "empty"),
    ],
)
def test_what_cannot_be_read_is_named(content: bytes, words: str) -> None:
    message = refused(content)
    assert message.startswith("t.csv: ")
    assert words in message
    assert "\n" not in message
