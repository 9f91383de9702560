"""The slow loops themselves, against numbers worked out by hand."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from tests.loops.contrast import Draw, hardest, loss, nt_xent, synthesise
from tests.loops.differences import gradient
from tests.loops.steps import contrast, harden

ONE, ZERO = Decimal(1), Decimal(0)
HALF, TENTH = Decimal("0.5"), Decimal("0.1")


def at_angles(*degrees: float) -> list[list[Decimal]]:
    """Plane vectors of length 2 (the loops normalise) at the given angles."""
    turns = [math.radians(angle) for angle in degrees]
    return [[Decimal(2 * math.cos(t)), Decimal(2 * math.sin(t))] for t in turns]


def test_orthogonal_pairs_have_the_closed_form() -> None:
    """Two identical pairs at a right angle: s+ = 1 and two negatives at cosine 0."""
    z = at_angles(0, 90)
    assert float(nt_xent(z, z, HALF)) == pytest.approx(math.log(1 + 2 * math.exp(-2)))
    assert float(loss(z, z, HALF, ZERO, ZERO)) == pytest.approx(math.log(1 + 2 * math.exp(-2)))
    g = (2 - 0.1 * 2 * math.exp(2)) / 0.9
    assert float(loss(z, z, HALF, TENTH, ONE)) == pytest.approx(math.log(1 + g * math.exp(-2)))
    clamped = math.log(1 + 2 * math.exp(-4))
    assert float(loss(z, z, HALF, HALF, ONE)) == pytest.approx(clamped)


def test_weights_of_two_unequal_negatives() -> None:
    """Pairs at 0/0 and 60/180 degrees; HCL's weighted sum, anchor by anchor, in plain floats."""

    def anchor(positive: float, a: float, b: float) -> float:
        e = [math.exp(s / 0.5) for s in (a, b)]
        weighted = 2 * (e[0] ** 3 + e[1] ** 3) / (e[0] ** 2 + e[1] ** 2)
        g = (weighted - 0.1 * 2 * math.exp(positive / 0.5)) / 0.9
        return -math.log(
            math.exp(positive / 0.5) / (math.exp(positive / 0.5) + max(g, 2 * math.exp(-1 / 0.5)))
        )

    expected = [
        anchor(1, 0.5, -1),
        anchor(1, 0.5, -1),
        anchor(-0.5, 0.5, 0.5),
        anchor(-0.5, -1, -1),
    ]
    value = loss(at_angles(0, 60), at_angles(0, 180), HALF, TENTH, Decimal(2))
    assert float(value) == pytest.approx(sum(expected) / 4)


def test_synthetics_of_known_draws() -> None:
    """Halfway between the negatives at 20 and 40 degrees lies the one at 30."""
    z1, z2 = at_angles(0, 20), at_angles(5, 40)
    units = [*at_angles(0), *at_angles(20), *at_angles(5), *at_angles(40)]
    assert hardest(units, 0, 2) == [1, 3]
    draws = [[Draw(0, 1, HALF), Draw(1, 0, ONE)] for _ in range(4)]
    mixed = synthesise(z1, z2, draws, 2)[0]
    assert [float(x) for x in mixed[0]] == pytest.approx([math.cos(math.pi / 6), 0.5])
    assert float(mixed[1][0]) == pytest.approx(math.cos(math.radians(40)))
    copied = synthesise(z1, z2, draws, 2, mix=False)[0]
    assert float(copied[0][0]) == pytest.approx(math.cos(math.radians(20)))


def test_one_row_functions_agree_with_the_printed_loss() -> None:
    z1, z2 = at_angles(0, 60), at_angles(10, 170)
    units = [*at_angles(0, 60), *at_angles(10, 170)]
    cosines = [[(u[0] * v[0] + u[1] * v[1]) / 4 for v in units] for u in units]
    rows = []
    for i, row in enumerate(cosines):
        live = [ZERO if j in (i, (i + 2) % 4) else ONE for j in range(4)]
        weights = harden(row, live, HALF, ONE)
        rows.append(contrast([row[(i + 2) % 4]], row, [ONE], weights, HALF, TENTH))
    assert float(sum(rows, start=ZERO)) / 4 == pytest.approx(float(loss(z1, z2, HALF, TENTH, ONE)))


def test_differences_of_a_known_function() -> None:
    slopes = gradient(lambda m: m[0][0] ** 3 * m[0][1], [[Decimal(2), Decimal(5)]])
    assert [float(s) for s in slopes[0]] == pytest.approx([60, 8], rel=1e-14)
