"""Enlarge Distance as printed (Liu 2024, Eq. 2 and 3.3.3), one pair at a time."""

from __future__ import annotations

from decimal import Decimal

from tests.loops.contrast import Matrix, add, dot, partner, unit_rows


def enlarged(
    cosine: Decimal, threshold: Decimal, delta: Decimal, unit_interval: bool = False
) -> Decimal:
    """sim': less by `delta` where it is below the threshold; from (1 + cos) / 2 if asked for."""
    s = (1 + cosine) / 2 if unit_interval else cosine
    return s - delta if s < threshold else s


def loss(
    z1: Matrix,
    z2: Matrix,
    temperature: Decimal,
    threshold: Decimal,
    delta: Decimal,
    unit_interval: bool = False,
) -> Decimal:
    """Eq. 2: NT-Xent of sim', whose denominator holds every row but the anchor."""
    units = unit_rows(z1, z2)
    losses = []
    for i, anchor in enumerate(units):
        scores = [
            (enlarged(dot(anchor, other), threshold, delta, unit_interval) / temperature).exp()
            for other in units
        ]
        rest = add([s for j, s in enumerate(scores) if j != i])
        losses.append(-(scores[partner(i, len(units))] / rest).ln())
    return add(losses) / len(losses)
