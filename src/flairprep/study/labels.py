"""Look at a table of labels for what section `labels` of params.yaml needs: its columns, and the text that means 1."""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flairprep.cohort import case_ids
from flairprep.cohort.spreadsheet import listed, read_spreadsheet
from flairprep.core.errors import FlairprepError

NAMES = re.compile(r"mgmt|methyl|label|class|target|outcome|status", re.IGNORECASE)  # that columns of labels have
SUBJECT = "sub-"
ZERO, ONE = {"0", "0.0", "0,0"}, {"1", "1.0", "1,0"}


@dataclass(frozen=True)
class Columns:
    """What a table holds. positive: the text that means 1, None where labels are 0 and 1.

    rows: of the table; matched: those whose id is one of the scans; counts: label, "" for none -> rows.
    """

    case_column: str
    label_column: str
    positive: str | None
    rows: int
    matched: int | None
    counts: dict[str, int]

    def describe(self) -> list[str]:
        """Return what was found, as sentences without any id."""
        with_scan = f", {self.matched} of them with a scan" if self.matched is not None else ""
        counts = ", ".join(f"{count} of {text}" if text else f"{count} empty" for text, count in self.counts.items())
        means = f"; 1 is {self.positive}" if self.positive else ""
        columns = f"ids in {self.case_column}, labels in {self.label_column} ({counts}{means})"
        return [f"{self.rows} rows{with_scan}: {columns}"]


def look(
    table: Path,
    ids: Collection[str] | None,
    key: bytes | None,
    label_column: str | None = None,
    positive: str | None = None,
) -> Columns:
    """Find the columns of ids and of labels, and which text means 1.

    ids: of the scans, None where there are none to compare with. key: of the raw folder. label_column, positive: as
    the user names them.

    Raises:
        FlairprepError: a column cannot be told, or labels are two texts and `positive` is none of them; with the option
            that says so.
    """
    if not table.is_file():
        raise FlairprepError(f"--labels {table}: not a file; name the table of labels, as CSV")
    frame = read_spreadsheet(table, [])
    case_column, matched = _case_column(table, frame, ids, key)
    column = _label_column(table, frame.drop(columns=case_column), label_column)
    texts = frame[column].str.strip()
    plain = Counter(texts.map(_plain))
    return Columns(
        case_column=case_column,
        label_column=column,
        positive=_positive(table, column, plain, positive),
        rows=len(frame),
        matched=matched if ids is not None else None,
        counts={text: plain[text] for text in sorted(plain, key=lambda one: (one == "", one))},
    )


def _plain(text: str) -> str:
    """Return a label without what makes no difference, as `cohort.labels` reads it."""
    plain = " ".join(text.casefold().split())
    return "0" if plain in ZERO else "1" if plain in ONE else plain


def _case_column(table: Path, frame: pd.DataFrame, ids: Collection[str] | None, key: bytes | None) -> tuple[str, int]:
    """Return the column of ids, and how many of its rows have a scan; without scans the first one of unlike cells."""
    columns = list(frame.columns)
    if ids is None:
        unlike = [name for name in columns if frame[name].is_unique and (frame[name] != "").all()]
        if not unlike:
            raise FlairprepError(f"--labels {table}: no column has another id in every row; it has: {listed(columns)}")
        return unlike[0], 0
    for same in (_same(set(ids), key), _same_number(ids)):  # a spreadsheet may have dropped zeros: check tells
        matches = {name: int(frame[name].map(same).sum()) for name in columns}
        if matches and (best := max(columns, key=lambda name: matches[name])) and matches[best]:
            return best, matches[best]
    raise FlairprepError(
        f"--labels {table}: no column holds ids of the scans, which are the folders' names, or the patient ids of an "
        f"export; it has: {listed(columns)}"
    )


def _same(ids: set[str], key: bytes | None) -> Callable[[str], bool]:
    def same(cell: str) -> bool:
        own = {cell, cell.removeprefix(SUBJECT), f"{SUBJECT}{cell}"}
        return bool(cell) and not ids.isdisjoint(own | ({case_ids.pseudonym(cell, key)} if key else set()))

    return same


def _same_number(ids: Collection[str]) -> Callable[[str], bool]:
    numbers = {case.removeprefix(SUBJECT).lstrip("0") for case in ids if case.removeprefix(SUBJECT).isdigit()}
    return lambda cell: cell.isdigit() and cell.lstrip("0") in numbers


def _label_column(table: Path, frame: pd.DataFrame, given: str | None) -> str:
    """Return the column of labels: the given one, else the only one of two values, or of those the one called so."""
    if given is not None:
        if given not in frame.columns:
            raise FlairprepError(f"--label-column {given}: {table} has: {listed(frame.columns)}")
        return given
    of_two = [name for name in frame.columns if len(set(frame[name].map(_plain)) - {""}) == 2]
    called = [name for name in of_two if NAMES.search(name)]
    for some in (of_two, called):
        if len(some) == 1:
            return some[0]
    known = listed(called or of_two or list(frame.columns))
    why = "several columns have two values" if of_two else "no column has two values"
    raise FlairprepError(f"--labels {table}: {why}; name the one of labels, --label-column NAME: {known}")


def _positive(table: Path, column: str, plain: Counter[str], given: str | None) -> str | None:
    texts = sorted(set(plain) - {""})
    if texts and set(texts) <= {"0", "1"} and given is None:
        return None
    told = " and ".join(f"{text} ({plain[text]})" for text in texts[:4]) + (", ..." if len(texts) > 4 else "")
    if len(texts) != 2:
        raise FlairprepError(f"{table}: column {column} must hold 0 and 1, or two texts; it has {told or 'nothing'}")
    if given is None:
        option = f"--positive {shlex.quote(texts[0])}"
        raise FlairprepError(f"{table}: column {column} holds {told}; name the one that means 1, e.g. {option}")
    if _plain(given) not in texts:
        raise FlairprepError(f"--positive {given}: column {column} of {table} holds {told}; name one of them")
    return given
