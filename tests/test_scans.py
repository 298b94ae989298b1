"""Real scans: equal to the volume that dcm2niix makes, or refused with the code that expected_codes.csv lists.

A series is a folder below ../shared/scans, one below pydicom's dicomdirtests, or one file of pydicom or pydicom-data.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import phantoms
import pydicom
import pytest
import SimpleITK as sitk
from oracle import compare, converted
from phantoms import voxels
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from workspace import PARAMS, SCANS

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.core.params import load
from flairprep.core.tables import read_csv
from flairprep.dicom import discovery
from flairprep.dicom.classify import SEQUENCES
from flairprep.dicom.volume import SeriesVolume, read_series
from flairprep.stages import ingest, normalize, select_slices
from flairprep.stages.export import tensor

CUTOUTS = "vendors-cutouts/tests/data"
MIN_SLICES = 4  # what the cut-outs have
Record = Callable[[str, object], None]


def as_image(values: np.ndarray, like: sitk.Image) -> sitk.Image:
    """Values (z, y, x) with the geometry of another image of that size."""
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(like)
    return image


def data_of(package: str) -> Path | None:
    """The folder `data` of an installed package."""
    spec = find_spec(package)
    return Path(spec.origin).parent / "data" if spec and spec.origin else None


def folders(root: Path, pattern: str) -> dict[str, list[Path]]:
    """Take each folder that holds files as one series, without licences, readmes and NIfTI volumes."""
    series: dict[str, list[Path]] = {}
    for path in sorted(root.glob(pattern)):
        if path.is_file() and not path.name.startswith(("LICENSE", "README")) and not path.name.endswith(".nii.gz"):
            series.setdefault(path.parent.relative_to(root).as_posix(), []).append(path)
    return series


def of_pydicom() -> dict[str, list[Path]]:
    root = data_of("pydicom")
    assert root
    files = {path.relative_to(root).as_posix(): [path] for path in sorted(root.rglob("*.dcm"))}
    nested = "test_files/dicomdirtests"
    series = {f"{nested}/{name}": paths for name, paths in folders(root / nested, "*/*/*").items()}
    return {f"pydicom/{name}": paths for name, paths in (files | series).items()}


def of_pydicom_data() -> dict[str, list[Path]]:
    root = data_of("data_store")
    return {f"pydicom-data/{path.name}": [path] for path in sorted(root.glob("*.dcm"))} if root else {}


OF_SCANS, OF_PYDICOM, OF_PYDICOM_DATA = folders(SCANS, "**/*"), of_pydicom(), of_pydicom_data()
LISTED = read_csv(Path(__file__).with_name("expected_codes.csv"), ("series", "code"))
EXPECTED: dict[str, str] = dict(zip(LISTED["series"], LISTED["code"], strict=True))


@cache
def series_of(folder: Path) -> SeriesVolume:
    return read_series(sorted(folder.iterdir()))


@pytest.mark.parametrize(
    ("change", "beyond"),
    [
        (lambda image: sitk.Flip(image, (True, False, True)), ()),  # array and geometry together
        (lambda image: sitk.PermuteAxes(image, (2, 0, 1)), ()),
        (lambda image: sitk.Cast(image, sitk.sitkFloat64) * (1 + 5e-7), ()),
        (lambda image: sitk.Cast(image, sitk.sitkFloat64) * (1 + 2e-6), ("voxels",)),
        (lambda image: image + 1, ("voxels",)),
        (lambda image: as_image(voxels(image)[..., ::-1], image), ("voxels",)),  # the array alone
        (lambda image: sitk.GetImageFromArray(voxels(image)), ("corners", "spacing", "direction")),
        (lambda image: image[1:], ("size (4, 3, 2), not (5, 3, 2)",)),
    ],
)
def test_comparison_sees_what_differs(change: Callable[[sitk.Image], sitk.Image], beyond: tuple[str, ...]) -> None:
    image = sitk.GetImageFromArray(np.arange(1, 31, dtype=np.int16).reshape(2, 3, 5))
    image.SetSpacing((0.9, 1.1, 3.0))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    image.SetOrigin((-40, 7, 12))
    assert compare(change(image), image).beyond == beyond


def ingested(paths: Sequence[Path], folder: Path) -> set[str]:
    """Collect the codes that ingest gives a series, whichever sequence it is read as, but NO_SERIES."""
    params = load(ingest.IngestParams, "ingest", PARAMS)
    codes = set()
    for sequence in SEQUENCES:
        section = params.model_copy(update={"sequence": sequence, "min_slices": MIN_SLICES})
        case = discovery.RawCase("case", tuple(paths), sequence)
        codes.add(ingest.ingest(case, params=section, volumes_dir=folder).outcome.code)
    return codes - {Code.NO_SERIES.value}


def check(name: str, paths: Sequence[Path], folder: Path, record_property: Record) -> None:
    """Check that a series equals dcm2niix's volume or is refused as listed; a short series does both."""
    compared = None
    try:
        series = read_series(paths)
    except CaseError as error:
        verdict = error.code.value
    else:
        compared = compare(series.image, converted(paths, folder))
        verdict = "not equal" if compared.beyond else "equal"
        if series.header["slices"] < MIN_SLICES:
            verdict = " ".join(sorted(ingested(paths, folder)))
    numbers = (f"{compared.voxels:.1g}", f"{compared.corner:.1g}") if compared else ("", "")
    record_property("scan", (name, verdict, *numbers))
    assert compared is None or not compared.beyond
    assert verdict == EXPECTED.get(name, "equal")
    with suppress(CaseError):
        read_series(paths, any_modality=True)


@pytest.mark.parametrize("name", OF_SCANS or [""])
def test_real_series_equals_dcm2niix_or_is_refused_as_listed(
    name: str, scans: Path, tmp_path: Path, record_property: Record
) -> None:
    check(name, OF_SCANS[name], tmp_path, record_property)


@pytest.mark.parametrize("name", OF_PYDICOM)
def test_file_of_pydicom_equals_dcm2niix_or_is_refused_as_listed(
    name: str, tmp_path: Path, record_property: Record
) -> None:
    check(name, OF_PYDICOM[name], tmp_path, record_property)


@pytest.mark.parametrize("name", OF_PYDICOM_DATA or [""])
def test_file_of_pydicom_data_equals_dcm2niix_or_is_refused_as_listed(
    name: str, tmp_path: Path, record_property: Record
) -> None:
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    check(name, OF_PYDICOM_DATA[name], tmp_path, record_property)


def test_every_listed_series_exists_and_is_listed_once() -> None:
    assert LISTED["series"].is_unique
    assert set(LISTED["code"]) <= {code.value for code in Code}
    sources = {"pydicom": OF_PYDICOM, "pydicom-data": OF_PYDICOM_DATA}
    for name in EXPECTED:
        within = sources.get(name.split("/")[0], OF_SCANS)
        assert name in within or not within, f"expected_codes.csv: {name}: no such series"


@pytest.mark.parametrize("name", ["gantrytilting/001", "notavolume/001", "sliceincrement/001", "sliceincrement/002"])
def test_geometry_of_ct_that_is_no_volume_is_refused_too(name: str, scans: Path) -> None:
    code = {"gantrytilting": Code.GANTRY_TILT, "notavolume": Code.MULTIPLE_VOLUMES}.get(name[:-4], Code.MISSING_SLICES)
    with pytest.raises(CaseError) as caught:
        read_series(sorted((scans / CUTOUTS / "failing" / name).iterdir()), any_modality=True)
    assert caught.value.code is code


@pytest.mark.parametrize(
    "name",
    [
        "philips-t1-sagittal/1301",
        "siemens-t1-sagittal/In/HFS/3_t1_fl2d_sag",
        "siemens-phantom-jpeg-lossless/5001_anat-T1w_acq-tfl",
    ],
)
def test_real_series_becomes_a_tensor_that_shows_the_same_anatomy(name: str, scans: Path, tmp_path: Path) -> None:
    params = load(normalize.NormalizeParams, "normalize", PARAMS)
    slices = load(select_slices.SelectSlicesParams, "select_slices", PARAMS)
    normalized = normalize.normalize(series_of(scans / name).image, params, skull_stripped=False)
    image = select_slices.select_slices(normalized, slices, background=params.background)
    values = tensor(image)
    assert values.shape == (64, 128, 128, 1)
    assert values.dtype == np.float16
    assert np.isfinite(values).all()
    assert sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection()) == "LPS"
    tissue = values[..., 0] > params.background
    assert 0.15 < tissue.mean() < 0.8
    theirs = sitk.Cast(converted(OF_SCANS[name], tmp_path), sitk.sitkFloat32)
    expected = voxels(sitk.Resample(theirs, image, sitk.Transform(), sitk.sitkLinear, 0.0))
    alike = np.corrcoef(values[..., 0][tissue].astype(np.float64), expected[tissue])[0, 1]
    assert alike > 0.9  # mirrored along any axis, these reach 0.82 at most


# One image in several transfer syntaxes


@pytest.mark.parametrize("name", ["compressed", "compressed_j2k", "compressed_jpeg", "compressed_jpegls"])
def test_one_series_is_the_same_in_every_compression(name: str, scans: Path) -> None:
    generic = scans / CUTOUTS / "generic"
    images = [series_of(generic / folder / "001").image for folder in (name, "compressed_rle")]
    np.testing.assert_array_equal(*map(voxels, images))
    assert images[0].GetPixelID() == images[1].GetPixelID()
    assert images[0].GetOrigin() == images[1].GetOrigin()
    assert images[0].GetSpacing() == images[1].GetSpacing()
    assert images[0].GetDirection() == images[1].GetDirection()


def test_mosaic_is_the_same_in_seven_transfer_syntaxes_and_holds_the_slices_of_dcm2niix(
    scans: Path, tmp_path: Path
) -> None:
    paths = sorted((scans / "siemens-transfer-syntaxes/In").iterdir())
    images = []
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]  # each file as a series of one slice
        dataset.save_as(tmp_path / path.name)
        images.append((dataset.file_meta.TransferSyntaxUID, read_series([tmp_path / path.name]).image))
    assert len(images) == 9
    assert len({syntax for syntax, _ in images}) == 7
    mosaic = images[0][1]
    for _, image in images[1:]:
        np.testing.assert_array_equal(voxels(image), voxels(mosaic))
    tiles = voxels(mosaic)[0].reshape(6, 64, 6, 64).swapaxes(1, 2).reshape(36, 64, 64)
    assert not tiles[35].any()
    ours = sitk.GetImageFromArray(tiles[:35])
    ours.SetDirection(mosaic.GetDirection())  # its slices ascend along the normal
    theirs = converted(paths[:1], tmp_path)
    np.testing.assert_array_equal(*(voxels(sitk.DICOMOrient(image, "LPS")) for image in (ours, theirs)))


NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
COMPRESSED = {  # transfer syntax -> gdcm's name
    RLELossless: "RLELossless",
    JPEGLosslessSV1: "JPEGLosslessProcess14_1",
    JPEGLSLossless: "JPEGLSLossless",
    JPEG2000Lossless: "JPEG2000Lossless",
}
EVERY_SYNTAX = pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED], ids=lambda syntax: syntax.keyword)


def compress(path: Path, syntax: UID) -> None:
    import gdcm  # late: it brings a zlib, and memory of that is freed by Python's zlib where gdcm was imported first

    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, COMPRESSED[syntax])))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def saved(stored: np.ndarray, folder: Path, syntax: UID, *, signed: bool, allocated: int, bits: int) -> list[Path]:
    """A series of `stored` values (slices, rows, columns) in a transfer syntax."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    coded = stored.astype(f"{order}{'i' if signed else 'u'}{allocated // 8}")
    elements = {"BitsAllocated": allocated, "BitsStored": bits, "HighBit": bits - 1}
    elements |= {"StudyDate": "20200101", "StudyTime": "120000"}  # else gdcm writes the present
    pixels = [values.tobytes() for values in coded]
    series = phantoms.slices(stored.astype(np.int16 if signed else np.uint16), **elements, PixelData=pixels)
    for dataset in series:
        dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
        dataset.file_meta.TransferSyntaxUID = syntax if syntax in NATIVE else ExplicitVRLittleEndian
    paths = phantoms.save(series, folder)
    for path in paths if syntax in COMPRESSED else ():
        compress(path, syntax)
    assert {pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in paths} == {syntax}
    return paths


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize(("allocated", "bits"), [(8, 8), (16, 8), (16, 12), (16, 16)])
@EVERY_SYNTAX
def test_stored_values_survive_every_transfer_syntax(
    syntax: UID, allocated: int, bits: int, signed: bool, tmp_path: Path
) -> None:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    truth = np.random.default_rng(bits).integers(low, high + 1, (5, 12, 16))
    truth[:, 0, :2] = low, high
    paths = saved(truth, tmp_path / "series", syntax, signed=signed, allocated=allocated, bits=bits)
    image = read_series(paths).image
    np.testing.assert_array_equal(voxels(image), truth)
    if syntax != DeflatedExplicitVRLittleEndian and (allocated, signed) != (8, True):  # these dcm2niix cannot read
        assert not compare(image, converted(paths, tmp_path)).beyond


@pytest.mark.parametrize("part", ["header", "pixels"])
@EVERY_SYNTAX
def test_file_cut_off_on_its_way_is_refused_and_no_slice_is_lost_with_it(
    syntax: UID, part: str, tmp_path: Path
) -> None:
    truth = np.random.default_rng(0).integers(0, 999, (6, 24, 20))
    paths = saved(truth, tmp_path, syntax, signed=True, allocated=16, bits=16)
    [path] = (path for path in paths if pydicom.dcmread(path).ImagePositionPatient[2] == 5)  # its loss leaves no gap
    content = path.read_bytes()
    place = content.find(b"\x7f\xe0\x00\x10" if syntax == ExplicitVRBigEndian else b"\xe0\x7f\x10\x00")
    if syntax == DeflatedExplicitVRLittleEndian:
        place = len(content) // 2
    start, end = (140, place) if part == "header" else (place + 12, len(content) - 16)
    for length in np.linspace(start, end, 25, dtype=int):
        path.write_bytes(content[:length])
        with pytest.raises(CaseError):
            read_series(paths)
