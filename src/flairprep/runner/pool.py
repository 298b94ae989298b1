"""Run one function over many cases in worker processes, results in order; a bad case fails alone.

Why not a library's pool: workers of concurrent.futures, and of pebble, which knows time limits, share one pipe and its
lock. A worker killed while it holds the lock stops all the others. Here each worker has its own pipe. Clusters use the
same processes, see cluster.py.
"""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from flairprep.core.codes import Code
from flairprep.core.console import debugging
from flairprep.core.errors import FlairprepError
from flairprep.core.memory import keep_memory
from flairprep.core.outcomes import CaseError

T = TypeVar("T")
R = TypeVar("R")
HEAVY = ("SimpleITK", "numpy", "pandas", "pydantic", "pydicom", "scipy")  # packages that are slow to import
STARTED = None  # a worker's first message
START_SECONDS = 60  # for a worker to start, on a busy machine
AHEAD = 4  # results per worker that may wait for a slow case before them


class WorkerLimits(NamedTuple):
    """Limits of each worker process of a run."""

    seconds: int
    megabytes: int
    debug: bool
    modules: tuple[str, ...]  # imported once, in the process that workers are forked from


def worker_limits() -> WorkerLimits:
    """Return the limits that the environment sets, and the modules of this process that workers need too.

    Raises:
        FlairprepError: see `workers`.
    """
    imported = [name for name in list(sys.modules) if name in HEAVY or name.startswith("flairprep.")]
    return WorkerLimits(seconds(), megabytes(), debugging(), () if "tensorflow" in sys.modules else tuple(imported))


def workers() -> int:
    """Return FLAIRPREP_WORKERS, by default the number of cores that this process may use.

    Raises:
        FlairprepError: the variable is set, but not to a whole number of at least 1.
    """
    return _positive_integer("FLAIRPREP_WORKERS", len(os.sched_getaffinity(0)))


def seconds() -> int:
    """Return FLAIRPREP_SECONDS, by default 900: a worker whose case takes longer is killed.

    Raises:
        FlairprepError: see `workers`.
    """
    return _positive_integer("FLAIRPREP_SECONDS", 900)


def megabytes() -> int:
    """Return FLAIRPREP_MEGABYTES, by default 4096: the memory that a worker may allocate.

    Raises:
        FlairprepError: see `workers`.
    """
    return _positive_integer("FLAIRPREP_MEGABYTES", 4096)


def _positive_integer(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not (value.isascii() and value.isdecimal()) or int(value) < 1:
        raise FlairprepError(f"{name}={value}: must be a whole number of at least 1, or unset")
    return int(value)


def prepare_to_fork(limits: WorkerLimits) -> None:
    """Start the process that workers are forked from, where this one cannot be; it imports their modules meanwhile."""
    context = _context(limits)
    if context.get_start_method() == "forkserver":
        with _sigint_blocked():
            forkserver.ensure_running()


def _context(limits: WorkerLimits) -> Any:
    """Return the context of the next worker: a fork of this process, which saves all its imports, where it may be one.

    Of several threads a fork has only one, and the locks of the others stay closed for ever. OpenBLAS and ITK see to
    that themselves, TensorFlow does not.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for the workers: the cases are the parallelism
    if threading.active_count() == 1 and "tensorflow" not in sys.modules:
        return multiprocessing.get_context("fork")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(limits.modules))
    return context


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Block Ctrl-C in the processes that start in this block, from their first moment on; this process handles it."""
    resource_tracker.ensure_running()  # its own start would unblock SIGINT
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


class Pool(Generic[T, R]):
    """`count` worker processes of this machine."""

    def __init__(self, function: Callable[[T], R], count: int, limits: WorkerLimits) -> None:
        self._function, self._limits = function, limits
        self._workers = [self._start_worker() for _ in range(count)]

    def _start_worker(self) -> "_Worker":
        return _Worker(_context(self._limits), self._function, self._limits)

    def run(self, items: Sequence[T]) -> Iterator[tuple[int, R | CaseError]]:
        """Yield (index, result) in order; raise in its place an exception that ends the run.

        The workers have begun when this returns.
        """
        return self._results(items, self._assign(items, 0, 0))

    def _assign(self, items: Sequence[T], assigned: int, yielded: int) -> int:
        """Give the next item to each idle worker; return how many items are assigned then."""
        for place, worker in enumerate(self._workers):
            if worker.index is None and assigned < min(len(items), yielded + AHEAD * len(self._workers)):
                if not worker.give(assigned, items[assigned]):  # killed while idle
                    worker.stop()
                    self._workers[place] = self._start_worker()
                    self._workers[place].give(assigned, items[assigned])
                assigned += 1
        return assigned

    def _results(self, items: Sequence[T], assigned: int) -> Iterator[tuple[int, R | CaseError]]:
        waiting: dict[int, Any] = {}
        yielded = 0
        while yielded < len(items):
            assigned = self._assign(items, assigned, yielded)
            for worker in self._ready():
                if not worker.started and worker.starts():
                    continue
                waiting[worker.index], alive = self._result(worker)  # type: ignore[index]
                worker.index = None
                if not alive:
                    worker.stop()
                    self._workers[self._workers.index(worker)] = self._start_worker()
            while yielded in waiting:
                result = waiting.pop(yielded)
                if isinstance(result, (FlairprepError, OSError)):
                    raise result
                yield yielded, result
                yielded += 1

    def _ready(self) -> list["_Worker"]:
        """Wait for busy workers that have answered, died, or run out of time; return them."""
        busy = [worker for worker in self._workers if worker.index is not None]
        left = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        answered = wait([worker.connection for worker in busy], timeout=left)
        now = time.monotonic()
        return [worker for worker in busy if worker.connection in answered or worker.deadline <= now]

    def _result(self, worker: "_Worker") -> tuple[Any, bool]:
        """Return the result of a worker that is ready, and whether it can go on."""
        if not worker.connection.poll():
            return CaseError(Code.TIMED_OUT, f"took over {self._limits.seconds} s (FLAIRPREP_SECONDS)"), False
        try:
            answer = worker.connection.recv()
        except Exception:  # the pipe ended, maybe in the middle of an answer
            return CaseError(Code.CRASHED, f"its worker process ended ({worker.exit_reason()})"), False
        if isinstance(answer, MemoryError):  # only the worker's end frees what the case had allocated
            return CaseError(Code.TOO_LARGE, f"needs over {self._limits.megabytes} MB (FLAIRPREP_MEGABYTES)"), False
        return answer, True

    def kill(self) -> None:
        """Kill the workers from another thread than the one in `run`, which then closes the pool."""
        for worker in self._workers:
            worker.kill()

    def close(self) -> None:
        """End all workers, also in the middle of a case."""
        self.kill()
        for worker in self._workers:
            worker.stop()


class _Worker:
    """A process that serves one item after another; `index` belongs to its current item, None when idle."""

    def __init__(self, context: Any, function: Callable[[Any], Any], limits: WorkerLimits) -> None:
        self.index: int | None = None
        self.started = False
        self.deadline = 0.0
        self._seconds = limits.seconds
        self.connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, function, limits), daemon=True)
        with _sigint_blocked():
            self._process.start()
        other.close()

    def give(self, index: int, item: Any) -> bool:
        """Give the worker an item; return whether it was alive to take it."""
        self.index, self.deadline = index, time.monotonic() + self._seconds + (0 if self.started else START_SECONDS)
        try:
            self.connection.send(item)
        except OSError:
            return False
        return True

    def starts(self) -> bool:
        """Receive the worker's first message; return False where it ended, or timed out, before.

        Raises:
            FlairprepError: it cannot start, so no other will.
        """
        if not self.connection.poll():
            return False
        try:
            self.started = self.connection.recv() is STARTED
            self.deadline = time.monotonic() + self._seconds
        except (EOFError, OSError) as error:
            if (reason := self.exit_reason()).startswith("exit status"):
                text = f"a worker process cannot start ({reason}); FLAIRPREP_DEBUG=1 shows why"
                raise FlairprepError(text) from error
            return False
        return self.started

    def exit_reason(self) -> str:
        """Return the signal or the exit status that ended the process."""
        self._process.join(5)
        status = self._process.exitcode
        if status is None or status >= 0:
            return f"exit status {status}"
        names = {member.value: member.name for member in signal.Signals}
        return names.get(-status, f"signal {-status}")

    def kill(self) -> None:
        """Kill the process without waiting for its end."""
        self._process.kill()

    def stop(self) -> None:
        """Kill the process and free what this one holds of it."""
        self.kill()
        self._process.join()
        self.connection.close()


def _serve(connection: Connection, function: Callable[[Any], Any], limits: WorkerLimits) -> None:
    """Serve items in a worker, until its parent closes the pipe or ends in any way."""
    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    threading.Thread(target=_end_with_parent, daemon=True).start()
    memory = _allocated() + (limits.megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the text of headers
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    threadpool_limits(1)  # where OpenBLAS was loaded before the fork
    keep_memory()
    if not limits.debug:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        sys.stdout = sys.stderr = os.fdopen(nothing, "w")  # a program that was forked may have put others there
    connection.send(STARTED)
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        # Native code may keep Python from noticing that the parent was killed; nobody else would end the worker then.
        limit = int(time.process_time()) + limits.seconds + 60
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        connection.send(_answer(function, item, limits.debug))


def _answer(function: Callable[[Any], Any], item: Any, debug: bool) -> Any:
    try:
        return function(item)
    except (FlairprepError, OSError, CaseError) as error:
        return error
    except MemoryError:
        return MemoryError()
    except Exception as error:  # only its type: its text may quote a header
        if debug:
            traceback.print_exc()
        return CaseError(Code.CRASHED, f"{type(error).__name__}; FLAIRPREP_DEBUG=1 shows where")


def _allocated() -> int:
    """Return the bytes that count towards RLIMIT_DATA: a fork begins with all that its program has allocated."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
