"""training: schedules, augmentation and batches come as asked for, and a trial starts again from the same weights."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from exports import brain, write_export

from flairprep.dataset import tf_data
from flairprep.network import input_pipeline, model, training
from flairprep.sanity.trial import Trial, multiply_adds

EXPORT = Path("data/export")
LABELS = {0: "0110100", 1: "00101011", 2: "100010"}  # fold -> the labels of its cases


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an export of noise, to read from."""
    write_export(tmp_path, LABELS, lambda rng, label, _: brain(rng, label, 0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


# The schedules


@pytest.mark.parametrize("steps", [23_400, 100_000, 100_001])
def test_the_exponential_schedule_is_the_questions_and_is_warned_of_where_it_never_fires(
    steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = training.schedule("exponential", 1e-4, steps)
    assert isinstance(rate, keras.optimizers.schedules.ExponentialDecay)
    expected = [1e-4, 1e-4, 0.96e-4, 0.96e-4, 0.96**2 * 1e-4]
    assert [float(rate(step)) for step in (0, 99_999, 100_000, 199_999, 200_000)] == pytest.approx(expected, rel=1e-5)
    fires = float(rate(steps - 1)) < 0.99e-4  # at the last step of the run
    assert ("the rate stays constant" in capsys.readouterr().err) == (not fires)


def test_cosine_falls_to_zero_and_constant_stays(capsys: pytest.CaptureFixture[str]) -> None:
    rate = training.schedule("cosine", 1e-3, 40)
    assert [float(rate(step)) for step in (0, 20, 40)] == pytest.approx([1e-3, 0.5e-3, 0], abs=1e-9)
    assert training.schedule("constant", 1e-3, 40) == 1e-3
    assert capsys.readouterr().err == ""


# Augmentation


def numbered(edge: int = 20) -> np.ndarray:
    """Every voxel has its own value; the corner's is -4."""
    volume = np.arange(edge**3, dtype=np.float32).reshape(edge, edge, edge, 1)
    volume[0, 0, 0, 0] = -4
    return volume


def drawn(kind: str, count: int) -> list[np.ndarray]:
    volume = tf.constant(numbered())
    return [input_pipeline.augmented(volume, np.array([seed, 7]), kind).numpy() for seed in range(count)]


def moved(volume: np.ndarray, by: tuple[int, ...]) -> np.ndarray:
    """`volume` by as many voxels along z, y, x, with its corner's value where nothing came in."""
    found = np.full_like(volume, volume[0, 0, 0, 0])
    to = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in zip(by, volume.shape, strict=False))
    source = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in zip(by, volume.shape, strict=False))
    found[to] = volume[source]
    return found


def test_no_augmentation_leaves_the_volume() -> None:
    np.testing.assert_array_equal(drawn("none", 1)[0], numbered())


def test_a_flip_mirrors_left_and_right_alone_in_about_half_of_the_cases() -> None:
    volumes = drawn("flip", 60)
    mirrored = [bool((volume != numbered()).any()) for volume in volumes]
    for volume, flipped in zip(volumes, mirrored, strict=True):
        np.testing.assert_array_equal(volume, numbered()[:, :, ::-1] if flipped else numbered())
    np.testing.assert_array_equal(drawn("flip", 60), volumes)
    assert 15 < sum(mirrored) < 45


@pytest.mark.parametrize("kind", ["shift", "flip_shift"])
def test_a_shift_moves_by_up_to_6_voxels_each_way_and_fills_with_the_corner(kind: str) -> None:
    shifts, flips = [], []
    for volume in drawn(kind, 100):
        row = volume[10, 10, :, 0]
        flipped = bool(row[11] < row[10])
        start = numbered()[:, :, ::-1] if flipped else numbered()
        (was,) = np.argwhere(start[..., 0] == volume[10, 10, 10, 0])
        by = tuple(10 - was)
        np.testing.assert_array_equal(volume, moved(start, by))
        shifts.append(by)
        flips.append(flipped)
    for axis in range(3):
        assert {min(by[axis] for by in shifts), max(by[axis] for by in shifts)} == {-6, 6}
    assert np.abs(np.corrcoef(np.transpose(shifts)) - np.eye(3)).max() < 0.4
    assert any(flips) == (kind == "flip_shift")


# The batches


def batches(folds: list[int], seed: int, epochs: int, augment: str) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """`epochs` passes over the batches of a run with `seed`."""
    dataset = input_pipeline.training_batches(EXPORT, folds, augment, batch_size=4, seed=seed)
    return [list(dataset.as_numpy_iterator()) for _ in range(epochs)]


def flat(epoch: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
    return b"".join(images.tobytes() + labels.tobytes() for images, labels in epoch)


def test_an_epoch_has_every_training_case_once_with_its_label(project: Path) -> None:
    (epoch,) = batches([1, 2], 0, 1, "none")
    assert [len(labels) for _, labels in epoch] == [4, 4, 4, 2]
    pairs = (pair for batch in epoch for pair in zip(*batch, strict=True))
    found = sorted((image.tobytes(), int(label)) for image, label in pairs)
    expected = [
        (element["image"].tobytes(), int(element["label"]))
        for element in tf_data.dataset(EXPORT, [1, 2]).as_numpy_iterator()
    ]
    assert found == sorted(expected)


def test_whole_batches_leave_other_cases_out_in_every_epoch(project: Path) -> None:
    dataset = input_pipeline.training_batches(EXPORT, [1, 2], "none", batch_size=4, seed=0, whole=True)
    epochs = [list(dataset.as_numpy_iterator()) for _ in range(4)]
    assert [[len(labels) for _, labels in epoch] for epoch in epochs] == [[4, 4, 4]] * 4
    assert dataset.cardinality() == 3
    assert len({frozenset(image.tobytes() for images, _ in epoch for image in images) for epoch in epochs}) > 1


@pytest.mark.parametrize("augment", ["none", "flip_shift"])
def test_batches_come_again_with_the_seed_and_differ_between_epochs_and_seeds(project: Path, augment: str) -> None:
    first = [flat(epoch) for epoch in batches([1, 2], 5, 3, augment)]
    assert first == [flat(epoch) for epoch in batches([1, 2], 5, 3, augment)]
    assert len({*first, *(flat(epoch) for epoch in batches([1, 2], 6, 3, augment))}) == 6


def test_a_case_is_augmented_anew_in_every_epoch_and_with_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_export(tmp_path, {0: "1"}, lambda rng, label, _: brain(rng, label, 0))
    monkeypatch.chdir(tmp_path)
    first = [flat(epoch) for epoch in batches([0], 0, 5, "shift")]
    assert len(set(first)) > 1
    assert first != [flat(epoch) for epoch in batches([0], 1, 5, "shift")]


# The devices


@pytest.mark.parametrize(
    ("there", "batch_size", "cases", "used"),
    [(1, 4, 99, 1), (2, 4, 99, 2), (2, 3, 99, 1), (4, 6, 99, 3), (8, 4, 4, 4), (2, 4, 3, 1), (2, 1, 99, 1)],
)
def test_as_many_devices_are_used_as_share_a_batch_evenly(
    there: int, batch_size: int, cases: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them a strategy takes; the strategy itself runs in a process of its own above."""
    found = [tf.config.LogicalDevice(f"/device:GPU:{index}", "GPU") for index in range(there)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: found if kind == "GPU" else [])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", list)
    strategy = training.devices(batch_size, cases)
    single = strategy is tf.distribute.get_strategy()
    assert single == (used == 1)
    assert single or strategy == [device.name for device in found[:used]]


# A trial


def network(**changed: Any) -> keras.Model:
    """A small network of one block, compiled."""
    given: dict[str, Any] = {
        **dict.fromkeys(model.ModelParams.model_fields),
        "name": "resnet3d",
        "filters": [4],
        "dropout": 0.2,
        **changed,
    }
    return training.compiled(model.ModelParams(**given), (8, 12, 12, 1), prior=0.25, rate=1e-2)


def batch(size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(size, 8, 12, 12, 1)).astype(np.float16), np.arange(size) % 2


def test_a_trial_starts_again_from_the_same_weights_dropout_and_optimizer() -> None:
    trial = Trial(network, 3)
    start = trial.weights()
    runs = []
    for _ in range(2):
        trial.reset()
        runs.append([trial.step(*batch(), 1e-2)[0] for _ in range(5)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 5
    trial.reset()
    for path, weights in trial.weights().items():
        np.testing.assert_array_equal(weights, start[path])


def test_a_step_of_a_trial_is_a_step_of_keras() -> None:
    images, labels = batch()
    trial = Trial(lambda: network(dropout=0.0), 3)
    training.seeded(3)
    reference = network(dropout=0.0)
    for _ in range(3):
        y_prob = np.asarray(reference(images.astype(np.float32), training=False))[:, 0]
        np.testing.assert_allclose(trial.probabilities(images), y_prob, atol=1e-6)
        loss, _ = trial.step(images, labels, 1e-2)
        assert loss == pytest.approx(reference.train_on_batch(images, labels[:, None])[0], rel=1e-5)
    for mine, theirs in zip(trial.network.weights, reference.weights, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-5)


def test_the_rate_of_a_step_is_the_one_given() -> None:
    trial = Trial(network, 0)
    before = trial.weights()
    trial.step(*batch(), 0.0)
    assert all(np.array_equal(before[path], weights) for path, weights in trial.weights().items())
    trial.step(*batch(), 1e-3)
    largest = max(np.abs(before[path] - weights).max() for path, weights in trial.weights().items())
    assert 1e-4 < largest < 1.5e-3  # a step of Adam is about as long as its rate


def test_the_weights_of_a_trial_are_without_averages_and_seeds() -> None:
    paths = Trial(network, 0).weights()
    assert sum("gamma" in path for path in paths) == 3  # two convolutions and the projection of the shortcut
    assert not [path for path in paths if "moving" in path or "seed" in path]


def test_cases_are_coupled_where_the_network_mixes_a_batch() -> None:
    def mixing() -> keras.Model:
        plain = network()
        mixed = keras.layers.Lambda(lambda y: y - 0.1 * keras.ops.mean(y, axis=0, keepdims=True))(plain.output)
        whole = keras.Model(plain.input, mixed)
        whole.compile(keras.optimizers.Adam(1e-2), loss="binary_crossentropy", jit_compile=False)
        return whole

    assert Trial(network, 0).coupling(batch()[0]) == 0
    assert Trial(mixing, 0).coupling(batch()[0]) > 0


def test_multiply_adds_are_those_of_the_convolutions_and_dense_layers() -> None:
    """By hand: halved to 4 x 6 x 6, then to 2 x 3 x 3 by the first convolution."""
    expected = 18 * (27 * 1 * 4 + 27 * 4 * 4 + 1 * 4) + 8 * 1
    assert multiply_adds(network()) == expected
