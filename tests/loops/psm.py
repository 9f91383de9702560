"""PSM (Dong and Long 2023, arXiv 2311.00358), one anchor and one candidate at a time.

The paper's equations are not to be had; these are what its authors' released model computes.
q: the predictor's output of a view. h: the projector's. k: the other view's key. Every sample has
a group: its key and the key's nearest entries of the bank. Groups and the choice of accepted
negatives are constants to the losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from tests.loops.contrast import Matrix, Vector, add, dot, others, partner, unit

CEILING = Decimal("0.999")
Kept = Sequence[Sequence[bool]]


def chance(s: Decimal, positive: Decimal, sharpness: Decimal, shift: Decimal) -> Decimal:
    """pi = e^{-a (s - s+ - b)^2}, at most 0.999."""
    return min((-sharpness * (s - positive - shift) ** 2).exp(), CEILING)


def nearest(key: Vector, bank: Matrix, count: int) -> list[Vector]:
    """The `count` entries of the bank most similar to the key, most similar first."""
    k = unit(key)
    return sorted(bank, key=lambda entry: -dot(k, unit(entry)))[:count]


def groups(keys: Matrix, bank: Matrix, count: int) -> list[list[Vector]]:
    """Each sample's key, then its neighbours, all of length one."""
    return [[unit(u) for u in [key, *nearest(key, bank, count)]] for key in keys]


def weights(head: Vector, group: Matrix, soft: bool) -> list[Decimal]:
    """1 for the key; for its neighbours u the softmax of h.u (of unit vectors), or 1 each."""
    if not soft:
        return [Decimal(1)] * len(group)
    h = unit(head)
    scores = [dot(h, u).exp() for u in group[1:]]
    return [Decimal(1)] + [score / add(scores) for score in scores]


def accept_groups(
    queries: Matrix,
    groups: Sequence[Matrix],
    draws: Sequence[Vector],
    sharpness: Decimal,
    shift: Decimal,
) -> list[list[bool]]:
    """Which entries of all groups, one after the other, are kept: those whose draw is below pi."""
    kept = []
    for i, query in enumerate(queries):
        q = unit(query)
        entries = [u for group in groups for u in group]
        positive = dot(q, groups[i][0])
        pairs = zip(entries, draws[i], strict=True)
        kept.append([draw < chance(dot(q, u), positive, sharpness, shift) for u, draw in pairs])
    return kept


def group_loss(
    queries: Matrix,
    heads: Matrix,
    groups: Sequence[Matrix],
    kept: Kept,
    temperature: Decimal,
    soft: bool,
) -> Decimal:
    """Sum over the own group of w (-log e^{s/t} / D), mean over the anchors.

    D holds the own group, unweighted, and the kept entries of all other groups.
    """
    losses = []
    for i, query in enumerate(queries):
        q = unit(query)
        own = [(dot(q, u) / temperature).exp() for u in groups[i]]
        rest = [
            (dot(q, u) / temperature).exp()
            for j, group in enumerate(groups)
            for slot, u in enumerate(group)
            if j != i and kept[i][j * len(group) + slot]
        ]
        whole = add(own) + add(rest)
        shares = zip(weights(heads[i], groups[i], soft), own, strict=True)
        losses.append(add([-w * (e / whole).ln() for w, e in shares]))
    return add(losses) / len(losses)


def accept_instances(
    queries: Matrix,
    keys: Matrix,
    draws: Sequence[Vector],
    sharpness: Decimal,
    shift: Decimal,
    raw: bool,
) -> list[list[bool]]:
    """Which of the rows [q; k] each row keeps, from their products as they are or from cosines."""
    rows = [*queries, *keys] if raw else [unit(row) for row in [*queries, *keys]]
    kept = []
    for i, row in enumerate(rows):
        positive = dot(row, rows[partner(i, len(rows))])
        pairs = zip(rows, draws[i], strict=True)
        kept.append([draw < chance(dot(row, r), positive, sharpness, shift) for r, draw in pairs])
    return kept


def instance_loss(queries: Matrix, keys: Matrix, kept: Kept, temperature: Decimal) -> Decimal:
    """-log e^{s+/t} / (e^{s+/t} + kept), mean over the 2B rows [q; k]; from cosines always."""
    rows = [unit(row) for row in [*queries, *keys]]
    losses = []
    for i, row in enumerate(rows):
        p = (dot(row, rows[partner(i, len(rows))]) / temperature).exp()
        rest = [(dot(row, rows[j]) / temperature).exp() for j in others(i, len(rows)) if kept[i][j]]
        losses.append(-(p / (p + add(rest))).ln())
    return add(losses) / len(losses)


def total(
    grouped: tuple[Decimal, Decimal], instance: tuple[Decimal, Decimal], share: Decimal
) -> Decimal:
    """The mean of both directions of the group loss, and `share` times that of the other."""
    return add(grouped) / 2 + share * add(instance) / 2
