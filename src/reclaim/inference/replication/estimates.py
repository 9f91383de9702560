"""What a few seeds say about a number: means, paired differences, prediction intervals.

Pure functions on seed means; nothing here knows of papers or files. Notation: k seeds, mean ȳ,
sample standard deviation s (divisor k - 1), t the quantile of Student's t with k - 1 degrees of
freedom. An interval that the data cannot give (one seed, or seeds that do not differ) is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import dist, fsum, isclose, sqrt
from typing import Literal

from reclaim.records import Interval

LEVEL = 0.95

Transfer = Literal["holds", "reversed", "open"]


@dataclass(frozen=True)
class Estimate:
    """A mean over `seeds` values: `sd` None for one value, `interval` None where none exists."""

    mean: float
    sd: float | None
    seeds: int
    interval: Interval | None


def varies(values: Sequence[float]) -> bool:
    """Whether values differ by more than the rounding of floating-point subtraction."""
    return not isclose(min(values), max(values), rel_tol=1e-12, abs_tol=1e-12)


@cache
def t_limit(seeds: int, level: float = LEVEL) -> float:
    """Student's t with P(|T| <= t) = `level` on `seeds` - 1 degrees of freedom."""
    from scipy.special import stdtrit  # scipy.stats costs half a second more and gives the same

    return float(stdtrit(seeds - 1, (1 + level) / 2))


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean of k values with its t interval ȳ ± t·s/√k (Student 1908).

    Raises ValueError for no values.
    """
    if not values:
        raise ValueError("no values to average")
    k = len(values)
    mean = fsum(values) / k
    if k == 1:
        return Estimate(mean, None, k, None)
    if not varies(values):
        return Estimate(mean, 0.0, k, None)
    sd = dist(values, [mean] * k) / sqrt(k - 1)
    half = t_limit(k, level) * sd / sqrt(k)
    return Estimate(mean, sd, k, Interval(low=mean - half, high=mean + half))


def paired_difference(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean of a[i] - b[i] over k seeds with its paired t interval d̄ ± t·s_d/√k.

    `a` and `b` are in the same order of seeds; what the seeds share cancels. Raises ValueError
    for different lengths or no values.
    """
    return mean_interval([x - y for x, y in zip(a, b, strict=True)], level)


def prediction_interval(
    values: Sequence[float], runs: int = 1, level: float = LEVEL
) -> Interval | None:
    """Where the mean of `runs` new runs would fall: ȳ ± t·s·√(1/runs + 1/k).

    Covers with probability `level` when old and new runs are draws from one normal distribution
    (Hahn & Meeker 1991, sec. 4.7). None for one value, or values that do not differ.
    """
    estimate = mean_interval(values, level)
    if not estimate.sd:
        return None
    k = estimate.seeds
    half = t_limit(k, level) * estimate.sd * sqrt(1 / runs + 1 / k)
    return Interval(low=estimate.mean - half, high=estimate.mean + half)


def transfer(claimed: Fraction | int, difference: Estimate | None) -> Transfer:
    """Whether a measured difference has the claimed sign.

    `holds` or `reversed` where the interval excludes 0; `open` where it contains 0 or there is
    none (one seed, seeds that do not differ), and where no direction is claimed (0).
    """
    interval = None if difference is None else difference.interval
    if interval is None or claimed == 0 or interval.low <= 0 <= interval.high:
        return "open"
    return "holds" if (interval.low > 0) == (claimed > 0) else "reversed"


@cache
def rounding(printed: str, unit: int = 1) -> tuple[Fraction, Fraction]:
    """The least and greatest value that prints so, in units: half a last digit's unit away.

    >>> rounding("86.2")
    (Fraction(1723, 20), Fraction(345, 4))
    """
    decimals = len(printed.partition(".")[2])
    half = Fraction(1, 2 * 10**decimals)
    return unit * (Fraction(printed) - half), unit * (Fraction(printed) + half)
