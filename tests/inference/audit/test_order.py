"""Comparisons in words, cell by cell."""

from fractions import Fraction as F
from itertools import product
from typing import Any

import pytest

from reclaim.inference.audit.order import Count, check, quantified, sign, surely, tally
from reclaim.records import Finding
from tests.inference.audit.papers import case, table

pytestmark = pytest.mark.arithmetic

MAIN = table(
    "t",
    {
        "simclr": {"cifar10.top1": "80.00", "cifar10.top5": "99.10", "cifar100.top1": "50.00"},
        "dcl": {"cifar10.top1": "82.00", "cifar10.top5": "99.50", "cifar100.top1": "52.00"},
        "sscl": {"cifar10.top1": "85.00", "cifar10.top5": "99.40", "cifar100.top1": "52.00"},
    },
)
COLUMNS = ("cifar10.top1", "cifar10.top5", "cifar100.top1")


def row(name: str, *columns: str) -> list[str]:
    return [f"t[{column},{name}]" for column in columns or COLUMNS]


def only(**statement: Any) -> Finding:
    (found,) = check([case(MAIN, statements={"s": statement})])
    assert found.evidence["statement"] == "s"
    return found


def test_signs_and_counts() -> None:
    assert [sign(F(a), F(b)) for a, b in ((2, 1), (1, 2), (1, 1))] == [1, -1, 0]
    assert tally([1, -1, 0, 1, 0, 0]) == Count(2, 1, 3)
    assert Count(2, 1, 3).total == 6


def test_what_is_sure_holds_for_every_number_of_two_open_intervals() -> None:
    def slow(a: tuple[F, F], b: tuple[F, F]) -> int:
        inside = [F(k, 7) for k in range(1, 20)]
        found = {sign(x, y) for x in inside for y in inside if a[0] < x < a[1] and b[0] < y < b[1]}
        return found.pop() if len(found) == 1 else 0

    ends = [(F(i, 2), F(j, 2)) for i in range(1, 5) for j in range(i + 1, 6)]
    for a, b in product(ends, ends):
        assert surely(a, b) == slow(a, b), (a, b)


@pytest.mark.parametrize("quantifier", ["all", "almost_all", "most", "some", "none", "not_all"])
def test_a_quantifier_is_sure_only_if_no_way_to_break_ties_changes_it(quantifier: str) -> None:
    def holds(signs: tuple[int, ...]) -> bool:
        true = signs.count(1)
        return {
            "all": true == len(signs),
            "almost_all": true > len(signs) / 2,
            "most": true > len(signs) / 2,
            "some": true > 0,
            "none": true == 0,
            "not_all": true < len(signs),
        }[quantifier]

    for length in (1, 2, 3, 4):
        for signs in product((1, -1, 0), repeat=length):
            ways = product(*[(s,) if s else (1, -1) for s in signs])
            outcomes = {holds(way) for way in ways}
            expected = (
                "untestable"
                if len(outcomes) == 2
                else "consistent"
                if True in outcomes
                else "contradiction"
            )
            assert quantified(tally(list(signs)), quantifier) == expected, signs


def test_an_order_with_an_exception() -> None:
    found = only(kind="order", greater=row("sscl"), lesser=row("dcl"))
    assert found.verdict == "contradiction"
    (exception,) = found.evidence["exceptions"]
    assert exception == {
        "cells": ["t[cifar10.top5,sscl]", "t[cifar10.top5,dcl]"],
        "printed": ["99.40", "99.50"],
        "gap": -0.1,
        "gap_exact": "-1/10",
    }
    (tie,) = found.evidence["ties"]
    assert tie["cells"] == ["t[cifar100.top1,sscl]", "t[cifar100.top1,dcl]"]
    assert (found.evidence["holding"], found.evidence["total"]) == (1, 3)
    assert "99.40 < 99.50" in found.message
    assert "52.00 = 52.00" in found.message


def test_a_tie_leaves_an_order_open_and_some_hold() -> None:
    pair = {"greater": row("sscl", "cifar100.top1"), "lesser": row("dcl", "cifar100.top1")}
    assert only(kind="order", **pair).verdict == "untestable"
    assert only(kind="order", greater=row("sscl"), lesser=row("simclr")).verdict == "consistent"
    some = only(kind="order", greater=row("sscl"), lesser=row("dcl"), quantifier="some")
    assert some.verdict == "consistent"
    none = only(kind="order", greater=row("sscl"), lesser=row("dcl"), quantifier="none")
    assert none.verdict == "contradiction"


def test_a_superlative_counts_its_best_cells() -> None:
    every = [cell for name in ("simclr", "dcl", "sscl") for cell in row(name)]
    found = only(kind="superlative", best=row("sscl"), among=every, quantifier="almost_all")
    assert (found.verdict, found.evidence["holding"], found.evidence["total"]) == (
        "consistent",
        2,
        3,
    )
    assert [e["cells"][1] for e in found.evidence["exceptions"]] == ["t[cifar10.top5,dcl]"]
    assert only(kind="superlative", best=row("sscl"), among=every).verdict == "contradiction"
    top = only(kind="superlative", best=row("sscl", "cifar10.top1"), among=every)
    assert top.verdict == "consistent"


def test_an_equalled_best_is_still_a_best() -> None:
    found = only(
        kind="superlative", best=row("sscl", "cifar100.top1"), among=row("dcl", "cifar100.top1")
    )
    assert found.verdict == "consistent"
    assert len(found.evidence["ties"]) == 1


def test_the_least_is_a_superlative_too() -> None:
    others = row("dcl") + row("sscl")
    least = only(kind="superlative", best=row("simclr"), among=others, direction="least")
    assert least.verdict == "consistent"
    not_least = only(
        kind="superlative", best=row("dcl", "cifar10.top1"), among=row("simclr"), direction="least"
    )
    assert not_least.verdict == "contradiction"


def test_a_magnitude_has_a_direction() -> None:
    gap = {"minuend": row("dcl"), "subtrahend": row("simclr"), "size": "small"}
    assert only(kind="magnitude", direction="increase", **gap).verdict == "consistent"
    found = only(kind="magnitude", direction="decrease", **gap)
    assert found.verdict == "contradiction"
    assert len(found.evidence["exceptions"]) == 3
    assert found.evidence["gaps"] == [2, 0.4, 2]


def test_a_negligible_gap_claims_no_sign() -> None:
    gap = {"minuend": row("sscl"), "subtrahend": row("dcl"), "size": "negligible"}
    found = only(kind="magnitude", direction="increase", **gap)
    assert found.verdict == "untestable"
    assert found.message == (
        "1 of 3 comparisons hold, gaps 0 to 3; a gap that is said to be negligible claims no sign; "
        "exceptions: 99.40 < 99.50 (t[cifar10.top5,sscl] against t[cifar10.top5,dcl]); "
        "ties: 52.00 = 52.00 (t[cifar100.top1,sscl] against t[cifar100.top1,dcl])"
    )
    up = {**gap, "minuend": row("dcl"), "subtrahend": row("simclr")}
    small = only(kind="magnitude", direction="increase", **up)
    assert (small.verdict, small.message) == (
        "consistent",
        "3 of 3 comparisons hold, gaps 0.4 to 2",
    )


# --- rounding ------------------------------------------------------------------------------------

SHORT = table(
    "t",
    {
        "a": {"cifar10.top1": "37", "cifar100.top1": "52"},
        "b": {"cifar10.top1": "37.1", "cifar100.top1": "52.0"},
        "c": {"cifar10.top1": "38.0", "cifar100.top1": "60.1"},
        "d": {"cifar10.top1": "36.9", "cifar100.top1": "51.0"},
    },
)


def short(**statement: Any) -> Finding:
    (found,) = check([case(SHORT, statements={"s": statement})])
    return found


def test_an_exception_that_rounding_may_undo_is_no_contradiction() -> None:
    """Row a was printed without decimals: its 37 may be any number between 36 and 38."""
    a, others = ["t[cifar10.top1,a]"], [f"t[cifar10.top1,{name}]" for name in "bcd"]
    found = short(kind="order", greater=a, lesser=others, quantifier="most")
    assert (found.verdict, found.evidence["holding"]) == ("untestable", 1)
    assert found.evidence["exceptions"] == []
    undone = found.evidence["exceptions_that_rounding_may_undo"]
    assert [e["printed"] for e in undone] == [["37", "37.1"], ["37", "38.0"]]
    assert "exceptions that rounding may undo: 37 < 37.1 " in found.message
    one_unit = short(kind="order", greater=others[:1], lesser=others[1:2])
    assert one_unit.verdict == "contradiction"
    best = short(kind="superlative", best=a, among=a + others, quantifier="none")
    assert best.verdict == "consistent"
    least = short(kind="superlative", best=others[2:], among=a, direction="least")
    assert least.verdict == "consistent"
    below = short(kind="order", greater=a, lesser=others[2:], quantifier="none")
    assert below.verdict == "untestable"
    last_digit = short(kind="order", greater=others[2:], lesser=others[:1])
    assert last_digit.verdict == "contradiction"
    neighbours = short(kind="order", greater=["t[cifar100.top1,d]"], lesser=["t[cifar100.top1,a]"])
    assert neighbours.verdict == "untestable"


def test_a_number_that_is_no_share_has_the_digits_it_prints() -> None:
    """A loss of 2 in a column of 2.5 is taken as printed: between 1 and 3."""
    cells = {"a": {"cifar10.loss": "2"}, "b": {"cifar10.loss": "2.5"}, "c": {"cifar10.loss": "3.1"}}
    made = table("t", cells)
    for other, verdict in (("b", "untestable"), ("c", "contradiction")):
        pair = {"greater": ["t[cifar10.loss,a]"], "lesser": [f"t[cifar10.loss,{other}]"]}
        (found,) = check([case(made, statements={"s": {"kind": "order", **pair}})])
        assert found.verdict == verdict


def test_a_best_cell_that_only_rounding_makes_best_is_open() -> None:
    a, d = "t[cifar10.top1,a]", "t[cifar10.top1,d]"
    assert short(kind="superlative", best=[a], among=[d]).verdict == "consistent"
    assert short(kind="superlative", best=[a], among=[d], quantifier="none").verdict == "untestable"
    c = "t[cifar10.top1,c]"
    assert (
        short(kind="superlative", best=[c], among=[d], quantifier="none").verdict == "contradiction"
    )


def test_best_cells_that_rounding_may_still_make_best_count_for_most_of_them() -> None:
    """One of three is surely beaten; the other two print less, by less than their digits say."""
    cells = {
        "a": {"cifar10.top1": "37", "cifar100.top1": "52", "stl10.top1": "60"},
        "b": {"cifar10.top1": "37.1", "cifar100.top1": "52.2", "stl10.top1": "70.1"},
    }
    made = table("t", cells)
    a, b = ([f"t[{column},{name}]" for column in cells["a"]] for name in "ab")
    said = {"kind": "superlative", "best": a, "among": b}
    verdicts = [
        next(check([case(made, statements={"s": {**said, "quantifier": word}})])).verdict
        for word in ("most", "all")
    ]
    assert verdicts == ["untestable", "contradiction"]


def test_a_curve_that_falls_over_several_steps_does_not_rise() -> None:
    cells = {"p": "50.05", "q": "50.04", "r": "50.03"}
    made = table("t", {name: {"cifar10.top1": value} for name, value in cells.items()})
    curve = [f"t[cifar10.top1,{name}]" for name in cells]
    said = {"kind": "trend", "knob": "k", "values": ["1", "2", "3"]}

    def verdict(shape: str, *order: int) -> str:
        statements = {"s": {**said, "shape": shape, "curve": [curve[i] for i in order]}}
        (found,) = check([case(made, statements=statements)])
        return found.verdict

    assert verdict("rises", 0, 1, 2) == verdict("falls", 2, 1, 0) == "contradiction"
    assert verdict("falls", 0, 1, 2) == verdict("rises", 2, 1, 0) == "consistent"
    assert verdict("rises", 0, 2, 1) == "contradiction"  # 50.05 to 50.03 in one step
    assert verdict("rises", 1, 0, 2) == "contradiction"
    two = {"s": {**said, "values": ["1", "2"], "shape": "rises", "curve": curve[:2]}}
    (found,) = check([case(made, statements=two)])
    assert found.verdict == "untestable"


def curve_of(shape: str, *printed: str) -> Finding:
    cells = {f"r{i}": {"cifar10.top1": value} for i, value in enumerate(printed)}
    said = {
        "kind": "trend", "knob": "k", "shape": shape, "values": [str(i) for i in range(len(cells))],
        "curve": [f"t[cifar10.top1,{name}]" for name in cells],
    }  # fmt: skip
    (found,) = check([case(table("t", cells), statements={"s": said})])
    return found


def test_the_steps_of_a_curve_are_its_neighbours_and_what_surely_falls() -> None:
    falling = curve_of("falls", "50.9", "50.6", "50.4", "50.3", "50.1")
    assert (falling.verdict, falling.evidence["pairs"]) == ("consistent", 4)
    assert falling.evidence["gaps"] == [0.3, 0.2, 0.1, 0.2]
    level = curve_of("rises", "50.05", "50.04", "50.05")
    assert (level.verdict, level.evidence["pairs"]) == ("untestable", 2)
    later = curve_of("rises", "50.00", "50.05", "50.04", "50.03")
    assert (later.verdict, later.evidence["pairs"]) == ("contradiction", 4)
    (odd,) = later.evidence["exceptions"]
    assert odd["printed"] == ["50.03", "50.05"]
    assert curve_of("rises", "37.1", "37", "36.9").verdict == "contradiction"


def test_a_short_number_beside_a_long_one_has_lost_its_zeros() -> None:
    cells = {
        "a": {"cifar10.top1": "75", "cifar10.top5": "82.25"},
        "b": {"cifar10.top1": "75.10", "cifar10.top5": "90.00"},
    }
    pair = {"greater": ["t[cifar10.top1,a]"], "lesser": ["t[cifar10.top1,b]"]}
    (found,) = check([case(table("t", cells), statements={"s": {"kind": "order", **pair}})])
    assert found.verdict == "contradiction"
    assert found.message == (
        "0 of 1 comparisons hold; exceptions: 75 < 75.10 (t[cifar10.top1,a] against "
        "t[cifar10.top1,b])"
    )


def test_words_of_size_are_compared_within_a_table() -> None:
    other = table("u", {name: dict(MAIN.cells[name]) for name in ("simclr", "dcl")})
    base = {"kind": "magnitude", "direction": "increase"}
    small = {"minuend": ["u[cifar10.top1,dcl]"], "subtrahend": ["u[cifar10.top1,simclr]"]}
    statements = {
        "a": {**base, **of("dcl", "large", "cifar10.top1")},
        "b": {**base, **small, "size": "small"},
    }
    found = check([case(MAIN, other, statements=statements)])
    assert not [one for one in found if "other" in one.evidence]


def test_a_text_without_a_word_of_quantity_is_read_in_every_column() -> None:
    pair = {"kind": "order", "greater": row("sscl"), "lesser": row("dcl")}
    assert only(**pair).message.startswith(
        "1 of 3 comparisons hold, read as: in every column; exceptions: 99.40 < 99.50 "
    )
    two = {name: row(r, *COLUMNS[:2]) for name, r in (("greater", "sscl"), ("lesser", "dcl"))}
    assert only(kind="order", **two).evidence["read_as"] == "in every column"
    assert "read as" not in only(**pair, quantifier="all").message
    column = COLUMNS[1]
    below = {"greater": row("sscl", column), "lesser": row("dcl", column) + row("simclr", column)}
    assert ", read as: against every row; exceptions" in only(kind="order", **below).message
    best = {"best": row("sscl", column), "among": below["lesser"]}
    found = only(kind="superlative", **best)
    assert (found.verdict, found.evidence["read_as"]) == ("contradiction", None)


# --- trends --------------------------------------------------------------------------------------

CURVE = [f"t[cifar10.top1,{name}]" for name in ("simclr", "dcl", "sscl")]


def trend(shape: str, curve: list[str], **more: Any) -> Finding:
    values = [str(i) for i in range(len(curve))]
    return only(kind="trend", knob="beta", shape=shape, curve=curve, values=values, **more)


@pytest.mark.parametrize(
    ("shape", "up", "down", "zigzag"),
    [
        ("rises", "consistent", "contradiction", "contradiction"),
        ("falls", "contradiction", "consistent", "contradiction"),
        ("no_steady_rise", "contradiction", "consistent", "consistent"),
    ],
)
def test_trends(shape: str, up: str, down: str, zigzag: str) -> None:
    assert trend(shape, CURVE).verdict == up
    assert trend(shape, CURVE[::-1]).verdict == down
    assert trend(shape, [CURVE[0], CURVE[2], CURVE[1]]).verdict == zigzag


def test_a_peak_is_above_all_others() -> None:
    assert trend("peak", [CURVE[0], CURVE[2], CURVE[1]], at=CURVE[2]).verdict == "consistent"
    found = trend("peak", CURVE, at=CURVE[1])
    assert found.verdict == "contradiction"
    assert len(found.evidence["exceptions"]) == 1


def test_what_is_not_printed_is_untestable() -> None:
    found = only(kind="trend", knob="k", shape="falls", unprinted="a figure")
    assert (found.verdict, found.cells) == ("untestable", ())
    assert "a figure" in found.message
    assert only(kind="unprinted", unprinted="a picture").verdict == "untestable"


# --- words of size -------------------------------------------------------------------------------


def words(first: dict[str, Any], second: dict[str, Any]) -> list[Finding]:
    base = {"kind": "magnitude", "direction": "increase"}
    statements = {"a": {**base, **first}, "b": {**base, **second}}
    return [f for f in check([case(MAIN, statements=statements)]) if "other" in f.evidence]


def of(name: str, size: str, *columns: str) -> dict[str, Any]:
    return {"minuend": row(name, *columns), "subtrahend": row("simclr", *columns), "size": size}


def test_a_gap_called_small_and_large_is_reported_once() -> None:
    (found,) = words(of("dcl", "large", "cifar10.top1"), of("dcl", "small", "cifar10.top1"))
    assert (found.verdict, found.evidence["statement"], found.evidence["other"]) == (
        "unsupported", "b", "a",
    )  # fmt: skip
    assert found.evidence["gap"] == found.evidence["other_gap"] == 2
    assert found.message == (
        "a gap of 2 points is called 'small', and the same gap 'large' in a: words of size carry "
        "no claim here"
    )
    (found,) = words(of("dcl", "large", "cifar10.top1"), of("sscl", "negligible", "cifar10.top1"))
    assert (found.evidence["gap"], found.evidence["other_gap"]) == (5, 2)
    assert "one of 2 points" in found.message


def test_sizes_in_order_or_of_other_data_are_not() -> None:
    assert words(of("sscl", "large", "cifar10.top1"), of("dcl", "small", "cifar10.top1")) == []
    assert words(of("dcl", "large", "cifar10.top5"), of("dcl", "small", "cifar10.top1")) == []
    assert words(of("dcl", "large", "cifar100.top1"), of("dcl", "small", "cifar10.top1")) == []
    some = {**of("dcl", "large", "cifar10.top1"), "quantifier": "some"}
    assert words(some, of("dcl", "small", "cifar10.top1")) == []


def test_a_gap_below_one_point_is_a_gap_and_none_is_not() -> None:
    column = COLUMNS[1]
    (found,) = words(of("dcl", "large", column), of("dcl", "small", column))
    assert found.evidence["gap_exact"] == "2/5"
    equal = {"minuend": row("sscl", COLUMNS[2]), "subtrahend": row("dcl", COLUMNS[2])}
    assert words({**equal, "size": "large"}, {**equal, "size": "small"}) == []


def test_findings_on_words_word_by_word() -> None:
    base = {"kind": "magnitude", "direction": "increase"}
    statements = {
        "a": {**base, **of("dcl", "large", "cifar10.top1"), "word": "vast"},
        "b": {**base, **of("sscl", "small", "cifar10.top1")},
        "u": {"kind": "unprinted", "unprinted": "a picture", "word": "nice"},
    }
    answer = {"about": ["b", "u"], "date": "May", "text": "a slip", "source": "mail"}
    vast, small, picture, odd = check([case(MAIN, statements=statements, answers={"x": answer})])
    assert vast.message == "1 of 1 comparisons hold ('vast'), gaps 2 to 2"
    assert vast.evidence == {
        "statement": "a", "word": "vast", "quantifier": "all", "read_as": None, "holding": 1,
        "total": 1, "pairs": 1, "exceptions": [], "exceptions_that_rounding_may_undo": [],
        "ties": [], "gaps": [2], "gaps_exact": ["2"], "answers": [],
        "assumption": "the sentence is about these cells, and they are rounded values of "
        "comparable results",
        "resolve": "which cells the sentence means, or the unrounded results",
    }  # fmt: skip
    assert small.evidence["answers"] == ["a slip (mail, May)"]
    assert picture.model_dump() == {
        "paper": "made_up",
        "check": "order",
        "cells": (),
        "verdict": "untestable",
        "message": "no number is printed: a picture",
        "evidence": {
            "statement": "u",
            "word": "nice",
            "answers": ["a slip (mail, May)"],
            "assumption": "the sentence rests on numbers that were measured",
            "resolve": "the numbers behind the figure or the words",
        },
    }
    assert odd.model_dump() == {
        "paper": "made_up",
        "check": "order",
        "cells": ("t[cifar10.top1,sscl]", "t[cifar10.top1,simclr]", "t[cifar10.top1,dcl]"),
        "verdict": "unsupported",
        "message": (
            "a gap of 5 points is called 'small', and one of 2 points 'vast' in a: words of size "
            "carry no claim here"
        ),
        "evidence": {
            "statement": "b", "other": "a", "gap": 5, "gap_exact": "5", "other_gap": 2,
            "other_gap_exact": "2", "answers": ["a slip (mail, May)"],
            "assumption": "words of size are meant on one scale for one data set, evaluation and "
            "metric",
            "resolve": "numbers in place of the words",
        },
    }  # fmt: skip


def test_a_long_list_of_exceptions_is_cut() -> None:
    rows = {f"r{i}": {"cifar10.top1": f"{60 + i}.00"} for i in range(9)}
    said = {
        "kind": "superlative",
        "best": ["t[cifar10.top1,r0]"],
        "among": [f"t[cifar10.top1,r{i}]" for i in range(1, 9)],
        "word": "best",
    }
    (found,) = check([case(table("t", rows), statements={"s": said})])
    assert found.message.startswith(
        "0 of 1 best cells are best ('best'); exceptions: 60.00 < 61.00 "
    )
    assert found.message.endswith("60.00 < 66.00 (t[cifar10.top1,r0] against t[cifar10.top1,r6]) …")
    assert len(found.evidence["exceptions"]) == 8
    assert "(t[cifar10.top1,r0] against t[cifar10.top1,r1]); 60.00 < 62.00" in found.message
    for number, cut in ((6, False), (7, True)):
        some = said | {"among": said["among"][:number]}
        (found,) = check([case(table("t", rows), statements={"s": some})])
        assert found.message.endswith(" …") is cut
