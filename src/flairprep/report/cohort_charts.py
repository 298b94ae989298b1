"""The charts of the cohort: cases by label, and the quality of the scans."""

import altair as alt
import pandas as pd

from flairprep.report.charts import BLUE, LABELS, ORANGE, OWN, WIDTH, Drawing, rule, svg, told

CASE = (("case:N", "case"), ("measure:N", "measure"), ("value:Q", "value", ".4g"), ("z:Q", "deviations", "+.1f"))


def balance(name: str, table: pd.DataFrame) -> Drawing:
    """Draw cases by label in groups. table: group, label_0, label_1, nir, in the order of display.

    The tick marks the cases that always guessing the group's larger class gets right, the text says their share.
    """
    both = table[["group", "label_0", "label_1"]].rename(columns={"label_0": "label 0", "label_1": "label 1"})
    long = both.melt("group", var_name="label", value_name="cases")
    ends = table.assign(
        cases=table["label_0"] + table["label_1"],
        larger=table[["label_0", "label_1"]].max(axis=1),
        text=[f"NIR {nir:.0%}" if pd.notna(nir) else "" for nir in table["nir"]],
    )
    top = 1.25 * float(ends["cases"].max() if len(ends) else 1)
    y = alt.Y("group:N", sort=None, title=None)
    scale = alt.Scale(domain=[0, max(1.0, top)], nice=False)
    bars = (
        alt.Chart(long)
        .mark_bar()
        .encode(
            y,
            alt.X("cases:Q", title="cases", stack="zero", scale=scale),
            alt.Color("label:N", scale=LABELS),
            order="label",
            tooltip=told(("group:N", "group"), ("label:N", "label"), ("cases:Q", "cases")),
        )
    )
    end = alt.Chart(ends).encode(y)
    ticks = end.mark_tick(color=OWN, thickness=2, size=16).encode(alt.X("larger:Q", title="cases"))
    text = end.mark_text(align="left", dx=4).encode(alt.X("cases:Q", title="cases"), text="text")
    return svg(name, bars, ticks, text, height=alt.Step(22), width=WIDTH - 80)


def quality(name: str, table: pd.DataFrame, far: float, edge: float) -> Drawing:
    """Draw each case's distance from the cohort's median, a row per measure; a click leads to the case.

    table: measure, case, value, z (robust deviations), place (the case's in the page). far: from there on a case is an
    outlier; edge: where the axis ends, which holds what lies beyond.
    """
    rows = table.assign(
        at=table["z"].clip(-edge, edge),
        # Apart from each other without chance: multiples of the golden ratio fill a row evenly.
        lane=[0.618034 * index % 1 for index in range(len(table))],
        href="#" + table["place"],
        kind=["outlier" if abs(z) > far else "inside" for z in table["z"]],
    )
    shades = alt.Scale(domain=["inside", "outlier"], range=[BLUE, ORANGE])
    dots = (
        alt.Chart(rows)
        .mark_point(filled=True, size=22, opacity=0.6)
        .encode(
            alt.X("at:Q", title="robust deviations from the median", scale=alt.Scale(domain=[-edge, edge])),
            alt.Y("measure:N", sort=None, title=None),
            alt.YOffset("lane:Q", scale=alt.Scale(domain=[-0.3, 1.3])),
            alt.Color("kind:N", scale=shades, legend=None),
            href="href:N",
            tooltip=told(*CASE),
        )
    )
    return svg(name, rule(x=-far), rule(x=far), dots, height=alt.Step(44), width=WIDTH - 80)
