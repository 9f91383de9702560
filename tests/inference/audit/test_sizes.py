"""Which numbers of images a claim is looked at with, and which counts its number stands for."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import pytest

from reclaim.inference.audit.exact import Bounds
from reclaim.inference.audit.sizes import (
    Counts,
    Size,
    correct,
    counts,
    entity,
    holm_by_family,
    sizes,
)
from tests.inference.audit.small_papers import case, table

pytestmark = pytest.mark.arithmetic

CELLS = {
    "a": {"shapes.top1": "75", "shapes.top5": "82.25"},
    "b": {"shapes.top1": "61.97", "shapes.top5": "1.00"},
}
A, B = "main[shapes.top1,a]", "main[shapes.top1,b]"


def test_counts_are_all_that_print_so_when_rounded() -> None:
    half = Fraction(1, 2)
    for images in (7, 40, 192, 999):
        shares = [Fraction(100 * k, images) for k in range(images + 1)]
        for printed in range(101):
            near = [
                k
                for k, share in enumerate(shares)
                if printed in (round(share), floor(share + half))  # half to even, half up
            ]
            if near:
                assert counts(printed, images, 100) == Counts(min(near), max(near))


def test_counts_of_a_cut_number_are_taken_where_rounding_gives_none() -> None:
    assert counts(6197, 192, 10_000) == Counts(119, 119)  # 61.979...
    assert counts(6199, 192, 10_000) is None
    assert counts(0, 10, 100) == Counts(0, 0)
    assert counts(100, 10, 100) == Counts(10, 10)
    assert counts(101, 10, 100) is None
    assert counts(120, 10, 100) is None
    assert counts(-3, 10, 100) is None


def test_counts_stay_within_the_images() -> None:
    assert counts(100, 1000, 100) == Counts(995, 1000)
    assert counts(0, 1000, 100) == Counts(0, 5)


def test_the_middle_is_the_lower_of_two() -> None:
    assert Counts(3, 6).middle == 4
    assert Counts(3, 5).middle == 4


def test_dropped_zeros_are_style() -> None:
    made = case(table("main", CELLS))
    assert correct(made, made.values[A], 10_000) == Counts(7500, 7500)
    assert correct(made, made.values[B], 192) == Counts(119, 119)


def test_a_row_that_is_short_as_a_whole_may_have_been_printed_with_fewer_digits() -> None:
    """44.7 is 21 of 47 to one digit; as 44.70 it would be no number of 47."""
    cells = {"a": {"shapes.top1": "44.7"}, "b": {"shapes.top1": "40.43"}}
    made = case(table("main", cells))
    assert correct(made, made.values["main[shapes.top1,a]"], 47) == Counts(21, 21)
    assert correct(made, made.values["main[shapes.top1,b]"], 47) == Counts(19, 19)
    cells["a"]["shapes.top5"] = "82.25"
    made = case(table("main", cells))
    assert correct(made, made.values["main[shapes.top1,a]"], 47) is None


def test_a_printed_fraction_is_read_in_its_own_units() -> None:
    fractions = table("main", {"a": {"top1": "0.751"}}, columns={"top1": {"unit": "fraction"}})
    made = case(fractions)
    assert correct(made, made.values["main[top1,a]"], 1000) == Counts(751, 751)
    fractions = table("main", {"a": {"top1": "0.62"}}, columns={"top1": {"unit": "fraction"}})
    made = case(fractions)
    assert correct(made, made.values["main[top1,a]"], 192) == Counts(119, 120)


def test_stated_numbers_come_first_then_inferred_ones() -> None:
    reading = {"value": 990, "source": "released-code", "locator": "loader.py"}
    made = case(
        table("main", CELLS),
        protocol=[{"path": "facts.test_images", "value": 1000, "readings": [reading]}],
        inferred={A: (192, 1000, 96), B: (96, 192)},
    )
    a, b = made.values[A], made.values[B]
    assert [(s.images, s.inferred, s.family) for s in sizes(made, (a, b))] == [
        (1000, False, "stated 0"),
        (990, False, "stated 1"),
        (192, True, "inferred 192"),
        (96, True, "inferred 96"),
    ]
    assert [s.images for s in sizes(made, (a,))] == [1000, 990, 192, 96]
    other = made.values["main[shapes.top5,b]"]
    assert [s.images for s in sizes(made, (a, other))] == [1000, 990]
    assert [s.images for s in sizes(made, (a, other), (b,))] == [1000, 990, 96, 192]


def test_means_over_runs_and_too_many_images_have_no_size() -> None:
    made = case(table("main", CELLS, rows={"a": {"runs": 2}, "b": {"runs": 1}}))
    assert sizes(made, (made.values[A],)) == ()
    assert sizes(made, (made.values[A], made.values[B])) == ()
    assert len(sizes(made, (made.values[B],))) == 1
    for images, number in ((1_000_000, 1), (1_000_001, 0), (None, 0)):
        made = case(table("main", CELLS), images=images)
        assert len(sizes(made, (made.values[A],))) == number


def test_an_entity_is_what_is_measured_and_the_number() -> None:
    knobs = {"a": {"recipe": "x"}, "b": {"recipe": "x", "knobs": {"k": 2}}}
    made = case(table("one", CELLS), table("two", CELLS), table("three", CELLS, rows=knobs))
    one, two = made.values["one[shapes.top1,a]"], made.values["two[shapes.top1,a]"]
    assert entity(made, (one,)) == entity(made, (two,))
    assert entity(made, (one,)) != entity(made, (one, two))
    assert entity(made, (one,)) != entity(made, (made.values["one[shapes.top1,b]"],))
    assert entity(made, (one,)) != entity(made, (made.values["three[shapes.top1,a]"],))


def test_holm_corrects_within_a_family() -> None:
    first, second = (Size(100, "here", False, f"stated {rank}") for rank in (0, 1))
    p = Bounds.of(Fraction(1, 100))
    found = holm_by_family({("x", first): p, ("y", first): p, ("x", second): p})
    assert {key: value.upper for key, value in found.items()} == {
        ("x", first): Fraction(2, 100),
        ("y", first): Fraction(2, 100),
        ("x", second): Fraction(1, 100),
    }
