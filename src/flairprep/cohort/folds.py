"""Assign folds that are stratified, grouped and stable: a cohort that grows keeps its folds.

Every group of cases has a home fold, a hash of the seed and the group. Then the fewest groups move that balance the
folds. One more case moves a few others at most, where scikit-learn's StratifiedKFold deals all cases out anew.
"""

import hashlib
from collections import Counter

import numpy as np
import pandas as pd

from flairprep.core.errors import FlairprepError

Stratum = tuple[str, ...]  # values of the columns to stratify by, the label first
Composition = tuple[tuple[Stratum, int], ...]  # of a group: its strata and the number of cases of each


def assign(frame: pd.DataFrame, *, folds: int, seed: int, stratify_by: tuple[str, ...]) -> pd.Series:
    """Assign a fold (0 to folds - 1) to each row of `frame`, which has `group` and the columns of `stratify_by`.

    Groups of equal composition are spread evenly: each fold gets their number over `folds`, rounded down or up. It is
    rounded up in folds that lack one of their strata, then where cases of these strata are fewest, then where cases of
    their labels are fewest.

    Raises:
        FlairprepError: there is one label only, or fewer groups of a stratum than folds; with what would work.
    """
    strata = list(frame[list(stratify_by)].astype(str).itertuples(index=False, name=None))
    contents: dict[str, Counter[Stratum]] = {}
    for group, stratum in zip(frame["group"], strata, strict=True):
        contents.setdefault(group, Counter())[stratum] += 1
    _check(contents, folds, stratify_by)
    groups_of: dict[Composition, list[str]] = {}
    for group, counts in contents.items():
        groups_of.setdefault(tuple(sorted(counts.items())), []).append(group)
    load: Counter[tuple[int, Stratum]] = Counter()
    fold_of: dict[str, int] = {}
    for composition, groups in sorted(groups_of.items(), key=lambda item: (-len(item[1]), item[0])):
        filled = [_filled(load, fold, composition) for fold in range(folds)]
        chosen = _spread(groups, folds, seed, filled)
        fold_of.update(chosen)
        for fold, groups_there in Counter(chosen.values()).items():
            for stratum, cases in composition:
                load[fold, stratum] += cases * groups_there
    for stratum in set(strata):
        if lacking := [fold for fold in range(folds) if not load[fold, stratum]]:
            raise FlairprepError(
                f"params.yaml: split.folds: {folds}: fold {lacking[0]} gets no case of {_named(stratum, stratify_by)}, "
                "since a patient's scans stay together; lower split.folds"
            )
    return frame["group"].map(fold_of)


def _filled(load: Counter[tuple[int, Stratum]], fold: int, composition: Composition) -> tuple[int, ...]:
    """Return how little a fold needs such a group: its strata, their cases and those of its labels there."""
    here = {stratum: cases for (where, stratum), cases in load.items() if where == fold and cases}
    own = [here.get(stratum, 0) for stratum, _ in composition]
    labels = {stratum[0] for stratum, _ in composition}
    of_labels = sum(cases for stratum, cases in here.items() if stratum[0] in labels)
    return sum(map(bool, own)), sum(own), of_labels


def _spread(groups: list[str], folds: int, seed: int, filled: list[tuple[int, ...]]) -> dict[str, int]:
    """Return a fold for each of `groups` of one composition: its home if there is room, else where it hashes to next.

    filled: `_filled` of each fold; the lowest get one group more, among equals those that are home to most groups, so
    that the fewest move.
    """
    home = {group: _hash(seed, group) % folds for group in groups}
    at_home = Counter(home.values())
    order = sorted(range(folds), key=lambda fold: (filled[fold], -at_home[fold], fold))
    room = np.full(folds, len(groups) // folds)
    room[order[: len(groups) % folds]] += 1
    fold_of, moving = {}, []
    for fold in range(folds):
        there = sorted((group for group in groups if home[group] == fold), key=lambda group: _hash(seed, group, "stay"))
        fold_of.update(dict.fromkeys(there[: room[fold]], fold))
        moving += there[room[fold] :]
        room[fold] -= min(len(there), int(room[fold]))
    return {**fold_of, **_settle(moving, room, seed)}


def _settle(moving: list[str], room: np.ndarray, seed: int) -> dict[str, int]:
    """Match each of `moving` with a fold that has room: stable matching (Gale and Shapley 1962).

    One more group that moves displaces few others, where dealing them out in turn would shift every later one.
    """
    places: dict[int, list[str]] = {fold: [] for fold in np.flatnonzero(room).tolist()}
    wishes = {
        group: sorted(places, key=lambda fold: _hash(seed, group, fold), reverse=True) for group in moving
    }  # popped from the end
    waiting = sorted(moving)
    while waiting:
        group = waiting.pop()
        fold = wishes[group].pop()
        places[fold].append(group)
        if len(places[fold]) > room[fold]:
            last = max(places[fold], key=lambda other: _hash(seed, fold, other))
            places[fold].remove(last)
            waiting.append(last)
    return {group: fold for fold, groups in places.items() for group in groups}


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "big")


def _check(contents: dict[str, Counter[Stratum]], folds: int, stratify_by: tuple[str, ...]) -> None:
    groups_with = Counter(stratum for counts in contents.values() for stratum in counts)
    if len({stratum[0] for stratum in groups_with}) < 2 and stratify_by[:1] == ("label",):
        present = ", ".join(f"label {stratum[0]}" for stratum in groups_with) or "none"
        raise FlairprepError(f"split: both labels are needed, found {present} among {len(contents)} groups of cases")
    stratum, fewest = min(groups_with.items(), key=lambda item: (item[1], item[0]))
    if fewest < folds:
        named = _named(stratum, stratify_by)
        remedies = [f"set split.folds to {fewest} or less"] if fewest > 1 else []
        remedies += ["remove a column from split.stratify_by"] if len(stratify_by) > 1 else []
        remedies += ["label more cases of it"]
        with_it = [counts for counts in contents.values() if stratum in counts]
        if sum(counts.total() for counts in with_it) > len(with_it):
            remedies += [
                "name a column of labels.table that tells patients apart in split.group_column, where one patient id "
                "stands for several people"
            ]
        groups = "1 group of cases (a patient) has" if fewest == 1 else f"{fewest} groups of cases (patients) have"
        raise FlairprepError(
            f"params.yaml: split.folds: {folds}: only {groups} {named}, and each fold needs one; "
            f"{' or '.join(remedies)}"
        )


def _named(stratum: Stratum, stratify_by: tuple[str, ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(stratify_by, stratum, strict=True))
