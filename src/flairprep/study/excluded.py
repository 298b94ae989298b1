"""Turn ratings into ingest.exclude of params.yaml, and leave all else in it as its user wrote it."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flairprep.core.errors import FlairprepError
from flairprep.core.tables import Row
from flairprep.study import params_text

COLUMNS = ("case_id", "rating", "comment")
KEY = "ingest.exclude"
RATINGS = ("good", "doubtful", "exclude")
UNSAID = "rated exclude"  # the reason where there is no comment


class Excluded(NamedTuple):
    """The new text of params.yaml. added: case -> reason; already: cases that it listed before."""

    text: str
    added: dict[str, str]
    already: list[str]


def exclude(text: str, rows: Sequence[Row], known: Collection[str], listed: Mapping[str, str], table: Path) -> Excluded:
    """Add the cases that are rated exclude to ingest.exclude, with their comments as reasons.

    Args:
        text: of params.yaml.
        rows: of the ratings, with COLUMNS.
        known: the cases that there are.
        listed: ingest.exclude in `text`; what it says of a case stays.
        table: where the ratings come from, for messages.

    Raises:
        FlairprepError: a rating is none of RATINGS, a case is unknown or rated twice, or params.yaml cannot be edited.
    """
    faults, ratings = [], dict[str, Row]()
    for line, row in enumerate(rows, 2):
        case = row["case_id"]
        if row["rating"] not in RATINGS:
            faults.append(f"{table}: line {line}: rating {row['rating']!r}: write one of {', '.join(RATINGS)}")
        if case not in known:
            faults.append(
                f"{table}: line {line}: case_id {case!r}: no such case in data/ingest/cases.csv; remove the line"
            )
        if case in ratings:
            faults.append(f"{table}: line {line}: case_id {case!r}: rated twice; keep one line")
        ratings[case] = row
    if faults:
        raise FlairprepError("\n       ".join(faults))
    chosen = {case: row for case, row in ratings.items() if row["rating"] == "exclude"}
    added = {
        case: " ".join(row["comment"].split()) or UNSAID for case, row in sorted(chosen.items()) if case not in listed
    }
    already = [case for case in sorted(chosen) if case in listed]
    return Excluded(params_text.with_entries(text, KEY, added) if added else text, added, already)
