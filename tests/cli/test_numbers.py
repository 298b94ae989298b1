"""`flairprep numbers`: against scipy, statsmodels and simulated searches."""

import re

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.proportion import proportion_confint

from flairprep.cli import main, numbers
from flairprep.core.errors import FlairprepError

QUESTION = ("--cases", "117", "--positives", "61", "--epochs", "60", "0.54", "0.60", "0.62", "0.667")


def test_an_accuracy_fixed_in_advance_has_the_exact_p_and_interval() -> None:
    for cases, positives, accuracy in ((117, 61, 0.6), (20, 5, 0.9), (300, 290, 0.5)):
        (one,) = numbers.judge(cases, positives, 1, [accuracy])
        right = round(accuracy * cases)
        nir = max(positives, cases - positives) / cases
        assert one.p == pytest.approx(binomtest(right, cases, nir, alternative="greater").pvalue)
        assert (one.low, one.high) == pytest.approx(proportion_confint(right, cases, method="beta"))


def test_chance_reaches_with_one_epoch_what_a_binomial_does() -> None:
    (one,) = numbers.judge(100, 50, 1, [0.6])
    for share in one.best_epoch:
        assert share == pytest.approx(binom.sf(59, 100, 0.5), abs=0.01)


def test_independent_epochs_and_settings_reach_it_more_often() -> None:
    one, other = numbers.judge(100, 50, 20, [0.6, 0.55])
    single = binom.sf(59, 100, 0.5)
    assert one.best_epoch[1] == pytest.approx(1 - (1 - single) ** 20, abs=0.02)  # erratic curves are independent
    assert one.best_setting[1] == pytest.approx(1 - (1 - one.best_epoch[1]) ** 2, abs=0.02)
    assert one.best_epoch[0] < one.best_epoch[1]
    assert other.best_epoch[0] > one.best_epoch[0]


def test_the_usual_accuracies_are_told_from_chance_as_far_as_they_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["numbers", *QUESTION])
    printed = capsys.readouterr().out
    assert "NIR" in printed
    assert len(re.findall(r" and .*: p ", printed)) == 6  # pairs of four settings
    best = numbers.judge(117, 61, 60, [0.54, 0.60, 0.62, 0.667])
    assert best[1].best_epoch[1] > 0.3  # 60 % is what the best epoch of noise reaches
    assert best[3].best_setting[1] < 0.1


def test_the_same_question_has_the_same_answer() -> None:
    first, again = (numbers.text(117, 61, 60, [0.6, 0.667]) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    ("cases", "positives", "epochs", "accuracy", "names"),
    [
        (10, 0, 1, 0.5, "--positives"),
        (10, 10, 1, 0.5, "--positives"),
        (10, 5, 0, 0.5, "--epochs"),
        (10, 5, 1, 66.7, "0.667"),
        (10, 5, 1, -0.1, "accuracy"),
        (10, 5, 1, 101, "accuracy"),
        (10, 5, 1, np.nan, "accuracy"),
    ],
)
def test_a_number_out_of_range_is_named(cases: int, positives: int, epochs: int, accuracy: float, names: str) -> None:
    with pytest.raises(FlairprepError, match=re.escape(names)):
        numbers.judge(cases, positives, epochs, [accuracy])
