"""Read and write CSV tables: text cells, sorted rows, nothing a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flairprep.core.errors import FlairprepError
from flairprep.core.files import write_text

if TYPE_CHECKING:
    import pandas as pd


Row = dict[str, str]
Quoting = Literal[0, 1]  # csv.QUOTE_MINIMAL, csv.QUOTE_ALL
# Cells that spreadsheets run (OWASP, CSV Injection): no numbers; apostrophes in front count, so that none is lost.
FORMULA = re.compile(r"'*([=@\t\r]|[+-](?!(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\Z))", re.IGNORECASE)
END = "\x02"  # a line after the last; an unclosed quote swallows it


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write the `columns` of `rows` as `write_csv` does, without pandas, which is slow to import.

    Raises:
        KeyError: a row lacks one of `columns`.
        OSError: the file cannot be written, as on a full disk.
    """

    def text(quoting: Quoting) -> str:
        lines = io.StringIO(newline="")
        writer = csv.writer(lines, lineterminator="\n", quoting=quoting)
        writer.writerow(columns)
        writer.writerows([_safe(row[name]) for name in columns] for row in rows)
        return lines.getvalue()

    rows = list(rows)
    _write(path, text)


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write `frame` atomically, as CSV with "\\n" line ends.

    Text that a spreadsheet would run as a formula gets an apostrophe in front, which `read_csv` removes.
    """
    safe = frame.map(_safe)
    _write(path, lambda quoting: safe.to_csv(index=False, lineterminator="\n", quoting=quoting))


def _safe(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def _write(path: Path, text: Callable[[Quoting], str]) -> None:
    plain = text(csv.QUOTE_MINIMAL)
    write_text(path, text(csv.QUOTE_ALL) if "\r" in plain else plain)  # some Pythons leave "\r" unquoted


def read_rows(path: Path, columns: Sequence[str] = ()) -> list[Row]:
    """Read the rows of a table as `read_csv` does, without pandas.

    Raises:
        FlairprepError: see `read_csv`.
    """
    names, lines = _read(path, columns)
    return [dict(zip(names, line, strict=True)) for line in lines]


def read_csv(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table with every cell as text: "00002" and "NA" stay as they are, an empty cell is "".

    Empty columns without a name, as Excel saves them, are dropped. Other names are as in pandas: a third column without
    a name is "Unnamed: 2", the second "name" is "name.1".

    Raises:
        FlairprepError: the file cannot be read, is not CSV, or one of `columns` is missing or there twice.
    """
    import pandas as pd

    names, lines = _read(path, columns)
    return pd.DataFrame(lines, columns=names, dtype=str)


def _read(path: Path, columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Return the names of the columns and the cells of each line; a short line gets empty cells at its end."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names, lines = parse(file)
    except (OSError, ValueError, csv.Error) as error:  # UnicodeDecodeError is a ValueError
        raise FlairprepError(f"{path}: cannot be read as a CSV table ({' '.join(str(error).split())})") from error
    for column in columns:
        if (times := names.count(column)) != 1:
            what = "two columns" if times else "no column"
            raise FlairprepError(f"{path}: {what} {column!r}; it has: {', '.join(names)}")
    kept = kept_columns(names, lines.values())
    return list(kept.values()), [[line[index] for index in kept] for line in lines.values()]


def parse(file: Iterable[str], separator: str = ",") -> tuple[list[str], dict[int, list[str]]]:
    """Parse the lines of a table: the cells of its first row, and those of the others by the number of their last line.

    Blank lines are skipped, and a short row gets empty cells at its end.

    Raises:
        ValueError: it is empty, a quote is not closed, or a row has more cells than the first.
        csv.Error: a cell is longer than csv allows.
    """
    reader = csv.reader(chain(file, [END]), delimiter=separator)
    lines = [(reader.line_num, line) for line in reader if line and not (len(line) == 1 and line[0].isspace())]
    if lines.pop()[1] != [END]:
        raise ValueError("a quote is not closed")
    if not lines:
        raise ValueError("it is empty")
    _, names = lines.pop(0)
    for number, line in lines:  # named by its number: its cells may hold patient ids
        if len(line) > len(names):
            raise ValueError(f"{len(names)} columns, but {len(line)} cells in line {number}")
    return names, {number: [_unsafe(cell) for cell in line] + [""] * (len(names) - len(line)) for number, line in lines}


def kept_columns(names: Sequence[str], lines: Collection[Sequence[str]]) -> dict[int, str]:
    """Return the distinct names of the columns by their index, without empty columns that have no name.

    A column without a name is "Unnamed: 2", the second "name" is "name.1".
    """
    distinct: dict[int, str] = {}
    for index, given in enumerate(names):
        if not given and not any(line[index] for line in lines):
            continue
        name = first = given or f"Unnamed: {index}"
        for number in count(1):
            if name not in distinct.values():
                break
            name = f"{first}.{number}"
        distinct[index] = name
    return distinct


def _unsafe(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell
