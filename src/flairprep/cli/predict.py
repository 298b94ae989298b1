"""flairprep predict: write the probability of label 1 for scans, by the networks of runs."""

import argparse
from pathlib import Path

from flairprep.core import console
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Outcome, Status
from flairprep.core.tables import write_rows
from flairprep.experiments.runs import WORKSPACE
from flairprep.inference.predict import COLUMNS, SPREAD
from flairprep.inference.predictor import fitting
from flairprep.inference.run import read_ensemble, read_run, runs_of_setting

KAGGLE = {"case_id": "BraTS21ID", "probability": "MGMT_value"}


def run(options: argparse.Namespace) -> None:
    """Write the predictions of the scans at options.path to options.out, and print a summary.

    Raises:
        FlairprepError: there is nothing to predict, no network that fits, or every case failed.
    """
    if options.folds:
        runs = read_ensemble(runs_of_setting(options.folds))
    else:
        runs = [read_run(name) for name in options.runs or [WORKSPACE]]
    predictor = fitting(runs)
    fill = predictor.prior if (options.on_failure or ("prior" if options.kaggle else "empty")) == "prior" else None
    outcomes: list[Outcome] = []
    rows = []
    for prediction in predictor.predictions(options.path):
        outcomes.append(prediction.outcome)
        rows.append(prediction.row(None, fill))
    _write(options.out, rows, kaggle=options.kaggle, ensemble=len(runs) > 1)
    failed = sum(outcome.status is Status.FAILED for outcome in outcomes)
    console.say(f"predict: {len(outcomes) - failed} of {console.plural(len(outcomes), 'case')} are in {options.out}")
    for line in console.reasons(outcomes):
        console.say(f"  {line}")
    if failed == len(outcomes):
        raise FlairprepError(f"{options.path}: every case failed, see {options.out}")


def _write(path: Path, rows: list[dict[str, str]], *, kaggle: bool, ensemble: bool) -> None:
    if kaggle:
        write_rows(path, [{KAGGLE[key]: row[key] for key in KAGGLE} for row in rows], tuple(KAGGLE.values()))
    else:
        write_rows(path, rows, (*COLUMNS, SPREAD) if ensemble else COLUMNS)
