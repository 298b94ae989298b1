"""What git and DVC keep, against what DVC says itself."""

import subprocess
from pathlib import Path

import dvc.api
import pytest
from dvc_project import project, shell, wait

from flairprep.core.errors import FlairprepError
from flairprep.experiments import repository, runs


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits of some files in git alone; data/out lies in DVC's cache as the second commit's lock says."""
    monkeypatch.chdir(tmp_path)
    for command in ("git init -q -b main", "git config user.email a@example.org", "git config user.name a"):
        shell(tmp_path, command)
    (tmp_path / ".dvc").mkdir()
    cache = tmp_path / ".dvc/cache/files/md5"
    for digest, text in {
        "ab/cd.dir": '[{"relpath": "x/é.csv", "md5": "1234"}]',
        "12/34": "ü\n\n",
        "56/78": "one",
    }.items():
        (cache / digest).parent.mkdir(parents=True, exist_ok=True)
        (cache / digest).write_text(text, encoding="utf-8")
    for text in ("first\n", "second é"):
        (tmp_path / "in git.txt").write_text(text, encoding="utf-8")
        shell(tmp_path, "git add -A -- *.txt")
        shell(tmp_path, "git commit -q -m x")
    return tmp_path


STAGES = {
    "a": {"outs": [{"path": "data/out", "md5": "abcd.dir", "hash": "md5"}]},
    "b": {"outs": [{"path": "one.csv", "md5": "5678", "hash": "md5"}], "deps": [{"path": "x", "md5": "y"}]},
    "c": {},
}


def test_files_come_from_git_the_workspace_and_the_cache(commits: Path) -> None:
    (commits / "in git.txt").write_text("edited")
    with repository.opened() as blobs:
        for revision, text in (("HEAD~1", "first\n"), ("HEAD", "second é"), ("main", "second é"), (None, "edited")):
            files = repository.Files(revision, blobs)
            files.know(STAGES)
            assert files.read_text("in git.txt") == text
            assert files.read_text("data/out/x/é.csv") == "ü\n\n"
            assert files.read_text("one.csv") == "one"
        assert blobs.read("HEAD", "nowhere with a blank 1") is None
        assert blobs.read("nowhere", "in git.txt") is None
        assert blobs.read("HEAD", "") is None, "a folder is no file"
        assert blobs.read("HEAD", "in git.txt") == "second é".encode(), "the answers stay in step"


def test_the_cache_lies_where_dvc_is_told(commits: Path) -> None:
    (commits / ".dvc/cache").rename(commits / "elsewhere")
    (commits / ".dvc/config").write_text("[cache]\n    dir = ../elsewhere\n['remote \"x\"']\n    url = /tmp\n")
    with repository.opened() as blobs:
        files = repository.Files("HEAD", blobs)
        files.know(STAGES)
        assert files.read_text("one.csv") == "one"


def test_names_are_those_of_branches_and_tags(commits: Path) -> None:
    head, first = repository.git("rev-list", "HEAD")
    assert repository.rows([head, first], queue=False)[1:] == [(None, "main", None), (None, first[:7], None)]
    shell(commits, "git tag -a -m x v1 HEAD~1")
    shell(commits, "git branch other HEAD~1")
    assert [row.revision for row in repository.rows([head, first], queue=True)] == ["workspace", "main", "v1"]
    shell(commits, "git checkout -q --detach")
    assert [row.revision for row in repository.rows([head, first], queue=False)] == ["workspace", "main", "v1"]
    assert repository.is_revision("v1")
    assert not repository.is_revision("v2")


def test_experiments_follow_their_commit_the_latest_first(commits: Path) -> None:
    head, first = repository.git("rev-list", "HEAD")
    for name, start, date in (("old", head, 1), ("new", head, 2), ("early", first, 3)):
        tree = ["git", "commit-tree", f"{head}^{{tree}}", "-p", start, "-m", name]
        dated = {"GIT_COMMITTER_DATE": f"@{date} +0000"}
        made = subprocess.run(["env", *(f"{k}={v}" for k, v in dated.items()), *tree], capture_output=True, check=True)
        shell(commits, f"git update-ref refs/exps/{start[:2]}/{start[2:]}/{name} {made.stdout.decode().strip()}")
    shell(commits, "git update-ref refs/exps/exec/EXEC_HEAD HEAD")
    assert repository.commits_with_runs() == [head, first]
    names = [row.experiment for row in repository.rows([head, first], queue=False)]
    assert names == [None, None, "new", "old", None, "early"]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('{"result_hash": "x", "location": "dvc-task"}', False),
        ('{"result_hash": null, "location": "dvc-task"}', True),
        ('{"result_hash": null, "location": "workspace"}', False),
        ('{"result_hash": "x"}', False),
        ('{"result_hash": null}', True),
        *(("{}", True), ("", True)),
    ],
)
def test_dvc_is_asked_only_of_runs_without_a_result(text: str, asked: bool, commits: Path) -> None:
    assert not repository._may_have_tasks()
    run = commits / repository.TASKS / "abc/abc.run"
    run.parent.mkdir(parents=True)
    run.write_text(text)
    assert repository._may_have_tasks() is asked
    run.unlink()
    shell(commits, "git update-ref refs/exps/celery/stash HEAD")
    assert repository._may_have_tasks()


def test_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FlairprepError, match="git and DVC"):
        runs.read_runs()


def test_a_lock_is_read_alike_in_blocks_and_whole() -> None:
    lock = (
        "schema: '2.0'\nstages:\n  a:\n    cmd: |\n      two\n      lines\n"
        "    params:\n      p.yaml:\n        lr: 1e-05\n"
        "  b:\n    outs:\n    - path: x\n      md5: '0012'\n"
    )
    read = runs.parse_lock(lock)
    assert read == {
        "a": {"cmd": "two\nlines\n", "params": {"p.yaml": {"lr": 1e-05}}},
        "b": {"outs": [{"path": "x", "md5": "0012"}]},
    }
    assert runs.parse_lock(f"# a comment\n{lock}") == read
    for broken in ("<<<<<<< ours", "- a\n", f"{lock}<<<<<<< HEAD\n", lock.replace("  b:", "=======\n  b:")):
        with pytest.raises(FlairprepError, match=r"git checkout --ours dvc\.lock"):
            runs.parse_lock(broken)


@pytest.mark.slow
def test_the_runs_are_those_of_dvc_exp_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path)
    monkeypatch.chdir(root)
    shell(root, "git add -A")
    shell(root, "dvc repro -q")
    shell(root, "git add -A")
    shell(root, "git commit -q -m first")
    shell(root, "git tag v1")
    shell(root, "dvc exp run -q --name one -S lr=1e-5")
    shell(root, "git checkout -q .")
    shell(root, "dvc checkout -q")
    shell(root, "git commit -q --allow-empty -m second")
    shell(root, "dvc exp run -q --queue --name failing -S lr=10")
    shell(root, "dvc exp run -q --queue --name done -S lr=2e-5")
    shell(root, "dvc queue start -j 1")
    wait(root, lambda status: "Failed" in status and "Success" in status)
    shell(root, "dvc queue stop --kill")
    wait(root, lambda status: "0 active, 0 idle" in status)
    shell(root, "dvc exp run -q --queue --name waiting -S lr=3e-5")
    found = [tuple(row) for row in repository.rows(repository.commits_with_runs(), queue=True)]
    rows = dvc.api.exp_show(revs=repository.commits_with_runs())
    state = {None: None, "Success": None, "Failed": "Failed", "Queued": "Queued"}
    assert found == [(row["Experiment"], row["rev"], state[row["State"]]) for row in rows]
    assert {row[0] for row in found} == {None, "one", "done", "failing", "waiting"}
    with repository.opened() as blobs:
        for revision in ("v1", "main", *(row[1] for row in found if row[0] in ("one", "done"))):
            files, oracle = repository.Files(revision, blobs), dvc.api.DVCFileSystem(rev=revision)
            files.know(runs.parse_lock(files.read_text("dvc.lock")))
            for path in ("dvc.lock", "data/train/val_predictions.csv", "data/split/split.csv", "reports/audit.json"):
                assert files.read_text(path) == oracle.read_text(path)
