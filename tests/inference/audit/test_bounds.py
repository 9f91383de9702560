"""Shares that cannot be, and p-values of unlikely ones against slow sums."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from fractions import Fraction
from math import comb
from typing import Any

import pytest

from reclaim.inference.audit.bounds import (
    check,
    order,
    p_below_chance,
    p_floor,
    possible,
    top,
    top_pairs,
)
from reclaim.inference.audit.cases import fraction
from reclaim.inference.audit.sizes import Counts
from reclaim.records import Finding
from reclaim.registry.claims import ValueClaim
from tests.inference.audit.small_papers import answer, case, table

pytestmark = pytest.mark.arithmetic


def slow_tail(most: int, trials: int, chance: Fraction) -> Fraction:
    return sum(
        (
            comb(trials, i) * chance**i * (1 - chance) ** (trials - i)
            for i in range(min(most, trials) + 1)
        ),
        Fraction(0),
    )


def test_a_share_lies_between_nothing_and_all() -> None:
    assert possible(Fraction(0))
    assert possible(Fraction(1))
    assert not possible(Fraction(-1, 10**12))
    assert not possible(1 + Fraction(1, 10**12))


def test_no_true_pair_is_impossible_under_any_rounding() -> None:
    """Every k1 <= k5 of n, each cut, rounded or raised to its own number of digits."""
    for n in (3, 7, 12):
        for k1 in range(n + 1):
            for k5 in range(k1, n + 1):
                for d1, d5 in ((0, 0), (0, 1), (1, 0)):
                    for low in printings(Fraction(k1, n), d1):
                        for high in printings(Fraction(k5, n), d5):
                            digit1, digit5 = Fraction(1, 10**d1), Fraction(1, 10**d5)
                            found = order(low, digit1, high, digit5)
                            assert found != "impossible"
                            assert (found == "possible") == (low <= high)


def printings(share: Fraction, decimals: int) -> set[Fraction]:
    scaled = share * 10**decimals
    down = scaled.numerator // scaled.denominator
    up = -(-scaled.numerator // scaled.denominator)
    return {Fraction(value, 10**decimals) for value in (down, up)}


def test_a_difference_of_both_last_digits_is_impossible() -> None:
    digit, tenth = Fraction(1, 100), Fraction(1, 10)
    assert order(Fraction(52, 100), digit, Fraction(50, 100), digit) == "impossible"
    assert order(Fraction(51, 100), digit, Fraction(50, 100), digit) == "last digit"
    assert order(Fraction(60, 100), digit, Fraction(5, 10), tenth) == "last digit"
    assert order(Fraction(61, 100), digit, Fraction(5, 10), tenth) == "impossible"
    assert order(Fraction(1, 2), digit, Fraction(1, 2), digit) == "possible"


def test_the_floor_is_the_largest_p_over_all_counts() -> None:
    for images, classes, k in ((9, 10, 5), (12, 3, 2), (8, 100, 5)):
        chance = Fraction(k - 1, classes - 1)
        for first in (Counts(0, 2), Counts(3, 3), Counts(4, 6)):
            for more in (Counts(4, 5), Counts(6, 8)):
                every = [
                    slow_tail(b - a, images - a, chance)
                    for a in range(first.least, first.most + 1)
                    for b in range(more.least, more.most + 1)
                ]
                found = p_floor(first, more, images, classes, k)
                assert found.exact
                assert found.upper == max(every)


def test_the_floor_of_all_ranks_and_of_none() -> None:
    one = Counts(5, 5)
    assert p_floor(one, Counts(9, 9), 10, classes=5).upper == 0  # all five are always enough
    assert p_floor(one, Counts(10, 10), 10, classes=4).upper == 1
    assert p_floor(one, Counts(4, 4), 10, classes=10).upper == 0
    assert p_floor(one, Counts(10, 10), 10, classes=2).upper == 1
    assert p_floor(Counts(6, 6), Counts(7, 7), 10, classes=10).upper == Fraction(875, 2187)
    with pytest.raises(ValueError, match="1 classes; expected 2 or more"):
        p_floor(one, one, 10, classes=1)


def test_below_guessing_is_the_largest_p_over_all_counts() -> None:
    for images, classes, k in ((9, 10, 1), (12, 3, 2), (8, 2, 5)):
        chance = Fraction(min(k, classes), classes)
        for found in (Counts(0, 0), Counts(1, 3), Counts(2, images)):
            every = [slow_tail(most, images, chance) for most in range(found.least, found.most + 1)]
            assert p_below_chance(found, images, classes, k).upper == max(every)
    assert p_below_chance(Counts(0, 0), 2, classes=4).upper == Fraction(9, 16)


# --- papers --------------------------------------------------------------------------------------


def findings(
    cells: Any, about: dict[str, Any] | None = None, **changes: Any
) -> dict[tuple[str, str], list[Finding]]:
    """By kind and verdict."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in check([case(table("main", cells, **(about or {})), **changes)]):
        found.setdefault((finding.evidence["kind"], finding.verdict), []).append(finding)
    return found


def row(top1: str, top5: str) -> dict[str, dict[str, str]]:
    return {"a": {"shapes.top1": top1, "shapes.top5": top5}}


CELLS = ("main[shapes.top1,a]", "main[shapes.top5,a]")


def test_a_sound_row_is_consistent_in_every_way() -> None:
    found = findings(row("80.0", "95.0"))
    assert set(found) == {(kind, "consistent") for kind in ("range", "order", "floor", "guessing")}
    assert all(findings_[0].cells == CELLS for findings_ in found.values())
    assert found["range", "consistent"][0].evidence["number"] == 2
    assert found["order", "consistent"][0].evidence["number"] == 1
    assert found["guessing", "consistent"][0].evidence["number"] == 2


def test_a_share_above_all_is_a_contradiction() -> None:
    found = findings(row("80.0", "100.1"), answers=answer(CELLS[1]))
    (one,) = found["range", "contradiction"]
    assert one.cells == CELLS[1:]
    assert "100.1" in one.message
    assert one.evidence["answers"] == ["It is a slip. (mail, 2024)"]
    assert findings(row("-0.1", "50.0"))["range", "contradiction"][0].cells == CELLS[:1]
    assert ("range", "contradiction") not in findings(row("0", "100"))
    both = findings(row("120.0", "130.0"))
    assert len(both["range", "contradiction"]) == 2
    assert ("range", "consistent") not in both


def test_top_five_below_top_one_is_a_contradiction() -> None:
    (one,) = findings(row("80.2", "80.0"))["order", "contradiction"]
    assert one.cells == CELLS
    assert one.message == (
        "top5 80.0 and top1 80.2: what is among the first is among the first 5, so the second "
        "number cannot be greater for one model and one test set."
    )
    (two,) = findings(row("80.1", "80.0"))["order", "untestable"]
    assert two.message == "top5 80.0 and top1 80.1: only two ways of rounding could print this."
    assert ("order", "consistent") in findings(row("80.0", "80.0"))
    # "80" among tenths may still be 80.9 cut off: nothing is claimed of it
    assert ("order", "untestable") in findings(row("80.9", "80"))


def test_rows_in_order_are_counted_together() -> None:
    cells = {name: {"shapes.top1": "80.0", "shapes.top5": "95.0"} for name in "ab"}
    (one,) = findings(cells)["order", "consistent"]
    assert one.message == "2 rows have a top-k accuracy at least as high as their top-1."
    assert one.cells == (*CELLS, *(cell.replace(",a]", ",b]") for cell in CELLS))


def test_all_classes_are_always_among_them() -> None:
    (one,) = findings(row("80.0", "99.9"), classes=5)["order", "contradiction"]
    assert one.evidence["classes"] == 5
    assert ("order", "contradiction") not in findings(row("80.0", "100"), classes=5)
    assert ("order", "contradiction") not in findings(row("80.0", "99.9"), classes=6)
    five = findings(row("80.0", "100"), classes=5)
    assert [five[kind, "untestable"][0].cells for kind in ("floor", "guessing")] == [
        CELLS,
        CELLS[1:],
    ]
    # 99.95 % raised is 100.0; 99.9 could not be
    found = findings(row("80.0", "99.9"), classes=4)
    assert ("floor", "untestable") in found
    assert ("order", "contradiction") not in findings(row("80.0", "99.9"), classes=None)


def test_a_top_five_below_random_order_is_implausible_at_most() -> None:
    """75 % of 1000 are right; of the others random order would find 4/9."""
    (one,) = findings(row("75.0", "82.0"))["floor", "implausible"]
    assert one.cells == CELLS
    true = slow_tail(70, 250, Fraction(4, 9))
    assert one.evidence["p"] == pytest.approx(float(true), rel=1e-12, abs=0)
    assert one.evidence["images"] == 1000
    assert one.evidence["classes"] == 10
    assert one.evidence["top"] == 5
    assert one.evidence["share_exact"] == "31/36"
    assert one.evidence["also"] == []
    assert "86.11%" in one.message
    assert ("floor", "consistent") in findings(row("75.0", "85.0"))


def test_the_floor_is_that_of_as_many_answers_as_the_column_has() -> None:
    """Random order finds 9 of the 19 other classes among ten answers."""
    cells = {"a": {"shapes.top1": "75.0", "shapes.top10": "82.0"}}
    (one,) = findings(cells, classes=20)["floor", "implausible"]
    true = slow_tail(70, 250, Fraction(9, 19))
    assert one.evidence["p"] == pytest.approx(float(true), rel=1e-12, abs=0)


def test_what_is_close_to_chance_has_its_p_below_the_mean_and_half_or_more_above() -> None:
    """Of 250, random order would find 111.1; of 1000, guessing 100."""
    (floor,) = findings(row("75.0", "85.9"))["floor", "consistent"]
    assert floor.evidence["p_holm"] == pytest.approx(float(slow_tail(109, 250, Fraction(4, 9))))
    (floor,) = findings(row("75.0", "86.2"))["floor", "consistent"]
    assert floor.evidence["p_holm"] >= 0.5
    (guess,) = findings(row("9.9", "60.0"))["guessing", "consistent"]
    p = float(slow_tail(99, 1000, Fraction(1, 10)))
    assert guess.evidence["p_holm"] == pytest.approx(2 * p)


def test_the_floor_is_looked_at_with_every_number_of_images() -> None:
    inferred = dict.fromkeys(CELLS, (20, 200))
    (one,) = findings(row("75.0", "82.0"), inferred=inferred)["floor", "implausible"]
    (also,) = one.evidence["also"]  # 82.0 % is no share of 20
    assert also["images"] == 200
    assert also["p"] == pytest.approx(float(slow_tail(14, 50, Fraction(4, 9))), rel=1e-12, abs=0)
    assert "With 200 images" in one.message


def test_holm_is_over_the_paper() -> None:
    cells = {name: {"shapes.top1": "75.0", "shapes.top5": "83.3"} for name in "a"}
    (one,) = findings(cells)["floor", "implausible"]
    alone = float(slow_tail(83, 250, Fraction(4, 9)))
    assert one.evidence["p_holm"] == pytest.approx(alone)
    assert alone < 0.05
    for i in range(300):
        cells[f"other{i}"] = {"shapes.top1": f"{40 + i / 10:.1f}", "shapes.top5": "95.0"}
    found = findings(cells)
    assert ("floor", "implausible") not in found
    (rest,) = found["floor", "consistent"]
    assert rest.evidence["number"] == 301
    assert rest.evidence["p_holm"] == pytest.approx(301 * alone)


def test_one_thing_printed_twice_counts_once() -> None:
    twice = [table("main", row("75.0", "82.0")), table("again", row("75.0", "82.0"))]
    (one,) = [f for f in check([case(*twice)]) if f.verdict == "implausible"]
    assert one.cells == (*CELLS, *(cell.replace("main", "again") for cell in CELLS))
    assert one.evidence["p_holm"] == pytest.approx(float(one.evidence["p"]))


def test_below_guessing_is_implausible() -> None:
    (one,) = findings(row("7.0", "60.0"))["guessing", "implausible"]
    assert one.cells == CELLS[:1]
    true = slow_tail(70, 1000, Fraction(1, 10))
    assert one.evidence["p"] == pytest.approx(float(true), rel=1e-12, abs=0)
    assert one.evidence["p_holm"] == pytest.approx(2 * float(true), rel=1e-12, abs=0)
    (five,) = findings(row("10.0", "40.0"))["guessing", "implausible"]
    assert five.cells == CELLS[1:]
    assert (five.evidence["share"], five.evidence["classes"]) == (0.5, 10)
    assert ("guessing", "implausible") not in findings(row("9.8", "49.9"))


def test_what_cannot_be_compared_says_why() -> None:
    for changes, reason in (
        ({"images": None}, "no number of test images up to 1,000,000 is stated or can be inferred"),
        ({"classes": None}, "the data set has no known number of classes above k"),
        ({"about": {"runs": 3}}, "means over 3 runs are no counts of one test set"),
        ({"about": {"runs": 2}}, "means over 2 runs are no counts of one test set"),
        ({"images": 7}, "they are no shares of 7 images"),
        (
            {"images": 7, "inferred": dict.fromkeys(CELLS, (9,))},
            "they are no shares of 7 or 9 images",
        ),
    ):
        found = findings(row("75.0", "82.0"), **changes)
        for kind in ("floor", "guessing"):
            (one,) = found[kind, "untestable"]
            number = {"floor": 1, "guessing": 2}[kind]
            assert one.message == f"{number} accuracies are not compared ({kind}): {reason}."
            assert one.cells == CELLS


def test_which_metrics_are_compared() -> None:
    metrics = {
        "top1": 1,
        "top_5": 5,
        "top10": 10,
        "accuracy": 1,
        "acc": 1,
        "f2": None,
        "top0": None,
    }
    cells = {"a": {f"shapes.{metric}": "50.0" for metric in metrics}}
    made = case(table("main", cells))
    assert {claim.metric: top(claim) for claim in made.values.values()} == metrics


def test_pairs_stay_within_a_setting() -> None:
    cells = {
        "a": {
            "short.shapes.top1": "60.0",
            "short.shapes.top5": "70.0",
            "long.shapes.top1": "80.0",
            "long.shapes.top5": "90.0",
        },
        "b": {"short.shapes.top1": "61.0"},
    }
    columns = {column: {"dataset": "shapes"} for column in cells["a"]}
    made = case(table("main", cells, columns=columns))
    assert [(one.cell, other.cell) for one, other in top_pairs(made)] == [
        ("main[short.shapes.top1,a]", "main[short.shapes.top5,a]"),
        ("main[long.shapes.top1,a]", "main[long.shapes.top5,a]"),
    ]


def test_what_is_impossible_is_found_among_many_columns() -> None:
    """Each number stands beside the highest of those for fewer answers, not beside all."""
    metrics = ("top1", "top2", "top5", "top10")
    numbers = ("60.0", "60.1", "59.9", "59.8", "60.3")
    for printed in itertools.product(numbers, repeat=len(metrics)):
        cells = {f"shapes.{metric}": value for metric, value in zip(metrics, printed, strict=True)}
        made = case(table("main", {"a": cells}))
        claims = list(made.accuracies.values())
        assert any_impossible(top_pairs(made)) == any_impossible(itertools.combinations(claims, 2))


def any_impossible(pairs: Iterable[tuple[ValueClaim, ValueClaim]]) -> bool:
    digit = Fraction(1, 1000)
    shares = ((fraction(a), fraction(b)) for a, b in pairs)
    return any(order(a, digit, b, digit) == "impossible" for a, b in shares)


def test_pairs_need_no_names_where_no_metric_repeats() -> None:
    cells = {"a": {"first": "60.0", "second": "70.0", "third": "75.0"}}
    metrics = ("top1", "top5", "top10")
    columns = {
        column: {"dataset": "shapes", "metric": metric}
        for column, metric in zip(cells["a"], metrics, strict=True)
    }
    made = case(table("main", cells, columns=columns))
    assert [(one.metric, other.metric) for one, other in top_pairs(made)] == [
        ("top1", "top5"),
        ("top1", "top10"),
        ("top5", "top10"),
    ]


def test_only_shares_of_images_are_looked_at() -> None:
    cells = {"a": {"shapes.uniformity": "-210.0", "shapes.loss": "300.0"}}
    assert findings(cells) == {}


def test_what_a_finding_says() -> None:
    inferred = dict.fromkeys(CELLS, (200,))
    found = findings(row("75.0", "82.0"), inferred=inferred)
    (floor,) = found["floor", "implausible"]
    assert floor.message == (
        "top1 75.0 and top5 82.0 on 1,000 images (the test set of shapes): fewer true classes "
        "among the first 5 than if, wherever the first answer is wrong, the other classes were "
        "ordered at random, which gives 86.11% (p 6.4e-08 at most, 6.4e-08 over the paper). With "
        "200 images (inferred from the printed numbers): p 0.013, 0.013 over the paper."
    )
    (guess,) = found["guessing", "consistent"]
    assert guess.message == (
        "2 accuracies are not clearly below guessing (p above 0.05, corrected by Holm's method "
        "over 2, at the first stated number of test images)."
    )
    assert {f.check for made in found.values() for f in made} == {"bounds"}
