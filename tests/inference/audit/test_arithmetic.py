"""What the text prints about its tables, right and wrong in every way that is searched for."""

from fractions import Fraction as F
from typing import Any

import pytest

from reclaim.inference.audit.arithmetic import check
from reclaim.records import Finding
from tests.inference.audit.papers import case, table

pytestmark = pytest.mark.arithmetic

MAIN = table(
    "main",
    {
        "simclr": {"cifar10.top1": "75", "cifar10.top5": "82.25"},
        "dcl": {"cifar10.top1": "77.16", "cifar10.top5": "86.92"},
        "hcl": {"cifar10.top1": "79.03", "cifar10.top5": "87.71"},
        "sscl": {"cifar10.top1": "82.81", "cifar10.top5": "88.61"},
    },
)
PARTS = table(
    "parts",
    {
        "simclr": {"cifar10.top1": "75", "cifar10.top5": "85.42"},
        "sscl": {"cifar10.top1": "82.81", "cifar10.top5": "88.61"},
    },
)
TOP1 = ("main[cifar10.top1,sscl]", "main[cifar10.top1,simclr]")
TOP5 = ("main[cifar10.top5,sscl]", "main[cifar10.top5,simclr]")


def gap(printed: str, unit: str, cells: tuple[str, str] = TOP5, **more: Any) -> dict[str, Any]:
    return {
        "kind": "difference",
        "minuend": cells[0],
        "subtrahend": cells[1],
        "printed": printed,
        "unit": unit,
        **more,
    }


def only(statement: dict[str, Any], *tables: Any, **about: Any) -> Finding:
    (found,) = check([case(*(tables or (MAIN, PARTS)), statements={"s": statement}, **about)])
    assert found.check == "arithmetic"
    assert found.evidence["statement"] == "s"
    return found


@pytest.mark.parametrize(
    ("printed", "unit", "kinds"),
    [
        ("6.36", "points", None),
        ("6.4", "points", None),
        ("6.35", "points", None),  # the cells are rounded too
        ("6.37", "points", None),
        ("7.73", "relative_percent", None),
        ("8", "relative_percent", None),
        ("6.36", "percent", ["points"]),
        ("7.73", "percent", ["relative"]),
    ],
)
def test_a_right_gap_is_consistent(printed: str, unit: str, kinds: list[str] | None) -> None:
    found = only(gap(printed, unit))
    assert found.verdict == "consistent"
    assert found.cells == TOP5
    assert found.evidence["rounding"] == "nearest"
    assert found.evidence.get("kinds") == kinds
    assert "reading" not in found.evidence


@pytest.mark.parametrize("printed", ["6.34", "6.38"])
def test_a_gap_that_needs_a_cut_number_is_no_contradiction(printed: str) -> None:
    found = only(gap(printed, "points"))
    assert found.verdict == "consistent"
    assert found.evidence["rounding"] == "any"


@pytest.mark.parametrize("printed", ["6.33", "6.39"])
def test_beyond_every_rounding_lies_a_contradiction(printed: str) -> None:
    assert only(gap(printed, "points")).verdict == "contradiction"


def test_what_is_recomputed_is_exact() -> None:
    found = only(gap("6.36", "points"))
    assert found.evidence["recomputed"] == {"points": 6.36, "points_exact": "159/25"}
    found = only(gap("7.5", "relative_percent"))
    low, high = F(88605, 1000) / F(82255, 1000), F(88615, 1000) / F(82245, 1000)
    middle = 100 * ((low + high) / 2 - 1)
    assert F(found.evidence["recomputed"]["relative_exact"]) == middle


@pytest.mark.parametrize(
    ("printed", "unit", "cells", "reading"),
    [
        ("6.36", "relative_percent", TOP5, f"points ({TOP5[0]} against {TOP5[1]})"),
        ("7.73", "points", TOP5, f"relative ({TOP5[0]} against {TOP5[1]})"),
        (
            "9.43",
            "relative_percent",
            TOP1,
            f"relative to the greater ({TOP1[0]} against {TOP1[1]})",
        ),
        ("31.24", "relative_percent", TOP1, f"share of the errors ({TOP1[0]} against {TOP1[1]})"),
        ("-7.81", "points", TOP1, f"points ({TOP1[1]} against {TOP1[0]}, the other way round)"),
        (
            "3.19",
            "points",
            TOP5,
            "points (main[cifar10.top5,sscl] against parts[cifar10.top5,simclr], another print)",
        ),
        (
            "3.78",
            "points",
            TOP1,
            "points (main[cifar10.top1,sscl] against main[cifar10.top1,hcl], other baseline)",
        ),
        (
            "4.03",
            "points",
            TOP1,
            "points (main[cifar10.top1,hcl] against main[cifar10.top1,simclr], other row)",
        ),
        (
            "6.36",
            "points",
            TOP1,
            "points (main[cifar10.top5,sscl] against main[cifar10.top5,simclr], other metric)",
        ),
        ("8.71", "points", TOP1, "two digits of the text swapped"),
    ],
)
def test_a_wrong_gap_is_traced_to_its_slip(
    printed: str, unit: str, cells: tuple[str, str], reading: str
) -> None:
    found = only(gap(printed, unit, cells))
    assert found.verdict == "contradiction"
    assert found.evidence["reading"] == reading
    assert found.evidence["fits"] == [reading]
    assert found.evidence["tried"] >= 1
    assert 0 < F(found.evidence["chance_exact"]) < F(5, 100)
    assert reading in found.message


def test_digits_swapped_in_a_cell_are_found() -> None:
    wrong = table("main", {"a": {"cifar10.top1": "81.73"}, "b": {"cifar10.top1": "52.64"}})
    cells = ("main[cifar10.top1,a]", "main[cifar10.top1,b]")
    found = only(gap("29.27", "points", cells), wrong)
    assert found.evidence["reading"] == f"points with {cells[1]} as 52.46 (two digits swapped)"
    found = only(gap("34.50", "points", cells), wrong)
    assert found.evidence["reading"] == f"points with {cells[0]} as 87.13 (two digits swapped)"
    assert only(gap("31.31", "points", cells), wrong).evidence["fits"] == []


def test_two_slips_are_the_last_resort() -> None:
    found = only(gap("4.78", "points", TOP1))
    assert found.evidence["fits"] == [
        "relative (main[cifar10.top1,sscl] against main[cifar10.top1,hcl], other baseline)"
    ]
    one = only(gap("7.73", "points", TOP5)).evidence
    assert found.evidence["tried"] > one["tried"] == 3


def test_where_much_would_fit_no_reading_is_named() -> None:
    wide = table(
        "main",
        {f"r{i}": {"cifar10.top1": f"{60 + i}.0"} for i in range(20)},
    )
    cells = ("main[cifar10.top1,r19]", "main[cifar10.top1,r0]")
    found = only(gap("3.0", "points", cells), wide)
    assert found.verdict == "contradiction"
    assert found.evidence["reading"] is None
    assert found.evidence["fits"]
    assert "No unique reading" in found.message


def test_a_number_said_again_may_be_shorter_but_not_other() -> None:
    cell = "main[cifar10.top5,sscl]"
    for printed, verdict in (("88.61", "consistent"), ("88.6", "consistent"), ("89", "consistent"),
                             ("88.62", "consistent"), ("88.63", "contradiction"),
                             ("88.16", "contradiction")):  # fmt: skip
        found = only({"kind": "value", "cell": cell, "printed": printed})
        assert found.verdict == verdict
    assert found.evidence["reading"] == "two digits of the text swapped"
    found = only({"kind": "value", "cell": cell, "printed": "87.71"})
    assert found.evidence["reading"] == "main[cifar10.top5,hcl] (other row)"
    found = only({"kind": "value", "cell": cell, "printed": "82.81"})
    assert found.evidence["reading"] == "main[cifar10.top1,sscl] (other metric)"
    found = only({"kind": "value", "cell": "main[cifar10.top5,simclr]", "printed": "85.42"})
    assert found.evidence["reading"] == "parts[cifar10.top5,simclr] (another print)"


def test_a_dropped_zero_is_style() -> None:
    found = only({"kind": "value", "cell": "main[cifar10.top1,simclr]", "printed": "75.4"})
    assert found.verdict == "contradiction"  # 75 stands for 75.00 beside 82.25 and above 77.16


def test_a_row_with_fewer_digits_hides_more_than_zeros() -> None:
    made = table(
        "main",
        {
            "old": {"cifar10.top1": "72", "cifar10.top5": "91"},
            "new": {"cifar10.top1": "77.94", "cifar10.top5": "95.50"},
        },
    )
    pair = ("main[cifar10.top1,new]", "main[cifar10.top1,old]")
    for printed, verdict in (
        ("5.94", "consistent"),
        ("6.31", "consistent"),
        ("7.2", "contradiction"),
    ):
        assert only(gap(printed, "points", pair), made).verdict == verdict


def test_sums_and_their_slips() -> None:
    terms = [f"main[cifar10.top1,{row}]" for row in ("simclr", "dcl", "hcl")]
    total = F("75") + F("77.16") + F("79.03")
    assert total == F("231.19")
    assert only({"kind": "sum", "terms": terms, "printed": "231.19"}).verdict == "consistent"
    assert only({"kind": "sum", "terms": terms, "printed": "231.2"}).verdict == "consistent"
    mean = only({"kind": "sum", "terms": terms, "printed": "77.06"})
    assert (mean.verdict, mean.evidence["reading"]) == ("contradiction", "the mean")
    two = only({"kind": "sum", "terms": terms, "printed": "154.03"})
    assert two.evidence["reading"] == f"the sum without {terms[1]}"


def test_a_right_number_in_full() -> None:
    found = only(gap("6.36", "points", word="gain"))
    assert found.message == "88.61 − 82.25 is 6.36 points, 7.73 % relative: 6.36 is right"
    evidence = {key: found.evidence[key] for key in ("printed", "unit", "word", "values")}
    assert evidence == {
        "printed": "6.36", "unit": "points", "word": "gain", "values": ["88.61", "82.25"],
    }  # fmt: skip
    percent = "88.61 − 82.25 is 6 points, 8 % relative: 6 is right, as points; "
    assert only(gap("6", "percent")).message == f"{percent}the text does not say which"
    cell = {"kind": "value", "cell": TOP1[0], "printed": "82.81"}
    assert only(cell).message == f"{TOP1[0]} prints 82.81: 82.81 is right"
    assert only(cell).evidence["unit"] is None


@pytest.mark.parametrize(
    ("unit", "words"), [("points", " points"), ("relative_percent", " % as relative"),
                        ("percent", " %")],
)  # fmt: skip
def test_a_wrong_number_in_full(unit: str, words: str) -> None:
    found = only(gap("55.55", unit))
    tried, chance = found.evidence["tried"], float(found.evidence["chance"])
    assert found.message == (
        f"88.61 − 82.25 is 6.36 points, 7.73 % relative; the text prints 55.55{words}. No reading "
        f"makes it true ({tried} readings tried, chance of a fit {chance:.1%})"
    )


def test_a_wrong_sum_in_full() -> None:
    terms = [f"main[cifar10.top1,{row}]" for row in ("simclr", "dcl", "hcl")]
    found = only({"kind": "sum", "terms": terms, "printed": "77.06"})
    tried, chance = found.evidence["tried"], float(found.evidence["chance"])
    assert found.message == (
        "75 + 77.16 + 79.03 is 231.19; the text prints 77.06. It is right as the mean "
        f"({tried} readings tried, chance of a fit {chance:.1%})"
    )


def test_a_sum_of_fractions_is_read_both_ways() -> None:
    columns = {"acc": {"dataset": "cifar10", "metric": "top1", "unit": "fraction"}}
    made = table("main", {"a": {"acc": "0.750"}, "b": {"acc": "0.828"}}, columns=columns)
    said = {"kind": "sum", "terms": ["main[acc,a]", "main[acc,b]"]}
    for printed in ("157.8", "1.578"):
        assert only({**said, "printed": printed}, made).verdict == "consistent"
    for printed in ("1.575", "1.581", "157.4", "158.2"):
        assert only({**said, "printed": printed}, made).verdict == "contradiction"
    found = only({**said, "printed": "1.578"}, made).evidence["recomputed"]
    assert (F(found["fraction_exact"]), F(found["_exact"])) == (F("1.578"), F("157.8"))


def test_fractions_are_read_as_per_cents_and_as_fractions() -> None:
    columns = {"acc": {"dataset": "cifar10", "metric": "top1", "unit": "fraction"}}
    made = table("main", {"a": {"acc": "0.750"}, "b": {"acc": "0.828"}}, columns=columns)
    pair = ("main[acc,b]", "main[acc,a]")
    assert only(gap("7.8", "points", pair), made).verdict == "consistent"
    assert only(gap("10.4", "relative_percent", pair), made).verdict == "consistent"
    for printed in ("0.828", "82.8"):
        said = {"kind": "value", "cell": "main[acc,b]", "printed": printed}
        assert only(said, made).verdict == "consistent"


def test_nothing_is_relative_to_zero() -> None:
    made = table("main", {"a": {"cifar10.top1": "0.00"}, "b": {"cifar10.top1": "5.00"}})
    pair = ("main[cifar10.top1,b]", "main[cifar10.top1,a]")
    assert only(gap("5.00", "percent", pair), made).evidence["kinds"] == ["points"]
    found = only(gap("100", "relative_percent", pair), made)
    assert found.verdict == "untestable"


def test_an_author_s_answer_stands_in_the_finding() -> None:
    answers = {"a": {"about": ["s"], "date": "2024-05-01", "text": "a slip", "source": "mail"}}
    found = only(gap("6.36", "relative_percent"), MAIN, PARTS, answers=answers)
    assert found.evidence["answers"] == ["a slip (mail, 2024-05-01)"]


# --- one word for two kinds ----------------------------------------------------------------------


def mixed(*statements: dict[str, Any]) -> list[Finding]:
    named = {f"s{i}": said for i, said in enumerate(statements)}
    return [f for f in check([case(MAIN, PARTS, statements=named)]) if "statements" in f.evidence]


def test_a_word_that_covers_two_kinds_of_number_is_reported() -> None:
    (found,) = mixed(
        gap("7.81", "percent", TOP1, word="Improvements", group="g"),
        gap("10.41", "percent", TOP1, word="improvements", group="g"),
    )
    assert found.verdict == "unsupported"
    assert found.evidence["kinds"] == {"s0": ["points"], "s1": ["relative"]}
    assert found.cells == TOP1
    assert "7.81 (points), 10.41 (relative)" in found.message


def test_other_words_other_breaths_and_one_kind_are_not() -> None:
    points, ratio = gap("7.81", "percent", TOP1), gap("10.41", "percent", TOP1)
    assert mixed({**points, "word": "gain"}, {**ratio, "word": "relative gain"}) == []
    assert (
        mixed({**points, "word": "gain", "group": "a"}, {**ratio, "word": "gain", "group": "b"})
        == []
    )
    assert mixed(points, ratio) == []
    assert mixed({**points, "word": "gain"}, {**gap("6.36", "percent"), "word": "gain"}) == []
    assert len(mixed({**points, "word": "gain"}, {**ratio, "word": "gain"})) == 1


def test_a_wrong_label_counts_as_the_kind_it_is() -> None:
    (found,) = mixed(
        gap("6.36", "relative_percent", word="relative gain", group="g"),
        gap("7.73", "relative_percent", word="relative gain", group="g"),
    )
    assert found.evidence["kinds"] == {"s0": ["points"], "s1": ["relative"]}
