"""Real scans in archives give the same outs as in folders, and names of members come out nowhere."""

from pathlib import Path

import pytest
from archived import KINDS, of_folder, replace_folder, write, write_zip
from raw_folder import KEY, OUT, RAW, ingested, make_project, pseudonym, put, put_key
from test_scans import OF_SCANS
from workspace import contents

from flairprep.dicom import archives
from flairprep.stages import ingest

CANARY = "Canary^Name 19610203"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))
    return make_project(tmp_path, monkeypatch)


@pytest.mark.slow
def test_real_series_gives_the_same_outs_from_any_archive(scans: Path) -> None:
    for number, name in enumerate(OF_SCANS):
        folder = RAW / f"{number:03d}/FLAIR"
        folder.mkdir(parents=True)
        for path in OF_SCANS[name]:
            (folder / path.name).write_bytes(path.read_bytes())
    of_folders = ingested()
    assert {"ok", "WHOLE_HEAD"} & set(of_folders.values())
    outs = contents(OUT)
    members = {case: of_folder(RAW / case) for case in of_folders}
    for case in of_folders:
        replace_folder(RAW / case).unlink()
    for kind in KINDS:
        for case in of_folders:
            write(RAW / f"{case}{kind}", members[case])
        assert ingested() == of_folders
        assert contents(OUT) == outs
        for case in of_folders:
            (RAW / f"{case}{kind}").unlink()


@pytest.mark.slow
def test_names_of_members_come_out_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / f"{CANARY}/{CANARY} 1", "p1", 1)
    put(RAW / f"{CANARY}/{CANARY} 2", "p2", 2)
    (RAW / f"{CANARY}/{CANARY} 2/{CANARY}.txt").write_text("no DICOM")
    members = of_folder(RAW / CANARY)
    replace_folder(RAW / CANARY).rename(RAW / f"{CANARY} whole.zip")
    damaged = write_zip(RAW / "damaged.zip", members, 0)
    damaged.write_bytes(damaged.read_bytes().replace(members[-1][1], members[-1][1][:-1] + b"\1"))
    write(RAW / "cut.tar", members).write_bytes((RAW / "cut.tar").read_bytes()[:-20000])
    write(RAW / "up.tgz", [(f"../{CANARY}", b"")])
    put_key()
    by_case = ingested()
    assert set(by_case) == {pseudonym("p1", KEY), pseudonym("p2", KEY)}
    shown = capfd.readouterr()
    files = [path for folder in (OUT, tmp_path / "cache") for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    everything = {str(path): path.read_bytes() for path in files} | {"shown": (shown.out + shown.err).encode()}
    for place, content in everything.items():
        for canary in (b"canary", b"19610203"):
            assert canary not in content.lower(), place
            assert canary.decode() not in place.lower()


def test_cache_answers_unchanged_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    put(RAW / "a/x", "p1", 1)
    replace_folder(RAW / "a")
    put_key()
    before = ingested()
    outs = contents(OUT)

    def fails(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(ingest.sessions, "survey", fails)
    monkeypatch.setattr(archives, "walk_one", fails)
    assert ingested() == before
    assert contents(OUT) == outs
