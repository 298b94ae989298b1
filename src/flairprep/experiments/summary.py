"""Summarise a comparison as sentences, commands for further runs, tables and a chart."""

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from flairprep.core import files
from flairprep.core.params import value_of
from flairprep.evaluation.verdict import REMEDY
from flairprep.experiments.runs import ExperimentRun, setting_name

TELL_NOT = "cannot tell"
MEASURED = ("runs", "cases", "declared accuracy", "declared AUC", "NIR", "best accuracy", "p_auc")  # of `text_rows`
CHARTED = ("accuracy", "accuracy_low", "accuracy_high", "nir", "best_accuracy")


def summarise(
    comparison: Mapping[str, Any],
    grouped: Sequence[tuple[dict[str, Any], list[ExperimentRun]]],
    current: Mapping[str, Any],
) -> dict[str, list[str]]:
    """Return {"answer": sentences, "commands": commands of the runs that would tell more}.

    Args:
        comparison: of `comparison.compare`.
        grouped: of `settings.group_by_setting`.
        current: flat params of params.yaml.
    """
    runs = [run for _, setting_runs in grouped for run in setting_runs]
    commands, purpose = next_runs(grouped, current)
    sentences = [
        *_learned(comparison, len(runs)),
        *_differences(comparison, runs[0].cases),
        *_main_effects(comparison),
        *_caveats(comparison),
        purpose,
    ]
    return {"answer": sentences, "commands": commands}


def _learned(comparison: Mapping[str, Any], runs: int) -> list[str]:
    alpha, power, settings = comparison["alpha"], comparison["power"], comparison["settings"]
    varied = [s for s in settings if not s["constant"]]
    significant = [s for s in varied if s["p_auc"] < alpha]
    learned, leaks, shortcuts = (
        [s for s in settings if state(s, alpha) == name] for name in ("learned", "learned (leak)", "learned (shortcut)")
    )
    family = "one run" if runs == 1 else f"all settings of {runs} runs"
    sentences = []
    if leaked := max(s["leaked"] for s in settings):
        sentences.append(f"{leaked} validation cases leak from training folds (reports/audit.json): {REMEDY}.")
    if leaks:
        sentences.append(f"No evidence without the leaked cases: {_with_p(leaks, 'p_without_leaks')}.")
    if learned:
        sentences.append(f"Learned: {_with_p(learned, 'p_auc')}; corrected for {family}.")
    if shortcuts:
        sentences.append(
            f"Cannot be told from a shortcut: {_with_p(shortcuts, 'p_within')} within the strata of the "
            "shortcuts in reports/audit.json."
        )
    if not varied:
        sentences.append("No evidence of learning.")
    elif not significant:
        largest = max(varied, key=lambda s: s["cases"])
        cases, least = largest["cases"], largest["learnable"]
        detectable = f"; {cases} cases detect a true AUC of {least:.3f} with {power:.0%} power" if least < 1 else ""
        p = min(s["p_auc"] for s in varied)
        sentences.append(f"No evidence of learning: the smallest p, corrected for {family}, is {p:.2g}{detectable}.")
    if constant := [setting_name(s["setting"]) for s in settings if s["constant"]]:
        sentences.append(f"Constant prediction: {', '.join(constant)}.")
    return sentences


def state(setting: Mapping[str, Any], alpha: float) -> str:
    """Return what is said of a setting of `comparison.compare` alone, in the words of evaluate's verdict."""
    if setting["constant"]:
        return "constant prediction"
    if not setting["p_auc"] < alpha:
        return "no evidence"
    if setting["p_without_leaks"] is not None and setting["p_without_leaks"] >= alpha:
        return "learned (leak)"
    if setting["p_within"] is not None and setting["p_within"] >= alpha:
        return "learned (shortcut)"
    return "learned"


def _with_p(settings: Sequence[Mapping[str, Any]], p: str) -> str:
    return ", ".join(f"{setting_name(s['setting'])} (p {s[p]:.2g})" for s in settings)


MEASURES = {"auc": "AUC", "accuracy": "accuracy"}


def _differences(comparison: Mapping[str, Any], all_cases: int) -> list[str]:
    """Say of each pair whether it differs or is practically equal; and what would settle those that cannot be told."""
    pairs, primary = comparison["pairs"], comparison["primary"]
    if len(comparison["settings"]) == 1:
        return ["Only one setting: nothing to compare."]
    sentences = [
        _answer(pair, primary, comparison["margin"]) for pair in pairs if pair["answer"] not in (None, TELL_NOT)
    ]
    if any(pair[primary]["of_networks"] for pair in pairs if pair["answer"] in ("differ", "equal")):
        sentences.append("One network per setting says nothing of the settings: run other folds, or other seeds.")
    if unpaired := [_names(pair) for pair in pairs if not pair["cases"]]:
        sentences.append(f"Not compared, without a shared fold: {'; '.join(unpaired)}.")
    if other_seeds := [_names(pair) for pair in pairs if pair["other_seeds"]]:
        sentences.append(
            "Without a shared training seed, paired in the order of seeds, or by the first where one setting has more: "
            f"{'; '.join(other_seeds)}."
        )
    open_pairs = [pair for pair in pairs if pair["answer"] == TELL_NOT]
    untested = [_names(pair) for pair in open_pairs if math.isnan(pair[primary]["p"])]
    if untested:
        sentences.append(f"Too few cases for a p of the {MEASURES[primary]}: {'; '.join(untested)}.")
    if open_pairs:
        compared = [pair for pair in pairs if pair["cases"]]
        which = "the settings outside the design" if comparison["main_effects"] else "the settings"
        if len(open_pairs) < len(compared):
            which = f"{len(open_pairs)} of {len(compared)} pairs"
        sentences.append(
            f"Cannot tell whether {which} differ ({MEASURES[primary]}, corrected for {len(compared)} pairs)."
        )
        sentences += _undecided(open_pairs, comparison, all_cases)
    return sentences


def _answer(pair: Mapping[str, Any], primary: str, margin: float | None) -> str:
    d, confounded = pair[primary], ""
    if pair["confounded"]:
        confounded = f"; {' and '.join(pair['changed'])} changed together"
    numbers = f"{MEASURES[primary]} {d['estimate']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})"
    who = "These two networks" if d["of_networks"] else "They"
    if pair["answer"] == "equal":
        equal = f"{who} are practically equal, within {margin:g}"
        return f"{equal}: {pair['b']} against {pair['a']}: {numbers}, corrected p {pair['p_equivalence']:.2g}."
    return f"{who} differ: {pair['b']} against {pair['a']}: {numbers}, corrected p {pair['p_holm']:.2g}{confounded}."


def _names(pair: Mapping[str, Any]) -> str:
    return f"{pair['a']} and {pair['b']}"


def _undecided(pairs: Sequence[Mapping[str, Any]], comparison: Mapping[str, Any], all_cases: int) -> list[str]:
    """Say which differences these cases detect, and how many cases the largest one needs; all_cases: of all folds."""
    primary, measure = comparison["primary"], MEASURES[comparison["primary"]]
    told = [pair for pair in pairs if pair["detectable"] is not None]
    if not told:
        return []
    cases, power = max(pair["cases"] for pair in told), f"{comparison['power']:.0%} power"
    least = sorted(pair["detectable"] for pair in told if pair["detectable"] < 1)
    detected = "no difference"
    if least:
        span = f"{least[0]:.3f}" if len(least) == 1 else f"{least[0]:.3f} to {least[-1]:.3f}"
        detected = f"a difference in {measure} of {span}"
    sentences = [f"With {cases} cases {detected} would be detected with {power}."]
    pair = max(told, key=lambda pair: abs(pair[primary]["estimate"]))
    needs = []
    if pair["cases_needed"] is not None:
        needs.append((pair["cases_needed"], "to be shown if it is real"))
    if pair["cases_for_equivalence"] is not None:
        needs.append((pair["cases_for_equivalence"], f"to show that they are equal within {comparison['margin']:g}"))
    if needs:
        most = max(number for number, _ in needs)
        available = f"all folds together have {all_cases}" if most <= all_cases else f"there are only {all_cases}"
        texts = " and ".join(f"about {number} cases {purpose}" for number, purpose in needs)
        sentences.append(
            f"The largest undecided difference, {pair[primary]['estimate']:+.3f} ({pair['b']} against {pair['a']}), "
            f"needs {texts}; {available}."
        )
    return sentences


def _main_effects(comparison: Mapping[str, Any]) -> list[str]:
    effects = comparison["main_effects"]
    if not effects:
        return []
    settings = "Some settings" if comparison["pairs"] else "The settings"
    measure = MEASURES[effects[0]["measure"]]
    aliased = ", some aliased with interactions of two params" if any(effect["mixed"] for effect in effects) else ""
    sentences = [f"{settings} form a screening design. Main effects on the declared {measure}{aliased}:"]
    for effect in effects:
        mark = ", significant" if effect["p_holm"] < comparison["alpha"] else ""
        sentences.append(
            f"  {effect['key']} {value_of(effect['low_level'])} -> {value_of(effect['high_level'])}: "
            f"{effect['estimate']:+.3f} ({effect['low']:+.3f} to {effect['high']:+.3f}), "
            f"corrected p {effect['p_holm']:.2g}{mark}"
        )
    return sentences


def _caveats(comparison: Mapping[str, Any]) -> list[str]:
    sentences = []
    if comparison["confounded"]:
        both = "; ".join(f"{a} with {b}" for a, b in comparison["confounded"])
        sentences.append(f"Confounded, since they always changed together: {both}.")
    if "code" in comparison["keys"]:
        shown = "git diff A B -- src .flairprep"  # the code of a clone, and the record of it in a study
        sentences.append(f"Runs of different code are different settings: {shown} shows what changed.")
    if comparison["seed_variability"]:
        sentences.append(
            "Two seeds of a setting and fold differ in accuracy by "
            f"{comparison['seed_variability']['accuracy']:.1%} on average: a smaller difference is training noise."
        )
    elif len(comparison["settings"]) > 1:
        sentences.append("One seed per setting: how much seeds differ is unknown.")
    tested = [s for s in comparison["settings"] if s["test_p"] is not None]
    for s in tested:
        mark = " (the best of several: selected on the test fold)" if s["selected_on_test"] else ""
        sentences.append(
            f"Test fold, {setting_name(s['setting'])}: accuracy {s['test_accuracy']:.1%}, p {s['test_p_holm']:.2g} "
            f"corrected for {len(tested)} settings{mark}."
        )
    return sentences


def next_runs(
    grouped: Sequence[tuple[dict[str, Any], list[ExperimentRun]]], current: Mapping[str, Any]
) -> tuple[list[str], str]:
    """Return the commands that queue the runs that would tell more, and a sentence on their purpose.

    They run the missing folds of each setting. Without any, they repeat all folds with another split and another seed.
    """
    runs = [run for _, setting_runs in grouped for run in setting_runs]
    split_seeds = [run.split_seed for run in runs]
    split_seed = max(set(split_seeds), key=split_seeds.count)
    usable = [
        [fold for fold in range(runs[0].folds) if fold != setting_runs[0].setting.get("test_fold")]
        for _, setting_runs in grouped
    ]
    missing = []
    for (_, setting_runs), folds in zip(grouped, usable, strict=True):
        done = {run.fold for run in setting_runs if run.split_seed == split_seed}
        missing.append([fold for fold in folds if fold not in done])
    seeds: dict[str, Any] = {"split.seed": split_seed}
    purpose = "To run the missing folds:"
    if not any(missing):
        missing = usable
        seeds = {"split.seed": max(split_seeds) + 1, "seed": max(run.seed for run in runs) + 1}
        purpose = "All folds have run. To repeat them with another split and another seed:"
    commands: dict[str, None] = {}
    for (values, setting_runs), folds in zip(grouped, missing, strict=True):
        wanted = {key: value for key, value in (setting_runs[0].setting | seeds).items() if key != "code"}
        if folds:
            given = {k: v for k, v in wanted.items() if current.get(k) != v or (k in values and v is not None)}
            overrides = [f"{key}={value_of(value)}" for key, value in given.items()]
            overrides.append(f"val_fold={','.join(map(str, folds))}")
            commands[" ".join(f"-S {shlex.quote(override)}" for override in overrides)] = None
    queue = [f"dvc exp run --queue {overrides}" for overrides in commands]
    return [*queue, "dvc queue start", "flairprep compare"], purpose


def text_rows(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the rows of the table for people, one per setting: column -> text."""
    return [
        {
            **{key.split(".")[-1]: value_of(value) for key, value in s["setting"].items()},
            "runs": str(s["runs"]),
            "cases": str(s["cases"]),
            "declared accuracy": interval_text(s, "accuracy"),
            "declared AUC": interval_text(s, "auc"),
            "NIR": f"{s['nir']:.3f}",
            "best accuracy": f"{s['best_accuracy']:.3f}",
            "p_auc": f"{s['p_auc']:.2g}",
        }
        for s in comparison["settings"]
    ]


def text_table(comparison: Mapping[str, Any]) -> str:
    """Return `text_rows` as lines for the terminal."""
    return str(pd.DataFrame(text_rows(comparison)).to_string(index=False))


def interval_text(setting: Mapping[str, Any], metric: str) -> str:
    """Return a setting's declared measure with its interval: 0.700 (0.600-0.800), a dash without one."""
    estimate, low, high = (setting[f"{metric}{end}"] for end in ("", "_low", "_high"))
    if math.isnan(estimate):
        return "-"
    return f"{estimate:.3f}" + ("" if math.isnan(low) else f" ({low:.3f}-{high:.3f})")


def csv_table(comparison: Mapping[str, Any]) -> pd.DataFrame:
    """Return the content of compare.csv: one row per setting, its params first."""
    rows = []
    for setting in comparison["settings"]:
        numbers = {key: value for key, value in setting.items() if key not in ("setting", "names")}
        rows.append(
            {key: value_of(value) for key, value in setting["setting"].items()}
            | {key: files.number(value) if isinstance(value, float) else value for key, value in numbers.items()}
        )
    return pd.DataFrame(rows)


def to_json(value: Any) -> Any:
    """Return `value` as JSON holds it: text keys, lists, numbers of 6 digits, null for NaN."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return files.number(value) if isinstance(value, float) else value


def chart(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return a Vega-Lite chart: one line per setting with declared accuracy, interval, NIR and best epoch."""
    rows = [{"name": setting_name(s["setting"]), **{key: s[key] for key in CHARTED}} for s in comparison["settings"]]
    y = {"field": "name", "type": "nominal", "title": None, "sort": None}

    def x(field: str) -> dict[str, Any]:
        return {"field": field, "type": "quantitative", "title": "accuracy", "scale": {"zero": False}}

    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": "Declared accuracy with its 95 % interval; tick: NIR; ring: best epoch (selected)",
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
