"""Read and write CSV tables: text cells, sorted rows, nothing a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flairprep.core.errors import FlairprepError
from flairprep.core.files import write_text

if TYPE_CHECKING:
    import pandas as pd


Row = dict[str, str]
Quoting = Literal[0, 1]  # csv.QUOTE_MINIMAL, csv.QUOTE_ALL
# What spreadsheets run: OWASP, CSV injection. Numbers are none, and apostrophes in front are counted, not lost.
FORMULA = re.compile(r"'*([=@\t\r]|[+-](?!(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\Z))", re.IGNORECASE)
END = "\x02"  # a line after the last one, which an open quote swallows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write the `columns` of `rows` as `write_csv` does, without pandas, which takes long to import.

    Raises:
        KeyError: a row lacks one of `columns`.
        OSError: the disk did not take it whole.
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
    """Write `frame` as CSV with "\\n" line ends, whole or not at all.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, which `read_csv` takes off again.
    """
    safe = frame.map(_safe)
    _write(path, lambda quoting: safe.to_csv(index=False, lineterminator="\n", quoting=quoting))


def _safe(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def _write(path: Path, text: Callable[[Quoting], str]) -> None:
    plain = text(csv.QUOTE_MINIMAL)
    write_text(path, text(csv.QUOTE_ALL) if "\r" in plain else plain)  # which not every Python quotes by itself


def read_rows(path: Path, columns: Sequence[str] = ()) -> list[Row]:
    """Read the rows of a table as `read_csv` does, without pandas.

    Raises:
        FlairprepError: see `read_csv`.
    """
    names, lines = _read(path, columns)
    return [dict(zip(names, line, strict=True)) for line in lines]


def read_csv(path: Path, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table with every cell as text ("00002" and "NA" stay what they are; an empty cell is "").

    Columns without a name are left out where they are empty, as Excel saves them. Otherwise names are as in pandas: the
    third column without one is Unnamed: 2, the second of a name is name.1.

    Raises:
        FlairprepError: the file cannot be read, is no CSV, or lacks one of `columns`, or has two of it.
    """
    import pandas as pd

    names, lines = _read(path, columns)
    return pd.DataFrame(lines, columns=names, dtype=str)


def _read(path: Path, columns: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The names of the columns and the cells of each line; a short line has empty cells at its end."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(chain(file, [END]))
            lines = [(reader.line_num, line) for line in reader if line and not (len(line) == 1 and line[0].isspace())]
        if lines.pop()[1] != [END]:
            raise ValueError("a quote is not closed")
        if not lines:
            raise ValueError("it is empty")
        _, names = lines.pop(0)
        for number, line in lines:  # by its number: what stands in it may be the id of a patient
            if len(line) > len(names):
                raise ValueError(f"{len(names)} columns, but {len(line)} cells in line {number}")
    except (OSError, ValueError, csv.Error) as error:  # an error of Unicode is a ValueError
        raise FlairprepError(f"{path}: cannot be read as a CSV table ({' '.join(str(error).split())})") from error
    for column in columns:
        if (times := names.count(column)) != 1:
            what = "two columns" if times else "no column"
            raise FlairprepError(f"{path}: {what} {column!r}; it has: {', '.join(names)}")
    cells = [[_unsafe(cell) for cell in line] + [""] * (len(names) - len(line)) for _, line in lines]
    kept = [place for place, name in enumerate(names) if name or any(line[place] for line in cells)]
    return _distinct(names, kept), [[line[place] for place in kept] for line in cells]


def _distinct(names: Sequence[str], kept: Sequence[int]) -> list[str]:
    """The names at the places `kept`, each once."""
    found: list[str] = []
    for place in kept:
        name = first = names[place] or f"Unnamed: {place}"
        for number in count(1):
            if name not in found:
                break
            name = f"{first}.{number}"
        found.append(name)
    return found


def _unsafe(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell
