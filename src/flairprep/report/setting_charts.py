"""The charts of a comparison: what settings reached, and what pairs or params differ by."""

import altair as alt
import pandas as pd

from flairprep.report.charts import BLUE, GREY, OWN, UNIT, Drawing, svg

LABELS = 190  # pixels of the names of settings
ROOM, LETTER = 345, 6.6  # pixels of a chart with its labels, and of a letter of these
STEP = 24
TOLD = (("low:Q", "from"), ("high:Q", "to"))


def reached(name: str, table: pd.DataFrame, measure: str, selected: str | None = None) -> Drawing:
    """Draw a measure of each setting with its interval, beside what always guessing reaches.

    Args:
        name: of the chart.
        table: setting, value, low, high, reference (a tick), learned (0 or 1); in the order of display.
        measure: the title of the axis.
        selected: a column of values that were chosen, drawn as rings; None: without.
    """
    shown = alt.Scale(domain=[1, 0], range=[BLUE, GREY])
    base = alt.Chart(table).encode(
        alt.Y("setting:N", sort=None, title=None, axis=alt.Axis(labelLimit=LABELS)),
        color=alt.Color("learned:O", scale=shown, legend=None),
    )

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", title=measure, scale=UNIT)

    told = [alt.Tooltip("setting:N", title="setting"), alt.Tooltip("value:Q", title=measure, format=".3f")]
    told += [alt.Tooltip(field, title=title, format=".3f") for field, title in TOLD]
    layers = [
        base.mark_rule(strokeWidth=3).encode(x("low"), x2="high"),
        base.mark_point(filled=True, opacity=1, size=80).encode(x("value"), tooltip=told),
        base.mark_tick(thickness=2, size=16).encode(x("reference"), color=alt.value(OWN)),
    ]
    if selected is not None:
        ring = [*told[:1], alt.Tooltip(f"{selected}:Q", title="best epoch", format=".3f")]
        point = base.mark_point(shape="circle", size=50, strokeWidth=1.5)
        layers.append(point.encode(x(selected), color=alt.value(OWN), tooltip=ring))
    return svg(name, *layers, height=alt.Step(STEP), width=_beside(table["setting"]))


def differences(name: str, table: pd.DataFrame, title: str) -> Drawing:
    """Draw differences with their intervals around 0; table: name, value, low, high, sure (0 or 1); title: axis."""
    shown = alt.Scale(domain=[1, 0], range=[BLUE, GREY])
    base = alt.Chart(table).encode(
        alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=LABELS)),
        color=alt.Color("sure:O", scale=shown, legend=None),
    )
    low, high = min(0.0, table["low"].min(), table["value"].min()), max(0.0, table["high"].max(), table["value"].max())
    scale = alt.Scale(domain=[max(-1.0, low), min(1.0, high)])

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", title=title, scale=scale)

    told = [alt.Tooltip("name:N", title="difference"), alt.Tooltip("value:Q", title=title, format="+.3f")]
    told += [alt.Tooltip(field, title=called, format="+.3f") for field, called in TOLD]
    zero = alt.Chart(alt.Data(values=[{}])).mark_rule(color=OWN, strokeDash=[4, 3]).encode(x=alt.datum(0))
    layers = [
        zero,
        base.mark_rule(strokeWidth=3).encode(x("low"), x2="high"),
        base.mark_point(filled=True, opacity=1, size=80).encode(x("value"), tooltip=told),
    ]
    return svg(name, *layers, height=alt.Step(STEP), width=_beside(table["name"]))


def _beside(names: "pd.Series[str]") -> float:
    """Return the width that the names of the rows leave."""
    return ROOM - min(LABELS, LETTER * names.str.len().max())
