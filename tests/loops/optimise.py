"""What changes parameters, one number at a time: SGD, LARS, the EMA twin, and their schedules.

Parameters are lists of matrices (a vector is a matrix of one row).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from tests.loops.contrast import Matrix, dot

Parameters = Sequence[Matrix]
Number = Callable[..., Decimal]

DIGITS, STEP = 34, Decimal("1e-10")  # differences: errors of about 1e-20


def each(rule: Number, *parameters: Parameters) -> list[list[list[Decimal]]]:
    """A rule of single numbers at every place of some parameters of the same shapes."""
    return [
        [[rule(*numbers) for numbers in zip(*rows, strict=True)] for rows in zip(*m, strict=True)]
        for m in zip(*parameters, strict=True)
    ]


def zeros(parameters: Parameters) -> list[list[list[Decimal]]]:
    return each(lambda _: Decimal(0), parameters)


def slopes(loss: Callable[[Parameters], Decimal], at: Parameters) -> list[list[list[Decimal]]]:
    """The gradient by central differences."""
    with localcontext(prec=DIGITS):

        def slope(m: int, i: int, j: int) -> Decimal:
            moved = each(lambda x: x, at)
            moved[m][i][j] = at[m][i][j] + STEP
            above = loss(moved)
            moved[m][i][j] = at[m][i][j] - STEP
            return (above - loss(moved)) / (2 * STEP)

        return [
            [[slope(m, i, j) for j in range(len(row))] for i, row in enumerate(matrix)]
            for m, matrix in enumerate(at)
        ]


@dataclass(frozen=True)
class Rule:
    """The settings of an optimiser."""

    lr: Decimal
    momentum: Decimal = Decimal(0)
    decay: Decimal = Decimal(0)
    trust: Decimal = Decimal(0)


def sgd(
    weights: Parameters, gradient: Parameters, velocity: Parameters, rule: Rule
) -> tuple[Parameters, Parameters]:
    """v <- m v + g + wd w, then w <- w - lr v: the new weights and velocity."""
    moving = each(
        lambda w, g, v: rule.momentum * v + g + rule.decay * w, weights, gradient, velocity
    )
    return each(lambda w, v: w - rule.lr * v, weights, moving), moving


def length(matrix: Matrix) -> Decimal:
    return Decimal(sum(dot(row, row) for row in matrix)).sqrt()


def lars(
    weights: Parameters, gradient: Parameters, velocity: Parameters, rule: Rule
) -> tuple[Parameters, Parameters]:
    """SimCLR's form (You et al. 2017): g <- g + wd w, v <- m v + lr eta |w|/|g| g, w <- w - v.

    Without a norm of both, the ratio is 1. A matrix of one row stands for a vector (a bias, a
    batch norm), which has neither decay nor ratio.
    """
    moving = []
    for w, g, v in zip(weights, gradient, velocity, strict=True):
        decay, rate = (rule.decay if len(w) > 1 else 0), rule.lr
        [decayed] = each(lambda a, b, decay=decay: b + decay * a, [w], [g])
        size, slope = length(w), length(decayed)
        if len(w) > 1 and size > 0 and slope > 0:
            rate *= rule.trust * size / slope
        moving += each(lambda a, b, rate=rate: rule.momentum * a + rate * b, [v], [decayed])
    return each(lambda w, v: w - v, weights, moving), moving


def learning_rate(
    epoch: int, epochs: int, warmup: int, lowest: Decimal, highest: Decimal
) -> Decimal:
    """SSCL's rate in epoch 1, 2, ...: linear from `lowest` for `warmup` epochs, then a cosine."""
    if epoch <= warmup:
        return lowest + (highest - lowest) * (epoch - 1) / warmup
    turn = Decimal(math.cos(math.pi * (epoch - 1 - warmup) / (epochs - warmup)))
    return lowest + (highest - lowest) * (1 + turn) / 2


def momentum_at(step: int, steps: int, base: Decimal) -> Decimal:
    """1 - (1 - base) (cos(pi k / K) + 1) / 2 after step k of K (Grill et al. 2020, BYOL, 3.3).

    The momentum thus ends at 1. The code of BYOL's and DINO's authors counts k from 0.
    """
    return 1 - (1 - base) * (Decimal(math.cos(math.pi * step / steps)) + 1) / 2


def follow(twin: Parameters, online: Parameters, momentum: Decimal) -> list[list[list[Decimal]]]:
    """The twin, m of itself and 1 - m of the online network."""
    return each(lambda t, o: momentum * t + (1 - momentum) * o, twin, online)
