"""Hide one block of a volume after the other, and map how much each changes the answer, coarse to fine.

After Zeiler and Fergus, ECCV 2014, in three dimensions. Arrays are (z, y, x).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy  # its modules load on first use

Array = npt.NDArray[Any]
Block = tuple[slice, slice, slice]
Hidden = Callable[[Sequence[Block]], Array]  # parts of a volume to the logits, float64 (parts,), without each of them
Answers = Callable[[Array, float], tuple[float, Hidden]]  # a volume, float32 (z, y, x), and the background to its logit

COARSE = 8  # blocks along each axis at first
REFINED = 24  # coarse blocks of the largest response that are halved along every axis
LEAST = 0.05  # share of a block that must be tissue, or it is not hidden
DAMPING = 2  # of the weights, see `occlude`: 0 would make much of blocks that hardly change the input


class Occlusion(NamedTuple):
    """A map of responses.

    response: float32 (z, y, x), logits; positive where the volume speaks for label 1. See `occlude`.
    logit: of the volume as it is.
    """

    response: Array
    logit: float


def tissue(volume: Array, background: float) -> Array:
    """Return where `volume` is tissue rather than `background`: bool (z, y, x).

    A voxel that interpolation mixed of both counts as what it holds more of. Holes are filled.
    """
    contrast = np.abs(volume.astype(np.float64) - background)
    if not contrast.any():
        return np.zeros(volume.shape, bool)
    return np.asarray(scipy.ndimage.binary_fill_holes(contrast > np.median(contrast[contrast > 0]) / 2))


def occlude(volume: Array, answers: Answers, background: float) -> Occlusion:
    """Map how a network responds to hiding each part of `volume` that holds tissue.

    First COARSE blocks along each axis get the value `background`. The REFINED ones that respond most are halved along
    each axis, and hidden part by part. The response to a block is the logit of the volume less the logit without the
    block, times 3 m / (c + 2 m): c is the root of the sum of squares of what hiding changes in the input, m the median
    of c over the coarse blocks (at the fine scale m / sqrt(8)). Without this weight any network responds most where
    most changes, to the brightest spot, whether it has learned or not.

    A voxel of the map has the sum of the responses to its coarse and its fine block. A coarse block that is not
    refined counts as if its eighths shared its response evenly. The map is then smoothed by half the width of a fine
    block: where blocks begin says nothing, and a lesion that lies across them is whole again.

    Args:
        volume: float32 (z, y, x), the network's own input.
        answers: the network, as a function that tells its logits of `volume`, and without some parts of it.
        background: the value of all that is not tissue.
    """
    inside = tissue(volume, background)
    logit, without = answers(volume, background)
    coarse = [block for block in blocks(volume.shape) if inside[block].mean() >= LEAST]
    changed = np.array([change(volume[block], background) for block in coarse])
    typical = float(np.median(changed)) if coarse else 1.0
    large = weights(changed, typical) * (logit - without(coarse))
    ranks = np.argsort(-np.abs(large), kind="stable")[:REFINED]
    fine = [part for rank in ranks for part in halves(coarse[rank]) if inside[part].any()]
    changed = np.array([change(volume[part], background) for part in fine])
    small = weights(changed, typical / np.sqrt(8)) * (logit - without(fine))
    response = np.zeros(volume.shape)
    for rank, (block, value) in enumerate(zip(coarse, large, strict=True)):
        response[block] = value if rank in ranks else value * (1 + 1 / 8)
    for part, value in zip(fine, small, strict=True):
        response[part] += value
    widths = [size / min(COARSE, size) / 2 for size in volume.shape]  # of fine blocks
    smooth = scipy.ndimage.gaussian_filter(response, [width / 2 for width in widths], mode="constant")
    return Occlusion(smooth.astype(np.float32), logit)


def weights(changed: Array, typical: float) -> Array:
    """Return the weight of each block, (n,): 1 where hiding changes as much as is `typical`, less where more."""
    return np.asarray((1 + DAMPING) * typical / (changed + DAMPING * typical))


def change(part: Array, background: float) -> float:
    """Return the root of the sum of squares of what `background` in place of `part` changes."""
    return float(np.linalg.norm(part.astype(np.float64) - background))


def blocks(shape: Sequence[int]) -> list[Block]:
    """Cut a volume of `shape` into COARSE blocks along each axis, as equal as whole voxels allow."""
    return _product([np.linspace(0, size, min(COARSE, size) + 1).round().astype(int).tolist() for size in shape])


def halves(block: Block) -> list[Block]:
    """Halve `block` along each axis that has more than one voxel; eight parts at most."""
    return _product([sorted({part.start, (part.start + part.stop) // 2, part.stop}) for part in block])


def share_within(response: Array, inside: Array) -> float:
    """Return the share of the absolute response in the tissue `inside`, 0 to 1; nan where nothing responds."""
    size = np.abs(response).astype(np.float64)
    return float(size[inside].sum() / size.sum()) if size.any() else float("nan")


def correlation(response: Array, control: Array, inside: Array) -> float:
    """Return Spearman's correlation of the absolute values of two maps in the tissue; nan where one is constant.

    Absolute, since the sign of a network with random weights is random.
    """
    ranks = [scipy.stats.rankdata(np.abs(each[inside])) for each in (response, control)]
    if not inside.any() or any(np.ptp(each) == 0 for each in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def peak(response: Array) -> Array:
    """Return the centre, (3,), of the voxels whose absolute response is the largest, as indices (z, y, x)."""
    size = np.abs(response)
    return np.asarray(np.argwhere(size == size.max()).mean(axis=0))


def _product(edges: Sequence[Sequence[int]]) -> list[Block]:
    z, y, x = ([slice(*ends) for ends in pairwise(axis)] for axis in edges)
    return list(product(z, y, x))
