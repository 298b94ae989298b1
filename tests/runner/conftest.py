"""Fixtures of the runner's tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def beside_a_thread() -> Iterator[None]:
    """Keep a second thread, beside which this process is not forked."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@pytest.fixture(params=["1", "2", "2, beside a thread"])
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The number of workers."""
    number, _, beside = request.param.partition(",")
    monkeypatch.setenv("FLAIRPREP_WORKERS", number)
    if beside:
        with beside_a_thread():
            yield int(number)
    else:
        yield int(number)
