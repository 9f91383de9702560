"""Differences of paired seeds against closed forms, second engines, slow loops and simulation."""

import doctest
from fractions import Fraction
from itertools import product
from math import gamma, sqrt

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import special, stats
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from reclaim.inference.replication import differences
from reclaim.inference.replication.differences import (
    crossed,
    crossed_error,
    effect,
    mcnemar_within,
    mean_squares,
    one_sample,
    own_part,
    paired_test,
    size_test,
    telescope,
)
from reclaim.inference.replication.values import Printed, compare_value

PAIRS = [
    np.random.default_rng(seed).normal([[80], [79]], 1, size=(2, k))
    for seed, k in enumerate((2, 3, 5, 20))
]
EXACT = {"rel": 1e-10, "abs": 1e-10}


def exactly(low: float, high: float | None = None, **said: object) -> Printed:
    """A printed number without rounding."""
    return Printed(Fraction(low), Fraction(low if high is None else high), **said)


def test_every_example_is_right() -> None:
    found = doctest.testmod(differences)
    assert found.attempted and not found.failed


# --- the sign ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.shape[1])
def test_the_paired_test_is_that_of_scipy_and_of_statsmodels(pair: np.ndarray) -> None:
    a, b = pair
    found = paired_test(list(a), list(b))
    assert found is not None
    one, other = stats.ttest_rel(a, b), DescrStatsW(a - b)
    assert found.p == pytest.approx(one.pvalue, **EXACT)
    assert found.p == pytest.approx(other.ttest_mean(0)[1], **EXACT)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        other.tconfint_mean(), **EXACT
    )
    assert (found.sign, found.seeds) == (np.sign(one.statistic), len(a))


def test_what_the_seeds_share_cancels_and_the_sign_turns_with_the_arms() -> None:
    a, b = PAIRS[2]
    shared = np.random.default_rng(3).normal(0, 50, len(a))
    plain, moved = paired_test(list(a), list(b)), paired_test(list(a + shared), list(b + shared))
    turned = paired_test(list(b), list(a))
    assert plain and moved and turned
    assert moved.p == pytest.approx(plain.p, rel=1e-9)
    assert (turned.p, turned.sign) == (plain.p, -plain.sign)


def test_seeds_that_cannot_be_tested() -> None:
    assert one_sample([1.0]) is None
    assert paired_test([0.3, 0.4, 0.5], [0.1, 0.2, 0.3]) is None  # 0.2 up to rounding
    with pytest.raises(ValueError, match="no values"):
        one_sample([])
    with pytest.raises(ValueError, match="zip"):
        paired_test([1.0, 2.0], [1.0])


# --- the size ------------------------------------------------------------------------------------


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.shape[1])
def test_the_error_of_a_size_is_the_sum_of_its_three_parts(pair: np.ndarray, runs: int) -> None:
    a, b = pair
    found = size_test(list(a), list(b), exactly(2, runs=runs))
    parts = (np.var(a, ddof=1) + np.var(b, ddof=1)) / runs + np.var(a - b, ddof=1) / len(a)
    assert found is not None
    assert found.error == pytest.approx(sqrt(parts), rel=1e-12)
    assert len(a) - 1 - 1e-9 <= found.df <= 2 * (len(a) - 1) + 1e-9
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.difference) / found.error, found.df))


def test_the_degrees_of_freedom_are_those_of_the_variance_in_simulation() -> None:
    rng, k = np.random.default_rng(7), 6
    covariance = np.array([[1.0, 0.6], [0.6, 4.0]])
    first, second = exactly(0, runs=1), exactly(0, runs=3)
    wishart = stats.wishart(k - 1, covariance / (k - 1)).rvs(200_000, random_state=rng)
    m = np.array([[1 + 1 / k, -1 / k], [-1 / k, 1 / 3 + 1 / k]])
    drawn = np.einsum("ij,nji->n", m, wishart)
    variance, df = own_part(covariance, k, first, second)
    assert variance == pytest.approx(drawn.mean(), rel=0.01)
    assert df == pytest.approx(2 * drawn.mean() ** 2 / drawn.var(), rel=0.02)


@pytest.mark.parametrize("margin", [None, 0.5, 3.0])
@pytest.mark.parametrize("printed", [exactly(78, 79), Printed.of("79.4", 5, "0.6")])
def test_an_arm_that_never_varies_leaves_the_test_of_a_value(
    printed: Printed, margin: float | None
) -> None:
    values = list(PAIRS[2][0])
    value = compare_value(values, printed, margin)
    size = size_test(values, [0.0] * 5, printed, printed, exactly(0), margin)
    assert value and size
    assert (size.seeds, size.margin) == (value.seeds, value.margin)
    for name in ("mean", "sd", "difference", "error", "df", "p", "tost_p"):
        assert getattr(size, name) == pytest.approx(getattr(value, name), rel=1e-10), name
    assert (size.interval.low, size.interval.high) == pytest.approx(
        (value.interval.low, value.interval.high), rel=1e-10
    )


def test_rounding_counts_for_the_paper() -> None:
    a, b = (list(arm) for arm in PAIRS[3])
    span = size_test(a, b, exactly(1.5, 2), margin=2)
    assert span
    points = [size_test(a, b, exactly(y), margin=2) for y in np.linspace(1.5, 2, 21)]
    assert span.p == pytest.approx(max(point.p for point in points if point), rel=1e-12)
    assert span.tost_p == pytest.approx(max(point.tost_p for point in points if point), rel=1e-12)


def test_many_runs_of_the_paper_leave_the_paired_tests() -> None:
    a, b = (list(arm) for arm in PAIRS[3])
    size, sign = size_test(a, b, exactly(0, runs=10**9), margin=1.2), paired_test(a, b)
    assert size and sign
    assert size.p == pytest.approx(sign.p, rel=1e-6)
    assert size.df == pytest.approx(19, rel=1e-6)
    tost = ttost_paired(np.array(a), np.array(b), -1.2, 1.2)[0]
    assert size.tost_p == pytest.approx(tost, rel=1e-6)


def test_printed_standard_deviations_take_the_place_of_ours() -> None:
    a, b = (list(arm) for arm in PAIRS[3])
    arms = Printed.of("80.0", 3, "1.0"), Printed.of("79.0", 5, "2.0")
    found = size_test(a, b, exactly(1), *arms)
    ours = np.var(np.subtract(a, b), ddof=1) / 20
    assert found
    assert found.error == pytest.approx(sqrt(ours + 1.05**2 / 3 + 2.05**2 / 5), rel=1e-12)
    degrees = []
    for one, other in product((0.95, 1.05), (1.95, 2.05)):
        parts = ours, one**2 / 3, other**2 / 5
        degrees.append(
            sum(parts) ** 2 / sum(p**2 / f for p, f in zip(parts, (19, 2, 4), strict=True))
        )
    assert found.df == pytest.approx(min(degrees), rel=1e-12)


def test_no_size_from_one_seed_or_from_seeds_that_do_not_differ() -> None:
    assert size_test([1.0], [2.0], exactly(1)) is None
    assert size_test([1.0, 1.0], [2.0, 2.0], exactly(1)) is None
    assert size_test([1.0, 2.0], [2.0, 2.0], exactly(1)) is not None


def test_printed_spreads_alone_where_our_differences_are_all_alike() -> None:
    arms = Printed.of("80.0", 3, "0.3"), Printed.of("79.0", 3, "0.3")
    found = size_test([80.0, 81.0, 82.0], [79.0, 80.0, 81.0], exactly(1), *arms)
    assert found
    assert found.error == pytest.approx(sqrt(2 * 0.35**2 / 3), rel=1e-12)
    assert 2 < found.df <= 4


# --- new images ----------------------------------------------------------------------------------


def outcomes(k: int, n: int, seed: int, by_seed: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Two recipes' outcomes (k, n) with effects of seeds and of images."""
    rng = np.random.default_rng(seed)
    image, run = rng.normal(0, 1, (2, 1, n)), rng.normal(0, by_seed, (2, k, 1))
    right = special.ndtr(np.array([1.0, 0.6])[:, None, None] + image + run) > rng.random((2, k, n))
    return right[0], right[1]


def slow_mean_squares(x: np.ndarray) -> tuple[float, float, float]:
    """Mean squares one cell at a time."""
    k, n = x.shape
    grand = sum(x[i, j] for i in range(k) for j in range(n)) / (k * n)
    rows = [sum(x[i, j] for j in range(n)) / n for i in range(k)]
    columns = [sum(x[i, j] for i in range(k)) / k for j in range(n)]
    rest = sum((x[i, j] - rows[i] - columns[j] + grand) ** 2 for i in range(k) for j in range(n))
    return (
        sum(n * (row - grand) ** 2 for row in rows) / (k - 1),
        sum(k * (column - grand) ** 2 for column in columns) / (n - 1),
        rest / ((k - 1) * (n - 1)),
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_crossed_effects_are_those_of_a_slow_loop(seed: int) -> None:
    a, b = outcomes(4, 30, seed, 0.5)
    found = crossed(a, b)
    assert found is not None
    squares = slow_mean_squares(100.0 * a - 100.0 * b)
    seeds, images, rest = squares
    per_seed, per_image = (seeds - rest) / 30, (images - rest) / 4
    assert found.mean == pytest.approx(100 * (a.mean() - b.mean()), rel=1e-12)
    assert found.negative == tuple(
        name for name, part in (("seed", per_seed), ("image", per_image)) if part < 0
    )
    parts = (max(per_seed, 0), max(per_image, 0), rest)
    assert (found.seed_sd**2, found.image_sd**2, found.rest_sd**2) == pytest.approx(parts, rel=1e-9)
    variance = parts[0] / 4 + parts[1] / 30 + rest / 120
    raised = max(seeds, rest), max(images, rest), rest
    df = (120 * variance) ** 2 / (raised[0] ** 2 / 3 + raised[1] ** 2 / 29 + rest**2 / 87)
    assert (found.error, found.df) == pytest.approx((sqrt(variance), df), rel=1e-9)
    t = stats.t(df)
    assert found.p == pytest.approx(2 * t.sf(abs(found.mean) / sqrt(variance)), **EXACT)
    assert found.interval.high - found.mean == pytest.approx(t.ppf(0.975) * sqrt(variance))


def frame(x: np.ndarray) -> pd.DataFrame:
    """One row a cell."""
    seed, image = np.indices(x.shape)
    return pd.DataFrame({"x": x.ravel(), "seed": seed.ravel(), "image": image.ravel(), "all": 1})


def test_the_mean_squares_are_those_of_an_analysis_of_variance() -> None:
    x = np.random.default_rng(1).normal(size=(4, 9)) + np.arange(9)
    table = anova_lm(smf.ols("x ~ C(seed) + C(image)", frame(x)).fit())
    assert mean_squares(x) == pytest.approx(table["mean_sq"].tolist(), **EXACT)


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.ConvergenceWarning")
def test_the_crossed_effects_are_those_of_a_mixed_model() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(0, 1, (8, 1)) + rng.normal(0, 0.7, (1, 12)) + rng.normal(0, 0.5, (8, 12)) + 0.3
    fitted = smf.mixedlm(
        "x ~ 1", frame(x), groups="all",
        vc_formula={"seed": "0 + C(seed)", "image": "0 + C(image)"},
    ).fit(reml=True)  # fmt: skip
    seeds, images, rest = mean_squares(x)
    components = dict(zip(fitted.model.exog_vc.names, fitted.vcomp, strict=True))
    assert components["seed"] == pytest.approx((seeds - rest) / 12, rel=1e-3)
    assert components["image"] == pytest.approx((images - rest) / 8, rel=1e-3)
    assert fitted.scale == pytest.approx(rest, rel=1e-3)
    assert crossed_error(seeds, images, rest, 8, 12)[0] == pytest.approx(
        fitted.bse["Intercept"], rel=1e-3
    )


def test_seeds_and_images_can_change_places() -> None:
    a, b = outcomes(5, 40, 11, 0.4)
    one, other = crossed(a, b), crossed(a.T, b.T)
    assert one and other
    assert (one.error, one.df) == pytest.approx((other.error, other.df), rel=1e-10)
    assert (one.seed_sd, one.image_sd) == pytest.approx((other.image_sd, other.seed_sd), rel=1e-9)


def test_components_below_zero_are_named() -> None:
    a = np.array([[1, 0, 1, 0], [0, 1, 0, 1]])  # every seed has two right, every image one
    found = crossed(a, np.zeros_like(a))
    assert found is not None
    assert found.negative == ("seed", "image")
    assert (found.seed_sd, found.image_sd) == (0, 0)
    assert found.error**2 * 8 == pytest.approx(found.rest_sd**2)


def test_outcomes_that_say_nothing() -> None:
    a, b = outcomes(3, 20, 0)
    assert crossed(a[:1], b[:1]) is None
    assert crossed(a[:, :1], b[:, :1]) is None
    assert crossed(a, a) is None
    assert crossed(a[[0, 0, 0]], b[[1, 1, 1]]) is None  # one checkpoint under three names
    with pytest.raises(ValueError, match="shape"):
        crossed(a, b[:, 1:])
    with pytest.raises(ValueError, match="shape"):
        crossed(a[0], b[0])


# --- effect sizes --------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.shape[1])
def test_effect_sizes_in_closed_form(pair: np.ndarray) -> None:
    a, b = pair
    found, test, k = effect(list(a), list(b)), paired_test(list(a), list(b)), len(a)
    assert found and test
    ratio = (a - b).mean() / (a - b).std(ddof=1)
    correction = gamma((k - 1) / 2) / (sqrt((k - 1) / 2) * gamma((k - 2) / 2)) if k > 2 else 0
    assert found.g == pytest.approx(correction * ratio, rel=1e-10)
    assert found.chance == pytest.approx(stats.norm.cdf(ratio), rel=1e-12)
    ends = found.interval.low, found.interval.high
    assert found.chance_interval.low == pytest.approx(stats.norm.cdf(ends[0]), abs=1e-14)
    assert found.chance_interval.high == pytest.approx(stats.norm.cdf(ends[1]), abs=1e-14)
    assert (ends[0] > 0 or ends[1] < 0) == (test.p < 0.05)  # the same test, inverted
    assert found.wins == pytest.approx(np.mean(a > b))
    exact = stats.binomtest(int(np.sum(a > b)), k).proportion_ci(0.95, "exact")
    ends = found.wins_interval.low, found.wins_interval.high
    assert ends == pytest.approx((exact.low, exact.high), **EXACT)


def test_ties_count_half_and_a_turned_pair_mirrors() -> None:
    found, turned = (
        effect([1.0, 2.0, 5.0], [1.0, 3.0, 1.0]),
        effect([1.0, 3.0, 1.0], [1.0, 2.0, 5.0]),
    )
    assert found and turned
    assert found.wins == pytest.approx(0.5)
    low = stats.binomtest(1, 3).proportion_ci(0.95, "exact").low  # the tie is lost for this end
    assert found.wins_interval.low == pytest.approx(low)
    assert found.wins_interval.high == pytest.approx(1 - low)
    assert turned.g == -found.g
    assert turned.interval.low == -found.interval.high
    assert turned.chance_interval.low == pytest.approx(1 - found.chance_interval.high)
    assert effect([1.0, 2.0], [0.0, 1.0]) is None


# --- one seed alone, and the paper's power -------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_is_that_of_two_libraries(seed: int) -> None:
    a, b = (arm[0] for arm in outcomes(1, 300, seed))
    found = mcnemar_within(a, b)
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    assert (found.first_only, found.second_only) == (table[0][1], table[1][0])
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue, **EXACT)
    both = found.first_only + found.second_only
    assert found.p == pytest.approx(stats.binomtest(found.first_only, both).pvalue, **EXACT)


def test_mcnemar_of_one_checkpoint_with_itself() -> None:
    a = np.array([True, False, True])
    assert mcnemar_within(a, a).p == 1
    with pytest.raises(ValueError, match="shape"):
        mcnemar_within(a, a[1:])


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("claimed", [-1, 1])
def test_a_telescope_by_hand(claimed: int, runs: int) -> None:
    a, b = [1.0, 2.0, 3.0], [0.0, 3.0, 1.0]  # differences 1, -1, 2
    found = telescope(a, b, claimed, runs)
    assert found is not None
    sigma = sqrt((1 + 7 / 3) / 2)
    assert found.sigma == pytest.approx(sigma)
    assert found.least_seen == pytest.approx(1.52 * sqrt(2 / runs) * sigma, rel=1e-4)
    side = {1: "less", -1: "greater"}[claimed]
    interval = stats.ttest_rel(a, b, alternative=side).confidence_interval(0.95)
    assert found.upper == pytest.approx(interval.high if claimed > 0 else -interval.low, **EXACT)
    assert found.too_small == (found.upper < found.least_seen)


def test_the_paper_sees_what_a_telescope_sees_in_a_third_of_cases() -> None:
    found = telescope([1.0, 2.0, 3.0], [0.0, 3.0, 1.0], 1)
    assert found is not None
    shift = found.least_seen / (sqrt(2) * found.sigma)
    assert stats.norm.sf(1.959963984540054 - shift) == pytest.approx(0.33, abs=1e-12)
    with pytest.raises(ValueError, match="sign"):
        telescope([1.0, 2.0], [0.0, 3.0], 0)
    assert telescope([1.0], [0.0], 1) is None
