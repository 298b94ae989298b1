"""The seconds of each stage's last run."""

from pathlib import Path

import pytest

from flairprep.core import console, stage_times
from flairprep.core.errors import FlairprepError


def test_a_stage_that_ended_well_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    console.run(lambda: None, "train")
    assert list(tmp_path.iterdir()) == [], "this is no DVC project"
    (tmp_path / ".dvc").mkdir()
    console.run(lambda: None, "train")
    assert 0 <= stage_times.last()["train"] < 1
    stage_times.note("split", 2.0)
    stage_times.note("train", 5.0)

    def fail() -> None:
        raise FlairprepError("why")

    with pytest.raises(SystemExit):
        console.run(fail, "train")
    console.run(lambda: None)
    assert stage_times.last() == {"train": 5.0, "split": 2.0}


def test_a_queued_run_notes_in_the_project_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, copy = tmp_path / "project", tmp_path / "copy"
    for folder in (project, copy):
        (folder / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    stage_times.note("train", 5.0)
    assert not (copy / stage_times.FILE).exists()
    monkeypatch.chdir(project)
    monkeypatch.delenv("DVC_ROOT")
    assert stage_times.last() == {"train": 5.0}


@pytest.mark.parametrize("text", ["", "[1]", '{"train": null}', '{"train": "x"}', "\x00"])
def test_a_damaged_file_is_no_file(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / stage_times.FILE).parent.mkdir(parents=True)
    (tmp_path / stage_times.FILE).write_text(text)
    assert stage_times.last() == {}
    stage_times.note("train", 5.0)
    assert stage_times.last() == {"train": 5.0}
