"""The lattice of k/n against `decimal` and against plain loops."""

import decimal
from fractions import Fraction

import numpy as np
import pytest

from reclaim.inference.audit.lattice import ROUNDINGS, counts, coverage, explains, printed, units

pytestmark = pytest.mark.arithmetic

MODES = {
    "half_up": decimal.ROUND_HALF_UP,
    "half_even": decimal.ROUND_HALF_EVEN,
    "truncated": decimal.ROUND_DOWN,
    "ceiling": decimal.ROUND_CEILING,
}
MOST = 2000


def by_decimal(k: int, n: int, unit: int, rounding: str) -> int:
    """Printed by the `decimal` module: 40 digits are exact enough, a tie k·U/n is a finite one."""
    with decimal.localcontext(prec=40):
        return int((decimal.Decimal(k * unit) / n).to_integral_value(MODES[rounding]))


@pytest.mark.parametrize("rounding", MODES)
@pytest.mark.parametrize("unit", [10, 100, 1000, 10000, 1000000])
def test_printed_is_what_decimal_rounds_to(unit: int, rounding: str) -> None:
    for n in (1, 2, 3, 7, 8, 16, 64, 96, 97, 192, 200, 1999, 2000):
        for k in {*range(0, n + 1, max(1, n // 40)), n // 2, n}:
            assert printed(k, n, unit, rounding) == by_decimal(k, n, unit, rounding)


def forward(n: int, unit: int, rounding: str) -> set[int]:
    """Every string that n images can print, one k at a time."""
    if rounding == "mixed":
        return set().union(*(forward(n, unit, name) for name in MODES))
    return {printed(k, n, unit, rounding) for k in range(n + 1)}


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("unit", [10, 100, 1000, 10000])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 9, 32, 50, 60, 64, 97, 100, 101, 192, 501, 997, 1500])
def test_membership_and_coverage_are_those_of_enumeration(n: int, unit: int, rounding: str) -> None:
    every = np.arange(-2, unit + 3, dtype=np.int64)
    reached = forward(n, unit, rounding)
    assert set(every[explains(every, n, unit, rounding)].tolist()) == reached
    for low, high in ((0, unit), (unit // 3, unit // 2), (0, 0), (unit, unit), (1, unit - 1)):
        inside = sum(low <= v <= high for v in reached)
        assert coverage(low, high, n, unit, rounding) == inside


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_counts_are_all_k_that_print_as_v(rounding: str) -> None:
    names = MODES if rounding == "mixed" else [rounding]
    for n, unit in ((64, 1000), (192, 10000), (333, 100), (1000, 100)):
        for v in range(0, unit + 1, 1 + unit // 90):
            first, last = counts(v, n, unit, rounding)
            found = [k for k in range(n + 1) if v in {printed(k, n, unit, m) for m in names}]
            assert list(range(max(first, 0), min(last, n) + 1)) == found


def test_python_integers_and_arrays_agree_and_big_ones_are_exact() -> None:
    sizes = np.arange(1, 300, dtype=np.int64)
    for rounding in ROUNDINGS:
        vector = explains(6197, sizes, 10000, rounding)
        assert vector.tolist() == [bool(explains(6197, int(n), 10000, rounding)) for n in sizes]
    big = 10**30 + 57  # far beyond 64 bits
    v = printed(big // 3, big, 10**14, "half_up")
    first, last = counts(v, big, 10**14, "half_up")
    assert first <= big // 3 <= last
    assert abs(Fraction(first, big) * 10**14 - v) <= Fraction(1, 2)


def test_units_count_the_digits_of_per_cents_and_fractions() -> None:
    assert [units(d) for d in range(5)] == [100, 1000, 10000, 100000, 1000000]
    assert units(0, percent=False) == 1
    assert units(3, percent=False) == 1000
