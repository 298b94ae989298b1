"""Measure the cases of a cohort as the audit does: header fields, features of the volume, fingerprint."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from dvc.api import DVCFileSystem

from flairprep.audit.features import CaseFeatures, extract_features
from flairprep.audit.near_duplicates import Fingerprints
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError, Outcome, Status
from flairprep.dicom.survey import CASE_COLUMNS
from flairprep.imaging import nifti
from flairprep.inference.preprocess import Preprocessed
from flairprep.inference.run import TrainedRun
from flairprep.runner.case_stage import map_volumes
from flairprep.runner.result_cache import ResultCache
from flairprep.stages.normalize import NormalizeParams

HEADER = ("code", *(name for name in CASE_COLUMNS if name != "session"))  # as the audit tests them
SLICES = "data/select_slices"


@dataclass
class Cohort:
    """Cases in the order of `case_ids`: their header fields (text), features and fingerprint files."""

    folder: Path
    case_ids: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    features: list[CaseFeatures] = field(default_factory=list)

    def add(self, case_id: str, row: Mapping[Any, Any], features: CaseFeatures) -> None:
        """Add a case whose fingerprint lies in folder/ID.npy."""
        self.case_ids.append(case_id)
        self.rows.append({name: str(row.get(name, "")) for name in HEADER})
        self.features.append(features)

    @property
    def header(self) -> pd.DataFrame:
        """Return the columns HEADER, one row per case."""
        return pd.DataFrame(self.rows, columns=list(HEADER))

    @property
    def files(self) -> list[Path]:
        """Return the file of each fingerprint."""
        return [self.folder / f"{case_id}.npy" for case_id in self.case_ids]


@dataclass(frozen=True)
class Development:
    """The cohort that a run's network comes from: its cases, with split.csv's label, group and fold (text).

    metrics: of reports/metrics.json, {} where there is none.
    """

    cohort: Cohort
    split: pd.DataFrame
    metrics: dict[str, Any]


def measured(cases: Iterable[Preprocessed], cohort: Cohort, normalize: NormalizeParams) -> Iterator[Preprocessed]:
    """Yield the preprocessed cases as they come, and add those that did not fail to `cohort`."""
    for one in cases:
        if one.volume is not None:
            features, fingerprint = extract_features(one.volume, normalize.intensity, normalize.background)
            np.save(cohort.folder / f"{one.outcome.case_id}.npy", fingerprint)
            cohort.add(one.outcome.case_id, one.outcome.as_row(), features)
        yield one


def measure_volume(case_id: str, *, source: Path, normalize: NormalizeParams, out: Path) -> CaseFeatures:
    """Extract the features of source/ID.nii.gz; its fingerprint goes to out/ID.npy."""
    image = nifti.read_volume(source / f"{case_id}.nii.gz")
    features, fingerprint = extract_features(image, normalize.intensity, normalize.background)
    np.save(out / f"{case_id}.npy", fingerprint)
    return features


def read_development(run: TrainedRun, folder: Path) -> Development:
    """Measure the cases of a run's split that were exported, in worker processes; known results come from the cache.

    folder: gets the fingerprints and, for a run that is not the workspace's, its volumes.

    Raises:
        FlairprepError: a file of the run is missing, or a volume cannot be measured.
    """
    files = DVCFileSystem(rev=run.revision)
    try:
        tables = {
            path: _table(files, path)
            for path in ("data/split/split.csv", "data/export/cases.csv", "data/ingest/cases.csv")
        }
        source = Path(SLICES)
        if run.revision is not None:
            source = folder / "volumes"
            files.get(SLICES, str(source), recursive=True)
        metrics = json.loads(files.read_text("reports/metrics.json"))
    except FileNotFoundError as error:
        raise FlairprepError(f"{run.name}: {' '.join(str(error).split())}; dvc pull, or make it: dvc repro") from error
    split, exported, ingested = tables.values()
    kept = exported.loc[exported["status"] != Status.FAILED.value, "case_id"]
    split = split[split["case_id"].isin(kept)].sort_values("case_id", ignore_index=True)
    normalize = run.steps.normalize
    cohort = Cohort(folder)
    cache = ResultCache("validate", __file__, normalize.model_dump())
    function = partial(measure_volume, source=source, normalize=normalize, out=folder)
    ids = split["case_id"].tolist()
    rows = ingested.set_index("case_id").loc[ids].to_dict("records")
    features = map_volumes(cache, function, ids, source=source, out=folder, files=("{}.npy",), on_failure=_refuse)
    for case_id, row, of_case in zip(ids, rows, features, strict=True):
        cohort.add(case_id, row, of_case)
    return Development(cohort, split, metrics)


def _refuse(case_id: str, error: CaseError) -> CaseFeatures:
    raise FlairprepError(f"{SLICES}/{case_id}.nii.gz: {error.code}: {error.message}; dvc repro makes it again")


def _table(files: Any, path: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(files.read_text(path)), dtype=str, keep_default_na=False)


def fingerprints_of(paths: Sequence[Path]) -> Fingerprints:
    """Return the fingerprints saved as `paths`, read by blocks."""

    def read(block: slice) -> npt.NDArray[Any]:
        return np.stack([np.load(path, allow_pickle=False) for path in paths[block]])

    return read


def failed_outcomes(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the outcomes of failed cases."""
    return [outcome for outcome in outcomes if outcome.status is Status.FAILED]
