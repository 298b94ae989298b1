"""Sentences, commands, tables and the chart of a comparison."""

import math
import shlex

import pytest
from simulated_runs import CURRENT, FOLDS, PER_FOLD, answer, compare, simulate_run

from flairprep.experiments import comparison, summary
from flairprep.stats import power


def test_without_learning_the_detectable_auc_is_given() -> None:
    result = compare(simulate_run("a", lr=1e-5), simulate_run("b", lr=2e-5))
    least = power.detectable_auc(PER_FOLD // 2, PER_FOLD // 2, 0.05 / 2)
    assert f"{min(s['p_auc'] for s in result['settings']):.2g}; {PER_FOLD} cases" in answer(result)
    assert f"{least:.3f}" in answer(result)


def test_the_detectable_difference_and_the_cases_needed_are_given() -> None:
    result = compare(simulate_run("a", 0.55, lr=1e-5), simulate_run("b", 0.65, lr=1e-4))
    (pair,) = result["pairs"]
    least = power.detectable_difference(pair["auc"]["error"], 0.05)
    assert pair["detectable"] == pytest.approx(least)
    assert f"{least:.3f}" in answer(result)
    needed = power.cases_needed(PER_FOLD, pair["auc"]["error"], pair["auc"]["estimate"])
    assert needed is not None
    assert pair["cases_needed"] == math.ceil(needed * 1.8), "what one fold lacks comes from others"
    assert f"{pair['cases_needed']} cases" in answer(result)
    assert pair["cases_for_equivalence"] is None


def test_the_commands_run_the_missing_folds() -> None:
    result = compare(simulate_run("a", lr=1e-5), simulate_run("b", lr=1e-5, fold=2), simulate_run("c", lr=1e-4))
    assert result["commands"] == [
        "dvc exp run --queue -S lr=1e-05 -S val_fold=1,3,4",
        "dvc exp run --queue -S lr=0.0001 -S val_fold=1,2,3,4",
        "dvc queue start",
        "flairprep compare",
    ]


def test_the_commands_override_what_params_yaml_has_otherwise() -> None:
    runs = [simulate_run(name, lr=lr, **{"model.filters": [4, 8]}) for name, lr in (("a", 1e-5), ("b", 1e-4))]
    first, *_ = comparison.compare(runs, CURRENT, alpha=0.05, permutations=99)["commands"]
    assert shlex.split(first)[4:] == ["-S", "lr=1e-05", "-S", "model.filters=[4,8]", "-S", "val_fold=1,2,3,4"]


def test_when_all_folds_have_run_the_commands_repeat_them_with_another_split() -> None:
    runs = [simulate_run(f"a{fold}", fold=fold, seed=3) for fold in range(FOLDS)]
    result = compare(*runs)
    assert result["commands"][0] == "dvc exp run --queue -S split.seed=1 -S seed=4 -S val_fold=0,1,2,3,4"


def test_a_test_fold_is_no_fold_to_validate_on() -> None:
    result = comparison.compare(
        [simulate_run("a", test_fold=4)], CURRENT | {"test_fold": 4}, alpha=0.05, permutations=99
    )
    assert result["commands"][0] == "dvc exp run --queue -S val_fold=1,2,3"


def test_the_table_and_the_chart_hold_every_setting() -> None:
    result = compare(simulate_run("a", lr=1e-5), simulate_run("b", lr=1e-4))
    lines = summary.text_table(result).splitlines()
    assert [line.split()[0] for line in lines] == ["lr", "1e-05", "0.0001"]
    values = summary.chart(result)["data"]["values"]
    assert [row["name"] for row in values] == ["lr=1e-05", "lr=0.0001"]
    assert all(row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"] for row in values)
    assert summary.csv_table(result)["lr"].tolist() == ["1e-05", "0.0001"]


def test_an_estimate_without_an_interval_stands_alone() -> None:
    nan = float("nan")
    setting = {"auc": 0.5, "auc_low": nan, "auc_high": nan}
    assert summary.interval_text(setting, "auc") == "0.500"
    assert summary.interval_text(setting | {"auc": nan}, "auc") == "-"
