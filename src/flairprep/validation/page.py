"""Write validation.html: the external validation in the report's clothes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from flairprep import __version__
from flairprep.core import files, params
from flairprep.evaluation import predictions
from flairprep.evaluation.predictions import Predictions
from flairprep.experiments import run_reports
from flairprep.experiments.repository import git
from flairprep.experiments.run_reports import Laid
from flairprep.inference.run import TrainedRun
from flairprep.report import captions, charts, figures, html, interactive, provenance
from flairprep.report.figures import Figure
from flairprep.report.provenance import Commit, Identity
from flairprep.stats.metrics import Array
from flairprep.validation.results import Validation

PAGE, ASSETS = "validation.html", "validation_assets"
SHARES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv")
NUMBERS = ("auc", "average_precision", "mcc", "calibration_intercept", "calibration_slope")
ALONE = ("log_loss", "log_loss_prior", "brier", "nir", "p_auc", "p_nir", "prevalence")
CALLED = {"auc": "AUC", "mcc": "Matthews' correlation", "ppv": "PPV", "npv": "NPV", "nir": "no-information rate"}


class Network(NamedTuple):
    """The run that was validated: its name, what identifies it, and where its report lies."""

    name: str
    identity: Identity
    report: Laid


def write(out: Path, validation: Validation, trained: TrainedRun) -> None:
    """Write the page into `out`, and ASSETS beside it: the run's report, and what draws the charts with tooltips."""
    drawn = draw(validation)
    with interactive.folder(out / ASSETS) as partial:
        report = run_reports.lay([trained], partial, ASSETS)[trained.name]
        interactive.write(drawn, partial)
    text = render(validation, drawn, Network(trained.name, identify(trained), report))
    files.write_text(out / PAGE, text)


def draw(validation: Validation) -> list[Figure]:
    """Draw the charts of the page: measures, ROC, decision curve, groups, calibration before and after."""
    content = validation.content
    decision = charts.decision("decision", validation.curve)
    return [
        reached(content),
        ranking(validation.scored, content["measures"]),
        Figure("decision-chart", "Decision curve", decision, captions.decision(validation.curve)),
        figures.groups(validation.groups),
        *calibration_figures(validation),
    ]


def render(validation: Validation, drawn: Sequence[Figure], network: Network) -> str:
    """Return the page; drawn: of `draw`."""
    content = validation.content
    reached_here, roc, decision, groups, *curves = drawn
    return html.render(
        PAGE,
        **content,
        assets=ASSETS,
        network=network,
        lead=lead(content),
        counters=counters(content),
        table=table(content["measures"], content["development"]),
        reached=reached_here,
        ranking=roc,
        decision=decision,
        groups=groups,
        curves=curves,
        failures=[row for row in validation.rows if row["status"] == "failed"],
        unusual={row["case_id"]: row for row in validation.rows if row["outside"]},
    )


def identify(trained: TrainedRun) -> Identity:
    """Say which run the network is of; of a revision by its commit, without the params that differ."""
    if trained.revision is None:
        values = params.read_params()
        return provenance.identify(values, dict(values.get("report") or {}).get("cohort"))
    [told] = git("log", "-1", "--format=%H %cs", trained.revision)
    revision, date = told.split()
    commit = Commit(revision, date, ())
    return Identity(trained.sections["ingest"]["dicom_dir"], commit, trained.name, __version__, ())


def reached(content: dict[str, Any]) -> Figure:
    """Draw accuracy and AUC on the new cohort and in the run, each beside what always guessing reaches."""
    rows = [
        {"name": f"{called} {where}", "value": values[metric], "of": of}
        | {"low": values[f"{metric}_low"], "high": values[f"{metric}_high"]}
        | {"reference": values["nir"] if metric == "accuracy" else 0.5}
        for metric, called in (("auc", "AUC"), ("accuracy", "accuracy"))
        for where, of, values in (
            ("here", "network", content["measures"]),
            ("in the run", "baseline", content["development"]),
        )
        if values.get(metric) is not None and values.get("nir") is not None
    ]
    words = (
        "Blue: on this cohort. Grey: on the run's own validation fold. Lines: 95 % intervals. Ticks: chance, and "
        "always guessing the larger class (NIR)."
    )
    chart = charts.outcome("reached", pd.DataFrame(rows)) if rows else Markup()
    return Figure("reached-chart", "What the network reaches here", chart, words)


def counters(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the counters of the first screen: what sets the cohort apart, and what failed."""
    tested = [leak for leak in content["leaks"] if leak["verdict"] != "not testable"]
    found = (
        ("fields shifted", len(content["shift"]["shifted"]), f"of {len(content['shift']['fields'])}", "#shift"),
        ("leaks", sum(leak["verdict"] == "leak" for leak in tested), f"of {len(tested)} kinds tested", "#leaks"),
        ("cases outside", content["outside"]["cases"], f"of {content['outside']['of']}", "#outside"),
        ("cases failed", content["cases"]["failed"], f"of {content['cases']['found']} found", "#failed"),
    )
    return [
        {"name": name, "number": number, "text": text, "href": href, "kind": "bad" if number else "good"}
        for name, number, text, href in found
    ]


def lead(content: dict[str, Any]) -> str:
    """Say how the network does on the new cohort, beside what it reached on its own validation fold."""
    m, run = content["measures"], content["development"]
    own = run.get("auc")
    beside = "" if own is None else f" In the run: {captions.area(own, run.get('auc_low'), run.get('auc_high'))}."
    return (
        f"{captions.share(m['accuracy'], m['accuracy_low'], m['accuracy_high'])} of {m['n']} cases are right, where "
        f"always guessing the larger class gets {html.percent(m['nir'])}; "
        f"{captions.area(m['auc'], m['auc_low'], m['auc_high'])}, p {html.number(m['p_auc'])} with labels "
        f"permuted.{beside}"
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
    thresholds = predictions.charts(scored.y_true, scored.declared)["roc"]
    chart = charts.roc("roc", figures.roc_band(thresholds, scored.y_true), point) if point else Markup()
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
