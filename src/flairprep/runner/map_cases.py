"""Map a function over cases: in worker processes of this machine, or on the cluster of FLAIRPREP_SCHEDULER."""

import math
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from typing import Any, TypeVar

from flairprep.core.console import progress
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.runner.pool import Pool, prepare_to_fork, worker_limits, workers

T = TypeVar("T")
R = TypeVar("R")


def map_cases(
    function: Callable[[T], R],
    items: Sequence[T],
    label: str,
    *,
    on_failure: Callable[[T, CaseError], R] | None = None,
    unit: str = "case",
) -> Iterator[R]:
    """Map `function` over items, in order, with progress; on the cluster of FLAIRPREP_SCHEDULER, if set.

    An item fails alone, with CRASHED, TIMED_OUT or TOO_LARGE, where its worker is killed, crashes, or exceeds
    FLAIRPREP_SECONDS or FLAIRPREP_MEGABYTES. So it does where `function` raises, unless a FlairprepError or an OSError:
    these end the run.

    Args:
        function: picklable: a module's function or a partial of one. It runs with one SimpleITK thread, so that sums
            are equal on every machine. Its output is discarded: native libraries quote what they cannot read.
        items: the cases, or files.
        label: the name of the stage, for progress.
        on_failure: the result of an item that failed.
        unit: the name of an item, for progress.

    Raises:
        FlairprepError: an item failed and there is no `on_failure`; `function` raised it; or see `Cluster`.
        OSError: `function` raised it.
    """
    with closing(run_cases(function, items, label, on_failure=on_failure)) as results:
        yield from progress(results, len(items), label, unit)


def run_cases(
    function: Callable[[T], R],
    items: Sequence[T],
    label: str,
    *,
    on_failure: Callable[[T, CaseError], R] | None = None,
    threads: int = 1,
) -> Generator[R, None, None]:
    """Map as `map_cases` does, without progress; workers of this machine have begun when this returns.

    threads: that `function` runs, so there are as many fewer workers.
    """
    results = _run_cases(function, items, label, on_failure, threads)
    next(results)
    return results


def _run_cases(
    function: Callable[[T], R],
    items: Sequence[T],
    label: str,
    on_failure: Callable[[T, CaseError], R] | None,
    threads: int,
) -> Generator[Any, None, None]:
    """Yield None once the workers have begun, then the results."""
    if not items:
        yield None
        return
    if address := os.environ.get("FLAIRPREP_SCHEDULER"):
        from flairprep.runner.cluster import Cluster

        pool: Pool[T, R] | Cluster[T, R] = Cluster(function, worker_limits(), address)
    else:
        pool = Pool(function, min(math.ceil(workers() / threads), len(items)), worker_limits())
    try:
        results = pool.run(items)
        yield None
        for index, result in results:
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
        prepare_to_fork(worker_limits())
