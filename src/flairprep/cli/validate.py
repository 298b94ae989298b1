"""flairprep validate: the network of a run on another cohort with labels, and what sets that cohort apart."""

import argparse
import os
import subprocess
import sys

from flairprep.cohort.labels import LabelsParams
from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import write_rows
from flairprep.evaluation.measures import EvaluateParams
from flairprep.experiments.runs import WORKSPACE
from flairprep.inference import own_code
from flairprep.inference.predictor import OtherCodeError, fitting
from flairprep.inference.run import TrainedRun, read_run
from flairprep.validation import page, results
from flairprep.validation.apply import apply, failed, lazy_network
from flairprep.validation.examine import Side, examine
from flairprep.validation.identities import of_training
from flairprep.validation.measured import read_development


def run(options: argparse.Namespace) -> None:
    """Write validation.json, validation.html and predictions.csv into options.out, and print a summary.

    Raises:
        FlairprepError: there is nothing to validate on, no network that fits, or every labelled case failed.
    """
    trained = read_run(options.network or WORKSPACE)
    try:
        fitting([trained])
    except OtherCodeError as error:
        if error.run.revision is None:
            raise
        _by_its_own_code(error.run, options)
        return
    section = params.load(EvaluateParams, "evaluate")
    steps = trained.steps
    with files.scratch("validate") as folder:
        for name in ("training", "new"):
            (folder / name).mkdir()
        applied = apply(steps, options.path, labels_of(options), folder / "new", lazy_network(trained))
        development = read_development(trained, folder / "training")
        split = development.split
        fold_of = dict(zip(split["case_id"], split["fold"], strict=True))
        labels = dict(zip(split["case_id"], split["label"].astype(int), strict=True))
        known = of_training(steps.ingest, split["case_id"])
        training = Side(development.cohort, split["group"].tolist(), labels, known)
        patients = [applied.patients[case] for case in applied.cohort.case_ids]
        found = examine(training, Side(applied.cohort, patients, applied.labels, applied.identities), folder)
    validation = results.validate(applied, found, section, development.metrics, fold_of)
    write_rows(options.out / "predictions.csv", validation.rows, results.COLUMNS)
    files.write_json(options.out / "validation.json", {"run": trained.name, **validation.content})
    page.write(options.out, validation, trained)
    console.say(f"validate: {page.sentence(validation.content)}")
    for flag in validation.content["flags"]:
        console.warn(f"validate: {flag}")
    for line in console.reasons(list(failed(applied))):
        console.say(f"  {line}")
    console.say(f"validate: open {options.out / page.PAGE}")


def labels_of(options: argparse.Namespace) -> LabelsParams:
    """Return section labels of params.yaml for the table that the options name; it may lie anywhere."""
    known = params.load(LabelsParams, "labels")
    return LabelsParams.model_construct(
        table=str(options.labels),
        case_column=options.case_column or known.case_column,
        label_column=options.label_column or known.label_column,
        positive=known.positive if options.positive is None else options.positive or None,
    )


def _by_its_own_code(trained: TrainedRun, options: argparse.Namespace) -> None:
    """Run the command by the code of a revision, where that knows it."""
    words = [str(options.path), str(options.labels), "--out", str(options.out), "--run", options.network]
    for key in ("case_column", "label_column", "positive"):
        value = getattr(options, key)
        words += [] if value is None else [f"--{key.replace('_', '-')}", value]
    with own_code.code_of(trained) as src:
        if not (src / "flairprep/cli/validate.py").is_file():
            raise FlairprepError(
                f"{trained.name}: its code has no `flairprep validate` yet; make the run again: dvc repro"
            )
        console.say(f"validate: by the code of {trained.name}")
        command = [sys.executable, "-P", "-c", own_code.START, "validate", *words]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(src)}, check=False)
    if done.returncode:
        sys.exit(done.returncode)
