"""Strata of cases within which labels are permuted to adjust for a shortcut."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy  # its submodules load on first use

from flairprep.audit.association import Array

TERTILES = ("low", "middle", "high")


def tertiles(scores: Array, folds: Array) -> tuple[str, ...]:
    """Return the tertile of each case among the scores (n_cases,) of its fold; "none" for NaN.

    Scores of different folds come from different fits and are not comparable.
    """
    names = np.full(len(scores), "none", object)
    for fold in np.unique(folds):
        scored = (folds == fold) & ~np.isnan(scores)
        indices = (scipy.stats.rankdata(scores[scored]) - 0.5) * len(TERTILES) // max(1, scored.sum())
        names[scored] = [TERTILES[int(index)] for index in indices]
    return tuple(names.tolist())


def stratify(values: Array, min_cases: int) -> tuple[str, ...]:
    """Return the stratum of each case by a column: its category, or its tertile for numbers of many values.

    Categories of fewer than `min_cases` cases form one stratum, `other`, since alone they could not be permuted.
    """
    if values.dtype.kind == "f" and len(np.unique(values)) > len(TERTILES):
        return tertiles(values, np.zeros(len(values)))
    texts = [f"{value:g}" if values.dtype.kind == "f" else value or "none" for value in values]
    counts = Counter(texts)
    return tuple(text if counts[text] >= min_cases else "other" for text in texts)


def combine(strata: dict[str, tuple[str, ...]], labels: Array, folds: Array) -> tuple[list[str], list[str]]:
    """Cross the strata of several shortcuts, the strongest first: (one stratum per case, names of those crossed).

    Labels are permuted within a fold and a stratum, so only cases whose fold and stratum hold both labels count. A
    further shortcut is skipped if it would leave fewer than half as many such cases as the first one does.
    """
    crossed: dict[str, tuple[str, ...]] = {}
    min_cases = 0.0
    for name, values in strata.items():
        count = count_permutable(_cross({**crossed, name: values}), labels, folds)
        if crossed and count < min_cases:
            continue
        min_cases = min_cases if crossed else count / 2
        crossed[name] = values
    return _cross(crossed), list(crossed)


def _cross(strata: dict[str, tuple[str, ...]]) -> list[str]:
    parts = [[f"{name}: {value}" for value in values] for name, values in strata.items()]
    return ["; ".join(part) for part in zip(*parts, strict=True)]


def count_permutable(strata: Sequence[str], labels: Array, folds: Array) -> int:
    """Return the number of cases whose fold and stratum hold both labels."""
    frame = pd.DataFrame({"fold": folds, "stratum": list(strata), "label": labels})
    return int((frame.groupby(["fold", "stratum"])["label"].transform("nunique") > 1).sum())


def is_predicted(strata: Sequence[str], labels: Array) -> Array:
    """Return which cases' labels are over-represented in their stratum: (n_cases,), bool."""
    share = pd.Series(labels, dtype=float).groupby(np.array(strata)).transform("mean").to_numpy()
    return np.asarray(np.where(labels > 0.5, share > labels.mean(), share < labels.mean()))
