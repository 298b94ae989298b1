"""The loop over several hosts that docs/clusters.md gives, as two processes of this machine."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exports import brain, write_export

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
LATE = 240  # s after which two processes that wait for one another are ended
LABELS = {0: "01", 1: "010101", 2: "10101"}  # the batches of the epoch's last cases are not whole


def ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing listens on."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    numbers = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return numbers


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The snippet of the page, beside a small data/export."""
    write_export(tmp_path, LABELS, lambda rng, label, _: brain(rng, label, 3.0))
    page = (ROOT / "docs/clusters.md").read_text()
    [snippet] = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "MultiWorker" in code]
    path = tmp_path / "hosts.py"
    path.write_text(snippet)
    return path


def run(script: Path, hosts: int) -> list[str]:
    """What each of `hosts` processes prints; model.keras is left in a folder `hosts`."""
    addresses = [f"127.0.0.1:{port}" for port in ports(hosts)]
    folder = script.parent / str(hosts)
    folder.mkdir()
    (folder / "data").symlink_to(script.parent / "data")
    processes = []
    for index in range(hosts):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
        environment |= {"TF_CONFIG": json.dumps(config)} if hosts > 1 else {}
        command = [sys.executable, str(script)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes))
    try:
        said = [process.communicate(timeout=LATE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors
    return [out for out, _ in said]


def test_two_hosts_train_one_network_that_learns(script: Path) -> None:
    first, second = run(script, 2)
    assert first == second  # of the same losses, so of the same weights
    losses = [float(line.rpartition(" ")[2]) for line in first.splitlines()]
    assert len(losses) == 8
    assert losses[-1] < losses[0] / 2
    assert np.isfinite(losses).all()
    assert (script.parent / "2/model.keras").stat().st_size > 0


def test_without_other_hosts_it_trains_alone(script: Path) -> None:
    [alone] = run(script, 1)
    assert len(alone.splitlines()) == 8
    assert (script.parent / "1/model.keras").stat().st_size > 0
