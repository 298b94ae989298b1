"""Record what became of a case: a row with a status and a short code, not a line in a log."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from flairprep.core.codes import EITHER, WARNS, Code
from flairprep.core.tables import Row

OUTCOME_COLUMNS = ("case_id", "status", "code", "message")


class Status(StrEnum):
    """Status of a case after a stage."""

    OK = "ok"
    WARNED = "warned"
    FAILED = "failed"


class CaseError(Exception):
    """Stops one case, which becomes a row of the stage's table; the others go on."""

    def __init__(self, code: Code, message: str) -> None:
        if code in WARNS:
            raise ValueError(f"{code} only warns")
        super().__init__(code, message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class Outcome:
    """A case's row in a stage's table; `row` holds further columns than OUTCOME_COLUMNS."""

    case_id: str
    status: Status
    code: str = ""
    message: str = ""
    row: dict[str, Any] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        """Return the row for `table`."""
        cells = {"case_id": self.case_id, "status": self.status.value, "code": self.code, "message": self.message}
        return {**cells, **self.row}


def failure(case_id: str, error: CaseError) -> Outcome:
    """Return the outcome of a case that `error` stopped."""
    return Outcome(case_id, Status.FAILED, error.code.value, error.message)


def success(case_id: str, notes: Sequence[tuple[Code, str]], row: dict[str, Any]) -> Outcome:
    """Return the outcome of a case that goes on; notes make it warned, with the first code and the text of all."""
    if not notes:
        return Outcome(case_id, Status.OK, row=row)
    if fails := [code for code, _ in notes if code not in WARNS | EITHER]:
        raise ValueError(f"{fails[0]} does not warn")
    return Outcome(case_id, Status.WARNED, notes[0][0].value, "; ".join(text for _, text in notes), row)


def separate_failures(rows: Sequence[Row]) -> tuple[list[Outcome], list[Row]]:
    """Separate the previous stage's table into the failed cases' outcomes and the other cases' rows."""
    failed = [row for row in rows if row["status"] == Status.FAILED]
    outcomes = [Outcome(row["case_id"], Status.FAILED, row["code"], row["message"]) for row in failed]
    return outcomes, [row for row in rows if row["status"] != Status.FAILED]


def table(outcomes: Sequence[Outcome], columns: Sequence[str] = OUTCOME_COLUMNS) -> list[Row]:
    """Return the outcomes as rows of `columns`, sorted by case_id; missing cells are empty."""
    rows = [{name: str(outcome.as_row().get(name, "")) for name in columns} for outcome in outcomes]
    return sorted(rows, key=lambda row: row["case_id"])


def count_failures(outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """Return how many cases failed, and of how many, excluded ones aside."""
    tried = [outcome for outcome in outcomes if outcome.code != Code.EXCLUDED]
    return sum(outcome.status is Status.FAILED for outcome in tried), len(tried)
