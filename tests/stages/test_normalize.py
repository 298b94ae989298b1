"""normalize: orientation without moving a voxel, an intensity map for every voxel, and one background value."""

from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from workspace import contents, points, volume, write_params

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.core.params import load, validate
from flairprep.core.tables import read_csv
from flairprep.imaging import intensity, nifti
from flairprep.imaging.foreground import foreground
from flairprep.imaging.orientation import reorient
from flairprep.stages import normalize

DEFAULTS = {"orientation": "LPS", "bias_field": "none", "intensity": "zscore", "clip": 6.0, "background": -4.0}
# Directions of increasing x, y, z in the patient's axes, which run to the left, to the back and to the head.
DIRECTIONS = {"LPS": (1, 1, 1), "RAS": (-1, -1, 1), "LAS": (1, -1, 1), "RPS": (-1, 1, 1)}
TILTED = (0.9396926, 0.3420201, 0.0, -0.3420201, 0.9396926, 0.0)  # 20 degrees
PLANES = {**phantoms.PLANES, "tilted": TILTED}


def params(**changed: Any) -> normalize.NormalizeParams:
    return validate(normalize.NormalizeParams, {**DEFAULTS, **changed}, "normalize")


def acquired(plane: str) -> sitk.Image:
    """A volume whose voxels are numbered from 1, as acquired in `plane`."""
    row, column = np.reshape(PLANES[plane], (2, 3))
    direction = np.column_stack([row, column, np.cross(row, column)]).ravel().tolist()
    values = np.arange(1, 4 * 5 * 6 + 1, dtype=np.int16).reshape(4, 5, 6)
    return volume(values, (0.5, 0.75, 3.0), origin=(-20, 35, 110), direction=direction)


def stripped(seed: int = 0, shape: tuple[int, int, int] = (10, 12, 14)) -> np.ndarray:
    """A skull-stripped brain: a box of noise with two outliers among exact zeros."""
    values = np.zeros(shape, np.float32)
    inside = tuple(slice(2, n - 2) for n in shape)
    values[inside] = np.random.default_rng(seed).normal(300, 20, values[inside].shape)
    values[3, 4, 5], values[4, 5, 6] = 1e4, -1e4
    return values


def normalized(values: np.ndarray, **changed: Any) -> np.ndarray:
    return sitk.GetArrayFromImage(normalize.normalize(volume(values), params(**changed), skull_stripped=True))


@pytest.mark.parametrize("orientation", DIRECTIONS)
@pytest.mark.parametrize("plane", PLANES)
def test_a_voxel_keeps_its_place_and_its_value_whatever_the_orientation(plane: str, orientation: str) -> None:
    image = acquired(plane)
    oriented = normalize.normalize(image, params(orientation=orientation, intensity="none"), skull_stripped=True)
    off = np.reshape(oriented.GetDirection(), (3, 3)) - np.diag(DIRECTIONS[orientation])
    assert np.abs(off).max() < (0.35 if plane == "tilted" else 1e-9)
    assert oriented.GetPixelID() == sitk.sitkFloat32
    assert oriented.GetNumberOfPixels() == image.GetNumberOfPixels()
    for value, point in zip(sitk.GetArrayFromImage(image).ravel(), points(image).reshape(-1, 3), strict=True):
        assert oriented.GetPixel(oriented.TransformPhysicalPointToIndex(point.tolist())) == value


@pytest.mark.parametrize("clip", [6.0, 2.5])
@pytest.mark.parametrize("method", sorted(intensity.METHODS))
def test_statistics_of_the_foreground_map_every_voxel_of_it_and_are_cut_alike_on_both_sides(
    method: str, clip: float
) -> None:
    values = stripped()
    inside = values != 0
    offset, scale = intensity.fit(values[inside], method)
    mapped = normalized(values, intensity=method, clip=clip, background=-4.1)
    expected = np.clip((values[inside] - offset) / scale, -clip, clip)
    np.testing.assert_allclose(mapped[inside], expected, rtol=0, atol=2.5e-4)
    assert (mapped[inside].min(), mapped[inside].max()) == pytest.approx((-clip, clip), abs=2.5e-4)
    assert (mapped[inside] != np.float32(-4.1)).all()
    assert set(mapped[~inside]) == {np.float32(-4.1)}


def test_none_leaves_the_values_unclipped() -> None:
    values = stripped()
    mapped = normalized(values, intensity="none", clip=1.0, background=0.0)
    np.testing.assert_array_equal(mapped, values)
    assert set(normalized(values, intensity="none", background=-7.0)[values == 0]) == {-7.0}


def test_a_head_in_air_gets_its_statistics_from_the_head_and_its_noise_replaced() -> None:
    image = volume(np.zeros((30, 40, 40), np.float32), (4, 4, 5))
    where = points(image) - points(image).reshape(-1, 3).mean(axis=0)
    head = np.linalg.norm(where, axis=-1) < 60
    rng = np.random.default_rng(0)
    values = np.where(head, rng.normal(500, 60, head.shape), np.abs(rng.normal(0, 8, head.shape)))
    image = normalize.normalize(volume(values, (4, 4, 5)), params(), skull_stripped=False)
    array = sitk.GetArrayFromImage(image)
    assert ((array == -4) == ~head).mean() > 0.999
    assert array[head].mean() == pytest.approx(0, abs=0.02)
    assert array[head].std() == pytest.approx(1, abs=0.02)


def test_n4_evens_a_shaded_brain_out() -> None:
    z, y, x = np.mgrid[0:16, 0:24, 0:24]
    brain = (x - 11.5) ** 2 + (y - 11.5) ** 2 + (1.5 * (z - 7.5)) ** 2 < 100
    shaded = np.where(brain, 300 * np.exp(0.05 * (x - 12)), 0).astype(np.float32)
    image = volume(shaded, (6, 6, 9))
    variation = {}
    for kind in ("none", "n4"):
        done = normalize.normalize(image, params(bias_field=kind, intensity="none", background=0), skull_stripped=True)
        assert done.GetPixelID() == sitk.sitkFloat32
        values = sitk.GetArrayFromImage(done)
        assert (values[~brain] == 0).all()
        variation[kind] = values[brain].std() / values[brain].mean()
    assert variation["n4"] < variation["none"] / 3


@pytest.mark.parametrize("skull_stripped", [False, True])
@pytest.mark.parametrize(
    ("value", "code"), [(0, Code.EMPTY_FOREGROUND), (100, Code.CONSTANT_FOREGROUND)], ids=["dark", "constant"]
)
def test_a_volume_without_contrast_is_a_code(value: int, code: Code, skull_stripped: bool) -> None:
    values = np.zeros((12, 12, 12), np.int16)
    values[3:9, 3:9, 3:9] = value
    with pytest.raises(CaseError) as refused:
        normalize.normalize(volume(values), params(), skull_stripped=skull_stripped)
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("orientation", "lps"),
        ("bias_field", True),
        ("intensity", "nyul"),
        ("clip", 0),
        ("clip", "6"),
        ("background", None),
    ],
)
def test_a_wrong_value_is_refused_by_key_and_value(key: str, value: Any, tmp_path: Path) -> None:
    write_params(tmp_path, normalize={key: value})
    with pytest.raises(FlairprepError) as refused:
        load(normalize.NormalizeParams, "normalize", tmp_path / "params.yaml")
    assert f"normalize.{key}: {value!r}: " in str(refused.value)


def test_main_passes_failures_on_adds_its_own_and_writes_equal_bytes_with_more_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    constant = np.where(stripped() != 0, 5, 0).astype(np.int16)
    cohort = {"00002": stripped(1), "00010": constant, "00011": stripped(2), "00012": np.zeros((8, 8, 8), np.int16)}
    for case_id, values in cohort.items():
        nifti.write_volume(volume(values), Path(f"data/ingest/volumes/{case_id}.nii.gz"))
    Path("data/ingest/cases.csv").write_text(
        "case_id,status,code,message,skull_stripped\n"
        "00002,ok,,,yes\n"
        '00007,failed,MISSING_SLICES,"3 of 20 slices missing, too many",\n'
        "00010,ok,,,yes\n"
        "00011,warned,NOT_DICOM,1 of 9 files,yes\n"
        "00012,ok,,,no\n"
    )
    written = []
    for workers in (1, 2):
        monkeypatch.setenv("FLAIRPREP_WORKERS", str(workers))
        normalize.main()
        written.append(contents(Path("data/normalize")))
    assert written[0] == written[1]
    assert sorted(written[0]) == ["00002.nii.gz", "00011.nii.gz", "cases.csv"]
    rows = read_csv(Path("data/normalize/cases.csv"))
    assert list(rows.columns) == ["case_id", "status", "code", "message"]
    assert rows[["case_id", "status", "code"]].to_numpy().tolist() == [
        ["00002", "ok", ""],
        ["00007", "failed", "MISSING_SLICES"],
        ["00010", "failed", "CONSTANT_FOREGROUND"],
        ["00011", "ok", ""],
        ["00012", "failed", "EMPTY_FOREGROUND"],
    ]
    assert rows["message"][1] == "3 of 20 slices missing, too many"
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(nifti.read_volume(Path("data/normalize/00011.nii.gz"))), normalized(stripped(2))
    )
    assert "4 cases in, 2 out, 0 warned, 2 failed (1 failed earlier)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["patient07", "patient19", "patient26"])
def test_on_real_scans_the_background_is_everything_but_tissue(scans: Path, name: str) -> None:
    (path,) = (scans / "flair-nifti/open-ms/cross_sectional/MNI" / name).glob("FLAIR*.nii.gz")
    image = sitk.ReadImage(str(path))
    mask = sitk.GetArrayFromImage(foreground(reorient(image, "LPS"), skull_stripped=True)) > 0
    done = sitk.GetArrayFromImage(normalize.normalize(image, params(), skull_stripped=True))
    np.testing.assert_array_equal(done != -4, mask)


def test_in_a_brain_with_outliers_the_background_is_everything_but_tissue() -> None:
    """Dark outliers may lie beyond the background's value: cut there, all cohorts' darkest voxels would be alike."""
    values = stripped()
    done = normalized(values)
    np.testing.assert_array_equal(done != -4, values != 0)
    assert done[values < 0].max() == -6
