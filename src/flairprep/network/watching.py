"""Show a training while it runs: history.csv, TensorBoard's log and a bar, renewed after every epoch."""

import flairprep.dataset.tf_setup  # noqa: F401, I001  (before tensorflow)
import os
import signal
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import pandas as pd
import tensorflow as tf

from flairprep.core import console
from flairprep.core.tables import write_csv
from flairprep.network.recorder import Recorder
from flairprep.network.train_config import SweepParams

BOARD = "tensorboard"  # TensorBoard's folder in the project, which git ignores
# As Keras's own callback names them, so that a measure's curves of both parts lie in one chart.
TAGS = {
    **{name: ("train", f"epoch_{name}") for name in ("loss", "accuracy", "accuracy_inference", "learning_rate")},
    **{f"val_{name}": ("validation", f"epoch_{name}") for name in ("loss", "accuracy", "auc")},
    "nir": ("validation", "epoch_nir"),
}


class History(keras.callbacks.Callback):
    """Write history.csv into `folder` after every epoch, whole; at the start with the epochs that are over."""

    def __init__(self, recorder: Recorder, folder: Path) -> None:
        super().__init__()
        self.recorder, self.path = recorder, folder / "history.csv"

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Write the epochs before a resumption; Keras calls it."""
        if self.recorder.logs:
            self.on_epoch_end(0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write all epochs; Keras calls it. Nothing but a look depends on them, so a fault does not end the run."""
        with suppress(OSError):
            write_csv(self.path, pd.DataFrame(self.recorder.history))


class Bar(keras.callbacks.Callback):
    """Show a bar within the epoch, with the time left, on a terminal; nothing where standard error is a pipe."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs
        self._steps: Generator[int, None, None] | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Begin a bar; Keras calls it."""
        steps, label = self.params["steps"], f"train: epoch {epoch + 1} of {self.epochs}"
        self._steps = console.progress(range(steps + 1), steps, label, "step", lines=False)
        next(self._steps)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Advance it; Keras calls it. The bar ends with the last step, before the epoch's line is printed."""
        if self._steps and next(self._steps, None) == self.params["steps"]:
            self._steps.close()


class Parent(keras.callbacks.Callback):
    """End a run that DVC started and that DVC, killed, no longer waits for: the next one would share its folder."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Look for the parent; Keras calls it.

        Raises:
            Interrupted: it is gone.
        """
        if "DVC_STAGE" in os.environ and os.getppid() != console.PARENT:
            raise console.Interrupted("", 128 + signal.SIGHUP)


class Board(keras.callbacks.Callback):
    """Write TensorBoard's event files into `folder`: train/ and validation/, a value per epoch.

    They are written anew at the start, with the epochs before a resumption, so that no epoch is there twice. tf.summary
    writes them without the package tensorboard, which only looking at them needs.
    """

    def __init__(self, recorder: Recorder, folder: Path) -> None:
        super().__init__()
        self.recorder, self.folder = recorder, folder
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin the files; Keras calls it."""
        for part in ("train", "validation"):
            for former in (self.folder / part).glob("events.out.tfevents.*"):
                former.unlink(missing_ok=True)
            self._writers[part] = tf.summary.create_file_writer(str(self.folder / part))
        for epoch, former_logs in enumerate(self.recorder.logs):
            self.on_epoch_end(epoch, former_logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the epoch's values to the disk; Keras calls it."""
        scalars = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        metadata = tf.compat.v1.SummaryMetadata(plugin_data=scalars)
        for name, value in (logs or {}).items():
            part, tag = TAGS[name]
            with self._writers[part].as_default():
                tf.summary.write(tag, tf.constant(value, tf.float32), step=epoch + 1, metadata=metadata)
        for writer in self._writers.values():
            writer.flush()


def of_run(recorder: Recorder, folder: Path, run: SweepParams, board: str) -> list[keras.callbacks.Callback]:
    """Return what shows a run: history.csv in `folder`, a bar, and TensorBoard's log where `board`, its name, is given.

    A queued run works in a copy of the project that DVC removes in the end: the log goes to the project itself, whose
    root DVC names in DVC_ROOT.
    """
    watchers = [History(recorder, folder), Bar(run.epochs), Parent()]
    if board:
        name = f"lr={run.lr:g},batch_size={run.batch_size},val_fold={run.val_fold},seed={run.seed},{board[:8]}"
        watchers.append(Board(recorder, Path(os.environ.get("DVC_ROOT", ".")) / BOARD / name))
    return watchers
