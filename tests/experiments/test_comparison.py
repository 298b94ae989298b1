"""Settings and pairs of simulated runs."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats
from simulated_runs import EPOCHS, PER_FOLD, answer, compare, simulate_run

from flairprep.core.errors import FlairprepError
from flairprep.experiments import comparison, pairs, settings, summary
from flairprep.experiments.runs import ExperimentRun
from flairprep.stats import hypothesis_tests, metrics


def constant(name: str, value: float, fold: int = 0, **setting: Any) -> ExperimentRun:
    """Return a run that declares `value` for every case, after an epoch that has learned."""
    run = simulate_run(name, 0.95, fold, **setting)
    y_prob = np.concatenate([run.validation.y_prob[:1], np.full((EPOCHS, PER_FOLD), value)])
    return replace(run, monitor="val_accuracy", validation=replace(run.validation, y_prob=y_prob))


def test_a_shortcut_is_distinguished_from_learning() -> None:
    run = simulate_run("a", 0.9)
    side = run.validation.declared > 0.5
    strata = {case: f"vendor={vendor}" for case, vendor in zip(run.validation.case_ids, side, strict=True)}
    result = compare(replace(run, strata=strata))
    assert result["settings"][0]["p_auc"] < 0.05 <= result["settings"][0]["p_within"]
    assert "Learned:" not in answer(result)
    assert f"{result['settings'][0]['p_within']:.2g}" in answer(result)
    assert compare(run)["settings"][0]["p_within"] is None


def test_what_only_leaked_cases_show_has_not_been_learned() -> None:
    """Half of the cases are copies of training cases, and the network knows these only."""
    run = simulate_run("a", 0.5)
    copies = frozenset(run.validation.case_ids[::2]) | frozenset(run.validation.case_ids[1::4])
    y_prob = run.validation.y_prob.copy()
    known = np.isin(run.validation.case_ids, list(copies))
    y_prob[:, known] = np.where(run.validation.y_true[known], 0.9, 0.1)
    found = replace(run, validation=replace(run.validation, y_prob=y_prob), leaked=copies)
    result = compare(found)
    (setting,) = result["settings"]
    assert (setting["leaked"], setting["p_auc"] < 0.05 <= setting["p_without_leaks"]) == (len(copies), True)
    assert "split.group_column" in result["answer"][0]
    assert "Learned" not in answer(result)
    (stands,) = compare(replace(simulate_run("b", 0.95), leaked=frozenset(run.validation.case_ids[:4])))["settings"]
    assert stands["p_without_leaks"] < 0.05
    assert "Learned" in answer(compare(replace(simulate_run("b", 0.95), leaked=frozenset(run.validation.case_ids[:4]))))
    assert compare(run)["settings"][0]["p_without_leaks"] is None


def test_a_constant_prediction_has_not_learned() -> None:
    run = simulate_run("a", 0.9)
    y_prob = np.concatenate([run.validation.y_prob, np.full((3, PER_FOLD), 0.9)])
    result = compare(replace(run, validation=replace(run.validation, y_prob=y_prob)))
    assert (result["settings"][0]["p_auc"], result["settings"][0]["constant"]) == (1, True)
    assert "Learned" not in answer(result)


def test_what_ranks_on_one_side_of_the_threshold_is_not_constant() -> None:
    run = simulate_run("a", 0.9)
    result = compare(replace(run, validation=replace(run.validation, y_prob=0.5 + run.validation.y_prob / 2)))
    assert result["settings"][0]["predicted_positive"] == 1
    assert not result["settings"][0]["constant"]
    assert "Learned" in answer(result)


def test_a_constant_prediction_is_judged_by_run() -> None:
    result = compare(*(constant(f"a{fold}", 0.1 + 0.8 * (fold % 2), fold) for fold in range(4)))
    assert result["settings"][0]["predicted_positive"] == 0.5
    assert result["settings"][0]["constant"]
    assert "Learned" not in answer(result)
    mixed = compare(constant("a", 0.9), simulate_run("b", 0.9, 1))
    assert not mixed["settings"][0]["constant"]


def test_a_pair_is_the_difference_of_declared_predictions_with_mcnemars_p() -> None:
    a, b = simulate_run("a", 0.55, lr=1e-5), simulate_run("b", 0.95, lr=1e-4)
    (pair,) = compare(a, b)["pairs"]
    assert (pair["a"], pair["b"], pair["cases"]) == ("lr=1e-05", "lr=0.0001", PER_FOLD)
    right = [(run.validation.declared > 0.5) == run.validation.y_true for run in (a, b)]
    assert pair["accuracy"]["estimate"] == pytest.approx(0.4)
    assert pair["accuracy"]["p"] == pytest.approx(hypothesis_tests.mcnemar_p_value(*right))
    assert pair["accuracy"]["low"] > 0
    assert pair["answer"] == "differ"
    assert pair["accuracy"]["nadeau_bengio"] is None
    assert pair["p_holm"] == pair["auc"]["p"], "one pair, one primary measure: nothing to correct for"


def test_settings_without_a_fold_in_common_are_not_compared() -> None:
    result = compare(simulate_run("a", lr=1e-5), simulate_run("b", 0.9, 1, lr=1e-4))
    assert result["pairs"][0]["cases"] == 0
    assert "accuracy" not in result["pairs"][0]
    assert "lr=1e-05 and lr=0.0001" in answer(result)


def test_a_fold_of_one_label_has_no_auc_and_no_nan() -> None:
    runs = [simulate_run("a", lr=1e-5), simulate_run("b", lr=1e-4)]
    ones = [replace(r, validation=replace(r.validation, y_true=np.ones(PER_FOLD, int))) for r in runs]
    result = summary.to_json(compare(*ones))
    assert result["settings"][0]["auc"] is None
    assert result["pairs"][0]["auc"]["p"] is None
    json.dumps(result, allow_nan=False)


def test_equal_predictions_do_not_differ() -> None:
    a = simulate_run("a", 0.7, lr=1e-5)
    result = compare(a, replace(a, name="b", setting=a.setting | {"lr": 1e-4}))
    (pair,) = result["pairs"]
    assert (pair["auc"]["p"], pair["answer"], pair["detectable"], pair["cases_needed"]) == (
        1,
        "cannot tell",
        None,
        None,
    )
    assert "would be detected" not in answer(result)


THREE = [simulate_run(name, right, lr=lr) for name, right, lr in (("a", 0.5, 1e-5), ("b", 0.9, 1e-4), ("c", 0.6, 1e-3))]


@pytest.mark.parametrize("primary", ["auc", "accuracy"])
def test_the_primary_measure_alone_is_corrected_and_decides(primary: metrics.PairedMetric) -> None:
    result = compare(*THREE, primary=primary)
    p = np.array([pair[primary]["p"] for pair in result["pairs"]])
    np.testing.assert_allclose([pair["p_holm"] for pair in result["pairs"]], hypothesis_tests.holm(p))
    differ = ["differ" if q < 0.05 else "cannot tell" for q in hypothesis_tests.holm(p)]
    assert [pair["answer"] for pair in result["pairs"]] == differ
    assert result["primary"] == primary


def test_a_baseline_is_compared_with_each_other_setting_and_nothing_else() -> None:
    result = compare(*THREE, baseline="lr=0.0001")
    assert [(pair["a"], pair["b"]) for pair in result["pairs"]] == [
        ("lr=0.0001", "lr=1e-05"),
        ("lr=0.0001", "lr=0.001"),
    ]
    assert result["baseline"] == "lr=0.0001"
    every = {frozenset((pair["a"], pair["b"])): pair for pair in compare(*THREE)["pairs"]}
    for pair in result["pairs"]:
        assert pair["auc"]["p"] == pytest.approx(every[frozenset((pair["a"], pair["b"]))]["auc"]["p"])
        assert pair["p_holm"] <= every[frozenset((pair["a"], pair["b"]))]["p_holm"]


@pytest.mark.parametrize("text", ["lr=1e-4", "lr=1E-4", "lr=0.00010"])
def test_a_baseline_may_be_written_as_params_yaml_may(text: str) -> None:
    assert compare(*THREE, baseline=text)["baseline"] == "lr=0.0001"


@pytest.mark.parametrize("text", ["lr=0.5", "lr", "lr=[", "batch_size=4", ""])
def test_a_baseline_that_fits_no_setting_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(FlairprepError, match=r"--baseline .*lr=1e-05; lr=0.0001; lr=0.001"):
        compare(*THREE, baseline=text)


def test_a_baseline_that_fits_two_settings_is_refused() -> None:
    runs = [simulate_run(str(index), lr=1e-4 * (index + 1), batch_size=2 + index // 2) for index in range(4)]
    with pytest.raises(FlairprepError, match="2 settings fit"):
        compare(*runs, baseline="batch_size=3")
    assert compare(*runs, baseline="batch_size=3 lr=0.0004")["baseline"] == "lr=0.0004 batch_size=3"


def nearly(run: ExperimentRun, name: str, lr: float, shift: float) -> ExperimentRun:
    """The same run under another setting, with probabilities a little off."""
    noise = np.random.default_rng(ord(name)).normal(0, shift, run.validation.y_prob.shape)
    y_prob = np.clip(run.validation.y_prob + noise, 0, 1)
    return replace(run, name=name, setting=run.setting | {"lr": lr}, validation=replace(run.validation, y_prob=y_prob))


def test_settings_are_equal_where_two_one_sided_tests_say_so() -> None:
    a = [simulate_run(f"a{fold}", 0.7, fold, lr=1e-5) for fold in range(5)]
    b = [nearly(run, f"{fold}", 1e-4, 0.02) for fold, run in enumerate(a)]
    (pair,) = compare(*a, *b, margin=0.05)["pairs"]
    assert pair["answer"] == "equal"
    d, df = pair["auc"], len(np.concatenate([run.validation.case_ids for run in a])) - 1
    ends = stats.t.interval(1 - 2 * pair["p_equivalence"], df, d["estimate"], d["error"])
    assert np.abs(ends).max() == pytest.approx(0.05, abs=1e-4), "the interval of that level just touches the margin"
    assert "practically equal" in answer(compare(*a, *b, margin=0.05))
    (narrow,) = compare(*a, *b, margin=0.0001)["pairs"]
    assert (narrow["answer"], narrow["cases_for_equivalence"] > 200) == ("cannot tell", True)


def test_a_sure_difference_inside_the_margin_is_equal_and_one_outside_differs() -> None:
    first = simulate_run("a", 0.5, lr=1e-5)
    better, much = nearly(first, "b", 1e-4, 0.01), simulate_run("c", 0.98, lr=1e-3)
    answers = {
        pair["b"]: pair["answer"] for pair in compare(first, better, much, baseline="lr=1e-05", margin=0.1)["pairs"]
    }
    assert answers == {"lr=0.0001": "equal", "lr=0.001": "differ"}


@pytest.mark.slow
def test_more_settings_take_more_permutations() -> None:
    """199 permutations could show nothing for 30 settings: the smallest p of the family would be above 0.05."""
    runs = [simulate_run(f"run {index}", 0.5 if index else 1.0, lr=1e-4 * (index + 1)) for index in range(30)]
    assert compare(*runs, permutations=199, baseline="lr=0.0001")["settings"][0]["p_auc"] < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("runs", [2, 4])
def test_settings_without_signal_differ_seldom(runs: int) -> None:
    """The level is 0.05 per sweep, for epochs that are all equal and for independent ones."""
    differ = 0
    for trial in range(25):
        simulated = []
        for number in range(runs):
            rng = np.random.default_rng([trial, number])
            y_prob = rng.uniform(size=(EPOCHS if number % 2 else 1, PER_FOLD))
            run = simulate_run(f"{number}", lr=float(number + 1))
            y_prob = np.repeat(y_prob, 1 if number % 2 else EPOCHS, axis=0)
            simulated.append(replace(run, validation=replace(run.validation, y_prob=y_prob)))
        grouped = settings.group_by_setting(simulated, ["lr"])
        tables = [settings.declared_table(of) for _, of in grouped]
        differ += any(pair["answer"] == "differ" for pair in pairs.compare_pairs(grouped, tables, 0.05))
    assert differ <= 4  # P(X > 4) is 0.7 % at 0.05


def test_a_test_fold_is_corrected_and_its_best_marked() -> None:
    def with_test(run: ExperimentRun, right: float) -> ExperimentRun:
        return replace(run, test=simulate_run(f"t{run.name}", right, 4).validation)

    a, b, c = (simulate_run(name, lr=lr) for name, lr in (("a", 1e-5), ("b", 5e-5), ("c", 1e-4)))
    result = compare(with_test(a, 0.75), with_test(b, 0.5), c)
    first, second, third = result["settings"]
    p = [hypothesis_tests.binomial_p_value(k, PER_FOLD, 0.5) for k in (30, 20)]
    assert (first["test_accuracy"], first["test_p"], second["test_p"]) == pytest.approx((0.75, *p))
    assert [first["test_p_holm"], second["test_p_holm"]] == pytest.approx(hypothesis_tests.holm(np.array(p)).tolist())
    assert [s["selected_on_test"] for s in result["settings"]] == [True, False, False]
    assert third["test_accuracy"] is third["test_p_holm"] is None
    (alone,) = compare(with_test(a, 0.75))["settings"]
    assert not alone["selected_on_test"]
    (both,) = compare(with_test(a, 0.75), with_test(replace(b, setting=a.setting, seed=1), 0.5))["settings"]
    assert both["test_accuracy"] == pytest.approx(0.625), "the mean of two networks, not their ensemble"
    assert both["test_p"] == pytest.approx(sum(p))
    scans = with_test(a, 0.75)
    assert scans.test is not None
    twice = replace(scans.test, groups=np.arange(PER_FOLD) // 2)
    assert comparison.test_fold_numbers([replace(scans, test=twice)])["test_p"] > 2 * p[0], (
        "scans of a patient are not independent"
    )


def test_no_run_is_an_error() -> None:
    with pytest.raises(FlairprepError, match="dvc repro"):
        compare()
