"""input_pipeline: cases, augmentation and batches come as asked for, and again with the same seed."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from exports import brain, write_export

from flairprep.dataset import tf_data
from flairprep.network import input_pipeline, train_config

EXPORT = Path("data/export")


LABELS = {0: "0110100", 1: "00101011", 2: "100010"}  # fold -> the labels of its cases


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an export of noise, to read from."""
    write_export(tmp_path, LABELS, lambda rng, label, _: brain(rng, label, 0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
    shifted = np.full_like(volume, volume[0, 0, 0, 0])
    to = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in zip(by, volume.shape, strict=False))
    source = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in zip(by, volume.shape, strict=False))
    shifted[to] = volume[source]
    return shifted


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


def drawn_batches(
    folds: list[int], seed: int, epochs: int, augment: str, *, hold: bool = False
) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """`epochs` passes over the batches of a run with `seed`."""
    cases = input_pipeline.Cases(EXPORT, folds, 4, hold=hold)
    batches = input_pipeline.training_batches(cases.at, len(cases.labels), augment, batch_size=4, seed=seed)
    return [list(batches(epoch).as_numpy_iterator()) for epoch in range(epochs)]


def flat(epoch: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
    return b"".join(images.tobytes() + labels.tobytes() for images, labels in epoch)


def test_an_epoch_has_every_training_case_once_with_its_label(project: Path) -> None:
    (epoch,) = drawn_batches([1, 2], 0, 1, "none")
    assert [len(labels) for _, labels in epoch] == [4, 4, 4, 2]
    pairs = (pair for batch in epoch for pair in zip(*batch, strict=True))
    in_epoch = sorted((image.tobytes(), int(label)) for image, label in pairs)
    expected = [
        (element["image"].tobytes(), int(element["label"]))
        for element in tf_data.dataset(EXPORT, [1, 2]).as_numpy_iterator()
    ]
    assert in_epoch == sorted(expected)


def test_whole_batches_leave_other_cases_out_in_every_epoch(project: Path) -> None:
    cases = input_pipeline.Cases(EXPORT, [1, 2], 4, hold=False)
    batches = input_pipeline.training_batches(cases.at, len(cases.labels), "none", batch_size=4, seed=0, whole=True)
    epochs = [list(batches(epoch).as_numpy_iterator()) for epoch in range(4)]
    assert [[len(labels) for _, labels in epoch] for epoch in epochs] == [[4, 4, 4]] * 4
    assert batches(0).cardinality() == 3
    assert len({frozenset(image.tobytes() for images, _ in epoch for image in images) for epoch in epochs}) > 1


@pytest.mark.parametrize("augment", ["none", "flip_shift"])
def test_batches_come_again_with_the_seed_and_differ_between_epochs_and_seeds(project: Path, augment: str) -> None:
    first = [flat(epoch) for epoch in drawn_batches([1, 2], 5, 3, augment)]
    assert first == [flat(epoch) for epoch in drawn_batches([1, 2], 5, 3, augment)]
    assert len({*first, *(flat(epoch) for epoch in drawn_batches([1, 2], 6, 3, augment))}) == 6


def test_a_case_is_augmented_anew_in_every_epoch_and_with_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_export(tmp_path, {0: "1"}, lambda rng, label, _: brain(rng, label, 0))
    monkeypatch.chdir(tmp_path)
    first = [flat(epoch) for epoch in drawn_batches([0], 0, 5, "shift")]
    assert len(set(first)) > 1
    assert first != [flat(epoch) for epoch in drawn_batches([0], 1, 5, "shift")]


# The cases


@pytest.mark.parametrize("augment", ["none", "flip_shift"])
def test_cases_in_memory_are_those_of_the_shards_to_the_bit(
    project: Path, augment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = [flat(epoch) for epoch in drawn_batches([1, 2], 5, 2, augment)]
    images = input_pipeline.Cases(EXPORT, [1, 2], 4, hold=False)
    kept = input_pipeline.Cases(EXPORT, [1, 2], 4, hold=True)
    assert (kept.case_ids, list(kept.labels)) == (images.case_ids, list(images.labels))
    for one, other in zip(kept.images, images.images, strict=True):
        np.testing.assert_array_equal(one, other)
    held = drawn_batches([1, 2], 5, 1, augment, hold=True)
    for shard in EXPORT.glob("*.tfrecord*"):
        shard.rename(shard.with_name("away"))  # nothing is read again
    assert flat(list(kept.images.map(lambda image: (image, 0)).as_numpy_iterator())) != b""
    assert flat(held[0]) == read[0]


def test_cases_that_take_too_much_of_the_memory_are_read_each_time(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(element["image"].nbytes for element in tf_data.dataset(EXPORT, [1]).as_numpy_iterator())

    def reads_again(free: float) -> bool:
        monkeypatch.setattr(input_pipeline.memory, "available", lambda: free)
        loaded: list[object] = []
        held = tf_data.held
        with monkeypatch.context() as patch:
            patch.setattr(tf_data, "held", lambda elements: loaded.append(elements) or held(elements))
            input_pipeline.Cases(EXPORT, [1], 4, hold=True)
        return not loaded

    assert not reads_again(size / input_pipeline.SHARE)
    assert reads_again(size / input_pipeline.SHARE - 1)


def test_parts_hold_every_case_once_with_its_own_label_and_image(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(input_pipeline, "INFERRED", 8)
    cases = input_pipeline.Cases(EXPORT, [0, 1, 2], 4)
    parts = cases.parts()
    assert sorted(case_id for part in parts for case_id in part.case_ids) == sorted(cases.case_ids)
    expected = {element["case_id"].decode(): element for element in tf_data.dataset(EXPORT).as_numpy_iterator()}
    for part in parts:
        images = np.concatenate(list(part.images.as_numpy_iterator()))
        for case_id, label, image in zip(part.case_ids, part.labels, images, strict=True):
            assert label == expected[case_id]["label"]
            np.testing.assert_array_equal(image, expected[case_id]["image"].astype(np.float32))


@pytest.mark.parametrize(("cases", "parts"), [(1, 1), (64, 1), (65, 2), (160, 3), (468, 8)])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 1])
def test_parts_are_alike_in_size_and_labels_and_the_same_each_time(cases: int, parts: int, share: float) -> None:
    labels = (np.arange(cases) < share * cases).astype(int)
    dealt = input_pipeline.dealt(labels, 64)
    assert len(dealt) == parts
    assert sorted(np.concatenate(dealt)) == list(range(cases))
    assert max(map(len, dealt)) <= 64
    assert np.ptp([len(ranks) for ranks in dealt]) <= 1
    assert np.ptp([labels[ranks].sum() for ranks in dealt]) <= 1
    for ranks, again in zip(dealt, input_pipeline.dealt(labels, 64), strict=True):
        np.testing.assert_array_equal(ranks, again)
    in_three_epochs = len({rank for ranks in dealt[:3] for rank in ranks})
    assert abs(train_config.inferred(cases) - in_three_epochs) <= 1
