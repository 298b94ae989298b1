"""Intervals and p-values of settings against those of metrics."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from simulated_runs import FOLDS, IDS, PER_FOLD, answer, compare, simulate_run

from flairprep.experiments import comparison, inference, settings
from flairprep.experiments.runs import ExperimentRun
from flairprep.stats import hypothesis_tests, intervals, metrics, power, ranking, replicates

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
    assert widths[0] < widths[1], "networks that err on other cases average out"


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
    widened = intervals.wilson(setting["accuracy"], 200 / 1.8)
    assert (setting["accuracy_low"], setting["accuracy_high"]) == pytest.approx(widened)
    assert setting["nir"] == 0.5
    best = max(metrics.accuracy(run.validation.y_true, row) for run in runs for row in run.validation.y_prob)
    assert (setting["best_accuracy"], setting["best_run"]) == (best, "run4")


def test_all_right_has_an_exact_interval() -> None:
    (setting,) = compare(simulate_run("a", 1.0))["settings"]
    assert (setting["accuracy"], setting["accuracy_high"]) == (1, 1)
    assert setting["accuracy_low"] == pytest.approx(intervals.clopper_pearson(PER_FOLD, PER_FOLD)[0])
    assert setting["auc_low"] < 1


def test_other_split_seeds_are_repeats_and_not_more_cases() -> None:
    """The same predictions in another split add nothing; networks that err on other cases add a little."""
    once = [simulate_run(f"a{fold}", 0.7, fold) for fold in range(FOLDS)]
    y_prob = dict(
        zip(
            IDS,
            np.concatenate([run.validation.declared for run in once])[
                np.argsort(np.concatenate([run.validation.case_ids for run in once]))
            ],
            strict=True,
        )
    )
    again = [simulate_run(f"b{fold}", 0.7, fold, split_seed=1) for fold in range(FOLDS)]
    copied = [
        replace(
            run,
            validation=replace(run.validation, y_prob=np.array([[y_prob[case] for case in run.validation.case_ids]])),
        )
        for run in again
    ]
    (first,), (same,), (second,) = (compare(*runs)["settings"] for runs in (once, once + copied, once + again))
    assert (second["cases"], second["folds"], second["runs"]) == (200, 10, 10)
    assert second["accuracy"] == pytest.approx(first["accuracy"])
    widths = [s["accuracy_high"] - s["accuracy_low"] for s in (first, same, second)]
    assert widths[1] == pytest.approx(widths[0], rel=0.01)
    assert widths[2] < widths[0]


def test_scans_of_a_patient_widen_the_interval() -> None:
    widths = []
    for scans in (1, 4):
        runs = [simulate_run(f"a{fold}", 0.7, fold, scans=scans) for fold in range(FOLDS)]
        (setting,) = compare(*runs)["settings"]
        widths.append(setting["accuracy_high"] - setting["accuracy_low"])
        assert setting["patients"] == 200 / scans
    assert widths[1] > 1.5 * widths[0]


def test_the_p_of_settings_are_those_of_the_family_on_their_declared_predictions() -> None:
    runs = [simulate_run("a", 0.75, lr=1e-5), simulate_run("b", 0.5, lr=2e-5), simulate_run("c", 0.6, lr=5e-5)]
    result = compare(*runs, permutations=999)
    first, n = runs[0].validation, PER_FOLD
    declared = [ranking.Declared(np.arange(n), run.validation.declared, np.zeros(n), np.zeros(n)) for run in runs]
    joint = ranking.family_p_values(first.y_true, declared, groups=first.groups, folds=FOLDS, n_permutations=999)
    assert [s["p_auc"] for s in result["settings"]] == pytest.approx(joint.tolist())
    assert result["settings"][0]["p_auc"] < 0.05
    assert answer(result).startswith("Learned: lr=1e-05 (p ")


def test_the_detectable_auc_allows_for_folds_and_for_other_settings() -> None:
    (setting,) = compare(*(simulate_run(f"a{fold}", 0.5, fold) for fold in range(FOLDS)))["settings"]
    assert setting["learnable"] == pytest.approx(power.detectable_auc(round(100 / 1.8), round(100 / 1.8)))
    result = compare(simulate_run("a", lr=1e-5), simulate_run("b", 0.5, 1, lr=2e-5))
    assert result["settings"][0]["learnable"] == pytest.approx(power.detectable_auc(20, 20, 0.05 / 2))


def test_a_little_in_every_fold_is_more_than_in_one() -> None:
    """With the folds' shared training cases allowed for."""
    runs = [simulate_run(f"a{fold}", 0.65, fold) for fold in range(FOLDS)]
    single = [compare(run, permutations=1999)["settings"][0]["p_auc"] for run in runs]
    together = compare(*runs, permutations=1999)["settings"][0]["p_auc"]
    assert together < min(single)
    assert together == pytest.approx(norm.sf(norm.isf(single).sum() / np.sqrt(FOLDS * 1.8)), abs=0.01)


def test_evidence_adds_up_over_split_seeds_and_training_seeds() -> None:
    one = [simulate_run(f"a{fold}", 0.6, fold) for fold in range(FOLDS)]
    seeds = [simulate_run(f"b{fold}", 0.6, fold, seed=1) for fold in range(FOLDS)]
    splits = [simulate_run(f"c{fold}", 0.6, fold, split_seed=1) for fold in range(FOLDS)]
    p = [compare(*runs, permutations=4999)["settings"][0]["p_auc"] for runs in (one, one + seeds, one + splits)]
    assert p[1] < p[0]
    assert p[2] < p[0]


def test_runs_without_a_case_in_common_are_judged_each_on_its_own() -> None:
    a, b = simulate_run("a", 0.95, lr=1e-5), simulate_run("b", 0.95, 1, lr=2e-5)
    assert all(s["p_auc"] < 0.05 for s in compare(a, b)["settings"])


def test_a_pair_over_folds_is_the_paired_test_of_all_networks() -> None:
    runs = [[simulate_run(f"{name}{fold}", right, fold, lr=lr) for fold in range(FOLDS)] for name, right, lr in TWO]
    (pair,) = compare(*runs[0], *runs[1])["pairs"]
    rows = inference.pair(*map(settings.declared_table, runs))
    for metric in comparison.METRICS:
        expected = replicates.difference(
            replicates.Rows(*(rows[name].to_numpy() for name in ("label", "group", "fold")), np.zeros(len(rows))),
            *(rows[f"probability_{side}"].to_numpy() for side in "ab"),
            metric,
            folds=FOLDS,
        )
        assert [pair[metric][key] for key in ("estimate", "low", "high", "p")] == pytest.approx(expected[:4])
        assert not pair[metric]["of_networks"]
    right = [np.concatenate([(r.validation.declared > 0.5) == r.validation.y_true for r in of]) for of in runs]
    assert pair["accuracy"]["p"] > hypothesis_tests.mcnemar_p_value(*right), "folds share training cases"


def test_one_network_each_says_nothing_of_the_settings() -> None:
    a, b = simulate_run("a", 0.55, lr=1e-5), simulate_run("b", 0.95, lr=1e-4)
    result = compare(a, b)
    assert result["pairs"][0]["accuracy"]["of_networks"]
    assert "These two networks differ" in answer(result)
    assert "They differ" not in answer(result)
    seeds = [replace(run, name=f"{run.name}1", seed=1) for run in (a, b)]
    assert not compare(a, b, *seeds)["pairs"][0]["accuracy"]["of_networks"]


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
    assert not pair["accuracy"]["of_networks"]


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


def test_two_scans_of_a_patient_are_one_draw() -> None:
    a, b = simulate_run("a", 0.5, scans=2, lr=1e-5), simulate_run("b", 0.8, scans=2, lr=1e-4)
    (pair,) = compare(a, b)["pairs"]
    alone = [replace(run, validation=replace(run.validation, groups=run.validation.case_ids)) for run in (a, b)]
    (rows,) = compare(*alone)["pairs"]
    assert pair["auc"]["p"] > rows["auc"]["p"]
    assert pair["accuracy"]["high"] - pair["accuracy"]["low"] > 1.2 * (
        rows["accuracy"]["high"] - rows["accuracy"]["low"]
    )


def test_ten_folds_of_two_splits_show_nadeau_and_bengios_numbers_beside() -> None:
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
    assert pair["cases"] == 200
