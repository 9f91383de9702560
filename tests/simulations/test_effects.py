"""The simulations do what the functions do, and a quick sample of each."""

from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from reclaim.inference.replication.differences import (
    crossed,
    crossed_error,
    effect,
    mean_squares,
    own_part,
    size_error,
    telescope,
)
from reclaim.inference.replication.distributions import noncentral_t
from reclaim.inference.replication.orders import optimum, ranking
from reclaim.inference.replication.values import Printed
from tests.simulations import effects

DRAWS = 3000


def drawn(*shape: int) -> np.ndarray:
    """Made-up values."""
    return np.random.default_rng(shape).normal(80, 1, shape)


# --- all studies at once are the studies one by one ----------------------------------------------


def test_errors_of_sizes() -> None:
    pairs, arm = drawn(20, 4, 2), Printed.of("80.0")
    covariances = np.array([np.cov(each.T) for each in pairs])
    variance, df = own_part(covariances, 4, arm, arm)
    for i, each in enumerate(pairs):
        expected = size_error(each[:, 0].tolist(), each[:, 1].tolist(), arm, arm)
        assert (sqrt(variance[i]), df[i]) == pytest.approx(expected, rel=1e-12)


def test_crossed_effects() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 40, 3, 30)) < np.array([0.8, 0.7])[:, None, None, None]
    hits = effects.outcome_hits(a.astype(np.int8) - b.astype(np.int8), 0.02)
    for i in range(40):
        found = crossed(a[i], b[i])
        assert found is not None
        assert hits[0, i] == (found.interval.low <= 2 <= found.interval.high)
        t = stats.ttest_1samp(a[i].mean(axis=1) - b[i].mean(axis=1), 0.02)
        assert hits[1, i] == (t.pvalue >= 0.05)
    assert 0 < hits[0].sum() <= 40 and 0 < hits[1].sum() < 40


def test_mean_squares_have_the_expectations_that_are_drawn() -> None:
    rng, k, n = np.random.default_rng(3), 4, 40
    seed, image = rng.normal(0, sqrt(2 / n), (2000, k, 1)), rng.normal(0, 0.5, (2000, 1, n))
    x = seed + image + rng.normal(size=(2000, k, n))
    found = np.mean([mean_squares(each) for each in x], axis=0)
    assert found == pytest.approx([1 + 2, 1 + k * 0.25, 1], rel=0.05)
    assert crossed_error(*found, k, n)[0] == pytest.approx(x.mean(axis=(1, 2)).std(), rel=0.05)


def test_optima() -> None:
    values = drawn(30, 4, 5) + np.array([0, 1, 3, 1, 0])
    for best in (1, 2):
        separate, pooled = effects.left_out(values, best)
        for i, each in enumerate(values):
            paired, common = optimum(each), optimum(each, pooled=True)
            assert paired and common
            assert separate[i] == (best not in paired.best)
            assert pooled[i] == (best not in common.best)


def test_rankings() -> None:
    values = drawn(30, 6, 4) + np.arange(4)
    known, told = effects.taus(values)
    for i, each in enumerate(values):
        found = ranking([0, 1, 2, 3], each)
        assert found is not None
        assert found.separable == told[i]
        assert found.interval.low == pytest.approx((known[i] - (6 - told[i])) / 6)


def test_telescopes() -> None:
    pairs = drawn(40, 5, 2) + np.array([1, 0])
    found = effects.too_small(pairs, 1.52005 * sqrt(2))
    for i, each in enumerate(pairs):
        one = telescope(each[:, 0].tolist(), each[:, 1].tolist(), 1)
        assert one is not None
        assert found[i] == one.too_small
    assert 0 < found.sum() < 40


@pytest.mark.parametrize("ratio", [-0.5, 0.0, 1.0])
def test_effects_hold_a_truth_where_t_lies_between_its_quantiles(ratio: float) -> None:
    low, high = (effects.noncentral_quantile(p, 4, sqrt(5) * ratio) for p in (0.025, 0.975))
    if ratio >= 0:
        assert noncentral_t(high, 4, sqrt(5) * ratio) == pytest.approx(0.975, abs=1e-9)
    for d in drawn(40, 5) - 80 + ratio:
        found = effect(d.tolist(), [0.0] * 5)
        assert found is not None
        t = stats.ttest_1samp(d, 0).statistic
        assert (low <= t <= high) == (found.interval.low <= ratio <= found.interval.high)


@pytest.mark.parametrize("k", [3, 4])
def test_the_bootstrap_by_brute_force(k: int) -> None:
    values = drawn(5, k)
    low, high = effects.percentile_bootstrap(values)
    for i, each in enumerate(values):
        means = [np.mean(resample) for resample in product(each, repeat=k)]
        ends = np.percentile(means, (2.5, 97.5), method="inverted_cdf")
        assert (low[i], high[i]) == pytest.approx(tuple(ends), rel=1e-12)


# --- a quick sample ------------------------------------------------------------------------------


def near(share: float, expected: float, draws: int = DRAWS) -> bool:
    """Within 4 standard errors."""
    return abs(share - expected) < 4 * sqrt(expected * (1 - expected) / draws)


@pytest.mark.parametrize("noise", effects.NOISE)
def test_noise_has_mean_0_and_standard_deviation_1(noise: str) -> None:
    kind = effects.NOISE[noise]
    x = kind.draw(np.random.default_rng(2), (200_000,))
    assert x.mean() == pytest.approx(0, abs=0.01)
    assert x.std() == pytest.approx(1, abs=0.02)
    assert (x > -0.7).mean() == pytest.approx(kind.above(0.7), abs=0.005)


@pytest.mark.parametrize("k", [3, 10])
def test_normal_differences_give_what_is_promised(k: int) -> None:
    assert all(near(share, 0.025) for share in effects.order("normal", 0.0, k, DRAWS))
    ratio, chance, wins = effects.effect_intervals("normal", 0.5, k, DRAWS)
    assert near(ratio, 0.95) and chance == ratio and wins > 0.94
    assert (
        effects.bootstrap("normal", 3, DRAWS)[0]
        < 0.8
        < 0.93
        < effects.bootstrap("normal", 3, DRAWS)[1]
    )


@pytest.mark.parametrize(("runs", "ratio", "correlation"), [(1, 1, 0.0), (3, 3, 0.9)])
def test_the_interval_of_a_size_covers(runs: int, ratio: float, correlation: float) -> None:
    for k in (3, 10):
        (covered,) = effects.size_interval(runs, ratio, correlation, k, DRAWS)
        assert covered > 0.948 - 4 * sqrt(0.05 * 0.95 / DRAWS)


def test_no_size_is_reproduced_at_its_margin() -> None:
    for k in (3, 10):
        reproduced, _ = effects.size_verdicts(1, 4, 4, k, DRAWS)
        assert reproduced < 0.055 + 4 * sqrt(0.05 * 0.95 / DRAWS)


def test_crossed_effects_cover() -> None:
    for by_seed, by_image in ((1, 0.1), (10, 1)):
        covered, _ = effects.crossed_interval(by_seed, by_image, 10, DRAWS)
        assert covered > 0.948 - 4 * sqrt(0.05 * 0.95 / DRAWS)
    crossed_, paired = effects.outcome_intervals(0.05, 5, 500, 100)
    assert crossed_ > 0.9 > paired


def test_sets_of_optima_cover_whatever_the_noise() -> None:
    for structure in effects.STRUCTURES:
        paired, _ = effects.optimum_set(structure, 4, 3, DRAWS)
        assert paired > 0.95 - 4 * sqrt(0.05 * 0.95 / DRAWS)
    assert effects.optimum_power("independent, equal variances", 4, 10, 200)[0] > 0.9
    assert effects.tau_interval(4, 2, 5, DRAWS)[0] > 0.95


def test_plans_keep_their_promise() -> None:
    for gap, runs, margin in ((0.0, 1, 2.5), (1.5, 3, None)):
        planned, found = effects.value_plan(gap, runs, margin, 10, DRAWS)
        assert near(found, planned)
    assert near(effects.telescopes(0.0, 1, 5, DRAWS)[0], 0.041)


def test_the_tables_are_markdown() -> None:
    table = effects.Table("A title", ("noise",), [("normal",)], (3, 4), effects.bootstrap)
    title, blank, names, rule, row, end = table.lines(100)
    assert title == "**A title** (100 draws a cell)"
    assert (blank, end) == ("", "")
    assert names == "| noise | k = 3 | k = 4 |"
    assert rule.count("---") == row.count("|") - 1 == 3
    plans = list(effects.plan_lines(50, 5))
    assert len(plans) == 8 and len({text.count("|") for text in plans[2:]}) == 1
