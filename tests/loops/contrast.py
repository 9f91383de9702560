"""The in-batch losses as the papers print them: one anchor and one negative at a time.

Slow on purpose and independent of `reclaim.learning`. A number is a Decimal: 28 digits, and an
exponent wide enough for e^{s/temperature} at any temperature, so the formulas stand as printed.
A vector is a list; the 2B rows are view 1, then view 2. What a loss must not differentiate (the
choice of the hardest, the draws, the synthetic vectors) is made by `synthesise` and is a constant
to `loss`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

Vector = Sequence[Decimal]
Matrix = Sequence[Vector]


@dataclass(frozen=True)
class Draw:
    """One synthetic's draw: ranks of its two parents among the hardest (0 = hardest), and alpha."""

    first: int
    second: int
    alpha: Decimal


def add(terms: Sequence[Decimal]) -> Decimal:
    return sum(terms, start=Decimal(0))


def dot(u: Vector, v: Vector) -> Decimal:
    return add([a * b for a, b in zip(u, v, strict=True)])


def unit(u: Vector) -> Vector:
    norm = dot(u, u).sqrt()
    return [a / norm for a in u]


def unit_rows(z1: Matrix, z2: Matrix) -> list[Vector]:
    return [unit(z) for z in [*z1, *z2]]


def partner(i: int, rows: int) -> int:
    """Row of the other view of row i's image."""
    return (i + rows // 2) % rows


def others(i: int, rows: int) -> list[int]:
    """Q_i: every row but the anchor and its positive."""
    return [j for j in range(rows) if j not in (i, partner(i, rows))]


def hardest(units: Matrix, i: int, count: int) -> list[int]:
    """The `count` members of Q_i most similar to row i, most similar first."""
    return sorted(others(i, len(units)), key=lambda j: -dot(units[i], units[j]))[:count]


def synthesise(
    z1: Matrix, z2: Matrix, draws: Sequence[Sequence[Draw]], count: int, mix: bool = True
) -> list[list[Vector]]:
    """H_i of every anchor (SSCL, Eq. 2): normalised mixes of two of its `count` hardest negatives.

    Without `mix` the first parent is copied, as the authors' released file does.
    """
    units = unit_rows(z1, z2)
    made: list[list[Vector]] = []
    for i in range(len(units)):
        parents = hardest(units, i, count)
        made.append([])
        for draw in draws[i]:
            a, b = units[parents[draw.first]], units[parents[draw.second]]
            mixed = [draw.alpha * p + (1 - draw.alpha) * q for p, q in zip(a, b, strict=True)]
            made[i].append(unit(mixed) if mix else a)
    return made


def negative_term(
    positive: Decimal, negatives: Vector, temperature: Decimal, prior: Decimal, beta: Decimal
) -> Decimal:
    """N g_i of SSCL, Eq. 3, from cosines: HCL's; DCL's with beta = 0; a plain sum with both 0."""
    n = len(negatives)
    if n == 0:
        return Decimal(0)
    omega = [(beta * s / temperature).exp() for s in negatives]
    r = dot(omega, [(s / temperature).exp() for s in negatives]) / (add(omega) / n)
    debiased = (r - prior * n * (positive / temperature).exp()) / (1 - prior)
    return max(debiased, n * (-1 / temperature).exp())


def similarities(
    units: Matrix, synthetics: Sequence[Matrix] | None
) -> list[tuple[Decimal, list[Decimal]]]:
    """Each anchor's cosine with its positive, and with all negatives."""
    found = []
    for i, anchor in enumerate(units):
        negatives = [units[j] for j in others(i, len(units))]
        negatives += synthetics[i] if synthetics else []
        positive = dot(anchor, units[partner(i, len(units))])
        found.append((positive, [dot(anchor, n) for n in negatives]))
    return found


def loss(
    z1: Matrix,
    z2: Matrix,
    temperature: Decimal,
    prior: Decimal,
    beta: Decimal,
    synthetics: Sequence[Matrix] | None = None,
) -> Decimal:
    """SSCL, Eq. 4, mean over the 2B anchors; `synthetics` holds each anchor's, constants."""
    losses = []
    for positive, negatives in similarities(unit_rows(z1, z2), synthetics):
        p = (positive / temperature).exp()
        ng = negative_term(positive, negatives, temperature, prior, beta)
        losses.append(-(p / (p + ng)).ln())
    return add(losses) / len(losses)


def nt_xent(z1: Matrix, z2: Matrix, temperature: Decimal) -> Decimal:
    """SimCLR's loss (SSCL, Eq. 1): the denominator holds every row but the anchor."""
    units = unit_rows(z1, z2)
    losses = []
    for i, anchor in enumerate(units):
        score = [(dot(anchor, other) / temperature).exp() for other in units]
        rest = add([s for j, s in enumerate(score) if j != i])
        losses.append(-(score[partner(i, len(units))] / rest).ln())
    return add(losses) / len(units)
