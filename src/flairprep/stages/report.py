"""report: one page that a person reads, reports/index.html, with the pictures of the cases in reports/assets."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import SimpleITK as sitk

from flairprep.core import console, files, params
from flairprep.core.outcomes import CaseError, Status
from flairprep.core.tables import read_csv
from flairprep.evaluation import predictions
from flairprep.imaging import nifti
from flairprep.network import train_config
from flairprep.report import captions, case_overview, charts, figures, html, previews, provenance
from flairprep.report.previews import Shown
from flairprep.runner.result_cache import Store
from flairprep.stats import metrics as stats

DATA = Path("data")
REPORTS = Path("reports")
OUT = REPORTS / "index.html"
ASSETS = REPORTS / "assets"
LOCK = Path("dvc.lock")
LATER = ("normalize", "select_slices", "export")  # what may lose a case after ingest
VOLUMES, SLICES = DATA / "ingest/volumes", DATA / "select_slices"
Window = tuple[float, float]
T = TypeVar("T")


class Params(params.Section):
    """Section `report` of params.yaml: where the labels come from, as text, or null."""

    assay: str | None
    cut_off: str | None
    dates: str | None


class Background(params.Section, extra="ignore"):
    """What report needs of section `normalize`: the value of what is no tissue."""

    background: float


class Evaluate(params.Section):
    """Section `evaluate`: the permutations behind p_selection are those behind the band of the best epoch."""

    alpha: float
    permutations: int
    seed: int


class Model(params.Section, extra="ignore"):
    """What report needs of section `model`: what a null train.monitor stands for."""

    name: str


def acquired(case_id: str, *, out: Path) -> Shown:
    """Draws data/ingest/volumes/ID.nii.gz, as acquired, in its own window."""
    volume = previews.upright(nifti.read(VOLUMES / f"{case_id}.nii.gz"))
    values = previews.tissue(volume.values)
    strip, bar = previews.planes(volume, window := previews.window(values))
    previews.write(strip, out / file_name(case_id))
    return Shown(window, bar, previews.histogram(values))


def windowed(case_id: str, *, background: float) -> Window:
    """The window that data/select_slices/ID.nii.gz would have of its own."""
    volume = nifti.read(SLICES / f"{case_id}.nii.gz")
    return previews.window(previews.tissue(sitk.GetArrayViewFromImage(volume), background))


def seen(case_id: str, *, out: Path, background: float, window: Window) -> Shown:
    """Draws data/select_slices/ID.nii.gz, what the network sees, in `window`."""
    volume = previews.upright(nifti.read(SLICES / f"{case_id}.nii.gz"))
    strip, bar = previews.planes(volume, window)
    previews.write(strip, out / file_name(case_id))
    return Shown(window, bar, previews.histogram(previews.tissue(volume.values, background)))


def all_slices(case_id: str, *, out: Path, window: Window) -> int:
    """Draws every slice of data/select_slices/ID.nii.gz in `window`; the bar's length in mm."""
    sheet, bar = previews.montage(previews.upright(nifti.read(SLICES / f"{case_id}.nii.gz")), window)
    previews.write(sheet, out / file_name(case_id))
    return bar


def file_name(case_id: str) -> str:
    """Of a picture."""
    return f"{case_id}{previews.SUFFIX}"


def inputs(case_id: str, *, folder: Path) -> tuple[tuple[Path], str]:
    """What decides on what is drawn of a case."""
    return (folder / f"{case_id}.nii.gz",), case_id


def over(work: Callable[..., T], folder: Path, cases: list[str], label: str, out: Path, **given: Any) -> dict[str, T]:
    """`work` with `given` of the cases that have a volume in `folder`, from the store where it has them.

    A case that cannot be drawn is warned of and left out. out: the folder of the picture, if `work` draws one.
    """

    def lost(case_id: str, error: CaseError) -> None:
        console.warn(f"report: case {case_id}: no picture: {error.code}: {error.message}")

    out.mkdir(parents=True, exist_ok=True)
    there = [case for case in cases if (folder / f"{case}.nii.gz").is_file()]
    store = Store(f"report, {label}", __file__, given)
    decides = partial(inputs, folder=folder)
    results = store.map(partial(work, **given), there, name=file_name, inputs=decides, out=out, lost=lost)
    return {case: found for case, found in zip(there, results, strict=True) if found is not None}


def draw(cases: list[str], out: Path, background: float) -> tuple[dict[str, Shown], dict[str, Shown]]:
    """The pictures of `cases` into `out`, as acquired and as the network sees them, the latter all in one window."""
    before, after, sheets = (out / name for name in ("before", "after", "slices"))
    windows = list(over(windowed, SLICES, cases, "windows", out, background=background).values())
    # Rounded, so that one case more seldom draws all anew.
    window = tuple(float(f"{edge:.2g}") for edge in np.median(windows, axis=0)) if windows else (0.0, 1.0)
    look = partial(seen, out=after)
    shown = over(look, SLICES, cases, "what the network sees", after, background=background, window=window)
    whole = over(partial(all_slices, out=sheets), SLICES, cases, "all slices", sheets, window=window)
    acquisitions = over(partial(acquired, out=before), VOLUMES, cases, "as acquired", before)
    return acquisitions, {case: one for case, one in shown.items() if case in whole}


def results(section: Evaluate, monitor: stats.Metric, split: pd.DataFrame | None) -> dict[str, Any]:
    """What train and evaluate left, as the template wants it; `metrics` is None where one of them has not run."""
    evaluated, metrics = REPORTS / "evaluate", _json(REPORTS / "metrics.json")
    rows, history = _csv(DATA / "train/val_predictions.csv"), _csv(DATA / "train/history.csv")
    scored = _csv(evaluated / "cases.csv")
    if metrics is None or rows is None or history is None or split is None or scored is None:
        return {"metrics": None, "scored": None}
    found = predictions.from_tables(rows, split)
    band = figures.chance_band(found, monitor, section.permutations, section.seed)
    histogram, bins = _numbers(evaluated / "probability.csv"), _numbers(evaluated / "reliability.csv")
    by_group = _numbers(evaluated / "groups.csv", text=("by", "value"))
    ones = int(found.y_true.sum())
    return {
        "metrics": metrics,
        "scored": scored,
        "diagnosis": _json(evaluated / "diagnosis.json"),
        "significance": captions.significance(metrics, section.alpha),
        "smallest_effect": captions.smallest_effect(ones, len(found.y_true) - ones, section.alpha),
        "training": figures.training(history.astype(float), metrics, band),
        "declared": figures.declared(found, metrics, histogram, bins),
        "confusion": figures.confusion(found),
        "groups": figures.groups(by_group),
        "group_rows": by_group.astype(object).where(by_group.notna(), None).to_dict("records"),
    }


def _csv(path: Path) -> pd.DataFrame | None:
    return read_csv(path) if path.is_file() else None


def _numbers(path: Path, text: tuple[str, ...] = ()) -> pd.DataFrame:
    table = read_csv(path)
    for name in table.columns.difference(list(text)):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    return table


def _json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def main() -> None:
    """Reads what the other stages left, as far as they ran, writes reports/index.html and reports/assets."""
    section, evaluate = params.load(Params, "report"), params.load(Evaluate, "evaluate")
    background = params.load(Background, "normalize").background
    monitor = train_config.resolve(params.load(train_config.Params, "train"), params.load(Model, "model").name).monitor
    ingested, split = _csv(DATA / "ingest/cases.csv"), _csv(DATA / "split/split.csv")
    balance, audit, sanity = (_json(REPORTS / f"{name}.json") for name in ("balance", "audit", "sanity"))
    result = results(evaluate, monitor, split)
    with files.whole_folder(ASSETS) as out:
        usable = [] if ingested is None else ingested.loc[ingested["status"] != Status.FAILED.value, "case_id"].tolist()
        shown = draw(usable, out, background)
        later = {stage: _csv(DATA / stage / "cases.csv") for stage in LATER}
        cases = case_overview.join(ingested, later, split, result["scored"], *shown)
        faults = [*case_overview.of_cases(cases), *case_overview.of_audit(audit), *case_overview.of_sanity(sanity)]
        faults = sorted([*faults, *case_overview.of_labels(balance)], key=lambda fault: fault.level)
        text = html.render(
            "report.html",
            **{**result, "audit": audit, "sanity": sanity, "balance": balance, "cases": cases, "provenance": section},
            faults=faults,
            labels=[figures.labels(balance)] if balance else [],
            folds=[figures.folds(split)] if split is not None else [],
            bars=figures.bars(audit, result["metrics"]) if audit else None,
            choices={name: case_overview.choices(cases, name) for name in ("status", "code", "plane", "fold", "label")},
            identity=provenance.hashes(provenance.read_lock(LOCK)),
            values={key: params.value_of(value) for key, value in params.flatten(params.read()).items()},
            captions=captions,
            outline=charts.outline,
        )
        files.write_text(OUT, text)
    console.say(f"report: {len(cases)} cases, {len(faults)} things to look at: open {OUT}")


if __name__ == "__main__":
    console.run(main, "report")
