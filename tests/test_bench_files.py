"""bench/files.py: what it computes from measured numbers."""

from pathlib import Path
from types import ModuleType

import pytest
from docs_pages import ROOT


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module bench/files.py."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import files

    return files


def test_costs_of_stages_are_those_of_the_log(bench: ModuleType) -> None:
    log = "flairprep.stages.train 61.5 40\nflairprep.stages.evaluate 1.25 1.5\n"
    of_stages = bench.clone.costs_of_stages
    assert of_stages(log) == {"train": bench.Cost(61.5, 40.0), "evaluate": bench.Cost(1.25, 1.5)}
    assert of_stages("") == {}


def test_dvc_has_what_no_stage_took(bench: ModuleType) -> None:
    assert bench.Cost(70.0, 100.0, 62.75).beyond == 7.25


def test_a_file_adds_the_difference_of_both_layouts(bench: ModuleType) -> None:
    loose = {"dvc add": bench.Cost(41.0, 50.0), "queue": bench.Cost(100.0, 200.0, 60.0)}
    packed = {"dvc add": bench.Cost(1.0, 2.0), "queue": bench.Cost(80.0, 90.0, 70.0)}
    assert bench.per_thousand(loose, packed, 20_000) == {"dvc add": 2.0, "queue": 1.5}


def test_the_table_has_a_row_per_command_and_three_numbers_per_layout(bench: ModuleType) -> None:
    costs = {"dvc add": bench.Cost(41.04, 50.0, 1.0)}
    *_, row = bench.table({"loose": costs, "packed": costs}).splitlines()
    assert row.split() == ["dvc", "add", *["41.0", "40.0", "50.0"] * 2]


def test_reading_counts_files_and_bytes(bench: ModuleType, tmp_path: Path) -> None:
    for name, size in (("a", 3), ("b/c", 70_000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    assert bench.read(tmp_path) == (2, 70_003)
