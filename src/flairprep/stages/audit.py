"""audit: does anything leak between folds, and what besides the biology predicts the label?"""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import SimpleITK as sitk
from pydantic import Field
from threadpoolctl import threadpool_limits

from flairprep.audit import association, features, leakage, near_duplicates, shortcuts
from flairprep.audit.finding import Finding
from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import OUTCOME_COLUMNS, CaseError, passed_on
from flairprep.core.tables import read_csv, read_rows
from flairprep.imaging import nifti
from flairprep.runner.result_cache import Store

SPLIT = Path("data/split/split.csv")
INGEST = Path("data/ingest")
SLICES = Path("data/select_slices")
OUT = Path("reports/audit.json")
ONE_IMAGE = ("zscore", "percentile", "white_stripe", "none")  # intensity maps with the statistics of one image alone
LEFT_OUT = ("manufacturer", "plane")


class Params(params.Section):
    """Section `audit` of params.yaml."""

    alpha: float = Field(gt=0, lt=0.5)
    permutations: int = Field(ge=99)
    seed: int = Field(ge=0)


class Normalize(params.Section, extra="ignore"):
    """What audit needs of section `normalize`."""

    intensity: str
    background: float


class Look(NamedTuple):
    """What is measured on one preprocessed volume."""

    geometry: dict[str, float]
    statistics: dict[str, float]


def look(image: sitk.Image, normalize: Normalize) -> tuple[Look, np.ndarray]:
    """The measures of a volume from data/select_slices, what is not `background` being tissue, and its fingerprint.

    Returns:
        And (2, z, y, x), the means and shares of leaks.fingerprint.
    """
    values = sitk.GetArrayViewFromImage(image)
    tissue = values != normalize.background
    usual = features.ordinary(values, tissue)
    statistics, geometry = features.intensity_statistics(usual), features.geometry(tissue, usual)
    if normalize.intensity == "none":  # else it was taken away; here it is the scanner's own
        statistics |= features.level(usual)
    return Look(geometry, statistics), np.stack(near_duplicates.fingerprint(values, tissue))


def look_at(case_id: str, *, normalize: Normalize, out: Path) -> Look:
    """`look` at data/select_slices/ID.nii.gz; the fingerprint to out/ID.npy."""
    found, fingerprint = look(nifti.read(SLICES / f"{case_id}.nii.gz"), normalize)
    np.save(out / file_name(case_id), fingerprint)
    return found


def file_name(case_id: str) -> str:
    """Of a case's fingerprint."""
    return f"{case_id}.npy"


def inputs(case_id: str) -> tuple[tuple[Path], Any]:
    """What decides on a case's measures."""
    return (SLICES / f"{case_id}.nii.gz",), case_id


def lost(case_id: str, error: CaseError) -> Look:
    """Without the measures of one case there is no audit.

    Raises:
        FlairprepError: always; it names the volume.
    """
    raise FlairprepError(f"{SLICES}/{case_id}.nii.gz: {error.code}: {error.message}")


def looks_at(case_ids: list[str], normalize: Normalize, store: Store, out: Path) -> list[Look]:
    """The measures of all cases, from the store where it has them, and their fingerprints to out/ID.npy."""
    work = partial(look_at, normalize=normalize, out=out)
    return list(store.map(work, case_ids, name=file_name, inputs=inputs, out=out, lost=lost))


def fitted(intensity: str) -> Finding:
    """Whether statistics of several cases, and so of several folds, enter the volumes."""
    name = "statistics across folds"
    if intensity in ONE_IMAGE:
        text = f"normalize.intensity {intensity} takes its statistics from the image itself, and no other stage has any"
        return Finding(name, "leak", "clean", text)
    text = f"normalize.intensity {intensity} may be fitted to several cases; choose {', '.join(ONE_IMAGE)}"
    return Finding(name, "leak", "leak", text)


def audit(
    table: pd.DataFrame,
    cases: pd.DataFrame,
    looks: list[Look],
    fingerprints: near_duplicates.Fingerprints,
    params: Params,
    intensity: str,
    scratch: Path,
) -> dict[str, Any]:
    """What reports/audit.json holds.

    Args:
        table: case_id, label, group, fold and the columns of same_as.csv.
        cases: the fields of data/ingest/cases.csv; a row for each of `table`, as has `looks`.
        fingerprints: see leaks.alike, in the order of `table`.
        intensity: the method of normalize.
        scratch: a folder for what is compared.
    """
    case_ids, labels, groups, folds = (table[name].to_numpy() for name in ("case_id", "label", "group", "fold"))
    geometry, statistics = (list(parts) for parts in zip(*looks, strict=True))
    found = [leakage.shared(table, name) for name in leakage.IDENTITY]
    found += [near_duplicates.near(case_ids.tolist(), folds, fingerprints, scratch), fitted(intensity)]
    header = association.columns(cases)
    sources = {
        "header fields": header,
        "geometry": _columns(geometry),
        "intensity statistics": _columns(statistics),
    }
    alone = [*header, *(name for name in sources["geometry"] if name.startswith(("extent", "blur")))]
    cohort = shortcuts.Cohort(case_ids, labels, groups, folds)
    further, bars, strata = shortcuts.examine(cohort, sources, alone, LEFT_OUT, **params.model_dump())
    return {"items": [one.as_item() for one in (*found, *further)], "bars": bars, "strata": strata}


def _columns(rows: list[dict[str, float]]) -> association.Columns:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def summarise(report: dict[str, Any]) -> None:
    """The counts, and every leak and shortcut in words."""
    items = report["items"]
    verdicts = [item["verdict"] for item in items]
    console.say(
        f"audit: {len(items)} items: {verdicts.count('clean')} clean, {verdicts.count('leak')} leaks, "
        f"{verdicts.count('shortcut')} shortcuts, {verdicts.count('not testable')} not testable"
    )
    for item in items:
        if item["verdict"] in ("leak", "shortcut"):
            console.warn(f"audit: {item['verdict']}: {item['name']}: {item['text']}")
    for bar in report["bars"]:
        console.say(f"  {bar['name']} alone reach an AUC of {bar['auc']:.3f} (p {bar['p']:.3g})")


def main() -> None:
    """Reads split.csv, data/ingest's tables and data/select_slices, writes reports/audit.json."""
    section, normalize = params.load(Params, "audit"), params.load(Normalize, "normalize")
    association.prepare()
    store = Store("audit", __file__, normalize.model_dump())
    split = read_csv(SPLIT, ("case_id", "label", "group", "fold")).astype({"label": int, "fold": int})
    _, usable = passed_on(read_rows(SLICES / "cases.csv", OUTCOME_COLUMNS))
    cases = read_csv(INGEST / "cases.csv", (*OUTCOME_COLUMNS, *LEFT_OUT)).set_index("case_id")
    same_as = read_csv(INGEST / "same_as.csv", ("case_id", *leakage.IDENTITY))
    table = (
        split[split["case_id"].isin([row["case_id"] for row in usable])]
        .merge(same_as, on="case_id")
        .sort_values("case_id")
    )
    fields = cases.loc[table["case_id"]].drop(columns=["status", "message"])
    case_ids = table["case_id"].tolist()
    with files.scratch("audit") as out:
        looks = looks_at(case_ids, normalize, store, out)

        def fingerprints(cases: slice) -> np.ndarray:
            return np.stack([np.load(out / file_name(case_id), allow_pickle=False) for case_id in case_ids[cases]])

        with threadpool_limits(1):  # several, on cores that others use too, take five times as long
            report = audit(table.reset_index(drop=True), fields, looks, fingerprints, section, normalize.intensity, out)
    tests = sum(item["p"] is not None for item in report["items"])
    if tests >= section.alpha * (1 + section.permutations):
        console.warn(
            f"params.yaml: audit.permutations: {section.permutations}: too few for {tests} tests to reach "
            f"audit.alpha {section.alpha} after Holm's correction; set it to {round(tests / section.alpha)} or more"
        )
    files.write_json(OUT, report)
    summarise(report)


if __name__ == "__main__":
    console.run(main, "audit")
