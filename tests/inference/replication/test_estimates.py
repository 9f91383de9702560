"""The statistics against closed forms, second engines and simulation."""

from fractions import Fraction
from math import pi, sqrt, tan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from reclaim.inference.replication.estimates import (
    Estimate,
    mean_interval,
    paired_difference,
    prediction_interval,
    rounding,
    t_limit,
    transfer,
    varies,
)
from reclaim.records import Interval

SAMPLES = [
    np.random.default_rng(seed).normal(80, 1, size=k) for seed, k in enumerate((2, 3, 5, 20))
]


def test_the_limit_of_t_has_its_closed_forms() -> None:
    assert t_limit(2, 0.95) == pytest.approx(tan(pi * 0.475), rel=1e-10)  # Cauchy
    p = 0.975
    by_hand = (2 * p - 1) * sqrt(2 / (4 * p * (1 - p)))  # two degrees of freedom
    assert t_limit(3, 0.95) == pytest.approx(by_hand, rel=1e-10)


@pytest.mark.parametrize("sample", SAMPLES, ids=len)
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
def test_the_mean_interval_is_that_of_statsmodels(sample: np.ndarray, level: float) -> None:
    found = mean_interval(list(sample), level)
    low, high = DescrStatsW(sample).tconfint_mean(alpha=1 - level)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), rel=1e-10)
    assert (found.mean, found.sd) == pytest.approx((sample.mean(), stats.tstd(sample)), rel=1e-12)


@pytest.mark.parametrize("sample", SAMPLES, ids=len)
def test_the_paired_difference_is_that_of_scipy(sample: np.ndarray) -> None:
    other = sample + np.random.default_rng(9).normal(0.5, 0.3, size=len(sample))
    found = paired_difference(list(other), list(sample))
    test = stats.ttest_rel(other, sample)
    low, high = test.confidence_interval(0.95)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), rel=1e-10)
    assert (test.pvalue < 0.05) == (transfer(1, found) != "open")


def test_a_paired_difference_by_hand() -> None:
    found = paired_difference([3.0, 5.0, 10.0], [2.0, 3.0, 7.0])  # differences 1, 2, 3: s = 1
    assert found.interval is not None
    assert (found.mean, found.sd, found.seeds) == (2.0, 1.0, 3)
    assert found.interval.high == pytest.approx(2 + 4.302652729749462 / sqrt(3), rel=1e-12)


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("sample", SAMPLES, ids=len)
def test_the_prediction_interval_is_that_of_a_regression_on_a_constant(
    sample: np.ndarray, runs: int
) -> None:
    import statsmodels.api as sm

    fitted = sm.OLS(sample, np.ones(len(sample))).fit()
    frame = fitted.get_prediction([[1.0]]).summary_frame(alpha=0.05)
    found = prediction_interval(list(sample), runs)
    assert found is not None
    if runs == 1:
        expected = frame[["obs_ci_lower", "obs_ci_upper"]].iloc[0].tolist()
        assert [found.low, found.high] == pytest.approx(expected, rel=1e-10)
    ratio = (found.high - found.low) / (frame["mean_ci_upper"] - frame["mean_ci_lower"]).iloc[0]
    assert ratio == pytest.approx(sqrt(len(sample) / runs + 1), rel=1e-10)


@pytest.mark.parametrize(("k", "runs"), [(3, 1), (3, 3), (10, 1)])
def test_the_prediction_interval_covers_as_often_as_it_says(k: int, runs: int) -> None:
    rng = np.random.default_rng(k * 10 + runs)
    n = 4000
    ours, theirs = rng.normal(80, 2, (n, k)), rng.normal(80, 2, (n, runs)).mean(axis=1)
    found = [prediction_interval(list(row), runs) for row in ours]
    covered = sum(
        i is not None and i.low <= y <= i.high for i, y in zip(found, theirs, strict=True)
    )
    assert abs(covered / n - 0.95) < 4 * sqrt(0.95 * 0.05 / n)


def test_the_paired_interval_covers_as_often_as_it_says_and_sharing_a_seed_narrows_it() -> None:
    rng, n = np.random.default_rng(5), 4000
    shared = rng.normal(0, 3, (n, 4, 1))
    pairs = shared + rng.normal(0, 0.5, (n, 4, 2)) + np.array([1.0, 0.0])
    found = [paired_difference(list(pair[:, 0]), list(pair[:, 1])).interval for pair in pairs]
    covered = sum(i is not None and i.low <= 1.0 <= i.high for i in found)
    assert abs(covered / n - 0.95) < 4 * sqrt(0.95 * 0.05 / n)
    widths = [i.high - i.low for i in found if i is not None]
    assert np.median(widths) < 3  # unpaired, the shared part of 3 points would make it about 12


def test_no_interval_from_one_seed_or_from_seeds_that_do_not_differ() -> None:
    assert mean_interval([80.0]) == Estimate(80.0, None, 1, None)
    assert mean_interval([80.0, 80.0]) == Estimate(80.0, 0.0, 2, None)
    assert prediction_interval([80.0]) is None
    assert prediction_interval([80.0, 80.0, 80.0]) is None
    with pytest.raises(ValueError, match="no values"):
        mean_interval([])
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0, 2.0], [1.0])


def test_the_rounding_of_subtraction_is_not_seed_variation() -> None:
    ones, others = [0.3, 0.4, 0.5], [0.1, 0.2, 0.3]
    gaps = [a - b for a, b in zip(ones, others, strict=True)]
    assert len(set(gaps)) > 1
    assert not varies(gaps)
    assert paired_difference(ones, others).interval is None
    assert varies([97.22, 97.23])


@pytest.mark.parametrize(
    ("claimed", "low", "high", "expected"),
    [
        (1, 0.1, 0.5, "holds"),
        (-1, -0.5, -0.1, "holds"),
        (1, -0.5, -0.1, "reversed"),
        (-1, 0.1, 0.5, "reversed"),
        (1, -0.1, 0.5, "open"),
        (1, 0.0, 0.5, "open"),
        (-1, -0.5, 0.0, "open"),
        (0, 0.1, 0.5, "open"),
    ],
)
def test_transfer(claimed: int, low: float, high: float, expected: str) -> None:
    gap = Estimate((low + high) / 2, 0.1, 3, Interval(low=low, high=high))
    assert transfer(claimed, gap) == expected
    assert transfer(claimed, None) == "open"
    assert transfer(claimed, Estimate(0.3, None, 1, None)) == "open"


@pytest.mark.parametrize(
    ("printed", "low", "high"),
    [("75", "74.5", "75.5"), ("75.00", "74.995", "75.005"), ("-0.1", "-0.15", "-0.05")],
)
def test_what_rounding_hides(printed: str, low: str, high: str) -> None:
    assert rounding(printed) == (Fraction(low), Fraction(high))


@given(st.decimals(min_value=0, max_value=100, places=4), st.integers(0, 3))
def test_a_number_lies_within_the_rounding_of_its_print(number, places: int) -> None:
    least, most = rounding(f"{number:.{places}f}")
    assert least <= Fraction(number) <= most
