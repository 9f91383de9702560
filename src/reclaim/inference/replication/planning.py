"""How many seeds would settle an open claim, if the truth were what our seeds show now.

An order is settled when its paired t test is significant, a printed number when it is different or
equivalent (the ladder of `values`). Seeds of ours narrow only our part of the standard error: what
the paper's own few runs leave stays, so some claims no number of seeds can settle. Numbers of seeds
are totals, more than there are now, for one look at the end with a chance of `power`, of a claim
that is read in one way. Both make them a least: seeds that were added after a look are judged by a
confidence sequence, and R readings are R chances.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reclaim.inference.replication.differences import own_part
from reclaim.inference.replication.distributions import noncentral_t, over_chi
from reclaim.inference.replication.estimates import mean_interval
from reclaim.inference.replication.orders import page
from reclaim.inference.replication.values import ALPHA, Printed, quantile, untestable

POWER = 0.8
MOST = 1000  # seeds of one recipe
ENDLESS = 10**6  # seeds that are as good as infinitely many
NOTHING = "none: no difference to be seen"


@dataclass(frozen=True)
class Wanted:
    """The least number of seeds in all, or None and why no number would do."""

    seeds: int | None
    why: str = ""


# --- an order, a ranking's pair, a contrast ------------------------------------------------------


def seeds_for_order(
    differences: Sequence[float],
    effect: float | None = None,
    alpha: float = ALPHA,
    power: float = POWER,
    most: int = MOST,
) -> Wanted:
    """Seeds for a two-sided paired t test to show a difference with the sign it has.

    P(T > t) for noncentral T with noncentrality √k·|effect|/s_D, by the standard deviation of our
    differences; `effect` is their mean unless given. Raises ValueError for no differences.

    >>> seeds_for_order([0.5, 1.5, 1.0])
    Wanted(seeds=5, why='')
    """
    if (reason := untestable(differences)) is not None:
        return Wanted(None, f"none: {reason}")
    own = mean_interval(differences)
    assert own.sd is not None
    ratio = abs(own.mean if effect is None else effect) / own.sd
    if ratio == 0:
        return Wanted(None, NOTHING)
    return least(lambda k: order_power(ratio, k, alpha), len(differences), power, most)


def order_power(ratio: float, seeds: int, alpha: float = ALPHA) -> float:
    """The chance that k seeds show a difference of `ratio` standard deviations, with its sign."""
    t = float(quantile(1 - alpha / 2, seeds - 1))
    return 1 - noncentral_t(t, seeds - 1, sqrt(seeds) * ratio)


def least(chance: Callable[[int], float], now: int, power: float, most: int = MOST) -> Wanted:
    """The least number of seeds above `now` with at least a chance that grows with them."""
    numbers = range(now + 1, most + 1)
    at = bisect_left(numbers, power, key=chance)
    return Wanted(numbers[at]) if at < len(numbers) else Wanted(None, f"none: more than {most}")


# --- an optimum ----------------------------------------------------------------------------------


def seeds_for_optimum(
    values: NDArray[np.float64],
    printed: int,
    *,
    smallest: bool = False,
    alpha: float = ALPHA,
    power: float = POWER,
    most: int = MOST,
) -> Wanted:
    """Seeds to show that a printed optimum is outside the confidence set, or the set alone; (k, g).

    Outside takes one one-sided paired t test at alpha/(g − 1), of the setting that is now best;
    alone takes one against each of the others, of which each gets its share of 1 − `power`.
    """
    upward = -values if smallest else values
    others = values.shape[1] - 1
    best = int(upward.mean(axis=0).argmax())
    beaten = [i for i in range(others + 1) if i != best] if best == printed else [printed]
    share = 1 - (1 - power) / len(beaten)
    found = [
        seeds_for_order(list(upward[:, best] - upward[:, i]), None, 2 * alpha / others, share, most)
        for i in beaten
    ]
    return max(found, key=lambda wanted: wanted.seeds or ENDLESS)


# --- a rise or fall ------------------------------------------------------------------------------


def seeds_for_trend(
    values: NDArray[np.float64],
    *,
    falls: bool = False,
    alpha: float = ALPHA,
    power: float = POWER,
    most: int = MOST,
) -> Wanted:
    """Seeds to settle a claimed rise or fall, (k, g): by Page's test, or by one step against it.

    Σ place · rank of a seed has the mean and SD that it has over our seeds; summed over k seeds it
    is taken as normal, against Page's (1963) own normal limit. As a statement's, the test for it is
    at alpha/2, that against it at alpha/4, and that of each of n steps at alpha/4n.
    """
    from scipy.special import ndtr, ndtri

    upward = values[:, ::-1] if falls else values
    seeds, g = upward.shape
    found = mean_interval([page(row[None]).statistic - g * (g + 1) ** 2 / 4 for row in upward])
    null = sqrt(g**2 * (g + 1) ** 2 * (g - 1) / 144)
    limit = null * float(ndtri(1 - alpha / (2 if found.mean > 0 else 4)))

    def chance(k: int) -> float:
        beyond = sqrt(k) * abs(found.mean) - limit
        return float(ndtr(beyond / found.sd)) if found.sd else float(beyond > 0)

    whole = least(chance, seeds, power, most) if found.mean else Wanted(None, NOTHING)
    steps = np.diff(upward, axis=1).T
    back = [
        seeds_for_order(list(step), None, alpha / (2 * len(steps)), power, most)
        for step in steps
        if step.mean() < 0
    ]
    return min([whole, *back], key=lambda wanted: wanted.seeds or ENDLESS)


# --- a difference said to be nil -----------------------------------------------------------------


def seeds_for_nil(
    differences: Sequence[float],
    margin: float,
    alpha: float = ALPHA,
    power: float = POWER,
    most: int = MOST,
) -> Wanted:
    """Seeds to show a mean difference within a margin, or beyond it, by one-sided paired t tests.

    As a statement's, those within are at alpha/2, those beyond (on either side) at alpha/4. Raises
    ValueError for no differences.
    """
    from scipy.special import ndtr

    if (reason := untestable(differences)) is not None:
        return Wanted(None, f"none: {reason}")
    own = mean_interval(differences)
    assert own.sd is not None
    size, sd = abs(own.mean), own.sd
    if size >= margin:
        return seeds_for_order(differences, size - margin, alpha / 2, power, most)

    def chance(k: int) -> float:
        s, weights = over_chi(k - 1)
        spread = sd / sqrt(k)
        reach = margin - quantile(1 - alpha / 2, k - 1) * spread * s
        inside = ndtr((reach - size) / spread) - ndtr((-reach - size) / spread)
        return float(weights @ np.maximum(inside, 0))

    return least(chance, len(differences), power, most)


# --- a printed value or difference ---------------------------------------------------------------


def seeds_for_value(
    values: Sequence[float],
    printed: Printed,
    margin: Any = None,
    alpha: float = ALPHA,
    power: float = POWER,
    most: int = MOST,
    different: bool = True,
) -> Wanted:
    """Seeds to show a printed value different or equivalent. Raises ValueError for no values.

    Not `different`: equivalent alone, where no difference could be charged.

    >>> seeds_for_value([70.0, 70.4, 70.2], Printed.of("70.5"))
    Wanted(seeds=None, why="none: limited by the paper's single run")
    """
    if (reason := untestable(values)) is not None:
        return Wanted(None, f"none: {reason}")
    own = mean_interval(values)
    assert own.sd is not None
    # a pair whose second arm is always 0
    future = Future(
        mean=own.mean,
        covariance=np.array([[own.sd**2, 0.0], [0.0, 0.0]]),
        claimed=printed,
        arms=(printed, Printed(printed.low, printed.high, printed.runs)),
        margin=margin,
        different=different,
    )
    return _least_for_number(future, len(values), alpha, power, most)


def seeds_for_size(
    a: Sequence[float],
    b: Sequence[float],
    claimed: Printed,
    first: Printed | None = None,
    second: Printed | None = None,
    margin: Any = None,
    alpha: float = ALPHA,
    power: float = POWER,
    most: int = MOST,
    different: bool = True,
) -> Wanted:
    """Seeds to show a printed difference different or equivalent, as `size_test` will judge it.

    Not `different`: equivalent alone, where none could be charged. Raises ValueError for different
    lengths or no values.
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    if (reason := untestable(differences)) is not None:
        return Wanted(None, f"none: {reason}")
    future = Future(
        mean=float(np.mean(differences)),
        covariance=np.cov(a, b),
        claimed=claimed,
        arms=(first or claimed, second or claimed),
        margin=margin,
        different=different,
    )
    return _least_for_number(future, len(a), alpha, power, most)


@dataclass(frozen=True)
class Future:
    """What more seeds would find if the truth were as now: a mean and a covariance matrix (2, 2).

    `arms` are the printed arms of the claimed difference, for their runs and standard deviations.
    """

    mean: float
    covariance: NDArray[np.float64]
    claimed: Printed
    arms: tuple[Printed, Printed]
    margin: Any
    different: bool = True

    def settled(self, seeds: int, alpha: float = ALPHA) -> float:
        """The chance that k seeds show the claimed number different (if asked) or equivalent.

        Over S² = χ²/df, our part of the estimated variance relative to the true one, of the chance
        that the normal mean falls outside the values that are neither.
        """
        ours, df = own_part(self.covariance, seeds, *self.arms)
        s, weights = over_chi(df)
        error, degrees = self._errors(ours * s**2, df)
        low, high = float(self.claimed.low), float(self.claimed.high)
        beyond = quantile(1 - alpha / 2, degrees) if self.different else np.inf
        reach = beyond * error
        unsettled = self._within(low - reach, high + reach, seeds)
        if self.margin is not None:
            inner = float(self.margin) - quantile(1 - alpha, degrees) * error
            start = np.maximum(high - inner, low - reach)
            stop = np.maximum(np.minimum(low + inner, high + reach), start)
            unsettled = unsettled - self._within(start, stop, seeds)
        return 1 - float(weights @ unsettled)

    def _errors(self, ours: Any, df: float) -> tuple[Any, Any]:
        """Standard errors and degrees of freedom with the SDs that the paper printed."""
        known = [(float(arm.sd[1]) ** 2 / arm.runs, arm.runs - 1) for arm in self.arms if arm.sd]
        if not known:
            return np.sqrt(ours), df
        total = ours + sum(part for part, _ in known)
        spread = ours**2 / df + sum(part**2 / few for part, few in known)
        return np.sqrt(total), total**2 / spread

    def _within(self, low: Any, high: Any, seeds: int) -> Any:
        """The chance that the mean of k seeds falls between two values."""
        from scipy.special import ndtr

        spread = self.sd / sqrt(seeds)
        return ndtr((high - self.mean) / spread) - ndtr((low - self.mean) / spread)

    @cached_property
    def sd(self) -> float:
        """The standard deviation of one difference."""
        (a, ab), (_, b) = self.covariance.tolist()
        return sqrt(a - ab - (ab - b))


def _least_for_number(future: Future, now: int, alpha: float, power: float, most: int) -> Wanted:
    """The least number of seeds, or that even endless ones would not do."""
    if future.settled(ENDLESS, alpha) < power:
        runs = min(arm.runs for arm in future.arms)
        limit = "single run" if runs == 1 else f"{runs} runs"
        return Wanted(None, f"none: limited by the paper's {limit}")
    return least(lambda k: future.settled(k, alpha), now, power, most)
