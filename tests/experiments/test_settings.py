"""Runs grouped into settings, and runs that are not comparable."""

from dataclasses import replace
from typing import Any

import pytest
from simulated_runs import PER_FOLD, compare, simulate_run

from flairprep.experiments import settings


def test_runs_are_grouped_by_the_params_that_differ_in_the_order_of_their_numbers() -> None:
    runs = [
        simulate_run("a", lr=1e-4),
        simulate_run("b", lr=2e-5, fold=1),
        simulate_run("c", lr=2e-5),
        simulate_run("d", lr=1e-5),
    ]
    result = compare(*runs)
    assert result["keys"] == ["lr"]
    assert [s["setting"] for s in result["settings"]] == [{"lr": 1e-5}, {"lr": 2e-5}, {"lr": 1e-4}]
    assert [(s["runs"], s["folds"], s["cases"]) for s in result["settings"]] == [(1, 1, 40), (2, 2, 80), (1, 1, 40)]
    assert [s["names"] for s in result["settings"]] == [["d"], ["b", "c"], ["a"]]


@pytest.mark.parametrize("value", [None, True, "cosine", [8, 16], 0.5])
def test_values_of_any_kind_make_settings(value: Any) -> None:
    result = compare(simulate_run("a", x=value), simulate_run("b", x=3))
    assert len(result["settings"]) == 2
    assert len(result["pairs"]) == 1


def test_a_run_simulatedtwice_counts_once() -> None:
    a = simulate_run("a", 0.7)
    assert len(settings.declared_table([a, simulate_run("again", 0.6)])) == PER_FOLD


def test_runs_on_other_data_are_left_out_with_the_reason() -> None:
    runs = [
        replace(simulate_run(name), cohort={"data/ingest": data, "labels": labels, "split.folds": folds})
        for name, data, labels, folds in (
            *(("a", "x", "y", "5"), ("b", "x", "y", "5"), ("c", "z", "y", "5"), ("d", "x", "w", "3")),
        )
    ]
    kept, left_out = settings.select_comparable(runs)
    assert [run.name for run in kept] == ["a", "b"]
    assert list(left_out) == ["c", "d"]
    assert "data/ingest" in left_out["c"]
    assert "labels, split.folds" in left_out["d"]
    kept, left_out = settings.select_comparable([*runs, replace(runs[2], name="workspace")])
    assert [run.name for run in kept] == ["c", "workspace"]


def test_runs_of_another_split_with_the_same_seed_are_left_out() -> None:
    runs = [
        replace(simulate_run(name, split_seed=split_seed), split=split)
        for name, split_seed, split in (("a", 0, "x"), ("b", 0, "x"), ("c", 0, "y"), ("d", 1, "z"))
    ]
    kept, left_out = settings.select_comparable(runs)
    assert [run.name for run in kept] == ["a", "b", "d"]
    assert list(left_out) == ["c"]
    assert "data/split" in left_out["c"]
    kept, left_out = settings.select_comparable([*runs, replace(runs[2], name="workspace")])
    assert [run.name for run in kept] == ["c", "d", "workspace"]
