"""The audit's probabilities against those of scipy and statsmodels."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportions_ztest

from reclaim.inference.audit.exact import Bounds, binomial_tail, holm, mcnemar
from reclaim.inference.audit.pairing import unpaired

CLOSE = 1e-10


@pytest.mark.parametrize("trials", [50, 1999, 2001, 10_000])
@pytest.mark.parametrize("chance", [Fraction(1, 2), Fraction(4, 9), Fraction(4, 199)])
def test_tails_agree_with_scipy(trials: int, chance: Fraction) -> None:
    spread = int((trials * chance * (1 - chance)) ** 0.5) + 1
    middle = int(trials * chance)
    for most in range(max(0, middle - 6 * spread), min(trials, middle + 3 * spread), spread):
        ours = float(binomial_tail(most, trials, chance))
        assert ours == pytest.approx(binom.cdf(most, trials, float(chance)), rel=CLOSE)


@pytest.mark.parametrize(
    ("gap", "fewer"), [(0, 0), (1, 7), (6, 0), (6, 1), (30, 100), (130, 3999), (29, 1380)]
)
def test_mcnemar_agrees_with_statsmodels_and_scipy(gap: int, fewer: int) -> None:
    ours = float(mcnemar(gap, fewer))
    table = [[5, gap + fewer], [fewer, 9]]
    assert ours == pytest.approx(their_mcnemar(table, exact=True).pvalue, rel=CLOSE)
    if gap + fewer:
        theirs = binomtest(fewer, gap + 2 * fewer, 0.5).pvalue
        assert ours == pytest.approx(theirs, rel=CLOSE)


def test_mcnemar_agrees_with_mlxtend() -> None:
    evaluate = pytest.importorskip("mlxtend.evaluate")
    for gap, fewer in ((6, 1), (30, 100), (130, 900)):
        table = np.array([[5, gap + fewer], [fewer, 9]])
        theirs = evaluate.mcnemar(ary=table, exact=True)[1]
        assert float(mcnemar(gap, fewer)) == pytest.approx(theirs, rel=CLOSE)


def test_holm_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(4)
    for size in (1, 2, 3, 20):
        values = [Fraction(int(k), 600) for k in rng.integers(1, 61, size)]
        adjusted = holm([Bounds.of(value) for value in values])
        theirs = multipletests([float(p) for p in values], method="holm")[1]
        assert [float(p) for p in adjusted] == pytest.approx(theirs, rel=CLOSE)


@pytest.mark.parametrize(
    ("one", "other", "images"), [(8620, 8591, 10_000), (119, 117, 192), (5, 9, 10), (3, 0, 7)]
)
def test_two_separate_test_sets_agree_with_statsmodels(one: int, other: int, images: int) -> None:
    theirs = proportions_ztest([one, other], [images, images])[1]
    assert unpaired(one, other, images) == pytest.approx(theirs, rel=CLOSE)
