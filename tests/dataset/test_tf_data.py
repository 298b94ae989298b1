"""Reading gives back every case of the shards once and exactly, in an order that can be had again."""

from itertools import chain
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from records import write_fold

from flairprep.core.errors import FlairprepError
from flairprep.dataset import shards, tf_data

tf = tf_data.tf
SHAPE = (2, 3, 4, 1)
FOLDS = {0: 5, 1: 4, 3: 1}  # cases a fold; the numbers need not follow one another
PER_SHARD = 2


def cohort() -> dict[str, tuple[np.ndarray, int, int]]:
    """case_id -> image, label, fold; the values span what float16 can hold."""
    rng = np.random.default_rng(0)
    cases = {}
    for fold, count in FOLDS.items():
        for index in range(count):
            image = (rng.normal(size=SHAPE) * 10.0 ** rng.integers(-6, 4, SHAPE)).astype(np.float16)
            image.flat[:3] = 65504, -65504, 6e-8
            cases[f"{fold}{index:04d}ß"] = (image, int(rng.integers(2)), fold)
    return cases


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export")
    members = {fold: [(*case[:2], name) for name, case in cohort().items() if case[2] == fold] for fold in FOLDS}
    shards.write_info(out, [write_fold(out, fold, cases, PER_SHARD) for fold, cases in members.items()], SHAPE)
    return out


def names(dataset: Any) -> list[str]:
    return [element["case_id"].decode() for element in dataset.as_numpy_iterator()]


def check(elements: list[dict[str, Any]], expected: dict[str, tuple[np.ndarray, int, int]]) -> None:
    assert sorted(element["case_id"].decode() for element in elements) == sorted(expected)
    for element in elements:
        image, label, _ = expected[element["case_id"].decode()]
        assert element["image"].dtype == np.float16
        np.testing.assert_array_equal(element["image"], image)
        assert element["label"] == label


@pytest.mark.parametrize("folds", [None, [0], [3, 1]])
def test_reading_gives_back_every_case_of_the_folds_once_to_the_bit(folder: Path, folds: list[int] | None) -> None:
    dataset = tf_data.dataset(folder, folds)
    chosen = FOLDS if folds is None else folds
    expected = {name: case for name, case in cohort().items() if case[2] in chosen}
    assert dataset.cardinality() == len(expected)
    assert dataset.element_spec["image"].shape == SHAPE
    check(list(dataset.as_numpy_iterator()), expected)


def test_a_left_out_example_is_in_no_shard_and_in_no_count(tmp_path: Path) -> None:
    cases = [(np.zeros(SHAPE, np.float16), 1, str(index)) for index in range(5)]
    entry = write_fold(tmp_path, 0, [cases[0], None, None, None, cases[4]], 2)
    assert entry["shardLengths"] == ["1", "0", "1"]
    shards.write_info(tmp_path, [entry], SHAPE)
    assert tf_data.read_info(tmp_path).cases == {0: 2}
    assert names(tf_data.dataset(tmp_path)) == ["0", "4"]
    assert len(list(tmp_path.glob("*.tfrecord-*"))) == 3


def test_without_a_seed_the_order_is_that_of_the_folds_and_cases(folder: Path) -> None:
    dataset = tf_data.dataset(folder)
    assert names(dataset) == names(dataset) == list(cohort())
    assert names(tf_data.dataset(folder, [3, 0])) == [
        *(name for name in cohort() if name[0] == "3"),
        *(name for name in cohort() if name[0] == "0"),
    ]


def test_a_seed_shuffles_anew_in_every_epoch_and_alike_in_every_run(folder: Path) -> None:
    def epochs(seed: int) -> list[list[str]]:
        dataset = tf_data.dataset(folder, shuffle_seed=seed)
        return [names(dataset) for _ in range(3)]

    first = epochs(0)
    assert first == epochs(0)
    assert first != epochs(1)
    assert len({tuple(order) for order in first}) == 3
    for order in first:
        assert order != list(cohort())
        assert sorted(order) == sorted(cohort())


def test_an_unknown_fold_is_refused_with_those_that_there_are(folder: Path) -> None:
    with pytest.raises(FlairprepError, match=r"fold 2;.* 0, 1, 3$"):
        tf_data.dataset(folder, [0, 2])


@pytest.mark.parametrize("seed", [None, 0])
def test_a_damaged_record_is_named_with_its_file(folder: Path, seed: int | None, tmp_path: Path) -> None:
    copytree(folder, tmp_path / "copy")
    [shard, *_] = sorted((tmp_path / "copy").glob("*fold1*"))
    content = bytearray(shard.read_bytes())
    content[60] ^= 1
    shard.write_bytes(content)
    with pytest.raises(FlairprepError, match=rf"^{shard}: .*dvc repro -f export"):
        _read_all(tmp_path / "copy", seed)
    assert len(names(tf_data.dataset(tmp_path / "copy", [0, 3], shuffle_seed=seed))) == 6


@pytest.mark.parametrize("seed", [None, 0])
def test_a_shard_that_lacks_its_last_cases_is_refused(folder: Path, seed: int | None, tmp_path: Path) -> None:
    copytree(folder, tmp_path / "copy")
    [shard, *_] = sorted((tmp_path / "copy").glob("*fold1*"))
    last = shards.places(shard)[-1]
    shard.write_bytes(shard.read_bytes()[: last.start - shards.HEAD])
    with pytest.raises(FlairprepError, match=r"copy: fold 1 .* 3 .* 4; .*dvc repro -f export"):
        tf_data.dataset(tmp_path / "copy", shuffle_seed=seed)


def _read_all(directory: Path, seed: int | None) -> None:
    with tf_data.faults(directory):
        names(tf_data.dataset(directory, shuffle_seed=seed))


@pytest.mark.parametrize("kind", [tf.errors.DataLossError, tf.errors.InvalidArgumentError])
def test_an_error_that_is_not_of_a_record_stays_one(kind: Any, folder: Path) -> None:
    with pytest.raises(kind), tf_data.faults(folder):
        raise kind(None, None, "of something else")


def test_a_repeated_data_set_is_epoch_after_epoch(folder: Path) -> None:
    dataset = tf_data.dataset(folder, shuffle_seed=0)
    epochs = [names(dataset) for _ in range(3)]
    assert names(tf_data.dataset(folder, shuffle_seed=0).repeat(3)) == list(chain.from_iterable(epochs))
