"""What makes compare quick changes no digit: the whole comparison against pandas' joins and scipy.stats."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from scipy import stats
from simulated_runs import compare, simulate_run

from flairprep.experiments import inference, lock, pairs, settings, summary
from flairprep.experiments.runs import ExperimentRun
from flairprep.stats import hypothesis_tests, intervals, ranking, replicates

FOLD, CASE = ["split_seed", "fold"], ["split_seed", "fold", "case_id"]


def joined(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Pair two settings by merges: shared seeds of a fold, else the seeds in order, else the first of each."""
    numbered = []
    for table, other in ((a, b), (b, a)):
        rows = []
        for (split_seed, fold), here in table.groupby(FOLD):
            there = other[(other["split_seed"] == split_seed) & (other["fold"] == fold)]
            own, others = sorted(set(here["seed"])), sorted(set(there["seed"]))
            both = sorted(set(own) & set(others))
            kept = both or (own if len(own) == len(others) else own[:1])
            rows += [(split_seed, fold, seed, repeat) for repeat, seed in enumerate(kept)]
        renumbered = pd.DataFrame(rows, columns=[*FOLD, "seed", "repeat"])
        numbered.append(table.drop(columns="repeat").merge(renumbered, on=[*FOLD, "seed"]))
    first, second = numbered
    own_columns = [*CASE, "repeat", "seed", "probability"]
    rows = first.merge(second[own_columns], on=[*CASE, "repeat"], suffixes=("_a", "_b"))
    return rows.sort_values([*CASE, "repeat"], ignore_index=True)


def ragged(trial: int) -> list[ExperimentRun]:
    """Return runs of two settings with other folds, seeds and cases missing here and there."""
    rng, found = np.random.default_rng(trial), []
    for name, lr in (("a", 1e-5), ("b", 1e-4)):
        for fold in rng.permutation(5)[: rng.integers(2, 6)].tolist():
            for seed in rng.permutation(4)[: rng.integers(1, 4)].tolist():
                run = simulate_run(f"{name}{fold}{seed}{trial}", 0.7, fold, seed, split_seed=trial % 2, lr=lr)
                kept = np.flatnonzero(rng.random(len(run.validation.case_ids)) < rng.choice([0.8, 1.0]))
                v = run.validation
                found.append(
                    replace(
                        run,
                        validation=replace(
                            v,
                            case_ids=v.case_ids[kept],
                            y_true=v.y_true[kept],
                            y_prob=v.y_prob[:, kept],
                            groups=v.groups[kept],
                        ),
                    )
                )
    return found


@pytest.mark.parametrize("trial", range(12))
def test_pairs_are_those_of_pandas_joins(trial: int) -> None:
    of = [[run for run in ragged(trial) if run.setting["lr"] == lr] for lr in (1e-5, 1e-4)]
    tables = [settings.declared_table(of_setting) for of_setting in of]
    expected = joined(*tables)
    pd.testing.assert_frame_equal(
        inference.pair(*tables)[list(expected)].reset_index(drop=True), expected, check_dtype=False
    )
    first, second = inference.align(tables)
    assert first["probability"].tolist() == expected["probability_a"].tolist()
    assert second["probability"].tolist() == expected["probability_b"].tolist()
    assert second["repeat"].tolist() == expected["repeat"].tolist()


@pytest.mark.parametrize("trial", range(3))
def test_the_comparison_is_that_of_scipy_stats(trial: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """compare.json and compare.csv hold the digits that the slow functions give."""
    found = [*ragged(trial), simulate_run("c", 0.9, lr=1e-3), simulate_run("d", 0.6, 1, lr=1e-3)]

    def written() -> Any:
        result = compare(*found, margin=0.1)
        return summary.to_json(result), summary.csv_table(result).to_csv()

    quick = written()
    replaced = []

    def slow(module: Any, name: str, function: Any) -> None:
        monkeypatch.setattr(module, name, lambda *given: replaced.append(name) or function(*given))

    for module in (replicates, ranking):
        slow(module, "ranks", stats.rankdata)
    slow(intervals, "clopper_pearson", lambda *given: tuple(stats.binomtest(*given[:2]).proportion_ci(*given[2:])))
    slow(hypothesis_tests, "mcnemar_p_value", lambda a, b: discordant_p(a & ~b, b & ~a))
    slow(pairs, "pair_indexed", lambda a, b: joined(*(pd.DataFrame(one.columns) for one in (a, b))))
    assert written() == quick
    assert {"ranks", "pair_indexed"} <= set(replaced)


def discordant_p(only_a: np.ndarray, only_b: np.ndarray) -> float:
    a, b = int(only_a.sum()), int(only_b.sum())
    return float(stats.binomtest(a, a + b).pvalue) if a + b else 1.0


def test_compare_and_verdict_start_without_what_takes_a_second() -> None:
    code = (
        "import sys; import flairprep.cli.compare, flairprep.cli.verdict;"
        "from simulated_runs import compare, simulate_run;"
        "compare(simulate_run('a', 0.7, lr=1e-5), simulate_run('b', 0.9, lr=1e-4), permutations=19);"
        "print([name for name in ('scipy.stats', 'sklearn', 'tensorflow', 'dvc.repo') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


LOCK = """schema: '2.0'
stages:
  split:
    cmd: python split.py
    deps:
    - path: 'data/raw/a b: c.csv'
      hash: md5
      md5: 00
    - path: 'data/-x'
      md5: 12e5
      nfiles: 3
    params:
      params.yaml:
        lr: 1e-05
        model:
          filters:
          - 4
          - 8
          init:
        split:
          stratify_by: [plane, site]
    outs:
    - path: data/split
      md5: abc.dir
  train:
    cmd:
    - one
    - 'two: three'
    outs: []
"""


def test_a_lock_is_parsed_by_its_parts_as_it_is_as_a_whole() -> None:
    assert lock.parse_lock(LOCK) == YAML(typ="safe", pure=True).load(LOCK)["stages"]
