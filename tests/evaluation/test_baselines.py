"""The network against what ranks the same cases without an image."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from flairprep.evaluation.baselines import COLUMNS, against_baselines, told
from flairprep.evaluation.predictions import Predictions
from flairprep.stats import hypothesis_tests

N = 80
RNG = np.random.default_rng(1)
Y_TRUE = np.arange(N) % 2
CASES = np.array([f"{case:03d}" for case in range(N)])
GOOD, POOR = (np.clip(0.5 + gain * (Y_TRUE - 0.5) + RNG.normal(0, 0.2, N), 0, 1) for gain in (0.5, 0.05))
RUN = Predictions(CASES, Y_TRUE, np.array([GOOD]), CASES)


def scores(**columns: np.ndarray) -> pd.DataFrame:
    """As data/audit/baselines.csv is read: text, in another order, with cases of other folds."""
    table = pd.DataFrame({"case_id": CASES, "fold": 0, **columns}).iloc[::-1]
    other = pd.DataFrame({"case_id": ["x"], "fold": [1], **{name: [0.5] for name in columns}})
    return pd.concat([table, other]).astype(str)


def delong(y_true: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Difference and its variance by DeLong's structural components, written out over all pairs of cases."""
    ones, zeros = np.flatnonzero(y_true == 1), np.flatnonzero(y_true == 0)
    wins = [np.sign(score[ones][:, None] - score[zeros][None]) / 2 + 0.5 for score in (a, b)]
    gain = wins[1] - wins[0]
    return gain.mean(), gain.mean(axis=1).var(ddof=1) / len(ones) + gain.mean(axis=0).var(ddof=1) / len(zeros)


def test_differences_are_delongs_and_their_p_corrected_for_all_baselines() -> None:
    table = against_baselines(RUN, scores(age=POOR, scanner=GOOD))
    assert list(table.columns) == list(COLUMNS)
    age, scanner = table.to_dict("records")
    difference, variance = delong(Y_TRUE, POOR, GOOD)
    assert age["auc"] == pytest.approx(roc_auc_score(Y_TRUE, POOR), abs=1e-6)
    assert age["difference"] == pytest.approx(difference, abs=1e-6)
    width = age["difference_high"] - age["difference_low"]
    assert width == pytest.approx(2 * 1.99 * variance**0.5, rel=0.03)
    assert age["p"] < 0.01
    assert (scanner["difference"], scanner["p"]) == (0, 1)
    np.testing.assert_allclose(table["p_holm"], hypothesis_tests.holm(table["p"].to_numpy()), atol=1e-6)
    assert "age +0." in told(table)
    assert "scanner +0.000" in told(table)
    assert len(told(table, "\n").splitlines()) == 3


def test_without_an_audit_a_baseline_or_a_second_label_there_is_nothing_to_compare() -> None:
    one = Predictions(CASES, np.ones(N, int), np.array([GOOD]), CASES)
    empty = scores(age=POOR).assign(age="")  # as the audit writes what all cases share
    for run, beside in ((RUN, None), (RUN, scores()), (RUN, empty), (one, scores(age=POOR))):
        table = against_baselines(run, beside)
        assert list(table.columns) == list(COLUMNS)
        assert table.empty
        assert told(table) == ""
