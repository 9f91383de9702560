"""One measurement printed twice."""

from fractions import Fraction as F
from itertools import combinations
from typing import Any

import pytest

from reclaim.inference.audit.cases import Case
from reclaim.inference.audit.cross_table import across, apart, check, may_be
from tests.inference.audit.papers import case, paper, table

pytestmark = pytest.mark.arithmetic


def tables(*values: str, **about: object) -> list[object]:
    return [
        table(f"t{i}", {"a": {"cifar10.top1": v}, "b": {"cifar10.top1": "10.00"}}, **about)
        for i, v in enumerate(values)
    ]


def test_apart_are_the_pairs_without_a_common_point() -> None:
    values = [(F(i, 3), F(i, 3) + F(w, 4)) for i, w in ((0, 4), (1, 1), (2, 3), (5, 2), (4, 9))]
    for i, j in combinations(range(len(values)), 2):
        common = max(values[i][0], values[j][0]) < min(values[i][1], values[j][1])
        assert ((i, j) in apart(values)) != common
    assert apart([(F(0), F(1)), (F(1), F(2))]) == [(0, 1)]
    assert may_be(F(1, 2), F(1, 10)) == (F(2, 5), F(3, 5))


def test_two_values_of_one_measurement_contradict() -> None:
    (found, rest) = check([case(*tables("82.25", "85.42"))])
    assert found.verdict == "contradiction"
    assert found.evidence["sets"] == [["t0[cifar10.top1,a]", "t1[cifar10.top1,a]"]]
    assert found.evidence["gap"] == 3.17
    assert found.evidence["gap_exact"] == "317/100"
    assert found.evidence["values"]["t0[cifar10.top1,a]"] == 82.25
    assert (rest.verdict, rest.evidence["alike"]) == (
        "consistent",
        [["t0[cifar10.top1,b]", "t1[cifar10.top1,b]"]],
    )


def test_minimal_sets_are_pairs_of_different_values() -> None:
    (found, _) = check([case(*tables("82.25", "85.42", "82.25"))])
    assert found.evidence["sets"] == [
        ["t0[cifar10.top1,a]", "t1[cifar10.top1,a]"],
        ["t1[cifar10.top1,a]", "t2[cifar10.top1,a]"],
    ]
    assert found.cells == tuple(f"t{i}[cifar10.top1,a]" for i in range(3))


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [
        ("75", "75.00", 0),
        ("82.81", "82.82", 0),  # one number, cut and rounded
        ("82.81", "82.83", 1),
        ("82.81", "82.8", 0),
        ("82.81", "82.91", 1),
        ("82.81", "83", 0),  # alone in its row, 83 may be 82.81
    ],
)
def test_a_value_rounded_in_two_ways_does_not(first: str, second: str, wrong: int) -> None:
    found = list(check([case(*tables(first, second))]))
    assert [f.verdict for f in found].count("contradiction") == wrong
    if first == "82.81" and second == "82.82":
        assert found[0].message == (
            "2 measurements are printed more than once and agree, 1 of them up to the last digit, "
            "which rounding can change"
        )


def test_a_short_string_beside_a_long_one_has_lost_its_zeros() -> None:
    pair = [
        table(
            name,
            {
                "a": {"cifar10.top1": v, "cifar10.top5": "99.11"},
                "b": {"cifar10.top1": "1.23", "cifar10.top5": "1.45"},
            },
        )
        for name, v in (("t0", "82.81"), ("t1", "83"))
    ]
    assert next(check([case(*pair)])).verdict == "contradiction"


def test_shorter_tables_have_wider_cells() -> None:
    made = case(
        table("t0", {"a": {"cifar10.top1": "82.81"}}), table("t1", {"a": {"cifar10.top1": "83"}})
    )
    assert [f.verdict for f in check([made])] == ["consistent"]


def test_other_settings_runs_data_or_metrics_are_other_measurements() -> None:
    a, b = tables("82.25", "85.42")
    assert list(check([case(tables("82.25")[0])])) == []
    knob = table("t1", {"a": {"cifar10.top1": "85.42"}}, rows={"a": {"knobs": {"beta": 2.0}}})
    runs = table("t1", {"a": {"cifar10.top1": "85.42"}}, runs=3)
    data = table("t1", {"a": {"cifar100.top1": "85.42"}})
    tuned = table("t1", {"a": {"cifar10.top1": "85.42"}}, evaluation="fine_tune")
    for other in (knob, runs, data, tuned):
        assert [f for f in check([case(a, other)]) if f.verdict == "contradiction"] == []
    assert next(f.verdict for f in check([case(a, b)])) == "contradiction"


def test_a_knob_at_the_protocol_s_own_value_is_no_difference() -> None:
    knob = table("t1", {"a": {"cifar10.top1": "85.42"}}, rows={"a": {"knobs": {"beta": 2.0}}})
    main = tables("82.25")[0]
    same = case(main, knob, protocol={"knobs.beta": 2.0})
    assert [f.verdict for f in check([same])] == ["contradiction"]
    assert list(check([case(main, knob, protocol={"knobs.beta": 1.0})])) == []


def test_statements_take_sides() -> None:
    said = {
        "kind": "difference",
        "minuend": "t1[cifar10.top1,a]",
        "subtrahend": "t1[cifar10.top1,b]",
        "printed": "75.42",
        "unit": "points",
    }
    wrong = {**said, "minuend": "t0[cifar10.top1,a]", "subtrahend": "t0[cifar10.top1,b]"}
    (found, _) = check([case(*tables("82.25", "85.42"), statements={"s": said, "w": wrong})])
    assert found.evidence["supports"] == {"t0[cifar10.top1,a]": [], "t1[cifar10.top1,a]": ["s"]}
    assert "85.42 fits s" in found.message


def test_papers_that_differ_are_untestable_and_say_why() -> None:
    ours = paper(*tables("82.25"), name="ours", protocol={"batch": 96, "epochs": 200})
    theirs = paper(*tables("85.42"), name="theirs", protocol={"batch": 256, "epochs": 200})
    first, second = (type(case())(p) for p in (ours, theirs))
    found = across(first, second)
    assert found is not None
    assert (found.paper, found.verdict) == ("ours", "untestable")
    assert found.evidence["settings"] == ["batch"]
    assert found.cells[:2] == ("ours:t0[cifar10.top1,a]", "theirs:t0[cifar10.top1,a]")
    assert len([f for f in check([first, second]) if "papers" in f.evidence]) == 1


def test_papers_that_print_alike_or_nothing_in_common() -> None:
    first, second = (type(case())(paper(*tables("82.25"), name=n)) for n in ("a", "b"))
    found = across(first, second)
    assert found is not None
    assert found.verdict == "consistent"
    other = type(case())(paper(table("t", {"z": {"cifar10.top1": "1.00"}}), name="c"))
    assert across(first, other) is None


def test_a_finding_at_odds_word_by_word() -> None:
    said = {
        "kind": "difference",
        "minuend": "t1[cifar10.top1,a]",
        "subtrahend": "t1[cifar10.top1,b]",
        "printed": "75.42",
        "unit": "points",
    }
    first, second = "t0[cifar10.top1,a]", "t1[cifar10.top1,a]"
    answer = {"about": [first], "date": "May", "text": "a slip", "source": "mail"}
    made = case(*tables("82.25", "85.42"), statements={"s": said}, answers={"x": answer})
    odds, rest = check([made])
    assert odds.model_dump() == {
        "paper": "made_up",
        "check": "cross_table",
        "cells": (first, second),
        "verdict": "contradiction",
        "message": (
            f"a, cifar10, linear, top1 is printed as 82.25 in {first}, 85.42 in {second}: they "
            "cannot all be right if they are one measurement, as their labels say. 85.42 fits s."
        ),
        "evidence": {
            "sets": [[first, second]],
            "values": {
                first: 82.25,
                f"{first}_exact": "329/4",
                second: 85.42,
                f"{second}_exact": "4271/50",
            },
            "gap": 3.17,
            "gap_exact": "317/100",
            "supports": {first: [], second: ["s"]},
            "answers": ["a slip (mail, May)"],
            "assumption": (
                "cells with the same method, settings, data, evaluation, metric and number of runs "
                "print one measurement"
            ),
            "resolve": "the log of that run",
        },
    }
    assert rest.message == "1 measurements are printed more than once and agree"
    about = odds.evidence
    assert rest.evidence == {
        "sets": [],
        "alike": [[c.replace(",a]", ",b]") for c in (first, second)]],
        "answers": [],
        "assumption": about["assumption"],
        "resolve": about["resolve"],
    }
    plain = next(check([case(*tables("82.25", "85.42"))]))
    assert plain.message.endswith("as their labels say.")


def test_findings_across_papers_word_by_word() -> None:
    def one(name: str, *values: str, **protocol: Any) -> Case:
        rows = {f"m{i}": {"cifar10.top1": v} for i, v in enumerate(values)}
        return Case(paper(table("t", rows), name=name, protocol=protocol))

    ours = one("ours", "10.00", "82.25", batch=96, epochs=200)
    theirs = one("theirs", "10.00", "85.42", batch=256, epochs=200, seeds=[1])
    found = across(ours, theirs)
    assert found is not None
    assert found.message == (
        "ours and theirs both print 2 measurements by name; 1 differ: 82.25 and 85.42 (m1, top1). "
        "These are two trainings (settings that differ: batch), so print cannot tell"
    )
    assert found.check == "cross_table"
    assert found.cells == tuple(
        f"{name}:t[cifar10.top1,m{i}]" for i in range(2) for name in ("ours", "theirs")
    )
    assert found.evidence["papers"] == ["ours", "theirs"]
    assert found.evidence["shared"][1] == {
        "cells": ["t[cifar10.top1,m1]", "t[cifar10.top1,m1]"],
        "values": [82.25, 85.42],
        "values_exact": ["329/4", "4271/50"],
    }
    unknown = across(one("ours", "10.00"), one("theirs", "20.00"))
    assert unknown is not None
    assert unknown.message.endswith(
        "20.00 (m0, top1). These are two trainings (no stated setting differs), so print cannot "
        "tell"
    )
    many = across(one("a", *["10.00"] * 5), one("b", *["20.00"] * 5))
    assert many is not None
    assert many.message.count("10.00 and 20.00") == 4
    assert " … These" in many.message.replace(" ….", " …") or "…. These" in many.message
    alike = across(one("ours", "82.25"), one("theirs", "82.25"))
    assert alike is not None
    assert (alike.check, alike.paper) == ("cross_table", "ours")
    assert alike.message == (
        "ours and theirs both print 1 measurements by name, and they agree; print does not say "
        "whether one cites the other"
    )
