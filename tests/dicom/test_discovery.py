"""The raw, store folder as archives and people leave it: any names and layouts, links, damaged files, hostile names."""

import hashlib
import hmac
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
from pydicom import config
from pydicom.dataset import Dataset
from workspace import contents, write_params

from flairprep.cli import main
from flairprep.core import console
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.core.tables import read_csv
from flairprep.dicom import discovery, patients, survey
from flairprep.runner import result_cache
from flairprep.stages import balance, ingest, split

RAW = Path("data/raw/train")
OUT = Path("data/ingest")
LABELS = Path("data/raw/train_labels.csv")
KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the current folder, in a folder of its own, so that there is an outside."""
    root = tmp_path / "project"
    (root / RAW).mkdir(parents=True)
    monkeypatch.chdir(root)
    for module in (discovery, patients, result_cache):
        monkeypatch.setattr(module, "map_cases", in_this_process)
    write_params(root, ingest={"max_failed": 1, "min_slices": 6}, split={"folds": 2})
    return root


def in_this_process(
    function: Callable[[Any], Any], items: Sequence[Any], label: str, *, on_failure: object = None, unit: str = "case"
) -> Iterator[Any]:
    """pool.map_cases without its workers, whose start would take most of the time; test_pool has them."""
    return map(function, items)


def brain(seed: int, slices: int = 6) -> np.ndarray:
    """A skull-stripped volume, so that nothing warns of a face."""
    return np.pad(np.random.default_rng(seed).integers(1, 999, (slices - 2, 4, 4)), 1).astype(np.int16)


def put(folder: Path, patient: str, seed: int, **elements: Any) -> list[Path]:
    """A FLAIR of a patient in `folder`, as an archive names files: without an extension, in no order."""
    own = {
        **{"PatientID": patient, "StudyInstanceUID": f"1.2.{seed}", "SeriesInstanceUID": f"1.2.{seed}.1"},
        **{"SeriesDescription": "t2_flair", "EchoTime": 90, "InversionTime": 2500, "RepetitionTime": 9000},
    }
    values = elements.pop("values", brain(seed))
    with config.disable_value_validation():  # an id of 400 characters is longer than DICOM allows
        series = phantoms.slices(values, SpecificCharacterSet="ISO_IR 192", **own | elements)
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for index, dataset in enumerate(series):
            path = folder / f"IM{hashlib.sha256(f'{patient} {seed} {index}'.encode()).hexdigest()[:8]}"
            dataset.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def damage(path: Path) -> None:
    """Makes a file one whose patient cannot be read."""
    content = path.read_bytes()
    assert content.count(b"\x10\x00\x20\x00LO") == 1  # PatientID
    path.write_bytes(content.replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00XX"))


def put_damaged(path: Path) -> None:
    (whole, *others) = put(path.parent / "made", "p9", 9)
    damage(whole)
    whole.rename(path)
    for other in others:
        other.unlink()
    (path.parent / "made").rmdir()


def put_directory(path: Path) -> None:
    """A DICOMDIR as archives add one; it names patients and holds no image."""
    dataset = phantoms.slices(brain(0))[0]
    for keyword in ("PatientID", "PixelData", "Rows", "Columns", "SeriesInstanceUID", "StudyInstanceUID"):
        delattr(dataset, keyword)
    dataset.SOPClassUID = "1.2.840.10008.1.3.10"
    dataset.DirectoryRecordSequence = [Dataset()]
    dataset.save_as(path, enforce_file_format=True)


def pseudonym(patient: str, key: bytes = KEY) -> str:
    return hmac.new(key, patient.encode(), hashlib.sha256).hexdigest()[:16]


def key() -> None:
    (RAW / "flairprep.key").write_text(KEY.hex() + "\n")


def ingested() -> dict[str, str]:
    """Case id -> code, or status where there is none, after ingest."""
    ingest.main()
    return {row["case_id"]: row["code"] or row["status"] for row in read_csv(OUT / "cases.csv").to_dict("records")}


def refused(capfd: pytest.CaptureFixture[str]) -> str:
    """The one line in which ingest, run as a program, refuses the raw folder; that nothing was written."""
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as end:
        console.run(ingest.main, "ingest")
    assert end.value.code == 1
    assert sorted(Path().rglob("*")) == before
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("ingest: no output written")
    return first


def export() -> dict[str, list[str]]:
    """An export as archives make it; for each patient the folders that his files lie in."""
    put(RAW / "DICOM/0000/A", "p1", 1)
    put(RAW / "DICOM/0000/A", "p2", 2)  # two patients in one folder
    third = put(RAW / "x", "p3", 3)
    for index, path in enumerate(third):  # one patient over several folders
        target = RAW / f"y/{index % 3}/{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    put(RAW / "z", "p4", 4)  # several series in one folder
    put(RAW / "z", "p4", 41, StudyInstanceUID="1.2.4", SeriesDescription="t1 mprage", EchoTime=3, InversionTime=900)
    put(RAW / "z", "p4", 42, StudyInstanceUID="1.2.4", SeriesDescription="t2 tse", InversionTime=None)
    for folder in ("", "DICOM", "z"):
        (RAW / folder / "readme.txt").write_text("an export")
        put_directory(RAW / folder / "DICOMDIR")
    (RAW / "empty").mkdir()
    return {"p1": ["DICOM/0000/A"], "p2": ["DICOM/0000/A"], "p3": ["y/0", "y/1", "y/2"], "p4": ["z"]}


def test_export_of_any_folders_is_grouped_by_patient_under_ids_that_the_key_makes() -> None:
    patients = export()
    key()
    assert ingested() == {pseudonym(patient): "ok" for patient in sorted(patients, key=pseudonym)}
    cases = {case.case_id: case for case in discovery.find_cases(RAW, "FLAIR")}
    for patient, folders in patients.items():
        paths = cases[pseudonym(patient)].paths
        assert {str(path.parent.relative_to(RAW)) for path in paths} == set(folders)
        assert list(paths) == sorted(paths)
    assert len(cases[pseudonym("p4")].paths) == 3 * 6
    series = read_csv(OUT / "series.csv").to_dict("records")
    assert sorted(row["verdict"] for row in series if row["case_id"] == pseudonym("p4")) == [
        "T1w, not FLAIR",
        "T2w, not FLAIR",
        "read",
    ]


def test_export_without_a_key_is_refused_with_the_command_that_makes_one(capfd: pytest.CaptureFixture[str]) -> None:
    export()
    text = refused(capfd)
    assert str(RAW) in text
    assert "flairprep key" in text
    main.main(["key"])
    assert len(ingested()) == 4


def test_damaged_key_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    export()
    (RAW / "flairprep.key").write_text(KEY.hex()[:-1])
    assert "flairprep.key: not a key" in refused(capfd)


def test_another_key_gives_other_ids() -> None:
    export()
    key()
    former = set(ingested())
    (RAW / "flairprep.key").write_text(KEY[::-1].hex())
    assert set(ingested()) == {pseudonym(patient, KEY[::-1]) for patient in ("p1", "p2", "p3", "p4")}
    assert not former & set(ingested())


@pytest.mark.parametrize(
    ("patient", "means"),
    [
        ("  007  ", "007"),
        ("Müller^Jürgen 1", "Müller^Jürgen 1"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("/abs", "/abs"),
        ("=HYPERLINK(1)", "=HYPERLINK(1)"),
        ("x" * 400, "x" * 400),
        ("患者1", "患者1"),
    ],
)
def test_any_patient_id_becomes_a_case_id(patient: str, means: str) -> None:
    put(RAW / "any", patient, 1)
    put(RAW / "any", "other", 2)
    key()
    assert ingested() == dict.fromkeys(sorted([pseudonym(means), pseudonym("other")]), "ok")
    assert sorted(path.name for path in (OUT / "volumes").iterdir()) == sorted(
        f"{pseudonym(one)}.nii.gz" for one in (means, "other")
    )


def test_two_patients_never_share_a_case_id() -> None:
    put(RAW / "a", "p1", 1)
    put(RAW / "b", "p1\t", 2)  # what one reader takes for padding must be padding for all
    key()
    ids = [case.case_id for case in discovery.find_cases(RAW, "FLAIR")]
    assert len(ids) == len(set(ids))


def test_patients_whose_ids_cannot_be_decoded_stay_two() -> None:
    """A header that says UTF-8 and holds Latin-1, as converters leave it."""
    for seed, letter in enumerate((b"\xfc", b"\xf6")):
        for path in put(RAW / f"{seed}", "M..ller", seed):
            content = path.read_bytes()
            assert content.count(b"M..ller ") == 1
            path.write_bytes(content.replace(b"M..ller ", b"M" + letter + b"ller  "))
    key()
    assert len(discovery.find_cases(RAW, "FLAIR")) == 2


def test_files_without_a_patient_id_are_grouped_by_study() -> None:
    put(RAW / "a", "", 1)
    put(RAW / "a", "", 2)
    key()
    assert ingested() == dict.fromkeys(sorted([pseudonym("1.2.1"), pseudonym("1.2.2")]), "ok")


def test_folders_of_cases_keep_their_names_with_and_without_a_key() -> None:
    put(RAW / "00002/FLAIR", "p1", 1)
    put(RAW / "sub-1/flair", "p2", 2)
    assert ingested() == {"00002": "ok", "sub-1": "ok"}
    key()
    assert ingested() == {"00002": "ok", "sub-1": "ok"}


def test_labels_by_patient_id_reach_the_split_under_the_case_ids(capfd: pytest.CaptureFixture[str]) -> None:
    """From an export and the archive's own ids to split.csv; no out says which patient a case is."""
    wanted = {}
    for number in range(8):
        patient = f"Patient Ä{number}"
        put(RAW / f"folder {number // 2}", patient, number)
        wanted[pseudonym(patient)] = str(int(number in (0, 3, 5, 6)))
    key()
    rows = [f" Patient Ä{number} ,{int(number in (0, 3, 5, 6))}" for number in range(8)]
    LABELS.write_text("\n".join(["BraTS21ID,MGMT_value", *rows, "Patient without scan,1"]) + "\n", encoding="utf-8")
    ingest.main()
    balance.main()
    split.main()
    found = read_csv(Path("data/split/split.csv"))
    assert dict(zip(found["case_id"], found["label"], strict=True)) == wanted
    shown = capfd.readouterr()
    outs = [path.read_bytes() for top in ("data/ingest", "data/split", "reports") for path in Path(top).rglob("*.*")]
    assert len(outs) > 8
    for text in [shown.out.encode(), shown.err.encode(), *outs]:
        assert b"Patient" not in text
    assert pseudonym("Patient without scan") in Path("reports/balance.json").read_text()


def test_labels_may_name_the_case_ids_themselves() -> None:
    patients = list(export())
    key()
    ingest.main()
    rows = [f"{pseudonym(patient)},{number % 2}" for number, patient in enumerate(patients)]
    LABELS.write_text("\n".join(["BraTS21ID,MGMT_value", *rows]) + "\n")
    split.main()
    found = read_csv(Path("data/split/split.csv"))
    assert set(found["case_id"]) == {pseudonym(patient) for patient in patients}


def test_who_prints_the_patient_of_a_case_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    export()
    key()
    main.main(["who", pseudonym("p3")])
    assert capfd.readouterr().out == "p3\n"
    put(RAW / "more", "", 9)
    main.main(["who", pseudonym("1.2.9")])
    assert capfd.readouterr().out == "(no patient id)\n"


def test_who_reads_folders_of_cases_too(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "00002/FLAIR", "p1", 1)
    main.main(["who", "00002"])
    assert capfd.readouterr().out == "p1\n"


def test_who_refuses_a_case_that_does_not_exist_with_a_hint(capfd: pytest.CaptureFixture[str]) -> None:
    export()
    key()
    wrong = pseudonym("p1")[:-1] + "?"
    with pytest.raises(SystemExit) as end:
        main.main(["who", wrong])
    assert end.value.code == 1
    error = capfd.readouterr().err
    assert f"no case '{wrong}'" in error
    assert f"did you mean '{pseudonym('p1')}'?" in error


# Damaged files of an export.


def test_damaged_file_beside_a_patients_files_fails_his_case() -> None:
    put(RAW / "a", "p1", 1)
    put(RAW / "b", "p2", 2)
    put_damaged(RAW / "a/IM999")
    key()
    assert ingested() == dict(sorted({pseudonym("p1"): "DECODE_FAILED", pseudonym("p2"): "ok"}.items()))


def test_damaged_slice_of_an_export_is_not_left_out_of_its_volume() -> None:
    paths = put(RAW / "a", "p1", 1, values=brain(1, 8))
    damage(paths[-1])
    key()
    assert ingested() == {pseudonym("p1"): "DECODE_FAILED"}


@pytest.mark.parametrize("layout", ["p1/FLAIR", "a"])
@pytest.mark.parametrize("left", [140, 200, 400, 600, 800, -40])
def test_slice_that_a_download_cut_off_is_not_left_out_of_its_volume(left: int, layout: str) -> None:
    """The last slice: without it the rest would be a sound volume, one slice too short."""
    path = put(RAW / layout, "p1", 1, values=brain(1, 8))[-1]
    path.write_bytes(path.read_bytes()[:left])
    key()
    ingest.main()
    (row,) = read_csv(OUT / "cases.csv").to_dict("records")
    assert row["status"] == "failed", row["message"]


def test_file_that_ends_anywhere_in_its_header_is_not_another_series() -> None:
    uid = f"1.2.{'3' * 50}"  # as long as real ones: half of it is an UID too
    paths = put(RAW / "p1/FLAIR", "p1", 1, values=brain(1, 8), SeriesInstanceUID=uid)
    whole = paths[-1].read_bytes()
    case = discovery.RawCase("p1", tuple(paths), "FLAIR")
    for length in range(140, whole.index(b"\xe0\x7f\x10\x00")):
        paths[-1].write_bytes(whole[:length])
        with pytest.raises(CaseError):  # noqa: PT012
            best, _ = survey.choose_series(case, survey.survey_case(case), "FLAIR")
            survey.read_candidate(best)


def test_series_that_was_chosen_and_fails_is_not_said_to_be_read() -> None:
    put(RAW / "few/FLAIR", "p1", 1, values=brain(1, 5))
    ingest.main()
    (row,) = read_csv(OUT / "series.csv").to_dict("records")
    assert row["verdict"] == "TOO_FEW_SLICES"


def test_files_beside_the_folders_of_cases_are_told(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "p1/FLAIR", "p1", 1)
    put(RAW / "p1", "p1", 2)
    put(RAW, "p1", 3)
    ingest.main()
    told = capfd.readouterr().err
    assert f"{RAW}: 12 files" in told


def test_numbers_and_codes_of_a_header_that_may_be_a_date_or_a_name_are_not_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    put(RAW / "frames/FLAIR", "p1", 1, NumberOfFrames=19680229)
    put(RAW / "letters/FLAIR", "p2", 2, Modality="JD")
    put(RAW / "time/FLAIR", "p3", 3, InversionTime=19680229.0)
    assert ingested() == {"frames": "TOO_LARGE", "letters": "NOT_MR", "time": "ok"}
    shown = "".join(capfd.readouterr()) + "".join(path.read_text() for path in OUT.glob("*.csv"))
    assert "1968" not in shown
    assert "1.968" not in shown
    assert "JD" not in shown


def test_empty_file_among_slices_is_told() -> None:
    path = put(RAW / "p1/FLAIR", "p1", 1, values=brain(1, 8))[-1]
    path.write_bytes(b"")
    assert ingested() == {"p1": "NOT_DICOM"}


def test_damaged_file_between_two_patients_is_told_in_numbers(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a", "p1", 1)
    put(RAW / "a", "p2", 2)
    put_damaged(RAW / "a/secret name")
    (RAW / "notes.txt").write_text("no DICOM")
    key()
    assert ingested() == dict.fromkeys(sorted([pseudonym("p1"), pseudonym("p2")]), "ok")
    error = capfd.readouterr().err
    assert f"DECODE_FAILED: 1 of 14 files in {RAW} belong to no case" in error
    assert f"NOT_DICOM: 1 of 14 files in {RAW} belong to no case" in error
    assert "secret" not in error


def test_text_file_beside_a_patients_files_is_nobodys(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a", "p1", 1)
    (RAW / "a/notes").write_text("no DICOM")
    key()
    assert ingested() == {pseudonym("p1"): "ok"}
    assert f"NOT_DICOM: 1 of 7 files in {RAW}" in capfd.readouterr().err


def test_export_of_damaged_files_alone_is_no_case(capfd: pytest.CaptureFixture[str]) -> None:
    put_damaged(RAW / "a/IM1")
    key()
    with pytest.raises(FlairprepError, match="no case in"):
        ingest.main()
    assert "DECODE_FAILED: 1 of 1 files" in capfd.readouterr().err


def test_a_damaged_file_does_not_make_its_series_one_of_several() -> None:
    """What series.csv says of the only FLAIR of a case that failed for another reason."""
    put(RAW / "p1/FLAIR", "p1", 1)
    put_damaged(RAW / "p1/FLAIR/IM999")
    assert ingested() == {"p1": "DECODE_FAILED"}
    (row,) = read_csv(OUT / "series.csv").to_dict("records")
    assert row["verdict"] != "read"
    assert "another" not in row["verdict"]


# Names of folders that are no ids.

HOSTILE = [
    *["a\nb", "a\tb", "a\x1b[31m", "a\u202eb", "a.", "a ", "=1+1", "+1", "-1", "@x", "'a", "x" * 101, "é" * 51, "a\\b"],
    *["C:a", "a*"],
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_name_of_a_folder_is_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "good/FLAIR", "p1", 1)
    put(RAW / name / "FLAIR", "p2", 2)
    text = refused(capfd)
    assert text.startswith(f"error: {RAW}: the case id {name!r} ")
    assert text.endswith("; rename the folder")
    assert text.isprintable()


def test_name_of_a_folder_that_is_no_utf_8_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "good/FLAIR", "p1", 1)
    (RAW / os.fsdecode(b"M\xfcller") / "FLAIR").mkdir(parents=True)
    assert r"'M\udcfcller' holds a control character" in refused(capfd)


@pytest.mark.parametrize("pair", [("A1", "a1"), ("é", "e\u0301")], ids=ascii)
def test_folders_that_other_systems_cannot_tell_apart_are_refused(
    pair: tuple[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(pair):
        put(RAW / name / "FLAIR", name, seed)
    if len(list(RAW.iterdir())) < 2:
        pytest.skip("this file system cannot tell them apart either")
    text = refused(capfd)
    assert text.startswith(f"error: {RAW}: ")
    assert all(ascii(name) in text for name in pair)


# Links, and what is no file.


def moved(path: Path, target: Path) -> None:
    """`path` as a link to where its content now is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, target)
    path.symlink_to(target.resolve())


def test_link_to_a_file_inside_is_followed(project: Path) -> None:
    (path, *_) = put(RAW / "p1/FLAIR", "p1", 1)
    moved(path, RAW / "p1/elsewhere/file")
    before = contents(RAW)
    assert ingested() == {"p1": "ok"}
    assert contents(RAW) == before


def test_link_to_the_outside_fails_its_case_and_no_other(project: Path) -> None:
    (path, *_) = put(RAW / "p1/FLAIR", "p1", 1)
    put(RAW / "p2/FLAIR", "p2", 2)
    moved(path, project.parent / "outside/file")
    assert ingested() == {"p1": "LINK_OUTSIDE", "p2": "ok"}


@pytest.mark.parametrize("level", ["p1", "p1/FLAIR", "p1/FLAIR/below"])
def test_linked_folder_fails_its_case_too(level: str, project: Path) -> None:
    put(RAW / "p1/FLAIR", "p1", 1)
    put(RAW / "p1/FLAIR/below", "p1", 1)
    put(RAW / "p2/FLAIR", "p2", 2)
    moved(RAW / level, project.parent / "outside")
    assert ingested() == {"p1": "LINK_OUTSIDE", "p2": "ok"}


def test_link_to_the_outside_refuses_an_export(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (path, *_) = put(RAW / "a", "p1", 1)
    moved(path, project.parent / "outside/file")
    key()
    text = refused(capfd)
    assert text.startswith(f"error: {RAW}: 1 links lead to folders, out of it")


def test_linked_folder_refuses_an_export(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a", "p1", 1)
    put(RAW / "b", "p2", 2)
    moved(RAW / "a", project.parent / "outside")
    key()
    assert "out of it or to nothing" in refused(capfd)


def test_raw_folder_itself_may_be_a_link(project: Path) -> None:
    put(RAW / "p1/FLAIR", "p1", 1)
    moved(RAW, project.parent / "big disk/train")
    assert ingested() == {"p1": "ok"}


@pytest.mark.parametrize("layout", ["p1/FLAIR", "a"])
def test_links_into_the_cache_of_dvc_are_followed(layout: str, project: Path) -> None:
    """DVC's cache.type symlink; its cache may be shared and lie anywhere."""
    for path in put(RAW / layout, "p1", 1):
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        moved(path, project.parent / f"cache/files/md5/{digest[:2]}/{digest[2:]}")
    key()
    moved(RAW / "flairprep.key", project.parent / f"cache/files/md5/ab/{'0' * 30}")
    assert list(ingested().values()) == ["ok"]


@pytest.mark.parametrize(
    "target", ["cache/files/md5/ab/0123", "cache/files/md5/ab/" + "g" * 30, "files/md5/ab/" + "0" * 30 + "/file"]
)
def test_what_only_resembles_the_cache_is_outside(target: str, project: Path) -> None:
    (path, *_) = put(RAW / "p1/FLAIR", "p1", 1)
    moved(path, project.parent / target)
    assert ingested() == {"p1": "LINK_OUTSIDE"}


def test_dvc_itself_links_to_where_links_are_followed(project: Path) -> None:
    put(RAW / "p1/FLAIR", "p1", 1)
    dvc = [str(Path(sys.executable).parent / "dvc")]
    for command in (["init", "-q", "--no-scm"], ["config", "cache.type", "symlink"], ["add", "-q", str(RAW)]):
        subprocess.run([*dvc, *command], check=True, capture_output=True)
    assert all(path.is_symlink() for path in (RAW / "p1/FLAIR").iterdir())
    assert ingested() == {"p1": "ok"}


@pytest.mark.parametrize("target", ["nowhere", "cache/files/md5/ab/" + "0" * 30])
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_slice_whose_link_leads_nowhere_is_not_left_out_of_its_volume(target: str, place: str, project: Path) -> None:
    """The last slice: without it the rest would be a sound volume, one slice too short."""
    path = put(RAW / "p1/FLAIR", "p1", 1, values=brain(1, 8))[-1]
    path.unlink()
    path.symlink_to((project / RAW if place == "inside" else project.parent) / target)
    ingest.main()
    (row,) = read_csv(OUT / "cases.csv").to_dict("records")
    assert row["status"] == "failed", row["message"]


def test_loops_of_links_end(project: Path) -> None:
    put(RAW / "p1/FLAIR", "p1", 1)
    put(RAW / "p2/FLAIR", "p2", 2)
    (RAW / "p1/FLAIR/loop").symlink_to((project / RAW / "p1").resolve())
    (RAW / "p1/FLAIR/self").symlink_to("self")
    found = ingested()
    assert list(found) == ["p1", "p2"]
    assert found["p2"] == "ok"


def test_loop_of_links_to_files_ends_no_other_case() -> None:
    put(RAW / "p1/FLAIR", "p1", 1)
    put(RAW / "p2/FLAIR", "p2", 2)
    (RAW / "p1/FLAIR/one").symlink_to("two")
    (RAW / "p1/FLAIR/two").symlink_to("one")
    assert ingested()["p2"] == "ok"


@pytest.mark.parametrize("layout", ["p1/FLAIR", "a"])
def test_pipe_among_the_files_is_not_waited_for(layout: str) -> None:
    put(RAW / layout, "p1", 1)
    os.mkfifo(RAW / layout / "pipe")
    os.mkfifo(RAW / "pipe")
    key()
    assert list(ingested().values()) == ["ok"]


def test_hidden_files_and_folders_are_none_of_a_case() -> None:
    put(RAW / "p1/FLAIR", "p1", 1)
    put(RAW / "p1/FLAIR/.hidden", "p2", 2)
    (RAW / "p1/FLAIR/.DS_Store").write_text("of the desktop")
    assert ingested() == {"p1": "ok"}


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: put(RAW / "p1/FLAIR", "p1", 1), True),
        (lambda: put(RAW / "p1/t1WCE", "p1", 1), True),
        (lambda: put(RAW / "p1/MR FLAIR", "p1", 1), False),
        (lambda: put(RAW / "FLAIR", "p1", 1), False),
        (lambda: put(RAW / "a/b/FLAIR", "p1", 1), False),
        (lambda: None, False),
    ],
)
def test_layout_is_told_by_a_folder_named_as_a_sequence(make: Callable[[], object], named: bool) -> None:
    make()
    assert discovery.named_by_folder(RAW) is named


def test_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another user's scans lie between: the rest would be a sound volume, without its last slices."""
    put(RAW / "p1/FLAIR", "p1", 1)
    put(RAW / "p1/FLAIR/locked", "p1", 1, origin=(0, 0, 6))
    listed = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises((FlairprepError, OSError)):
        ingest.main()


@pytest.mark.parametrize("patient", ["\x1b[2Jp1", "p1\r\nerror: x"])
def test_who_does_not_let_a_header_move_the_cursor(patient: str, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "00001/FLAIR", patient, 1)
    main.main(["who", "00001"])
    assert capfd.readouterr().out.removesuffix("\n").isprintable()


def test_patient_id_with_a_backslash_is_text(capfd: pytest.CaptureFixture[str]) -> None:
    """No header should have one, it parts values; what the table of labels says is what the key must be given."""
    put(RAW / "a", "A\\B", 1)
    key()
    assert list(ingested()) == [pseudonym("A\\B")]
