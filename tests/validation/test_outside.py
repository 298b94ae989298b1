"""Cases outside the training cohort: conformal p by another route, planted outliers, calibration."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from flairprep.validation.outside import NEAREST, POWER, beyond_range, conformal_p, place_cases, robust_units


def sources(seed: int, training: int = 120, new: int = 30, features: int = 12) -> tuple[dict, np.ndarray]:
    """Two cohorts of one kind with two modes, as of two planes."""
    rng = np.random.default_rng(seed)
    n = training + new
    values = rng.normal(size=(n, features)) + 4 * rng.integers(0, 2, (n, 1))
    header = {"manufacturer": rng.choice(["siemens", "ge"], n), "field_strength": rng.choice([1.5, 3.0], n)}
    columns = {f"feature {index}": values[:, index] for index in range(features)}
    return {"header fields": header, "geometry": columns}, np.arange(n) >= training


def test_p_is_the_share_of_training_cases_that_lie_as_far_from_the_others() -> None:
    rng = np.random.default_rng(0)
    training, others = rng.normal(size=(40, 3)), rng.normal(0, 2, (15, 3))
    index = NearestNeighbors(n_neighbors=NEAREST, p=POWER).fit(training)
    own = index.kneighbors()[0].mean(axis=1)  # without an argument scikit-learn leaves each point out
    theirs = index.kneighbors(others)[0].mean(axis=1)
    expected = [(1 + np.sum(own >= one)) / 41 for one in theirs]
    assert conformal_p(training, others) == pytest.approx(expected)


def test_of_a_like_cohort_about_one_in_a_hundred_lies_outside() -> None:
    placed = [place for seed in range(20) for place in place_cases(*sources(seed))]
    assert len(placed) == 600
    assert sum(place.outside for place in placed) <= 20  # 6 expected


def test_planted_outliers_lie_outside_and_are_told_by_their_feature() -> None:
    table, new = sources(0)
    table["geometry"]["feature 5"][120:124] = 40.0
    places = place_cases(table, new)
    assert [place.outside for place in places[:4]] == [True] * 4
    assert all(place.why.startswith("feature 5 40") for place in places[:4])
    assert sum(place.outside for place in places[4:]) <= 2


def test_one_value_far_beyond_every_training_case_is_outside() -> None:
    table, new = sources(0, features=60)
    table["geometry"]["spacing_z"] = np.where(np.arange(150) % 2, 4.0, 6.0)
    table["geometry"]["spacing_z"][120] = 6.5
    table["geometry"]["spacing_z"][121] = 10.0
    places = place_cases(table, new)
    assert not places[0].outside
    assert places[1].outside
    assert places[1].why.startswith("spacing_z 10")


def test_a_feature_that_no_training_case_has_is_not_beyond() -> None:
    training = np.array([[np.nan, 1.0], [np.nan, 2.0]])
    assert beyond_range(training, np.array([[5.0, 2.6], [np.nan, 2.4]])).tolist() == [[False, True], [False, False]]


def test_between_two_modes_is_outside_though_no_feature_is_extreme() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 0.3, (101, 6)) + np.where(np.arange(101) % 2, 5, -5)[:, None]
    values[-1] = 0
    columns = {f"feature {index}": values[:, index] for index in range(6)}
    (place,) = place_cases({"geometry": columns}, np.arange(101) == 100)
    assert place.outside


def test_a_value_that_no_training_case_has_is_outside() -> None:
    table, new = sources(0)
    header = table["header fields"]
    header["manufacturer"] = header["manufacturer"].astype("U10")
    header["manufacturer"][120] = "hitachi"
    header["field_strength"][121] = 7.0
    header["manufacturer"][122] = ""
    header["field_strength"][122] = np.nan
    places = place_cases(table, new)
    assert "manufacturer hitachi" in places[0].why
    assert "field_strength 7" in places[1].why
    assert "manufacturer" not in places[2].why


def test_gaps_and_constants_do_no_harm() -> None:
    training = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [np.nan, 5.0]])
    scaled, others = robust_units(training, np.array([[np.nan, 7.0]]))
    assert scaled[3].tolist() == [0, 0]
    assert others[0].tolist() == [0, 2]
