"""saving: the archive holds the network, and nothing of when and where it was written."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from flairprep.network import model, saving, training

pytestmark = pytest.mark.slow

SHAPE = (8, 12, 12, 1)
TRAIN = """
import sys
from pathlib import Path
import numpy as np
from flairprep.network import model, saving, training
training.seeded(int(sys.argv[1]))
given = {**dict.fromkeys(model.ModelParams.model_fields), "name": "resnet3d", "filters": [4], "dropout": 0.2}
rate = training.schedule("cosine", 1e-2, 4)
network = training.compiled(model.ModelParams(**given), (8, 12, 12, 1), prior=0.5, rate=rate)
images = np.random.default_rng(0).normal(size=(4, 8, 12, 12, 1)).astype(np.float32)
network.fit(images, np.array([0, 1, 0, 1]), batch_size=2, epochs=2, verbose=0)
saving.save(network, Path(sys.argv[2]))
"""


def trained(path: Path, seed: int) -> bytes:
    """What a process of its own saves after it trained with `seed`; its hashes and addresses are its own too."""
    environment = {**os.environ, "PYTHONHASHSEED": str(len(path.name))}
    command = [sys.executable, "-c", TRAIN, str(seed), str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return path.read_bytes()


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """A small network after two steps, with the optimizer's averages in it."""
    training.seeded(0)
    given: dict[str, Any] = {**dict.fromkeys(model.ModelParams.model_fields), "name": "resnet3d", "filters": [4, 4]}
    network = training.compiled(model.ModelParams(**given), SHAPE, prior=0.25, rate=1e-2)
    network.fit(images(), np.array([0, 1, 0, 1]), batch_size=2, verbose=0)
    return network


def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, *SHAPE)).astype(np.float32)


def test_two_trainings_with_one_seed_give_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    first, second = trained(tmp_path / "a.keras", 3), trained(tmp_path / "again.keras", 3)
    assert first == second
    assert trained(tmp_path / "other.keras", 4) != first


def test_loading_gives_the_weights_the_predictions_and_the_optimizer(network: keras.Model, tmp_path: Path) -> None:
    saving.save(network, tmp_path / "model.keras")
    network.save(tmp_path / "by_keras.keras")
    for name in ("model.keras", "by_keras.keras"):
        loaded = keras.models.load_model(tmp_path / name)
        for mine, theirs in (
            *zip(network.weights, loaded.weights, strict=True),
            *zip(network.optimizer.variables, loaded.optimizer.variables, strict=True),
        ):
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
        np.testing.assert_array_equal(network(images(), training=False), loaded(images(), training=False))


def test_the_archive_holds_what_keras_wrote_without_times_and_addresses(network: keras.Model, tmp_path: Path) -> None:
    saving.save(network, tmp_path / "model.keras")
    network.save(tmp_path / "by_keras.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as ours, zipfile.ZipFile(tmp_path / "by_keras.keras") as theirs:
        assert ours.namelist() == sorted(theirs.namelist())
        assert {entry.date_time for entry in ours.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert ours.read("model.weights.h5") == theirs.read("model.weights.h5")
        metadata, as_written = (json.loads(archive.read("metadata.json")) for archive in (ours, theirs))
        assert metadata == {**as_written, "date_saved": saving.SAVED}
        assert list(metadata) == list(as_written)
        config, with_addresses = (archive.read("config.json").decode() for archive in (ours, theirs))
    shared = r'(?<="shared_object_id": )\d+'
    addresses = [*dict.fromkeys(re.findall(shared, with_addresses))]  # of what layers share, as they first occur
    assert addresses
    assert re.sub(shared, lambda found: str(addresses.index(found[0]) + 1), with_addresses) == config


@pytest.mark.parametrize("fails", ["save", "writestr"])
def test_a_save_that_fails_leaves_the_former_file_and_nothing_else(
    network: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    path = tmp_path / "model.keras"
    path.write_text("former")
    monkeypatch.setattr(*((keras.Model, "save") if fails == "save" else (zipfile.ZipFile, "writestr")), full)
    with pytest.raises(OSError, match="No space left"):
        saving.save(network, path)
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_save_left_behind_is_removed(network: keras.Model, tmp_path: Path) -> None:
    for left in (".model.keras.1.partial", ".model.keras.1.partial.keras"):
        (tmp_path / left).write_text("half")
    saving.save(network, tmp_path / "model.keras")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
