"""Kills, full disks and files that vanish: the next undisturbed run gives the bytes of one that was never disturbed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import miniature
import numpy as np
import pytest
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from miniature import Project
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from voluptuous import Invalid
from workspace import contents

from flairprep.core import console, tables
from flairprep.core.codes import Code
from flairprep.dicom import discovery
from flairprep.stages import ingest

pytestmark = pytest.mark.slow

CASES = 12
TARGETS = ("export", "balance")  # and all before them: every stage but the two of the training
OUTS = ("data/ingest", "data/normalize", "data/select_slices", "data/split", "data/export", "reports")
PATIENCE = 300.0  # s for what must not hang
KILLS = 5  # during one way from nothing to the end


class Fragile(Project):
    """A project that is killed."""

    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {**os.environ, "PATH": path, "FLAIRPREP_WORKERS": "2"}
        own.pop("FLAIRPREP_DEBUG", None)
        own.pop("PYTHONPATH", None)
        return own

    def start(self, *command: str) -> subprocess.Popen[str]:
        """`command` as the head of a process group of its own."""
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        environment = self.environment()
        return subprocess.Popen(command, cwd=self.root, env=environment, text=True, start_new_session=True, **pipes)

    def stage(self, name: str, *before: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """A stage as dvc.yaml runs it, `before` in front of its command."""
        command = [*before, sys.executable, "-m", f"flairprep.stages.{name}"]
        environment = {**self.environment(), "PYTHONPATH": "src"}
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, **options)

    def outs(self) -> dict[str, dict[str, str]]:
        """The hashes of all that the stages made."""
        return {out: contents(self.root / out) for out in OUTS}

    def left(self) -> list[str]:
        """Partial files and folders, wherever."""
        inside = list((self.root / ".dvc/tmp/flairprep").glob("*"))
        beside = [path for folder in ("data", "reports") for path in (self.root / folder).rglob("*.partial*")]
        return [str(path.relative_to(self.root)) for path in inside + beside]

    def forget(self) -> None:
        """All results, DVC's memory of them included."""
        for out in OUTS[:-1]:
            shutil.rmtree(self.root / out, ignore_errors=True)
        shutil.rmtree(self.root / "reports/balance", ignore_errors=True)
        for name in ("dvc.lock", "reports/balance.json"):
            (self.root / name).unlink(missing_ok=True)
        shutil.rmtree(self.root / ".dvc/cache/runs", ignore_errors=True)

    def unlock(self) -> list[str]:
        """Removes DVC's list of locks and dvc.lock where a kill cut them off, as docs/codes.md says; which it were.

        DVC writes both in place; every other lock of a dead process it passes over by itself.
        """
        removed = []
        for name, check in ((".dvc/tmp/rwlock", json.loads), ("dvc.lock", _described)):
            path = self.root / name
            try:
                if path.exists():
                    check(path.read_text())
            except (ValueError, YAMLError, Invalid):
                path.unlink()
                removed.append(name)
        return removed


def _described(text: str) -> None:
    """Raises where dvc.lock is none as DVC sees it."""
    COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text))


def make(root: Path) -> Fragile:
    """A project with a small cohort; nothing has run."""
    miniature.make(root, CASES)
    return Fragile(root)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Fragile:
    """A project after an undisturbed run."""
    made = make(tmp_path_factory.mktemp("fragile"))
    made.run("dvc", "repro", *TARGETS)
    return made


@pytest.fixture(scope="module")
def undisturbed(project: Fragile) -> dict[str, dict[str, str]]:
    """The hashes of what the undisturbed run made."""
    return project.outs()


# Kills


def below(process: int) -> list[int]:
    """The processes that one has started, and theirs."""
    processes = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:  # it has ended
            children = []
        processes += [*children, *(deeper for child in children for deeper in below(child))]
    return processes


def command_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def kill(dvc: subprocess.Popen[str], kind: str, at_once: bool) -> str:
    """Kills what `kind` says, and gives back what was killed: "stage" where one runs, "dvc" alone, or "all".

    The stage of a killed dvc runs on, with nobody to wait for it; `at_once` does not wait for its end either.
    """
    processes = below(dvc.pid)
    stages = [(process, name) for process in processes if (name := _stage(process))]
    name = stages[0][1] if stages else "no stage"
    if kind == "stage" and stages:
        os.kill(stages[0][0], signal.SIGKILL)
        dvc.wait(PATIENCE)
        return f"stage ({name})"
    if kind == "all":
        os.killpg(dvc.pid, signal.SIGKILL)
    dvc.kill()
    dvc.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while not at_once and any(command_of(process) for process, _ in stages):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return f"{'all' if kind == 'all' else 'dvc'} ({name})"


def _stage(process: int) -> str:
    command = re.search(r"python\S* -m flairprep\.stages\.(\w+) $", command_of(process))
    return command[1] if command else ""


def kill_often(
    root: Path, count: int, seed: int, *, at_once: bool = False, say: Callable[[str], None] = print
) -> Iterator[bool]:
    """Kills `count` times, KILLS times between nothing and the end; for each kill whether that end was as undisturbed.

    `dvc repro` is all that is done after a kill, but see `unlock`; a failure of it counts as a difference.
    """
    made = make(root)
    start = time.monotonic()
    made.run("dvc", "repro", *TARGETS)
    longest = (time.monotonic() - start) / 2
    expected = made.outs()
    rng = np.random.default_rng(seed)
    for begin in range(0, count, KILLS):
        here = min(KILLS, count - begin)
        made.forget()
        number = 0
        while number < here:
            kind, wait = rng.choice(["stage", "stage", "dvc", "all"]), rng.uniform(0.5, longest)
            dvc = made.start("dvc", "repro", *TARGETS)
            try:
                dvc.wait(wait)
                made.forget()  # it came to its end: once more
            except subprocess.TimeoutExpired:
                number += 1
                say(f"kill {begin + number}: after {wait:.1f} s: {kill(dvc, kind, at_once)}")
            for name in made.unlock():
                say(f"it left half a {name}, which had to be removed")
        try:
            made.run("dvc", "repro", *TARGETS)
            same = made.outs() == expected and not made.left()
        except AssertionError as error:
            say(str(error))
            same = False
        yield from [same] * here


def test_after_kills_at_any_moment_a_repro_gives_the_bytes_of_an_undisturbed_run(tmp_path: Path) -> None:
    assert list(kill_often(tmp_path, KILLS, seed=0)) == [True] * KILLS


def dies_on_three(case: discovery.RawCase, **given: Any) -> ingest.Ingested:
    """What the kernel does to a worker when the machine has no memory left."""
    if case.case_id == "00003":
        os.kill(os.getpid(), signal.SIGKILL)
    return REAL(case, **given)


REAL = ingest.ingest_case


def test_a_killed_worker_costs_its_case_a_row_and_the_others_nothing(
    project: Fragile, undisturbed: dict[str, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "2")
    monkeypatch.setattr(ingest, "ingest_case", dies_on_three)
    shutil.rmtree("data/ingest")
    console.run(ingest.main, "ingest")
    rows = tables.read_csv(Path("data/ingest/cases.csv")).set_index("case_id")
    assert rows.loc["00003", ["status", "code"]].tolist() == ["failed", Code.CRASHED]
    assert "SIGKILL" in rows.loc["00003", "message"]
    volumes, expected = contents(Path("data/ingest/volumes")), undisturbed["data/ingest"]
    assert volumes == {
        name.removeprefix("volumes/"): value
        for name, value in expected.items()
        if name.startswith("volumes/") and "00003" not in name
    }
    assert not project.left()
    project.run("dvc", "repro", "-f", "-s", "ingest")
    assert project.outs() == undisturbed


# A full disk

FULL = ("No space left on device", "File too large", "is the disk full?")
ROOM = {"ingest": 24, "normalize": 24, "select_slices": 24, "split": 0, "export": 24}  # KiB until the disk is full


def small_disk(room: int) -> tuple[str, ...]:
    """A command's prefix: where the partial outs lie is a file system of `room` KiB, which ends with the command."""
    fill = "dd if=/dev/zero of=.dvc/tmp/filling bs=1k status=none"
    script = (
        "mount -t tmpfs -o size=1m none .dvc/tmp && mkdir .dvc/tmp/flairprep && "
        f'{fill} count={1024 - room} && "$@"; status=$?; find .dvc/tmp/flairprep -mindepth 1 >&2; exit $status'
    )
    return ("unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh")


def can_mount() -> bool:
    """Whether this user may have a mount of its own."""
    script = ("unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt")
    return shutil.which("unshare") is not None and subprocess.run(script, capture_output=True).returncode == 0


@pytest.mark.parametrize("how", ["no space", "files too large"])
@pytest.mark.parametrize("stage", ROOM)
def test_a_full_disk_ends_a_stage_with_its_name_and_leaves_nothing(
    stage: str, how: str, project: Fragile, undisturbed: dict[str, dict[str, str]]
) -> None:
    if how == "no space" and not can_mount():
        pytest.skip("needs a mount of its own")
    out = project.root / "data" / stage
    shutil.rmtree(out)
    if how == "no space":
        done = project.stage(stage, *small_disk(ROOM[stage]))
    else:
        done = project.stage(stage, "prlimit", f"--fsize={min(ROOM[stage], 1) << 10}")
    assert done.returncode == 1, done.stderr
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert any(word in error for word in FULL)
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith(f"{stage}: no output written; restore the previous one: dvc checkout\n")
    assert not out.exists()
    assert not project.left()
    again = project.stage(stage)
    assert again.returncode == 0, again.stderr
    assert project.outs() == undisturbed


# Files that vanish


def spoils_three(deed: Callable[[Path], None], case: discovery.RawCase, **given: Any) -> ingest.Ingested:
    if case.case_id == "00003":
        deed(case.paths[5])
    return REAL(case, **given)


def deleted(path: Path) -> None:
    path.unlink()


def in_a_loop(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.symlink_to(path.parent.name)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def deletes(case: discovery.RawCase, **given: Any) -> ingest.Ingested:
    """The file is listed, and gone when it is read."""
    return spoils_three(deleted, case, **given)


def loops(case: discovery.RawCase, **given: Any) -> ingest.Ingested:
    """The folder of the files becomes a link to itself."""
    return spoils_three(in_a_loop, case, **given)


def replaces(case: discovery.RawCase, **given: Any) -> ingest.Ingested:
    """The file becomes a folder."""
    return spoils_three(a_folder, case, **given)


@pytest.mark.parametrize(
    ("spoiling", "reason"),
    [
        (deletes, "No such file or directory"),
        (loops, "Too many levels of symbolic links"),
        (replaces, "Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_ends_ingest_and_is_not_named(
    spoiling: Any,
    reason: str,
    project: Fragile,
    undisturbed: dict[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "2")
    monkeypatch.setattr(ingest, "ingest_case", spoiling)
    shutil.copytree("data/raw/train/00003", tmp_path / "00003")
    shutil.rmtree("data/ingest")
    try:
        with pytest.raises(SystemExit) as caught:
            console.run(ingest.main, "ingest")
    finally:
        shutil.rmtree("data/raw/train/00003")
        shutil.copytree(tmp_path / "00003", "data/raw/train/00003")
    assert caught.value.code == 1
    shown = "".join(capsys.readouterr())
    assert f"error: ingest: case 00003: a raw file cannot be read ({reason}); fix that and run again\n" in shown
    assert "FLAIR" not in shown
    assert ".dcm" not in shown
    assert not Path("data/ingest").exists()
    assert not project.left()
    project.run("dvc", "repro", *TARGETS)
    assert project.outs() == undisturbed
