"""audit: find leaks between folds, and what besides the biology predicts the label."""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field
from threadpoolctl import threadpool_limits

from flairprep.audit import association, leakage, near_duplicates, shortcuts
from flairprep.audit.baseline_scores import baseline_scores
from flairprep.audit.features import CaseFeatures, extract_features
from flairprep.audit.finding import print_summary
from flairprep.audit.sources import LEAVE_OUT, SPACINGS, collect
from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import OUTCOME_COLUMNS, CaseError, separate_failures
from flairprep.core.tables import read_csv, read_rows, write_csv
from flairprep.imaging import nifti
from flairprep.runner.case_stage import map_volumes
from flairprep.runner.result_cache import ResultCache

SPLIT = Path("data/split/split.csv")
INGEST = Path("data/ingest")
SLICES = Path("data/select_slices")
OUT = Path("reports/audit.json")
SCORES = Path("data/audit")


class AuditParams(params.Section):
    """Section `audit` of params.yaml."""

    alpha: float = Field(gt=0, lt=0.5)
    """A shortcut below this p, corrected for all tests."""
    permutations: int = Field(ge=99)
    """Of the labels, for every test; with fewer than tests / alpha nothing can be found, and the stage says so."""
    seed: int = Field(ge=0)
    """Of the permutations."""


class NormalizeUsed(params.Section, extra="ignore"):
    """Keys of section `normalize` that audit needs."""

    intensity: str
    background: float


def measure_case(case_id: str, *, normalize: NormalizeUsed, out: Path) -> CaseFeatures:
    """Extract the features of data/select_slices/ID.nii.gz; its fingerprint goes to out/ID.npy."""
    image = nifti.read_volume(SLICES / f"{case_id}.nii.gz")
    case_features, fingerprint = extract_features(image, normalize.intensity, normalize.background)
    np.save(out / f"{case_id}.npy", fingerprint)
    return case_features


def refuse(case_id: str, error: CaseError) -> CaseFeatures:
    """Raise a FlairprepError that names the volume: without the features of one case there is no audit."""
    raise FlairprepError(f"{SLICES}/{case_id}.nii.gz: {error.code}: {error.message}")


def audit(
    table: pd.DataFrame,
    header: pd.DataFrame,
    features: list[CaseFeatures],
    fingerprints: near_duplicates.Fingerprints,
    params: AuditParams,
    intensity: str,
    scratch: Path,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the content of reports/audit.json (leaks, shortcuts, baselines, strata), and of data/audit/baselines.csv.

    Args:
        table: case_id, label, group, fold and the columns of same_as.csv.
        header: fields of data/ingest/cases.csv, in the order of `table`.
        features, fingerprints: of the volumes, in the same order.
        params: level and permutations.
        intensity: the method of normalize.
        scratch: a folder for temporary files.
    """
    case_ids, labels, groups, folds = (table[name].to_numpy() for name in ("case_id", "label", "group", "fold"))
    leaks = [leakage.find_shared(table, name) for name in leakage.IDENTITIES]
    leaks.append(near_duplicates.find_near_duplicates(case_ids.tolist(), folds, fingerprints, scratch))
    leaks.append(leakage.check_intensity_method(intensity))
    cohort = shortcuts.Cohort(case_ids, labels, groups, folds)
    sources, single = collect(header, features)
    findings, baselines, strata = shortcuts.examine(cohort, sources, single, LEAVE_OUT, **params.model_dump())
    report = {"items": [item.as_item() for item in (*leaks, *findings)], "baselines": baselines, "strata": strata}
    return report, baseline_scores(cohort, sources)


def main() -> None:
    """Read split.csv, data/ingest's tables and data/select_slices; write reports/audit.json, data/audit."""
    section, normalize = params.load(AuditParams, "audit"), params.load(NormalizeUsed, "normalize")
    cache = ResultCache("audit", __file__, normalize.model_dump())
    split = read_csv(SPLIT, ("case_id", "label", "group", "fold")).astype({"label": int, "fold": int})
    _, usable = separate_failures(read_rows(SLICES / "cases.csv", OUTCOME_COLUMNS))
    cases = read_csv(INGEST / "cases.csv", (*OUTCOME_COLUMNS, *LEAVE_OUT, *SPACINGS)).set_index("case_id")
    same_as = read_csv(INGEST / "same_as.csv", ("case_id", *leakage.IDENTITIES))
    table = split[split["case_id"].isin([row["case_id"] for row in usable])]
    table = table.merge(same_as, on="case_id").sort_values("case_id", ignore_index=True)
    header = cases.loc[table["case_id"]].drop(columns=["status", "message", "session"], errors="ignore")
    ids = table["case_id"].tolist()
    with files.scratch("audit") as out:
        work = partial(measure_case, normalize=normalize, out=out)
        measured = map_volumes(cache, work, ids, source=SLICES, out=out, files=("{}.npy",), on_failure=refuse)
        features = list(islice(measured, 1))
        association.import_in_background()  # not before the workers are forked, see `pool`
        features += measured
        fingerprints = near_duplicates.saved_fingerprints(out, ids)
        with threadpool_limits(1):  # more threads, on cores that others use too, take five times as long
            report, scores = audit(table, header, features, fingerprints, section, normalize.intensity, out)
    shortcuts.check_permutations(report["items"], section.alpha, section.permutations)
    with files.atomic_folder(SCORES) as folder:
        write_csv(folder / "baselines.csv", scores)
        files.write_json(OUT, report)
    print_summary(report)


if __name__ == "__main__":
    console.run(main, "audit")
