"""`flairprep check` proves values: those of params.yaml, of -S, and of files that git or DVC would not read."""

import subprocess
from pathlib import Path

import pytest
from test_main import project, replace  # noqa: F401

from flairprep.cli import check

pytestmark = pytest.mark.usefixtures("project")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("lr=abc", "lr"),
        ("lr='1e-5'", "lr"),
        ("lr=-1e-4", "lr"),
        ("batch_size=2.5", "batch_size"),
        ("val_fold=7", "val_fold"),
        ("test_fold=5", "test_fold"),
        ("split.folds=1", "split.folds"),
        ("ingest.sequence=FLAIRX", "ingest.sequence"),
        ("ingest.dicom_dir=/data", "ingest.dicom_dir"),
        ("model.filters=[8,0]", "model.filters"),
        ("model.dense=null,-1", "model.dense"),
        ("evaluate.permutations=50", "evaluate.permutations"),
        ("evaluate.alpha=1e-5", "permutations"),
        ("train.patience=1", "train.patience"),
        ("labels.positive=1", "labels.positive"),
        ("sanity.strict=maybe", "sanity.strict"),
        ("+split.fold=3", "split"),
        ("params.yaml:lr=abc", "lr"),
    ],
)
def test_a_value_of_an_override_is_refused_with_the_override(override: str, key: str) -> None:
    (fault,) = {fault.splitlines()[0] for fault in check.check([override])}
    assert fault.startswith("-S ")
    assert key in fault


@pytest.mark.parametrize(
    "overrides",
    [
        ["lr=1e-5,1e-3", "val_fold=range(0,5)"],
        ["model.filters=[8,16]", "model.skip=null"],
        ["labels.positive=null", "split.group_column=MGMT_value"],
        ["+ingest.exclude.a=dark"],
        ["split.folds=9", "val_fold=7"],
        ["params.yaml:lr=1e-5"],
    ],
)
def test_values_that_the_stages_take_pass(overrides: list[str]) -> None:
    assert check.check(overrides) == []


def test_one_run_of_a_sweep_is_told_with_what_it_combines() -> None:
    (fault,) = check.check(["val_fold=0,1", "test_fold=1,2"])
    assert fault.startswith("-S val_fold=1 -S test_fold=1: ")


def test_an_override_may_repair_what_stands_in_the_file(project: Path) -> None:  # noqa: F811
    replace(project / "params.yaml", "lr: 1.0e-4", "lr: fast")
    assert check.check(["lr=1e-4"]) == []
    assert len(check.check(["epochs=3"])) == 1


@pytest.mark.parametrize("override", ["model.filters=[4,8", "lr", "lr=", "other.yaml:lr=1", "ingest.exclude={a: dark}"])
def test_what_dvc_does_not_read_is_refused(override: str) -> None:
    (fault,) = check.check([override])
    assert fault.startswith(f"-S {override}: ")


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("labels.label_column=MGMT", "MGMT_value"),
        ("split.group_column=site", "split.group_column"),
        ("labels.positive=yes,no", "labels.positive"),
        ("ingest.dicom_dir=data/raw/x", "ingest.dicom_dir"),
    ],
)
def test_scans_and_labels_are_those_that_the_override_names(override: str, word: str) -> None:
    assert word in check.check([override])[0]


def test_two_folds_leave_none_beside_a_test_fold() -> None:
    (fault,) = check.check(["split.folds=2", "test_fold=1"])
    assert "no fold is left" in fault


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=False, capture_output=True)


@pytest.mark.parametrize("name", ["dvc.lock", "dvc.yaml", "params.yaml", "data/raw/train.dvc"])
def test_a_merge_conflict_is_named_and_the_remedy_ends_it(project: Path, name: str) -> None:  # noqa: F811
    path = project / name
    ours = path.read_text() if path.exists() else "schema: '2.0'\n"
    for branch, text in (("base", ours), ("theirs", f"{ours}# b\n"), ("ours", f"{ours}# c\n")):
        git("checkout", "-q", *([] if branch == "base" else ["base"]))
        git("checkout", "-q", "-b", branch)
        path.write_text(text)
        git("add", "-A")
        git("commit", "-qm", branch)
    git("merge", "theirs")
    assert "<<<<<<< " in path.read_text()
    (fault,) = check.check()
    assert fault.startswith(f"{name}: line ")
    git(*fault.rpartition(": git ")[2].split())
    assert path.read_text() == f"{ours}# c\n"
    assert check.check() == []


def linked(project: Path, place: str = "data/raw/train") -> Path:  # noqa: F811
    """Moves `place` out of the project and links it; git knows the link."""
    (project / "data/raw/train.dvc").unlink()
    (project / ".gitignore").unlink()
    behind = project.parent / f"{project.name}-disk"
    (project / place).rename(behind)
    (project / place).symlink_to(behind)
    git("add", "-A")
    return behind


def test_a_link_to_the_scans_that_git_keeps_is_ready(project: Path) -> None:  # noqa: F811
    linked(project)
    assert check.check() == []


@pytest.mark.parametrize("fault", ["untracked", "relative", "under dvc"])
def test_a_link_that_queued_runs_would_not_see_is_named_and_the_remedy_ends_it(
    project: Path,  # noqa: F811
    fault: str,
) -> None:
    behind, link = linked(project), project / "data/raw/train"
    if fault == "untracked":
        git("rm", "-q", "--cached", "data/raw/train")
    elif fault == "relative":
        link.unlink()
        link.symlink_to(f"../../../{behind.name}")
    else:
        (project / "data/raw/train.dvc").write_text("outs: []\n")
        git("add", "-A")
    (found,) = check.check()
    assert found.startswith("data/raw/train: ")
    command = found.rpartition("run: ")[2]
    if fault == "under dvc":
        assert command == "dvc remove data/raw/train.dvc"
        return
    subprocess.run(command.split(), check=True)
    assert check.check() == []


def test_a_link_that_leads_nowhere_is_named_alone(project: Path) -> None:  # noqa: F811
    behind = linked(project)
    behind.rename(behind.with_name("unmounted"))
    (fault,) = check.check()
    assert str(behind) in fault


def test_a_link_above_the_raw_folder_is_named(project: Path) -> None:  # noqa: F811
    linked(project, "data/raw")
    assert [fault for fault in check.check() if fault.startswith("data/raw: a link")]
