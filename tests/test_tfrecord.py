"""The shards hold every case once and exactly, in an order that can be had again; tensorflow_datasets reads them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from flairprep import tfrecord
from flairprep.errors import FlairprepError

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
    splits = []
    for fold, count in FOLDS.items():
        members = (tfrecord.encode(image, label, name) for name, (image, label, of) in cohort().items() if of == fold)
        splits.append(tfrecord.write_fold(out, fold, members, count, PER_SHARD))
    tfrecord.write_info(out, splits, SHAPE)
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
    dataset = tfrecord.dataset(folder, folds)
    chosen = FOLDS if folds is None else folds
    expected = {name: case for name, case in cohort().items() if case[2] in chosen}
    assert dataset.cardinality() == len(expected)
    assert dataset.element_spec["image"].shape == SHAPE
    check(list(dataset.as_numpy_iterator()), expected)


def test_info_tells_shape_folds_and_shards(folder: Path) -> None:
    info = tfrecord.read_info(folder)
    assert (info.image_shape, info.cases) == (SHAPE, FOLDS)
    files = {path.name for shards in info.shards.values() for path in shards}
    assert files == {path.name for path in folder.glob("*.tfrecord-*")}
    assert sorted(files)[:3] == [f"flairprep-fold0.tfrecord-0000{index}-of-00003" for index in range(3)]
    for fold, count in FOLDS.items():
        lengths = [len(names(tf.data.TFRecordDataset(str(path)).map(_case_id))) for path in info.shards[fold]]
        assert sum(lengths) == count
        assert max(lengths) <= PER_SHARD
        assert max(lengths) - min(lengths) <= 1


def _case_id(record: Any) -> Any:
    return tf.io.parse_single_example(record, {"case_id": tf.io.FixedLenFeature([], tf.string)})


def test_tensorflow_datasets_reads_the_folder_without_our_code(folder: Path) -> None:
    builder = tfds.builder_from_directory(folder)
    assert builder.info.name == tfrecord.NAME
    assert str(builder.info.version) == tfrecord.VERSION
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        f"fold{fold}": count for fold, count in FOLDS.items()
    }
    features = builder.info.features
    assert (features["image"].shape, features["image"].np_dtype) == (SHAPE, np.float16)
    assert features["label"].num_classes == 2
    assert set(features) == {"image", "label", "case_id"}
    for fold in FOLDS:
        found = list(tfds.as_numpy(builder.as_dataset(split=f"fold{fold}")))
        check(found, {name: case for name, case in cohort().items() if case[2] == fold})


def test_a_left_out_example_is_in_no_shard_and_in_no_count(tmp_path: Path) -> None:
    kept = [tfrecord.encode(np.zeros(SHAPE, np.float16), 1, str(index)) for index in range(5)]
    kept[1] = kept[2] = kept[3] = None
    entry = tfrecord.write_fold(tmp_path, 0, kept, 5, 2)
    assert entry["shardLengths"] == ["1", "0", "1"]
    tfrecord.write_info(tmp_path, [entry], SHAPE)
    assert tfrecord.read_info(tmp_path).cases == {0: 2}
    assert names(tfrecord.dataset(tmp_path)) == ["0", "4"]
    assert len(list(tmp_path.glob("*.tfrecord-*"))) == 3


def test_without_a_seed_the_order_is_that_of_the_folds_and_cases(folder: Path) -> None:
    dataset = tfrecord.dataset(folder)
    assert names(dataset) == names(dataset) == list(cohort())
    assert names(tfrecord.dataset(folder, [3, 0])) == [
        *(name for name in cohort() if name[0] == "3"),
        *(name for name in cohort() if name[0] == "0"),
    ]


def test_a_seed_shuffles_anew_in_every_epoch_and_alike_in_every_run(folder: Path) -> None:
    def epochs(seed: int) -> list[list[str]]:
        dataset = tfrecord.dataset(folder, shuffle_seed=seed)
        return [names(dataset) for _ in range(3)]

    first = epochs(0)
    assert first == epochs(0)
    assert first != epochs(1)
    assert len({tuple(order) for order in first}) == 3
    for order in first:
        assert order != list(cohort())
        assert sorted(order) == sorted(cohort())


def test_an_unknown_fold_is_refused_with_those_that_there_are(folder: Path) -> None:
    with pytest.raises(FlairprepError, match=r"no fold 2; it holds the folds 0, 1, 3"):
        tfrecord.dataset(folder, [0, 2])


def test_equal_cases_give_equal_bytes(folder: Path) -> None:
    image, label, _ = cohort()["00000ß"]
    encoded = tfrecord.encode(image, label, "00000ß")
    assert encoded == tfrecord.encode(image.astype(">f2"), label, "00000ß")
    info = json.loads((folder / "dataset_info.json").read_text())
    sizes = [
        sum(len(tfrecord.encode(i, n, name)) for name, (i, n, of) in cohort().items() if of == fold) for fold in FOLDS
    ]
    assert [int(split["numBytes"]) for split in info["splits"]] == sizes
