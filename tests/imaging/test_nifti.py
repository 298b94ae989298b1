"""Volumes on disk: read back as they were, and equal bytes for equal images."""

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from flairprep.imaging import nifti


def image(values: np.ndarray) -> sitk.Image:
    """`values` (z, y, x) on an oblique grid."""
    made = sitk.GetImageFromArray(values)
    made.SetSpacing((0.4, 0.7, 3.0))
    made.SetOrigin((-30.0, 12.5, 7.25))
    made.SetDirection((0.8, 0.0, 0.6, 0.6, 0.0, -0.8, 0.0, 1.0, 0.0))
    return made


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 99, (9, 10, 11)).astype(np.int16)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_volume_is_read_back_with_its_type_voxels_and_geometry(dtype: Any, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 9999, (4, 5, 6)).astype(dtype)
    written, path = image(values), tmp_path / "new/ID.nii.gz"
    nifti.write_volume(written, path)
    read = nifti.read_volume(path)
    assert read.GetPixelID() == written.GetPixelID()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read), values)
    assert read.GetSpacing() == pytest.approx(written.GetSpacing())
    assert read.GetOrigin() == pytest.approx(written.GetOrigin())
    assert read.GetDirection() == pytest.approx(written.GetDirection(), abs=1e-6)
    assert nifti.volume_size(path) == (6, 5, 4)
    assert [file.name for file in path.parent.iterdir()] == ["ID.nii.gz"]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 5, 6), (1, 300, 2)])
def test_the_content_is_what_itk_writes(shape: tuple[int, ...], dtype: Any, tmp_path: Path) -> None:
    written = image(np.random.default_rng(0).normal(0, 9999, shape).astype(dtype))
    nifti.write_volume(written, tmp_path / "ours.nii.gz")
    sitk.WriteImage(written, str(tmp_path / "itk.nii"))
    assert gzip.decompress((tmp_path / "ours.nii.gz").read_bytes()) == (tmp_path / "itk.nii").read_bytes()


def test_equal_images_give_equal_bytes_whatever_the_name_and_the_process(tmp_path: Path) -> None:
    nifti.write_volume(image(noise()), tmp_path / "a.nii.gz")
    nifti.write_volume(image(noise()), tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    copy = (
        "from flairprep.imaging.nifti import Path, read_volume, write_volume; "
        "write_volume(read_volume(Path('a.nii.gz')), Path('c.nii.gz'))"
    )
    subprocess.run([sys.executable, "-c", copy], cwd=tmp_path, check=True)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "c.nii.gz").read_bytes()


def test_gzip_header_holds_no_time_and_no_name(tmp_path: Path) -> None:
    nifti.write_volume(image(noise()), tmp_path / "a.nii.gz")
    magic, flags, time = (tmp_path / "a.nii.gz").read_bytes()[:2], *(tmp_path / "a.nii.gz").read_bytes()[3:5]
    assert (magic, flags, time) == (b"\x1f\x8b", 0, 0)


def test_failure_to_write_leaves_the_former_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nii.gz"
    nifti.write_volume(image(noise()), path)
    former = path.read_bytes()

    def broken(*_: Any, **__: Any) -> bytes:
        raise OSError("disk full")

    monkeypatch.setattr(nifti, "_gzip", broken)
    with pytest.raises(OSError, match="disk full"):
        nifti.write_volume(image(noise(1)), path)
    assert path.read_bytes() == former
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("missing", [3, 100, 354])  # of the header and one voxel
def test_volume_that_the_disk_did_not_take_whole_is_no_volume(
    missing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path)[:-missing])
    with pytest.raises(OSError, match="No space left"):
        nifti.write_volume(image(noise()), tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_volume_is_written_without_a_look_at_the_others_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the more files there were, the longer it would take")

    for name in ("scandir", "listdir", "fsync"):
        monkeypatch.setattr(os, name, never)
    written = sitk.Image(3, 4, 5, sitk.sitkInt16)
    nifti.write_volume(written, tmp_path / "a.nii.gz")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
    assert nifti.read_volume(tmp_path / "a.nii.gz").GetSize() == (3, 4, 5)


@pytest.mark.parametrize("kind", ["noise", "zeros around noise"])
def test_a_damaged_volume_is_refused(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 900, (20, 30, 40)).astype(np.int16)
    if kind != "noise":
        values[2:] = 0
    path = tmp_path / "a.nii.gz"
    nifti.write_volume(sitk.GetImageFromArray(values), path)
    whole = path.read_bytes()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(nifti.read_volume(path)), values)
    for place in rng.integers(0, len(whole), 40):
        path.write_bytes(whole[:place])
        with pytest.raises(OSError, match=r"a\.nii\.gz"):
            nifti.read_volume(path)
    for place in rng.integers(600, len(whole), 40):  # behind the header, some of whose bytes have no meaning
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with pytest.raises(OSError, match=r"a\.nii\.gz"):
            nifti.read_volume(path)
