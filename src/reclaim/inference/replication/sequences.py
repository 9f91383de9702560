"""Confidence sequences: intervals that hold at every number of seeds at once, σ unknown.

Whoever adds seeds until something shows gets it sooner or later from fixed intervals. A sequence
of intervals contains the truth at all k ≥ `start` together, with probability 1 − α, so it may be
looked at after every seed, and stopped at any. `start` is fixed before looking: the seeds planned.

Both sequences are mixtures of likelihood ratios over an improper prior, begun at `start`: a
nonnegative martingale M that is not integrable exceeds c at some k ≥ `start` with probability at
most P(M ≥ c) + E[M; M < c]/c at `start` (Robbins & Siegmund 1970; Wang & Ramdas 2023, "The
extended Ville's inequality"). The mean: Lai (1976, "On confidence sequences", Ann. Statist. 4,
theorem 2), a flat prior on it, and Haar's on σ. The upper limit of σ: Haar's prior on a
precision above the true one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial
from math import exp, expm1, log, log1p, pi, sqrt

from reclaim.inference.replication.differences import size_test
from reclaim.inference.replication.estimates import LEVEL, mean_interval
from reclaim.inference.replication.values import (
    ALPHA,
    Printed,
    ValueTest,
    compare_value,
    distances,
    quantile,
    untestable,
)
from reclaim.records import Interval

# p-values of `compare_value_sequentially` are rounded up to one of these, 1 % apart: 1e-9 … 1.
LEVELS = [10 ** (step / 225) for step in range(-9 * 225, 1)]
MOST_EVIDENCE = 600.0  # logarithm; more counts as this much, which floating-point numbers can hold


def mean_sequence(values: Sequence[float], start: int, alpha: float = ALPHA) -> Interval | None:
    """Interval for a mean that holds at every number of values from `start` on.

    For paired differences it is the sequence itself. None for values that do not differ. Raises
    ValueError for fewer values than `start`, or a `start` below 2.
    """
    if not _testable(values, start):
        return None
    own = mean_interval(values)
    half = mean_factor(own.seeds, start, alpha) * (own.sd or 0)
    return Interval(low=own.mean - half, high=own.mean + half)


def sequence_p(values: Sequence[float], start: int, mean: float = 0.0) -> float:
    """Smallest α at which `mean_sequence` excludes `mean`: below α, ever, with probability α.

    1 for values that do not differ. Raises ValueError as `mean_sequence`.
    """
    if not _testable(values, start):
        return 1.0
    own, k = mean_interval(values), len(values)
    assert own.sd is not None
    evidence = k * log1p((own.mean - mean) ** 2 * k / (k - 1) / own.sd**2) - log(k)
    at_start = (evidence + log(start)) / start
    if at_start <= 0:
        return 1.0
    return crossing_of_mean(sqrt((start - 1) * expm1(min(at_start, MOST_EVIDENCE))), start)


def compare_value_sequentially(
    values: Sequence[float],
    printed: Printed,
    start: int,
    margin: Fraction | float | None = None,
    level: float = LEVEL,
) -> ValueTest | None:
    """Test a printed value at a number of seeds that was decided on the way.

    Half of α goes to our mean, half to the noise of the printed one: with its own SD by its t
    interval, else as a normal draw whose σ is at most our upper limit (a quarter each). p-values
    are the smallest α of their decision, rounded up; equivalence needs the whole two-sided interval
    inside the margin. `error` and `df` are those of a fixed number of seeds. None for values that
    do not differ. Raises ValueError as `mean_sequence`.
    """
    fixed = compare_value(values, printed, margin, level) if _testable(values, start) else None
    if fixed is None:
        return None
    return at_every_look(
        fixed, printed, partial(width, fixed.sd, fixed.seeds, printed, start), level
    )


def compare_difference_sequentially(
    a: Sequence[float],
    b: Sequence[float],
    claimed: Printed,
    first: Printed,
    second: Printed,
    start: int,
    margin: Fraction | float | None = None,
    level: float = LEVEL,
) -> ValueTest | None:
    """`differences.size_test` at a number of seeds that was decided on the way.

    Half of α goes to our mean difference, a quarter to the noise of each printed arm, bounded as
    that of a printed value; the bounds are added up, for the arms may share seeds or not. None and
    ValueError as there, and for a `start` as in `mean_sequence`.
    """
    varied = _testable(a, start) or _testable(b, start)
    fixed = size_test(a, b, claimed, first, second, margin, level) if varied else None
    if fixed is None:
        return None
    seeds, spread = fixed.seeds, fixed.sd
    spreads = [mean_interval(arm).sd or 0.0 for arm in (a, b)]

    def reach(alpha: float) -> float:
        return mean_factor(seeds, start, alpha / 2) * spread + sum(
            noise_of_paper(sd, seeds, arm, start, alpha / 4)
            for sd, arm in zip(spreads, (first, second), strict=True)
        )

    return at_every_look(fixed, claimed, reach, level)


def at_every_look(
    fixed: ValueTest, printed: Printed, reach: Callable[[float], float], level: float
) -> ValueTest:
    """A test with the p-values and interval of a reach, which is a function of α."""
    _, farthest = distances(fixed.mean, float(printed.low), float(printed.high))
    inside = 0.0 if fixed.margin is None else fixed.margin - float(farthest)
    half = reach(1 - level)
    return replace(
        fixed,
        p=least_alpha(reach, abs(fixed.difference)),
        tost_p=least_alpha(reach, inside),
        interval=Interval(low=fixed.mean - half, high=fixed.mean + half),
        method="sequence",
    )


def width(sd: float, seeds: int, printed: Printed, start: int, alpha: float) -> float:
    """How far from our mean a printed value may lie, at every number of seeds at once."""
    ours = mean_factor(seeds, start, alpha / 2) * sd
    return ours + noise_of_paper(sd, seeds, printed, start, alpha / 2)


def noise_of_paper(sd: float, seeds: int, printed: Printed, start: int, alpha: float) -> float:
    """How far a printed value may lie from its own truth: by its SD, or by a limit of ours."""
    if printed.sd is not None:
        noise = quantile(1 - alpha / 2, printed.runs - 1) * float(printed.sd[1])
    else:
        noise = normal(1 - alpha / 4) * sd_factor(seeds, start, alpha / 2) * sd
    return float(noise) / sqrt(printed.runs)


def least_alpha(reach: Callable[[float], float], distance: float) -> float:
    """The least of `LEVELS` at which a reach, which falls as α grows, is below a distance."""
    place = bisect_left(LEVELS, True, key=lambda alpha: reach(alpha) < distance)
    return LEVELS[place] if place < len(LEVELS) else 1.0


def _testable(values: Sequence[float], start: int) -> bool:
    if start < 2 or len(values) < start:
        raise ValueError(
            f"{len(values)} values of a sequence that starts at {start}; "
            "it can start at 2 and needs as many values"
        )
    return untestable(values) is None


# --- the mean (Lai 1976) -------------------------------------------------------------------------


def crossing_of_mean(a: float, start: int) -> float:
    """Bound on the probability that a sequence with |t| ≤ a at its start ever excludes the mean.

    2·(1 − F(a) + a·f(a)), F and f of Student's t on `start` − 1 degrees of freedom (Lai's α).
    """
    from scipy.special import gammaln, stdtr

    df = start - 1
    scale = gammaln((df + 1) / 2) - gammaln(df / 2) - log(df * pi) / 2
    density = exp(scale - (df + 1) / 2 * log1p(a * a / df))
    return float(2 * (stdtr(df, -a) + a * density))


@lru_cache(maxsize=4096)
def start_of_mean(start: int, alpha: float) -> float:
    """The |t| that a sequence of level 1 − α allows at its start.

    >>> round(start_of_mean(3, 0.05), 3)  # where a fixed interval allows 4.303
    7.582
    """
    from scipy.optimize import brentq

    return exp(brentq(lambda x: crossing_of_mean(exp(x), start) - alpha, -20, 40, xtol=1e-13))


def mean_factor(seeds: int, start: int, alpha: float) -> float:
    """Half-width of the mean's sequence in standard deviations s.

    √((k − 1)/k·((b·k)^(1/k) − 1)), b = (1 + a²/(start − 1))^start / start; a/√start at the start.
    """
    a = start_of_mean(start, alpha)
    log_b = start * log1p(a * a / (start - 1)) - log(start)
    return sqrt((seeds - 1) / seeds * expm1((log_b + log(seeds)) / seeds))


# --- the upper limit of σ ------------------------------------------------------------------------


def evidence_of_sd(squares: float, df: int) -> float:
    """Logarithm of the martingale ∫₁^∞ λ^(df/2 − 1)·e^(−(λ − 1)·squares/2) dλ.

    `squares` = (k − 1)·s²/σ² is χ² on `df` = k − 1; little of it speaks for a smaller σ.
    """
    from scipy.special import gammaincc, gammaln

    half, a = squares / 2, df / 2
    tail = float(gammaincc(a, half))
    return half - a * log(half) + float(gammaln(a)) + (log(tail) if tail else -float("inf"))


def crossing_of_sd(squares: float, start: int) -> float:
    """Bound on the probability that a limit with χ² = `squares` at its start is ever too low.

    P(χ² ≤ squares) + ∫₁^∞ P(χ² > λ·squares) dλ/λ / M, on `start` − 1 degrees of freedom.
    """
    from scipy.integrate import quad
    from scipy.special import gammainc, gammaincc

    a, half = (start - 1) / 2, squares / 2
    end = max(log(half), log(a + 40 + 12 * sqrt(a)))  # the tail beyond is below 1e-16
    later, _ = quad(lambda x: gammaincc(a, exp(x)), log(half), end, epsabs=0, epsrel=1e-9)
    return float(gammainc(a, half)) + later * exp(-evidence_of_sd(squares, start - 1))


@lru_cache(maxsize=4096)
def start_of_sd(start: int, alpha: float) -> float:
    """The least χ² that the limit of σ of level 1 − α allows at its start."""
    from scipy.optimize import brentq

    most = log(start - 1)  # where the bound is above 0.8
    return exp(brentq(lambda x: crossing_of_sd(exp(x), start) - alpha, -60, most, xtol=1e-10))


@lru_cache(maxsize=4096)
def sd_factor(seeds: int, start: int, alpha: float) -> float:
    """The upper limit of σ in standard deviations s."""
    from scipy.optimize import brentq

    goal = evidence_of_sd(start_of_sd(start, alpha), start - 1)
    df = seeds - 1
    squares = exp(brentq(lambda x: evidence_of_sd(exp(x), df) - goal, -60, log(20 * df + 100)))
    return sqrt(df / squares)


def normal(probability: float) -> float:
    """The normal quantile."""
    from scipy.special import ndtri

    return float(ndtri(probability))
