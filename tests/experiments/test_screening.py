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
from flairprep.network import train_config


def planned(*others: ExperimentRun, fold: Any = lambda number: 0) -> dict[str, Any]:
    return compare(
        *(simulate_run(f"p{n}", 0.5, fold(n), **s) for n, s in enumerate(screening.design_settings())), *others
    )


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


def test_the_seven_pieces_of_advice_each_have_two_levels() -> None:
    assert {key.split(".")[-1] for key in screening.FACTORS} == {
        *("skip", "norm", "dropout", "filters", "lr", "batch_size", "schedule")
    }
    for key, (low, high) in screening.FACTORS.items():
        assert low != high
        levels = [setting[key] for setting in screening.design_settings()]
        assert levels.count(low) == levels.count(high) == 4


def test_the_commands_queue_the_design_and_two_seeds_of_the_base() -> None:
    *runs, first, second = screening.queue_commands(seed=3)
    assert [overrides(run) for run in runs] == screening.design_settings()
    assert [overrides(first), overrides(second)] == [{"seed": 3}, {"seed": 4}]
    values = YAML(typ="safe").load(PARAMS)
    for key in [*screening.FACTORS, "seed"]:
        node = values
        for part in key.split("."):
            assert part in node
            node = node[part]
    lines = screening.plan(3, 5, None).splitlines()
    assert lines[2:-2] == [*runs, first, second]
    assert lines[-2:] == ["dvc queue start", "flairprep compare"]


@pytest.mark.parametrize(
    ("folds", "test_fold", "every"), [(5, None, "0,1,2,3,4"), (3, None, "0,1,2"), (5, 1, "0,2,3,4")]
)
def test_the_folds_to_validate_on_are_those_of_the_split_but_the_test_fold(
    folds: int, test_fold: int | None, every: str
) -> None:
    assert f" -S val_fold={every} " in screening.plan(0, folds, test_fold)


@pytest.mark.parametrize("number", range(8))
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
            assert sum(sign == 0 for sign in column) == len(settings) - 8


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


def test_main_effects_of_the_plan_are_found_and_compared_with_the_noise() -> None:
    base = dict.fromkeys(screening.FACTORS) | {"lr": 5e-5, "batch_size": 4, "train.schedule": "constant"}
    runs = []
    for fold in range(FOLDS):
        for number, setting in enumerate(screening.design_settings()):
            right = 0.85 if setting["model.norm"] == "after_conv" else 0.55
            runs.append(simulate_run(f"p{number}{fold}", right, fold, **setting))
        runs += [simulate_run(f"c{seed}{fold}", 0.6 + 0.05 * seed, fold, seed=seed, **base) for seed in (0, 1)]
    result = compare(*runs, permutations=99)
    assert result["seed_variability"] == {"pairs": 5, "accuracy": pytest.approx(0.05)}
    effects = {effect["key"]: effect for effect in result["main_effects"]}
    assert set(effects) == set(screening.FACTORS)
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
    assert "screening design" in answer(result)
    assert "They differ" not in answer(result)


def test_what_is_no_design_has_no_main_effects() -> None:
    four = [{"a": a, "b": b} for a in (0, 1) for b in (0, 1)]
    assert screening.find_design(four) is None, "a grid is compared in pairs"
    every = [dict(zip("abcde", levels, strict=True)) for levels in product((0, 1), repeat=5)]
    columns = screening.find_design(every)
    assert columns is not None
    assert columns["a"] == [-1] * 16 + [1] * 16
    assert screening.find_design(every[:-2]) is None
    assert screening.find_design([{"a": a} for a in range(4)]) is None
    assert screening.find_design(screening.design_settings()[1:]) is None


def test_a_grid_and_a_fifth_setting_are_compared_in_pairs() -> None:
    grid = [simulate_run(f"{lr}{size}", lr=lr, batch_size=size) for lr in (1e-5, 1e-4) for size in (2, 4)]
    result = compare(*grid)
    assert (len(result["pairs"]), result["main_effects"]) == (6, [])
    fifth = simulate_run("fifth", 1.0, lr=5e-5, batch_size=8)
    result = compare(*grid, fifth)
    assert len(result["pairs"]) == 10
    differing = [pair for pair in result["pairs"] if pair["differ"]]
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
    assert (pair["changed"], pair["differ"]) == (["lr"], ["accuracy", "auc"])
    assert all(effect["mixed"] for effect in result["main_effects"])
    (equal,) = planned(centre, replace(centre, name="d", setting=centre.setting | {"lr": 2e-5}))["pairs"]
    assert equal["differ"] == []


def test_a_full_factorial_design_aliases_nothing() -> None:
    levels = [dict(zip(("v", "w", "x", "y", "z"), signs, strict=True)) for signs in product((0, 1), repeat=5)]
    result = compare(*(simulate_run(f"{n}", 0.5, **setting) for n, setting in enumerate(levels)), permutations=19)
    assert [effect["mixed"] for effect in result["main_effects"]] == [False] * 5


def test_a_design_without_a_shared_case_falls_back_to_pairs() -> None:
    result = planned(fold=lambda number: number % 2)
    assert (result["main_effects"], len(result["pairs"])) == ([], 28)
    assert {pair["cases"] for pair in result["pairs"]} == {0, 40}
