"""Render validation.html: the external validation in the report's clothes."""

from typing import Any

import pandas as pd
from markupsafe import Markup

from flairprep.evaluation import predictions
from flairprep.evaluation.predictions import Predictions
from flairprep.report import captions, charts, figures, html
from flairprep.report.figures import Figure
from flairprep.stats.metrics import Array
from flairprep.validation.results import Validation

SHARES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv")
NUMBERS = ("auc", "average_precision", "mcc", "calibration_intercept", "calibration_slope")
ALONE = ("log_loss", "log_loss_prior", "brier", "nir", "p_auc", "p_nir", "prevalence")
CALLED = {"auc": "AUC", "mcc": "Matthews' correlation", "ppv": "PPV", "npv": "NPV", "nir": "no-information rate"}


def render(validation: Validation, name: str) -> str:
    """Return the page; name: of the run."""
    content = validation.content
    return html.render(
        "validation.html",
        name=name,
        **content,
        sentence=sentence(content),
        table=table(content["measures"], content["development"]),
        ranking=ranking(validation.scored, content["measures"]),
        curves=calibration_figures(validation),
        decision=Figure(
            *("decision-chart", "Decision curve", charts.decision("decision", validation.curve)),
            captions.decision(validation.curve),
        ),
        groups=figures.groups(validation.groups),
        failures=[row for row in validation.rows if row["status"] == "failed"],
        unusual={row["case_id"]: row for row in validation.rows if row["outside"]},
        captions=captions,
    )


def sentence(content: dict[str, Any]) -> str:
    """Say how the network does on the new cohort."""
    m = content["measures"]
    return (
        f"On {m['n']} cases of another cohort the verdict is: {m['verdict']}. "
        f"{captions.share(m['accuracy'], m['accuracy_low'], m['accuracy_high'])} are right, where always guessing the "
        f"larger class gets {html.percent(m['nir'])}; {captions.area(m['auc'], m['auc_low'], m['auc_high'])}, "
        f"p {html.number(m['p_auc'])} with labels permuted."
    )


def table(measures: dict[str, Any], development: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows of the table of measures: name, here, in the run's validation fold."""
    rows = []
    for names, form in ((SHARES, html.percent), (NUMBERS, html.number), (ALONE, html.number)):
        for name in names:
            called = CALLED.get(name, name.replace("_", " "))
            rows.append((called, _with_interval(measures, name, form), _with_interval(development, name, form)))
    return rows


def _with_interval(values: dict[str, Any], name: str, form: Any) -> str:
    text: str = form(values.get(name))
    low, high = (values.get(f"{name}_{end}") for end in ("low", "high"))
    return text if low is None or high is None else f"{text} ({form(low)} to {form(high)})"


def ranking(scored: Predictions, measures: dict[str, Any]) -> Figure:
    """Draw the ROC curve; without one where there is one label only."""
    point = figures.operating_point(scored)
    chart = charts.roc("roc", figures.roc_band(scored.y_true, scored.declared), point) if point else Markup()
    return Figure("roc-chart", "ROC curve", chart, captions.roc(measures, point))


def calibration_figures(validation: Validation) -> list[Figure]:
    """Draw the reliability before and, where it can be had, after recalibration in the large."""
    numbers = validation.content["calibration"]
    drawn = [
        _reliability("before", "Calibration as predicted", validation.scored.declared, validation, numbers["before"])
    ]
    if validation.recalibration is not None:
        y_prob = validation.recalibration.y_prob
        drawn.append(_reliability("after", "Calibration after recalibration", y_prob, validation, numbers["after"]))
    return drawn


def _reliability(name: str, title: str, y_prob: Array, validation: Validation, numbers: dict[str, Any]) -> Figure:
    bins: pd.DataFrame = predictions.reliability(validation.scored.y_true, y_prob)
    words = (
        f"Brier score {html.number(numbers['brier'])}, log loss {html.number(numbers['log_loss'])}; intercept "
        f"{html.number(numbers['intercept'])} (ideal 0), slope {html.number(numbers['slope'])} (ideal 1). On the "
        "dashed line, probabilities mean what they say."
    )
    return Figure(f"{name}-chart", title, charts.calibration(name, bins), words)
