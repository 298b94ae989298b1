"""The same function over many cases, in worker processes, with the results in order; a bad case costs only itself.

Why not a library's pool: in those that know time limits (pebble), as in those that do not (concurrent.futures), the
workers share one pipe and a lock, and one that is killed while it holds the lock stops all the others. Here each worker
has a pipe of its own. The same processes work for a cluster, see cluster.py.
"""

import ctypes
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NamedTuple, TypeVar

from flairprep.core.codes import Code
from flairprep.core.console import debugging
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError

T = TypeVar("T")
R = TypeVar("R")
HEAVY = ("SimpleITK", "numpy", "pandas", "pydantic", "pydicom", "scipy")
STARTED = None  # what a worker says first
START = 60  # s that a worker may take to start, on a busy machine
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
AHEAD = 4  # results a worker that may wait for a slow case before them


class WorkerLimits(NamedTuple):
    """What holds for each worker process of a run."""

    seconds: int
    megabytes: int
    debug: bool
    modules: tuple[str, ...]  # imported once, before the workers part


def worker_limits() -> WorkerLimits:
    """Return the limits that the environment sets, and what workers import before they start.

    Raises:
        FlairprepError: see `workers`.
    """
    here = [name for name in list(sys.modules) if name in HEAVY or name.startswith("flairprep.")]
    return WorkerLimits(seconds(), megabytes(), debugging(), () if "tensorflow" in sys.modules else tuple(here))


def workers() -> int:
    """Return FLAIRPREP_WORKERS, by default the cores that this process may use.

    Raises:
        FlairprepError: it is set to something else than a whole number of at least 1.
    """
    return _setting("FLAIRPREP_WORKERS", len(os.sched_getaffinity(0)))


def seconds() -> int:
    """Return FLAIRPREP_SECONDS: how long a case may take before its worker is killed; 900 by default.

    Raises:
        FlairprepError: see `workers`.
    """
    return _setting("FLAIRPREP_SECONDS", 900)


def megabytes() -> int:
    """Return FLAIRPREP_MEGABYTES: how much memory a worker may ask for; 4096 by default.

    Raises:
        FlairprepError: see `workers`.
    """
    return _setting("FLAIRPREP_MEGABYTES", 4096)


def _setting(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not (value.isascii() and value.isdecimal()) or int(value) < 1:
        raise FlairprepError(f"{name}={value}: must be a whole number of at least 1, or unset")
    return int(value)


def _context(worker_limits: WorkerLimits) -> Any:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the workers: the cases are the parallelism
    context = multiprocessing.get_context("forkserver")  # forking this process, which may have threads, can hang
    parts = ("scipy.ndimage",) * (
        "scipy" in worker_limits.modules
    )  # which cases need; else each worker would import it
    context.set_forkserver_preload([*worker_limits.modules, *parts])
    return context


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C is this process's to handle, once; what it starts inherits that, so that there is no moment without."""
    resource_tracker.ensure_running()  # which would let SIGINT through again
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


class Pool(Generic[T, R]):
    """`count` worker processes of this machine."""

    def __init__(self, function: Callable[[T], R], count: int, worker_limits: WorkerLimits) -> None:
        context = _context(worker_limits)
        self._terms = worker_limits
        self._start = partial(_Worker, context, function, worker_limits)
        self._workers = [self._start() for _ in range(count)]

    def run(self, items: Sequence[T]) -> Iterator[tuple[int, R | CaseError]]:
        """Yield (index, result) in order; raise in its place an exception that ends the whole.

        The workers have begun when this returns.
        """
        return self._results(items, self._give(items, 0, 0))

    def _give(self, items: Sequence[T], given: int, shown: int) -> int:
        """Gives a further item to each worker that has none; how many have been given then."""
        for place, worker in enumerate(self._workers):
            if worker.index is None and given < min(len(items), shown + AHEAD * len(self._workers)):
                if not worker.give(given, items[given]):  # killed while it had nothing to do
                    worker.stop()
                    self._workers[place] = self._start()
                    self._workers[place].give(given, items[given])
                given += 1
        return given

    def _results(self, items: Sequence[T], given: int) -> Iterator[tuple[int, R | CaseError]]:
        done: dict[int, Any] = {}
        shown = 0
        while shown < len(items):
            given = self._give(items, given, shown)
            for worker in self._ready():
                if not worker.started and worker.starts():
                    continue
                done[worker.index], alive = self._result(worker)  # type: ignore[index]
                worker.index = None
                if not alive:
                    worker.stop()
                    self._workers[self._workers.index(worker)] = self._start()
            while shown in done:
                result = done.pop(shown)
                if isinstance(result, (FlairprepError, OSError)):
                    raise result
                yield shown, result
                shown += 1

    def _ready(self) -> list["_Worker"]:
        """The busy workers that have answered, died, or run out of time."""
        busy = [worker for worker in self._workers if worker.index is not None]
        left = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        answered = wait([worker.connection for worker in busy], timeout=left)
        now = time.monotonic()
        return [worker for worker in busy if worker.connection in answered or worker.deadline <= now]

    def _result(self, worker: "_Worker") -> tuple[Any, bool]:
        """What a worker that is ready has to say, and whether it can go on."""
        if not worker.connection.poll():
            return CaseError(Code.TIMED_OUT, f"took over {self._terms.seconds} s (FLAIRPREP_SECONDS)"), False
        try:
            answer = worker.connection.recv()
        except Exception:  # the end of the pipe, or of the middle of an answer
            return CaseError(Code.CRASHED, f"the process that read it ended ({worker.reason()})"), False
        if isinstance(answer, MemoryError):  # and what the case had already taken goes with the worker
            return CaseError(Code.TOO_LARGE, f"needs over {self._terms.megabytes} MB (FLAIRPREP_MEGABYTES)"), False
        return answer, True

    def kill(self) -> None:
        """Kill the workers, from another thread than the one that runs, which then closes the pool."""
        for worker in self._workers:
            worker.kill()

    def close(self) -> None:
        """End all workers, also in the middle of a case."""
        self.kill()
        for worker in self._workers:
            worker.stop()


class _Worker:
    """A process that serves one item after another; `index` is that of the item it has, if any."""

    def __init__(self, context: Any, function: Callable[[Any], Any], worker_limits: WorkerLimits) -> None:
        self.index: int | None = None
        self.started = False
        self.deadline = 0.0
        self._seconds = worker_limits.seconds
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, function, worker_limits), daemon=True)
        with _undisturbed():
            self._process.start()
        other.close()

    def give(self, index: int, item: Any) -> bool:
        """Give the worker an item; return whether it was alive to take it."""
        self.index, self.deadline = index, time.monotonic() + self._seconds + (0 if self.started else START)
        try:
            self.connection.send(item)
        except OSError:
            return False
        return True

    def starts(self) -> bool:
        """Take the word that the worker has started; False where it ended, or its time did, before that.

        Raises:
            FlairprepError: it cannot start, so no other will.
        """
        if not self.connection.poll():
            return False
        try:
            self.started = self.connection.recv() is STARTED
            self.deadline = time.monotonic() + self._seconds
        except (EOFError, OSError) as error:
            if (reason := self.reason()).startswith("exit status"):
                text = f"a worker process cannot start ({reason}); FLAIRPREP_DEBUG=1 shows why"
                raise FlairprepError(text) from error
            return False
        return self.started

    def reason(self) -> str:
        self._process.join(5)
        status = self._process.exitcode
        if status is None or status >= 0:
            return f"exit status {status}"
        known = {member.value: member.name for member in signal.Signals}
        return known.get(-status, f"signal {-status}")

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        self.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, function: Callable[[Any], Any], worker_limits: WorkerLimits) -> None:
    """A worker's life, until its parent closes the pipe or ends in any way."""
    import SimpleITK as sitk

    threading.Thread(target=_end_with_parent, daemon=True).start()
    memory = worker_limits.megabytes << 20
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a memory image would hold what headers say of patients
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    keep_memory()
    if not worker_limits.debug:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    connection.send(STARTED)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        # For a worker whose parent was killed while native code keeps Python from noticing: nobody else would end it.
        limit = int(time.process_time()) + worker_limits.seconds + 60
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        connection.send(_answer(function, item, worker_limits.debug))


def keep_memory() -> None:
    """Keep freed memory for the next array, where the C library is glibc.

    Else each large array goes back to the system, which clears it page by page for the next: a fifth of a case's time.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _answer(function: Callable[[Any], Any], item: Any, debug: bool) -> Any:
    try:
        return function(item)
    except (FlairprepError, OSError, CaseError) as error:
        return error
    except MemoryError:
        return MemoryError()
    except Exception as error:  # its kind, not its text, which may quote a header
        if debug:
            traceback.print_exc()
        return CaseError(Code.CRASHED, f"{type(error).__name__}; FLAIRPREP_DEBUG=1 shows where")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
