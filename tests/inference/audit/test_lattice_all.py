"""The whole lattice: every k/n for n up to 2,000, forward; every or random strings, backward."""

import numpy as np
import pytest
from numpy.typing import NDArray

from reclaim.inference.audit.lattice import ROUNDINGS, coverage, explains, printed, units

MOST = 2000


def by_remainder(rounding: str, k: NDArray[np.int64], n: int, unit: int) -> NDArray[np.int64]:
    """What k of n prints as, from quotient and remainder."""
    whole, rest = np.divmod(k * unit, n)
    up = {
        "half_up": 2 * rest >= n,
        "half_even": (2 * rest > n) | ((2 * rest == n) & (whole % 2 == 1)),
        "truncated": np.zeros(k.shape, dtype=bool),
        "ceiling": rest > 0,
    }[rounding]
    return whole + up


@pytest.mark.parametrize("rounding", ROUNDINGS[:4])
@pytest.mark.parametrize("decimals", range(5))
def test_every_count_prints_a_string_that_it_explains(decimals: int, rounding: str) -> None:
    unit = units(decimals)
    for n in range(1, MOST + 1):
        k = np.arange(n + 1, dtype=np.int64)
        shown = by_remainder(rounding, k, n, unit)
        assert np.array_equal(printed(k, n, unit, rounding), shown)
        assert explains(shown, n, unit, rounding).all()
        assert explains(shown, n, unit, "mixed").all()


@pytest.mark.parametrize("decimals", range(3))
def test_every_string_is_explained_only_if_a_count_prints_it(decimals: int) -> None:
    unit = units(decimals)
    every = np.arange(unit + 1, dtype=np.int64)
    for n in range(1, MOST + 1):
        k = np.arange(n + 1, dtype=np.int64)
        either = np.zeros(unit + 1, dtype=bool)
        for rounding in ROUNDINGS[:4]:
            reached = np.zeros(unit + 1, dtype=bool)
            reached[by_remainder(rounding, k, n, unit)] = True
            either |= reached
            assert np.array_equal(explains(every, n, unit, rounding), reached)
            assert coverage(0, unit, n, unit, rounding) == reached.sum()
        assert np.array_equal(explains(every, n, unit, "mixed"), either)
        assert coverage(0, unit, n, unit, "mixed") == either.sum()


@pytest.mark.parametrize("rounding", ROUNDINGS[:4])
@pytest.mark.parametrize("decimals", [3, 4])
def test_random_strings_are_explained_only_if_a_count_prints_them(
    decimals: int, rounding: str
) -> None:
    rng = np.random.default_rng([decimals, ROUNDINGS.index(rounding)])
    unit = units(decimals)
    for n in range(1, MOST + 1):
        k = np.arange(n + 1, dtype=np.int64)
        reached = by_remainder(rounding, k, n, unit)
        near = rng.choice(reached, 20) + rng.integers(-1, 2, 20)
        values = np.concatenate([rng.integers(0, unit + 1, 200), near])
        assert np.array_equal(explains(values, n, unit, rounding), np.isin(values, reached))
