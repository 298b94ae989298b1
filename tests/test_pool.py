"""One function over many cases in worker processes: the order, errors, and workers that die."""

import os
import signal
from typing import Any

import pytest

from flairprep.cases import CaseError, Code
from flairprep.errors import FlairprepError
from flairprep.pool import map_cases, workers


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def fails_on_five(number: int) -> int:
    if number == 5:
        raise CaseError(Code.MOSAIC, f"number {number}")
    return number


def killed_on_five(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize(("count", "elsewhere"), [("1", False), ("2", True)])
def test_results_come_in_the_order_of_the_items(count: str, elsewhere: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_WORKERS", count)
    items = list(range(40, 0, -1))
    results = list(map_cases(square, items, "test"))
    assert [result for result, _ in results] == [number * number for number in items]
    assert (os.getpid() not in {process for _, process in results}) is elsewhere


@pytest.mark.parametrize("count", ["1", "8"])
def test_nothing_to_do_is_done(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_WORKERS", count)
    assert list(map_cases(square, [], "test")) == []


@pytest.mark.parametrize("count", ["1", "2"])
def test_exception_reaches_the_caller_after_the_results_before_it(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_WORKERS", count)
    results = map_cases(fails_on_five, range(10), "test")
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(CaseError) as caught:
        next(results)
    assert (caught.value.code, caught.value.message) == (Code.MOSAIC, "number 5")


def test_killed_worker_is_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_WORKERS", "2")
    with pytest.raises(FlairprepError, match=r"^test: a worker was killed; try fewer of them \(FLAIRPREP_WORKERS=1\)$"):
        list(map_cases(killed_on_five, range(100), "test"))


@pytest.mark.parametrize("value", ["zero", "abc", "0", "-1", "1.5", "2x", "²", " "])
def test_number_of_workers_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_WORKERS", value)
    with pytest.raises(FlairprepError, match=r"^FLAIRPREP_WORKERS=.*: must be a whole number of at least 1, or unset"):
        list(map_cases(square, [1, 2], "test"))


@pytest.mark.parametrize(("value", "count"), [("3", 3), ("08", 8), ("", None), (None, None)])
def test_workers_are_as_many_as_asked_for_or_the_cores_of_the_process(
    value: Any, count: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLAIRPREP_WORKERS", raising=False)
    if value is not None:
        monkeypatch.setenv("FLAIRPREP_WORKERS", value)
    assert workers() == (count or len(os.sched_getaffinity(0)))
