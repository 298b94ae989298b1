"""flairprep sweep in a repository: what it prints, and what comes of it."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from dvc_project import project, shell
from ruamel.yaml import YAML

from flairprep.cli import main, sweep, verdict
from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.experiments.runs import read_runs

pytestmark = pytest.mark.slow


def edit(root: Path, **changed: Any) -> None:
    yaml = YAML()
    values = yaml.load(root / "params.yaml")
    for key, value in changed.items():
        *section, name = key.split("__")
        (values[section[0]] if section else values)[name] = value
    yaml.dump(values, root / "params.yaml")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of a commit, and other params in the workspace."""
    root = project(tmp_path)
    monkeypatch.chdir(root)
    with pytest.raises(FlairprepError, match="git commit"):
        sweep.plan(["lr=1e-5"])
    shell(root, "git add -A")
    shell(root, "dvc repro -q")
    shell(root, "git add -A")
    shell(root, "git commit -q -m first")
    return root


def test_a_sweep_starts_from_the_commit_and_skips_what_exists(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    committed = params.flatten(params.read_params())
    assert verdict.differing() == []
    shell(repository, "dvc exp run -q --name low -S lr=1e-5")
    edit(repository, batch_size=8, report__assay="PCR, 8 % (x)", model__filters=[4, 8])
    assert len(verdict.differing()) == 1
    before = (repository / "params.yaml").read_bytes()
    plan = sweep.plan(["lr=1e-4,1e-5", "val_fold=0..1"])
    *queued, run_all, compare = plan.commands
    assert (run_all, compare) == ("dvc exp run --run-all", "flairprep compare")
    assert len(queued) == 1, "both rates lack the same fold"
    words = shlex.split(queued[0])
    assert "val_fold=1" in words
    assert {word.split("=")[0] for word in words[5::2]} == {
        "lr",
        "batch_size",
        "report.assay",
        "model.filters",
        "val_fold",
    }
    assert sum(comment.startswith("exists as ") for comment in plan.comments) == 2
    main.main(["sweep", "lr=1e-4,1e-5", "val_fold=0..1", "--run"])
    out = capfd.readouterr().out
    assert "Learned: " in out or "No evidence" in out, "it ends in compare"
    assert (repository / "params.yaml").read_bytes() == before
    known = read_runs().runs
    made = {(run.setting["lr"], run.fold) for run in known}
    assert made >= {(1e-4, 0), (1e-5, 0), (1e-4, 1), (1e-5, 1)}
    for run in known:
        if run.fold == 1:
            assert (run.setting["batch_size"], run.setting["model.filters"]) == (
                committed["batch_size"],
                [8, 16, 32, 64],
            )
    assert sweep.plan(["lr=1e-4,1e-5", "val_fold=0..1"]).commands == ["flairprep compare"]


def test_changed_code_and_data_skip_nothing(repository: Path) -> None:
    assert sweep.plan(["val_fold=0"]).commands == ["flairprep compare"]
    table = repository / "data/raw/train_labels.csv"
    kept = table.read_text()
    table.write_text(kept.replace("00000,0", "00000,1"))
    assert len(sweep.plan(["val_fold=0"]).commands) == 3
    table.write_text(kept)
    assert sweep.plan(["val_fold=0"]).commands == ["flairprep compare"]


@pytest.mark.parametrize(
    ("typed", "named"),
    [("lr=-1", "lr"), ("learning=1", "learning"), ("lr", "lr"), ("model.name=vgg,resnet3d", "vgg"), ("lr=[", "lr")],
)
def test_values_that_cannot_be_are_refused(repository: Path, typed: str, named: str) -> None:
    with pytest.raises(FlairprepError, match=named):
        sweep.plan([typed])


def test_what_cannot_be_set_back_is_refused(repository: Path) -> None:
    edit(repository, ingest__exclude={"7": "dark"})
    shell(repository, "git commit -q -a -m excluded")
    edit(repository, ingest__exclude={})
    with pytest.raises(FlairprepError, match=r"git restore params\.yaml"):
        sweep.plan(["lr=1e-5"])
