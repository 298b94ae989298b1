"""Sweeps: ranges, values set back, the fewest commands, the runs that exist, and how long the others take."""

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
import simulated_runs
from ruamel.yaml import YAML
from workspace import PARAMS

from flairprep.cli.overrides import combinations
from flairprep.core import params
from flairprep.experiments import committed, runs, sweep


def shipped() -> dict[str, Any]:
    return dict(YAML(typ="safe", pure=True).load(PARAMS))


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("val_fold=0..4", "val_fold=0,1,2,3,4"),
        ("seed=3..3", "seed=3"),
        ("seed=2..0", "seed=2,1,0"),
        ("seed=-1..1,7", "seed=-1,0,1,7"),
        ("lr=1e-4,1e-5", "lr=1e-4,1e-5"),
        ("model.filters=[4,8],[8,16]", "model.filters=[4,8],[8,16]"),
        ("labels.table=a..b", "labels.table=a..b"),
        ("labels.table=../x", "labels.table=../x"),
        ("lr", "lr"),
    ],
)
def test_ranges_are_written_out(typed: str, written: str) -> None:
    assert sweep.expand(typed) == written


TEXTS = [
    *("a", "PCR (x)", "8 % mean", "1", "null", "True", "nan", "1e-5", "a,b", "[x]", "{x}", "é ü", "a: b", "#1"),
    *("it's", 'say "x"', "a\\b", "end\\", 'end\\"', "", " padded ", "~x", "a=b", "$HOME", "x\ty", "../scans", "-1"),
]
VALUES = [0, 1, -2, 0.5, 1e-05, 1e-300, 0.1 + 0.2, True, False, None, [], [1, 2], ["a", "b,c"], [[1], [2]]]


@pytest.mark.parametrize("value", [*TEXTS, *VALUES], ids=repr)
def test_hydra_reads_back_what_is_set_back(value: Any) -> None:
    then = shipped()
    then["report"]["assay"] = value
    now = shipped()
    now["report"]["assay"] = "something else"
    made = [values for _, values in combinations(sweep.set_back(now, then), now)]
    assert made == [then]
    assert [type(values["report"]["assay"]) for values in made] == [type(value)]


def test_only_what_differs_is_set_back() -> None:
    now, then = shipped(), shipped()
    assert sweep.set_back(now, then) == []
    now["lr"], now["model"]["filters"], now["audit"]["alpha"] = 1e-05, [4, 8], 0.1
    assert sweep.set_back(now, then) == ["lr=0.0001", "audit.alpha=0.05", "model.filters=null"]
    now = shipped()
    now["epochs"] = 30.0  # an equal number
    assert sweep.set_back(now, then) == []
    now["epochs"] = True
    then["epochs"] = 1
    assert sweep.set_back(now, then) == ["epochs=1"], "a truth value is no number"


@pytest.mark.parametrize(
    ("present", "former"),
    [
        ({"A-1": "dark"}, {}),
        ({}, {"A-1": "dark"}),
        ({"A-1": "dark", "B_2": "x"}, {"B_2": "two, words", "C": "x"}),
        ({"A-1": "dark"}, {"A-1": "bright"}),
        ({}, {"00109": "completely dark", "A": "x"}),
        ({"00109": "dark"}, {}),
    ],
)
def test_sections_of_cases_are_set_back_whole(present: dict[str, str], former: dict[str, str]) -> None:
    now, then = shipped(), shipped()
    now["ingest"]["exclude"], then["ingest"]["exclude"] = present, former
    assert [values for _, values in combinations(sweep.set_back(now, then), now)] == [then]


def test_keys_that_one_side_lacks() -> None:
    now, then = shipped(), shipped()
    now["train"]["momentum"] = 0.9
    del now["report"]["assay"]
    assert [values for _, values in combinations(sweep.set_back(now, then), now)] == [then]


def test_differences_are_told_by_key() -> None:
    now, then = shipped(), shipped()
    assert committed.changes(now, then) == {}
    now["lr"], now["ingest"]["exclude"] = 1e-05, {"00109": "dark"}
    now["train"]["momentum"] = 0.9
    del now["seed"]
    assert committed.changes(now, then) == {
        "lr": (1e-05, 1e-4),
        "seed": (committed.MISSING, 0),
        "ingest.exclude.00109": ("dark", committed.MISSING),
        "train.momentum": (0.9, committed.MISSING),
    }
    assert committed.changes(then, now)["ingest.exclude.00109"] == (committed.MISSING, "dark")
    assert "lr 1e-05 (committed: 0.0001)" in committed.told(committed.changes(now, then))


def test_products_hold_each_combination_once() -> None:
    random.seed(0)
    for sizes in ((1,), (4,), (2, 3), (3, 3), (2, 2, 3), (1, 4, 2)):
        every = list(itertools.product(*([f"{axis}{i}" for i in range(size)] for axis, size in enumerate(sizes))))
        assert sweep.cover(every) == [[list(dict.fromkeys(column)) for column in zip(*every, strict=True)]]
        for _ in range(20):
            chosen = [one for one in every if random.random() < 0.6]
            made = [one for product in sweep.cover(chosen) for one in itertools.product(*product)]
            assert sorted(made) == sorted(chosen)
    assert sweep.cover([]) == []


def test_one_missing_run_costs_one_command_more() -> None:
    left = [(lr, fold) for lr in ("1", "2", "3") for fold in ("0", "1") if (lr, fold) != ("1", "0")]
    assert sweep.cover(left) == [[["1"], ["1"]], [["2", "3"], ["0", "1"]]]


def planned(**changed: Any) -> dict[str, Any]:
    return shipped() | changed


def existing(values: dict[str, Any], name: str = "main", **changed: Any) -> runs.ExperimentRun:
    """The run of `values` on some data by some code."""
    flat = params.flatten(values)
    cohort = runs.cohort_of(flat, {"data/ingest": "data", "labels": "table"})
    setting = runs.setting_of(flat) | {"code": "1234567"}
    made = simulated_runs.simulate_run(name, fold=flat["val_fold"], seed=flat["seed"], split_seed=flat["split.seed"])
    return replace(made, cohort=cohort, setting=setting, **changed)


def test_a_run_exists_where_nothing_that_counts_differs() -> None:
    run = existing(planned())
    assert sweep.find_existing(planned(), [run], run) is run
    evaluated = planned()
    evaluated["evaluate"]["alpha"] = 0.1
    resolved = planned(lr=0.00010)
    resolved["train"]["monitor"] = "val_loss"
    for same in (evaluated, resolved):
        assert sweep.find_existing(same, [run], run) is run
    for key, value in {"lr": 2e-4, "val_fold": 1, "seed": 1, "epochs": 31, "test_fold": 2}.items():
        assert sweep.find_existing(planned(**{key: value}), [run], run) is None, key
    for section, key, value in (("split", "seed", 1), ("ingest", "min_slices", 9), ("export", "cases_per_shard", 8)):
        other = planned()
        other[section][key] = value
        assert sweep.find_existing(other, [run], run) is None, key
        assert sweep.find_existing(other, [run, existing(other, "other")], run) is not None


def test_runs_of_other_data_or_code_do_not_count() -> None:
    run = existing(planned())
    other_data = replace(run, cohort={**run.cohort, "data/ingest": "other"})
    other_code = replace(run, setting={**run.setting, "code": "7654321"})
    for other in (other_data, other_code):
        assert sweep.find_existing(planned(), [other], run) is None
        assert sweep.find_existing(planned(), [other, run], run) is run


@pytest.mark.parametrize(
    ("key", "stages"),
    [
        ("lr", ["train", "evaluate", "report"]),
        ("epochs", ["train", "evaluate", "report"]),
        ("audit.alpha", ["audit", "evaluate", "report"]),
        ("report.assay", ["report"]),
        ("model.filters", ["sanity", "train", "evaluate", "report"]),
        ("export", ["export", "sanity", "train", "evaluate", "report"]),
    ],
)
def test_what_runs_again(key: str, stages: list[str]) -> None:
    pipeline = YAML(typ="safe", pure=True).load(PARAMS.parents[1] / "dvc.yaml")["stages"]
    assert sweep.stages_rerun(pipeline, [key]) == stages
    assert len(sweep.stages_rerun(pipeline, ["ingest.dicom_dir"])) == len(pipeline)
    assert sweep.stages_rerun(pipeline, []) == []


def test_times_are_those_of_the_stages_that_run() -> None:
    assert sweep.times_of(["train", "report"], {"train": 40, "ingest": 9}) == ({"train": 40}, ["report"])
    told = {0.4: "0 s", 89: "89 s", 90: "2 min", 3599: "1 h", 3700: "1 h 2 min", 7200: "2 h", 86_400: "24 h"}
    assert {seconds: sweep.duration(seconds) for seconds in told} == told
