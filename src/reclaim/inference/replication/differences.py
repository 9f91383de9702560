"""A printed difference or order against k pairs of seeds: sign, size, and what stands by them.

Our two recipes ran on the same k seeds, a[i] and b[i] (common random numbers), so the differences
d[i] = a[i] − b[i] with mean d̄ and standard deviation s_D decide; this test set is fixed. For new
images there are crossed random effects of seeds and images, from the predictions of each run. No
bootstrap is offered: over 3 to 5 seeds it covers far less than it says (docs/statistics.md).
Numbers are in percentage points, p-values two-sided and raw. What the data cannot give (one seed,
or seeds that do not differ) is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import exp, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reclaim.inference.audit.exact import mcnemar
from reclaim.inference.replication.distributions import noncentralities
from reclaim.inference.replication.estimates import LEVEL, mean_interval
from reclaim.inference.replication.values import (
    Printed,
    ValueTest,
    difference_p,
    quantile,
    untestable,
)
from reclaim.records import Interval

POWER_OF_A_TELESCOPE = 0.33  # Simonsohn's: 33 %, so that d33 = 1.52 · √2 · σ for one run an arm

Outcomes = NDArray[np.bool_] | NDArray[np.integer[Any]]


# --- the sign: paired t --------------------------------------------------------------------------


@dataclass(frozen=True)
class SignTest:
    """Whether a mean over seeds differs from 0: `p` of the t test, with its t interval."""

    mean: float
    sd: float
    seeds: int
    p: float
    interval: Interval

    @property
    def sign(self) -> int:
        """The direction that was measured."""
        return sign(self.mean)


def sign(number: float) -> int:
    """-1, 0 or 1."""
    return int(number > 0) - int(number < 0)


def one_sample(differences: Sequence[float], level: float = LEVEL) -> SignTest | None:
    """Student's t test that the mean of k differences is 0 (Student 1908).

    Raises ValueError for no differences.

    >>> test = one_sample([1.0, 2.0, 3.0])
    >>> test.mean, test.sd, round(test.p, 4)
    (2.0, 1.0, 0.0742)
    """
    if untestable(differences):
        return None
    own = mean_interval(differences, level)
    assert own.sd is not None and own.interval is not None
    p = float(difference_p(own.mean, own.sd / sqrt(own.seeds), own.seeds - 1))
    return SignTest(own.mean, own.sd, own.seeds, p, own.interval)


def paired_test(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> SignTest | None:
    """Paired t test of a[i] − b[i], in the same order of seeds: the primary test of an order.

    Raises ValueError for different lengths or no values.
    """
    return one_sample([x - y for x, y in zip(a, b, strict=True)], level)


# --- the size: the value ladder on the difference ------------------------------------------------


def size_test(
    a: Sequence[float],
    b: Sequence[float],
    claimed: Printed,
    first: Printed | None = None,
    second: Printed | None = None,
    margin: Any = None,
    level: float = LEVEL,
) -> ValueTest | None:
    """Test a printed difference against that of k pairs of seeds, for the ladder of `values`.

    `claimed` bounds the printed difference; `first` and `second` are the printed arms, for their
    runs and standard deviations (without them both had `claimed.runs` runs and no printed SD). The
    paper's arms are not known to share seeds, ours do: the standard error is
    √(s_A²/m_A + s_B²/m_B + s_D²/k), on the degrees of freedom of `own_part`. Rounding is taken
    as for values: the nearest difference is tested, the farthest is shown equivalent. Raises
    ValueError for different lengths or no values.

    >>> test = size_test([3.0, 4.0, 6.0], [1.0, 3.0, 2.0], Printed.of("5.0"))
    >>> round(test.difference, 4), round(test.error, 4), round(test.df, 3), test.tost_p
    (-2.6167, 2.0276, 3.395, 1.0)
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    if untestable(a) and untestable(b):
        return None
    own = mean_interval(differences)
    error, df = size_error(a, b, first or claimed, second or claimed)
    return ValueTest.of(own, claimed, error, df, margin, level, "Welch")


def size_error(
    a: Sequence[float], b: Sequence[float], first: Printed, second: Printed
) -> tuple[float, float]:
    """Standard error of d̄ minus a printed difference, and its degrees of freedom.

    To our own part (`own_part`) comes, for an arm with a printed SD s, s²/m on m − 1 degrees of
    freedom (Welch 1947). Of a rounded s the largest counts, with the fewest degrees of freedom of
    the two ends of its range.
    """
    ours, df = map(float, own_part(np.cov(a, b), len(a), first, second))
    known = [arm for arm in (first, second) if arm.sd]
    errors, degrees = [], []
    for sds in product(*(arm.sd or () for arm in known)):
        theirs = [
            (float(sd) ** 2 / arm.runs, arm.runs - 1) for sd, arm in zip(sds, known, strict=True)
        ]
        total = ours + sum(part for part, _ in theirs)
        spread = ours**2 / df + sum(part**2 / few for part, few in theirs)
        errors.append(sqrt(total))
        degrees.append(total**2 / spread)
    return max(errors), min(degrees)


def own_part(
    covariance: NDArray[np.float64], seeds: int, first: Printed, second: Printed
) -> tuple[Any, Any]:
    """The variance of d̄ minus a printed difference that our seeds estimate, and its df.

    It is tr(M Σ̂), Σ̂ the covariance matrix (..., 2, 2) of the k pairs and
    M = [[1/m_A + 1/k, −1/k], [−1/k, 1/m_B + 1/k]] (no 1/m for an arm with a printed SD). As Σ̂ is
    Wishart's, Var tr(M Σ̂) = 2 tr((M Σ)²)/(k − 1), so Satterthwaite's (1946) degrees of freedom are
    (k − 1) tr(M Σ̂)²/tr((M Σ̂)²): k − 1 where one part rules, at most 2(k − 1). (Counting s_A², s_B²
    and s_D² as independent gives too many.)
    """
    m_a, m_b = (0.0 if arm.sd else 1 / arm.runs for arm in (first, second))
    a, b, ab = covariance[..., 0, 0], covariance[..., 1, 1], covariance[..., 0, 1]
    on_a, on_b = m_a * a + (a - ab) / seeds, m_b * b + (b - ab) / seeds  # the diagonal of M Σ̂
    across = (m_a * ab + (ab - b) / seeds) * (m_b * ab + (ab - a) / seeds)
    ours, square = on_a + on_b, on_a**2 + on_b**2 + 2 * across
    varies = square > 0  # not where both arms have a printed SD and our differences are all alike
    return ours, (seeds - 1) * np.where(varies, ours**2, 1) / np.where(varies, square, 1)


# --- new images: crossed random effects of seeds and images --------------------------------------


@dataclass(frozen=True)
class Crossed:
    """A difference for new seeds and new images, in points.

    `seed_sd`, `image_sd` and `rest_sd` are the standard deviations of the three effects on one
    outcome; those in `negative` were estimated below 0 and are set to 0.
    """

    mean: float
    seeds: int
    images: int
    seed_sd: float
    image_sd: float
    rest_sd: float
    negative: tuple[str, ...]
    error: float
    df: float
    p: float
    interval: Interval

    @property
    def sign(self) -> int:
        """The direction that was measured."""
        return sign(self.mean)


def crossed(a: Outcomes, b: Outcomes, level: float = LEVEL) -> Crossed | None:
    """Difference of two recipes for new seeds and new images, from outcomes (k, n) of 0 and 1.

    Rows are seeds, columns the same images in the same order. With x = a − b as
    μ + seed + image + rest, Var(x̄) = σ²_seed/k + σ²_image/n + σ²_rest/(kn) is estimated by
    (MS_seed + MS_image − MS_rest)/(kn), the mean squares those of a two-way layout without
    replication (method of moments), on Satterthwaite's (1946) degrees of freedom. A mean square
    below that of the rest is raised to it, which sets its component to 0 and keeps the interval
    wide. None for one seed or one image, or seeds that do not differ. Raises ValueError for tables
    of different shape.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"outcomes {a.shape} and {b.shape}; expected one shape (seeds, images)")
    k, n = a.shape
    if min(k, n) < 2:
        return None
    x = 100.0 * (a.astype(np.int8) - b.astype(np.int8))
    if not (x != x[0]).any():
        return None
    mean, squares = float(x.mean()), mean_squares(x)
    error, df = crossed_error(*squares, k, n)
    half = float(quantile((1 + level) / 2, df)) * float(error)
    by_seed, by_image, rest = squares
    return Crossed(
        mean=mean, seeds=k, images=n,
        seed_sd=sqrt(max(by_seed - rest, 0) / n),
        image_sd=sqrt(max(by_image - rest, 0) / k),
        rest_sd=sqrt(rest),
        negative=tuple(
            name for name, ms in (("seed", by_seed), ("image", by_image)) if ms < rest
        ),
        error=float(error), df=float(df),
        p=float(difference_p(mean, error, df)),
        interval=Interval(low=mean - half, high=mean + half),
    )  # fmt: skip


def mean_squares(x: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Mean squares of rows, of columns and of the rest of a table (k, n), k and n at least 2."""
    k, n = x.shape
    rows, columns = x.mean(axis=1, keepdims=True), x.mean(axis=0, keepdims=True)
    rest = x - rows - columns + x.mean()
    return (
        float(n * rows.var(ddof=1)),
        float(k * columns.var(ddof=1)),
        float((rest**2).sum() / ((k - 1) * (n - 1))),
    )


def crossed_error(by_seed: Any, by_image: Any, rest: Any, k: int, n: int) -> tuple[Any, Any]:
    """Standard error of a grand mean and its degrees of freedom, from mean squares (or arrays).

    >>> error, df = crossed_error(2.0, 0.5, 1.0, 3, 100)  # the images' mean square is raised to 1
    >>> round(float(error), 6), round(float(df), 6)
    (0.08165, 1.984962)
    """
    seeds, images = np.maximum(by_seed, rest), np.maximum(by_image, rest)
    total = seeds + images - rest
    spread = seeds**2 / (k - 1) + images**2 / (n - 1) + rest**2 / ((k - 1) * (n - 1))
    return np.sqrt(total / (k * n)), total**2 / spread


# --- effect sizes --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Effect:
    """How large a difference is beside its variation over seeds.

    `g` is the paired Hedges g, `interval` that of δ/σ_D. P(A > B) for one more pair with a shared
    seed is given twice: `chance` if differences are normal, and `wins`, the share of our seeds with
    A > B (ties count half), with an interval that needs no such assumption.
    """

    seeds: int
    g: float
    interval: Interval
    chance: float
    chance_interval: Interval
    wins: float
    wins_interval: Interval


def effect(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Effect | None:
    """Effect sizes of paired seeds, with intervals that are exact at any k.

    d = d̄/s_D, g = J·d with J = Γ(ν/2) / (√(ν/2) Γ((ν − 1)/2)), ν = k − 1 (Hedges 1981; for two
    seeds J is 0); √k·d is noncentral t with noncentrality √k·δ/σ_D, which inverted gives the
    interval of δ/σ_D (Hedges & Olkin 1985). P(A > B) = Φ(δ/σ_D) then has the interval
    between the Φ of its ends: both hold for normal differences, and less where they are skewed
    (docs/statistics.md). The interval of `wins` is binomial and holds for any (Clopper & Pearson
    1934), ties counted against either end. Raises ValueError for different lengths or no values.
    """
    from scipy.special import gammaln, ndtr

    test = paired_test(a, b, level)
    if test is None:
        return None
    df, root = test.seeds - 1, sqrt(test.seeds)
    ratio = test.mean / test.sd
    small = exp(gammaln(df / 2) - gammaln((df - 1) / 2)) / sqrt(df / 2) if df > 1 else 0.0
    low, high = (bound / root for bound in noncentralities(root * ratio, df, level))
    signs = [sign(x - y) for x, y in zip(a, b, strict=True)]
    return Effect(
        seeds=test.seeds,
        g=small * ratio,
        interval=Interval(low=low, high=high),
        chance=float(ndtr(ratio)),
        chance_interval=Interval(low=float(ndtr(low)), high=float(ndtr(high))),
        wins=0.5 + sum(signs) / (2 * test.seeds),
        wins_interval=Interval(
            low=share_limit(signs.count(1), test.seeds, level),
            high=1 - share_limit(signs.count(-1), test.seeds, level),
        ),
    )


def share_limit(hits: int, trials: int, level: float = LEVEL) -> float:
    """Lower end of the two-sided binomial interval of Clopper & Pearson (1934).

    >>> share_limit(0, 3), round(share_limit(3, 3) ** 3, 12)  # 3 of 3: p³ = 2.5 %
    (0.0, 0.025)
    """
    from scipy.special import betaincinv

    return float(betaincinv(hits, trials - hits + 1, (1 - level) / 2)) if hits else 0.0


# --- one seed alone, and the paper's own power ---------------------------------------------------


@dataclass(frozen=True)
class Discordant:
    """Images on which one of two checkpoints alone is right, with the exact two-sided p."""

    first_only: int
    second_only: int
    p: float


def mcnemar_within(first: Outcomes, second: Outcomes) -> Discordant:
    """Exact McNemar test of two outcome vectors (n,) of 0 and 1 on the same images.

    Descriptive: it speaks about these two checkpoints, not about their recipes. Raises ValueError
    for different shapes.
    """
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"outcomes {first.shape} and {second.shape}; expected one shape (images,)")
    one, other = int(np.sum(first > second)), int(np.sum(second > first))
    return Discordant(one, other, float(mcnemar(one - other, min(one, other))))


@dataclass(frozen=True)
class Telescope:
    """Whether the paper could have seen a difference as large as ours can be (in points).

    `upper` is our one-sided limit in the claimed direction, `least_seen` (d33) the difference that
    the paper's own runs would have shown significant in 33 % of cases.
    """

    upper: float
    least_seen: float
    sigma: float

    @property
    def too_small(self) -> bool:
        """`too small to have been seen`."""
        return self.upper < self.least_seen


def telescope(
    a: Sequence[float], b: Sequence[float], claimed: int, runs: int = 1, level: float = LEVEL
) -> Telescope | None:
    """Small telescopes (Simonsohn 2015) for a claimed difference of sign -1 or 1.

    A z test at 5 % of `runs` against `runs` runs with our pooled σ = √((s_A² + s_B²)/2) has power
    33 % at d33 = (1.96 − 0.44)·σ·√(2/runs); `upper` is d̄ + t·s_D/√k at `level`, one-sided. Raises
    ValueError for different lengths, no values, or another claimed sign.
    """
    from scipy.special import ndtri

    if claimed not in (-1, 1):
        raise ValueError(f"a claimed sign of {claimed}; expected -1 or 1")
    test = paired_test(a, b)
    if test is None:
        return None
    sigma = sqrt((np.var(a, ddof=1) + np.var(b, ddof=1)) / 2)
    half = float(quantile(level, test.seeds - 1)) * test.sd / sqrt(test.seeds)
    factor = float(ndtri(0.975) + ndtri(POWER_OF_A_TELESCOPE))
    return Telescope(claimed * test.mean + half, factor * sigma * sqrt(2 / runs), sigma)
