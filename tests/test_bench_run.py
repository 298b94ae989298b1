"""bench/run.py: what it computes from files and measured numbers."""

import os
from pathlib import Path
from types import ModuleType

import pytest
from docs_pages import ROOT


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module bench/run.py."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import run

    return run


def test_a_file_under_two_names_takes_its_blocks_once(bench: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100_000))
    once = bench.disk(tmp_path)
    assert once >= 100_000
    os.link(tmp_path / "a", tmp_path / "b")
    assert bench.disk(tmp_path) == once
    (tmp_path / "c").write_bytes(bytes(100_000))
    assert bench.disk(tmp_path, tmp_path) == 2 * once


def test_a_stage_that_one_commit_lacks_leaves_its_cells_empty(bench: ModuleType) -> None:
    one, other = {"  new": bench.Cost(2.04, 1.0), "all": bench.Cost(9.0, 8.0)}, {"all": bench.Cost(3.0, 2.0)}
    *_, new, all_ = bench.table({"a": one, "b": other}).splitlines()
    assert new.split() == ["new", "2.0", "1.0"]
    assert all_.split() == ["all", "9.0", "8.0", "3.0", "2.0"]
