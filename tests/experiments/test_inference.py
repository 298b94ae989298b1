"""Intervals and p-values of settings against those of metrics."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from simulated_runs import FOLDS, PER_FOLD, answer, compare, simulate_run

from flairprep.experiments import comparison, inference, settings
from flairprep.experiments.runs import ExperimentRun
from flairprep.stats import bootstrap, hypothesis_tests, intervals, metrics, permutation, power

TWO = (("a", 0.55, 1e-5), ("b", 0.7, 1e-4))


def accuracy_of(run: ExperimentRun) -> float:
    return metrics.accuracy(run.validation.y_true, run.validation.declared)


def test_metrics_of_several_seeds_are_averaged_and_never_their_probabilities() -> None:
    runs = [simulate_run(f"s{seed}", right, seed=seed) for seed, right in enumerate((0.7, 0.6, 0.5))]
    (setting,) = compare(*runs)["settings"]
    assert (setting["runs"], setting["seeds"], setting["cases"]) == (3, 3, PER_FOLD)
    assert setting["accuracy"] == pytest.approx(np.mean([accuracy_of(run) for run in runs]))
    areas = [metrics.auc(run.validation.y_true, run.validation.declared) for run in runs]
    assert setting["auc"] == pytest.approx(np.mean(areas))
    ensemble = np.mean([run.validation.declared for run in runs], axis=0)
    assert setting["accuracy"] != pytest.approx(metrics.accuracy(runs[0].validation.y_true, ensemble))
    (alone,) = compare(runs[1])["settings"]
    widths = [s["accuracy_high"] - s["accuracy_low"] for s in (setting, alone)]
    assert widths[0] == pytest.approx(widths[1], rel=0.1), "the same cases again add no information"


def test_numbers_of_a_setting_over_folds_are_those_of_stats_on_all_its_cases() -> None:
    runs = [simulate_run(f"run{fold}", 0.6 + 0.05 * fold, fold) for fold in range(FOLDS)]
    (setting,) = compare(*runs)["settings"]
    y_true, y_prob = (
        np.concatenate([getattr(run.validation, what) for run in runs]) for what in ("y_true", "declared")
    )
    assert setting["accuracy"] == pytest.approx(metrics.accuracy(y_true, y_prob))
    assert setting["auc"] == pytest.approx(
        intervals.pooled_auc([(r.validation.y_true, r.validation.declared) for r in runs])[0]
    )
    assert setting["accuracy_low"] < setting["accuracy"] < setting["accuracy_high"]
    exact = intervals.clopper_pearson(round(setting["accuracy"] * 200), 200)
    assert (setting["accuracy_low"], setting["accuracy_high"]) == pytest.approx(exact, abs=0.02)
    assert setting["nir"] == 0.5
    best = max(metrics.accuracy(run.validation.y_true, row) for run in runs for row in run.validation.y_prob)
    assert (setting["best_accuracy"], setting["best_run"]) == (best, "run4")


def test_all_right_has_an_exact_interval() -> None:
    (setting,) = compare(simulate_run("a", 1.0))["settings"]
    assert (setting["accuracy"], setting["accuracy_high"]) == (1, 1)
    assert setting["accuracy_low"] == pytest.approx(intervals.clopper_pearson(PER_FOLD, PER_FOLD)[0])
    assert setting["auc_low"] < 1


def test_other_split_seeds_are_repeats_and_not_more_cases() -> None:
    once = [simulate_run(f"a{fold}", 0.7, fold) for fold in range(FOLDS)]
    twice = once + [simulate_run(f"b{fold}", 0.7, fold, split_seed=1) for fold in range(FOLDS)]
    (first,), (second,) = compare(*once)["settings"], compare(*twice)["settings"]
    assert (second["cases"], second["folds"], second["runs"]) == (200, 10, 10)
    assert second["accuracy"] == pytest.approx(first["accuracy"])
    widths = [s["accuracy_high"] - s["accuracy_low"] for s in (first, second)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15), "the same cases again add no information"


def test_scans_of_a_patient_widen_the_interval() -> None:
    widths = []
    for scans in (1, 4):
        runs = [simulate_run(f"a{fold}", 0.7, fold, scans=scans) for fold in range(FOLDS)]
        (setting,) = compare(*runs)["settings"]
        widths.append(setting["accuracy_high"] - setting["accuracy_low"])
        assert setting["patients"] == 200 / scans
    assert widths[1] > 1.5 * widths[0]


def test_the_p_of_one_fold_is_the_joint_one() -> None:
    runs = [simulate_run("a", 0.75, lr=1e-5), simulate_run("b", 0.5, lr=2e-5), simulate_run("c", 0.6, lr=5e-5)]
    result = compare(*runs)
    first = runs[0].validation
    joint = permutation.joint_selection_p_values(
        first.y_true,
        [run.validation.y_prob for run in runs],
        metrics=["val_accuracy"] * 3,
        groups=first.groups,
        n_permutations=199,
    )
    assert [s["p_selection"] for s in result["settings"]] == pytest.approx(joint.tolist())
    assert result["settings"][0]["p_selection"] < 0.05
    assert answer(result).startswith("Learned: lr=1e-05 (p ")


def test_the_detectable_accuracy_allows_for_folds_and_for_other_runs_of_a_fold() -> None:
    folds = [simulate_run(f"a{fold}", 0.5, fold) for fold in range(FOLDS)]
    (setting,) = compare(*folds)["settings"]
    assert setting["learnable"] == pytest.approx(power.detectable_accuracy(round(200 / 1.8), 0.5))
    seeds = [simulate_run(f"s{seed}", 0.5, seed=seed) for seed in range(3)]
    (setting,) = compare(*seeds)["settings"]
    assert setting["learnable"] == pytest.approx(power.detectable_accuracy(PER_FOLD, 0.5, 0.05 / 3))
    result = compare(simulate_run("a", lr=1e-5), simulate_run("b", 0.5, 1, lr=2e-5))
    assert result["settings"][0]["learnable"] == pytest.approx(power.detectable_accuracy(PER_FOLD, 0.5, 0.05 / 2))


def test_a_little_in_every_fold_is_more_than_in_one() -> None:
    single = [compare(simulate_run(f"a{fold}", 0.65, fold))["settings"][0]["p_selection"] for fold in range(FOLDS)]
    together = compare(*(simulate_run(f"a{fold}", 0.65, fold) for fold in range(FOLDS)))["settings"][0]["p_selection"]
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
    a, b = simulate_run("a", 0.75, lr=1e-5), simulate_run("b", 0.75, 1, lr=2e-5)
    alone = compare(a)["settings"][0]["p_selection"]
    assert compare(a, b)["settings"][0]["p_selection"] == pytest.approx(2 * alone)
    again = replace(simulate_run("c", 0.5, 1, split_seed=1), setting=a.setting)
    assert compare(a, again)["settings"][0]["p_selection"] == pytest.approx(2 * alone)


def test_runs_of_a_fold_without_a_case_in_common_have_no_p() -> None:
    a, b = simulate_run("a", 0.95, lr=1e-5), simulate_run("b", 0.95, lr=2e-5)
    other = replace(
        b, validation=replace(b.validation, case_ids=np.array([f"x{case}" for case in b.validation.case_ids]))
    )
    result = compare(a, other)
    assert [s["p_selection"] for s in result["settings"]] == [1, 1]
    assert "Learned" not in answer(result)


def test_several_folds_count_less_than_independent_cases() -> None:
    runs = [[simulate_run(f"{name}{fold}", right, fold, lr=lr) for fold in range(FOLDS)] for name, right, lr in TWO]
    (pair,) = compare(*runs[0], *runs[1])["pairs"]
    right = [np.concatenate([(r.validation.declared > 0.5) == r.validation.y_true for r in of]) for of in runs]
    plain = hypothesis_tests.mcnemar_p_value(*right)
    assert pair["accuracy"]["p"] == pytest.approx(2 * norm.sf(norm.isf(plain / 2) / np.sqrt(1.8)))
    assert plain < pair["accuracy"]["p"]


def test_the_interval_of_a_difference_over_folds_is_as_much_wider_as_its_p_is_larger() -> None:
    runs = [[simulate_run(f"{name}{fold}", right, fold, lr=lr) for fold in range(FOLDS)] for name, right, lr in TWO]
    (pair,) = compare(*runs[0], *runs[1])["pairs"]
    rows = inference.pair(*map(settings.declared_table, runs))
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
    """An ensemble of five would be better than each of the five, so only the shared seed is compared."""
    five = [simulate_run(f"s{seed}", 0.65, seed=seed, lr=1e-5) for seed in range(5)]
    one = replace(five[3], name="b", setting=five[3].setting | {"lr": 1e-4})
    (pair,) = compare(*five, one)["pairs"]
    assert (pair["accuracy"]["estimate"], pair["accuracy"]["p"], pair["auc"]["p"]) == (0, 1, 1)
    assert not pair["other_seeds"]


def test_seeds_that_both_have_are_paired_and_their_differences_averaged() -> None:
    a = [simulate_run(f"a{seed}", 0.5, seed=seed, lr=1e-5) for seed in (0, 1)]
    b = [simulate_run(f"b{seed}", right, seed=seed, lr=1e-4) for seed, right in ((1, 0.9), (0, 0.6), (2, 0.1))]
    (pair,) = compare(*a, *b)["pairs"]
    assert pair["cases"] == PER_FOLD
    assert pair["accuracy"]["estimate"] == pytest.approx(0.25)
    right = {run.name: (run.validation.declared > 0.5) == run.validation.y_true for run in [*a, *b]}
    p = [hypothesis_tests.mcnemar_p_value(right[f"a{seed}"], right[f"b{seed}"]) for seed in (0, 1)]
    assert pair["accuracy"]["p"] == pytest.approx(min(1, 2 * np.mean(p)))


@pytest.mark.parametrize(("seeds", "estimate"), [((2, 3), 0.3), ((2, 3, 4), 0.1)])
def test_without_a_shared_seed_the_order_counts_or_the_first(seeds: tuple[int, ...], estimate: float) -> None:
    a = [simulate_run(f"a{seed}", 0.5, seed=seed, lr=1e-5) for seed in (0, 1)]
    b = [
        simulate_run(f"b{seed}", right, seed=seed, lr=1e-4) for seed, right in zip(seeds, (0.6, 1.0, 1.0), strict=False)
    ]
    result = compare(*a, *b)
    assert result["pairs"][0]["accuracy"]["estimate"] == pytest.approx(estimate)
    assert result["pairs"][0]["other_seeds"]
    (pair,) = compare(*a, *(replace(run, seed=run.seed - 2) for run in b))["pairs"]
    assert not pair["other_seeds"]


def test_two_scans_of_a_patient_take_the_bootstrap_of_patients() -> None:
    a, b = simulate_run("a", 0.5, scans=2, lr=1e-5), simulate_run("b", 0.9, scans=2, lr=1e-4)
    (pair,) = compare(a, b)["pairs"]
    rows = inference.pair(settings.declared_table([a]), settings.declared_table([b]))
    drawn = bootstrap.paired_difference(
        *(rows[name].to_numpy() for name in ("label", "probability_a", "probability_b")),
        groups=rows["group"].to_numpy(),
        metric="accuracy",
    )
    assert (pair["accuracy"]["estimate"], pair["accuracy"]["low"], pair["accuracy"]["high"]) == drawn[:3]
    assert pair["accuracy"]["p"] == pytest.approx(drawn[3])


def test_ten_folds_of_two_splits_must_convince_nadeau_and_bengio_too() -> None:
    runs = [
        simulate_run(f"{name}{fold}{split}", right + 0.05 * (-1) ** fold * (name == "b"), fold, split_seed=split, lr=lr)
        for name, right, lr in TWO
        for fold in range(FOLDS)
        for split in (0, 1)
    ]
    (pair,) = compare(*runs)["pairs"]
    differences = [
        metrics.accuracy(b.validation.y_true, b.validation.declared)
        - metrics.accuracy(a.validation.y_true, a.validation.declared)
        for a, b in zip(runs[:10], runs[10:], strict=True)
    ]
    numbers = hypothesis_tests.nadeau_bengio(np.array(differences), test_share=0.2)
    assert list(pair["accuracy"]["nadeau_bengio"].values()) == pytest.approx(list(numbers))
    assert pair["accuracy"]["p"] >= numbers[3]
    assert pair["cases"] == 200
