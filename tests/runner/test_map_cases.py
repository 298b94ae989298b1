"""One function over many cases: the order, errors, and cases that fail alone."""

import multiprocessing
import os
import time
from functools import partial
from pathlib import Path

import pytest
from worker_functions import LATE, Watched, does_on_five, killed, lost, raises_on_five, square, touches

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.runner.map_cases import map_cases, prepare, run_cases
from flairprep.runner.pool import AHEAD, WorkerLimits


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


def test_workers_begin_before_a_result_is_asked_for_and_end_though_none_is(tmp_path: Path) -> None:
    results = run_cases(touches, [tmp_path / "a", tmp_path / "b"], "test")
    deadline = time.monotonic() + LATE
    while not (tmp_path / "a").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert multiprocessing.active_children()
    results.close()
    assert not multiprocessing.active_children()


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


def test_a_lost_case_without_a_use_for_it_is_an_error(count: int) -> None:
    with pytest.raises(FlairprepError, match=r"^test: CRASHED: .*SIGKILL"):
        list(map_cases(partial(does_on_five, deed=killed), range(100), "test"))


def test_only_workers_of_this_machine_are_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[WorkerLimits] = []
    monkeypatch.setattr("flairprep.runner.map_cases.prepare_to_fork", started.append)
    prepare()
    assert [limits.seconds for limits in started] == [900]
    monkeypatch.setenv("FLAIRPREP_SCHEDULER", "tcp://127.0.0.1:1")
    prepare()
    assert len(started) == 1
