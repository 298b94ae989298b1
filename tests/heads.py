"""Heads of noise, as sanity sees exported cases."""

from typing import Any

import numpy as np

SHAPE = (16, 32, 32)


def head(seed: int, label: int = 0, radius: float = 6.0) -> np.ndarray:
    """A ball of noise, brighter at its top and its back, among -4; label 1 has a bright box in it. (16, 32, 32, 1)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE) - np.array([7.5, 15.5, 15.5]).reshape(3, 1, 1, 1)
    inside = z**2 * 4 + y**2 + x**2 < (2 * (radius + rng.uniform(0, 1))) ** 2
    image = np.where(inside, rng.normal(size=SHAPE) + z / 8 + y / 16, -4)
    if label:
        image[5:9, 12:18, 18:24] += 3
    return image[..., np.newaxis].astype(np.float16)


def draw(rng: np.random.Generator, label: int, _: int = 0) -> np.ndarray:
    """A head for `exports.write_export`, (16, 32, 32)."""
    return head(int(rng.integers(2**32)), label)[..., 0]


def cohort(n: int = 20, **changed: Any) -> list[np.ndarray]:
    """Heads with the labels 0, 1, 0, ..."""
    return [head(index, index % 2, **changed) for index in range(n)]


def halved(images: np.ndarray) -> np.ndarray:
    """Return images (n, z, y, x, 1) averaged over blocks of 2 x 2 x 2 voxels."""
    count, z, y, x, _ = images.shape
    blocks = images.astype(np.float32).reshape(count, z // 2, 2, y // 2, 2, x // 2, 2, 1)
    return np.asarray(blocks.mean(axis=(2, 4, 6)))
