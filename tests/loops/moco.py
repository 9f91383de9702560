"""MoCo and what is built on its queue, as the papers print them: one query, one key at a time.

MoCo (He et al. 2020, Eq. 1 and Algorithm 1), MoCHi (Kalantidis et al. 2020, 3.2 and 3.3) and the
MoCo rows of SSCL (Dong et al. 2024, Eqs. 2-4 over the queue). Keys lie in the queue as the key
encoder made them and are normalised when they are read. Synthetic negatives are constants to
`loss`, as are keys and queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from tests.loops.contrast import Draw, Matrix, Vector, add, dot, negative_term, unit


@dataclass(frozen=True)
class Queue:
    """Keys, the oldest first, and the image each was made of (None: it was drawn at random)."""

    keys: Matrix
    images: Sequence[int | None]


@dataclass(frozen=True)
class Blend:
    """One draw of MoCHi's type 2: the rank of the negative (0 = hardest), the query's share."""

    rank: int
    share: Decimal


def enqueue(queue: Queue, keys: Matrix, images: Sequence[int]) -> Queue:
    """The newest keys come to the end, as many of the oldest leave."""
    gone = len(keys)
    return Queue([*queue.keys[gone:], *keys], [*queue.images[gone:], *images])


def negatives(queue: Queue, image: int | None) -> list[Vector]:
    """The unit keys of the queue, oldest first, without those of `image` (None: all of them)."""
    return [
        unit(key)
        for key, owner in zip(queue.keys, queue.images, strict=True)
        if image is None or owner != image
    ]


def hardest(query: Vector, queue: Queue, count: int, image: int | None) -> list[Vector]:
    """The `count` negatives most similar to the query, most similar first."""
    q = unit(query)
    return sorted(negatives(queue, image), key=lambda n: -dot(q, n))[:count]


def between(u: Vector, v: Vector, share: Decimal) -> Vector:
    """`share` of u and the rest of v, normalised."""
    return unit([share * a + (1 - share) * b for a, b in zip(u, v, strict=True)])


def mix_pairs(
    queries: Matrix,
    queue: Queue,
    draws: Sequence[Sequence[Draw]],
    count: int,
    images: Sequence[int | None],
) -> list[list[Vector]]:
    """Mixes of two of each query's hardest keys (MoCHi, type 1; SSCL, Eq. 2)."""
    made: list[list[Vector]] = []
    for query, image, mine in zip(queries, images, draws, strict=True):
        hard = hardest(query, queue, count, image)
        there = len(hard)  # with fewer than `count` a rank counts on from the first; none: no mix
        made.append(
            [between(hard[d.first % there], hard[d.second % there], d.alpha) for d in mine]
            if there
            else []
        )
    return made


def mix_query(
    queries: Matrix,
    queue: Queue,
    draws: Sequence[Sequence[Blend]],
    count: int,
    images: Sequence[int | None],
) -> list[list[Vector]]:
    """Mixes of the query itself, by less than half, and one of its hardest keys (MoCHi, type 2)."""
    made: list[list[Vector]] = []
    for query, image, mine in zip(queries, images, draws, strict=True):
        hard = hardest(query, queue, count, image)
        made.append(
            [between(unit(query), hard[d.rank % len(hard)], d.share) for d in mine] if hard else []
        )
    return made


def loss(
    queries: Matrix,
    keys: Matrix,
    queue: Queue,
    temperature: Decimal,
    images: Sequence[int | None] | None = None,
    synthetics: Sequence[Matrix] | None = None,
    prior: Decimal = Decimal(0),
    beta: Decimal = Decimal(0),
) -> Decimal:
    """-log e^{q.k/t} / (e^{q.k/t} + N g), mean over the queries.

    With neither prior nor beta N g is the sum of e^{q.n/t} over the queue (MoCo, Eq. 1) and over
    the synthetics (MoCHi); otherwise it is SSCL's Eq. 3 with N = all of these. `images` names the
    image of each query whose own old keys are left out (None: nothing is).
    """
    losses = []
    for i, (query, key) in enumerate(zip(queries, keys, strict=True)):
        q = unit(query)
        against = negatives(queue, images[i] if images else None)
        against += synthetics[i] if synthetics else []
        positive = dot(q, unit(key))
        p = (positive / temperature).exp()
        ng = negative_term(positive, [dot(q, n) for n in against], temperature, prior, beta)
        losses.append(-(p / (p + ng)).ln())
    return add(losses) / len(losses)
