"""Shading has the sign and the place of what is brighter, whatever the orientation of the array."""

import numpy as np
import pytest
import SimpleITK as sitk

from flairprep.audit import features, shading
from flairprep.imaging.orientation import reorient

SHAPE = (21, 24, 27)  # odd and even lengths, none a multiple of the slabs' number
LPS = np.eye(3).ravel()


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE)


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LAS", "RPS"])
@pytest.mark.parametrize(
    ("axis", "towards", "name"),
    [(0, 1, "top_minus_bottom"), (1, -1, "front_minus_back"), (2, 1, "left_minus_right")],
)
def test_a_gradient_has_the_sign_of_its_bright_side_in_every_orientation(
    orientation: str, axis: int, towards: int, name: str
) -> None:
    ramp = np.linspace(-1, 1, SHAPE[axis]).reshape([-1 if other == axis else 1 for other in range(3)])
    image = reorient(sitk.GetImageFromArray(noise() + 3 * towards * ramp), orientation)
    measured, _ = features.extract_features(image, "zscore", -99.0)
    assert measured.shading[name] > 1
    others = [measured.shading[other] for other in shading.DIFFERENCES if other != name]
    assert others == pytest.approx([0, 0], abs=0.15)


def test_differences_and_slabs_are_those_of_numpys_medians() -> None:
    scores, mask = noise() + np.linspace(0, 1, SHAPE[2]), noise(1) > 0
    measured = shading.shading_features(scores, mask, LPS)
    assert len(measured) == 3 + 3 * shading.SLABS
    half = SHAPE[2] // 2
    left, right = (np.median(scores[..., part][mask[..., part]]) for part in (slice(-half, None), slice(half)))
    assert measured["left_minus_right"] == pytest.approx(left - right, abs=shading.STEP)
    for axis, name in enumerate(shading.AXES):
        for number, part in enumerate(np.array_split(np.arange(SHAPE[axis]), shading.SLABS), start=1):
            slab = np.median(scores.take(part, axis)[mask.take(part, axis)])
            expected = slab - np.median(scores[mask])
            assert measured[f"slab_{name}_{number}"] == pytest.approx(expected, abs=shading.STEP)


def test_a_mirrored_volume_has_the_opposite_difference_and_its_slabs_in_reverse() -> None:
    scores, mask = noise()[..., :25] + np.linspace(0, 1, 25), noise(1)[..., :25] > 0  # slabs of equal width
    once, mirrored = (
        shading.shading_features(*pair, LPS) for pair in ((scores, mask), (scores[..., ::-1], mask[..., ::-1]))
    )
    assert mirrored["left_minus_right"] == pytest.approx(-once["left_minus_right"])
    numbers = range(1, shading.SLABS + 1)
    assert [mirrored[f"slab_x_{n}"] for n in numbers] == [once[f"slab_x_{n}"] for n in reversed(numbers)]


def test_a_bright_slab_is_bright_alone() -> None:
    scores = noise()
    scores[9:13] += 1
    measured = shading.shading_features(scores, np.ones(SHAPE, bool), LPS)
    slabs = [measured[f"slab_z_{number}"] for number in range(1, 6)]
    assert np.argmax(slabs) == 2
    assert max(slabs[:2] + slabs[3:]) < 0 < slabs[2]


def test_parts_without_voxels_are_as_bright_as_the_whole() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[:, :, :3] = True
    measured = shading.shading_features(noise() + 2, mask, LPS)
    assert measured["left_minus_right"] == 0
    assert [measured[f"slab_x_{number}"] for number in range(2, 6)] == [0] * 4
    assert set(shading.shading_features(noise(), np.zeros(SHAPE, bool), LPS).values()) == {0.0}
