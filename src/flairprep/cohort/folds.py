"""Folds that are stratified, grouped and stable: a data set that grows keeps its folds.

Every group of cases has a home fold, a hash of the seed and the group; then the fewest groups move that balance the
folds. Where scikit-learn's StratifiedKFold deals the cases out anew, here one more case moves a few others at most.
"""

import hashlib
from collections import Counter

import numpy as np
import pandas as pd

from flairprep.core.errors import FlairprepError

Kind = tuple[tuple[tuple[str, ...], int], ...]  # what a group holds: the number of cases of each stratum


def assign(frame: pd.DataFrame, *, folds: int, seed: int, stratify_by: tuple[str, ...]) -> pd.Series:
    """Assign a fold (0 to folds - 1) to each row of `frame`, which has `group` and the columns of `stratify_by`.

    Groups that hold the same number of cases of each stratum are spread evenly: each fold gets their number over
    `folds`, rounded down or up; the rounding up goes to folds that lack one of the strata concerned, then to those
    where these, and the first column's values among them (the label), have the fewest cases so far.

    Raises:
        FlairprepError: a stratum has fewer groups than there are folds; the text says how many and what would work.
    """
    strata = list(frame[list(stratify_by)].astype(str).itertuples(index=False, name=None))
    contents: dict[str, Counter[tuple[str, ...]]] = {}
    for group, stratum in zip(frame["group"], strata, strict=True):
        contents.setdefault(group, Counter())[stratum] += 1
    _check(contents, folds, stratify_by)
    kinds: dict[Kind, list[str]] = {}
    for group, counts in contents.items():
        kinds.setdefault(tuple(sorted(counts.items())), []).append(group)
    load: Counter[tuple[int, tuple[str, ...]]] = Counter()
    fold_of: dict[str, int] = {}
    for kind, groups in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        filled = [_filled(load, fold, kind) for fold in range(folds)]
        chosen = _spread(groups, folds, seed, filled)
        fold_of.update(chosen)
        for fold, groups_there in Counter(chosen.values()).items():
            for stratum, cases in kind:
                load[fold, stratum] += cases * groups_there
    for stratum in set(strata):
        if lacking := [fold for fold in range(folds) if not load[fold, stratum]]:
            raise FlairprepError(
                f"params.yaml: split.folds: {folds}: fold {lacking[0]} gets no case of {_named(stratum, stratify_by)}, "
                "since patients with several scans cannot be divided; lower split.folds"
            )
    return frame["group"].map(fold_of)


def _filled(load: Counter[tuple[int, tuple[str, ...]]], fold: int, kind: Kind) -> tuple[int, ...]:
    """How little a fold needs a group of `kind`: strata of it that are there, cases of these, and of its labels."""
    here = {stratum: cases for (where, stratum), cases in load.items() if where == fold and cases}
    own = [here.get(stratum, 0) for stratum, _ in kind]
    labels = {stratum[0] for stratum, _ in kind}
    alike = sum(cases for stratum, cases in here.items() if stratum[0] in labels)
    return sum(map(bool, own)), sum(own), alike


def _spread(groups: list[str], folds: int, seed: int, filled: list[tuple[int, ...]]) -> dict[str, int]:
    """A fold for each of `groups`, which are alike: at home where there is room, else where it hashes to next.

    filled: for each fold what `_filled` says; the folds that get one group more come first in its order, among equals
    those where most groups are at home, so that fewest move.
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
    """A fold with room for each of `moving`: stable matching (Gale and Shapley 1962), so that one more group that
    moves displaces few others, where dealing them out in turn would shift every later one.
    """
    places: dict[int, list[str]] = {fold: [] for fold in np.flatnonzero(room).tolist()}
    wishes = {
        group: sorted(places, key=lambda fold: _hash(seed, group, fold), reverse=True) for group in moving
    }  # taken from the end
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


def _check(contents: dict[str, Counter[tuple[str, ...]]], folds: int, stratify_by: tuple[str, ...]) -> None:
    groups_with = Counter(stratum for counts in contents.values() for stratum in counts)
    if len({stratum[0] for stratum in groups_with}) < 2 and stratify_by[:1] == ("label",):
        found = ", ".join(f"label {stratum[0]}" for stratum in groups_with) or "none"
        raise FlairprepError(f"split: both labels are needed, found {found} among {len(contents)} groups of cases")
    stratum, fewest = min(groups_with.items(), key=lambda item: (item[1], item[0]))
    if fewest < folds:
        named = _named(stratum, stratify_by)
        ways = [f"set split.folds to {fewest} or less"] if fewest > 1 else []
        ways += ["take a column out of split.stratify_by"] if len(stratify_by) > 1 else []
        ways += ["label more cases of it"]
        raise FlairprepError(
            f"params.yaml: split.folds: {folds}: only {fewest} groups of cases (patients) have {named}, "
            f"and each fold needs one; {' or '.join(ways)}"
        )


def _named(stratum: tuple[str, ...], stratify_by: tuple[str, ...]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(stratify_by, stratum, strict=True))
