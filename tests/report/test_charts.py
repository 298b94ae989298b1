"""Charts: the right numbers at the right places, in the page's own colours, the same bytes each time."""

import re
from xml.etree import ElementTree

import pandas as pd
import pytest
from markupsafe import Markup

from flairprep.report import charts, cohort_charts

HOSTILE = "</svg><script>window.ran = 1</script>\"'&"
HISTORY = pd.DataFrame({"epoch": [1.0, 2, 3], "accuracy": [0.4, 0.6, 0.8], "val_accuracy": [0.5, 0.7, 0.6]})
HISTORY = HISTORY.assign(loss=[0.7, 0.6, 0.5], val_loss=[0.8, 0.7, 0.9])
LABELS = pd.DataFrame({"group": ["all", HOSTILE], "label_0": [3, 0], "label_1": [5, 2], "nir": [0.625, float("nan")]})
AREAS = pd.DataFrame({"name": ["a", HOSTILE], "auc": [0.6, None], "auc_low": [0.5, None], "auc_high": [0.7, None]})
CURVE = pd.DataFrame(
    {"fpr": [0, 0, 0.5, 1], "tpr": [0, 0.5, 1, 1], "low": [0, 0.1, 0.4, 0.4], "high": [0.6, 0.9, 1, 1]}
)
POINT = {"fpr": 0.5, "fpr_low": 0.1, "fpr_high": 0.9, "tpr": 0.75, "tpr_low": 0.3, "tpr_high": 0.95}
BINS = pd.DataFrame({"probability": [0.25, 0.75, 0.25, 0.75], "label": [0, 0, 1, 1], "cases": [4, 1, 0, 3]})
RELIABLE = pd.DataFrame({"cases": [4, 6], "probability": [0.2, 0.7], "share": [0.25, 0.8]})
RELIABLE = RELIABLE.assign(share_low=[0.0, 0.4], share_high=[0.8, 1.0])
REACHED = pd.DataFrame({"name": ["AUC", HOSTILE], "value": [0.7, 0.6], "low": [0.6, None], "high": [0.8, None]})
REACHED = REACHED.assign(reference=0.5, of=["network", "baseline"])
NULL = pd.DataFrame({"auc": [0.25, 0.75], "permutations": [7, 3], "as_high": [0, 2]})
SCANS = pd.DataFrame({"measure": ["SNR", "SNR", "CNR"], "case": ["a", HOSTILE, "a"], "value": [9.0, 1.0, 2.0]})
SCANS = SCANS.assign(z=[0.5, -12.0, 4.0], place=["case-a", "case-b", "case-a"])
DRAWN = {
    "quality": lambda: cohort_charts.quality("quality", SCANS, 3.5, 8.0),
    "outcome": lambda: charts.outcome("outcome", REACHED),
    "null": lambda: charts.null("null", NULL, 0.8),
    "balance": lambda: cohort_charts.balance("balance", LABELS),
    "areas": lambda: charts.areas("areas", AREAS),
    "accuracy": lambda: charts.accuracy("accuracy", HISTORY, 0.55, (0.4, 0.65), (2, 0.7)),
    "loss": lambda: charts.loss("loss", HISTORY, 0.69),
    "roc": lambda: charts.roc("roc", CURVE, POINT),
    "probability": lambda: charts.probability("probability", BINS),
    "calibration": lambda: charts.calibration("calibration", RELIABLE),
    "one epoch": lambda: charts.accuracy("one", HISTORY[:1], 0.55, None, None),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Markup]:
    """Every chart, drawn once."""
    return {name: draw() for name, draw in DRAWN.items()}


@pytest.mark.parametrize("name", DRAWN)
def test_equal_tables_give_equal_bytes(name: str, drawn: dict[str, Markup]) -> None:
    assert DRAWN[name]() == drawn[name]


@pytest.mark.parametrize("name", DRAWN)
def test_a_chart_is_whole_xml_without_a_fixed_text_colour(name: str, drawn: dict[str, Markup]) -> None:
    root = ElementTree.fromstring(drawn[name])
    texts = [element for element in root.iter() if element.tag == "text"]
    assert texts
    assert {text.get("fill") for text in texts} == {"currentColor"}
    assert "NaN" not in drawn[name]


@pytest.mark.parametrize("name", [name for name in DRAWN if name not in {"balance", "areas", "outcome", "quality"}])
def test_both_axes_have_titles(name: str, drawn: dict[str, Markup]) -> None:
    titles = re.findall(r'role-axis-title"[^>]*><text[^>]*>([^<]*)', drawn[name])
    assert len([title for title in titles if title]) >= 2, titles


def test_no_two_charts_share_an_id(drawn: dict[str, Markup]) -> None:
    ids = [name for svg in drawn.values() for name in re.findall(r'\bid="([^"]*)"', svg)]
    assert len(ids) == len(set(ids))


def test_hostile_texts_show_as_text(drawn: dict[str, Markup]) -> None:
    for name in ("balance", "areas", "outcome"):
        assert "<script" not in drawn[name]
        assert len(re.findall("</svg>", drawn[name])) == 1


def test_bars_are_as_long_as_the_cases_and_say_the_nir(drawn: dict[str, Markup]) -> None:
    """Label 0 and 1 of a group in the ratio 3 : 5 beside one another, no bar for a group without label 0."""
    bars = re.findall(r'd="M([\d.]+),[\d.]+h([\d.]+)v[\d.]+h-[\d.]+Z" fill="(#\w+)"', drawn["balance"])
    widths = {colour: [float(width) for _, width, c in bars if c == colour] for colour in (charts.BLUE, charts.ORANGE)}
    assert widths[charts.ORANGE][0] / widths[charts.BLUE][0] == pytest.approx(5 / 3)
    assert "NIR 62%" in drawn["balance"]


def test_charts_have_one_scale_where_they_are_shown_equally_wide(drawn: dict[str, Markup]) -> None:
    widths = {name: float(re.findall(r'viewBox="0 0 ([\d.]+)', svg)[0]) for name, svg in drawn.items()}
    assert set(widths.values()) == {charts.FULL}, widths


def test_the_outline_is_as_high_as_the_counts() -> None:
    assert charts.outline([0, 1, 2]) == "M0 30H0V30H33.3V15H66.7V0H100V30Z"
    assert charts.outline([0]) == "M0 30H0V30H100V30Z"
    assert charts.outline([]) == "M0 30H100V30Z"


def test_points_of_quality_lie_at_their_deviations_and_outliers_have_their_colour(drawn: dict[str, Markup]) -> None:
    """At 0.5, beyond the edge at -8, and at 4 of an axis from -8 to 8."""
    points = re.findall(r'transform="translate\(([\d.]+),[\d.]+\)" d="M[^"]*" fill="(#\w+)"', drawn["quality"])
    width = charts.WIDTH - 80
    assert [float(x) for x, _ in points] == pytest.approx([width * (z + 8) / 16 for z in (0.5, -8, 4)])
    assert [colour for _, colour in points] == [charts.BLUE, charts.ORANGE, charts.ORANGE]


def test_links_are_in_the_specification_and_not_in_the_picture() -> None:
    chart = cohort_charts.quality("quality", SCANS, 3.5, 8.0)
    assert "<a" not in chart
    (rows,) = (rows for rows in chart.specification["datasets"].values() if "href" in rows[0])
    assert [row["href"] for row in rows] == ["#case-a", "#case-b", "#case-a"]


@pytest.mark.parametrize("epochs", [2, 3, 5, 30])
def test_ticks_lie_at_epochs(epochs: int) -> None:
    rates = [0.5] * epochs
    history = pd.DataFrame({"epoch": range(1, epochs + 1), "accuracy": rates, "val_accuracy": rates})
    drawn = charts.accuracy("ticks", history, 0.5, None, None)
    axis = re.search(r"role-axis-label.*?role-axis-title", drawn)
    assert axis is not None
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", axis[0])
    assert labels
    assert all(label.isdecimal() for label in labels), labels
