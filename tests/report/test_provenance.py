"""Hashes and params: what a data set is known by."""

import subprocess
from pathlib import Path

import pytest
from tables import put
from workspace import write_params

from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.report import provenance


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_without_a_lock_there_are_no_hashes() -> None:
    assert provenance.hashes(provenance.read_lock(Path("dvc.lock"))) == []


def test_a_lock_with_the_marks_of_a_merge_is_refused() -> None:
    put("dvc.lock", "a: 1\n<<<<<<< HEAD\nb: [\n")
    with pytest.raises(FlairprepError, match="not valid YAML"):
        provenance.read_lock(Path("dvc.lock"))


def test_data_that_are_there_are_listed_once_in_the_order_of_the_pipeline() -> None:
    for path in ("data/raw/x", "data/split/split.csv", "data/ingest/cases.csv", "data/ingest_more"):
        put(path, "")
    lock = {
        "stages": {
            "split": {
                "deps": [{"path": "data/ingest/cases.csv", "md5": "part"}],
                "outs": [{"path": "data/split", "md5": "s"}],
            },
            "ingest": {
                "deps": [{"path": "data/raw", "md5": "r"}, {"path": "src/flairprep/raw.py", "md5": "code"}],
                "outs": [{"path": "data/ingest", "md5": "i"}],
            },
            "train": {"outs": [{"path": "data/train", "md5": "gone"}]},
            "other": {"outs": [{"path": "data/ingest_more", "md5": "m"}, {"path": "data/raw/x", "size": 1}]},
        }
    }
    assert provenance.hashes(lock) == [
        ("data/raw", "r"),
        ("data/ingest", "i"),
        ("data/split", "s"),
        ("data/ingest_more", "m"),
    ]


def commit(*paths: str, date: str = "2026-02-03T04:05:06+00:00") -> str:
    """Commits `paths`, and returns the revision."""
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    dates = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date, "PATH": "/usr/bin:/bin", "HOME": "/"}
    for arguments in (["init", "-q"], ["add", *paths], [*identity, "commit", "-qm", "m"], ["rev-parse", "HEAD"]):
        done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, env=dates)
    return done.stdout.strip()


def identified(cohort: str | None = None) -> provenance.Identity:
    return provenance.identify(params.read_params(), cohort)


def test_a_run_is_known_by_the_commit_of_its_inputs_and_the_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(tmp_path)
    put("data/raw/train.dvc", "outs: []")
    assert identified().commit is None
    first = commit("params.yaml", "data/raw/train.dvc")
    put("reports/index.html", "a page")
    put("dvc.lock", "stages: {}")
    commit("reports/index.html", "dvc.lock", date="2026-05-05T00:00:00+00:00")
    put("dvc.lock", "stages: {report: {}}")
    assert identified().commit == provenance.Commit(first, "2026-02-03", ()), "what a run writes does not count"
    put("data/raw/train.dvc", "outs: [other]")
    assert identified().commit == provenance.Commit(first, "2026-02-03", ("data/raw/train.dvc",))
    assert identified().experiment == ""
    monkeypatch.setenv(provenance.EXPERIMENT, "brave-kelp")
    assert identified().experiment == "brave-kelp"
    for told in ("brave-kelp", first[:7], "2026-02-03", "data/raw/train"):
        assert told in identified().title


def test_a_cohort_is_called_by_its_name_and_else_by_the_folder_of_its_scans(tmp_path: Path) -> None:
    write_params(tmp_path, ingest={"dicom_dir": "data/raw/ours"})
    assert identified().cohort == "data/raw/ours"
    assert identified("Ours, 2026").cohort == "Ours, 2026"


def test_the_params_that_are_not_the_default_are_told(tmp_path: Path) -> None:
    write_params(tmp_path)
    assert identified().changed == ()
    write_params(tmp_path, lr=0.001, report={"assay": "pyrosequencing"}, ingest={"exclude": {"00109": "dark"}})
    assert identified().changed == (("lr", "0.001", "0.0001"), ("ingest.exclude.00109", "dark", "none"))
