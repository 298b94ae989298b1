"""Find cases in the raw folder as archives and people leave it: any names and layouts, links, damaged files."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_folder import (
    KEY,
    OUT,
    RAW,
    brain,
    export,
    ingested,
    make_project,
    pseudonym,
    put,
    put_damaged,
    put_key,
)
from workspace import contents

from flairprep.cli import main
from flairprep.core import console
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import read_csv
from flairprep.dicom import discovery
from flairprep.stages import balance, ingest, split

LABELS = Path("data/raw/train_labels.csv")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


def refused(capfd: pytest.CaptureFixture[str]) -> str:
    """The line in which ingest, run as a program, refuses the raw folder; checks that it wrote nothing."""
    before = sorted(Path().rglob("*"))
    with pytest.raises(SystemExit) as end:
        console.run(ingest.main, "ingest")
    assert end.value.code == 1
    assert sorted(Path().rglob("*")) == before
    first, second = capfd.readouterr().err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("ingest: no output written")
    return first


def test_export_of_any_folders_is_grouped_by_patient_under_ids_that_the_key_makes() -> None:
    patients = export()
    put_key()
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
    text = refused(capfd)
    assert "flairprep.key: " in text
    assert KEY.hex()[:-1] not in text


def test_another_key_gives_other_ids() -> None:
    export()
    put_key()
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
    put_key()
    assert ingested() == dict.fromkeys(sorted([pseudonym(means), pseudonym("other")]), "ok")
    assert sorted(path.name for path in (OUT / "volumes").iterdir()) == sorted(
        f"{pseudonym(one)}.nii.gz" for one in (means, "other")
    )


def test_two_patients_never_share_a_case_id() -> None:
    put(RAW / "a", "p1", 1)
    put(RAW / "b", "p1\t", 2)  # what one reader takes for padding must be padding for all
    put_key()
    ids = [case.case_id for case in discovery.find_cases(RAW, "FLAIR")]
    assert len(ids) == len(set(ids))


def test_patients_whose_ids_cannot_be_decoded_stay_two() -> None:
    """A header that says UTF-8 and holds Latin-1, as converters leave it."""
    for seed, letter in enumerate((b"\xfc", b"\xf6")):
        for path in put(RAW / f"{seed}", "M..ller", seed):
            content = path.read_bytes()
            assert content.count(b"M..ller ") == 1
            path.write_bytes(content.replace(b"M..ller ", b"M" + letter + b"ller  "))
    put_key()
    assert len(discovery.find_cases(RAW, "FLAIR")) == 2


def test_files_without_a_patient_id_are_grouped_by_study() -> None:
    put(RAW / "a", "", 1)
    put(RAW / "a", "", 2)
    put_key()
    assert ingested() == dict.fromkeys(sorted([pseudonym("1.2.1"), pseudonym("1.2.2")]), "ok")


def test_folders_of_cases_keep_their_names_with_and_without_a_key() -> None:
    put(RAW / "00002/FLAIR", "p1", 1)
    put(RAW / "sub-1/flair", "p2", 2)
    assert ingested() == {"00002": "ok", "sub-1": "ok"}
    put_key()
    assert ingested() == {"00002": "ok", "sub-1": "ok"}


def test_labels_by_patient_id_reach_the_split_under_the_case_ids(capfd: pytest.CaptureFixture[str]) -> None:
    """From an export and the archive's own ids to split.csv; no out says which patient a case is."""
    wanted = {}
    for number in range(8):
        patient = f"Patient Ä{number}"
        put(RAW / f"folder {number // 2}", patient, number)
        wanted[pseudonym(patient)] = str(int(number in (0, 3, 5, 6)))
    put_key()
    rows = [f" Patient Ä{number} ,{int(number in (0, 3, 5, 6))}" for number in range(8)]
    LABELS.write_text("\n".join(["BraTS21ID,MGMT_value", *rows, "Patient without scan,1"]) + "\n", encoding="utf-8")
    ingest.main()
    balance.main()
    split.main()
    table = read_csv(Path("data/split/split.csv"))
    assert dict(zip(table["case_id"], table["label"], strict=True)) == wanted
    shown = capfd.readouterr()
    outs = [path.read_bytes() for top in ("data/ingest", "data/split", "reports") for path in Path(top).rglob("*.*")]
    assert len(outs) > 8
    for text in [shown.out.encode(), shown.err.encode(), *outs]:
        assert b"Patient" not in text
    assert pseudonym("Patient without scan") in Path("reports/balance.json").read_text()


def test_labels_may_name_the_case_ids_themselves() -> None:
    patients = list(export())
    put_key()
    ingest.main()
    rows = [f"{pseudonym(patient)},{number % 2}" for number, patient in enumerate(patients)]
    LABELS.write_text("\n".join(["BraTS21ID,MGMT_value", *rows]) + "\n")
    split.main()
    table = read_csv(Path("data/split/split.csv"))
    assert set(table["case_id"]) == {pseudonym(patient) for patient in patients}


def test_damaged_file_beside_a_patients_files_fails_his_case() -> None:
    put(RAW / "a", "p1", 1)
    put(RAW / "b", "p2", 2)
    put_damaged(RAW / "a/IM999")
    put_key()
    assert ingested() == dict(sorted({pseudonym("p1"): "DECODE_FAILED", pseudonym("p2"): "ok"}.items()))


def test_files_beside_the_folders_of_cases_are_counted(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "p1/FLAIR", "p1", 1)
    put(RAW / "p1", "p1", 2)
    put(RAW, "p1", 3)
    ingest.main()
    assert f"{RAW}: 12 files" in capfd.readouterr().err


def test_damaged_file_between_two_patients_is_counted_and_not_named(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a", "p1", 1)
    put(RAW / "a", "p2", 2)
    put_damaged(RAW / "a/secret name")
    (RAW / "notes.txt").write_text("no DICOM")
    put_key()
    assert ingested() == dict.fromkeys(sorted([pseudonym("p1"), pseudonym("p2")]), "ok")
    error = capfd.readouterr().err
    assert f"DECODE_FAILED: 1 of 14 files in {RAW}" in error
    assert f"NOT_DICOM: 1 of 14 files in {RAW}" in error
    assert "secret" not in error


def test_text_file_beside_a_patients_files_is_nobodys(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a", "p1", 1)
    (RAW / "a/notes").write_text("no DICOM")
    put_key()
    assert ingested() == {pseudonym("p1"): "ok"}
    assert f"NOT_DICOM: 1 of 7 files in {RAW}" in capfd.readouterr().err


def test_export_of_damaged_files_alone_is_no_case(capfd: pytest.CaptureFixture[str]) -> None:
    put_damaged(RAW / "a/IM1")
    put_key()
    with pytest.raises(FlairprepError, match="no case in"):
        ingest.main()
    assert "DECODE_FAILED: 1 of 1 files" in capfd.readouterr().err


HOSTILE = [
    *["a\nb", "a\tb", "a\x1b[31m", "a\u202eb", "a.", "a ", "=1+1", "+1", "-1", "@x", "'a", "x" * 101, "é" * 51, "a\\b"],
    *["C:a", "a*"],
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_name_of_a_folder_is_refused(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "good/FLAIR", "p1", 1)
    put(RAW / name / "FLAIR", "p2", 2)
    text = refused(capfd)
    assert text.startswith(f"error: {RAW}: ")
    assert repr(name) in text
    assert text.isprintable()


def test_name_of_a_folder_that_is_no_utf_8_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "good/FLAIR", "p1", 1)
    (RAW / os.fsdecode(b"M\xfcller") / "FLAIR").mkdir(parents=True)
    assert r"'M\udcfcller'" in refused(capfd)


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
    put_key()
    assert refused(capfd).startswith(f"error: {RAW}: 1 links ")


def test_linked_folder_refuses_an_export(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a", "p1", 1)
    put(RAW / "b", "p2", 2)
    moved(RAW / "a", project.parent / "outside")
    put_key()
    assert refused(capfd).startswith(f"error: {RAW}: 1 links ")


def test_raw_folder_itself_may_be_a_link(project: Path) -> None:
    put(RAW / "p1/FLAIR", "p1", 1)
    moved(RAW, project.parent / "big disk/train")
    assert ingested() == {"p1": "ok"}


def test_raw_folder_of_an_export_may_be_a_link_too(project: Path) -> None:
    put(RAW / "a", "p1", 1)
    put(RAW / "a", "p2", 2)
    put_key()
    before = ingested()
    moved(RAW, project.parent / "big disk/train")
    assert ingested() == before
    assert sorted(before.values()) == ["ok", "ok"]


@pytest.mark.parametrize("layout", ["p1/FLAIR", "a"])
def test_links_into_the_cache_of_dvc_are_followed(layout: str, project: Path) -> None:
    """DVC's cache.type symlink; its cache may be shared and lie anywhere."""
    for path in put(RAW / layout, "p1", 1):
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        moved(path, project.parent / f"cache/files/md5/{digest[:2]}/{digest[2:]}")
    put_key()
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
    outcomes = ingested()
    assert list(outcomes) == ["p1", "p2"]
    assert outcomes["p2"] == "ok"


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
    put_key()
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
def test_layout_is_by_folder_where_one_is_named_as_a_sequence(make: Callable[[], object], named: bool) -> None:
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


def test_patient_id_with_a_backslash_is_text(capfd: pytest.CaptureFixture[str]) -> None:
    """No header should have one, it parts values; what the table of labels says is what the key must be given."""
    put(RAW / "a", "A\\B", 1)
    put_key()
    assert list(ingested()) == [pseudonym("A\\B")]
