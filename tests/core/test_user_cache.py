"""The user's cache folder: where it is, and that it is the user's alone."""

import os
import time
from pathlib import Path

import pytest

from flairprep.core import user_cache

DAY = 86_400


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/v1"


def test_what_a_killed_worker_left_goes_after_a_day(root: Path) -> None:
    user_cache.open_folder()
    for name, age in (("old", 2 * DAY), ("new", 0)):
        (root / "tmp" / name).mkdir()
        (root / "tmp" / name / "file").touch()
        past = time.time() - age
        os.utime(root / "tmp" / name, (past, past))
    user_cache.open_folder()
    assert [path.name for path in (root / "tmp").iterdir()] == ["new"]


def test_the_folder_is_the_users_alone(root: Path) -> None:
    user_cache.open_folder()
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o750)
    with pytest.raises(PermissionError, match="not this user's alone"):
        user_cache.open_folder()


def test_a_folder_of_another_user_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_cache.open_folder()
    monkeypatch.setattr(os, "geteuid", lambda: root.stat().st_uid + 1)
    with pytest.raises(PermissionError):
        user_cache.open_folder()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "{home}/.cache/flairprep/v1"),
        ({"FLAIRPREP_CACHE": ""}, "{home}/.cache/flairprep/v1"),
        ({"XDG_CACHE_HOME": "{home}/other"}, "{home}/other/flairprep/v1"),
        ({"XDG_CACHE_HOME": "relative"}, "{home}/.cache/flairprep/v1"),
        ({"FLAIRPREP_CACHE": "~/mine", "XDG_CACHE_HOME": "{home}/other"}, "{home}/mine/v1"),
        ({"FLAIRPREP_CACHE": "here"}, "{home}/here/v1"),
        ({"FLAIRPREP_CACHE": "off"}, None),
    ],
)
def test_place_of_the_folder(
    variables: dict[str, str], expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("FLAIRPREP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=tmp_path))
    assert user_cache.cache_folder() == (expected and Path(expected.format(home=tmp_path)))


def test_a_cache_that_is_off_is_none(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert user_cache.open_folder() == root
    monkeypatch.setenv("FLAIRPREP_CACHE", "off")
    assert user_cache.open_folder() is None
