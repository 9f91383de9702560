"""The range of McNemar p-values and what goes with it, against brute force over all pairings."""

from __future__ import annotations

from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest

from reclaim.inference.audit.exact import Bounds, mcnemar
from reclaim.inference.audit.pairing import (
    expected_discordance,
    fewest,
    flip,
    measure,
    p_expected,
    p_range,
    significance,
    unpaired,
)
from reclaim.inference.audit.sizes import Counts
from tests.inference.audit.pairings import brute_force, pairings, slow_p

pytestmark = pytest.mark.arithmetic

ALPHA = Fraction(1, 20)


def exactly(count: int) -> Counts:
    return Counts(count, count)


def ends(one: Counts, other: Counts, images: int) -> tuple[Fraction, Fraction]:
    low, high = p_range(one, other, images)
    assert low.exact
    assert high.exact
    return low.upper, high.upper


@pytest.mark.parametrize("images", [1, 2, 3, 4, 5, 7, 10, 13, 16])
def test_the_range_is_that_of_all_pairings(images: int) -> None:
    for (one, other), found in brute_force(images).items():
        assert ends(exactly(one), exactly(other), images) == found


@pytest.mark.parametrize("images", [6, 11, 16])
def test_the_range_is_that_of_all_counts_and_pairings(images: int) -> None:
    every = brute_force(images)
    rng = np.random.default_rng(images)
    for _ in range(150):
        a, b, c, d = (int(k) for k in rng.integers(0, images + 1, 4))
        one, other = Counts(min(a, b), max(a, b)), Counts(min(c, d), max(c, d))
        inside = [
            every[i, j]
            for i in range(one.least, one.most + 1)
            for j in range(other.least, other.most + 1)
        ]
        brute = (min(low for low, _ in inside), max(high for _, high in inside))
        assert ends(one, other, images) == brute
        assert ends(other, one, images) == brute


def test_above_the_exact_range_the_bounds_hold_the_exact_ends() -> None:
    for one, other in ((6001, 5871), (8620, 8591), (9953, 9937), (3731, 1334)):
        low, high = p_range(exactly(one), exactly(other), 10_000)
        assert low == Bounds.of(Fraction(2, 2 ** (one - other)))
        true = mcnemar(one - other, min(other, 10_000 - one), exact=True)
        assert true.exact
        assert high.lower <= true.upper <= high.upper


def test_counts_must_be_counts() -> None:
    for wrong in (Counts(-1, 2), Counts(3, 2), Counts(0, 11)):
        with pytest.raises(ValueError, match="expected counts from 0 to 10"):
            p_range(wrong, exactly(5), 10)
        with pytest.raises(ValueError, match="expected counts from 0 to 10"):
            p_range(exactly(5), wrong, 10)


def test_how_many_images_the_lesser_method_alone_can_be_right_on() -> None:
    for images in (1, 4, 9):
        most: dict[tuple[int, int], int] = {}
        for both, first, second, _ in pairings(images):
            key = (both + first, both + second)
            most[key] = max(most.get(key, 0), min(first, second))
        assert {key: fewest(*key, images) for key in most} == most


@pytest.mark.parametrize("alpha", [ALPHA, Fraction(1, 2), Fraction(1, 1000), Fraction(1, 10**6)])
def test_flip_is_the_largest_discordance_that_is_significant(alpha: Fraction) -> None:
    for gap in range(33):
        for most in (0, 1, 2, 5, 40):
            significant = [
                gap + 2 * fewer for fewer in range(most + 1) if slow_p(gap + fewer, fewer) <= alpha
            ]
            assert flip(gap, most, alpha) == max(significant, default=None)


def test_flip_of_large_gaps_is_certain() -> None:
    for gap in (100, 150):
        found = flip(gap, 6000)
        assert found is not None
        fewer = (found - gap) // 2
        assert mcnemar(gap, fewer).upper <= ALPHA < mcnemar(gap, fewer + 1).lower


def test_discordance_of_independent_errors() -> None:
    for one, other, images in ((9, 2, 10), (0, 0, 3), (119, 117, 192)):
        a, b = Fraction(one, images), Fraction(other, images)
        assert expected_discordance(one, other, images) == images * (a * (1 - b) + b * (1 - a))


def test_p_at_the_expected_discordance_is_that_of_the_nearest_possible_one() -> None:
    for images in (5, 12):
        for one in range(images + 1):
            for other in range(images + 1):
                expected, gap = expected_discordance(one, other, images), abs(one - other)
                possible = range(fewest(one, other, images) + 1)
                nearest = min(possible, key=lambda j: (abs(gap + 2 * j - expected), -j))
                assert p_expected(one, other, images) == mcnemar(gap, nearest)


def test_the_test_of_two_separate_test_sets() -> None:
    assert unpaired(5, 9, 10) == unpaired(9, 5, 10)
    z = Fraction(4) / 10 / (2 * Fraction(7, 10) * Fraction(3, 10) / 10) ** Fraction(1, 2)
    assert unpaired(5, 9, 10) == pytest.approx(2 * NormalDist().cdf(-float(z)), rel=1e-12, abs=0)
    assert unpaired(0, 0, 5) == unpaired(5, 5, 5) == 1.0


def test_significance_needs_all_pairings_or_none() -> None:
    low, high = Bounds.of(Fraction(1, 100)), Bounds.of(Fraction(6, 100))
    assert significance(low, low) == "always"
    assert significance(low, high) == "depends"
    assert significance(high, high) == "never"
    assert significance(Bounds.of(ALPHA), Bounds.of(ALPHA)) == "always"
    straddling = Bounds(Fraction(4, 100), Fraction(6, 100))
    assert significance(straddling, straddling) == "depends"
    assert significance(low, low, Fraction(1, 1000)) == "never"


def test_measure_takes_every_count_for_the_range_and_the_middle_for_the_rest() -> None:
    one, other = Counts(90, 92), Counts(60, 63)
    for found in (measure(one, other, 100), measure(other, one, 100)):
        assert found.images == 100
        assert found.p_min == mcnemar(32, 0)
        assert found.p_max == mcnemar(27, 10)
        assert found.flip == 32 + 2 * 8  # of 92 and 60 no more than 8 + 8 + 32 can differ
        assert found.expected == expected_discordance(91, 61, 100)
        assert found.p_expected == p_expected(91, 61, 100)
        assert found.p_unpaired == unpaired(91, 61, 100)
    assert measure(exactly(50), exactly(47), 100).flip is None
    assert measure(Counts(50, 60), Counts(50, 60), 100).p_max == Bounds.of(1)
