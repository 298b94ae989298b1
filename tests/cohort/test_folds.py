"""Folds: balanced, grouped, and the same cases in the same folds when the data set grows or shrinks."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flairprep.cohort import folds
from flairprep.core.errors import FlairprepError

ONES, ZEROS = 307, 278  # of the public data set


def numbered(index: int) -> str:
    return f"{index:05d}"


def hashed(index: int) -> str:
    return hashlib.md5(str(index).encode()).hexdigest()


def cohort(ones: int = ONES, zeros: int = ZEROS, name: Callable[[int], str] = numbered, order: int = 0) -> pd.DataFrame:
    """One case a patient; the labels are dealt out at random."""
    label = np.random.default_rng(order).permutation(np.repeat([1, 0], (ones, zeros)))
    return pd.DataFrame({"group": [name(index) for index in range(ones + zeros)], "label": label})


def patients(contents: list[tuple[int, ...]]) -> pd.DataFrame:
    """A patient for each tuple of labels of his scans."""
    rows = [(f"p{patient}", label) for patient, labels in enumerate(contents) for label in labels]
    return pd.DataFrame(rows, columns=["group", "label"])


def assign(frame: pd.DataFrame, number: int = 5, seed: int = 0, by: tuple[str, ...] = ("label",)) -> pd.Series:
    fold = folds.assign(frame, folds=number, seed=seed, stratify_by=by)
    assert fold.index.equals(frame.index)
    assert fold.isin(range(number)).all()
    assert (fold.groupby(frame["group"]).nunique() == 1).all()  # a patient is never split
    return fold


def spread(frame: pd.DataFrame, fold: pd.Series, *by: str) -> pd.DataFrame:
    """Cases of each stratum (columns) in each fold (rows)."""
    return pd.crosstab(fold, [frame[column] for column in by]).reindex(range(fold.max() + 1), fill_value=0)


def widest(table: pd.DataFrame) -> int:
    return int((table.max() - table.min()).max())


@pytest.mark.parametrize("name", [numbered, hashed])
@pytest.mark.parametrize("seed", range(4))
def test_every_fold_looks_like_the_whole(name: Callable[[int], str], seed: int) -> None:
    frame = cohort(name=name, order=seed)
    there = spread(frame, assign(frame, seed=seed), "label")
    sizes = there.sum(axis=1)
    assert widest(there) <= 1
    assert sizes.max() - sizes.min() <= 2
    assert (there[1] - sizes * ONES / (ONES + ZEROS)).abs().max() < 1


@pytest.mark.parametrize(
    ("ones", "zeros", "number"), [(5, 5, 5), (2, 3, 2), (7, 93, 7), (100, 100, 100), (50, 1000, 3)]
)
def test_counts_differ_by_one_at_most_whatever_the_numbers(ones: int, zeros: int, number: int) -> None:
    frame = cohort(ones, zeros)
    assert widest(spread(frame, assign(frame, number), "label")) <= 1


@pytest.mark.parametrize(("ones", "zeros"), [(ONES, ZEROS), (293, 292), (300, 285)])
@pytest.mark.parametrize("name", [numbered, hashed])
def test_one_case_more_or_less_moves_ten_others_at_most(ones: int, zeros: int, name: Callable[[int], str]) -> None:
    rng = np.random.default_rng(0)
    for seed in range(8):
        frame = cohort(ones, zeros, name, order=seed)
        before = assign(frame, seed=seed)
        for lost in rng.choice(len(frame), 6, replace=False):  # read from right to left: one case more
            after = assign(frame.drop(index=lost), seed=seed)
            assert (before.drop(index=lost) != after).sum() <= 10


@pytest.mark.parametrize("seed", range(4))
def test_no_case_leaves_its_home_without_need(seed: int) -> None:
    frame = cohort(order=seed)
    home = frame["group"].map(lambda group: folds._hash(seed, group) % 5)
    needed = 0
    for _, there in home.groupby(frame["label"]):
        room, one_more = divmod(len(there), 5)
        over = there.value_counts().reindex(range(5), fill_value=0) - room
        needed += over.clip(lower=0).sum() - min(one_more, (over > 0).sum())
    assert (assign(frame, seed=seed) != home).sum() == needed


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does() -> None:
    frame = cohort()
    fold = assign(frame)
    for order in range(3):
        assert assign(frame.sample(frac=1, random_state=order)).sort_index().equals(fold)
    other = assign(frame, seed=1)
    assert 0.6 < (other != fold).mean() < 0.95  # 4 of 5 move where two seeds know nothing of each other


@pytest.mark.parametrize("seed", range(4))
def test_patients_with_two_scans(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same = patients([(label, label) for label in rng.permutation([1] * 77 + [0] * 70)])
    assert widest(spread(same, assign(same, seed=seed), "label")) <= 2  # one patient
    mixed = patients([tuple(rng.integers(0, 2, 2)) for _ in range(150)])
    assert widest(spread(mixed, assign(mixed, seed=seed), "label")) <= 4  # three kinds of patients


@pytest.mark.parametrize("seed", range(4))
def test_patients_with_any_number_of_scans_of_either_label(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = patients([tuple(rng.integers(0, 2, 1 + rng.poisson(0.4))) for _ in range(400)])
    there = spread(frame, assign(frame, seed=seed), "label")
    sizes = there.sum(axis=1)
    assert (there[1] / sizes - frame["label"].mean()).abs().max() < 0.03  # 3 cases of a fold


@pytest.mark.parametrize("seed", range(40))
def test_a_label_of_five_patients_reaches_all_five_folds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rare = [(1, *[0] * rng.integers(0, 4)) for _ in range(5)]
    frame = patients([*rare, *[(0,)] * int(rng.integers(5, 60))])
    assert (spread(frame, assign(frame, seed=seed), "label") > 0).all(axis=None)


@pytest.mark.parametrize("seed", range(3))
def test_several_columns_are_balanced_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = cohort(order=seed)
    frame["plane"] = rng.choice(["axial", "coronal", ""], len(frame), p=[0.6, 0.3, 0.1])
    frame["field_strength"] = rng.choice([1.5, 3.0], len(frame))
    by = ("label", "plane", "field_strength")
    assert widest(spread(frame, assign(frame, seed=seed, by=by), *by)) <= 1


@pytest.mark.parametrize(
    ("frame", "by", "number", "message"),
    [
        (cohort(3, 50), ("label",), 5, r"split\.folds: 5: only 3 groups .*label=1.*set split\.folds to 3 or less"),
        (cohort(50, 1), ("label",), 5, r"only 1 group .*label=0.*label more cases of it$"),
        (
            patients([(1, 1, 1), (1, 1), *[(0,)] * 9]),
            ("label",),
            3,
            r"only 2 groups of cases \(patients\) have label=1.*split\.group_column",
        ),
        (
            cohort(20, 20).assign(plane=["axial"] * 38 + ["coronal"] * 2),
            ("label", "plane"),
            5,
            r"plane=coronal.*split\.stratify_by",
        ),
        (cohort(9, 0), ("label",), 2, r"both labels are needed, found label 1 among 9 groups"),
        (cohort(0, 9), ("label",), 2, r"both labels are needed, found label 0 among 9 groups"),
        (cohort(0, 0), ("label",), 2, r"both labels are needed, found none among 0 groups"),
    ],
)
def test_what_cannot_be_stratified_is_refused(
    frame: pd.DataFrame, by: tuple[str, ...], number: int, message: Any
) -> None:
    with pytest.raises(FlairprepError) as caught:
        folds.assign(frame, folds=number, seed=0, stratify_by=by)
    assert re.search(message, str(caught.value))


def test_one_fold_fewer_is_enough_where_the_message_says_so() -> None:
    frame = cohort(3, 50)
    assert (spread(frame, assign(frame, 3), "label") > 0).all(axis=None)
