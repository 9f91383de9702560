"""Binomial tails, McNemar's test and Holm's method against slow loops."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from reclaim.inference.audit import exact
from reclaim.inference.audit.exact import EXACT, MOST, Bounds, binomial_tail, holm, mcnemar

pytestmark = pytest.mark.arithmetic

HALF = Fraction(1, 2)
CHANCES = (HALF, Fraction(4, 9), Fraction(4, 199), Fraction(1, 10), Fraction(99, 100))


def slow_tail(most: int, trials: int, chance: Fraction) -> Fraction:
    """Term by term."""
    return sum(
        (
            comb(trials, i) * chance**i * (1 - chance) ** (trials - i)
            for i in range(min(most, trials) + 1)
        ),
        Fraction(0),
    )


@pytest.mark.parametrize("chance", [*CHANCES, Fraction(0), Fraction(1)])
def test_a_tail_is_the_sum_of_its_terms(chance: Fraction) -> None:
    for trials in (*range(13), 40):
        for most in range(-2, trials + 3):
            tail = binomial_tail(most, trials, chance)
            assert tail.exact
            assert tail.upper == slow_tail(most, trials, chance)


@pytest.mark.parametrize("chance", CHANCES)
def test_bounds_hold_the_exact_tail_and_are_narrow(chance: Fraction) -> None:
    for trials in (EXACT + 1, 2500):
        middle = int(trials * chance)
        for most in {1, middle - 60, middle - 1, middle, middle + 1, middle + 50, trials - 1}:
            if not 0 < most < trials:
                continue
            found = binomial_tail(most, trials, chance)
            true = binomial_tail(most, trials, chance, exact=True)
            assert true.exact
            assert not found.exact
            assert found.lower < true.lower < found.upper
            rest = min(found.lower, 1 - found.lower)
            assert (
                0
                < found.upper - found.lower
                < Fraction(1, 10**25)
                * (found.lower if most < trials * chance else max(rest, Fraction(1, 10**5)))
            )


def test_every_step_to_the_end_of_a_tail_is_within_the_bounds() -> None:
    """Far from the mode, where the terms run out before the digits do, and near it."""
    for trials in (1, 2, 3, 9, 64):
        for chance in CHANCES:
            for most in range(trials):
                if most < (trials + 1) * chance:
                    found = exact._short_tail(most, trials, chance)
                    true = slow_tail(most, trials, chance)
                    assert found.lower <= true <= found.upper
                    assert found.upper - found.lower <= true / 10**30


def ends(number: exact._Scaled) -> tuple[Fraction, Fraction]:
    unit = Fraction(2) ** number.exponent
    return number.lower * unit, number.upper * unit


def test_every_rounding_goes_outward_and_by_less_than_a_unit() -> None:
    rng = np.random.default_rng(9)
    for _ in range(200):
        a, b, c, d = (int(k) for k in rng.integers(1, 2**62, 4))
        one = exact._Scaled(a**4, a**4 + b, -7)  # longer than BITS, so that it is cut
        other = exact._Scaled(c**3, c**3 + d, 5)
        (low, high), (least, most) = ends(one), ends(other)
        for made, lower, upper in (
            (one.cut(), low, high),
            (one * other, low * least, high * most),
            (one / other, low / most, high / least),
        ):
            unit = Fraction(2) ** made.exponent
            assert made.lower * unit <= lower < (made.lower + 1) * unit
            assert (made.upper - 1) * unit < upper <= made.upper * unit
            assert made.upper.bit_length() <= exact.BITS + 1


@pytest.mark.parametrize("most", [1, 2])
def test_a_last_term_of_all_but_nothing_is_counted_once(most: int) -> None:
    """P(X = i-1) / P(X = i) is about 2^-110 i here, far below what ends the sum early."""
    trials, success, failure = 10**6, 2**90, 1
    ratios = [Fraction(i * failure, (trials - i + 1) * success) for i in range(most, 0, -1)]
    true = 1 + sum(itertools.accumulate(ratios, lambda a, b: a * b), Fraction(0))
    low, high = ends(exact._ratios(most, trials, success, failure))
    assert low <= true <= high
    if most == 1:
        assert high - low <= Fraction(4, 2**exact.BITS)


def test_the_switch_to_bounds_is_where_it_is_said() -> None:
    assert binomial_tail(990, EXACT).exact
    assert not binomial_tail(990, EXACT + 1).exact
    assert EXACT == 2000
    assert binomial_tail(0, EXACT + 1).upper == Fraction(1, 2 ** (EXACT + 1))
    assert not mcnemar(2, EXACT // 2).exact
    assert mcnemar(2, EXACT // 2, exact=True).exact
    assert mcnemar(1, EXACT) == mcnemar(0, EXACT) == Bounds.of(1)
    assert binomial_tail(0, MOST).exact
    for trials in (EXACT, EXACT + 1):
        assert binomial_tail(trials, trials) == Bounds.of(1)  # X is at most all of them
    for trials in (EXACT, EXACT + 1):
        assert binomial_tail(5, trials, Fraction(0)) == Bounds.of(1)
        assert binomial_tail(5, trials, Fraction(1)) == Bounds.of(0)


def test_a_tail_refuses_what_is_no_chance_and_no_number_of_trials() -> None:
    with pytest.raises(ValueError, match="a chance of 3/2; expected 0 to 1"):
        binomial_tail(1, 2, Fraction(3, 2))
    with pytest.raises(ValueError, match="a chance of -1/2"):
        binomial_tail(1, 2, Fraction(-1, 2))
    with pytest.raises(ValueError, match=r"-1 trials; expected 0 to 1000000"):
        binomial_tail(1, -1)
    with pytest.raises(ValueError, match=f"{MOST + 1} trials"):
        binomial_tail(1, MOST + 1)


def test_bounds_say_what_is_known() -> None:
    wide = Bounds(Fraction(1, 4), Fraction(1, 2))
    assert not wide.exact
    assert Bounds.of(1).exact
    assert float(wide) == 0.375
    assert wide.complement() == Bounds(Fraction(1, 2), Fraction(3, 4))
    assert wide.times(3) == Bounds(Fraction(3, 4), Fraction(1))
    assert wide.times(5) == Bounds.of(1)
    assert wide.readable() == 0.375
    assert Bounds.of(Fraction(1, 3)).readable() == Fraction(1, 3)
    assert Bounds.of(Fraction(1, 2**2047)).readable() == Fraction(1, 2**2047)
    assert isinstance(Bounds.of(Fraction(1, 2**2048)).readable(), float)


def test_mcnemar_is_twice_the_shorter_tail_and_at_most_one() -> None:
    for gap in range(-20, 21):
        for fewer in range(15):
            trials = 2 * fewer + abs(gap)
            twice = 2 * slow_tail(fewer, trials, HALF)
            assert mcnemar(gap, fewer) == Bounds.of(min(Fraction(1), twice))


def test_mcnemar_refuses_a_negative_number_of_images() -> None:
    with pytest.raises(ValueError, match="-1 images; expected 0 or more"):
        mcnemar(3, -1)


def closed_holm(values: list[Fraction]) -> list[Fraction]:
    """By closed testing: the worst Bonferroni p of all sets that hold a hypothesis."""
    sets = [
        chosen
        for size in range(1, len(values) + 1)
        for chosen in itertools.combinations(range(len(values)), size)
    ]
    return [
        max(min(Fraction(1), len(s) * min(values[j] for j in s)) for s in sets if i in s)
        for i in range(len(values))
    ]


def test_holm_is_closed_testing() -> None:
    rng = np.random.default_rng(4)
    for size in (1, 2, 3, 6):
        for _ in range(20):
            values = [Fraction(int(k), 60) for k in rng.integers(1, 61, size)]
            adjusted = holm([Bounds.of(value) for value in values])
            assert [p.upper for p in adjusted] == closed_holm(values)


def test_bounds_on_p_values_give_bounds_after_holm() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        low, high, true = [], [], []
        for _ in range(5):
            a, b, c = sorted(int(k) for k in rng.integers(0, 200, 3))
            low, true, high = [*low, a], [*true, b], [*high, c]
        found = holm(
            [Bounds(Fraction(a, 999), Fraction(c, 999)) for a, c in zip(low, high, strict=True)]
        )
        exactly = holm([Bounds.of(Fraction(b, 999)) for b in true])
        for bounds, value in zip(found, exactly, strict=True):
            assert bounds.lower <= value.lower <= bounds.upper


def test_holm_of_nothing_is_nothing() -> None:
    assert holm([]) == []
