"""The map-style data set: the cases of the tf.data.Dataset, by number, in workers of any kind."""

import multiprocessing
import pickle
import random
from pathlib import Path

import exports
import numpy as np
import pytest

from flairprep.core.errors import FlairprepError
from flairprep.dataset.map_style import Case, MapDataset

LABELS = {0: "0101", 1: "01010", 2: "1100"}
EXPORT = Path("data/export")


@pytest.fixture(autouse=True)
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write three folds in shards of three cases into data/export of the current folder."""
    monkeypatch.chdir(tmp_path)
    exports.write_export(tmp_path, LABELS, lambda rng, label, _: exports.brain(rng, label, 1.0), per_shard=3)


def assert_equal(one: Case, other: Case) -> None:
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1:] == other[1:]


def test_cases_are_those_that_were_written_in_the_order_of_the_shards() -> None:
    rng = np.random.default_rng(0)  # as the export was drawn
    expected = [
        (exports.brain(rng, int(label), 1.0).astype(np.float16), int(label), f"{fold}{index:04d}")
        for fold, labels in LABELS.items()
        for index, label in enumerate(labels)
    ]
    cases = MapDataset(EXPORT)
    assert len(cases) == len(expected) == 13
    for (image, label, case_id), (drawn, its_label, its_id) in zip(cases, expected, strict=True):
        assert (image.dtype, image.shape) == (np.float32, (1, 8, 12, 12))
        np.testing.assert_array_equal(image[0], drawn.astype(np.float32))
        assert (label, case_id) == (its_label, its_id)
        image += 1  # it belongs to the caller


def test_access_is_random_and_ends() -> None:
    cases = MapDataset(str(EXPORT), [2, 0])
    assert [case_id for _, _, case_id in cases] == [f"2{n:04d}" for n in range(4)] + [f"0{n:04d}" for n in range(4)]
    whole = list(cases)
    order = list(range(8)) * 2
    random.Random(0).shuffle(order)
    for index in order:
        assert_equal(cases[index], whole[index])
    assert_equal(cases[-1], whole[7])
    for index in (8, -9):
        with pytest.raises(IndexError):
            cases[index]


def test_pickled_copy_is_small_and_reads_the_same() -> None:
    cases = MapDataset(EXPORT)
    content = pickle.dumps(cases)
    assert len(content) < 4000  # a case alone has 4608 bytes
    assert_equal(pickle.loads(content)[5], cases[5])


def item(cases: MapDataset, index: int) -> Case:
    return cases[index]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_each_kind_read_it(method: str) -> None:
    cases = MapDataset(EXPORT)
    with multiprocessing.get_context(method).Pool(2) as pool:
        made = pool.starmap(item, [(cases, index) for index in range(13)])
    for one, other in zip(made, cases, strict=True):
        assert_equal(one, other)


def test_labels_are_read_without_the_images() -> None:
    assert MapDataset(EXPORT).labels() == [label for _, label, _ in MapDataset(EXPORT)]
    cases = MapDataset(EXPORT, [1])
    place = cases.places[0]
    content = bytearray(place.path.read_bytes())
    content[place.start + 1000] ^= 1
    place.path.write_bytes(content)
    labels = cases.labels()
    with pytest.raises(FlairprepError):
        cases[0]
    assert labels == [int(label) for label in LABELS[1]]


def test_a_damaged_label_is_a_damaged_shard() -> None:
    cases = MapDataset(EXPORT, [1])
    place = cases.places[0]
    whole = place.path.read_bytes()
    told = 0
    frame = [*range(place.start, place.start + 60), *range(place.start + place.length - 30, place.start + place.length)]
    for at in frame:  # all but the voxels
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            place.path.write_bytes(damaged)
            try:
                labels = cases.labels()
            except FlairprepError as error:
                told += place.path.name in str(error)
            else:
                assert set(labels) <= {0, 1}
    assert told > 100


def test_faults_are_named() -> None:
    with pytest.raises(FlairprepError, match="fold 7"):
        MapDataset(EXPORT, [7])
    shard = sorted(EXPORT.glob("*fold1*"))[0]
    content = bytearray(shard.read_bytes())
    content[2000] ^= 1
    shard.write_bytes(content)
    cases = MapDataset(EXPORT, [1])
    with pytest.raises(FlairprepError, match=shard.name):
        list(cases)
    shard.write_bytes(content[:-5])
    with pytest.raises(FlairprepError, match=shard.name):
        MapDataset(EXPORT, [1])
    shard.write_bytes(b"")
    with pytest.raises(FlairprepError, match="fold 1"):
        MapDataset(EXPORT, [1])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_pytorch_loads_it(workers: int) -> None:
    torch = pytest.importorskip("torch")
    cases = MapDataset(EXPORT)
    loader = torch.utils.data.DataLoader(cases, batch_size=4, shuffle=True, num_workers=workers)
    read = {}
    for images, labels, case_ids in loader:
        assert (images.dtype, images.shape[1:]) == (torch.float32, (1, 8, 12, 12))
        read |= {
            case: (image.numpy(), int(label), case) for image, label, case in zip(images, labels, case_ids, strict=True)
        }
    assert len(read) == 13
    for case in cases:
        assert_equal(read[case[2]], case)
