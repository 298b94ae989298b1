"""Read the labels table: people edit it, so every row is checked."""

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from flairprep.cohort import case_ids
from flairprep.cohort.spreadsheet import listed, read_spreadsheet
from flairprep.core import params
from flairprep.core.errors import FlairprepError

GROUP = "split.group_column"  # as a column of the labels, it clashes with none of the table's
GIVEN = "labels.label_column"  # whether a row has a label; clashes with no column, either
DECIMAL_COMMA = re.compile(r"([+-]?\d+),(\d+)")
SHORTENED = re.compile(r"\d+[.,]0+|\d([.,]\d+)?E[+-]\d+")  # 12 as 12.0, 5000 as 5.00E+03
LONGEST_NUMBER = 20  # digits of a patient id that zeros may have been taken from
SUBJECT = "sub-"  # before an id, as the name of a BIDS subject's folder
LISTED = 3  # lines that an error lists


class LabelsParams(params.Section):
    """Section `labels` of params.yaml."""

    table: params.InsidePath
    """CSV as any spreadsheet saves it, one row per case; a change of the file reruns the same stages."""
    case_column: str
    """Its column of case ids: the folders' names, for BIDS with or without `sub-`, or patient ids."""
    label_column: str
    """Its column of labels: 0, 1 or empty; with `positive`, two texts or empty."""
    positive: str | None
    """The text that means label 1, e.g. methylated; the other one is label 0. Upper and lower case, and blanks, make no
    difference. null: labels are 0 and 1."""


def read_labels(
    section: LabelsParams,
    known: Collection[str] = (),
    key: bytes | None = None,
    group_column: str | None = None,
    sessions: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:
    """Read the labelled cases, sorted: case_id (text), label (0 or 1), every other column of the table as text.

    Rows without a label are left out. Columns of the table called case_id or label are left out too, unless they are
    these two.

    Args:
        section: section `labels` of params.yaml.
        known: case ids of the scans.
        key: the raw folder's, if it has one. Then ids that are not `known` count as patient ids and become case ids.
        group_column: adds the column GROUP, the texts of the column that has this name in the table; "" where empty.
            Of the column of ids it holds the case ids.
        sessions: of cases that are one session of a patient the patient's own id, as `cohort.sessions.patients_of`
            returns it. The patient's row stands for each of them that has no row itself.

    Raises:
        FlairprepError: no such table or column; a case without an id or listed twice; an unsafe id, or one that a
            spreadsheet changed; a label other than 0 and 1, or than the two texts.
    """
    path = Path(section.table)
    if not path.is_file():
        raise FlairprepError(f"params.yaml: labels.table: {section.table!r} is not a file; put the labels table there")
    own = {"case_column": section.case_column.strip(), "label_column": section.label_column.strip()}
    frame = read_spreadsheet(path, own.values())
    for name, column in own.items():
        _need(frame, path, column, f"labels.{name}")
    ids, texts = frame[own["case_column"]], frame[own["label_column"]]
    known = {*known, *sessions.values()}
    if (empty := ids == "").any():
        raise FlairprepError(
            f"{path}: {_lines(frame[empty])}: no {section.case_column}; name the case or delete the line"
        )
    if key is None:
        ids = ids.map(partial(_subject, known=known))
        for line, case in ids.items():
            if fault := case_ids.fault(case):
                raise FlairprepError(f"{path}: line {line}: the case id {ascii(case)[:120]} {fault}; rename the case")
    _check_numbers(path, section.case_column, ids, known, key)
    if key is None:
        case_ids.check(set(ids), str(path), "rename the case")
    else:
        ids = ids.map(lambda case: case if case in known else case_ids.pseudonym(case, key))
    if (twice := ids.duplicated()).any():
        line = ids.index[twice][0]
        case = f"case {ids[line]!r}" if key is None else "a case"  # it may be a patient id
        raise FlairprepError(f"{path}: line {line}: {case} is listed twice; keep one of the lines")
    numbers = _numbers(path, section, texts) if section.positive is None else _of_two(path, section, texts)
    others = frame.drop(columns=list({*own.values(), *frame.columns.intersection(["case_id", "label"])}))
    labelled = pd.DataFrame({"case_id": ids, "label": numbers}).join(others)
    if group_column is not None:
        _need(frame, path, group_column.strip(), GROUP)
        labelled[GROUP] = ids if group_column.strip() == own["case_column"] else frame[group_column.strip()]
    labelled = _of_sessions(labelled.assign(**{GIVEN: texts != ""}), sessions)
    labelled = labelled[labelled[GIVEN]].drop(columns=GIVEN)
    return labelled.astype({"label": int}).sort_values("case_id", ignore_index=True)


def _of_sessions(labelled: pd.DataFrame, sessions: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows with those of patients of several sessions as one per session, unless it has a row itself."""
    if not sessions:
        return labelled
    own = set(labelled["case_id"])
    row_of = {case: case if case in own else patient for case, patient in sessions.items()}
    rows = labelled.set_index("case_id", drop=False)
    of_sessions = [rows.loc[row] for row in row_of.values() if row in own]
    frame = pd.DataFrame(of_sessions, columns=labelled.columns).astype(labelled.dtypes)
    frame["case_id"] = [case for case, row in row_of.items() if row in own]
    return pd.concat([labelled[~labelled["case_id"].isin({*sessions, *sessions.values()})], frame])


def _subject(case: str, known: Collection[str]) -> str:
    """Return an id as the scans have it where they differ by BIDS's prefix of subjects alone, as 01 and sub-01 do."""
    other = case.removeprefix(SUBJECT) if case.startswith(SUBJECT) else f"{SUBJECT}{case}"
    return other if case not in known and other in known else case


def _need(frame: pd.DataFrame, path: Path, column: str, key: str) -> None:
    """Refuse a column that the table lacks, with the names of those it has."""
    if column not in frame.columns:
        near = params.suggest(column, tuple(map(str, frame.columns)))
        hint = f"; {near}" if near.startswith("did") else ""
        raise FlairprepError(
            f"{path}: no column {column!r}, which params.yaml names as {key}; it has: {listed(frame.columns)}{hint}"
        )


def _numbers(path: Path, section: LabelsParams, texts: pd.Series) -> pd.Series:
    """Return the labels of texts such as 1, 1.0 and 1,0."""
    numbers = pd.to_numeric(texts.str.replace(DECIMAL_COMMA, r"\1.\2", regex=True), errors="coerce")
    if (odd := (texts != "") & ~numbers.isin([0, 1])).any():
        raise FlairprepError(
            f"{path}: {_lines(texts[odd])}: {section.label_column} is {texts[odd].iloc[0]!r}; labels must be 0 or 1 "
            "(or empty: not labelled), or name the text that means 1 as labels.positive"
        )
    return numbers


def _of_two(path: Path, section: LabelsParams, texts: pd.Series) -> pd.Series:
    """Return the labels of texts of which one, section.positive, means 1."""
    plain, positive = texts.map(_plain), _plain(section.positive or "")
    counts = plain[plain != ""].value_counts(sort=False)
    if positive not in counts:
        raise FlairprepError(
            f"params.yaml: labels.positive: {section.positive!r}: no row of {path} has it; "
            f"{section.label_column} has: {listed([ascii(text) for text in counts.index])}"
        )
    others = counts.drop(positive)
    if len(others) > 1:
        third = plain.isin(others.drop(others.idxmax()).index)  # the commoner one means 0
        raise FlairprepError(
            f"{path}: {_lines(texts[third])}: {section.label_column} is {texts[third].iloc[0]!r}, beside "
            f"{section.positive!r} and {others.idxmax()!r}; correct the cells, or empty those of unlabelled cases"
        )
    return (plain == positive).astype(int)


def _plain(text: str) -> str:
    """Return a text without what makes no difference: upper or lower case, and blanks around and between words."""
    return " ".join(text.casefold().split())


def _check_numbers(path: Path, column: str, ids: pd.Series, known: Collection[str], key: bytes | None) -> None:
    """Refuse ids that a spreadsheet took for numbers: 12 for 00012, 12.0 for 12, 5.00E+03 for 5000.

    Only an id that no scan has is suspect. With a key its patient id is not quoted.
    """
    scanned = _scanned(known, key)
    suspects = [case not in known and (key is None or case_ids.pseudonym(case, key) not in known) for case in ids]
    unknown = ids[suspects]
    scans = unknown.map(lambda case: scanned(_digits(case)))
    at_fault = unknown[(scans != "") | unknown.str.fullmatch(SHORTENED)]
    if at_fault.empty:
        return
    case, scan = at_fault.iloc[0], scans[at_fault.index[0]]
    words = repr(case) if key is None else "the id"
    has = ""
    if scan:
        has = f"; the scans have {scan if key is None else 'it with other zeros'}"
    zeros = "0" * len(scan.removeprefix(SUBJECT))
    formula = f' by a formula such as =TEXT(A2,"{zeros}")' if scan else ""
    raise FlairprepError(
        f"{path}: {_lines(at_fault)}: {column}: {words} is what a spreadsheet makes of a number{has}. It drops leading "
        f"zeros and shortens long numbers: make that column text and enter the ids again{formula}"
    )


def _scanned(known: Collection[str], key: bytes | None) -> Callable[[str], str]:
    """Return what finds the id of a scan whose number, without leading zeros, is given; it finds "" without one."""
    if key is None:
        by_number = {digits: case for case in known if (digits := _digits(case.removeprefix(SUBJECT)))}
        return lambda digits: by_number.get(digits, "") if digits else ""

    def find(digits: str) -> str:
        if not digits:
            return ""
        padded = (digits.zfill(width) for width in range(len(digits), LONGEST_NUMBER + 1))
        return next((one for one in padded if case_ids.pseudonym(one, key) in known), "")

    return find


def _digits(case: str) -> str:
    """Return the digits of a whole number without leading zeros, however a spreadsheet writes it; "" of other texts."""
    if case.isascii() and case.isdigit():
        return case.lstrip("0") or "0"
    if not SHORTENED.fullmatch(case):
        return ""
    number = float(case.replace(",", "."))
    return f"{number:.0f}" if number.is_integer() and number < 1e15 else ""


def _lines(rows: pd.DataFrame | pd.Series) -> str:
    """Name the lines of rows: "line 3", or "lines 3, 4, 9 and 2 more"."""
    first = ", ".join(map(str, rows.index[:LISTED]))
    more = f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
    return f"line{'s' if len(rows) > 1 else ''} {first}{more}"
