"""A whole run as a user sees it, from packed scans to the report, then one experiment; several commits in turns.

python bench/run.py [--cases 585] [--epochs 30] [--commits HEAD] > bench/results/run.txt

The series are those of bench/speed.py, skull-stripped, one zip per case. Each commit has a clone with a cache and a
HOME of its own; all use the packages of this environment. The clones take turns, command by command. Memory is the
largest sum of the processes' proportional set sizes (shared pages count once), looked at twice a second. Disk is what
the run added to data, reports and DVC's cache; a file under two names counts once.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import clone
import machine
import psutil
from clone import Cost, Project
from speed import write_case

PACKAGES = ("dvc", "pydicom", "SimpleITK", "numpy", "tensorflow-cpu", "keras")
COMMANDS = {
    "dvc add": "dvc add --quiet data/raw/train",
    "dvc repro": "dvc repro --quiet",
    "dvc exp run -S lr=1e-5 -S epochs=1": "dvc exp run --quiet -S lr=1e-5 -S epochs=1",
}
INTERVAL = 0.5  # seconds between two looks at memory


def memory_of_tree() -> int:
    """Return the bytes of memory of the processes that this one started, shared pages counted once."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it is over
            continue
    return total


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Yield a list that holds the largest memory of the tree when the block has ended, in bytes."""
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(INTERVAL):
            peak[0] = max(peak[0], memory_of_tree())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def disk(*folders: Path) -> int:
    """Return the bytes that the files below these folders take on disk; one under two names counts once."""
    found = (path.lstat() for folder in folders for path in folder.rglob("*"))
    return sum({(one.st_dev, one.st_ino): 512 * one.st_blocks for one in found}.values())


def used(project: Project) -> int:
    """Return the bytes of what a run makes and keeps."""
    return disk(*(project.root / name for name in ("data", "reports", ".dvc/cache")))


def table(columns: dict[str, dict[str, Cost]]) -> str:
    """Return a row for each stage or command: seconds of processor and by the clock in each column."""
    lines = [f"{'seconds':36}" + "".join(f"{name:>20}" for name in columns)]
    lines.append(f"{'':36}" + f"{'processor':>12}{'clock':>8}" * len(columns))
    for name in dict.fromkeys(name for costs in columns.values() for name in costs):
        cells = (costs.get(name) for costs in columns.values())
        lines.append(f"{name:36}" + "".join(f"{c.processor:12.1f}{c.wall:8.1f}" if c else " " * 20 for c in cells))
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=585)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--commits", nargs="+", default=["HEAD"])
    options = parser.parse_args()
    clone.adopt_orphans()
    print(machine.header(PACKAGES), flush=True)
    names = [_short(commit) for commit in options.commits]
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name) / "raw"
        values: dict[str, Any] = {"epochs": options.epochs, "train.patience": 0}
        projects = {}
        for commit in names:
            (folder := Path(name) / commit).mkdir()
            projects[commit] = Project(folder, values, commit)
        first = next(iter(projects.values()))
        with ProcessPoolExecutor() as workers:
            list(workers.map(partial(write_case, raw, stripped=True), range(options.cases)))
        packing = first.measure([f"flairprep pack {raw} --out {first.raw}"])
        for project in projects.values():
            if project is not first:
                project.raw.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-r", str(first.raw), str(project.raw)], check=True)
            project.write_labels(f"{number:05d}" for number in range(options.cases))
        size = disk(first.raw)
        columns, peaks = measured(projects)
        disks = {commit: used(project) - 2 * size for commit, project in projects.items()}
    print(f"\n{options.cases} cases, {options.epochs} epochs; {len(os.sched_getaffinity(0))} cores")
    print(
        f"flairprep pack: {packing.processor:.1f} s of processor, {packing.wall:.1f} by the clock; {size / 1e9:.2f} GB"
    )
    print(f"\n{table(columns)}\n")
    for command in COMMANDS:
        print(f"{'peak memory, ' + command:50}" + "".join(f"{one[command] / 1e9:10.2f} GB" for one in peaks.values()))
    print(f"{'disk beside the scans':50}" + "".join(f"{one / 1e9:10.2f} GB" for one in disks.values()))


def _short(commit: str) -> str:
    command = ["git", "rev-parse", "--short", commit]
    return subprocess.run(command, cwd=clone.ROOT, capture_output=True, text=True, check=True).stdout.strip()


def measured(projects: dict[str, Project]) -> tuple[dict[str, dict[str, Cost]], dict[str, dict[str, int]]]:
    """Return what each command and each stage of `dvc repro` cost, and the peak memory of each command, by project."""
    columns: dict[str, dict[str, Cost]] = {name: {} for name in projects}
    peaks: dict[str, dict[str, int]] = {name: {} for name in projects}
    for command, line in COMMANDS.items():
        for name, project in projects.items():
            with peak_memory() as peak:
                cost = project.measure([line])
            if command == "dvc repro":
                columns[name] |= {f"  {stage}": seconds for stage, seconds in project.stages().items()}
            columns[name][command] = cost
            peaks[name][command] = peak[0]
            print(
                f"{name} {command}: {cost.processor:.1f} s of processor, {cost.wall:.1f} by the clock", file=sys.stderr
            )
            project.commit()
    return columns, peaks


if __name__ == "__main__":
    main()
