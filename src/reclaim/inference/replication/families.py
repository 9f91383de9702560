"""Many tests at once: a paper's claims, the registry's claims, a claim's readings.

Within a paper Holm's adjusted p-values decide, those of differences and those of equivalences each
a family of its own. A claim without a margin has no equivalence test and is in that family not.
Statsmodels has both; importing it takes longer than judging a scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Readings:
    """A claim over its readings, by their place: which fits `best`, and the claim's p-values."""

    p: float
    tost_p: float
    best: int | None


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values of one family, in the given order (Holm 1979).

    All below α are false hypotheses, but with a probability of at most α, however the tests hang
    together.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order, n = sorted(range(len(p)), key=lambda i: p[i]), len(p)
    stepped = accumulate((min(1.0, (n - rank) * p[i]) for rank, i in enumerate(order)), max)
    return _in_place(order, stepped)


def benjamini_hochberg(p: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values of one family, in the given order (Benjamini & Hochberg 1995).

    Of those below α a share of at most α is expected to be wrong, for independent or positively
    dependent tests. For an overview, not for a verdict.

    >>> benjamini_hochberg([0.02, 0.5, 0.03])
    (0.045, 0.5, 0.045)
    """
    order, n = sorted(range(len(p)), key=lambda i: -p[i]), len(p)
    stepped = accumulate((n / (n - rank) * p[i] for rank, i in enumerate(order)), min)
    return _in_place(order, stepped)


def over_readings(p: Sequence[float | None], tost_p: Sequence[float | None]) -> Readings:
    """One claim from its R readings, unadjusted; None for a reading that was not measured.

    A paper is charged only with what fails under all readings: `p` is the largest, and 1 as long
    as one was not measured. R readings are R chances to be equivalent: `tost_p` is R times the
    smallest (Bonferroni), R counting them all: which ones are measured may depend on what the first
    showed. `best` has the smallest `tost_p`, or where no reading has an equivalence test (all 1)
    the largest `p`.

    >>> over_readings([0.001, 0.4], [0.9, 0.02])
    Readings(p=0.4, tost_p=0.04, best=1)
    """
    measured = [
        (tost, -different, place)
        for place, (different, tost) in enumerate(zip(p, tost_p, strict=True))
        if different is not None and tost is not None
    ]
    if not measured:
        return Readings(1.0, 1.0, None)
    smallest, _, best = min(measured)
    largest = max(-minus for _, minus, _ in measured) if len(measured) == len(p) else 1.0
    return Readings(largest, min(1.0, len(p) * smallest), best)


def _in_place(order: Sequence[int], stepped: Iterable[float]) -> tuple[float, ...]:
    """Adjusted p-values, back in the order in which the tests were given."""
    return tuple(p for _, p in sorted(zip(order, stepped, strict=True)))
