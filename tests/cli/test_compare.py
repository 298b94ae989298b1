"""flairprep compare in a repository with queued and failed runs."""

import json
from pathlib import Path
from typing import Any

import comparisons
import pandas as pd
import pytest
import simulated_runs
from comparisons import Repository
from dvc_project import project, shell, wait
from markupsafe import escape

from flairprep.cli import verdict
from flairprep.cli.compare import compare
from flairprep.core.errors import FlairprepError
from flairprep.evaluation.measures import EvaluateParams
from flairprep.experiments import headline
from flairprep.report import interactive


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished first run, an experiment of it, a failed one, and a queued one."""
    root = project(tmp_path_factory.mktemp("repository"))
    shell(root, "git add -A")
    shell(root, "dvc repro -q")
    shell(root, "git add -A")
    shell(root, "git commit -q -m first")
    shell(root, "dvc exp run -q --queue --name failing -S lr=10")
    shell(root, "dvc queue start -j 1")
    wait(root, lambda status: "Failed" in status)
    shell(root, "dvc queue stop --kill")
    wait(root, lambda status: "0 active, 0 idle" in status)
    shell(root, "dvc exp run -q --name second -S lr=1e-5")
    shell(root, "dvc exp run -q --queue --name waiting -S lr=2e-5")
    return root


def run(names: list[str], out: Path, **options: Any) -> dict[str, Any]:
    """Return compare.json."""
    section = EvaluateParams(alpha=0.05, permutations=199, seed=0, prevalence=None, primary="auc")
    chosen = {"this_commit": True, "html": False, "baseline": None, "margin": None, "section": section}
    compare(names, out, **{**chosen, **options})
    return json.loads((out / "compare.json").read_text())


def test_the_page_holds_the_answer_and_escapes_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "library", lambda: "")  # which takes seconds to bundle
    hostile = "<img src=x onerror=alert(1)>"
    there = Repository(tmp_path)
    runs = [
        simulated_runs.simulate_run("a", 0.9, note=hostile),
        simulated_runs.simulate_run(f"b{hostile}", 0.6, note="plain"),
    ]
    page = comparisons.written(there.root, runs, tmp_path / "out", {hostile: "failed"}).read_text()
    assert hostile not in page
    assert str(escape(hostile)) in page
    result = comparisons.compared(runs)
    for sentence in (*result["answer"], headline.title(result), headline.lead(result)):
        assert str(escape(sentence)) in page
    for command in result["commands"]:
        assert str(escape(command)) in page
    assert "<svg" in page


@pytest.mark.slow
def test_the_workspace_and_the_experiments_in_between(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    before = shell(repository, "git status --short")
    result = run([], tmp_path)
    assert result["left_out"] == {"failing": "failed", "waiting": "queued"}
    assert result["same"] == {"workspace": "second"}
    assert [(s["setting"], s["names"]) for s in result["settings"]] == [
        ({"lr": 1e-5}, ["second"]),
        ({"lr": 1e-4}, ["main"]),
    ]
    assert result["settings"][0]["accuracy"] > 0.9
    assert result["pairs"][0]["cases"] == 12
    printed = capsys.readouterr().out
    assert "left out: failing: failed\n" in printed
    assert "left out: waiting: queued\n" in printed
    assert "    dvc exp run --queue -S lr=1e-05 -S val_fold=1,2,3,4\n" in printed
    table = pd.read_csv(tmp_path / "compare.csv")
    assert table["lr"].tolist() == [1e-5, 1e-4]
    assert json.loads((tmp_path / "compare.vl.json").read_text())["data"]["values"]
    assert shell(repository, "git status --short") == before, "nothing of the project is changed"


@pytest.mark.slow
def test_runs_of_earlier_commits_count_where_the_data_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    root = project(folder)
    monkeypatch.chdir(root)
    shell(root, "git add -A")
    shell(root, "dvc repro -q")
    shell(root, "git add -A")
    shell(root, "git commit -q -m first")
    shell(root, "dvc exp run -q --name early -S lr=1e-5")
    shell(root, "git checkout -q .")
    shell(root, "dvc checkout -q")
    shell(root, "git commit -q --allow-empty -m nothing")
    shell(root, "dvc exp run -q --name late -S lr=2e-5")
    result = run([], tmp_path / "all", this_commit=False)
    assert sorted(name for s in result["settings"] for name in s["names"]) == ["early", "late", "main"]
    assert result["earlier"] == ["early"]
    assert result["left_out"] == {}
    assert "3 runs, 1 of them of earlier commits" in capsys.readouterr().out
    monkeypatch.setattr(
        verdict, "sentence", lambda metrics, alpha: "verdict"
    )  # the stand-in of evaluate has no numbers
    assert "one of 3 runs" in verdict.verdict()
    alone = run([], tmp_path / "this")
    assert sorted(name for s in alone["settings"] for name in s["names"]) == ["late", "main"]


@pytest.mark.slow
def test_named_experiments_alone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    result = run(["second", "HEAD", "failing"], tmp_path)
    assert [s["names"] for s in result["settings"]] == [["second"], ["HEAD"]]
    assert result["left_out"] == {"failing": "failed"}
    with pytest.raises(FlairprepError, match=r"secnd.*'second'"):
        run(["secnd"], tmp_path)
    with pytest.raises(FlairprepError, match="dvc repro"):
        run(["failing"], tmp_path)
    assert "left out: failing: failed\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_commit_with_other_labels_is_never_pooled(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    table = repository / "data/raw/train_labels.csv"
    table.write_text(table.read_text().replace("00000,0", "00000,1"))
    shell(repository, "dvc repro -q")
    shell(repository, "git commit -q -a -m relabelled")
    alone = run([], tmp_path)
    assert [s["names"] for s in alone["settings"]] == [["main"]]
    assert alone["left_out"] == {}
    every = run([], tmp_path, this_commit=False, html=True)
    assert 'id="left-out"' in (tmp_path / "compare.html").read_text()
    others = [name for name, reason in every["left_out"].items() if "labels" in reason]
    assert "second" in others
    assert len(others) == 2  # and the first commit
    assert {"failing", "waiting"} < set(every["left_out"])


def test_outside_a_repository_compare_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FlairprepError, match="dvc exp show"):
        run([], tmp_path)
