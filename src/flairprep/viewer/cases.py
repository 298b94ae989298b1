"""Which cases there are, and what the tables of the run say of one."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import Row, read_rows
from flairprep.report.case_overview import acquisition
from flairprep.report.explanations import HIGH
from flairprep.viewer.volumes import OUTCOME, VOLUMES

CASES = Path("data/ingest/cases.csv")
SPLIT = Path("data/split/split.csv")
VALIDATED, TESTED = Path("reports/evaluate/cases.csv"), Path("data/train/test_predictions.csv")
NEAR = 5  # case ids that an error names
APART = 0.01  # difference of two probabilities of one network that rounding does not explain
ROLES = {"val_fold": "validated on", "test_fold": "tested on"}
TRAINED = "trained on"  # the other folds


class Facts(NamedTuple):
    """What is known of a case, as texts; unknown ones are empty.

    notice: a code of ingest with its message. outcome: the declared probability, or why there is none. peak: position
    of the map's largest response, LPS in mm. doubt: why the map says little.
    """

    notice: str
    label: str
    fold: str
    outcome: str
    acquired: str
    scanner: str
    correlation: str
    peak: str
    doubt: str


def listed() -> list[str]:
    """Return the ids of the cases that have a volume in data/ingest, sorted.

    Raises:
        FlairprepError: ingest has not run.
    """
    if not CASES.is_file():
        raise FlairprepError(
            f"{CASES}: missing, so no case is known; in the folder of a study or a clone, dvc repro ingest makes it, "
            f"dvc checkout {CASES.parent} restores it"
        )
    ids = sorted(row["case_id"] for row in read_rows(CASES, OUTCOME))
    plain = [case_id for case_id in ids if Path(case_id).name == case_id]  # a name, no path that leads elsewhere
    return [case_id for case_id in plain if (VOLUMES / f"{case_id}.nii.gz").is_file()]


def check(case_id: str, known: Sequence[str]) -> None:
    """Refuse a case that has no volume.

    Raises:
        FlairprepError: with its code where it failed, else with the cases of the nearest ids.
    """
    if case_id in known:
        return
    rows = {row["case_id"]: row for row in read_rows(CASES, OUTCOME)}
    if row := rows.get(case_id):
        why = (
            f"{row['code']}: {row['message']}" if row["status"] == "failed" else "dvc checkout data/ingest restores it"
        )
        raise FlairprepError(f"case {case_id} has no volume in {VOLUMES}: {why}")
    near = difflib.get_close_matches(case_id, known, NEAR, 0.5) or known[:NEAR]
    said = f"near it: {', '.join(near)}; " if near else ""
    raise FlairprepError(f"{CASES}: no case {case_id!r}; {said}the file lists all {len(rows)}")


def facts(case_id: str, maps: Path) -> Facts:
    """Join what the tables say of a case; a table that is not there says nothing.

    Raises:
        FlairprepError: a table or params.yaml cannot be read.
    """
    ingested, home = _row(CASES, case_id), _row(SPLIT, case_id)
    explained = _row(maps / "explain.csv", case_id) if (maps / f"{case_id}.nii.gz").is_file() else {}
    role = _role(home.get("fold", ""))
    outcome, probability = _outcome(case_id, role)
    return Facts(
        notice=": ".join(filter(None, (ingested.get("code"), ingested.get("message")))),
        label=home.get("label", ""),
        fold=f"{home['fold']}, {role}" if home else "",
        outcome=outcome,
        acquired=acquisition(ingested),
        scanner=" ".join(filter(None, (ingested.get("manufacturer"), _tesla(ingested)))),
        correlation=explained.get("correlation", ""),
        peak=" ".join(explained[f"peak_{axis}"] for axis in "xyz") if explained else "",
        doubt=_doubt(explained, probability),
    )


def _row(table: Path, case_id: str) -> Row:
    rows = read_rows(table, ("case_id",)) if table.is_file() else []
    return next((row for row in rows if row["case_id"] == case_id), {})


def _role(fold: str) -> str:
    values = params.read_params()
    return next((role for key, role in ROLES.items() if fold and str(values[key]) == fold), TRAINED)


def _outcome(case_id: str, role: str) -> tuple[str, str]:
    """Return what is said of the prediction, and the probability, "" where there is none."""
    table = TESTED if role == ROLES["test_fold"] else VALIDATED
    if not VALIDATED.is_file():
        return "no run yet: dvc repro makes one", ""
    row = _row(table, case_id)
    if not row:
        return f"none, since it was {role}" if role == TRAINED else f"none in {table}", ""
    often = f", wrong in {100 * float(row['wrong']):.0f} % of the epochs" if row.get("wrong") else ""
    return f"{float(row['probability']):.3f}{often}", row["probability"]


def _tesla(row: Row) -> str:
    return f"{row['field_strength']} T" if row.get("field_strength") else ""


def _doubt(explained: Row, probability: str) -> str:
    if not explained:
        return ""
    if probability and abs(float(explained["probability"]) - float(probability)) > APART:
        return (
            f"The map is of another network: it gave the case {float(explained['probability']):.3f}, this run "
            f"{float(probability):.3f}."
        )
    if not explained["correlation"] or float(explained["correlation"]) >= HIGH:
        return "The map resembles its control: it shows the input, not what was learned."
    return ""
