"""The same function over many cases, in worker processes, with the results in order."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from flairprep.console import progress
from flairprep.errors import FlairprepError

T = TypeVar("T")
R = TypeVar("R")


def workers() -> int:
    """FLAIRPREP_WORKERS, by default the cores that this process may use.

    Raises:
        FlairprepError: it is set to something else than a whole number of at least 1.
    """
    value = os.environ.get("FLAIRPREP_WORKERS") or str(len(os.sched_getaffinity(0)))
    if not value.isdecimal() or int(value) < 1:
        raise FlairprepError(f"FLAIRPREP_WORKERS={value}: must be a whole number of at least 1, or unset")
    return int(value)


def one_thread() -> None:
    """One SimpleITK thread a process: the cases are the parallelism, and sums come out alike on every machine."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle, once
    one_thread()


def map_cases(function: Callable[[T], R], items: Sequence[T], label: str) -> Iterator[R]:
    """`function` of each item, in the items' order, with progress shown.

    At most a few results wait in memory. `function` must be picklable: a module's function or a partial of one.

    Raises:
        FlairprepError: a worker was killed (most often: out of memory).
    """
    count = min(workers(), len(items))
    if count <= 1:
        one_thread()
        yield from progress(map(function, items), len(items), label)
        return
    context = multiprocessing.get_context("spawn")  # forking a process that has threads can hang
    with ProcessPoolExecutor(count, mp_context=context, initializer=_start_worker) as pool:
        try:
            yield from progress(_in_order(pool, function, items, 4 * count), len(items), label)
        except BrokenProcessPool as error:
            raise FlairprepError(f"{label}: a worker was killed; try fewer of them (FLAIRPREP_WORKERS=1)") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, function: Callable[[T], R], items: Sequence[T], window: int) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= window:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
