"""Printed orders of several settings against k seeds of each: a ranking, a trend, an optimum.

Values are tables (k, g), a row a seed, a column a setting in the paper's order; a row's settings
share what a seed fixes (common random numbers). Every result is a sign with a raw p-value, as in
`differences`, so one ladder serves: 1 is what was claimed. Numbers are in percentage points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reclaim.inference.replication.differences import one_sample, sign
from reclaim.inference.replication.distributions import dunnett, page_row
from reclaim.inference.replication.estimates import LEVEL
from reclaim.inference.replication.sequences import sequence_p
from reclaim.inference.replication.values import Rung
from reclaim.records import Interval

Table = NDArray[np.float64]
WORST_FIRST: tuple[Rung, ...] = ("not reproduced", "compatible, imprecise", "reproduced")


def worst(verdicts: Sequence[Rung]) -> Rung:
    """The verdict on a ranking: the worst of its adjacent pairs. Raises ValueError for none.

    >>> worst(["reproduced", "not reproduced", "compatible, imprecise"])
    'not reproduced'
    """
    return min(verdicts, key=WORST_FIRST.index)


# --- a ranking -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ranking:
    """A printed ranking beside the measured one.

    `tau` is Kendall's τ of the printed values with the measured means (τ-b where only the former
    tie), `interval` that with the means of infinitely many seeds. Of all pairs that print orders,
    `separable` are told apart; `adjacent` have none printed between them, the greater first.
    """

    tau: float
    interval: Interval
    separable: int
    pairs: int
    adjacent: tuple[tuple[int, int], ...]


def ranking(
    printed: Sequence[Any], values: Table, start: int | None = None, level: float = LEVEL
) -> Ranking | None:
    """Compare a printed ranking of g settings with k seeds of each, (k, g).

    The interval is simultaneous: each pair has a paired t test at (1 − level)/pairs (Bonferroni),
    so with probability `level` every pair told apart is told apart rightly, and the true τ lies
    between that with all other pairs discordant and that with all concordant. Pairs printed equal
    order nothing. Where seeds were added to the first `start`, the tests are those of confidence
    sequences. None for one seed (or a `start` below two), or where print orders nothing. Raises
    ValueError for a printed value too many or too few.

    >>> found = ranking([3, 2, 1], np.array([[9.0, 5.0, 6.0], [9.1, 5.2, 5.9], [9.3, 5.0, 5.6]]))
    >>> round(found.tau, 3), found.interval.low, found.separable, found.pairs
    (0.333, 0.3333333333333333, 2, 3)
    """
    k, g = _shape(values, len(printed))
    ordered = [
        (i, j) if printed[i] > printed[j] else (j, i)
        for i, j in combinations(range(g), 2)
        if printed[i] != printed[j]
    ]
    if min(k, k if start is None else start) < 2 or not ordered:
        return None
    tests = [_sign(list(values[:, i] - values[:, j]), start) for i, j in ordered]
    sure = [which for which, p in tests if p < (1 - level) / len(ordered)]
    means = values.mean(axis=0).tolist()
    agree = sum(sign(means[i] - means[j]) for i, j in ordered)
    root, unsure = sqrt(len(ordered) * comb(g, 2)), len(ordered) - len(sure)
    return Ranking(
        tau=agree / root,
        interval=Interval(low=(sum(sure) - unsure) / root, high=(sum(sure) + unsure) / root),
        separable=len(sure),
        pairs=len(ordered),
        adjacent=tuple(
            (i, j)
            for i, j in ordered
            if not any(printed[j] < other < printed[i] for other in printed)
        ),
    )


def _sign(differences: Sequence[float], start: int | None) -> tuple[int, float]:
    """The sign of a mean difference, with its p-value."""
    test = one_sample(differences)
    if test is None:
        return 0, 1.0
    return test.sign, test.p if start is None else sequence_p(differences, start)


def _shape(values: Table, settings: int | None = None) -> tuple[int, int]:
    """Seeds and settings of a table; raises ValueError for another form or number of settings."""
    if values.ndim != 2 or values.shape[1] < 2 or settings not in (None, values.shape[1]):
        expected = settings or "2 or more"
        raise ValueError(f"values of shape {values.shape}; expected (seeds, {expected} settings)")
    return values.shape[0], values.shape[1]


# --- an optimum: multiple comparisons with the best ----------------------------------------------


@dataclass(frozen=True)
class Optimum:
    """For each setting the p-value of "no other is better", and so a confidence set of optima."""

    p: tuple[float, ...]
    level: float

    @property
    def best(self) -> tuple[int, ...]:
        """The settings that may be the best: the truly best is among them at the level."""
        return tuple(i for i, p in enumerate(self.p) if p >= 1 - self.level)


def optimum(
    values: Table, *, smallest: bool = False, pooled: bool = False, level: float = LEVEL
) -> Optimum | None:
    """Multiple comparisons with the best (Hsu 1981; the set is Gupta's, 1965), (k, g) -> a set.

    Setting i is left out where some other is better by a one-sided paired t test at
    (1 − level)/(g − 1), k − 1 degrees of freedom: this holds for any variances and correlations.
    `pooled` takes Dunnett's (1955) limit and one residual variance of seeds and settings,
    (k − 1)(g − 1) degrees of freedom: sharper over few seeds, and right only where all differences
    vary alike (docs/statistics.md shows what it costs where they do not). None for one seed, or
    none that differ. Raises ValueError for a table of another form.
    """
    seeds, _ = _shape(values)
    upward = -values if smallest else values
    if seeds < 2:
        return None
    p = _dunnett_p(upward) if pooled else _separate_p(upward)
    return None if p is None else Optimum(p, level)


def _separate_p(values: Table) -> tuple[float, ...] | None:
    """Bonferroni over the other settings; a pair that does not vary says nothing (p = 1)."""
    g = values.shape[1]
    tests = {
        (i, j): one_sample(list(values[:, j] - values[:, i]))
        for i in range(g) for j in range(g) if i != j
    }  # fmt: skip
    if not any(tests.values()):
        return None
    one_sided = {
        pair: 1.0 if test is None else test.p / 2 if test.sign > 0 else 1 - test.p / 2
        for pair, test in tests.items()
    }
    return tuple(
        min(1.0, (g - 1) * min(one_sided[i, j] for j in range(g) if j != i)) for i in range(g)
    )


def _dunnett_p(values: Table) -> tuple[float, ...] | None:
    """P(max of g − 1 equicorrelated t >= the observed one), with the residual of a block design."""
    k, g = values.shape
    means = values.mean(axis=0)
    rest = values - means - values.mean(axis=1, keepdims=True) + values.mean()
    df = (k - 1) * (g - 1)
    error = sqrt(2 / k * float((rest**2).sum()) / df)
    if error <= 1e-12 * float(abs(values).max()):
        return None
    largest = [float(np.delete(means, i).max() - means[i]) / error for i in range(g)]
    return tuple(1 - dunnett(t, g - 1, df) for t in largest)


# --- a trend -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrendTest:
    """An exact rank test of a rise: one-sided p-values of a rise and of a fall.

    Equal values count against each of the two in turn, so both p-values are at most too large.
    """

    statistic: float
    p_rise: float
    p_fall: float


def page(values: Table) -> TrendTest:
    """Page's (1963) test on k seeds of g settings, (k, g): L = Σ over settings of place · rank sum.

    Exact for any table: the distribution of one seed's Σ place · rank over all g! orders, convolved
    k times. (scipy.stats.page_trend_test agrees, but takes 20 s for ten settings and has no exact
    p-value for ties.) Raises ValueError for a table of another form.

    >>> test = page(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))
    >>> test.statistic, round(test.p_rise * 36, 9)
    (28.0, 1.0)
    """
    k, g = _shape(values)
    null = _power(page_row(g), k)
    rise, fall = _page_statistic(values), _page_statistic(values[:, ::-1])
    return TrendTest(float(rise), float(null[rise:].sum()), float(null[fall:].sum()))


def _page_statistic(values: Table) -> int:
    """Σ place · rank, of equal values the later with the lower rank."""
    g = values.shape[1]
    order = g - 1 - np.argsort(values[:, ::-1], axis=1, kind="stable")
    return int((np.arange(1, g + 1) * (order + 1)).sum())


def _power(distribution: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """The distribution of a sum of independent draws."""
    total = np.ones(1)
    for _ in range(times):
        total = np.convolve(total, distribution)
    return total
