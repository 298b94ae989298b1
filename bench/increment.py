"""Cost of one more case, and of DVC: `dvc repro` with 200 cases, with 201, and with nothing new.

python bench/increment.py [--cases 200] > bench/results/increment.txt

The series are those of bench/speed.py, in a clone of the project with a cache of its own. DVC calls each stage through
a script that logs its time and the processor's, that of workers included, which separates the stages from DVC's hashing
and linking. A `dvc repro` with nothing to
do takes turns with one on a bare dvc.yaml: the same outs and data, without code and params.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import machine
from ruamel.yaml import YAML
from speed import write_case

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("balance", "audit", "export")  # the last stages without training
STAGES = ("ingest", "normalize", "select_slices", "balance", "split", "audit", "export")
TURNS = 5
SHIM = """#!{python} -ES
import ctypes, os, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: workers that outlive their stage count too
start = time.time()
stage = os.posix_spawn({python!r}, [{python!r}, *sys.argv[1:]], os.environ)
status = 0
while True:
    try:
        process, ended = os.wait()
    except ChildProcessError:
        break
    status = ended if process == stage else status
used = os.times()
with open({log!r}, "a") as log:
    print(sys.argv[2], time.time() - start, used.children_user + used.children_system, file=log)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Project:
    """A clone of the project in `folder`/project, whose PATH starts with a python that logs times."""

    def __init__(self, folder: Path) -> None:
        self.root, self.log = folder / "project", folder / "log"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.root)], check=True)
        shim = folder / "bin/python"
        shim.parent.mkdir()
        shim.write_text(SHIM.format(python=sys.executable, log=str(self.log)))
        shim.chmod(0o755)
        path = f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = os.environ | {"PATH": path, "FLAIRPREP_CACHE": str(folder / "cache")}

    def run(self, *command: str) -> float:
        """Run `command`; return its seconds."""
        start = time.perf_counter()
        done = subprocess.run(command, cwd=self.root, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return time.perf_counter() - start

    def repro(self) -> tuple[float, dict[str, tuple[float, float]]]:
        """Run `dvc repro` on TARGETS; return its seconds, and what `logged` returns."""
        self.log.write_text("")
        seconds = self.run("dvc", "repro", "--quiet", *TARGETS)
        return seconds, self.logged()

    def logged(self) -> dict[str, tuple[float, float]]:
        """Return the seconds of the stages that ran, by the clock and of processor."""
        stages = {}
        for line in self.log.read_text().splitlines():
            module, wall, processor = line.split()
            stages[module.rpartition(".")[2]] = float(wall), float(processor)
        return stages

    def start(self) -> float:
        """Return the processor seconds of starting the programs of all stages: the median of TURNS for each."""
        rounds = []
        for _ in range(TURNS):
            self.log.write_text("")
            for stage in STAGES:
                self.run("sh", "-c", f"PYTHONPATH=src python -c 'import flairprep.stages.{stage}'")
            rounds.append([float(line.split()[-1]) for line in self.log.read_text().splitlines()])
        return sum(map(median, zip(*rounds, strict=True)))

    def add(self, cases: range) -> float:
        """Make cases and track them; return the seconds of `dvc add`."""
        raw = self.root / "data/raw"
        with ProcessPoolExecutor() as workers:
            list(workers.map(partial(write_case, raw / "train", stripped=True), cases))
        table = raw / "train_labels.csv"
        rows = [] if table.exists() else ["BraTS21ID,MGMT_value"]
        with table.open("a") as file:
            file.writelines(f"{row}\n" for row in [*rows, *(f"{number:05d},{number % 2}" for number in cases)])
        return self.run("dvc", "add", "--quiet", "data/raw/train")

    def bare(self) -> None:
        """Replace dvc.yaml by one of the same outs and data, without code and params, as if it had run."""
        yaml = YAML()
        stages = yaml.load(self.root / "dvc.yaml")["stages"]
        names = {"${ingest.dicom_dir}": "data/raw/train", "${labels.table}": "data/raw/train_labels.csv"}
        bare: dict[str, Any] = {}
        for name in STAGES:
            deps = [names.get(dep, dep) for dep in stages[name]["deps"] if not dep.startswith("src/")]
            bare[name] = {"cmd": "true", "deps": deps, "outs": list(stages[name]["outs"])}
        (self.root / "dvc.lock").unlink()
        yaml.dump({"stages": bare}, self.root / "dvc.yaml")
        self.run("dvc", "commit", "--force", "--quiet", *bare)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    count = parser.parse_args().cases
    print(machine.header(("SimpleITK", "pydicom", "dvc", "zlib-ng")))
    with tempfile.TemporaryDirectory() as name:
        project = Project(Path(name))
        rows: dict[str, dict[str, float]] = {}
        used: dict[str, dict[str, float]] = {}
        for label, cases in ((f"{count} cases", range(count)), ("one more", range(count, count + 1))):
            adding = project.add(cases)
            whole, stages = project.repro()
            walls, processors = ({name: both[kind] for name, both in stages.items()} for kind in (0, 1))
            rows[label] = walls | {"all stages": sum(walls.values()), "dvc repro besides": whole - sum(walls.values())}
            rows[label]["dvc add"] = adding
            used[label] = processors | {"all stages": sum(processors.values())}
        show("seconds", rows)
        show("s of processor", used)
        starting = project.start()
        more = used["one more"]["all stages"]
        print(f"\nstarting the programs: {starting:.2f} s of processor; one more case besides: {more - starting:.2f} s")
        copy = Project(Path(tempfile.mkdtemp(dir=name)))
        shutil.rmtree(copy.root)
        subprocess.run(["cp", "-al", str(project.root), str(copy.root)], check=True)
        for file in ("dvc.yaml", "dvc.lock"):  # a copy, not a hard link
            content = (copy.root / file).read_bytes()
            (copy.root / file).unlink()
            (copy.root / file).write_bytes(content)
        copy.bare()
        pairs = [(project.repro()[0], copy.repro()[0]) for _ in range(TURNS)]
    ours, bare = (median(values) for values in zip(*pairs, strict=True))
    ratio = median(one / other for one, other in pairs)
    print(f"\nnothing to do: {ours:.2f} s, with a bare dvc.yaml {bare:.2f} s, ratio {ratio:.2f} ({TURNS} turns)")


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print the seconds of each stage side by side, and their ratio."""
    (first, many), (second, more) = rows.items()
    print(f"\n{title:20}{first:>12}{second:>12}{'ratio':>9}")
    for name, before in many.items():
        after = more.get(name)
        print(f"{name:20}{before:12.2f}" + ("" if after is None else f"{after:12.2f}{after / before:9.3f}"))


if __name__ == "__main__":
    main()
