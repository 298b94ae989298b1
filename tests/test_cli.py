"""The command line: what it refuses, what it finds before a run, and that it changes nothing."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import phantoms
import pytest
from workspace import PARAMS

from flairprep import cli


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose scans and labels stand under git and DVC, as far as `check` can see."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(PARAMS, tmp_path)
    volume = np.arange(10 * 8 * 8, dtype=np.uint16).reshape(10, 8, 8)
    phantoms.save(phantoms.slices(volume), tmp_path / "data/raw/train/00001/FLAIR")
    (tmp_path / "data/raw/train_labels.csv").write_text("BraTS21ID,MGMT_value\n00001,1\n")
    (tmp_path / "data/raw/train.dvc").write_text("outs: []\n")
    (tmp_path / ".gitignore").write_text("/data/raw/train\n")
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "-A"], check=True)
    return tmp_path


def replace(path: Path, old: str, new: str) -> None:
    """Edits a file; `old` must stand in it."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_ready_project_passes(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check", "-S", "lr=1e-5", "-S", "model.name=question_cnn"])
    assert "ready" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lrr=1e-5", ["lrr", "did you mean 'lr'?"]),
        ("split.fold=3", ["split", "'fold'", "did you mean 'folds'?"]),
        ("lr.x=3", ["lr", "'x'"]),
    ],
)
def test_an_unknown_key_of_an_override_is_named(project: Path, override: str, words: list[str]) -> None:
    (fault,) = cli.check([override])
    assert all(word in fault for word in words)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lr: 1.0e-4", "lr: fast", ["params.yaml", "lr", "'fast'"]),
        ("val_fold: 0 ", "val_fold: 5 ", ["val_fold", "5", "folds are 0 to 4"]),
        ("test_fold: null", "test_fold: 0", ["val_fold and test_fold are both 0"]),
        ("intensity: zscore", "intensity: z", ["normalize.intensity", "'z'", "zscore"]),
        ("clip: 6", "clpi: 6", ["normalize.clpi", "did you mean 'clip'?", "normalize.clip", "missing"]),
        ("min_slices: 8", "min_slices: -8", ["ingest.min_slices", "-8"]),
        ("case_column: BraTS21ID", "case_column: BraTS21", ["train_labels.csv", "'BraTS21'", "'BraTS21ID'"]),
        ("dicom_dir: data/raw/train ", "dicom_dir: data/raw/trian ", ["ingest.dicom_dir", "data/raw/trian"]),
    ],
)
def test_a_fault_of_params_is_named_with_its_key_and_value(project: Path, old: str, new: str, words: list[str]) -> None:
    replace(project / "params.yaml", old, new)
    faults = "\n".join(cli.check())
    assert all(word in faults for word in words), faults


def test_ids_that_lost_their_zeros_are_explained(project: Path) -> None:
    replace(project / "data/raw/train_labels.csv", "00001", "1")
    assert "leading zeros" in "\n".join(cli.check())


def test_what_a_queue_would_not_see_is_named_with_its_remedy(project: Path) -> None:
    (project / "data/raw/train.dvc").unlink()
    subprocess.run(["git", "rm", "-q", "--cached", "data/raw/train_labels.csv"], check=True)
    scans, table = cli.check()
    assert scans.startswith("data/raw/train: ")
    assert scans.endswith("run: dvc add data/raw/train")
    assert table.startswith("data/raw/train_labels.csv: ")
    assert table.endswith("run: git add data/raw/train_labels.csv")


def test_missing_data_is_named(project: Path) -> None:
    shutil.rmtree(project / "data/raw/train")
    (project / "data/raw/train_labels.csv").unlink()
    faults = "\n".join(cli.check())
    assert "ingest.dicom_dir" in faults
    assert "labels.table" in faults


def test_check_ends_with_status_1_and_one_message(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["check", "-S", "lrr=1"])
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("error: -S lrr=1: ")


def test_no_verdict_without_metrics(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["verdict"])
    assert end.value.code == 1
    assert "dvc repro" in capsys.readouterr().err


def test_demo_refuses_what_makes_no_cohort(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["demo", "--cases", "80", "--out", "data/raw"])
    assert "data/raw/train" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["demo", "check", "verdict"])
def test_the_help_of_a_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"example: flairprep {command}" in capsys.readouterr().out
