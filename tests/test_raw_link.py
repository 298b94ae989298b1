"""The raw folder is a link that git keeps, to scans elsewhere: every way in which DVC runs the stages reads them."""

import json
import re
import time

import miniature
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> miniature.Project:
    """A project after docs/own-data.md, whose scans lie behind a link and came under DVC before."""
    folder = tmp_path_factory.mktemp("linked")
    disk = folder / "disk"
    project = miniature.make(folder / "project", 12, FLAIRPREP_CACHE=str(folder / "cache"))
    project.run("dvc", "remove", "-q", "data/raw/train.dvc")
    (project.root / "data/raw/train").rename(disk)
    (project.root / "data/raw/train").symlink_to(disk)
    project.run("git", "config", "user.name", "test")
    project.run("git", "config", "user.email", "test@localhost")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "start")
    return project


def test_every_kind_of_run_reads_the_scans_behind_the_link(project: miniature.Project) -> None:
    project.run("flairprep", "check")
    assert "ingest" in project.run("dvc", "repro", "split")
    assert project.run("dvc", "status", "ingest", "split").strip() == "Data and pipelines are up to date."
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "first")
    for options in ((), ("--temp",)):
        project.run(
            "dvc", "exp", "run", *options, "-f", "-n", f"run{len(options)}", "-S", "ingest.min_slices=7", "split"
        )
    project.run("dvc", "exp", "run", "--queue", "-n", "queued", "-S", "ingest.min_slices=6", "split")
    project.run("dvc", "queue", "start")
    for _ in range(200):
        if not re.search("Queued|Running", project.run("dvc", "queue", "status")):
            break
        time.sleep(1)
    shown = json.loads(project.run("dvc", "exp", "show", "--json"))
    runs = {run["name"]: run for commit in shown for run in [of["revs"][0] for of in commit["experiments"] or []]}
    assert set(runs) == {"run0", "run1", "queued"}
    for run in runs.values():
        assert run["data"]["deps"]["data/raw/train"]["nfiles"] == 12 * 12
        assert run["data"]["outs"]["data/split"]["hash"] == runs["run0"]["data"]["outs"]["data/split"]["hash"]


def test_a_file_that_changes_behind_the_link_reruns_ingest(project: miniature.Project) -> None:
    project.run("dvc", "repro", "ingest")
    (project.root.parent / "disk/00000/FLAIR").rename(project.root.parent / "disk/00000/T1w")
    assert "data/raw/train" in project.run("dvc", "status", "ingest")
    (project.root.parent / "disk/00000/T1w").rename(project.root.parent / "disk/00000/FLAIR")
    assert "data/raw/train" not in project.run("dvc", "status", "ingest")
