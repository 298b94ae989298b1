"""NIfTI scans as volumes: voxels and geometry equal to nibabel's, and a code for what is no volume."""

import gzip
import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.volume import MAX_VOXELS
from flairprep.imaging import nifti
from flairprep.imaging.orientation import reorient
from flairprep.imaging.skull_stripping import is_skull_stripped
from flairprep.nifti_input import header, reading
from flairprep.nifti_input.volume import read_scan

SHAPE = (5, 6, 7)
AXES = [(order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]
TILT = np.array([[0.9950, -0.0998, 0.0], [0.0998, 0.9950, 0.0], [0.0, 0.0, 1.0]])  # 5.7 degrees
INTEGERS = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8")


def values(dtype: str = "i2", shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Noise that uses a good part of the range of a type."""
    rng = np.random.default_rng(seed)
    if dtype[0] == "f":
        return rng.normal(0, 1000, shape).astype(dtype)
    bounds = np.iinfo(np.dtype(dtype))
    low, high = max(bounds.min, -(2**30)), min(bounds.max, 2**30)
    return rng.integers(low, high, shape).astype(dtype)


def affine(spacing: tuple[float, ...] = (0.9, 1.1, 3.0), tilt: np.ndarray = TILT) -> np.ndarray:
    matrix = np.eye(4)
    unit, _ = np.linalg.qr(tilt)
    matrix[:3, :3] = unit * np.sign(np.diag(unit)) * spacing
    matrix[:3, 3] = -40, 7, 12
    return matrix


def image(data: np.ndarray, matrix: np.ndarray, qform: int = 1, sform: int = 1, **fields: Any) -> nib.Nifti1Image:
    """An image whose qform and sform are both `matrix`, with the codes given."""
    made = nib.Nifti1Image(data, matrix)
    made.set_qform(matrix, qform)
    made.set_sform(matrix, sform)
    for name, value in fields.items():
        made.header[name] = value
    return made


def saved(path: Path, data: np.ndarray | None = None, matrix: np.ndarray | None = None, **options: Any) -> Path:
    """A NIfTI file as nibabel writes it."""
    nib.save(image(values() if data is None else data, affine() if matrix is None else matrix, **options), path)
    return path


def patched(path: Path, place: int, form: str, *numbers: float | bytes) -> Path:
    """The file with bytes of its header replaced, whether it is gzipped or not."""
    content = path.read_bytes()
    plain = bytearray(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    struct.pack_into(form, plain, place, *numbers)
    path.write_bytes(gzip.compress(bytes(plain)) if content[:2] == b"\x1f\x8b" else bytes(plain))
    return path


def ras(image: sitk.Image) -> np.ndarray:
    """The affine of an image, as nibabel gives it."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return np.diag([-1, -1, 1, 1]) @ matrix


def check_equal(path: Path) -> sitk.Image:
    """Check that a scan has the voxels and the affine that nibabel gives it; return its image."""
    ours, theirs = read_scan(path).image, nib.load(path)
    expected = np.asanyarray(theirs.dataobj)
    expected = expected.reshape(expected.shape[:3] + (1,) * (3 - expected.ndim))
    np.testing.assert_allclose(sitk.GetArrayViewFromImage(ours).T, expected.astype(np.float64), rtol=1e-6)
    np.testing.assert_allclose(ras(ours), theirs.affine, atol=1e-4)
    return ours


def code_of(path: Path) -> Code:
    with pytest.raises(CaseError) as caught:
        read_scan(path)
    return caught.value.code


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (1, 1)], ids=["qform", "sform", "both"])
def test_every_order_and_sign_of_the_axes_is_what_nibabel_reads(codes: tuple[int, int], tmp_path: Path) -> None:
    straight = affine()
    for order, signs in AXES:
        matrix = straight.copy()
        matrix[:3, :3] = (straight[:3, :3] * signs)[:, order]
        ours = check_equal(saved(tmp_path / "a.nii", None, matrix, qform=codes[0], sform=codes[1]))
        nifti.write_volume(ours, tmp_path / "b.nii.gz")  # what the next stage reads
        np.testing.assert_allclose(ras(nifti.read_volume(tmp_path / "b.nii.gz")), matrix, atol=1e-3)
        np.testing.assert_allclose(nib.load(tmp_path / "b.nii.gz").affine, matrix, atol=1e-3)
        letters = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(ours.GetDirection())
        assert letters == "".join(nib.aff2axcodes(matrix))  # both name the end that an axis points to
        canonical = np.asarray(nib.as_closest_canonical(nib.load(tmp_path / "a.nii")).dataobj)[::-1, ::-1]
        np.testing.assert_array_equal(sitk.GetArrayFromImage(reorient(ours, "LPS")).T, canonical)


@pytest.mark.parametrize("end", ["<", ">"])
@pytest.mark.parametrize("dtype", [*INTEGERS, "f4", "f8"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.hdr.gz"])
def test_every_type_in_either_byte_order_is_what_nibabel_reads(name: str, dtype: str, end: str, tmp_path: Path) -> None:
    data = values(dtype)
    kind = nib.Nifti1Pair if ".hdr" in name else nib.Nifti1Image
    head = kind.header_class(endianness=end)
    head.set_data_dtype(np.dtype(end + dtype))
    made = kind(data, affine(), head)
    made.header.set_slope_inter(1, 0)
    nib.save(made, tmp_path / name.replace(".hdr", ".img"))
    ours = check_equal(tmp_path / name)
    if dtype in INTEGERS:
        assert ours.GetPixelID() in (sitk.sitkInt16, sitk.sitkInt32)
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(ours).T, data)


def test_nifti_2_is_what_nibabel_reads(tmp_path: Path) -> None:
    for end in "<>":
        head = nib.Nifti2Header(endianness=end)
        head.set_data_dtype(np.dtype(f"{end}i2"))
        made = nib.Nifti2Image(values(), affine(), head)
        made.set_qform(affine(), 1)
        nib.save(made, tmp_path / "a.nii.gz")
        check_equal(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("slope", "intercept", "pixel"),
    [
        (0, 7, sitk.sitkInt16),
        (np.nan, 7, sitk.sitkInt16),
        (np.inf, 0, sitk.sitkInt16),
        (np.nan, np.nan, sitk.sitkInt16),
        (1, 0, sitk.sitkInt16),
        (1, 1000, sitk.sitkInt32),  # it leaves the range of the stored type
        (1, 0.5, sitk.sitkFloat32),
        (2.5, -3, sitk.sitkFloat32),
        (-1, 0, sitk.sitkFloat32),
    ],
)
def test_scaling_is_what_nibabel_applies(slope: float, intercept: float, pixel: int, tmp_path: Path) -> None:
    path = patched(saved(tmp_path / "a.nii"), 112, "<2f", slope, intercept)
    assert check_equal(path).GetPixelID() == pixel


def test_whole_numbers_that_no_integer_holds_become_floats(tmp_path: Path) -> None:
    data = np.linspace(0, 2**40, np.prod(SHAPE)).astype("i8").reshape(SHAPE)
    nib.save(nib.Nifti1Image(data, affine(), dtype="i8"), tmp_path / "a.nii")
    assert check_equal(tmp_path / "a.nii").GetPixelID() == sitk.sitkFloat32


def test_extensions_are_skipped(tmp_path: Path) -> None:
    made = image(values(), affine())
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"patient name" * 50))
    nib.save(made, tmp_path / "a.nii.gz")
    check_equal(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("shape", [(5, 6, 7, 1), (5, 6, 7, 1, 1), (5, 6, 1), (5, 6)])
def test_one_volume_with_fewer_or_more_axes_is_read(shape: tuple[int, ...], tmp_path: Path) -> None:
    volume = check_equal(saved(tmp_path / "a.nii", values(shape=shape)))
    assert volume.GetSize() == (*shape, 1)[:3]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr.gz"])
def test_first_or_last_of_several_volumes_is_the_one_of_nibabel(name: str, tmp_path: Path) -> None:
    data = values(shape=(64, 65, 66, 3))  # several pieces of a file
    made = (nib.Nifti1Pair if ".hdr" in name else nib.Nifti1Image)(data, affine())
    made.header.set_slope_inter(2, 5)
    nib.save(made, tmp_path / name.replace(".hdr", ".img"))
    assert code_of(tmp_path / name) is Code.MULTIPLE_VOLUMES
    expected = np.asarray(nib.load(tmp_path / name.replace(".hdr", ".img")).dataobj)
    for volume, place in (("first", 0), ("last", 2)):
        scan = read_scan(tmp_path / name, volume=volume)
        np.testing.assert_allclose(sitk.GetArrayViewFromImage(scan.image).T, expected[..., place])
        assert [code for code, _ in scan.warnings] == [Code.VOLUME_CHOSEN]
    content = (tmp_path / "a.nii").read_bytes() if name == "a.nii" else b""
    if content:
        (tmp_path / "cut.nii").write_bytes(content[:-1])
        with pytest.raises(CaseError) as caught:
            read_scan(tmp_path / "cut.nii", volume="first")  # whole, but the file is damaged
        assert caught.value.code is Code.DECODE_FAILED


def test_values_along_a_fifth_axis_are_no_volumes_to_choose_from(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", values(shape=(5, 6, 7, 1, 3)))
    with pytest.raises(CaseError) as caught:
        read_scan(path, volume="first")
    assert caught.value.code is Code.MULTIPLE_VOLUMES


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (10, 1)])
def test_lengths_are_mm_whatever_their_unit(unit: int, factor: float, tmp_path: Path) -> None:
    matrix = affine()
    matrix[:3] /= factor
    for codes in ({"qform": 0}, {"sform": 0}):
        path = patched(saved(tmp_path / "a.nii", None, matrix, **codes), 123, "<B", unit)
        np.testing.assert_allclose(ras(read_scan(path).image), affine(), atol=1e-4)


@pytest.mark.parametrize("part", ["one member", "several members", "padded", "not gzipped", "upper case"])
def test_gzip_as_programs_write_it(part: str, tmp_path: Path) -> None:
    data = values(shape=(130, 128, 128))  # several pieces of a file
    plain = saved(tmp_path / "a.nii", data).read_bytes()
    cuts = {"several members": (0, 100, 2**20, 3 * 2**20, len(plain))}.get(part, (0, len(plain)))
    packed = b"".join(gzip.compress(plain[a:b], 1) for a, b in itertools.pairwise(cuts))
    content = plain if part == "not gzipped" else packed + bytes(512) * (part == "padded")
    path = tmp_path / ("A.NII.GZ" if part == "upper case" else "b.nii.gz")
    path.write_bytes(content)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_scan(path).image).T, data)


# Geometry that is none, or that contradicts itself


def turned(degrees: float, matrix: np.ndarray) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ matrix


@pytest.mark.parametrize(
    ("change", "codes", "expected"),
    [
        (lambda matrix: matrix, (1, 1), None),
        (lambda matrix: matrix + 0.05 * np.eye(4, 4, 3), (1, 1), None),  # rounding
        (lambda matrix: turned(10, matrix), (1, 1), "failed"),  # one space, two orientations
        (lambda matrix: turned(10, matrix), (1, 4), "warned"),  # the scanner's space, and a template's
        (lambda matrix: turned(180, matrix), (1, 4), "failed"),
        (lambda matrix: matrix @ np.diag([-1, 1, 1, 1]), (1, 4), "failed"),  # left and right
        (lambda matrix: matrix @ np.diag([1, 1, 1.2, 1]), (1, 4), "failed"),
    ],
)
def test_qform_and_sform_that_differ_warn_or_fail(
    change: Callable[[np.ndarray], np.ndarray], codes: tuple[int, int], expected: str | None, tmp_path: Path
) -> None:
    matrix = affine()
    moved = np.vstack([change(matrix)[:3], [0, 0, 0, 1]])
    patched(saved(tmp_path / "a.nii", None, matrix, qform=codes[0], sform=codes[1]), 280, "<12f", *moved[:3].ravel())
    if expected == "failed":
        assert code_of(tmp_path / "a.nii") is Code.AFFINE_CONFLICT
        return
    scan = read_scan(tmp_path / "a.nii")
    assert [code for code, _ in scan.warnings] == ([Code.AFFINE_CONFLICT] if expected else [])
    np.testing.assert_allclose(ras(scan.image), moved, atol=1e-4)


@pytest.mark.parametrize(("millimetres", "codes"), [(0.05, []), (0.5, [Code.SHEARED]), (1.5, None)])
def test_shear_is_measured_over_the_whole_grid(millimetres: float, codes: list[Code] | None, tmp_path: Path) -> None:
    matrix = affine((1, 1, 1), np.eye(3))
    sheared = matrix.copy()
    sheared[0, 2] += 2 * millimetres / (SHAPE[2] - 1)  # half of it remains beside the nearest rotation
    path = saved(tmp_path / "a.nii", None, matrix, qform=0)
    for axis in range(3):
        patched(path, 280 + 16 * axis, "<4f", *sheared[axis])
    if codes is None:
        assert code_of(path) is Code.SHEARED
    else:
        assert [code for code, _ in read_scan(path).warnings] == codes


NAN = float("nan")


@pytest.mark.parametrize(
    ("place", "form", "numbers", "options", "code"),
    [
        (252, "<2h", (0, 0), {}, Code.NO_GEOMETRY),  # neither is set: left and right are not known
        (252, "<2h", (-1, 0), {}, Code.NO_GEOMETRY),
        (256, "<3f", (0.9, 0.9, 0.9), {"sform": 0}, Code.NO_GEOMETRY),
        (256, "<3f", (NAN, 0, 0), {"sform": 0}, Code.NO_GEOMETRY),
        (268, "<3f", (np.inf, 0, 0), {"sform": 0}, Code.NO_GEOMETRY),
        (80, "<3f", (1, 0, 1), {"sform": 0}, Code.NO_GEOMETRY),
        (80, "<3f", (1, -1, 1), {"sform": 0}, Code.NO_GEOMETRY),
        (80, "<3f", (1, 1e6, 1), {"sform": 0}, Code.NO_GEOMETRY),
        (280, "<4f", (0, 0, 0, 0), {"qform": 0}, Code.SHEARED),
        (280, "<4f", (NAN, 0, 0, 0), {"qform": 0}, Code.NO_GEOMETRY),
        (280, "<12f", (0,) * 12, {"qform": 0}, Code.NO_GEOMETRY),
        (280, "<12f", (1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0), {"qform": 0}, Code.SHEARED),
        (280, "<12f", (1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0), {"qform": 0}, Code.SHEARED),
        (292, "<f", (1e9,), {"qform": 0}, Code.NO_GEOMETRY),
        (40, "<8h", (4, 5, 6, 1, 7, 1, 1, 1), {}, Code.MULTIPLE_VOLUMES),
        (40, "<8h", (5, 5, 6, 1, 1, 7, 1, 1), {}, Code.MULTIPLE_VOLUMES),
        (40, "<8h", (3, 5, 6, 0, 1, 1, 1, 1), {}, Code.DECODE_FAILED),
        (40, "<8h", (3, 5, -6, 7, 1, 1, 1, 1), {}, Code.DECODE_FAILED),
        (40, "<8h", (0, 5, 6, 7, 1, 1, 1, 1), {}, Code.DECODE_FAILED),
        (40, "<8h", (8, 5, 6, 7, 1, 1, 1, 1), {}, Code.DECODE_FAILED),
        (40, "<8h", (3, 5, 6, 8, 1, 1, 1, 1), {}, Code.DECODE_FAILED),  # longer than the file
        (40, "<8h", (3, 2000, 2000, 2000, 1, 1, 1, 1), {}, Code.TOO_LARGE),
        (70, "<2h", (128, 24), {}, Code.NOT_GRAYSCALE),
        (70, "<2h", (2304, 32), {}, Code.NOT_GRAYSCALE),
        (70, "<2h", (32, 64), {}, Code.NOT_MAGNITUDE),
        (70, "<2h", (1, 1), {}, Code.DECODE_FAILED),
        (70, "<2h", (1536, 128), {}, Code.DECODE_FAILED),
        (70, "<2h", (4, 8), {}, Code.DECODE_FAILED),
        (108, "<f", (100,), {}, Code.DECODE_FAILED),
        (108, "<f", (NAN,), {}, Code.DECODE_FAILED),
        (108, "<f", (1e30,), {}, Code.DECODE_FAILED),
        (108, "<f", (400,), {}, Code.DECODE_FAILED),  # then the voxels end too early
        (112, "<2f", (2, NAN), {}, Code.DECODE_FAILED),
        (112, "<2f", (3e38, 0), {}, Code.NOT_FINITE),
        (123, "<B", (7,), {}, Code.DECODE_FAILED),
        (344, "<4s", (b"ni1",), {}, Code.DECODE_FAILED),
        (344, "<4s", (b"xyz",), {}, Code.DECODE_FAILED),
        (0, "<i", (349,), {}, Code.DECODE_FAILED),
    ],
)
def test_header_that_makes_no_volume_has_a_code(
    place: int, form: str, numbers: tuple[Any, ...], options: dict[str, int], code: Code, tmp_path: Path
) -> None:
    for name in ("a.nii", "a.nii.gz"):
        assert code_of(patched(saved(tmp_path / name, **options), place, form, *numbers)) is code


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_voxel_that_is_no_number_has_a_code(bad: float, tmp_path: Path) -> None:
    data = values("f8")
    data[1, 2, 3] = bad
    assert code_of(saved(tmp_path / "a.nii", data)) is Code.NOT_FINITE


def test_one_value_has_a_code_and_a_slice_of_one_value_a_warning(tmp_path: Path) -> None:
    assert code_of(saved(tmp_path / "a.nii", np.full(SHAPE, 3, np.int16))) is Code.BLANK_VOLUME
    data = values()
    data[:, :, 3] = 0
    assert [code for code, _ in read_scan(saved(tmp_path / "a.nii", data)).warnings] == [Code.BLANK_SLICES]


def test_half_of_a_pair_has_a_code(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(values(), affine()), tmp_path / "a.img")
    (tmp_path / "a.img").rename(tmp_path / "b.img")
    assert code_of(tmp_path / "a.hdr") is Code.NO_PIXEL_DATA
    assert code_of(tmp_path / "b.img") is Code.NO_GEOMETRY
    (tmp_path / "a.img").write_bytes((tmp_path / "b.img").read_bytes()[:-2])
    assert code_of(tmp_path / "a.hdr") is Code.DECODE_FAILED
    saved(tmp_path / "whole.nii").rename(tmp_path / "a.hdr")
    assert code_of(tmp_path / "a.hdr") is Code.DECODE_FAILED


def test_analyze_states_no_orientation(tmp_path: Path) -> None:
    nib.save(nib.AnalyzeImage(values(), np.eye(4)), tmp_path / "a.img")
    assert code_of(tmp_path / "a.hdr") is Code.NO_GEOMETRY


def test_file_that_is_cut_or_damaged_has_a_code(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a.nii.gz").read_bytes()
    plain = gzip.decompress(whole)
    for length in (0, 1, 2, 3, 10, 18, 60, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        (tmp_path / "b.nii.gz").write_bytes(whole[:length])
        assert code_of(tmp_path / "b.nii.gz") is Code.DECODE_FAILED
    for length in (3, 347, 352, len(plain) - 1):
        (tmp_path / "b.nii").write_bytes(plain[:length])
        assert code_of(tmp_path / "b.nii") is Code.DECODE_FAILED
    for content in (whole[:-8] + b"1234" + whole[-4:], whole + b"more", whole + whole[:30]):  # the checksum; the end
        (tmp_path / "b.nii.gz").write_bytes(content)
        assert code_of(tmp_path / "b.nii.gz") is Code.DECODE_FAILED


def test_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = saved(tmp_path / "a.nii").read_bytes()
    bomb = gzip.compress(plain + bytes(reading.MAX_REST + 2**20), 1)
    (tmp_path / "b.nii.gz").write_bytes(bomb)
    assert code_of(tmp_path / "b.nii.gz") is Code.TOO_LARGE
    monkeypatch.setattr(reading, "MAX_FILE", len(plain) - 1)
    assert code_of(tmp_path / "a.nii") is Code.TOO_LARGE
    monkeypatch.setattr(header, "MAX_VOXELS", int(np.prod(SHAPE)) - 1)
    assert code_of(saved(tmp_path / "a.nii.gz")) is Code.TOO_LARGE
    assert MAX_VOXELS == 2**27


@pytest.mark.parametrize(
    ("spacing", "slice_axis", "expected"),
    [
        ((1, 1, 1), None, ""),  # resampled: the plane of acquisition is lost
        ((0.5, 0.5, 5), None, "axial"),
        ((5, 0.5, 0.5), None, "sagittal"),
        ((0.5, 4, 0.9), None, "coronal"),
        ((1, 1, 1), 0, "sagittal"),
        ((1, 1, 1), 2, "axial"),
    ],
)
def test_plane_is_named_only_where_the_header_shows_it(
    spacing: tuple[float, ...], slice_axis: int | None, expected: str, tmp_path: Path
) -> None:
    made = image(values(), affine(spacing, np.eye(3)))
    made.header.set_dim_info(slice=slice_axis)
    nib.save(made, tmp_path / "a.nii")
    assert read_scan(tmp_path / "a.nii").header["plane"] == expected


@pytest.mark.parametrize("place", ["niivue", *(f"open-ms/cross_sectional/MNI/patient{n}" for n in ("07", "19", "26"))])
def test_real_scan_is_what_nibabel_reads(place: str, scans: Path) -> None:
    (path,) = (scans / "flair-nifti" / place).glob("FLAIR*.nii.gz")
    assert is_skull_stripped(check_equal(path))
