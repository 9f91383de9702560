"""Printed accuracies against the stated test set, and what no table states: its size."""

from fractions import Fraction as F
from math import lcm
from typing import Any

import numpy as np
import pytest

from reclaim.inference.audit.granularity import (
    check,
    denominators,
    distinct,
    fitted,
    inferred,
    misses,
    named_multiples,
    of_batches,
)
from reclaim.inference.audit.granularity import (
    test_sets as sets_of,
)
from reclaim.inference.audit.lattice import ROUNDINGS, coverage, printed
from reclaim.records import Finding
from tests.inference.audit.papers import case, table

pytestmark = pytest.mark.arithmetic

SMALL = {"small": {"title": "a small test set", "classes": 10, "test_images": 200}}


def column(values: list[str], name: str = "small.top1", table_name: str = "t", **about: Any) -> Any:
    return table(table_name, {f"r{i}": {name: value} for i, value in enumerate(values)}, **about)


def shares(counts: list[int], n: int, rounding: str = "half_up") -> list[str]:
    return [f"{printed(k, n, 10000, rounding) / 100:.2f}" for k in counts]


def stated(
    values: list[str], *, datasets: Any = None, protocol: Any = None, **about: Any
) -> Finding:
    (found,) = sets_of(case(column(values, **about), datasets=datasets or SMALL, protocol=protocol))
    assert found.evidence["kind"] == "test_set"
    return found


# --- (a) the stated test set ---------------------------------------------------------------------


def test_multiples_of_the_stated_size_are_consistent_with_power() -> None:
    found = stated(["82.50", "83.00", "99.5"])
    assert found.verdict == "consistent"
    missed = 1 - F(coverage(0, 10000, 200, 10000, "mixed"), 10001)
    assert F(found.evidence["power_exact"]) == missed
    (size,) = found.evidence["sizes"]
    assert (size["images"], size["total"]) == (200, 3)
    assert size["explained"] == dict.fromkeys(ROUNDINGS, 3)
    for name in ROUNDINGS:
        share = 1 - F(coverage(0, 10000, 200, 10000, name), 10001)
        assert F(size["power"][f"{name}_exact"]) == share


def test_one_cell_that_is_no_multiple_stands_out() -> None:
    found = stated(["82.50", "82.37", "99.50", "71.00", "84.00", "91.50", "65.00"])
    assert (found.verdict, found.cells) == ("implausible", ("t[small.top1,r1]",))
    assert "82.37" not in found.message
    assert "t[small.top1,r1] is no k/n" in found.message


def test_no_multiple_at_all_is_implausible_whatever_is_stated() -> None:
    assert stated(["82.37"]).verdict == "implausible"
    assert stated(["82.37"], runs=1).verdict == "implausible"
    batch = {"evaluate.linear.batch": 100}
    assert stated(["82.37"], protocol=batch).verdict == "implausible"
    assert stated(["82.37"], runs=1, protocol=batch).verdict == "implausible"


def test_cells_that_were_measured_in_other_batches_are_judged_apart() -> None:
    """88.13 is a mean over the batches of fine-tuning, 64 images and a last one of 52."""
    half = {"small": {"title": "x", "classes": 10, "test_images": 500}}
    facts = {"evaluate.linear.batch": 100, "evaluate.fine_tune.batch": 64}
    rows = {"le": {"small.top1": "73.80"}, "ft": {"small.top1": "88.13"}}
    made = table("t", rows, runs=1)
    tuned = made.rows["ft"].model_copy(update={"evaluation": "fine_tune"})
    made = made.model_copy(update={"rows": {**made.rows, "ft": tuned}})
    for protocol in (facts, {"evaluate.linear.batch": 100}):
        found = list(sets_of(case(made, datasets=half, protocol=protocol)))
        assert len(found) == 2
        assert "contradiction" not in {one.verdict for one in found}


def test_a_cut_or_raised_number_is_no_contradiction() -> None:
    sevenths = {"small": {"title": "seven", "test_images": 7}}
    assert stated(["14.28", "14.29", "42.85"], datasets=sevenths).verdict == "consistent"
    assert stated(["14.27", "28.57", "42.85"], datasets=sevenths).verdict == "implausible"


def test_where_the_grid_is_fine_the_power_is_nil() -> None:
    many = {"small": {"title": "many", "test_images": 10000}}
    found = stated(["82.37", "11.11"], datasets=many)
    assert (found.verdict, found.evidence["power"]) == ("untestable", 0)


def test_without_a_stated_size_nothing_is_tested() -> None:
    assert stated(["82.37"], datasets={"small": {"title": "?"}}).verdict == "untestable"


def test_runs_that_are_stated_refine_the_lattice() -> None:
    thirds = [f"{100 * k / 600:.2f}" for k in (481, 499, 511)]
    assert stated(thirds, runs=3).verdict == "consistent"
    more = [f"{100 * k / 600:.2f}" for k in (401, 422, 470, 533, 547)]
    wrong = stated([*thirds, *more, "80.21"], runs=3)
    assert (wrong.verdict, len(wrong.cells)) == ("implausible", 1)


def test_what_a_finding_says_of_runs() -> None:
    """With 3 runs of 200 images the lattice, its power and what fits are those of 600."""
    found = stated([f"{100 * k / 600:.2f}" for k in (481, 499, 511)], runs=3)
    power = 1 - F(coverage(0, 10000, 600, 10000, "mixed"), 10001)
    assert F(found.evidence["power_exact"]) == power
    assert found.message == (
        "t: 3 cells at n = 200 and 3 runs: all are k/n; a wrong number would be seen with power "
        f"{float(power):.1%}"
    )
    (size,) = found.evidence["sizes"]
    assert (size["images"], size["where"]) == (200, "the test set of small")
    assert size["explained"]["mixed"] == 3
    assert F(size["power"]["mixed_exact"]) == power
    assert " and 1 run:" in stated(["82.50"], runs=1).message


def test_two_cells_that_are_no_multiples_are_named() -> None:
    good = ["82.50", "99.50", "71.00", "84.00", "91.50", "65.00"]
    assert stated([*good, "82.37", "80.21"]).message == (
        "t: 8 cells at n = 200: t[small.top1,r6], t[small.top1,r7] are no k/n under any rounding, "
        "so not from one run that counted each image once; a mean over runs or of unequal batches, "
        "or another n, would do it"
    )


def test_of_several_sizes_the_one_that_fits_best_is_taken() -> None:
    """Of 200 and 192 images (the last batch dropped) the misses at 192 alone are named."""
    batch = {"evaluate.linear.test_batch": 64}
    found = stated(["82.81", "83.33", "78.12", "82.37"], protocol=batch)
    assert found.cells == ("t[small.top1,r3]",)
    assert "4 cells at n = 200 or 192: " in found.message
    thirds = [f"{100 * k / 576:.2f}" for k in (401, 433, 511)]
    assert stated(thirds, protocol=batch, runs=3).verdict == "consistent"


def test_half_of_the_cells_off_the_lattice_is_not_most_that_fit() -> None:
    """Three of six as means over 3 runs that nobody states: no accusation; two of six: one."""
    thirds = [f"{100 * k / 600:.2f}" for k in (481, 499, 511)]
    good = ["80.50", "81.00", "82.00", "71.50"]
    assert stated([*thirds, *good[:3]]).verdict == "untestable"
    assert stated([*thirds[:2], *good]).verdict == "implausible"


def test_unequal_batches_of_several_runs_are_not_accused() -> None:
    """Three runs of 200 images in batches of 128 and 72, each a mean of two means."""
    rng = np.random.default_rng(5)
    runs = [[F(int(a), 128) + F(int(b), 72) for a, b in rng.integers(20, 70, (3, 2))]
            for _ in range(4)]  # fmt: skip
    values = [f"{float(sum(run) * 50 / 3):.2f}" for run in runs]
    assert stated(values, runs=3).verdict == "implausible"
    assert stated(values, runs=3, protocol={"evaluate.linear.batch": 128}).verdict == "consistent"


def test_means_over_runs_that_nobody_states_are_not_accused() -> None:
    thirds = [f"{100 * k / 600:.2f}" for k in (481, 499, 511)]
    found = stated(thirds)
    assert (found.verdict, len(found.cells)) == ("untestable", 3)
    assert found.message == (
        "t: 3 cells at n = 200: 3 cells are no k/n; as means over 3 runs all would be, but no "
        "number of runs is stated"
    )
    mostly_single = stated(["80.50", "81.00", "82.00", "71.50", "66.00", "91.00", thirds[0]])
    assert (mostly_single.verdict, len(mostly_single.cells)) == ("implausible", 1)


def test_means_of_unequal_batches_are_not_accused() -> None:
    # 200 images in batches of 128: the mean of two means, one over 128 and one over 72.
    values = [F(a, 128) + F(b, 72) for a, b in ((100, 61), (111, 57), (90, 70))]
    printed_ = [f"{float(50 * value):.2f}" for value in values]
    assert stated(printed_).verdict != "consistent"
    found = stated(printed_, protocol={"evaluate.linear.batch": 128})
    assert found.verdict == "consistent"
    assert found.cells == tuple(f"t[small.top1,r{i}]" for i in range(3))


def test_the_denominator_of_unequal_batches() -> None:
    for n, batch in ((200, 128), (10000, 256), (7, 3)):
        rest = n % batch
        assert of_batches(n, batch) == (n // batch + 1) * lcm(batch, rest)
        values = {F(a, batch) + F(b, rest) for a in range(3) for b in range(3)}
        assert all((v * of_batches(n, batch)).denominator == 1 for v in values)
    assert of_batches(200, 100) is None
    assert of_batches(200, 200) is None
    assert of_batches(100, 200) is None


def test_several_stated_sizes_are_all_looked_at() -> None:
    found = stated(["82.50", "83.00"], protocol={"evaluate.linear.test_batch": 64})
    assert [size["images"] for size in found.evidence["sizes"]] == [200, 192]
    only_the_second = stated(["82.81", "83.33"], protocol={"evaluate.linear.test_batch": 64})
    assert only_the_second.verdict == "consistent"


def test_each_number_of_runs_is_tested_apart() -> None:
    made = column(["82.50", "80.17"], rows={"r1": {"runs": 3}})
    found = list(sets_of(case(made, datasets=SMALL)))
    assert [(f.verdict, f.evidence["runs"]) for f in found] == [
        ("consistent", None),
        ("consistent", 3),
    ]


def test_misses_are_the_cells_off_the_lattice() -> None:
    assert misses([(10000, 8250), (10000, 8237), (100, 83)], 200) == [1]


# --- (b) the size that nobody states -------------------------------------------------------------

COUNTS = [119, 123, 130, 144, 150, 151, 97, 103, 139, 146, 159, 165, 171, 183]
CIFAR = {"columns": {"top1": {"dataset": "cifar10", "metric": "top1", "unit": "percent"}}}


def paper_of(values: list[str], **about: Any) -> Any:
    return case(column(values, "top1", **CIFAR), **about)


def test_a_paper_s_denominator_is_named_by_its_batch() -> None:
    found = denominators(paper_of(shares(COUNTS, 192), protocol={"batch": 96, "epochs": 192}))
    assert found.verdict == "implausible"
    assert found.evidence["denominators"] == [192]
    (best,) = found.evidence["classes"]
    assert (best["n"], best["explained"], best["total"]) == (192, 14, 14)
    assert set(best) == {
        "n", "multiples", "rounding", "explained", "total", "chance", "chance_exact",
        "p_corrected", "grouping",
    }  # fmt: skip
    assert found.evidence["named"] == ["2 x batch (96)"]
    assert found.evidence["stated"] == [10000]
    assert "10,000 images" in found.message
    assert len(found.cells) == 14


def test_what_does_not_fit_is_listed() -> None:
    found = denominators(paper_of([*shares(COUNTS, 192), "60.68", "71.22", "61.97"]))
    assert found.evidence["denominators"] == [192]
    # 61.97 is 119/192 = 61.979 %, cut; 61.98 is there as well, rounded
    assert found.evidence["unexplained"].pop() == found.evidence["otherwise_rounded"][0]
    assert found.evidence["otherwise_rounded"] == ["t[top1,r16]"]
    assert found.evidence["unexplained"] == ["t[top1,r14]", "t[top1,r15]"]
    assert "t[top1,r14], t[top1,r15]" in found.message


def test_nothing_is_claimed_for_a_table_that_does_not_fit() -> None:
    rng = np.random.default_rng(3)
    noise = [f"{v / 100:.2f}" for v in rng.choice(np.arange(2000, 9000), 14, replace=False)]
    made = case(
        column(shares(COUNTS, 192), "top1", "good", **CIFAR),
        column(noise, "top1", "other", **CIFAR),
    )
    found = denominators(made)
    assert found.evidence["denominators"] == [192]
    assert set(found.evidence["tables"]) == {"good"}
    assert found.evidence["not_fitted"] == ["other"]
    assert "Nothing is said about other" in found.message
    assert {cell.split("[")[0] for cell in inferred(made)} == {"good"}
    assert {cell.split("[")[0] for cell in found.cells} == {"good"}
    assert set(inferred(made).values()) == {(192,)}


def test_a_small_table_is_not_fitted_by_accident() -> None:
    made = case(
        column(shares(COUNTS, 192), "top1", "good", **CIFAR),
        column(shares([100], 192), "top1", "tiny", **CIFAR),
    )
    (best,) = made.inference.classes
    assert set(fitted(made, best)) == {"good"}


def test_an_entity_printed_twice_counts_once() -> None:
    twice = case(
        column(shares(COUNTS, 192), "top1", "a", **CIFAR),
        column(shares(COUNTS, 192), "top1", "b", **CIFAR),
    )
    made = distinct(twice)
    assert len(made.cells) == len(COUNTS)
    assert made.locators[0] == ["a[top1,r0]", "b[top1,r0]"]
    assert made.groups["paper"] == made.groups["a"] == made.groups["b"]
    assert twice.inference.tried == 2000 * 5  # all groupings are the same cells


def test_a_dropped_zero_is_style_for_the_lattice_too() -> None:
    made = distinct(paper_of(["75", "59.9", "61.98"]))
    assert made.cells == [(10000, 7500), (10000, 5990), (10000, 6198)]
    alone = distinct(paper_of(["75", "60"]))
    assert alone.cells == [(100, 75), (100, 60)]


def test_cells_out_of_range_and_other_metrics_are_left_out() -> None:
    assert distinct(paper_of(["75.00", "101.00", "-1.00"])).cells == [(10000, 7500)]
    columns = {"u": {"dataset": "cifar10", "metric": "uniformity", "unit": "fraction"}}
    assert list(check([case(column(["0.75"], "u", columns=columns))])) == []


def test_units_are_never_mixed_in_one_grouping() -> None:
    columns = {
        "top1": {"dataset": "cifar10", "metric": "top1", "unit": "percent"},
        "share": {"dataset": "cifar10", "metric": "top5", "unit": "fraction"},
    }
    cells = {f"r{i}": {"top1": f"{70 + i}.25", "share": f"0.9{i}"} for i in range(3)}
    made = distinct(case(table("t", cells, columns=columns)))
    for index in made.groups.values():
        assert len({made.cells[i][0] for i in index}) == 1
    assert set(made.groups) == {
        "paper at 1/10000", "paper at 1/100", "t at 1/10000", "t at 1/100", "t[top1]", "t[share]",
    }  # fmt: skip


def test_the_stated_size_itself_is_consistent() -> None:
    small = {"small": {"title": "192 images", "test_images": 384}}
    made = case(column(shares(COUNTS, 192)), datasets=small)
    found = denominators(made)
    assert (found.verdict, found.evidence["denominators"]) == ("consistent", [192])
    other = {"small": {"title": "200 images", "test_images": 200}}
    assert denominators(case(column(shares(COUNTS, 192)), datasets=other)).verdict == "implausible"
    unknown = {"small": {"title": "no size"}}
    assert denominators(case(column(shares(COUNTS, 192)), datasets=unknown)).verdict == "consistent"


def test_no_lattice_no_claim_and_the_power_is_said() -> None:
    rng = np.random.default_rng(5)
    noise = [f"{v / 100:.2f}" for v in rng.choice(np.arange(2000, 9000), 20, replace=False)]
    found = denominators(paper_of(noise))
    assert (found.verdict, found.evidence["denominators"]) == ("consistent", [])
    assert found.evidence["detectable"] == 2000
    assert "2,000" in found.message
    two = denominators(paper_of(noise[:2]))
    assert (two.verdict, two.evidence["detectable"]) == ("untestable", None)


def test_multiples_are_named_up_to_eight() -> None:
    numbers = [("batch", 24), ("test_batch", 23), ("queue", 384), ("batch", 25)]
    assert named_multiples(192, iter(numbers)) == ["8 x batch (24)"]
    assert named_multiples(207, iter(numbers)) == []
    assert named_multiples(184, iter(numbers)) == ["8 x test_batch (23)"]


def test_of_very_many_cells_some_are_looked_at() -> None:
    values = shares([k % 193 for k in range(2500)], 192)
    made = distinct(paper_of(values))
    assert 500 <= len(made.cells) <= 1000
