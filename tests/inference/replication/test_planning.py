"""How many seeds: against statsmodels' power and against the tests themselves, on futures drawn."""

import doctest
from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from reclaim.inference.replication import planning
from reclaim.inference.replication.differences import size_test
from reclaim.inference.replication.orders import optimum, page
from reclaim.inference.replication.planning import (
    Future,
    Wanted,
    least,
    order_power,
    seeds_for_nil,
    seeds_for_optimum,
    seeds_for_order,
    seeds_for_size,
    seeds_for_trend,
    seeds_for_value,
)
from reclaim.inference.replication.values import Printed, compare_value, ladder

SHARED = np.array([-1.0, 0.0, 1.0])  # mean 0, standard deviation 1
SINGLE = "none: limited by the paper's single run"


def exactly(low: float, high: float | None = None, **said: object) -> Printed:
    """A printed number without rounding."""
    return Printed(Fraction(low), Fraction(low if high is None else high), **said)


def near(share: float, chance: float, draws: int) -> bool:
    """Whether a simulated share is within 4 standard errors of a chance."""
    return abs(share - chance) < 4 * sqrt(max(chance * (1 - chance), 0.01) / draws)


def test_every_example_is_right() -> None:
    found = doctest.testmod(planning)
    assert found.attempted and not found.failed


# --- an order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.005])
@pytest.mark.parametrize("ratio", [0.3, 0.8, 1.5])
def test_seeds_for_an_order_are_those_of_statsmodels(ratio: float, alpha: float) -> None:
    found = seeds_for_order(list(ratio + SHARED), alpha=alpha)
    exact = TTestPower().solve_power(ratio, alpha=alpha, power=0.8)
    assert found == Wanted(int(np.ceil(exact)))
    k = found.seeds
    assert k is not None
    one_sided = TTestPower().power(ratio, k, alpha / 2, alternative="larger")
    assert order_power(ratio, k, alpha) == pytest.approx(one_sided, abs=1e-10)


def test_the_power_of_an_order_by_simulation() -> None:
    rng, n, k = np.random.default_rng(2), 40_000, 6
    futures = rng.normal(1.4, 1, (n, k))
    tests = stats.ttest_1samp(futures, 0, axis=1)
    share = ((tests.pvalue < 0.05) & (tests.statistic > 0)).mean()
    assert near(share, order_power(1.4, k), n)


def test_orders_that_no_seeds_settle() -> None:
    assert seeds_for_order([1.0]).why == "none: one seed"
    assert seeds_for_order([1.0, 1.0]).why == "none: no seed variation"
    assert seeds_for_order([-1.0, 1.0]).why == "none: no difference to be seen"
    assert seeds_for_order(list(SHARED + 0.01)).why == "none: more than 1000"
    assert seeds_for_order(list(SHARED), effect=0.5) == seeds_for_order(list(SHARED - 0.5))


def test_more_than_there_are_now() -> None:
    assert seeds_for_order(list(SHARED + 40)) == Wanted(4)
    assert least(lambda k: k / 10, 3, 0.75) == Wanted(8)
    assert least(lambda k: k / 10, 3, 0.75, most=7) == Wanted(None, "none: more than 7")


# --- a rise or fall, a difference said to be nil -------------------------------------------------


def test_the_chance_that_a_trend_is_settled() -> None:
    """Of futures like our seeds, Page's exact test at alpha/2 shows the rise in 80 % or so."""
    rng, n = np.random.default_rng(11), 1500
    values = np.array([0, 0.3, 0.6, 0.9]) + rng.normal(0, 1, (12, 4))
    found = seeds_for_trend(values)
    assert found.seeds is not None and found.seeds > 12
    rows = values[rng.integers(0, 12, (n, found.seeds))]  # drawn from the seeds there are
    share = np.mean([page(table).p_rise < 0.025 for table in rows])
    assert share == pytest.approx(0.8, abs=0.08)  # normal limits, whole numbers
    assert seeds_for_trend(values[:, ::-1], falls=True) == found


def test_a_claimed_rise_is_settled_by_one_step_against_it() -> None:
    """Over three settings of which the last falls, the whole rises and the step decides first."""
    values = np.array([0, 10, 9.0]) + np.random.default_rng(12).normal(0, 0.3, (4, 3))
    found = seeds_for_trend(values)
    step = list(values[:, 2] - values[:, 1])
    assert found == seeds_for_order(step, None, 0.05 / 4)
    assert found.seeds is not None


def test_trends_that_no_seeds_settle() -> None:
    flat = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    assert seeds_for_trend(flat) == Wanted(None, "none: no difference to be seen")
    steep = np.arange(4.0) + np.zeros((3, 4))  # every seed alike: Page's least number of seeds
    k = seeds_for_trend(steep).seeds
    assert k == 4  # three give p = 1/24³ < alpha/2 already, and more is wanted than there is


@pytest.mark.parametrize(("mean", "margin"), [(0.0, 1.0), (0.4, 1.0), (-0.4, 1.0)])
def test_the_chance_that_nil_is_shown(mean: float, margin: float) -> None:
    rng, n = np.random.default_rng(13), 4000
    found = seeds_for_nil(list(mean + SHARED), margin)
    k = found.seeds
    assert k is not None
    for seeds, enough in ((k, True), (k - 1, False)):
        futures = rng.normal(mean, 1, (n, seeds))
        p = [
            stats.ttest_1samp(futures, side * margin, axis=1, alternative=way).pvalue
            for side, way in ((1, "less"), (-1, "greater"))
        ]
        share = float(np.mean(np.maximum(*p) < 0.025))
        assert (share > 0.8 - 0.02) if enough else (share < 0.8 + 0.02)


def test_more_than_nil_is_an_order_beyond_the_margin() -> None:
    beyond = list(2 + SHARED)
    assert seeds_for_nil(beyond, 0.5) == seeds_for_order(beyond, 1.5, 0.025)
    assert seeds_for_nil([-d for d in beyond], 0.5) == seeds_for_nil(beyond, 0.5)
    assert seeds_for_nil(beyond, 2.0).why == "none: no difference to be seen"
    assert seeds_for_nil([1.0], 0.5).why == "none: one seed"


# --- an optimum ----------------------------------------------------------------------------------


def futures_of(values: np.ndarray, k: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Tables of k seeds with the means and the covariances of a table."""
    return rng.multivariate_normal(values.mean(axis=0), np.cov(values.T), (n, k))


@pytest.mark.parametrize("printed", [1, 2])
def test_the_chance_that_an_optimum_is_settled(printed: int) -> None:
    rng, n = np.random.default_rng(6), 1500
    values = np.array([0, 2.0, 0.7]) + rng.normal(size=(8, 3))
    found = seeds_for_optimum(values, printed)
    assert found.seeds is not None and found.seeds > 8
    settled = []
    for table in futures_of(values, found.seeds, n, rng):
        test = optimum(table)
        assert test is not None
        settled.append(test.best == (printed,) if printed == 1 else printed not in test.best)
    assert np.mean(settled) > 0.8 - 4 * sqrt(0.16 / n)
    turned = seeds_for_optimum(-values, printed, smallest=True)
    assert turned == found


@pytest.mark.parametrize(("printed", "beaten", "power"), [(1, (0, 2), 0.9), (2, (2,), 0.8)])
def test_seeds_for_an_optimum_are_those_of_its_hardest_pair(
    printed: int, beaten: tuple[int, ...], power: float
) -> None:
    values = np.array([0, 0.8, 0.3]) + np.random.default_rng(3).normal(0, 1, (12, 3))
    assert values.mean(axis=0).argmax() == 1
    gaps = [values[:, 1] - values[:, i] for i in beaten]
    exact = [
        TTestPower().solve_power(
            gap.mean() / gap.std(ddof=1), alpha=0.05 / 2, power=power, alternative="larger"
        )
        for gap in gaps
    ]
    assert max(exact) > 13
    assert seeds_for_optimum(values, printed).seeds == int(np.ceil(max(exact)))


# --- a printed number ----------------------------------------------------------------------------


CASES = [
    (exactly(81.0, 81.1), None),
    (exactly(83.5), None),
    (exactly(80.2, 80.3), 3.5),
    (exactly(80.2, runs=5), 2.0),
    (Printed.of("80.5", 5, "0.8"), 1.5),
]


@pytest.mark.parametrize("k", [3, 12])
@pytest.mark.parametrize(("printed", "margin"), CASES)
def test_the_chance_that_a_value_is_settled(printed: Printed, margin: float | None, k: int) -> None:
    rng, n = np.random.default_rng(k), 4000
    arms = (printed, exactly(0))
    if printed.sd:  # of a rounded one, planning takes the largest
        printed = exactly(printed.low, printed.high, runs=5, sd=(printed.sd[1], printed.sd[1]))
        arms = (printed, exactly(0))
    future = Future(80.0, np.diag([1.0, 0.0]), printed, arms, margin)
    settled = []
    for values in rng.normal(80, 1, (n, k)).tolist():
        test = compare_value(values, printed, margin)
        assert test is not None
        settled.append(ladder(test.p, test.tost_p) != "compatible, imprecise")
    assert near(float(np.mean(settled)), future.settled(k), n)


@pytest.mark.parametrize(("claimed", "margin"), [(exactly(4), None), (exactly(1, runs=4), 1.5)])
def test_the_chance_that_a_size_is_settled(claimed: Printed, margin: float | None) -> None:
    rng, n, k = np.random.default_rng(12), 4000, 6
    covariance = np.array([[1.0, 0.7], [0.7, 1.0]])
    future = Future(1.2, covariance, claimed, (claimed, claimed), margin)
    settled = []
    for table in rng.multivariate_normal([1.2, 0], covariance, (n, k)):
        a, b = table.T.tolist()
        test = size_test(a, b, claimed, margin=margin)
        assert test is not None
        settled.append(ladder(test.p, test.tost_p) != "compatible, imprecise")
    assert abs(np.mean(settled) - future.settled(k)) < 0.03  # its df are Satterthwaite's


@pytest.mark.parametrize(("printed", "margin"), CASES)
def test_the_least_number_is_the_least(printed: Printed, margin: float | None) -> None:
    values = list(80 + SHARED)
    found = seeds_for_value(values, printed, margin)
    future = Future(80.0, np.diag([1.0, 0.0]), printed, (printed, exactly(0)), margin)
    chances = {k: future.settled(k) for k in range(4, 300)}
    expected = next((k for k, chance in chances.items() if chance >= 0.8), None)
    assert found.seeds == expected
    assert (found.why == "") == (expected is not None)


def test_a_single_run_can_leave_nothing_to_settle() -> None:
    values = list(80 + SHARED)
    assert seeds_for_value(values, exactly(81.9)).why == SINGLE  # within 1.96 standard deviations
    assert seeds_for_value(values, exactly(82.1)).seeds is not None
    assert seeds_for_value(values, exactly(80), 1.6).why == SINGLE  # 1.645 are needed
    assert seeds_for_value(values, exactly(80), 1.8).seeds is not None
    assert seeds_for_value(values, exactly(80, runs=4), 0.81).why == (
        "none: limited by the paper's 4 runs"
    )
    assert seeds_for_value(values, exactly(80, runs=4), 0.9).seeds is not None
    assert seeds_for_value([80.0], exactly(80)).why == "none: one seed"
    assert seeds_for_value([80.0, 80.0], exactly(80)).why == "none: no seed variation"
    assert seeds_for_value(values, exactly(81.97), most=50).why == "none: more than 50"


def test_the_runs_of_both_arms_limit_a_size() -> None:
    a, b = list(80 + SHARED), list(79 + SHARED[::-1])
    limit = 1.959963984540054 * sqrt(2)
    assert seeds_for_size(a, b, exactly(1 + 0.99 * limit)).why == SINGLE
    assert seeds_for_size(a, b, exactly(1 + 1.1 * limit)).seeds is not None
    many = exactly(0, runs=9)
    one_many = seeds_for_size(a, b, exactly(1 + 0.99 * limit), many)
    assert one_many.seeds is not None
    assert seeds_for_size(a, b, exactly(1.5), many, many).why == (
        "none: limited by the paper's 9 runs"
    )
    assert seeds_for_size([1.0], [2.0], exactly(1)).why == "none: one seed"
    with pytest.raises(ValueError, match="zip"):
        seeds_for_size(a, b[1:], exactly(1))


def test_arms_that_move_as_one_leave_nothing_to_plan() -> None:
    a = list(80 + SHARED)
    assert seeds_for_size(a, [x - 1 for x in a], exactly(1)).why == "none: no seed variation"


def test_where_no_difference_can_be_charged_equivalence_alone_counts() -> None:
    """Far off: different in a few seeds, and never equivalent. Near: the same within a margin."""
    far, near = [70.0, 70.9, 70.4, 70.2], [80.3, 79.8, 80.1, 79.9]
    said = Printed.of("71.8", 5)
    assert isinstance(seeds_for_value(far, said, 0.5).seeds, int)
    assert seeds_for_value(far, said, 0.5, different=False).seeds is None
    assert seeds_for_value(far, said, different=False).seeds is None
    assert (
        seeds_for_size(far, [0.0, 0.1, 0.0, 0.1], said, margin=0.5, different=False).seeds is None
    )
    for margin in (0.5, 0.7):
        both = seeds_for_value(near, Printed.of("80.0", 5), margin)
        alone = seeds_for_value(near, Printed.of("80.0", 5), margin, different=False)
        assert isinstance(alone.seeds, int)
        assert isinstance(both.seeds, int)
        assert alone.seeds >= both.seeds
