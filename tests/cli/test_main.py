"""The command line: what it refuses, what it finds before a run, and that it changes nothing."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import phantoms
import pytest
from workspace import PARAMS

from flairprep import __version__
from flairprep.cli import check, main, many_files


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
    main.main(["check", "-S", "lr=1e-5", "-S", "model.name=tutorial_cnn"])
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
    (fault,) = check.check([override])
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
    faults = "\n".join(check.check())
    assert all(word in faults for word in words), faults


def test_ids_that_lost_their_zeros_are_explained(project: Path) -> None:
    replace(project / "data/raw/train_labels.csv", "00001", "1")
    assert "leading zeros" in "\n".join(check.check())


def test_what_a_queue_would_not_see_is_named_with_its_remedy(project: Path) -> None:
    (project / "data/raw/train.dvc").unlink()
    subprocess.run(["git", "rm", "-q", "--cached", "data/raw/train_labels.csv"], check=True)
    scans, table = check.check()
    assert scans.startswith("data/raw/train: ")
    assert scans.endswith("run: dvc add data/raw/train")
    assert table.startswith("data/raw/train_labels.csv: ")
    assert table.endswith("run: git add data/raw/train_labels.csv")


def test_missing_data_is_named(project: Path) -> None:
    shutil.rmtree(project / "data/raw/train")
    (project / "data/raw/train_labels.csv").unlink()
    faults = "\n".join(check.check())
    assert "ingest.dicom_dir" in faults
    assert "labels.table" in faults


def test_check_ends_with_status_1_and_one_message(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["check", "-S", "lrr=1"])
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("error: -S lrr=1: ")


def test_many_files_are_advice_and_no_fault(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(many_files, "ENOUGH", 11)
    main.main(["check"])
    assert capsys.readouterr().err == ""
    (project / "data/raw/train/00001/T1w").mkdir()
    (project / "data/raw/train/00001/T1w/1.dcm").touch()
    main.main(["check", "-S", "split.group_column=null,BraTS21ID"])
    out, err = capsys.readouterr()
    assert "ready" in out
    assert err.startswith("warning: data/raw/train: 11 files")
    assert err.count("flairprep pack data/raw/train --remove") == 1


def test_no_verdict_without_metrics(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["verdict"])
    assert end.value.code == 1
    assert "dvc repro" in capsys.readouterr().err


def test_demo_refuses_what_makes_no_cohort(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["demo", "--cases", "80", "--out", "data/raw"])
    assert "data/raw/train" in capsys.readouterr().err


COMMANDS = ("", "demo", "check", "inspect", "key", "who", "compare", "plan", "verdict", "numbers", "cache")


@pytest.mark.parametrize("command", [*COMMANDS, "cache info", "cache prune", "cache clear"])
def test_the_help_of_a_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main([*command.split(), "--help"])
    assert end.value.code == 0
    assert f"example: flairprep {command}" in capsys.readouterr().out


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"flairprep {metadata.version('flairprep')}\n" == f"flairprep {__version__}\n"


def test_check_imports_no_tensorflow(project: Path) -> None:
    """It answers before a run, so it must not take the seconds that tensorflow does."""
    code = (
        "import sys; from flairprep.cli import main; main.main(['check', '-S', 'lr=1e-5'])\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'flairprep', 'keras', 'tensorflow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['flairprep']"


def export(project: Path) -> Path:
    """The project's scans as an archive exports them: no folder is named as a case or a sequence."""
    shutil.move(project / "data/raw/train/00001/FLAIR", project / "data/raw/train/export")
    (project / "data/raw/train/00001").rmdir()
    return project / "data/raw/train"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line in which a command refuses."""
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    assert end.value.code == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line.removeprefix("error: ")


@pytest.mark.parametrize("command", ["key", "make-key"])
def test_key_is_made_once_and_readable_by_its_owner_alone(
    command: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = export(project) / "flairprep.key"
    main.main([command])
    shown = capsys.readouterr()
    assert shown.out == "key: data/raw/train/flairprep.key; next: dvc add data/raw/train\n"
    content = path.read_text()
    assert re.fullmatch("[0-9a-f]{64}\n", content)
    assert path.stat().st_mode & 0o777 == 0o600
    assert content.strip() not in shown.out + shown.err
    assert refused(capsys, command).startswith("data/raw/train/flairprep.key: ")
    assert path.read_text() == content


def test_key_of_a_wide_open_umask_is_its_owners_alone(project: Path) -> None:
    former = os.umask(0)
    try:
        main.main(["key"])
    finally:
        os.umask(former)
    assert (project / "data/raw/train/flairprep.key").stat().st_mode & 0o777 == 0o600


def test_key_without_a_raw_folder_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(project / "data/raw/train")
    assert refused(capsys, "key").startswith("params.yaml: ingest.dicom_dir: 'data/raw/train' ")


def test_check_names_the_key_that_an_export_needs(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(project)
    faults = check.check()
    assert [fault for fault in faults if "flairprep key" in fault]
    main.main(["key"])
    (fault,) = check.check()  # the labels know folders only
    assert "none of its cases" in fault
    replace(project / "data/raw/train_labels.csv", "00001", "phantom")  # the patient id of the headers
    assert check.check() == []


def test_check_names_a_damaged_key(project: Path) -> None:
    (export(project) / "flairprep.key").write_text("abc")
    assert "flairprep.key: not a key of 64 hexadecimal digits" in "\n".join(check.check())


def test_check_names_a_folder_that_is_no_safe_name(project: Path) -> None:
    (project / "data/raw/train/a\nb").mkdir()
    faults = check.check()
    assert [fault for fault in faults if fault.startswith("data/raw/train: the case id 'a\\nb' holds a control")]
    assert all(fault.isprintable() for fault in faults)


def test_check_changes_nothing(project: Path) -> None:
    def listing() -> dict[str, int]:
        paths = [path for path in project.rglob("*") if ".git" not in path.parts]
        return {str(path): path.lstat().st_mtime_ns for path in paths}

    before = listing()
    check.check()
    assert listing() == before


@pytest.mark.parametrize("command", ["who", "patient-id"])
def test_who_needs_a_case(command: str, project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main.main([command, "00001"])
    assert capfd.readouterr().out == "phantom\n"
    with pytest.raises(SystemExit):
        main.main([command, "0001"])
    assert "did you mean '00001'?" in capfd.readouterr().err


@pytest.mark.parametrize("dicom_dir", ["/data", "../scans", "data/../../scans", "~/scans", '"data/raw\\n"', "''"])
@pytest.mark.parametrize("command", [["key"], ["who", "00001"], ["inspect", "data/raw/train"]])
def test_no_command_leaves_the_project(
    command: list[str], dicom_dir: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(project / "params.yaml", "dicom_dir: data/raw/train ", f"dicom_dir: {dicom_dir} ")
    assert refused(capsys, *command).startswith("params.yaml: ingest.dicom_dir: ")


def test_inspect_of_a_path_that_is_no_folder_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "inspect", "data/raw/trian").startswith("data/raw/trian: no such folder")
    assert refused(capsys, "inspect", "params.yaml").startswith("params.yaml: no such folder")
