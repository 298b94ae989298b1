"""Pictures: the right way round, to scale, in the window that stands beside them."""

from pathlib import Path

import numpy as np
import pytest
from workspace import volume

from flairprep.report import previews
from flairprep.report.previews import BOX, Upright

SIDES = {"left": (0, 4), "right": (0, -5), "front": (1, -5), "back": (1, 4), "head": (2, 4), "feet": (2, -5)}
LPS = (1, 0, 0, 0, 1, 0, 0, 0, 1)
TURNED = {
    "LPS": LPS,
    "RAS": (-1, 0, 0, 0, -1, 0, 0, 0, 1),
    "sagittal": (0, 0, 1, 1, 0, 0, 0, -1, 0),  # columns of the matrix: posterior, inferior, left
    "oblique": tuple(np.array([[0.94, -0.34, 0], [0.34, 0.94, 0], [0, 0, 1]]).ravel()),
}


def spot(side: str, direction: tuple[float, ...]) -> Upright:
    """A cube of 11 voxels of 2 mm with one bright voxel towards `side` of the patient."""
    matrix = np.reshape(direction, (3, 3))
    axis, at = SIDES[side]
    towards = np.zeros(3)
    towards[axis] = np.sign(at)
    index = np.rint(np.linalg.inv(matrix) @ towards).astype(int) * 4 + 5
    values = np.zeros((11, 11, 11), np.int16)
    values[tuple(index[::-1])] = 100
    return previews.upright(volume(values, (2.0, 2.0, 2.0), direction=direction))


def centre(plane: np.ndarray) -> tuple[float, float]:
    """Where the bright voxel lies in a square picture, from -1 (left, top) to 1; letters and bar left aside."""
    inner = plane.astype(float)[20:-20, 20:-20]
    rows, columns = np.nonzero(inner > 200)
    middle = (inner.shape[0] - 1) / 2
    return float((columns.mean() - middle) / middle), float((rows.mean() - middle) / middle)


@pytest.mark.parametrize("direction", TURNED.values(), ids=TURNED)
@pytest.mark.parametrize(
    ("side", "plane", "horizontal", "vertical"),
    [
        ("left", 0, 1, 0),
        ("right", 0, -1, 0),
        ("front", 0, 0, -1),
        ("back", 0, 0, 1),
        ("left", 1, 1, 0),
        ("head", 1, 0, -1),
        ("feet", 1, 0, 1),
        ("front", 2, -1, 0),
        ("back", 2, 1, 0),
        ("head", 2, 0, -1),
    ],
)
def test_planes_follow_the_radiological_convention(
    side: str, plane: int, horizontal: int, vertical: int, direction: tuple[float, ...]
) -> None:
    strip, _ = previews.planes(spot(side, direction), (0, 100))
    x, y = centre(np.asarray(strip)[:, plane * BOX : (plane + 1) * BOX])
    assert np.sign(round(x, 1)) == horizontal
    assert np.sign(round(y, 1)) == vertical


def test_planes_are_to_scale_and_the_bar_has_its_length() -> None:
    """A box of 90 x 60 x 40 mm of anisotropic voxels: 90 mm fill the square, the rest follows."""
    box = Upright(np.full((20, 60, 30), 50), (2.0, 1.0, 3.0))
    strip, bar = previews.planes(box, (0, 100))
    grey = np.asarray(strip) == 128
    for plane, (height, width) in enumerate([(60, 90), (40, 90), (40, 60)]):
        part = grey[:, plane * BOX : (plane + 1) * BOX]
        assert abs(part.any(1).sum() - height / 90 * BOX) <= 1
        assert abs(part.any(0).sum() - width / 90 * BOX) <= 1
    assert bar == 20
    line = (np.asarray(strip)[-7, -BOX:] == 255).sum()
    assert abs(line - bar / 90 * BOX) <= 2


def test_the_montage_holds_each_slice_once_from_feet_to_head() -> None:
    values = np.repeat(np.arange(5.0), 16 * 16).reshape(5, 16, 16)
    sheet, bar = previews.montage(Upright(values, (2.0, 1.0, 1.0)), (0, 4))
    assert sheet.size == (3 * 64, 2 * 64)
    middles = [np.asarray(sheet)[row * 64 + 50, column * 64 + 20] for row in (0, 1) for column in (0, 1, 2)]
    assert middles == [0, 64, 128, 191, 255, 0]
    assert bar == 5


def test_the_montage_of_what_the_network_sees_has_a_pixel_a_voxel() -> None:
    sheet, _ = previews.montage(Upright(np.zeros((64, 128, 128)), (2.0, 2.0, 2.0)), (0, 1))
    assert sheet.size == (1024, 1024)


@pytest.mark.parametrize(("millimetres", "bar"), [(240, 50), (150, 50), (149, 20), (16, 5), (0.5, 1), (900, 100)])
def test_the_bar_takes_at_most_a_third(millimetres: float, bar: int) -> None:
    assert previews.bar_length(millimetres) == bar


def test_black_and_white_are_the_windows_values() -> None:
    grey = previews.grey(np.array([[-9.0, 0, 50, 100, 900, np.nan]]), (0, 100))
    assert np.asarray(grey).tolist() == [[0, 0, 128, 255, 255, 0]]


@pytest.mark.parametrize("values", [np.zeros((2, 2, 2)), np.full((2, 2, 2), np.nan), np.full((1, 1, 1), 7)])
def test_a_volume_of_one_value_can_be_drawn(values: np.ndarray) -> None:
    kept = previews.tissue(values)
    binned = previews.histogram(kept)
    assert sum(binned.counts) == len(kept)
    previews.planes(Upright(values, (1.0, 1.0, 1.0)), previews.window(kept))
    previews.montage(Upright(values, (1.0, 1.0, 1.0)), previews.window(kept))


def test_the_histogram_leaves_the_background_out() -> None:
    values = np.concatenate([np.full(1000, -4.0), np.linspace(0, 1, 101)])
    assert len(previews.tissue(values, -4.0)) == 101
    binned = previews.histogram(previews.tissue(values, -4.0))
    assert (binned.low, binned.high) == pytest.approx((0.001, 0.999))
    assert sum(binned.counts) == 99  # but the two outside of the percentiles
    assert len(previews.tissue(np.concatenate([np.zeros(9), np.ones(3)]))) == 3


def test_585_cases_of_noisy_heads_stay_below_80_megabytes(tmp_path: Path) -> None:
    """As noisy as scans get: a standard deviation of a tenth of the tissue, in two thirds of every slice."""
    z, y, x = np.indices((64, 128, 128)) - np.array([31.5, 63.5, 63.5]).reshape(3, 1, 1, 1)
    head = (z / 40) ** 2 + (y / 62) ** 2 + (x / 52) ** 2 < 1
    values = np.where(head, np.random.default_rng(0).normal(1, 0.1, head.shape) + 0.2 * np.sin(x / 5), 0)
    upright = Upright(values.astype(np.float32), (2.5, 2.0, 2.0))
    shown = previews.window(previews.tissue(values))
    for name, picture in (("planes", previews.planes(upright, shown)), ("slices", previews.montage(upright, shown))):
        previews.write(picture[0], tmp_path / f"{name}{previews.SUFFIX}")
    planes, slices = ((tmp_path / f"{name}{previews.SUFFIX}").stat().st_size for name in ("planes", "slices"))
    assert 585 * (2 * planes + slices) < 75e6
    first = (tmp_path / "slices.webp").read_bytes()
    previews.write(previews.montage(upright, shown)[0], tmp_path / "slices.webp")
    assert (tmp_path / "slices.webp").read_bytes() == first


def test_lesions_stand_out_of_the_tissue_however_far_the_background_lies() -> None:
    """Grey levels between a lesion and the tissue around it: as many, whatever value the background has."""
    rng = np.random.default_rng(0)
    values = np.full((16, 40, 40), -4.0)
    values[2:14, 4:36, 4:36] = rng.normal(0.2, 0.4, (12, 32, 32))
    values[2:14, 4:8, 4:36] = -3.0  # fluid
    values[2:14, 4, :] = -3.9  # half background, as interpolation leaves it
    values[6:9, 18:21, 18:21] = 1.7
    levels = set()
    for background in (-4.0, -9.0, -400.0):
        moved = np.where(values == -4, background, values)
        picture = np.asarray(previews.grey(moved[7], previews.tissue_window(moved, background))).astype(int)
        levels.add(round(picture[18:21, 18:21].mean() - picture[10:17, 10:30].mean()))
    (contrast,) = levels
    assert contrast > 50


def test_the_window_of_the_tissue_is_made_of_any_volume() -> None:
    for values in (np.full((2, 3, 4), -4.0), np.full((2, 3, 4), np.nan), np.ones((2, 3, 4))):
        low, high = previews.tissue_window(values, -4.0)
        assert low <= high


def test_the_outline_lies_on_the_rim_of_the_mask() -> None:
    z, y, x = np.indices((40, 40, 40)) - 19.5
    inside = z**2 + y**2 + x**2 < 12**2
    spacing = (1.0, 1.0, 1.0)
    edge = np.asarray(previews.outline(Upright(inside, spacing)))[..., 3] > 0
    filled = np.asarray(previews.planes(Upright(inside.astype(float), spacing), (0.0, 1.0))[0]) > 127
    axial, whole = edge[20:-20, 20 : BOX - 20], filled[20:-20, 20 : BOX - 20]
    assert axial.any()
    assert not (axial & ~whole).any()
    ends = np.argwhere(whole.any(axis=0)).ravel()[[0, -1]], np.argwhere(axial.any(axis=0)).ravel()[[0, -1]]
    np.testing.assert_array_equal(*ends)
    middle = axial.shape[0] // 2
    assert not axial[middle - 10 : middle + 10, middle - 10 : middle + 10].any()


def test_an_empty_mask_has_no_outline() -> None:
    assert previews.outline(Upright(np.zeros((4, 5, 6), bool), (1.0, 1.0, 1.0))).getbbox() is None
