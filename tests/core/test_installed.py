"""The record of the installed code: what it lists, and what it refuses."""

import shutil
import subprocess
from pathlib import Path

import pytest

from flairprep import __version__
from flairprep.core import console, installed


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a package of two sources, with what Python leaves beside them."""
    root = tmp_path / "flairprep"
    for name, text in (
        ("core/a.py", "1"),
        ("core/inner/b.html", "2"),
        ("stages/x.py", "3"),
        ("core/__pycache__/a", ""),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def study(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a study of that package as the working folder."""
    root = tmp_path / "study"
    for source in ("core", "stages/x.py"):
        path = root / f".flairprep/{source}.md5"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(installed.listing(source, package))
    monkeypatch.chdir(root)
    return root


@pytest.mark.skipif(shutil.which("md5sum") is None, reason="needs md5sum")
@pytest.mark.parametrize("source", ["core", "stages/x.py"])
def test_md5sum_finds_every_file_as_the_listing_has_it(package: Path, source: str) -> None:
    listed = installed.listing(source, package)
    done = subprocess.run(["md5sum", "--check", "--strict"], cwd=package, input=listed, text=True, check=True)
    assert done.returncode == 0
    expected = {"core": ["core/a.py", "core/inner/b.html"], "stages/x.py": ["stages/x.py"]}[source]
    assert [line.split("  ")[1] for line in listed.splitlines()] == expected


def test_a_source_that_is_not_there_has_no_line(package: Path) -> None:
    assert installed.listing("gone", package) == ""


def test_paths_of_the_record_stand_for_sources() -> None:
    assert installed.source_of(".flairprep/stats/metrics.py.md5") == "stats/metrics.py"
    for other in ("src/flairprep/core", ".flairprep/base.yaml", "data/core.md5"):
        assert installed.source_of(other) is None


@pytest.mark.parametrize(
    ("edit", "sources"),
    [
        ({}, []),
        ({"core/a.py": "other"}, ["core"]),
        ({"core/new.py": ""}, ["core"]),
        ({"core/a.py": None}, ["core"]),
        ({"stages/x.py": "other", "core/a.py": "other"}, ["core", "stages/x.py"]),
        ({"report/y.py": "of no source that is recorded", "core/__pycache__/c": ""}, []),
    ],
)
def test_each_change_of_the_code_is_of_its_source(
    package: Path, study: Path, edit: dict[str, str | None], sources: list[str]
) -> None:
    for name, text in edit.items():
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).unlink() if text is None else (package / name).write_text(text)
    assert installed.differing(study, package) == sources


def test_a_stage_of_a_study_refuses_other_code_before_it_begins(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("requirements.txt").write_text("pandas\nflairprep[cpu]==0.0.9\n")
    begun: list[int] = []
    with pytest.raises(SystemExit) as ended:
        console.run(lambda: begun.append(1), "train")
    assert ended.value.code == 1
    assert not begun
    told = capsys.readouterr().err
    assert "0.0.9" in told
    assert __version__ in told
    assert "flairprep upgrade" in told
    console.run(lambda: begun.append(1))  # a command is no stage, and upgrade is one
    assert begun == [1]


def test_a_clone_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert installed.fault() is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("flairprep==1.2.3\n", "1.2.3"),
        ("# mine\nnumpy\nflairprep[cpu,dask]==1.2.3rc1\n", "1.2.3rc1"),
        ("flairprep>=1\n", None),
        ("my-flairprep==1.0\n", None),
        ("", None),
    ],
)
def test_the_pinned_version(text: str, version: str | None) -> None:
    assert installed.pinned(text) == version
