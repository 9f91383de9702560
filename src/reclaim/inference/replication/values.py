"""A printed value against k seeds: is it different, is it equivalent, and what follows.

Our k seeds have mean ȳ and sample standard deviation s; the paper printed y, the mean of m runs.
Both are draws from one normal distribution if the paper's number is right, so

    ȳ − y has standard error s·√(1/m + 1/k), on k − 1 degrees of freedom     (Hahn & Meeker 1991)

and where the paper printed its own standard deviation s_y of m ≥ 2 runs, Welch's (1947):

    √(s²/k + s_y²/m), on (s²/k + s_y²/m)² / (s⁴/k²/(k − 1) + s_y⁴/m²/(m − 1)).

Rounding hides a range of y. What follows is judged by the value in that range that speaks least:
the nearest for a difference, the farthest for an equivalence. Numbers are in percentage points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import sqrt
from typing import Any, Literal

from reclaim.inference.replication.estimates import (
    LEVEL,
    Estimate,
    mean_interval,
    rounding,
    varies,
)
from reclaim.records import Interval

ALPHA = 0.05
DIFFERENT = "also detectably different"

Rung = Literal["reproduced", "compatible, imprecise", "not reproduced"]
Method = Literal["t", "Welch", "sequence"]


@dataclass(frozen=True)
class Printed:
    """All that prints as one number: a mean of `runs` runs from `low` to `high`, its SD likewise.

    `sd` needs two runs or more: of a single run no standard deviation is known.
    """

    low: Fraction
    high: Fraction
    runs: int = 1
    sd: tuple[Fraction, Fraction] | None = None

    @classmethod
    def of(
        cls, printed: str, runs: int | None = None, sd: str | None = None, unit: int = 1
    ) -> Printed:
        """From printed strings; `runs` None is not stated and counts as one, `unit` scales.

        The SD of a number of runs that is not stated cannot be used and is left out.

        >>> Printed.of("0.862", unit=100)
        Printed(low=Fraction(1723, 20), high=Fraction(345, 4), runs=1, sd=None)
        """
        low, high = rounding(printed, unit)
        if sd is None or runs is None or runs < 2:
            return cls(low, high, runs or 1)
        least, most = rounding(sd, unit)
        return cls(low, high, runs, (max(least, Fraction(0)), most))


@dataclass(frozen=True)
class ValueTest:
    """A printed value against seeds, with unadjusted p-values.

    `difference` is our mean minus the nearest value that prints so (0 inside the rounding),
    `error` its standard error on `df` degrees of freedom, `p` that of no difference, the largest
    that rounding allows. `tost_p` is that of a difference beyond the margin (1 without a margin).
    `interval` is where the printed number was to be expected.
    """

    seeds: int
    mean: float
    sd: float
    difference: float
    error: float
    df: float
    p: float
    margin: float | None
    tost_p: float
    interval: Interval
    method: Method

    @classmethod
    def of(
        cls,
        own: Estimate,
        printed: Printed,
        error: float,
        df: float,
        margin: Fraction | float | None,
        level: float,
        method: Method,
    ) -> ValueTest:
        """Our mean against all that prints as one number, by the error of their difference."""
        nearest, farthest = distances(own.mean, float(printed.low), float(printed.high))
        within = None if margin is None else float(margin)
        half = float(quantile((1 + level) / 2, df)) * error
        return cls(
            seeds=own.seeds,
            mean=own.mean,
            sd=own.sd or 0.0,
            difference=float(nearest),
            error=error,
            df=df,
            p=float(difference_p(nearest, error, df)),
            margin=within,
            tost_p=1.0 if within is None else float(equivalence_p(farthest, within, error, df)),
            interval=Interval(low=own.mean - half, high=own.mean + half),
            method=method,
        )


def untestable(values: Sequence[float]) -> str | None:
    """Why seeds say nothing about a printed value: "one seed" or "no seed variation".

    Raises ValueError for no values.
    """
    if not values:
        raise ValueError("no values to compare")
    if len(values) == 1:
        return "one seed"
    return None if varies(values) else "no seed variation"


def compare_value(
    values: Sequence[float],
    printed: Printed,
    margin: Fraction | float | None = None,
    level: float = LEVEL,
) -> ValueTest | None:
    """Test a printed value against k seeds; None where `untestable` gives a reason.

    Raises ValueError for no values. The example is a t test of 1 against the mean of 3, 4 and 5:

    >>> test = compare_value([3.0, 4.0, 5.0], Printed(Fraction(1), Fraction(1)))
    >>> f"{test.difference} ± {test.error:.4f}, p = {test.p:.4f}"
    '3.0 ± 1.1547, p = 0.1217'
    """
    if untestable(values):
        return None
    own = mean_interval(values)
    assert own.sd is not None
    error, df = standard_error(own.sd, own.seeds, printed)
    method: Method = "t" if printed.sd is None else "Welch"
    return ValueTest.of(own, printed, error, df, margin, level, method)


def ladder(p: float, tost_p: float, alpha: float = ALPHA) -> Rung:
    """What two (adjusted) p-values say; equivalence comes first.

    >>> [ladder(0.5, 0.01), ladder(0.01, 0.01), ladder(0.5, 0.5), ladder(0.01, 0.5)]
    ['reproduced', 'reproduced', 'compatible, imprecise', 'not reproduced']
    """
    if tost_p < alpha:
        return "reproduced"
    return "not reproduced" if p < alpha else "compatible, imprecise"


def note(p: float, tost_p: float, alpha: float = ALPHA) -> str | None:
    """What to add to `reproduced`: that a difference was seen too, if a negligible one."""
    return DIFFERENT if tost_p < alpha and p < alpha else None


# --- the arithmetic, on numbers or arrays --------------------------------------------------------


def standard_error(sd: float, seeds: int, printed: Printed) -> tuple[float, float]:
    """Standard error of ȳ − y and its degrees of freedom.

    Of a rounded standard deviation the largest, with the fewest degrees of freedom that any value
    in its range has: Welch's df rise with s_y and then fall, so these lie at an end of the range.
    """
    if printed.sd is None:
        return sd * sqrt(1 / printed.runs + 1 / seeds), seeds - 1
    ends = [welch(sd, seeds, float(theirs), printed.runs) for theirs in printed.sd]
    return ends[1][0], min(df for _, df in ends)


def welch(sd: Any, seeds: int, other: Any, runs: int) -> tuple[Any, Any]:
    """Standard error of a difference of two means, and its df by Welch (1947, Satterthwaite 1946).

    >>> welch(1.0, 5, 1.0, 5)
    (0.6324555320336759, 8.0)
    """
    ours, theirs = sd**2 / seeds, other**2 / runs
    df = (ours + theirs) ** 2 / (ours**2 / (seeds - 1) + theirs**2 / (runs - 1))
    return (ours + theirs) ** 0.5, df


def distances(mean: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """From a mean to [low, high]: signed to the nearest point (0 inside), unsigned to the farthest.

    >>> [float(distance) for distance in distances(5.0, 1.0, 3.0)]
    [2.0, 4.0]
    """
    import numpy as np

    nearest = mean - np.minimum(np.maximum(mean, low), high)
    return nearest, np.maximum(abs(mean - low), abs(mean - high))


def quantile(probability: Any, df: Any) -> Any:
    """Student's t below which it falls with `probability`, on any degrees of freedom."""
    from scipy.special import stdtrit

    return stdtrit(df, probability)


def difference_p(difference: Any, error: Any, df: Any) -> Any:
    """Two-sided p-value of Student's t = difference / error.

    >>> round(float(difference_p(1.0, 1.0, 1)), 12)  # one degree of freedom: Cauchy
    0.5
    """
    from scipy.special import stdtr

    return 2 * stdtr(df, -abs(difference / error))


def equivalence_p(distance: Any, margin: Any, error: Any, df: Any) -> Any:
    """The larger of two one-sided p-values (Schuirmann 1987): |difference| ≥ `margin` is tested.

    `distance` is the absolute difference, which decides which of the two is larger.

    >>> float(equivalence_p(2.0, 2.0, 1.0, 4))
    0.5
    """
    from scipy.special import stdtr

    return stdtr(df, (distance - margin) / error)
