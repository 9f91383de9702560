"""Verdicts at `paper` scale, through the real judge, on measurements that are drawn."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reclaim.inference.replication.planning import seeds_for_order
from reclaim.inference.verdicts import judge
from reclaim.inference.verdicts.evidence import Evidence
from reclaim.inference.verdicts.orders import at_least, conjunction
from reclaim.inference.verdicts.scale import judged_by
from reclaim.inference.verdicts.values import Draft, Family, Size
from reclaim.inference.verdicts.wanted import seeds_wanted
from reclaim.records import LinearProtocol, RankingVerdict, StandIn, Verdict
from reclaim.registry.claims import Paper, ProtocolValue
from reclaim.registry.claims.files import OtherReading, When
from reclaim.report.details import details
from tests.inference.made_paper import (
    TRUE,
    drawn,
    frame_of,
    judged,
    papers,
    plan_of,
    printing,
)

OPEN = "compatible, imprecise"
ALPHA = 0.05


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Paper]:
    return papers(tmp_path_factory.mktemp("claims"))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Paper]:
    """The same paper, whose temperature can be read in three ways."""
    return papers(tmp_path_factory.mktemp("read"), readings=True)


def cell(recipe: str) -> str:
    return f"main[top1,{recipe}]"


def seeds(number: int = 0, k: int = 10, sd: float = 0.2, **means: float) -> dict[str, list[float]]:
    return drawn(np.random.default_rng(number), TRUE | means, k, sd)


def alone(paper: dict[str, Paper], *statements: str) -> dict[str, Paper]:
    """The same paper with its first table alone, and some statements: quicker to judge."""
    one = paper["made"]
    said = {name: one.statements[name] for name in statements}
    tables = {"main": one.tables["main"]}
    return {"made": one.model_copy(update={"tables": tables, "statements": said})}


FEW = ("simclr", "hcl", "sscl", "dcl")


# --- the ladder ----------------------------------------------------------------------------------


def test_the_margin_is_half_the_smallest_interpreted_gap_exactly(paper: dict[str, Paper]) -> None:
    found = judged(paper, seeds())
    margin = found[cell("hcl")].margin
    assert margin is not None
    assert Fraction(margin.exact) == (Fraction("82.50") - Fraction("80.00")) / 2
    assert margin.cells == (cell("hcl"), cell("simclr"))
    spread = found["spread[top1,dcl]"].margin
    assert spread is not None
    assert Fraction(spread.exact) == Fraction("10.7") / 2  # fractions are printed there
    assert found["knob[top1,a]"].margin is None
    equal = printing(paper, "main", {"hcl": "80.00"})
    assert judged(equal, seeds())[cell("hcl")].margin is None  # a gap of nothing interprets none


def test_every_rung_of_the_ladder_is_reached(paper: dict[str, Paper]) -> None:
    found = judged(paper, seeds(sd=0.05))
    assert found[cell("hcl")].verdict == "reproduced"
    assert found[cell("hcl")].notes == ()
    near = judged(paper, seeds(sd=0.05, hcl=82.9))[cell("hcl")]
    assert (near.verdict, near.notes) == ("reproduced", ("also detectably different",))
    noisy = judged(paper, seeds(sd=2.0))[cell("hcl")]
    assert noisy.verdict == OPEN
    far = judged(paper, seeds(sd=0.05, hcl=80.4))[cell("hcl")]
    assert far.verdict == far.size == "not reproduced"
    assert far.order is None
    exact = judged(paper, seeds(sd=0.05))["knob[top1,a]"]
    assert (exact.verdict, exact.tost_p, exact.margin) == (OPEN, None, None)  # no margin: no more


@pytest.mark.parametrize(
    ("scale", "values", "why"),
    [
        ("paper", {"hcl": [82.5]}, "one seed"),
        ("paper", {"hcl": [82.5, 82.5]}, "no seed variation"),
        ("paper", {"dcl": [80.9, 81.0]}, "not run: no run of this plan serves it"),
        ("digits", {"hcl": [82.5, 82.6]}, "transfer scale"),
        ("rehearsal", {"hcl": [82.5, 82.6]}, "rehearsal"),
    ],
)
def test_why_a_claim_is_untestable(
    paper: dict[str, Paper], scale: str, values: dict[str, list[float]], why: str
) -> None:
    assert judged(paper, values, scale)[cell("hcl")].verdict == f"untestable: {why}"


def test_what_has_no_protocol_is_untestable(paper: dict[str, Paper]) -> None:
    novel = judged(paper, seeds())["spread[top1,novel]"]
    assert novel.verdict == "untestable: no protocol: nothing says how novel is run"
    plan, frame = plan_of(paper, seeds()), frame_of(seeds(1))
    knn = tuple(run.model_copy(update={"protocols": ("knn-1",)}) for run in plan.runs)
    made = judge(
        "paper", paper, plan.model_copy(update={"runs": knn}), frame.assign(protocol="knn")
    )
    assert made.verdicts[0].verdict == (
        "untestable: no protocol: its run is not measured by linear"
    )


def test_a_printed_number_by_its_prediction_interval(paper: dict[str, Paper]) -> None:
    values = seeds(3)
    found = judged(paper, values)[cell("dcl")]
    mean, sd, k = np.mean(values["dcl"]), np.std(values["dcl"], ddof=1), 10
    error = sd * sqrt(1 + 1 / k)
    half = stats.t.ppf(0.975, k - 1) * error
    assert found.prediction is not None
    assert [found.prediction.low, found.prediction.high] == pytest.approx(
        [mean - half, mean + half]
    )
    ends = np.array([80.895, 80.905])  # all that prints as 80.90
    nearest = 0 if ends[0] <= mean <= ends[1] else min(abs(mean - ends))
    assert found.p == pytest.approx(2 * stats.t.sf(nearest / error, k - 1))
    farthest = max(abs(mean - ends))
    assert found.tost_p == pytest.approx(stats.t.cdf((farthest - 1.25) / error, k - 1))


def test_a_printed_spread_is_used_with_its_runs(paper: dict[str, Paper]) -> None:
    values = seeds(4, byol=70.9)
    found = judged(paper, values)["spread[top1,byol]"]
    ours, k = np.std(values["byol"], ddof=1), 10
    assert found.p is not None
    worst = max(  # over all that prints as .702 with an SD of .003
        stats.ttest_ind_from_stats(
            np.mean(values["byol"]), ours, k, y, sd, 5, equal_var=False
        ).pvalue
        for y in (70.15, 70.25)
        for sd in (0.25, 0.35)
    )
    assert found.p == pytest.approx(worst, rel=0.02)  # the fewest degrees of freedom besides
    assert found.p >= worst


# --- families ------------------------------------------------------------------------------------


def holm_by_hand(p: dict[str, float]) -> dict[str, float]:
    """Adjusted p-values, one hypothesis at a time."""
    left, greatest, adjusted = dict(p), 0.0, {}
    while left:
        name = min(left, key=lambda key: left[key])
        greatest = max(greatest, min(1.0, left[name] * len(left)))
        adjusted[name] = greatest
        del left[name]
    return adjusted


def test_a_papers_differences_and_equivalences_are_a_family_each(paper: dict[str, Paper]) -> None:
    values = seeds(5, sd=0.5, hcl=81.0)
    found = judged(paper, values)
    sizes = {name: v.p for name, v in found.items() if v.p is not None and name != "again"}
    orders = {f"{name} order": v.order_p for name, v in found.items() if v.order_p is not None}
    # Two differences over the same two recipes are one order, and one cell said again is one test.
    for twice in ("either order",):
        del orders[twice]
    # Of the neighbours in two rankings those that no claim orders are tests besides.
    knob = [f"simclr_enlarge-0.{i}" for i in (3, 4, 2, 1)]
    neighbours = {
        pair: float(stats.ttest_rel(*(values[name] for name in pair)).pvalue)
        for pair in (("sscl", "hcl"), ("hcl", "dcl"), *pairwise(knob))
    }
    adjusted = holm_by_hand({**sizes, **orders, **{str(k): p for k, p in neighbours.items()}})
    for name, p in sizes.items():
        assert found[name].p_adjusted == pytest.approx(adjusted[name])
        assert p is not None
    for name in orders:
        assert found[name.removesuffix(" order")].order_p_adjusted == pytest.approx(adjusted[name])
    assert found["again"].p_adjusted == found[cell("hcl")].p_adjusted
    assert found["either"].order_p_adjusted == found["relative"].order_p_adjusted
    tost = {n: v.tost_p for n, v in found.items() if v.tost_p is not None and n != "again"}
    by_hand = holm_by_hand(tost)
    assert {name: found[name].tost_p_adjusted for name in tost} == pytest.approx(by_hand)
    assert len(by_hand) < len(adjusted)


def test_the_registrys_overview_is_of_all_papers_and_decides_nothing(
    paper: dict[str, Paper],
) -> None:
    """Two papers that print the same: their families stay their own, the overview has both."""
    one = paper["made"]
    twin = one.model_copy(update={"id": "twin"})
    values = seeds(6, sd=0.5, hcl=81.0)
    both = {"made": one, "twin": twin}
    verdicts = judge("paper", both, plan_of(both, values), frame_of(values)).verdicts
    alone = judged(paper, values)
    found = [v for v in verdicts if v.p is not None or v.order_p is not None]
    p = [x for v in found for x in (v.p, v.order_p) if x is not None]
    overview = [x for v in found for x in (v.p_overview, v.order_p_overview) if x is not None]
    assert sorted(overview) == pytest.approx(sorted(stats.false_discovery_control(p)))
    for verdict in verdicts:
        name = verdict.claim.partition(":")[2]
        assert verdict.p_adjusted == alone[name].p_adjusted
        assert verdict.verdict == alone[name].verdict


def test_the_adjusted_p_decides(paper: dict[str, Paper]) -> None:
    """A difference that its own test sees and the family does not is open."""
    for number in range(200):
        found = judged(paper, seeds(number, sd=0.5, dcl=82.3))[cell("dcl")]
        assert found.p is not None
        assert found.p_adjusted is not None
        if found.p < ALPHA <= found.p_adjusted:
            assert found.verdict == OPEN
            return
    pytest.fail("no such draw")


def test_true_claims_are_seldom_charged_and_false_ones_found(paper: dict[str, Paper]) -> None:
    """Simulated: a paper of true claims is charged with anything in at most 5 % of cases."""
    rng, rounds, charged, found_out = np.random.default_rng(7), 60, 0, 0
    for _ in range(rounds):
        own = {recipe: f"{mean + rng.normal(0, 0.2):.2f}" for recipe, mean in TRUE.items()}
        true = printing(alone(paper), "main", own)
        values = drawn(rng, {name: TRUE[name] for name in FEW}, 5)
        found = judged(true, values).values()
        charged += any(verdict.verdict == "not reproduced" for verdict in found)
        false = printing(alone(paper), "main", {"dcl": f"{TRUE['dcl'] + 4:.2f}"})
        found_out += judged(false, values)[cell("dcl")].verdict == "not reproduced"
    assert charged <= stats.binom.ppf(0.999, rounds, ALPHA)
    assert found_out >= 0.9 * rounds


def test_a_difference_of_the_margin_is_seldom_called_reproduced(paper: dict[str, Paper]) -> None:
    rng, rounds, passed = np.random.default_rng(8), 60, 0
    for _ in range(rounds):
        off = f"{TRUE['hcl'] + 1.25 + rng.normal(0, 0.2):.2f}"  # the gaps of the margin stay wider
        made = printing(alone(paper), "main", {"hcl": off})
        verdict = judged(made, drawn(rng, {name: TRUE[name] for name in FEW}, 5))[cell("hcl")]
        assert verdict.margin is not None
        passed += verdict.verdict == "reproduced" and verdict.margin.points <= 1.25
    assert passed <= stats.binom.ppf(0.999, rounds, ALPHA)


# --- statements ----------------------------------------------------------------------------------


def test_order_and_size_of_a_difference_are_judged_apart(paper: dict[str, Paper]) -> None:
    values = seeds(9, sd=0.05)
    found = judged(paper, values)["gap"]
    test = stats.ttest_rel(values["hcl"], values["simclr"])
    assert found.order_p == pytest.approx(test.pvalue, rel=1e-6)
    assert (found.order, found.size, found.verdict) == ("reproduced",) * 3
    half = judged(paper, seeds(9, sd=0.05, hcl=81.0))["gap"]
    assert (half.order, half.size, half.verdict) == ("reproduced", "not reproduced") * 1 + (
        "not reproduced",
    )
    turned = judged(paper, seeds(9, sd=0.05, hcl=79.5))["gap"]
    assert turned.order == turned.verdict == "not reproduced"


def test_the_papers_arms_are_not_taken_to_share_seeds(paper: dict[str, Paper]) -> None:
    values = seeds(10, sd=0.3)
    found = judged(paper, values)["gap"]
    a, b, k = np.array(values["hcl"]), np.array(values["simclr"]), 10
    error = sqrt(a.var(ddof=1) + b.var(ddof=1) + (a - b).var(ddof=1) / k)
    assert found.prediction is not None
    middle = (a - b).mean()
    half = (found.prediction.high - found.prediction.low) / 2
    assert (found.prediction.high + found.prediction.low) / 2 == pytest.approx(middle)
    factors = [stats.t.ppf(0.975, df) for df in (2 * (k - 1), k - 1)]
    assert factors[0] * error <= half <= factors[1] * error


def test_a_negative_difference_is_shown_as_it_is_printed(paper: dict[str, Paper]) -> None:
    """The same claim said the other way round: order and size alike, all numbers mirrored."""
    one = alone(paper, "gap")["made"]
    said = one.statements["gap"].model_copy(
        update={"minuend": "main[top1,simclr]", "subtrahend": "main[top1,hcl]", "printed": "-2.5"}
    )
    other = {"made": one.model_copy(update={"statements": {"gap": said}})}
    for hcl in (82.5, 79.5):
        values = seeds(9, sd=0.05, hcl=hcl)
        found, turned = judged({"made": one}, values)["gap"], judged(other, values)["gap"]
        for field in ("verdict", "order", "size", "order_p", "order_p_adjusted"):
            assert getattr(turned, field) == getattr(found, field)
        assert turned.difference == pytest.approx(-(found.difference or 0))
        assert turned.prediction is not None and turned.interval is not None
        assert turned.prediction.low < (turned.difference or 0) < turned.prediction.high
        assert found.interval is not None and found.telescope is not None
        assert turned.interval.low == pytest.approx(-found.interval.high)
        assert turned.telescope is not None  # in the claimed direction either way
        assert turned.telescope.upper == pytest.approx(found.telescope.upper)
        assert judged(other, values, "digits")["gap"].transfer == (
            "holds" if hcl > 80 else "reversed"
        )


def test_a_relative_difference_is_judged_in_its_own_unit(paper: dict[str, Paper]) -> None:
    found = judged(paper, seeds(11, sd=0.05))["relative"]  # 0.9 of 80 is 1.125 %
    assert found.size == "reproduced"
    assert found.prediction is not None
    middle = (found.prediction.low + found.prediction.high) / 2
    assert middle == pytest.approx(100 * 0.9 / 80, abs=0.1)
    assert dict(details(found))["Expected, 95 %"].endswith("] % relative")
    assert found.difference == pytest.approx(0.9, abs=0.1)  # in points, as all but the printed
    assert judged(paper, seeds(11, sd=0.05, dcl=82.5))["relative"].size == "not reproduced"


def test_a_difference_relative_to_nothing_has_no_size(paper: dict[str, Paper]) -> None:
    values = seeds(11) | {"simclr": [0.0] * 10}
    found = judged(paper, values)
    assert (found["relative"].size, found["relative"].order) == (None, "reproduced")
    assert found["either"].readings[1].stands == "not measured"


def test_percent_is_read_both_ways_and_charged_for_neither_alone(paper: dict[str, Paper]) -> None:
    """0.9 % of 80 are 0.72 points: true in one way or the other, unless it is neither."""
    for dcl, best in ((80.9, "closest under in points"), (80.72, "closest under relative")):
        found = judged(paper, seeds(12, sd=0.02, dcl=dcl))["either"]
        assert found.size == "reproduced"
        assert found.notes[0] == best
        assert [r.reading for r in found.readings] == ["in points", "relative"]
        p = [reading.p for reading in found.readings]
        tost = [reading.tost_p for reading in found.readings]
        assert all(value is not None for value in (*p, *tost))
        assert found.p == max(value for value in p if value is not None)
        smallest = min(value for value in tost if value is not None)
        assert found.tost_p == pytest.approx(min(1, 2 * smallest))
    assert judged(paper, seeds(12, sd=0.02, dcl=83.5))["either"].size == "not reproduced"


@pytest.mark.parametrize(
    ("means", "words"),
    [
        ({}, ("reproduced", "reproduced", "reproduced", "not reproduced")),
        ({"dcl": 79.0}, ("not reproduced", "reproduced", "reproduced", "not reproduced")),
        ({"dcl": 79.0, "hcl": 79.0},
         ("not reproduced", "not reproduced", "reproduced", "not reproduced")),
        ({"dcl": 79.0, "hcl": 79.0, "sscl": 79.0},
         ("not reproduced", "not reproduced", "not reproduced", "reproduced")),
        ({"dcl": 80.0}, (OPEN, "reproduced", "reproduced", "not reproduced")),
    ],
)  # fmt: skip
def test_the_quantifier_says_how_many_must_hold(
    paper: dict[str, Paper], means: dict[str, float], words: tuple[str, ...]
) -> None:
    found = judged(paper, seeds(13, sd=0.1, **means))
    names = ("all_above", "most_above", "some_above", "none_above")
    assert tuple(found[name].verdict for name in names) == words


def test_partial_conjunctions_are_the_worst_of_all_intersections() -> None:
    """At least u of n are false: by Bonferroni in every set of n - u + 1 (Benjamini & Heller)."""
    rng = np.random.default_rng(14)
    for _ in range(50):
        p = list(rng.uniform(0, 1, rng.integers(1, 6)))
        for count in range(1, len(p) + 1):
            sets = combinations(p, len(p) - count + 1)
            by_sets = max(min(1.0, len(chosen) * min(chosen)) for chosen in sets)
            assert at_least(count, p) == pytest.approx(by_sets)
    assert conjunction([(0.01, 0.99), (0.03, 0.97)], "all") == (0.03, 1.0)


def test_a_quantified_statement_that_is_false_is_seldom_reproduced(paper: dict[str, Paper]) -> None:
    """Two of three differences are nil: "all" and "most" do not hold."""
    rng, rounds = np.random.default_rng(15), 60
    counts = {"all_above": 0, "most_above": 0}
    for _ in range(rounds):
        means = {"simclr": 80.0, "sscl": 84.0, "dcl": 80.0, "hcl": 80.0}
        found = judged(alone(paper, *counts), drawn(rng, means, 5))
        for name in counts:
            counts[name] += found[name].verdict == "reproduced"
    assert max(counts.values()) <= stats.binom.ppf(0.999, rounds, ALPHA)


def test_a_statement_holds_elsewhere_as_its_order_test_says(paper: dict[str, Paper]) -> None:
    """Of several nil differences one interval of 95 % leaves 0 out: not yet that "some" holds."""
    rng, single, quantified = np.random.default_rng(37), 0, 0
    one = alone(paper, "some_above", "none_above")
    for _ in range(60):
        values = drawn(rng, dict.fromkeys(FEW, 80.0), 5)
        found = judged(one, values, "digits")
        tests = [stats.ttest_rel(values[name], values["simclr"]) for name in FEW[1:]]
        holds = [test.statistic > 0 and test.pvalue < ALPHA for test in tests]
        p = min(1.0, 2 * 3 * min(t.pvalue / 2 if t.statistic > 0 else 1.0 for t in tests))
        assert (found["some_above"].transfer == "holds") == (p < ALPHA)
        assert (found["none_above"].transfer == "reversed") == (p < ALPHA)
        single, quantified = single + any(holds), quantified + (p < ALPHA)
    assert quantified < single


def test_an_optimum_is_judged_by_the_set_that_may_be_best(paper: dict[str, Paper]) -> None:
    for name in ("best_knob", "peak"):
        assert judged(paper, seeds(16, sd=0.1))[name].verdict == "reproduced"
        assert judged(paper, seeds(16, sd=6.0))[name].verdict == OPEN
        moved = {"simclr_enlarge-0.2": 85.0}
        assert (
            judged(paper, drawn(np.random.default_rng(16), TRUE | moved, 10, 0.1))[name].verdict
            == "not reproduced"
        )


def test_a_trend_is_judged_by_pages_test(paper: dict[str, Paper]) -> None:
    values = seeds(17, sd=0.5)
    found = judged(paper, values)
    curve = np.array([values[f"simclr_enlarge-0.{i}"] for i in (1, 2, 3)]).T
    exact = stats.page_trend_test(curve, method="exact")
    assert found["rises"].order_p == pytest.approx(min(1, 2 * exact.pvalue))
    assert (found["rises"].verdict, found["falls"].verdict) == ("reproduced", "not reproduced")


def test_next_to_nothing_is_within_the_margin(paper: dict[str, Paper]) -> None:
    assert judged(paper, seeds(18, sd=0.1))["little"].verdict == "reproduced"  # 0.9 of 1.25
    assert judged(paper, seeds(18, sd=0.1, dcl=83.0))["little"].verdict == "not reproduced"
    assert judged(paper, seeds(18, sd=0.1, dcl=81.25))["little"].verdict == OPEN


def test_what_was_not_measured_leaves_a_statement_open_for_a_reason(
    paper: dict[str, Paper],
) -> None:
    values = {name: v for name, v in seeds(19, sd=0.1).items() if name != "dcl"}
    found = judged(paper, values)
    assert found["all_above"].verdict == "untestable: not run: no run of this plan serves it"
    assert found["some_above"].verdict == "reproduced"  # whatever dcl were
    lost = judged(paper, values | {"hcl": [79.0 + x / 10 for x in range(10)]})
    assert lost["all_above"].verdict == "not reproduced"


def test_a_telescope_and_effect_sizes_stand_beside_a_difference(paper: dict[str, Paper]) -> None:
    found = judged(paper, seeds(20, sd=0.2, hcl=80.0))["gap"]
    assert found.telescope is not None
    assert found.telescope.too_small
    assert "too small to have been seen" in found.notes
    seen = judged(paper, seeds(20, sd=0.2))["gap"]
    assert seen.telescope is not None
    assert not seen.telescope.too_small
    assert seen.effect is not None
    assert seen.effect.chance > 0.9
    assert judged(paper, seeds(20))["all_above"].telescope is None


@pytest.mark.parametrize(
    ("scale", "words"),
    [("paper", (OPEN, "not reproduced", "reproduced")), ("digits", ("open", "reversed", "holds"))],
)
def test_a_ranking_is_as_its_worst_neighbours(
    paper: dict[str, Paper], scale: str, words: tuple[str, ...]
) -> None:
    """Printed sscl > hcl > dcl > simclr: one pair is not told apart, one is turned round."""
    values = seeds(29, sd=0.1, hcl=84.0, dcl=79.0)
    plan, frame = plan_of(paper, values, scale), frame_of(values, scale)
    found = next(
        ranking for ranking in judge(scale, paper, plan, frame).rankings
        if ranking.column == "main[top1]"
    )  # fmt: skip
    assert set(found.adjacent) == {
        (cell("sscl"), cell("hcl"), words[0]),
        (cell("hcl"), cell("dcl"), words[2]),
        (cell("dcl"), cell("simclr"), words[1]),
    }
    assert found.verdict == words[1]
    means = [np.mean(values[name]) for name in ("sscl", "hcl", "dcl", "simclr")]
    assert found.tau == pytest.approx(stats.kendalltau([4, 3, 2, 1], means).statistic)


def column(paper: dict[str, Paper], values: dict[str, list[float]], *added: str) -> RankingVerdict:
    """The ranking of the first table's column."""
    plan, frame = plan_of(paper, values), frame_of(values)
    made = judge("paper", paper, plan, frame, added=frozenset(added))
    return next(found for found in made.rankings if found.column == "main[top1]")


def test_a_rankings_neighbours_are_in_the_papers_family(paper: dict[str, Paper]) -> None:
    """Neighbours that a statement orders too are one test with it; the others are one more each."""
    values = seeds(30, sd=0.4, hcl=80.9, sscl=81.1)
    one = alone(paper, "gap", "relative")
    found = judged(one, values)
    tests = {name: v.p for name, v in found.items() if v.p is not None}
    tests |= {"gap order": found["gap"].order_p, "relative order": found["relative"].order_p}
    for pair in (("sscl", "hcl"), ("hcl", "dcl")):  # dcl above simclr is "relative"
        tests[str(pair)] = float(stats.ttest_rel(*(values[name] for name in pair)).pvalue)
    adjusted = holm_by_hand({name: p for name, p in tests.items() if p is not None})
    assert found["gap"].order_p_adjusted == pytest.approx(adjusted["gap order"])
    assert found["relative"].order_p_adjusted == pytest.approx(adjusted["relative order"])
    words = {pair[:2]: pair[2] for pair in column(one, values).adjacent}
    assert words[cell("dcl"), cell("simclr")] == found["relative"].order
    for pair in (("sscl", "hcl"), ("hcl", "dcl")):
        word = words[cell(pair[0]), cell(pair[1])]
        assert (word == OPEN) == (adjusted[str(pair)] >= ALPHA)


def test_a_ranking_of_added_seeds_holds_at_every_look(paper: dict[str, Paper]) -> None:
    """What five seeds tell apart by a paired t test, the sequence does not yet."""
    values = {name: seeds(34, k=5, sd=0.6)[name] for name in FEW}
    one, added = alone(paper), [f"{name}-s{seed}" for name in FEW for seed in (3, 4)]
    fixed, sequential = column(one, values), column(one, values, *added)
    assert sequential.separable < fixed.separable
    assert sequential.interval.low < fixed.interval.low
    assert sequential.tau == fixed.tau
    assert fixed.adjacent != sequential.adjacent
    assert {word for *_, word in sequential.adjacent} <= {OPEN, "reproduced"}


# --- readings ------------------------------------------------------------------------------------


def without(values: dict[str, list[float]], name: str) -> dict[str, list[float]]:
    """Values of all configs but one."""
    return {config: numbers for config, numbers in values.items() if config != name}


def swept(number: int, **means: float) -> dict[str, list[float]]:
    """With the two other temperatures of hcl and sscl: `hcl_1` is that of hcl at 0.1."""
    rng = np.random.default_rng(number)
    other = {f"{r}@temperature=0.{i}": means.pop(f"{r}_{i}", TRUE[r])
             for r in ("hcl", "sscl") for i in (1, 2)}  # fmt: skip
    return drawn(rng, {**TRUE, **means, **other}, 10, 0.1)


def test_a_claim_is_charged_only_with_what_fails_under_all_readings(
    read: dict[str, Paper],
) -> None:
    one = judged(read, swept(21, hcl=79.0, hcl_1=79.0, hcl_2=82.5))[cell("hcl")]
    assert one.verdict == "reproduced"
    assert one.notes[0] == "closest under temperature=0.2"
    assert [(r.reading, r.stands) for r in one.readings] == [
        ("as planned", "not reproduced"),
        ("temperature=0.1", "not reproduced"),
        ("temperature=0.2", "reproduced"),
    ]
    tost = [reading.tost_p for reading in one.readings if reading.tost_p is not None]
    assert one.tost_p == pytest.approx(3 * min(tost))
    assert one.mean == pytest.approx(79.0, abs=0.2)  # the plan's own numbers are shown
    every = judged(read, swept(21, hcl=79.0, hcl_1=79.0, hcl_2=78.0))[cell("hcl")]
    assert every.verdict == "not reproduced"
    assert every.p == max(reading.p for reading in every.readings if reading.p is not None)
    assert judged(read, swept(21))[cell("dcl")].readings == ()  # another temperature is not read


def test_a_reading_that_was_not_measured_keeps_a_paper_from_being_charged(
    read: dict[str, Paper],
) -> None:
    values = swept(22, hcl=79.0, hcl_1=79.0, hcl_2=79.0)
    gone = values | {"hcl@temperature=0.2": [float("nan")] * 10}
    for absent in (gone, without(values, "hcl@temperature=0.2")):  # planned, or in no sweep
        found = judged(read, absent)[cell("hcl")]
        assert (found.verdict, found.p) == ("untestable: not run under temperature=0.2", None)
        assert [reading.stands for reading in found.readings][-1] == "not measured"
        assert "not measured under temperature=0.2" in found.notes
        statement = judged(read, absent)["gap"]
        assert statement.order == OPEN
        assert statement.verdict.startswith("untestable: not run under temperature=0.2")
    assert judged(read, values)[cell("hcl")].verdict == "not reproduced"
    none = judged(read, {name: v for name, v in values.items() if "@" not in name})
    assert not [name for name, v in none.items() if "hcl" in name and v.verdict == "not reproduced"]
    assert none[cell("hcl")].verdict == "untestable: not run under temperature=0.1, temperature=0.2"


def test_what_fails_under_all_that_was_measured_wants_the_sweeps_of_the_other_readings(
    read: dict[str, Paper],
) -> None:
    values, name = swept(22, hcl=79.0, hcl_1=79.0, hcl_2=79.0), "hcl@temperature=0.2"
    planned = values | {name: [float("nan")] * 10}
    for absent, wish in ((planned, 10), (without(values, name), "none: not measured under")):
        plan, frame = plan_of(read, absent), frame_of(absent)
        evidence = Evidence.of("paper", read, plan, frame, Path("measurements.csv"))
        wanted = seeds_wanted(judge("paper", read, plan, frame), evidence)
        for claim in (cell("hcl"), "gap"):
            found = wanted.claims[f"made:{claim}"]
            assert found == wish or str(found).startswith(str(wish))
        assert wanted.readings == ({name: 10} if wish == 10 else {})


def test_measuring_the_readings_of_what_fails_alone_charges_no_more_than_measuring_all(
    read: dict[str, Paper],
) -> None:
    """First the plan, then the readings of what fails there: the family stays the paper's."""
    every = swept(24, hcl=81.9, hcl_1=81.9, hcl_2=81.9)
    two_steps = {name: v for name, v in every.items() if not name.startswith("sscl@")}
    full, some = judged(read, every)[cell("hcl")], judged(read, two_steps)[cell("hcl")]
    assert full.p == some.p
    assert full.p_adjusted is not None and some.p_adjusted is not None and full.p is not None
    assert some.p_adjusted >= full.p_adjusted > full.p
    absent, complete = judged(read, two_steps)[cell("sscl")], judged(read, every)[cell("sscl")]
    assert (absent.p, absent.p_adjusted) == (None, None)
    planned = absent.readings[0].tost_p
    assert planned is not None and absent.tost_p == pytest.approx(3 * planned)  # all its chances
    assert complete.tost_p is not None and complete.tost_p <= absent.tost_p


def test_a_reading_of_how_it_is_measured_is_taken_from_measurements_of_its_own(
    paper: dict[str, Paper],
) -> None:
    """The planned runs measured another way: as a reading of a setting, in no run of its own."""
    one, name = paper["made"], "evaluate.linear.encoder=last"
    other = OtherReading(value="last", source="inferred", locator="there")
    value = ProtocolValue(
        path="evaluate.linear.encoder", value="lowest_loss", source="released-code",
        locator="here", when=When(recipes=("hcl",)), readings=(other,),
    )  # fmt: skip
    two_ways = {"made": one.model_copy(update={"protocol": (*one.protocol, value)})}
    values = seeds(23, hcl=79.0, sd=0.1)
    linear = LinearProtocol(epochs=1, batch=64, lr=0.5, test_views=())
    plan = plan_of(two_ways, values).model_copy(update={
        "protocols": {"linear": linear, "linear-1": linear.model_copy(update={"encoder": "last"})},
        "readings": {"hcl": {name: StandIn(config="hcl", protocols=("linear-1",))}},
    })  # fmt: skip
    frame = frame_of(values)
    own = frame[frame["recipe"] == "hcl"].assign(protocol="linear-encoder-last")

    def judged_with(points: float) -> Verdict:
        rows = own.assign(value=own["value"] + points / 100)
        made = judge("paper", two_ways, plan, pd.concat([frame, rows], ignore_index=True))
        return next(v for v in made.verdicts if v.claim == f"made:{cell('hcl')}")

    assert [(r.reading, r.stands) for r in judged_with(3.5).readings] == [
        ("as planned", "not reproduced"), (name, "reproduced")
    ]  # fmt: skip
    assert judged_with(3.5).verdict == "reproduced"
    assert judged_with(0.0).verdict == "not reproduced"
    made = judge("paper", two_ways, plan, frame)
    [verdict] = [v for v in made.verdicts if v.claim == f"made:{cell('hcl')}"]
    assert verdict.verdict == f"untestable: not run under {name}"
    evidence = Evidence.of("paper", two_ways, plan, frame, Path("measurements.csv"))
    wish = seeds_wanted(made, evidence)
    said = wish.claims[f"made:{cell('hcl')}"]
    assert said == "none: planned, but not evaluated under every reading"
    assert wish.readings == {}
    [dcl] = [v for v in made.verdicts if v.claim == f"made:{cell('dcl')}"]
    assert dcl.readings == ()


def planned_alone(number: int, **means: float) -> dict[str, list[float]]:
    """The planned temperatures alone; the two others are in no sweep."""
    return {name: v for name, v in swept(number, **means).items() if "@" not in name}


UNREAD = "untestable: not run under temperature=0.1, temperature=0.2"


def test_a_statement_of_several_cells_names_the_readings_that_lack_some(
    read: dict[str, Paper],
) -> None:
    """HCL is turned round as planned; of its other temperatures and SSCL's nothing is known."""
    found = judged(read, planned_alone(22, hcl=79.0))
    assert found["all_above"].verdict == found["gap"].verdict == UNREAD
    assert [(r.stands, r.value) for r in found["all_above"].readings] == [
        ("not reproduced", None), ("not measured", None), ("not measured", None),
    ]  # fmt: skip
    assert found["some_above"].verdict == "reproduced"  # dcl, which has one temperature
    dcl = judged(read, planned_alone(22, dcl=79.0))
    assert dcl["all_above"].verdict == "not reproduced"  # under any temperature of the others


def test_a_rankings_neighbours_name_the_readings_that_were_not_run(
    read: dict[str, Paper],
) -> None:
    found = column(read, planned_alone(22, hcl=79.0))
    words = {pair[:2]: pair[2] for pair in found.adjacent}
    assert words[cell("hcl"), cell("dcl")] == found.verdict == UNREAD
    assert words[cell("sscl"), cell("hcl")] == "reproduced"
    every = swept(22, hcl=79.0, hcl_1=79.0, hcl_2=79.0)
    assert column(read, every).verdict == "not reproduced"
    half = every | {"hcl@temperature=0.2": [float("nan")] * 10}
    plan, frame = plan_of(read, half), frame_of(half)
    evidence = Evidence.of("paper", read, plan, frame, Path("measurements.csv"))
    made = judge("paper", read, plan, frame)
    asked = made.model_copy(update={"verdicts": tuple(
        verdict.model_copy(update={"verdict": "reproduced"}) for verdict in made.verdicts
    )})  # fmt: skip
    wish = seeds_wanted(asked, evidence)  # where its neighbours alone fail
    assert wish.claims == {f"made:{found.column}": 10}
    assert wish.readings == {"hcl@temperature=0.2": 10}
    noisy = column(read, seeds(28, sd=2.0, hcl=82.0))
    assert noisy.verdict == OPEN  # nothing fails as it was measured


def test_a_test_that_can_show_no_difference_counts_in_the_family_as_one(
    read: dict[str, Paper],
) -> None:
    found = judged(read, planned_alone(22, hcl=80.6))
    assert (found[cell("hcl")].p, found[cell("hcl")].p_adjusted) == (None, None)
    assert found[cell("hcl")].tost_p is not None
    assert found["gap"].p is None
    shown = found[cell("dcl")].model_copy(update={"verdict": ""})
    drafts = [Draft(shown, Size("unread", None, 0.5)), Draft(shown, Size("read", 0.01, 0.2))]
    family = Family.of(drafts, [])
    assert family.differences["read", 0.01] == pytest.approx(0.02)
    unread = family.settled(drafts[0])
    assert (unread.p, unread.p_adjusted, unread.verdict) == (None, None, OPEN)


def test_a_reading_that_fits_counts_whatever_was_not_measured(read: dict[str, Paper]) -> None:
    planned = {name: v for name, v in swept(22).items() if "@" not in name}
    found = judged(read, planned)
    assert found[cell("hcl")].verdict == "reproduced"
    assert found["all_above"].verdict == "reproduced"
    noisy = seeds(28, sd=2.0)
    assert judged(read, noisy)[cell("hcl")].verdict == OPEN  # not different as it was measured
    assert judged(read, planned, "digits")["all_above"].readings == ()  # no paper is charged there


def test_a_statement_is_read_under_each_reading_as_a_whole(read: dict[str, Paper]) -> None:
    """The baseline has one temperature: it stays as planned under every reading of the others."""
    found = judged(read, swept(23, hcl=79.0, hcl_1=82.5, hcl_2=79.0))
    words = {reading.reading: reading.stands for reading in found["all_above"].readings}
    assert words == {
        "as planned": "not reproduced",
        "temperature=0.1": "reproduced",
        "temperature=0.2": "not reproduced",
    }
    assert found["all_above"].verdict == "reproduced"
    assert found["gap"].order == "reproduced"
    assert found["little"].readings == ()


def wanted(
    paper: dict[str, Paper], values: dict[str, list[float]], scale: str = "paper"
) -> dict[str, int | str]:
    """How many seeds each open claim wants, without the paper's name."""
    plan, frame = plan_of(paper, values, scale), frame_of(values, scale)
    evidence = Evidence.of(scale, paper, plan, frame, Path("m.csv"))
    asked = seeds_wanted(judged_by(evidence, ""), evidence)
    return {name.removeprefix("made:"): seeds for name, seeds in asked.claims.items()}


def test_what_no_seeds_can_settle_is_said(paper: dict[str, Paper], read: dict[str, Paper]) -> None:
    single = "none: limited by the paper's single run"
    assert wanted(paper, seeds(27, sd=2.0))[cell("hcl")] == single
    assert wanted(paper, seeds(27, sd=0.05))["knob[top1,a]"] == single  # it has no margin
    assert cell("hcl") not in wanted(paper, seeds(27, sd=0.05))  # settled
    few = wanted(paper, seeds(28, k=3, sd=0.35, simclr=80.0, hcl=80.9, sscl=80.8, dcl=81.0))
    assert isinstance(few["all_above"], int)
    gone = without(swept(22, hcl=79.0, hcl_1=79.0), "hcl@temperature=0.2")
    assert wanted(read, gone)[cell("hcl")] == "none: not measured under every reading"
    assert cell("hcl") not in wanted(read, swept(22))


def test_every_open_claim_says_what_it_wants(paper: dict[str, Paper]) -> None:
    for scale, word in (("paper", OPEN), ("digits", "open")):
        values = seeds(31, k=4, sd=1.2)
        found = judged(paper, values, scale)
        said = {name: v.transfer if scale == "digits" else v.verdict for name, v in found.items()}
        assert wanted(paper, values, scale).keys() == {n for n, w in said.items() if w == word}
    nothing = wanted(paper, seeds(31, k=4), "digits")
    assert nothing["little"] == "none: claims no direction"
    assert nothing[cell("simclr")] == "none: nothing to compare with"


def test_trends_and_next_to_nothing_want_seeds(paper: dict[str, Paper]) -> None:
    few = wanted(paper, seeds(32, k=3, sd=1.0, dcl=80.3))
    assert isinstance(few["rises"], int)
    assert isinstance(few["little"], int)
    assert wanted(printing(paper, "main", {"hcl": "80.00"}), seeds(32, k=3, sd=1.0))["little"] == (
        "none: no margin, so nothing counts as nil"
    )


def test_no_seeds_are_wanted_for_what_an_unmeasured_reading_keeps_open(
    read: dict[str, Paper],
) -> None:
    """With a temperature that was not run nothing of HCL can be different, however many seeds."""
    partly = "none: not measured under every reading"
    off = drawn(np.random.default_rng(35), TRUE | {"hcl": 78.0}, 4, 2.5)
    found = wanted(read, off)
    assert judged(read, off)[cell("hcl")].verdict == OPEN
    assert found[cell("hcl")] == found["gap"] == partly
    swept_too = off | {
        f"{r}@temperature=0.{i}": list(off[r]) for r in ("hcl", "sscl") for i in (1, 2)
    }
    assert wanted(read, swept_too)[cell("hcl")] != partly


def test_only_what_a_reading_lets_be_shown_is_planned_for(read: dict[str, Paper]) -> None:
    """HCL below SimCLR as planned: the claimed order is out of sight, its contrary out of reach."""
    rng, k = np.random.default_rng(38), 5
    noise = {name: rng.normal(0, 0.4, k) for name in FEW}
    one = alone(read, "all_above")

    def at(hcl: float) -> dict[str, list[float]]:
        means = {"simclr": 80.0, "hcl": hcl, "sscl": 84.0, "dcl": 83.0}
        return {n: [float(x) for x in means[n] + e - e.mean()] for n, e in noise.items()}

    below, above = at(79.8), at(80.3)
    assert wanted(one, below)["all_above"] == "none: not measured under every reading"
    others = {f"{r}@temperature=0.{i}": below[r] for r in ("hcl", "sscl") for i in (1, 2)}
    assert isinstance(wanted(one, below | others)["all_above"], int)
    planned = wanted(one, above)["all_above"]
    read_thrice = wanted(
        one, above | {f"{r}@temperature=0.{i}": above[r] for r in ("hcl", "sscl") for i in (1, 2)}
    )["all_above"]
    assert isinstance(planned, int)
    gaps = [a - b for a, b in zip(above["hcl"], above["simclr"], strict=True)]
    assert read_thrice == seeds_for_order(gaps, alpha=ALPHA / 8 / 3).seeds  # 8 tests, 3 chances
    off = above | {"hcl": [80.3, 80.7, 81.1]}  # 4.5 SD off: more seeds would tell
    assert wanted(one, off)[cell("hcl")] == "none: not measured under every reading"
    others = {f"{r}@temperature=0.{i}": off[r] for r in ("hcl", "sscl") for i in (1, 2)}
    assert isinstance(wanted(one, off | others)[cell("hcl")], int)


def test_an_order_wants_what_its_easier_answer_needs(paper: dict[str, Paper]) -> None:
    """One difference turned round settles "all", however little another stands out."""
    rng, k = np.random.default_rng(36), 4
    noise = {name: rng.normal(0, 0.4, k) for name in FEW}
    means = {"simclr": 80.0, "hcl": 80.02, "sscl": 84.0, "dcl": 79.2}
    values = {n: [float(x) for x in means[n] + e - e.mean()] for n, e in noise.items()}
    one = alone(paper, "all_above", "some_above", "none_above")
    found = wanted(one, values, "digits")
    gaps = [b - a for a, b in zip(values["simclr"], values["dcl"], strict=True)]
    needed = seeds_for_order(gaps, alpha=ALPHA / 3).seeds
    assert judged(one, values, "digits")["all_above"].transfer == "open"
    assert found["all_above"] == needed
    assert judged(one, values, "digits")["some_above"].transfer == "holds"
    assert "some_above" not in found
    assert judged(one, values, "digits")["none_above"].transfer == "reversed"
    few = wanted(one, {**values, "sscl": values["simclr"][::-1]}, "digits")
    assert few["some_above"] == seeds_for_order(
        [a - b for a, b in zip(values["hcl"], values["simclr"], strict=True)], alpha=ALPHA / 3
    ).seeds or isinstance(few["some_above"], str)


@pytest.mark.parametrize("first", [0, 1])
def test_fewer_than_two_seeds_before_a_look_are_no_sequence(
    paper: dict[str, Paper], first: int
) -> None:
    values = seeds(24, k=6, hcl=81.8)
    added = frozenset(f"{name}-s{seed}" for name in TRUE for seed in range(first, 6))
    found = judged(paper, values, added=added)
    why = "untestable: fewer than two seeds before others were added"
    assert {found[name].verdict for name in (cell("hcl"), "gap", "all_above")} == {why}
    plan, frame = plan_of(paper, values), frame_of(values)
    assert judge("paper", paper, plan, frame, added=added).rankings == ()


def test_a_telescope_after_a_look_is_shown_and_not_noted(paper: dict[str, Paper]) -> None:
    values = seeds(20, sd=0.2, hcl=80.0)
    added = frozenset(f"{name}-s{seed}" for name in TRUE for seed in range(5, 10))
    found = judged(paper, values, added=added)["gap"]
    assert found.telescope is not None
    assert found.telescope.too_small
    assert "too small to have been seen" not in found.notes


# --- added seeds, controls -----------------------------------------------------------------------


def test_added_seeds_are_judged_by_sequences(paper: dict[str, Paper]) -> None:
    values = seeds(24, k=12, hcl=81.8)
    added = frozenset(f"{name}-s{seed}" for name in TRUE for seed in range(4, 12))
    fixed, sequential = judged(paper, values), judged(paper, values, added=added)
    for name in (cell("hcl"), "all_above"):
        assert (fixed[name].sequence, sequential[name].sequence) == (False, True)
    for one in (fixed, sequential):
        assert one[cell("hcl")].prediction is not None
    wide, narrow = sequential[cell("hcl")].prediction, fixed[cell("hcl")].prediction
    assert wide is not None
    assert narrow is not None
    assert wide.low < narrow.low < narrow.high < wide.high
    a, b = sequential["gap"].order_p, fixed["gap"].order_p
    assert a is not None
    assert b is not None
    assert a > b
    assert sequential["gap"].size == "compatible, imprecise"
    assert (sequential["gap"].p or 0) > (fixed["gap"].p or 1)
    one = judged(paper, values, added=frozenset({"hcl-s11"}))
    assert all(one[name].sequence for name in (cell("hcl"), cell("dcl"), "gap"))  # all of a scale


def test_peeking_at_added_seeds_does_not_charge_true_orders(paper: dict[str, Paper]) -> None:
    """Two recipes that are equal, looked at again and again: seldom told apart."""
    rng, rounds, fixed, sequential = np.random.default_rng(25), 20, 0, 0
    two = {"simclr": 80.0, "hcl": 80.0}
    for _ in range(rounds):
        whole = drawn(rng, two, 14)
        told = {True: False, False: False}
        for k in (4, 8, 14):
            values = {name: numbers[:k] for name, numbers in whole.items()}
            added = frozenset(f"{name}-s{seed}" for name in two for seed in range(3, k))
            for kind, given in ((True, added), (False, frozenset[str]())):
                p = judged(alone(paper, "gap"), values, added=given)["gap"].order_p
                told[kind] = told[kind] or (p is not None and p < ALPHA)
        fixed += told[False]
        sequential += told[True]
    assert sequential <= stats.binom.ppf(0.999, rounds, ALPHA)
    assert fixed > sequential


@pytest.mark.parametrize(
    ("untrained", "supervised", "flag"),
    [
        (70.0, 90.0, "bracketed"),
        (70.0, 75.0, "above supervised"),
        (84.0, 90.0, "not above untrained"),
        (82.5, 90.0, "not above untrained"),
        (70.0, None, None),
        (None, 90.0, None),
    ],
)
def test_a_control_is_a_flag_and_never_a_gate(
    paper: dict[str, Paper], untrained: float | None, supervised: float | None, flag: str | None
) -> None:
    beside = {"untrained": untrained, "supervised": supervised}
    means = {name: mean for name, mean in beside.items() if mean is not None}
    found: Verdict = judged(paper, seeds(26, **means))[cell("hcl")]
    assert found.control == flag
    assert found.verdict == "reproduced"
