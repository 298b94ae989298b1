"""The runs that DVC knows, each with its predictions, its setting, and what it must share with those it is compared to.

dvc.lock says what has really run, where params.yaml only says what should.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from dvc.scm import RevError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.evaluation import predictions
from flairprep.evaluation.predictions import Predictions
from flairprep.network import model_config, train_config
from flairprep.stats import metrics

REPEATS = ("seed", "val_fold", "split.seed")  # other values of these repeat a setting
SETTING = ("lr", "batch_size", "epochs", "test_fold", "normalize", "select_slices", "export", "model", "train")
BEFORE_SPLIT = ("ingest", "labels", "split")
CODE_OF = ("normalize", "select_slices", "export", "train")  # the stages whose code a setting has too
WORKSPACE = "workspace"
AUDIT = "reports/audit.json"


@dataclass(frozen=True)
class ExperimentRun:
    """One training. cohort: what runs must share to be compared; setting: param -> value."""

    name: str
    cohort: dict[str, str]
    setting: dict[str, Any]
    split_seed: int
    fold: int
    seed: int
    monitor: metrics.Metric
    found: Predictions
    test: Predictions | None = None
    strata: Mapping[str, str] | None = None  # of the shortcuts that the audit found
    folds: int = 5
    cases: int = 0  # in all folds
    split: str = ""  # the hash of data/split


@dataclass(frozen=True)
class Known:
    """What DVC knows: the runs, what was passed over and why, and which names stand for one and the same run."""

    runs: list[ExperimentRun]
    passed_over: dict[str, str]
    same: dict[str, str]


def read_runs(names: Sequence[str] = (), *, all_commits: bool = False) -> Known:
    """The runs called `names`; without any, the workspace's, HEAD's and those of the experiments that started there.

    Args:
        names: of experiments, or of any git revision; "workspace" is one too.
        all_commits: those of every commit.

    Raises:
        FlairprepError: no git and DVC repository here, or a name that neither knows.
    """
    found: dict[str, ExperimentRun] = {}
    passed_over: dict[str, str] = {}
    same: dict[str, str] = {}
    seen: dict[str, str] = {}
    for name, revision, state in _listed(names, all_commits):
        if state not in (None, "Success"):
            passed_over[name] = state.lower()
            continue
        first = name
        try:
            files = dvc.api.DVCFileSystem(rev=revision)
            lock = files.read_text("dvc.lock")
            if (first := seen.setdefault(lock, name)) != name:
                same[name] = first
                if revision is not None:
                    continue  # but the workspace's files win: git may lack some of a commit's
            found[first] = _run(first, _stages(lock), files)
            passed_over.pop(first, None)
        except (DvcException, OSError) as error:
            why = f"not here: {' '.join(str(error).split())}; dvc pull, or run it"
            passed_over |= {} if first in found else {first: why}
        except FlairprepError as error:
            fault, *more = str(error).splitlines()
            passed_over |= {} if first in found else {first: f"{fault} (and {len(more)} more)" if more else fault}
    runs: list[ExperimentRun] = []
    for name, run in found.items():
        if twin := next((other.name for other in runs if _equal(run, other)), None):
            same[name] = twin
        else:
            runs.append(run)
    return Known(runs, passed_over, {name: same.get(first, first) for name, first in same.items()})


def _listed(names: Sequence[str], all_commits: bool) -> list[tuple[str, str | None, str | None]]:
    """(name, revision, state) of what is to be read: experiments, commits, the workspace."""
    try:
        rows = dvc.api.exp_show(revs=dvc.api.all_commits() if all_commits or names else None)
    except DvcException as error:
        raise FlairprepError(f"{error}; compare reads what `dvc exp show` shows") from error
    rows = rows or [{"Experiment": None, "rev": WORKSPACE, "State": None}]  # without a commit DVC lists nothing
    rows.sort(key=lambda row: (row["rev"] == WORKSPACE, row["Experiment"] is None))  # keeps the order otherwise
    counts = Counter(row["Experiment"] for row in rows)  # the name of an experiment is its own under one commit only
    known: list[tuple[str, str | None, str | None]] = []
    for row in rows:
        name = row["Experiment"] or row["rev"]
        known.append(
            (
                f"{name} ({row['rev']})" if row["Experiment"] and counts[name] > 1 else name,
                None if name == WORKSPACE else row["rev"],
                row["State"],
            )
        )
    if not names:
        return known
    found = {entry[0]: entry for entry in reversed(known)}
    for name in set(names) - set(found):
        try:
            dvc.api.DVCFileSystem(rev=name).read_text("dvc.lock")
        except RevError as error:
            raise FlairprepError(f"{name}: no experiment or revision; {params.suggest(name, tuple(found))}") from error
        except (DvcException, OSError):
            continue  # a revision without runs, which is no typing error
    return [found.get(name, (name, name, None)) for name in names]


def _stages(lock: str) -> dict[str, Any]:
    """The stages of dvc.lock.

    Raises:
        FlairprepError: it holds none, as with the marks of a merge in it.
    """
    try:
        return dict(YAML(typ="safe", pure=True).load(lock)["stages"])
    except (YAMLError, TypeError, KeyError) as error:
        raise FlairprepError(
            "dvc.lock: not as DVC writes it, perhaps with the marks of a merge in it; "
            "git checkout --ours dvc.lock, then dvc repro"
        ) from error


def _run(name: str, stages: Mapping[str, Any], files: Any) -> ExperimentRun:
    """The run whose dvc.lock holds `stages`.

    Raises:
        FlairprepError: dvc.lock or a table is not one of this version's, or reports/audit.json is not in git.
    """
    try:
        return _of_stages(name, stages, files)
    except KeyError as error:
        raise FlairprepError(f"dvc.lock: no {error}, so of another version of the pipeline; run it again") from error


def _of_stages(name: str, stages: Mapping[str, Any], files: Any) -> ExperimentRun:
    if stale := _stale(stages):
        raise FlairprepError(f"stage {stale} has not run on what is there; dvc repro")
    flat: dict[str, Any] = {}
    for stage in stages.values():
        for values in stage.get("params", {}).values():
            flat |= params.flatten(values)
    entries = [entry for stage in stages.values() for entry in (*stage.get("deps", ()), *stage.get("outs", ()))]
    hashes = {entry["path"]: entry["md5"] for entry in entries}
    split = _table(files, "data/split/split.csv")
    test = _table(files, "data/train/test_predictions.csv")
    strata = _strata(files) if AUDIT in hashes else {}
    sources = {
        entry["path"]: entry["md5"]
        for stage in CODE_OF
        for entry in stages.get(stage, {}).get("deps", ())
        if entry["path"].startswith("src/")
    }
    code = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:7]
    setting = setting_of(flat) | {"code": code}
    return ExperimentRun(
        name=name,
        cohort=cohort_of(flat, {"data/ingest": hashes["data/ingest"], "labels": hashes[flat["labels.table"]]}),
        setting=setting,
        split_seed=flat["split.seed"],
        fold=flat["val_fold"],
        seed=flat["seed"],
        monitor=setting["train.monitor"],
        found=predictions.from_tables(_table(files, "data/train/val_predictions.csv"), split),
        test=None if test.empty else predictions.from_tables(test, split),
        strata=strata,
        folds=flat["split.folds"],
        cases=len(split),
        split=hashes["data/split"],
    )


def _strata(files: Any) -> dict[str, str]:
    """Of the audit's report, which DVC leaves to git.

    Raises:
        FlairprepError: it is not there, and p_within would go missing with it.
    """
    try:
        return dict(json.loads(files.read_text(AUDIT))["strata"])
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise FlairprepError(
            f"{AUDIT} is in dvc.lock but not here as audit wrote it; git add reports and commit, or dvc repro"
        ) from error


def setting_of(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The params that make a setting, sorted; a null of sections model and train is what the named network has.

    Raises:
        FlairprepError: section model or train is of another version.
    """

    def section(name: str) -> dict[str, Any]:
        return {key.removeprefix(f"{name}."): value for key, value in flat.items() if key.startswith(f"{name}.")}

    model = params.validate(model_config.ModelParams, section("model"), "model")
    network = model_config.resolve(model)
    resolved = {f"model.{key}": getattr(network, key) for key in model_config.ModelParams.model_fields if key != "name"}
    resolved["model.name"] = model.name  # a former name is the same network
    train = train_config.resolve(params.validate(train_config.TrainParams, section("train"), "train"), model.name)
    resolved |= {f"train.{key}": value for key, value in train.model_dump().items()}
    chosen = {key: value for key, value in flat.items() if key.split(".")[0] in SETTING} | resolved
    return {key: _one_number(value) for key, value in sorted(chosen.items())}


def cohort_of(flat: Mapping[str, Any], hashes: Mapping[str, str]) -> dict[str, str]:
    """What runs must share to be compared: data, labels, and the params that decide on them before the split's seed."""
    before = {key: value for key, value in flat.items() if key.split(".")[0] in BEFORE_SPLIT and key not in REPEATS}
    return {**hashes, **{key: json.dumps(_one_number(value), sort_keys=True) for key, value in sorted(before.items())}}


def _one_number(value: Any) -> Any:
    """1.0 as 1, and a tuple as a list: they are one value."""
    if isinstance(value, list | tuple):
        return [_one_number(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def name_of(values: Mapping[str, Any]) -> str:
    """A setting in a word: lr=1e-05 batch_size=2."""
    return " ".join(f"{key}={params.value_of(value)}" for key, value in values.items()) or "the one setting"


def _stale(stages: Mapping[str, Any]) -> str | None:
    """A stage that read another version of a stage's out than dvc.lock has now, as after a run that broke off."""
    outs = {entry["path"]: entry["md5"] for stage in stages.values() for entry in stage.get("outs", ())}
    for name, stage in stages.items():
        if any(outs.get(entry["path"], entry["md5"]) != entry["md5"] for entry in stage.get("deps", ())):
            return name
    return None


def _equal(run: ExperimentRun, other: ExperimentRun) -> bool:
    keys = ("cohort", "setting", "split_seed", "fold", "seed")
    return (
        all(getattr(run, key) == getattr(other, key) for key in keys)
        and run.found.y_prob.shape == other.found.y_prob.shape
        and bool((run.found.y_prob == other.found.y_prob).all())
    )


def _table(files: Any, path: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(files.read_text(path)), dtype=str, keep_default_na=False)
