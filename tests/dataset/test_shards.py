"""The shards are to the byte what tensorflow writes of the same cases, and no tensorflow is needed to write them."""

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from records import Case, write_fold, write_records

from flairprep.core.errors import FlairprepError
from flairprep.dataset import shards

SHAPE = (2, 3, 4, 1)
FOLDS = {0: 5, 1: 4, 3: 1}  # cases a fold; the numbers need not follow one another
PER_SHARD = 2


def example(image: np.ndarray, label: int, case_id: str) -> bytes:
    """A serialised tf.train.Example by tensorflow, its keys in order."""
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.astype("<f2").tobytes()])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "case_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[case_id.encode()])),
    }
    message = tf.train.Example(features=tf.train.Features(feature=feature))
    return bytes(message.SerializeToString(deterministic=True))


def by_tensorflow(path: Path, cases: list[Case]) -> bytes:
    """The shard that tensorflow writes of `cases`."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for case in cases:
            writer.write(example(*case))
    return path.read_bytes()


def image(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Values that span what float16 can hold."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * 10.0 ** rng.integers(-6, 4, shape)).astype(np.float16)


def cohort() -> dict[int, list[Case]]:
    """The cases of each fold."""
    return {
        fold: [(image(seed=index), (fold + index) % 2, f"{fold}{index:04d}ß") for index in range(count)]
        for fold, count in FOLDS.items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export")
    shards.write_info(out, [write_fold(out, fold, cases, PER_SHARD) for fold, cases in cohort().items()], SHAPE)
    return out


ODD = {
    "every value of float16": [(np.arange(1 << 16, dtype="u2").view("f2").reshape(64, 32, 32, 1), 0, "00000")],
    "big-endian": [(image().astype(">f2"), 1, "00000")],
    "not contiguous": [
        (image((4, 3, 2, 1)).transpose(2, 1, 0, 3), 1, "0"),
        (image((4, 6, 8, 1))[::2, ::2, ::-2], 0, "1"),
    ],
    "no voxel": [(image((0, 3, 4, 1)), 0, "00000")],
    "ids": [(image(), 1, name) for name in ("", "0", "ß", "患者", "🧠", "é", "e\u0301", "a b\n", "\0", "-" * 300)],
    "labels": [(image(), label, "00000") for label in (0, 1, np.int64(0), np.int64(1), np.uint8(1), 127, 128)],
    "each number of bytes in a length": [
        (image((voxels, 1, 1, 1)), 0, name)
        for name in ("", "00000")
        for voxels in (*range(40, 66), *range(8160, 8194), (1 << 20) - 20, 1 << 20)
    ],
    "a case of the default size": [(image((64, 128, 128, 1)), 1, "0123456789abcdef")],
}


@pytest.mark.parametrize("cases", ODD.values(), ids=ODD)
def test_records_in_a_row_are_the_file_that_tensorflow_writes(cases: list[Case], tmp_path: Path) -> None:
    assert b"".join(shards.record(*case) for case in cases) == by_tensorflow(tmp_path / "expected", cases)


def test_a_label_that_no_record_can_hold_is_an_error() -> None:
    with pytest.raises(ValueError, match="range"):
        shards.record(image(), -1, "00000")


def test_a_record_copies_the_image_twice_and_no_more() -> None:
    large = image((64, 128, 128, 1))
    tracemalloc.start()
    try:
        shards.record(large, 1, "00000")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.1 * large.nbytes


LEFT_OUT = [
    (1, 2, ()),
    (1, 1, (0,)),
    (5, 2, ()),
    (5, 1, (4,)),
    (6, 3, (0, 1, 2)),
    (7, 4, (1, 6)),
    (4, 64, ()),
]


@pytest.mark.parametrize(("count", "per_shard", "left_out"), LEFT_OUT)
def test_a_fold_is_the_files_and_the_entry_that_tensorflow_gives(
    tmp_path: Path, count: int, per_shard: int, left_out: tuple[int, ...]
) -> None:
    cases = [(image((index + 1, 2, 2, 1), index), index % 2, f"{index:05d}ß") for index in range(count)]
    number = -(-count // per_shard)
    expected, lengths = {}, []
    for index, members in enumerate(np.array_split(np.arange(count), number) if count else []):
        kept = [cases[member] for member in members if member not in left_out]
        expected[f"flairprep-fold7.tfrecord-{index:05d}-of-{number:05d}"] = by_tensorflow(tmp_path / "expected", kept)
        lengths.append(str(len(kept)))
    out = tmp_path / "out"
    entry = write_fold(out, 7, [None if i in left_out else case for i, case in enumerate(cases)], per_shard)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
    assert entry == {
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        "name": "fold7",
        "numBytes": str(sum(len(example(*case)) for index, case in enumerate(cases) if index not in left_out)),
        "shardLengths": lengths,
    }


def test_cases_are_divided_in_order_and_evenly_among_as_few_shards_as_possible() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        counts, per_shard = {3: rng.integers(1, 30), 0: rng.integers(1, 9)}, int(rng.integers(1, 8))
        cases = [(fold, f"{index:03d}", index % 2) for fold, count in counts.items() for index in range(count)]
        planned = shards.plan(rng.permutation(np.array(cases, object)).tolist(), per_shard)
        assert [(shard.fold, *case) for shard in planned for case in shard.cases] == sorted(cases)
        for fold, count in counts.items():
            of_fold = [shard for shard in planned if shard.fold == fold]
            sizes = [len(shard.cases) for shard in of_fold]
            assert len(sizes) == int(np.ceil(count / per_shard))
            assert sizes == [len(share) for share in np.array_split(np.arange(count), len(sizes))]
            assert [shard.name for shard in of_fold] == shards.shard_names(fold, len(sizes))


def test_a_fold_is_written_with_one_record_in_memory(tmp_path: Path) -> None:
    case = (image((16, 64, 64, 1)), 1, "00000")
    records = write_records(tmp_path / "records", [case] * 20)
    tracemalloc.start()
    try:
        shards.join(records, tmp_path / "shard")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * case[0].nbytes  # the next one is read before the last one is let go


@pytest.mark.parametrize("shape", [SHAPE, (64, 64, 64, 1)], ids=["buffered", "larger than the buffer"])
def test_a_full_disk_is_an_error_that_names_the_shard_and_the_remedy(tmp_path: Path, shape: tuple[int, ...]) -> None:
    records = write_records(tmp_path / "records", [(image(shape), 0, "0"), (image(shape), 1, "1")])
    shard = tmp_path / "flairprep-fold3.tfrecord-00000-of-00001"
    shard.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device") as raised:
        shards.join(records, shard)
    assert str(raised.value).startswith(f"{shard}: ")


def test_a_folder_that_is_not_there_is_an_error_that_names_the_shard(tmp_path: Path) -> None:
    (record,) = write_records(tmp_path, [(image(), 0, "0")])
    with pytest.raises(OSError, match=r"gone/flairprep-fold3\.tfrecord-00000-of-00001: "):
        shards.join([record], tmp_path / "gone/flairprep-fold3.tfrecord-00000-of-00001")
    assert record.is_file()


def test_info_tells_shape_folds_and_shards(folder: Path) -> None:
    info = shards.read_info(folder)
    assert (info.image_shape, info.cases) == (SHAPE, FOLDS)
    files = {path.name for paths in info.shards.values() for path in paths}
    assert files == {path.name for path in folder.iterdir()} - {"features.json", "dataset_info.json"}
    assert sorted(files)[:3] == [f"flairprep-fold0.tfrecord-0000{index}-of-00003" for index in range(3)]


def test_tf_data_reads_every_case_to_the_bit(folder: Path) -> None:
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
        "case_id": tf.io.FixedLenFeature([], tf.string),
    }
    for fold, cases in cohort().items():
        paths = [str(path) for path in shards.read_info(folder).shards[fold]]
        read = [tf.io.parse_single_example(record, spec) for record in tf.data.TFRecordDataset(paths)]
        as_read = [(x["image"].numpy(), int(x["label"]), x["case_id"].numpy().decode()) for x in read]
        assert as_read == [(values.tobytes(), label, case_id) for values, label, case_id in cases]


def test_tensorflow_datasets_reads_the_folder_without_our_code(folder: Path) -> None:
    builder = tfds.builder_from_directory(folder)
    assert (builder.info.name, str(builder.info.version)) == (shards.NAME, shards.VERSION)
    splits: dict[str, Any] = builder.info.splits
    assert {name: split.num_examples for name, split in splits.items()} == {f"fold{k}": n for k, n in FOLDS.items()}
    features = builder.info.features
    assert (features["image"].shape, features["image"].np_dtype) == (SHAPE, np.float16)
    assert features["label"].num_classes == 2
    assert set(features) == {"image", "label", "case_id"}
    for fold, cases in cohort().items():
        assert splits[f"fold{fold}"].num_bytes == sum(len(example(*case)) for case in cases)
        by_id = {x["case_id"].decode(): x for x in tfds.as_numpy(builder.as_dataset(split=f"fold{fold}"))}
        assert sorted(by_id) == [case_id for _, _, case_id in cases]
        for values, label, case_id in cases:
            assert by_id[case_id]["image"].dtype == np.float16
            assert by_id[case_id]["image"].tobytes() == values.tobytes()
            assert by_id[case_id]["label"] == label


def test_shards_are_written_and_described_without_tensorflow(folder: Path, tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
import numpy as np
from flairprep.dataset import shards
from flairprep.core.errors import FlairprepError
out, record = Path(sys.argv[2]), Path(sys.argv[2], "record")
record.write_bytes(shards.record(np.zeros((1, 1, 1, 1), np.float16), 0, "0"))
(shard,) = shards.plan([(0, "0", 0)], 1)
shards.join([record], out / shard.name)
shards.write_info(out, shards.splits_of(out, {shard: 1}), (1, 1, 1, 1))
shards.read_info(Path(sys.argv[1]))
print(*sorted(sys.modules))
"""
    command = [sys.executable, "-c", program, str(folder), str(tmp_path)]
    modules = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "flairprep.dataset.shards" in modules
    assert not {name.split(".")[0] for name in modules} & {"tensorflow", "keras", "google", "pandas", "scipy"}


def test_each_place_holds_the_example_that_tensorflow_reads(folder: Path) -> None:
    for path in sorted(folder.glob("*.tfrecord-*")):
        expected = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        assert [shards.example(place) for place in shards.places(path)] == expected


def test_a_damaged_or_cut_shard_is_named_with_the_remedy(folder: Path, tmp_path: Path) -> None:
    whole = next(iter(sorted(folder.glob("*.tfrecord-*"))))
    damaged, cut = tmp_path / "damaged", tmp_path / "cut"
    content = bytearray(whole.read_bytes())
    content[40] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(FlairprepError, match=rf"^{damaged}: .*dvc repro -f export"):
        shards.example(shards.places(damaged)[0])
    for byte in (0, 9):  # of a length, and of its checksum
        bent = bytearray(whole.read_bytes())
        bent[byte] ^= 1
        damaged.write_bytes(bent)
        with pytest.raises(FlairprepError, match=rf"^{damaged}: damaged.*dvc repro -f export"):
            shards.places(damaged)
    cut.write_bytes(content[:-1])
    with pytest.raises(FlairprepError, match=rf"^{cut}: .*dvc repro -f export"):
        shards.places(cut)
