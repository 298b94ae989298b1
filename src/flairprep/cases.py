"""The tables of cases: one row a case, a status and a short code instead of a log line."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flairprep.errors import FlairprepError
from flairprep.files import write_text

if TYPE_CHECKING:  # who only shows progress imports this module, and pandas costs a third of a second
    import pandas as pd

# What spreadsheets run: OWASP, CSV injection. Numbers are none, and apostrophes in front are counted, not lost.
FORMULA = re.compile(r"'*([=@\t\r]|[+-](?!(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\Z))", re.IGNORECASE)
OUTCOME_COLUMNS = ("case_id", "status", "code", "message")


class Status(StrEnum):
    """What became of a case."""

    OK = "ok"
    WARNED = "warned"
    FAILED = "failed"


class Code(StrEnum):
    """Why a case failed or was warned of; what to do about each stands in docs/codes.md."""

    NO_SERIES = "NO_SERIES"
    AMBIGUOUS_SERIES = "AMBIGUOUS_SERIES"
    LINK_OUTSIDE = "LINK_OUTSIDE"
    NOT_DICOM = "NOT_DICOM"
    NOT_MR = "NOT_MR"
    NO_PIXEL_DATA = "NO_PIXEL_DATA"
    NOT_GRAYSCALE = "NOT_GRAYSCALE"
    NOT_MAGNITUDE = "NOT_MAGNITUDE"
    SECONDARY_CAPTURE = "SECONDARY_CAPTURE"
    MOSAIC = "MOSAIC"
    LOCALIZER = "LOCALIZER"
    BURNED_IN = "BURNED_IN"
    UNSUPPORTED_TRANSFER_SYNTAX = "UNSUPPORTED_TRANSFER_SYNTAX"
    DECODE_FAILED = "DECODE_FAILED"
    TOO_LARGE = "TOO_LARGE"
    TIMED_OUT = "TIMED_OUT"
    CRASHED = "CRASHED"
    NO_GEOMETRY = "NO_GEOMETRY"
    MIXED_ORIENTATION = "MIXED_ORIENTATION"
    MIXED_SIZE = "MIXED_SIZE"
    GANTRY_TILT = "GANTRY_TILT"
    MULTIPLE_VOLUMES = "MULTIPLE_VOLUMES"
    DUPLICATE_SLICES = "DUPLICATE_SLICES"
    MISSING_SLICES = "MISSING_SLICES"
    UNEVEN_SPACING = "UNEVEN_SPACING"
    TOO_FEW_SLICES = "TOO_FEW_SLICES"
    BLANK_VOLUME = "BLANK_VOLUME"
    BLANK_SLICES = "BLANK_SLICES"
    INVERTED = "INVERTED"
    MARKED_SERIES = "MARKED_SERIES"
    WHOLE_HEAD = "WHOLE_HEAD"
    EXCLUDED = "EXCLUDED"
    EMPTY_FOREGROUND = "EMPTY_FOREGROUND"
    CONSTANT_FOREGROUND = "CONSTANT_FOREGROUND"
    OUT_OF_RANGE = "OUT_OF_RANGE"


# The one table of what warns: these never fail a case, EITHER may do both, and every other code fails it.
WARNS = frozenset({Code.DUPLICATE_SLICES, Code.BLANK_SLICES, Code.INVERTED, Code.MARKED_SERIES, Code.WHOLE_HEAD})
EITHER = frozenset({Code.NOT_DICOM, Code.NO_PIXEL_DATA, Code.DECODE_FAILED, Code.GANTRY_TILT, Code.MISSING_SLICES})


class CaseError(Exception):
    """A case that cannot go on; it becomes a row of the stage's table and ends nothing else."""

    def __init__(self, code: Code, message: str) -> None:
        if code in WARNS:
            raise ValueError(f"{code} only warns")
        super().__init__(code, message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Outcome:
    """What a stage's per-case function gives back: the row of the case, and what else the stage's table holds."""

    case_id: str
    status: Status
    code: str = ""
    message: str = ""
    row: dict[str, Any] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        """The row for `table`."""
        outcome = {"case_id": self.case_id, "status": self.status.value, "code": self.code, "message": self.message}
        return {**outcome, **self.row}


def failure(case_id: str, error: CaseError) -> Outcome:
    """The outcome of a case that `error` stopped."""
    return Outcome(case_id, Status.FAILED, error.code.value, error.message)


def success(case_id: str, notes: Sequence[tuple[Code, str]], row: dict[str, Any]) -> Outcome:
    """The outcome of a case that goes on, warned where there are notes: the code of the first, the text of all."""
    if not notes:
        return Outcome(case_id, Status.OK, row=row)
    if fails := [code for code, _ in notes if code not in WARNS | EITHER]:
        raise ValueError(f"{fails[0]} does not warn")
    return Outcome(case_id, Status.WARNED, notes[0][0].value, "; ".join(text for _, text in notes), row)


def remove_failed(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Removes the volumes of failed cases: a worker may be killed after it wrote one and before it said so."""
    for outcome in outcomes:
        if outcome.status is Status.FAILED:
            (folder / f"{outcome.case_id}.nii.gz").unlink(missing_ok=True)


def passed_on(rows: pd.DataFrame) -> tuple[list[Outcome], pd.DataFrame]:
    """The former stage's table as the failures to hand on and the rows of the cases that go on."""
    failed = rows["status"] == Status.FAILED.value
    lost = [rows.loc[failed, name] for name in ("case_id", "code", "message")]
    return [Outcome(case, Status.FAILED, code, text) for case, code, text in zip(*lost, strict=True)], rows[~failed]


def table(outcomes: list[Outcome], columns: tuple[str, ...] = OUTCOME_COLUMNS) -> pd.DataFrame:
    """The outcomes as a table of `columns`, sorted by case_id; what a case lacks is empty."""
    rows = [{name: str(outcome.as_row().get(name, "")) for name in columns} for outcome in outcomes]
    return frame(rows, columns).sort_values("case_id", kind="stable", ignore_index=True)


def frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows as a table of `columns`, also where there is no row."""
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns))


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """`frame` as CSV with "\\n" line ends, whole or not at all.

    A text that a spreadsheet would run as a formula gets an apostrophe in front, which `read_csv` takes off again.
    """
    safe = frame.map(lambda cell: f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell)
    plain = safe.to_csv(index=False, lineterminator="\n")
    # Not every Python quotes a carriage return by itself.
    text = safe.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_ALL) if "\r" in plain else plain
    write_text(path, text)


def read_csv(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table with every cell as text ("00002" and "NA" stay what they are; an empty cell is "").

    Raises:
        FlairprepError: the file cannot be read, is no CSV, or lacks one of `columns`.
    """
    import pandas as pd

    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):  # lines longer than the header
            frame = pd.read_csv(path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig")
    except (OSError, ValueError, pd.errors.ParserWarning) as error:  # pandas' parser and Unicode errors are ValueErrors
        raise FlairprepError(f"{path}: cannot be read as a CSV table ({' '.join(str(error).split())})") from error
    frame = frame.map(lambda cell: cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell)
    for column in columns:
        if column not in frame.columns:
            raise FlairprepError(f"{path}: no column {column!r}; it has: {', '.join(map(str, frame.columns))}")
    return frame
