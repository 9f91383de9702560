"""Confidence sequences against numerical mixtures, their definitions and simulated peeking."""

from fractions import Fraction
from math import exp, inf, log, pi, sqrt

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import brentq

from reclaim.inference.replication.differences import size_test
from reclaim.inference.replication.estimates import mean_interval
from reclaim.inference.replication.sequences import (
    LEVELS,
    compare_difference_sequentially,
    compare_value_sequentially,
    crossing_of_mean,
    crossing_of_sd,
    evidence_of_sd,
    mean_factor,
    mean_sequence,
    sd_factor,
    sequence_p,
    start_of_mean,
    start_of_sd,
    width,
)
from reclaim.inference.replication.values import Printed, compare_value

VALUES = [80.1, 81.3, 79.7, 80.9, 82.2, 80.4, 79.9, 81.0]
STARTS = [2, 3, 5, 10]


def mixed(values: list[float], mean: float) -> float:
    """Lai's martingale by a sum over a grid of σ (Haar) and of (mean − true mean)/σ (flat)."""
    x = np.array(values) - mean
    log_sigma, shift = np.linspace(-7, 7, 1401), np.linspace(-25, 25, 2001)
    sigma = np.exp(log_sigma)
    null = stats.norm.logpdf(x[:, None], 0, sigma).sum(axis=0)
    top = null.max()
    n, mean_of, squares = len(x), x.mean(), (x**2).sum()
    away = squares - 2 * n * mean_of * sigma[:, None] * shift + n * (sigma[:, None] * shift) ** 2
    other = -away / (2 * sigma[:, None] ** 2) - n * log_sigma[:, None] - n / 2 * log(2 * pi)
    area = np.exp(other - top).sum() * (shift[1] - shift[0])
    return float(area / np.exp(null - top).sum())


@pytest.mark.parametrize(("size", "start"), [(3, 3), (5, 3), (8, 3), (8, 5)])
@pytest.mark.parametrize("mean", [78.5, 79.9])
def test_the_p_value_is_that_of_the_mixture(size: int, start: int, mean: float) -> None:
    evidence = mixed(VALUES[:size], mean)
    df = start - 1

    def at_start(t: float) -> float:
        return sqrt(2 * pi / start) * (1 + t * t / df) ** (start / 2)

    a = brentq(lambda t: at_start(t) - evidence, 0, 1e4)
    density = stats.t(df).pdf
    below = 2 * quad(lambda t: at_start(t) * density(t), 0, a)[0]
    bound = 2 * stats.t.sf(a, df) + below / evidence
    assert sequence_p(VALUES[:size], start, mean) == pytest.approx(bound, rel=1e-7)


@pytest.mark.parametrize(("size", "start"), [(3, 3), (8, 3), (8, 5), (8, 2)])
@pytest.mark.parametrize("mean", [60.0, 78.5, 79.9])
def test_the_p_value_as_lai_writes_it(size: int, start: int, mean: float) -> None:
    t = stats.ttest_1samp(VALUES[:size], mean).statistic
    b = (1 + t**2 / (size - 1)) ** size / size
    a = sqrt((start - 1) * ((b * start) ** (1 / start) - 1))
    expected = 2 * (stats.t.sf(a, start - 1) + a * stats.t.pdf(a, start - 1))
    assert sequence_p(VALUES[:size], start, mean) == pytest.approx(expected, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("start", STARTS)
def test_the_bound_of_the_mean_is_lais(start: int) -> None:
    t = stats.t(start - 1)
    for a in (0.5, 2.0, 8.0, 30.0):
        expected = 2 * (t.sf(a) + a * t.pdf(a))
        assert crossing_of_mean(a, start) == pytest.approx(expected, rel=1e-10)
    for alpha in (0.5, 0.05, 1e-3, 1e-6):
        assert crossing_of_mean(start_of_mean(start, alpha), start) == pytest.approx(alpha)
        at_start = start_of_mean(start, alpha) / sqrt(start)
        assert mean_factor(start, start, alpha) == pytest.approx(at_start, rel=1e-10)


@pytest.mark.parametrize("alpha", [0.2, 0.05, 0.001])
@pytest.mark.parametrize(("size", "start"), [(3, 3), (8, 3), (8, 5), (8, 2)])
def test_the_sequence_ends_where_p_is_alpha(size: int, start: int, alpha: float) -> None:
    values = VALUES[:size]
    found = mean_sequence(values, start, alpha)
    fixed = mean_interval(values, 1 - alpha).interval
    assert found is not None and fixed is not None
    for end in (found.low, found.high):
        assert sequence_p(values, start, end) == pytest.approx(alpha, rel=1e-8)
    assert found.low < fixed.low < fixed.high < found.high
    assert sequence_p(values, start, float(np.mean(values))) == 1.0


@pytest.mark.parametrize("df", [1, 2, 5, 30])
def test_evidence_on_the_sd_is_its_integral(df: int) -> None:
    for squares in (0.1 * df, 0.7 * df, 2.0 * df):
        by_hand, _ = quad(
            lambda lam, w=squares: lam ** (df / 2 - 1) * exp(-(lam - 1) * w / 2), 1, inf
        )
        assert evidence_of_sd(squares, df) == pytest.approx(log(by_hand), abs=1e-7)


@pytest.mark.parametrize("start", [2, 3, 4, 10])
def test_the_bound_of_the_sd_is_that_of_its_mixture(start: int) -> None:
    df, chi2 = start - 1, stats.chi2(start - 1)
    for squares in (0.01 * df, 0.2 * df):
        end = df + 40 * sqrt(df) + 40
        later, _ = quad(lambda w: exp(evidence_of_sd(w, df)) * chi2.pdf(w), squares, end, limit=200)
        bound = chi2.cdf(squares) + later / exp(evidence_of_sd(squares, df))
        assert crossing_of_sd(squares, start) == pytest.approx(bound, rel=1e-6)
    assert crossing_of_sd(start_of_sd(start, 0.02), start) == pytest.approx(0.02)
    assert sd_factor(start, start, 0.02) == pytest.approx(sqrt(df / start_of_sd(start, 0.02)))


def test_the_limit_of_the_sd_tightens_towards_it() -> None:
    factors = [sd_factor(k, 5, 0.05) for k in (5, 6, 10, 30, 100, 200)]
    assert factors == sorted(factors, reverse=True)
    assert 1 < factors[-1] < 1.25


@pytest.mark.parametrize("start", [3, 5])
def test_whoever_peeks_is_seldom_misled(start: int) -> None:
    rng, n, last = np.random.default_rng(start), 3000, 80
    values = rng.normal(size=(n, last))
    ks = np.arange(start, last + 1)
    mean = np.array([values[:, :k].mean(axis=1) for k in ks])
    sd = np.array([values[:, :k].std(axis=1, ddof=1) for k in ks])
    theirs = rng.normal(size=n)
    by_t = np.array([stats.t.ppf(0.975, k - 1) / sqrt(k) for k in ks])[:, None] * sd
    ours = np.array([mean_factor(k, start, 0.05) for k in ks])[:, None] * sd
    limit = np.array([sd_factor(k, start, 0.05) for k in ks])[:, None] * sd
    both = np.array([width(1, k, Printed.of("0"), start, 0.05) for k in ks])[:, None] * sd
    often = 0.05 + 4 * sqrt(0.05 * 0.95 / n)
    misled = (np.abs(mean) > ours).any(axis=0).mean()
    too_low = (limit < 1).any(axis=0).mean()
    assert 0.01 < misled < often
    assert 0.01 < too_low < often
    assert (np.abs(mean - theirs) > both).any(axis=0).mean() < often
    assert (np.abs(mean) > by_t).any(axis=0).mean() > 0.2


@pytest.mark.parametrize("printed", ["85.0", "90.0", "99.9"])
@pytest.mark.parametrize(("runs", "sd"), [(1, None), (5, None), (5, "0.8")])
def test_a_printed_value_in_two_halves(printed: str, runs: int, sd: str | None) -> None:
    box = Printed.of(printed, runs, sd)
    found = compare_value_sequentially(VALUES, box, 5, margin=30.0)
    fixed = compare_value(VALUES, box, margin=30.0)
    assert found is not None and fixed is not None
    spread = np.std(VALUES, ddof=1)
    if sd is None:
        noise = stats.norm.ppf(1 - 0.05 / 8) * sd_factor(8, 5, 0.05 / 4) * spread
    else:
        noise = stats.t.ppf(1 - 0.05 / 4, 4) * 0.85
    half = mean_factor(8, 5, 0.025) * spread + noise / sqrt(runs)
    assert found.interval.high - found.mean == pytest.approx(half, rel=1e-8)
    assert found.method == "sequence"
    assert (found.difference, found.error, found.df) == (fixed.difference, fixed.error, fixed.df)
    assert found.p >= fixed.p and found.tost_p >= fixed.tost_p
    for p, distance in ((found.p, abs(found.difference)), (found.tost_p, 30 - farthest(box))):
        assert width(spread, 8, box, 5, p) < distance or p == 1.0
        before = p / (LEVELS[1] / LEVELS[0])
        assert p == LEVELS[0] or width(spread, 8, box, 5, before) >= distance - 1e-9


def farthest(box: Printed) -> float:
    """From our mean to the end of the box that is farther away."""
    mean = Fraction(float(np.mean(VALUES)))
    return float(max(abs(mean - box.low), abs(mean - box.high)))


def test_evidence_far_beyond_the_last_level_and_none_at_all() -> None:
    far = compare_value_sequentially(VALUES, Printed.of("1e9"), 5)
    near = compare_value_sequentially(VALUES, Printed.of("80.7"), 5)
    assert far is not None and near is not None
    assert (far.p, near.p, near.tost_p) == (LEVELS[0], 1.0, 1.0)


@pytest.mark.parametrize("start", [2, 3])
def test_evidence_beyond_floating_point_numbers(start: int) -> None:
    values = list(75 + 0.3 * np.random.default_rng(0).standard_normal(200))
    assert 0 <= sequence_p(values, start) < sequence_p(values[:start], start) < 0.05


def test_seeds_that_say_nothing() -> None:
    same = [80.0, 80.0, 80.0]
    assert mean_sequence(same, 2) is None
    assert sequence_p(same, 2) == 1.0
    assert compare_value_sequentially(same, Printed.of("81"), 2) is None
    for start, values in ((3, same[:2]), (1, same)):
        with pytest.raises(ValueError, match="starts at"):
            mean_sequence(values, start)
        with pytest.raises(ValueError, match="starts at"):
            compare_value_sequentially(values, Printed.of("81"), start)


# --- a printed difference ------------------------------------------------------------------------

OTHERS = [79.0, 80.6, 79.9, 79.2, 81.0, 79.8, 79.1, 80.3]


def arm(runs: int, sd: float | None = None) -> Printed:
    """A printed arm, for its runs and its spread."""
    known = None if sd is None else (Fraction(sd), Fraction(sd))
    return Printed(Fraction(0), Fraction(0), runs, known)


@pytest.mark.parametrize("second", [arm(3), arm(5, 0.4)])
def test_a_printed_difference_at_every_look(second: Printed) -> None:
    """Half of α for our mean, a quarter for either arm, which are added up."""
    claimed, first = Printed(Fraction(3), Fraction(4)), arm(1)
    found = compare_difference_sequentially(VALUES, OTHERS, claimed, first, second, 5, 4.0)
    fixed = size_test(VALUES, OTHERS, claimed, first, second, 4.0)
    assert found is not None and fixed is not None
    own = np.subtract(VALUES, OTHERS)
    half = mean_factor(8, 5, 0.025) * own.std(ddof=1)
    limit = stats.norm.ppf(1 - 0.05 / 16)
    half += limit * sd_factor(8, 5, 0.05 / 8) * np.std(VALUES, ddof=1)
    if second.sd is None:
        half += limit * sd_factor(8, 5, 0.05 / 8) * np.std(OTHERS, ddof=1) / sqrt(3)
    else:
        half += stats.t.ppf(1 - 0.05 / 8, 4) * 0.4 / sqrt(5)
    assert found.interval.high - own.mean() == pytest.approx(half)
    assert own.mean() - found.interval.low == pytest.approx(half)
    assert (found.difference, found.method) == (fixed.difference, "sequence")
    assert found.p > fixed.p
    assert found.tost_p > fixed.tost_p


def test_a_printed_difference_is_seen_where_its_interval_ends() -> None:
    """p is below α just where the claimed number lies outside the interval of level 1 − α."""
    mean = float(np.subtract(VALUES, OTHERS).mean())
    for away in (4.0, 8.0, 16.0, 32.0):
        claimed = Printed(Fraction(mean + away), Fraction(mean + away))
        found = compare_difference_sequentially(VALUES, OTHERS, claimed, arm(1), arm(1), 5)
        assert found is not None
        assert (found.p < 0.05) == (found.interval.high < mean + away)
        assert found.tost_p == 1.0


def test_a_printed_difference_that_no_sequence_has() -> None:
    claimed = arm(1)
    same = [1.0, 1.0, 1.0]
    assert compare_difference_sequentially(same, same, claimed, claimed, claimed, 3) is None
    with pytest.raises(ValueError, match="starts at 4"):
        compare_difference_sequentially([1.0, 2.0], same[:2], claimed, claimed, claimed, 4)
