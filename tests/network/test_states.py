"""states: a state comes back bit by bit, a damaged or foreign one never, and runs beside each other keep their own."""

import json
import math
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workspace import PARAMS

from flairprep.core import params
from flairprep.network import states
from flairprep.network.model_config import ModelParams
from flairprep.network.states import State, States
from flairprep.network.train_config import SweepParams, TrainParams, resolve

KEY = "ab" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The cache's folder."""
    (tmp_path / "v1/tmp").mkdir(parents=True)
    return tmp_path / "v1"


def of(root: Path, target: int = 6, *, extendable: bool = True) -> States:
    return States(root / "training" / KEY, KEY, target, extendable=extendable)


def after(epoch: int) -> State:
    """A state whose numbers need every bit."""
    rng = np.random.default_rng(epoch)
    logs = [{"loss": math.pi / n, "val_auc": 1 / 3} for n in range(1, epoch + 1)]
    kept = [(n, [rng.normal(size=(2, 3)).astype(np.float32)]) for n in range(max(1, epoch - 2), epoch + 1)]
    variables = [rng.normal(size=5).astype(np.float32), np.array([7, 2**32 - 1], np.uint32), np.int64(epoch * 10)]
    return State(epoch, logs, rng.random((epoch, 4)), kept, variables)


def same(one: State | None, other: State) -> bool:
    def parts(state: State) -> Any:
        arrays = [state.y_prob, *state.variables, *(weights for _, kept in state.kept for weights in kept)]
        epochs = [epoch for epoch, _ in state.kept]
        return state.epoch, list(state.logs), epochs, [(a.dtype, np.shape(a), a.tobytes()) for a in arrays]

    return one is not None and parts(one) == parts(other)


def names(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "training").glob("*/*"))


def test_the_last_state_comes_back_bit_by_bit_and_replaces_the_former(root: Path) -> None:
    assert of(root).latest() is None
    for epoch in (1, 2, 3):
        of(root).keep(after(epoch))
        assert same(of(root).latest(), after(epoch))
    assert len(names(root)) == 1
    assert list((root / "tmp").iterdir()) == []


def test_a_finished_run_leaves_its_last_state_to_one_with_more_epochs_alone(root: Path) -> None:
    run = of(root, 3)
    for epoch in (1, 2, 3):
        run.keep(after(epoch))
    run.finish()
    assert len(names(root)) == 1
    assert same(of(root, 9).latest(), after(3))
    assert same(of(root, 3).latest(), after(3))  # killed before its outs were in their place
    assert of(root, 2).latest() is None


def test_a_finished_run_that_none_can_extend_leaves_nothing(root: Path) -> None:
    run = of(root, extendable=False)
    run.keep(after(1))
    run.finish()
    assert list((root / "training").iterdir()) == []


def test_runs_with_other_targets_keep_their_own_states(root: Path) -> None:
    short, long = of(root, 4), of(root, 9)
    for epoch in (1, 2):
        short.keep(after(epoch))
    for epoch in (1, 2, 3, 4, 5):
        long.keep(after(epoch))
    assert same(of(root, 4).latest(), after(2))
    assert same(of(root, 9).latest(), after(5))
    long.finish()
    assert same(of(root, 4).latest(), after(2))


def _many(folder: Path, barrier: Any) -> None:
    run = States(folder, KEY, 30, extendable=True)
    barrier.wait()
    for epoch in range(1, 31):
        run.keep(after(epoch))
        state = run.latest()
        assert same(state, after(state.epoch if state else 0))
        assert state
        assert state.epoch >= epoch
    run.finish()


def test_equal_runs_at_once_do_not_disturb_each_other(root: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    runs = [context.Process(target=_many, args=(root / "training" / KEY, barrier)) for _ in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert same(of(root, 30).latest(), after(30))
    assert list((root / "tmp").iterdir()) == []


@pytest.mark.parametrize("step", ["savez", "fsync", "replace"])
def test_a_run_that_ends_while_it_writes_leaves_the_former_state(
    root: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    of(root).keep(after(1))

    def ended(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    owner: Any = {"savez": np, "fsync": os, "replace": Path}[step]
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, ended)
        with pytest.raises(KeyboardInterrupt):
            of(root).keep(after(2))
    assert same(of(root).latest(), after(1))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other", "pickled"])
def test_a_damaged_state_is_passed_over_with_a_warning(
    root: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    of(root, 9).keep(after(2))
    of(root).keep(after(3))
    (path,) = (root / "training" / KEY).glob("*-6-3.npz")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[content.index(after(3).variables[0].tobytes())] ^= 1
    elif damage == "empty":
        content = bytearray()
    path.write_bytes(content)
    if damage == "other":
        np.savez(path, text=np.array(json.dumps({"epoch": 3})))
    elif damage == "pickled":
        np.savez(path, text=np.array([{"epoch": 3}], dtype=object))
    assert same(of(root).latest(), after(2))
    assert path.name in capsys.readouterr().err
    assert not path.exists()


def test_a_disk_that_takes_nothing_is_warned_of_once_and_ends_no_run(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = of(root)
    run.keep(after(1))
    shutil.rmtree(root / "tmp")
    for epoch in (2, 3):
        run.keep(after(epoch))
    assert capsys.readouterr().err.count(KEY) == 1
    run.finish()
    assert same(of(root).latest(), after(1))


def test_without_a_cache_nothing_is_kept() -> None:
    run = States(None, KEY, 6, extendable=True)
    run.keep(after(1))
    assert run.latest() is None
    run.finish()


# What the key depends on


MACHINE = {"devices": ["a"], "versions": ["1"]}


def swept(**changed: Any) -> dict[str, Any]:
    return params.read_params(PARAMS) | changed


def key(shards: Path, values: dict[str, Any], machine: Any = None) -> str:
    """The key of the training that these params ask for."""
    section = params.choose(ModelParams, values, "model")
    given = params.choose(TrainParams, values, "train")
    run = params.choose(SweepParams, values, None)
    return states.of_run(run, resolve(given, section.name), section, machine or MACHINE, shards).key


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("dataset_info.json", "flairprep-fold0.tfrecord-00000-of-00001"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        *({name: value} for name, value in (("lr", 2e-4), ("batch_size", 8), ("seed", 1), ("val_fold", 1))),
        *({"train": {name: value}} for name, value in (("augment", "none"), ("patience", 5), ("monitor", "val_auc"))),
        *({"model": {name: value}} for name, value in (("dropout", 0.1), ("filters", [4]), ("name", "tutorial_cnn"))),
    ],
    ids=str,
)
def test_another_param_makes_another_training(shards: Path, changed: dict[str, Any]) -> None:
    values = swept()
    other = swept(**{n: {**values[n], **v} if isinstance(v, dict) else v for n, v in changed.items()})
    assert key(shards, other) != key(shards, values)


@pytest.mark.parametrize(("schedule", "extends"), [("constant", True), ("exponential", True), ("cosine", False)])
def test_more_epochs_are_the_same_training_where_they_change_no_rate(
    shards: Path, schedule: str, extends: bool
) -> None:
    train = {**swept()["train"], "schedule": schedule}
    assert (key(shards, swept(epochs=60, train=train)) == key(shards, swept(epochs=30, train=train))) == extends


def test_what_changes_no_step_makes_no_other_training(shards: Path) -> None:
    values = swept()
    given = {**values["train"], "tensorboard": True, "augment": "flip_shift"}  # the latter is the network's own
    assert key(shards, swept(train=given)) == key(shards, values)
    (shards / "cases.csv").write_text("of the cases that failed")
    assert key(shards, values) == key(shards, swept())


def test_other_data_another_machine_or_other_code_makes_another_training(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [key(shards, swept()), key(shards, swept(), {**MACHINE, "devices": ["b"]})]
    shutil.copytree(states.PACKAGE, tmp_path / "flairprep", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(states, "PACKAGE", tmp_path / "flairprep")
    assert key(shards, swept()) == keys[0]
    for name in ("network/training.py", "core/console.py", "stages/train.py", "stats/metrics.py", "runner/pool.py"):
        with (tmp_path / "flairprep" / name).open("a") as file:
            file.write("# edited\n")
        keys.append(key(shards, swept()))
    assert keys[-1] == keys[-2]  # an edit to runner trains nothing again
    (shards / "flairprep-fold0.tfrecord-00000-of-00001").write_text("other")
    keys.append(key(shards, swept()))
    assert len(set(keys)) == len(keys) - 1


def test_the_source_is_what_dvc_hashes() -> None:
    from ruamel.yaml import YAML

    deps = YAML(typ="safe").load(PARAMS.parents[1] / "dvc.yaml")["stages"]["train"]["deps"]
    assert {f"src/flairprep/{name}" for name in states.SOURCE} == {dep for dep in deps if dep.startswith("src/")}
