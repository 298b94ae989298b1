"""split: assign a fold to every labelled case, stratified, grouped, and stable while the cohort grows."""

from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from flairprep.cohort import case_ids, folds, labels, sessions
from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Status
from flairprep.core.tables import read_csv, write_csv

INGEST = Path("data/ingest")
OUT = Path("data/split")


class SplitParams(params.Section):
    """Section `split` of params.yaml."""

    seed: int
    """Of the home folds; another one is another split."""
    folds: int = Field(ge=2, le=100)
    """One of them validates: 5 folds are an 80-20 split."""
    group_column: str | None
    """A column of the labels table whose cases stay together, by its name there; null: the patient."""
    stratify_by: Annotated[tuple[str, ...], Field(strict=False)]
    """What each fold gets its share of: label, and columns of the labels table or of `data/ingest/cases.csv`."""


def split(cases: pd.DataFrame, same_as: pd.DataFrame, labelled: pd.DataFrame, params: SplitParams) -> pd.DataFrame:
    """Return the table of split.csv (case_id, label, group, fold) for the labelled cases that did not fail.

    A group shares the patient of same_as.csv, or the column labels.GROUP of `labelled`, where an empty cell makes a
    group of its own, which all sessions of a patient share. Its first case names it. Strata are the label and the
    columns of params.stratify_by, from the labels table or cases.csv.

    Raises:
        FlairprepError: no such column, or too few groups in a stratum.
    """
    usable = cases[cases["status"] != Status.FAILED.value]
    known = labelled.merge(
        usable.drop(columns=[name for name in labelled.columns if name != "case_id" and name in usable])
    )
    known = known.merge(same_as[["case_id", "patient"]].rename(columns={"patient": "same_patient"}))
    if params.group_column is None:
        known["group"] = known["same_patient"]
    else:
        given = known[labels.GROUP]
        first = known["case_id"].groupby(given).transform("min")  # not the table's text, which may identify a patient
        patient = known["case_id"].replace(sessions.patients_of(cases))
        known["group"] = first.where(given != "", known["case_id"].groupby(patient).transform("min"))
    for column in params.stratify_by:
        _need(known, column)
    strata = ("label", *(column for column in params.stratify_by if column != "label"))
    known["fold"] = folds.assign(known, folds=params.folds, seed=params.seed, stratify_by=strata)
    return known[["case_id", "label", "group", "fold"]].sort_values("case_id", ignore_index=True)


def _need(frame: pd.DataFrame, column: str) -> None:
    if column not in frame.columns:
        hint = params.suggest(column, tuple(frame.columns))
        raise FlairprepError(
            f"params.yaml: split.stratify_by: no column {column!r} in labels.table or data/ingest/cases.csv; {hint}"
        )


def main() -> None:
    """Read the labels table and data/ingest's tables; write data/split/split.csv."""
    section, where = params.load(SplitParams, "split"), params.load(labels.LabelsParams, "labels")
    cases, same_as = read_csv(INGEST / "cases.csv", ("case_id", "status")), read_csv(INGEST / "same_as.csv")
    key = case_ids.read_key(params.dicom_dir())
    of_sessions = sessions.patients_of(cases)
    labelled = labels.read_labels(where, set(cases["case_id"]), key, section.group_column, of_sessions)
    by = ("label" if column == where.label_column.strip() else column for column in section.stratify_by)
    section = section.model_copy(update={"stratify_by": tuple(by)})
    table = split(cases, same_as, labelled, section)
    console.say(f"split: {len(table)} cases of {table['group'].nunique()} groups in {section.folds} folds")
    for fold, rows in table.groupby("fold"):
        ones = int(rows["label"].sum())
        console.say(f"  fold {fold}: {len(rows):>4} cases, {ones} of label 1 ({ones / len(rows):.1%})")
    with files.atomic_folder(OUT) as out:
        write_csv(out / "split.csv", table)


if __name__ == "__main__":
    console.run(main, "split")
