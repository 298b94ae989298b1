"""Keep the state of a training after every epoch, so that a run that was ended goes on from there with the same bytes.

FLAIRPREP_CACHE/v1/training/KEY holds the states of the trainings that KEY stands for, which differ in nothing but
`epochs`: running-TARGET-EPOCH.npz of a run to TARGET epochs, and final-EPOCH.npz of a finished one. A state is written
under another name, synced and renamed. Equal runs write equal states, so several may at once; the folder may be
damaged or removed at any time, which costs epochs and never a byte of an out.
"""

import hashlib
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flairprep.core.files import sync
from flairprep.core.user_cache import open_folder
from flairprep.network.model_config import ModelParams
from flairprep.network.train_config import SweepParams, TrainConfig

logger = logging.getLogger(__name__)

Array = npt.NDArray[Any]
PACKAGE = Path(__file__).resolve().parents[1]
# What dvc.yaml names as the source of train: an edit there starts anew.
SOURCE = ("core", "dataset", "network", "stages/train.py", "stats/metrics.py")
LOOKS = 5
READERS = 4  # threads that hash shards


@dataclass(frozen=True)
class State:
    """What a training holds after an epoch.

    epoch: how many have ended. logs: of each epoch, with every digit. y_prob: (epoch, n_validation_cases). kept: the
    weights of the last epochs, by epoch. variables: those of the network (with the states of its random generators)
    and of the optimizer.
    """

    epoch: int
    logs: Sequence[dict[str, float]]
    y_prob: Array
    kept: Sequence[tuple[int, Sequence[Array]]]
    variables: Sequence[Array]

    def save(self, path: Path, temporary: Path) -> None:
        """Write the state to `path`, whole or not at all, by way of the folder `temporary` on the same disk.

        A name of its own there: another process may write the same state.

        Raises:
            OSError: it cannot be written.
        """
        arrays: dict[str, Any] = {f"variable_{index}": value for index, value in enumerate(self.variables)}
        for epoch, weights in self.kept:
            arrays |= {f"kept_{epoch}_{index}": value for index, value in enumerate(weights)}
        sizes = {"variables": len(self.variables), "kept": [[epoch, len(weights)] for epoch, weights in self.kept]}
        text = json.dumps({"epoch": self.epoch, "logs": list(self.logs), **sizes})
        with tempfile.NamedTemporaryFile(dir=temporary, suffix=".npz", delete=False) as file:
            try:
                np.savez(file, text=np.array(text), y_prob=self.y_prob, **arrays)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            finally:
                Path(file.name).unlink(missing_ok=True)
        sync(path.parent)

    @classmethod
    def load(cls, path: Path) -> "State":
        """Read a state.

        Raises:
            OSError: no such file.
            ValueError: it is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                head = json.loads(str(arrays["text"]))
                kept = [(e, [arrays[f"kept_{e}_{index}"] for index in range(count)]) for e, count in head["kept"]]
                variables = [arrays[f"variable_{index}"] for index in range(head["variables"])]
                return cls(head["epoch"], head["logs"], arrays["y_prob"], kept, variables)
        except (KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: damaged") from error


class States:
    """The states of one training.

    Args:
        folder: of all trainings with this key; None where there is no cache, and nothing is kept.
        key: of the training, in hex.
        target: epochs of this run.
        extendable: whether a run with more epochs begins with the epochs of this one; its last state stays then.
    """

    def __init__(self, folder: Path | None, key: str, target: int, *, extendable: bool) -> None:
        self.folder, self.key, self.target, self.extendable = folder, key, target, extendable

    def latest(self) -> State | None:
        """Return the last whole state of at most `target` epochs, of this run or one with another target."""
        for _ in range(LOOKS):  # while another run puts a later state in the place of the one found, or of them all
            found = sorted(((epoch, path) for path, epoch in self._states() if epoch <= self.target), reverse=True)
            with suppress(FileNotFoundError):
                if state := self._first_whole([path for _, path in found]):
                    return state
        return None

    def _first_whole(self, paths: Sequence[Path]) -> State | None:
        for path in paths:
            try:
                state = State.load(path)
                os.utime(path)  # when it was last used, by which `flairprep cache prune` goes
            except FileNotFoundError:
                raise
            except (OSError, ValueError) as error:
                logger.warning(f"train: {path}: cannot be read ({error}); training begins further back")
                path.unlink(missing_ok=True)
            else:
                return state
        return None

    def keep(self, state: State) -> None:
        """Keep `state` in place of this run's former one; a fault is warned of once, and costs epochs at most."""
        if self.folder is None:
            return
        path = self.folder / f"{self._prefix}{state.epoch}.npz"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                state.save(path, self.folder.parents[1] / "tmp")
            self._remove(before=state.epoch)
        except OSError as error:
            logger.warning(
                f"train: {self.folder}: the training's state cannot be kept ({error.strerror}); an interrupted run "
                f"will begin at epoch {self._reached() + 1}"
            )
            self.folder = None

    def finish(self) -> None:
        """Keep the last state for a run with more epochs, where `extendable`; remove all others of this run."""
        if self.folder is None:
            return
        with suppress(OSError):  # also where the folder is not empty
            mine = [(epoch, path) for path, epoch in self._states() if path.name.startswith(self._prefix)]
            if mine and self.extendable:
                epoch, path = max(mine)
                path.replace(self.folder / f"final-{epoch}.npz")
            self._remove()
            self.folder.rmdir()

    def remedy(self) -> str:
        """Return how a run that was ended goes on, as one line."""
        if epoch := self._reached():
            return f"train: interrupted; the next run with these params, code and data goes on after epoch {epoch}"
        return "train: interrupted; nothing is kept, the next run begins at epoch 1"

    def _reached(self) -> int:
        return max((epoch for _, epoch in self._states() if epoch <= self.target), default=0)

    @property
    def _prefix(self) -> str:
        return f"running-{self.target}-"

    def _states(self) -> Iterator[tuple[Path, int]]:
        for path in self.folder.glob("*.npz") if self.folder else ():
            with suppress(ValueError):
                yield path, int(path.stem.rpartition("-")[2])

    def _remove(self, before: int | None = None) -> None:
        for path, epoch in self._states():
            if path.name.startswith(self._prefix) and (before is None or epoch < before):
                path.unlink(missing_ok=True)


def of_run(run: SweepParams, config: TrainConfig, section: ModelParams, machine: Any, shards: Path) -> States:
    """Return the states of the training that these params ask for; see `key_of` for machine and shards.

    None are kept where the cache is off, or, after a warning, where it cannot be used.
    """
    extendable = config.schedule != "cosine"  # whose rate at a step depends on the number of epochs
    swept = run.model_dump(exclude={"epochs"} if extendable else set())
    key = key_of([swept, config.model_dump(), section.model_dump()], machine, shards)
    root = None
    try:
        root = open_folder()
    except OSError as error:
        logger.warning(f"train: no cache ({error.strerror}): an interrupted run will begin at epoch 1")
    return States(root / "training" / key if root else None, key, run.epochs, extendable=extendable)


def key_of(settings: Any, machine: Any, shards: Path) -> str:
    """Return the name of the trainings with equal `settings`, code, data and `machine`, in hex.

    settings: as JSON, without `epochs` where they change no step. machine: what rounds sums in another way, as JSON.
    shards: the exported folder.
    """
    files = [path for path in sorted(shards.iterdir()) if path.name != "cases.csv"]
    with ThreadPoolExecutor(READERS) as threads:
        data = dict(zip((path.name for path in files), threads.map(_sha256, files), strict=True))
    text = json.dumps([settings, machine, _source(), data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _source() -> dict[str, str]:
    """Return the SHA-256 of each source file that enters a training."""
    paths = [PACKAGE / name for name in SOURCE]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))]
    return {str(file.relative_to(PACKAGE)): _sha256(file) for file in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
