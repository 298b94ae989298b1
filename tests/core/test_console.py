"""Errors in a line and their exit status, the summary, progress, and logged warnings."""

import logging
import os
import signal
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
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith(f"{text}split: ")
    assert "dvc checkout" in errors


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
    assert first.startswith("error: params.yaml: ")
    assert "No such file" in first
    assert len(rest) == 1
    assert rest[0].startswith("ingest: ")
    assert "dvc checkout" in rest[0]


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
    monkeypatch.setattr(console, "SILENT_SECONDS", 0)
    assert list(console.progress(iter(range(total)), total, "ingest")) == list(range(total))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == shown
    if total:
        assert lines[-1] == f"ingest: {total} of {total} {'case' if total == 1 else 'cases'}, about 0 s left"


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], str]:
    """Runs a function with a terminal as standard error; what the terminal shows."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(console, "SILENT_SECONDS", 0)

    def shown(function: Callable[[], object]) -> str:
        master, slave = os.openpty()
        console._terminal.cache_clear()
        with monkeypatch.context() as patch, open(slave, "w") as file, open(master, "rb", buffering=0) as screen:  # noqa: PTH123
            patch.setattr(sys, "stderr", file)
            function()
            file.flush()
            os.set_blocking(master, False)
            text = b"".join(iter(lambda: screen.read(4096), None))
        console._terminal.cache_clear()
        return text.decode()

    return shown


def test_a_quick_run_shows_no_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SILENT_SECONDS", 3600)
    assert list(console.progress(iter("abc"), 3, "ingest")) == ["a", "b", "c"]
    assert not capsys.readouterr().err


def test_a_quick_run_shows_no_bar(on_terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "SILENT_SECONDS", 3600)
    assert on_terminal(lambda: list(console.progress(iter("abc"), 3, "ingest"))) == ""


def test_progress_is_a_bar_on_a_terminal_with_warnings_above_it(
    on_terminal: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        for item in console.progress(iter("abc"), 3, "[ingest]", "file"):
            if item == "b":
                console.warn("[x] " + "long " * 40)
                console.say("a line of the report")

    shown = on_terminal(main)
    assert "[ingest]" in shown
    assert "3/3" in shown
    assert "files" in shown
    assert "[x] " + "long " * 40 in shown  # whole, however narrow the terminal
    assert shown.rindex("3/3") > shown.index("warning: ")
    assert capsys.readouterr().out == "a line of the report\n"  # which may be a pipe


def test_words_are_coloured_on_a_terminal(on_terminal: Any) -> None:
    assert on_terminal(lambda: console.warn("[red]a.csv[/red]")) == "\x1b[33mwarning: \x1b[0m[red]a.csv[/red]\r\n"
    shown = on_terminal(lambda: status_of(raiser(FlairprepError("b.csv"))))
    assert shown == "\x1b[31merror: \x1b[0mb.csv\r\n"


def test_no_color_is_obeyed(on_terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert on_terminal(lambda: console.warn("a.csv")) == "warning: a.csv\r\n"


def test_a_dumb_terminal_gets_lines(on_terminal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert on_terminal(lambda: list(console.progress(iter("abc"), 3, "ingest"))).count("\r\n") == 3


def test_nothing_imports_rich_where_there_is_no_terminal() -> None:
    code = (
        "import sys\nfrom flairprep.core import console\nconsole.SILENT_SECONDS = 0\n"
        "list(console.progress('abc', 3, 'ingest'))\nconsole.warn('a')\nsys.exit('rich' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("times", [1, 2])
def test_logged_warnings_of_the_library_are_printed_once(times: int, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(times):
        console.show_logged_warnings()
    logger = logging.getLogger("flairprep.dicom.discovery")
    logger.warning("3 of %d files", 9)
    logger.info("not shown")
    logging.getLogger("pydicom").warning("not shown")
    assert capsys.readouterr() == ("", "warning: 3 of 9 files\n")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("std::bad_alloc"),
        type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Failed copying input tensor from CPU to GPU: Dst tensor is not initialized."),
        ValueError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    ],
    ids=repr,
)
def test_lack_of_memory_is_a_line_that_says_what_to_lower(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        with console.out_of_memory("batch_size"):
            raise error

    assert status_of(main) == 1
    assert capsys.readouterr().err == "error: out of memory: lower batch_size\n"


@pytest.mark.parametrize("error", [FlairprepError("a room"), ValueError("boom"), KeyError("memory")], ids=repr)
def test_other_errors_are_not_taken_for_lack_of_memory(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, console.out_of_memory("batch_size"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("count", "unit", "words"),
    [
        (1, "file", "1 file"),
        (2, "file", "2 files"),
        (0, "case", "0 cases"),
        (1, "series", "1 series"),
        (2, "series", "2 series"),
    ],
)
def test_unit_has_its_plural(count: int, unit: str, words: str) -> None:
    assert console.plural(count, unit) == words


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_with_the_remedy_as_its_last_line(
    sent: signal.Signals, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored in what it runs in the background
    former = signal.getsignal(signal.SIGTERM)

    def main() -> None:
        with console.interruptible(lambda: "what to do"):
            signal.raise_signal(sent)
            raise AssertionError("it went on")

    with pytest.raises(SystemExit) as ended:
        console.run(main, "train")
    assert ended.value.code == status
    assert capsys.readouterr() == ("", "what to do\n")
    assert signal.getsignal(signal.SIGTERM) is former


def test_progress_without_lines_prints_nothing_into_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "SILENT_SECONDS", 0)
    assert list(console.progress(range(20), 20, "train", "step", lines=False)) == list(range(20))
    assert capsys.readouterr() == ("", "")
    assert list(console.progress(range(20), 20, "train", "step")) == list(range(20))
    assert capsys.readouterr().err.count("\n") == 10
