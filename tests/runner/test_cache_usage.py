"""What `flairprep cache` does: sizes, and what goes first."""

import os
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Outcome, Status
from flairprep.runner import cache_dir, cache_usage
from flairprep.runner.cache_dir import CacheDir

ADAPTER: TypeAdapter[Outcome] = TypeAdapter(Outcome)
DAY = 86_400


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CacheDir:
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))
    cache = cache_dir.open_cache_dir()
    assert cache is not None
    return cache


def put(opened: CacheDir, folder: Path, key: str, content: bytes) -> None:
    (folder / "made").write_bytes(content)
    opened.keep(key, ADAPTER, Outcome("00002", Status.OK), folder / "made")


def aged(path: Path, seconds: float) -> None:
    """Sets the time of last use back."""
    past = path.stat().st_mtime_ns - int(seconds * 1e9)
    os.utime(path, ns=(past, past))


def test_pruning_takes_what_was_not_used_for_longest(opened: CacheDir, tmp_path: Path) -> None:
    keys = [f"{number:02x}" + 62 * "0" for number in range(3)]
    for age, key in zip((30, 20, 10), keys, strict=True):
        put(opened, tmp_path, key, bytes(10_000))
        aged(opened.root / key[:2] / key, age * DAY)
    opened.restore(keys[0], ADAPTER, tmp_path / "back")
    used = cache_usage.info()
    assert (used.folder, used.results) == (opened.root, 3)
    assert 30_000 < used.bytes < 40_000
    freed = cache_usage.prune(25_000)
    assert cache_usage.info().bytes == used.bytes - freed <= 25_000
    left = [key for key in keys if opened.restore(key, ADAPTER, tmp_path / "back")]
    assert left == [keys[0], keys[2]]
    assert cache_usage.prune(25_000) == 0


def test_states_of_trainings_count_and_go_by_their_last_use(opened: CacheDir, tmp_path: Path) -> None:
    states = [opened.root / "training" / (64 * "b") / name for name in ("final-30.npz", "running-60-31.npz")]
    states[0].parent.mkdir(parents=True)
    for age, path in zip((20, 10), states, strict=True):
        path.write_bytes(bytes(10_000))
        aged(path, age * DAY)
    put(opened, tmp_path, 64 * "a", bytes(10_000))
    assert cache_usage.info().bytes > 30_000
    cache_usage.prune(25_000)
    assert [path.exists() for path in states] == [False, True]
    cache_usage.clear()
    assert not states[1].exists()


def test_clearing_takes_everything_and_nothing_of_others(opened: CacheDir, tmp_path: Path) -> None:
    put(opened, tmp_path, 64 * "a", b"voxels")
    foreign = [opened.root / "mine.txt", opened.root.parent / "other/file"]
    foreign[1].parent.mkdir()
    for path in foreign:
        path.touch()
    assert cache_usage.clear() > 0
    left = [path for path in opened.root.parent.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(foreign)
    assert cache_usage.info()[1:] == (0, 0)
    again = cache_dir.open_cache_dir()
    assert again is not None
    assert again.secret != opened.secret


def test_a_cache_that_is_off_has_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_CACHE", "off")
    for ask in (cache_usage.info, cache_usage.clear, lambda: cache_usage.prune(0)):
        with pytest.raises(FlairprepError, match="FLAIRPREP_CACHE=off"):
            ask()


@pytest.mark.parametrize(
    ("text", "expected"), [("10GB", 10**10), ("500 mb", 5 * 10**8), ("1.5T", 15 * 10**11), ("0", 0), ("7k", 7000)]
)
def test_a_size_as_people_write_it(text: str, expected: int) -> None:
    assert cache_usage.size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "10 gigs", "1e9", "nan", "٣GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(FlairprepError, match="must be a size, such as 500MB or 10GB"):
        cache_usage.size(text)
