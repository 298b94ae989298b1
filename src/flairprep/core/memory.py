"""Tell how much memory a process may still take, and keep what it has taken."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
GROUP = Path("/sys/fs/cgroup")  # what a container or a batch system allows, of version 2
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def available() -> int:
    """Return the bytes that are free, or soon would be: the least of what Linux and a container's limit leave.

    Elsewhere a quarter of the machine's memory, since no call of Python's own says what is free.
    """
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4]
    with suppress(OSError, StopIteration, ValueError):
        line = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        free = [1024 * int(line.split()[1])]
    with suppress(OSError, ValueError):  # no limit: "max"
        limit, used = ((GROUP / name).read_text() for name in ("memory.max", "memory.current"))
        free.append(max(0, int(limit) - int(used)))
    return min(free)


def keep_memory() -> None:
    """Keep freed memory for the next array, where the C library is glibc.

    Else each large array goes back to the system, which zeroes its pages for the next one: a fifth of the time of a
    case in ingest, half of it in sanity.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
