"""Worker processes: those that die, hang or ask too much, their limits, and their end."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worker_functions import (
    LATE,
    allocates,
    blocks_ctrl_c,
    crashes,
    ctrl_c_ends,
    does_on_five,
    exits,
    hangs,
    killed,
    lost,
    prints,
    recurses,
    runs,
    square,
    stopped,
    takes_memory,
    threads,
    until,
)

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.runner.map_cases import map_cases
from flairprep.runner.pool import workers


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


@pytest.mark.slow
def test_every_case_may_kill_its_worker(count: int) -> None:
    results = list(map_cases(killed, range(7), "test", on_failure=lost))
    assert [(number, code) for number, code, _ in results] == [(number, Code.CRASHED) for number in range(7)]


@pytest.mark.slow
def test_worker_that_is_killed_while_idle_costs_no_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")
    results = map_cases(square, range(10), "test", on_failure=lost)
    for _ in range(3):
        _, process = next(results)  # it has answered, and the next item is given when the next result is asked for
        os.kill(process, signal.SIGKILL)
        until(lambda process=process: not runs(str(process)))
    assert [result for result, _ in results] == [number * number for number in range(3, 10)]


def test_nothing_that_a_worker_prints_is_shown(count: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert list(map_cases(prints, range(3), "test")) == [0, 1, 2]
    assert "CANARY" not in "".join(capfd.readouterr())


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "from flairprep.runner.map_cases import map_cases\nfrom worker_functions import registers\n"
        f"if __name__ == '__main__':\n    list(map_cases(registers, [{str(tmp_path)!r}] * 2, 'test'))\n"
    )
    (tmp_path / "program.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FLAIRPREP_WORKERS": "2"}
    program = subprocess.Popen([sys.executable, tmp_path / "program.py"], env=environment)
    until(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    program.kill()
    program.wait()
    until(lambda: not any(runs(path.stem) for path in tmp_path.glob("*.pid")))


def test_ctrl_c_ends_the_program_and_its_workers_at_once_without_a_word_too_many(tmp_path: Path) -> None:
    ctrl_c_ends(tmp_path)


def test_a_worker_never_hears_of_ctrl_c_even_while_it_starts(count: int) -> None:
    assert list(map_cases(blocks_ctrl_c, range(2), "test")) == [True] * 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_worker_has_one_thread(count: int) -> None:
    assert list(map_cases(threads, range(2), "test")) == [(1, "1")] * 2


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        ("", "ForkProcess"),
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", "ForkServerProcess"),
        ("import sys; sys.modules['tensorflow'] = sys", "ForkServerProcess"),
    ],
)
def test_only_a_process_that_can_be_forked_is(first: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import numpy as np\nfrom flairprep.runner.map_cases import map_cases\n"
        "from worker_functions import started_by\nif __name__ == '__main__':\n"
        f"    np.ones((500, 500)) @ np.ones((500, 500))\n    {first or 'pass'}\n"
        "    print(list(map_cases(started_by, range(3), 'test')))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FLAIRPREP_WORKERS": "2"}
    command = [sys.executable, tmp_path / "program.py"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=LATE)
    assert told.stdout.strip() == str([(kind, 1)] * 3)


def test_a_worker_may_allocate_as_much_whatever_its_program_holds(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork begins with the arrays of its program; untouched, they take addresses but no memory."""
    monkeypatch.setenv("FLAIRPREP_MEGABYTES", "1024")
    held = np.zeros(3 << 30, np.uint8)
    assert list(map_cases(allocates, [100, 100], "test", on_failure=lost)) == [100, 100]
    (late,) = map_cases(allocates, [1200], "test", on_failure=lost)
    assert late[1] is Code.TOO_LARGE
    assert held.size == 3 << 30


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
