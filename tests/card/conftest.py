"""A finished run for the tests of its cards, made and read once, and copies for those that edit it."""

import os
import shutil
from pathlib import Path

import finished_run
import pytest

from flairprep.card import facts
from flairprep.card.facts import RunFacts


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, before = tmp_path_factory.mktemp("finished"), Path.cwd()
    os.chdir(folder)
    try:
        finished_run.write(folder)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="session")
def _read(_made: Path) -> RunFacts:
    before = Path.cwd()
    os.chdir(_made)
    try:
        return facts.read()
    finally:
        os.chdir(before)


@pytest.fixture
def finished(_made: Path, _read: RunFacts, monkeypatch: pytest.MonkeyPatch) -> RunFacts:
    """The finished run, read, with its folder as the working folder, which no test may change."""
    monkeypatch.chdir(_made)
    return _read


@pytest.fixture
def project(_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run as the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(_made, folder)
    monkeypatch.chdir(folder)
    return folder
