"""Describe the cohort of a run by counts: which cases fell out, and who is in each partition."""

from dataclasses import dataclass

import pandas as pd

from flairprep.card import wording
from flairprep.card.facts import RunFacts
from flairprep.core.outcomes import Status

COUNTED = {  # columns of data/ingest/cases.csv whose values are counted: as the table names them
    "sex": "Sex",
    "age_band": "Age, years",
    "manufacturer": "Manufacturer",
    "field_strength": "Field strength, T",
    "plane": "Plane",
    "acquisition_type": "Acquisition",
    "contrast_agent": "Contrast agent",
    "skull_stripped": "Skull-stripped",
}
MEASURED = {  # columns of which median and range are told
    "echo_time": "Echo time, ms",
    "repetition_time": "Repetition time, ms",
    "inversion_time": "Inversion time, ms",
    "rows": "Rows",
    "columns": "Columns",
    "slices": "Slices",
    "spacing_x": "Spacing in the plane, mm",
    "spacing_z": "Distance of slices, mm",
}


@dataclass(frozen=True)
class Cohort:
    """The cases of a run. failed, warned, dropped: code -> cases, at ingest, at ingest, and in later stages.

    parts: "all", "training", "validation" and, where there is one, "test": the rows of the exported cases, with their
    label, group and fold beside the columns of data/ingest/cases.csv.
    """

    found: int
    failed: dict[str, int]
    warned: dict[str, int]
    dropped: dict[str, int]
    unlabelled: int
    without_scan: int
    parts: dict[str, pd.DataFrame]

    @property
    def used(self) -> pd.DataFrame:
        """Return the rows of all exported cases."""
        return self.parts["all"]


def describe(facts: RunFacts) -> Cohort:
    """Count the cases of a run, and sort the exported ones into its partitions."""
    cases, exported = facts.cases, facts.exported
    failed = cases[cases["status"] == Status.FAILED.value]
    later = exported[(exported["status"] == Status.FAILED.value) & ~exported["case_id"].isin(failed["case_id"])]
    going = exported.loc[exported["status"] != Status.FAILED.value, ["case_id"]]
    used = going.merge(facts.split, on="case_id").merge(cases, on="case_id")
    fold, val, test = used["fold"], str(facts.values["val_fold"]), str(facts.values["test_fold"])
    parts = {"all": used, "training": used[~fold.isin([val, test])], "validation": used[fold == val]}
    if facts.values["test_fold"] is not None:
        parts["test"] = used[fold == test]
    return Cohort(
        found=len(cases),
        failed=wording.counted(failed["code"]),
        warned=wording.counted(cases.loc[cases["status"] == Status.WARNED.value, "code"]),
        dropped=wording.counted(later["code"]),
        unlabelled=len(facts.balance["unlabelled"]),
        without_scan=len(facts.balance["without_scan"]),
        parts=parts,
    )


def ones(rows: pd.DataFrame) -> int:
    """Count the cases of label 1."""
    return int((rows["label"] == "1").sum())


def table(cohort: Cohort) -> tuple[list[str], list[list[str]]]:
    """Return the table of characteristics, a column per partition: its head and its rows.

    Categories are counted, numbers told by median and range; what no case has is left out.
    """
    parts = cohort.parts
    rows = [
        ["Cases", *(str(len(part)) for part in parts.values())],
        ["Patients or groups", *(str(part["group"].nunique()) for part in parts.values())],
        ["Label 1", *(wording.share(ones(part), len(part)) for part in parts.values())],
    ]
    for column, name in COUNTED.items():
        if column in cohort.used and (cohort.used[column] != "").any():
            counts = {key: wording.counted(part[column]) for key, part in parts.items()}
            order = list(counts["all"]) if column != "age_band" else sorted(counts["all"])
            for value in order:
                rows.append([f"{name}: {value}", *(str(of.get(value, 0)) for of in counts.values())])
    for column, name in MEASURED.items():
        if column in cohort.used and (cohort.used[column] != "").any():
            rows.append([name, *(wording.spread(part[column]) for part in parts.values())])
    return ["", *(f"{key[0].upper()}{key[1:]}" for key in parts)], rows
