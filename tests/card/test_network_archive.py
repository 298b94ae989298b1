"""Layers and numbers of a saved network, read without tensorflow."""

from pathlib import Path

import finished_run
import pytest

from flairprep.card import network_archive
from flairprep.core.errors import FlairprepError


@pytest.mark.parametrize("members", [1, 3])
def test_one_member_is_counted_and_no_optimizer(members: int, tmp_path: Path) -> None:
    finished_run.write_network(tmp_path / "model.keras", members)
    archive = network_archive.read(tmp_path / "model.keras")
    assert archive.members == members
    assert (archive.parameters, archive.all_parameters) == (118, 118 * members)
    assert archive.layers == {"Conv3D": 2, "Dense": 1, "InputLayer": 1, "ReLU": 2}
    assert archive.input_shape == (8, 16, 16, 1)
    assert archive.keras == "3.99.0"


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(FlairprepError, match=r"model.keras: .*dvc checkout"):
        network_archive.read(tmp_path / "model.keras")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet3d", "tutorial_cnn"])
def test_the_numbers_are_those_that_keras_counts(name: str, tmp_path: Path) -> None:
    from flairprep.network import ensemble, model, saving

    given = {"filters": (2, 3)} if name == "resnet3d" else {"filters": (2,), "dense": 4}
    fields = dict.fromkeys(model.ModelParams.model_fields) | {"name": name} | given
    network = model.build(model.ModelParams(**fields), (16, 16, 16, 1))
    last = ensemble.LastEpochs()
    last.set_model(network)
    for epoch in range(2):
        last.on_epoch_end(epoch)
    saving.save(last.mean(), tmp_path / "model.keras")
    archive = network_archive.read(tmp_path / "model.keras")
    assert archive.members == 2
    assert archive.parameters == network.count_params()
    assert sum(archive.layers.values()) == len(network.layers)
