"""flairprep predict: write the probability of label 1 for scans, by the networks of runs."""

import argparse
import sys

from flairprep.core import console
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Outcome, Status
from flairprep.core.tables import write_rows
from flairprep.experiments.runs import WORKSPACE, ExperimentRun, read_runs
from flairprep.inference import own_code
from flairprep.inference.calibration import Calibration, fit
from flairprep.inference.predict import COLUMNS, SPREAD, UNCALIBRATED
from flairprep.inference.predictor import OtherCodeError, fitting
from flairprep.inference.run import TrainedRun, read_ensemble, read_run, runs_of_setting

KAGGLE = {"case_id": "BraTS21ID", "probability": "MGMT_value"}


def run(options: argparse.Namespace) -> None:
    """Write the predictions of the scans at options.path to options.out, and print a summary.

    Raises:
        FlairprepError: there is nothing to predict, no network that fits, or every case failed.
    """
    runs, repeats = _chosen(options)
    try:
        predictor = fitting(runs)
    except OtherCodeError as error:
        if error.run.revision is None:
            raise
        console.say(f"predict: by the code of {error.run.name}")
        if status := own_code.predict(error.run, _arguments(options)):
            sys.exit(status)
        return
    calibrate = fit(repeats or _out_of_fold(runs)) if options.calibrate else None
    filled = (options.on_failure or ("prior" if options.kaggle else "empty")) == "prior"
    outcomes: list[Outcome] = []
    rows = []
    for prediction in predictor.predictions(options.path):
        outcomes.append(prediction.outcome)
        rows.append(prediction.row(calibrate, predictor.prior if filled else None))
    columns = [*COLUMNS, *[SPREAD] * (len(runs) > 1), *[UNCALIBRATED] * bool(calibrate)]
    if options.kaggle:
        rows, columns = [{KAGGLE[key]: row[key] for key in KAGGLE} for row in rows], list(KAGGLE.values())
    write_rows(options.out, rows, columns)
    _say(options, outcomes, runs, calibrate)


def _chosen(options: argparse.Namespace) -> tuple[list[TrainedRun], list[ExperimentRun]]:
    """Read the runs that the options name, and those of all folds where they were asked for."""
    if options.folds:
        repeats = runs_of_setting(options.folds)
        folds = {run.fold for run in repeats}
        if missing := sorted(set(range(repeats[0].folds)) - folds - {repeats[0].setting["test_fold"]}):
            what = ", ".join(map(str, missing))
            console.warn(f"predict: the setting of {options.folds} has no run with val_fold {what}: they are left out")
        return read_ensemble(repeats), repeats
    return [read_run(name) for name in options.runs or [WORKSPACE]], []


def _out_of_fold(runs: list[TrainedRun]) -> list[ExperimentRun]:
    """Return the runs whose validation predictions calibrate: of all folds of one network, else those of the runs."""
    if len(runs) == 1:
        return runs_of_setting(runs[0].name)
    known = read_runs([run.name for run in runs])
    if known.skipped:
        raise FlairprepError("; ".join(f"{name}: {why}" for name, why in known.skipped.items()))
    return known.runs


def _arguments(options: argparse.Namespace) -> list[str]:
    """Return the options as they are typed, for the code of another revision."""
    words = [str(options.path), "--out", str(options.out)]
    words += ["--run", *options.runs] if options.runs else []
    words += ["--folds", options.folds] if options.folds else []
    words += ["--on-failure", options.on_failure] if options.on_failure else []
    return words + ["--calibrate"] * options.calibrate + ["--kaggle"] * options.kaggle


def _say(
    options: argparse.Namespace, outcomes: list[Outcome], runs: list[TrainedRun], calibrate: Calibration | None
) -> None:
    failed = sum(outcome.status is Status.FAILED for outcome in outcomes)
    names = ", ".join(run.name for run in runs)
    of_cases = f"{len(outcomes) - failed} of {console.plural(len(outcomes), 'case')}"
    console.say(f"predict: {of_cases} by {console.plural(len(runs), 'network')} ({names}), in {options.out}")
    if calibrate:
        console.say(f"predict: calibrated: {calibrate.told(len(runs))}")
    for line in console.reasons(outcomes):
        console.say(f"  {line}")
    if failed == len(outcomes):
        raise FlairprepError(f"{options.path}: every case failed, see {options.out}")
