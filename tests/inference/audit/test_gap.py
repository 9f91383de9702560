"""The gaps that statements claim, and the verdicts on them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from reclaim.inference.audit import gap as gap_check
from reclaim.inference.audit.cases import Case
from reclaim.inference.audit.exact import mcnemar
from reclaim.inference.audit.gap import check, claimed_gaps
from reclaim.inference.audit.pairing import flip, unpaired
from reclaim.records import Finding
from tests.inference.audit.small_papers import answer, case, order, table

pytestmark = pytest.mark.arithmetic

ALPHA = Fraction(1, 20)

CELLS = {
    "ours": {"shapes.top1": "80.0", "shapes.top5": "95.0"},
    "theirs": {"shapes.top1": "70.0", "shapes.top5": "94.7"},
    "older": {"shapes.top1": "78.5", "shapes.top5": "95.0"},
}
A, B, C = (f"main[shapes.top1,{row}]" for row in CELLS)
A5, B5, C5 = (f"main[shapes.top5,{row}]" for row in CELLS)


def findings(*, cells: Any = CELLS, about: Any = None, **changes: Any) -> list[Finding]:
    return list(check([case(table("main", cells, **(about or {})), **changes)]))


def test_a_gap_is_always_never_or_depends() -> None:
    found = findings(
        statements={"one": order(A, B), "two": order(A, C), "three": order(A5, B5)}, images=1000
    )
    assert [(f.cells, f.verdict) for f in found] == [
        ((A, B), "consistent"),
        ((A, C), "untestable"),
        ((A5, B5), "unsupported"),
    ]
    assert [f.evidence["significance"] for f in found] == ["always", "depends", "never"]
    assert "needs per-image outcomes" in found[1].message
    assert all("two checkpoints" in f.message for f in found)
    evidence = found[1].evidence
    assert evidence["images"] == 1000
    assert evidence["source"] == "the test set of shapes"
    assert evidence["p_min"] == float(mcnemar(15, 0))
    assert Fraction(evidence["p_min_exact"]) == mcnemar(15, 0).upper
    assert evidence["p_max"] == float(mcnemar(15, 200))
    assert evidence["flip"] == flip(15, 200) == 51
    assert evidence["p_min_holm"] == float(2 * mcnemar(15, 0).upper)
    assert evidence["p_max_holm"] == float(mcnemar(15, 200).times(2))
    assert evidence["gaps"] == 3
    assert evidence["discordance_expected_exact"] == "329"
    assert evidence["p_unpaired"] == unpaired(800, 785, 1000)
    assert Fraction(evidence["gap_exact"]) == Fraction(15, 1000)
    assert evidence["statement"] == "two"


def test_holm_counts_every_claimed_gap_of_the_paper_once() -> None:
    """Six images decide alone, but not for two gaps."""
    rows = {"ours": {"shapes.top1": "80.6"}, "a": {"shapes.top1": "80.0"}}
    rows |= {"b": {"shapes.top1": "80.0"}, "c": {"shapes.top1": "50.0"}}
    best = "main[shapes.top1,ours]"
    every = {row: order(best, f"main[shapes.top1,{row}]") for row in ("a", "b", "c")}
    for chosen, words in (
        ("a", ["depends"]),
        ("ac", ["depends", "always"]),
        ("abc", ["never", "never", "always"]),
    ):
        found = findings(cells=rows, statements={name: every[name] for name in chosen})
        assert [f.evidence["significance"] for f in found] == words
        assert found[0].evidence["significance_alone"] == "depends"
        assert found[0].evidence["p_min"] == 1 / 32
        assert found[0].evidence["p_min_holm"] == (1 / 16 if len(chosen) == 3 else 1 / 32)
    twice = {"one": every["a"], "again": every["a"]}
    (found_once,) = findings(cells=rows, statements=twice)
    assert found_once.evidence["significance"] == "depends"


def test_holm_takes_the_largest_p_for_always() -> None:
    rows = {"ours": {"shapes.top1": "80.0"}} | {
        name: {"shapes.top1": share}
        for name, share in (("a", "75.2"), ("b", "75.1"), ("c", "75.0"), ("d", "74.9"))
    }
    best = "main[shapes.top1,ours]"
    found = findings(
        cells=rows,
        statements={row: order(best, f"main[shapes.top1,{row}]") for row in rows if row != "ours"},
    )
    raw = [Fraction(f.evidence["p_max_exact"]) for f in found]
    assert raw == [mcnemar(gap, 200).upper for gap in (48, 49, 50, 51)]
    assert all(p <= ALPHA for p in raw)
    assert {f.evidence["significance"] for f in found} == {"depends"}
    assert {f.evidence["significance_alone"] for f in found} == {"always"}


def test_one_gap_printed_twice_is_one_finding() -> None:
    again = table("again", {"ours": {"shapes.top1": "80.0"}, "theirs": {"shapes.top1": "70.0"}})
    statements = {
        "one": order(A, B),
        "two": order("again[shapes.top1,ours]", "again[shapes.top1,theirs]"),
    }
    made = case(table("main", CELLS), again, statements=statements)
    (found,) = check([made])
    assert found.cells == (A, B, "again[shapes.top1,ours]", "again[shapes.top1,theirs]")
    assert found.evidence["statements"] == ["one", "two"]
    assert found.evidence["gaps"] == 1


def pairs(**statements: dict[str, Any]) -> list[tuple[str, str]]:
    made = case(table("main", CELLS), statements=statements)
    return [(one.cell, other.cell) for gap in claimed_gaps(made) for one, other in gap.pairs]


def test_which_statements_claim_a_gap() -> None:
    difference = {"kind": "difference", "minuend": A, "subtrahend": B, "unit": "points"}
    assert pairs(s=difference | {"printed": "10.0"}) == [(A, B)]
    back = {"kind": "difference", "minuend": B, "subtrahend": A, "unit": "points"}
    assert pairs(s=back | {"printed": "-10.0"}) == [(A, B)]
    assert pairs(s=back | {"printed": "10.0"}) == []  # the other way round in print
    magnitude = {"kind": "magnitude", "minuend": [A], "subtrahend": [B], "direction": "increase"}
    assert pairs(s=magnitude | {"size": "large"}) == [(A, B)]
    assert pairs(s=magnitude | {"size": "small"}) == [(A, B)]
    assert pairs(s=magnitude | {"size": "negligible"}) == []
    falls = {"kind": "magnitude", "minuend": [B], "subtrahend": [A], "direction": "decrease"}
    assert pairs(s=falls | {"size": "large"}) == [(A, B)]
    best = {"kind": "superlative", "best": [A], "among": [A, B, C]}
    assert pairs(s=best) == [(A, B), (A, C)]
    least = {"kind": "superlative", "best": [B], "among": [A, B, C], "direction": "least"}
    assert pairs(s=least) == [(A, B), (C, B)]
    assert pairs(s=best | {"quantifier": "almost_all"}) == [(A, B), (A, C)]
    assert pairs(s=best | {"quantifier": "some"}) == []
    assert pairs(s=best | {"quantifier": "none"}) == []
    peak = {"kind": "trend", "knob": "k", "shape": "peak", "curve": [B, A, C], "at": A}
    assert pairs(s=peak | {"values": ["1", "2", "3"]}) == [(A, B), (A, C)]
    rise = {"kind": "trend", "knob": "k", "shape": "rises", "curve": [B, A]}
    assert pairs(s=rise | {"values": ["1", "2"]}) == []
    assert pairs(s={"kind": "value", "cell": A, "printed": "80.0"}) == []
    assert pairs(first=best | {"quantifier": "some"}, s=order(A, B)) == [(A, B)]
    assert pairs(s={"kind": "superlative", "best": [C], "among": [A, B, C]}) == [(C, B)]


def test_equal_reversed_and_unlike_cells_are_no_gap() -> None:
    assert pairs(s=order(A5, C5)) == []  # equal
    assert pairs(s=order(B, A)) == []  # check `order` lists it
    difference = {"kind": "difference", "unit": "points", "printed": "15.0"}
    assert pairs(s=difference | {"minuend": A5, "subtrahend": A}) == []  # two metrics
    other = table("main", {"ours": {"shapes.top1": "80.0", "cifar10.top1": "70.0"}})
    statement = order("main[shapes.top1,ours]", "main[cifar10.top1,ours]")
    assert claimed_gaps(case(other, statements={"s": statement})) == []
    loss = table("main", {"a": {"shapes.loss": "2.0"}, "b": {"shapes.loss": "1.0"}})
    statement = order("main[shapes.loss,a]", "main[shapes.loss,b]")
    assert claimed_gaps(case(loss, statements={"s": statement})) == []
    both = table("main", {"a": {"shapes.top1": "80.0", "shapes.loss": "2.0"}})
    cells = {"minuend": "main[shapes.top1,a]", "subtrahend": "main[shapes.loss,a]"}
    assert claimed_gaps(case(both, statements={"s": difference | cells})) == []


def test_the_same_at_every_inferred_number_of_images() -> None:
    inferred = {A: (40, 20), C: (40, 30), B: (50,)}
    (found,) = findings(statements={"s": order(A, C)}, inferred=inferred)
    assert found.evidence["also"] == []  # 78.5 % is no share of 40
    assert found.evidence["no_share_of"] == [40]
    assert "Not both are shares of 40 images." in found.message
    inferred = {A: (200, 20), C: (200, 30)}
    (found,) = findings(statements={"s": order(A, C)}, inferred=inferred)
    (also,) = found.evidence["also"]
    assert (also["images"], also["significance"]) == (200, "never")
    assert also["p_min"] == float(mcnemar(3, 0))
    assert also["source"] == "inferred from the printed numbers"
    assert "With 200 images (inferred from the printed numbers): not significant" in found.message
    assert found.evidence["images"] == 1000


def test_stated_readings_stand_side_by_side_and_are_corrected_apart() -> None:
    reading = {"value": 200, "source": "released-code", "locator": "loader.py"}
    protocol = [{"path": "facts.test_images", "value": 1000, "readings": [reading]}]
    found = findings(statements={"s": order(A, B), "t": order(A, C)}, protocol=protocol)
    for finding, gap in zip(found, (20, 3), strict=True):
        (also,) = finding.evidence["also"]
        assert (also["images"], also["source"]) == (200, "released-code: loader.py")
        assert also["p_min"] == float(mcnemar(gap, 0))
        assert also["gaps"] == finding.evidence["gaps"] == 2
        assert "before Holm's correction over 2 claimed gaps" in finding.message
        assert "With 200 images (released-code): " in finding.message


def test_rounded_counts_are_all_tried() -> None:
    """Whole per cents of 1000 images stand for ten counts or more each."""
    rows = {"ours": {"shapes.top1": "80"}, "theirs": {"shapes.top1": "70"}}
    (found,) = findings(cells=rows, statements={"s": order(A, B)})
    assert Fraction(found.evidence["p_min_exact"]) == mcnemar(110, 0).upper
    assert Fraction(found.evidence["p_max_exact"]) == mcnemar(90, 205).upper


def test_what_cannot_be_tested_says_why() -> None:
    statement = {"s": order(A, B)}
    (found,) = findings(statements=statement, about={"runs": 5})
    assert found.verdict == "untestable"
    assert "a mean over 5 runs" in found.message
    (found,) = findings(statements=statement, about={"runs": 2})
    assert "a mean over 2 runs" in found.message
    (found,) = findings(statements=statement, images=None)
    assert "no number of test images up to 1,000,000 is stated" in found.message
    (found,) = findings(statements=statement, images=3_000_000)
    assert found.verdict == "untestable"
    (found,) = findings(statements=statement, images=7, answers=answer("s"))
    assert found.message == (
        "80.0 against 70.0: the numbers are no counts that can be compared. Not both are shares of "
        "7 images."
    )
    assert found.evidence["no_share_of"] == [7]
    assert (found.check, found.evidence["answers"]) == ("gap", ["It is a slip. (mail, 2024)"])
    (found,) = findings(
        cells={"ours": {"shapes.top1": "120.0"}, "theirs": {"shapes.top1": "70.0"}},
        statements=statement,
    )
    assert found.verdict == "untestable"


def test_too_many_gaps_are_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    statements = {"s": order(A, B), "t": order(A, C)}
    monkeypatch.setattr(gap_check, "MOST_GAPS", 2)
    assert len(findings(statements=statements)) == 2
    monkeypatch.setattr(gap_check, "MOST_GAPS", 1)
    (found,) = findings(statements=statements)
    assert (found.check, found.cells, found.verdict) == ("gap", (), "untestable")
    assert found.message == "2 claimed gaps are more than the 1 that are compared."
    assert found.evidence["gaps"] == 2


def test_an_answer_of_the_author_stands_beside_the_numbers() -> None:
    (found,) = findings(statements={"s": order(A, B)}, answers=answer("s"))
    assert found.evidence["answers"] == ["It is a slip. (mail, 2024)"]
    (found,) = findings(statements={"s": order(A, B)}, answers=answer(C))
    assert found.evidence["answers"] == []


def test_no_statement_no_finding() -> None:
    made: list[Case] = [case(table("main", CELLS))]
    assert list(check(made)) == []


def test_what_a_finding_says() -> None:
    statements = {"one": order(A, B), "two": order(A, C), "three": order(A5, B5)}
    inferred = {A: (200,), C: (200, 40)}
    always, depends, never = findings(statements=statements, inferred=inferred)
    end = "One run a cell is assumed: this is about two checkpoints, not about two methods."
    on = "on 1,000 images (the test set of shapes)"
    assert always.message == (
        f"80.0 against 70.0 is significant {on}, whichever images the two share (exact McNemar p "
        f"1.6e-30 to 8.9e-06 before Holm's correction over 3 claimed gaps). {end}"
    )
    assert never.message == (
        f"95.0 against 94.7 is not significant {on}, whichever images the two share (exact McNemar "
        f"p 0.25 to 0.84 before Holm's correction over 3 claimed gaps). {end}"
    )
    assert depends.message == (
        f"80.0 against 78.5 needs per-image outcomes: {on} print leaves both open (exact McNemar p "
        "6.1e-05 to 0.49 before Holm's correction over 3 claimed gaps). Alone it is significant up "
        "to 51 discordant images; errors that are independent would make 329 discordant (p 0.44; "
        "two separate test sets: p 0.41). With 200 images (inferred from the printed numbers): not "
        f"significant, p 0.25 to 0.83. {end}"
    )
    assert {f.check for f in (always, depends, never)} == {"gap"}
    assert set(always.evidence) >= {"statement", "statements", "answers", "also", "no_share_of"}


def test_tiny_and_equal_p_values_are_said_shortly() -> None:
    rows = {"ours": {"shapes.top1": "99.9"}, "theirs": {"shapes.top1": "0.1"}}
    (found,) = findings(cells=rows, statements={"s": order(A, B)})
    assert "(exact McNemar p below 1e-99)" in found.message
