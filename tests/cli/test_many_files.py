"""The advice to pack a raw folder of very many files: from how many on, and with the numbers of the bench."""

import re
from pathlib import Path

import pytest
from docs_pages import DOCS, ROOT, rows, section

from flairprep.cli import many_files

RESULTS = ROOT / "bench/results/files.txt"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw folder of 3 files in 2 cases, one of them hidden, and a link to a folder, which counts as none."""
    for name in ("1/FLAIR/a.dcm", "1/T1w/b.dcm", "2/FLAIR/.c"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "2/again").symlink_to(tmp_path / "1")
    return tmp_path


def test_every_file_below_the_folder_counts_once(raw: Path) -> None:
    assert many_files.count(raw) == 3
    assert many_files.count(raw / "1") == 2
    assert many_files.count(raw / "nowhere") == 0


@pytest.mark.parametrize(("files", "advised"), [(19_999, False), (20_000, True)])
def test_advice_begins_at_20000_files(
    raw: Path, files: int, advised: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(many_files, "count", lambda _: files)
    many_files.warn_of(raw)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * advised


def test_advice_names_the_folder_the_number_and_a_command_that_takes_it(raw: Path) -> None:
    told = many_files.advice(raw, 30_000, packable=True)
    assert f"flairprep pack {raw} --remove" in told
    assert "30000 files" in told
    assert f"dvc add {raw}" in told
    (raw.parent / "link").symlink_to(raw)
    assert "dvc add" not in many_files.advice(raw.parent / "link", 30_000, packable=True)  # git keeps links
    assert "flairprep pack" not in many_files.advice(raw, 30_000, packable=False)


def test_an_export_with_a_key_is_not_told_to_pack(
    raw: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (raw / "flairprep.key").touch()
    monkeypatch.setattr(many_files, "ENOUGH", 4)
    many_files.warn_of(raw)
    (record,) = caplog.records
    assert "flairprep pack" not in record.getMessage()


def test_the_seconds_named_are_those_measured(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_files, "SECONDS", {"dvc gc": (4.0, 0.5)})
    assert "dvc gc: about 19 s instead of 4" in many_files.advice(raw, 30_000, packable=True)


def results() -> tuple[dict[str, list[str]], dict[str, float]]:
    """The rows of the bench's first table, and what each 1,000 files add by its second."""
    first, _, second = RESULTS.read_text().partition("each 1,000 loose files add")
    commands = re.findall(r"^(\S.*?)((?: +-?\d+\.\d+){6})$", first, re.MULTILINE)
    added = re.findall(r"^(\S.*?) +(-?\d+\.\d+)$", second, re.MULTILINE)
    return {name: cells.split() for name, cells in commands}, {name: float(cell) for name, cell in added}


def test_the_numbers_of_the_advice_are_those_of_the_bench() -> None:
    commands, added = results()
    measured = {name: (float(commands[name][4]), added[name]) for name in many_files.SECONDS}
    assert measured == many_files.SECONDS


def test_the_table_of_the_docs_is_that_of_the_bench() -> None:
    commands, _ = results()
    told = {name.replace("`", ""): cells for name, *cells in rows(section(DOCS["speed"], "## Many files"))[2:]}
    assert told == {name: [cells[n] for n in (0, 1, 3, 4)] for name, cells in commands.items()}
