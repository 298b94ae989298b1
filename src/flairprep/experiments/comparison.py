"""Do the settings differ, has any of them learned, and what would settle it? From the runs that DVC knows."""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import scipy  # whose parts come when they are first used

from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import write_csv
from flairprep.evaluation import predictions
from flairprep.experiments import runs as experiments
from flairprep.experiments import screening, summary
from flairprep.experiments.runs import Run
from flairprep.stats import metrics, permutation

T = TypeVar("T")

POWER = 0.8
MOST_P = 0.99  # of a fold: a p of 1, of which discrete tests have many, has no z-score
UNIT = ["split_seed", "fold"]  # what one network was validated on
ROW = [*UNIT, "case_id"]
REPEAT = ["split_seed", "repeat"]  # what shows all cases once
METRICS: tuple[metrics.PairedMetric, ...] = ("accuracy", "auc")
LEAST_COLUMNS = 5  # of a design: with fewer, pairs tell more, and any small grid would pass for one


# ---- settings: what runs have in common, and what each has declared ----


def same_cohort(runs: Sequence[Run], preferred: str = experiments.WORKSPACE) -> tuple[list[Run], dict[str, str]]:
    """The runs on the data of the `preferred` one, else on what most share; and why each other one is left out.

    Runs of one split seed share data/split too: without it, a case would lie in two folds.
    """
    chosen = _chosen(runs, preferred, lambda run: run.cohort)
    others = {}
    for run in runs:
        if differing := [key for key in {**chosen, **run.cohort} if chosen.get(key) != run.cohort.get(key)]:
            others[run.name] = f"other {', '.join(differing)}: never pooled or compared with these"
    kept = [run for run in runs if run.name not in others]
    for split_seed in sorted({run.split_seed for run in kept}):
        alike = [run for run in kept if run.split_seed == split_seed]
        split = _chosen(alike, preferred, lambda run: run.split)
        for run in alike:
            if run.split != split:
                others[run.name] = (
                    f"other data/split than the other runs of split seed {split_seed}: never pooled or compared with "
                    "these; run it again"
                )
    return [run for run in runs if run.name not in others], others


def _chosen(runs: Sequence[Run], preferred: str, of: Callable[[Run], T]) -> T:
    """What the `preferred` run has, else what most have."""
    values = [of(run) for run in runs]
    return next((of(run) for run in runs if run.name == preferred), max(values, key=values.count))


def differing(runs: Sequence[Run]) -> list[str]:
    """The params in which the settings of the runs differ."""
    keys = dict.fromkeys(key for run in runs for key in run.setting)
    return [key for key in keys if len({json.dumps(run.setting.get(key)) for run in runs}) > 1]


def by_setting(runs: Sequence[Run], keys: Sequence[str]) -> list[tuple[dict[str, Any], list[Run]]]:
    """The runs of each setting, with its values of `keys`; numbers in their order."""
    found: dict[str, tuple[dict[str, Any], list[Run]]] = {}
    for run in runs:
        values = {key: run.setting.get(key) for key in keys}
        found.setdefault(json.dumps(values), (values, []))[1].append(run)

    def order(entry: tuple[dict[str, Any], list[Run]]) -> list[tuple[int, float, str]]:
        numbers = [v if isinstance(v, int | float) else math.inf for v in entry[0].values()]
        return [(v is not None, n, json.dumps(v)) for n, v in zip(numbers, entry[0].values(), strict=True)]

    return sorted(found.values(), key=order)


def declared_of(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run and case: split_seed, fold, seed, repeat, case_id, label, group, probability (declared).

    Networks of several training seeds are never averaged: the setting would be compared as an ensemble. `repeat`
    numbers the seeds of a fold from 0 on. Of runs with the same split seed, fold and seed the first counts.
    """
    first: dict[tuple[int, int, int], Run] = {}
    for run in runs:
        first.setdefault((run.split_seed, run.fold, run.seed), run)
    rows = pd.concat(
        pd.DataFrame(
            {
                "split_seed": run.split_seed,
                "fold": run.fold,
                "seed": run.seed,
                "case_id": run.found.case_ids,
                "label": run.found.y_true,
                "group": run.found.groups,
                "probability": run.found.declared,
            }
        )
        for run in first.values()
    )
    rows["repeat"] = rows.groupby(UNIT)["seed"].rank("dense").astype(int) - 1
    return rows.sort_values([*REPEAT, "fold", "case_id"], ignore_index=True)


def is_constant(run: Run) -> bool:
    """Whether the declared predictions name one label, whatever the image."""
    return len(np.unique(run.found.declared > 0.5)) == 1


# ---- numbers of one setting, and of two ----


def over_repeats(rows: pd.DataFrame, numbers: Any) -> tuple[float, ...]:
    """The mean of what `numbers` gives for the rows of each split seed and repeat, weighted with their cases.

    Other split seeds, and other seeds of training, show the same cases again. So the mean of the bounds is taken, as if
    the intervals had one and the same error: an interval that is too wide rather than too narrow.
    """
    parts = [part for _, part in rows.groupby(REPEAT)]
    values = np.array([numbers(part) for part in parts], float)
    return tuple(np.average(values, axis=0, weights=[len(part) for part in parts]).tolist())


def measured(rows: pd.DataFrame, metric: metrics.PairedMetric, seed: int) -> tuple[float, float, float]:
    """Declared accuracy or AUC over folds with its 95 % interval, (estimate, low, high), by drawing patients.

    Where all are right, or all wrong, drawing says nothing: then the exact interval (Clopper-Pearson) or that of
    stats.pooled_auc.
    """

    def once(part: pd.DataFrame) -> tuple[float, float, float]:
        y_true, y_prob, fold = (part[name].to_numpy() for name in ("label", "probability", "fold"))
        found = metrics.bootstrap_interval(
            y_true, y_prob, groups=part["group"].to_numpy(), folds=fold, metric=metric, seed=seed
        )
        if found[1] < found[2] or math.isnan(found[0]):
            return found
        if metric == "auc":
            return metrics.pooled_auc([(y_true[fold == f], y_prob[fold == f]) for f in np.unique(fold)])
        patients = part["group"].nunique()
        return found[0], *metrics.clopper_pearson(round(found[0] * patients), patients)

    estimate, low, high = over_repeats(rows, once)
    return estimate, low, high


def aligned(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The rows of `declared_of` that all settings share, so that row n of each is the same case and `repeat`.

    In each fold the training seeds that all have are paired; where there are none, the seeds in their order if all have
    equally many, else the first of each. So no setting has more networks in it than another.
    """
    of_unit: list[dict[tuple[int, int], list[int]]] = [{} for _ in tables]
    for seeds_of, table in zip(of_unit, tables, strict=True):
        for split_seed, fold, seed in sorted(map(tuple, table[[*UNIT, "seed"]].drop_duplicates().to_numpy().tolist())):
            seeds_of.setdefault((split_seed, fold), []).append(seed)
    numbered: list[list[tuple[int, int, int, int]]] = [[] for _ in tables]
    for split_seed, fold in sorted(set.intersection(*(set(seeds) for seeds in of_unit))):
        seeds = [found[split_seed, fold] for found in of_unit]
        if shared := sorted(set.intersection(*map(set, seeds))):
            seeds = [shared for _ in tables]
        elif len(set(map(len, seeds))) > 1:
            seeds = [of_one[:1] for of_one in seeds]
        for rows, of_one in zip(numbered, seeds, strict=True):
            rows += [(split_seed, fold, seed, repeat) for repeat, seed in enumerate(of_one)]
    key = [*ROW, "repeat"]
    kept = [
        table.drop(columns="repeat").merge(pd.DataFrame(rows, columns=[*UNIT, "seed", "repeat"]), on=[*UNIT, "seed"])
        for table, rows in zip(tables, numbered, strict=True)
    ]
    counts = pd.concat([table[key] for table in kept]).value_counts()
    shared_rows = counts[counts == len(tables)].index.to_frame(index=False).sort_values(key)
    return [shared_rows.merge(table, on=key) for table in kept]


def paired(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """The rows that two settings share, see `aligned`: with probability_a, probability_b, seed_a and seed_b."""
    return _beside(*aligned([a, b]))


def _beside(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    key = [*ROW, "repeat"]
    return a.merge(b[[*key, "seed", "probability"]], on=key, suffixes=("_a", "_b"))


def difference(rows: pd.DataFrame, metric: metrics.PairedMetric, folds: int, seed: int) -> dict[str, Any]:
    """Setting b minus setting a on the cases that both declared: estimate, low, high, p, and nadeau_bengio.

    The interval is that of drawing patients; p of accuracies comes from exact McNemar where each patient has one scan,
    else from the draws; p is corrected by `for_folds`, the interval by `widened`. Over several split seeds or seeds of
    training p is twice the mean (Vovk and Wang 2020: valid however they depend on one another). With ten folds or more
    over the split seeds, Nadeau and Bengio's test asks too whether other training sets would show the difference: then
    the larger p counts. p is NaN where the cases are too few for one.

    Args:
        rows: of `paired`.
        folds: of a split, run or not.
    """

    def once(part: pd.DataFrame) -> tuple[float, float, float, float]:
        y_true, prob_a, prob_b = (part[name].to_numpy() for name in ("label", "probability_a", "probability_b"))
        groups, fold, k = part["group"].to_numpy(), part["fold"].to_numpy(), part["fold"].nunique()
        *found, p = metrics.paired_difference(
            y_true, prob_a, prob_b, groups=groups, folds=fold, metric=metric, seed=seed
        )
        if metric == "accuracy" and len(set(groups.tolist())) == len(groups):
            p = metrics.mcnemar_p_value((prob_a > 0.5) == y_true, (prob_b > 0.5) == y_true)
            return *widened(found, k, folds), for_folds(p, k, folds)
        return *widened(found, k, folds), of_draws(found, p, k, folds)

    estimate, low, high, p = over_repeats(rows, once)
    p = of_repeats(p, rows)
    measure = metrics.accuracy if metric == "accuracy" else metrics.auc

    def of_network(unit: pd.DataFrame) -> float:
        y_true, prob_a, prob_b = unit[["label", "probability_a", "probability_b"]].to_numpy().T
        return measure(y_true, prob_b) - measure(y_true, prob_a)

    values = np.array(
        [np.mean([of_network(unit) for _, unit in of_unit.groupby("repeat")]) for _, of_unit in rows.groupby(UNIT)]
    )
    again = None
    if len(values) >= metrics.LEAST_DIFFERENCES and np.isfinite(values).all():
        numbers = metrics.nadeau_bengio(values, test_share=1 / folds)
        again, p = dict(zip(("estimate", "low", "high", "p"), numbers, strict=True)), max(p, numbers[3])
    return {"estimate": estimate, "low": low, "high": high, "p": p, "nadeau_bengio": again}


def for_folds(p: float, k: int, folds: int) -> float:
    """A two-sided p of k folds of a split that took them for independent: its z-score over sqrt(`correlated`).

    Without it, two settings that had each learned a noise of its own "differed" in 9 % of 1,000 trials over 5 folds.
    """
    return float(2 * scipy.stats.norm.sf(scipy.stats.norm.isf(p / 2) / math.sqrt(correlated(k, folds))))


def of_repeats(p: float, rows: pd.DataFrame) -> float:
    """Twice the mean p where `rows` hold several repeats, see `over_repeats`; one repeat's p as it is."""
    return p if rows.groupby(REPEAT).ngroups == 1 or math.isnan(p) else min(1.0, 2 * p)


def widened(found: Sequence[float], k: int, folds: int) -> tuple[float, float, float]:
    """(estimate, low, high) of a difference with the bounds sqrt(`correlated`) further away, as far as -1 and 1."""
    estimate, low, high = found
    if k == 1:
        return estimate, low, high
    more = math.sqrt(correlated(k, folds))
    return estimate, max(-1.0, estimate + more * (low - estimate)), min(1.0, estimate + more * (high - estimate))


def of_draws(found: Sequence[float], p: float, k: int, folds: int) -> float:
    """`for_folds` of (estimate, low, high) and p by drawing patients.

    Of one fold p itself. The p of 2,000 draws is at least 0.001, too coarse to be corrected: over several folds the
    z-score comes from the width of the interval.
    """
    estimate, low, high = found
    if k == 1 or low == high or math.isnan(p):
        return for_folds(p, k, folds)
    return for_folds(
        float(2 * scipy.stats.norm.sf(abs(estimate) * 2 * scipy.stats.norm.isf(0.025) / (high - low))), k, folds
    )


# ---- the whole sweep ----


def family_wise(
    runs: Sequence[Run], *, permutations: int, seed: int, within: bool = False
) -> dict[tuple[int, int], dict[str, float]]:
    """By split seed and fold: each run's p of its selected epoch, corrected for all runs and epochs of that fold.

    Runs that lost different cases on the way are judged on those that all of the fold have; without any, p is 1.

    within: labels are permuted inside the strata of the audit's shortcuts only.
    """
    found = {}
    for unit in sorted({(run.split_seed, run.fold) for run in runs}):
        there = [run for run in runs if (run.split_seed, run.fold) == unit]
        shared = sorted(set.intersection(*(set(run.found.case_ids) for run in there)))
        if not shared:
            found[unit] = {run.name: 1.0 for run in there}
            continue
        places = [np.searchsorted(run.found.case_ids, shared) for run in there]
        strata = [" ".join((run.strata or {}).get(case, "") for run in there) for case in shared]
        p_values = permutation.joint_selection_p_values(
            there[0].found.y_true[places[0]],
            [run.found.y_prob[:, place] for run, place in zip(there, places, strict=True)],
            metrics=[run.monitor for run in there],
            groups=there[0].found.groups[places[0]],
            strata=np.array(strata) if within else None,
            n_permutations=permutations,
            seed=seed,
        )
        found[unit] = dict(zip((run.name for run in there), map(float, p_values), strict=True))
    return found


def over_folds(
    p_values: Mapping[tuple[int, int], Mapping[str, float]], grouped: Sequence[Sequence[Run]]
) -> list[float]:
    """One family-wise p of each setting from those of its runs, see `family_wise`; grouped: the runs by setting.

    In a fold the smallest of a setting's runs counts, since they are corrected for one another; `stouffer` puts the
    folds of a split together. Among settings with the same folds the smallest p of those that learned nothing then is
    a valid p too, since in each fold the smallest is. What is left is Bonferroni: times the number of different sets
    of folds, as where another split seed shows the same cases again, or one setting has more folds than another.
    """
    smallest: list[dict[int, dict[int, float]]] = []
    for runs in grouped:
        by_split: dict[int, dict[int, float]] = {}
        for run in runs:
            folds, p = by_split.setdefault(run.split_seed, {}), p_values[run.split_seed, run.fold][run.name]
            folds[run.fold] = min(p, folds.get(run.fold, 1.0))
        smallest.append(by_split)
    times = families(grouped)
    return [
        min(1.0, times * min(stouffer(list(of_folds.values()), runs[0].folds) for of_folds in by_split.values()))
        for by_split, runs in zip(smallest, grouped, strict=True)
    ]


def families(grouped: Sequence[Sequence[Run]]) -> int:
    """How many different sets of folds of a split the settings have, see `over_folds`."""
    found = set()
    for runs in grouped:
        for split_seed in {run.split_seed for run in runs}:
            found.add((split_seed, *sorted({run.fold for run in runs if run.split_seed == split_seed})))
    return len(found)


def learnable(grouped: Sequence[Sequence[Run]], runs: Sequence[Run], cases: int, nir: float, alpha: float) -> float:
    """The smallest true accuracy that a setting could show with its cases, by the exact test, NaN if none.

    Args:
        grouped: the runs of all settings: the level is that of as many tests as `over_folds` corrects for.
        runs, cases, nir: of the setting. Cases of several folds count as by `correlated`.
    """
    there = Counter((run.split_seed, run.fold) for of in grouped for run in of)
    tests = families(grouped) * max(there[run.split_seed, run.fold] for run in runs)
    k = max(len({run.fold for run in runs if run.split_seed == one.split_seed}) for one in runs)
    worth = round(cases / correlated(k, runs[0].folds))
    return metrics.detectable_accuracy(worth, nir, alpha / tests, POWER) if nir < 1 else math.nan


def stouffer(p_values: Sequence[float], folds: int) -> float:
    """One p from those of some folds of a split: the sum of their z-scores over its standard deviation.

    The networks of two folds share most of their training cases, so what they got from noise is alike: z-scores have
    the correlation that Nadeau and Bengio (2003) give the errors, the share of a fold, 1 / folds. (For linear learners
    of noise it was 0.12 to 0.15 with 5 folds; taken as 0, a sum over the folds rejected 7 to 9 % of 1,000.)
    """
    if len(p_values) == 1:
        return p_values[0]
    z = scipy.stats.norm.isf(np.minimum(p_values, MOST_P))
    return float(scipy.stats.norm.sf(z.sum() / math.sqrt(len(z) * correlated(len(z), folds))))


def correlated(k: int, folds: int) -> float:
    """How much larger the variance of a sum over k folds is than that of independent ones, see `stouffer`."""
    return 1 + (k - 1) / folds


def tested(runs: Sequence[Run]) -> dict[str, Any]:
    """Accuracy and p of a setting on the test fold, null without one: the mean of its runs, and twice their mean p."""
    found = [predictions.declared(t.y_true, t.declared, t.groups) for run in runs if (t := run.test) is not None]
    empty = {"test_accuracy": None, "test_p": None, "test_p_holm": None, "selected_on_test": False}
    if not found:
        return empty
    accuracy, p = (float(np.mean([numbers[name] for numbers in found])) for name in ("accuracy", "p_nir"))
    return {**empty, "test_accuracy": accuracy, "test_p": p if len(found) == 1 else min(1.0, 2 * p)}


def compare(
    runs: Sequence[Run], current: Mapping[str, Any], *, alpha: float, permutations: int = 10_000, seed: int = 0
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
    for setting, p in zip(scored, metrics.holm(np.array([s["test_p"] for s in scored])), strict=True):
        setting |= {"test_p_holm": float(p), "selected_on_test": len(scored) > 1 and setting["test_accuracy"] == best}
    for setting, of in zip(settings, members, strict=True):
        setting["learnable"] = learnable(members, of, setting["cases"], setting["nir"], alpha)
    noise, design = noise_floor(members), orthogonal(values) if keys else None
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
        "noise_floor": noise,
        "main_effects": effects,
    }
    return found | summary.answer(found, grouped, current)


def _numbers(runs: Sequence[Run], rows: pd.DataFrame, seed: int) -> dict[str, Any]:
    """The numbers of one setting that are its own."""
    best = [
        (metrics.accuracy(r.found.y_true, r.found.y_prob[e]), r.name, e + 1)
        for r in runs
        for e in [permutation.best_epoch(r.found.y_true, r.found.y_prob, r.monitor)]
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
    grouped: Sequence[tuple[dict[str, Any], list[Run]]], rows: Sequence[pd.DataFrame], alpha: float, seed: int
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
    for test, p in zip(tests, metrics.holm(np.array([test["p"] for test in tests])), strict=True):
        test["p_holm"] = float(p)
    for pair in pairs:
        pair |= {"detectable": None, "cases_needed": None}
        if discordant := pair["discordant"]:
            level, worth = alpha / max(1, len(tests)), round(pair["cases"] / correlated(pair["folds"], folds))
            pair["detectable"] = metrics.detectable_difference(worth, discordant, level, POWER)
            pair["cases_needed"] = cases_needed(pair["accuracy"]["estimate"], discordant, level)
            if (pair["cases_needed"] or 0) > pair["cases"] / pair["folds"]:  # takes all folds
                pair["cases_needed"] = math.ceil(pair["cases_needed"] * correlated(folds, folds))
        pair["differ"] = [m for m in METRICS if m in pair and pair[m].get("p_holm", 1) < alpha]
    return pairs


def confounded(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Params that always changed together, so that nothing says which of the two mattered; one that never changed is
    none of them."""

    def levels(key: str) -> list[int]:
        values = [json.dumps(setting[key]) for setting in settings]
        return [values.index(value) for value in values]

    keys = [key for key in settings[0] if any(levels(key))] if settings else []
    return [(a, b) for a, b in combinations(keys, 2) if levels(a) == levels(b)]


def noise_floor(grouped: Sequence[Sequence[Run]]) -> dict[str, Any] | None:
    """How far the declared accuracies of two seeds of one setting and fold lie apart, on average; null without any."""
    apart = [
        abs(metrics.accuracy(a.found.y_true, a.found.declared) - metrics.accuracy(b.found.y_true, b.found.declared))
        for runs in grouped
        for a, b in combinations(runs, 2)
        if (a.split_seed, a.fold) == (b.split_seed, b.fold) and a.seed != b.seed
    ]
    return {"pairs": len(apart), "accuracy": float(np.mean(apart))} if apart else None


# ---- a screening design ----


def orthogonal(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[int]] | None:
    """The columns of a two-level design among the settings, key -> +1, -1, or 0 where one is no part of it; else None.

    The design may be all settings, all but one (the centre), or those of `plan`. At least LEAST_COLUMNS params must
    change in it, each between two values, half of the runs each, and the products of any two columns must sum to 0. +1
    is the larger value, or the later one in the alphabet.
    """
    every = range(len(settings))
    for members in (list(every), *([i for i in every if i != centre] for centre in every), screening.members(settings)):
        levels = {key: {json.dumps(settings[i][key]) for i in members} for key in settings[0]}
        levels = {key: values for key, values in levels.items() if len(values) > 1}
        if len(levels) < LEAST_COLUMNS or any(len(values) != 2 for values in levels.values()):
            continue
        high = {key: max(values, key=_order) for key, values in levels.items()}
        columns = {
            key: [(2 * (json.dumps(settings[i][key]) == high[key]) - 1) * (i in members) for i in every] for key in high
        }
        matrix = np.array(list(columns.values()))
        if not matrix.sum(axis=1).any() and (matrix @ matrix.T == len(members) * np.eye(len(matrix), dtype=int)).all():
            return columns
    return None


def _order(text: str) -> tuple[bool, float, str]:
    value = json.loads(text)
    number = isinstance(value, int | float)
    return not number, value if number else 0, text


def main_effects(
    columns: Mapping[str, Sequence[int]],
    settings: Sequence[Mapping[str, Any]],
    rows: Sequence[pd.DataFrame],
    noise: Mapping[str, Any] | None,
    of_split: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Of each param of a design: mean declared accuracy of the settings at its high level minus at its low level.

    On the cases that all settings declared, drawn as patients; p_holm is corrected over the params. Unless the design
    holds every combination of the levels (`mixed` false), it mixes effects with products of others, which no analysis
    can take apart.
    """
    members = [i for i in range(len(settings)) if any(column[i] for column in columns.values())]
    tables = dict(zip(members, aligned([rows[i] for i in members]), strict=True))
    shared = tables[members[0]]
    mixed = len({tuple(column[i] for column in columns.values()) for i in members}) < 2 ** len(columns)

    def once(part: pd.DataFrame) -> tuple[float, float, float, float]:
        y_true, a, b, groups, folds = (
            part[name].to_numpy() for name in ("label", "probability_a", "probability_b", "group", "fold")
        )
        *found, p = metrics.paired_difference(y_true, a, b, groups=groups, folds=folds, metric="accuracy", seed=seed)
        k = part["fold"].nunique()
        return *widened(found, k, of_split), of_draws(found, p, k, of_split)

    effects: list[dict[str, Any]] = []
    for key, column in columns.items() if len(shared) else ():
        low, high = ([i for i in members if column[i] == sign] for sign in (-1, 1))
        stacked = pd.concat([_beside(tables[i], tables[j]) for i, j in zip(low, high, strict=True)])
        numbers = dict(zip(("estimate", "low", "high", "p"), over_repeats(stacked, once), strict=True))
        numbers["p"] = of_repeats(numbers["p"], shared)
        within = None if noise is None else abs(numbers["estimate"]) <= noise["accuracy"]
        levels = {"low_level": settings[low[0]][key], "high_level": settings[high[0]][key]}
        effects.append({"key": key, **levels, **numbers, "within_noise": within, "mixed": mixed})
    known = [effect for effect in effects if effect["p"] >= 0]
    for effect, p in zip(known, metrics.holm(np.array([effect["p"] for effect in known])), strict=True):
        effect["p_holm"] = float(p)
    return sorted(effects, key=lambda effect: -abs(effect["estimate"]))


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
    known = experiments.read(names, all_commits=all_commits)
    workspace = known.same.get(experiments.WORKSPACE, experiments.WORKSPACE)
    if not known.runs:
        _say_left_out(known.passed_over)
    runs, others = same_cohort(known.runs, workspace) if known.runs else ([], {})
    now = params.flatten(params.read())
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
