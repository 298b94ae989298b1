"""flairprep predict on a finished run: the run's own probabilities, ensembles, failures, refusals, other revisions."""

import csv
import shutil
from pathlib import Path

import miniature
import numpy as np
import pytest
from miniature import Project

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

RAW = "data/raw/train"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The miniature after a run on each of two folds, committed; the second one is the experiment `other`."""
    project = miniature.make(tmp_path_factory.mktemp("project"))
    project.edit(lr=0.01)  # probabilities that differ
    project.run("git", "config", "user.email", "test@example.org")
    project.run("git", "config", "user.name", "test")
    project.run("git", "add", "-A")
    project.repro()
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "run")
    project.run("dvc", "exp", "run", "-q", "--temp", "--name", "other", "-S", "val_fold=1")
    return project


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def predict(project: Project, *arguments: str) -> dict[str, dict[str, str]]:
    """Case id -> row of the table that the command writes."""
    project.run("env", "PYTHONPATH=src", "flairprep", "predict", *arguments, "--out", "out.csv")
    return {row["case_id"]: row for row in rows(project.root / "out.csv")}


def refused(project: Project, *arguments: str) -> str:
    """The one line that the command prints before it ends with status 1."""
    (project.root / "out.csv").unlink(missing_ok=True)
    with pytest.raises(AssertionError) as failure:
        predict(project, *arguments)
    assert not (project.root / "out.csv").exists()
    [line] = [line for line in str(failure.value).splitlines() if line.startswith("error: ")]
    assert "Traceback" not in str(failure.value)
    return line


def declared(text: str) -> dict[str, float]:
    """Case id -> mean probability of the last three epochs of a val_predictions.csv."""
    table = list(csv.DictReader(text.splitlines()))
    last = max(int(row["epoch"]) for row in table) - 3
    kept = [row for row in table if int(row["epoch"]) > last]
    return {
        case: float(np.mean([float(row["probability"]) for row in kept if row["case_id"] == case]))
        for case in {row["case_id"] for row in kept}
    }


def of_run(project: Project, revision: str) -> dict[str, float]:
    project.run(*("dvc", "get", ".", "data/train/val_predictions.csv", "--rev", revision, "-f", "-q", "-o", "got.csv"))
    return declared((project.root / "got.csv").read_text())


def test_validation_cases_get_the_declared_probabilities(project: Project) -> None:
    for options, expected in (
        ((), declared((project.root / "data/train/val_predictions.csv").read_text())),
        (("--run", "other"), of_run(project, "other")),
    ):
        made = predict(project, RAW, *options)
        assert len(made) == 18
        assert len(expected) == 6
        assert np.ptp(list(expected.values())) > 1e-3
        for case_id, probability in expected.items():
            assert abs(float(made[case_id]["probability"]) - probability) <= 1e-6
            assert made[case_id]["predicted"] == str(int(probability > 0.5))
            assert made[case_id]["status"] == "ok"


def test_ensemble_is_the_mean_of_its_networks_with_their_deviation(project: Project) -> None:
    single = [predict(project, RAW, "--run", name) for name in ("HEAD", "other")]
    both = predict(project, RAW, "--run", "HEAD", "other")
    assert predict(project, RAW, "--folds", "HEAD") == both
    assert predict(project, RAW, "--folds", "other") == both
    for case_id, row in both.items():
        values = [float(one[case_id]["probability"]) for one in single]
        assert abs(float(row["probability"]) - np.mean(values)) < 2e-7
        assert abs(float(row["spread"]) - np.std(values, ddof=1)) < 2e-7


def test_calibrated_probability_is_a_map_of_the_networks_that_keeps_the_order(project: Project) -> None:
    plain = predict(project, RAW)
    made = predict(project, RAW, "--calibrate")
    assert {case: row["uncalibrated"] for case, row in made.items()} == {
        case: row["probability"] for case, row in plain.items()
    }
    pairs = sorted((float(row["uncalibrated"]), float(row["probability"])) for row in made.values())
    assert (np.diff([after for _, after in pairs]) >= 0).all()


def test_one_failed_case_costs_no_other(project: Project, tmp_path: Path) -> None:
    raw = tmp_path / "scans"
    for case in ("00000", "00001", "00002"):
        shutil.copytree(project.root / RAW / case, raw / case)
    for file in (raw / "00001/FLAIR").iterdir():
        file.write_bytes(b"no DICOM")
    whole = predict(project, RAW)
    made = predict(project, str(raw))
    assert (made["00001"]["probability"], made["00001"]["predicted"], made["00001"]["status"]) == ("", "", "failed")
    assert made["00001"]["code"] == "NOT_DICOM"
    assert all(made[case] == whole[case] for case in ("00000", "00002"))
    split = rows(project.root / "data/split/split.csv")
    trained = [int(row["label"]) for row in split if row["fold"] != "0"]
    filled = predict(project, str(raw), "--on-failure", "prior")
    assert float(filled["00001"]["probability"]) == pytest.approx(np.mean(trained), abs=1e-7)
    project.run("env", "PYTHONPATH=src", "flairprep", "predict", str(raw), "--kaggle", "--out", "kaggle.csv")
    table = rows(project.root / "kaggle.csv")
    assert [list(row) for row in table] == [["BraTS21ID", "MGMT_value"]] * 3
    assert {row["BraTS21ID"]: row["MGMT_value"] for row in table} == {
        case: row["probability"] for case, row in filled.items()
    }
    only = tmp_path / "only"
    shutil.copytree(raw / "00001", only / "00001")
    with pytest.raises(AssertionError):
        predict(project, str(only))
    assert [row["status"] for row in rows(project.root / "out.csv")] == ["failed"]


def test_bad_input_is_one_line(project: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "missing", tmp_path / "empty"):
        assert str(path) in refused(project, str(path))
    assert "nonsense" in refused(project, RAW, "--run", "nonsense")
    assert "nonsense" in refused(project, RAW, "--folds", "nonsense")


def test_other_params_are_refused_with_both_values_unless_those_of_the_revision_are_taken(project: Project) -> None:
    expected = predict(project, f"{RAW}/00003")
    project.edit(normalize__clip=2.5)
    try:
        line = refused(project, f"{RAW}/00003")
        assert "normalize.clip" in line
        assert "2.5" in line.partition("normalize.clip")[2]
        assert "6" in line.partition("normalize.clip")[2]
        assert predict(project, f"{RAW}/00003", "--run", "HEAD") == expected
    finally:
        project.edit(normalize__clip=6)
    project.edit(ingest__max_failed=0.5, lr=0.02, audit__seed=3)  # which enter no tensor
    try:
        assert predict(project, f"{RAW}/00003") == expected
    finally:
        project.edit(ingest__max_failed=0.1, lr=0.01, audit__seed=0)


def test_other_code_is_refused_unless_that_of_the_revision_is_taken(project: Project) -> None:
    expected = predict(project, f"{RAW}/00003")
    source = project.root / "src/flairprep/imaging/intensity.py"
    whole = source.read_text()
    source.write_text(whole.replace("def fit(", "def fit(*_, **__):\n    return 0.0, 1.0\n\n\ndef former_fit(", 1))
    assert source.read_text() != whole
    try:
        line = refused(project, f"{RAW}/00003")
        assert "src/flairprep/imaging" in line
        assert "src/flairprep/dicom" not in line
        assert predict(project, f"{RAW}/00003", "--run", "HEAD") == expected
    finally:
        source.write_text(whole)


def test_run_whose_code_git_does_not_have_is_refused(project: Project) -> None:
    source = project.root / "src/flairprep/imaging/intensity.py"
    whole = source.read_text()
    project.run("git", "branch", "before")
    try:
        source.write_text(whole + "# another\n")
        project.run("git", "commit", "-q", "-a", "-m", "code that did not run")
        assert "src/flairprep/imaging" in refused(project, f"{RAW}/00003", "--run", "HEAD")
    finally:
        project.run("git", "reset", "-q", "--hard", "before")


def test_nothing_is_left_behind(project: Project, tmp_path: Path) -> None:
    before = project.run("git", "status", "--short").splitlines()
    elsewhere = Project(project.root, TMPDIR=str(tmp_path))
    assert predict(elsewhere, f"{RAW}/00003").keys() == {"00003"}
    assert not list(tmp_path.glob("flairprep-*"))
    assert set(project.run("git", "status", "--short").splitlines()) - {*before, "?? out.csv"} == set()
