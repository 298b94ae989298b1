"""Draw all cases, as acquired and as the network sees them, and measure their quality, through the result cache."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import SimpleITK as sitk

from flairprep.core.outcomes import CaseError
from flairprep.imaging import nifti, quality
from flairprep.imaging.foreground import foreground
from flairprep.imaging.quality import Quality
from flairprep.imaging.skull_stripping import is_skull_stripped
from flairprep.report import previews
from flairprep.report.previews import Shown
from flairprep.runner.case_stage import map_volumes
from flairprep.runner.result_cache import ResultCache

logger = logging.getLogger(__name__)

VOLUMES, SLICES = Path("data/ingest/volumes"), Path("data/select_slices")
Window = tuple[float, float]
T = TypeVar("T")


def acquired(case_id: str, *, out: Path) -> Shown:
    """Draw data/ingest/volumes/ID.nii.gz, as acquired, in its own window."""
    volume = nifti.read_volume(VOLUMES / f"{case_id}.nii.gz")
    values = previews.tissue(sitk.GetArrayViewFromImage(volume))  # as stored: much faster than along other axes
    strip, bar = previews.planes(previews.upright(volume), window := previews.window(values))
    previews.write(strip, out / f"{case_id}{previews.SUFFIX}")
    return Shown(window, bar, previews.histogram(values))


def windowed(case_id: str, *, background: float) -> Window:
    """Return the window that the tissue in data/select_slices/ID.nii.gz would have of its own."""
    volume = nifti.read_volume(SLICES / f"{case_id}.nii.gz")
    return previews.tissue_window(sitk.GetArrayViewFromImage(volume), background)


def seen(case_id: str, *, out: Path, background: float, window: Window) -> Shown:
    """Draw data/select_slices/ID.nii.gz, what the network sees, in `window`."""
    volume = previews.upright(nifti.read_volume(SLICES / f"{case_id}.nii.gz"))
    strip, bar = previews.planes(volume, window)
    previews.write(strip, out / f"{case_id}{previews.SUFFIX}")
    return Shown(window, bar, previews.histogram(previews.tissue(volume.values, background)))


def all_slices(case_id: str, *, out: Path, window: Window) -> int:
    """Draw every slice of data/select_slices/ID.nii.gz in `window`; return the bar's length in mm."""
    sheet, bar = previews.montage(previews.upright(nifti.read_volume(SLICES / f"{case_id}.nii.gz")), window)
    previews.write(sheet, out / f"{case_id}{previews.SUFFIX}")
    return bar


def outlined(case_id: str, *, out: Path, background: float) -> bool:
    """Draw the outline of the tissue in data/select_slices/ID.nii.gz, to lie over `seen`; return if there is any."""
    volume = previews.upright(nifti.read_volume(SLICES / f"{case_id}.nii.gz"))
    inside = previews.mask(volume.values, background)
    previews.write(previews.outline(volume._replace(values=inside)), out / f"{case_id}{previews.SUFFIX}")
    return bool(inside.any())


def measured(case_id: str, *, out: Path) -> Quality:
    """Measure data/ingest/volumes/ID.nii.gz; draw the outline of its tissue, to lie over `acquired`."""
    image = nifti.read_volume(VOLUMES / f"{case_id}.nii.gz")
    skull_stripped = is_skull_stripped(image)
    mask = foreground(image, skull_stripped=skull_stripped)
    previews.write(previews.outline(previews.upright(mask)), out / f"{case_id}{previews.SUFFIX}")
    found = quality.measure(image, mask, skull_stripped=skull_stripped)
    return Quality(*(None if value is None else float(f"{value:.6g}") for value in found))


def over(work: Callable[..., T], folder: Path, cases: list[str], label: str, out: Path, **given: Any) -> dict[str, T]:
    """Map `work` with `given` over the cases that have a volume in `folder`, through the result cache.

    A case that cannot be drawn is warned of and left out. out: the folder of the picture, if `work` draws one.
    """

    def warn(case_id: str, error: CaseError) -> None:
        logger.warning(f"report: case {case_id}: no picture: {error.code}: {error.message}")

    out.mkdir(parents=True, exist_ok=True)
    there = [case for case in cases if (folder / f"{case}.nii.gz").is_file()]
    cache = ResultCache(f"report, {label}", __file__, given)
    results = map_volumes(
        cache, partial(work, **given), there, source=folder, out=out, suffix=previews.SUFFIX, on_failure=warn
    )
    return {case: result for case, result in zip(there, results, strict=True) if result is not None}


def draw(cases: list[str], out: Path, background: float) -> tuple[dict[str, Shown], dict[str, Shown]]:
    """Draw `cases` into `out`, as acquired and as the network sees them, the latter all in one window."""
    before, after, sheets = (out / name for name in ("before", "after", "slices"))
    windows = list(over(windowed, SLICES, cases, "windows", out, background=background).values())
    # Rounded, so that one case more seldom draws all anew.
    window = tuple(float(f"{edge:.2g}") for edge in np.median(windows, axis=0)) if windows else (0.0, 1.0)
    look = partial(seen, out=after)
    shown = over(look, SLICES, cases, "what the network sees", after, background=background, window=window)
    whole = over(partial(all_slices, out=sheets), SLICES, cases, "all slices", sheets, window=window)
    edges = out / "outlines/after"
    over(partial(outlined, out=edges), SLICES, cases, "outlines", edges, background=background)
    acquisitions = over(partial(acquired, out=before), VOLUMES, cases, "as acquired", before)
    return acquisitions, {case: one for case, one in shown.items() if case in whole}


def measure(cases: list[str], out: Path) -> dict[str, Quality]:
    """Measure the quality of `cases`, as acquired, and draw the outlines of their masks into `out`."""
    edges = out / "outlines/before"
    return over(partial(measured, out=edges), VOLUMES, cases, "quality", edges)
