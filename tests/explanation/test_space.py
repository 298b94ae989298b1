"""space: a map comes back to where the scan was, through the real stages and oblique geometry."""

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation
from workspace import PARAMS, points, volume

from flairprep.core import params
from flairprep.explanation import space
from flairprep.stages.normalize import NormalizeParams, normalize
from flairprep.stages.select_slices import SelectSlicesParams, select_slices

CENTRE = np.array([12.0, -30.0, 41.0])  # mm, of the head
BLOB = CENTRE + np.array([18.0, -9.0, 14.0])
PLANES = {
    "axial": np.eye(3),
    "sagittal": np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]]).T.astype(float),
    "coronal": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]]).T.astype(float),
}


def scanned(plane: str, degrees: float) -> sitk.Image:
    """A ball of 60 mm around CENTRE with a bright one of 8 mm around BLOB, in a plane that is turned by degrees."""
    axis = np.array([0.3, 0.5, 0.8]) / np.linalg.norm([0.3, 0.5, 0.8])
    direction = Rotation.from_rotvec(axis * degrees, degrees=True).as_matrix() @ PLANES[plane].T
    if np.linalg.det(direction) < 0:
        direction[:, 2] *= -1
    size, spacing = np.array([96, 88, 40]), np.array([1.5, 1.5, 3.5])
    origin = CENTRE - direction @ (spacing * (size - 1) / 2)
    image = volume(np.zeros(size[::-1], np.float32), tuple(spacing), origin=origin, direction=direction.ravel())
    place = points(image)
    noise = np.random.default_rng(0).normal(0, 10, place.shape[:3])
    ball = np.linalg.norm(place - CENTRE, axis=-1) < 60
    values = np.where(ball, 300 + noise, 0) + 900 * (np.linalg.norm(place - BLOB, axis=-1) < 8)
    filled = sitk.GetImageFromArray(values.astype(np.float32))
    filled.CopyInformation(image)
    return filled


def middle(image: sitk.Image, above: float) -> np.ndarray:
    """The mean position, mm, of the voxels above a value."""
    return np.asarray(points(image)[sitk.GetArrayViewFromImage(image) > above].mean(axis=0))


@pytest.mark.parametrize(
    ("plane", "degrees", "orientation"), [("axial", 12, "LPS"), ("sagittal", 0, "LPS"), ("coronal", 12, "RAS")]
)
def test_a_blob_of_the_networks_input_comes_back_to_its_place(plane: str, degrees: float, orientation: str) -> None:
    scan = scanned(plane, degrees)
    values = params.read_params(PARAMS)
    section = NormalizeParams(**{**values["normalize"], "orientation": orientation})
    normalized = normalize(scan, section, skull_stripped=True)
    seen = select_slices(normalized, SelectSlicesParams(**values["select_slices"]), background=section.background)
    response = (sitk.GetArrayFromImage(seen) > 3).astype(np.float32)
    on_grid = space.on_grid(response, seen)
    assert space.position(np.argwhere(response).mean(axis=0), seen) == pytest.approx(BLOB, abs=1)
    back = space.native(on_grid, scan)
    for kind in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(back, kind)() == getattr(scan, kind)(), kind
    np.testing.assert_allclose(middle(back, 0.5), BLOB, atol=1)


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="voxels"):
        space.on_grid(np.zeros((2, 3, 4), np.float32), volume(np.zeros((4, 3, 2), np.float32)))


def test_nothing_responds_outside_the_networks_input() -> None:
    inner = volume(np.ones((4, 4, 4), np.float32), origin=(4.0, 4.0, 4.0))
    back = sitk.GetArrayFromImage(space.native(inner, volume(np.zeros((12, 12, 12), np.float32))))
    expected = np.zeros((12, 12, 12))
    expected[4:8, 4:8, 4:8] = 1
    np.testing.assert_array_equal(back, expected)
