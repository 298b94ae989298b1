"""Hashes and params: what a data set is known by."""

from pathlib import Path

import pytest
from tables import put

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
