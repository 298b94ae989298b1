"""Map a function over cases: in worker processes of this machine, or on the cluster of FLAIRPREP_SCHEDULER."""

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from multiprocessing import forkserver
from typing import Any

from flairprep.core.console import progress
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.runner.pool import Pool, R, T, _context, _undisturbed, worker_limits, workers


def map_cases(
    function: Callable[[T], R],
    items: Sequence[T],
    label: str,
    *,
    on_failure: Callable[[T, CaseError], R] | None = None,
    unit: str = "case",
) -> Iterator[R]:
    """Map `function` over items, in order, with progress; on the cluster of FLAIRPREP_SCHEDULER, if set.

    An item whose worker is killed, crashes, takes longer than `seconds` or asks for more than `megabytes` becomes
    `on_failure(item, error)`, with the code CRASHED, TIMED_OUT or TOO_LARGE; the others go on. So does an exception of
    `function` that is neither a FlairprepError nor an OSError, which end the whole.

    function: picklable, a module's function or a partial of one. It runs with one SimpleITK thread, so that sums come
    out alike on every machine, and prints nothing: native libraries quote what they cannot read.

    Raises:
        FlairprepError: an item was lost and there is no `on_failure`; or what `function` raised; or see `Cluster`.
    """
    with closing(run_cases(function, items, label, on_failure=on_failure)) as results:
        yield from progress(results, len(items), label, unit)


def run_cases(
    function: Callable[[T], R], items: Sequence[T], label: str, *, on_failure: Callable[[T, CaseError], R] | None = None
) -> Generator[R, None, None]:
    """Do as `map_cases` without progress. Workers of this machine have begun when this returns."""
    results = _run_cases(function, items, label, on_failure)
    next(results)
    return results


def _run_cases(
    function: Callable[[T], R], items: Sequence[T], label: str, on_failure: Callable[[T, CaseError], R] | None
) -> Generator[Any, None, None]:
    """What `run_cases` gives, after a None that stands for the beginning."""
    if not items:
        yield None
        return
    if address := os.environ.get("FLAIRPREP_SCHEDULER"):
        from flairprep.runner.cluster import Cluster

        pool: Pool[T, R] | Cluster[T, R] = Cluster(function, worker_limits(), address)
    else:
        pool = Pool(function, min(workers(), len(items)), worker_limits())
    try:
        found = pool.run(items)
        yield None
        for index, result in found:
            if not isinstance(result, CaseError):
                yield result
            elif on_failure is None:
                raise FlairprepError(f"{label}: {result.code}: {result.message}")
            else:
                yield on_failure(items[index], result)
    finally:
        pool.close()


def prepare() -> None:
    """Start importing what workers need, while this process reads its tables."""
    if not os.environ.get("FLAIRPREP_SCHEDULER"):
        _context(worker_limits())
        with _undisturbed():
            forkserver.ensure_running()
