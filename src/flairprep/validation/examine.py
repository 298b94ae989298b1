"""Set a new cohort beside the training cohort: shift, cases outside, leaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from flairprep.audit.association import Array, Columns
from flairprep.audit.sources import collect
from flairprep.validation import leaks, outside, shift
from flairprep.validation.identities import Identity
from flairprep.validation.measured import Cohort, fingerprints_of


@dataclass(frozen=True)
class Examination:
    """What sets a new cohort apart; places: by the new case's id."""

    shifts: list[shift.FieldShift]
    places: dict[str, outside.Place]
    leaks: list[leaks.Leak]

    @property
    def shifted(self) -> list[shift.FieldShift]:
        """Return the fields that shifted, the strongest first."""
        return [row for row in self.shifts if row.verdict == "shift"]

    @property
    def leaked(self) -> frozenset[str]:
        """Return the new cases that the training cohort holds already."""
        return frozenset(match.case_id for leak in self.leaks if leak.verdict == "leak" for match in leak.matches)


@dataclass(frozen=True)
class Side:
    """One cohort of the comparison: its cases, the patient of each, labels where known, and identities.

    patients: (n_cases,), in the order of the cohort. labels: by case id. identities: None where the raw files are not
    here.
    """

    cohort: Cohort
    patients: Sequence[str]
    labels: Mapping[str, int]
    identities: Mapping[str, Identity] | None


def examine(training: Side, new: Side, scratch: Path) -> Examination:
    """Compare two cohorts; scratch: a folder for temporary files."""
    ids = (new.cohort.case_ids, training.cohort.case_ids)
    header = pd.concat([training.cohort.header, new.cohort.header], ignore_index=True)
    sources, _ = collect(header, [*training.cohort.features, *new.cohort.features])
    is_new = np.repeat([False, True], [len(ids[1]), len(ids[0])])
    once = np.concatenate([_first_of_each(side.patients) for side in (training, new)])
    labels = [side.labels.get(case, np.nan) for side in (training, new) for case in side.cohort.case_ids]
    tested = _of(sources, once) | {shift.LABEL: {shift.LABEL: np.array(labels, float)[once]}}
    with threadpool_limits(1):
        shifts = shift.compare(tested, is_new[once])
        files = [*training.cohort.files, *new.cohort.files]
        table = leaks.correlate(fingerprints_of(files), len(ids[1]), len(ids[0]), scratch)
        places = outside.place_cases(sources, is_new)
    found = [
        leaks.shared_studies(new.identities or {}, training.identities),
        leaks.shared_patients(new.identities or {}, training.identities, table, ids),
        leaks.near_duplicates(table, *ids),
    ]
    return Examination(shifts, dict(zip(ids[0], places, strict=True)), found)


def _first_of_each(patients: Sequence[str]) -> Array:
    """Return which case is the first of its patient, (n_cases,), bool: tests take cases as independent."""
    return ~pd.Series(list(patients), dtype=object).duplicated().to_numpy()


def _of(sources: Mapping[str, Columns], kept: Array) -> dict[str, Columns]:
    return {family: {name: values[kept] for name, values in columns.items()} for family, columns in sources.items()}
