"""Trainings that are ended at any moment, and go on: the bytes are those of a run that nothing disturbed."""

import json
import math
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

import exports
import miniature
import pandas as pd
import pytest
from miniature import Project
from workspace import contents, write_params

pytestmark = pytest.mark.slow

SRC = Path(__file__).resolve().parents[1] / "src"
LABELS = {0: "0110100", 1: "00101011", 2: "100010"}  # fold -> the labels of its cases
# Everything that a state must hold: dropout, batch normalisation's averages, augmentation, patience, a last batch that
# is smaller, the networks of the last epochs.
RUN: dict[str, Any] = {
    "lr": 1e-2,
    "batch_size": 3,
    "epochs": 9,
    "test_fold": 2,
    "model": {"name": "tutorial_cnn", "filters": [4], "dense": 4, "dropout": 0.3},
    "train": {"schedule": "constant", "augment": "flip_shift", "class_weight": "balanced", "patience": 9},
}
STUCK = {"name": "tutorial_cnn", "filters": [2], "norm": "none", "dense": 0}  # at a rate of next to nothing
EPOCH = re.compile(r"epoch (\d+) of \d+: loss")
PATIENCE = 300.0  # s for what must not hang
# The epoch whose line is awaited, and the share of an epoch's time after it; a run goes on between them.
MOMENTS = ((1, 0.5), (2, 0.0), (4, 0.2), (6, 0.9), (7, 0.4))
STEPS = math.ceil(len(LABELS[1]) / RUN["batch_size"])  # of an epoch: fold 1 alone is trained on
PACE = 0.6  # s that each step takes at least: else these epochs end sooner than a signal arrives
PACED = f"""
import time
from flairprep.network import watching
look = watching.Parent.on_train_batch_end
def wait(self, batch, logs=None):
    time.sleep({PACE})
    look(self, batch, logs)
watching.Parent.on_train_batch_end = wait
"""


class Training:
    """The stage train in a process of its own, in a folder with a small export."""

    def __init__(self, folder: Path, cache: Path | None, before: str = "") -> None:
        environment = {**os.environ, "PYTHONPATH": str(SRC), "FLAIRPREP_CACHE": str(cache or "off")}
        stage = (
            "from flairprep.core import console; from flairprep.stages import train; console.run(train.main, 'train')"
        )
        # Ctrl-C is ignored by all that a shell starts in the background, these tests among them.
        heard = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
        command = [sys.executable, "-c", f"{heard}\n{before}\n{stage}"]
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self.process = subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)

    def epochs(self) -> Iterator[int]:
        """The epochs as their lines come."""
        assert self.process.stdout
        for line in self.process.stdout:
            if found := EPOCH.search(line):
                yield int(found[1])

    def ended(self) -> tuple[int, str]:
        """Exit status and standard error, once it is over."""
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said

    def whole(self) -> list[int]:
        """The epochs of a run that nothing disturbs."""
        epochs = list(self.epochs())
        status, said = self.ended()
        assert status == 0, said
        return epochs


def study(folder: Path, **changed: Any) -> Path:
    if not (folder / "data/export").exists():
        exports.write_export(folder, LABELS, lambda rng, label, _: exports.brain(rng, label, 0.5))
    write_params(folder, **{**RUN, **changed})
    return folder


def undisturbed(folder: Path, **changed: Any) -> dict[str, str]:
    """What a run without a cache makes, by file."""
    Training(study(folder, **changed), None).whole()
    made = contents(folder / "data/train")
    shutil.rmtree(folder / "data/train")
    return made


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))


def states(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("training/*/*")]


@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGINT, 128 + 2), (signal.SIGTERM, 128 + 15), (signal.SIGKILL, -9)],
    ids=["ctrl-c", "sigterm", "sigkill"],
)
def test_a_training_ended_five_times_ends_in_the_bytes_of_an_undisturbed_one(
    tmp_path: Path, expected: dict[str, str], sent: signal.Signals, status: int
) -> None:
    cache, began = tmp_path / "cache", []
    for until, share in MOMENTS:
        run = Training(study(tmp_path / "study"), cache, PACED)
        for epoch in run.epochs():
            if len(began) < MOMENTS.index((until, share)) + 1:
                began.append(epoch)
            if epoch >= until:
                time.sleep(share * STEPS * PACE)
                run.process.send_signal(sent)
                break
        code, said = run.ended()
        assert code == status
        out = tmp_path / "study/data/train"
        if sent is signal.SIGKILL:
            assert not out.exists() or {path.name for path in out.iterdir() if path.suffix != ".partial"} <= {
                "history.csv"
            }
        else:
            assert not out.exists()
            assert re.search(r"epoch \d", said.strip().splitlines()[-1])
    began += Training(study(tmp_path / "study"), cache).whole()[:1]
    assert contents(tmp_path / "study/data/train") == expected
    assert began == sorted(began)
    assert began[-1] > RUN["epochs"] // 2
    assert len(states(cache)) == 1


def test_a_finished_run_with_a_constant_rate_is_extended_to_the_bytes_of_a_longer_one(tmp_path: Path) -> None:
    patient = {**RUN["train"], "patience": 4, "monitor": "val_accuracy"}
    long = undisturbed(tmp_path / "long", epochs=12, train=patient)
    cache, folder = tmp_path / "cache", tmp_path / "study"
    first = Training(study(folder, epochs=3, train=patient), cache).whole()
    rest = Training(study(folder, epochs=12, train=patient), cache).whole()
    assert first == [1, 2, 3]
    assert rest[0] == 4
    assert contents(folder / "data/train") == long
    assert Training(study(folder, epochs=12, train=patient), cache).whole() == []
    assert contents(folder / "data/train") == long


def test_a_run_in_mixed_precision_goes_on_with_its_loss_scale(tmp_path: Path) -> None:
    mixed = {**RUN["train"], "precision": "mixed_float16"}
    long = undisturbed(tmp_path / "long", epochs=5, train=mixed)
    cache, folder = tmp_path / "cache", tmp_path / "study"
    Training(study(folder, epochs=2, train=mixed), cache).whole()
    assert Training(study(folder, epochs=5, train=mixed), cache).whole() == [3, 4, 5]
    assert contents(folder / "data/train") == long


def test_a_run_that_patience_ended_is_over_for_one_with_more_epochs_too(tmp_path: Path) -> None:
    stuck = {"lr": 1e-12, "train": {**RUN["train"], "augment": "none", "patience": 3}, "model": STUCK}
    expected, cache = undisturbed(tmp_path / "long", epochs=8, **stuck), tmp_path / "cache"
    short = Training(study(tmp_path / "study", epochs=6, **stuck), cache).whole()
    assert len(short) < 6
    assert Training(study(tmp_path / "study", epochs=8, **stuck), cache).whole() == []
    assert contents(tmp_path / "study/data/train") == expected


def test_another_param_begins_anew_and_a_cosine_leaves_no_state(tmp_path: Path) -> None:
    cache, cosine = tmp_path / "cache", {**RUN["train"], "schedule": "cosine"}
    for changed in ({}, {"seed": 1}, {"lr": 2e-2}, {"train": {**RUN["train"], "augment": "none"}}):
        assert Training(study(tmp_path / "study", **{"epochs": 2, **changed}), cache).whole() == [1, 2]
    before = states(cache)
    for epochs in (2, 3):
        whole = list(range(1, epochs + 1))
        assert Training(study(tmp_path / "study", epochs=epochs, train=cosine), cache).whole() == whole
    assert sorted(states(cache)) == sorted(before)


def test_two_equal_runs_at_once_end_in_the_same_bytes(tmp_path: Path, expected: dict[str, str]) -> None:
    runs = [Training(study(tmp_path / name), tmp_path / "cache") for name in ("one", "two")]
    for run in runs:
        run.whole()
    assert contents(tmp_path / "one/data/train") == contents(tmp_path / "two/data/train") == expected


def test_several_devices_go_on_in_the_bytes_of_an_undisturbed_run(tmp_path: Path) -> None:
    devices = (
        "import flairprep.dataset.tf_setup, tensorflow as tf\n"
        "tf.config.set_visible_devices([], 'GPU')\n"
        "(cpu,) = tf.config.list_physical_devices('CPU')\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)"
    )
    changed = {"batch_size": 4, "epochs": 4}
    Training(study(tmp_path / "long", **changed), None, devices).whole()
    cache = tmp_path / "cache"
    Training(study(tmp_path / "study", **{**changed, "epochs": 2}), cache, devices).whole()
    assert Training(study(tmp_path / "study", **changed), cache, devices).whole() == [3, 4]
    assert contents(tmp_path / "study/data/train") == contents(tmp_path / "long/data/train")


# Watched from outside


WAITING = """
from flairprep.network import watching
begin = watching.Bar.on_epoch_begin
def wait(self, epoch, logs=None):
    if epoch:
        print(f"epoch {epoch} of 0: loss", flush=True)
        input()
    begin(self, epoch, logs)
watching.Bar.on_epoch_begin = wait
watching.console.say = lambda text: None
"""


def test_history_is_read_by_another_process_after_each_epoch(tmp_path: Path) -> None:
    run, path = Training(study(tmp_path, epochs=4), None, WAITING), tmp_path / "data/train/history.csv"
    seen = []
    for epoch in run.epochs():
        table = pd.read_csv(path)
        seen.append(list(table["epoch"]))
        assert table[["val_loss", "val_accuracy", "val_auc"]].notna().all(axis=None)
        assert epoch == len(table)
        assert run.process.stdin
        run.process.stdin.write("\n")
        run.process.stdin.flush()
    assert run.ended()[0] == 0
    assert seen == [[1], [1, 2], [1, 2, 3]]
    assert len(pd.read_csv(path)) == 4


# By DVC


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The pipeline up to the training, committed."""
    folder = tmp_path_factory.mktemp("study")
    project = miniature.make(folder, FLAIRPREP_CACHE=str(tmp_path_factory.mktemp("cache")))
    project.run("git", "config", "user.email", "a@example.org")
    project.run("git", "config", "user.name", "a")
    project.edit(epochs=400, model__dropout=0.3)
    project.run("dvc", "repro", "sanity")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-q", "-m", "before the training")
    return project


def awaited(found: Callable[[], Any]) -> Any:
    """What `found` gives, once it gives anything."""
    deadline = time.monotonic() + PATIENCE
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def rows(path: Path) -> int:
    return len(path.read_text().splitlines()) - 1 if path.is_file() else 0


def stage_of(folder: Path) -> int | None:
    """The process of the stage train that works in `folder`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"flairprep.stages.train" in command and (process / "cwd").resolve() == folder:
                return int(process.name)
        except OSError:  # it is over, or another user's
            continue
    return None


def begun(project: Project, pattern: str) -> tuple[Path, int]:
    """Folder and process of the training that has two epochs or more behind it, in a folder like `pattern`."""

    def found() -> tuple[Path, int] | None:
        for path in project.root.glob(f"{pattern}data/train/history.csv"):
            folder = path.parents[2].resolve()
            if rows(path) >= 2 and (process := stage_of(folder)):
                return folder, process
        return None

    value: tuple[Path, int] = awaited(found)
    return value


def outs(project: Project, name: str) -> str:
    """What dvc.lock of the experiment has as the hash of data/train."""
    refs = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    (ref,) = (ref for ref in refs if ref.endswith(f"/{name}"))
    lock = project.run("git", "show", f"{ref}:dvc.lock")
    (md5,) = re.findall(r"- path: data/train\n(?: +hash: md5\n)? +md5: (\w+)\.dir", lock)
    return str(md5)


def over(project: Project) -> None:
    awaited(lambda: not re.search(r"Running|Queued", project.run("dvc", "queue", "status")))


def test_a_training_of_dvc_is_watched_ended_and_goes_on_in_the_workspace_and_the_queue(project: Project) -> None:
    plain = Project(project.root, FLAIRPREP_CACHE="off")
    plain.run("dvc", "exp", "run", "-q", "--temp", "-n", "plain", "train")
    expected = outs(project, "plain")
    shutil.rmtree(project.root / ".dvc/cache/runs")  # else DVC itself has what the next runs are to make

    environment = {**os.environ, **project.variables, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def started(*command: str) -> subprocess.Popen[bytes]:
        """A command that nobody waits for: what it leaves running would hold a pipe open."""
        return subprocess.Popen(command, cwd=project.root, env=environment, **quiet)

    repro = started("dvc", "repro", "train")
    _, process = begun(project, "")
    shown = json.loads(project.run("dvc", "plots", "show", "--json", "data/train/history.csv"))
    values = shown["data"]["data/train/history.csv"][0]["content"]["data"]["values"]
    assert 2 <= len(values) < 400
    assert [int(value["epoch"]) for value in values] == list(range(1, len(values) + 1))
    assert repro.poll() is None
    os.kill(process, signal.SIGTERM)
    assert repro.wait(PATIENCE) != 0
    assert not (project.root / "data/train").exists()
    assert "data/train" not in (project.root / "dvc.lock").read_text().split("evaluate:")[0].split("outs:")[-1]

    project.run("dvc", "exp", "run", "--queue", "-n", "killed", "train")
    assert started("dvc", "queue", "start").wait(PATIENCE) == 0
    folder, process = begun(project, ".dvc/tmp/exps/*/")
    assert rows(folder / "data/train/history.csv") > 2  # it went on where the workspace was
    project.run("dvc", "queue", "kill", "killed")
    over(project)
    assert "Failed" in project.run("dvc", "queue", "status")
    project.run("dvc", "exp", "run", "--queue", "-n", "again", "train")
    assert started("dvc", "queue", "start").wait(PATIENCE) == 0
    over(project)
    assert outs(project, "again") == expected
    first = EPOCH.search(project.run("dvc", "queue", "logs", "again"))
    assert first
    assert int(first[1]) > 2
