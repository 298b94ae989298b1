"""`flairprep verdict --predictions`: the verdict on predictions of any framework, without the pipeline."""

from pathlib import Path

import numpy as np
import pandas as pd

from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.core.files import number
from flairprep.core.tables import read_csv
from flairprep.evaluation import predictions
from flairprep.evaluation.measures import EvaluateParams, measure
from flairprep.evaluation.verdict import sentence

COLUMNS = ("epoch", "case_id", "label", "probability")
DEFAULTS = EvaluateParams(alpha=0.05, permutations=10_000, seed=0, prevalence=None, primary="auc")


def verdict(path: Path) -> str:
    """Return the verdict on a CSV of epoch, case_id, label, probability, and group where cases share a patient.

    The same numbers as of the pipeline's own val_predictions.csv. The epoch with the smallest loss is the best. alpha
    and permutations come from params.yaml where there is one.

    Raises:
        FlairprepError: the file is no such table; it names the line and the remedy.
    """
    section = params.load(EvaluateParams, "evaluate") if params.FILE.is_file() else DEFAULTS
    rows = read_rows(path)
    split = rows[["case_id", "group"]].drop_duplicates()
    measures = measure(predictions.from_tables(rows, split), "val_loss", section)
    measures = {key: number(value) if isinstance(value, float) else value for key, value in measures.items()}
    return sentence(measures, section.alpha)


def read_rows(path: Path) -> pd.DataFrame:
    """Read and check the table of `verdict`; without a column `group` each case is its own.

    Raises:
        FlairprepError: see `verdict`.
    """
    rows = read_csv(path, COLUMNS)
    if rows.empty:
        raise FlairprepError(f"{path}: no predictions; write one row per epoch and case")
    if "group" not in rows:
        rows["group"] = rows["case_id"]
    checks = (
        ("epoch", rows["epoch"].str.fullmatch(r"\d+"), "must be a whole number"),
        ("case_id", rows["case_id"] != "", "must not be empty"),
        ("label", rows["label"].isin(["0", "1", "0.0", "1.0"]), "must be 0 or 1"),
        ("probability", pd.to_numeric(rows["probability"], errors="coerce").between(0, 1), "must be 0 to 1"),
    )
    for column, good, rule in checks:
        if not good.all():
            _refuse(path, rows, ~good, column, rule)
    if (twice := rows.duplicated(["epoch", "case_id"])).any():
        _refuse(path, rows, twice, "case_id", "is there twice in its epoch; keep one row")
    for column in ("label", "group"):
        if (other := rows.groupby("case_id")[column].transform("first") != rows[column]).any():
            _refuse(path, rows, other, column, "is another one than in the case's first row")
    counts = rows.groupby("epoch")["case_id"].nunique()
    if counts.nunique() > 1:
        epoch = counts.idxmin()
        raise FlairprepError(f"{path}: epoch {epoch} has {counts.min()} of {counts.max()} cases; each epoch needs all")
    return rows


def _refuse(path: Path, rows: pd.DataFrame, bad: pd.Series, column: str, rule: str) -> None:
    place = int(np.flatnonzero(bad)[0])
    raise FlairprepError(f"{path}: line {place + 2}: {column} {rows[column].iloc[place]!r} {rule}")
