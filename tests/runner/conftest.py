"""Fixtures of the runner's tests."""

import pytest


@pytest.fixture(params=["1", "2"])
def count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of workers."""
    monkeypatch.setenv("FLAIRPREP_WORKERS", request.param)
    return int(request.param)
