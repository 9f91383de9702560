"""BYOL's loss as printed (Grill et al. 2020, Eqs. 2 and 3), one image at a time."""

from __future__ import annotations

from decimal import Decimal

from tests.loops.contrast import Matrix, add, dot, unit


def regress(predictions: Matrix, targets: Matrix) -> Decimal:
    """|p - k|^2 of the unit vectors p and k, which is 2 - 2 cos(p, k); mean over the images."""
    found = []
    for prediction, target in zip(predictions, targets, strict=True):
        apart = [a - b for a, b in zip(unit(prediction), unit(target), strict=True)]
        found.append(dot(apart, apart))
    return add(found) / len(found)


def loss(p1: Matrix, p2: Matrix, k1: Matrix, k2: Matrix) -> Decimal:
    """The mean of both directions: each view's prediction against the other view's target.

    The paper takes their sum, twice this.
    """
    return (regress(p1, k2) + regress(p2, k1)) / 2
