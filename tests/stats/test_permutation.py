"""Permutation tests against slow replays, full enumeration, Fisher's test and a slow step-down minP."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from simulated_predictions import simulated_run, slow_selected

from flairprep.stats import hypothesis_tests, metrics, permutation

METRICS: tuple[metrics.Metric, ...] = ("val_accuracy", "val_loss", "val_auc")


def sweep(seed: int, n: int, signals: tuple[float, ...] = (0.0, 0.3, 0.0, 0.6)) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels, and runs of 3, 4, ... epochs on the same cases."""
    y_true = simulated_run(seed, 1, n)[0]
    rng = np.random.default_rng(seed + 1)
    logits = [rng.normal(signal * (2 * y_true - 1), 1, (3 + run, n)) for run, signal in enumerate(signals)]
    return y_true, [np.round(1 / (1 + np.exp(-each)), 1) for each in logits]


def joint_p_values(
    y_true: np.ndarray,
    y_probs: list[np.ndarray],
    *,
    metrics: list[metrics.Metric],
    groups: Any,
    strata: np.ndarray | None = None,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> np.ndarray:
    """Of several runs on the same cases, each with its own selection replayed."""
    return permutation.step_down_min_p(
        permutation.replayed_accuracies(y_true, y_probs, metrics, groups, strata, n_permutations, seed)
    )


def slow_step_down(reached: list[list[float]]) -> list[float]:
    """Westfall and Young's minP, step by step; reached: of each run the value observed, then those permuted."""
    columns, rows = range(len(reached[0])), range(len(reached))
    p = [[sum(other >= row[b] - 1e-9 for other in row) / len(row) for b in columns] for row in reached]
    order = sorted(rows, key=lambda row: p[row][0])
    adjusted, least = [0.0] * len(p), 0.0
    for place, row in enumerate(order):
        rarest = [min(p[other][b] for other in order[place:]) for b in columns]
        least = max(least, sum(value <= p[row][0] + 1e-12 for value in rarest) / len(rarest))
        adjusted[row] = least
    return adjusted


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("signal", [0.0, 0.5])
def test_selection_p_value_equals_a_slow_replay(
    metric: metrics.Metric, signal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    y_true, y_prob = simulated_run(3, epochs=6, n=24, signal=signal)
    groups = np.repeat(np.arange(18), [2] * 6 + [1] * 12)
    strata = np.where(np.arange(24) % 4 < 2, "axial", "coronal")
    dealt: list[np.ndarray] = []
    deal = permutation.permuted_labels
    monkeypatch.setattr(permutation, "permuted_labels", lambda *given: dealt.append(deal(*given)) or dealt[-1])
    p = permutation.selection_p_value(
        y_true, y_prob, metric=metric, groups=groups, strata=strata, n_permutations=299, seed=5
    )
    observed = slow_selected(y_true, y_prob, metric)
    replayed = [slow_selected(labels, y_prob, metric) for labels in np.concatenate(dealt, axis=1).T]
    assert len(replayed) == 299
    assert p == (1 + sum(value >= observed - 1e-9 for value in replayed)) / 300


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_selection_p_value_nears_the_share_of_all_permutations(metric: metrics.Metric, seed: int) -> None:
    y_true, y_prob = simulated_run(seed, epochs=4, n=8, signal=0.6)
    observed = slow_selected(y_true, y_prob, metric)
    everything = [np.isin(np.arange(8), ones).astype(int) for ones in itertools.combinations(range(8), y_true.sum())]
    exact = np.mean([slow_selected(labels, y_prob, metric) >= observed - 1e-9 for labels in everything])
    p = permutation.selection_p_value(
        y_true, y_prob, metric=metric, groups=np.arange(8), n_permutations=20_000, seed=seed
    )
    assert p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


@pytest.mark.parametrize("n_permutations", [1, 99, 1000, 1001, 2500])
def test_every_permutation_is_drawn_and_p_is_never_0(n_permutations: int) -> None:
    y_true = np.repeat([0, 1], 20)
    p = permutation.selection_p_value(
        y_true, y_true[None] * 0.8, metric="val_accuracy", groups=np.arange(40), n_permutations=n_permutations
    )
    assert p == 1 / (1 + n_permutations)


def test_one_epoch_is_the_plain_permutation_test() -> None:
    y_true, y_prob = simulated_run(1, epochs=1, n=30, signal=0.3)
    predicted = int((y_prob[0] > 0.5).sum())
    both = int(((y_prob[0] > 0.5) & (y_true == 1)).sum())
    # With the margins given, the accuracy rises with the cases of 1 predicted as 1: Fisher's exact test.
    fisher = sum(
        math.comb(15, k) * math.comb(15, predicted - k) for k in range(both, min(15, predicted) + 1)
    ) / math.comb(30, predicted)
    p = permutation.selection_p_value(
        y_true, y_prob, metric="val_accuracy", groups=np.arange(30), n_permutations=20_000
    )
    assert p == pytest.approx(fisher, abs=4 * math.sqrt(fisher * (1 - fisher) / 20_000))


@pytest.mark.parametrize("metric", METRICS)
def test_what_labels_cannot_change_is_no_evidence(metric: metrics.Metric) -> None:
    y_true, y_prob = simulated_run(0, epochs=5, n=12)
    same = np.full_like(y_prob, 0.7)
    everyone = {"metric": metric, "groups": np.arange(12), "n_permutations": 99}
    assert permutation.selection_p_value(np.zeros(12), y_prob, **everyone) == 1  # one label only
    assert permutation.selection_p_value(y_true, same, **everyone) == 1
    assert permutation.selection_p_value(y_true, y_prob, **everyone | {"groups": np.zeros(12)}) == 1  # one group
    assert permutation.selection_p_value(y_true, y_prob, **everyone, strata=np.arange(12)) == 1  # nothing to swap with


def test_permuted_labels_move_whole_groups_among_their_like() -> None:
    groups = np.array(["a", "b", "c", "d", "a", "b", "c", "e", "f", "a2", "a2", "g", "h"])
    y_true = np.array([1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1])
    strata = np.array(["x", "x", "x", "x", "x", "x", "x", "x", "x", "y", "y", "y", "y"])
    pairs, singles = {"a": (0, 4), "b": (1, 5), "c": (2, 6)}, (3, 7, 8)
    dealt = permutation.permuted_labels(y_true.astype(float), groups, strata, 400, np.random.default_rng(0)).T
    seen_pairs, seen_singles, seen_other = set(), set(), set()
    for labels in dealt:
        seen_pairs.add(tuple(tuple(labels[list(cases)]) for cases in pairs.values()))
        seen_singles.add(tuple(labels[list(singles)]))
        seen_other.add(tuple(labels[9:]))
    assert seen_pairs == set(itertools.permutations([(1, 0), (0, 0), (1, 1)]))
    assert seen_singles == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert seen_other == {(1, 1, 0, 1), (1, 1, 1, 0)}  # stratum y: the pair alone, the singles g and h swap
    without = permutation.permuted_labels(y_true.astype(float), groups, None, 400, np.random.default_rng(0)).T
    assert (without[:, [*singles, 11, 12]].sum(axis=1) == 2).all()
    assert {tuple(row) for row in without[:, 9:11]} == {(1, 0), (0, 0), (1, 1)}


def test_permutations_are_uniform_and_seeded() -> None:
    y_true = np.array([1.0, 0, 0, 0])
    dealt = permutation.permuted_labels(y_true, np.arange(4), None, 8000, np.random.default_rng(0))
    assert dealt.mean(axis=1) == pytest.approx([0.25] * 4, abs=4 * math.sqrt(0.25 * 0.75 / 8000))
    y_true, y_prob = simulated_run(0, epochs=5, n=30)
    p = [
        permutation.selection_p_value(
            y_true, y_prob, metric="val_loss", groups=np.arange(30), n_permutations=500, seed=seed
        )
        for seed in (0, 0, 1, 2)
    ]
    assert p[0] == p[1]
    assert len(set(p)) > 1


def test_replayed_selection_holds_its_level_where_a_test_of_the_best_epoch_does_not() -> None:
    rng = np.random.default_rng(0)
    trials, n, epochs = 300, 60, 20
    replayed = naive = 0
    for trial in range(trials):
        y_true = rng.permutation(np.arange(n) % 2)
        y_prob = rng.uniform(size=(epochs, n))  # no signal in any epoch
        best = metrics.accuracy(y_true, y_prob[metrics.best_epoch(y_true, y_prob, "val_accuracy")])
        naive += hypothesis_tests.binomial_p_value(round(best * n), n, 0.5) < 0.05
        p = permutation.selection_p_value(
            y_true, y_prob, metric="val_accuracy", groups=np.arange(n), n_permutations=199, seed=trial
        )
        replayed += p < 0.05
    assert replayed <= binom.isf(0.001, trials, 0.05)
    assert naive > 0.4 * trials


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("strata", [None, np.arange(20) % 2])
def test_joint_p_values_equal_a_slow_replay(
    seed: int, strata: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    y_true, y_probs = sweep(seed, n=20)
    monitors: list[metrics.Metric] = ["val_loss", "val_accuracy", "val_auc", "val_loss"]
    dealt: list[np.ndarray] = []
    deal = permutation.permuted_labels
    monkeypatch.setattr(permutation, "permuted_labels", lambda *given: dealt.append(deal(*given)) or dealt[-1])
    p = joint_p_values(
        y_true, y_probs, metrics=monitors, groups=np.arange(20) // 2, strata=strata, n_permutations=150, seed=seed
    )
    labelings = [y_true, *np.concatenate(dealt, axis=1).T]
    assert len(labelings) == 151
    reached = [
        [slow_selected(labels, y_prob, metric) for labels in labelings]
        for y_prob, metric in zip(y_probs, monitors, strict=True)
    ]
    assert p == pytest.approx(slow_step_down(reached), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_joint_p_values_near_those_of_all_permutations(seed: int) -> None:
    y_true, y_probs = sweep(seed, n=8)
    others = [np.isin(np.arange(8), ones).astype(int) for ones in itertools.combinations(range(8), y_true.sum())]
    everything = [y_true, *(labels for labels in others if (labels != y_true).any())]
    reached = [[slow_selected(labels, y_prob, "val_auc") for labels in everything] for y_prob in y_probs]
    p = joint_p_values(y_true, y_probs, metrics=["val_auc"] * 4, groups=np.arange(8), n_permutations=20_000, seed=seed)
    assert p == pytest.approx(slow_step_down(reached), abs=0.03)  # runs with equal p-values: either may come first


@pytest.mark.parametrize("metric", METRICS)
def test_one_run_has_its_own_p_value_and_its_copies_change_nothing(metric: metrics.Metric) -> None:
    y_true, y_prob = simulated_run(2, epochs=5, n=30, signal=0.25)
    common = {"groups": np.arange(30) // 2, "n_permutations": 400, "seed": 3}
    alone = permutation.selection_p_value(y_true, y_prob, metric=metric, **common)
    for copies in (1, 2, 7):
        p = joint_p_values(y_true, [y_prob] * copies, metrics=[metric] * copies, **common)
        assert p.tolist() == [alone] * copies


def test_more_runs_cost_more_and_their_order_does_not_matter() -> None:
    y_true, y_probs = sweep(0, n=40, signals=(0.0, 0.25, 0.1, 0.3))
    monitors: list[metrics.Metric] = ["val_accuracy", "val_loss", "val_auc", "val_accuracy"]
    common = {"groups": np.arange(40), "n_permutations": 600}
    p = joint_p_values(y_true, y_probs, metrics=monitors, **common)
    alone = [
        permutation.selection_p_value(y_true, y_prob, metric=metric, **common)
        for y_prob, metric in zip(y_probs, monitors, strict=True)
    ]
    assert (p >= alone).all()
    assert (np.diff(p[np.argsort(alone)]) >= 0).all()
    assert (p > alone).any()
    assert (p[[2, 0, 3, 1]] == joint_p_values(
        y_true, [y_probs[run] for run in (2, 0, 3, 1)], metrics=[monitors[run] for run in (2, 0, 3, 1)], **common
    )).all()  # fmt: skip


def test_independent_tests_get_nearly_sidaks_p_values() -> None:
    reached = np.random.default_rng(0).normal(size=(5, 40_001))
    reached[:, 0] = [2.5, 2.6, 1.0, 0.0, -1.0]  # observed
    p = permutation.step_down_min_p(reached)
    single = [math.erfc(value / math.sqrt(2)) / 2 for value in (2.6, 2.5, 1.0, 0.0, -1.0)]
    sidak = np.maximum.accumulate([1 - (1 - each) ** (5 - place) for place, each in enumerate(single)])
    assert p[[1, 0, 2, 3, 4]] == pytest.approx(sidak, abs=0.01)


def test_a_run_that_learned_does_not_hide_behind_others() -> None:
    y_true, y_prob = simulated_run(0, epochs=4, n=60)
    sure = np.tile(0.2 + 0.6 * y_true, (2, 1))
    p = joint_p_values(
        y_true, [y_prob, sure, sure[:1]], metrics=["val_loss"] * 3, groups=np.arange(60), n_permutations=199
    )
    assert p[1] == p[2] == 1 / 200
    assert p[0] == permutation.selection_p_value(
        y_true, y_prob, metric="val_loss", groups=np.arange(60), n_permutations=199
    )  # the others are out of the way


def test_what_labels_cannot_change_is_no_evidence_for_any_run() -> None:
    y_true, y_probs = sweep(0, n=12)
    common = {"metrics": ["val_auc"] * 4, "groups": np.arange(12), "n_permutations": 99}
    assert (joint_p_values(np.ones(12), y_probs, **common) == 1).all()
    constant = [np.full_like(y_prob, 0.4) for y_prob in y_probs]
    assert (joint_p_values(y_true, constant, **common) == 1).all()
    assert joint_p_values(
        np.array([1]), [np.array([[0.9]])], metrics=["val_loss"], groups=["a"], n_permutations=99
    ) == pytest.approx([1])


def test_runs_and_metrics_must_match() -> None:
    y_true, y_probs = sweep(0, n=12)
    with pytest.raises(ValueError, match="zip"):
        joint_p_values(y_true, y_probs, metrics=["val_auc"], groups=np.arange(12))
