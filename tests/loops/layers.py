"""Layers of tiny networks, one number at a time.

A batch is a list of rows. A parameter is a matrix: a weight has a row per output, a bias is one
row.
"""

from __future__ import annotations

from decimal import Decimal

from tests.loops.contrast import Matrix, Vector, add, dot, unit

EPS = Decimal("1e-5")


def linear(rows: Matrix, weight: Matrix, bias: Matrix | None = None) -> list[list[Decimal]]:
    shift = bias[0] if bias else [Decimal(0)] * len(weight)
    return [[dot(row, w) + b for w, b in zip(weight, shift, strict=True)] for row in rows]


def relu(rows: Matrix) -> list[list[Decimal]]:
    return [[max(x, Decimal(0)) for x in row] for row in rows]


def batch_norm(
    rows: Matrix, scale: Matrix | None = None, shift: Matrix | None = None
) -> list[list[Decimal]]:
    """Each column less its mean, over its standard deviation in this batch (as in training)."""
    columns = []
    for c, column in enumerate(zip(*rows, strict=True)):
        mean = add(column) / len(column)
        spread = (add([(x - mean) ** 2 for x in column]) / len(column) + EPS).sqrt()
        gain, offset = (scale[0][c] if scale else 1), (shift[0][c] if shift else 0)
        columns.append([gain * (x - mean) / spread + offset for x in column])
    return [list(row) for row in zip(*columns, strict=True)]


def erf(x: Decimal) -> Decimal:
    """By its power series, which serves for moderate x."""
    root = Decimal("3.14159265358979323846264338327950288419716939937511").sqrt()
    power, total, n = x, Decimal(0), 0
    while total + power / (2 * n + 1) != total:
        total += power / (2 * n + 1)
        n += 1
        power *= -x * x / n
    return 2 * total / root


def gelu(rows: Matrix) -> list[list[Decimal]]:
    half = Decimal(2).sqrt()
    return [[x * (1 + erf(x / half)) / 2 for x in row] for row in rows]


def unit_rows(rows: Matrix) -> list[Vector]:
    return [unit(row) for row in rows]


def prototypes(rows: Matrix, weight: Matrix) -> list[list[Decimal]]:
    """The cosines with the prototypes: rows and weights of length one (DINO's last layer)."""
    return [[dot(unit(row), unit(w)) for w in weight] for row in rows]
