"""Every way in which two methods can share their errors, one 2x2 table at a time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import comb


@cache
def slow_p(first_alone: int, second_alone: int) -> Fraction:
    """The exact two-sided McNemar p, from the definition."""
    both = first_alone + second_alone
    tail = sum(comb(both, i) for i in range(min(first_alone, second_alone) + 1))
    return min(Fraction(1), Fraction(2 * tail, 2**both))


def pairings(images: int) -> Iterator[tuple[int, int, int, int]]:
    """Every (both right, first alone, second alone, both wrong)."""
    for both in range(images + 1):
        for first in range(images + 1 - both):
            for second in range(images + 1 - both - first):
                yield both, first, second, images - both - first - second


@cache
def brute_force(images: int) -> dict[tuple[int, int], tuple[Fraction, Fraction]]:
    """The least and the greatest p by the two numbers of correct images."""
    found: dict[tuple[int, int], tuple[Fraction, Fraction]] = {}
    for both, first, second, _ in pairings(images):
        p, key = slow_p(first, second), (both + first, both + second)
        low, high = found.get(key, (p, p))
        found[key] = (min(low, p), max(high, p))
    return found
