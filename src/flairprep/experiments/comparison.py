"""Do the settings differ, has any of them learned, and what would settle it? From the runs that DVC knows."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy  # whose parts come when they are first used

from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import write_csv
from flairprep.evaluation import predictions
from flairprep.experiments import runs as experiments
from flairprep.experiments import summary
from flairprep.experiments.inference import (
    POWER,
    correlated,
    difference,
    family_wise,
    learnable,
    measured,
    over_folds,
    paired,
)
from flairprep.experiments.runs import ExperimentRun
from flairprep.experiments.screening import confounded, main_effects, orthogonal
from flairprep.experiments.settings import UNIT, by_setting, declared_of, differing, is_constant, same_cohort
from flairprep.stats import hypothesis_tests, metrics, power

METRICS: tuple[metrics.PairedMetric, ...] = ("accuracy", "auc")


def tested(runs: Sequence[ExperimentRun]) -> dict[str, Any]:
    """Accuracy and p of a setting on the test fold, null without one: the mean of its runs, and twice their mean p."""
    found = [predictions.declared(t.y_true, t.declared, t.groups) for run in runs if (t := run.test) is not None]
    empty = {"test_accuracy": None, "test_p": None, "test_p_holm": None, "selected_on_test": False}
    if not found:
        return empty
    accuracy, p = (float(np.mean([numbers[name] for numbers in found])) for name in ("accuracy", "p_nir"))
    return {**empty, "test_accuracy": accuracy, "test_p": p if len(found) == 1 else min(1.0, 2 * p)}


def compare(
    runs: Sequence[ExperimentRun],
    current: Mapping[str, Any],
    *,
    alpha: float,
    permutations: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """What reports/compare.json holds: settings, pairs, effects, and the answer in sentences and commands.

    Args:
        runs: of one cohort, see `same_cohort`.
        current: what params.yaml holds now, flat, from which the commands start.
        alpha: level of all tests, each family of them corrected.
        permutations, seed: of the permutations and draws.

    Raises:
        FlairprepError: no run.
    """
    if not runs:
        raise FlairprepError("compare: no run that can be read; `dvc repro` or `dvc exp run` makes one")
    keys = differing(runs)
    grouped = by_setting(runs, keys)
    values, members = [values for values, _ in grouped], [members for _, members in grouped]
    rows = [declared_of(runs) for runs in members]
    chance = partial(family_wise, runs, permutations=permutations, seed=seed)
    settings: list[dict[str, Any]] = [
        {"setting": setting, **_numbers(of, table, seed), "p_selection": p, "p_within": None, **tested(of)}
        for setting, of, table, p in zip(values, members, rows, over_folds(chance(), members), strict=True)
    ]
    if any(run.strata for run in runs):
        inside = over_folds(chance(within=True), members)
        settings = [setting | {"p_within": p} for setting, p in zip(settings, inside, strict=True)]
    scored = [setting for setting in settings if setting["test_p"] is not None]
    best = max((setting["test_accuracy"] for setting in scored), default=None)
    for setting, p in zip(scored, hypothesis_tests.holm(np.array([s["test_p"] for s in scored])), strict=True):
        setting |= {"test_p_holm": float(p), "selected_on_test": len(scored) > 1 and setting["test_accuracy"] == best}
    for setting, of in zip(settings, members, strict=True):
        setting["learnable"] = learnable(members, of, setting["cases"], setting["nir"], alpha)
    noise, design = seed_variability(members), orthogonal(values) if keys else None
    effects = main_effects(design, values, rows, noise, runs[0].folds, seed) if design else []
    # pairs of a design say nothing; without a case that all its settings have, they are all that is left
    apart = [i for i in range(len(values)) if not (design and effects and any(design[key][i] for key in design))]
    found = {
        "alpha": alpha,
        "power": POWER,
        "keys": keys,
        "confounded": confounded([values[i] for i in apart]),
        "settings": settings,
        "pairs": differences([grouped[i] for i in apart], [rows[i] for i in apart], alpha, seed),
        "seed_variability": noise,
        "main_effects": effects,
    }
    return found | summary.answer(found, grouped, current)


def _numbers(runs: Sequence[ExperimentRun], rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    """The numbers of one setting that are its own."""
    best = [
        (metrics.accuracy(r.found.y_true, r.found.y_prob[e]), r.name, e + 1)
        for r in runs
        for e in [metrics.best_epoch(r.found.y_true, r.found.y_prob, r.monitor)]
    ]
    accuracy, name, epoch = max(best, key=lambda entry: entry[0])
    found: dict[str, Any] = {
        "runs": len(runs),
        "names": [run.name for run in runs],
        "folds": rows.groupby(UNIT).ngroups,
        "seeds": len({run.seed for run in runs}),
        "cases": rows["case_id"].nunique(),
        "patients": rows["group"].nunique(),
    }
    for metric in METRICS:
        found |= dict(zip((metric, f"{metric}_low", f"{metric}_high"), measured(rows, metric, seed), strict=True))
    nir = metrics.no_information_rate(rows["label"].to_numpy())
    positive = float((rows["probability"] > 0.5).mean())
    return {
        **found,
        "nir": nir,
        "predicted_positive": positive,
        "constant": all(map(is_constant, runs)),
        "best_accuracy": accuracy,
        "best_run": name,
        "best_epoch": epoch,
    }


def differences(
    grouped: Sequence[tuple[dict[str, Any], list[ExperimentRun]]], rows: Sequence[pd.DataFrame], alpha: float, seed: int
) -> list[dict[str, Any]]:
    """Every two settings: the differences b minus a of the declared predictions; all p of the sweep are one family."""
    pairs: list[dict[str, Any]] = []
    for i, j in combinations(range(len(grouped)), 2):
        shared = paired(rows[i], rows[j])
        (a, runs), (b, _) = grouped[i], grouped[j]
        folds = runs[0].folds
        changed = [key for key in a if a[key] != b[key]]
        right = [(shared[f"probability_{s}"] > 0.5) == shared["label"] for s in "ab"]
        pair: dict[str, Any] = {
            "a": experiments.name_of(a),
            "b": experiments.name_of(b),
            "changed": changed,
            "confounded": len(changed) > 1,
            "other_seeds": bool((shared["seed_a"] != shared["seed_b"]).any()),
        }
        pair |= {
            "cases": shared["case_id"].nunique(),
            "folds": int(shared.groupby("split_seed")["fold"].nunique().max()) if len(shared) else 0,
            "discordant": float((right[0] != right[1]).mean()) if len(shared) else None,
        }
        for metric in METRICS if len(shared) else ():
            pair[metric] = difference(shared, metric, folds, seed)
        pairs.append(pair)
    tests = [pair[metric] for pair in pairs for metric in METRICS if metric in pair and pair[metric]["p"] >= 0]
    for test, p in zip(tests, hypothesis_tests.holm(np.array([test["p"] for test in tests])), strict=True):
        test["p_holm"] = float(p)
    for pair in pairs:
        pair |= {"detectable": None, "cases_needed": None}
        if discordant := pair["discordant"]:
            level, worth = alpha / max(1, len(tests)), round(pair["cases"] / correlated(pair["folds"], folds))
            pair["detectable"] = power.detectable_difference(worth, discordant, level, POWER)
            pair["cases_needed"] = cases_needed(pair["accuracy"]["estimate"], discordant, level)
            if (pair["cases_needed"] or 0) > pair["cases"] / pair["folds"]:  # takes all folds
                pair["cases_needed"] = math.ceil(pair["cases_needed"] * correlated(folds, folds))
        pair["differ"] = [m for m in METRICS if m in pair and pair[m].get("p_holm", 1) < alpha]
    return pairs


def seed_variability(grouped: Sequence[Sequence[ExperimentRun]]) -> dict[str, Any] | None:
    """How far the declared accuracies of two seeds of one setting and fold lie apart, on average; null without any."""
    apart = [
        abs(metrics.accuracy(a.found.y_true, a.found.declared) - metrics.accuracy(b.found.y_true, b.found.declared))
        for runs in grouped
        for a, b in combinations(runs, 2)
        if (a.split_seed, a.fold) == (b.split_seed, b.fold) and a.seed != b.seed
    ]
    return {"pairs": len(apart), "accuracy": float(np.mean(apart))} if apart else None


def cases_needed(difference: float, discordant: float, alpha: float) -> int | None:
    """About how many cases a paired difference of accuracies takes at POWER (Connor 1987); None for no difference."""
    if not difference:
        return None
    z_alpha, z_power = scipy.stats.norm.isf(alpha / 2), scipy.stats.norm.ppf(POWER)
    spread = z_alpha * math.sqrt(discordant) + z_power * math.sqrt(discordant - difference**2)
    return math.ceil((spread / difference) ** 2)


def as_rows(found: Mapping[str, Any]) -> pd.DataFrame:
    """compare.csv: a row a setting, its params first."""
    return pd.DataFrame(
        [
            {k: params.value_of(v) for k, v in s["setting"].items()}
            | {k: files.number(v) if isinstance(v, float) else v for k, v in s.items() if k not in ("setting", "names")}
            for s in found["settings"]
        ]
    )


def plain(value: Any) -> Any:
    """`value` as JSON holds it."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return files.number(value) if isinstance(value, float) else value


def run(
    names: Sequence[str], out: Path, *, all_commits: bool, html: bool, alpha: float, permutations: int, seed: int
) -> None:
    """Reads the runs, writes compare.json, compare.csv and compare.vl.json into `out`, and prints the answer.

    html: writes compare.html too, a page of one file.
    """
    known = experiments.read_runs(names, all_commits=all_commits)
    workspace = known.same.get(experiments.WORKSPACE, experiments.WORKSPACE)
    if not known.runs:
        _say_left_out(known.passed_over)
    runs, others = same_cohort(known.runs, workspace) if known.runs else ([], {})
    now = params.flatten(params.read_params())
    current = now | experiments.setting_of(now)
    found = compare(runs, current, alpha=alpha, permutations=permutations, seed=seed)
    left_out = {**known.passed_over, **others}
    report = {**found, "left_out": left_out, "same": known.same}
    files.write_json(out / "compare.json", plain(report))
    write_csv(out / "compare.csv", as_rows(found))
    files.write_json(out / "compare.vl.json", plain(summary.plot(found)))
    if html:
        from flairprep.report import charts
        from flairprep.report import html as page

        chart = charts.compared(plain(summary.plot(found)))
        told = page.render("compare.html", found=plain(report), rows=summary.rows(found), chart=chart)
        files.write_text(out / "compare.html", told)
    console.say(summary.table(found))
    console.say("")
    _say_left_out(left_out)
    for sentence in found["answer"]:
        console.say(sentence)
    for command in found["commands"]:
        console.say(f"    {command}")


def _say_left_out(left_out: Mapping[str, str]) -> None:
    for name, why in left_out.items():
        console.say(f"left out: {name}: {why}")
