"""The shape of the per-case stages: files, rows, failures, and what the cache goes by."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from workspace import in_this_process

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError, Outcome, Status, failure
from flairprep.core.tables import read_rows
from flairprep.runner import result_cache
from flairprep.runner.case_stage import failure_of, map_volumes, remove_failed_volumes, transform_volumes
from flairprep.runner.result_cache import ResultCache

SOURCE, OUT = Path("source"), Path("out")
CASES = ("00002", "00007", "00010")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of three files, "volumes" of one number each, and one for results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")
    SOURCE.mkdir()
    OUT.mkdir()
    for number, case_id in enumerate(CASES):
        (SOURCE / f"{case_id}.nii.gz").write_text(str(number))


def cached(stage: str = "square") -> ResultCache:
    return ResultCache(stage, result_cache.__file__, {})


def square(case_id: str) -> Outcome:
    """The number of a case, squared, to a file; CONSTANT_FOREGROUND for zero."""
    number = int((SOURCE / f"{case_id}.nii.gz").read_text())
    if number == 0:
        return failure(case_id, CaseError(Code.CONSTANT_FOREGROUND, "zero"))
    (OUT / f"{case_id}.nii.gz").write_text(str(number**2))
    return Outcome(case_id, Status.OK)


def dies_on_seven(case_id: str) -> Outcome:
    """Writes a file, and is killed before it can say so."""
    outcome = square(case_id)
    if case_id == "00007":
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome


def rows() -> list[tuple[str, str, str]]:
    return [(row["case_id"], row["status"], row["code"]) for row in read_rows(OUT / "cases.csv")]


def test_every_case_has_a_row_and_every_good_one_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    earlier = failure("00005", CaseError(Code.MOSAIC, "side by side"))
    transform_volumes(cached(), square, CASES, [earlier], source=SOURCE, out=OUT)
    assert rows() == [
        ("00002", "failed", "CONSTANT_FOREGROUND"),
        ("00005", "failed", "MOSAIC"),
        ("00007", "ok", ""),
        ("00010", "ok", ""),
    ]
    assert {path.name: path.read_text() for path in OUT.glob("*.nii.gz")} == {"00007.nii.gz": "1", "00010.nii.gz": "4"}
    assert "square: 3 cases in, 2 out, 0 warned, 1 failed (1 failed earlier)" in capsys.readouterr().out


def test_a_case_whose_worker_is_killed_is_a_row_and_leaves_no_file() -> None:
    transform_volumes(cached(), dies_on_seven, CASES[1:], [], source=SOURCE, out=OUT)
    assert rows() == [("00007", "failed", "CRASHED"), ("00010", "ok", "")]
    assert "SIGKILL" in read_rows(OUT / "cases.csv")[0]["message"]
    assert [path.name for path in OUT.glob("*.nii.gz")] == ["00010.nii.gz"]


def test_volumes_of_failed_cases_go_and_others_stay() -> None:
    outcomes = [failure("00002", CaseError(Code.MOSAIC, "")), Outcome("00007", Status.WARNED), failure("none", CRASHED)]
    remove_failed_volumes(outcomes, SOURCE)
    assert sorted(path.name for path in SOURCE.iterdir()) == ["00007.nii.gz", "00010.nii.gz"]


CRASHED = CaseError(Code.CRASHED, "SIGKILL")


@pytest.mark.parametrize("item", ["00002", ("00002", True, 3)])
def test_a_failed_item_is_named_by_its_case(item: str | tuple[str, bool, int]) -> None:
    assert failure_of(item, CRASHED) == Outcome("00002", Status.FAILED, "CRASHED", "SIGKILL")


def repeat(item: tuple[str, int], *, out: Path) -> int:
    """The number of a case, repeated, to a file; its length."""
    case_id, times = item
    text = (SOURCE / f"{case_id}.nii.gz").read_text() * times
    (out / f"{case_id}.txt").write_text(text)
    return len(text)


def test_a_result_depends_on_the_volume_and_the_item_and_comes_back_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))

    def run(times: int) -> tuple[list[int], int, list[str]]:
        cache, items = cached("repeat"), [(case_id, times) for case_id in CASES]
        for path in OUT.iterdir():
            path.unlink()
        results = map_volumes(
            cache, partial(repeat, out=OUT), items, source=SOURCE, out=OUT, on_failure=lambda *_: -1, files=["{}.txt"]
        )
        return list(results), cache.reused, [path.read_text() for path in sorted(OUT.iterdir())]

    assert run(2) == ([2, 2, 2], 0, ["00", "11", "22"])
    assert run(2) == ([2, 2, 2], 3, ["00", "11", "22"])
    assert run(3) == ([3, 3, 3], 0, ["000", "111", "222"])
    (SOURCE / "00010.nii.gz").write_text("17")
    assert run(2) == ([2, 2, 4], 2, ["00", "11", "1717"])
