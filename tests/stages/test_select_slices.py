"""select_slices: exactly as many slices as asked for, never stretched, and the way there from DICOM files."""

from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from workspace import PARAMS, contents, volume, write_params

from flairprep.core.errors import FlairprepError
from flairprep.core.params import load, validate
from flairprep.core.tables import read_csv
from flairprep.dicom.volume import read_series
from flairprep.imaging import nifti
from flairprep.imaging.lattice import decoded, lattice_of
from flairprep.stages import export, normalize, select_slices

METHODS = ("centre", "uniform", "foreground", "resample")
BACKGROUND = -4.0
DOWN = (1, 0, 0, 0, -1, 0, 0, 0, -1)


def params(method: str, count: int = 64, size: int = 128) -> select_slices.SelectSlicesParams:
    return validate(select_slices.SelectSlicesParams, {"count": count, "size": size, "method": method}, "select_slices")


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def selected(image: sitk.Image, chosen: select_slices.SelectSlicesParams) -> np.ndarray:
    return sitk.GetArrayFromImage(select_slices.select_slices(image, chosen, background=BACKGROUND))


@pytest.mark.parametrize("n", [8, 20, 63, 64, 65, 400, 600])
@pytest.mark.parametrize("method", METHODS)
def test_the_grid_is_64_x_128_x_128_whatever_comes_in(method: str, n: int) -> None:
    picture = select_slices.select_slices(volume(noise((n, 20, 30)), (6, 6, 1)), params(method), background=BACKGROUND)
    assert picture.GetSize() == (128, 128, 64)
    assert picture.GetPixelID() == sitk.sitkFloat32
    assert picture.GetSpacing()[0] == picture.GetSpacing()[1]
    assert np.isfinite(sitk.GetArrayViewFromImage(picture)).all()


@pytest.mark.parametrize("method", METHODS)
def test_codes_of_a_lattice_become_what_their_values_would(method: str) -> None:
    made = lattice_of(BACKGROUND, 6.0, 0.01)
    assert made is not None
    lattice, empty = made
    codes = np.full((50, 60, 70), empty, np.int16)
    codes[8:41, 10:50, 5:66] = np.random.default_rng(0).integers(0, 20000, (33, 40, 61))
    image = volume(codes, (2, 2, 3))
    seen = select_slices.select_slices(image, params(method), background=BACKGROUND, scaling=lattice)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(seen), selected(decoded(image, lattice), params(method)))


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), DOWN], ids=["up", "down"])
@pytest.mark.parametrize(("n", "before"), [(8, 4), (15, 1), (16, 0), (17, 0), (19, 1), (40, 12)])
def test_centre_takes_the_acquired_slices_as_they_are_and_pads_alike_on_both_sides(
    n: int, before: int, direction: tuple[int, ...]
) -> None:
    values = noise((n, 32, 32))
    image = volume(values, (0.7, 0.7, 4.4), origin=(-110.3, 17.7, 61.1), direction=direction)
    slices = selected(image, params("centre", count=16, size=32))
    if n >= 16:
        np.testing.assert_allclose(slices, values[before : before + 16], atol=1e-5)
    else:
        np.testing.assert_allclose(slices[before : before + n], values, atol=1e-5)
        assert (slices[:before] == BACKGROUND).all()
        assert (slices[before + n :] == BACKGROUND).all()


@pytest.mark.parametrize("n", [8, 20, 63])
def test_uniform_starts_at_the_first_and_ends_at_the_last_acquired_slice(n: int) -> None:
    values = noise((n, 16, 16))
    image = volume(values, (1, 1, 2.7), origin=(3, 2, 1))
    slices = selected(image, params("uniform", size=16))
    np.testing.assert_allclose(slices[[0, -1]], values[[0, -1]], atol=1e-4)


@pytest.mark.parametrize("direction", [(1, 0, 0, 0, 1, 0, 0, 0, 1), DOWN], ids=["up", "down"])
@pytest.mark.parametrize(("brain", "kept"), [((15.0, 120.0), 105.0), ((0.0, 210.0), 170.0)])
def test_foreground_spans_the_brain_and_at_most_170_mm_from_the_vertex(
    brain: tuple[float, float], kept: float, direction: tuple[int, ...]
) -> None:
    """`brain`: z of its lowest and highest slice, mm, of 76 slices 3 mm apart from 0 to 225."""
    up = direction[8] > 0
    z = np.arange(76) * 3.0 if up else 225 - np.arange(76) * 3.0
    values = np.full((76, 8, 8), BACKGROUND, np.float32)
    values[(z >= brain[0]) & (z <= brain[1])] = 1
    image = volume(values, (1, 1, 3), origin=(0, 0, float(z[0])), direction=direction)
    picture = select_slices.select_slices(image, params("foreground", size=8), background=BACKGROUND)
    ends = sorted(picture.TransformIndexToPhysicalPoint((0, 0, index))[2] for index in (0, 63))
    assert ends == pytest.approx([brain[1] - kept, brain[1]], abs=1e-3)
    assert (sitk.GetArrayViewFromImage(picture) > 0).any(axis=(1, 2)).all()


@pytest.mark.parametrize(("shape", "spacing"), [((60, 40), (1.0, 1.0)), ((40, 40), (0.5, 1.0))])
def test_the_smaller_field_of_view_is_padded_and_not_stretched(
    shape: tuple[int, int], spacing: tuple[float, float]
) -> None:
    """shape: (rows, columns); spacing: (x, y), mm."""
    slices = selected(volume(np.zeros((8, *shape), np.float32), (*spacing, 4)), params("centre", count=8, size=96))
    filled = slices[4] == 0
    height, width = shape[0] * spacing[1], shape[1] * spacing[0]
    assert filled.any(axis=1).sum() == 96
    assert filled.any(axis=0).sum() == pytest.approx(96 * width / height, abs=1)
    columns = np.flatnonzero(filled.any(axis=0))
    assert abs(columns[0] - (95 - columns[-1])) <= 1
    assert (slices[4][~filled] == BACKGROUND).all()


# From the files of a series to the tensor: a ball with a bright marker to its left, front and top.


RADIUS, MARKER = 40.0, np.array([22.0, -15.0, 10.0])  # mm; the marker's place from the ball's centre, LPS
SPACINGS = {"axial": (3.0, 1.0, 1.0), "coronal": (2.5, 1.25, 1.25), "sagittal": (4.0, 0.9, 0.9)}


def scanned(plane: str, folder: Path) -> sitk.Image:
    """The volume that `read_series` makes of the files of a series of `plane`."""
    between, rows, columns = SPACINGS[plane]
    row, column = np.reshape(phantoms.PLANES[plane], (2, 3)).astype(float)
    normal = np.cross(row, column)
    n = (round(120 / between), round(110 / rows), round(130 / columns))
    origin = np.array([-30.0, 20.0, 55.0])
    k, j, i = np.meshgrid(*(np.arange(count) for count in n), indexing="ij")
    where = (
        origin + k[..., None] * between * normal + j[..., None] * rows * column + i[..., None] * columns * row
    )  # (slices, rows, columns, LPS)
    where = where - where.reshape(-1, 3).mean(axis=0) + [4, -3, 0]
    texture = np.random.default_rng(0).integers(-60, 60, where.shape[:3])
    ball = np.linalg.norm(where, axis=-1) < RADIUS
    stored = np.where(np.linalg.norm(where - MARKER, axis=-1) < 7, 1600, np.where(ball, 500 + texture, 0))
    series = phantoms.slices(
        stored.astype(np.uint16), orientation=phantoms.PLANES[plane], origin=origin, spacing=SPACINGS[plane]
    )
    return read_series(phantoms.save(series, folder)).image


@pytest.mark.parametrize("plane", SPACINGS)
@pytest.mark.parametrize("method", ["foreground", "uniform"])
def test_a_sphere_stays_round_and_left_stays_left_from_dicom_to_the_tensor(
    plane: str, method: str, tmp_path: Path
) -> None:
    section = load(normalize.NormalizeParams, "normalize", PARAMS)
    upright = normalize.normalize(scanned(plane, tmp_path / "series"), section, skull_stripped=True)
    picture = select_slices.select_slices(upright, params(method), background=section.background)
    tensor = export.tensor(picture)

    assert tensor.shape == (64, 128, 128, 1)
    voxels = tensor[..., 0].astype(np.float64)
    step = np.array(picture.GetSpacing())
    ball = np.stack(np.nonzero(voxels > -2), axis=1)[:, ::-1] * step  # x, y, z, mm
    across = 2 * np.sqrt(5) * ball.std(axis=0)  # the diameter of a ball is twice sqrt(5) deviations along each axis
    assert across[0] == pytest.approx(across[1], rel=0.03)
    assert across[2] == pytest.approx(across[:2].mean(), rel=0.03)
    assert across.mean() == pytest.approx(2 * RADIUS, rel=0.05)
    marker = (np.stack(np.nonzero(voxels > 4), axis=1)[:, ::-1] * step).mean(axis=0)
    # x grows to the patient's left, y to the back, z to the head
    assert marker - ball.mean(axis=0) == pytest.approx(MARKER, abs=2.5)


# The stage


@pytest.mark.parametrize(("key", "value"), [("count", 0), ("size", 4), ("size", 128.0), ("method", "middle")])
def test_a_wrong_value_is_refused_by_key_and_value(key: str, value: Any, tmp_path: Path) -> None:
    write_params(tmp_path, select_slices={key: value})
    with pytest.raises(FlairprepError) as refused:
        load(select_slices.SelectSlicesParams, "select_slices", tmp_path / "params.yaml")
    assert f"select_slices.{key}: {value!r}: " in str(refused.value)


def test_main_passes_failures_on_pads_with_the_background_and_writes_equal_bytes_with_more_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, select_slices={"count": 12, "size": 16, "method": "centre"}, normalize={"background": -3.3})
    for case_id, n in (("00002", 8), ("00010", 30)):
        nifti.write_volume(volume(noise((n, 16, 16), seed=n)), Path(f"data/normalize/{case_id}.nii.gz"))
    table = "case_id,status,code,message\n00002,ok,,\n00007,failed,MOSAIC,side by side\n00010,ok,,\n"
    Path("data/normalize/cases.csv").write_text(table)
    written = []
    for workers in (1, 2):
        monkeypatch.setenv("FLAIRPREP_WORKERS", str(workers))
        select_slices.main()
        written.append(contents(Path("data/select_slices")))
    assert written[0] == written[1]
    assert sorted(written[0]) == ["00002.nii.gz", "00010.nii.gz", "cases.csv"]
    assert read_csv(Path("data/select_slices/cases.csv")).to_csv(index=False) == table
    voxels = sitk.GetArrayFromImage(nifti.read_volume(Path("data/select_slices/00002.nii.gz")))
    assert voxels.shape == (12, 16, 16)
    assert set(voxels[[0, 1, 10, 11]].ravel()) == {np.float32(-3.3)}
