"""One function over many cases in worker processes: the order, errors, and workers that die, hang or ask too much."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import pytest

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.runner.map_cases import map_cases, run_cases
from flairprep.runner.pool import AHEAD, workers

LATE = 30.0  # s of patience for what must not hang


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def raises_on_five(number: int, error: Exception) -> int:
    if number == 5:
        raise error
    return number


def killed(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stopped(number: int) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def crashes(number: int) -> None:
    ctypes.string_at(0)


def exits(number: int) -> None:
    os._exit(3)


def hangs(number: int) -> None:
    time.sleep(1000)


def takes_memory(number: int) -> None:
    np.ones(3 << 30, np.uint8)


def recurses(number: int) -> None:
    recurses(number)


def does_on_five(number: int, deed: Any) -> int:
    if number == 5:
        deed(number)
    return number


def prints(number: int) -> int:
    print("CANARY on standard output")
    print("CANARY on standard error", file=sys.stderr)
    os.write(2, b"CANARY of a native library")
    return number


def touches(path: Path) -> None:
    path.touch()


def threads(number: int) -> tuple[int, str | None]:
    import SimpleITK as sitk

    return sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), os.environ.get("OPENBLAS_NUM_THREADS")


def blocks_ctrl_c(number: int) -> list[bool]:
    """Whether this process and the one that it comes of do."""
    states = [Path(f"/proc/{process}/status").read_text() for process in (os.getpid(), os.getppid())]
    masks = [int(state.split("SigBlk:")[1].split()[0], 16) for state in states]
    return [bool(mask & 1 << signal.SIGINT - 1) for mask in masks]


def lost(number: int, error: CaseError) -> tuple[int, Code, str]:
    return number, error.code, error.message


class Watched(Sequence[int]):
    """The numbers from 0, and the largest that was asked for."""

    def __init__(self, count: int) -> None:
        self._numbers, self.largest = range(count), -1

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        found = self._numbers[index]
        self.largest = max(self.largest, found[-1] if isinstance(found, range) else found)
        return found


def until(holds: Callable[[], Any]) -> None:
    """Waits for what must come."""
    deadline = time.monotonic() + LATE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(params=["1", "2"])
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of workers."""
    monkeypatch.setenv("FLAIRPREP_WORKERS", request.param)
    return int(request.param)


def test_results_come_in_the_order_of_the_items(count: int) -> None:
    items = list(range(40, 0, -1))
    results = list(map_cases(square, items, "test"))
    assert [result for result, _ in results] == [number * number for number in items]
    processes = {process for _, process in results}
    assert os.getpid() not in processes
    assert len(processes) <= count


def test_only_so_many_results_are_held_as_may_wait_for_a_slow_one(count: int) -> None:
    items = Watched(100)
    results = map_cases(square, items, "test")
    for shown in range(50):
        next(results)
        assert items.largest < shown + AHEAD * count
    results.close()  # type: ignore[attr-defined]


def test_nothing_to_do_is_done(count: int) -> None:
    assert list(map_cases(square, [], "test")) == []


@pytest.mark.parametrize("error", [FlairprepError("fix it"), OSError(28, "No space left on device", "out")])
def test_error_that_concerns_all_cases_ends_the_whole_after_the_results_before_it(count: int, error: Exception) -> None:
    results = map_cases(partial(raises_on_five, error=error), range(10), "test", on_failure=lost)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(type(error)) as caught:
        next(results)
    assert str(caught.value) == str(error)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CaseError(Code.MOSAIC, "number 5"), Code.MOSAIC, "number 5"),
        (ValueError("CANARY"), Code.CRASHED, "ValueError; FLAIRPREP_DEBUG=1 shows where"),
        (MemoryError("CANARY"), Code.TOO_LARGE, "needs over 4096 MB (FLAIRPREP_MEGABYTES)"),
    ],
)
def test_error_of_one_case_costs_that_case(count: int, error: Exception, code: Code, message: str) -> None:
    results = list(map_cases(partial(raises_on_five, error=error), range(10), "test", on_failure=lost))
    assert results == [0, 1, 2, 3, 4, (5, code, message), 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("deed", "code", "word"),
    [
        (killed, Code.CRASHED, "SIGKILL"),
        (crashes, Code.CRASHED, "SIGSEGV"),
        (exits, Code.CRASHED, "exit status 3"),
        (hangs, Code.TIMED_OUT, "over 2 s"),
        (stopped, Code.TIMED_OUT, "over 2 s"),
        (takes_memory, Code.TOO_LARGE, "over 2048 MB"),
        (recurses, Code.CRASHED, "RecursionError"),
    ],
)
def test_worker_that_dies_hangs_or_takes_too_much_costs_its_own_case(
    deed: Any, code: Code, word: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAIRPREP_SECONDS", "2")
    monkeypatch.setenv("FLAIRPREP_MEGABYTES", "2048")
    start = time.monotonic()
    results = list(map_cases(partial(does_on_five, deed=deed), range(10), "test", on_failure=lost))
    assert [result for result in results if isinstance(result, int)] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert results[5][:2] == (5, code)
    assert word in results[5][2]
    assert time.monotonic() - start < LATE


def test_every_case_may_kill_its_worker(count: int) -> None:
    results = list(map_cases(killed, range(7), "test", on_failure=lost))
    assert [(number, code) for number, code, _ in results] == [(number, Code.CRASHED) for number in range(7)]


def test_worker_that_is_killed_while_idle_costs_no_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")
    results = map_cases(square, range(10), "test", on_failure=lost)
    for _ in range(3):
        _, process = next(results)  # it has answered, and the next item is given when the next result is asked for
        os.kill(process, signal.SIGKILL)
        while Path(f"/proc/{process}").exists():
            time.sleep(0.01)
    assert [result for result, _ in results] == [number * number for number in range(3, 10)]


def test_a_lost_case_without_a_use_for_it_is_an_error(count: int) -> None:
    with pytest.raises(FlairprepError, match=r"^test: CRASHED: its worker process ended \(SIGKILL\)$"):
        list(map_cases(partial(does_on_five, deed=killed), range(100), "test"))


def test_nothing_that_a_worker_prints_is_shown(count: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert list(map_cases(prints, range(3), "test")) == [0, 1, 2]
    assert "CANARY" not in "".join(capfd.readouterr())


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import os, sys, time\nfrom flairprep.runner.map_cases import map_cases\nfrom test_pool import registers\n"
        f"if __name__ == '__main__':\n    list(map_cases(registers, [{str(tmp_path)!r}] * 2, 'test'))\n"
    )
    (tmp_path / "program.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FLAIRPREP_WORKERS": "2"}
    program = subprocess.Popen([sys.executable, tmp_path / "program.py"], env=environment)
    until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    program.kill()
    program.wait()
    until(lambda: not any(_runs(path.stem) for path in tmp_path.glob("*.pid")))


def test_ctrl_c_ends_the_program_and_its_workers_at_once_without_a_word_too_many(tmp_path: Path) -> None:
    ctrl_c_ends(tmp_path)


def ctrl_c_ends(folder: Path, **environment: str) -> None:
    """A program with two endless cases, interrupted as a terminal does it, and what it left."""
    (folder / "endless.py").write_text(
        "import signal\nfrom flairprep.core import console\nfrom flairprep.runner.map_cases import map_cases\n"
        "from test_pool import registers\n"
        "def main():\n    list(map_cases(registers, ['.'] * 20, 'test'))\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in background jobs
        "    console.run(main, 'test')\n"
    )
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FLAIRPREP_WORKERS": "2", **environment}
    further: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    program = subprocess.Popen([sys.executable, "endless.py"], cwd=folder, env=own, text=True, **further)
    until(lambda: len(list(folder.glob("*.pid"))) == 2)
    os.killpg(program.pid, signal.SIGINT)
    told, errors = program.communicate(timeout=LATE)
    assert (program.returncode, told) == (130, "")
    assert errors.splitlines() == [
        "interrupted",
        "test: no output written; restore the previous one: dvc checkout",
    ]
    until(lambda: not any(_runs(path.stem) for path in folder.glob("*.pid")))


def test_a_worker_never_hears_of_ctrl_c_even_while_it_starts(count: int) -> None:
    assert list(map_cases(blocks_ctrl_c, range(2), "test")) == [[True, True]] * 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_worker_has_one_thread(count: int) -> None:
    assert list(map_cases(threads, range(2), "test")) == [(1, "1")] * 2


def registers(folder: str) -> None:
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(1000)


def _runs(process: str) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("name", ["FLAIRPREP_WORKERS", "FLAIRPREP_SECONDS", "FLAIRPREP_MEGABYTES"])
@pytest.mark.parametrize("value", ["zero", "abc", "0", "-1", "1.5", "2x", "²", "٣", " "])
def test_setting_that_is_no_number_is_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(FlairprepError, match=rf"^{name}=.*: must be a whole number of at least 1, or unset"):
        list(map_cases(square, [1, 2], "test"))


@pytest.mark.parametrize(("value", "count"), [("3", 3), ("08", 8), ("", None), (None, None)])
def test_workers_are_as_many_as_asked_for_or_the_cores_of_the_process(
    value: Any, count: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLAIRPREP_WORKERS", raising=False)
    if value is not None:
        monkeypatch.setenv("FLAIRPREP_WORKERS", value)
    assert workers() == (count or len(os.sched_getaffinity(0)))


def test_workers_begin_before_a_result_is_asked_for_and_end_though_none_is(tmp_path: Path) -> None:
    results = run_cases(touches, [tmp_path / "a", tmp_path / "b"], "test")
    deadline = time.monotonic() + LATE
    while not (tmp_path / "a").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert multiprocessing.active_children()
    results.close()
    assert not multiprocessing.active_children()
