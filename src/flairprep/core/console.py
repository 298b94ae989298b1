"""What a person sees while a stage runs: progress, warnings, the summary, and errors without a traceback."""

import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Outcome, Status

T = TypeVar("T")

SILENT = 2  # s
SHOWN = 5  # cases of one code that are told one by one


def say(text: str) -> None:
    """Print a line of a stage's report, at once even where the output is a pipe."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Print one line on standard error."""
    _mark("warning: ", "yellow", text)


def _mark(word: str, style: str, text: str) -> None:
    """Print `word` and `text` on standard error, the word in colour on a terminal."""
    if not sys.stderr.isatty():
        print(f"{word}{text}", file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True, highlight=False).print(Text.assemble((word, style), text))


class _Warnings(logging.Handler):
    """Prints what library code logs as `warn` does."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def show_logged_warnings() -> None:
    """Show warnings of library code, which logs them to `flairprep...`, on standard error."""
    logger = logging.getLogger("flairprep")
    if not any(isinstance(handler, _Warnings) for handler in logger.handlers):
        logger.addHandler(_Warnings(logging.WARNING))


def debugging() -> bool:
    """Return whether FLAIRPREP_DEBUG=1 asks for tracebacks and the output of native libraries."""
    return os.environ.get("FLAIRPREP_DEBUG") == "1"


def progress(items: Iterable[T], total: int, label: str, unit: str = "case") -> Iterator[T]:
    """Pass `items` through and show count and time left: a bar on a terminal, else a line every 10 %.

    Nothing is shown in the first SILENT seconds.
    """
    if sys.stderr.isatty():
        yield from _bar(items, total, label, unit)
        return
    start, shown = time.monotonic(), 0
    for done, item in enumerate(items, 1):
        yield item
        spent = time.monotonic() - start
        if done * 10 // total > shown and spent >= SILENT:
            shown = done * 10 // total
            left = spent / done * (total - done)
            print(f"{label}: {done} of {total} {unit}s, about {left:.0f} s left", file=sys.stderr, flush=True)


def _bar(items: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    """Pass `items` through with a bar on the terminal, from SILENT seconds on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        *(BarColumn(), MofNCompleteColumn(), TextColumn(f"{unit}s"), TimeRemainingColumn()),
    )
    bar, start = Progress(*columns, console=Console(stderr=True), transient=True), time.monotonic()
    task = bar.add_task(label, total=total)
    try:
        for item in items:
            yield item
            bar.advance(task)
            if not bar.live.is_started and time.monotonic() - start >= SILENT:
                bar.start()
    finally:
        bar.stop()


def summarise(stage: str, outcomes: list[Outcome], passed_on: int = 0, reused: int = 0, shown: int = SHOWN) -> None:
    """Print the first warned and failed cases of each code, one line each; then the counts and the reasons.

    passed_on: how many cases had failed in an earlier stage, so that this one never saw them. reused: how many had been
    computed by an earlier run. shown: cases of one code that are told one by one.
    """
    told: Counter[tuple[Status, str]] = Counter()
    for outcome in outcomes:
        kind = (outcome.status, outcome.code)
        told[kind] += 1
        if outcome.status is not Status.OK and told[kind] <= shown:
            warn(f"{stage}: case {outcome.case_id} {outcome.status.value}: {outcome.code}: {outcome.message}")
    for kind, count in sorted(told.items()):
        if kind[0] is not Status.OK and count > shown:
            warn(f"{stage}: {count - shown} more cases {kind[0].value}: {kind[1]}: see data/{stage}/cases.csv")
    status = Counter(outcome.status for outcome in outcomes)
    out = status[Status.OK] + status[Status.WARNED]
    counts = f"{len(outcomes)} cases in, {out} out, {status[Status.WARNED]} warned, {status[Status.FAILED]} failed"
    beside = ", ".join(f"{n} {what}" for n, what in ((passed_on, "failed earlier"), (reused, "reused")) if n)
    say(f"{stage}: {counts}{beside and f' ({beside})'}")
    for line in reasons(outcomes):
        say(f"  {line}")


def reasons(outcomes: list[Outcome]) -> list[str]:
    """Return one line per code: how many cases it stopped or marked, and the first of them."""
    lines = []
    kinds = Counter((o.status, o.code) for o in outcomes if o.status is not Status.OK)
    for (status, code), count in sorted(kinds.items()):
        ids = [o.case_id for o in outcomes if (o.status, o.code) == (status, code)]
        names = ", ".join(ids[:SHOWN]) + (", ..." if count > SHOWN else "")
        lines.append(f"{status.value:<7}{code:<28}{count:>5}  {names}")
    return lines


def run(main: Callable[[], None], stage: str | None = None) -> None:
    """Run `main` as a program: an error that the user can fix is one or two lines and exit status 1.

    FLAIRPREP_DEBUG=1 shows the traceback too. `stage` is named where a former result may have been removed by DVC.
    """
    show_logged_warnings()
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except (FlairprepError, OSError) as error:
        if debugging():
            traceback.print_exc()
        _mark("error: ", "bold red", str(error))
        status = 1
    else:
        return
    if stage:
        print(f"{stage}: no output written; restore the previous one: dvc checkout", file=sys.stderr)
    sys.exit(status)
