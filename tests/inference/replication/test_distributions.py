"""Distributions against adaptive quadrature, closed forms, tables of the time and counting."""

import doctest
from itertools import pairwise
from math import exp, gamma, lgamma, sqrt

import numpy as np
import pytest
from scipy import integrate, special, stats
from scipy.integrate import quad

from reclaim.inference.replication import distributions
from reclaim.inference.replication.distributions import (
    dunnett,
    noncentral_t,
    noncentralities,
    over_chi,
)

EXACT = {"rel": 1e-10, "abs": 1e-10}


def test_every_example_is_right() -> None:
    found = doctest.testmod(distributions)
    assert found.attempted and not found.failed


def slow_noncentral_t(t: float, df: int, shift: float) -> float:
    """E over S = √(χ²/df) of Φ(tS − shift), by adaptive quadrature in pieces around the step."""

    def integrand(s: float) -> float:
        square = df * s * s
        density = 2 * square ** (df / 2) * exp(-square / 2) / (s or 1) if s or df == 1 else 0.0
        return special.ndtr(t * s - shift) * density / (2 ** (df / 2) * gamma(df / 2))

    step, width = shift / t, 9 / t
    ends = {0.0, *np.clip([step - width, step - width / 9, step, step + width / 9], 0, 12)}
    pieces = sorted({*ends, *np.clip([step + width, 0.5, 1.0, 1.5, 2.5, 5.0], 0, 12), 12.0})
    return sum(quad(integrand, *piece, epsabs=1e-14, limit=200)[0] for piece in pairwise(pieces))


@pytest.mark.parametrize(
    ("t", "df", "shift"),
    [(0.5, 2, 1.0), (2.0, 2, 1.5), (5.0, 4, 3.0), (30, 2, 8.0), (1.2, 19, 4.0), (60, 9, 40.0),
     (520, 2, 90.0), (520, 2, 980.0), (3.0, 1, -1.5), (4000, 4, 5000.0)],
)  # fmt: skip
def test_the_noncentral_t_agrees_with_two_other_engines(t: float, df: int, shift: float) -> None:
    found = noncentral_t(t, df, shift)
    assert found == pytest.approx(slow_noncentral_t(t, df, shift), abs=1e-10)
    if t < 100:  # above, scipy's gives NaN, or does not return
        assert found == pytest.approx(special.nctdtr(df, shift, t), abs=1e-10)


@pytest.mark.parametrize("df", [1, 2, 7, 100])
def test_the_expectation_over_a_standard_deviation(df: int) -> None:
    s, weights = over_chi(df)
    assert weights.sum() == pytest.approx(1, abs=1e-10)
    assert weights @ s**2 == pytest.approx(1, abs=1e-10)
    mean = sqrt(2 / df) * exp(lgamma((df + 1) / 2) - lgamma(df / 2))
    assert weights @ s == pytest.approx(mean, abs=1e-10)


@pytest.mark.parametrize("t", [-4.0, -0.3, 0.0, 0.3, 2.0, 40.0])
@pytest.mark.parametrize("df", [1, 2, 4, 19])
def test_the_noncentralities_are_those_with_the_right_tails(t: float, df: int) -> None:
    low, high = noncentralities(t, df)
    assert special.nctdtr(df, low, t) == pytest.approx(0.975, abs=1e-9)
    assert special.nctdtr(df, high, t) == pytest.approx(0.025, abs=1e-9)


@pytest.mark.parametrize(("others", "df", "tabled"), [(2, 5, 2.44), (4, 10, 2.47), (9, 20, 2.60)])
def test_dunnetts_limits_are_those_he_tabled(others: int, df: int, tabled: float) -> None:
    assert dunnett(tabled - 0.005, others, df) < 0.95 < dunnett(tabled + 0.0051, others, df)


@pytest.mark.parametrize("t", [-1.0, 0.0, 1.5, 4.0])
@pytest.mark.parametrize("df", [2, 7, 60])
def test_dunnetts_probability_agrees_with_two_other_engines(t: float, df: int) -> None:
    assert dunnett(t, 1, df) == pytest.approx(special.stdtr(df, t), **EXACT)

    z = np.linspace(-9, 9, 361)  # the trapezoid rule is all but exact for such a bell
    bell = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()

    def integrand(s: float) -> float:
        inner = float((bell * special.ndtr(z + sqrt(2) * t * s) ** 3).sum())
        return inner * 2 * df * s * float(stats.chi2.pdf(df * s * s, df))

    pieces = (0, 0.7, 1, 1.3, 2, 5, 9)
    slow = sum(integrate.quad(integrand, *piece, epsabs=1e-12)[0] for piece in pairwise(pieces))
    assert dunnett(t, 3, df) == pytest.approx(slow, abs=1e-10)


def test_dunnetts_probability_is_that_of_a_multivariate_t() -> None:
    rng, n = np.random.default_rng(4), 400_000
    z, s = rng.normal(size=(n, 6)), np.sqrt(rng.chisquare(8, n) / 8)
    share = ((z[:, 1:] - z[:, :1]).max(axis=1) / sqrt(2) / s <= 2.0).mean()
    assert abs(share - dunnett(2.0, 5, 8)) < 4 * sqrt(0.1 * 0.9 / n)
