"""Distributions that scipy lacks, computes with random numbers, or cannot compute everywhere.

All by quadrature or by counting, so that a p-value is a function of the data alone.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import factorial, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from reclaim.inference.replication.estimates import LEVEL

Floats = NDArray[np.float64]


# --- continuous ----------------------------------------------------------------------------------


def noncentral_t(t: float, df: float, noncentrality: float) -> float:
    """P(T <= t) for Student's t with a noncentrality, t >= 0.

    With T = (Z + δ)/S it is P(Z + δ <= 0) + ∫ φ(w − δ) P(S > w/t) dw over w > 0, smooth where it is
    not negligible. (scipy.special.nctdtr gives NaN or hangs where t is in the hundreds, which
    three seeds that hardly differ reach.)

    >>> round(noncentral_t(2.0, 2, 1.5), 12)
    0.566059545559
    """
    from scipy.special import chdtrc, chdtri, ndtr

    below = float(ndtr(-noncentrality))
    start = max(0.0, noncentrality - 9)
    stop = min(noncentrality + 9, t * sqrt(chdtri(df, 1e-18) / df))
    if stop <= start:
        return below
    w, weights = gauss(start, stop)
    density = np.exp(-((w - noncentrality) ** 2) / 2) / sqrt(2 * pi)
    return below + float(weights @ (density * chdtrc(df, df * (w / t) ** 2)))


def noncentralities(t: float, df: int, level: float = LEVEL) -> tuple[float, float]:
    """The noncentralities at which t is the (1 ± level)/2 quantile: an exact interval."""
    from scipy.optimize import brentq
    from scipy.special import chdtri, ndtri

    if t < 0:
        low, high = noncentralities(-t, df, level)
        return -high, -low
    tail = (1 - level) / 2
    least = -float(ndtri(1 - tail)) - 1  # P(T <= t) is above P(T <= 0) = Φ(−noncentrality)
    most = t * sqrt(chdtri(df, tail / 100) / df) + 10
    low, high = (
        float(brentq(lambda x, p: noncentral_t(t, df, x) - p, least, most, (p,), xtol=1e-12))
        for p in (1 - tail, tail)
    )
    return low, high


def dunnett(t: float, others: int, df: int) -> float:
    """P(T_j <= t for all j), T_j = (Z_j − Z_0)/(√2 S): one-sided, correlations ½ (Dunnett 1955).

    E over S (χ²/df) of ∫ φ(z) Φ(z + √2 t S)^others dz by Gauss–Legendre quadrature: no random
    numbers, which scipy's and statsmodels' need, so a verdict never hangs on a generator.

    >>> round(dunnett(2.0, 1, 3), 12)  # one other: Student's t
    0.930337015721
    """
    from scipy.special import ndtr

    z, weight_z = gauss(-9, 9)
    s, weight_s = over_chi(df)
    weight_z = weight_z * np.exp(-(z**2) / 2) / sqrt(2 * pi)
    return float(weight_s @ ndtr(z + sqrt(2) * t * s[:, None]) ** others @ weight_z)


def gauss(start: float, stop: float) -> tuple[Floats, Floats]:
    """Nodes and weights of Gauss–Legendre quadrature on an interval."""
    nodes, weights = _legendre()
    half = (stop - start) / 2
    return start + half * (nodes + 1), half * weights


@lru_cache(maxsize=2048)
def over_chi(df: float) -> tuple[Floats, Floats]:
    """Nodes S and weights of an expectation over S = √(χ²/df), a sample's SD over the true one."""
    from scipy.special import chdtri, gammaln

    s, weights = gauss(sqrt(chdtri(df, 1 - 1e-16) / df), sqrt(chdtri(df, 1e-18) / df))
    half = df / 2
    log_density = np.log(2 * df * s) + (half - 1) * np.log(half * s**2) - half * s**2
    return s, weights * np.exp(log_density - gammaln(half)) / 2


@cache
def _legendre() -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(200)


# --- of ranks ------------------------------------------------------------------------------------


@cache
def page_row(settings: int) -> Floats:
    """The distribution of Σ place · rank over all orders, by which ranks the first places took."""
    most = sum(place * place for place in range(1, settings + 1))
    ways: dict[int, Floats] = {0: np.eye(1, most + 1)[0]}
    for place in range(1, settings + 1):
        longer: dict[int, Floats] = {}
        for taken, counts in ways.items():
            for rank in range(1, settings + 1):
                if not taken >> rank & 1:
                    total = longer.setdefault(taken | 1 << rank, np.zeros(most + 1))
                    total[place * rank :] += counts[: most + 1 - place * rank]
        ways = longer
    (counts,) = ways.values()
    return counts / factorial(settings)
