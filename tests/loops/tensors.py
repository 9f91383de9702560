"""Tensors as the exact numbers of the loops."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from torch import Tensor

from tests.loops.contrast import Draw


def exact(values: Tensor) -> list[Any]:
    """A tensor as nested lists of Decimals, digit for digit."""
    if values.dim() == 1:
        return [Decimal(value) for value in values.tolist()]
    return [exact(row) for row in values]


def exact_draws(first: Tensor, second: Tensor, alpha: Tensor) -> list[list[Draw]]:
    """The (anchors, synthetics) draws of `draw_pairs`, one list an anchor."""
    rows = zip(first.tolist(), second.tolist(), exact(alpha), strict=True)
    return [[Draw(*draw) for draw in zip(a, b, c, strict=True)] for a, b, c in rows]
