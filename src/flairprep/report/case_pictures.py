"""Draw all cases, as acquired and as the network sees them, and measure their quality, through the result cache."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import SimpleITK as sitk
from pydantic import TypeAdapter, ValidationError

from flairprep.core.errors import FlairprepError
from flairprep.core.files import write_json
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
ACQUIRED = tuple(f"{kind}/{{}}{previews.SUFFIX}" for kind in ("before", "outlines/before"))
SEEN = tuple(f"{kind}/{{}}{previews.SUFFIX}" for kind in ("after", "outlines/after", "slices"))
CAPTIONS = "captions.json"
Window = tuple[float, float]
T = TypeVar("T")


class Acquired(NamedTuple):
    """What the page shows of a case as acquired: the caption of its picture, and its quality."""

    shown: Shown
    quality: Quality


class Drawn(NamedTuple):
    """What the page shows of cases beside their pictures; a case that could not be drawn is missing."""

    acquired: dict[str, Acquired]
    seen: dict[str, Shown]

    @property
    def qualities(self) -> dict[str, Quality]:
        """Return the quality of each case as acquired."""
        return {case: one.quality for case, one in self.acquired.items()}


def acquired(case_id: str, *, out: Path) -> Acquired:
    """Draw data/ingest/volumes/ID.nii.gz in its own window, and the outline of its tissue over it; measure it."""
    volume = nifti.read_volume(VOLUMES / f"{case_id}.nii.gz")
    skull_stripped = is_skull_stripped(volume)
    mask = foreground(volume, skull_stripped=skull_stripped)
    values = previews.tissue(sitk.GetArrayViewFromImage(volume))  # as stored: much faster than along other axes
    strip, bar = previews.planes(previews.upright(volume), window := previews.window(values))
    before, outline = (out / file.format(case_id) for file in ACQUIRED)
    previews.write(strip, before)
    previews.write(previews.outline(previews.upright(mask)), outline)
    found = quality.measure(volume, mask, skull_stripped=skull_stripped)
    rounded = Quality(*(None if value is None else float(f"{value:.6g}") for value in found))
    return Acquired(Shown(window, bar, previews.histogram(values)), rounded)


def windowed(case_id: str, *, background: float) -> Window:
    """Return the window that the tissue in data/select_slices/ID.nii.gz would have of its own."""
    volume = nifti.read_volume(SLICES / f"{case_id}.nii.gz")
    return previews.tissue_window(sitk.GetArrayViewFromImage(volume), background)


def seen(case_id: str, *, out: Path, background: float, window: Window) -> Shown:
    """Draw data/select_slices/ID.nii.gz, what the network sees, in `window`: planes, their outline, every slice."""
    volume = previews.upright(nifti.read_volume(SLICES / f"{case_id}.nii.gz"))
    strip, bar = previews.planes(volume, window)
    inside = previews.mask(volume.values, background)
    pictures = strip, previews.outline(volume._replace(values=inside)), previews.montage(volume, window)[0]
    for picture, file in zip(pictures, SEEN, strict=True):
        previews.write(picture, out / file.format(case_id))
    return Shown(window, bar, previews.histogram(previews.tissue(volume.values, background)))


def over(
    work: Callable[..., T], folder: Path, cases: list[str], label: str, out: Path, files: Sequence[str], **given: Any
) -> dict[str, T]:
    """Map `work` with `given` over the cases that have a volume in `folder`, through the result cache.

    A case that cannot be drawn is warned of and left out. files: what `work` draws in `out`, {} stands for the case.
    """

    def warn(case_id: str, error: CaseError) -> None:
        logger.warning(f"preview: case {case_id}: no picture: {error.code}: {error.message}")

    for file in files:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
    there = [case for case in cases if (folder / f"{case}.nii.gz").is_file()]
    cache = ResultCache(f"preview, {label}", __file__, given)
    function = partial(work, **given)
    results = map_volumes(cache, function, there, source=folder, out=out, files=files, on_failure=warn)
    return {case: result for case, result in zip(there, results, strict=True) if result is not None}


def draw(cases: list[str], out: Path, background: float) -> Drawn:
    """Draw `cases` into `out`, as acquired and as the network sees them, the latter all in one window."""
    windows = list(over(windowed, SLICES, cases, "windows", out, (), background=background).values())
    # Rounded, so that one case more seldom draws all anew.
    window = tuple(float(f"{edge:.2g}") for edge in np.median(windows, axis=0)) if windows else (0.0, 1.0)
    look, given = partial(seen, out=out), {"background": background, "window": window}
    shown = over(look, SLICES, cases, "what the network sees", out, SEEN, **given)
    return Drawn(over(partial(acquired, out=out), VOLUMES, cases, "as acquired", out, ACQUIRED), shown)


def write(drawn: Drawn, folder: Path) -> None:
    """Write folder/captions.json, which `read` reads."""
    write_json(folder / CAPTIONS, TypeAdapter(Drawn).dump_python(drawn, mode="json"))


def read(folder: Path) -> Drawn:
    """Return what `write` wrote, nothing where there is no such file.

    Raises:
        FlairprepError: it cannot be read.
    """
    path = folder / CAPTIONS
    if not path.is_file():
        return Drawn({}, {})
    try:
        return TypeAdapter(Drawn).validate_json(path.read_bytes())
    except ValidationError as error:
        raise FlairprepError(f"{path}: cannot be read; restore it: `dvc checkout {folder}`") from error
