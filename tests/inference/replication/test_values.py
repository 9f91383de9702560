"""A printed value against seeds: finite sums for Student's t, second libraries and brute force."""

from fractions import Fraction
from itertools import product
from math import atan, comb, cos, inf, pi, sin, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_ind

from reclaim.inference.replication.values import (
    DIFFERENT,
    Printed,
    ValueTest,
    compare_value,
    difference_p,
    distances,
    equivalence_p,
    ladder,
    note,
    untestable,
    welch,
)

SAMPLES = [
    np.random.default_rng(seed).normal(80, 1.3, size=k).tolist()
    for seed, k in enumerate((2, 3, 4, 5, 10, 20))
]
EXACT = {"rel": 1e-10, "abs": 1e-10}


def exactly(number: float, runs: int = 1, sd: float | None = None) -> Printed:
    """A number as if printed with all its digits."""
    value, own = Fraction(number), None if sd is None else Fraction(sd)
    return Printed(value, value, runs, None if own is None else (own, own))


def judged(values: list[float], printed: Printed, margin: float | None = None) -> ValueTest:
    """The test of values that can be tested."""
    found = compare_value(values, printed, margin)
    assert found is not None
    return found


def two_sided(t: float, df: int) -> float:
    """P(|T| > |t|) as the finite sums of Abramowitz & Stegun 26.7.3 and 26.7.4 (integer df)."""
    angle = atan(abs(t) / sqrt(df))
    if df % 2:
        terms = [
            cos(angle) ** (2 * j + 1) * 4**j / ((2 * j + 1) * comb(2 * j, j))
            for j in range((df - 1) // 2)
        ]
        return 1 - 2 / pi * (angle + sin(angle) * sum(terms))
    terms = [cos(angle) ** (2 * j) * comb(2 * j, j) / 4**j for j in range(df // 2)]
    return 1 - sin(angle) * sum(terms)


def two_sided_by_quadrature(t: float, df: float) -> float:
    """P(|T| > |t|) as an integral of the density."""
    density = stats.t(df).pdf
    return 2 * quad(density, abs(t), inf, epsabs=1e-13, epsrel=1e-12, limit=400)[0]


# --- two engines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("printed", [70.0, 79.3, 80.0, 83.17])
@pytest.mark.parametrize("sample", SAMPLES, ids=len)
def test_one_printed_run_is_a_t_test_with_one_value_on_the_other_side(
    sample: list[float], printed: float
) -> None:
    found = judged(sample, exactly(printed), margin=1.5)
    by_scipy = stats.ttest_ind(sample, [printed])
    by_sums = two_sided(by_scipy.statistic, len(sample) - 1)
    assert found.p == pytest.approx(float(by_scipy.pvalue), **EXACT)
    assert found.p == pytest.approx(by_sums, **EXACT)
    assert found.difference == pytest.approx(np.mean(sample) - printed, rel=1e-12)
    assert found.difference / found.error == pytest.approx(float(by_scipy.statistic), rel=1e-10)
    by_statsmodels, *_ = ttost_ind(np.array(sample), np.array([printed]), -1.5, 1.5)
    assert found.tost_p == pytest.approx(float(by_statsmodels), **EXACT)


@pytest.mark.parametrize("runs", [2, 3, 5, 20])
@pytest.mark.parametrize("sample", SAMPLES, ids=len)
def test_a_mean_of_runs_by_finite_sums(sample: list[float], runs: int) -> None:
    found = judged(sample, exactly(81.0, runs), margin=2.0)
    gap, df = np.mean(sample) - 81.0, len(sample) - 1
    error = np.std(sample, ddof=1) * sqrt(1 / runs + 1 / len(sample))
    assert found.p == pytest.approx(two_sided(gap / error, df), **EXACT)
    t = (2.0 - abs(gap)) / error
    upper = two_sided(t, df) / 2
    assert found.tost_p == pytest.approx(upper if t > 0 else 1 - upper, **EXACT)


@pytest.mark.parametrize(("runs", "sd"), [(2, 0.5), (3, 1.3), (5, 4.0), (10, 0.01)])
@pytest.mark.parametrize("sample", SAMPLES, ids=len)
def test_a_printed_sd_is_welchs_test(sample: list[float], runs: int, sd: float) -> None:
    found = judged(sample, exactly(81.0, runs, sd), margin=1.0)
    ours, k = np.std(sample, ddof=1), len(sample)
    by_scipy = stats.ttest_ind_from_stats(np.mean(sample), ours, k, 81.0, sd, runs, equal_var=False)
    assert found.method == "Welch"
    assert found.p == pytest.approx(float(by_scipy.pvalue), **EXACT)
    by_quadrature = two_sided_by_quadrature(float(by_scipy.statistic), found.df)
    assert found.p == pytest.approx(by_quadrature, **EXACT)
    shape = np.random.default_rng(runs).normal(size=runs)
    theirs = 81.0 + sd * (shape - shape.mean()) / shape.std(ddof=1)
    means = CompareMeans(DescrStatsW(np.array(sample)), DescrStatsW(theirs))
    by_statsmodels, *_ = means.ttost_ind(-1.0, 1.0, usevar="unequal")
    assert found.tost_p == pytest.approx(float(by_statsmodels), rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("level", [0.5, 0.95])
@pytest.mark.parametrize("printed", [exactly(80.0), exactly(80.0, 3), exactly(80.0, 3, 0.7)])
@pytest.mark.parametrize("sample", SAMPLES, ids=len)
def test_the_interval_ends_where_p_is_one_minus_its_level(
    sample: list[float], printed: Printed, level: float
) -> None:
    found = compare_value(sample, printed, level=level)
    assert found is not None
    for end in (found.interval.low, found.interval.high):
        there = Printed(Fraction(end), Fraction(end), printed.runs, printed.sd)
        assert judged(sample, there).p == pytest.approx(1 - level, rel=1e-9)


# --- rounding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("printed", "runs", "sd"), [("81", 1, None), ("81.5", 3, "0"),
    ("79.9", 3, "0.3"), ("80.0", 5, "2"), ("78", 2, "0.1")])  # fmt: skip
@pytest.mark.parametrize("sample", SAMPLES, ids=len)
def test_p_is_the_largest_over_all_that_prints_so(
    sample: list[float], printed: str, runs: int, sd: str | None
) -> None:
    box = Printed.of(printed, runs, sd)
    found = judged(sample, box, margin=2.0)
    spreads = [None] if box.sd is None else np.linspace(*map(float, box.sd), 11).tolist()
    values = np.linspace(float(box.low), float(box.high), 11).tolist()
    inside = [
        judged(sample, exactly(value, runs, spread), margin=2.0)
        for value, spread in product(values, spreads)
    ]
    largest, least_equivalent = max(t.p for t in inside), max(t.tost_p for t in inside)
    assert found.p >= largest - 1e-12
    assert found.tost_p >= min(least_equivalent, 0.5) - 1e-12
    if box.sd is None and not float(box.low) < np.mean(sample) < float(box.high):
        assert found.p == pytest.approx(largest, rel=1e-12)
        assert found.tost_p == pytest.approx(least_equivalent, rel=1e-12)


def test_inside_the_rounding_there_is_no_difference() -> None:
    found = judged([79.0, 80.0, 81.0], Printed.of("80"), margin=1.0)
    assert (found.difference, found.p) == (0.0, 1.0)
    assert found.tost_p == pytest.approx(
        judged([79.0, 80.0, 81.0], exactly(80.5), margin=1.0).tost_p
    )


@given(st.floats(-100, 100), st.floats(-100, 100), st.floats(0, 5))
def test_distances_by_brute_force(mean: float, low: float, span: float) -> None:
    nearest, farthest = distances(mean, low, low + span)
    points = np.append(np.linspace(low, low + span, 50), low + span)
    inside = low <= mean <= low + span
    assert abs(nearest) == pytest.approx(0 if inside else np.abs(points - mean).min(), abs=1e-9)
    assert farthest == pytest.approx(np.abs(points - mean).max(), abs=1e-9)
    assert inside or (nearest > 0) == (mean > low)


@pytest.mark.parametrize(
    ("printed", "runs", "sd", "unit", "expected"),
    [
        ("81.2", None, None, 1, Printed(Fraction("81.15"), Fraction("81.25"))),
        ("81.20", 3, None, 1, Printed(Fraction("81.195"), Fraction("81.205"), 3)),
        ("0.81", 1, None, 100, Printed(Fraction("80.5"), Fraction("81.5"))),
        ("81", 3, "0.3", 1, Printed(Fraction("80.5"), Fraction("81.5"), 3,
                                    (Fraction("0.25"), Fraction("0.35")))),
        ("81", 3, "0", 1, Printed(Fraction("80.5"), Fraction("81.5"), 3,
                                  (Fraction(0), Fraction("0.5")))),
        ("0.81", 3, "0.01", 100, Printed(Fraction("80.5"), Fraction("81.5"), 3,
                                         (Fraction("0.5"), Fraction("1.5")))),
        ("81", None, "0.3", 1, Printed(Fraction("80.5"), Fraction("81.5"))),
        ("81", 1, "0.3", 1, Printed(Fraction("80.5"), Fraction("81.5"))),
    ],
)  # fmt: skip
def test_what_printed_strings_allow(
    printed: str, runs: int | None, sd: str | None, unit: int, expected: Printed
) -> None:
    assert Printed.of(printed, runs, sd, unit) == expected


# --- what follows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "tost_p", "word", "added"),
    [
        (0.20, 0.01, "reproduced", None),
        (0.01, 0.01, "reproduced", DIFFERENT),
        (0.20, 0.20, "compatible, imprecise", None),
        (0.05, 0.05, "compatible, imprecise", None),
        (0.01, 0.20, "not reproduced", None),
        (0.04, 1.00, "not reproduced", None),
    ],
)
def test_the_ladder(p: float, tost_p: float, word: str, added: str | None) -> None:
    assert ladder(p, tost_p) == word
    assert note(p, tost_p) == added
    assert ladder(p, tost_p, alpha=0.001) == "compatible, imprecise"


def test_without_a_margin_nothing_is_reproduced() -> None:
    found = judged([80.0, 80.1, 80.2], exactly(80.1))
    assert (found.margin, found.tost_p) == (None, 1.0)
    assert ladder(found.p, found.tost_p) == "compatible, imprecise"
    assert judged([80.0, 80.1, 80.2], exactly(80.1), margin=Fraction(5)).margin == 5.0


def test_seeds_that_say_nothing() -> None:
    assert untestable([80.0]) == "one seed"
    assert untestable([80.0, 80.0]) == "no seed variation"
    assert untestable([80.0, 81.0]) is None
    assert compare_value([80.0], exactly(80.0)) is None
    assert compare_value([80.0, 80.0, 80.0], exactly(80.0, 3, 0.2)) is None
    with pytest.raises(ValueError, match="no values"):
        compare_value([], exactly(80.0))


def test_the_arithmetic_on_arrays_is_that_on_numbers() -> None:
    rng = np.random.default_rng(7)
    seeds = rng.normal(80, 1, (50, 4))
    mean, sd = seeds.mean(axis=1), seeds.std(axis=1, ddof=1)
    box = Printed.of("81.0", 3, "0.9")
    nearest, farthest = distances(mean, float(box.low), float(box.high))
    ends = [welch(sd, 4, float(end), 3) for end in box.sd or ()]
    error, df = ends[1][0], np.minimum(ends[0][1], ends[1][1])
    one_by_one = [judged(row, box, margin=2.0) for row in seeds.tolist()]
    assert [t.p for t in one_by_one] == pytest.approx(difference_p(nearest, error, df))
    assert [t.tost_p for t in one_by_one] == pytest.approx(equivalence_p(farthest, 2.0, error, df))


@pytest.mark.parametrize("k", [3, 10])
def test_the_ladder_errs_as_often_as_it_says(k: int) -> None:
    rng, n, margin = np.random.default_rng(k), 2000, 3.0
    ours = rng.normal(80, 1, (n, k)).tolist()
    for away in (0.0, margin):
        printed = rng.normal(80 + away, 1, n).tolist()
        found = [judged(row, exactly(y), margin) for row, y in zip(ours, printed, strict=True)]
        wrong = [t.p < 0.05 if away == 0 else t.tost_p < 0.05 for t in found]
        assert np.mean(wrong) < 0.05 + 4 * sqrt(0.05 * 0.95 / n)
