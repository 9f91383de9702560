"""Binomial tails and the exact McNemar test: exact fractions, or bounds that certainly hold them.

Nothing here rounds silently. Up to `EXACT` trials a probability is a Fraction; above, integers with
an exponent are rounded down for the lower bound and up for the upper one, which leaves less than a
millionth of a millionth of the value between the two and needs no floating-point number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

EXACT = 2000  # trials
BITS = 128
MOST = 1_000_000  # trials: a second and 200 MB for the factorials
READABLE = 2048  # bits of a denominator that is spelt out: McNemar p-values up to `EXACT` images
HALF = Fraction(1, 2)
ONE = Fraction(1)


@dataclass(frozen=True)
class Bounds:
    """A number known to lie in [lower, upper]; exact where the two are equal.

    >>> Bounds.of(Fraction(1, 3)).exact
    True
    """

    lower: Fraction
    upper: Fraction

    @classmethod
    def of(cls, value: Fraction | int) -> Bounds:
        """A number that is known exactly."""
        return cls(Fraction(value), Fraction(value))

    @property
    def exact(self) -> bool:
        """Whether nothing was rounded."""
        return self.lower == self.upper

    def __float__(self) -> float:
        return float((self.lower + self.upper) / 2)

    def readable(self) -> Fraction | float:
        """The fraction if it is exact and of a readable length, else the nearest float."""
        short = self.upper.denominator.bit_length() <= READABLE
        return self.upper if self.exact and short else float(self)

    def complement(self) -> Bounds:
        """One minus it."""
        return Bounds(1 - self.upper, 1 - self.lower)

    def times(self, factor: int) -> Bounds:
        """A multiple of it, as a probability: at most 1. `factor` is not negative."""
        return Bounds(min(ONE, factor * self.lower), min(ONE, factor * self.upper))


def binomial_tail(
    most: int, trials: int, chance: Fraction = HALF, *, exact: bool = False
) -> Bounds:
    """P(X <= most) for X ~ Bin(trials, chance); a Fraction up to `EXACT` trials, if `exact`, and
    where it is one term.

    Above, from the leading term P(X = most) = C(n,k) q^k (1-q)^(n-k) downward: the ratio of
    neighbours is P(X = i-1) / P(X = i) = i (1-q) / ((n-i+1) q), below 1 on the shorter side of the
    mode; the longer side is the complement of the other tail. Raises ValueError for a chance
    outside [0, 1] or a number of trials outside [0, `MOST`].

    >>> binomial_tail(1, 4).upper
    Fraction(5, 16)
    >>> wide = binomial_tail(4900, 10_000)
    >>> round(float(wide), 12), wide.upper - wide.lower < wide.lower / 10**30
    (0.023292763852, True)
    """
    if not 0 <= chance <= 1:
        raise ValueError(f"a chance of {chance}; expected 0 to 1")
    if not 0 <= trials <= MOST:
        raise ValueError(f"{trials} trials; expected 0 to {MOST}")
    if most < 0 or most >= trials:
        return Bounds.of(int(most >= 0))
    if exact or trials <= EXACT or most == 0:
        return Bounds.of(_exact_tail(most, trials, chance))
    if most < (trials + 1) * chance:
        return _short_tail(most, trials, chance)
    return _short_tail(trials - most - 1, trials, 1 - chance).complement()


def _exact_tail(most: int, trials: int, chance: Fraction) -> Fraction:
    """The sum of C(n,i) r^i (s-r)^(n-i), over s^n, for q = r/s; by Horner's rule in s - r."""
    success, failure = chance.numerator, chance.denominator - chance.numerator
    total = term = 1  # term: C(n,i) r^i
    for i in range(1, most + 1):
        term = term * (trials - i + 1) * success // i
        total = total * failure + term
    return Fraction(total * failure ** (trials - most), chance.denominator**trials)


# --- bounds on integers with an exponent ---------------------------------------------------------


@dataclass(frozen=True)
class _Scaled:
    """A positive number in [lower, upper] times 2^exponent, its bounds about BITS bits long."""

    lower: int
    upper: int
    exponent: int

    def cut(self) -> _Scaled:
        """The same to BITS bits, rounded outward."""
        surplus = max(0, self.upper.bit_length() - BITS)
        return _Scaled(self.lower >> surplus, -(-self.upper >> surplus), self.exponent + surplus)

    def __mul__(self, other: _Scaled) -> _Scaled:
        lower, upper = self.lower * other.lower, self.upper * other.upper
        return _Scaled(lower, upper, self.exponent + other.exponent).cut()

    def __truediv__(self, other: _Scaled) -> _Scaled:
        lower = (self.lower << 2 * BITS) // other.upper
        upper = -(-(self.upper << 2 * BITS) // other.lower)
        return _Scaled(lower, upper, self.exponent - other.exponent - 2 * BITS).cut()

    def bounds(self) -> Bounds:
        unit = Fraction(2) ** self.exponent
        return Bounds(self.lower * unit, self.upper * unit)


def _power(base: int, exponent: int) -> _Scaled:
    power = base**exponent
    return _Scaled(power, power, 0).cut()


@lru_cache(maxsize=8)
def _factorials(size: int) -> Sequence[_Scaled]:
    """0!, 1!, ... up to size!"""
    table = [_Scaled(1, 1, 0)]
    for i in range(1, size + 1):
        last = table[-1]
        table.append(_Scaled(last.lower * i, last.upper * i, last.exponent).cut())
    return table


def _short_tail(most: int, trials: int, chance: Fraction) -> Bounds:
    """P(X <= most) for `most` below the mode: P(X = most) times the sum of all ratios to it."""
    success, failure = chance.numerator, chance.denominator - chance.numerator
    factorial = _factorials(1 << trials.bit_length())
    leading = factorial[trials] / (factorial[most] * factorial[trials - most])
    leading *= _power(success, most) * _power(failure, trials - most)
    leading /= _power(chance.denominator, trials)
    return (leading * _ratios(most, trials, success, failure)).bounds()


def _ratios(most: int, trials: int, success: int, failure: int) -> _Scaled:
    """The sum over i <= most of P(X = i) / P(X = most)."""
    low = high = low_sum = high_sum = 1 << BITS
    for i in range(most, 0, -1):
        up, down = i * failure, (trials - i + 1) * success
        low = low * up // down
        high = -(-high * up // down)
        low_sum += low
        high_sum += high
        if high <= trials:  # terms only fall from here: the other i - 1 are no greater
            high_sum += (i - 1) * high
            break
    return _Scaled(low_sum, high_sum, -BITS).cut()


# --- tests ---------------------------------------------------------------------------------------


def mcnemar(gap: int, fewer: int, *, exact: bool = False) -> Bounds:
    """The exact two-sided McNemar p where one method alone is right on `fewer` images and the
    other alone on `fewer` + |`gap`|: min(1, 2 P(X <= fewer)), X ~ Bin(2 `fewer` + |gap|, 1/2).

    (McNemar 1947; the exact form of Edwards 1948.) p is a dyadic fraction, so it never equals
    0.05. Assumes that both were tested on the same images, each image independent of the others.

    >>> mcnemar(6, 0).upper, mcnemar(6, 1).upper
    (Fraction(1, 32), Fraction(9, 128))
    """
    if fewer < 0:
        raise ValueError(f"{fewer} images; expected 0 or more")
    trials = 2 * fewer + abs(gap)
    return Bounds.of(1) if abs(gap) <= 1 else binomial_tail(fewer, trials, exact=exact).times(2)


def holm(values: Sequence[Bounds]) -> list[Bounds]:
    """Holm's adjusted p-values, in the order given (Holm 1979): with p_(1) <= ... <= p_(m),
    the greatest over k <= i of (m - k + 1) p_(k), at most 1.

    Each adjusted value is the greatest over sets S that hold its hypothesis of |S| times the least
    p in S (closed testing with Bonferroni), so it grows with every p: bounds on the p-values give
    bounds on the adjusted ones, whatever the true order.

    >>> [float(p.upper) for p in holm([Bounds.of(Fraction(1, 100)), Bounds.of(Fraction(1, 50))])]
    [0.02, 0.02]
    """
    lower = _holm([p.lower for p in values])
    upper = _holm([p.upper for p in values])
    return [Bounds(low, high) for low, high in zip(lower, upper, strict=True)]


def _holm(values: Sequence[Fraction]) -> list[Fraction]:
    adjusted, greatest = [ONE] * len(values), Fraction(0)
    order = sorted(range(len(values)), key=values.__getitem__)
    for rank, i in enumerate(order):
        greatest = max(greatest, (len(values) - rank) * values[i])
        adjusted[i] = min(ONE, greatest)
    return adjusted
