"""Apply a run's network to a labelled cohort, and measure the cases on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flairprep.cohort import case_ids
from flairprep.cohort.labels import LabelsParams, read_labels
from flairprep.cohort.sessions import patients_of
from flairprep.cohort.spreadsheet import listed, read_spreadsheet
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Status
from flairprep.dicom.discovery import RawCase
from flairprep.inference.predict import Predict, Prediction, predict_cases
from flairprep.inference.preprocess import Steps, preprocess_cases
from flairprep.inference.run import TrainedRun
from flairprep.inference.scans import cases_at
from flairprep.nifti_input.sessions import split_sessions
from flairprep.validation.identities import Identity, identities_of
from flairprep.validation.identities import patients_of as identified_patients
from flairprep.validation.measured import Cohort, measured

SHOWN = 4  # case ids that an error lists


@dataclass(frozen=True)
class Applied:
    """The cases of a new cohort: predictions in the order of their ids, those measured, labels, identities."""

    predictions: list[Prediction]
    cohort: Cohort
    labels: dict[str, int]
    identities: dict[str, Identity]
    patients: dict[str, str]

    def scored(self) -> list[Prediction]:
        """Return the predictions of the labelled cases that did not fail."""
        return [one for one in self.predictions if one.probability is not None and one.outcome.case_id in self.labels]


def apply(steps: Steps, path: Path, section: LabelsParams, folder: Path, predict: Predict) -> Applied:
    """Predict and measure the cases at `path`.

    Args:
        steps: of the network's run.
        path: anything that ingest reads.
        section: of the labels; its table need not lie in the project.
        folder: gets the fingerprints.
        predict: the network.

    Raises:
        FlairprepError: no case there, a fault of the labels table, or none of its rows is a case there.
    """
    home = case_ids.read_key(Path(steps.ingest.dicom_dir))
    check_columns(section)
    cases, place = cases_at(path, steps.ingest.sequence, home)
    applied = steps.applied_to(place)
    cases = split_sessions(cases, applied.ingest, place)
    labels_of_ids = _labels(section, cases, (case_ids.read_key(path) if path.is_dir() else None) or home, path)
    cohort = Cohort(folder)
    preprocessed = measured(preprocess_cases(cases, applied), cohort, steps.normalize)
    predictions = list(predict_cases(preprocessed, predict))
    identities = identities_of(cases, applied.ingest)
    return Applied(predictions, cohort, labels_of_ids, identities, identified_patients(cases, identities))


def check_columns(section: LabelsParams) -> None:
    """Refuse a labels table that is missing or lacks a column.

    Raises:
        FlairprepError: naming the option.
    """
    path = Path(section.table)
    if not path.is_file():
        raise FlairprepError(f"{path}: no such file; name the table of labels: a CSV, one row per case")
    names = [section.case_column.strip(), section.label_column.strip()]
    frame = read_spreadsheet(path, names)
    for option, name in zip(("--case-column", "--label-column"), names, strict=True):
        if name not in frame.columns:
            raise FlairprepError(f"{path}: no column {name!r}; name yours by {option}; it has: {listed(frame.columns)}")


def _labels(section: LabelsParams, cases: list[RawCase], key: bytes | None, path: Path) -> dict[str, int]:
    ids = [case.case_id for case in cases]
    sessions = patients_of(
        pd.DataFrame({"case_id": ids, "session": [str(case.session or "") for case in cases]}, dtype=str)
    )
    frame = read_labels(section, ids, key, sessions=sessions)
    labels = {
        case: int(label) for case, label in zip(frame["case_id"], frame["label"], strict=True) if case in set(ids)
    }
    if not labels:
        some = ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
        raise FlairprepError(
            f"{section.table}: none of its labelled rows is a case of {path}, which has: {some}; write these ids into "
            f"its column {section.case_column!r}, or name another column by --case-column"
        )
    return labels


def lazy_network(run: TrainedRun) -> Predict:
    """Return the run's network, which is loaded when it first predicts: by then workers preprocess the next cases."""
    loaded: list[Predict] = []

    def predict(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        if not loaded:
            from flairprep.inference.networks import Ensemble  # imports tensorflow

            loaded.append(Ensemble({run.name: run.network}).predict)
        return loaded[0](images)

    return predict


def header_table(applied: Applied) -> pd.DataFrame:
    """Return the header fields of the measured cases, with case_id, for subgroups."""
    return applied.cohort.header.assign(case_id=applied.cohort.case_ids)


def failed(applied: Applied) -> Iterator[Any]:
    """Yield the outcomes of the cases that failed."""
    return (one.outcome for one in applied.predictions if one.outcome.status is Status.FAILED)
