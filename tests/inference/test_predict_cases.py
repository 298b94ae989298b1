"""Rows of predictions: the order of the cases, failures, ensembles, rounding."""

import numpy as np
import pytest
import SimpleITK as sitk

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError, Outcome, Status, failure
from flairprep.inference.predict import BATCH, Prediction, predict_cases
from flairprep.inference.preprocess import Preprocessed

FAILED = {2, 3, 9}


def case(number: int) -> Preprocessed:
    """A case whose voxels are all its number over 100; some failed."""
    case_id = f"{number:05d}"
    if number in FAILED:
        return Preprocessed(failure(case_id, CaseError(Code.BLANK_VOLUME, "dark")), None)
    volume = sitk.GetImageFromArray(np.full((2, 3, 4), number / 100, np.float32))
    return Preprocessed(Outcome(case_id, Status.OK), volume)


def two_networks(images: np.ndarray) -> np.ndarray:
    """The mean of a case, and twice that."""
    assert images.shape[1:] == (2, 3, 4, 1)
    assert len(images) <= BATCH
    means = images.mean(axis=(1, 2, 3, 4)).astype(float)
    return np.stack([means, 2 * means])


@pytest.mark.parametrize("count", range(14))
def test_each_case_has_its_own_prediction_in_order_whatever_fails_between(count: int) -> None:
    made = list(predict_cases(map(case, range(count)), two_networks))
    assert [one.outcome.case_id for one in made] == [f"{number:05d}" for number in range(count)]
    for number, one in enumerate(made):
        if number in FAILED:
            assert (one.probability, one.spread, one.outcome.code) == (None, None, "BLANK_VOLUME")
        else:
            value = float(np.float16(number / 100))
            assert one.probability == pytest.approx(1.5 * value, abs=1e-7)
            assert one.spread == pytest.approx(value / np.sqrt(2), abs=1e-7)  # of two numbers, n - 1


def test_nothing_is_predicted_where_every_case_failed() -> None:
    def never(_: np.ndarray) -> np.ndarray:
        raise AssertionError

    assert len(list(predict_cases(map(case, sorted(FAILED)), never))) == len(FAILED)


def test_cases_are_predicted_as_soon_as_a_batch_is_full() -> None:
    asked: list[int] = []

    def cases():
        for number in range(10, 30):
            asked.append(number)
            yield case(number)

    made = predict_cases(cases(), two_networks)
    next(made)
    assert len(asked) == BATCH


def test_row_of_a_failed_case_is_empty_or_the_prior() -> None:
    failed = Prediction(case(2).outcome)
    row = failed.row(None, None)
    assert {key: row[key] for key in ("case_id", "probability", "predicted", "status", "code", "message")} == {
        **{"case_id": "00002", "probability": "", "predicted": "", "status": "failed"},
        **{"code": "BLANK_VOLUME", "message": "dark"},
    }
    assert failed.row(lambda _: 0.0, 0.625)["probability"] == "0.6250000"
    assert failed.row(None, 0.625)["predicted"] == "1"


@pytest.mark.parametrize(("probability", "label"), [(0.5, "0"), (0.5000001, "1"), (0.0, "0"), (1.0, "1")])
def test_predicted_is_above_one_half(probability: float, label: str) -> None:
    row = Prediction(case(1).outcome, probability).row(None, 0.9)
    assert (row["predicted"], float(row["probability"])) == (label, probability)


def test_calibrated_row_keeps_what_the_network_said() -> None:
    row = Prediction(case(1).outcome, 0.6, 0.1).row(lambda p: p / 2, None)
    assert (row["probability"], row["predicted"]) == ("0.3000000", "0")
    assert (row["uncalibrated"], row["spread"]) == ("0.6000000", "0.1000000")
