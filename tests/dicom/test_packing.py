"""pack and unpack: what comes back is what was there, whatever happens between, and nothing is removed before."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from raw_folder import OUT, RAW, ingested, make_project, put
from workspace import contents, in_this_process

from flairprep.cli import pack as commands
from flairprep.core.errors import FlairprepError
from flairprep.dicom import packing


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_project(tmp_path, monkeypatch)
    monkeypatch.setattr(packing, "map_cases", in_this_process)
    for seed, case in enumerate("abc"):
        put(RAW / case / "FLAIR", f"p{seed}", seed)
    put(RAW / "a/T1w", "p0", 10, SeriesDescription="t1", EchoTime=3, InversionTime=900)
    (RAW / "b/FLAIR/.hidden").write_bytes(b"x")
    (RAW / "b/FLAIR/empty").mkdir()
    (RAW / "b/notes.txt").write_bytes(b"")
    return root


def tree(folder: Path) -> dict[str, str]:
    """Files with their hashes, and folders."""
    return contents(folder) | {f"{path.relative_to(folder)}/": "" for path in folder.rglob("*") if path.is_dir()}


def test_packed_cases_give_the_same_outs_and_come_back_as_they_were() -> None:
    before = tree(RAW)
    ingested()
    outs = contents(OUT)
    commands.pack(RAW, None, remove=True)
    assert sorted(path.name for path in RAW.iterdir()) == ["a.zip", "b.zip", "c.zip"]
    ingested()
    assert contents(OUT) == outs
    commands.unpack(RAW, None, remove=True)
    assert tree(RAW) == before


def test_out_leaves_the_folder_as_it_is_and_has_the_same_bytes_each_time() -> None:
    before = tree(RAW)
    for place in ("one", "two"):
        commands.pack(RAW, Path(place), remove=False)
        os.utime(next((RAW / "a/FLAIR").iterdir()), (0, 0))
    assert tree(RAW) == before
    assert contents(Path("one")) == contents(Path("two"))
    commands.unpack(Path("one"), Path("back"), remove=False)
    assert tree(Path("back")) == before


def test_sequences_keeps_only_what_is_used() -> None:
    ingested()
    outs = contents(OUT / "volumes")
    commands.pack(RAW, Path("packed"), remove=False, sequences=["FLAIR"])
    commands.unpack(Path("packed"), Path("back"), remove=False)
    assert {path.parts[2] for path in Path("back").rglob("*") if len(path.parts) > 2} == {"FLAIR"}
    shutil.rmtree(RAW)
    Path("packed").rename(RAW)
    ingested()
    assert contents(OUT / "volumes") == outs


@pytest.mark.parametrize("step", ["_write", "_equal", "rmtree"])
def test_interrupted_run_goes_on_where_it_stopped(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(RAW)
    calls = []

    def stops(*given: object, **_: object) -> None:
        calls.append(given)
        if step == "rmtree":  # half of a folder is gone
            next(path for path in Path(str(given[0])).rglob("IM*")).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(packing.shutil if step == "rmtree" else packing, step, stops)
        with pytest.raises(KeyboardInterrupt):
            commands.pack(RAW, None, remove=True)
    assert len(calls) == 1
    commands.pack(RAW, None, remove=True)
    commands.unpack(RAW, None, remove=True)
    assert tree(RAW) == before


def test_archive_that_differs_removes_nothing() -> None:
    commands.pack(RAW, Path("packed"), remove=False)
    Path("packed/a.zip").rename(RAW / "a.zip")
    path = next((RAW / "a/FLAIR").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    before = tree(RAW)
    with pytest.raises(FlairprepError, match=r"a\.zip: differs from the folder a"):
        commands.pack(RAW, None, remove=True)
    with pytest.raises(FlairprepError, match=r"a\.zip: differs from the folder a"):
        commands.unpack(RAW, None, remove=True)
    assert tree(RAW) == before


@pytest.mark.parametrize(
    ("spoil", "remedy"),
    [
        (lambda: (RAW / "a/FLAIR/link").symlink_to("/etc/passwd"), "put files there"),
        (lambda: (RAW / "a/FLAIR/up").symlink_to(".."), "put files there"),
        (lambda: (RAW / "a/FLAIR/x.nii.gz").write_bytes(b""), "leave it unpacked"),
        (lambda: (RAW / "a/FLAIR/..\\x").write_bytes(b""), "files at fault"),
        (lambda: (RAW / "a/FLAIR/\udcff").write_bytes(b""), "no zip can hold"),
        (lambda: (RAW / "flairprep.key").write_text("00" * 32), "move it away"),
        (lambda: shutil.rmtree(RAW), "no such folder"),
    ],
)
def test_what_cannot_be_packed_is_refused_with_a_remedy(spoil: object, remedy: str) -> None:
    assert callable(spoil)
    spoil()
    before = tree(RAW) if RAW.exists() else {}
    with pytest.raises(FlairprepError, match=remedy):
        commands.pack(RAW, None, remove=True)
    assert {name for name in before if name.startswith("a/")} <= (set(tree(RAW)) if RAW.exists() else set())


@pytest.mark.parametrize(
    "options", [{"remove": False}, {"remove": True, "sequences": ["FLAIR"]}, {"remove": True, "sequences": ["flare"]}]
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object]) -> None:
    before = tree(RAW)
    with pytest.raises(FlairprepError):
        commands.pack(RAW, None, **options)  # type: ignore[arg-type]
    assert tree(RAW) == before


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.3, 0.6, 1.0])
def test_killed_run_goes_on_where_it_stopped(after: float) -> None:
    for seed in range(20):
        put(RAW / f"case{seed}/FLAIR", f"p{seed}", seed)
    before = tree(RAW)
    run = "from flairprep.cli.main import main; main(['pack', 'data/raw/train', '--remove'])"
    with subprocess.Popen([sys.executable, "-c", run], start_new_session=True, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60  # once it has begun, whenever that is
        while not list(RAW.glob("*.zip")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(after * 0.1)
        os.killpg(process.pid, signal.SIGKILL)
    commands.pack(RAW, None, remove=True)
    commands.unpack(RAW, None, remove=True)
    assert tree(RAW) == before


@pytest.mark.parametrize(("number", "told"), [(1, "1 case:"), (2, "2 cases:")])
def test_summary_counts_cases_in_words_that_fit(
    number: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for case in range(number):
        put(Path(f"other/{case}/FLAIR"), f"p{case}", case)
    commands.pack(Path("other"), tmp_path / "packed", remove=False)
    assert told in capsys.readouterr().out
