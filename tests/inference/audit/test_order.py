"""Comparisons in words, cell by cell."""

from fractions import Fraction as F
from itertools import product
from typing import Any

import pytest

from reclaim.inference.audit.order import Count, check, quantified, sign, tally
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
    assert "claims no sign" in found.message
    up = {**gap, "minuend": row("dcl"), "subtrahend": row("simclr")}
    assert only(kind="magnitude", direction="increase", **up).verdict == "consistent"


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
    assert "the same gap" in found.message
    (found,) = words(of("dcl", "large", "cifar10.top1"), of("sscl", "negligible", "cifar10.top1"))
    assert (found.evidence["gap"], found.evidence["other_gap"]) == (5, 2)
    assert "one of 2 points" in found.message


def test_sizes_in_order_or_of_other_data_are_not() -> None:
    assert words(of("sscl", "large", "cifar10.top1"), of("dcl", "small", "cifar10.top1")) == []
    assert words(of("dcl", "large", "cifar10.top5"), of("dcl", "small", "cifar10.top1")) == []
    assert words(of("dcl", "large", "cifar100.top1"), of("dcl", "small", "cifar10.top1")) == []
    some = {**of("dcl", "large", "cifar10.top1"), "quantifier": "some"}
    assert words(some, of("dcl", "small", "cifar10.top1")) == []


def test_findings_on_words_word_by_word() -> None:
    base = {"kind": "magnitude", "direction": "increase"}
    statements = {
        "a": {**base, **of("dcl", "large", "cifar10.top1"), "word": "vast"},
        "b": {**base, **of("sscl", "small", "cifar10.top1")},
        "u": {"kind": "unprinted", "unprinted": "a picture", "word": "nice"},
    }
    answer = {"about": ["b"], "date": "May", "text": "a slip", "source": "mail"}
    vast, small, picture, odd = check([case(MAIN, statements=statements, answers={"x": answer})])
    assert vast.message == "1 of 1 comparisons hold ('vast'), gaps 2 to 2"
    assert vast.evidence == {
        "statement": "a", "word": "vast", "quantifier": "all", "holding": 1, "total": 1, "pairs": 1,
        "exceptions": [], "ties": [], "gaps": [2], "gaps_exact": ["2"], "answers": [],
    }  # fmt: skip
    assert small.evidence["answers"] == ["a slip (mail, May)"]
    assert picture.model_dump() == {
        "paper": "made_up",
        "check": "order",
        "cells": (),
        "verdict": "untestable",
        "message": "no number is printed: a picture",
        "evidence": {"statement": "u", "word": "nice"},
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
