"""One anchor's candidates as plain lists: what a step and the general `contrast` do to them.

For what the printed losses of `contrast.py` do not reach: given weights, several positives, steps
in another order. A candidate of weight 0 is none ("live" = weight > 0). Numbers are Decimals.
"""

from __future__ import annotations

from decimal import Decimal

from tests.loops.contrast import Vector, add, dot


def live(weights: Vector) -> list[int]:
    return [j for j, w in enumerate(weights) if w > 0]


def harden(negatives: Vector, weights: Vector, temperature: Decimal, beta: Decimal) -> Vector:
    """w <- w e^{beta s / temperature}, then to mean 1 over the live ones (HCL; SSCL, Eq. 3)."""
    raw = [w * (beta * s / temperature).exp() for s, w in zip(negatives, weights, strict=True)]
    return [w * len(live(weights)) / add(raw) for w in raw]


def contrast(
    positives: Vector,
    negatives: Vector,
    positive_weights: Vector,
    negative_weights: Vector,
    temperature: Decimal,
    prior: Decimal,
) -> Decimal:
    """Sum over positives of w (log(sum of live e^{s+/t} + G) - s+/t); column 0 debiases G."""
    chosen, n = live(positive_weights), len(live(negative_weights))
    g = dot(negative_weights, [(s / temperature).exp() for s in negatives])
    if prior > 0:
        false = prior * n * (positives[0] / temperature).exp()
        g = max((g - false) / (1 - prior), n * (-1 / temperature).exp())
    top = add([(positives[p] / temperature).exp() for p in chosen])
    return add(
        [positive_weights[p] * ((top + g).ln() - positives[p] / temperature) for p in chosen]
    )
