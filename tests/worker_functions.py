"""Functions that tests give to workers, and what watches their processes.

Workers of a cluster import this module too, so that it needs nothing of pytest.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError

LATE = 30.0  # s of patience for what must not hang


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def raises_on_five(number: int, error: Exception) -> int:
    if number == 5:
        raise error
    return number


def killed(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stopped(number: int) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def crashes(number: int) -> None:
    ctypes.string_at(0)


def exits(number: int) -> None:
    os._exit(3)


def hangs(number: int) -> None:
    time.sleep(1000)


def takes_memory(number: int) -> None:
    np.ones(3 << 30, np.uint8)


def recurses(number: int) -> None:
    recurses(number)


def does_on_five(number: int, deed: Any) -> int:
    if number == 5:
        deed(number)
    return number


def prints(number: int) -> int:
    print("CANARY on standard output")
    print("CANARY on standard error", file=sys.stderr)
    os.write(2, b"CANARY of a native library")
    return number


def touches(path: Path) -> None:
    path.touch()


def threads(number: int) -> tuple[int, str | None]:
    import SimpleITK as sitk

    return sitk.ProcessObject.GetGlobalDefaultNumberOfThreads(), os.environ.get("OPENBLAS_NUM_THREADS")


def blocks_ctrl_c(number: int) -> bool:
    """Whether this process does, and the one that it comes of, unless that is the program itself."""
    forked = multiprocessing.current_process().__class__.__name__ == "ForkProcess"
    states = [Path(f"/proc/{process}/status").read_text() for process in (os.getpid(), *[os.getppid()][forked:])]
    masks = [int(state.split("SigBlk:")[1].split()[0], 16) for state in states]
    return all(mask & 1 << signal.SIGINT - 1 for mask in masks)


def allocates(megabytes: int) -> Any:
    """Takes memory, and says how much."""
    return np.zeros(megabytes << 20, np.uint8).size >> 20


def started_by(number: int) -> tuple[str, int]:
    """How the process was started, and how many threads OpenBLAS may use in it."""
    from threadpoolctl import threadpool_info

    threads = max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
    return multiprocessing.current_process().__class__.__name__, threads


def registers(folder: str) -> None:
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(1000)


# For workers of a cluster


def dask_worker() -> int:
    """In a process of a dask worker: the dask worker."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    return parent.pid


def kills_its_worker(number: int) -> None:
    os.kill(dask_worker(), signal.SIGKILL)
    time.sleep(LATE)


def writes(number: int) -> str:
    """Where the process works, after it has written a file there."""
    Path("made", f"{number}.txt").write_text(f"{number}")
    return os.environ["FLAIRPREP_WORD"] + str(Path.cwd())


def notes_and_waits(number: int) -> int:
    """Number 3 leaves a note of its process and its worker, and goes on once there is a file `go`."""
    if number == 3:
        with Path("notes").open("a") as notes:
            notes.write(f"{os.getpid()} {dask_worker()}\n")
        until(Path("go").exists)
    return number


# In the process that gives them


def lost(number: int, error: CaseError) -> tuple[int, Code, str]:
    return number, error.code, error.message


class Watched(Sequence[int]):
    """The numbers from 0, and the largest that was asked for."""

    def __init__(self, count: int) -> None:
        self._numbers, self.largest = range(count), -1

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[int]: ...
    def __getitem__(self, index: int | slice) -> int | Sequence[int]:
        chosen = self._numbers[index]
        self.largest = max(self.largest, chosen[-1] if isinstance(chosen, range) else chosen)
        return chosen


def until(holds: Callable[[], Any]) -> None:
    """Waits for what must come."""
    deadline = time.monotonic() + LATE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ctrl_c_ends(folder: Path, **environment: str) -> None:
    """A program with two endless cases, interrupted as a terminal does it, and what it left."""
    (folder / "endless.py").write_text(
        "import signal\nfrom flairprep.core import console\nfrom flairprep.runner.map_cases import map_cases\n"
        "from worker_functions import registers\n"
        "def main():\n    list(map_cases(registers, ['.'] * 20, 'test'))\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in background jobs
        "    console.run(main, 'test')\n"
    )
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FLAIRPREP_WORKERS": "2", **environment}
    further: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    program = subprocess.Popen([sys.executable, "endless.py"], cwd=folder, env=own, text=True, **further)
    until(lambda: len(list(folder.glob("*.pid"))) == 2)
    os.killpg(program.pid, signal.SIGINT)
    told, errors = program.communicate(timeout=LATE)
    assert (program.returncode, told) == (130, "")
    lines = errors.splitlines()
    assert len(lines) == 2
    assert lines[0] == "interrupted"
    assert lines[1].startswith("test: ")
    until(lambda: not any(runs(path.stem) for path in folder.glob("*.pid")))


def runs(process: str) -> bool:
    """Whether a process has not ended with all its threads."""
    folder = Path(f"/proc/{process}")
    try:
        return ") Z " not in (folder / "stat").read_text() or len(list((folder / "task").iterdir())) > 1
    except OSError:
        return False
