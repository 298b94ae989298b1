"""Cases on a dask cluster of two workers: the same results as here, whatever becomes of a worker."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import miniature
import pytest
from worker_functions import (
    Watched,
    ctrl_c_ends,
    does_on_five,
    exits,
    hangs,
    killed,
    kills_its_worker,
    lost,
    notes_and_waits,
    prints,
    raises_on_five,
    square,
    takes_memory,
    threads,
    until,
    writes,
)
from workspace import contents, write_params

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.runner import cluster
from flairprep.runner.map_cases import map_cases
from flairprep.runner.pool import AHEAD

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed", reason="needs dask.distributed: pip install 'flairprep[dask]'")

SRC = Path(cluster.__file__).parents[2]
TESTS = Path(__file__).parents[1]
PATIENCE = 60.0  # s for what must not hang
WORKERS = 2


class Dask:
    """A scheduler and two `dask worker`s of one thread on 127.0.0.1, in process groups of their own."""

    def __init__(self, folder: Path, src: Path = SRC, protocol: str = "tcp", **environment: str) -> None:
        self._folder, self._protocol = folder, protocol
        paths = os.pathsep.join(map(str, (src, TESTS)))
        allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
        self._environment = {**os.environ, "PYTHONPATH": paths, **allowed, **environment}
        self._started: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def __enter__(self) -> "Dask":
        try:
            self._start("scheduler", "--port", "0", "--protocol", self._protocol)
            self._start("worker", "--nworkers", str(WORKERS), "--nthreads", "1", "--local-directory", "scratch")
            until(lambda: self.log().count("Registered to:") >= WORKERS)
        except BaseException:
            self.stop()
            raise
        self.address = json.loads((self._folder / "scheduler.json").read_text())["address"]
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self, kind: str, *options: str) -> None:
        command = [sys.executable, "-m", "dask", kind, "--scheduler-file", "scheduler.json", "--host", "127.0.0.1"]
        with (self._folder / f"{kind}.log").open("ab") as log:
            further: dict[str, Any] = {"stdout": log, "stderr": log, "start_new_session": True, "cwd": self._folder}
            command += ["--no-dashboard", *options]
            self._started.append(subprocess.Popen(command, env=self._environment, **further))
        until(lambda: kind == "worker" or self._written())

    def _written(self) -> bool:
        file = self._folder / "scheduler.json"
        return file.exists() and file.read_text().rstrip().endswith("}")

    def log(self) -> str:
        return "".join(path.read_text() for path in self._folder.glob("*.log"))

    def stop(self) -> None:
        while self._started:
            process = self._started.pop()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    with Dask(tmp_path_factory.mktemp("dask")) as dask:
        yield dask


@pytest.fixture
def dask(started: Dask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dask:
    """A cluster on which map_cases runs, from a folder of its own."""
    monkeypatch.setenv("FLAIRPREP_SCHEDULER", started.address)
    monkeypatch.chdir(tmp_path)
    return started


def test_results_come_in_the_order_of_the_items(dask: Dask) -> None:
    items = list(range(40, 0, -1))
    results = list(map_cases(square, items, "test"))
    assert [result for result, _ in results] == [number * number for number in items]
    assert os.getpid() not in {process for _, process in results}


def test_nothing_to_do_is_done(dask: Dask) -> None:
    assert list(map_cases(square, [], "test")) == []


def test_only_so_many_cases_are_under_way_as_may_wait_for_a_slow_one(dask: Dask) -> None:
    items = Watched(200)
    results = map_cases(square, items, "test")
    for shown in range(100):
        next(results)
        assert items.largest < shown + AHEAD * WORKERS
    results.close()  # type: ignore[attr-defined]


def test_of_very_many_items_several_go_together(dask: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MAX_TASKS", 10)
    items = list(range(57))
    assert [result for result, _ in map_cases(square, items, "test")] == [number * number for number in items]


def test_a_case_runs_in_the_folder_and_with_the_variables_of_the_program(
    dask: Dask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAIRPREP_WORD", "word")
    (tmp_path / "made").mkdir()
    assert set(map_cases(writes, range(4), "test")) == {f"word{tmp_path}"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]
    assert contents(tmp_path / "made").keys() == {f"{number}.txt" for number in range(4)}


def test_each_process_has_one_thread(dask: Dask) -> None:
    assert set(map_cases(threads, range(4), "test")) == {(1, "1")}


@pytest.mark.parametrize("error", [FlairprepError("fix it"), OSError(28, "No space left on device", "out")])
def test_error_that_concerns_all_cases_ends_the_whole_after_the_results_before_it(dask: Dask, error: Exception) -> None:
    results = map_cases(partial(raises_on_five, error=error), range(10), "test", on_failure=lost)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(type(error)) as caught:
        next(results)
    assert str(caught.value) == str(error)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (CaseError(Code.MOSAIC, "number 5"), Code.MOSAIC, "number 5"),
        (ValueError("CANARY"), Code.CRASHED, "ValueError; FLAIRPREP_DEBUG=1 shows where"),
        (MemoryError("CANARY"), Code.TOO_LARGE, "needs over 4096 MB (FLAIRPREP_MEGABYTES)"),
    ],
)
def test_error_of_one_case_costs_that_case(dask: Dask, error: Exception, code: Code, message: str) -> None:
    results = list(map_cases(partial(raises_on_five, error=error), range(10), "test", on_failure=lost))
    assert results == [0, 1, 2, 3, 4, (5, code, message), 6, 7, 8, 9]
    assert "CANARY" not in dask.log()


@pytest.mark.parametrize(
    ("deed", "code", "word"),
    [
        (killed, Code.CRASHED, "SIGKILL"),
        (exits, Code.CRASHED, "exit status 3"),
        (hangs, Code.TIMED_OUT, "over 3 s"),
        (takes_memory, Code.TOO_LARGE, "over 2048 MB"),
    ],
)
def test_case_that_ends_its_process_hangs_or_takes_too_much_costs_itself(
    deed: Any, code: Code, word: str, dask: Dask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAIRPREP_SECONDS", "3" if deed is hangs else "60")
    monkeypatch.setenv("FLAIRPREP_MEGABYTES", "2048")
    results = list(map_cases(partial(does_on_five, deed=deed), range(10), "test", on_failure=lost))
    assert [result for result in results if isinstance(result, int)] == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert results[5][:2] == (5, code)
    assert word in results[5][2]


def test_case_that_kills_every_worker_costs_itself_and_none_beside_it(
    dask: Dask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "MAX_TASKS", 5)  # so that 3, 4 and 5 go together
    results = list(map_cases(partial(does_on_five, deed=kills_its_worker), range(10), "test", on_failure=lost))
    assert results.pop(5) == (5, Code.CRASHED, "it killed 2 dask workers")
    assert results == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_a_case_whose_worker_is_killed_is_done_by_another(dask: Dask, tmp_path: Path) -> None:
    results = map_cases(notes_and_waits, range(12), "test")
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    notes = tmp_path / "notes"
    until(lambda: notes.exists() and notes.read_text().endswith("\n"))
    process, first = map(int, notes.read_text().split())
    os.kill(first, signal.SIGKILL)
    (tmp_path / "go").touch()
    assert list(results) == list(range(3, 12))
    workers = [int(line.split()[1]) for line in notes.read_text().splitlines()]
    assert len(workers) == 2
    assert workers[0] == first != workers[1]
    until(lambda: not Path(f"/proc/{process}").exists())  # the process ends with its worker


def test_nothing_that_a_case_prints_gets_into_the_log_of_a_worker(dask: Dask) -> None:
    assert list(map_cases(prints, range(3), "test")) == [0, 1, 2]
    assert "CANARY" not in dask.log()


def test_processes_end_with_their_run(dask: Dask) -> None:
    processes = {process for _, process in map_cases(square, range(20), "test")}
    until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "nonsense", "http://127.0.0.1:1", "tcp://"])
def test_an_address_where_no_scheduler_answers_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_SCHEDULER", address)
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(FlairprepError, match=rf"^FLAIRPREP_SCHEDULER={address}: no dask scheduler answers; start one"):
        list(map_cases(square, [1], "test"))


def test_a_scheduler_that_asks_for_certificates_gets_those_of_dasks_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = distributed.Security.temporary()
    files = {"ca-file": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    roles = {
        role: {name: str(tmp_path / name) for name in ("cert", "key")} for role in ("scheduler", "worker", "client")
    }
    config = {"distributed": {"comm": {"tls": {"ca-file": str(tmp_path / "ca-file"), **roles}}}}
    (tmp_path / "dask.yaml").write_text(json.dumps(config))
    with Dask(tmp_path, protocol="tls", DASK_CONFIG=str(tmp_path / "dask.yaml")) as own:
        assert own.address.startswith("tls://")
        monkeypatch.setenv("FLAIRPREP_SCHEDULER", own.address)
        monkeypatch.chdir(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(cluster, "CONNECT_SECONDS", 1)
            with pytest.raises(FlairprepError, match=r"certificates in dask's configuration"):
                list(map_cases(square, [1], "test"))
        own_config = {f"distributed.comm.tls.client.{name}": str(tmp_path / name) for name in ("cert", "key")}
        with distributed.dask.config.set({"distributed.comm.tls.ca-file": str(tmp_path / "ca-file"), **own_config}):
            assert [number for number, _ in map_cases(square, list(range(5)), "test")] == [n * n for n in range(5)]


def test_work_is_given_before_the_first_worker_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters that adapt, as dask-jobqueue's do, start workers for work that waits."""
    monkeypatch.chdir(tmp_path)
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
    ) as adapting:
        adapting.adapt(minimum=0, maximum=1, interval="200ms")
        monkeypatch.setenv("FLAIRPREP_SCHEDULER", adapting.scheduler_address)
        assert [number for number, _ in map_cases(square, [2, 3], "test")] == [4, 9]


def test_without_distributed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAIRPREP_SCHEDULER", "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(FlairprepError, match=r"pip install 'flairprep\[dask\]'$"):
        list(map_cases(square, [1], "test"))


def test_a_folder_that_the_worker_does_not_share_is_refused(dask: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster.os.path, "relpath", lambda path: "no-such-file")
    with pytest.raises(FlairprepError, match=r"another folder on .*shared file system$"):
        list(map_cases(square, [1], "test"))


def test_what_compresses_the_volumes_is_compared_too() -> None:
    assert dict(cluster.versions())["zlib_ng"] == version("zlib-ng")


def test_other_packages_at_the_worker_are_refused(dask: Dask, monkeypatch: pytest.MonkeyPatch) -> None:
    own = cluster.versions()
    changed = tuple((name, "1.0" if name == "numpy" else version) for name, version in own)
    monkeypatch.setattr(cluster, "versions", lambda: changed)
    with pytest.raises(FlairprepError, match=r"^the dask worker on \S+ has the numpy \S+, this program 1.0; start it "):
        list(map_cases(square, [1], "test"))


def test_other_code_at_the_worker_is_refused_until_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dask worker itself need not be started again."""
    src = shutil.copytree(SRC, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    module = src / "flairprep/imaging/nifti.py"
    text = module.read_text()
    module.write_text(text + "# one comment more\n")
    monkeypatch.chdir(tmp_path)
    with Dask(tmp_path, src) as dask:
        monkeypatch.setenv("FLAIRPREP_SCHEDULER", dask.address)
        with pytest.raises(FlairprepError, match=r"^the dask worker on \S+ has the code \w{12}, this program \w{12}; "):
            list(map_cases(square, [1], "test"))
        module.write_text(text)
        assert [result for result, _ in map_cases(square, [3], "test")] == [9]


def test_a_scheduler_that_ends_in_the_middle_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Dask(tmp_path) as dask:
        monkeypatch.setenv("FLAIRPREP_SCHEDULER", dask.address)
        results = map_cases(square, range(100), "test")
        next(results)
        dask.stop()
        with pytest.raises(FlairprepError, match=rf"^FLAIRPREP_SCHEDULER={dask.address}: the dask cluster failed"):
            list(results)


# A stage as dvc.yaml runs it


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six cases, one of them damaged, and params.yaml."""
    root = tmp_path_factory.mktemp("cohort")
    miniature.write_cohort(root / "data/raw", 6)
    for path in (root / "data/raw/train/00002/FLAIR").iterdir():
        path.write_bytes(b"no DICOM at all")
    write_params(root, ingest={"max_failed": 0.5})
    return root


def start(root: Path, **environment: str) -> "subprocess.Popen[str]":
    own = {**os.environ, "PYTHONPATH": str(SRC), "FLAIRPREP_CACHE": "off", **environment}
    command = [sys.executable, "-m", "flairprep.stages.ingest"]
    further: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    return subprocess.Popen(command, cwd=root, env=own, text=True, **further)


def ingest(root: Path, reused: int = 0, **environment: str) -> dict[str, str]:
    """The hashes of what the stage makes; `reused` cases are to come from the cache."""
    program = start(root, **environment)
    told, errors = program.communicate(timeout=PATIENCE)
    assert program.returncode == 0, errors
    assert "6 cases in, 5 out" in told
    assert ("reused" in told) == bool(reused)
    assert not reused or f"{reused} reused" in told
    assert not list((root / ".dvc/tmp/flairprep").iterdir())
    return contents(root / "data/ingest")


def test_a_stage_makes_the_same_bytes_on_the_cluster_as_here(started: Dask, cohort: Path) -> None:
    one = ingest(cohort, FLAIRPREP_WORKERS="1")
    assert len([name for name in one if name.startswith("volumes/")]) == 5
    assert ingest(cohort, FLAIRPREP_WORKERS="3") == one
    assert ingest(cohort, FLAIRPREP_SCHEDULER=started.address) == one


def test_the_cache_serves_a_cluster_as_it_serves_this_machine(started: Dask, cohort: Path, tmp_path: Path) -> None:
    without = ingest(cohort, FLAIRPREP_WORKERS="1")
    cached = {"FLAIRPREP_CACHE": str(tmp_path / "cache")}
    there = {**cached, "FLAIRPREP_SCHEDULER": started.address}
    assert ingest(cohort, **there) == without
    assert ingest(cohort, reused=6, **there) == without
    assert ingest(cohort, reused=6, **cached) == without
    kept = next((tmp_path / "cache").glob("v1/??/*/0"))
    kept.write_bytes(kept.read_bytes()[:-1])
    assert ingest(cohort, reused=5, **there) == without


def test_ctrl_c_ends_the_program_at_once_and_what_the_workers_do_for_it(dask: Dask, tmp_path: Path) -> None:
    ctrl_c_ends(tmp_path, FLAIRPREP_SCHEDULER=dask.address)
    assert len(list(map_cases(square, range(10), "test"))) == 10
