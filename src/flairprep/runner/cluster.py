"""Map cases on a dask.distributed cluster: each thread of a dask worker gives its cases to a process of pool.py.

So limits, codes and discarded output are as on one machine, and a case that breaks its process leaves the dask worker
alive. Dask reassigns a dead worker's cases. Dask workers pass on bytes, and only the processes unpickle them. The
processes import the code as it is when they start, however old the dask worker is.
"""

import asyncio
import hashlib
import importlib
import logging
import multiprocessing
import os
import platform
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import uuid4

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.runner import code_version
from flairprep.runner.pool import AHEAD, HEAVY, Pool, WorkerLimits

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

CONNECT_SECONDS = 10  # for a scheduler to answer
MAX_TASKS = 2000  # of one item each; of more items, such as files, several share a dask task, which costs 5 ms
MAX_BATCH = 100  # items per task

PACKAGES = (*HEAVY, "zlib_ng")  # zlib-ng compresses the volumes

Versions = tuple[tuple[str, str], ...]


class ClusterRun(NamedTuple):
    """Everything that the cases of a run share: dask workers and their processes get it."""

    name: str
    function: bytes
    limits: WorkerLimits
    versions: Versions
    folder: str
    marker: str  # a file in `folder` that no other folder has
    environment: dict[str, str]
    main: str | None  # the module that runs as __main__


def versions() -> Versions:
    """Return (name, version) of what the bytes of outs depend on: code, Python and packages."""
    root, code = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        code.update(f"{path.relative_to(root)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    packages = {name: " ".join(version or "-" for version in code_version.versions(name)) for name in PACKAGES}
    return ("code", code.hexdigest()[:12]), ("Python", platform.python_version()), *packages.items()


class Cluster(Generic[T, R]):
    """The dask workers of the scheduler at `address`, with the methods of `pool.Pool`.

    Raises:
        FlairprepError: distributed is not installed, or no scheduler answers. By `run`: the cluster is lost, or a
            worker has other code, other packages or another file system.
    """

    def __init__(self, function: Callable[[T], R], limits: WorkerLimits, address: str) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise FlairprepError("FLAIRPREP_SCHEDULER is set and needs dask: pip install 'flairprep[dask]'") from error
        try:
            asyncio.run(_check_scheduler(address))
            self._client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            remedy = "start one with `dask scheduler`, or unset the variable"
            if address.startswith("tls://"):
                remedy += "; name this program's certificates in dask's configuration, see docs/clusters.md"
            raise FlairprepError(f"FLAIRPREP_SCHEDULER={address}: no dask scheduler answers; {remedy}") from error
        if not limits.debug:  # it logs a lost connection in 40 lines; `run` reports it in one
            logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        self._address = address
        hidden = Path(".dvc/tmp")
        self._marker = NamedTemporaryFile(prefix=".flairprep.", dir=hidden if hidden.is_dir() else ".")  # noqa: SIM115
        self._run = ClusterRun(
            name=uuid4().hex,
            function=_dumps(function),
            limits=limits,
            versions=versions(),
            folder=str(Path.cwd()),
            marker=os.path.relpath(self._marker.name),
            environment={key: value for key, value in os.environ.items() if key.startswith("FLAIRPREP_")},
            main=_main_module(),
        )
        self._waiting: deque[Any] = deque()

    def run(self, items: Sequence[T]) -> Iterator[tuple[int, R | CaseError]]:
        """Yield results as `Pool.run` does; dask workers may come and go meanwhile."""
        size = 1 + min(len(items) // MAX_TASKS, MAX_BATCH - 1)
        starts = range(0, len(items), size)
        submitted = ahead = 0
        for yielded, start in enumerate(starts):
            with self._cluster():
                if not (self._waiting and self._waiting[0].done()):
                    ahead = AHEAD * self._threads()
                for first in starts[submitted : yielded + ahead]:
                    self._waiting.append(self._submit(items[first : first + size]))
            submitted = max(submitted, min(yielded + ahead, len(starts)))
            yield from enumerate(self._results(items[start : start + size]), start)

    def _threads(self) -> int:
        if not (count := sum(self._client.nthreads().values())):
            logger.warning(f"{self._address}: the cluster has no dask worker yet; waiting for one")
        return max(count, 1)  # an adaptive cluster starts workers once there is work for them

    def _submit(self, items: Sequence[T]) -> Any:
        return self._client.submit(run_items, self._run, [_dumps(item) for item in items], key=f"case-{uuid4()}")

    def _results(self, items: Sequence[T]) -> Iterator[Any]:
        """Yield the results of the oldest task, which holds `items`."""
        from distributed import KilledWorker

        future = self._waiting.popleft()
        try:
            with self._cluster():
                results = future.result()
        except KilledWorker:
            results = self._alone(items)
        for result in results:
            if isinstance(result, (FlairprepError, OSError)):
                raise result
            yield result if isinstance(result, CaseError) else ForkingPickler.loads(result)

    def _alone(self, items: Sequence[T]) -> Iterator[Any]:
        """Run each item again by itself: dask blames every task that a dead worker held."""
        from distributed import KilledWorker

        with self._cluster():
            for future in self._waiting:
                future.exception()  # waits without raising what a case raised
        for item in items:
            try:
                with self._cluster():
                    [result] = self._submit([item]).result()
            except KilledWorker as error:
                result = CaseError(Code.CRASHED, f"it killed {error.allowed_failures + 1} dask workers")
            yield result

    @contextmanager
    def _cluster(self) -> Iterator[None]:
        from distributed import KilledWorker

        try:
            yield
        except KilledWorker:
            raise
        except (Exception, CancelledError) as error:
            text = f"FLAIRPREP_SCHEDULER={self._address}: the dask cluster failed ({type(error).__name__})"
            raise FlairprepError(f"{text}; its workers need the environment of this program, see their logs") from error

    def close(self) -> None:
        """Cancel what is still to do, end the processes of this run, and leave the cluster."""
        if self._client.status == "running":  # else the scheduler is gone
            with suppress(Exception):
                self._client.cancel(list(self._waiting))
                self._client.run(end_run, self._run.name, on_error="ignore")
        self._client.close()
        self._marker.close()


async def _check_scheduler(address: str) -> None:
    """Raise where nobody answers: a Client that could not connect may block the next one for ever, in its __del__."""
    from distributed import Security
    from distributed.comm import connect

    connection = await connect(address, timeout=CONNECT_SECONDS, **Security().get_connection_args("client"))
    await connection.close()


def _dumps(value: Any) -> bytes:
    return bytes(ForkingPickler.dumps(value))


def _main_module() -> str | None:
    """Return the name under which a worker imports this program; results find their classes here under it too."""
    main = sys.modules["__main__"]
    if main.__spec__ is None or main.__spec__.name.endswith("__main__"):
        return None
    sys.modules.setdefault(main.__spec__.name, main)
    return main.__spec__.name


# In a dask worker

_pools: dict[int, tuple[str, Pool[bytes, bytes]]] = {}  # thread -> the name of its latest run, and its pool
_ended_runs: set[str] = set()


def run_items(run: ClusterRun, items: list[bytes]) -> list[Any]:
    """Return a pickled result or CaseError per item, up to an error that ends the run; dask would log a raised one."""
    multiprocessing.current_process().daemon = (
        False  # a daemon, as the nanny starts it, may have no children; ours end with it
    )
    name, pool = _pools.get(threading.get_ident(), ("", None))
    results: list[Any] = []
    try:
        if pool is None or name != run.name:
            if pool is not None:
                pool.close()
            pool = Pool(partial(call_function, run), 1, run.limits)
            _pools[threading.get_ident()] = run.name, pool
        for _, result in pool.run(items):
            results.append(result)
            if run.name in _ended_runs:
                pool.close()
                break
    except (FlairprepError, OSError) as error:
        results.append(error)
    except Exception as error:
        results.append(FlairprepError(f"{socket.gethostname()}: a dask worker has a {type(error).__name__}"))
    return results


def end_run(name: str) -> None:
    """End a run's processes, also in the middle of a case."""
    _ended_runs.add(name)
    for run_name, pool in list(_pools.values()):
        if run_name == name:
            pool.kill()


# In a process of a dask worker, which serves one run

_functions: list[Callable[[Any], Any]] = []  # that of the run, once a first item came


def call_function(run: ClusterRun, item: bytes) -> bytes:
    """Return the pickled result of the run's function."""
    if not _functions:
        _functions.append(_set_up(run))
    return _dumps(_functions[0](ForkingPickler.loads(item)))


def _set_up(run: ClusterRun) -> Callable[[Any], Any]:
    """Give this process the folder, environment and main module of the run's program; return its function.

    Raises:
        FlairprepError: it has other code, other packages or another file system.
    """
    host = socket.gethostname()
    for (name, here), (_, there) in zip(versions(), run.versions, strict=True):
        if here != there:
            text = f"the dask worker on {host} has the {name} {here}, this program {there}"
            raise FlairprepError(f"{text}; start it with the same code and packages")
    if not Path(run.folder, run.marker).exists():
        text = f"{run.folder}: another folder on {host}, where a dask worker runs"
        raise FlairprepError(f"{text}; put the project on a shared file system")
    os.chdir(run.folder)
    os.environ.update(run.environment)
    if run.main:
        sys.modules["__main__"] = importlib.import_module(run.main)
    return ForkingPickler.loads(run.function)
