"""The report's charts: Vega-Lite, as `dvc plots` draws them, drawn as SVG elements of the page.

Each keeps its specification, from which `interactive` draws it again with tooltips. Lines, texts and axes take the
page's own colour, so that dark mode works too; the colours of data suit both. Vega uses nothing random: equal tables
give equal bytes.
"""

import re
from typing import Any

import altair as alt
import pandas as pd
import vl_convert
from markupsafe import Markup

BLUE, ORANGE, GREY = "#3f7fc1", "#d07f1e", "#808890"
WIDTH, HEIGHT = 330, 220
FULL = 400  # of an element in its own pixels: all have one scale where they are shown equally wide
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # the first one comes with vl-convert, which measures with it
OWN = "currentColor"
TICKS = 5
AXIS = {
    **{f"{part}Color": OWN for part in ("label", "title", "grid", "domain", "tick")},
    **{"gridOpacity": 0.12, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelLimit": 130},
}
CONFIG = {
    **{"background": None, "font": FONT, "aria": False, "view": {"stroke": None}, "axis": AXIS},
    "axisX": {"tickCount": TICKS},  # more crowd the labels at both ends, which are moved to lie within the chart
    "legend": {"labelColor": OWN, "titleColor": OWN, "labelFontSize": 12, "orient": "top", "title": None},
    "text": {"color": OWN, "fontSize": 12},
}
ENDS = (("auc_low:Q", "from", ".3f"), ("auc_high:Q", "to", ".3f"))
RANGE = (("low:Q", "from", ".3f"), ("high:Q", "to", ".3f"))
RATES = (("fpr:Q", "1 - specificity", ".3f"), ("tpr:Q", "sensitivity", ".3f"))
SEEN = {"opacity": 0, "filled": True, "size": 90}  # points of a line, unseen, which have the tooltips
UNIT = alt.Scale(domain=[0, 1])
LABELS = alt.Scale(domain=["label 0", "label 1"], range=[BLUE, ORANGE])


class Drawing(Markup):
    """An SVG element of the page, and the Vega-Lite specification that it was drawn from."""

    specification: dict[str, Any]


def _drawn(name: str, specification: dict[str, Any]) -> Drawing:
    whole = {**specification, "config": CONFIG}
    drawn = vl_convert.vegalite_to_svg(whole)
    drawn = re.sub(r"</?a\b[^>]*>", "", drawn)  # links are for the drawing that takes a pointer
    drawn = re.sub(r'(id="|url\(#)(?=[a-z]+\d)', rf"\g<1>{name}-", drawn)
    size = r'<svg [^>]*?width="([\d.]+)" height="([\d.]+)" viewBox="[^"]*"'

    def own(found: re.Match[str]) -> str:
        width, height = float(found[1]), float(found[2])
        return f'<svg viewBox="0 0 {max(width, FULL):g} {height:g}" aria-hidden="true"'

    drawing = Drawing(re.sub(size, own, drawn, count=1))
    drawing.specification = whole
    return drawing


def svg(name: str, *layers: alt.Chart, **settings: Any) -> Drawing:
    """Render a chart of `layers` as an SVG element for the page, as wide as there is room.

    name: the chart's own, so that no two parts of a page have one id. settings: of the specification, its width,
    height and scales among them.
    """
    chart = alt.layer(*layers).properties(**{"width": WIDTH, "height": HEIGHT, **settings})
    return _drawn(name, chart.to_dict())


def told(*fields: tuple[str, str] | tuple[str, str, str]) -> list[alt.Tooltip]:
    """Return the fields of a tooltip: (field with its type, title, and a format of numbers)."""
    return [
        alt.Tooltip(field, title=title, format=form[0] if form else alt.Undefined) for field, title, *form in fields
    ]


def rule(**at: float) -> alt.Chart:
    """Draw a dashed line at a value of x or y."""
    line = alt.Chart(alt.Data(values=[{}])).mark_rule(color=OWN, strokeDash=[4, 3])
    return line.encode(**{axis: alt.datum(v) for axis, v in at.items()})


def areas(name: str, table: pd.DataFrame, title: str = "AUC") -> Drawing:
    """Draw areas under the curve with their intervals, one line each. table: name, auc, auc_low, auc_high."""
    base = alt.Chart(table).encode(alt.Y("name:N", sort=None, title=None))
    interval = base.mark_rule(color=BLUE, strokeWidth=2).encode(
        alt.X("auc_low:Q", title=title, scale=UNIT), x2="auc_high"
    )
    points = base.mark_point(filled=True, color=BLUE, size=60).encode(
        alt.X("auc:Q", title=title, scale=UNIT), tooltip=told(("name:N", "name"), ("auc:Q", title, ".3f"), *ENDS)
    )
    return svg(name, rule(x=0.5), interval, points, height=alt.Step(24), width=WIDTH - 80)


def _lines(table: pd.DataFrame, names: dict[str, str], axis: str, scale: alt.Scale) -> alt.Chart:
    """The columns `names` of `table` over its epoch, called as `names` says: blue and whole, orange and dashed."""
    long = table[["epoch", *names]].rename(columns=names).melt("epoch", var_name="line", value_name=axis)
    called = list(names.values())
    shades = alt.Scale(domain=called, range=[BLUE, ORANGE][: len(called)])
    colour = alt.Color("line:N", scale=shades, legend=alt.Legend(symbolType="stroke", symbolSize=300))
    few = len(table) <= TICKS  # where Vega would have ticks between epochs
    ticks = alt.Axis(values=table["epoch"].tolist(), format="d") if few else alt.Axis(tickMinStep=1)
    chart = alt.Chart(long).encode(
        alt.X("epoch:Q", title="epoch", axis=ticks),
        alt.Y(f"{axis}:Q", title=axis, scale=scale),
        colour,
        tooltip=told(("line:N", "cases"), ("epoch:Q", "epoch"), (f"{axis}:Q", axis, ".3f")),
    )
    if len(table) == 1:
        return chart.mark_point(filled=True)
    dash = alt.Scale(domain=called, range=[[5, 3], [1, 0]][: len(called)])
    return chart.mark_line(strokeWidth=2, point=SEEN).encode(strokeDash=alt.StrokeDash("line:N", scale=dash))


def accuracy(
    name: str, history: pd.DataFrame, nir: float, chance: tuple[float, float] | None, best: tuple[int, float] | None
) -> Drawing:
    """Draw accuracy over the epochs. history: epoch, accuracy, val_accuracy.

    chance: where the best epoch of a network that knows nothing lies in 95 of 100 runs, drawn as a band; best: the
    epoch that was chosen and its accuracy.
    """
    layers = [_lines(history, {"accuracy": "training", "val_accuracy": "validation"}, "accuracy", UNIT)]
    one = alt.Chart(alt.Data(values=[{}]))
    if chance is not None:
        band = one.mark_rect(color=GREY, opacity=0.25)
        layers.insert(0, band.encode(y=alt.datum(chance[0]), y2=alt.datum(chance[1])))
    layers.append(rule(y=nir))
    if best is not None:
        point = one.mark_point(shape="circle", size=90, strokeWidth=2, color=OWN)
        layers.append(point.encode(x=alt.datum(best[0]), y=alt.datum(best[1])))
    return svg(name, *layers)


def loss(name: str, history: pd.DataFrame, prior: float | None) -> Drawing:
    """Draw cross-entropy over the epochs. history: epoch, loss, val_loss; prior: of always answering the share of 1."""
    names = {"loss": "training", "val_loss": "validation"}
    layers = [_lines(history, names, "cross-entropy", alt.Scale(zero=True))]
    return svg(name, *layers, *([] if prior is None else [rule(y=prior)]))


def roc(name: str, curve: pd.DataFrame, point: dict[str, float] | None) -> Drawing:
    """Draw the ROC curve. curve: fpr, tpr, low, high (the interval of tpr at each threshold).

    point: at 0.5, fpr and tpr with fpr_low, fpr_high, tpr_low and tpr_high.
    """

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", title="1 - specificity (false positives)", scale=UNIT)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title="sensitivity (true positives)", scale=UNIT)

    base = alt.Chart(curve.assign(order=range(len(curve)))).encode(x("fpr"))
    diagonal = alt.Chart(pd.DataFrame({"fpr": [0, 1], "tpr": [0, 1]})).mark_line(color=OWN, strokeDash=[4, 3])
    layers = [
        base.mark_area(opacity=0.18, interpolate="linear", color=BLUE).encode(y("low"), y2="high"),
        diagonal.encode(x("fpr"), y("tpr")),
        base.mark_line(strokeWidth=2, interpolate="linear", color=BLUE, point={**SEEN, "color": BLUE}).encode(
            y("tpr"), order="order:Q", tooltip=told(*RATES)
        ),
    ]
    if point is not None:
        at = alt.Chart(pd.DataFrame([point]))
        bar = at.mark_rule(color=OWN, strokeWidth=1.5)
        layers += [
            bar.encode(x("fpr"), y("tpr_low"), y2="tpr_high"),
            bar.encode(y("tpr"), x("fpr_low"), x2="fpr_high"),
            at.mark_point(filled=True, color=OWN).encode(x("fpr"), y("tpr"), tooltip=told(*RATES)),
        ]
    return svg(name, *layers, width=WIDTH, height=HEIGHT)


def probability(name: str, table: pd.DataFrame) -> Drawing:
    """Draw how often each probability was declared. table: probability (a bin's middle), label, cases."""
    bins = sorted(table["probability"].unique())
    half = (bins[1] - bins[0]) / 2 if len(bins) > 1 else 0.5
    edges = table.assign(low=table["probability"] - half, high=table["probability"] + half)
    edges["label"] = "label " + edges["label"].astype(str)
    bar = (
        alt.Chart(edges)
        .mark_bar()
        .encode(
            alt.X("low:Q", title="probability of label 1", scale=UNIT, bin="binned"),
            alt.Y("cases:Q", title="cases", axis=alt.Axis(tickMinStep=1)),
            alt.Color("label:N", scale=LABELS),
            x2="high",
            tooltip=told(("low:Q", "from", ".2f"), ("high:Q", "to", ".2f"), ("label:N", "label"), ("cases:Q", "cases")),
        )
    )
    return svg(name, bar, rule(x=0.5))


def calibration(name: str, table: pd.DataFrame) -> Drawing:
    """Draw the share of label 1 by probability. table: probability, share, share_low, share_high, cases."""
    x = alt.X("probability:Q", title="declared probability of label 1", scale=UNIT)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title="share of label 1", scale=UNIT)

    ideal = alt.Chart(pd.DataFrame({"probability": [0, 1], "share": [0, 1]})).mark_line(color=OWN, strokeDash=[4, 3])
    base = alt.Chart(table).encode(x)
    size = alt.Size("cases:Q", legend=None, scale=alt.Scale(range=[30, 160]))
    layers = [
        ideal.encode(x, y("share")),
        base.mark_rule(color=BLUE, strokeWidth=2).encode(y("share_low"), y2="share_high"),
        base.mark_point(filled=True, color=BLUE, opacity=1).encode(
            y("share"),
            size,
            tooltip=told(
                *(("cases:Q", "cases"), ("probability:Q", "probability", ".3f"), ("share:Q", "share of 1", ".3f")),
                *(("share_low:Q", "from", ".3f"), ("share_high:Q", "to", ".3f")),
            ),
        ),
    ]
    return svg(name, *layers, width=WIDTH, height=HEIGHT)


def decision(name: str, table: pd.DataFrame) -> Drawing:
    """Draw the decision curve. table: threshold, net_benefit, low, high, treat_all; treating none has 0.

    The axis ends a little below 0, and so do the lines: what falls further says nothing more. They are cut here, since
    Vega numbers its clip paths over all charts of a process.
    """
    top = float(max(table["high"].max(), table["treat_all"].max(), 0.05))
    bottom = -0.25 * top
    cut = table.assign(**{column: table[column].clip(lower=bottom) for column in ("low", "high", "net_benefit")})
    scale = alt.Scale(domain=[bottom, 1.05 * top], nice=False)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title="net benefit", scale=scale)

    benefit = (("low:Q", "from", ".3f"), ("high:Q", "to", ".3f"), ("treat_all:Q", "calling all 1", ".3f"))
    x = alt.X("threshold:Q", title="threshold probability", scale=UNIT)
    all_above = alt.Chart(table[table["treat_all"] >= bottom]).encode(x)
    base = alt.Chart(cut).encode(x)
    layers = [
        base.mark_area(opacity=0.18, color=BLUE).encode(y("low"), y2="high"),
        all_above.mark_line(color=ORANGE, strokeDash=[5, 3], strokeWidth=2).encode(y("treat_all")),
        base.mark_line(color=BLUE, strokeWidth=2, point={**SEEN, "color": BLUE}).encode(
            y("net_benefit"),
            tooltip=told(("threshold:Q", "threshold"), ("net_benefit:Q", "net benefit", ".3f"), *benefit),
        ),
    ]
    return svg(name, rule(y=0), *layers)


def outcome(name: str, table: pd.DataFrame) -> Drawing:
    """Draw what a run reached beside what it has to beat, one line each.

    table: name, value, low, high (of the interval), reference (a tick), of (network or baseline).
    """
    shown = alt.Scale(domain=["network", "baseline"], range=[BLUE, GREY])
    base = alt.Chart(table).encode(
        alt.Y("name:N", sort=None, title=None, axis=alt.Axis(labelLimit=125)),
        color=alt.Color("of:N", scale=shown, legend=None),
    )

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", title="accuracy, AUC", scale=UNIT)

    tooltip = told(("name:N", "name"), ("value:Q", "reached", ".3f"), *RANGE)
    layers = [
        base.mark_rule(strokeWidth=3).encode(x("low"), x2="high"),
        base.mark_point(filled=True, opacity=1, size=90).encode(x("value"), tooltip=tooltip),
        base.mark_tick(thickness=2, size=18).encode(x("reference"), color=alt.value(OWN)),
    ]
    return svg(name, *layers, height=alt.Step(26), width=WIDTH - 80)


def null(name: str, table: pd.DataFrame, reached: float) -> Drawing:
    """Draw the AUCs that permuted labels reach, and the run's. table: auc (a bin's middle), permutations, as_high."""
    half = (table["auc"].iloc[1] - table["auc"].iloc[0]) / 2
    edges = table.assign(low=table["auc"] - half, high=table["auc"] + half)
    edges = edges.assign(below=edges["permutations"] - edges["as_high"]).rename(columns={"as_high": "as high"})
    long = edges.drop(columns="permutations").melt(["low", "high"], ["below", "as high"], "against", "permutations")
    shown = alt.Scale(domain=["below", "as high"], range=[GREY, ORANGE])
    bars = (
        alt.Chart(long[long["permutations"] > 0])
        .mark_bar()
        .encode(
            alt.X("low:Q", title="AUC with labels permuted", scale=UNIT, bin="binned"),
            alt.Y("permutations:Q", title="permutations"),
            alt.Color("against:N", scale=shown, legend=None),
            x2="high",
            tooltip=told(*RANGE, ("permutations:Q", "permutations")),
        )
    )
    run = alt.Chart(pd.DataFrame([{"auc": reached, "text": f"this run {reached:.3f}"}])).encode(alt.X("auc:Q"))
    left = reached > 0.5
    text = run.mark_text(align="right" if left else "left", dx=-7 if left else 7, fontWeight="bold", baseline="top")
    line = run.mark_rule(color=BLUE, strokeWidth=3)
    return svg(name, bars, line, text.encode(y=alt.value(0), text="text:N"), height=HEIGHT - 50)


def outline(counts: list[int]) -> str:
    """Return a histogram as the path of a small SVG, 100 wide and 30 high: no chart, a hint."""
    top = max(counts, default=0) or 1
    step = 100 / max(1, len(counts))
    heights = [round(30 - 30 * count / top, 1) for count in counts]
    middle = "".join(f"H{round(index * step, 1):g}V{height:g}" for index, height in enumerate(heights))
    return f"M0 30{middle}H100V30Z"
