"""The screening design, its commands, and its recognition among other settings."""

import shlex
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from simulated_runs import FOLDS, answer, compare, simulate_run
from workspace import PARAMS, write_params

from flairprep.core import params
from flairprep.experiments import screening
from flairprep.experiments.runs import ExperimentRun
from flairprep.experiments.settings import declared_table
from flairprep.network import train_config
from flairprep.stats import metrics


def planned(*others: ExperimentRun, fold: Any = lambda number: 0) -> dict[str, Any]:
    """Compare the first half of the plan, a design too, with other runs."""
    half = screening.design_settings()[:8]
    return compare(*(simulate_run(f"p{n}", 0.5, fold(n), **s) for n, s in enumerate(half)), *others)


def overrides(command: str) -> dict[str, Any]:
    """Return KEY -> value of a queue command, as YAML 1.2 reads it."""
    words = shlex.split(command)
    assert words[:4] == ["dvc", "exp", "run", "--queue"]
    assert set(words[4::2]) == {"-S"}
    yaml = YAML(typ="safe", pure=True)
    return {key: yaml.load(value) for key, _, value in (word.partition("=") for word in words[5::2])}


def test_every_two_columns_hold_each_pair_of_signs_twice() -> None:
    design = screening.plackett_burman()
    assert design.shape == (8, 7)
    np.testing.assert_array_equal(design.T @ design, 8 * np.eye(7))
    assert not design.sum(axis=0).any()
    for a in range(7):
        for b in range(a):
            assert np.unique(design[:, [a, b]], axis=0, return_counts=True)[1].tolist() == [2, 2, 2, 2]


def test_no_main_effect_of_the_folded_design_is_aliased_with_an_interaction_of_two() -> None:
    design = screening.folded_over()
    np.testing.assert_array_equal(design.T @ design, 16 * np.eye(7))
    assert len(np.unique(design, axis=0)) == 16
    products = np.array([design[:, a] * design[:, b] for a in range(7) for b in range(a)])
    assert not (products @ design).any()
    half = screening.plackett_burman()
    assert (np.array([half[:, a] * half[:, b] for a in range(7) for b in range(a)]) @ half).any()


def test_the_seven_pieces_of_advice_each_have_two_levels() -> None:
    assert {key.split(".")[-1] for key in screening.FACTORS} == {
        *("skip", "norm", "dropout", "filters", "lr", "batch_size", "schedule")
    }
    for key, (low, high) in screening.FACTORS.items():
        assert low != high
        levels = [setting[key] for setting in screening.design_settings()]
        assert levels.count(low) == levels.count(high) == 8


def commands(plan: str) -> list[str]:
    return [line for line in plan.splitlines() if not line.startswith("#")]


def test_the_commands_queue_the_design_each_run_with_a_seed_of_its_own() -> None:
    *runs, start, compare_ = commands(screening.plan(3, 5, None))
    assert (start, compare_) == ("dvc queue start", "flairprep compare")
    values = [overrides(run) for run in runs]
    assert [value.pop("seed") for value in values] == list(range(3, 19))
    assert values == screening.design_settings()
    known = YAML(typ="safe").load(PARAMS)
    for key in [*screening.FACTORS, "seed"]:
        node = known
        for part in key.split("."):
            assert part in node
            node = node[part]


def test_what_plan_prints_is_found_back_as_the_design_of_its_runs() -> None:
    runs = [overrides(command) for command in commands(screening.plan(0, 5, None))[:-2]]
    runs += [overrides(command) for command in commands(screening.plan(16, 5, None))[:-2]]
    simulated = [
        simulate_run(f"p{n}", 0.9 if run["model.norm"] == "after_conv" else 0.6, 0, run.pop("seed"), **run)
        for n, run in enumerate(runs)
    ]
    result = compare(*simulated)
    assert [setting["seeds"] for setting in result["settings"]] == [2] * 16
    assert {effect["key"] for effect in result["main_effects"]} == set(screening.FACTORS)
    shown = [effect["key"] for effect in result["main_effects"] if effect["p_holm"] < 0.05]
    assert shown == ["model.norm"]
    assert not any(effect["mixed"] for effect in result["main_effects"])
    assert result["pairs"] == []


def test_more_cases_and_folds_let_the_plan_show_smaller_effects() -> None:
    few, usual, many = (screening.detectable(cases, 1, 0.05) for cases in (30, 117, 585))
    assert few == pytest.approx(usual * np.sqrt(117 / 30))
    assert usual == many, "networks differ by more than their sampling"
    assert screening.detectable(117, 4, 0.05) == pytest.approx(usual / 2)
    unknown = screening.plan(0, 5, None)
    assert unknown == screening.plan(0, 5, None, cases={}) != screening.plan(0, 5, None, cases={0: 20, 1: 20})
    for plan in (unknown, screening.plan(0, 5, None, cases=dict.fromkeys(range(5), 20), measure="accuracy")):
        assert all(line.startswith(("#", "dvc ", "flairprep ")) for line in plan.splitlines())


@pytest.mark.parametrize(
    ("folds", "test_fold", "every"), [(5, None, "0,1,2,3,4"), (3, None, "0,1,2"), (5, 1, "0,2,3,4")]
)
def test_the_folds_to_validate_on_are_those_of_the_split_but_the_test_fold(
    folds: int, test_fold: int | None, every: str
) -> None:
    assert f" -S val_fold={every} " in screening.plan(0, folds, test_fold)


@pytest.mark.parametrize("number", range(16))
def test_params_take_every_setting_of_the_design(number: int, tmp_path: Any) -> None:
    setting = screening.design_settings()[number]
    changed: dict[str, Any] = {}
    for key, value in setting.items():
        section, _, name = key.rpartition(".")
        if section:
            changed.setdefault(section, {})[name] = value
        else:
            changed[name] = value
    write_params(tmp_path, **changed)
    loaded = params.load(train_config.TrainParams, "train", tmp_path / "params.yaml")
    assert train_config.resolve(loaded, "resnet3d").schedule == setting["train.schedule"]


def test_the_design_is_found_with_its_centre_and_among_others() -> None:
    base = dict.fromkeys(screening.FACTORS) | {"lr": 1e-4, "batch_size": 4, "train.schedule": "constant"}
    others = [base | {"lr": 2e-5}, base | {"lr": 5e-5}]
    for settings in (
        screening.design_settings(),
        [*screening.design_settings(), base],
        [*others, *screening.design_settings(), base],
    ):
        columns = screening.find_design(settings)
        assert columns is not None
        assert set(columns) == set(screening.FACTORS)
        for key, column in columns.items():
            lows = {str(setting[key]) for setting, sign in zip(settings, column, strict=True) if sign == -1}
            assert len(lows) == 1
            assert sum(sign == 0 for sign in column) == len(settings) - 16


def test_params_that_change_together_are_confounded() -> None:
    runs = [simulate_run("a", 0.5, lr=1e-5, batch_size=2), simulate_run("b", 0.95, lr=1e-4, batch_size=8)]
    result = compare(*runs)
    assert result["confounded"] == [("lr", "batch_size")]
    assert result["pairs"][0]["confounded"]
    assert "lr with batch_size" in answer(result)
    assert "lr and batch_size" in answer(result)
    apart = compare(*runs, simulate_run("c", lr=1e-5, batch_size=8))
    assert apart["confounded"] == []
    assert [pair["confounded"] for pair in apart["pairs"]].count(True) == 1


@pytest.mark.parametrize("measure", ["accuracy", "auc"])
def test_main_effects_of_the_plan_are_found_and_compared_with_the_noise(measure: Any) -> None:
    runs = []
    settings = screening.design_settings()
    for fold, (number, setting) in product(range(FOLDS), enumerate(settings)):
        right = 0.85 if setting["model.norm"] == "after_conv" else 0.55
        runs.append(simulate_run(f"p{number}{fold}", right, fold, number, **setting))
    design = screening.find_design(settings)
    assert design is not None
    tables = [declared_table(runs[number::16]) for number in range(16)]
    effects = {e["key"]: e for e in screening.main_effects(design, settings, tables, FOLDS, measure=measure)}
    assert set(effects) == set(screening.FACTORS)
    norm_ = effects["model.norm"]
    assert (norm_["measure"], norm_["low_level"], norm_["high_level"]) == (measure, "after_conv", "after_pool")
    by_level: dict[str, list[float]] = {"after_conv": [], "after_pool": []}
    score = metrics.accuracy if measure == "accuracy" else metrics.auc
    for run in runs:
        by_level[run.setting["model.norm"]].append(score(run.validation.y_true, run.validation.declared))
    assert norm_["estimate"] == pytest.approx(np.mean(by_level["after_pool"]) - np.mean(by_level["after_conv"]))
    assert norm_["low"] < norm_["estimate"] < norm_["high"] < -0.1
    assert norm_["p_holm"] < 0.05
    for key in set(effects) - {"model.norm"}:
        assert effects[key]["low"] < 0 < effects[key]["high"]
        assert effects[key]["p_holm"] > 0.05


def test_folds_without_both_labels_have_no_auc() -> None:
    settings = screening.design_settings()
    design = screening.find_design(settings)
    assert design is not None
    tables = [
        declared_table([simulate_run(f"p{n}", 0.6, fold, **s) for fold in (0, 1)]) for n, s in enumerate(settings)
    ]
    one_fold = [table[table["fold"] == 0] for table in tables]
    one_label = [table.assign(label=table["label"].where(table["fold"] == 0, 1)) for table in tables]
    wanted = screening.main_effects(design, settings, one_fold, 1)
    given = screening.main_effects(design, settings, one_label, 1)
    assert [(e["key"], e["estimate"]) for e in given] == [(e["key"], e["estimate"]) for e in wanted]
    no_labels = [table.assign(label=1) for table in tables]
    assert screening.main_effects(design, settings, no_labels, 1) == []
    assert screening.main_effects(design, settings, no_labels, 1, measure="accuracy") != []


def test_what_is_no_design_has_no_main_effects() -> None:
    four = [{"a": a, "b": b} for a in (0, 1) for b in (0, 1)]
    assert screening.find_design(four) is None, "a grid is compared in pairs"
    every = [dict(zip("abcde", levels, strict=True)) for levels in product((0, 1), repeat=5)]
    columns = screening.find_design(every)
    assert columns is not None
    assert columns["a"] == [-1] * 16 + [1] * 16
    assert screening.find_design(every[:-2]) is None
    assert screening.find_design([{"a": a} for a in range(4)]) is None
    assert screening.find_design(screening.design_settings()[2:]) is None


def test_a_grid_and_a_fifth_setting_are_compared_in_pairs() -> None:
    grid = [simulate_run(f"{lr}{size}", lr=lr, batch_size=size) for lr in (1e-5, 1e-4) for size in (2, 4)]
    result = compare(*grid)
    assert (len(result["pairs"]), result["main_effects"]) == (6, [])
    fifth = simulate_run("fifth", 1.0, lr=5e-5, batch_size=8)
    result = compare(*grid, fifth)
    assert len(result["pairs"]) == 10
    differing = [pair for pair in result["pairs"] if pair["auc"]["p"] < 0.05 / 10]
    assert differing
    assert all("lr=5e-05 batch_size=8" in (pair["a"], pair["b"]) for pair in differing)


def test_settings_outside_a_design_are_compared_among_themselves() -> None:
    base: dict[str, Any] = {
        **dict.fromkeys(screening.FACTORS),
        "lr": 5e-5,
        "batch_size": 4,
        "train.schedule": "constant",
    }
    centre, better = simulate_run("c", 0.5, **base), simulate_run("b", 1.0, **base | {"lr": 2e-5})
    result = planned(centre)
    assert (len(result["main_effects"]), result["pairs"], result["confounded"]) == (7, [], [])
    result = planned(centre, better)
    assert len(result["main_effects"]) == 7
    (pair,) = result["pairs"]
    assert pair["changed"] == ["lr"]
    assert pair["auc"]["p"] < 0.05
    assert all(effect["mixed"] for effect in result["main_effects"])
    (equal,) = planned(centre, replace(centre, name="d", setting=centre.setting | {"lr": 2e-5}))["pairs"]
    assert equal["auc"]["p"] > 0.05


@pytest.mark.slow
def test_a_full_factorial_design_aliases_nothing() -> None:
    levels = [dict(zip(("v", "w", "x", "y", "z"), signs, strict=True)) for signs in product((0, 1), repeat=5)]
    result = compare(*(simulate_run(f"{n}", 0.5, **setting) for n, setting in enumerate(levels)), permutations=19)
    assert [effect["mixed"] for effect in result["main_effects"]] == [False] * 5


def test_a_design_without_a_shared_case_falls_back_to_pairs() -> None:
    result = planned(fold=lambda number: number % 2)
    assert (result["main_effects"], len(result["pairs"])) == ([], 28)
    assert {pair["cases"] for pair in result["pairs"]} == {0, 40}
