"""The cache's folder: entries that are whole or absent, digests that are remembered only where that is safe."""

import errno
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from flairprep.core.outcomes import Outcome, Status
from flairprep.runner import cache_dir
from flairprep.runner.cache_dir import CacheDir

KEY = "ab" + 62 * "0"
ADAPTER: TypeAdapter[Outcome] = TypeAdapter(Outcome)
RESULT = Outcome(
    "00002", Status.WARNED, "NOT_DICOM", "ünï; x", {"rows": 3, "ratio": 3.0, "text": "3.0", "skull": "yes"}
)
DAY = 86_400


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/v1"


@pytest.fixture
def opened(root: Path) -> CacheDir:
    cache = cache_dir.open_cache_dir()
    assert cache is not None
    return cache


def put(opened: CacheDir, folder: Path, key: str = KEY, content: bytes = b"voxels") -> None:
    (folder / "made").write_bytes(content)
    opened.keep(key, ADAPTER, RESULT, folder / "made")


def test_what_was_kept_comes_back_with_its_types_and_its_file(opened: CacheDir, tmp_path: Path) -> None:
    put(opened, tmp_path)
    result = opened.restore(KEY, ADAPTER, tmp_path / "back")
    assert result == RESULT
    assert [str(value) for value in result.row.values()] == ["3", "3.0", "3.0", "yes"]
    assert (tmp_path / "back").read_bytes() == b"voxels"
    assert opened.restore(KEY.replace("a", "c"), ADAPTER, tmp_path / "none") is None
    assert not (tmp_path / "none").exists()


def test_a_result_without_a_file_comes_back_without_one(opened: CacheDir, tmp_path: Path) -> None:
    opened.keep(KEY, ADAPTER, RESULT, tmp_path / "none")
    assert opened.restore(KEY, ADAPTER, tmp_path / "none") == RESULT
    assert list(tmp_path.iterdir()) == [opened.root.parent]


def test_each_of_many_files_comes_back_and_one_that_is_damaged_spoils_the_entry(
    opened: CacheDir, tmp_path: Path
) -> None:
    made, back = ([tmp_path / f"{side}{number}" for number in range(3)] for side in ("made", "back"))
    made[0].write_bytes(b"picture")
    made[2].write_bytes(b"outline")
    opened.keep(KEY, ADAPTER, RESULT, *made)
    assert opened.restore(KEY, ADAPTER, *back) == RESULT
    assert [path.read_bytes() if path.exists() else None for path in back] == [b"picture", None, b"outline"]
    (opened.root / KEY[:2] / KEY / "2").write_bytes(b"outl1ne")
    assert opened.restore(KEY, ADAPTER, *back) is None
    opened.keep(KEY, ADAPTER, RESULT, *made)
    assert opened.restore(KEY, ADAPTER, *back[:2]) is None, "kept with another number of files"


@pytest.mark.parametrize("value", [float("nan"), (1, 2), {1: 2}])
def test_a_result_that_json_would_change_is_not_kept(value: Any, opened: CacheDir, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"JSON"):
        opened.keep(KEY, ADAPTER, Outcome("a", Status.OK, row={"x": value}), tmp_path / "none")
    assert opened.restore(KEY, ADAPTER, tmp_path / "none") is None


@pytest.mark.parametrize("name", ["record", "0"])
@pytest.mark.parametrize("at", [0, 30, -1])
def test_a_flipped_bit_is_a_miss_and_removes_the_entry(name: str, at: int, opened: CacheDir, tmp_path: Path) -> None:
    put(opened, tmp_path, content=bytes(64))
    path = opened.root / KEY[:2] / KEY / name
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert opened.restore(KEY, ADAPTER, tmp_path / "back") is None
    assert not (tmp_path / "back").exists()
    assert not path.parent.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "made"]


def test_a_sound_record_in_another_entrys_place_is_a_miss(opened: CacheDir, tmp_path: Path) -> None:
    put(opened, tmp_path)
    other = KEY[:-1] + "1"
    (opened.root / KEY[:2] / KEY).rename(opened.root / KEY[:2] / other)
    assert opened.restore(other, ADAPTER, tmp_path / "back") is None


def test_writers_at_once_leave_one_sound_entry(opened: CacheDir, tmp_path: Path) -> None:
    faults: list[BaseException] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        start.wait()
        try:
            for _ in range(5):
                put(opened, folder)
                assert opened.restore(KEY, ADAPTER, folder / "back") == RESULT
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(list(opened.root.glob("ab/*"))) == 1
    assert not list((opened.root / "tmp").iterdir())


@pytest.mark.parametrize("failing", ["_copy", "disk_usage"])
def test_a_full_disk_is_an_error_that_leaves_nothing(
    failing: str, opened: CacheDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"vox")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if failing == "_copy":
            patch.setattr(cache_dir, "_copy", full)
        else:
            patch.setattr(cache_dir, "MIN_FREE", 1.1)
        with pytest.raises(OSError, match="No space left"):
            put(opened, tmp_path)
    assert not list((opened.root / "tmp").iterdir())
    assert opened.restore(KEY, ADAPTER, tmp_path / "back") is None


def aged(path: Path, seconds: float) -> None:
    """Sets a file's time back."""
    past = path.stat().st_mtime_ns - int(seconds * 1e9)
    os.utime(path, ns=(past, past))


class Counted:
    """Counts the files that are read whole."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read = 0
        self._real = cache_dir._sha256
        monkeypatch.setattr(cache_dir, "_sha256", self)

    def __call__(self, path: Path) -> str:
        self.read += 1
        return self._real(path)


def test_an_old_file_is_read_once_and_a_young_one_every_time(
    opened: CacheDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = tmp_path / "old", tmp_path / "young"
    old.write_bytes(b"1")
    young.write_bytes(b"2")
    aged(old, 10)
    os.utime(young, (2**32, 2**32))  # 2106, so that no wait makes it old
    counted = Counted(monkeypatch)
    once = [opened.digest_of([old]), opened.digest_of([young]), opened.digest_of([old, young])]
    assert counted.read == 4
    assert [opened.digest_of([old]), opened.digest_of([young]), opened.digest_of([old, young])] == once
    assert counted.read == 4 + 3
    assert len(set(once)) == 3


@pytest.mark.parametrize("what", ["size", "time", "inode"])
def test_a_file_that_changed_is_read_again(what: str, opened: CacheDir, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1")
    aged(path, 10)
    before, time = opened.digest_of([path]), path.stat().st_mtime_ns
    if what == "inode":
        (tmp_path / "new").write_bytes(b"2")
        (tmp_path / "new").replace(path)
    else:
        path.write_bytes(b"22" if what == "size" else b"2")
    if what != "time":
        os.utime(path, ns=(time, time))
    assert opened.digest_of([path]) != before


def test_a_file_that_was_kept_or_restored_need_not_be_read_and_its_change_is_seen(
    opened: CacheDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(opened, tmp_path)
    opened.restore(KEY, ADAPTER, tmp_path / "back")
    (tmp_path / "folder").mkdir()
    (tmp_path / "made").rename(tmp_path / "folder/made")
    counted = Counted(monkeypatch)
    digest = opened.digest_of([tmp_path / "folder/made"])
    assert digest == opened.digest_of([tmp_path / "back"])
    assert counted.read == 0
    (tmp_path / "back").write_bytes(b"VOXELS")
    assert opened.digest_of([tmp_path / "back"]) != digest
    (tmp_path / "back").write_bytes(b"voxels")
    assert opened.digest_of([tmp_path / "back"]) == digest


def test_a_digest_is_known_without_reading_or_not_at_all(
    opened: CacheDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scan"
    path.write_bytes(b"voxels")
    aged(path, DAY)
    counted = Counted(monkeypatch)
    assert opened.known_digest_of([path]) is None
    assert opened.known_digest_of([tmp_path / "none"]) is None
    assert counted.read == 0
    digest = opened.digest_of([path])
    assert counted.read == 1
    assert opened.known_digest_of([path]) == digest
    path.write_bytes(b"others")
    assert opened.known_digest_of([path]) is None
    assert counted.read == 1


def test_an_entry_is_there_or_not(opened: CacheDir, tmp_path: Path) -> None:
    assert not opened.has(KEY)
    put(opened, tmp_path)
    assert opened.has(KEY)


def test_files_count_in_their_order(opened: CacheDir, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    a, b = tmp_path / "a", tmp_path / "b"
    assert len({opened.digest_of(paths) for paths in ([a, b], [b, a], [a], [a, a], [])}) == 5


def test_the_secret_is_the_users_alone(root: Path) -> None:
    cache_dir.open_cache_dir()
    assert (root / "secret").stat().st_mode & 0o777 == 0o600
    root.chmod(0o750)
    with pytest.raises(PermissionError):
        cache_dir.open_cache_dir()


def test_a_cache_that_is_off_is_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_CACHE", "off")
    assert cache_dir.open_cache_dir() is None
    assert not root.exists()


# DVC's cache


def in_dvc(project: Path, config: str, content: bytes, *, folder: str = ".dvc/cache", mode: int = 0o444) -> Path:
    """A project in which DVC has a file of `content` in its cache."""
    (project / ".dvc").mkdir(parents=True, exist_ok=True)
    (project / ".dvc/config").write_text(config)
    name = hashlib.md5(content).hexdigest()
    kept = project / folder / "files/md5" / name[:2] / name[2:]
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    kept.chmod(mode)
    aged(kept, DAY)
    return kept


LINKS = '[core]\n    autostage = true\n[cache]\n    type = "reflink,hardlink,symlink,copy"\n'


def restored(project: Path, monkeypatch: pytest.MonkeyPatch, content: bytes = b"voxels") -> Path:
    """What comes back in `project` of a file that was kept there, a stranger to DVC's cache until then."""
    monkeypatch.chdir(project)
    opened = cache_dir.open_cache_dir()
    assert opened is not None
    put(opened, project, content=content)
    assert opened.restore(KEY, ADAPTER, project / "back") == RESULT
    assert (project / "back").read_bytes() == content
    assert not list(project.glob(".*.partial*"))
    return project / "back"


def test_a_file_that_dvc_has_comes_back_as_a_link_to_it_and_needs_no_reading(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = in_dvc(tmp_path, LINKS, b"voxels")
    before = kept.stat()
    back = restored(tmp_path, monkeypatch)
    assert back.samefile(kept)
    assert (kept.stat().st_mtime_ns, kept.stat().st_mode) == (before.st_mtime_ns, before.st_mode)  # as DVC knows it
    opened = cache_dir.open_cache_dir()
    assert opened is not None
    counted = Counted(monkeypatch)
    assert opened.known_digest_of([back]) is not None
    assert counted.read == 0
    entry = root / KEY[:2] / KEY / "0"
    entry.write_bytes(b"VOXELS")  # damage to the cache does not reach DVC's file, nor the out
    assert kept.read_bytes() == back.read_bytes() == b"voxels"
    assert opened.restore(KEY, ADAPTER, tmp_path / "again") == RESULT
    assert (tmp_path / "again").read_bytes() == b"voxels"


def test_dvcs_file_is_checked_once_and_again_where_it_changed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = in_dvc(tmp_path, LINKS, b"voxels")
    restored(tmp_path, monkeypatch)
    opened = cache_dir.open_cache_dir()
    assert opened is not None
    counted = Counted(monkeypatch)
    assert opened.restore(KEY, ADAPTER, tmp_path / "second") == RESULT
    assert counted.read == 0
    assert (tmp_path / "second").samefile(kept)
    kept.chmod(0o644)
    kept.write_bytes(b"vOxels")
    kept.chmod(0o444)
    assert opened.restore(KEY, ADAPTER, tmp_path / "third") == RESULT
    assert (tmp_path / "third").read_bytes() == b"voxels"
    assert not (tmp_path / "third").samefile(kept)


def test_dvcs_cache_may_lie_elsewhere_as_that_of_temporary_runs_does(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    kept = in_dvc(project, LINKS, b"voxels", folder="../shared")
    (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    assert restored(project, monkeypatch).samefile(kept)


@pytest.mark.parametrize(
    "config",
    [
        *("", "no section", "[core]\n    autostage = true\n", "[cache]\n", "\xff"),
        *(f"[cache]\n    type = {kinds}\n" for kinds in ("copy", "reflink,copy", "copy,hardlink", "symlink,hardlink")),
        *("[cache]\n    type = copy  # not hardlink\n", "[cache]\n    type =\n"),
    ],
)
def test_where_dvc_would_not_link_the_out_is_a_file_of_its_own(
    config: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = in_dvc(tmp_path, config, b"voxels")
    if config == "\xff":
        (tmp_path / ".dvc/config").write_bytes(b"\xff")
    back = restored(tmp_path, monkeypatch)
    assert not back.samefile(kept)
    assert back.stat().st_nlink == 1


@pytest.mark.parametrize("fault", ["damaged", "writable", "missing", "a folder"])
def test_a_file_in_dvcs_cache_that_is_not_sound_is_left_alone(
    fault: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = in_dvc(tmp_path, LINKS, b"voxels", mode=0o644 if fault == "writable" else 0o444)
    if fault == "damaged":
        kept.chmod(0o644)
        kept.write_bytes(b"VOXELS")
        kept.chmod(0o444)
    elif fault != "writable":
        kept.unlink()
    if fault == "a folder":
        kept.mkdir()
        kept.chmod(0o444)
    content = kept.read_bytes() if kept.is_file() else None
    back = restored(tmp_path, monkeypatch)
    assert back.stat().st_nlink == 1
    assert (kept.read_bytes() if kept.is_file() else None) == content


def test_another_file_system_than_that_of_dvcs_cache_gets_a_copy(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def across(source: object, target: object) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    kept = in_dvc(tmp_path, LINKS, b"voxels")
    monkeypatch.setattr(os, "link", across, raising=True)
    (root / "secret").parent.mkdir(parents=True)
    root.chmod(0o700)
    (root / "secret").write_bytes(bytes(cache_dir.SECRET_BYTES))
    assert not restored(tmp_path, monkeypatch).samefile(kept)


def test_a_young_file_of_dvcs_keeps_its_time_by_which_dvc_knows_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = in_dvc(tmp_path, LINKS, b"voxels")
    os.utime(kept, (2**32, 2**32))  # 2106
    assert restored(tmp_path, monkeypatch).samefile(kept)
    assert kept.stat().st_mtime == 2**32


def test_a_clone_is_made_where_dvc_would_make_one(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a function that stands for the file system's, which not every one has."""

    sources = []

    def cloned(source: Path, target: Path) -> None:
        sources.append(source.resolve())
        target.write_bytes(source.read_bytes())

    kept = in_dvc(tmp_path, LINKS, b"voxels")
    monkeypatch.setattr(cache_dir, "_clone", cloned)
    back = restored(tmp_path, monkeypatch)
    assert sources == [kept.resolve()]
    assert back.stat().st_nlink == kept.stat().st_nlink == 1
