"""The permutation test of declared AUCs: against enumeration, Mann-Whitney's exact test, and its level."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from flairprep.stats import metrics, ranking
from flairprep.stats.ranking import Declared


def declared(y_prob: np.ndarray, unit: int = 0, repeat: int = 0, cases: np.ndarray | None = None) -> Declared:
    n = len(y_prob)
    return Declared(np.arange(n) if cases is None else cases, y_prob, np.full(n, unit), np.full(n, repeat))


@pytest.mark.parametrize("seed", range(3))
def test_p_nears_the_exact_test_of_mann_and_whitney(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y_true = np.arange(24) % 2
    y_prob = rng.normal(size=24) + 0.8 * y_true
    exact = mannwhitneyu(y_prob[y_true == 1], y_prob[y_true == 0], alternative="greater", method="exact").pvalue
    p = ranking.auc_p_value(y_true, y_prob, groups=np.arange(24), n_permutations=40_000)
    assert p == pytest.approx(exact, abs=5 * np.sqrt(exact / 40_000) + 1e-4)


def test_p_nears_the_share_of_all_labelings_with_ties_against_the_network() -> None:
    y_true, y_prob = np.array([1, 1, 1, 0, 0, 0]), np.array([0.9, 0.5, 0.5, 0.5, 0.4, 0.1])
    observed = metrics.auc(y_true, y_prob)
    areas = [metrics.auc(np.isin(np.arange(6), ones).astype(int), y_prob) for ones in combinations(range(6), 3)]
    p = ranking.auc_p_value(y_true, y_prob, groups=np.arange(6), n_permutations=40_000)
    assert p == pytest.approx(np.mean(np.array(areas) >= observed - 1e-12), abs=0.01)


def test_groups_are_permuted_as_one_and_strata_kept_apart() -> None:
    y_true, y_prob = np.repeat([1, 0, 1, 0], 3), np.repeat([0.9, 0.1, 0.8, 0.2], 3)
    cases = ranking.auc_p_value(y_true, y_prob, groups=np.arange(12), n_permutations=20_000)
    patients = ranking.auc_p_value(y_true, y_prob, groups=np.repeat(np.arange(4), 3), n_permutations=20_000)
    assert cases < 0.01
    assert patients == pytest.approx(1 / 6, abs=0.01)  # 4 over 2 ways, one of which is as good
    given_away = ranking.auc_p_value(y_true, y_prob, groups=np.arange(12), strata=y_true, n_permutations=99)
    assert given_away == 1


def test_the_null_distribution_is_that_of_the_rank_sum() -> None:
    """Of Mann and Whitney's statistic: mean 1/2 and variance (n + 1) / (12 n0 n1); the run's own AUC comes first."""
    rng = np.random.default_rng(3)
    y_true, y_prob = np.repeat([0, 1], [14, 9]), rng.normal(size=23)
    aucs = ranking.auc_null(y_true, y_prob, groups=np.arange(23), n_permutations=20_000)
    assert aucs[0] == pytest.approx(metrics.auc(y_true, y_prob))
    assert aucs[1:].mean() == pytest.approx(0.5, abs=0.005)
    assert aucs[1:].var() == pytest.approx(24 / (12 * 14 * 9), rel=0.05)
    p = ranking.auc_p_value(y_true, y_prob, groups=np.arange(23), n_permutations=20_000)
    assert p == pytest.approx((aucs >= aucs[0]).mean())


def test_a_constant_score_is_no_evidence() -> None:
    assert ranking.auc_p_value(np.arange(10) % 2, np.full(10, 0.4), groups=np.arange(10), n_permutations=99) == 1


def test_copies_of_a_setting_change_no_p() -> None:
    rng = np.random.default_rng(0)
    y_true = np.arange(60) % 2
    one = declared(rng.normal(size=60) + 0.7 * y_true)
    options = {"groups": np.arange(60), "folds": 5, "n_permutations": 2000}
    alone = ranking.family_p_values(y_true, [one], **options)
    assert ranking.family_p_values(y_true, [one] * 3, **options) == pytest.approx(np.repeat(alone, 3))


def test_a_search_costs_what_it_should() -> None:
    rng = np.random.default_rng(1)
    y_true = np.arange(80) % 2
    noise = [declared(rng.normal(size=80)) for _ in range(9)]
    one = declared(rng.normal(size=80) + 0.75 * y_true)
    options = {"groups": np.arange(80), "folds": 5, "n_permutations": 4000}
    alone = float(ranking.family_p_values(y_true, [one], **options)[0])
    corrected = float(ranking.family_p_values(y_true, [one, *noise], **options)[0])
    assert alone < corrected <= 10 * alone + 0.01


def test_folds_and_repeats_of_a_setting_add_up() -> None:
    """A signal too weak for one fold is found over five, and over two splits sooner than over one."""
    rng = np.random.default_rng(2)
    y_true, n = np.arange(300) % 2, 300
    folds = [rng.permutation(n) % 5 for _ in range(3)]
    score = 0.35 * y_true + rng.normal(size=n)
    probs = [score + rng.normal(size=n) for _ in folds]

    def setting(splits: int, of: int = 5) -> Declared:
        rows = [(np.flatnonzero(fold < of), r) for r, fold in enumerate(folds[:splits])]
        cases = np.concatenate([here for here, _ in rows])
        repeats = np.concatenate([np.full(len(here), r) for here, r in rows])
        y_prob = np.concatenate([probs[r][here] for here, r in rows])
        units = np.concatenate([10 * r + folds[r][here] for here, r in rows])
        return Declared(cases, y_prob, units, repeats)

    options = {"groups": np.arange(n), "folds": 5, "n_permutations": 4000}
    p = [float(ranking.family_p_values(y_true, [one], **options)[0]) for one in (setting(1, 1), setting(1), setting(3))]
    assert p[2] < p[1] < p[0]


def test_the_level_holds_where_nothing_is_learned() -> None:
    rejected = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        y_true = rng.permutation(40) % 2
        p = ranking.auc_p_value(y_true, rng.normal(size=40), groups=np.arange(40), n_permutations=199, seed=seed)
        rejected += p < 0.05
    assert rejected <= 25  # 15 expected; 25 has probability 0.5 %
