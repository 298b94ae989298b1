"""Strata of cases within which labels are permuted to allow for a shortcut."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy  # whose parts come when they are first used

from flairprep.audit.association import Array

BANDS = ("low", "middle", "high")


def thirds(scores: Array, folds: Array) -> tuple[str, ...]:
    """The third of each case among the scores (n_cases,) of its fold, "none" where it has none (NaN).

    Scores out of different folds come from different fits and are not comparable.
    """
    names = np.full(len(scores), "none", object)
    for fold in np.unique(folds):
        here = (folds == fold) & ~np.isnan(scores)
        places = (scipy.stats.rankdata(scores[here]) - 0.5) * len(BANDS) // max(1, here.sum())
        names[here] = [BANDS[int(place)] for place in places]
    return tuple(names.tolist())


def strata(values: Array, smallest: int) -> tuple[str, ...]:
    """The stratum of each case by a column: its category, or its third where there are many numbers.

    Categories of fewer than `smallest` cases are one, `other`: alone they would leave nothing to permute.
    """
    if values.dtype.kind == "f" and len(np.unique(values)) > len(BANDS):
        return thirds(values, np.zeros(len(values)))
    texts = [f"{value:g}" if values.dtype.kind == "f" else value or "none" for value in values]
    counts = Counter(texts)
    return tuple(text if counts[text] >= smallest else "other" for text in texts)


def combine(found: dict[str, tuple[str, ...]], labels: Array, folds: Array) -> tuple[list[str], list[str]]:
    """One stratum for each case from the strata by several shortcuts, the strongest first, and the names of those used.

    Labels are permuted within a fold and a stratum, so a case counts for something only where both labels are there. A
    further shortcut is left out where it would leave fewer than half as many such cases as the first one does.
    """
    used: dict[str, tuple[str, ...]] = {}
    least = 0.0
    for name, values in found.items():
        count = permutable(_joined({**used, name: values}), labels, folds)
        if used and count < least:
            continue
        least = least if used else count / 2
        used[name] = values
    return _joined(used), list(used)


def _joined(found: dict[str, tuple[str, ...]]) -> list[str]:
    parts = [[f"{name}: {value}" for value in values] for name, values in found.items()]
    return ["; ".join(part) for part in zip(*parts, strict=True)]


def permutable(strata: Sequence[str], labels: Array, folds: Array) -> int:
    """The number of cases whose fold and stratum hold both labels."""
    frame = pd.DataFrame({"fold": folds, "stratum": list(strata), "label": labels})
    return int((frame.groupby(["fold", "stratum"])["label"].transform("nunique") > 1).sum())


def told(strata: Sequence[str], labels: Array) -> Array:
    """(n_cases,), bool: whose label their stratum gives away, by having more of it than all cases have."""
    share = pd.Series(labels, dtype=float).groupby(np.array(strata)).transform("mean").to_numpy()
    return np.asarray(np.where(labels > 0.5, share > labels.mean(), share < labels.mean()))
