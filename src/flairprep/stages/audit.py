"""audit: does anything leak between folds, and what besides the biology predicts the label?"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field
from threadpoolctl import threadpool_limits

from flairprep.audit import association, leakage, near_duplicates, shortcuts
from flairprep.audit.features import CaseFeatures, extract_features
from flairprep.audit.finding import summarise
from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import OUTCOME_COLUMNS, CaseError, separate_failures
from flairprep.core.tables import read_csv, read_rows
from flairprep.imaging import nifti
from flairprep.runner.case_stage import map_volumes
from flairprep.runner.result_cache import ResultCache

SPLIT = Path("data/split/split.csv")
INGEST = Path("data/ingest")
SLICES = Path("data/select_slices")
OUT = Path("reports/audit.json")
LEFT_OUT = ("manufacturer", "plane")


class AuditParams(params.Section):
    """Section `audit` of params.yaml."""

    alpha: float = Field(gt=0, lt=0.5)
    permutations: int = Field(ge=99)
    seed: int = Field(ge=0)


class NormalizeUsed(params.Section, extra="ignore"):
    """What audit needs of section `normalize`."""

    intensity: str
    background: float


def measure_case(case_id: str, *, normalize: NormalizeUsed, out: Path) -> CaseFeatures:
    """Extract the features of data/select_slices/ID.nii.gz; its fingerprint goes to out/ID.npy."""
    image = nifti.read_volume(SLICES / f"{case_id}.nii.gz")
    case_features, fingerprint = extract_features(image, normalize.intensity, normalize.background)
    np.save(out / f"{case_id}.npy", fingerprint)
    return case_features


def refuse(case_id: str, error: CaseError) -> CaseFeatures:
    """End the stage: without the features of one case there is no audit.

    Raises:
        FlairprepError: always; it names the volume.
    """
    raise FlairprepError(f"{SLICES}/{case_id}.nii.gz: {error.code}: {error.message}")


def audit(
    table: pd.DataFrame,
    header: pd.DataFrame,
    features: list[CaseFeatures],
    fingerprints: near_duplicates.Fingerprints,
    params: AuditParams,
    intensity: str,
    scratch: Path,
) -> dict[str, Any]:
    """Look for leaks and shortcuts; the content of reports/audit.json.

    Args:
        table: case_id, label, group, fold and the columns of same_as.csv.
        header: fields of data/ingest/cases.csv, a row for each of `table`, as are `features`.
        fingerprints: see `near_duplicates.alike`, in the order of `table`.
        intensity: the method of normalize.
        scratch: a folder for what is compared.
    """
    case_ids, labels, groups, folds = (table[name].to_numpy() for name in ("case_id", "label", "group", "fold"))
    leaks = [leakage.shared(table, name) for name in leakage.IDENTITY]
    leaks.append(near_duplicates.near(case_ids.tolist(), folds, fingerprints, scratch))
    leaks.append(leakage.statistics_across_folds(intensity))
    sources = {
        "header fields": association.columns(header),
        "geometry": _columns([one.geometry for one in features]),
        "intensity statistics": _columns([one.statistics for one in features]),
    }
    sizes = [name for name in sources["geometry"] if name.startswith(("extent", "blur"))]
    alone = [*sources["header fields"], *sizes]
    cohort = shortcuts.Cohort(case_ids, labels, groups, folds)
    found, bars, strata = shortcuts.examine(cohort, sources, alone, LEFT_OUT, **params.model_dump())
    return {"items": [one.as_item() for one in (*leaks, *found)], "bars": bars, "strata": strata}


def _columns(rows: list[dict[str, float]]) -> association.Columns:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def main() -> None:
    """Reads split.csv, data/ingest's tables and data/select_slices, writes reports/audit.json."""
    section, normalize = params.load(AuditParams, "audit"), params.load(NormalizeUsed, "normalize")
    association.prepare()
    cache = ResultCache("audit", __file__, normalize.model_dump())
    split = read_csv(SPLIT, ("case_id", "label", "group", "fold")).astype({"label": int, "fold": int})
    _, usable = separate_failures(read_rows(SLICES / "cases.csv", OUTCOME_COLUMNS))
    cases = read_csv(INGEST / "cases.csv", (*OUTCOME_COLUMNS, *LEFT_OUT)).set_index("case_id")
    same_as = read_csv(INGEST / "same_as.csv", ("case_id", *leakage.IDENTITY))
    table = split[split["case_id"].isin([row["case_id"] for row in usable])]
    table = table.merge(same_as, on="case_id").sort_values("case_id", ignore_index=True)
    header = cases.loc[table["case_id"]].drop(columns=["status", "message"])
    ids = table["case_id"].tolist()
    with files.scratch("audit") as out:
        work = partial(measure_case, normalize=normalize, out=out)
        features = list(map_volumes(cache, work, ids, source=SLICES, out=out, suffix=".npy", on_failure=refuse))

        def fingerprints(places: slice) -> np.ndarray:
            return np.stack([np.load(out / f"{case_id}.npy", allow_pickle=False) for case_id in ids[places]])

        with threadpool_limits(1):  # several, on cores that others use too, take five times as long
            report = audit(table, header, features, fingerprints, section, normalize.intensity, out)
    shortcuts.check_permutations(report["items"], section.alpha, section.permutations)
    files.write_json(OUT, report)
    summarise(report)


if __name__ == "__main__":
    console.run(main, "audit")
