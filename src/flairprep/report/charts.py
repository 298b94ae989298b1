"""The report's charts: Vega-Lite, as `dvc plots` draws them, drawn as SVG elements of the page.

Lines, texts and axes take the page's own colour, so that dark mode works too; the colours of data suit both. Vega uses
nothing random: equal tables give equal bytes. The specifications are plain dicts: altair 6.3 draws the same bytes in
121 lines instead of 157, for five more packages and 0.4 s of processor time (0.2 s import, 0.2 s drawing).
"""

import json
import re
from typing import Any

import pandas as pd
import vl_convert
from markupsafe import Markup

BLUE, ORANGE, GREY = "#3f7fc1", "#d07f1e", "#808890"
WIDTH, HEIGHT = 300, 190
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # the first one comes with vl-convert, which measures with it
OWN = "currentColor"
AXIS = {
    **{f"{part}Color": OWN for part in ("label", "title", "grid", "domain", "tick")},
    **{"gridOpacity": 0.12, "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 130},
}
CONFIG = {
    **{"background": None, "font": FONT, "aria": False, "view": {"stroke": None}, "axis": AXIS},
    "legend": {"labelColor": OWN, "titleColor": OWN, "labelFontSize": 11, "orient": "top", "title": None},
    "text": {"color": OWN, "fontSize": 11},
}
Layer = dict[str, Any]


def svg(name: str, layers: list[Layer], **settings: Any) -> Markup:
    """Render a chart of `layers` as an SVG element for the page, as wide as there is room.

    name: the chart's own, so that no two parts of a page have one id. settings: of the specification, its width,
    height and scales among them.
    """
    specification = {
        **{"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "width": WIDTH, "height": HEIGHT},
        **{"config": CONFIG, "layer": layers, **settings},
    }
    drawn = vl_convert.vegalite_to_svg(specification)
    drawn = re.sub(r'(id="|url\(#)(?=[a-z]+\d)', rf"\g<1>{name}-", drawn)
    size = r'<svg [^>]*?width="([\d.]+)" height="[\d.]+"'
    return Markup(re.sub(size, r'<svg width="\1" aria-hidden="true"', drawn, count=1))


def _data(table: pd.DataFrame) -> Layer:
    return {"values": [{k: v for k, v in row.items() if pd.notna(v)} for row in table.to_dict("records")]}


def _x(field: str, title: str, **more: Any) -> Layer:
    return {"field": field, "type": "quantitative", "title": title, **more}


def _rule(axis: str, value: float, **mark: Any) -> Layer:
    style = {"type": "rule", "color": OWN, "strokeDash": [4, 3], **mark}
    return {"data": {"values": [{}]}, "mark": style, "encoding": {axis: {"datum": value}}}


def balance(name: str, table: pd.DataFrame) -> Markup:
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
    y = {"field": "group", "type": "nominal", "sort": None, "title": None}
    colour = {"field": "label", "type": "nominal", "scale": {"domain": ["label 0", "label 1"], "range": [BLUE, ORANGE]}}
    cases = _x("cases", "cases", stack="zero")
    layers = [
        {
            "data": _data(long),
            "mark": {"type": "bar"},
            "encoding": {"y": y, "x": cases, "color": colour, "order": {"field": "label"}},
        },
        {
            "data": _data(ends),
            "mark": {"type": "tick", "color": OWN, "thickness": 2, "size": 16},
            "encoding": {"y": y, "x": _x("larger", "cases")},
        },
        {
            "data": _data(ends),
            "mark": {"type": "text", "align": "left", "dx": 4},
            "encoding": {"y": y, "x": _x("cases", "cases"), "text": {"field": "text"}},
        },
    ]
    top = 1.25 * float(ends["cases"].max() if len(ends) else 1)
    layers[0]["encoding"]["x"]["scale"] = {"domain": [0, max(1.0, top)], "nice": False}
    return svg(name, layers, height={"step": 22}, width=WIDTH - 40)


def compared(chart: Layer) -> Markup:
    """Draw the chart of `summary.chart` in the page's own colour where it is black."""
    layers = json.loads(json.dumps(chart["layer"]).replace('"black"', f'"{OWN}"'))
    return svg("compare", layers, **{key: chart[key] for key in ("data", "encoding", "height")})


def areas(name: str, table: pd.DataFrame, title: str = "AUC") -> Markup:
    """Draw areas under the curve with their intervals, one line each. table: name, auc, auc_low, auc_high."""
    y = {"field": "name", "type": "nominal", "sort": None, "title": None}
    scale = {"domain": [0, 1]}
    layers = [
        _rule("x", 0.5),
        {
            "data": _data(table),
            "mark": {"type": "rule", "color": BLUE, "strokeWidth": 2},
            "encoding": {"y": y, "x": _x("auc_low", title, scale=scale), "x2": {"field": "auc_high"}},
        },
        {
            "data": _data(table),
            "mark": {"type": "point", "filled": True, "color": BLUE, "size": 60},
            "encoding": {"y": y, "x": _x("auc", title, scale=scale)},
        },
    ]
    return svg(name, layers, height={"step": 24}, width=WIDTH - 40)


def _lines(table: pd.DataFrame, names: dict[str, str], axis: str, scale: Layer) -> list[Layer]:
    """The columns `names` of `table` over its epoch, called as `names` says: blue and whole, orange and dashed."""
    long = table[["epoch", *names]].rename(columns=names).melt("epoch", var_name="line", value_name=axis)
    called = list(names.values())
    colour = {"field": "line", "type": "nominal", "scale": {"domain": called, "range": [BLUE, ORANGE][: len(called)]}}
    dash = {"field": "line", "type": "nominal", "scale": {"domain": called, "range": [[5, 3], [1, 0]][: len(called)]}}
    encoding = {"x": _x("epoch", "epoch", axis={"tickMinStep": 1}), "y": _x(axis, axis, scale=scale)}
    mark: Layer = {"type": "line", "strokeWidth": 2} if len(table) > 1 else {"type": "point", "filled": True}
    styled = {"color": colour, "strokeDash": dash} if len(table) > 1 else {"color": colour}
    return [{"data": _data(long), "mark": mark, "encoding": {**encoding, **styled}}]


def accuracy(
    name: str, history: pd.DataFrame, nir: float, chance: tuple[float, float] | None, best: tuple[int, float] | None
) -> Markup:
    """Draw accuracy over the epochs. history: epoch, accuracy, val_accuracy.

    chance: where the best epoch of a network that knows nothing lies in 95 of 100 runs, drawn as a band; best: the
    epoch that was chosen and its accuracy.
    """
    scale = {"domain": [0, 1]}
    layers = _lines(history, {"accuracy": "training", "val_accuracy": "validation"}, "accuracy", scale)
    if chance is not None:
        band = {"data": {"values": [{}]}, "mark": {"type": "rect", "color": GREY, "opacity": 0.25}}
        layers.insert(0, {**band, "encoding": {"y": {"datum": chance[0]}, "y2": {"datum": chance[1]}}})
    layers.append(_rule("y", nir))
    if best is not None:
        point = {"type": "point", "shape": "circle", "size": 90, "strokeWidth": 2, "color": OWN}
        encoding = {"x": {"datum": best[0]}, "y": {"datum": best[1]}}
        layers.append({"data": {"values": [{}]}, "mark": point, "encoding": encoding})
    return svg(name, layers)


def loss(name: str, history: pd.DataFrame, prior: float | None) -> Markup:
    """Draw cross-entropy over the epochs. history: epoch, loss, val_loss; prior: of always answering the share of 1."""
    scale = {"zero": True}
    layers = _lines(history, {"loss": "training", "val_loss": "validation"}, "cross-entropy", scale)
    return svg(name, layers if prior is None else [*layers, _rule("y", prior)])


def roc(name: str, curve: pd.DataFrame, point: dict[str, float] | None) -> Markup:
    """Draw the ROC curve. curve: fpr, tpr, low, high (the interval of tpr at each threshold).

    point: at 0.5, fpr and tpr with fpr_low, fpr_high, tpr_low and tpr_high.
    """
    scale = {"domain": [0, 1]}
    x = _x("fpr", "1 - specificity (false positives)", scale=scale)
    y = _x("tpr", "sensitivity (true positives)", scale=scale)
    steps = {"interpolate": "linear", "color": BLUE}
    order = {"field": "order", "type": "quantitative"}
    data = _data(curve.assign(order=range(len(curve))))
    chance = {"values": [{"fpr": 0, "tpr": 0}, {"fpr": 1, "tpr": 1}]}
    layers: list[Layer] = [
        {
            "data": data,
            "mark": {"type": "area", "opacity": 0.18, **steps},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
        },
        {"data": chance, "mark": {"type": "line", "color": OWN, "strokeDash": [4, 3]}, "encoding": {"x": x, "y": y}},
        {
            "data": data,
            "mark": {"type": "line", "strokeWidth": 2, **steps},
            "encoding": {"x": x, "y": y, "order": order},
        },
    ]
    if point is not None:
        at = {"values": [point]}
        bar = {"type": "rule", "color": OWN, "strokeWidth": 1.5}
        upright = {"x": x, "y": {**y, "field": "tpr_low"}, "y2": {"field": "tpr_high"}}
        across = {"y": y, "x": {**x, "field": "fpr_low"}, "x2": {"field": "fpr_high"}}
        layers += [
            {"data": at, "mark": bar, "encoding": upright},
            {"data": at, "mark": bar, "encoding": across},
            {"data": at, "mark": {"type": "point", "filled": True, "color": OWN}, "encoding": {"x": x, "y": y}},
        ]
    return svg(name, layers, width=HEIGHT + 30, height=HEIGHT + 30)


def probability(name: str, table: pd.DataFrame) -> Markup:
    """Draw how often each probability was declared. table: probability (a bin's middle), label, cases."""
    bins = sorted(table["probability"].unique())
    half = (bins[1] - bins[0]) / 2 if len(bins) > 1 else 0.5
    edges = table.assign(low=table["probability"] - half, high=table["probability"] + half)
    edges["label"] = "label " + edges["label"].astype(str)
    colour = {"field": "label", "type": "nominal", "scale": {"domain": ["label 0", "label 1"], "range": [BLUE, ORANGE]}}
    y = _x("cases", "cases", axis={"tickMinStep": 1})
    x = _x("low", "probability of label 1", scale={"domain": [0, 1]}, bin={"binned": True})
    bar = {
        "data": _data(edges),
        "mark": {"type": "bar"},
        "encoding": {"x": x, "x2": {"field": "high"}, "y": y, "color": colour},
    }
    return svg(name, [bar, _rule("x", 0.5)])


def calibration(name: str, table: pd.DataFrame) -> Markup:
    """Draw the share of label 1 by probability. table: probability, share, share_low, share_high, cases."""
    scale = {"domain": [0, 1]}
    x = _x("probability", "declared probability of label 1", scale=scale)
    y = _x("share", "share of label 1", scale=scale)
    ideal = {"values": [{"probability": 0, "share": 0}, {"probability": 1, "share": 1}]}
    size = {"field": "cases", "type": "quantitative", "legend": None, "scale": {"range": [30, 160]}}
    layers: list[Layer] = [
        {"data": ideal, "mark": {"type": "line", "color": OWN, "strokeDash": [4, 3]}, "encoding": {"x": x, "y": y}},
        {
            "data": _data(table),
            "mark": {"type": "rule", "color": BLUE, "strokeWidth": 2},
            "encoding": {"x": x, "y": {**y, "field": "share_low"}, "y2": {"field": "share_high"}},
        },
        {
            "data": _data(table),
            "mark": {"type": "point", "filled": True, "color": BLUE, "opacity": 1},
            "encoding": {"x": x, "y": y, "size": size},
        },
    ]
    return svg(name, layers, width=HEIGHT + 30, height=HEIGHT + 30)


def outline(counts: list[int]) -> str:
    """Return a histogram as the path of a small SVG, 100 wide and 30 high: no chart, a hint."""
    top = max(counts, default=0) or 1
    step = 100 / max(1, len(counts))
    heights = [round(30 - 30 * count / top, 1) for count in counts]
    middle = "".join(f"H{round(index * step, 1):g}V{height:g}" for index, height in enumerate(heights))
    return f"M0 30{middle}H100V30Z"
