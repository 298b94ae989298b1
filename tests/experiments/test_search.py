"""A run's p corrected for the runs that it was chosen from."""

from dataclasses import replace

import numpy as np
import pytest
from simulated_runs import FOLDS, PER_FOLD, simulate_run

from flairprep.experiments.runs import ExperimentRun, KnownRuns
from flairprep.experiments.search import searched
from flairprep.stats import ranking


def known(*runs: ExperimentRun, **same_as: str) -> KnownRuns:
    return KnownRuns(list(runs), {}, same_as, frozenset())


def test_the_family_are_the_runs_on_the_same_validation_cases() -> None:
    own = simulate_run("workspace", 0.75)
    others = [simulate_run(f"{index}", 0.5, lr=1e-5 * index) for index in range(1, 4)]
    seed = simulate_run("seed", 0.5, seed=1)  # another network of the same setting was a try too
    elsewhere = [simulate_run("fold", 0.5, fold=1), simulate_run("split", 0.5, split_seed=1)]
    other_data = replace(simulate_run("data", 0.5), cohort={"labels": "other"})
    found = searched(known(*others, own, seed, *elsewhere, other_data), alpha=0.05, permutations=1999, seed=0)
    assert found is not None
    assert found.runs == 5
    family = [own, *others, seed]
    n = np.arange(PER_FOLD)
    declared = [ranking.Declared(n, run.validation.declared, n * 0, n * 0) for run in family]
    labels, groups = own.validation.y_true, own.validation.groups
    expected = ranking.family_p_values(labels, declared, groups=groups, folds=FOLDS, n_permutations=1999)
    assert found.p_auc == pytest.approx(expected[0])
    assert found.p_within is None
    alone = searched(known(own), alpha=0.05, permutations=999, seed=0)
    assert alone is not None
    assert (alone.runs, alone.p_auc <= found.p_auc) == (1, True)


def test_within_the_strata_of_a_shortcut_its_p_is_another() -> None:
    run = simulate_run("workspace", 0.9)
    side = run.validation.declared > 0.5
    strata = {case: f"vendor={vendor}" for case, vendor in zip(run.validation.case_ids, side, strict=True)}
    found = searched(known(replace(run, strata=strata)), alpha=0.05, permutations=999, seed=0)
    assert found is not None
    assert found.p_within is not None
    assert found.p_auc < 0.05 <= found.p_within


def test_the_workspace_may_be_known_by_another_name_and_may_be_missing() -> None:
    run = simulate_run("second", 0.9)
    found = searched(known(run, simulate_run("a"), workspace="second"), alpha=0.05, permutations=199, seed=0)
    assert found is not None
    assert found.runs == 2
    assert searched(known(run), alpha=0.05, permutations=199, seed=0) is None


@pytest.mark.slow
def test_the_best_of_twenty_runs_on_noise_is_seldom_called_learned() -> None:
    """Each alone is below 0.05 in 5 %, so some of 20 is in far more."""
    called, alone = 0, 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        runs = []
        for index in range(20):
            run = simulate_run(f"{index}", lr=1e-5 * (index + 1))
            y_prob = np.repeat(rng.uniform(size=(1, PER_FOLD)), 3, axis=0)
            runs.append(replace(run, validation=replace(run.validation, y_prob=y_prob)))
        best = max(range(20), key=lambda index: _auc(runs[index]))
        runs[best] = replace(runs[best], name="workspace")
        found = searched(known(*runs), alpha=0.05, permutations=999, seed=trial)
        single = searched(known(runs[best]), alpha=0.05, permutations=999, seed=trial)
        assert found is not None
        assert single is not None
        called, alone = called + (found.p_auc < 0.05), alone + (single.p_auc < 0.05)
    assert called <= 8  # P(X > 8) of 60 at 0.05 is 0.3 %
    assert alone >= 25  # 1 - 0.95 ** 20 is 64 %


def _auc(run: ExperimentRun) -> float:
    n = np.arange(PER_FOLD)
    one = ranking.Declared(n, run.validation.declared, n * 0, n * 0)
    return float(ranking.pooled_auc_of(one, run.validation.y_true[:, None])[0])
