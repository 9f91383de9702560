"""Intervals and the search for readings against enumeration."""

from fractions import Fraction as F
from itertools import pairwise, product

import pytest

from reclaim.inference.audit.readings import (
    KINDS,
    MOST_READINGS,
    WHOLE,
    Reading,
    Search,
    covered,
    in_digits,
    interval,
    meets,
    of_errors,
    of_minuend,
    points,
    printed_range,
    reading,
    relative,
    search,
    swapped,
    swaps,
)

pytestmark = pytest.mark.arithmetic

FORMULAS = {
    "points": lambda a, b: a - b,
    "relative": lambda a, b: 100 * (a - b) / b,
    "relative to the greater": lambda a, b: 100 * (a - b) / a,
    "share of the errors": lambda a, b: 100 * (a - b) / (100 - b),
}
PAIRS = [("88.61", "82.25"), ("75", "82.81"), ("0.53", "0.1"), ("99.9", "50"), ("61.97", "61.97")]


def test_an_interval_is_half_or_a_whole_unit_of_the_last_digit_wide() -> None:
    assert interval("82.25") == (F(82245, 1000), F(82255, 1000))
    assert interval("75") == (F(149, 2), F(151, 2))
    assert interval("75", 2) == (F(74995, 1000), F(75005, 1000))
    assert interval("75", 0, WHOLE) == (F(74), F(76))
    assert interval("-0.4", slack=WHOLE) == (F(-5, 10), F(-3, 10))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", PAIRS)
def test_every_kind_bounds_its_formula_and_reaches_the_bounds(kind: str, pair: tuple[str, str]):
    a, b = interval(pair[0], 2), interval(pair[1], 2)
    value = KINDS[kind](a, b)
    assert value is not None
    steps = [F(i, 4) for i in range(5)]
    found = [
        FORMULAS[kind](a[0] + s * (a[1] - a[0]), b[0] + t * (b[1] - b[0]))
        for s, t in product(steps, steps)
    ]
    assert (min(found), max(found)) == value


def test_nothing_is_relative_to_what_may_be_zero() -> None:
    one, nil, all_ = interval("1.0"), interval("0.0"), interval("100.0")
    assert relative(one, nil) is None
    assert relative(one, (F(0), F(1))) is None
    assert of_minuend(nil, one) is None
    assert of_errors(one, all_) is None
    assert points(one, nil) == (F(9, 10), F(11, 10))


def test_ends_meet_to_nearest_and_do_not_where_a_whole_unit_is_allowed() -> None:
    assert meets("1.3", (F(135, 100), F(2)))
    assert not meets("1.3", (F(13501, 10000), F(2)))
    assert meets("1.3", (F(1), F(125, 100)))
    assert not meets("1.3", (F(1), F(12499, 10000)))
    assert meets("1.3", (F(1), F(12001, 10000)), WHOLE)
    assert not meets("1.3", (F(1), F(12, 10)), WHOLE)
    assert not meets("1.3", (F(14, 10), F(2)), WHOLE)
    assert meets("1.3", (F(1), F(2)), WHOLE)


@pytest.mark.parametrize("digits", [0, 1, 2])
def test_the_printed_range_is_every_integer_that_meets(digits: int) -> None:
    for low, high in (
        (F(-3, 7), F(5, 3)),
        (F(1, 2), F(1, 2)),
        (F(5, 100), F(5, 100)),
        (F(2), F(4)),
    ):
        first, last = printed_range((low, high), digits)
        scale = 10**digits
        every = [
            v
            for v in range(-10 * scale, 10 * scale)
            if F(2 * v - 1, 2 * scale) <= high and low <= F(2 * v + 1, 2 * scale)
        ]
        assert list(range(first, last + 1)) == every


@pytest.mark.parametrize("value", [0, 5, 53, 636, 1234, 1000, 99, -210])
@pytest.mark.parametrize("digits", [0, 1, 2])
def test_swaps_are_all_that_swap_back(value: int, digits: int) -> None:
    made = swaps(value, digits)
    text = str(abs(value)).zfill(digits + 1)
    neighbours = sum(a != b for a, b in pairwise(text))
    assert len(made) == neighbours
    for other in made:
        assert sorted(str(abs(other)).zfill(len(text))) == sorted(text)
        assert other != value
        back = str(abs(other)).zfill(len(text))
        assert sum(a != b for a, b in zip(back, text, strict=True)) == 2


def test_swaps_keep_the_sign() -> None:
    assert swaps(-210, 2) == [-120, -201]
    assert swaps(10, 1) == [1]
    assert swaps(0, 2) == []


def test_digits_are_written_as_papers_write_them() -> None:
    assert [in_digits(v, 2) for v in (0, 5, 50, 8261, 10000)] == [
        "0.00", "0.05", "0.50", "82.61", "100.00",
    ]  # fmt: skip
    assert in_digits(12, 0) == "12"
    assert in_digits(1, 12) == "0.000000000001"


def test_covered_counts_a_union() -> None:
    for ranges in ([(1, 3), (2, 8)], [(5, 4)], [(-9, 0), (10, 99)], [(3, 3), (3, 3), (1, 2)], []):
        union = {v for a, b in ranges for v in range(a, b + 1) if 0 <= v <= 10}
        assert covered(ranges, 0, 10) == len(union)


def test_the_search_stops_at_the_first_kind_of_change_that_fits() -> None:
    tiers = [
        [Reading("a", ((1, 2),)), Reading("b", ((5, 5),))],
        [Reading("c", ((6, 7),)), Reading("d", ((20, 30), (9, 10)))],
        [Reading("e", ((10, 10),))],
    ]
    found = search("1.0", tiers)
    assert [fit.name for fit in found.fits] == ["d"]
    assert found.tried == 4
    assert found.chance == F(2 + 1 + 2 + 2 + 1, 21)  # 20 is the last string that counts
    assert not found.unique


def test_a_reading_is_unique_below_five_per_cent_alone() -> None:
    at_5 = search("0.30", [[Reading("a", ((30, 32),))]])  # 3 of 61
    below = search("0.30", [[Reading("a", ((30, 31),))]])  # 2 of 61
    assert at_5.chance == F(3, 61)
    assert at_5.unique
    assert below.unique
    assert not search("0.30", [[Reading("a", ((30, 33),))]]).unique  # 4 of 61
    two = search("0.30", [[Reading("a", ((30, 30),)), Reading("b", ((30, 30),))]])
    assert len(two.fits) == 2
    assert not two.unique
    nothing = search("0.30", [[Reading("a", ((3, 3),))], []])
    assert (nothing.fits, nothing.tried, nothing.unique) == ((), 1, False)
    exactly = search("0.20", [[Reading("a", ((20, 20), (0, 0)))]])  # 2 of 41, below 5 %
    assert exactly.unique
    nineteen = search("0.19", [[Reading("a", ((19, 19), (0, 0)))]])  # 2 of 39, above
    assert not nineteen.unique


def test_the_search_counts_strings_down_to_a_negative_number_too() -> None:
    found = search("-0.2", [[Reading("a", ((-2, -2), (1, 5)))]])
    assert found.chance == F(1, 5)
    assert len(found.fits) == 1


def test_a_reading_has_a_name_and_a_kind_or_none() -> None:
    assert reading("x", (F(1), F(2)), 0) == Reading("x", ((1, 2),), "")
    assert reading("x", (F(1), F(2)), 1, "points") == Reading("x", ((10, 20),), "points")


def test_nothing_tried_fits_nothing() -> None:
    assert search("1.0", []) == Search((), 0, F(0))


def test_the_search_takes_so_many_readings_of_one_kind_and_no_more() -> None:
    endless = (Reading(str(i), ((i, i),)) for i in range(10, 10**9))
    assert search("0.1", [endless]).tried == MOST_READINGS


def test_the_chance_is_the_share_of_strings_that_a_reading_matches() -> None:
    a, b = interval("88.61"), interval("82.25")
    tier = [reading(kind, value, 2) for kind in KINDS if (value := KINDS[kind](a, b))]
    found = search("7.00", [tier])
    matched = {
        v
        for v in range(1401)
        for kind in KINDS
        if meets(in_digits(v, 2), KINDS[kind](a, b) or (F(0), F(0)))
    }
    assert found.chance == F(len(matched), 1401)
    assert not found.fits


def test_digits_swapped_in_the_text_match_what_swaps_into_the_range() -> None:
    made = swapped("swapped", [(636, 637)], 2, "points")
    matched = {v for a, b in made.ranges for v in range(a, b + 1)}
    assert matched == {*swaps(636, 2), *swaps(637, 2)}
    assert (made.name, made.kind) == ("swapped", "points")
    assert swapped("no kind", [(12, 12)], 0) == Reading("no kind", ((21, 21),), "")
    assert swapped("too wide", [(0, 1000)], 2).ranges == ()
    assert swapped("just right", [(0, 999)], 2).ranges != ()
