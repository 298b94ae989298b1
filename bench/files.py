"""What DVC costs with many raw files, one per slice, and with the same cases packed.

python bench/files.py [--files 350000] [--cases 84] > bench/results/files.txt

The raw folder has small FLAIR series, which the pipeline reads, and T1w, T1wCE and T2w series of noise, which only make
up the number of files. `flairprep pack` makes the second layout of it. Each has a clone of the project with a cache and
a HOME of its own. Every command is measured as seconds of processor, user and system of its whole tree of processes,
the queue's workers among them, and as seconds by the clock. DVC calls each stage through a script that logs the stage's
seconds of processor. The difference is DVC's own share.
"""

import argparse
import ctypes
import hashlib
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import scale
from pydicom import dcmread
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
OTHERS = ("T1w", "T1wCE", "T2w")
EDGE = 56  # pixels of their slices: 7 kB a file, two blocks of most disks
LEAN: dict[str, Any] = {**scale.SMALL, "epochs": 2, "batch_size": 8, "model.filters": [2], "evaluate.permutations": 99}
READING = "reading and hashing"
COMMANDS = {
    "dvc add": ["dvc add --quiet data/raw/train"],
    "dvc repro, all stages": ["dvc repro --quiet"],
    "dvc repro, nothing to do": ["dvc repro --quiet"],
    "dvc status": ["dvc status --quiet"],
    "flairprep check": ["flairprep check"],
    "dvc exp run": ["dvc exp run --quiet -S lr=1e-5 -S epochs=3"],
    "dvc exp run --temp": ["dvc exp run --quiet --temp -S lr=2e-5 -S epochs=3"],
    "queue": ["dvc exp run --quiet --queue -S lr=3e-5 -S epochs=3", "dvc queue start --quiet"],
}
CHILD_SUBREAPER = 36  # prctl(2): orphans of the tree below are handed to this process
SHIM = """#!{python} -SE
import ctypes, os, resource, sys
ctypes.CDLL(None).prctl({option}, 1, 0, 0, 0)
pid = os.posix_spawn({python!r}, [{python!r}, *sys.argv[1:]], os.environ)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        break
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
with open({log!r}, "a") as file:
    print(sys.argv[2], sum(one.ru_utime + one.ru_stime for one in used), file=file)
sys.exit(status)
"""


class Cost(NamedTuple):
    """Seconds of processor and by the clock; `stages`: those of processor that the pipeline's stages took."""

    processor: float
    wall: float
    stages: float = 0.0

    @property
    def beyond(self) -> float:
        """Return the seconds of processor besides the stages."""
        return self.processor - self.stages


def seconds_of_stages(log: str) -> dict[str, float]:
    """Return the seconds of processor of each stage, of a log of lines such as `flairprep.stages.train 9.5`."""
    lines = [line.split() for line in log.splitlines()]
    return {module.rpartition(".")[2]: float(seconds) for module, seconds in lines}


def measure(run: Callable[[], object]) -> Cost:
    """Return the cost of the processes that `run` starts, until the last of them has ended, detached ones too.

    Linux hands orphans to this process, see `main`.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run()
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall)


class Project:
    """A clone of the project in `folder`/project, whose PATH starts with a python that logs seconds."""

    def __init__(self, folder: Path) -> None:
        self.root, self.log = folder / "project", folder / "log"
        self.raw = self.root / "data/raw/train"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.root)], check=True)
        shim = folder / "bin/python"
        shim.parent.mkdir()
        shim.write_text(SHIM.format(python=sys.executable, option=CHILD_SUBREAPER, log=str(self.log)))
        shim.chmod(0o755)
        self._environment = os.environ | {
            "PATH": f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": "src",
            "HOME": str(folder),
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "FLAIRPREP_CACHE": str(folder / "cache"),
        }
        self._environment.pop("DVC_NO_ANALYTICS", None)
        for key, value in (("name", "bench"), ("email", "bench@localhost")):
            self.run(f"git config user.{key} {value}")
        yaml = YAML()
        values = yaml.load(self.root / "params.yaml")
        for key, value in LEAN.items():
            *sections, name = key.split(".")
            (values[sections[0]] if sections else values)[name] = value
        yaml.dump(values, self.root / "params.yaml")

    def run(self, command: str) -> None:
        """Run `command`; end the bench where it fails."""
        done = subprocess.run(
            shlex.split(command), cwd=self.root, env=self._environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def measure(self, commands: Iterable[str]) -> Cost:
        """Return what `commands` cost together, with the share of the stages that they ran."""
        self.log.write_text("")
        cost = measure(lambda: [self.run(command) for command in commands])
        return cost._replace(stages=sum(seconds_of_stages(self.log.read_text()).values()))

    def commit(self) -> None:
        """Commit what git shall know, as a user does before experiments."""
        self.run("git add --all")
        self.run("git commit --quiet --allow-empty --message bench")


def write_others(raw: Path, count: int, number: int) -> None:
    """Write `count` more files of case `number`, of series that the pipeline does not read."""
    folder = raw / f"{number:06d}"
    dataset = dcmread(folder / "FLAIR/0.dcm")
    dataset.Rows = dataset.Columns = EDGE
    dataset.PixelData = bytes(2 * EDGE**2)
    buffer = BytesIO()
    dataset.save_as(buffer)
    head = buffer.getvalue()[: -len(dataset.PixelData)]
    rng = np.random.default_rng([6, number])
    for sequence, indices in zip(OTHERS, np.array_split(np.arange(count), len(OTHERS)), strict=True):
        (folder / sequence).mkdir()
        for index in indices:
            pixels = rng.integers(0, 4096, EDGE**2, dtype=np.uint16)
            (folder / sequence / f"{index}.dcm").write_bytes(head + pixels.tobytes())


def write_cohort(project: Project, cases: int, files: int) -> None:
    """Write raw scans of `files` files, and labels."""
    counts = [len(part) - scale.SLICES for part in np.array_split(np.arange(files), cases)]
    with ProcessPoolExecutor() as workers:
        list(workers.map(partial(scale.write_case, project.raw), range(cases)))
        list(workers.map(partial(write_others, project.raw), counts, range(cases)))
    write_labels(project, cases)


def write_labels(project: Project, cases: int) -> None:
    """Write the labels table."""
    rows = ["BraTS21ID,MGMT_value", *(f"{number:06d},{number % 2}" for number in range(cases))]
    (project.raw.parent / "train_labels.csv").write_text("\n".join(rows) + "\n")


def read(folder: Path) -> tuple[int, int]:
    """Hash every file below a folder; return their number and bytes."""
    number = size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:  # noqa: PTH118, PTH123 - a path object per file costs
                hashlib.file_digest(file, "md5")
                number, size = number + 1, size + file.tell()
    return number, size


def costs_of(project: Project) -> dict[str, Cost]:
    """Return what reading the raw folder and each of COMMANDS costs."""
    os.sync()
    read(project.raw)  # so that reading and `dvc add` find the same in memory
    processor, wall = time.process_time(), time.perf_counter()
    read(project.raw)
    costs = {READING: Cost(time.process_time() - processor, time.perf_counter() - wall)}
    for name, commands in COMMANDS.items():
        if name != "dvc add":
            project.commit()
        costs[name] = project.measure(commands)
        cost = costs[name]
        print(f"{name}: {cost.processor:.1f} s, {cost.beyond:.1f} beyond stages", file=sys.stderr, flush=True)
    return costs


def table(layouts: dict[str, dict[str, Cost]]) -> str:
    """Return the rows of each command: seconds of processor, those besides the stages, and seconds by the clock."""
    lines = [f"{'':26}" + "".join(f"{name:>27}" for name in layouts)]
    lines.append(f"{'seconds':26}" + f"{'processor':>11}{'beyond':>8}{'clock':>8}" * len(layouts))
    for command in next(iter(layouts.values())):
        cells = (costs[command] for costs in layouts.values())
        lines.append(f"{command:26}" + "".join(f"{c.processor:11.1f}{c.beyond:8.1f}{c.wall:8.1f}" for c in cells))
    return "\n".join(lines)


def per_thousand(loose: dict[str, Cost], packed: dict[str, Cost], files: int) -> dict[str, float]:
    """Return how many seconds of processor besides stages each 1,000 loose files add to each command."""
    return {name: (loose[name].beyond - packed[name].beyond) * 1000 / files for name in loose}


def report(layouts: dict[str, dict[str, Cost]], sizes: dict[str, tuple[int, int]], packing: Cost, cases: int) -> str:
    """Return all that is printed below the header; `sizes`: files and bytes of each layout."""
    lines = [f"\n{cases} cases; {len(os.sched_getaffinity(0))} cores"]
    lines += [f"{layout}: {files} files, {size / 1e9:.2f} GB" for layout, (files, size) in sizes.items()]
    lines.append(f"flairprep pack: {packing.processor:.1f} s of processor, {packing.wall:.1f} by the clock")
    lines += ["", table(layouts), "\nbeyond: of the seconds of processor, those that no stage of the pipeline took"]
    ratios = {layout: costs["dvc add"].processor / costs[READING].processor for layout, costs in layouts.items()}
    lines.append(
        "dvc add as a multiple of reading: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    )
    lines.append("\nseconds of processor that each 1,000 loose files add")
    added = per_thousand(layouts["loose"], layouts["packed"], sizes["loose"][0])
    return "\n".join([*lines, *(f"{command:26}{seconds:8.3f}" for command, seconds in added.items())])


def main() -> None:
    """Print the table of both layouts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=350_000)
    parser.add_argument("--cases", type=int, default=84)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1, 0, 0, 0)
    print(machine.header(("dvc", "dvc-data", "dvc-objects", "pydicom")), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folders = {layout: Path(name) / layout for layout in ("loose", "packed")}
        for folder in folders.values():
            folder.mkdir()
        loose, packed = (Project(folder) for folder in folders.values())
        write_cohort(loose, options.cases, options.files)
        packing = loose.measure([f"flairprep pack data/raw/train --out {packed.raw}"])
        write_labels(packed, options.cases)
        sizes = {layout: read(project.raw) for layout, project in (("loose", loose), ("packed", packed))}
        layouts = {"packed": costs_of(packed)}
        shutil.rmtree(folders["packed"])
        layouts = {"loose": costs_of(loose), **layouts}
    print(report(layouts, sizes, packing, options.cases))


if __name__ == "__main__":
    main()
