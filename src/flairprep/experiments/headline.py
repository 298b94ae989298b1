"""Say a comparison in a title and a paragraph: the best setting, and whether it differs from the rest."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from flairprep.experiments import summary
from flairprep.experiments.runs import setting_name

MOST_NAMED = 90  # letters of a list of settings


def ranked(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the settings of `comparison.compare`, the best declared primary measure first, those without it last."""
    primary = result["primary"]
    return sorted(result["settings"], key=lambda s: math.inf if math.isnan(s[primary]) else -s[primary])


def title(result: Mapping[str, Any]) -> str:
    """Return the answer in a line."""
    settings, alpha = result["settings"], result["alpha"]
    name = setting_name(ranked(result)[0]["setting"])
    if len(settings) == 1:
        return f"One setting: {summary.state(settings[0], alpha)}"
    if all(summary.state(s, alpha) != "learned" for s in settings):
        return f"No evidence that any of {len(settings)} settings has learned"
    if result["main_effects"] and not result["pairs"]:
        sure = [e["key"] for e in result["main_effects"] if e["p_holm"] < alpha]
        return f"{_listed(sure)} matter{'s' if len(sure) == 1 else ''}" if sure else "No param is shown to matter"
    if result["baseline"] is not None:
        pairs = [pair for pair in result["pairs"] if pair["answer"]]
        differ = sum(pair["answer"] == "differ" for pair in pairs)
        return f"{differ} of {len(pairs)} settings differ from {result['baseline']}"
    answers = _against(result, name)
    differ, others = len(answers["differ"]), len(settings) - 1
    if not differ:
        return f"Cannot tell which of {len(settings)} settings is best"
    if differ == others:
        return f"{name} is better than {'the other setting' if others == 1 else f'all {others} others'}"
    return f"{name} is ahead, and better than {differ} of {others} others"


def lead(result: Mapping[str, Any]) -> str:
    """Return the answer in a paragraph: the best setting's numbers, the one test, and what it cannot tell."""
    primary, best = result["primary"], ranked(result)[0]
    measure = summary.MEASURES[primary]
    if math.isnan(best[primary]):
        return f"No setting has a declared {measure}, since its cases have one label only."
    name, other = setting_name(best["setting"]), "accuracy" if primary == "auc" else "auc"
    chance = {"auc": "chance has 0.500", "accuracy": f"always guessing the larger class has {best['nir']:.3f}"}
    numbers = [
        f"{summary.MEASURES[one]} {summary.interval_text(best, one)}, where {chance[one]}"
        for one in (primary, other)
        if not math.isnan(best[one])
    ]
    sentences = [f"Highest on {best['cases']} cases: {name}, with a declared {'; '.join(numbers)}."]
    if len(result["settings"]) == 1:
        return " ".join([*sentences, "There is no other setting to compare it with."])
    tested = [pair for pair in result["pairs"] if pair["answer"]]
    answers = _against(result, name)
    if answers["differ"]:
        sentences.append(f"It is better than {_listed(answers['differ'])}.")
    if answers["equal"]:
        sentences.append(f"It is practically equal to {_listed(answers['equal'])}.")
    if answers["cannot tell"]:
        sentences.append(f"It cannot be told from {_listed(answers['cannot tell'])}.")
    if tested:
        sentences.append(
            f"The test: differences in declared {measure} on the same cases, corrected for "
            f"{len(tested)} pair{'' if len(tested) == 1 else 's'}."
        )
    if any(pair[primary]["of_networks"] for pair in tested):
        sentences.append("With one network per setting, that is said of these networks, not of the settings.")
    return " ".join(sentences)


def _against(result: Mapping[str, Any], name: str) -> dict[str, list[str]]:
    """Return the other settings by the answer of their pair with the setting `name`."""
    answers: dict[str, list[str]] = {"differ": [], "equal": [], "cannot tell": []}
    for pair in result["pairs"]:
        if name in (pair["a"], pair["b"]) and pair["answer"]:
            answers[pair["answer"]].append(pair["b"] if pair["a"] == name else pair["a"])
    return answers


def _listed(names: Sequence[str]) -> str:
    """Return names as a list in words; the first of many."""
    lengths = list(accumulate(map(len, names)))
    shown = max(1, sum(length <= MOST_NAMED for length in lengths))
    if shown < len(names):
        return f"{', '.join(names[:shown])} and {len(names) - shown} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
