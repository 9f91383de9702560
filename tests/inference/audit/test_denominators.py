"""The inference of denominators against slow loops in exact fractions."""

from fractions import Fraction as F
from math import comb

import numpy as np
import pytest

from reclaim.inference.audit.denominators import (
    ALARM,
    MOST,
    Inference,
    chances,
    infer,
    tail,
)
from reclaim.inference.audit.lattice import ROUNDINGS, explains, printed

pytestmark = pytest.mark.arithmetic

UNIT = 10000


def exact_tail(explained: int, total: int, chance: F) -> F:
    """P(X ≥ explained), term by term."""
    terms = range(explained, total + 1)
    return sum((comb(total, i) * chance**i * (1 - chance) ** (total - i) for i in terms), F(0))


def shown(counts: list[int], n: int, rounding: str = "half_up") -> list[tuple[int, int]]:
    return [(UNIT, printed(k, n, UNIT, rounding)) for k in counts]


def best_by_loop(cells: list[tuple[int, int]], sizes: range) -> tuple[int, F]:
    """The likeliest of some n over all roundings, with its exact p."""
    low, high = min(v for _, v in cells), max(v for _, v in cells)
    found = []
    for n in sizes:
        for rounding in ROUNDINGS:
            inside = sum(bool(explains(v, n, UNIT, rounding)) for v in range(low, high + 1))
            hits = sum(bool(explains(v, n, UNIT, rounding)) for _, v in cells)
            found.append((exact_tail(hits, len(cells), F(inside, high - low + 1)), n))
    p, n = min(found)
    return n, p


def test_the_tail_is_that_of_exact_fractions() -> None:
    for explained, total, chance in ((3, 3, F(1, 100)), (9, 12, F(3, 10)), (24, 43, F(19, 1000))):
        found = tail(np.array([explained]), total, np.array([float(chance)]))[0]
        assert found == pytest.approx(float(exact_tail(explained, total, chance)), rel=1e-10, abs=0)


def test_the_tail_is_one_only_where_it_surely_exceeds_a_thousandth() -> None:
    total = 20
    for explained in range(total + 1):
        for chance in (0.01, 0.1, 0.5, 0.9):
            found = float(tail(np.array([explained]), total, np.array([chance]))[0])
            exactly = float(exact_tail(explained, total, F(chance)))
            assert found == pytest.approx(exactly, rel=1e-9, abs=0) or (
                found == 1 and exactly > 0.001
            )


@pytest.mark.parametrize(
    ("explained", "total", "chance"),
    [(1, 3, F(31, 10**5)), (1, 3, F(67, 10**5)), (2, 3, F(1, 10)), (9, 20, F(3, 10))],
)
def test_the_tail_is_one_where_the_lower_bound_of_one_term_says_so(
    explained: int, total: int, chance: F
) -> None:
    """(c/s)^k ((1 − c)/(1 − s))^(n − k) / (n + 1) for s = k/n, in exact fractions."""
    share, rest = F(explained, total), total - explained
    term = (chance / share) ** explained * ((1 - chance) / (1 - share)) ** rest
    least = term / (total + 1)
    exactly = exact_tail(explained, total, chance)
    assert exactly >= least
    found = float(tail(np.array([explained]), total, np.array([float(chance)]))[0])
    expected = 1 if least >= F(1, 1000) else float(exactly)
    assert found == pytest.approx(expected, rel=1e-9)


def test_chances_are_counted_between_the_least_and_the_greatest_cell() -> None:
    cells = [(UNIT, 9000), (UNIT, 100), (UNIT, 5000), (UNIT, 5040)]
    sizes = np.array([7, 64, 192])
    for rounding in ROUNDINGS:
        counts, width = chances(cells, [2, 3], sizes, rounding)
        assert width == 41
        slow = [
            sum(bool(explains(v, n, UNIT, rounding)) for v in range(5000, 5041))
            for n in sizes.tolist()
        ]
        assert counts.tolist() == slow


@pytest.mark.parametrize("n", [37, 64])
def test_the_best_class_is_that_of_a_slow_loop(n: int) -> None:
    cells = shown([n - 2, n - 5, n - 7, n - 10, n - 11], n)
    found = infer(cells, {"table": range(len(cells))})
    slow_n, p = best_by_loop(cells, range(n - 9, n + 9))
    best = found.classes[0]
    assert best.n == slow_n == n
    assert best.p_corrected == pytest.approx(float(p) * MOST * len(ROUNDINGS), rel=1e-4)
    assert found.tried == MOST * len(ROUNDINGS)


@pytest.mark.parametrize("rounding", ROUNDINGS[:4])
@pytest.mark.parametrize("n", [32, 40, 61, 192, 997, 1999])
def test_a_denominator_is_found_with_its_multiples(n: int, rounding: str) -> None:
    rng = np.random.default_rng([n, ROUNDINGS.index(rounding)])
    cells = shown([1, *rng.choice(np.arange(2, n), 14, replace=False).tolist()], n, rounding)
    best = infer(cells, {"paper": range(15)}).classes[0]
    assert best.n == n
    assert (best.explained, best.total, best.grouping) == (15, 15, "paper")
    assert best.multiples == tuple(range(2 * n, 2001, n))
    assert best.p_corrected < ALARM
    low, high = min(v for _, v in cells), max(v for _, v in cells)
    inside = sum(bool(explains(v, n, UNIT, best.rounding)) for v in range(low, high + 1))
    assert best.chance == F(inside, high - low + 1)


def test_an_even_multiple_is_named_by_its_smallest_member() -> None:
    cells = shown([2 * k for k in (3, 8, 14, 21, 33, 40, 47, 52, 61, 70, 77, 85)], 192)
    found = infer(cells, {"paper": range(12)})
    assert [best.n for best in found.classes] == [96]
    assert 192 in found.classes[0].multiples


def test_what_a_class_explains_is_taken_out_before_the_next() -> None:
    a = shown([5, 11, 16, 23, 31, 37, 42, 50, 55], 61)
    b = shown([7, 13, 29, 38, 46, 60, 71, 88, 95], 103)
    found = infer(a + b, {"paper": range(18), "a": range(9), "b": range(9, 18)})
    assert {best.n for best in found.classes} == {61, 103}
    assert sum(best.total for best in found.classes) == 18
    assert found.tried == 3 * MOST * len(ROUNDINGS)


def test_three_cells_that_are_left_are_still_a_grouping() -> None:
    cells = shown([5, 11, 16, 23, 31, 37, 42, 50, 53, 55, 58, 60], 61) + shown([1, 3, 5], 7)
    found = infer(cells, {"paper": range(15)})
    assert [(best.n, best.explained, best.total) for best in found.classes] == [
        (61, 12, 15),
        (7, 3, 3),
    ]
    assert found.nearest == ()


@pytest.mark.parametrize("unit", [700_000, 1_000_000])
def test_many_decimals_need_no_other_integers(unit: int) -> None:
    """2·U·n has more than 31 bits."""
    n = 1999
    values = [(2 * k * unit + n) // (2 * n) for k in (3, 500, 999, 1500, 1990)]
    found = infer([(unit, v) for v in values], {"paper": range(5)})
    best = found.classes[0]
    assert (best.n, best.explained) == (n, 5)
    assert len(found.classes) == 1


def test_multiples_end_at_two_thousand() -> None:
    """23 times 87 is 2,001."""
    cells = shown([1, 4, 9, 15, 22, 31, 41, 52, 64, 70, 77, 85], 87)
    best = infer(cells, {"paper": range(12)}).classes[0]
    assert (best.n, best.multiples[0], best.multiples[-1]) == (87, 174, 22 * 87)


def test_what_does_not_fit_is_not_counted_as_explained() -> None:
    noise = [1003, 4445, 9091]
    for n in (61, 122, 183):
        for v in noise:
            assert all(abs(F(k * UNIT, n) - v) >= 1 for k in range(n + 1))
    cells = shown([5, 11, 16, 23, 31, 37, 42, 50, 55, 58], 61) + [(UNIT, v) for v in noise]
    best = infer(cells, {"paper": range(13)}).classes[0]
    assert (best.n, best.explained, best.total) == (61, 10, 13)


def test_groupings_that_are_alike_count_once_and_small_ones_not_at_all() -> None:
    cells = shown([5, 11, 16, 23], 61)
    groups = {"paper": [0, 1, 2, 3], "table1": [3, 2, 1, 0], "column": [0, 1], "row": [1, 2, 2, 1]}
    found = infer(cells, groups)
    assert found.tried == MOST * len(ROUNDINGS)
    assert found.classes[0].grouping == "paper"


def test_of_an_n_the_likeliest_grouping_is_named() -> None:
    noise = [(UNIT, v) for v in (1009, 2111, 3334, 4567, 5551, 6789, 7654, 8765, 9123, 9897)]
    cells = shown([5, 11, 16, 23, 31, 37, 42], 61) + noise
    best = infer(cells, {"paper": range(17), "table1": range(7)}).classes[0]
    assert (best.n, best.grouping, best.explained, best.total) == (61, "table1", 7, 7)


def test_numbers_without_a_lattice_give_no_class() -> None:
    rng = np.random.default_rng(7)
    cells = [(UNIT, int(v)) for v in rng.choice(np.arange(1000, 9900), 30, replace=False)]
    found = infer(cells, {"paper": range(30)})
    assert found.classes == ()
    assert len(found.nearest) <= 3
    assert all(best.p_corrected >= ALARM for best in found.nearest)
    assert all(best.p_corrected <= 1 for best in found.nearest)


def test_nothing_can_be_said_about_nothing() -> None:
    assert infer([], {}) == Inference((), (), 0, None)
    two = infer(shown([1, 2], 7), {"paper": [0, 1]})
    assert (two.classes, two.detectable) == ((), None)


def test_detectable_is_the_greatest_n_whose_full_house_would_raise_the_alarm() -> None:
    cells = [(UNIT, v) for v in (1000, 4000, 9000)]
    found = infer(cells, {"paper": range(3)})
    width, n = 8001, found.detectable
    assert n is not None
    tries = MOST * len(ROUNDINGS)
    sizes = np.arange(1, MOST + 1)
    counts, _ = chances(cells, range(3), sizes, "half_up")
    sure = [int(s) for s, c in zip(sizes, counts, strict=True) if (c / width) ** 3 * tries < ALARM]
    assert n == max(sure)


def test_alike_cells_span_no_range() -> None:
    """An even n prints 5000 for sure, and an odd one never: none could be found."""
    assert infer([(UNIT, 5000)] * 5, {"paper": range(5)}) == Inference((), (), MOST * 5, None)


@pytest.mark.parametrize(
    "values",
    [(5000, 5010, 5020, 5040), (5000, 5010, 5020, 5030, 5040), (5000, 5300, 5699), (5000,) * 4],
)
def test_what_cannot_print_all_the_cells_is_not_detectable(values: tuple[int, ...]) -> None:
    """Between 5000 and 5040, n = 123 prints no string and n = 124 one: neither could be found."""
    low, high = min(values), max(values)
    able = []
    for n in range(1, MOST + 1):
        near = range(low * n // UNIT, high * n // UNIT + 2)
        count = len({(2 * k * UNIT + n) // (2 * n) for k in near} & set(range(low, high + 1)))
        p = F(count, high - low + 1) ** len(values)
        if count >= len(set(values)) and p * MOST * len(ROUNDINGS) < F(ALARM):
            able.append(n)
    found = infer([(UNIT, v) for v in values], {"paper": range(len(values))})
    assert found.detectable == max(able, default=None)
    assert (found.detectable is None) is (len(values) > 3)


def test_no_number_above_two_thousand_is_tried() -> None:
    cells = [(10**6, printed(k, 2001, 10**6, "half_up")) for k in (38, 463, 1117, 1484, 1909)]
    assert infer(cells, {"paper": range(5)}).classes == ()


def test_the_nearest_are_no_multiples_of_each_other() -> None:
    """Three cells in 200ths, too few for a class, are 400ths as well."""
    found = infer(shown([33, 101, 177], 200), {"paper": range(3)})
    sizes = [near.n for near in found.nearest]
    assert (found.classes, sizes[0]) == ((), 200)
    assert 400 in found.nearest[0].multiples
    assert all(b % a for i, a in enumerate(sizes) for b in sizes[i + 1 :])
