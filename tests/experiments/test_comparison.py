"""compare on planted predictions, and on a small repository of DVC with queued and failed experiments in between."""

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from ruamel.yaml import YAML
from scipy.stats import norm
from workspace import PARAMS

from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.evaluation.predictions import Predictions
from flairprep.experiments import comparison, inference, screening, settings, summary
from flairprep.experiments import runs as experiments
from flairprep.experiments.runs import ExperimentRun
from flairprep.report import charts, html
from flairprep.stats import bootstrap, hypothesis_tests, intervals, permutation, power
from flairprep.stats import metrics as stats

FOLDS, PER_FOLD, EPOCHS = 5, 40, 6
Y_TRUE = np.arange(FOLDS * PER_FOLD) % 2
IDS = np.array([f"{case:05d}" for case in range(len(Y_TRUE))])
BASE = {"lr": 1e-4, "batch_size": 4, "code": "0000000"}
CURRENT = {**BASE, "split.seed": 0, "seed": 0, "val_fold": 0}


def fold_of(split_seed: int) -> np.ndarray:
    """Each fold with as many of either label."""
    rng = np.random.default_rng(split_seed)
    folds = np.empty(len(Y_TRUE), int)
    for label in (0, 1):
        folds[rng.permutation(np.flatnonzero(label == Y_TRUE))] = np.arange(len(Y_TRUE) // 2) % FOLDS
    return folds


def made(
    name: str,
    right: float = 0.5,
    fold: int = 0,
    seed: int = 0,
    split_seed: int = 0,
    scans: int = 1,
    **setting: Any,
) -> ExperimentRun:
    """A run of which `right` of the declared predictions are right, those of a patient's `scans` all or none."""
    rng = np.random.default_rng([ord(letter) for letter in name])
    cases = np.flatnonzero(fold_of(split_seed) == fold)
    patients = len(cases) // scans
    correct = np.repeat(rng.permutation(np.arange(patients) < round(right * patients)), scans)
    side = np.where(correct, 1, -1) * (2 * Y_TRUE[cases] - 1)
    y_prob = 0.5 + side * rng.uniform(0.1, 0.4, (EPOCHS, len(cases)))
    groups = IDS[cases][np.arange(len(cases)) // scans * scans]
    found = Predictions(IDS[cases], Y_TRUE[cases], y_prob, groups)
    whole = {**BASE, **setting}
    return ExperimentRun(name, {}, whole, split_seed, fold, seed, "val_accuracy", found, folds=FOLDS, cases=len(Y_TRUE))


def compared(*runs: ExperimentRun, **options: Any) -> dict[str, Any]:
    return comparison.compare(runs, CURRENT, **{"alpha": 0.05, "permutations": 199, **options})


def text(found: dict[str, Any]) -> str:
    return "\n".join(found["answer"])


# ---- settings ----


def test_runs_are_grouped_by_the_params_that_differ_in_the_order_of_their_numbers() -> None:
    runs = [made("a", lr=1e-4), made("b", lr=2e-5, fold=1), made("c", lr=2e-5), made("d", lr=1e-5)]
    found = compared(*runs)
    assert found["keys"] == ["lr"]
    assert [s["setting"] for s in found["settings"]] == [{"lr": 1e-5}, {"lr": 2e-5}, {"lr": 1e-4}]
    assert [(s["runs"], s["folds"], s["cases"]) for s in found["settings"]] == [(1, 1, 40), (2, 2, 80), (1, 1, 40)]
    assert [s["names"] for s in found["settings"]] == [["d"], ["b", "c"], ["a"]]


@pytest.mark.parametrize("value", [None, True, "cosine", [8, 16], 0.5])
def test_values_of_any_kind_make_settings(value: Any) -> None:
    found = compared(made("a", x=value), made("b", x=3))
    assert len(found["settings"]) == 2
    assert len(found["pairs"]) == 1


def accuracy_of(run: ExperimentRun) -> float:
    return stats.accuracy(run.found.y_true, run.found.declared)


def test_the_measures_of_several_seeds_are_averaged_and_never_their_probabilities() -> None:
    runs = [made(f"s{seed}", right, seed=seed) for seed, right in enumerate((0.7, 0.6, 0.5))]
    (setting,) = compared(*runs)["settings"]
    assert (setting["runs"], setting["seeds"], setting["cases"]) == (3, 3, PER_FOLD)
    assert setting["accuracy"] == pytest.approx(np.mean([accuracy_of(run) for run in runs]))
    areas = [stats.auc(run.found.y_true, run.found.declared) for run in runs]
    assert setting["auc"] == pytest.approx(np.mean(areas))
    ensemble = np.mean([run.found.declared for run in runs], axis=0)
    assert setting["accuracy"] != pytest.approx(stats.accuracy(runs[0].found.y_true, ensemble))
    (alone,) = compared(runs[1])["settings"]
    widths = [s["accuracy_high"] - s["accuracy_low"] for s in (setting, alone)]
    assert widths[0] == pytest.approx(widths[1], rel=0.1), "the same cases again tell as much as before"


def test_a_run_made_twice_counts_once() -> None:
    a = made("a", 0.7)
    assert len(settings.declared_of([a, made("again", 0.6)])) == PER_FOLD


def test_numbers_of_a_setting_over_folds_are_those_of_stats_on_all_its_cases() -> None:
    runs = [made(f"run{fold}", 0.6 + 0.05 * fold, fold) for fold in range(FOLDS)]
    (setting,) = compared(*runs)["settings"]
    y_true, y_prob = (np.concatenate([getattr(run.found, what) for run in runs]) for what in ("y_true", "declared"))
    assert setting["accuracy"] == pytest.approx(stats.accuracy(y_true, y_prob))
    assert setting["auc"] == pytest.approx(intervals.pooled_auc([(r.found.y_true, r.found.declared) for r in runs])[0])
    assert setting["accuracy_low"] < setting["accuracy"] < setting["accuracy_high"]
    exact = intervals.clopper_pearson(round(setting["accuracy"] * 200), 200)
    assert (setting["accuracy_low"], setting["accuracy_high"]) == pytest.approx(exact, abs=0.02)
    assert setting["nir"] == 0.5
    best = max(stats.accuracy(run.found.y_true, row) for run in runs for row in run.found.y_prob)
    assert (setting["best_accuracy"], setting["best_run"]) == (best, "run4")


def test_all_right_has_an_exact_interval() -> None:
    (setting,) = compared(made("a", 1.0))["settings"]
    assert (setting["accuracy"], setting["accuracy_high"]) == (1, 1)
    assert setting["accuracy_low"] == pytest.approx(intervals.clopper_pearson(PER_FOLD, PER_FOLD)[0])
    assert setting["auc_low"] < 1


def test_other_split_seeds_are_repeats_and_not_more_cases() -> None:
    once = [made(f"a{fold}", 0.7, fold) for fold in range(FOLDS)]
    twice = once + [made(f"b{fold}", 0.7, fold, split_seed=1) for fold in range(FOLDS)]
    (first,), (second,) = compared(*once)["settings"], compared(*twice)["settings"]
    assert (second["cases"], second["folds"], second["runs"]) == (200, 10, 10)
    assert second["accuracy"] == pytest.approx(first["accuracy"])
    widths = [s["accuracy_high"] - s["accuracy_low"] for s in (first, second)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15), "the same cases again tell as much as before"


def test_scans_of_a_patient_widen_the_interval() -> None:
    widths = []
    for scans in (1, 4):
        runs = [made(f"a{fold}", 0.7, fold, scans=scans) for fold in range(FOLDS)]
        (setting,) = compared(*runs)["settings"]
        widths.append(setting["accuracy_high"] - setting["accuracy_low"])
        assert setting["patients"] == 200 / scans
    assert widths[1] > 1.5 * widths[0]


# ---- learned ----


def test_the_p_of_one_fold_is_the_joint_one() -> None:
    runs = [made("a", 0.75, lr=1e-5), made("b", 0.5, lr=2e-5), made("c", 0.6, lr=5e-5)]
    found = compared(*runs)
    first = runs[0].found
    joint = permutation.joint_selection_p_values(
        first.y_true,
        [run.found.y_prob for run in runs],
        metrics=["val_accuracy"] * 3,
        groups=first.groups,
        n_permutations=199,
    )
    assert [s["p_selection"] for s in found["settings"]] == pytest.approx(joint.tolist())
    assert found["settings"][0]["p_selection"] < 0.05
    assert text(found).startswith("Learned: lr=1e-05 (p 0.0")


def test_nothing_learned_says_what_so_many_cases_can_show() -> None:
    said = text(compared(made("a", lr=1e-5), made("b", lr=2e-5)))
    least = power.detectable_accuracy(PER_FOLD, 0.5, 0.05 / 2)
    assert (
        "Nothing was learned, as far as can be told: the smallest p, corrected for all 2 runs and their epochs," in said
    )
    assert f"{PER_FOLD} cases can show a true accuracy of {least:.1%} or better so corrected." in said


def test_what_cases_can_show_allows_for_folds_and_for_other_runs_of_a_fold() -> None:
    folds = [made(f"a{fold}", 0.5, fold) for fold in range(FOLDS)]
    (setting,) = compared(*folds)["settings"]
    assert setting["learnable"] == pytest.approx(power.detectable_accuracy(round(200 / 1.8), 0.5))
    seeds = [made(f"s{seed}", 0.5, seed=seed) for seed in range(3)]
    (setting,) = compared(*seeds)["settings"]
    assert setting["learnable"] == pytest.approx(power.detectable_accuracy(PER_FOLD, 0.5, 0.05 / 3))
    found = compared(made("a", lr=1e-5), made("b", 0.5, 1, lr=2e-5))
    assert found["settings"][0]["learnable"] == pytest.approx(power.detectable_accuracy(PER_FOLD, 0.5, 0.05 / 2))


def test_a_little_in_every_fold_is_more_than_in_one() -> None:
    single = [compared(made(f"a{fold}", 0.65, fold))["settings"][0]["p_selection"] for fold in range(FOLDS)]
    together = compared(*(made(f"a{fold}", 0.65, fold) for fold in range(FOLDS)))["settings"][0]["p_selection"]
    assert together < 0.6 * min(single)
    assert together == pytest.approx(inference.stouffer(single, FOLDS), abs=0.01)


def test_stouffer_with_correlated_folds_has_its_level() -> None:
    rng = np.random.default_rng(0)
    z = rng.multivariate_normal(np.zeros(5), 0.8 * np.eye(5) + 0.2, 4000)
    p = [inference.stouffer(row, 5) for row in norm.sf(z)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.012)
    assert inference.stouffer([0.03], 5) == 0.03
    assert inference.stouffer([1.0, 0.001], 5) < 1


def test_settings_with_other_folds_cost_a_correction() -> None:
    a, b = made("a", 0.75, lr=1e-5), made("b", 0.75, 1, lr=2e-5)
    alone = compared(a)["settings"][0]["p_selection"]
    assert compared(a, b)["settings"][0]["p_selection"] == pytest.approx(2 * alone)
    again = replace(made("c", 0.5, 1, split_seed=1), setting=a.setting)
    assert compared(a, again)["settings"][0]["p_selection"] == pytest.approx(2 * alone)


def test_a_shortcut_is_told_from_learning() -> None:
    run = made("a", 0.9)
    side = run.found.declared > 0.5
    strata = {case: f"vendor={vendor}" for case, vendor in zip(run.found.case_ids, side, strict=True)}
    found = compared(replace(run, strata=strata))
    assert found["settings"][0]["p_selection"] < 0.05 <= found["settings"][0]["p_within"]
    assert "Learned, but perhaps a shortcut only" in text(found)
    assert compared(run)["settings"][0]["p_within"] is None


def test_a_constant_answer_has_not_learned() -> None:
    run = made("a", 0.9)
    y_prob = np.concatenate([run.found.y_prob, np.full((3, PER_FOLD), 0.9)])
    found = compared(replace(run, found=replace(run.found, y_prob=y_prob)))
    assert found["settings"][0]["p_selection"] < 0.05
    assert "Learned:" not in text(found)
    assert "One side only, whatever the image: the one setting." in text(found)
    assert "smallest p" not in text(found), "the p of an epoch that the declared predictions are not"


def constant(name: str, value: float, fold: int = 0, **setting: Any) -> ExperimentRun:
    """A run that declares `value` of every case, after an epoch that has learned."""
    run = made(name, 0.95, fold, **setting)
    y_prob = np.concatenate([run.found.y_prob[:1], np.full((EPOCHS, PER_FOLD), value)])
    return replace(run, monitor="val_accuracy", found=replace(run.found, y_prob=y_prob))


def test_the_smallest_p_is_that_of_a_setting_that_is_not_constant() -> None:
    found = compared(constant("a", 0.9, lr=1e-5), made("b", 0.5, lr=2e-5))
    first, second = (s["p_selection"] for s in found["settings"])
    assert first < 0.05 < second
    assert f"is {second:.2g}; " in text(found)
    assert "One side only, whatever the image: lr=1e-05." in text(found)


def test_one_side_only_is_judged_by_run() -> None:
    found = compared(*(constant(f"a{fold}", 0.1 + 0.8 * (fold % 2), fold) for fold in range(4)))
    assert found["settings"][0]["predicted_positive"] == 0.5
    assert "One side only, whatever the image: the one setting." in text(found)
    assert "Learned" not in text(found)
    mixed = compared(constant("a", 0.9), made("b", 0.9, 1))
    assert "One side only" not in text(mixed)


def test_runs_of_a_fold_without_a_case_in_common_have_no_p() -> None:
    a, b = made("a", 0.95, lr=1e-5), made("b", 0.95, lr=2e-5)
    other = replace(b, found=replace(b.found, case_ids=np.array([f"x{case}" for case in b.found.case_ids])))
    found = compared(a, other)
    assert [s["p_selection"] for s in found["settings"]] == [1, 1]
    assert "Learned" not in text(found)


# ---- differ ----


def test_a_pair_is_the_difference_of_declared_predictions_with_mcnemars_p() -> None:
    a, b = made("a", 0.55, lr=1e-5), made("b", 0.95, lr=1e-4)
    (pair,) = compared(a, b)["pairs"]
    assert (pair["a"], pair["b"], pair["cases"]) == ("lr=1e-05", "lr=0.0001", PER_FOLD)
    right = [(run.found.declared > 0.5) == run.found.y_true for run in (a, b)]
    assert pair["accuracy"]["estimate"] == pytest.approx(0.4)
    assert pair["accuracy"]["p"] == pytest.approx(hypothesis_tests.mcnemar_p_value(*right))
    assert pair["accuracy"]["low"] > 0
    assert pair["discordant"] == np.mean(right[0] != right[1])
    assert pair["differ"] == ["accuracy", "auc"]
    assert pair["accuracy"]["nadeau_bengio"] is None
    tests = [pair["accuracy"], pair["auc"]]
    np.testing.assert_allclose([t["p_holm"] for t in tests], hypothesis_tests.holm(np.array([t["p"] for t in tests])))


def test_several_folds_are_worth_less_than_independent_cases() -> None:
    runs = [[made(f"{name}{fold}", right, fold, lr=lr) for fold in range(FOLDS)] for name, right, lr in TWO]
    (pair,) = compared(*runs[0], *runs[1])["pairs"]
    right = [np.concatenate([(r.found.declared > 0.5) == r.found.y_true for r in of]) for of in runs]
    plain = hypothesis_tests.mcnemar_p_value(*right)
    assert pair["accuracy"]["p"] == pytest.approx(2 * norm.sf(norm.isf(plain / 2) / np.sqrt(1.8)))
    assert plain < pair["accuracy"]["p"]


TWO = (("a", 0.55, 1e-5), ("b", 0.7, 1e-4))


def test_the_interval_of_a_difference_over_folds_is_as_much_wider_as_its_p_is_larger() -> None:
    runs = [[made(f"{name}{fold}", right, fold, lr=lr) for fold in range(FOLDS)] for name, right, lr in TWO]
    (pair,) = compared(*runs[0], *runs[1])["pairs"]
    rows = inference.paired(*map(settings.declared_of, runs))
    names = ("label", "probability_a", "probability_b")
    for metric in comparison.METRICS:
        estimate, low, high, _ = bootstrap.paired_difference(
            *(rows[name].to_numpy() for name in names),
            groups=rows["group"].to_numpy(),
            folds=rows["fold"].to_numpy(),
            metric=metric,
        )
        assert pair[metric]["estimate"] - pair[metric]["low"] == pytest.approx(np.sqrt(1.8) * (estimate - low))
        assert pair[metric]["high"] - pair[metric]["estimate"] == pytest.approx(np.sqrt(1.8) * (high - estimate))


def test_more_seeds_on_one_side_are_no_advantage() -> None:
    """An ensemble of five is better than each of the five: the one seed that both have is what is compared."""
    five = [made(f"s{seed}", 0.65, seed=seed, lr=1e-5) for seed in range(5)]
    one = replace(five[3], name="b", setting=five[3].setting | {"lr": 1e-4})
    (pair,) = compared(*five, one)["pairs"]
    assert (pair["accuracy"]["estimate"], pair["accuracy"]["p"], pair["auc"]["p"]) == (0, 1, 1)
    assert not pair["other_seeds"]


def test_seeds_that_both_have_are_paired_and_their_differences_averaged() -> None:
    a = [made(f"a{seed}", 0.5, seed=seed, lr=1e-5) for seed in (0, 1)]
    b = [made(f"b{seed}", right, seed=seed, lr=1e-4) for seed, right in ((1, 0.9), (0, 0.6), (2, 0.1))]
    (pair,) = compared(*a, *b)["pairs"]
    assert pair["cases"] == PER_FOLD
    assert pair["accuracy"]["estimate"] == pytest.approx(0.25)
    right = {run.name: (run.found.declared > 0.5) == run.found.y_true for run in [*a, *b]}
    p = [hypothesis_tests.mcnemar_p_value(right[f"a{seed}"], right[f"b{seed}"]) for seed in (0, 1)]
    assert pair["accuracy"]["p"] == pytest.approx(min(1, 2 * np.mean(p)))


@pytest.mark.parametrize(("seeds", "estimate"), [((2, 3), 0.3), ((2, 3, 4), 0.1)])
def test_without_a_seed_in_common_the_order_counts_or_the_first_and_it_says_so(
    seeds: tuple[int, ...], estimate: float
) -> None:
    a = [made(f"a{seed}", 0.5, seed=seed, lr=1e-5) for seed in (0, 1)]
    b = [made(f"b{seed}", right, seed=seed, lr=1e-4) for seed, right in zip(seeds, (0.6, 1.0, 1.0), strict=False)]
    found = compared(*a, *b)
    assert found["pairs"][0]["accuracy"]["estimate"] == pytest.approx(estimate)
    assert "No seed of training in common, so paired in their order" in text(found)
    assert "No seed" not in text(compared(*a, *(replace(run, seed=run.seed - 2) for run in b)))


def test_a_p_that_so_few_cases_do_not_have_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = bootstrap.paired_difference
    monkeypatch.setattr(bootstrap, "paired_difference", lambda *a, **k: (*plain(*a, **k)[:3], float("nan")))
    found = compared(made("a", 0.5, lr=1e-5), made("b", 0.9, lr=1e-4))
    assert found["pairs"][0]["differ"] == ["accuracy"]
    assert "Too few cases for a p: auc of lr=1e-05 and lr=0.0001." in text(found)
    json.dumps(comparison.plain(found), allow_nan=False)


def test_two_scans_of_a_patient_take_the_draws_of_patients() -> None:
    a, b = made("a", 0.5, scans=2, lr=1e-5), made("b", 0.9, scans=2, lr=1e-4)
    (pair,) = compared(a, b)["pairs"]
    rows = inference.paired(settings.declared_of([a]), settings.declared_of([b]))
    drawn = bootstrap.paired_difference(
        *(rows[name].to_numpy() for name in ("label", "probability_a", "probability_b")),
        groups=rows["group"].to_numpy(),
        metric="accuracy",
    )
    assert (pair["accuracy"]["estimate"], pair["accuracy"]["low"], pair["accuracy"]["high"]) == drawn[:3]
    assert pair["accuracy"]["p"] == pytest.approx(drawn[3])


def test_ten_folds_of_two_splits_must_convince_nadeau_and_bengio_too() -> None:
    runs = [
        made(f"{name}{fold}{split}", right + 0.05 * (-1) ** fold * (name == "b"), fold, split_seed=split, lr=lr)
        for name, right, lr in TWO
        for fold in range(FOLDS)
        for split in (0, 1)
    ]
    (pair,) = compared(*runs)["pairs"]
    differences = [
        stats.accuracy(b.found.y_true, b.found.declared) - stats.accuracy(a.found.y_true, a.found.declared)
        for a, b in zip(runs[:10], runs[10:], strict=True)
    ]
    numbers = hypothesis_tests.nadeau_bengio(np.array(differences), test_share=0.2)
    assert list(pair["accuracy"]["nadeau_bengio"].values()) == pytest.approx(list(numbers))
    assert pair["accuracy"]["p"] >= numbers[3]
    assert pair["cases"] == 200


def test_settings_without_a_fold_in_common_are_not_compared() -> None:
    found = compared(made("a", lr=1e-5), made("b", 0.9, 1, lr=1e-4))
    assert found["pairs"][0]["cases"] == 0
    assert "accuracy" not in found["pairs"][0]
    assert "No fold in common, so not compared: lr=1e-05 and lr=0.0001." in text(found)


def test_a_fold_of_one_label_has_no_auc_and_no_nan() -> None:
    runs = [made("a", lr=1e-5), made("b", lr=1e-4)]
    ones = [replace(r, found=replace(r.found, y_true=np.ones(PER_FOLD, int))) for r in runs]
    found = comparison.plain(compared(*ones))
    assert found["settings"][0]["auc"] is None
    assert found["pairs"][0]["auc"]["p"] is None
    json.dumps(found, allow_nan=False)


def test_equal_predictions_do_not_differ() -> None:
    a = made("a", 0.7, lr=1e-5)
    found = compared(a, replace(a, name="b", setting=a.setting | {"lr": 1e-4}))
    (pair,) = found["pairs"]
    assert (pair["accuracy"]["p"], pair["differ"], pair["detectable"], pair["cases_needed"]) == (1, [], None, None)
    assert "could" not in text(found)


def test_the_sentences_say_what_n_could_show_and_what_would_settle_it() -> None:
    found = compared(made("a", 0.55, lr=1e-5), made("b", 0.65, lr=1e-4))
    (pair,) = found["pairs"]
    least = power.detectable_difference(PER_FOLD, pair["discordant"], 0.025)
    assert pair["detectable"] == pytest.approx(least)
    said = text(found)
    assert "Nothing shows that the settings differ" in said
    assert f"40 cases could have shown a true difference of accuracy of {least:.1%} or more (80% power)" in said
    assert f"would take about {pair['cases_needed']} cases if it is real" in said
    assert "One seed each" in said


def test_the_cases_needed_are_those_that_mcnemar_takes() -> None:
    needed = comparison.cases_needed(0.1, 0.3, 0.05)
    assert needed is not None
    assert power.detectable_difference(needed, 0.3, 0.05) == pytest.approx(0.1, abs=0.006)
    assert comparison.cases_needed(0, 0.3, 0.05) is None


@pytest.mark.parametrize("runs", [2, 4])
def test_settings_without_signal_differ_seldom(runs: int) -> None:
    """Of curves that are as smooth as can be, and of such as are not at all; the level is 0.05 of a sweep."""
    differ = 0
    for trial in range(25):
        made_ = []
        for number in range(runs):
            rng = np.random.default_rng([trial, number])
            y_prob = rng.uniform(size=(EPOCHS if number % 2 else 1, PER_FOLD))
            run = made(f"{number}", lr=float(number + 1))
            y_prob = np.repeat(y_prob, 1 if number % 2 else EPOCHS, axis=0)
            made_.append(replace(run, found=replace(run.found, y_prob=y_prob)))
        grouped = settings.by_setting(made_, ["lr"])
        rows = [settings.declared_of(of) for _, of in grouped]
        differ += any(pair["differ"] for pair in comparison.differences(grouped, rows, 0.05, 0))
    assert differ <= 4  # P(X > 4) is 0.7 % at 0.05


# ---- confounded, designs, noise ----


def test_params_that_change_together_are_confounded() -> None:
    runs = [made("a", 0.5, lr=1e-5, batch_size=2), made("b", 0.95, lr=1e-4, batch_size=8)]
    found = compared(*runs)
    assert found["confounded"] == [("lr", "batch_size")]
    assert found["pairs"][0]["confounded"]
    said = text(found)
    assert "Confounded, always changed together, so neither can be credited: lr with batch_size." in said
    assert "lr and batch_size changed together, so neither can be credited" in said
    apart = compared(*runs, made("c", lr=1e-5, batch_size=8))
    assert apart["confounded"] == []
    assert [pair["confounded"] for pair in apart["pairs"]].count(True) == 1


def test_main_effects_of_the_plan_are_found_and_compared_with_the_noise() -> None:
    base = dict.fromkeys(screening.LEVELS) | {"lr": 5e-5, "batch_size": 4, "train.schedule": "constant"}
    runs = []
    for fold in range(FOLDS):
        for number, setting in enumerate(screening.settings()):
            right = 0.85 if setting["model.norm"] == "after_conv" else 0.55
            runs.append(made(f"p{number}{fold}", right, fold, **setting))
        runs += [made(f"c{seed}{fold}", 0.6 + 0.05 * seed, fold, seed=seed, **base) for seed in (0, 1)]
    found = compared(*runs, permutations=99)
    assert found["seed_variability"] == {"pairs": 5, "accuracy": pytest.approx(0.05)}
    effects = {effect["key"]: effect for effect in found["main_effects"]}
    assert set(effects) == set(screening.LEVELS)
    norm_ = effects["model.norm"]
    assert (norm_["low_level"], norm_["high_level"]) == ("after_conv", "after_pool")
    assert norm_["estimate"] == pytest.approx(-0.3)
    assert norm_["low"] < -0.2 < norm_["high"] + 0.2
    assert norm_["p_holm"] < 0.05
    assert not norm_["within_noise"]
    for key in set(effects) - {"model.norm"}:
        assert effects[key]["estimate"] == pytest.approx(0, abs=1e-9)
        assert effects[key]["low"] < 0 < effects[key]["high"]
        assert effects[key]["within_noise"]
    said = text(found)
    assert "screening design" in said
    assert "They differ" not in said
    assert "Two seeds of the same setting and fold differ by 5.0% of accuracy" in said


def test_what_is_no_design_has_no_main_effects() -> None:
    four = [{"a": a, "b": b} for a in (0, 1) for b in (0, 1)]
    assert screening.orthogonal(four) is None, "a grid is compared in pairs"
    every = [dict(zip("abcde", levels, strict=True)) for levels in product((0, 1), repeat=5)]
    columns = screening.orthogonal(every)
    assert columns is not None
    assert columns["a"] == [-1] * 16 + [1] * 16
    assert screening.orthogonal(every[:-2]) is None
    assert screening.orthogonal([{"a": a} for a in range(4)]) is None
    assert screening.orthogonal(screening.settings()[1:]) is None


def test_a_grid_and_a_fifth_setting_are_compared_in_pairs() -> None:
    grid = [made(f"{lr}{size}", lr=lr, batch_size=size) for lr in (1e-5, 1e-4) for size in (2, 4)]
    found = compared(*grid)
    assert (len(found["pairs"]), found["main_effects"]) == (6, [])
    fifth = made("fifth", 1.0, lr=5e-5, batch_size=8)
    found = compared(*grid, fifth)
    assert len(found["pairs"]) == 10
    assert "They differ: lr=5e-05 batch_size=8 against" in text(found) or "against lr=5e-05 batch_size=8" in text(found)


def planned(*others: ExperimentRun, fold: Any = lambda number: 0) -> dict[str, Any]:
    return compared(*(made(f"p{n}", 0.5, fold(n), **s) for n, s in enumerate(screening.settings())), *others)


def test_settings_outside_of_a_design_are_compared_among_themselves() -> None:
    base: dict[str, Any] = {
        **dict.fromkeys(screening.LEVELS),
        "lr": 5e-5,
        "batch_size": 4,
        "train.schedule": "constant",
    }
    centre, better = made("c", 0.5, **base), made("b", 1.0, **base | {"lr": 2e-5})
    found = planned(centre)
    assert (len(found["main_effects"]), found["pairs"], found["confounded"]) == (7, [], [])
    found = planned(centre, better)
    assert len(found["main_effects"]) == 7
    (pair,) = found["pairs"]
    assert (pair["changed"], pair["differ"]) == (["lr"], ["accuracy", "auc"])
    assert "They differ:" in text(found)
    assert "Settings are a screening design. Main effects on the accuracy, each mixed with products of" in text(found)
    said = text(planned(centre, replace(centre, name="d", setting=centre.setting | {"lr": 2e-5})))
    assert "Nothing shows that the settings outside of the design differ" in said


def test_a_design_of_every_combination_mixes_nothing() -> None:
    levels = [dict(zip(("v", "w", "x", "y", "z"), signs, strict=True)) for signs in product((0, 1), repeat=5)]
    found = compared(*(made(f"{n}", 0.5, **setting) for n, setting in enumerate(levels)), permutations=19)
    assert len(found["main_effects"]) == 5
    assert "Main effects on the accuracy:" in text(found)


def test_a_design_without_a_case_in_common_falls_back_to_pairs() -> None:
    found = planned(fold=lambda number: number % 2)
    assert (found["main_effects"], len(found["pairs"])) == ([], 28)
    assert "One setting only" not in text(found)
    assert "No fold in common, so not compared" in text(found)
    assert "One setting only" in text(compared(made("a")))


# ---- test fold, cohorts, commands ----


def test_a_test_fold_is_corrected_and_its_best_marked() -> None:
    def with_test(run: ExperimentRun, right: float) -> ExperimentRun:
        return replace(run, test=made(f"t{run.name}", right, 4).found)

    a, b, c = (made(name, lr=lr) for name, lr in (("a", 1e-5), ("b", 5e-5), ("c", 1e-4)))
    found = compared(with_test(a, 0.75), with_test(b, 0.5), c)
    first, second, third = found["settings"]
    p = [hypothesis_tests.binomial_p_value(k, PER_FOLD, 0.5) for k in (30, 20)]
    assert (first["test_accuracy"], first["test_p"], second["test_p"]) == pytest.approx((0.75, *p))
    assert [first["test_p_holm"], second["test_p_holm"]] == pytest.approx(hypothesis_tests.holm(np.array(p)).tolist())
    assert [s["selected_on_test"] for s in found["settings"]] == [True, False, False]
    assert third["test_accuracy"] is third["test_p_holm"] is None
    assert "corrected for 2 settings (the best of several: selected on the test fold)." in text(found)
    (alone,) = compared(with_test(a, 0.75))["settings"]
    assert not alone["selected_on_test"]
    (both,) = compared(with_test(a, 0.75), with_test(replace(b, setting=a.setting, seed=1), 0.5))["settings"]
    assert both["test_accuracy"] == pytest.approx(0.625), "each of two networks, and not what they say together"
    assert both["test_p"] == pytest.approx(sum(p))
    scans = with_test(a, 0.75)
    assert scans.test is not None
    pairs = replace(scans.test, groups=np.arange(PER_FOLD) // 2)
    assert comparison.tested([replace(scans, test=pairs)])["test_p"] > 2 * p[0], (
        "two scans of a patient are no two cases"
    )


def test_other_data_are_left_out_with_the_reason() -> None:
    runs = [
        replace(made(name), cohort={"data/ingest": data, "labels": labels, "split.folds": folds})
        for name, data, labels, folds in (
            *(("a", "x", "y", "5"), ("b", "x", "y", "5"), ("c", "z", "y", "5"), ("d", "x", "w", "3")),
        )
    ]
    kept, others = settings.same_cohort(runs)
    assert [run.name for run in kept] == ["a", "b"]
    assert others == {
        "c": "other data/ingest: never pooled or compared with these",
        "d": "other labels, split.folds: never pooled or compared with these",
    }
    kept, others = settings.same_cohort([*runs, replace(runs[2], name="workspace")])
    assert [run.name for run in kept] == ["c", "workspace"]


def test_runs_of_another_split_with_the_same_seed_are_left_out() -> None:
    runs = [
        replace(made(name, split_seed=split_seed), split=split)
        for name, split_seed, split in (("a", 0, "x"), ("b", 0, "x"), ("c", 0, "y"), ("d", 1, "z"))
    ]
    kept, others = settings.same_cohort(runs)
    assert [run.name for run in kept] == ["a", "b", "d"]
    assert list(others) == ["c"]
    assert others["c"].startswith("other data/split than the other runs of split seed 0: never pooled")
    kept, others = settings.same_cohort([*runs, replace(runs[2], name="workspace")])
    assert [run.name for run in kept] == ["c", "d", "workspace"]


def test_the_commands_run_the_folds_that_are_missing() -> None:
    found = compared(made("a", lr=1e-5), made("b", lr=1e-5, fold=2), made("c", lr=1e-4))
    assert found["commands"] == [
        "dvc exp run --queue -S lr=1e-05 -S val_fold=1,3,4",
        "dvc exp run --queue -S lr=0.0001 -S val_fold=1,2,3,4",
        "dvc queue start",
        "flairprep compare",
    ]


def test_the_commands_change_what_params_yaml_has_otherwise_by_now() -> None:
    runs = [made(name, lr=lr, **{"model.filters": [4, 8]}) for name, lr in (("a", 1e-5), ("b", 1e-4))]
    first, *_ = comparison.compare(runs, CURRENT, alpha=0.05, permutations=99)["commands"]
    assert shlex.split(first)[4:] == ["-S", "lr=1e-05", "-S", "model.filters=[4,8]", "-S", "val_fold=1,2,3,4"]


def test_when_all_folds_are_there_the_commands_repeat_them_with_another_split() -> None:
    runs = [made(f"a{fold}", fold=fold, seed=3) for fold in range(FOLDS)]
    found = compared(*runs)
    assert found["commands"][0] == "dvc exp run --queue -S split.seed=1 -S seed=4 -S val_fold=0,1,2,3,4"
    assert "One setting only: there is nothing to compare." in text(found)


def test_a_test_fold_is_no_fold_to_validate_on() -> None:
    found = comparison.compare([made("a", test_fold=4)], CURRENT | {"test_fold": 4}, alpha=0.05, permutations=99)
    assert found["commands"][0] == "dvc exp run --queue -S val_fold=1,2,3"


def test_no_run_is_an_error() -> None:
    with pytest.raises(FlairprepError, match="no run"):
        compared()


def test_the_table_and_the_chart_hold_every_setting() -> None:
    found = compared(made("a", lr=1e-5), made("b", lr=1e-4))
    lines = summary.table(found).splitlines()
    assert [line.split()[0] for line in lines] == ["lr", "1e-05", "0.0001"]
    values = summary.plot(found)["data"]["values"]
    assert [row["name"] for row in values] == ["lr=1e-05", "lr=0.0001"]
    assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in values)
    assert comparison.as_rows(found)["lr"].tolist() == ["1e-05", "0.0001"]
    assert lines[0].endswith("its p")
    assert summary.table(compared(made("a"), made("b", fold=1))).splitlines()[0].endswith("p of the setting")


def test_an_estimate_without_an_interval_stands_alone() -> None:
    nan = float("nan")
    setting = {"auc": 0.5, "auc_low": nan, "auc_high": nan}
    assert summary._interval(setting, "auc") == "0.500"
    assert summary._interval(setting | {"auc": nan}, "auc") == "-"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.0001234567, "0.0001234567"), (1e-5, "1e-05"), (1e-4, "0.0001"), (6.0, "6"), (1234567.5, "1234567.5")],
)
def test_a_value_is_said_with_every_digit(value: float, said: str) -> None:
    assert params.value_of(value) == said
    assert float(said) == value


# ---- what DVC knows ----


def test_the_lock_of_a_run_that_broke_off_is_told_by_its_hashes() -> None:
    stages = {
        "split": {"outs": [{"path": "data/split", "md5": "new"}]},
        "train": {"deps": [{"path": "data/split", "md5": "old"}]},
    }
    assert experiments._stale(stages) == "train"
    stages["train"]["deps"][0]["md5"] = "new"
    assert experiments._stale(stages) is None


def test_a_null_of_model_and_train_is_the_setting_that_it_stands_for() -> None:
    flat = params.flatten(YAML(typ="safe", pure=True).load(PARAMS))
    setting = experiments.setting_of(flat)
    assert setting["train.monitor"] == "val_loss"
    assert experiments.setting_of(flat | {"model.skip": True, "model.dropout": 0.0}) == setting
    assert experiments.setting_of(flat | {"model.filters": [8, 16, 32, 64]}) == setting
    assert experiments.setting_of(flat | {"model.skip": False}) != setting
    assert experiments.setting_of(flat | {"train.monitor": "val_loss"}) == setting
    former, now = ({"model.name": name} for name in ("question_cnn", "tutorial_cnn"))
    assert experiments.setting_of(flat | former) == experiments.setting_of(flat | now)
    assert not set(setting) & {"seed", "val_fold", "split.seed", "evaluate.seed", "split.folds"}
    cohort = experiments.cohort_of(flat, {"data/ingest": "x"})
    assert cohort["data/ingest"] == "x"
    assert "split.folds" in cohort
    assert "split.seed" not in cohort


def test_a_whole_number_is_the_same_value_with_and_without_a_point() -> None:
    flat = params.flatten(YAML(typ="safe", pure=True).load(PARAMS))
    with_point = flat | {"normalize.clip": 6.0, "ingest.min_slices": 8.0, "ingest.x": [8.0, 16], "export.x": [8.0, 16]}
    without = flat | {"normalize.clip": 6, "ingest.min_slices": 8, "ingest.x": [8, 16], "export.x": [8, 16]}
    assert json.dumps(experiments.setting_of(with_point)) == json.dumps(experiments.setting_of(without))
    assert experiments.cohort_of(with_point, {}) == experiments.cohort_of(without, {})


def test_what_another_version_left_is_named_in_a_line() -> None:
    flat = params.flatten(YAML(typ="safe", pure=True).load(PARAMS))
    for wrong, fault in (
        ({"train.momentum": 0.9}, "unknown key 'train.momentum'"),
        ({"model.name": "vgg"}, "model.name: 'vgg'"),
        ({"train.monitor": "val_f1"}, "train.monitor: 'val_f1'"),
    ):
        with pytest.raises(FlairprepError, match=fault) as raised:
            experiments.setting_of(flat | wrong)
        assert "http" not in str(raised.value)
    with pytest.raises(FlairprepError, match="no 'data/ingest', so of another version of the pipeline; run it again"):
        experiments._run("old", {"train": {"params": {"params.yaml": flat}}}, NoFiles())
    for lock in ("<<<<<<< HEAD\nschema: '2.0'\n=======\nstages: {}\n>>>>>>> b\n", "", "schema: '2.0'\n"):
        with pytest.raises(
            FlairprepError, match=r"marks of a merge in it; git checkout --ours dvc\.lock, then dvc repro"
        ):
            experiments._stages(lock)


class NoFiles:
    """A revision with tables but without reports."""

    def read_text(self, path: str) -> str:
        if path.startswith("reports"):
            raise FileNotFoundError(path)
        return "case_id,label,group,fold\n"


FAKE = """
import csv, json, pathlib, random, sys
from ruamel.yaml import YAML

p = YAML(typ="safe", pure=True).load(pathlib.Path("params.yaml"))
read = lambda path: list(csv.reader(open(path)))[1:]


def put(path, *rows):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    csv.writer(path.open("w", newline=""), lineterminator="\\n").writerows(rows)


match sys.argv[1]:
    case "ingest":
        put("data/ingest/cases.csv", ("case_id", "status"), *((case, "ok") for case, _ in read(p["labels"]["table"])))
    case "split":
        rows = read(p["labels"]["table"])
        folds = [i // 2 % p["split"]["folds"] for i in range(len(rows))]
        random.Random(p["split"]["seed"]).shuffle(folds)
        rows = [(case, label, case, fold) for (case, label), fold in zip(rows, folds)]
        put("data/split/split.csv", ("case_id", "label", "group", "fold"), *rows)
    case "train":
        if p["lr"] > 1:
            sys.exit("diverged")
        head = ("epoch", "case_id", "label", "probability")
        rng, signal = random.Random(str((p["seed"], p["lr"], p["val_fold"]))), p["lr"] < 5e-5
        cases = [row for row in read("data/split/split.csv") if int(row[3]) == p["val_fold"]]
        score = lambda label: round(0.5 * rng.random() + (int(label) / 2 if signal else 0.25), 6)
        rows = [(epoch, case, label, score(label)) for epoch in (1, 2, 3) for case, label, *_ in cases]
        put("data/train/val_predictions.csv", head, *rows)
        put("data/train/test_predictions.csv", head)
    case "audit":
        pathlib.Path("reports/audit.json").write_text(json.dumps({"strata": {}}))
    case "evaluate":
        pathlib.Path("reports/metrics.json").write_text(json.dumps({"accuracy": 0.5}))
"""
PIPELINE = {
    "ingest": (["data/raw/train_labels.csv"], ["ingest", "labels"], "data/ingest"),
    "split": (["data/raw/train_labels.csv", "data/ingest/cases.csv"], ["labels", "split"], "data/split"),
    "train": (
        ["data/split"],
        ["lr", "batch_size", "epochs", "seed", "val_fold", "test_fold", "model", "train"],
        "data/train",
    ),
}


def project(root: Path) -> Path:
    """A project of git and DVC whose stages are quick, without a commit."""
    (root / "reports").mkdir()
    (root / "data/raw").mkdir(parents=True)
    (root / "fake.py").write_text(FAKE)
    (root / "data/raw/train_labels.csv").write_text("id,label\n" + "".join(f"{i:05d},{i % 2}\n" for i in range(60)))
    (root / "params.yaml").write_text(PARAMS.read_text())
    stages: dict[str, Any] = {
        name: {"cmd": f"{sys.executable} fake.py {name}", "deps": deps, "params": params, "outs": [out]}
        for name, (deps, params, out) in PIPELINE.items()
    }
    metrics = [{"reports/metrics.json": {"cache": False}}]
    stages["evaluate"] = {"cmd": f"{sys.executable} fake.py evaluate", "deps": ["data/train"], "metrics": metrics}
    audit = {"cmd": f"{sys.executable} fake.py audit", "deps": ["data/split"]}
    stages["audit"] = audit | {"outs": [{"reports/audit.json": {"cache": False}}]}
    YAML().dump({"stages": stages}, root / "dvc.yaml")
    shell(root, "git init -q -b main")
    shell(root, "git config user.email test@example.org")
    shell(root, "git config user.name test")
    shell(root, "dvc init -q")
    (root / ".dvc/config").write_text("[core]\n    autostage = true\n    analytics = false\n")
    return root


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished first run, an experiment of it, one that failed, and one that waits."""
    root = project(tmp_path_factory.mktemp("repository"))
    shell(root, "git add -A")
    shell(root, "dvc repro -q")
    shell(root, "git add -A")
    shell(root, "git commit -q -m first")
    shell(root, "dvc exp run -q --queue --name failing -S lr=10")
    shell(root, "dvc queue start -j 1")
    wait(root, lambda status: "Failed" in status)
    shell(root, "dvc queue stop --kill")
    wait(root, lambda status: "0 active, 0 idle" in status)
    shell(root, "dvc exp run -q --name second -S lr=1e-5")
    shell(root, "dvc exp run -q --queue --name waiting -S lr=2e-5")
    return root


def shell(root: Path, command: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        shlex.split(command), cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def wait(root: Path, done: Any) -> None:
    deadline = time.monotonic() + 120  # of patience, in case the queue never ends
    while not done(status := shell(root, "dvc queue status")):
        assert time.monotonic() < deadline, status
        time.sleep(0.5)


def run(names: list[str], out: Path, **options: Any) -> dict[str, Any]:
    comparison.run(
        names, out, **{"all_commits": False, "html": False, "alpha": 0.05, "permutations": 199, "seed": 0, **options}
    )
    return json.loads((out / "compare.json").read_text())


def test_the_page_says_what_the_answer_says_and_shows_hostile_names_as_text() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    found = compared(made("a", 0.7, note=hostile), made("b", 0.6, note="plain"))
    report = comparison.plain({**found, "left_out": {hostile: "failed"}, "same": {}})
    chart = charts.compared(comparison.plain(summary.plot(found)))
    told = html.render("compare.html", found=report, rows=summary.rows(found), chart=chart)
    assert hostile not in told
    for sentence in found["answer"]:
        assert str(escape(sentence)) in told
    for command in found["commands"]:
        assert str(escape(command)) in told
    assert "<svg" in told


def test_the_workspace_and_the_experiments_in_between(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    before = shell(repository, "git status --short")
    found = run([], tmp_path)
    assert found["left_out"] == {"failing": "failed", "waiting": "queued"}
    assert found["same"] == {"workspace": "second"}
    assert [(s["setting"], s["names"]) for s in found["settings"]] == [
        ({"lr": 1e-5}, ["second"]),
        ({"lr": 1e-4}, ["main"]),
    ]
    assert found["settings"][0]["accuracy"] > 0.9
    assert found["pairs"][0]["cases"] == 12
    said = capsys.readouterr().out
    assert "left out: failing: failed\n" in said
    assert "left out: waiting: queued\n" in said
    assert "    dvc exp run --queue -S lr=1e-05 -S val_fold=1,2,3,4\n" in said
    table = pd.read_csv(tmp_path / "compare.csv")
    assert table["lr"].tolist() == [1e-5, 1e-4]
    assert json.loads((tmp_path / "compare.vl.json").read_text())["data"]["values"]
    assert shell(repository, "git status --short") == before, "nothing of the project is changed"


def test_named_experiments_alone(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    found = run(["second", "HEAD", "failing"], tmp_path)
    assert [s["names"] for s in found["settings"]] == [["second"], ["HEAD"]]
    assert found["left_out"] == {"failing": "failed"}
    with pytest.raises(FlairprepError, match=r"secnd: no experiment or revision; did you mean 'second'\?"):
        run(["secnd"], tmp_path)


def test_a_commit_with_other_labels_is_never_pooled(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    table = repository / "data/raw/train_labels.csv"
    table.write_text(table.read_text().replace("00000,0", "00000,1"))
    shell(repository, "dvc repro -q")
    shell(repository, "git commit -q -a -m relabelled")
    alone = run([], tmp_path)
    assert [s["names"] for s in alone["settings"]] == [["main"]]
    assert alone["left_out"] == {}
    every = run([], tmp_path, all_commits=True, html=True)
    assert "Left out" in (tmp_path / "compare.html").read_text()
    others = {name: why for name, why in every["left_out"].items() if "other" in why}
    assert "second" in others
    assert len(others) == 2  # and the first commit
    assert all(why.startswith("other labels") for why in others.values())
    assert {"failing", "waiting"} < set(every["left_out"])


def test_outside_a_repository_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FlairprepError, match="dvc exp show"):
        run([], tmp_path)


def test_before_a_commit_and_where_git_lacks_the_audit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project(tmp_path)
    monkeypatch.chdir(root)
    shell(root, "dvc repro -q")
    assert [run.name for run in experiments.read_runs().runs] == ["workspace"], "DVC lists nothing before a commit"
    shell(root, "git add -A")
    shell(root, "git rm -q --cached reports/audit.json")
    shell(root, "git commit -q -m first")
    known = experiments.read_runs()
    assert ([run.name for run in known.runs], known.same) == (["main"], {"workspace": "main"})
    assert known.passed_over == {}, "the workspace has what git lacks"
    with pytest.raises(FlairprepError, match="no run that can be read"):
        run(["main"], root / "out")
    assert (
        "left out: main: reports/audit.json is in dvc.lock but not here as audit wrote it; git add reports and commit, "
        "or dvc repro\n" in capsys.readouterr().out
    )
    lock = root / "dvc.lock"
    lock.write_text(f"<<<<<<< HEAD\n{lock.read_text()}=======\n>>>>>>> other\n")
    (why,) = [why for name, why in experiments.read_runs().passed_over.items() if name == "workspace"]
    assert why.startswith("dvc.lock: not as DVC writes it")
