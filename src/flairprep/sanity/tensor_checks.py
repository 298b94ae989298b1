"""Check the exported tensors before training."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from flairprep.sanity.check import Check, Verdict
from flairprep.sanity.tensor_summary import Array, TensorSummary

PERMUTATIONS = 999


def finite(cases: Sequence[TensorSummary]) -> Check:
    """Check for NaN and infinity, which make every weight NaN in one step."""
    case_ids = [case.case_id for case in cases if not case.finite]
    text = f"NaN or infinity in {names(case_ids)}; mend or exclude them" if case_ids else "every voxel is a number"
    return Check("finite", "fail" if case_ids else "pass", len(case_ids), 0, text)


def clipping(cases: Sequence[TensorSummary], threshold: float = 0.02) -> Check:
    """Check for voxels cut to a limit, which lose their differences, as FLAIR does in a window made for CT."""
    shares = np.array([case.clipped for case in cases])
    clipped = [case.case_id for case in cases if case.clipped > threshold]
    verdict: Verdict = "fail" if shares.mean() > threshold else "warn" if clipped else "pass"
    text = f"{shares.mean():.2%} of the foreground is at a limit of its values"
    if clipped:
        text += (
            f", {shares.max():.0%} in the worst of {names(clipped)}; raise normalize.clip or choose another intensity"
        )
    return Check("clipping", verdict, float(shares.mean()), threshold, text)


def used_range(cases: Sequence[TensorSummary], threshold: float = 0.1) -> Check:
    """Check whether a few extreme voxels press all others into a corner of the range."""
    used = float(np.median([case.used for case in cases]))
    text = f"98 % of the foreground lie in {used:.0%} of its range"
    if used < threshold:
        text += "; a few extreme voxels stretch it: lower normalize.clip or choose another normalize.intensity"
    return Check("range", "pass" if used >= threshold else "warn", used, threshold, text)


def slices(cases: Sequence[TensorSummary]) -> Check:
    """Check for volumes of one value, and for slices of one value between others."""
    blank = [case.case_id for case in cases if case.blank]
    gaps = [case.case_id for case in cases if case.constant_slices]
    if blank:
        return Check("slices", "fail", len(blank), 0, f"one value everywhere in {names(blank)}; exclude them")
    if gaps:
        text = f"slices of one value between others in {names(gaps)}; look at them"
        return Check("slices", "warn", len(gaps), 0, text)
    return Check("slices", "pass", 0, 0, "no slice of one value between others")


def duplicates(cases: Sequence[TensorSummary]) -> Check:
    """Check for equal tensors under different ids: a leak in two folds, a contradiction with two labels."""
    by_digest: dict[str, list[TensorSummary]] = {}
    for case in cases:
        by_digest.setdefault(case.digest, []).append(case)
    groups = [equal for equal in by_digest.values() if len(equal) > 1]
    bad = [equal for equal in groups if len({(case.fold, case.label) for case in equal}) > 1]
    case_ids = [case.case_id for equal in bad or groups for case in equal]
    where = "in two folds or with two labels" if bad else "in the same fold with the same label"
    text = f"equal tensors {where}: {names(case_ids)}; remove all but one" if groups else "no two cases are equal"
    return Check("duplicates", "fail" if bad else "warn" if groups else "pass", len(case_ids), 0, text)


def orientation(cases: Sequence[TensorSummary], margin: float = 0.05, most: float = 0.1) -> Check:
    """Check for cases that resemble the cohort's mean clearly more when turned: upside down, back to front, or lying.

    Turned: every mirroring and exchange of the in-plane axes, up and down too. A mirroring along x alone is left out:
    this cannot tell the left of a head from its right.
    """
    volumes = np.array([case.small for case in cases])
    mean = volumes.mean(axis=0)
    square = volumes.shape[2] == volumes.shape[3]
    turns = [turn for turn in product((False, square), (1, -1), (1, -1), (1, -1)) if turn[:3] != (False, 1, 1)]
    as_is = np.array([correlation(volume, mean) for volume in volumes])
    best = np.max([[correlation(turned(volume, *turn), mean) for volume in volumes] for turn in set(turns)], axis=0)
    turned_ids = [case.case_id for case, better in zip(cases, best > as_is + margin, strict=True) if better]
    share = len(turned_ids) / len(cases)
    text = "all cases lie the same way"
    if turned_ids:
        text = f"turned against the others: {names(turned_ids)}; look at them"
    return Check("orientation", "fail" if share > most else "warn" if turned_ids else "pass", share, most, text)


def turned(volume: Array, exchange: bool, up: int, back: int, right: int) -> Array:
    """Exchange y and x of `volume` (z, y, x) if `exchange`, then mirror it along the axes whose sign is -1."""
    return (volume.transpose(0, 2, 1) if exchange else volume)[::up, ::back, ::right]


def correlation(a: Array, b: Array) -> float:
    """Return Pearson's correlation of all voxels; 0 where one of the two is constant."""
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0


def labels(cases: Sequence[TensorSummary], split: pd.DataFrame) -> Check:
    """Check that each exported case has the label and the fold that split.csv gives it."""
    columns = (split["case_id"], split["label"].astype(int), split["fold"].astype(int))
    given = {case_id: (label, fold) for case_id, label, fold in zip(*columns, strict=True)}
    differing = [case.case_id for case in cases if given.get(case.case_id) != (case.label, case.fold)]
    text = "as in split.csv"
    if differing:
        text = f"another label or fold than in split.csv: {names(differing)}; run export again"
    return Check("labels", "fail" if differing else "pass", len(differing), 0, text)


def border(cases: Sequence[TensorSummary], groups: Sequence[str], seed: int, threshold: float = 0.01) -> Check:
    """Check that the surroundings of the foreground, its outline included, tell the labels apart by chance only.

    The statistic is the largest absolute correlation of a block with the label. Permuting the labels of `groups`
    (patients) corrects for the number of blocks (Westfall and Young 1993).
    """
    table = pd.DataFrame(np.array([case.outside.ravel() for case in cases]), index=list(groups))
    table.insert(0, "label", [float(case.label) for case in cases])
    means = table.groupby(level=0).mean().to_numpy()
    label, blocks = means[:, 0], means[:, 1:]
    blocks = blocks - blocks.mean(axis=0)
    norms = np.linalg.norm(blocks, axis=0)
    blocks = blocks[:, norms > 1e-9] / norms[norms > 1e-9]
    if not blocks.size or np.ptp(label) == 0:
        return Check("border", "pass", 1.0, threshold, "the border is the same in every case")
    rng = np.random.default_rng(seed)
    permuted = np.stack([label, *(rng.permutation(label) for _ in range(PERMUTATIONS))])
    permuted = (permuted - label.mean()) / np.linalg.norm(label - label.mean())
    largest = np.abs(permuted @ blocks).max(axis=1)
    p = float(np.mean(largest >= largest[0] - 1e-12))
    text = f"labels from the border alone: p {p:.3g}"
    if p < threshold:
        text += f", correlation {largest[0]:.2f}; the outline or the background tells the label: see the audit"
    return Check("border", "pass" if p >= threshold else "fail", p, threshold, text)


def names(case_ids: Sequence[str], shown: int = 5) -> str:
    """Return the first few ids, and how many more there are."""
    more = f" and {len(case_ids) - shown} more" if len(case_ids) > shown else ""
    return f"{'case' if len(case_ids) == 1 else 'cases'} {', '.join(sorted(case_ids)[:shown])}{more}"
