"""What DVC costs with many raw files, one per slice, and with the same cases packed.

python bench/files.py [--files 350000] [--cases 84] > bench/results/files.txt

The raw folder has small FLAIR series, which the pipeline reads, and T1w, T1wCE and T2w series of noise, which only make
up the number of files. `flairprep pack` makes the second layout of it. Each has a clone of the project with a cache and
a HOME of its own. Every command is measured as seconds of processor, user and system of its whole tree of processes,
the queue's workers among them, and as seconds by the clock. DVC calls each stage through a script that logs the stage's
seconds of processor. The difference is DVC's own share.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import clone
import machine
import numpy as np
import scale
from clone import Cost, Project
from pydicom import dcmread

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
    project.write_labels(f"{number:06d}" for number in range(cases))


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
    clone.adopt_orphans()
    print(machine.header(("dvc", "dvc-data", "dvc-objects", "pydicom")), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folders = {layout: Path(name) / layout for layout in ("loose", "packed")}
        for folder in folders.values():
            folder.mkdir()
        loose, packed = (Project(folder, LEAN) for folder in folders.values())
        write_cohort(loose, options.cases, options.files)
        packing = loose.measure([f"flairprep pack data/raw/train --out {packed.raw}"])
        packed.write_labels(f"{number:06d}" for number in range(options.cases))
        sizes = {layout: read(project.raw) for layout, project in (("loose", loose), ("packed", packed))}
        layouts = {"packed": costs_of(packed)}
        shutil.rmtree(folders["packed"])
        layouts = {"loose": costs_of(loose), **layouts}
    print(report(layouts, sizes, packing, options.cases))


if __name__ == "__main__":
    main()
