"""The cases whose maps the page shows, and the pictures of a map beside its control."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import SimpleITK as sitk
from PIL import Image, ImageDraw, ImageFont

from flairprep.core.errors import FlairprepError
from flairprep.explanation import maps, occlusion
from flairprep.explanation.maps import Explanation
from flairprep.report import previews
from flairprep.report.previews import BOX, Heat

logger = logging.getLogger(__name__)

ALWAYS_WRONG = 2  # cases of this kind at most: with one right and one wrong case of each label, six in all
HIGH = 0.5  # correlation with the control from which on a map says little of what was learned
HEADING = 18  # pixels above each row of CASE.png
ROWS = ("the network's input", "occlusion map of the trained network", "control: the same with randomised weights")


class Explained(NamedTuple):
    """A case on the page. why: the reasons for its choice; bar: its length in the pictures, mm."""

    case_id: str
    label: int
    why: str
    probability: float
    correlation: float | None
    within: float | None
    bar: int

    @property
    def shows_the_input(self) -> bool:
        """Return whether the map resembles its control so much that it shows the input, not what was learned."""
        return self.correlation is None or self.correlation >= HIGH


def chosen(scored: pd.DataFrame) -> dict[str, str]:
    """Choose the cases to explain, and say why each: at most six.

    scored: reports/evaluate/cases.csv as text. Of each label the most certain right and the most certain wrong case,
    and the ALWAYS_WRONG most certain of those that were wrong in every epoch; ties by case_id.
    """
    table = pd.DataFrame(
        {
            "case_id": scored["case_id"],
            "label": scored["label"].astype(int),
            "probability": scored["probability"].astype(float),
            "always": scored["wrong"].astype(float) == 1,
        }
    )
    table["certainty"] = (table["probability"] - 0.5).abs()
    table["right"] = (table["probability"] > 0.5) == (table["label"] == 1)
    table = table.sort_values(["certainty", "case_id"], ascending=[False, True])
    kinds = [
        (
            f"the most certain {'right' if right else 'wrong'} case of label {label}",
            table[(table["right"] == right) & (table["label"] == label)].head(1),
        )
        for right in (True, False)
        for label in (1, 0)
    ]
    why: dict[str, list[str]] = {}
    for text, rows in [*kinds, ("wrong in every epoch", table[table["always"]].head(ALWAYS_WRONG))]:
        for case_id in rows["case_id"]:
            why.setdefault(case_id, []).append(text)
    return {case_id: ", ".join(texts) for case_id, texts in why.items()}


@contextmanager
def begun(scored: pd.DataFrame | None, background: float, assets: Path) -> Iterator[Callable[[], list[Explained]]]:
    """Begin the maps of the cases that `chosen` names, and yield the function that draws them into assets/explain.

    There are none where there is no network. A case without a volume in data/select_slices, which a later run removed,
    is left out. Where a map cannot be made, a warning says why, and there is none.
    """
    with ExitStack() as stack:
        drawn: Callable[[], list[Explained]] = list
        if scored is not None and maps.MODEL.is_file():
            labels = dict(zip(scored["case_id"], scored["label"].astype(int), strict=True))
            reasons = {case: why for case, why in chosen(scored).items() if (maps.SLICES / f"{case}.nii.gz").is_file()}
            with _or_none():
                explained = stack.enter_context(maps.begun(list(reasons), background, assets))
                drawn = partial(_drawn, explained, labels, reasons, background, assets)
        yield drawn


@contextmanager
def _or_none() -> Iterator[None]:
    try:
        yield
    except (FlairprepError, OSError) as error:  # the page is worth having without
        logger.warning(f"report: no occlusion maps: {error}")


def _drawn(
    explained: Callable[[], dict[str, Explanation]],
    labels: Mapping[str, int],
    reasons: Mapping[str, str],
    background: float,
    assets: Path,
) -> list[Explained]:
    shown = []
    with _or_none():
        for case_id, one in explained().items():
            strips, bar = rows_of(maps.network_input(case_id)[0], one, background)
            for name, strip in zip(("trained", "randomised"), strips[1:], strict=True):
                previews.write(strip, assets / f"explain/{name}/{case_id}{previews.SUFFIX}")
            correlation, within = (None if math.isnan(value) else value for value in (one.correlation, one.within))
            label, why = labels[case_id], reasons[case_id]
            shown.append(Explained(case_id, label, why, one.probability, correlation, within, bar))
    return shown


def rows_of(image: sitk.Image, one: Explanation, background: float) -> tuple[Sequence[Image.Image], int]:
    """Draw the planes through the largest response: bare, below the map, below its control.

    Each map has its own scale, up to its largest absolute response.

    Returns:
        Three strips of BOX x 3 BOX pixels, and the bar's length in mm.
    """
    volume, maps_upright = _upright(image, one)
    window = previews.tissue_window(volume.values, background)
    at = np.rint(occlusion.peak(maps_upright[0].values)).astype(int).tolist()
    strips = [
        previews.planes(volume, window, heat, at) for heat in (Heat(np.zeros_like(volume.values), 1.0), *maps_upright)
    ]
    return [strip for strip, _ in strips], strips[0][1]


def picture(image: sitk.Image, one: Explanation, background: float) -> Image.Image:
    """Draw what `rows_of` gives below one another, each under its heading."""
    strips, _ = rows_of(image, one, background)
    sheet = Image.new("RGB", (3 * BOX, len(strips) * (BOX + HEADING)))
    pen = ImageDraw.Draw(sheet)
    for place, (strip, heading) in enumerate(zip(strips, ROWS, strict=True)):
        top = place * (BOX + HEADING)
        pen.text((4, top + HEADING // 2), heading, "white", ImageFont.load_default(12), anchor="lm")
        sheet.paste(strip, (0, top + HEADING))
    return sheet


def all_slices(image: sitk.Image, one: Explanation, background: float) -> Image.Image:
    """Draw every axial slice of the network's input below the map of the trained network."""
    volume, (trained, _) = _upright(image, one)
    return previews.montage(volume, previews.tissue_window(volume.values, background), trained)[0]


def _upright(image: sitk.Image, one: Explanation) -> tuple[previews.Upright, tuple[Heat, Heat]]:
    trained, control = (previews.upright(each).values for each in (one.trained, one.randomised))
    return previews.upright(image), (
        Heat(trained, float(np.abs(trained).max())),
        Heat(control, float(np.abs(control).max())),
    )
