"""Write compare.html: the best setting and whether it differs from the rest, every setting, and every run's report."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from flairprep.core.params import value_of
from flairprep.experiments import headline, run_reports, summary
from flairprep.experiments.runs import ExperimentRun, setting_name
from flairprep.experiments.settings import group_by_setting, varied_keys
from flairprep.report import html, interactive, provenance, setting_charts
from flairprep.report.figures import Figure
from flairprep.stats import metrics

PAGE, ASSETS = "compare.html", "compare_assets"
FIRST = 8  # settings on the first screen
PAIRS = 24  # in the drawing
SENTENCES = 7  # of the answer beside the first screen
LONG = 28  # letters of a name that a chart shows
REFERENCE = {"auc": "chance", "accuracy": "always guessing the larger class (NIR)"}


def write(
    out: Path,
    result: Mapping[str, Any],
    runs: Sequence[ExperimentRun],
    values: Mapping[str, Any],
    left_out: Mapping[str, str],
    same: Mapping[str, str],
) -> None:
    """Write the page, and ASSETS beside it: the reports of the runs, and what draws the charts with tooltips.

    Args:
        out: a folder.
        result: of `comparison.compare`.
        runs: that were compared.
        values: of params.yaml, in sections.
        left_out: names of runs, and why each is left out.
        same: names of runs that are the same as another, and that one's.
    """
    first, rest = figures(result)
    with interactive.folder(out / ASSETS) as partial:
        reports = run_reports.lay(runs, partial, ASSETS)
        interactive.write([*first, *rest], partial)
    cohort = dict(values.get("report") or {}).get("cohort")
    page = html.render(
        PAGE,
        assets=ASSETS,
        title=headline.title(result),
        lead=headline.lead(result),
        counters=counters(result, len(left_out)),
        first=first,
        rest=rest,
        result=summary.to_json(result),
        settings=setting_rows(result, reports),
        pairs=pair_rows(result),
        runs=run_rows(runs, reports),
        missing=[laid for laid in reports.values() if laid.lacks],
        keys=varied_keys(runs),
        identity=provenance.identify(values, cohort),
        measure=summary.MEASURES[result["primary"]],
        sentences=SENTENCES,
        left_out=left_out,
        same=same,
    )
    (out / PAGE).write_text(page, encoding="utf-8", newline="\n")


def figures(result: Mapping[str, Any]) -> tuple[list[Figure], list[Figure]]:
    """Draw the best settings for the first screen, and then all settings, the pairs and the effects."""
    primary = result["primary"]
    order = [primary, *(name for name in ("auc", "accuracy") if name != primary)]
    best = headline.ranked(result)[:FIRST]
    first = [_reached(result, name, best, f"first-{name}", selected=False) for name in order]
    rest = [_reached(result, name, result["settings"], f"all-{name}", selected=True) for name in order]
    return first, [*rest, *_pairs(result), *_effects(result)]


def _reached(
    result: Mapping[str, Any], metric: str, settings: Sequence[Mapping[str, Any]], name: str, *, selected: bool
) -> Figure:
    shown = [s for s in settings if not math.isnan(s[metric])]
    rows = [
        {
            "setting": called,
            "value": s[metric],
            "low": s[f"{metric}_low"],
            "high": s[f"{metric}_high"],
            "reference": s["nir"] if metric == "accuracy" else 0.5,
            "learned": int(summary.state(s, result["alpha"]) == "learned"),
            "best": s["best_accuracy"],
        }
        for called, s in zip(_names(result, shown), shown, strict=True)
    ]
    measure = summary.MEASURES[metric]
    with_rings = selected and metric == "accuracy"
    words = f"Blue: settings that learned. Lines: 95 % intervals. Ticks: {REFERENCE[metric]}."
    if with_rings:
        words += " Rings: the best epoch, which was selected and is optimistic."
    if len(shown) < len(result["settings"]) and not selected:
        words += f" The best {len(shown)} of {len(result['settings'])} settings."
    chart: Any = ""
    if rows:
        table = pd.DataFrame(rows)
        chart = setting_charts.reached(name, table, f"declared {measure}", "best" if with_rings else None)
    return Figure(f"{name}-chart", f"Declared {measure} of {'each setting' if selected else 'settings'}", chart, words)


def _names(result: Mapping[str, Any], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what charts call the settings: numbered as in the table where a name is cut."""
    names = [setting_name({key.split(".")[-1]: value for key, value in s["setting"].items()}) for s in settings]
    if len(set(names)) < len(names):  # two sections have a key of one name
        names = [setting_name(s["setting"]) for s in settings]
    if max(map(len, names), default=0) <= LONG:
        return names
    numbers = [result["settings"].index(s) + 1 for s in settings]
    return [f"{number}: {name}" for number, name in zip(numbers, names, strict=True)]


def _pairs(result: Mapping[str, Any]) -> list[Figure]:
    primary = result["primary"]
    tested = [pair for pair in result["pairs"] if primary in pair and not math.isnan(pair[primary]["low"])]
    if not tested:
        return []
    shown = sorted(tested, key=lambda pair: -abs(pair[primary]["estimate"]))[:PAIRS]
    rows = [
        {
            "name": f"{_short(pair['b'])} against {_short(pair['a'])}",
            **{"value": pair[primary]["estimate"], "low": pair[primary]["low"], "high": pair[primary]["high"]},
            "sure": int(pair["answer"] == "differ"),
        }
        for pair in shown
    ]
    measure = summary.MEASURES[primary]
    title = f"difference in {measure}"
    words = (
        "Each pair on the cases that both have, with the 95 % interval of that pair alone. Blue: they differ, "
        f"corrected for {len(tested)} pairs."
    )
    if len(shown) < len(tested):
        words += f" The largest {len(shown)} of {len(tested)}."
    chart = setting_charts.differences("pairs", pd.DataFrame(rows), title)
    return [Figure("pairs-chart", f"Differences in declared {measure}", chart, words)]


def _short(name: str) -> str:
    """Return the name of a setting without its keys, which both of a pair have."""
    return " ".join(part.partition("=")[2] for part in name.split(" "))


def _effects(result: Mapping[str, Any]) -> list[Figure]:
    effects = result["main_effects"]
    if not effects:
        return []
    rows = [
        {
            "name": f"{e['key'].split('.')[-1]} {value_of(e['low_level'])} to {value_of(e['high_level'])}",
            **{"value": e["estimate"], "low": e["low"], "high": e["high"]},
            "sure": int(e["p_holm"] < result["alpha"]),
        }
        for e in effects
    ]
    measure = summary.MEASURES[effects[0]["measure"]]
    words = (
        f"Main effects of the screening design with their 95 % intervals. Blue: corrected for {len(effects)} params."
    )
    chart = setting_charts.differences("effects", pd.DataFrame(rows), f"effect on {measure}")
    return [Figure("effects-chart", "What each param does", chart, words)]


def counters(result: Mapping[str, Any], left_out: int) -> list[dict[str, Any]]:
    """Return the counters of the first screen: settings that learned, pairs that differ, runs left out."""
    learned = sum(summary.state(s, result["alpha"]) == "learned" for s in result["settings"])
    tested = [pair for pair in result["pairs"] if pair["answer"]]
    differ = sum(pair["answer"] == "differ" for pair in tested)
    effects = result["main_effects"]
    told = {"name": "pairs differ", "text": f"of {len(tested)} compared", "number": differ, "href": "#pairs"}
    if effects and not tested:
        sure = sum(effect["p_holm"] < result["alpha"] for effect in effects)
        told = {"name": "params matter", "text": f"of {len(effects)} screened", "number": sure, "href": "#pairs"}
    return [
        {"name": "settings learned", "text": f"of {len(result['settings'])}", "number": learned, "href": "#settings"}
        | {"kind": "good" if learned else "none"},
        told | {"kind": "good" if told["number"] else "none"},
        {"name": "runs left out", "text": "and why", "number": left_out, "href": "#left-out"}
        | {"kind": "bad" if left_out else "none"},
    ]


def setting_rows(result: Mapping[str, Any], reports: Mapping[str, run_reports.Laid]) -> list[dict[str, Any]]:
    """Return a row per setting for the table: number, state, texts, and its runs with their reports."""
    rows = []
    for number, (s, texts) in enumerate(zip(result["settings"], summary.text_rows(result), strict=True), 1):
        runs = [{"name": name, "href": reports[name].href if name in reports else ""} for name in s["names"]]
        measured = {name: texts[name] for name in summary.MEASURED}
        rows.append(
            {"number": number, "state": summary.state(s, result["alpha"]), "name": setting_name(s["setting"])}
            | {"runs": runs, "measured": measured}
        )
    return rows


def pair_rows(result: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the pairs as JSON holds them: those that are answered, and those that cannot be told."""
    pairs = summary.to_json(result["pairs"])
    answered = [pair for pair in pairs if pair["answer"] in ("differ", "equal")]
    return answered, [pair for pair in pairs if pair not in answered]


def _place(run: ExperimentRun) -> tuple[int, int, int]:
    return run.split_seed, run.fold, run.seed


def run_rows(runs: Iterable[ExperimentRun], reports: Mapping[str, run_reports.Laid]) -> list[dict[str, Any]]:
    """Return a row per run, in the order of settings and folds: its params that vary, numbers and report."""
    keys, rows = varied_keys(listed := list(runs)), []
    for run in (run for _, of_setting in group_by_setting(listed, keys) for run in sorted(of_setting, key=_place)):
        scored = run.validation
        area = metrics.auc(scored.y_true, scored.declared)
        rows.append(
            {
                "name": run.name,
                "revision": run.revision or "",
                "setting": {key: value_of(run.setting.get(key)) for key in keys},
                **{"fold": run.fold, "split_seed": run.split_seed, "seed": run.seed, "cases": len(scored.y_true)},
                "accuracy": f"{metrics.accuracy(scored.y_true, scored.declared):.3f}",
                "auc": "-" if math.isnan(area) else f"{area:.3f}",
                "report": reports[run.name],
            }
        )
    return rows
