"""What the cards read of a run, and the runs that they refuse."""

import subprocess
from pathlib import Path

import pytest
from workspace import write_params

from flairprep.card import facts
from flairprep.core.errors import FlairprepError
from flairprep.report import provenance


def test_a_missing_file_is_named_with_the_stage_that_makes_it(project: Path) -> None:
    for path, stage in facts.MAKERS.items():
        Path(path).rename("away")
        with pytest.raises(FlairprepError) as error:
            facts.read()
        assert str(error.value).startswith(f"{path}: ")
        assert f"dvc repro {stage}`" in str(error.value)
        assert "\n" not in str(error.value)
        Path("away").rename(path)
    assert facts.read().epochs == 6


def test_the_stages_named_are_stages_with_that_out() -> None:
    for path, stage in facts.MAKERS.items():
        assert (Path(__file__).parents[2] / f"src/flairprep/stages/{stage}.py").is_file()
        assert stage in path or path.startswith(("reports/metrics.json", "data/train", "reports/evaluate"))


def test_a_missing_volume_is_named(project: Path) -> None:
    Path("data/select_slices/00005.nii.gz").unlink()
    with pytest.raises(FlairprepError, match=r"data/select_slices/00005.nii.gz: .*dvc checkout"):
        facts.read()


LOCK = {"stages": {"train": {"params": {"params.yaml": {"lr": "1e-05", "split": {"folds": 5}}}}}}


def test_a_number_that_yaml_writes_another_way_is_the_same() -> None:
    assert facts.differences(LOCK, {"lr": 1e-5, "split": {"folds": 5}}) == []


@pytest.mark.parametrize(
    ("values", "key", "now", "then"),
    [
        ({"lr": 1e-4, "split": {"folds": 5}}, "lr", "0.0001", "1e-05"),
        ({"lr": 1e-5, "split": {"folds": 4}}, "split.folds", "4", "5"),
        ({"lr": 1e-5, "split": {"folds": 5, "new": 1}}, "split.new", "1", "nothing"),
        ({"lr": 1e-5, "split": {}}, "split.folds", "nothing", "5"),
    ],
)
def test_a_param_edited_after_the_run_is_told(values: dict, key: str, now: str, then: str) -> None:
    told = facts.differences(LOCK, values)
    assert any(f" {key}: {now}: train last ran with {then} " in line for line in told), told


def test_a_run_of_other_params_is_refused(project: Path) -> None:
    Path("dvc.lock").write_text("stages:\n  train:\n    params:\n      params.yaml:\n        lr: 0.0001\n")
    assert facts.read().values["lr"] == 1e-4
    write_params(project, lr=1e-3)
    with pytest.raises(FlairprepError, match=r"params.yaml: lr: 0.001: train .* 0.0001"):
        facts.read()


def git(*arguments: str, date: str = "2026-02-03T04:05:06+00:00") -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    variables = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date, "PATH": "/usr/bin:/bin", "HOME": "/"}
    done = subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True, env=variables)
    return done.stdout.strip()


def test_the_commit_is_the_last_that_changed_the_run(project: Path) -> None:
    git("init", "-q")
    assert provenance.last_commit(facts.CODE) is None
    git("add", "params.yaml")
    git("commit", "-qm", "run")
    first = git("rev-parse", "HEAD")
    Path("MODEL_CARD.md").write_text("a card")
    git("add", "MODEL_CARD.md")
    git("commit", "-qm", "card", date="2026-05-05T00:00:00+00:00")
    assert provenance.last_commit(facts.CODE) == provenance.Commit(first, "2026-02-03", ())
    Path("params.yaml").write_text("lr: 1\n")
    assert provenance.last_commit(facts.CODE) == provenance.Commit(first, "2026-02-03", ("params.yaml",))


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.last_commit(facts.CODE) is None


def test_packages_that_are_not_there_are_left_out() -> None:
    assert set(facts.versions(["numpy", "no-such-package"])) == {"Python", "flairprep", "numpy"}
