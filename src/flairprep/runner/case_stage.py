"""Run the per-case stages, which share a shape: one file in, one file out, one row per case, cached results."""

from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from flairprep.core import console
from flairprep.core.outcomes import OUTCOME_COLUMNS, CaseError, Outcome, Status, failure, table
from flairprep.core.tables import write_rows
from flairprep.runner.result_cache import ResultCache

T = TypeVar("T", bound=str | tuple[Any, ...])  # a case id, or a tuple that begins with one
R = TypeVar("R")


def map_volumes(
    cache: ResultCache,
    function: Callable[[T], R],
    items: Sequence[T],
    *,
    source: Path,
    out: Path,
    on_failure: Callable[[T, CaseError], R],
    files: Sequence[str] = ("{}.nii.gz",),
) -> Generator[R, None, None]:
    """Map `function` over items that each read source/ID.nii.gz and write at most `files` in `out`; {} is the id.

    A result depends on the bytes of the volume and on the item itself, which must be JSON.

    Args:
        function: picklable; see `ResultCache.map`.
        items: case ids, or tuples that begin with one.
        on_failure: the result of an item whose worker died, timed out or ran out of memory.
    """
    inputs = partial(_inputs, source=source)
    yield from cache.map(function, items, name=_case_id, files=files, inputs=inputs, out=out, on_failure=on_failure)


def transform_volumes(
    cache: ResultCache,
    function: Callable[[T], Outcome],
    items: Sequence[T],
    failed: Sequence[Outcome],
    *,
    source: Path,
    out: Path,
) -> None:
    """Write out/ID.nii.gz for each item by `function`, and out/cases.csv; print the summary.

    failed: outcomes of cases that failed in an earlier stage; they become rows of the table too.
    """
    outcomes = list(map_volumes(cache, function, items, source=source, out=out, on_failure=failure_of))
    remove_failed_volumes(outcomes, out)
    console.summarise(cache.stage, outcomes, passed_on=len(failed), reused=cache.reused)
    write_rows(out / "cases.csv", table([*failed, *outcomes]), OUTCOME_COLUMNS)


def remove_failed_volumes(outcomes: Sequence[Outcome], folder: Path) -> None:
    """Remove the volumes of failed cases: a worker may be killed after it wrote one and before it answered."""
    for outcome in outcomes:
        if outcome.status is Status.FAILED:
            (folder / f"{outcome.case_id}.nii.gz").unlink(missing_ok=True)


def failure_of(item: T, error: CaseError) -> Outcome:
    """Return the outcome of an item that `error` stopped, see `outcomes.failure`."""
    return failure(_case_id(item), error)


def _case_id(item: str | tuple[Any, ...]) -> str:
    return item if isinstance(item, str) else str(item[0])


def _inputs(item: T, *, source: Path) -> tuple[tuple[Path], T]:
    return (source / f"{_case_id(item)}.nii.gz",), item
