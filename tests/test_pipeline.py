"""The real pipeline, run by DVC on a miniature cohort: what an edit reruns, and what a queued experiment executes."""

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import miniature
import pytest
from miniature import Project

pytestmark = pytest.mark.e2e

TRAIN = ("train", "evaluate", "report")
EXPORT = ("export", "sanity", *TRAIN)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The miniature after its first `dvc repro`, committed; it has a result cache, as users have."""
    project = miniature.make(tmp_path_factory.mktemp("project"))
    project.run("git", "config", "user.email", "test@example.org")
    project.run("git", "config", "user.name", "test")
    project.run("git", "add", "-A")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAIRPREP_CACHE", str(tmp_path_factory.mktemp("store")))
        ran = project.repro()
        assert set(ran) == {"ingest", "normalize", "select_slices", "preview", "balance", "split", "audit", *EXPORT}
        project.run("git", "add", "-A")
        project.run("git", "commit", "-q", "-m", "miniature")
        yield project


def test_nothing_reruns_without_a_change(project: Project) -> None:
    assert project.repro() == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"lr": 2e-4, "batch_size": 6, "epochs": 3, "seed": 1, "val_fold": 1, "test_fold": 2}, TRAIN),
        ({"train__schedule": "constant"}, TRAIN),
        ({"model__init": "glorot_uniform"}, ("sanity", *TRAIN)),
        ({"sanity__seed": 1}, ("sanity", "report")),
        ({"audit__seed": 1}, ("audit", "evaluate", "report")),
        ({"evaluate__seed": 1}, ("evaluate", "report")),
        ({"balance__power": 0.9}, ("balance", "report")),
        # Other shards, the same examples in the same order: train writes the same bytes, so evaluate has nothing to do.
        ({"export__cases_per_shard": 3}, ("export", "sanity", "train", "report")),
        ({"split__seed": 1}, ("split", "audit", *EXPORT)),
        ({"select_slices__method": "resample"}, ("select_slices", "preview", "audit", *EXPORT)),
        ({"normalize__background": -5.0}, ("normalize", "select_slices", "preview", "audit", *EXPORT)),
        ({"ingest__max_failed": 0.5}, ("ingest", "report")),
        ({"report__assay": "pyrosequencing"}, ("report",)),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_param_reruns_what_it_touches(project: Project, changes: dict[str, Any], stages: tuple[str, ...]) -> None:
    project.edit(**changes)
    assert set(project.repro()) == set(stages)


@pytest.mark.slow
def test_a_label_reruns_all_that_reads_labels(project: Project) -> None:
    table = project.root / "data/raw/train_labels.csv"
    table.write_text(table.read_text().replace("00000,0", "00000,1"))
    assert set(project.repro()) == {"balance", "split", "audit", *EXPORT}


@pytest.mark.slow
def test_a_dicom_file_reruns_ingest_and_what_its_outs_change(project: Project) -> None:
    path = sorted((project.root / "data/raw/train/00003/FLAIR").iterdir())[0]
    content = bytearray(path.read_bytes())
    content[-201] ^= 1  # the low byte of a voxel at the border, outside the sphere
    path.unlink()  # DVC may have linked it to its cache
    path.write_bytes(content)
    ran = project.repro()
    assert ran[0] == "ingest"
    assert "split" not in ran, "same_as.csv and cases.csv did not change"
    assert set(ran) >= {"ingest", "normalize"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage",
    ["ingest", "normalize", "select_slices", "preview", "balance", "split", "audit", "sanity", "evaluate", "report"],
)
def test_a_comment_reruns_its_stage_alone_since_outs_are_byte_stable(project: Project, stage: str) -> None:
    project.comment(f"stages/{stage}.py")
    assert project.repro() == (stage,)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "comment", "stages"),
    [
        ("stats/hypothesis_tests.py", "# one comment more\n", {"balance", "audit", "evaluate", "report"}),
        ("report/templates/report.html", "{# one comment more #}\n", {"report"}),
        ("report/previews.py", "# one comment more\n", {"preview", "report"}),
        ("sanity/trial.py", "# one comment more\n", {"sanity"}),
    ],
)
def test_an_edit_outside_of_network_and_dataset_retrains_nothing(
    project: Project, file: str, comment: str, stages: set[str]
) -> None:
    with (project.root / "src/flairprep" / file).open("a") as source:
        source.write(comment)
    assert set(project.repro()) == stages


@pytest.mark.slow
def test_what_the_store_knows_becomes_links_to_dvcs_cache_once_dvc_has_it(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "store"))
    project.repro()
    project.run("dvc", "repro", "--force", "--single-item", "ingest")
    volumes = project.root / "data/ingest/volumes"
    kept = {path.stat().st_ino for path in (project.root / ".dvc/cache/files/md5").rglob("*") if path.is_file()}
    assert "18 reused" in project.run("env", "PYTHONPATH=src", "python", "-m", "flairprep.stages.ingest")
    assert len({path.stat().st_ino for path in volumes.iterdir()} & kept) == 18
    assert "up to date" in project.run("dvc", "status", "ingest")


@pytest.mark.slow
def test_temporary_and_queued_runs_know_the_cases_and_execute_the_code_that_was_queued(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With lr=1e-5 as DVC writes it, 1e-05, and the cohort linked, not copied, from the cache.

    ingest.max_failed reruns ingest, but decides on no case, so each comes from the store.
    """
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "store"))
    assert "reused" not in project.run("dvc", "repro", "--force", "--single-item", "ingest")
    project.run("git", "commit", "-q", "-a", "--allow-empty", "-m", "before the queue")
    assert "18 reused" in project.run("dvc", "exp", "run", "--temp", "-S", "ingest.max_failed=0.4")
    project.run("dvc", "exp", "run", "--queue", "--name", "queued", "-S", "lr=1e-5", "-S", "ingest.max_failed=0.3")
    source = project.root / "src/flairprep/stages/train.py"
    queued = source.read_text()
    source.write_text(queued.replace('console.say(f"train: ', 'raise SystemExit(f"train: '))
    assert source.read_text() != queued
    project.run("dvc", "queue", "start")
    deadline = time.monotonic() + 300  # of patience, in case the queue never ends
    while "Running" in (status := project.run("dvc", "queue", "status")) or "Queued" in status:
        assert time.monotonic() < deadline, status
        time.sleep(1)
    source.write_text(queued)
    logs = project.run("dvc", "queue", "logs", "queued")
    assert "Success" in status, status + logs
    assert "18 reused" in logs
    shown = project.run("dvc", "exp", "show", "--csv")
    row = next(row for row in csv.DictReader(shown.splitlines()) if row["Experiment"] == "queued")
    assert float(row["lr"]) == 1e-5
    assert row["verdict"] in {"learned", "no evidence", "constant prediction"}
