"""Print what a person sees: progress, warnings, the summary of a stage, and errors without a traceback.

Words are coloured and progress is a bar where standard error is a terminal; piped output is plain lines. rich, imported
on a terminal only, obeys NO_COLOR.
"""

import atexit
import gc
import logging
import os
import re
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, TextIO, TypeVar

from flairprep.core import installed, stage_times
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Outcome, Status

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

SILENT_SECONDS = 2  # before progress shows
PARENT = os.getppid()  # the process that waits for this one, such as DVC's, before anything slow is imported
LISTED = 5  # cases of one code that are named one by one


def say(text: str) -> None:
    """Print a line of a stage's report, at once even into a pipe."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    _print_error("warning: ", "yellow", text)


class _WarningHandler(logging.Handler):
    """Prints logged warnings as `warn` does."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def show_logged_warnings() -> None:
    """Print the warnings that library code logs to `flairprep.MODULE` on standard error."""
    logger = logging.getLogger("flairprep")
    if not any(isinstance(handler, _WarningHandler) for handler in logger.handlers):
        logger.addHandler(_WarningHandler(logging.WARNING))


def _print_error(label: str, style: str, text: str) -> None:
    """Print `label` and `text` on standard error, the label in colour on a terminal."""
    if is_terminal():
        from rich.text import Text

        _terminal().print(Text.assemble((label, style), text), soft_wrap=True)
    else:
        print(f"{label}{text}", file=sys.stderr, flush=True)


def is_terminal() -> bool:
    """Return whether standard error is a terminal that can show a bar."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def shows_text() -> bool:
    """Return whether standard output is a terminal that can show boxes and colours."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@cache
def _terminal() -> "Console":
    """Return the one console of standard error, which prints warnings above a bar."""
    from rich.console import Console

    return Console(stderr=True)


def debugging() -> bool:
    """Return whether FLAIRPREP_DEBUG=1 asks for tracebacks and the output of native libraries."""
    return os.environ.get("FLAIRPREP_DEBUG") == "1"


def plural(count: int, unit: str) -> str:
    """Return a count with its unit: 1 file, 2 files, 2 series."""
    return f"{count} {unit if count == 1 or unit.endswith('s') else f'{unit}s'}"


def progress(
    items: Iterable[T], total: int, label: str, unit: str = "case", *, lines: bool = True
) -> Generator[T, None, None]:
    """Pass `items` through and show count and time left: a bar on a terminal, else a line every 10 %, if `lines`.

    Nothing shows in the first SILENT_SECONDS.
    """
    if is_terminal():
        yield from _bar(items, total, label, unit)
        return
    if not lines:
        yield from items
        return
    start, tenths = time.monotonic(), 0
    for done, item in enumerate(items, 1):
        yield item
        elapsed = time.monotonic() - start
        if done * 10 // total > tenths and elapsed >= SILENT_SECONDS:
            tenths = done * 10 // total
            left = elapsed / done * (total - done)
            print(f"{label}: {done} of {plural(total, unit)}, about {left:.0f} s left", file=sys.stderr, flush=True)


def _bar(items: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    name, units = TextColumn("{task.description}", markup=False), TextColumn(plural(total, unit).partition(" ")[2])
    columns = (name, BarColumn(), MofNCompleteColumn(), units, TimeRemainingColumn())
    bar = Progress(*columns, console=_terminal(), transient=True, redirect_stdout=False)  # it may be a pipe
    task, start = bar.add_task(label, total=total), time.monotonic()
    try:
        for item in items:
            yield item
            bar.advance(task)
            if not bar.live.is_started and time.monotonic() - start >= SILENT_SECONDS:
                bar.start()
    finally:
        bar.stop()


def summarise(stage: str, outcomes: list[Outcome], passed_on: int = 0, reused: int = 0, listed: int = LISTED) -> None:
    """Print the first `listed` warned and failed cases of each code, one line each, then counts and reasons.

    passed_on: how many cases failed in an earlier stage, so that this one did not get them. reused: how many results
    came from the cache.
    """
    counts: Counter[tuple[Status, str]] = Counter()
    for outcome in outcomes:
        kind = (outcome.status, outcome.code)
        counts[kind] += 1
        if outcome.status is not Status.OK and counts[kind] <= listed:
            warn(f"{stage}: case {outcome.case_id} {outcome.status.value}: {outcome.code}: {outcome.message}")
    for (status, code), count in sorted(counts.items()):
        if status is not Status.OK and count > listed:
            warn(f"{stage}: {count - listed} more cases {status.value}: {code}: see data/{stage}/cases.csv")
    by_status = Counter(outcome.status for outcome in outcomes)
    warned, failed = by_status[Status.WARNED], by_status[Status.FAILED]
    notes = ", ".join(f"{n} {what}" for n, what in ((passed_on, "failed earlier"), (reused, "reused")) if n)
    totals = f"{len(outcomes)} cases in, {len(outcomes) - failed} out, {warned} warned, {failed} failed"
    say(f"{stage}: {totals}{notes and f' ({notes})'}")
    for line in reasons(outcomes):
        say(f"  {line}")


def reasons(outcomes: list[Outcome]) -> list[str]:
    """Return one line per status and code: how many cases have it, and the first of them."""
    lines = []
    kinds = Counter((o.status, o.code) for o in outcomes if o.status is not Status.OK)
    for (status, code), count in sorted(kinds.items()):
        ids = [o.case_id for o in outcomes if (o.status, o.code) == (status, code)]
        names = ", ".join(ids[:LISTED]) + (", ..." if count > LISTED else "")
        lines.append(f"{status.value:<7}{code:<28}{count:>5}  {names}")
    return lines


# What tensorflow and CUDA say of memory that is not there; std::bad_alloc arrives as MemoryError or by its name.
NO_MEMORY = re.compile(
    r"\bOOM\b|out of memory|bad_alloc|RESOURCE_EXHAUSTED|ALLOC_FAILED|failed to allocate|"
    r"Dst tensor is not initialized|(unable to|cannot) allocate",
    re.IGNORECASE,
)


@contextmanager
def out_of_memory(remedy: str) -> Iterator[None]:
    """Raise a FlairprepError with `remedy`, what to lower, where memory does not suffice; pass other errors on.

    tensorflow's errors are known by name and text: this module does not import it.
    """
    try:
        yield
    except FlairprepError:
        raise
    except Exception as error:
        named = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
        if not named and not NO_MEMORY.search(str(error)):
            raise
        raise FlairprepError(f"out of memory: lower {remedy}") from error


class Interrupted(KeyboardInterrupt):
    """A run that was asked to end, with what to say of it. status: the exit status, as of a shell."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


@contextmanager
def interruptible(remedy: Callable[[], str]) -> Iterator[None]:
    """End the block by Ctrl-C and by SIGTERM alike, with `remedy` as what to say.

    Raises:
        Interrupted: one of them came.
    """

    def end(signum: int, _: object) -> None:
        raise Interrupted("", 128 + signum)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(remedy(), getattr(error, "status", 128 + signal.SIGINT)) from error
    finally:
        signal.signal(signal.SIGTERM, former)


def _unread() -> list[TextIO]:
    """Return those of standard output and error whose reader is gone, as after `| head`."""
    gone = []
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # no file behind it, or closed
            poll = select.poll()
            poll.register(stream.fileno(), 0)
            if any(events & select.POLLERR for _, events in poll.poll(0)):
                gone.append(stream)
    return gone


@contextmanager
def _ended_by_its_reader() -> Iterator[None]:
    """End quietly, with the exit status of a program that SIGPIPE ended, where nobody reads what the block prints."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not (gone := _unread()):
            raise
        for stream in gone:  # which Python would try to empty at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(128 + signal.SIGPIPE)


def run(main: Callable[[], None], stage: str | None = None) -> None:
    """Run `main` as a program; an error that the user can fix is one or two lines and exit status 1.

    FLAIRPREP_DEBUG=1 shows the traceback too. With `stage`, the second line says how to restore its previous output,
    which DVC has removed; and in a study the installed code must be the recorded one, see `installed.fault`.
    """
    atexit.register(gc.freeze)  # else Python would look for garbage among a million objects: up to half a second
    with _ended_by_its_reader():
        _run(main, stage)


def _run(main: Callable[[], None], stage: str | None) -> None:
    show_logged_warnings()
    started = time.monotonic()
    try:
        if stage and (fault := installed.fault()):
            raise FlairprepError(fault)
        main()
    except KeyboardInterrupt as error:
        print(str(error) or "interrupted", file=sys.stderr)
        if isinstance(error, Interrupted):
            sys.exit(error.status)
        status = 130
    except (FlairprepError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _unread():
            raise
        if debugging():
            traceback.print_exc()
        _print_error("error: ", "red", str(error))
        status = 1
    else:
        if stage:
            stage_times.note(stage, time.monotonic() - started)
        return
    if stage:
        print(f"{stage}: no output written; restore the previous one: dvc checkout", file=sys.stderr)
    sys.exit(status)
