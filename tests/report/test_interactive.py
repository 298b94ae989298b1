"""The files that draw the charts again: every figure with a chart, Vega of the same version, equal bytes."""

import json
from pathlib import Path

import pandas as pd
import pytest
import vl_convert
from markupsafe import Markup

from flairprep.report import charts, interactive
from flairprep.report.figures import Figure


@pytest.mark.slow
def test_every_figure_with_a_chart_has_its_specification_and_nothing_else(tmp_path: Path) -> None:
    table = pd.DataFrame({"name": ["</script>\u2028"], "auc": [0.6], "auc_low": [0.5], "auc_high": [None]})
    drawn = charts.areas("areas", table)
    interactive.write([Figure("one", "t", drawn, "w"), None, Figure("none", "t", Markup(), "w")], tmp_path)
    text = (tmp_path / interactive.SPECIFICATIONS).read_text(encoding="ascii")
    specifications = json.loads(text.removeprefix("window.flairprepCharts = ").removesuffix(";\n"))
    assert specifications == {"one": drawn.specification}
    shown = vl_convert.vegalite_to_svg(specifications["one"])
    assert shown.count("<path") == drawn.count("<path")


def test_the_library_is_the_newest_and_the_same_each_time(tmp_path: Path) -> None:
    interactive.write([], tmp_path)
    first = (tmp_path / interactive.LIBRARY).read_bytes()
    interactive.library.cache_clear()
    assert interactive.library().encode() == first
    assert b"window.vegaEmbed" in first
