"""The result cache of one run: what is looked up, computed and kept, and that its faults cost no result."""

import errno
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from worker_functions import LATE, touches

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError, Outcome, Status, failure
from flairprep.runner import cache_dir, result_cache
from flairprep.runner.result_cache import ResultCache

CALLS: list[str] = []


def square(item: str, *, folder: Path) -> Outcome:
    """The number in the file `item`, squared, to a file; CONSTANT_FOREGROUND for zero."""
    CALLS.append(item)
    value = int(Path(item).read_text())
    if value == 0:
        return failure(item, CaseError(Code.CONSTANT_FOREGROUND, "zero"))
    (folder / name(item)).write_text(str(value**2))
    return Outcome(item, Status.OK, row={"value": value})


def name(item: str) -> str:
    return f"{item}.out"


def inputs(item: str) -> tuple[tuple[Path], Any]:
    return (Path(item),), item


def nothing(item: Path) -> tuple[tuple[()], None]:
    return (), None


def lost(item: str, error: CaseError) -> Outcome:
    return failure(item, error)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three items in the current folder, a cache, and no worker processes."""

    def in_this_process(function: Any, items: Any, label: str, **options: Any) -> Iterator[Any]:
        yield from map(function, items)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    for item, value in (("a", 2), ("b", 0), ("c", 3)):
        Path(item).write_text(str(value))
    Path("out").mkdir()
    CALLS.clear()


def run(
    given: dict[str, Any] | None = None, stage: str = "square", items: Sequence[str] = "abc"
) -> tuple[list[Outcome], str, int]:
    """The results, which items were computed, and how many were reused; files in out/ are as without a cache."""
    CALLS.clear()
    for path in Path("out").iterdir():
        path.unlink()
    used = ResultCache(stage, result_cache.__file__, given or {})
    work = partial(square, folder=Path("out"))
    results = list(used.map(work, items, name=name, inputs=inputs, out=Path("out"), on_failure=lost))
    values = {item: int(Path(item).read_text()) for item in items}
    assert {p.name: p.read_text() for p in Path("out").iterdir()} == {
        name(i): str(v**2) for i, v in values.items() if v
    }
    return results, "".join(CALLS), used.reused


def test_failures_are_kept_as_results_are() -> None:
    first, computed, reused = run()
    assert (computed, reused) == ("abc", 0)
    assert [outcome.status for outcome in first] == ["ok", "failed", "ok"]
    assert run() == (first, "", 3)


def test_what_enters_the_key() -> None:
    run()
    assert run({"clip": 6})[1] == "abc"
    assert run({"clip": 6.5})[1] == "abc"
    assert run(stage="cube")[1] == "abc"
    Path("a").write_text("5")
    assert run()[1] == "a"
    Path("a").rename("d")
    assert run(items="dbc")[1] == "d"  # the item counts, not its bytes alone
    assert run({"clip": 6}, items="bc")[1] == ""


def aged(*items: str) -> None:
    """Old enough files for their digests to be remembered."""
    for item in items:
        os.utime(item, (1e9, 1e9))


def test_known_items_need_no_worker_and_unknown_ones_get_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    aged("a", "b", "c")
    first, _, _ = run()
    given: list[Sequence[str]] = []

    def counted(function: Any, items: Sequence[str], label: str, **options: Any) -> Iterator[Any]:
        given.append(items)
        yield from map(function, items)

    monkeypatch.setattr(result_cache, "run_cases", counted)
    assert run() == (first, "", 3)
    assert given == []
    Path("b").write_text("4")
    results, computed, reused = run()
    assert (computed, reused) == ("b", 2)
    assert [outcome.case_id for outcome in results] == ["a", "b", "c"]
    assert given == [["b"]]


@pytest.mark.parametrize("cache", ["off", "cache"])
def test_workers_begin_before_a_result_is_asked_for_and_end_though_none_is(
    cache: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_CACHE", cache)
    used = ResultCache("touch", result_cache.__file__, {})
    results = used.map(touches, [Path("touched")], inputs=nothing, on_failure=lost)
    deadline = time.monotonic() + LATE
    while not Path("touched").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert multiprocessing.active_children()
    results.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", ["1", "3"])
def test_many_items_come_in_order_however_many_are_known(workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_WORKERS", workers)
    items = [f"n{number:02d}" for number in range(40)]
    for number, item in enumerate(items):
        Path(item).write_text(str(number + 1))
    aged(*items)
    run(items=[item for number, item in enumerate(items) if number % 3])
    results, computed, reused = run(items=items)
    assert [outcome.case_id for outcome in results] == items
    assert (computed, reused) == ("".join(items[::3]), 26)


def test_a_damaged_file_of_a_known_item_is_made_again(tmp_path: Path) -> None:
    aged("a", "b", "c")
    first, _, _ = run()
    kept = [path for path in (tmp_path / "cache").rglob("0") if path.read_text() == "9"]
    kept[0].write_text("8")
    assert run() == (first, "c", 2)
    assert run() == (first, "", 3)


def test_code_enters_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    real = result_cache.code_version.describe
    with monkeypatch.context() as patch:
        patch.setattr(result_cache.code_version, "describe", lambda path: {**real(path), "python": "another"})
        assert run()[1] == "abc"
    assert run()[1] == ""


def test_an_input_that_changes_while_it_is_used_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    real = cache_dir.CacheDir.restore

    def changed(self: cache_dir.CacheDir, *arguments: Any) -> Any:
        restored = real(self, *arguments)
        Path("a").write_text("7")
        return restored

    with monkeypatch.context() as patch:
        patch.setattr(cache_dir.CacheDir, "restore", changed)
        run()  # hashed as 2, computed as 7
    Path("a").write_text("2")
    assert run()[1] == "a"


def test_an_input_that_cannot_be_read_is_told_by_the_function() -> None:
    used = ResultCache("square", result_cache.__file__, {})
    work = partial(square, folder=Path("out"))
    with pytest.raises(FileNotFoundError, match="none"):
        list(used.map(work, ["none"], name=name, inputs=inputs, out=Path("out"), on_failure=lost))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("where", ["keep", "open_cache_dir"])
def test_an_error_of_the_disk_is_one_warning_a_run(
    where: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(cache_dir.CacheDir if where == "keep" else cache_dir, where, broken)
    assert run()[1:] == ("abc", 0)
    expected = f"warning: square: results are not cached for later runs ({os.strerror(code)}; see FLAIRPREP_CACHE)\n"
    assert capsys.readouterr().err == expected
    assert run()[1:] == ("abc", 0)


def test_a_cache_that_can_only_be_read_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, _ = run()

    def broken(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(cache_dir.CacheDir, "keep", broken)
    monkeypatch.setattr(cache_dir.Path, "write_text", broken)
    monkeypatch.setattr(os, "utime", broken)
    assert run() == (first, "", 3)


def test_off_keeps_nothing_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLAIRPREP_CACHE", "off")
    assert run()[1:] == ("abc", 0)
    assert run()[1:] == ("abc", 0)
    assert not Path("cache").exists()
    assert capsys.readouterr() == ("", "")


def test_the_secret_is_the_caches_own_and_of_one_run_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (ResultCache("square", result_cache.__file__, {}).secret for _ in range(2))
    assert one == two
    monkeypatch.setenv("FLAIRPREP_CACHE", "off")
    three, four = (ResultCache("square", result_cache.__file__, {}).secret for _ in range(2))
    assert len({one, three, four}) == 3
    assert {len(secret) for secret in (one, three, four)} == {32}


def test_a_record_names_the_hash_of_its_file() -> None:
    run()
    [record] = [text for path in Path("cache").rglob("record") if '"a"' in (text := path.read_text())]
    assert json.loads(record.partition("\n")[2])["result"]["row"] == {"value": 2}
