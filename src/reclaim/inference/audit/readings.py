"""Printed numbers as intervals, what is computed from them, and the search for another reading.

A printed number stands for every value that prints like it: an interval of half a unit of its last
digit on either side, or of a whole unit if it may have been cut or rounded up. Everything here is
exact; nothing here knows of papers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from math import ceil, floor

from reclaim.registry.claims import decimals, exact

UNIQUE_BELOW = Fraction(5, 100)  # the chance from which no reading is called the one
MOST_READINGS = 500  # of one kind of change
HALF, WHOLE = Fraction(1, 2), Fraction(1)

Interval = tuple[Fraction, Fraction]
Range = tuple[int, int]


# --- numbers -------------------------------------------------------------------------------------


def interval(printed: str, digits: int | None = None, slack: Fraction = HALF) -> Interval:
    """The values that print as a string: `slack` units of its last (or given) digit either way.

    >>> interval("75", 2)
    (Fraction(14999, 200), Fraction(15001, 200))
    """
    width = slack / 10 ** (decimals(printed) if digits is None else digits)
    return exact(printed) - width, exact(printed) + width


def points(minuend: Interval, subtrahend: Interval) -> Interval:
    """minuend − subtrahend.

    >>> points(interval("88.61"), interval("82.25"))
    (Fraction(127, 20), Fraction(637, 100))
    """
    return minuend[0] - subtrahend[1], minuend[1] - subtrahend[0]


def relative(minuend: Interval, subtrahend: Interval) -> Interval | None:
    """100·(minuend − subtrahend)/subtrahend; None where the subtrahend may be 0 or less.

    >>> low, high = relative(interval("82.81"), interval("75", 2))
    >>> round(float(low), 3), round(float(high), 3)
    (10.399, 10.427)
    """
    if subtrahend[0] <= 0:
        return None
    ends = [a / b - 1 for a in minuend for b in subtrahend]
    return 100 * min(ends), 100 * max(ends)


def of_minuend(minuend: Interval, subtrahend: Interval) -> Interval | None:
    """100·(minuend − subtrahend)/minuend, a gain relative to the wrong side.

    >>> of_minuend((Fraction(80), Fraction(80)), (Fraction(60), Fraction(60)))
    (Fraction(25, 1), Fraction(25, 1))
    """
    back = relative(subtrahend, minuend)
    return None if back is None else (-back[1], -back[0])


def of_errors(minuend: Interval, subtrahend: Interval) -> Interval | None:
    """100·(minuend − subtrahend)/(100 − subtrahend): the share of the errors that is gone.

    >>> of_errors((Fraction(80), Fraction(80)), (Fraction(60), Fraction(60)))
    (Fraction(50, 1), Fraction(50, 1))
    """
    errors = [(100 - high, 100 - low) for low, high in (minuend, subtrahend)]
    fall = relative(errors[0], errors[1])
    return None if fall is None else (-fall[1], -fall[0])


KINDS: dict[str, Callable[[Interval, Interval], Interval | None]] = {
    "points": points,
    "relative": relative,
    "relative to the greater": of_minuend,
    "share of the errors": of_errors,
}


def meets(printed: str, value: Interval, slack: Fraction = HALF) -> bool:
    """Whether a printed number and a recomputed interval have a common value.

    Ends count where both are rounded to nearest (slack ½), not where a whole unit is allowed.

    >>> meets("6.36", points(interval("88.61"), interval("82.25")))
    True
    """
    low, high = interval(printed, slack=slack)
    if slack == HALF:
        return low <= value[1] and value[0] <= high
    return low < value[1] and value[0] < high


# --- readings ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """One way to take a statement: its name, and the printed integers it would match.

    `ranges` are in units of the last printed digit; `kind` is the kind of number it makes of it.
    """

    name: str
    ranges: tuple[Range, ...]
    kind: str = ""


@dataclass(frozen=True)
class Search:
    """The readings that fit, how many were tried, and the chance that any would fit by accident.

    `unique`: one fits, and the chance is below 5 %.
    """

    fits: tuple[Reading, ...]
    tried: int
    chance: Fraction

    @property
    def unique(self) -> bool:
        """Whether there is one reading to name."""
        return len(self.fits) == 1 and self.chance < UNIQUE_BELOW


def search(printed: str, tiers: Iterable[Iterable[Reading]]) -> Search:
    """Try kinds of readings in order until one fits the printed string.

    >>> gap = points(interval("88.61"), interval("82.25"))
    >>> found = search("6.36", [[reading("points", gap, 2)]])
    >>> found.fits[0].name, found.tried, found.chance
    ('points', 1, Fraction(3, 1273))
    """
    value = int(exact(printed) * 10 ** decimals(printed))
    tried: list[Reading] = []
    fits: tuple[Reading, ...] = ()
    for tier in tiers:
        readings = list(islice(tier, MOST_READINGS))
        tried += readings
        fits = tuple(r for r in readings if any(a <= value <= b for a, b in r.ranges))
        if fits:
            break
    ends = sorted((0, 2 * value))
    matched = covered([pair for r in tried for pair in r.ranges], ends[0], ends[1])
    return Search(fits, len(tried), Fraction(matched, ends[1] - ends[0] + 1))


def covered(ranges: Iterable[Range], low: int, high: int) -> int:
    """How many integers from low to high lie in at least one range.

    >>> covered([(1, 3), (3, 4), (9, 20)], 0, 10)
    6
    """
    count, reached = 0, low - 1
    for first, last in sorted(ranges):
        first, last = max(first, reached + 1), min(last, high)
        if first <= last:
            count += last - first + 1
            reached = last
    return count


def reading(name: str, value: Interval, digits: int, kind: str = "") -> Reading:
    """The reading whose recomputed value lies in an interval, for numbers of so many decimals."""
    return Reading(name, (printed_range(value, digits),), kind)


def printed_range(value: Interval, digits: int) -> Range:
    """The first and last integer, in units of the last digit, that meet an interval to nearest.

    >>> printed_range((Fraction(635, 100), Fraction(637, 100)), 2)
    (635, 637)
    """
    scale = 10**digits
    return ceil(value[0] * scale - HALF), floor(value[1] * scale + HALF)


def swaps(value: int, digits: int) -> list[int]:
    """A printed integer with two neighbouring digits changed over, every way that changes it.

    >>> swaps(636, 2), swaps(53, 2)
    ([366, 663], [503, 35])
    """
    text = str(abs(value)).zfill(digits + 1)
    made = (
        int(text[:i] + text[i + 1] + text[i] + text[i + 2 :])
        for i in range(len(text) - 1)
        if text[i] != text[i + 1]
    )
    return [-v if value < 0 else v for v in made]


def swapped(name: str, ranges: Sequence[Range], digits: int, kind: str = "") -> Reading:
    """The reading that two digits of the printed number itself changed places."""
    whole = [v for a, b in ranges for v in range(a, b + 1)] if _size(ranges) <= 1000 else []
    return Reading(name, tuple((v, v) for value in whole for v in swaps(value, digits)), kind)


def in_digits(value: int, digits: int) -> str:
    """A printed integer as a decimal string.

    >>> in_digits(5, 2), in_digits(-636, 2), in_digits(7, 0)
    ('0.05', '-6.36', '7')
    """
    return f"{Decimal(value).scaleb(-digits):f}"


def _size(ranges: Sequence[Range]) -> int:
    return sum(b - a + 1 for a, b in ranges)
