"""The grid of BraTS in SRI24, in any order of axes; nothing else."""

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from flairprep.imaging.template_space import space_of
from flairprep.nifti_input.volume import read_scan

SIZE = (240, 240, 155)
BRATS = np.array([[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1.0]])  # as in the headers of BraTS 2020


def space(tmp_path: Path, affine: np.ndarray = BRATS, size: tuple[int, ...] = SIZE) -> str:
    values = np.zeros(size, np.uint8)
    values[1, 1, 1] = 1
    made = nib.Nifti1Image(values, affine)
    made.set_qform(affine, 1)
    nib.save(made, tmp_path / "a.nii")
    scan = read_scan(tmp_path / "a.nii")
    assert scan.header["space"] == space_of(scan.image)
    return str(scan.header["space"])


def turned(order: tuple[int, ...], signs: tuple[int, ...]) -> tuple[np.ndarray, tuple[int, ...]]:
    """BRATS with its axes permuted and flipped, and the size that it then has."""
    affine = BRATS.copy()
    for axis, sign in enumerate(signs):
        if sign < 0:
            affine[:3, 3] += affine[:3, axis] * (SIZE[axis] - 1)
            affine[:3, axis] *= -1
    affine[:3, :3] = affine[:3, list(order)]
    return affine, tuple(SIZE[axis] for axis in order)


def test_the_grid_of_brats_is_recognised(tmp_path: Path) -> None:
    assert space(tmp_path) == "SRI24"


@pytest.mark.slow
def test_order_and_direction_of_the_axes_make_no_difference(tmp_path: Path) -> None:
    for order, signs in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        assert space(tmp_path, *turned(order, signs)) == "SRI24"


@pytest.mark.parametrize("change", ["moved", "larger voxels", "turned", "smaller", "another plane"])
def test_any_other_grid_is_unknown(change: str, tmp_path: Path) -> None:
    affine, size = BRATS.copy(), SIZE
    if change == "moved":
        affine[2, 3] = 1
    elif change == "larger voxels":
        affine[:3, :3] *= 1.01
    elif change == "turned":
        cosine, sine = np.cos(0.01), np.sin(0.01)
        affine[:2, :2] = -np.array([[cosine, -sine], [sine, cosine]])
    elif change == "smaller":
        size = (240, 240, 154)
    else:
        size = (155, 240, 240)
    assert space(tmp_path, affine, size) == ""
