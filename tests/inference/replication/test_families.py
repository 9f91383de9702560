"""Adjusted p-values against their definitions and a second library."""

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from reclaim.inference.replication.families import (
    Readings,
    benjamini_hochberg,
    holm,
    over_readings,
)

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def closed(p: list[float]) -> list[float]:
    """Holm's as a closed test: the largest Bonferroni p of all families that hold a hypothesis."""
    places = range(len(p))
    families = [set(some) for size in range(1, len(p) + 1) for some in combinations(places, size)]
    bonferroni = [(some, min(1.0, len(some) * min(p[i] for i in some))) for some in families]
    return [max(found for some, found in bonferroni if i in some) for i in places]


def stepped_up(p: list[float]) -> list[float]:
    """Benjamini and Hochberg's by definition: the least level at which each is rejected."""
    n, order = len(p), sorted(p)
    levels = [order[rank] * n / (rank + 1) for rank in range(n)]
    return [min(1.0, *(level for level, at in zip(levels, order, strict=True) if at >= own), 1.0)
            for own in p]  # fmt: skip


@given(P_VALUES)
@settings(deadline=None)
def test_holm_is_the_closed_test(p: list[float]) -> None:
    assert list(holm(p)) == pytest.approx(closed(p), rel=1e-12, abs=1e-300)


def test_both_are_statsmodels() -> None:
    p = [0.2, 0.001, 0.04, 0.04, 0.9, 0.012]
    for ours, theirs in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        assert ours(p) == pytest.approx(multipletests(p, method=theirs)[1], rel=1e-12, abs=1e-300)


@given(P_VALUES)
@settings(deadline=None)
def test_benjamini_hochberg_is_its_definition_and_scipys(p: list[float]) -> None:
    found = list(benjamini_hochberg(p))
    assert found == pytest.approx(stepped_up(p), rel=1e-12, abs=1e-300)
    assert found == pytest.approx(stats.false_discovery_control(p), rel=1e-12, abs=1e-300)


def test_a_family_of_none_and_of_one() -> None:
    assert holm([]) == benjamini_hochberg([]) == ()
    assert holm([0.03]) == benjamini_hochberg([0.03]) == (0.03,)


@pytest.mark.parametrize(
    ("p", "tost_p", "expected"),
    [
        ([0.02], [0.3], Readings(0.02, 0.3, 0)),
        ([0.02, 0.9], [0.9, 0.01], Readings(0.9, 0.02, 1)),
        ([0.02, 0.01, 0.03], [1.0, 1.0, 1.0], Readings(0.03, 1.0, 2)),  # no margin
        ([0.02, None], [0.4, None], Readings(1.0, 0.8, 0)),  # nobody ran the other: a chance still
        ([None, 0.02, 0.03], [None, 0.9, 0.01], Readings(1.0, 0.03, 2)),
        ([0.02, 0.03], [0.6, 0.7], Readings(0.03, 1.0, 0)),
        ([None, None], [None, None], Readings(1.0, 1.0, None)),
        ([], [], Readings(1.0, 1.0, None)),
    ],
)
def test_a_claim_over_its_readings(
    p: list[float | None], tost_p: list[float | None], expected: Readings
) -> None:
    assert over_readings(p, tost_p) == expected


def test_a_claim_is_reproduced_by_chance_no_oftener_for_having_readings() -> None:
    rng, n = np.random.default_rng(4), 4000
    chances = rng.uniform(size=(n, 3))  # equivalence fails in truth under all three readings
    found = [over_readings([0.5] * 3, row).tost_p for row in chances.tolist()]
    assert np.mean(np.array(found) < 0.05) < 0.05 + 4 * sqrt(0.05 * 0.95 / n)
    assert np.mean(chances.min(axis=1) < 0.05) > 0.1
    with pytest.raises(ValueError, match="zip"):
        over_readings([0.5], [])


def test_readings_measured_because_the_planned_one_failed_are_no_further_chance() -> None:
    """The planned reading first; the six others only where it shows no equivalence."""
    rng, n = np.random.default_rng(5), 4000
    chances = rng.uniform(size=(n, 7)).tolist()  # equivalence fails in truth under all
    later = [None] * 6

    def passes(chance: list[float]) -> bool:
        planned = over_readings([0.5, *later], [chance[0], *later]).tost_p < 0.05
        return planned or over_readings([0.5] * 7, chance).tost_p < 0.05

    assert np.mean([passes(chance) for chance in chances]) < 0.05 + 4 * sqrt(0.05 * 0.95 / n)
    counting_those_measured = [c[0] < 0.05 or 7 * min(c) < 0.05 for c in chances]
    assert np.mean(counting_those_measured) > 0.07
