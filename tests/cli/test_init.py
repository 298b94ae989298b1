"""`flairprep init`, with real git and DVC: what it writes, links, copies, commits and refuses."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import miniature
import pytest
from ruamel.yaml import YAML
from workspace import contents, in_this_process

from flairprep.cli import main
from flairprep.study import scans


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is no repository as the working folder, of a user whom git does not know."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/.config"))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setattr(scans, "map_cases", in_this_process)
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def git(root: Path, *arguments: str) -> list[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()


def values(root: Path) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(root / "params.yaml")


def write_data(place: Path, cases: int = 4) -> tuple[Path, Path]:
    """Write a miniature cohort beside the study, its labels as texts; return scans and table."""
    miniature.write_cohort(place / "given", cases)
    table = place / "given/labels.csv"
    rows = (place / "given/train_labels.csv").read_text().splitlines()[1:]
    texts = [row.replace(",1", ",methylated").replace(",0", ",unmethylated") for row in rows]
    table.write_text("\n".join(["scan,MGMT", *texts]) + "\n")
    return place / "given/train", table


def test_scans_and_labels_fill_params_in_and_stay_where_they_are(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, table = write_data(place)
    before = contents(place)
    with pytest.raises(SystemExit) as ended:
        main.main(["init", "study", "--scans", str(folder), "--labels", str(table)])
    assert ended.value.code == 1
    assert "--positive" in capsys.readouterr().err
    assert contents(place) == before
    assert not (place / "study").exists()

    main.main(["init", "study", "--scans", str(folder), "--labels", str(table), "--positive", "methylated"])
    root = place / "study"
    told = values(root)
    assert told["labels"] == {
        "table": "data/raw/labels.csv",
        "case_column": "scan",
        "label_column": "MGMT",
        "positive": "methylated",
    }
    assert (told["ingest"]["dicom_dir"], told["ingest"]["sequence"]) == ("data/raw/train", "FLAIR")
    assert (root / "data/raw/train").readlink() == folder
    assert (root / "data/raw/labels.csv").read_bytes() == table.read_bytes()
    assert git(root, "status", "--short") == []
    assert {"data/raw/train", "data/raw/labels.csv", ".flairprep/core.md5"} < set(git(root, "ls-files"))
    assert len(git(root, "log", "--format=%h")) == 1
    assert "flairprep check" in (root / "README.md").read_text()
    os.chdir(root)
    capsys.readouterr()
    main.main(["check"])  # nothing is left to do before dvc repro
    main.main(["upgrade"])


@pytest.mark.slow
def test_a_repository_that_is_there_is_not_committed_to(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git(place, "init", "-q")
    (place / "mine.txt").touch()
    main.main(["init", "studies/one"])
    root = place / "studies/one"
    assert subprocess.run(["git", "rev-parse", "HEAD"], cwd=place, capture_output=True, check=False).returncode
    staged = set(git(place, "diff", "--cached", "--name-only"))
    assert {"studies/one/dvc.yaml", "studies/one/.dvc/config", "studies/one/.flairprep/core.md5"} < staged
    assert "mine.txt" not in staged
    status = subprocess.run([sys.executable, "-m", "dvc", "root"], cwd=root, capture_output=True, text=True, check=True)
    assert status.stdout.strip() == "."
    told = capsys.readouterr().out
    assert "git commit" in told
    assert "dvc add data/raw/train" in told


def test_files_in_the_way_stay_and_no_other_comes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "study/data").mkdir(parents=True)
    (place / "study/dvc.yaml").write_text("stages: {}\n")
    before = contents(place)
    for arguments in (["study"], ["study", "--demo", "10"]):
        with pytest.raises(SystemExit):
            main.main(["init", *arguments])
        assert "study/dvc.yaml" in capsys.readouterr().err
    assert contents(place) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--demo", "10", "--scans", "x"],
        ["--positive", "yes"],
        ["--label-column", "x"],
        ["--demo", "3"],
        ["--demo", "0"],
        ["--scans", "x"],
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_written(place: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["init", "study", *arguments])
    assert ended.value.code == 1
    assert contents(place) == {}


@pytest.mark.slow
def test_data_that_lie_in_the_new_folder_stay_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "study/own").mkdir(parents=True)
    miniature.write_cohort(place / "study/own", 4)
    main.main(["init", "study", "--scans", "study/own/train", "--labels", "study/own/train_labels.csv"])
    told = values(place / "study")
    assert (told["ingest"]["dicom_dir"], told["labels"]["table"]) == ("own/train", "own/train_labels.csv")
    assert "own/train_labels.csv" in git(place / "study", "ls-files")
    assert not list((place / "study/data/raw").iterdir())
    assert "dvc add own/train" in capsys.readouterr().out
    os.chdir(place / "study")
    subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "own/train"], check=True)
    main.main(["check"])


@pytest.mark.slow
def test_the_demo_has_a_name_on_its_page_and_no_other_param_of_its_own(place: Path) -> None:
    main.main(["init", "study", "--demo", "10"])
    main.main(["init", "bare"])
    own, bare = values(place / "study"), values(place / "bare")
    assert "demo" in own["report"].pop("cohort")
    assert bare["report"].pop("cohort") is None
    assert own == bare
