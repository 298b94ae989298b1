"""Collect what a finished run knows of itself: its params, tables, numbers, network, packages and commit."""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import SimpleITK as sitk

from flairprep import __version__
from flairprep.card import network_archive
from flairprep.card.network_archive import NetworkArchive
from flairprep.core import installed, params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Status
from flairprep.core.tables import read_csv
from flairprep.dataset import shards
from flairprep.report.provenance import Commit, last_commit, read_lock

LOCK = Path("dvc.lock")
EXPORT = Path("data/export")
SLICES = Path("data/select_slices")
MODEL = Path("data/train/model.keras")
MAKERS = {  # file: the stage that makes it
    "data/ingest/cases.csv": "ingest",
    "reports/balance.json": "balance",
    "data/split/split.csv": "split",
    "reports/audit.json": "audit",
    "data/export/cases.csv": "export",
    "data/export/dataset_info.json": "export",
    "data/export/features.json": "export",
    "reports/sanity.json": "sanity",
    "data/train/model.keras": "train",
    "data/train/history.csv": "train",
    "reports/metrics.json": "evaluate",
    "reports/evaluate/cases.csv": "evaluate",
    "reports/evaluate/groups.csv": "evaluate",
    "reports/evaluate/baselines.csv": "evaluate",
    "reports/evaluate/diagnosis.json": "evaluate",
}
CODE = ("params.yaml", "dvc.yaml", "dvc.lock", "src", str(installed.RECORD))  # what a run consists of, as git knows it
PACKAGES = ("keras", "tensorflow", "tensorflow-cpu", "dvc", "numpy", "SimpleITK", "pydicom", "scipy", "pandas")


@dataclass(frozen=True)
class RunFacts:
    """A finished run. values: of params.yaml; tables as written, every cell text; packages: name -> version.

    spacings: of each exported case as the network sees it, (x, y, z) mm; epochs: that ran.
    """

    values: dict[str, Any]
    cases: pd.DataFrame
    split: pd.DataFrame
    exported: pd.DataFrame
    scored: pd.DataFrame
    groups: pd.DataFrame
    baselines: pd.DataFrame
    info: shards.Info
    balance: dict[str, Any]
    audit: dict[str, Any]
    sanity: dict[str, Any]
    metrics: dict[str, Any]
    diagnosis: dict[str, str]
    spacings: list[tuple[float, ...]]
    epochs: int
    network: NetworkArchive
    packages: dict[str, str]
    commit: Commit | None


def read() -> RunFacts:
    """Read the run in the working folder.

    Raises:
        FlairprepError: a file is missing, with the command that makes it; or params.yaml is not the run's.
    """
    for path, stage in MAKERS.items():
        if not Path(path).is_file():
            raise FlairprepError(f"{path}: no such file; `dvc repro {stage}` makes it, `dvc repro` all of a run")
    values = params.read_params()
    if told := differences(read_lock(LOCK), values):
        raise FlairprepError("\n       ".join(told))
    tables: dict[str, Any] = {name: read_csv(Path(path)) for name, path in _TABLES.items()}
    documents: dict[str, Any] = {name: json.loads(Path(path).read_text("utf-8")) for name, path in _DOCUMENTS.items()}
    return RunFacts(
        values=values,
        info=shards.read_info(EXPORT),
        spacings=spacings(tables["exported"]),
        epochs=len(read_csv(Path("data/train/history.csv"))),
        network=network_archive.read(MODEL),
        packages=versions(PACKAGES),
        commit=last_commit(CODE),
        **tables,
        **documents,
    )


_TABLES = {
    "cases": "data/ingest/cases.csv",
    "split": "data/split/split.csv",
    "exported": "data/export/cases.csv",
    "scored": "reports/evaluate/cases.csv",
    "groups": "reports/evaluate/groups.csv",
    "baselines": "reports/evaluate/baselines.csv",
}
_DOCUMENTS = {
    "balance": "reports/balance.json",
    "audit": "reports/audit.json",
    "sanity": "reports/sanity.json",
    "metrics": "reports/metrics.json",
    "diagnosis": "reports/evaluate/diagnosis.json",
}


def spacings(exported: pd.DataFrame) -> list[tuple[float, ...]]:
    """Return the spacing (x, y, z), mm, of each volume that was exported, from the headers in data/select_slices.

    Raises:
        FlairprepError: a volume is missing or damaged.
    """
    found, reader = [], sitk.ImageFileReader()
    for case_id in exported.loc[exported["status"] != Status.FAILED.value, "case_id"]:
        path = SLICES / f"{case_id}.nii.gz"
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise FlairprepError(f"{path}: cannot be read; restore it: dvc checkout, or dvc repro") from error
        found.append(tuple(reader.GetSpacing()))
    return found


def differences(lock: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """List the params that are others now than in the last run of a stage that reads them: a line per param."""
    told: dict[str, str] = {}
    for stage, entry in lock.get("stages", {}).items():
        for key, value in entry.get("params", {}).get(str(params.FILE), {}).items():
            then, now = _texts(key, value), _texts(key, _lookup(values, key))
            for name in sorted(then.keys() | now.keys()):
                if then.get(name) != now.get(name):
                    ran = then.get(name, "nothing")
                    told[name] = (
                        f"{params.FILE}: {name}: {now.get(name, 'nothing')}: {stage} last ran with {ran} ({LOCK}), so "
                        f"the results are those of another setting; `dvc repro` runs this one, or write {ran}"
                    )
    return list(told.values())


def _texts(key: str, value: Any) -> dict[str, str]:
    """Return the values below `key` as text, since dvc.lock may write a number another way."""
    return {
        name: params.value_of(params.parsed(v) if isinstance(v, str) else v)
        for name, v in params.flatten({key: value}).items()
    }


def _lookup(values: Mapping[str, Any], key: str) -> Any:
    """Return what stands at a dotted key, {} where nothing does."""
    for part in key.split("."):
        values = values.get(part, {}) if isinstance(values, Mapping) else {}
    return values


def versions(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python, of flairprep and of each package that is installed."""
    found = {"Python": ".".join(map(str, sys.version_info[:3])), "flairprep": __version__}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
