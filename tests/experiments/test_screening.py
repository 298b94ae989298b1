"""The screening design: its columns, and that its commands are ones that dvc takes."""

import shlex
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML
from workspace import PARAMS, write_params

from flairprep.core import params
from flairprep.experiments import screening
from flairprep.experiments.screening import orthogonal
from flairprep.network import train_config


def overrides(command: str) -> dict[str, Any]:
    """KEY -> value of a queue command, as YAML 1.2 reads it."""
    words = shlex.split(command)
    assert words[:4] == ["dvc", "exp", "run", "--queue"]
    assert set(words[4::2]) == {"-S"}
    yaml = YAML(typ="safe", pure=True)
    return {key: yaml.load(value) for key, _, value in (word.partition("=") for word in words[5::2])}


def test_every_two_columns_hold_each_pair_of_signs_twice() -> None:
    design = screening.design()
    assert design.shape == (8, 7)
    np.testing.assert_array_equal(design.T @ design, 8 * np.eye(7))
    assert not design.sum(axis=0).any()
    for a in range(7):
        for b in range(a):
            assert np.unique(design[:, [a, b]], axis=0, return_counts=True)[1].tolist() == [2, 2, 2, 2]


def test_the_seven_pieces_of_advice_each_have_two_levels() -> None:
    assert {key.split(".")[-1] for key in screening.LEVELS} == {
        *("skip", "norm", "dropout", "filters", "lr", "batch_size", "schedule")
    }
    for key, (low, high) in screening.LEVELS.items():
        assert low != high
        found = [setting[key] for setting in screening.settings()]
        assert found.count(low) == found.count(high) == 4


def test_the_commands_queue_the_design_and_two_seeds_of_the_base() -> None:
    *runs, first, second = screening.commands(seed=3)
    assert [overrides(run) for run in runs] == screening.settings()
    assert [overrides(first), overrides(second)] == [{"seed": 3}, {"seed": 4}]
    values = YAML(typ="safe").load(PARAMS)
    for key in [*screening.LEVELS, "seed"]:
        node = values
        for part in key.split("."):
            assert part in node
            node = node[part]
    said = screening.text(3, 5, None).splitlines()
    assert said[2:-2] == [*runs, first, second]
    assert said[-2:] == ["dvc queue start", "flairprep compare"]


@pytest.mark.parametrize(
    ("folds", "test_fold", "every"), [(5, None, "0,1,2,3,4"), (3, None, "0,1,2"), (5, 1, "0,2,3,4")]
)
def test_the_folds_to_validate_on_are_those_of_the_split_but_the_test_fold(
    folds: int, test_fold: int | None, every: str
) -> None:
    assert f"add -S val_fold={every} to each line" in screening.text(0, folds, test_fold)


@pytest.mark.parametrize("number", range(8))
def test_params_take_every_setting_of_it(number: int, tmp_path: Any) -> None:
    setting = screening.settings()[number]
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


def test_compare_recognises_it_with_its_centre_and_among_others() -> None:
    base = dict.fromkeys(screening.LEVELS) | {"lr": 1e-4, "batch_size": 4, "train.schedule": "constant"}
    others = [base | {"lr": 2e-5}, base | {"lr": 5e-5}]
    for settings in (screening.settings(), [*screening.settings(), base], [*others, *screening.settings(), base]):
        columns = orthogonal(settings)
        assert columns is not None
        assert set(columns) == set(screening.LEVELS)
        for key, column in columns.items():
            lows = {str(setting[key]) for setting, sign in zip(settings, column, strict=True) if sign == -1}
            assert len(lows) == 1
            assert sum(sign == 0 for sign in column) == len(settings) - 8
