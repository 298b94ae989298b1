"""Stack frames to a volume whose truth the test knows."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from phantoms import assert_same_image, noise, refusal, voxels

from flairprep.core.codes import Code
from flairprep.dicom.frames import Frame
from flairprep.dicom.stacking import stack


def frames(
    stored: np.ndarray,
    along: Sequence[float] | None = None,
    *,
    orientation: Sequence[float] = phantoms.PLANES["axial"],
    spacing: tuple[float, float] = (1.0, 1.0),
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> list[Frame]:
    """Frames at `along` mm (default 0, 1, 2 ...) of the normal, spacing between rows and between columns."""
    normal = np.cross(orientation[:3], orientation[3:])
    positions = [np.array(origin) + distance * normal for distance in (along or range(len(stored)))]
    return [
        Frame(tuple(position), tuple(map(float, orientation)), spacing, 1.0, 0.0, pixels)
        for position, pixels in zip(positions, stored, strict=True)
    ]


def test_voxel_lies_where_its_frame_says() -> None:
    stored = noise((6, 4, 5))
    made = frames(
        stored, [2.5 * i for i in range(6)], orientation=phantoms.OBLIQUE, spacing=(0.7, 0.4), origin=(-30, 12, 7)
    )
    image, _, _ = stack(made)
    assert image.GetSpacing() == pytest.approx((0.4, 0.7, 2.5))  # between columns is x, between rows is y
    for frame, pixels in zip(made, stored, strict=True):
        for row, column in product(range(4), range(5)):
            step = 0.4 * column * np.array(phantoms.OBLIQUE[:3]) + 0.7 * row * np.array(phantoms.OBLIQUE[3:])
            index = image.TransformPhysicalPointToIndex(np.array(frame.position) + step)
            assert image.GetPixel(index) == pixels[row, column]


def test_order_of_frames_is_irrelevant() -> None:
    made = frames(noise(), orientation=phantoms.OBLIQUE)
    made[3] = replace(made[3], orientation=(0.8003, 0.5996, 0.0, 0.0, 0.0, -1.0))  # within the tolerance
    expected, _, _ = stack(made)
    for order in (made[::-1], [made[i] for i in np.random.default_rng(0).permutation(10)]):
        image, _, _ = stack(order)
        assert_same_image(image, expected)
        assert image.GetDirection() == expected.GetDirection()


def test_each_slice_is_rescaled_by_its_own_numbers() -> None:
    stored = noise((3, 4, 5))
    numbers = [(0.5, -3.0), (2.0, 0.25), (1.0, 0.0)]  # binary fractions: exact in float32
    made = [replace(frame, slope=a, intercept=b) for frame, (a, b) in zip(frames(stored), numbers, strict=True)]
    image, _, _ = stack(made)
    assert image.GetPixelID() == sitk.sitkFloat32
    np.testing.assert_array_equal(voxels(image), [stored[i] * a + b for i, (a, b) in enumerate(numbers)])


@pytest.mark.parametrize(
    ("value", "dtype", "slope", "intercept", "kind"),
    [
        (32767, np.uint16, 1, 0, sitk.sitkInt16),
        (32768, np.uint16, 1, 0, sitk.sitkInt32),
        (65535, np.uint16, 1, -32768, sitk.sitkInt16),
        (-32768, np.int16, 1, -1, sitk.sitkInt32),
        (2**31, np.uint32, 1, -1, sitk.sitkInt32),
        (2**31, np.uint32, 1, 0, sitk.sitkFloat32),
        (7, np.uint16, 1, 0.5, sitk.sitkFloat32),
        (7, np.uint16, 0.5, 0, sitk.sitkFloat32),
        (7, np.float32, 1, 0, sitk.sitkFloat32),
    ],
)
def test_smallest_type_that_holds_the_rescaled_values(
    value: int, dtype: Any, slope: float, intercept: float, kind: int
) -> None:
    stored = np.full((2, 2, 2), value, dtype)
    image, _, _ = stack([replace(frame, slope=slope, intercept=intercept) for frame in frames(stored)])
    assert image.GetPixelID() == kind
    assert image.GetPixel(0, 0, 0) == value * slope + intercept


def test_exact_copy_is_dropped_with_a_warning() -> None:
    made = frames(noise())
    image, _, notes = stack([*made, made[4], made[0]])
    assert_same_image(image, stack(made)[0])
    assert [code for code, _ in notes] == [Code.DUPLICATE_SLICES]
    assert notes[0][1].startswith("2 ")


@pytest.mark.parametrize("changed", [{"stored": noise((1, 4, 5))[0] + 1}, {"slope": 2.0}, {"intercept": 1.0}])
def test_other_image_at_the_same_position_is_refused(changed: dict[str, Any]) -> None:
    made = frames(noise())
    assert refusal(stack, [*made, replace(made[4], **changed)]).code is Code.MULTIPLE_VOLUMES


def absent(total: int, *gone: int, step: float = 1.0) -> list[float]:
    """The positions of `total` slices without those at the indices `gone`."""
    return [step * index for index in range(total) if index not in gone]


@pytest.mark.parametrize(
    ("along", "missing"),
    [
        (absent(60, 30), [30]),
        (absent(50, 1), [1]),  # exactly 2 % of the slices
        (absent(60, 30, step=3.0), [30]),  # exactly 6 mm between the neighbours
        (absent(120, 30, 90), [30, 90]),
        (absent(120, 30, 32), [30, 32]),  # not adjacent: each has both neighbours
        (absent(60, 0), []),  # an outer slice cannot be missed
        (absent(60, 59), []),
    ],
)
def test_single_missing_slices_become_the_mean_of_their_neighbours(along: list[float], missing: list[int]) -> None:
    step = min(np.diff(along))
    truth = noise((len(along) + len(missing), 4, 5), np.float32)
    for index in missing:
        truth[index] = (truth[index - 1] + truth[index + 1]) / 2
    image, count, notes = stack(frames(np.delete(truth, missing, axis=0), along))
    assert count == len(missing)
    assert [code for code, _ in notes] == [Code.MISSING_SLICES] * bool(missing)
    np.testing.assert_array_equal(voxels(image), truth)
    assert image.GetSpacing()[2] == pytest.approx(step)


def test_interpolated_slice_of_whole_numbers_is_whole() -> None:
    stored = np.zeros((59, 2, 2), np.int16)
    stored[30:] = [[1, 3], [-3, 2]]
    image, _, _ = stack(frames(stored, absent(60, 30)))
    assert image.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(voxels(image)[30], [[0, 2], [-2, 1]])  # halves to the even number


@pytest.mark.parametrize(
    ("along", "code"),
    [
        (absent(120, 30, 31), Code.MISSING_SLICES),  # two adjacent ones
        (absent(60, 20, 40), Code.MISSING_SLICES),  # over 2 % of the slices
        (absent(49, 20), Code.MISSING_SLICES),
        (absent(60, 30, step=3.1), Code.MISSING_SLICES),  # over 6 mm between the neighbours
        ([*range(30), *np.arange(30.2, 60)], Code.UNEVEN_SPACING),
        ([0.0, 1.0, 2.0, 3.5], Code.UNEVEN_SPACING),
        ([0.0, 1.0, 1.3, 2.0, 3.0], Code.UNEVEN_SPACING),
    ],
)
def test_uneven_or_missing_slices_are_refused(along: list[float], code: Code) -> None:
    assert refusal(stack, frames(noise((len(along), 2, 2)), along)).code is code


def test_steps_within_five_percent_are_averaged() -> None:
    along = [0.0, 1.0, 2.04, 3.0, 4.02]
    assert stack(frames(noise((5, 2, 2)), along))[0].GetSpacing()[2] == pytest.approx(4.02 / 4)


@pytest.mark.parametrize(("shift", "tilted"), [(0.9, False), (1.1, True)])
def test_slices_beside_their_normal_are_a_gantry_tilt(shift: float, tilted: bool) -> None:
    made = [
        replace(frame, position=(0.0, shift * index / 9, frame.position[2]))
        for index, frame in enumerate(frames(noise()))
    ]
    if tilted:
        assert refusal(stack, made).code is Code.GANTRY_TILT
    else:
        stack(made)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"orientation": (1.0, 0.0, 0.0, 0.0, np.cos(0.02), np.sin(0.02))}, Code.MIXED_ORIENTATION),
        ({"stored": noise((1, 5, 4))[0]}, Code.MIXED_SIZE),
        ({"spacing": (1.0, 1.01)}, Code.MIXED_SIZE),
    ],
)
def test_frames_of_two_grids_are_refused(changed: dict[str, Any], code: Code) -> None:
    made = frames(noise())
    made[4] = replace(made[4], **changed)
    assert refusal(stack, made).code is code
