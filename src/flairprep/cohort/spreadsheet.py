"""Read a table as spreadsheets of any locale save it: its encoding, its separator, and the line of each row."""

import codecs
import csv
import io
import re
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from flairprep.core.errors import FlairprepError
from flairprep.core.tables import kept_columns, parse

SEPARATORS = (",", ";", "\t", "|")
NAMED_SEPARATOR = re.compile(r'"?sep=(.)"?(\r\n|\r|\n)')  # Excel's own first line
# The longer marks first: that of UTF-16 begins that of UTF-32.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # zip: xlsx, ods; OLE: xls
TEXT_FORMULA = re.compile(r'="([^"]*)"')  # keeps a spreadsheet from making a number of the text
MISSING = "n/a"  # of BIDS's tables
REMEDY = "save it as 'CSV UTF-8'"
LISTED = 20  # names of columns that an error lists


def read_spreadsheet(path: Path, columns: Collection[str]) -> pd.DataFrame:
    """Read a table with every cell as text, indexed by the number of each row's line.

    Encodings are UTF-8, UTF-16 and UTF-32 with their mark, and Windows-1252, which Latin-1's text is part of. The
    separator is the comma, semicolon, tab or bar that a first line "sep=;" names, else the one that gives `columns`.
    Blanks around names and cells are no part of them, and ="007" is 007. Rows of empty cells are left out. In a .tsv,
    BIDS's "n/a" is an empty cell.

    Raises:
        FlairprepError: the file cannot be read or is a workbook; a row has more cells than the first; or one of
            `columns` is there twice. A missing one is the caller's, who knows its key.
    """
    text, first = _text(path), 0
    separators: tuple[str, ...] = SEPARATORS
    if named := NAMED_SEPARATOR.match(text):
        text, first, separators = text[named.end() :], 1, (named[1],)
    separator = max(separators, key=lambda one: _fit(text, one, columns))  # the first of equals
    try:
        names, lines = parse(io.StringIO(text, newline=""), separator)
    except (ValueError, csv.Error) as error:
        raise FlairprepError(
            f"{path}: cannot be read as a CSV table ({' '.join(str(error).split())}, cells end at {separator!r}); "
            f"quote cells that hold {separator!r}, decimal commas for example, or {REMEDY}"
        ) from error
    names = [name.strip() for name in names]
    for column in columns:
        if names.count(column) > 1:
            raise FlairprepError(f"{path}: two columns {column!r}; rename one of them")
    kept = kept_columns(names, lines.values())
    empty = MISSING if path.suffix.lower() == ".tsv" else ""
    rows = {
        first + number: [cell if (cell := _cell(line[index])) != empty else "" for index in kept]
        for number, line in lines.items()
    }
    filled = {number: cells for number, cells in rows.items() if any(cells)}
    return pd.DataFrame(list(filled.values()), list(filled), list(kept.values()), dtype=str)


def listed(columns: Collection[str]) -> str:
    """List the names of a table's columns for an error."""
    names = list(map(str, columns))
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _text(path: Path) -> str:
    """Decode a file by its mark, else as UTF-8, else as Windows-1252."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FlairprepError(f"{path}: cannot be read as a CSV table ({error.strerror})") from error
    if content.startswith(WORKBOOKS):
        raise FlairprepError(f"{path}: a spreadsheet's workbook, not a CSV table; open it and {REMEDY}")
    marked = next((name for mark, name in MARKS if content.startswith(mark)), None)
    if not marked and b"\0" in content:
        raise FlairprepError(f"{path}: cannot be read as a CSV table (it holds NUL bytes, as UTF-16 does); {REMEDY}")
    for encoding in [marked] if marked else ["utf-8-sig", "cp1252"]:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError as error:
            line, place = content[: error.start].count(b"\n") + 1, error.start
    kind = marked or "UTF-8 or Windows-1252"
    raise FlairprepError(f"{path}: line {line}: byte {place} is not {kind}; open it in a spreadsheet and {REMEDY}")


def _cell(text: str) -> str:
    plain = text.strip()
    formula = TEXT_FORMULA.fullmatch(plain)
    return formula[1].strip() if formula else plain


def _fit(text: str, separator: str, columns: Collection[str]) -> tuple[int, int]:
    """Return how many of `columns` the first row has where `separator` ends its cells, then how many cells it has."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = [name.strip() for name in next((row for row in rows if any(map(str.strip, row))), [])]
    except csv.Error:
        return 0, 0
    return len(set(names) & set(columns)), len(names)
