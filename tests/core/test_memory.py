"""memory: what is free is the least of what the machine and a container's limit leave."""

from pathlib import Path

import pytest

from flairprep.core import memory

MEMINFO = "MemTotal:       24000000 kB\nMemFree:         100 kB\nMemAvailable:   2000 kB\n"


@pytest.mark.parametrize(
    ("meminfo", "limit", "used", "free"),
    [
        (MEMINFO, None, None, 2_048_000),
        (MEMINFO, "max", "5", 2_048_000),
        (MEMINFO, "3000000", "2500000", 500_000),
        (MEMINFO, "3000000", "3500000", 0),
        (MEMINFO, "9000000", "5", 2_048_000),
    ],
)
def test_the_least_of_both_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meminfo: str, limit: str | None, used: str | None, free: int
) -> None:
    (tmp_path / "meminfo").write_text(meminfo)
    for name, value in (("memory.max", limit), ("memory.current", used)):
        if value is not None:
            (tmp_path / name).write_text(value + "\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert memory.available() == free


def test_without_linux_it_is_a_part_of_the_machines_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    assert 2**20 < memory.available() < 2**50
