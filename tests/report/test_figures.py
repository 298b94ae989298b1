"""Figures: a chart, a title and a sentence, of numbers that other code confirms."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta
from sklearn.metrics import auc, roc_auc_score, roc_curve

from flairprep.evaluation import predictions
from flairprep.evaluation.predictions import Predictions
from flairprep.imaging.quality import Quality
from flairprep.report import figures, quality
from flairprep.report.charts import Drawing
from flairprep.stats import permutation

RNG = np.random.default_rng(0)
Y_TRUE = np.tile([0, 1], 12)
Y_PROB = np.clip(0.5 + 0.2 * (Y_TRUE - 0.5) + 0.15 * RNG.normal(size=(8, 24)), 0.01, 0.99)
CASES = np.array([f"{i:02d}" for i in range(24)])
FOUND = Predictions(CASES, Y_TRUE, Y_PROB, CASES)
COUNTS = {"cases": 24, "label_0": 12, "label_1": 12, "prevalence": 0.5, "nir": 0.5}


def metrics() -> dict[str, Any]:
    """As evaluate writes them."""
    fixed = predictions.declared(FOUND.y_true, FOUND.declared)
    chosen = {"best_epoch": 3, "best_accuracy": 0.7, "p_selection": 0.1}
    return fixed | chosen | {"n": 24, "declared_epochs": 3, "p_within": None}


def test_the_band_is_where_the_null_of_p_selection_lies() -> None:
    """With it, p_selection is below 0.025 where the selected accuracy lies above the band."""
    low, high = figures.chance_band(FOUND, "val_accuracy", 999, 0)
    p = permutation.selection_p_value(Y_TRUE, Y_PROB, metric="val_accuracy", groups=CASES, n_permutations=999, seed=0)
    best = max(((row > 0.5) == Y_TRUE).mean() for row in Y_PROB)
    assert 0 < low < high < 1
    assert (low + high) / 2 > 0.5, "the best of eight epochs is better than guessing"
    assert (best > high) <= (p <= 0.03)


def test_the_band_of_one_epoch_is_that_of_plain_guessing() -> None:
    one = Predictions(CASES, Y_TRUE, np.tile([0.4, 0.6], 12)[None], CASES)
    low, high = figures.chance_band(one, "val_loss", 2000, 0)
    assert (low + high) / 2 == pytest.approx(0.5, abs=0.05)
    assert high - low < 0.55


def test_the_operating_point_has_exact_intervals() -> None:
    confusion = figures.confusion(FOUND)
    assert np.sum(confusion) == 24
    point = figures.operating_point(FOUND)
    assert point is not None
    hits = confusion[1][1]
    assert point["tpr"] == hits / 12
    assert point["tpr_low"] == pytest.approx(beta.ppf(0.025, hits, 12 - hits + 1))
    assert point["tpr_high"] == pytest.approx(beta.ppf(0.975, hits + 1, 12 - hits))


def test_with_one_label_there_is_no_operating_point_and_no_curve() -> None:
    one = Predictions(CASES, np.ones(24, int), Y_PROB, CASES)
    assert figures.operating_point(one) is None
    bins = predictions.reliability(one.y_true, one.declared)
    plotted = predictions.charts(one.y_true, one.declared)
    histogram = plotted["probability"].assign(probability=lambda rows: rows["probability"].astype(float))
    numbers = metrics() | {"auc": None, "auc_low": None, "auc_high": None}
    curve = predictions.decision_curve(one)
    roc, probability, calibration, decision = figures.declared(one, numbers, plotted["roc"], histogram, bins, curve)
    assert not roc.chart
    assert "one label only" in roc.words
    assert probability.chart
    assert calibration.chart
    assert decision.chart


def test_the_roc_band_holds_the_curve_and_never_falls() -> None:
    band = figures.roc_band(predictions.charts(Y_TRUE, FOUND.declared)["roc"], Y_TRUE)
    assert (band["low"] <= band["tpr"]).all()
    assert (band["tpr"] <= band["high"]).all()
    assert all(band[name].is_monotonic_increasing for name in ("fpr", "tpr", "low", "high"))
    assert auc(band["fpr"], band["tpr"]) == pytest.approx(roc_auc_score(Y_TRUE, FOUND.declared), abs=1e-5)
    fpr, tpr, _ = roc_curve(Y_TRUE, FOUND.declared, drop_intermediate=False)
    assert {*zip(band["fpr"], band["tpr"], strict=True)} <= {*zip(fpr.round(6), tpr.round(6), strict=True)}
    assert len(band) < len(fpr)


def test_every_figure_has_a_title_a_chart_and_a_sentence() -> None:
    balance = {"overall": COUNTS, **{f"by_{name}": [{"value": "", **COUNTS}] for name in figures.BY}}
    split = pd.DataFrame(
        {"case_id": CASES, "label": Y_TRUE.astype(str), "group": CASES, "fold": np.repeat(["0", "10"], 12)}
    )
    history = pd.DataFrame(
        {"epoch": [1.0, 2], **{n: [0.5, 0.6] for n in ("accuracy", "val_accuracy", "loss", "val_loss")}}
    )
    audit = {"baselines": [{"name": "geometry", "auc": 0.6, "auc_low": 0.5, "auc_high": 0.7, "p": 0.1}]}
    table = pd.DataFrame([("sex", "F", 0.7, 0.6, 0.8), ("sex", "M", *[float("nan")] * 3)])
    table.columns = pd.Index(["by", "value", "auc", "auc_low", "auc_high"])
    drawn = [
        figures.labels(balance),
        figures.folds(split),
        figures.baselines(audit, metrics(), ""),
        *figures.training(history, metrics(), (0.5, 0.7)),
        figures.groups(table),
    ]
    assert len({figure.name for figure in drawn}) == len(drawn)
    for figure in drawn:
        assert figure.title
        assert figure.chart.startswith("<svg")
        assert figure.words.endswith(".")
    assert "2 folds of 12 to 12 cases" in drawn[1].words
    assert "not given" in drawn[0].chart
    assert "fold 10" in drawn[1].chart


def test_where_no_group_is_large_enough_the_sentence_says_so() -> None:
    table = pd.DataFrame({"by": ["sex"], "value": ["F"], "auc": [float("nan")], "auc_low": [0.0], "auc_high": [0.0]})
    shown = figures.groups(table)
    assert not shown.chart
    assert shown.words.startswith("No group")


def test_the_bar_of_the_cohort_has_every_fold_with_its_labels_and_its_use() -> None:
    split = pd.DataFrame({"label": list("01101"), "fold": ["10", "10", "2", "0", "0"]})
    assert figures.cohort_bar(split, 2, 10) == [
        {"fold": 0, "role": "training", "label_0": 1, "label_1": 1},
        {"fold": 2, "role": "validation", "label_0": 0, "label_1": 1},
        {"fold": 10, "role": "test", "label_0": 1, "label_1": 1},
    ]


def test_the_outcome_shows_both_numbers_and_every_baseline_that_has_one() -> None:
    known = {"name": "geometry", "auc": 0.6, "auc_low": 0.5, "auc_high": 0.7}
    numbers = metrics()
    drawn = figures.outcome(numbers, {"baselines": [known, {**known, "name": "shading", "auc": None}]})
    (table,) = drawn.chart.specification["datasets"].values()
    assert [(row["of"], row["value"], row["reference"]) for row in table] == [
        ("network", numbers["accuracy"], 0.5),
        ("network", numbers["auc"], 0.5),
        ("baseline", 0.6, 0.5),
    ]
    alone = figures.outcome(numbers | {"auc": None}, None)
    assert len(next(iter(alone.chart.specification["datasets"].values()))) == 1


def test_the_null_distribution_is_drawn_with_the_run_and_told_in_numbers() -> None:
    table = predictions.null_distribution(np.array([0.7, 0.4, 0.5, 0.7, 0.8])).astype(float)
    drawn = figures.null(metrics() | {"auc": 0.7, "p_auc": 0.6}, table)
    assert "2 of 4 permutations" in drawn.words
    assert "this run 0.700" in drawn.chart
    rows = [row for rows in drawn.chart.specification["datasets"].values() for row in rows if "against" in row]
    assert sum(row["permutations"] for row in rows) == 4
    assert sum(row["permutations"] for row in rows if row["against"] == "as high") == 2
    assert not figures.null(metrics() | {"auc": None}, table).chart


def test_the_quality_of_each_case_is_a_point_where_ten_can_be_compared() -> None:
    """Of 12 cases with an SNR and 9 with a CNR too, one far off: only the SNR is drawn."""
    found = {f"{i:02d}": Quality(20.0 + i % 3, cnr=2.0 if i < 9 else None) for i in range(11)} | {"a b": Quality(90.0)}
    compared = quality.compare(found)
    figure = figures.quality(compared)
    assert figure is not None
    assert isinstance(figure.chart, Drawing)
    (rows,) = (rows for rows in figure.chart.specification["datasets"].values() if "measure" in rows[0])
    assert {row["measure"] for row in rows} == {"SNR"}
    assert {row["case"]: row["value"] for row in rows} == {case: one.snr for case, one in found.items()}
    assert [row["case"] for row in rows if row["kind"] == "outlier"] == ["a b"]
    assert next(row["href"] for row in rows if row["case"] == "a b") == "#case-a%20b"


def test_too_few_cases_have_no_chart_of_quality() -> None:
    assert figures.quality(quality.compare({f"{i}": Quality(20.0 + i) for i in range(9)})) is None
