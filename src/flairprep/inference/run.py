"""Read a finished run: its network, the params and code that made its tensors, its predictions."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException

from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Status
from flairprep.experiments.lock import find_stale, parse_lock
from flairprep.experiments.runs import WORKSPACE, ExperimentRun, list_revisions, read_runs
from flairprep.inference.code import preprocessing_code
from flairprep.inference.preprocess import SECTIONS, Steps, steps_of

NETWORK = "data/train/model.keras"


@dataclass(frozen=True)
class TrainedRun:
    """A run that can be applied.

    revision: what git knows it by; None: the workspace. sections: of params.yaml, from its dvc.lock. code: source path
    -> DVC's hash. network: the bytes of model.keras. prior: the share of label 1 among the training cases.
    """

    name: str
    revision: str | None
    sections: dict[str, Any]
    code: dict[str, str]
    network: bytes
    prior: float

    @property
    def steps(self) -> Steps:
        """Return the steps from a scan to a tensor; only the code of the run is sure to know its params.

        Raises:
            FlairprepError: this code does not.
        """
        return steps_of(self.sections, Path(f"dvc.lock of {self.name}"))


def read_run(name: str = WORKSPACE) -> TrainedRun:
    """Read the run of the workspace, of an experiment, or of a git revision.

    Raises:
        FlairprepError: there is no such run, it is not finished, or its files are missing.
    """
    revision = None
    if name != WORKSPACE:
        [(_, revision, state)], _ = list_revisions([name], this_commit=False)
        if state not in (None, "Success"):
            raise FlairprepError(f"{name}: {state.lower()}, so it has no network; dvc queue logs {name} shows why")
    return _read(name, revision)


def _read(name: str, revision: str | None) -> TrainedRun:
    try:
        files = DVCFileSystem(rev=revision)
        stages = parse_lock(files.read_text("dvc.lock"))
        if (stale := find_stale(stages)) or "train" not in stages:
            raise FlairprepError(f"{name}: dvc.lock: stage {stale or 'train'} is not up to date; dvc repro")
        sections = {key: stages[key]["params"]["params.yaml"][key] for key in SECTIONS}
        return TrainedRun(
            name=name,
            revision=revision,
            sections=sections,
            code=preprocessing_code(stages),
            network=files.read_bytes(NETWORK),
            prior=_prior(files, stages["train"]["params"]["params.yaml"]),
        )
    except KeyError as error:
        raise FlairprepError(f"{name}: dvc.lock has no {error}; run the pipeline: dvc repro") from error
    except (DvcException, OSError) as error:
        raise FlairprepError(f"{name}: {' '.join(str(error).split())}; dvc pull, or make the run: dvc repro") from error


def _prior(files: Any, swept: dict[str, Any]) -> float:
    """Return the share of label 1 among the cases that the run was trained on."""
    split = _table(files, "data/split/split.csv")
    exported = _table(files, "data/export/cases.csv")
    kept = split["case_id"].isin(exported.loc[exported["status"] != Status.FAILED, "case_id"])
    held_out = [str(swept[key]) for key in ("val_fold", "test_fold")]
    return float((split.loc[kept & ~split["fold"].isin(held_out), "label"] == "1").mean())


def _table(files: Any, path: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(files.read_text(path)), dtype=str, keep_default_na=False)


def runs_of_setting(name: str) -> list[ExperimentRun]:
    """Return the runs that repeat the run called `name` on the folds of its split, one per fold, by fold.

    They share its data, params and code, its split and its seed; the run itself is among them.

    Raises:
        FlairprepError: DVC knows no such run, or it could not be read.
    """
    known = read_runs()
    alias = known.same_as.get(name, name)
    run = next((run for run in known.runs if run.name == alias), None)
    if run is None:
        alone = read_runs([name])  # a revision that is no commit with a run of its own, such as HEAD~1
        if name in alone.skipped or not alone.runs:
            raise FlairprepError(f"{name}: {alone.skipped.get(name, 'no run')}")
        run = alone.runs[0]
    equal = [other for other in known.runs if _repeats(other, run)]
    by_fold = {other.fold: other for other in reversed(equal)} | {run.fold: run}
    return [by_fold[fold] for fold in sorted(by_fold)]


def _repeats(run: ExperimentRun, other: ExperimentRun) -> bool:
    keys = ("cohort", "setting", "split_seed", "split", "seed")
    return all(getattr(run, key) == getattr(other, key) for key in keys)


def read_ensemble(runs: Sequence[ExperimentRun]) -> list[TrainedRun]:
    """Read the networks of runs that `runs_of_setting` returned."""
    return [_read(run.name, run.revision) for run in runs]
