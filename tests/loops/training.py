"""Some steps of training by each method that has an EMA twin, in the order of its original.

A network is a function of parameters and a batch; its gradient is taken by differences. A step's
record holds what stood after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from tests.loops import byol, dino, moco, psm
from tests.loops.contrast import Draw, Matrix, Vector
from tests.loops.moco import Blend, Queue
from tests.loops.optimise import Parameters, Rule, follow, sgd, slopes, zeros

Network = Callable[[Parameters, Matrix], Matrix]


@dataclass(frozen=True)
class Record:
    """The loss of a step; the parameters, queue and centre after it."""

    loss: Decimal
    online: Parameters
    twin: Parameters
    velocity: Parameters
    queue: Queue
    centre: Vector


def start(online: Parameters, twin: int, queue: Queue | None = None, prototypes: int = 0) -> Record:
    """The twin begins as a copy of the first `twin` parameters, the centre as 0."""
    return Record(
        loss=Decimal(0),
        online=online,
        twin=online[:twin],
        velocity=zeros(online),
        queue=queue or Queue([], []),
        centre=[Decimal(0)] * prototypes,
    )


def descend(state: Record, loss: Callable[[Parameters], Decimal], rule: Rule) -> Record:
    """One step of SGD on the online parameters."""
    gradient = slopes(loss, state.online)
    online, velocity = sgd(state.online, gradient, state.velocity, rule)
    return replace(state, loss=loss(state.online), online=online, velocity=velocity)


@dataclass(frozen=True)
class Mixing:
    """MoCHi's and SSCL's settings and a step's draws; `blends` are of type 2."""

    hardest: int
    pairs: Sequence[Sequence[Draw]] | None = None
    blends: Sequence[Sequence[Blend]] | None = None


def synthetics(
    queries: Matrix, queue: Queue, images: Sequence[int | None], mixing: Mixing
) -> list[list[Vector]]:
    """Both types of mixes, each of the queue's own keys."""
    made: list[list[Vector]] = [[] for _ in queries]
    if mixing.pairs:
        found = moco.mix_pairs(queries, queue, mixing.pairs, mixing.hardest, images)
        made = [[*a, *b] for a, b in zip(made, found, strict=True)]
    if mixing.blends:
        found = moco.mix_query(queries, queue, mixing.blends, mixing.hardest, images)
        made = [[*a, *b] for a, b in zip(made, found, strict=True)]
    return made


def moco_step(
    state: Record,
    encode: Network,
    views: tuple[Matrix, Matrix],
    images: Sequence[int],
    rule: Rule,
    momentum: Decimal,
    temperature: Decimal,
    mask_own: bool = False,
    mixing: Mixing | None = None,
    prior: Decimal = Decimal(0),
    beta: Decimal = Decimal(0),
) -> Record:
    """The twin follows, makes the keys of view 2; loss of view 1; the keys join the queue."""
    twin = follow(state.twin, state.online, momentum)
    keys = encode(twin, views[1])
    masked: Sequence[int | None] = images if mask_own else [None] * len(images)
    made = None
    if mixing:
        made = synthetics(encode(state.online, views[0]), state.queue, masked, mixing)

    def loss(online: Parameters) -> Decimal:
        queries = encode(online, views[0])
        return moco.loss(queries, keys, state.queue, temperature, masked, made, prior, beta)

    after = descend(state, loss, rule)
    return replace(after, twin=twin, queue=moco.enqueue(state.queue, keys, images))


def byol_step(
    state: Record,
    encode: Network,
    predict: Network,
    views: tuple[Matrix, Matrix],
    rule: Rule,
    momentum: Decimal,
) -> Record:
    """Both views through both networks; then the twin follows what the step made of the other.

    The online parameters are those of the encoder, of which the twin has as many, and then those
    of the predictor.
    """
    own = len(state.twin)
    k1, k2 = encode(state.twin, views[0]), encode(state.twin, views[1])

    def loss(online: Parameters) -> Decimal:
        p1, p2 = (predict(online[own:], encode(online[:own], view)) for view in views)
        return byol.loss(p1, p2, k1, k2)

    after = descend(state, loss, rule)
    return replace(after, twin=follow(state.twin, after.online[:own], momentum))


def dino_step(
    state: Record,
    encode: Network,
    crops: Sequence[Matrix],
    rule: Rule,
    momentum: Decimal,
    temperatures: tuple[Decimal, Decimal],
    centre_momentum: Decimal,
) -> Record:
    """The loss by the old centre, then the new centre; the teacher follows after the step.

    `temperatures` are the teacher's and the student's; the first two crops are the global ones.
    """
    teachers = [encode(state.twin, crop) for crop in crops[:2]]

    def loss(online: Parameters) -> Decimal:
        students = [encode(online, crop) for crop in crops]
        return dino.loss(students, teachers, state.centre, *temperatures)

    after = descend(state, loss, rule)
    return replace(
        after,
        centre=dino.recentre(state.centre, teachers, centre_momentum),
        twin=follow(state.twin, after.online, momentum),
    )


@dataclass(frozen=True)
class Mining:
    """PSM's settings, and a step's draws: of both directions, for groups and for instances."""

    neighbours: int
    soft: bool
    raw: bool
    grouped: Sequence[Sequence[Vector]]
    instance: Sequence[Sequence[Vector]]
    sharpness: Decimal = Decimal("0.5")
    shift: Decimal = Decimal(0)
    share: Decimal = Decimal(1)


def psm_step(
    state: Record,
    encode: Network,
    predict: Network,
    views: tuple[Matrix, Matrix],
    images: Sequence[int],
    rule: Rule,
    momentum: Decimal,
    temperature: Decimal,
    mining: Mining,
) -> Record:
    """The twin follows; both views' groups come of the same bank; view 2's keys join it."""
    own = len(state.twin)
    twin = follow(state.twin, state.online[:own], momentum)
    keys = [encode(twin, view) for view in views]
    groups = [psm.groups(k, state.queue.keys, mining.neighbours) for k in keys]
    shape = (mining.sharpness, mining.shift)

    def outputs(online: Parameters) -> list[tuple[Matrix, Matrix]]:
        heads = [encode(online[:own], view) for view in views]
        return [(predict(online[own:], h), h) for h in heads]

    queries = [q for q, _ in outputs(state.online)]
    kept = [
        (
            psm.accept_groups(queries[a], groups[1 - a], mining.grouped[a], *shape),
            psm.accept_instances(queries[a], keys[1 - a], mining.instance[a], *shape, mining.raw),
        )
        for a in (0, 1)
    ]

    def loss(online: Parameters) -> Decimal:
        grouped, instance = [], []
        for a, (q, h) in enumerate(outputs(online)):
            grouped.append(
                psm.group_loss(q, h, groups[1 - a], kept[a][0], temperature, mining.soft)
            )
            instance.append(psm.instance_loss(q, keys[1 - a], kept[a][1], temperature))
        return psm.total((grouped[0], grouped[1]), (instance[0], instance[1]), mining.share)

    after = descend(state, loss, rule)
    return replace(after, twin=twin, queue=moco.enqueue(state.queue, keys[1], images))
