"""ingest as a user runs it: a folder of cases, params.yaml, and what stands in data/ingest afterwards."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from ruamel.yaml import YAML
from workspace import PARAMS

from flairprep.core.errors import FlairprepError
from flairprep.core.params import validate
from flairprep.core.tables import read_csv
from flairprep.dicom.ingest_params import IngestParams
from flairprep.imaging import nifti
from flairprep.stages import ingest

COLUMNS = (
    "case_id,status,code,message,plane,rows,columns,slices,spacing_x,spacing_y,spacing_z,space,manufacturer,"
    "field_strength,echo_time,repetition_time,inversion_time,acquisition_type,contrast_agent,sex,age_band,"
    "skull_stripped,interpolated,session"
)
RAW = Path("data/raw/train")
OUT = Path("data/ingest")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """An empty project as the current folder; the function sets values of its section `ingest`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")
    RAW.mkdir(parents=True)

    def edit(**changed: Any) -> None:
        yaml = YAML()
        values = yaml.load(PARAMS)
        values["ingest"].update({"max_failed": 1, **changed})
        yaml.dump(values, Path("params.yaml"))

    edit()
    return edit


def stored(seed: int, slices: int = 10, *, stripped: bool = True) -> np.ndarray:
    """Noise, as a skull-stripped brain with zeros on all faces, or from border to border."""
    values = np.random.default_rng(seed).integers(1, 999, (slices, 6, 5)).astype(np.int16)
    return np.pad(values[1:-1, 1:-1, 1:-1], 1) if stripped else values


def add(case: str, seed: int = 0, folder: str = "FLAIR", slices: int = 10, **elements: Any) -> np.ndarray:
    """A case's series on disk, its patient and study its own unless `elements` says otherwise; the voxels."""
    pixels = stored(seed, slices)
    own = {"PatientID": f"patient {case}", "StudyInstanceUID": f"1.2.{seed}", "FrameOfReferenceUID": f"1.3.{seed}"}
    phantoms.save(phantoms.slices(pixels, **own | elements), RAW / case / folder, seed)
    return pixels


def cohort() -> None:
    """One case of each kind."""
    add("00002", 2)
    add("00010", 10, folder="flair", orientation=phantoms.PLANES["coronal"], spacing=(3.0, 0.7, 0.4))
    add("00020", 20, PatientID="patient 00002")
    add("00025", 2, PatientID="", StudyInstanceUID="1.2.99", FrameOfReferenceUID="")  # the voxels of 00002
    add("00026", 26, PatientID="")
    add("few", 4, slices=7)
    add("other", 5, folder="T1w")
    add("warned", 6)
    (RAW / "warned/FLAIR/notes.txt").write_text("no DICOM")
    phantoms.save(phantoms.slices(np.full((10, 6, 5), 7, np.int16)), RAW / "blank/FLAIR")
    (RAW / "empty").mkdir()
    (RAW / "dark/FLAIR").mkdir(parents=True)
    (RAW / ".hidden/FLAIR").mkdir(parents=True)
    (RAW / "LICENSE").write_text("beside the cases")


def rows() -> dict[str, dict[str, str]]:
    return {str(row["case_id"]): row for row in read_csv(OUT / "cases.csv").to_dict("records")}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_case_has_a_row_and_every_good_one_a_volume(project: Callable[..., None]) -> None:
    cohort()
    project(exclude={"dark": "completely dark"})
    ingest.main()
    assert (OUT / "cases.csv").read_text(encoding="utf-8").splitlines()[0] == COLUMNS
    table = rows()
    assert list(table) == sorted(table)
    assert {case: (row["status"], row["code"]) for case, row in table.items()} == {
        "00002": ("ok", ""),
        "00010": ("ok", ""),
        "00020": ("ok", ""),
        "00025": ("ok", ""),
        "00026": ("ok", ""),
        "blank": ("failed", "BLANK_VOLUME"),
        "dark": ("failed", "EXCLUDED"),
        "empty": ("failed", "NO_SERIES"),
        "few": ("failed", "TOO_FEW_SLICES"),
        "other": ("failed", "NO_SERIES"),
        "warned": ("warned", "NOT_DICOM"),
    }
    assert table["dark"]["message"] == "completely dark"
    good = sorted(case for case, row in table.items() if row["status"] != "failed")
    assert sorted(path.name for path in (OUT / "volumes").iterdir()) == [f"{case}.nii.gz" for case in good]
    assert sorted(path.name for path in OUT.iterdir()) == ["cases.csv", "same_as.csv", "series.csv", "volumes"]
    assert {value for name, value in table["few"].items() if name not in ("case_id", "status", "code", "message")} == {
        ""
    }


def test_row_says_what_the_volume_is(project: Callable[..., None]) -> None:
    pixels = add("00010", 10, folder="Flair", orientation=phantoms.PLANES["coronal"], spacing=(3.0, 0.7, 0.4))
    ingest.main()
    shape = {"plane": "coronal", "rows": "6", "columns": "5", "slices": "10", "interpolated": "0"}
    spacing = {"spacing_x": "0.4", "spacing_y": "0.7", "spacing_z": "3"}
    assert rows()["00010"].items() >= (shape | spacing | {"skull_stripped": "yes", "contrast_agent": "no"}).items()
    image = nifti.read_volume(OUT / "volumes/00010.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), pixels)
    assert image.GetSpacing() == pytest.approx((0.4, 0.7, 3))
    assert image.GetDirection() == pytest.approx((1, 0, 0, 0, 0, 1, 0, -1, 0))


def test_same_as_names_the_first_case_that_shares_a_value(project: Callable[..., None]) -> None:
    cohort()
    ingest.main()
    table = read_csv(OUT / "same_as.csv")
    assert list(table.columns) == ["case_id", "patient", "study", "frame_of_reference", "voxels"]
    assert table.to_numpy().tolist() == [
        ["00002", "00002", "00002", "00002", "00002"],
        ["00010", "00010", "00010", "00010", "00010"],
        ["00020", "00002", "00020", "00020", "00020"],  # two folders of one patient
        ["00025", "00025", "00025", "00025", "00002"],  # no PatientID: nobody's
        ["00026", "00026", "00026", "00026", "00026"],  # nor another such case's
        ["warned", "warned", "warned", "warned", "warned"],
    ]


@pytest.mark.slow
def test_outs_are_the_same_bytes_with_one_and_with_two_workers(
    project: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort()
    ingest.main()
    once = contents(OUT)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "2")
    ingest.main()
    assert contents(OUT) == once
    assert len(once) == 6 + 3


def test_too_many_failures_stop_the_stage_and_leave_the_former_result(
    project: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    add("good")
    (RAW / "bad").mkdir()
    (RAW / "dark").mkdir()
    project(max_failed=0.49, exclude={"dark": ""})
    with pytest.raises(FlairprepError, match=r"ingest\.max_failed: 0\.49: 1 of 2 cases failed"):
        ingest.main()  # the excluded one does not count
    shown = capfd.readouterr()
    assert "case bad failed: NO_SERIES" in shown.err
    assert "3 cases in, 1 out, 0 warned, 2 failed" in shown.out
    assert ["failed", "NO_SERIES", "1", "bad"] in [line.split() for line in shown.out.splitlines()]
    assert not OUT.exists()
    project(max_failed=0.5, exclude={"dark": ""})
    ingest.main()
    former = contents(OUT)
    project(max_failed=0, exclude={"dark": ""})
    with pytest.raises(FlairprepError):
        ingest.main()
    assert contents(OUT) == former


def test_damaged_case_ends_nothing_for_the_others(project: Callable[..., None]) -> None:
    add("damaged")
    add("good", 1)
    path = sorted((RAW / "damaged/FLAIR").iterdir())[0]
    content = path.read_bytes()
    assert content.count(b"\x20\x00\x0e\x00UI") == 1  # SeriesInstanceUID
    path.write_bytes(content.replace(b"\x20\x00\x0e\x00UI", b"\x20\x00\x0e\x00XX"))
    ingest.main()
    assert [(row["status"], row["code"]) for row in rows().values()] == [("failed", "DECODE_FAILED"), ("ok", "")]


def test_nothing_of_a_header_text_reaches_outs_or_messages(
    project: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("PatientName", "PatientID", "InstitutionName", "ImageComments", "PatientComments", "StudyDescription")
    words += ("SeriesDescription", "Manufacturer", "ContrastBolusAgent", "AccessionNumber", "ReferringPhysicianName")
    canary = dict.fromkeys(words, "CANARY") | {"PatientSex": "C", "PatientBirthDate": "19610203"}
    uids = {"StudyInstanceUID": "1.2.424242", "SeriesInstanceUID": "1.2.424242", "FrameOfReferenceUID": "1.2.424242"}
    add("ok", 1, **canary | uids)
    add("warned", 2, **canary | uids | {"PhotometricInterpretation": "MONOCHROME1"})
    add("failed", 3, **canary | uids | {"Modality": "CANARY"})
    add("undecodable", 4, **canary | uids | {"PhotometricInterpretation": "CANARY"})
    ingest.main()
    shown = capfd.readouterr()
    assert [row["status"] for row in rows().values()] == ["failed", "warned", "failed", "warned"]
    written = [gzip.decompress(data) if name.endswith(".gz") else data for name, data in contents(OUT).items()]
    for text in ("CANARY", "19610203", "424242"):
        assert text not in shown.out + shown.err
        assert not any(text.encode() in data for data in written)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RAW.rmdir(), "ingest.dicom_dir: 'data/raw/train' "),
        (lambda: None, "no case in 'data/raw/train'; expected CASE/FLAIR/"),
    ],
)
def test_folder_without_cases_is_refused(make: Callable[[], None], message: str, project: Callable[..., None]) -> None:
    make()
    with pytest.raises(FlairprepError, match=r"^params.yaml: ") as caught:
        ingest.main()
    assert message in str(caught.value)


def test_excluded_case_that_does_not_exist_is_warned_of(
    project: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    add("00002")
    project(exclude={"00003": "dark"})
    ingest.main()
    assert "ingest.exclude: no case 00003 in data/raw/train" in capfd.readouterr().err
    assert list(rows()) == ["00002"]


def test_other_sequence_is_read_where_params_name_it(project: Callable[..., None]) -> None:
    add("00002", folder="FLAIR")
    pixels = add("00002", 1, folder="T1w")
    project(sequence="T1w")
    ingest.main()
    image = nifti.read_volume(OUT / "volumes/00002.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), pixels)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_failed", 1.01),
        ("max_failed", -0.1),
        ("max_failed", float("nan")),
        ("min_slices", 0),
        ("min_slices", 8.0),
        ("volume", "second"),
        ("sequence", "../T1w"),
        ("sequence", "T1W"),
        ("dicom_dir", "/data"),
        ("dicom_dir", "data/../../raw"),
        ("dicom_dir", "~/raw"),
        ("dicom_dir", "data/raw\n"),
        ("dicom_dir", ""),
        ("sequence", ""),
        ("exclude", {109: "dark"}),  # 00109 without quotes
        ("exclude", ["00109"]),
        ("pick", {109: 5}),
        ("pick", {"00109": "5"}),
        ("pick", {"00109": -1}),
        ("session", "second"),
    ],
)
def test_param_out_of_range_is_refused(key: str, value: Any) -> None:
    values = {
        "dicom_dir": "data",
        "sequence": "FLAIR",
        "exclude": {},
        "pick": {},
        "session": None,
        "max_failed": 0.1,
        "min_slices": 8,
        "volume": None,
    }
    with pytest.raises(FlairprepError, match=rf"^params\.yaml: ingest\.{key}"):
        validate(IngestParams, {**values, key: value}, "ingest")
