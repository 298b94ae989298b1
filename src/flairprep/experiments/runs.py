"""Read the runs that DVC knows, each with its predictions, its setting, and the cohort that makes runs comparable.

dvc.lock records what has run; params.yaml holds only what should run.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pandas as pd

from flairprep.core import installed, params
from flairprep.core.errors import FlairprepError
from flairprep.evaluation import predictions
from flairprep.evaluation.predictions import Predictions
from flairprep.experiments import repository
from flairprep.experiments.lock import find_stale, parse_lock
from flairprep.experiments.repository import WORKSPACE, Row
from flairprep.network import model_config, train_config
from flairprep.stats import metrics

SHOWN = {"train.tensorboard": False}  # params that change no result, and what runs of earlier versions have
EARLIER = {"train.precision": "float32"}  # params that runs of earlier versions lack, and what these had
REPEATS = ("seed", "val_fold", "split.seed")  # params whose other values repeat a setting
SETTING = ("lr", "batch_size", "epochs", "test_fold", "normalize", "select_slices", "export", "model", "train")
COHORT = ("ingest", "labels", "split")  # sections that decide on the cohort
CODE_STAGES = ("normalize", "select_slices", "export", "train")  # their code is part of a setting
SOURCES = ("src/", f"{installed.RECORD}/")  # where it lies in a clone, and its record in a study
AUDIT = "reports/audit.json"


@dataclass(frozen=True)
class ExperimentRun:
    """One training.

    cohort: what runs must share to be comparable. setting: param -> value. validation, test: predictions; test is None
    without a test fold. strata: case id -> stratum by the audit's shortcuts. leaked: ids of the cases that the audit
    found in a leak between folds. folds: of the split. cases: in all folds. split: hash of data/split. revision: what
    git knows the run by; None: the workspace.
    """

    name: str
    cohort: dict[str, str]
    setting: dict[str, Any]
    split_seed: int
    fold: int
    seed: int
    monitor: metrics.Metric
    validation: Predictions
    test: Predictions | None = None
    strata: Mapping[str, str] | None = None
    leaked: frozenset[str] = frozenset()
    folds: int = 5
    cases: int = 0
    split: str = ""
    revision: str | None = None


@dataclass(frozen=True)
class KnownRuns:
    """The runs that DVC knows, the reasons of those skipped by name, and names that are the same run as another.

    earlier: names that belong to other commits than HEAD.
    """

    runs: list[ExperimentRun]
    skipped: dict[str, str]
    same_as: dict[str, str]
    earlier: frozenset[str]


def read_runs(names: Sequence[str] = (), *, this_commit: bool = False, queue: bool = True) -> KnownRuns:
    """Read the runs called `names`; by default those of the workspace, of every commit, and of their experiments.

    Args:
        names: of experiments, or of any git revision; "workspace" is one too.
        this_commit: leave out the runs of other commits than HEAD.
        queue: report those that run, wait or have failed, too.

    Raises:
        FlairprepError: no git and DVC repository here, or a name that neither knows.
    """
    listed, earlier = list_revisions(names, this_commit, queue=queue)
    with repository.opened() as blobs:
        return _read_listed(listed, earlier, blobs)


def _read_listed(
    listed: Sequence[tuple[str, str | None, str | None]], earlier: frozenset[str], blobs: repository.Blobs
) -> KnownRuns:
    by_name: dict[str, ExperimentRun] = {}
    skipped: dict[str, str] = {}
    same_as: dict[str, str] = {}
    name_by_lock: dict[str, str] = {}
    for name, revision, state in listed:
        if state not in (None, "Success"):
            skipped[name] = state.lower()
            continue
        first = name
        try:
            files = repository.Files(revision, blobs)
            lock = files.read_text("dvc.lock")
            if (first := name_by_lock.setdefault(lock, name)) != name:
                same_as[name] = first
                if revision is not None:
                    continue  # the workspace's files win, since git may lack some of a commit's
            files.know(stages := parse_lock(lock))
            by_name[first] = replace(_read_run(first, stages, files), revision=revision)
            skipped.pop(first, None)
        except (repository.MissingError, OSError) as error:
            reason = f"missing: {' '.join(str(error).split())}; dvc pull, or run it again"
            if isinstance(error, FileNotFoundError) and str(error.filename) == "dvc.lock":
                reason = "it has no dvc.lock: nothing has run there"
            skipped |= {} if first in by_name else {first: reason}
        except FlairprepError as error:
            fault, *others = str(error).splitlines()
            skipped |= {} if first in by_name else {first: f"{fault} (and {len(others)} more)" if others else fault}
    runs: list[ExperimentRun] = []
    for name, run in by_name.items():
        if twin := next((other.name for other in runs if _is_equal(run, other)), None):
            same_as[name] = twin
        else:
            runs.append(run)
    return KnownRuns(runs, skipped, {name: same_as.get(first, first) for name, first in same_as.items()}, earlier)


def list_revisions(
    names: Sequence[str], this_commit: bool, *, queue: bool = True
) -> tuple[list[tuple[str, str | None, str | None]], frozenset[str]]:
    """Return (name, revision, state) of the experiments, commits and the workspace to read; and which are earlier."""
    commits = repository.commits_with_runs()
    rows = repository.rows(commits[:1] if this_commit and not names else commits, queue=queue)
    rows = rows or [Row(None, WORKSPACE)]  # before the first commit
    heads = [row.revision for row in rows if row.experiment is None and row.revision != WORKSPACE]
    of_head, is_earlier = True, []
    for row in rows:  # each commit is followed by its experiments, HEAD comes first
        of_head = of_head if row.experiment else row.revision in (WORKSPACE, *heads[:1])
        is_earlier.append(not of_head)
    ordered = sorted(  # stable otherwise
        zip(rows, is_earlier, strict=True),
        key=lambda entry: (entry[0].revision == WORKSPACE, entry[1], entry[0].experiment is None),
    )
    counts = Counter(row.experiment for row in rows)  # names of experiments are unique under one commit only
    known: list[tuple[str, str | None, str | None]] = []
    for row, _ in ordered:
        name = row.experiment or row.revision
        unique_name = f"{name} ({row.revision})" if row.experiment and counts[name] > 1 else name
        known.append((unique_name, None if name == WORKSPACE else row.revision, row.state))
    earlier = frozenset(entry[0] for entry, (_, of_other) in zip(known, ordered, strict=True) if of_other)
    if not names:
        return known, earlier
    by_name = {entry[0]: entry for entry in reversed(known)}
    for name in set(names) - set(by_name):
        if not repository.is_revision(name):
            hint = params.suggest(name, tuple(by_name))
            raise FlairprepError(f"{name}: no experiment or revision; {hint}")
    return [by_name.get(name, (name, name, None)) for name in names], earlier


def _read_run(name: str, stages: Mapping[str, Any], files: Any) -> ExperimentRun:
    """Read the run whose dvc.lock holds `stages`.

    Args:
        name: of the run.
        stages: of dvc.lock.
        files: of the revision.

    Raises:
        FlairprepError: a stage is out of date, dvc.lock or a table is another version's, or reports/audit.json is not
            in git.
    """
    try:
        if stale := find_stale(stages):
            raise FlairprepError(f"dvc.lock: stage {stale} did not run on the current outs of its deps; dvc repro")
        return _build_run(name, stages, files)
    except KeyError as error:
        raise FlairprepError(
            f"dvc.lock: no {error}: written by another version of the pipeline; run it again"
        ) from error


def _build_run(name: str, stages: Mapping[str, Any], files: Any) -> ExperimentRun:
    flat: dict[str, Any] = {}
    for stage in stages.values():
        for values in stage.get("params", {}).values():
            flat |= params.flatten(values)
    entries = [entry for stage in stages.values() for entry in (*stage.get("deps", ()), *stage.get("outs", ()))]
    hashes = {entry["path"]: entry["md5"] for entry in entries}
    split = _read_table(files, "data/split/split.csv")
    test = _read_table(files, "data/train/test_predictions.csv")
    setting = setting_of(flat) | {"code": _code_hash(stages)}
    strata, leaked = _read_audit(files) if AUDIT in hashes else ({}, frozenset())
    return ExperimentRun(
        name=name,
        cohort=cohort_of(flat, {"data/ingest": hashes["data/ingest"], "labels": hashes[flat["labels.table"]]}),
        setting=setting,
        split_seed=flat["split.seed"],
        fold=flat["val_fold"],
        seed=flat["seed"],
        monitor=setting["train.monitor"],
        validation=predictions.from_tables(_read_table(files, "data/train/val_predictions.csv"), split),
        test=None if test.empty else predictions.from_tables(test, split),
        strata=strata,
        leaked=leaked,
        folds=flat["split.folds"],
        cases=len(split),
        split=hashes["data/split"],
    )


def _code_hash(stages: Mapping[str, Any]) -> str:
    """Return 7 digits of the hash of the source files that CODE_STAGES depend on."""
    sources = {
        entry["path"]: entry["md5"]
        for name in CODE_STAGES
        for entry in stages.get(name, {}).get("deps", ())
        if entry["path"].startswith(SOURCES)
    }
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:7]


def _read_audit(files: Any) -> tuple[dict[str, str], frozenset[str]]:
    """Read strata and leaked cases from the audit's report, which git tracks instead of DVC.

    Raises:
        FlairprepError: it is missing or invalid, and p_within would be missing too.
    """
    try:
        report = json.loads(files.read_text(AUDIT))
        return dict(report["strata"]), predictions.leaked_cases(report["items"])
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise FlairprepError(
            f"{AUDIT}: in dvc.lock, but missing or invalid here; git add reports and commit, or dvc repro"
        ) from error


def setting_of(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the params that make a setting, sorted; a null of model and train is the named network's value.

    Raises:
        FlairprepError: section model or train is another version's.
    """

    def section(name: str) -> dict[str, Any]:
        return {key.removeprefix(f"{name}."): value for key, value in flat.items() if key.startswith(f"{name}.")}

    flat = SHOWN | EARLIER | dict(flat)
    model = params.validate(model_config.ModelParams, section("model"), "model")
    network = model_config.resolve(model)
    resolved = {f"model.{key}": getattr(network, key) for key in model_config.ModelParams.model_fields if key != "name"}
    resolved["model.name"] = model.name  # a former name is the same network
    train = train_config.resolve(params.validate(train_config.TrainParams, section("train"), "train"), model.name)
    resolved |= {f"train.{key}": value for key, value in train.model_dump().items()}
    given = {key: value for key, value in flat.items() if key.split(".")[0] in SETTING and key not in SHOWN}
    setting = given | resolved
    return {key: _normalise(value) for key, value in sorted(setting.items())}


def cohort_of(flat: Mapping[str, Any], hashes: Mapping[str, str]) -> dict[str, str]:
    """Return what runs must share to be compared: data, labels, and the params before the split's seed."""
    cohort = {key: value for key, value in flat.items() if key.split(".")[0] in COHORT and key not in REPEATS}
    return {**hashes, **{key: json.dumps(_normalise(value), sort_keys=True) for key, value in sorted(cohort.items())}}


def _normalise(value: Any) -> Any:
    """Return equal values as one: 1.0 as 1, a tuple as a list."""
    if isinstance(value, list | tuple):
        return [_normalise(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def setting_name(values: Mapping[str, Any]) -> str:
    """Return a setting as text: lr=1e-05 batch_size=2."""
    return " ".join(f"{key}={params.value_of(value)}" for key, value in values.items()) or "the one setting"


def _is_equal(run: ExperimentRun, other: ExperimentRun) -> bool:
    keys = ("cohort", "setting", "split_seed", "fold", "seed")
    return (
        all(getattr(run, key) == getattr(other, key) for key in keys)
        and run.validation.y_prob.shape == other.validation.y_prob.shape
        and bool((run.validation.y_prob == other.validation.y_prob).all())
    )


def _read_table(files: Any, path: str) -> pd.DataFrame:
    return _parse_table(files.read_text(path))


@lru_cache(maxsize=4)  # the splits and the tests of most runs are the same
def _parse_table(text: str) -> pd.DataFrame:
    """Parse a CSV of text; callers must not change what they get."""
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
