"""The gradient of a scalar function of a matrix by central differences."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from tests.loops.contrast import Matrix

STEP = Decimal("1e-8")  # with 28 digits both the step's and the rounding's error stay below 1e-14


def gradient(function: Callable[[Matrix], Decimal], at: Matrix) -> list[list[Decimal]]:
    def shifted(i: int, j: int, by: Decimal) -> Decimal:
        moved = [list(row) for row in at]
        moved[i][j] += by
        return function(moved)

    return [
        [(shifted(i, j, STEP) - shifted(i, j, -STEP)) / (2 * STEP) for j in range(len(row))]
        for i, row in enumerate(at)
    ]
