"""Rankings, optima and trends against libraries, tables of the time, brute force and slow loops."""

import doctest
from itertools import combinations, permutations, product
from math import sqrt

import numpy as np
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from reclaim.inference.replication import orders
from reclaim.inference.replication.distributions import dunnett
from reclaim.inference.replication.orders import (
    optimum,
    page,
    ranking,
    worst,
)
from reclaim.inference.replication.sequences import sequence_p
from tests.inference.replication.test_differences import frame

EXACT = {"rel": 1e-10, "abs": 1e-10}


def table(k: int, g: int, seed: int = 0, steps: float = 0.0) -> np.ndarray:
    """k seeds of g settings that share what a seed fixes, rising by `steps`."""
    rng = np.random.default_rng([seed, k, g])
    return 80 + rng.normal(0, 2, (k, 1)) + rng.normal(0, 1, (k, g)) + steps * np.arange(g)


def test_every_example_is_right() -> None:
    found = doctest.testmod(orders)
    assert found.attempted and not found.failed


# --- a ranking -----------------------------------------------------------------------------------


@pytest.mark.parametrize("printed", [[5, 4, 3, 2, 1], [1, 4, 2, 5, 3], [3, 3, 1, 2, 2]])
@pytest.mark.parametrize("seed", range(3))
def test_tau_is_that_of_scipy(printed: list[int], seed: int) -> None:
    values = table(4, 5, seed)
    found = ranking(printed, values)
    assert found is not None
    expected = stats.kendalltau(printed, values.mean(axis=0)).statistic
    assert found.tau == pytest.approx(expected, **EXACT)
    assert found.interval.low <= found.tau <= found.interval.high
    assert found.pairs == sum(a != b for a, b in combinations(printed, 2))


@pytest.mark.parametrize("steps", [0.3, 1.0, 3.0])
def test_the_interval_holds_every_order_that_the_tests_allow(steps: float) -> None:
    printed, values = [4, 3, 1, 2], table(6, 4, 1, -steps)
    found = ranking(printed, values)
    assert found is not None
    told_apart, signs = 0, []
    for i, j in combinations(range(4), 2):
        test = stats.ttest_rel(values[:, i], values[:, j])
        claimed = np.sign(printed[i] - printed[j])
        sure = test.pvalue < 0.05 / 6
        told_apart += sure
        signs.append([np.sign(test.statistic) * claimed] if sure else [-1, 1])
    taus = [sum(choice) / 6 for choice in product(*signs)]
    assert (found.interval.low, found.interval.high) == pytest.approx((min(taus), max(taus)))
    assert found.separable == told_apart


def test_neighbours_are_the_settings_with_none_printed_between() -> None:
    values = table(5, 4)
    found = ranking([70, 90, 80, 80], values)
    assert found is not None
    assert found.adjacent == ((2, 0), (3, 0), (1, 2), (1, 3))


def test_a_ranking_of_added_seeds_is_by_sequences() -> None:
    values = table(8, 3, 0, -0.6)
    fixed, found = ranking([3, 2, 1], values), ranking([3, 2, 1], values, 4)
    assert fixed is not None
    assert found is not None
    pairs = combinations(range(3), 2)
    p = [sequence_p(list(values[:, i] - values[:, j]), 4) for i, j in pairs]
    assert found.separable == sum(value < 0.05 / 3 for value in p) < fixed.separable
    assert found.tau == fixed.tau
    assert ranking([3, 2, 1], values, 1) is None


def test_rankings_that_cannot_be_judged() -> None:
    assert ranking([2, 1], table(1, 2)) is None
    assert ranking([1, 1], table(3, 2)) is None
    same = ranking([3, 2, 1], table(3, 3)[:, [0, 0, 1]])  # two settings became one measurement
    assert same is not None
    assert same.separable < same.pairs
    with pytest.raises(ValueError, match="3 settings"):
        ranking([3, 2, 1], table(3, 2))


def test_a_ranking_is_as_good_as_its_worst_pair() -> None:
    best, open_, bad = "reproduced", "compatible, imprecise", "not reproduced"
    assert worst([best, open_, bad]) == bad
    assert worst([best, open_]) == open_
    assert worst([best]) == best
    with pytest.raises(ValueError, match="empty"):
        worst([])


# --- an optimum ----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3, 6])
def test_an_optimum_by_paired_tests(k: int) -> None:
    values = table(k, 5, 3, 0.8)
    found = optimum(values)
    assert found is not None
    for i in range(5):
        against = [
            stats.ttest_rel(values[:, j], values[:, i], alternative="greater").pvalue
            for j in range(5)
            if j != i
        ]
        assert found.p[i] == pytest.approx(min(1, 4 * min(against)), **EXACT)
    assert found.best == tuple(i for i in range(5) if found.p[i] >= 0.05)
    assert int(values.mean(axis=0).argmax()) in found.best


def test_a_pooled_optimum_has_the_residual_of_a_block_design() -> None:
    values = table(4, 5, 3, 0.5)
    found = optimum(values, pooled=True)
    residual = anova_lm(ols("x ~ C(seed) + C(image)", frame(values)).fit())["mean_sq"]["Residual"]
    assert found is not None
    means = values.mean(axis=0)
    for i, p in enumerate(found.p):
        t = max(means[j] - means[i] for j in range(5) if j != i) / sqrt(residual / 2)
        assert p == pytest.approx(1 - dunnett(t, 4, 12), **EXACT)


@pytest.mark.parametrize("pooled", [False, True])
def test_the_set_of_optima(pooled: bool) -> None:
    values = table(8, 4, 2)
    clear = optimum(values + np.array([0, 9, 0, 0]), pooled=pooled)
    twins = optimum(values + np.array([0, 9, 9, 0]), pooled=pooled)
    assert clear and twins
    assert clear.best == (1,)
    assert twins.best == (1, 2)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_smallest_optimum_is_the_largest_of_the_negatives(pooled: bool) -> None:
    values = table(5, 4, 1, 0.7)
    assert optimum(values, smallest=True, pooled=pooled) == optimum(-values, pooled=pooled)


@pytest.mark.parametrize("pooled", [False, True])
def test_optima_that_cannot_be_judged(pooled: bool) -> None:
    assert optimum(table(1, 4), pooled=pooled) is None
    assert optimum(np.ones((3, 1)) * [1.0, 2.0, 3.0], pooled=pooled) is None
    with pytest.raises(ValueError, match="settings"):
        optimum(np.ones((3, 1)), pooled=pooled)


# --- a trend -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "g"), [(2, 3), (3, 4), (10, 5), (4, 6)])
@pytest.mark.parametrize("steps", [0.0, 0.5])
def test_pages_test_is_that_of_scipy(k: int, g: int, steps: float) -> None:
    values = table(k, g, 5, steps)
    found = page(values)
    rise = stats.page_trend_test(values, method="exact")
    fall = stats.page_trend_test(values[:, ::-1], method="exact")
    assert found.statistic == rise.statistic
    assert (found.p_rise, found.p_fall) == pytest.approx((rise.pvalue, fall.pvalue), **EXACT)


def page_statistic(rows: tuple[tuple[int, ...], ...]) -> int:
    """Σ place · rank."""
    return sum(place * rank for row in rows for place, rank in enumerate(row, 1))


def test_pages_test_by_brute_force() -> None:
    everything = [page_statistic(rows) for rows in product(permutations(range(1, 4)), repeat=2)]
    for rows in product(permutations(range(1, 4)), repeat=2):
        expected = np.mean([s >= page_statistic(rows) for s in everything])
        assert page(np.array(rows, dtype=float)).p_rise == pytest.approx(expected, **EXACT)


def test_ties_count_against_a_trend() -> None:
    tied = np.array([[1.0, 1.0, 2.0], [3.0, 2.0, 3.0]])
    broken = [
        np.array([[1.0 + a, 1.0, 2.0], [3.0 + b, 2.0, 3.0]])
        for a, b in product((-0.1, 0.1), repeat=2)
    ]
    found = page(tied)
    assert found.p_rise == pytest.approx(max(page(each).p_rise for each in broken))
    assert found.p_fall == pytest.approx(max(page(each).p_fall for each in broken))


def test_pages_test_agrees_with_resampling() -> None:
    rng, values = np.random.default_rng(9), table(8, 7, 2, 0.2)
    found, n = page(values), 20_000
    ranks = rng.permuted(np.tile(np.arange(1.0, 8.0), (n, 8, 1)), axis=2)
    share = ((ranks @ np.arange(1, 8)).sum(axis=1) >= found.statistic).mean()
    assert abs(share - found.p_rise) < 4 * sqrt(found.p_rise * (1 - found.p_rise) / n)
