"""What compare found, in plain sentences, a table, a chart, and the commands that would tell more."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flairprep.core.params import value_of
from flairprep.experiments.runs import ExperimentRun, name_of

PLOTTED = ("accuracy", "accuracy_low", "accuracy_high", "nir", "best_accuracy")


def answer(
    found: Mapping[str, Any], grouped: Sequence[tuple[dict[str, Any], list[ExperimentRun]]], current: Mapping[str, Any]
) -> dict[str, list[str]]:
    """{"answer": sentences, "commands": what would tell more}."""
    runs = [run for _, members in grouped for run in members]
    commands, what = next_runs(grouped, current)
    sentences = [
        *_learned(found, len(runs)),
        *_differ(found),
        *_effects(found),
        *_settle(found, runs[0].cases),
        *_caveats(found),
        what,
    ]
    return {"answer": sentences, "commands": commands}


def _learned(found: Mapping[str, Any], runs: int) -> list[str]:
    alpha, settings = found["alpha"], found["settings"]
    varied = [s for s in settings if not s["constant"]]
    passed = [s for s in varied if s["p_selection"] < alpha]
    shortcut = [s for s in passed if s["p_within"] is not None and s["p_within"] >= alpha]
    learned = [s for s in passed if s not in shortcut]
    of_all = "the epochs of the run" if runs == 1 else f"all {runs} runs and their epochs"
    said = []
    if learned:
        said.append(f"Learned: {_list(learned, 'p_selection')}; corrected for {of_all}.")
    if shortcut:
        said.append(
            f"Learned, but perhaps a shortcut only: {_list(shortcut, 'p_within')} among cases that the shortcuts of "
            "reports/audit.json do not tell apart."
        )
    if not varied:
        said.append("Nothing was learned, as far as can be told.")
    elif not passed:
        most = max(varied, key=lambda s: s["cases"])
        n, least = most["cases"], most["learnable"]
        can = f"; {n} cases can show a true accuracy of {least:.1%} or better so corrected" if least < 1 else ""
        p = min(s["p_selection"] for s in varied)
        said.append(
            f"Nothing was learned, as far as can be told: the smallest p, corrected for {of_all}, is {p:.2g}{can}."
        )
    if constant := [name_of(s["setting"]) for s in settings if s["constant"]]:
        said.append(f"One side only, whatever the image: {', '.join(constant)}.")
    return said


def _list(settings: Sequence[Mapping[str, Any]], p: str) -> str:
    return ", ".join(f"{name_of(s['setting'])} (p {s[p]:.2g})" for s in settings)


def _differ(found: Mapping[str, Any]) -> list[str]:
    pairs = found["pairs"]
    if len(found["settings"]) == 1:
        return ["One setting only: there is nothing to compare."]
    said = []
    for pair in pairs:
        both = " and ".join(pair["changed"])
        for metric in pair["differ"]:
            d = pair[metric]
            said.append(
                f"They differ: {pair['b']} against {pair['a']}: {metric} {d['estimate']:+.3f} ({d['low']:+.3f} to "
                f"{d['high']:+.3f}), corrected p {d['p_holm']:.2g}"
                f"{f'; {both} changed together, so neither can be credited' if pair['confounded'] else ''}."
            )
    if apart := [f"{pair['a']} and {pair['b']}" for pair in pairs if not pair["cases"]]:
        said.append(f"No fold in common, so not compared: {'; '.join(apart)}.")
    if other := [f"{pair['a']} and {pair['b']}" for pair in pairs if pair["other_seeds"]]:
        said.append(
            "No seed of training in common, so paired in their order, or the first of each where one has more: "
            f"{'; '.join(other)}."
        )
    shared = [pair for pair in pairs if pair["cases"]]
    few = [
        f"{metric} of {pair['a']} and {pair['b']}"
        for pair in shared
        for metric in ("accuracy", "auc")
        if math.isnan(pair[metric]["p"]) and not math.isnan(pair[metric]["estimate"])
    ]
    if few:
        said.append(f"Too few cases for a p: {'; '.join(few)}.")
    if shared and not any(pair["differ"] for pair in pairs):
        which = "the settings outside of the design" if found["main_effects"] else "the settings"
        said.append(f"Nothing shows that {which} differ ({len(shared)} pairs, accuracy and AUC, corrected).")
    if least := [pair["detectable"] for pair in shared if pair["detectable"] and math.isfinite(pair["detectable"])]:
        span = f"{min(least):.1%}" if len(least) == 1 else f"{min(least):.1%} to {max(least):.1%}"
        n = max(pair["cases"] for pair in shared)
        said.append(
            f"{n} cases could have shown a true difference of accuracy of {span} or more ({found['power']:.0%} power)."
        )
    elif any(pair["discordant"] for pair in shared):
        said.append(f"{max(pair['cases'] for pair in shared)} cases could not have shown any difference for sure.")
    return said


def _settle(found: Mapping[str, Any], all_cases: int) -> list[str]:
    """How many cases the largest difference would take that is not shown yet."""
    open_pairs = [pair for pair in found["pairs"] if pair["cases"] and "accuracy" not in pair["differ"]]
    if not open_pairs:
        return []
    pair = max(open_pairs, key=lambda pair: abs(pair["accuracy"]["estimate"]))
    needed = pair["cases_needed"]
    if needed is None:
        return []
    enough = "which all folds together have" if needed <= all_cases else "which takes more scans than there are"
    return [
        f"The largest difference not shown, {pair['accuracy']['estimate']:+.1%} ({pair['b']} against {pair['a']}), "
        f"would take about {needed} cases if it is real, {enough} ({all_cases})."
    ]


def _effects(found: Mapping[str, Any]) -> list[str]:
    if not found["main_effects"]:
        return []
    some = "Settings" if found["pairs"] else "The settings"
    mixed = ", each mixed with products of others" if any(e["mixed"] for e in found["main_effects"]) else ""
    said = [f"{some} are a screening design. Main effects on the accuracy{mixed}:"]
    for e in found["main_effects"]:
        if "p_holm" not in e:
            said.append(f"  {e['key']}: {e['estimate']:+.3f}, too few cases for a p")
            continue
        mark = ", shown" if e["p_holm"] < found["alpha"] else ""
        mark += ", no more than two seeds differ" if e["within_noise"] else ""
        said.append(
            f"  {e['key']} {value_of(e['low_level'])} -> {value_of(e['high_level'])}: {e['estimate']:+.3f} "
            f"({e['low']:+.3f} to {e['high']:+.3f}), corrected p {e['p_holm']:.2g}{mark}"
        )
    return said


def _caveats(found: Mapping[str, Any]) -> list[str]:
    said = []
    if found["confounded"]:
        both = "; ".join(f"{a} with {b}" for a, b in found["confounded"])
        said.append(f"Confounded, always changed together, so neither can be credited: {both}.")
    if "code" in found["keys"]:
        said.append("Runs of other code are other settings: git diff A B -- src shows what changed.")
    if found["seed_variability"]:
        said.append(
            f"Two seeds of the same setting and fold differ by {found['seed_variability']['accuracy']:.1%} of accuracy "
            "on average: less than that is noise of training."
        )
    elif len(found["settings"]) > 1:
        said.append("One seed each: how far two seeds of one setting lie apart is not known.")
    scored = [s for s in found["settings"] if s["test_p"] is not None]
    for s in scored:
        mark = " (the best of several: selected on the test fold)" if s["selected_on_test"] else ""
        said.append(
            f"Test fold, {name_of(s['setting'])}: accuracy {s['test_accuracy']:.1%}, p {s['test_p_holm']:.2g} "
            f"corrected for {len(scored)} settings{mark}."
        )
    return said


def next_runs(
    grouped: Sequence[tuple[dict[str, Any], list[ExperimentRun]]], current: Mapping[str, Any]
) -> tuple[list[str], str]:
    """The queue commands that would tell more, and what they do: the folds that a setting has not been validated on,
    or, where there are none, all folds of another split with another seed of training."""
    runs = [run for _, members in grouped for run in members]
    splits = [run.split_seed for run in runs]
    split_seed = max(set(splits), key=splits.count)
    every = list(range(runs[0].folds))
    gaps = []
    for _, members in grouped:
        done = {run.fold for run in members if run.split_seed == split_seed}
        gaps.append([fold for fold in every if fold not in done and fold != members[0].setting.get("test_fold")])
    further: dict[str, Any] = {"split.seed": split_seed}
    what = "The folds that are missing:"
    if not any(gaps):
        further = {"split.seed": max(splits) + 1, "seed": max(run.seed for run in runs) + 1}
        gaps = [[fold for fold in every if fold != members[0].setting.get("test_fold")] for _, members in grouped]
        what = "All folds are there; another split with another seed says whether the rest is luck:"
    commands: dict[str, None] = {}
    for (values, members), folds in zip(grouped, gaps, strict=True):
        wanted = {key: value for key, value in (members[0].setting | further).items() if key != "code"}
        if folds:
            told = {k: v for k, v in wanted.items() if current.get(k) != v or (k in values and v is not None)}
            overrides = [f"{key}={value_of(value)}" for key, value in told.items()]
            overrides.append(f"val_fold={','.join(map(str, folds))}")
            commands[" ".join(f"-S {shlex.quote(text)}" for text in overrides)] = None
    return [*(f"dvc exp run --queue {text}" for text in commands), "dvc queue start", "flairprep compare"], what


def table(found: Mapping[str, Any]) -> str:
    """A line a setting, for the terminal."""
    return str(pd.DataFrame(rows(found)).to_string(index=False))


def rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each setting what is told, column -> text."""
    # over folds p is that of all runs, not of the best accuracy beside it
    p = "its p" if all(s["runs"] == 1 for s in found["settings"]) else "p of the setting"
    lines = []
    for s in found["settings"]:
        lines.append(
            {
                **{key.split(".")[-1]: value_of(value) for key, value in s["setting"].items()},
                "runs": s["runs"],
                "cases": s["cases"],
                "declared accuracy": _interval(s, "accuracy"),
                "declared AUC": _interval(s, "auc"),
                "NIR": f"{s['nir']:.3f}",
                "best accuracy": f"{s['best_accuracy']:.3f}",
                p: f"{s['p_selection']:.2g}",
            }
        )
    return lines


def _interval(setting: Mapping[str, Any], metric: str) -> str:
    estimate, low, high = (setting[f"{metric}{end}"] for end in ("", "_low", "_high"))
    if math.isnan(estimate):
        return "-"
    return f"{estimate:.3f}" + ("" if math.isnan(low) else f" ({low:.3f}-{high:.3f})")


def plot(found: Mapping[str, Any]) -> dict[str, Any]:
    """A Vega-Lite chart: a line a setting with the declared accuracy, its interval, the NIR, and the best epoch."""
    rows = [{"name": name_of(s["setting"]), **{k: s[k] for k in PLOTTED}} for s in found["settings"]]
    y = {"field": "name", "type": "nominal", "title": None, "sort": None}

    def x(field: str) -> dict[str, Any]:
        return {"field": field, "type": "quantitative", "title": "accuracy", "scale": {"zero": False}}

    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": "Declared accuracy with its 95 % interval; tick: always the larger class; ring: best epoch (selected)",
        "data": {"values": rows},
        "width": 500,
        "height": {"step": 28},
        "encoding": {"y": y},
        "layer": [
            {
                "mark": {"type": "rule", "color": "black"},
                "encoding": {"x": x("accuracy_low"), "x2": {"field": "accuracy_high"}},
            },
            {"mark": {"type": "point", "filled": True}, "encoding": {"x": x("accuracy")}},
            {"mark": {"type": "tick", "color": "black", "thickness": 2}, "encoding": {"x": x("nir")}},
            {"mark": {"type": "point", "color": "#d62728"}, "encoding": {"x": x("best_accuracy")}},
        ],
    }
