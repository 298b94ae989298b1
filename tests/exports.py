"""Write small exports, as data/export holds them, for the tests of its readers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from records import write_fold

from flairprep.dataset import shards

Draw = Callable[[np.random.Generator, int, int], np.ndarray]  # generator, label, index: (z, y, x)


def write_export(folder: Path, labels: dict[int, str], draw: Draw, per_shard: int = 3) -> None:
    """Write folder/data/export; labels: fold -> a digit per case, whose id is the fold and four digits."""
    out = folder / "data/export"
    out.mkdir(parents=True)
    rng = np.random.default_rng(0)
    splits, shape = [], (0, 0, 0)
    for fold, of_cases in labels.items():
        cases = []
        for index, label in enumerate(of_cases):
            image = draw(rng, int(label), index)
            shape = image.shape
            cases.append((image[..., np.newaxis].astype(np.float16), int(label), f"{fold}{index:04d}"))
        splits.append(write_fold(out, fold, cases, per_shard))
    shards.write_info(out, splits, (*shape, 1))


def brain(rng: np.random.Generator, label: int, signal: float) -> np.ndarray:
    """Draw (8, 12, 12): noise in a box, -4 around it, and a smaller box inside, brighter by `signal` for label 1."""
    image = np.full((8, 12, 12), -4.0)
    image[1:7, 2:10, 2:10] = rng.normal(size=(6, 8, 8))
    image[3:5, 4:7, 4:7] += signal * label
    return image
