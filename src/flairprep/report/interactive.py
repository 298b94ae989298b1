"""Bring what draws the report's charts with tooltips: Vega as a file of the page's folder, and the specifications.

The page shows the charts as SVG, which print and need no JavaScript. Where a pointer comes to one, its script loads
both files once and puts the same chart in its place. A page opened from disk may not fetch, but may load scripts.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import vl_convert

from flairprep.core import files
from flairprep.report.charts import Drawing
from flairprep.report.figures import Figure

LIBRARY, SPECIFICATIONS = "vega.js", "charts.js"
NOTICE = (  # who passes a report on passes Vega on; its licence asks to be named, and the bundle has no comments
    "/*! Vega, Vega-Lite, vega-embed and vega-tooltip, Copyright University of Washington Interactive Data Lab and "
    "contributors, under the BSD 3-Clause License; from the Python package vl-convert-python, whose notices name the "
    "other libraries in it. */\n"
)


@contextmanager
def folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` when the block ends: what a command's page loads.

    Git leaves it alone, since all of it can be had again.
    """
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    files.write_text(partial / ".gitignore", "*\n")
    yield partial
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)


def write(figures: Iterable[Figure | None], out: Path) -> None:
    """Write Vega and the specifications of the figures that have a chart, by name, as two scripts into `out`."""
    drawn = {figure.name: figure.chart for figure in figures if figure}
    specifications = {name: chart.specification for name, chart in drawn.items() if isinstance(chart, Drawing)}
    files.write_text(out / LIBRARY, library())
    text = json.dumps(specifications, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    files.write_text(out / SPECIFICATIONS, f"window.flairprepCharts = {text};\n")


@cache
def library(major: str = "") -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that defines `vegaEmbed`, with the notice of their licence.

    From the package vl-convert; about 0.9 MB, the same bytes for every run.

    Args:
        major: of Vega-Lite; "" for the version that draws the SVG.
    """
    versions = [one for one in vl_convert.get_vegalite_versions() if one.split(".")[0] == major or not major]
    newest = max(versions, key=lambda version: [int(part) for part in version.split(".")])
    return NOTICE + vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=newest)
