"""Check the exported tensors before training."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from flairprep.sanity.check import Check, Verdict
from flairprep.sanity.network_checks import Array

SMALL = (8, 16, 16)  # blocks that a case is averaged over where cases are compared
PERMUTATIONS = 999


@dataclass(frozen=True)
class TensorSummary:
    """What there is to know of an exported case.

    clipped: share of the foreground that has its largest or its smallest value; used: share of the foreground's range
    that lies between its 1st and 99th percentile; constant_slices: those with one value between others that have more;
    small: the foreground less its mean, averaged over blocks; outside: all but the foreground, averaged likewise.
    """

    case_id: str
    label: int
    fold: int
    digest: str
    finite: bool
    blank: bool
    clipped: float
    used: float
    constant_slices: int
    small: Array
    outside: Array


def summarise(image: Array, label: int, case_id: str, fold: int) -> TensorSummary:
    """Summarise an exported image (z, y, x, 1); foreground: what differs from its corner, the background's value."""
    volume = np.asarray(image[..., 0])
    finite = bool(np.isfinite(volume).all())
    values = np.nan_to_num(volume.astype(np.float32))
    inside = values != values[0, 0, 0]
    foreground = values[inside] if inside.any() else values.ravel()
    least, most = float(foreground.min()), float(foreground.max())
    low, high = np.percentile(foreground[:: 1 + foreground.size // 100_000], [1, 99])
    varied = np.flatnonzero(np.ptp(values, axis=(1, 2)) > 0)
    return TensorSummary(
        case_id,
        label,
        fold,
        hashlib.sha256(volume.tobytes()).hexdigest(),
        finite,
        blank=most == least and not varied.size,
        clipped=float(max(np.mean(foreground == most), np.mean(foreground == least))) if most > least else 0.0,
        used=float(high - low) / (most - least) if most > least else 0.0,
        constant_slices=int(np.ptp(varied) + 1 - len(varied)) if varied.size else 0,
        small=shrunk(
            np.where(inside, values - foreground.mean(), 0)
        ),  # without the outline, which is much the same turned
        outside=shrunk(np.where(inside, 0, values)),
    )


def shrunk(volume: Array) -> Array:
    """`volume` averaged over blocks, at most 8 x 16 x 16 of them."""
    for axis, blocks in enumerate(SMALL):
        size = volume.shape[axis]
        starts = np.unique(np.arange(blocks) * size // blocks)
        counts = np.diff([*starts, size]).reshape([-1 if a == axis else 1 for a in range(3)])
        volume = np.add.reduceat(volume, starts, axis=axis, dtype=np.float64) / counts
    return volume


def finite(looks: Sequence[TensorSummary]) -> Check:
    """NaN and infinity, which make every weight NaN in one step."""
    found = [case.case_id for case in looks if not case.finite]
    text = f"NaN or infinity in {names(found)}; mend or exclude them" if found else "every voxel is a number"
    return Check("finite", "fail" if found else "pass", len(found), 0, text)


def clipping(looks: Sequence[TensorSummary], threshold: float = 0.02) -> Check:
    """Voxels that were cut to a limit and lost what told them apart, as FLAIR does with a window made for CT."""
    shares = np.array([case.clipped for case in looks])
    found = [case.case_id for case in looks if case.clipped > threshold]
    verdict: Verdict = "fail" if shares.mean() > threshold else "warn" if found else "pass"
    text = f"{shares.mean():.2%} of the foreground is at a limit of its values"
    if found:
        text += f", {shares.max():.0%} in the worst of {names(found)}; raise normalize.clip or choose another intensity"
    return Check("clipping", verdict, float(shares.mean()), threshold, text)


def used_range(looks: Sequence[TensorSummary], threshold: float = 0.1) -> Check:
    """Whether a few extreme voxels press all others into a corner of the range."""
    used = float(np.median([case.used for case in looks]))
    text = f"98 % of the foreground lie in {used:.0%} of its range"
    if used < threshold:
        text += "; a few extreme voxels stretch it: lower normalize.clip or choose another normalize.intensity"
    return Check("range", "pass" if used >= threshold else "warn", used, threshold, text)


def slices(looks: Sequence[TensorSummary]) -> Check:
    """Volumes of one value, and slices of one value between others."""
    blank = [case.case_id for case in looks if case.blank]
    gaps = [case.case_id for case in looks if case.constant_slices]
    if blank:
        return Check("slices", "fail", len(blank), 0, f"one value everywhere in {names(blank)}; exclude them")
    if gaps:
        text = f"slices of one value between others in {names(gaps)}; look at them"
        return Check("slices", "warn", len(gaps), 0, text)
    return Check("slices", "pass", 0, 0, "no slice of one value between others")


def duplicates(looks: Sequence[TensorSummary]) -> Check:
    """Equal tensors under different ids: a leak in two folds, a contradiction with two labels."""
    alike: dict[str, list[TensorSummary]] = {}
    for case in looks:
        alike.setdefault(case.digest, []).append(case)
    groups = [cases for cases in alike.values() if len(cases) > 1]
    bad = [cases for cases in groups if len({(case.fold, case.label) for case in cases}) > 1]
    found = [case.case_id for cases in bad or groups for case in cases]
    where = "in two folds or with two labels" if bad else "in the same fold with the same label"
    text = f"equal tensors {where}: {names(found)}; remove all but one" if found else "no two cases are equal"
    return Check("duplicates", "fail" if bad else "warn" if groups else "pass", len(found), 0, text)


def orientation(looks: Sequence[TensorSummary], margin: float = 0.05, most: float = 0.1) -> Check:
    """Cases that resemble the mean of the cohort clearly more when turned: upside down, back to front, or lying.

    Turned: every mirroring and exchange of the in-plane axes, up and down too. Left and right of a head are too alike
    to be told apart by this, so a mirroring along x alone is left out.
    """
    volumes = np.array([case.small for case in looks])
    mean = volumes.mean(axis=0)
    square = volumes.shape[2] == volumes.shape[3]
    turns = [turn for turn in product((False, square), (1, -1), (1, -1), (1, -1)) if turn[:3] != (False, 1, 1)]
    as_is = np.array([correlation(volume, mean) for volume in volumes])
    best = np.max([[correlation(turned(volume, *turn), mean) for volume in volumes] for turn in set(turns)], axis=0)
    found = [case.case_id for case, better in zip(looks, best > as_is + margin, strict=True) if better]
    share = len(found) / len(looks)
    text = f"turned against the others: {names(found)}; look at them" if found else "all cases lie the same way"
    return Check("orientation", "fail" if share > most else "warn" if found else "pass", share, most, text)


def turned(volume: Array, exchange: bool, up: int, back: int, right: int) -> Array:
    """`volume` (z, y, x) with y and x exchanged if `exchange`, then mirrored along the axes whose sign is -1."""
    return (volume.transpose(0, 2, 1) if exchange else volume)[::up, ::back, ::right]


def correlation(a: Array, b: Array) -> float:
    """Pearson's; 0 where one of the two is constant."""
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0


def labels(looks: Sequence[TensorSummary], split: pd.DataFrame) -> Check:
    """Whether each exported case has the label and the fold that split.csv gives it."""
    columns = (split["case_id"], split["label"].astype(int), split["fold"].astype(int))
    given = {case_id: (label, fold) for case_id, label, fold in zip(*columns, strict=True)}
    found = [case.case_id for case in looks if given.get(case.case_id) != (case.label, case.fold)]
    text = f"another label or fold than in split.csv: {names(found)}; run export again" if found else "as in split.csv"
    return Check("labels", "fail" if found else "pass", len(found), 0, text)


def border(looks: Sequence[TensorSummary], groups: Sequence[str], seed: int, threshold: float = 0.01) -> Check:
    """Whether what lies around the foreground, its outline included, tells the labels apart: it should be chance.

    The statistic is the largest absolute correlation of a block with the label; the labels of `groups` (patients) are
    permuted, which corrects for the number of blocks (Westfall and Young 1993).
    """
    table = pd.DataFrame(np.array([case.outside.ravel() for case in looks]), index=list(groups))
    table.insert(0, "label", [float(case.label) for case in looks])
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
    """The first few ids, and how many there are."""
    more = f" and {len(case_ids) - shown} more" if len(case_ids) > shown else ""
    return f"{'case' if len(case_ids) == 1 else 'cases'} {', '.join(sorted(case_ids)[:shown])}{more}"
