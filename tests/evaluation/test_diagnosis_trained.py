"""diagnosis: faults planted in real trainings are named, on a few of the runs of bench/diagnosis.py."""

import pickle
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from docs_pages import DOCS, ROOT, section
from scipy.stats import fisher_exact


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import diagnosis

    return diagnosis


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        "none",
        "none, batch norm",
        "rate far too low, 70 % label 1",
        "rate far too high",
        "averages lag",
        "stopped too early",
        "labels of noise, not yet learned",
        "labels of noise, learned by heart, longer",
    ],
)
def test_a_fault_of_a_training_is_named(bench: ModuleType, fault: str) -> None:
    runs = [bench.trained(fault, 60, seed) for seed in (200, 201, 202)]
    given = [bench.diagnosed(run) for run in runs]
    named = [bench.is_named(*pair) for pair in zip(runs, given, strict=True)]
    assert sum(named) >= 2, [str(one) for one in given]
    assert all(bench.right_way(*pair) for pair in zip(runs, given, strict=True))


def test_the_cohorts_that_cannot_show_a_guess_are_those_of_fishers_exact_test(bench: ModuleType) -> None:
    """Simulated: a network that knows its training cases and guesses the others is found in 8 of 10 from 38 on."""
    rng = np.random.default_rng(0)
    for cases, known in ((12, False), (30, False), (60, True), (200, True)):
        n_training, n = map(len, bench.labels_of(cases, 0.5))
        right = rng.binomial(n, 0.5, size=2000)
        found = [
            fisher_exact([[k, n - k], [n_training, 0]], alternative="less").pvalue < 0.01 for k in np.unique(right)
        ]
        power = np.mean(np.isin(right, np.unique(right)[found]))
        assert (power >= 0.8) == bench.told(cases) == known
    assert not bench.told(37)
    assert all(map(bench.told, range(38, 201)))


def test_an_honest_answer_is_right_only_where_nothing_could_show_the_fault(bench: ModuleType) -> None:
    honest = bench.diagnosis.Diagnosis("too few cases to tell", "", "", "")
    by_heart = SimpleNamespace(fault="labels wrong, learned by heart", cases=12)
    assert bench.is_named(by_heart, honest)
    assert not bench.is_named(SimpleNamespace(fault="labels wrong, learned by heart, longer", cases=60), honest)
    assert not bench.is_named(SimpleNamespace(fault="averages lag", cases=12), honest), "training cases show it"


class Pool:
    """Return runs with what a test needs of them; those of even seeds have no fault."""

    def __init__(self, bench: ModuleType, *, all_took: bool) -> None:
        self.bench, self.all_took = bench, all_took

    def run(self, fault: str, seed: int, **changes: Any) -> Any:
        took = float(self.all_took or seed % 2)  # of even seeds none
        history = pd.DataFrame({"accuracy_inference": [took]})
        planted = replace(self.bench.FAULTS[fault], **changes)
        return self.bench.Run(fault, 12, seed, history, None, None, None, 0, planted, lost=took, behind=took)

    def starmap(self, function: Any, jobs: list[Any], chunksize: int) -> list[Any]:
        self.jobs = jobs
        return [self.run(fault, seed) for fault, _, seed in jobs]


def test_a_kept_run_is_used_again_only_if_it_would_be_trained_alike(bench: ModuleType, tmp_path: Path) -> None:
    file, pool = tmp_path / "runs.pkl", Pool(bench, all_took=True)
    kept = [pool.run("none", 300), pool.run("none", 301, named=("x",)), pool.run("rate too low", 300, rate=1e-5)]
    file.write_bytes(pickle.dumps(kept))
    runs = bench.kept_runs(file, 300, 2, (12,), pool)
    assert not {("none", 12, 300), ("none", 12, 301)} & set(pool.jobs)
    assert {("rate too low", 12, 300), ("rate too low", 12, 301)} < set(pool.jobs)
    assert len(runs) == len(pool.jobs) + 2
    bench.kept_runs(file, 300, 2, (12,), pool)
    assert pool.jobs == []


def test_seeds_are_drawn_until_the_fault_came_about_often_enough(bench: ModuleType) -> None:
    runs = bench.kept_runs(None, 300, 2, (12,), Pool(bench, all_took=False))
    seeds = {fault: [run.seed for run in runs if run.fault == fault] for fault in bench.FAULTS}
    assert seeds["none"] == [300, 301], "a fault that is in every run"
    assert seeds["averages lag"] == [300, 301, 302, 303]
    assert not seeds["rate high, signal weak"], "not planted in so few cases"


def test_no_more_seeds_are_drawn_than_thrice_as_many(bench: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.TOOK, "averages lag", lambda run: False)
    runs = bench.kept_runs(None, 300, 2, (12,), Pool(bench, all_took=True))
    assert sum(run.fault == "averages lag" for run in runs) == bench.DRAWN * 2


def test_the_table_of_the_page_is_the_one_that_was_measured() -> None:
    printed = (ROOT / "bench/results/diagnosis.txt").read_text()
    rows = [row for row in section(DOCS["metrics"], "## Diagnoses").splitlines() if " of 10 |" in row]
    assert len(rows) > 10
    assert not [row for row in rows if row not in printed]
