"""Every number against somebody else's: scipy, statsmodels, scikit-learn, pROC, full enumeration, slow replays."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, binomtest, norm
from sklearn import metrics
from statsmodels.stats.proportion import proportion_confint

from flairprep import stats

METRICS: tuple[stats.Metric, ...] = ("val_accuracy", "val_loss", "val_auc")

# S100B (1/100 ug/l) of 113 patients after a subarachnoid haemorrhage (Turck et al. 2010; aSAH in R's pROC), by outcome.
POOR = (
    "3 7 7 7 8 9 9 10 10 11 12 13 13 14 16 22 23 25 26 27 30 32 33 35 41 44 44 48 49 52 56 58 70 71 71 74 77 82 86 96 "
    "207"
)
GOOD = (
    "4 4 4 4 4 5 5 5 6 6 7 7 7 7 7 7 8 8 8 8 8 8 9 9 9 9 9 9 10 10 10 10 10 10 10 11 11 11 11 13 13 13 14 14 14 14 15 "
    "15 15 15 16 16 16 17 17 18 19 19 24 28 32 33 34 38 43 45 46 47 47 48 50 50"
)


def sample(seed: int, n: int = 40, levels: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities with many ties; both labels occur."""
    rng = np.random.default_rng(seed)
    y_true = rng.permutation(np.arange(n) % 3 == 0).astype(int)
    return y_true, np.clip(rng.integers(0, levels, n) / levels + 0.1 * y_true, 0, 1)


def runs(seed: int, epochs: int, n: int, signal: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of epochs, rounded so that ties occur."""
    rng = np.random.default_rng(seed)
    y_true = rng.permutation(np.arange(n) % 2)
    logits = rng.normal(signal * (2 * y_true - 1), 1, (epochs, n))
    return y_true, np.round(1 / (1 + np.exp(-logits)), 1)


# Shares and single numbers


@pytest.mark.parametrize("n", [1, 7, 117, 585])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_clopper_pearson_equals_statsmodels(n: int, confidence: float) -> None:
    for correct in sorted({0, 1, n // 3, n - 1, n}):
        expected = proportion_confint(correct, n, alpha=1 - confidence, method="beta")
        low, high = stats.clopper_pearson(correct, n, confidence)
        assert (low, high) == pytest.approx(np.nan_to_num(expected, nan=float(correct == n)), abs=1e-9)


@pytest.mark.parametrize(
    ("correct", "percent", "low", "high"), [(63, 54, 44, 63), (70, 60, 50, 69), (73, 62, 53, 71), (78, 66.7, 57, 75)]
)
def test_the_four_published_accuracies_cannot_be_told_apart(correct: int, percent: float, low: int, high: int) -> None:
    assert 100 * correct / 117 == pytest.approx(percent, abs=0.5)
    interval = stats.clopper_pearson(correct, 117)
    assert [round(100 * end) for end in interval] == pytest.approx([low, high], abs=1)
    assert interval[0] < 0.6 < interval[1]  # one true accuracy explains all four


def test_one_look_at_117_cases_needs_71_right() -> None:
    rejected = [k for k in range(118) if stats.binomial_p_value(k, 117, 61 / 117) <= 0.05]
    assert rejected == list(range(71, 118))


@pytest.mark.parametrize(("n", "rate"), [(1, 0.5), (9, 0.3), (9, 1.0), (117, 61 / 117)])
def test_binomial_p_value_equals_scipy_and_the_sum_of_the_tail(n: int, rate: float) -> None:
    for correct in sorted({0, 1, n // 2, n}):
        tail = sum(math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(correct, n + 1))
        p = stats.binomial_p_value(correct, n, rate)
        assert p == pytest.approx(tail, rel=1e-9)
        assert p == pytest.approx(binomtest(correct, n, rate, alternative="greater").pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_losses_and_areas_equal_scikit_learn(seed: int) -> None:
    y_true, y_prob = sample(seed)
    clipped = np.clip(y_prob, stats.EPSILON, 1 - stats.EPSILON)
    assert stats.log_loss(y_true, y_prob) == pytest.approx(metrics.log_loss(y_true, clipped), rel=1e-12)
    assert stats.brier(y_true, y_prob) == pytest.approx(metrics.brier_score_loss(y_true, y_prob), rel=1e-12)
    assert stats.auc(y_true, y_prob) == pytest.approx(metrics.roc_auc_score(y_true, y_prob), rel=1e-12)
    assert stats.accuracy(y_true, y_prob) == metrics.accuracy_score(y_true, y_prob > 0.5)
    assert stats.no_information_rate(y_true) == max(np.bincount(y_true)) / len(y_true)


def test_edges_of_the_simple_numbers() -> None:
    one, zero = np.array([1]), np.array([0])
    assert stats.accuracy(zero, np.array([0.5])) == 1 == stats.accuracy(one, np.array([0.51]))
    assert stats.log_loss(one, np.array([0.0])) == pytest.approx(-math.log(1e-7)) == stats.log_loss(zero, one)
    assert stats.log_loss(one, one) == pytest.approx(1e-7, rel=1e-6)
    assert stats.no_information_rate(one) == stats.no_information_rate(zero) == 1


# AUC


@pytest.mark.parametrize("seed", range(5))
def test_delong_variance_equals_the_variance_of_the_placements(seed: int) -> None:
    y_true, y_prob = sample(seed, n=25 + seed)
    ones, zeros = y_prob[y_true == 1], y_prob[y_true == 0]
    wins = np.array([[1.0 if a > b else 0.5 if a == b else 0.0 for b in zeros] for a in ones])
    expected = wins.mean(axis=1).var(ddof=1) / len(ones) + wins.mean(axis=0).var(ddof=1) / len(zeros)
    assert stats.auc(y_true, y_prob) == pytest.approx(wins.mean(), rel=1e-12)
    assert stats.delong_variance(y_true, y_prob) == pytest.approx(expected, rel=1e-12)
    half = 1.959963984540054 * math.sqrt(expected)
    assert stats.auc_interval(y_true, y_prob) == pytest.approx((wins.mean() - half, min(1, wins.mean() + half)))


def test_auc_and_delong_equal_proc() -> None:
    poor, good = ([int(cell) / 100 for cell in cells.split()] for cells in (POOR, GOOD))
    y_true, y_prob = np.repeat([1, 0], (41, 72)), np.array(poor + good)
    assert stats.auc(y_true, y_prob) == pytest.approx(0.73136856368563685, rel=1e-14)
    assert stats.delong_variance(y_true, y_prob) == pytest.approx(0.0026686824571724378, rel=1e-12)
    assert stats.auc_interval(y_true, y_prob) == pytest.approx((0.6301, 0.8326), abs=5e-5)


@pytest.mark.parametrize(("n1", "n0"), [(2, 2), (5, 5), (3, 40), (56, 61), (1000, 20)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_interval_of_a_perfect_area_solves_its_equation(n1: int, n0: int, confidence: float) -> None:
    y_true = np.repeat([1, 0], (n1, n0))
    low, one = stats.auc_interval(y_true, y_true * 1.0, confidence)
    zero, high = stats.auc_interval(y_true, 1.0 - y_true, confidence)
    assert (one, zero) == (1, 0)
    assert 0 < low < 1
    assert high == pytest.approx(1 - low, rel=1e-9)  # turning the scores round turns the interval round
    star = (n1 + n0) / 2 - 1
    variance = low * (1 - low) * (1 + star * (1 - low) / (2 - low) + star * low / (1 + low)) / (n1 * n0)
    assert 1 - low == pytest.approx(norm.ppf((1 + confidence) / 2) * math.sqrt(variance), rel=1e-6)


@pytest.mark.parametrize(
    ("y_true", "area"), [([1, 1, 1], math.nan), ([0, 0, 0], math.nan), ([1, 0, 0], 0.75), ([0, 1, 1], 0.25)]
)
def test_too_few_of_a_class_for_an_interval(y_true: list[int], area: float) -> None:
    y_prob = np.array([0.4, 0.2, 0.4])
    assert stats.auc(np.array(y_true), y_prob) == pytest.approx(area, nan_ok=True)
    assert math.isnan(stats.delong_variance(np.array(y_true), y_prob))
    assert all(map(math.isnan, stats.auc_interval(np.array(y_true), y_prob)))


def test_a_constant_score_has_an_area_of_one_half_and_no_interval() -> None:
    y_true, y_prob = np.array([0, 1, 0, 1, 1]), np.full(5, 0.3)
    assert stats.auc(y_true, y_prob) == 0.5
    assert all(map(math.isnan, stats.auc_interval(y_true, y_prob)))


@pytest.mark.parametrize(("n1", "n0"), [(1, 1), (5, 12), (56, 61), (307, 278)])
def test_hanley_mcneil_variance_has_the_known_limits(n1: int, n0: int) -> None:
    at = stats.hanley_mcneil_variance
    assert at(0.5, n1, n0) == pytest.approx((n1 + n0 + 1) / (12 * n1 * n0), rel=1e-12)  # Mann and Whitney's
    assert at(1.0, n1, n0) == pytest.approx(0, abs=1e-15) == at(0.0, n1, n0)
    assert at(0.8, n1, n0) == pytest.approx(at(0.2, n0, n1), rel=1e-12)


def test_hanley_mcneil_variance_is_exact_for_exponential_scores() -> None:
    rng = np.random.default_rng(0)  # P(X > Y) = 0.8 for means 4 and 1
    ones, zeros = rng.exponential(4, (20_000, 6, 1)), rng.exponential(1, (20_000, 1, 9))
    areas = (ones > zeros).mean(axis=(1, 2))
    assert areas.var() == pytest.approx(stats.hanley_mcneil_variance(0.8, 6, 9), rel=0.05)


# What can be detected


@pytest.mark.parametrize(("n", "rate"), [(5, 0.5), (20, 0.6), (58, 0.52), (117, 61 / 117), (585, 307 / 585)])
@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.01, 0.9)])
def test_detectable_accuracy_has_the_power(n: int, rate: float, alpha: float, power: float) -> None:
    def found(p: float) -> float:
        rejecting = [k for k in range(n + 1) if stats.binomial_p_value(k, n, rate) <= alpha]
        return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in rejecting)

    least = stats.detectable_accuracy(n, rate, alpha, power)
    if found(1.0) == 0:  # no count of right cases is rare enough
        assert math.isnan(least)
        return
    assert rate < least < 1
    assert found(least) == pytest.approx(power, abs=1e-9)
    assert found(least - 1e-6) < power
    assert found(rate) <= alpha


@pytest.mark.parametrize(("n", "rate"), [(1, 0.5), (4, 0.5), (10, 0.75), (117, 0.99)])
def test_too_few_cases_detect_no_accuracy(n: int, rate: float) -> None:
    assert rate**n > 0.05
    assert math.isnan(stats.detectable_accuracy(n, rate))


@pytest.mark.parametrize(("n1", "n0"), [(3, 3), (20, 5), (61, 56), (307, 278)])
@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.01, 0.9)])
def test_detectable_auc_has_the_power(n1: int, n0: int, alpha: float, power: float) -> None:
    def found(area: float) -> float:
        critical = 0.5 + norm.isf(alpha) * math.sqrt((n1 + n0 + 1) / (12 * n1 * n0))
        return float(norm.sf((critical - area) / math.sqrt(stats.hanley_mcneil_variance(area, n1, n0))))

    least = stats.detectable_auc(n1, n0, alpha, power)
    if math.isnan(least):
        assert found(1 - 1e-9) < power
        return
    assert found(least) == pytest.approx(power, abs=1e-9)
    assert found(least - 1e-6) < power


@pytest.mark.parametrize(("n1", "n0"), [(0, 0), (0, 9), (9, 0), (1, 1), (1, 2)])
def test_too_few_cases_detect_no_auc(n1: int, n0: int) -> None:
    assert math.isnan(stats.detectable_auc(n1, n0))


# The selected epoch


def slow_scores(y_true: np.ndarray, y_prob: np.ndarray, metric: str) -> list[float]:
    """What the metric maximises, epoch by epoch, case by case; rounded, so that ties are ties."""
    return [round(SLOW[metric](y_true.tolist(), row.tolist()), 10) for row in y_prob]


def slow_accuracy(y_true: list[float], y_prob: list[float]) -> float:
    return sum((p > 0.5) == (y == 1) for y, p in zip(y_true, y_prob, strict=True)) / len(y_true)


def slow_log_likelihood(y_true: list[float], y_prob: list[float]) -> float:
    kept = [min(max(p, 1e-7), 1 - 1e-7) for p in y_prob]
    return sum(math.log(p if y == 1 else 1 - p) for y, p in zip(y_true, kept, strict=True)) / len(kept)


def slow_auc(y_true: list[float], y_prob: list[float]) -> float:
    cases = list(zip(y_true, y_prob, strict=True))
    pairs = [(p > q) + 0.5 * (p == q) for (y, p), (z, q) in itertools.product(cases, cases) if (y, z) == (1, 0)]
    return sum(pairs) / len(pairs) if pairs else 0.0


SLOW: dict[str, Callable[[list[float], list[float]], float]] = {
    "val_accuracy": slow_accuracy,
    "val_loss": slow_log_likelihood,
    "val_auc": slow_auc,
}


def slow_selected(y_true: np.ndarray, y_prob: np.ndarray, metric: str) -> float:
    scores = slow_scores(y_true, y_prob, metric)
    return slow_accuracy(y_true.tolist(), y_prob[scores.index(max(scores))].tolist())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(10))
def test_best_epoch_is_the_first_of_the_best(metric: stats.Metric, seed: int) -> None:
    y_true, y_prob = runs(seed, epochs=12, n=20)
    y_prob = np.concatenate([y_prob, y_prob[::-1]])  # every epoch has an equal one
    scores = slow_scores(y_true, y_prob, metric)
    assert stats.best_epoch(y_true, y_prob, metric) == scores.index(max(scores))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("epochs", "n"), [(42, 120), (47, 8), (58, 92), (35, 41), (7, 117), (1, 1)])
def test_best_of_equal_epochs_is_the_first_whatever_the_shape(metric: stats.Metric, epochs: int, n: int) -> None:
    rng = np.random.default_rng(0)  # several, since the order of a dot product's sums depends on shape and place
    for _ in range(20):
        y_true, row = rng.integers(0, 2, n), rng.uniform(size=n)
        assert stats.best_epoch(y_true, np.tile(row, (epochs, 1)), metric) == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("signal", [0.0, 0.5])
def test_selection_p_value_equals_a_slow_replay(
    metric: stats.Metric, signal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    y_true, y_prob = runs(3, epochs=6, n=24, signal=signal)
    groups = np.repeat(np.arange(18), [2] * 6 + [1] * 12)
    strata = np.where(np.arange(24) % 4 < 2, "axial", "coronal")
    dealt: list[np.ndarray] = []
    deal = stats._permuted_labels
    monkeypatch.setattr(stats, "_permuted_labels", lambda *given: dealt.append(deal(*given)) or dealt[-1])
    p = stats.selection_p_value(y_true, y_prob, metric=metric, groups=groups, strata=strata, n_permutations=299, seed=5)
    observed = slow_selected(y_true, y_prob, metric)
    replayed = [slow_selected(labels, y_prob, metric) for labels in np.concatenate(dealt, axis=1).T]
    assert len(replayed) == 299
    assert p == (1 + sum(value >= observed - 1e-9 for value in replayed)) / 300


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_selection_p_value_nears_the_share_of_all_permutations(metric: stats.Metric, seed: int) -> None:
    y_true, y_prob = runs(seed, epochs=4, n=8, signal=0.6)
    observed = slow_selected(y_true, y_prob, metric)
    everything = [np.isin(np.arange(8), ones).astype(int) for ones in itertools.combinations(range(8), y_true.sum())]
    exact = np.mean([slow_selected(labels, y_prob, metric) >= observed - 1e-9 for labels in everything])
    p = stats.selection_p_value(y_true, y_prob, metric=metric, groups=np.arange(8), n_permutations=20_000, seed=seed)
    assert p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


@pytest.mark.parametrize("n_permutations", [1, 99, 1000, 1001, 2500])
def test_every_permutation_is_drawn_and_p_is_never_0(n_permutations: int) -> None:
    y_true = np.repeat([0, 1], 20)
    p = stats.selection_p_value(
        y_true, y_true[None] * 0.8, metric="val_accuracy", groups=np.arange(40), n_permutations=n_permutations
    )
    assert p == 1 / (1 + n_permutations)


def test_one_epoch_is_the_plain_permutation_test() -> None:
    y_true, y_prob = runs(1, epochs=1, n=30, signal=0.3)
    predicted = int((y_prob[0] > 0.5).sum())
    both = int(((y_prob[0] > 0.5) & (y_true == 1)).sum())
    # With the margins given, the accuracy rises with the cases of 1 predicted as 1: Fisher's exact test.
    fisher = sum(
        math.comb(15, k) * math.comb(15, predicted - k) for k in range(both, min(15, predicted) + 1)
    ) / math.comb(30, predicted)
    p = stats.selection_p_value(y_true, y_prob, metric="val_accuracy", groups=np.arange(30), n_permutations=20_000)
    assert p == pytest.approx(fisher, abs=4 * math.sqrt(fisher * (1 - fisher) / 20_000))


@pytest.mark.parametrize("metric", METRICS)
def test_what_labels_cannot_change_is_no_evidence(metric: stats.Metric) -> None:
    y_true, y_prob = runs(0, epochs=5, n=12)
    same = np.full_like(y_prob, 0.7)
    everyone = {"metric": metric, "groups": np.arange(12), "n_permutations": 99}
    assert stats.selection_p_value(np.zeros(12), y_prob, **everyone) == 1  # one label only
    assert stats.selection_p_value(y_true, same, **everyone) == 1
    assert stats.selection_p_value(y_true, y_prob, **everyone | {"groups": np.zeros(12)}) == 1  # one group
    assert stats.selection_p_value(y_true, y_prob, **everyone, strata=np.arange(12)) == 1  # nothing to swap with


def test_permuted_labels_move_whole_groups_among_their_like() -> None:
    groups = np.array(["a", "b", "c", "d", "a", "b", "c", "e", "f", "a2", "a2", "g", "h"])
    y_true = np.array([1, 0, 1, 0, 0, 0, 1, 1, 0, 1, 1, 0, 1])
    strata = np.array(["x", "x", "x", "x", "x", "x", "x", "x", "x", "y", "y", "y", "y"])
    pairs, singles = {"a": (0, 4), "b": (1, 5), "c": (2, 6)}, (3, 7, 8)
    dealt = stats._permuted_labels(y_true.astype(float), groups, strata, 400, np.random.default_rng(0)).T
    seen_pairs, seen_singles, seen_other = set(), set(), set()
    for labels in dealt:
        seen_pairs.add(tuple(tuple(labels[list(cases)]) for cases in pairs.values()))
        seen_singles.add(tuple(labels[list(singles)]))
        seen_other.add(tuple(labels[9:]))
    assert seen_pairs == set(itertools.permutations([(1, 0), (0, 0), (1, 1)]))
    assert seen_singles == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert seen_other == {(1, 1, 0, 1), (1, 1, 1, 0)}  # stratum y: the pair alone, the singles g and h swap
    without = stats._permuted_labels(y_true.astype(float), groups, None, 400, np.random.default_rng(0)).T
    assert (without[:, [*singles, 11, 12]].sum(axis=1) == 2).all()
    assert {tuple(row) for row in without[:, 9:11]} == {(1, 0), (0, 0), (1, 1)}


def test_permutations_are_uniform_and_seeded() -> None:
    y_true = np.array([1.0, 0, 0, 0])
    dealt = stats._permuted_labels(y_true, np.arange(4), None, 8000, np.random.default_rng(0))
    assert dealt.mean(axis=1) == pytest.approx([0.25] * 4, abs=4 * math.sqrt(0.25 * 0.75 / 8000))
    y_true, y_prob = runs(0, epochs=5, n=30)
    p = [
        stats.selection_p_value(y_true, y_prob, metric="val_loss", groups=np.arange(30), n_permutations=500, seed=seed)
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
        best = stats.accuracy(y_true, y_prob[stats.best_epoch(y_true, y_prob, "val_accuracy")])
        naive += stats.binomial_p_value(round(best * n), n, 0.5) < 0.05
        p = stats.selection_p_value(
            y_true, y_prob, metric="val_accuracy", groups=np.arange(n), n_permutations=199, seed=trial
        )
        replayed += p < 0.05
    assert replayed <= binom.isf(0.001, trials, 0.05)
    assert naive > 0.4 * trials
