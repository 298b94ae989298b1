"""flairprep explain: where the network of the workspace's run looks, beside one that learned nothing."""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flairprep.core import console, params
from flairprep.core.errors import FlairprepError
from flairprep.core.files import atomic_file
from flairprep.core.tables import read_rows, write_rows
from flairprep.explanation import maps, space
from flairprep.imaging import nifti
from flairprep.stages.select_slices import BackgroundUsed

SPLIT = Path("data/split/split.csv")
VOLUMES = Path("data/ingest/volumes")
SHOWN = 8  # case ids that an error names
COLUMNS = (
    *("case_id", "label", "probability", "logit", "correlation", "within_tissue", "largest"),
    *("peak_x", "peak_y", "peak_z"),
)


def run(options: argparse.Namespace) -> None:
    """Write the maps of options.cases, their pictures and explain.csv into options.out; print one line per case.

    Raises:
        FlairprepError: a case is unknown or has no volume, or there is no network.
    """
    labels = {row["case_id"]: row["label"] for row in read_rows(SPLIT, ("case_id", "label"))}
    case_ids = sorted(set(options.cases))
    check(case_ids, list(labels))
    background = params.load(BackgroundUsed, "normalize").background
    for row in explain(case_ids, labels, background, options.out):
        where = ", ".join(f"{row[f'peak_{axis}']:g}" for axis in "xyz")
        beside = "none, since one of the maps is flat" if row["correlation"] == "" else f"{row['correlation']:g}"
        console.say(
            f"explain: {row['case_id']}: probability {row['probability']:g}; largest response {row['largest']:g} at "
            f"({where}) mm; correlation with randomised weights {beside}"
        )
    console.say(f"explain: the maps of {console.plural(len(case_ids), 'case')} are in {options.out}")


def check(case_ids: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a case that is not `known`, or has no volume in data/select_slices.

    Raises:
        FlairprepError: in one line, which names what exists.
    """
    for case_id in case_ids:
        if case_id not in known:
            some = ", ".join(known[:SHOWN]) + (", ..." if len(known) > SHOWN else "")
            raise FlairprepError(f"{SPLIT}: no case {case_id!r}; it has {console.plural(len(known), 'case')}: {some}")
        for path in (maps.SLICES / f"{case_id}.nii.gz", VOLUMES / f"{case_id}.nii.gz"):
            if not path.is_file():
                raise FlairprepError(
                    f"{path}: no such file: the case failed (see {path.parent}/cases.csv), or dvc checkout restores it"
                )


def explain(case_ids: Sequence[str], labels: Mapping[str, str], background: float, out: Path) -> list[dict[str, Any]]:
    """Write ID.nii.gz, ID.control.nii.gz, ID.png and ID.slices.png of each case, and explain.csv; return its rows."""
    from flairprep.report import explanations  # imports pandas

    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with maps.begun(case_ids, background, out) as explained:
        for case_id, one in explained().items():
            scan = nifti.read_volume(VOLUMES / f"{case_id}.nii.gz")
            nifti.write_volume(space.native(one.trained, scan), out / f"{case_id}.nii.gz")
            nifti.write_volume(space.native(one.randomised, scan), out / f"{case_id}.control.nii.gz")
            image, _ = maps.network_input(case_id)
            for name, draw in (("png", explanations.picture), ("slices.png", explanations.all_slices)):
                with atomic_file(out / f"{case_id}.{name}") as partial:
                    draw(image, one, background).save(partial, "PNG")
            rows.append(row(case_id, labels[case_id], one))
    write_rows(out / "explain.csv", rows, COLUMNS)
    return rows


def row(case_id: str, label: str, one: maps.Explanation) -> dict[str, Any]:
    """Return the row of explain.csv; an unknown number is empty."""
    numbers = (one.probability, one.logit, one.correlation, one.within, one.largest)
    rounded = ["" if math.isnan(value) else round(value, 4) for value in numbers]
    return dict(zip(COLUMNS, (case_id, label, *rounded, *(round(each, 1) for each in one.peak)), strict=True))
