"""Strata by hand."""

from collections import Counter

import numpy as np

from flairprep.audit import strata


def test_tertiles_are_taken_in_each_fold_and_gaps_are_a_stratum() -> None:
    scores = np.array([1, 2, 3, 101, 102, 103, np.nan])
    assert strata.tertiles(scores, np.array([0, 0, 0, 1, 1, 1, 1])) == (*("low", "middle", "high") * 2, "none")


def test_strata_are_categories_few_numbers_or_tertiles_and_rare_categories_are_one() -> None:
    assert strata.stratify(np.array(["a"] * 3 + ["b"] * 3 + ["c", "d"]), 2) == (*"aaabbb", "other", "other")
    assert strata.stratify(np.array(["", "M", "", "M"]), 2) == ("none", "M", "none", "M")
    assert strata.stratify(np.array([1.5, 3.0, 1.5, 3.0]), 2) == ("1.5", "3", "1.5", "3")
    assert Counter(strata.stratify(np.arange(30.0), 2)) == {"low": 10, "middle": 10, "high": 10}


def test_strata_are_crossed_only_while_there_is_something_to_permute() -> None:
    labels, folds = np.arange(32) % 2, np.arange(32) // 16
    maker, sex = tuple("ab"[index // 4 % 2] for index in range(32)), tuple("mf"[index // 2 % 2] for index in range(32))
    alone = tuple(str(index) for index in range(32))
    crossed, names = strata.combine({"maker": maker, "alone": alone, "sex": sex}, labels, folds)
    assert names == ["maker", "sex"]
    assert crossed[:5] == ["maker: a; sex: m"] * 2 + ["maker: a; sex: f"] * 2 + ["maker: b; sex: m"]
    assert strata.count_permutable(crossed, labels, folds) == 32
    assert strata.count_permutable(alone, labels, folds) == 0
    assert strata.combine({"alone": alone}, labels, folds)[1] == ["alone"]  # the first one always
    assert strata.combine({}, labels, folds) == ([], [])


def test_predicted_cases_are_those_whose_stratum_has_more_of_their_label() -> None:
    labels = np.array([1, 1, 0, 0, 0, 1])
    predicted = strata.is_predicted(["a", "a", "a", "b", "b", "b"], labels)
    assert predicted.tolist() == [True, True, False, True, True, False]
    assert not strata.is_predicted(["a"] * 6, labels).any()
