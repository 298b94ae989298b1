"""What a person sees: errors in a line and their exit status, the summary, progress."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flairprep.core import console
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError, Outcome, Status, failure


def raiser(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def status_of(main: Callable[[], None], stage: str | None = None) -> Any:
    with pytest.raises(SystemExit) as caught:
        console.run(main, stage)
    return caught.value.code


ERRORS = [
    (FlairprepError("params.yaml: lr: 'x'"), 1, "error: params.yaml: lr: 'x'\n"),
    (FileNotFoundError(2, "No such file", "a.csv"), 1, "error: [Errno 2] No such file: 'a.csv'\n"),
    (KeyboardInterrupt(), 130, "interrupted\n"),
]


@pytest.mark.parametrize(("error", "status", "text"), ERRORS)
def test_error_is_a_line_and_an_exit_status(
    error: BaseException, status: int, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLAIRPREP_DEBUG", raising=False)
    assert status_of(raiser(error)) == status
    assert capsys.readouterr() == ("", text)
    assert status_of(raiser(error), "split") == status
    advice = "split: no output written; restore the previous one: dvc checkout\n"
    assert capsys.readouterr() == ("", text + advice)


@pytest.mark.parametrize(("debug", "shown"), [("1", True), ("0", False), ("", False)])
def test_traceback_is_shown_with_flairprep_debug_1_alone(
    debug: str, shown: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAIRPREP_DEBUG", debug)
    assert status_of(raiser(FlairprepError("why"))) == 1
    lines = capsys.readouterr().err.splitlines()
    assert ("Traceback (most recent call last):" in lines) is shown
    assert lines[-1] == "error: why"


def test_main_that_succeeds_does_not_exit(capsys: pytest.CaptureFixture[str]) -> None:
    console.run(lambda: console.say("done"), "split")
    assert capsys.readouterr() == ("done\n", "")


def test_fault_of_the_code_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        console.run(raiser(ZeroDivisionError()), "split")


def test_stage_as_a_program_ends_with_one_error_line_and_status_1(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flairprep.stages.ingest"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    first, *rest = ended.stderr.splitlines()
    assert first == "error: params.yaml: cannot be read (No such file or directory); run from the project's root"
    assert rest == ["ingest: no output written; restore the previous one: dvc checkout"]


OUTCOMES = [
    Outcome("1", Status.OK),
    Outcome("2", Status.WARNED, Code.INVERTED.value, "inverted"),
    *(failure(f"{number}", CaseError(Code.MOSAIC, "a mosaic")) for number in range(3, 9)),
    failure("9", CaseError(Code.NOT_MR, "modality CT")),
]


def test_summary_counts_the_cases_and_lists_the_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    console.summarise("ingest", OUTCOMES, passed_on=4)
    shown = capsys.readouterr()
    first, *reasons = shown.out.splitlines()
    assert first == "ingest: 9 cases in, 2 out, 1 warned, 7 failed (4 failed earlier)"
    assert [line.split(maxsplit=3) for line in reasons] == [
        ["failed", "MOSAIC", "6", "3, 4, 5, 6, 7, ..."],
        ["failed", "NOT_MR", "1", "9"],
        ["warned", "INVERTED", "1", "2"],
    ]
    lines = shown.err.splitlines()
    assert len(lines) == 1 + 5 + 1 + 1
    assert lines[0] == "warning: ingest: case 2 warned: INVERTED: inverted"
    assert lines[-2] == "warning: ingest: case 9 failed: NOT_MR: modality CT"
    assert lines[-1] == "warning: ingest: 1 more cases failed: MOSAIC: see data/ingest/cases.csv"


def test_summary_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console.summarise("ingest", [])
    assert capsys.readouterr() == ("ingest: 0 cases in, 0 out, 0 warned, 0 failed\n", "")


@pytest.mark.parametrize(
    ("counts", "beside"),
    [
        ({}, ""),
        ({"reused": 2}, " (2 reused)"),
        ({"passed_on": 3}, " (3 failed earlier)"),
        ({"passed_on": 3, "reused": 2}, " (3 failed earlier, 2 reused)"),
    ],
)
def test_summary_says_what_failed_earlier_and_what_was_reused(
    counts: dict[str, int], beside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console.summarise("ingest", [Outcome("1", Status.OK)], **counts)
    assert capsys.readouterr().out == f"ingest: 1 cases in, 1 out, 0 warned, 0 failed{beside}\n"


@pytest.mark.parametrize(("total", "shown"), [(0, 0), (1, 1), (7, 7), (10, 10), (585, 10)])
def test_progress_passes_items_through_and_shows_at_most_ten_lines(
    total: int, shown: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "SILENT", 0)
    assert list(console.progress(iter(range(total)), total, "ingest")) == list(range(total))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == shown
    if total:
        assert lines[-1] == f"ingest: {total} of {total} cases, about 0 s left"


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_soon_done_shows_no_progress(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "SILENT", 3600)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert list(console.progress(iter("abc"), 3, "ingest")) == ["a", "b", "c"]
    assert not capsys.readouterr().err


def test_progress_is_a_bar_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SILENT", 0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(console.progress(iter("abc"), 3, "ingest")) == ["a", "b", "c"]
    shown = capsys.readouterr().err
    assert "\r" in shown
    assert "3/3" in shown
