"""watching: what people look at while a training runs has every epoch once, with the values of the run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import tensorflow as tf

from flairprep.core import console
from flairprep.network import watching
from flairprep.network.recorder import Recorder


def logs(epoch: int) -> dict[str, float]:
    """The measures of an epoch, each another value."""
    return {name: index + epoch / 7 for index, name in enumerate(watching.TAGS)}


@pytest.fixture
def recorder() -> Recorder:
    nobody: Any = SimpleNamespace()
    return Recorder(nobody, nobody, nobody, 3)


def passed(recorder: Recorder, watcher: Any, epochs: range) -> None:
    watcher.on_train_begin()
    for epoch in epochs:
        recorder.logs.append(logs(epoch))
        watcher.on_epoch_end(epoch, logs(epoch))


def events(folder: Path) -> list[tuple[str, str, int, float]]:
    """Part, tag, step and value of each scalar in the event files below `folder`."""
    found = []
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                number = float(tf.make_ndarray(value.tensor))
                found.append((path.parent.name, value.tag, event.step, number))
    return found


def test_history_holds_all_epochs_after_each_and_at_once_where_a_run_goes_on(
    recorder: Recorder, tmp_path: Path
) -> None:
    watcher = watching.History(recorder, tmp_path / "data/train")
    watcher.on_train_begin()
    assert not watcher.path.exists()
    for epoch in range(3):
        recorder.logs.append(logs(epoch))
        watcher.on_epoch_end(epoch, {})
        table = pd.read_csv(watcher.path)
        assert list(table["epoch"]) == list(range(1, epoch + 2))
        assert table["val_auc"].iloc[-1] == pytest.approx(logs(epoch)["val_auc"], rel=1e-5)
    again = watching.History(recorder, tmp_path / "again")
    again.on_train_begin()
    assert again.path.read_bytes() == watcher.path.read_bytes()


def test_the_board_is_on_the_disk_after_each_epoch(recorder: Recorder, tmp_path: Path) -> None:
    watcher = watching.Board(recorder, tmp_path)
    watcher.on_train_begin()
    for epoch in range(3):
        watcher.on_epoch_end(epoch, logs(epoch))
        assert {step for _, _, step, _ in events(tmp_path)} == set(range(1, epoch + 2))


def test_the_board_of_a_run_that_goes_on_has_every_epoch_once(recorder: Recorder, tmp_path: Path) -> None:
    passed(recorder, watching.Board(recorder, tmp_path), range(2))
    recorder.logs = recorder.logs[:1]  # ended before the second epoch was kept
    passed(recorder, watching.Board(recorder, tmp_path), range(1, 3))
    found = events(tmp_path)
    assert len(found) == 3 * len(watching.TAGS)
    values = {(part, tag, step): value for part, tag, step, value in found}
    for epoch in range(3):
        for name, value in logs(epoch).items():
            assert values[(*watching.TAGS[name], epoch + 1)] == pytest.approx(value)


def test_the_board_of_a_queued_run_outlives_its_folder(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Any = SimpleNamespace(lr=1e-5, batch_size=4, val_fold=0, seed=0, epochs=3)
    (tmp_path / "queued").mkdir()
    monkeypatch.chdir(tmp_path / "queued")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    *_, board = watching.of_run(recorder, Path("data/train"), run, "0123456789abcdef")
    passed(recorder, board, range(1))
    assert len(events(tmp_path / "tensorboard")) == len(watching.TAGS)
    assert not any(isinstance(w, watching.Board) for w in watching.of_run(recorder, Path("data/train"), run, ""))


def stepped(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How far the bars of two epochs of three steps came."""
    reached: list[int] = []

    def bar(items: Any, total: int, label: str, unit: str) -> Any:
        for item in items:
            yield item
            reached.append(item)
        reached.append(-total)  # the end of the bar

    monkeypatch.setattr(console, "is_terminal", lambda: terminal)
    monkeypatch.setattr(console, "_bar", bar)
    watcher = watching.Bar(2)
    watcher.set_params({"steps": 3})
    for epoch in range(2):
        watcher.on_epoch_begin(epoch)
        for batch in range(3):
            watcher.on_train_batch_end(batch)
    return reached


def test_a_bar_goes_through_the_steps_of_each_epoch_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stepped(False, monkeypatch) == []
    assert capsys.readouterr() == ("", "")
    assert [step for step in stepped(True, monkeypatch) if step >= 0] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(("by_dvc", "gone", "ends"), [(True, True, True), (True, False, False), (False, True, False)])
def test_a_run_whose_dvc_is_gone_ends(by_dvc: bool, gone: bool, ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if by_dvc:
        monkeypatch.setenv("DVC_STAGE", "train")
    else:
        monkeypatch.delenv("DVC_STAGE", raising=False)
    if gone:
        monkeypatch.setattr(console, "PARENT", -1)
    ended = False
    try:
        watching.Parent().on_train_batch_end(0)
    except console.Interrupted:
        ended = True
    assert ended == ends
