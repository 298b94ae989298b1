"""A clone of the project for a bench: what a command costs as a whole tree of processes, and each stage in it."""

import ctypes
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
CHILD_SUBREAPER = 36  # prctl(2): orphans of the tree below are handed to this process
SHIM = """#!{python} -SE
import ctypes, os, resource, sys, time
start = time.perf_counter()
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
    print(sys.argv[2], sum(one.ru_utime + one.ru_stime for one in used), time.perf_counter() - start, file=file)
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


def costs_of_stages(log: str) -> dict[str, Cost]:
    """Return what each stage cost, of a log of lines such as `flairprep.stages.train 9.5 6.25`: processor, clock."""
    lines = [line.split() for line in log.splitlines()]
    return {module.rpartition(".")[2]: Cost(float(seconds), float(wall)) for module, seconds, wall in lines}


def measure(run: Callable[[], object]) -> Cost:
    """Return the cost of the processes that `run` starts, until the last of them has ended, detached ones too.

    Call `adopt_orphans` first.
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


def adopt_orphans() -> None:
    """Have Linux hand orphans of the processes that this one starts to it: `measure` counts detached ones too."""
    ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1, 0, 0, 0)


class Project:
    """A clone of the project at `commit`, in `folder`/project, whose PATH starts with a python that logs seconds.

    params.yaml gets `values`, by dotted keys.
    """

    def __init__(self, folder: Path, values: dict[str, Any], commit: str = "HEAD") -> None:
        self.root, self.log = folder / "project", folder / "log"
        self.raw = self.root / "data/raw/train"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.root)], check=True)
        subprocess.run(["git", "checkout", "--quiet", "-b", "bench", commit], cwd=self.root, check=True)
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
        params = yaml.load(self.root / "params.yaml")
        for key, value in values.items():
            *sections, name = key.split(".")
            (params[sections[0]] if sections else params)[name] = value
        yaml.dump(params, self.root / "params.yaml")

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
        return cost._replace(stages=sum(stage.processor for stage in self.stages().values()))

    def stages(self) -> dict[str, Cost]:
        """Return what each stage that the last measured commands ran cost."""
        return costs_of_stages(self.log.read_text())

    def write_labels(self, ids: Iterable[str]) -> None:
        """Write a labels table of these cases, every second one of label 1."""
        rows = ["BraTS21ID,MGMT_value", *(f"{name},{index % 2}" for index, name in enumerate(ids))]
        (self.raw.parent / "train_labels.csv").write_text("\n".join(rows) + "\n")

    def commit(self) -> None:
        """Commit what git shall know, as a user does before experiments."""
        self.run("git add --all")
        self.run("git commit --quiet --allow-empty --message bench")
