"""What becomes of a case: a status and a short code in a row, instead of a line in a log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass
from flairprep.core.codes import EITHER, WARNS, Code
from flairprep.core.tables import Row

OUTCOME_COLUMNS = ("case_id", "status", "code", "message")


class Status(StrEnum):
    """What became of a case."""

    OK = "ok"
    WARNED = "warned"
    FAILED = "failed"


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
        """Return the row for `table`."""
        outcome = {"case_id": self.case_id, "status": self.status.value, "code": self.code, "message": self.message}
        return {**outcome, **self.row}


def failure(case_id: str, error: CaseError) -> Outcome:
    """Return the outcome of a case that `error` stopped."""
    return Outcome(case_id, Status.FAILED, error.code.value, error.message)


def success(case_id: str, notes: Sequence[tuple[Code, str]], row: dict[str, Any]) -> Outcome:
    """Return the outcome of a case that goes on, warned where there are notes: the first code, the text of all."""
    if not notes:
        return Outcome(case_id, Status.OK, row=row)
    if fails := [code for code, _ in notes if code not in WARNS | EITHER]:
        raise ValueError(f"{fails[0]} does not warn")
    return Outcome(case_id, Status.WARNED, notes[0][0].value, "; ".join(text for _, text in notes), row)


def remove_failed(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Remove the volumes of failed cases: a killed worker may have written one before it could say so."""
    for outcome in outcomes:
        if outcome.status is Status.FAILED:
            (folder / f"{outcome.case_id}.nii.gz").unlink(missing_ok=True)


def separate_failures(rows: Sequence[Row]) -> tuple[list[Outcome], list[Row]]:
    """Separate the former stage's table into failures to hand on and rows of the cases that go on."""
    failed = [row for row in rows if row["status"] == Status.FAILED]
    lost = [Outcome(row["case_id"], Status.FAILED, row["code"], row["message"]) for row in failed]
    return lost, [row for row in rows if row["status"] != Status.FAILED]


def table(outcomes: Sequence[Outcome], columns: Sequence[str] = OUTCOME_COLUMNS) -> list[Row]:
    """Return the outcomes as rows of `columns`, sorted by case_id; missing cells are empty."""
    rows = [{name: str(outcome.as_row().get(name, "")) for name in columns} for outcome in outcomes]
    return sorted(rows, key=lambda row: row["case_id"])


def too_many_failures(outcomes: list[Outcome], max_failed: float) -> str | None:
    """Return what to say where over `max_failed` of the cases failed (excluded ones aside), else None."""
    tried = [outcome for outcome in outcomes if outcome.code != Code.EXCLUDED]
    failed = [outcome for outcome in tried if outcome.status is Status.FAILED]
    if len(failed) <= max_failed * len(tried):
        return None
    return (
        f"params.yaml: ingest.max_failed: {max_failed}: {len(failed)} of {len(tried)} cases failed, reasons above; "
        "fix or remove them, list them in ingest.exclude, or raise it"
    )
