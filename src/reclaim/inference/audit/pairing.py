"""What two printed accuracies on one test set leave open: every way to share the errors.

Two methods tested on the same n images are right on a and b of them. Print gives (a, b) up to
rounding, but not on which images. With d = |a - b|, and j images on which the lesser method alone
is right, the discordant images are d + 2j, where every j from 0 to J = min(a, b, n - a, n - b) is
possible. Each has its exact McNemar p, so print leaves a range of p-values; here are its two ends.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from math import erfc, floor, sqrt
from typing import Literal

from reclaim.inference.audit.exact import Bounds, mcnemar
from reclaim.inference.audit.sizes import Counts

ALPHA = Fraction(1, 20)
Significance = Literal["never", "depends", "always"]


@dataclass(frozen=True)
class Gap:
    """What print says about a gap on `images` images: the p-values of all pairings and counts.

    `expected` is the discordance if the two methods erred independently, `p_expected` the McNemar
    p there, `p_unpaired` that of two separate test sets, each at the middle counts.
    """

    images: int
    p_min: Bounds
    p_max: Bounds
    flip: int | None
    expected: Fraction
    p_expected: Bounds
    p_unpaired: float


def fewest(one: int, other: int, images: int) -> int:
    """J: on how many images at most the method with the lower count alone can be right.

    n11 = min(a, b) - j and n00 = n - max(a, b) - j may not be negative.

    >>> fewest(7, 5, 10)
    3
    """
    return min(one, other, images - one, images - other)


def _ordered(one: Counts, other: Counts) -> tuple[Counts, Counts]:
    """The greater one first, by their middles."""
    return (one, other) if one.least + one.most >= other.least + other.most else (other, one)


def p_range(one: Counts, other: Counts, images: int) -> tuple[Bounds, Bounds]:
    """The least and the greatest exact McNemar p over all pairings and all counts.

    With p(d, j) = min(1, 2 P(X <= j)), X ~ Bin(2j + d, 1/2) and d >= 0:
    p falls with d, as one more trial cannot make X smaller;
    p grows with j, as P(X_{m+2} <= j+1) - P(X_m <= j) = (P(X_m = j+1) - P(X_m = j)) / 4, which is
    not negative because P(X_m = j+1) / P(X_m = j) = (j+d) / (j+1) (for d = 0, p is 1 everywhere);
    and a step of the counts towards each other lowers d and does not lower J. So the least p is
    p(widest gap, 0) = 2^(1-d) and the greatest p(narrowest gap, J there). Raises ValueError for
    counts that are no counts of `images`.

    >>> low, high = p_range(Counts(9, 9), Counts(2, 2), 10)
    >>> low.upper, high.upper
    (Fraction(1, 64), Fraction(5, 128))
    """
    if not all(0 <= c.least <= c.most <= images for c in (one, other)):
        raise ValueError(f"{one} and {other}; expected counts from 0 to {images}")
    upper, lower = _ordered(one, other)
    narrowest = max(0, upper.least - lower.most)
    p_max = mcnemar(narrowest, fewest(upper.least, lower.most, images))
    return mcnemar(upper.most - lower.least, 0), p_max


def flip(gap: int, most: int, alpha: Fraction = ALPHA) -> int | None:
    """The largest discordance d + 2j, j <= `most`, at which a gap of d images has p <= alpha.

    As p grows with j (`p_range`), significance is lost above it. None where it never is reached.

    >>> flip(6, 100), flip(5, 100)
    (6, None)
    >>> flip(130, 4000)
    4332
    """
    fewest_first = range(most + 1)
    significant = bisect_right(fewest_first, alpha, key=lambda j: mcnemar(gap, j).upper)
    return gap + 2 * (significant - 1) if significant else None


def expected_discordance(one: int, other: int, images: int) -> Fraction:
    """(a(n-b) + b(n-a)) / n: the discordance of two methods that err independently.

    >>> expected_discordance(9, 2, 10)
    Fraction(37, 5)
    """
    return Fraction(one * (images - other) + other * (images - one), images)


def p_expected(one: int, other: int, images: int) -> Bounds:
    """The McNemar p at the possible discordance nearest to the expected one, the larger of two.

    >>> p_expected(9, 2, 10).upper  # 7.4 discordant images are expected, and 7 are possible
    Fraction(1, 64)
    """
    gap = abs(one - other)
    near = floor((expected_discordance(one, other, images) - gap) / 2 + Fraction(1, 2))
    return mcnemar(gap, max(0, min(near, fewest(one, other, images))))


def unpaired(one: int, other: int, images: int) -> float:
    """The two-sided p of the pooled two-proportion z test, as for two separate test sets.

    z = (a - b) / sqrt(2 n p (1 - p)), p = (a + b) / 2n (normal approximation, so no exact number).

    >>> round(unpaired(8620, 8591, 10_000), 4)
    0.5539
    """
    share = (one + other) / (2 * images)
    deviation = sqrt(2 * images * share * (1 - share))
    return erfc(abs(one - other) / deviation / sqrt(2)) if deviation else 1.0


def significance(p_min: Bounds, p_max: Bounds, alpha: Fraction = ALPHA) -> Significance:
    """Whether p <= alpha for no pairing, for some (or not certainly none or all), or for all.

    >>> significance(Bounds.of(0), Bounds.of(1))
    'depends'
    """
    if p_min.lower > alpha:
        return "never"
    return "always" if p_max.upper <= alpha else "depends"


def measure(one: Counts, other: Counts, images: int) -> Gap:
    """Everything that print says about the gap between two counts of correct images.

    >>> gap = measure(Counts(8620, 8620), Counts(8591, 8591), 10_000)
    >>> gap.flip, float(gap.expected), significance(gap.p_min, gap.p_max)
    (203, 2400.116, 'depends')
    """
    p_min, p_max = p_range(one, other, images)
    upper, lower = _ordered(one, other)
    a, b = upper.middle, lower.middle
    return Gap(
        images=images,
        p_min=p_min,
        p_max=p_max,
        flip=flip(upper.most - lower.least, fewest(upper.most, lower.least, images)),
        expected=expected_discordance(a, b, images),
        p_expected=p_expected(a, b, images),
        p_unpaired=unpaired(a, b, images),
    )
