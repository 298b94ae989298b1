"""Recognise skull-stripped volumes: phantoms and real scans."""

from pathlib import Path

import numpy as np
import pytest
from workspace import volume

from flairprep.imaging import nifti
from flairprep.imaging.skull_stripping import is_skull_stripped


def ball(radius: float, centre: tuple[float, float, float] = (20, 20, 20), size: int = 41) -> np.ndarray:
    distance = np.linalg.norm(np.indices((size,) * 3).T - np.array(centre[::-1]), axis=-1).T
    return np.where(distance <= radius, 100, 0).astype(np.int16)


def test_real_stripped_flair_is_skull_stripped(scans: Path) -> None:
    paths = sorted((scans / "flair-nifti/open-ms").rglob("FLAIR*brain*.nii.gz"))
    assert [is_skull_stripped(nifti.read_volume(path)) for path in paths] == [True] * 3


@pytest.mark.parametrize(
    ("values", "stripped"),
    [
        (ball(15), True),
        (ball(15) * -1, True),  # exact zeros outside, whatever the values inside
        (np.maximum(ball(15), 1), False),  # air of 1
        (ball(60), False),  # fills everything
        (ball(4), False),  # 0.4 % of the volume: no brain
        (np.maximum(ball(15), np.pad(np.ones((21, 12, 12), np.int16), ((0, 20), (14, 15), (14, 15)))), False),  # a neck
        (ball(15, (20, 20, 2)), False),  # a cross section in the lowest slice
        (np.zeros((9, 9, 9), np.int16), False),
    ],
)
def test_skull_stripped_is_an_island_among_exact_zeros(values: np.ndarray, stripped: bool) -> None:
    assert is_skull_stripped(volume(values)) is stripped
