"""Which printed numbers are k/n: exact integer arithmetic on the lattice of n images.

A share of n images printed with d decimals in per cent is read in units of its last digit: k of n
is x = k·U/n with U = 100·10^d (U = 10^d for a printed fraction), and what is printed is an integer
v near x. For each rounding the x that print as v form an interval, so membership and counts need
integers alone. Every function takes Python integers of any size, or NumPy int64 arrays as long as
2·U·n stays below 2^63.

Source: the GRIM test (Brown & Heathers 2017, doi:10.1177/1948550616673876), for proportions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

ROUNDINGS = ("half_up", "half_even", "truncated", "ceiling", "mixed")

Int = Any  # int or an int64 array; the arithmetic below is the same for both


def units(decimals: int, percent: bool = True) -> int:
    """U: how many units of the last printed digit make up all n images.

    >>> units(2), units(4, percent=False)
    (10000, 10000)
    """
    return int(10 ** (decimals + 2 * percent))


def printed(k: Int, n: Int, unit: int, rounding: str) -> Int:
    """The integer v that k of n prints as, under any rounding but `mixed`.

    >>> [printed(119, 192, 10000, name) for name in ROUNDINGS[:4]]
    [6198, 6198, 6197, 6198]
    """
    twice, floor, rest = 2 * k * unit, k * unit // n, k * unit % n
    if rounding == "half_up":
        return (twice + n) // (2 * n)
    if rounding == "half_even":
        return floor + (2 * rest + floor % 2 > n)
    return floor + (rest > 0) * (rounding == "ceiling")


def counts(v: Int, n: Int, unit: int, rounding: str) -> tuple[Int, Int]:
    """The first and the last k whose share of n prints as v, not yet cut to 0 … n.

    There is none where first > last. Twice x = k·U/n must lie between 2v + a and 2v + b, where an
    end may belong to the interval (half_even: both ends, for an even v) or not.

    >>> counts(6197, 192, 10000, "truncated"), counts(6197, 192, 10000, "half_up")
    ((119, 119), (119, 118))
    """
    even = 1 - v % 2
    a, b, from_, to = {
        "half_up": (-1, 1, 1, 0),
        "half_even": (-1, 1, even, even),
        "truncated": (0, 2, 1, 0),
        "ceiling": (-2, 0, 0, 1),
        "mixed": (-2, 2, 0, 0),
    }[rounding]
    first = ((2 * v + a) * n - from_) // (2 * unit) + 1
    last = ((2 * v + b) * n - (1 - to)) // (2 * unit)
    return first, last


def explains(v: Int, n: Int, unit: int, rounding: str) -> Any:
    """Whether v is what some k of n prints as; `mixed`: under at least one of the four roundings.

    >>> bool(explains(6197, 192, 10000, "mixed")), bool(explains(6068, 192, 10000, "mixed"))
    (True, False)
    """
    first, last = counts(v, n, unit, rounding)
    return (first <= last) & (last >= 0) & (first <= n)


def coverage(low: int, high: int, n: Any, unit: int, rounding: str) -> Any:
    """How many of the integers low … high (0 ≤ low ≤ high ≤ U) some k of n prints as.

    Where n ≤ U no two k print alike under one rounding, so it is a number of k; where n > U every
    integer is reached. `mixed` counts floors and ceilings of x; for 2n ≤ U they coincide only where
    x is whole, and for the few n between, the integers are tried one by one.

    >>> coverage(0, 10000, 192, 10000, "half_up"), coverage(0, 10000, 192, 10000, "mixed")
    (193, 369)
    """
    n = np.asarray(n, dtype=np.int64)
    if rounding == "mixed":
        made = _either(low, high, n, unit)
    else:
        made = _reached(low, high, n, unit, rounding)
    made = np.where(n > unit, high - low + 1, made)
    return made if made.ndim else int(made)


def _reached(low: int, high: int, n: Any, unit: int, rounding: str) -> Any:
    first = np.maximum(counts(low, n, unit, rounding)[0], 0)
    last = np.minimum(counts(high, n, unit, rounding)[1], n)
    return np.maximum(last - first + 1, 0)


def _either(low: int, high: int, n: Any, unit: int) -> Any:
    whole = unit // np.gcd(n, unit)  # x is whole at its multiples
    both = high // whole - (low - 1) // whole
    floors = _reached(low, high, n, unit, "truncated")
    made = np.array(floors + _reached(low, high, n, unit, "ceiling") - both)
    between = (2 * n > unit) & (n <= unit)
    for i in np.ndindex(n.shape) if between.any() else ():
        if between[i]:
            every = np.arange(low, high + 1, dtype=np.int64)
            made[i] = np.count_nonzero(explains(every, int(n[i]), unit, "mixed"))
    return made
