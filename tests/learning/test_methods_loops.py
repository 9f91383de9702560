"""Every method beyond the batch against its slow loop: values, gradients, and several steps.

The loops (`tests.loops`) were written from the papers alone and get the draws that the steps make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from reclaim.learning import train
from reclaim.learning.candidates import Context, Outputs
from reclaim.learning.device import generator as device_generator
from reclaim.learning.images import ImageSet
from reclaim.learning.losses import total_loss
from reclaim.learning.steps import draw_pairs, draw_query
from reclaim.learning.twin import Twin
from reclaim.records import PretrainJob
from reclaim.registry.plan import resolve_config
from reclaim.registry.recipes import resolve_terms
from tests.loops import byol, dino, enlarge, layers, moco, psm
from tests.loops.contrast import Draw
from tests.loops.moco import Blend, Queue
from tests.loops.optimise import Parameters, Rule, momentum_at, slopes
from tests.loops.tensors import exact, exact_draws
from tests.loops.training import (
    Mining,
    Mixing,
    Record,
    byol_step,
    dino_step,
    moco_step,
    psm_step,
    start,
    synthetics,
)

FLOAT64, CPU = torch.float64, torch.device("cpu")
MOCO: dict[str, tuple[str, ...]] = {  # which of mixing, query mixes, beta and prior each has
    "moco_v1": (),
    "moco_v2": (),
    "mochi": ("synthetics", "query_mixes"),
    "moco_sscl_synthesis": ("synthetics",),
    "moco_sscl_sampling": ("beta", "prior"),
    "moco_sscl": ("synthetics", "beta", "prior"),
}
PSM = {"psm_released": {"soft": False, "raw": True}, "psm_soft": {"soft": True, "raw": False}}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=FLOAT64, generator=generator(seed))


def near(value: Decimal) -> Any:
    """Equal to 1e-12 relative, however small."""
    return pytest.approx(float(value), rel=1e-12, abs=0)


@dataclass(frozen=True)
class Case:
    """A recipe with its outputs, and the slow loss of some of them, by name and in this order."""

    recipe: str
    outputs: dict[str, Tensor]
    loop: Callable[[Parameters], Decimal]
    learned: tuple[str, ...]
    stopped: tuple[str, ...]
    temperature: float = 0.5
    knobs: dict[str, Any] | None = None
    epoch: int = 0

    def fast(self, **leaves: Tensor) -> Tensor:
        given = self.outputs | leaves
        queue = len(given["queue"]) if "queue" in given else None
        batch = len(next(iter(given.values())))
        terms = resolve_terms(self.recipe, batch, self.knobs or {}, queue=queue)
        context = Context(self.temperature, generator(7), epoch=self.epoch)
        return total_loss(terms, Outputs(**given), context)

    def check(self) -> None:
        """The value, every slope, and none through what is stopped."""
        names = (*self.learned, *self.stopped)
        leaves = {name: self.outputs[name].clone().requires_grad_() for name in names}
        value = self.fast(**leaves)
        at = [exact(flat(self.outputs[name])) for name in self.learned]
        assert value.item() == near(self.loop(at))
        found = torch.autograd.grad(
            value, list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        slow = slopes(self.loop, at)
        for slope, expected in zip(found, slow, strict=False):
            wanted = torch.tensor([[float(x) for x in row] for row in expected], dtype=FLOAT64)
            torch.testing.assert_close(flat(slope), wanted, rtol=1e-10, atol=1e-13)
        for name, slope in list(zip(names, found, strict=True))[len(self.learned) :]:
            assert not slope.any(), f"a gradient runs through {name}"


def flat(values: Tensor) -> Tensor:
    return values.reshape(-1, values.shape[-1])


def knob(case: dict[str, Any], name: str, recipe: str) -> Decimal:
    return Decimal(case[name]) if name in MOCO[recipe] else Decimal(0)


# --- queues ---------------------------------------------------------------------------------------


@st.composite
def queued(draw: st.DrawFn) -> dict[str, Any]:
    """Sizes, knobs, and whose image each key in the queue is of."""
    batch = draw(st.integers(1, 3))
    size = draw(st.integers(3, 8))
    owners = draw(st.lists(st.sampled_from([None, *range(batch)]), min_size=size, max_size=size))
    masked = draw(st.booleans())
    return {
        "seed": draw(st.integers(0, 9999)),
        "shape": (batch, size, draw(st.integers(2, 5))),
        "owners": owners if masked else None,
        "temperature": draw(st.sampled_from([0.07, 0.2, 0.5, 2.0])),
        "prior": draw(st.sampled_from([0.0, 0.1, 0.4])),
        "beta": draw(st.sampled_from([0.0, 0.2, 1.5])),
        "hardest": draw(st.integers(1, size)),  # an image may own more of the queue than is left
        "synthetics": draw(st.integers(0, 3)),
        "query_mixes": draw(st.integers(0, 3)),
    }


def draws(
    recipe: str, sizes: dict[str, Any], queries: int, source: torch.Generator
) -> tuple[list[list[Draw]], list[list[Blend]]]:
    """What the steps of a recipe draw, one after the other: the pairs, then the query's mixes."""
    pairs: list[list[Draw]] = []
    blends: list[list[Blend]] = []
    if "synthetics" in MOCO[recipe]:
        drawn = draw_pairs(queries, sizes["hardest"], sizes["synthetics"], source, FLOAT64, CPU)
        pairs = exact_draws(drawn.first, drawn.second, drawn.alpha)
    if "query_mixes" in MOCO[recipe]:
        mixed = draw_query(queries, sizes["hardest"], sizes["query_mixes"], source, FLOAT64, CPU)
        rows = zip(mixed.rank.tolist(), exact(mixed.share), strict=True)
        blends = [[Blend(*pair) for pair in zip(*row, strict=True)] for row in rows]
    return pairs, blends


def moco_case(recipe: str, case: dict[str, Any]) -> Case:
    batch, size, dim = case["shape"]
    z1, k2 = (normal(case["seed"] + i, batch, dim) for i in (0, 1))
    bank = normal(case["seed"] + 2, size, dim) * 3
    owners = case["owners"]
    queue = Queue(exact(bank), owners or [None] * size)
    images = range(batch) if owners else [None] * batch
    mixing = Mixing(case["hardest"], *draws(recipe, case, batch, generator(7)))
    made = synthetics(exact(z1), queue, images, mixing)
    prior, beta = knob(case, "prior", recipe), knob(case, "beta", recipe)

    def loop(at: Parameters) -> Decimal:
        temperature = Decimal(case["temperature"])
        return moco.loss(at[0], exact(k2), queue, temperature, images, made, prior, beta)

    outputs = {"z1": z1, "k2": k2, "queue": bank}
    if owners:
        outputs["own"] = torch.tensor([[owner == i for owner in owners] for i in images])
    names = ("hardest", "synthetics", "query_mixes", "prior", "beta")
    knobs = {name: case[name] for name in names}
    stopped = ("k2", "queue")
    return Case(recipe, outputs, loop, ("z1",), stopped, case["temperature"], knobs)


@pytest.mark.parametrize("recipe", MOCO)
@given(case=queued())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_queued_recipes_equal_the_slow_loop(recipe: str, case: dict[str, Any]) -> None:
    moco_case(recipe, case).check()


PLAIN: dict[str, Any] = {
    "seed": 5, "shape": (3, 6, 4), "owners": None, "temperature": 0.2, "prior": 0.0, "beta": 0.2,
    "hardest": 4, "synthetics": 3, "query_mixes": 2,
}  # fmt: skip


def test_mochi_starts_to_mix_in_the_epoch_of_its_start() -> None:
    late = moco_case("mochi", PLAIN | {"synthetics": 0, "query_mixes": 0})
    mixed = moco_case("mochi", PLAIN)
    for epoch, expected in ((0, late), (1, late), (2, mixed), (3, mixed)):
        knobs = (mixed.knobs or {}) | {"start": 2}
        loop, outputs = expected.loop, expected.outputs
        Case("mochi", outputs, loop, ("z1",), ("k2", "queue"), 0.2, knobs, epoch).check()


def test_an_anchor_all_of_whose_queue_is_its_own_has_no_loss() -> None:
    case = PLAIN | {"shape": (1, 3, 4), "owners": [0, 0, 0]}
    assert moco_case("moco_v2", case).fast().item() == 0


# --- BYOL and DINO --------------------------------------------------------------------------------


@given(st.integers(0, 9999), st.integers(1, 4), st.integers(2, 5))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_byol_equals_the_slow_loop(seed: int, batch: int, dim: int) -> None:
    names = ("p1", "p2", "k1", "k2")
    outputs = dict(zip(names, normal(seed, 4, batch, dim), strict=True))
    k1, k2 = exact(outputs["k1"]), exact(outputs["k2"])
    Case(
        "byol", outputs, lambda at: byol.loss(at[0], at[1], k1, k2), ("p1", "p2"), ("k1", "k2")
    ).check()


@given(
    st.integers(0, 9999),
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(2, 5)),
    st.sampled_from([0.04, 0.07, 0.5]),
    st.sampled_from([0.1, 0.5, 1.0]),
)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_dino_equals_the_slow_loop(
    seed: int, shape: tuple[int, int, int], sharp: float, soft: float
) -> None:
    crops, batch, dim = shape
    z1, z2, k1, k2 = normal(seed, 4, batch, dim)
    outputs = {"z1": z1, "z2": z2, "k1": k1, "k2": k2, "centre": normal(seed + 1, dim)}
    learned: tuple[str, ...] = ("z1", "z2")
    if crops:
        outputs["local"] = normal(seed + 2, crops, batch, dim)
        learned = (*learned, "local")
    centre, teachers = exact(outputs["centre"]), [exact(k1), exact(k2)]

    def loop(at: Parameters) -> Decimal:
        local = at[2] if crops else []
        cut = [local[i * batch : (i + 1) * batch] for i in range(crops)]
        students = [at[0], at[1], *cut]
        return dino.loss(students, teachers, centre, Decimal(sharp), Decimal(soft))

    knobs = {"teacher_temperature": sharp}
    Case("dino", outputs, loop, learned, ("k1", "k2", "centre"), soft, knobs).check()


# --- Enlarge Distance -----------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["simclr_enlarge", "simclr_dino_enlarge"])
@pytest.mark.parametrize("unit_interval", [False, True])
@given(
    st.integers(0, 9999),
    st.tuples(st.integers(2, 4), st.integers(2, 4)),
    st.sampled_from([-0.5, 0.25, 0.4, 0.65, 0.75, 0.9]),
    st.sampled_from([0.0, 0.3, 0.5]),
    st.sampled_from([0.07, 0.5]),
)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_enlarge_equals_the_slow_loop(
    recipe: str,
    unit_interval: bool,
    seed: int,
    shape: tuple[int, int],
    threshold: float,
    delta: float,
    temperature: float,
) -> None:
    z1, z2 = normal(seed, *shape), normal(seed, *shape) + 0.7 * normal(seed + 1, *shape)
    t, theta, less = Decimal(temperature), Decimal(threshold), Decimal(delta)
    knobs = {"threshold": threshold, "delta": delta, "unit_interval": unit_interval}
    Case(
        recipe,
        {"z1": z1, "z2": z2},
        lambda at: enlarge.loss(at[0], at[1], t, theta, less, unit_interval),
        ("z1", "z2"),
        (),
        temperature,
        knobs,
    ).check()


# --- PSM ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Accepted:
    """What a PSM loss holds fixed: both directions' groups, kept entries and kept rows."""

    groups: list[Any]
    entries: list[psm.Kept]
    rows: list[psm.Kept]


def psm_draws(batch: int, neighbours: int, source: torch.Generator) -> tuple[list[Any], list[Any]]:
    """The acceptance draws of both directions: first the groups', then the instances'."""

    def drawn(rows: int, columns: int) -> list[Any]:
        shape = (rows, columns)
        return [exact(torch.rand(shape, generator=source, dtype=FLOAT64)) for _ in (1, 2)]

    return drawn(batch, batch * (neighbours + 1)), drawn(2 * batch, 2 * batch)


def accepted(
    outputs: dict[str, Tensor], neighbours: int, raw: bool, shape: tuple[Decimal, Decimal]
) -> Accepted:
    grouped, instance = psm_draws(len(outputs["p1"]), neighbours, generator(7))
    bank = exact(outputs["queue"])
    found = Accepted([], [], [])
    for i, (view, other) in enumerate((("p1", "k2"), ("p2", "k1"))):
        queries, keys = exact(outputs[view]), exact(outputs[other])
        found.groups.append(psm.groups(keys, bank, neighbours))
        found.entries.append(psm.accept_groups(queries, found.groups[i], grouped[i], *shape))
        found.rows.append(psm.accept_instances(queries, keys, instance[i], *shape, raw))
    return found


def psm_case(
    recipe: str,
    seed: int,
    sizes: tuple[int, int, int, int],
    temperature: float = 0.5,
    sharpness: float = 0.5,
    shift: float = 0.0,
    length: float = 1.0,
) -> Case:
    batch, size, dim, neighbours = sizes
    names = ("p1", "p2", "z1", "z2", "k1", "k2")
    outputs = dict(zip(names, length * normal(seed, 6, batch, dim), strict=True))
    outputs["queue"] = length * normal(seed + 1, size, dim)
    soft, raw = PSM[recipe]["soft"], PSM[recipe]["raw"]
    held = accepted(outputs, neighbours, raw, (Decimal(sharpness), Decimal(shift)))
    keys, t = (exact(outputs["k2"]), exact(outputs["k1"])), Decimal(temperature)

    def loop(at: Parameters) -> Decimal:
        grouped = [
            psm.group_loss(at[i], at[2 + i], held.groups[i], held.entries[i], t, soft)
            for i in (0, 1)
        ]
        instance = [psm.instance_loss(at[i], keys[i], held.rows[i], t) for i in (0, 1)]
        return psm.total((grouped[0], grouped[1]), (instance[0], instance[1]), Decimal(1))

    knobs = {"neighbours": neighbours, "sharpness": sharpness, "shift": shift}
    stopped = ("k1", "k2", "queue")
    return Case(recipe, outputs, loop, ("p1", "p2", "z1", "z2"), stopped, temperature, knobs)


@pytest.mark.parametrize("recipe", PSM)
@given(
    st.integers(0, 9999),
    st.tuples(st.integers(1, 3), st.integers(3, 6), st.integers(2, 4), st.integers(1, 3)),
    st.sampled_from([0.2, 0.5]),
    st.sampled_from([0.0, 0.5, 4.0]),
    st.sampled_from([-0.3, 0.0, 0.5]),
    st.sampled_from([0.7, 3.0]),
)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_psm_equals_the_slow_loop(
    recipe: str,
    seed: int,
    sizes: tuple[int, int, int, int],
    temperature: float,
    sharpness: float,
    shift: float,
    length: float,
) -> None:
    psm_case(recipe, seed, sizes, temperature, sharpness, shift, length).check()


# --- several steps --------------------------------------------------------------------------------

JITTER = {"op": "colour_jitter", "params": {"brightness": 0.8, "contrast": 0.8}}
NORMALISE = {"op": "normalise", "params": {"mean": [0.3], "std": [0.4]}}
IMAGES, BATCH, SEED = 12, 4, 3
STEPS_AN_EPOCH, EPOCHS = IMAGES // BATCH, 3
SETTINGS: dict[str, Any] = {
    "dataset.name": "digits",
    "network.arch": "pixels",
    "network.head_hidden": 3,
    "network.head_out": 3,
    "network.predictor_hidden": 3,
    "views": [JITTER, NORMALISE],
    "local_views": [JITTER, NORMALISE],
    "local_crops": 2,
    "temperature": 0.5,
    "twin.momentum": 0.9,
    "twin.queue": 8,
    "optimiser.lr": 0.25,
    "optimiser.weight_decay": 0.01,
    "optimiser.schedule": "constant",
    "epochs": EPOCHS,
    "batch": BATCH,
    "precision": "float64",
    "knobs.prior": 0.1,
    "knobs.beta": 0.2,
    "knobs.hardest": 3,
    "knobs.synthetics": 2,
    "knobs.query_mixes": 1,
    "knobs.neighbours": 2,
}
RULE = Rule(Decimal("0.25"), Decimal("0.9"), Decimal("0.01"))
HALF, TWIN = Decimal("0.5"), Decimal("0.9")


def begin(recipe: str, **changes: Any) -> train.Training:
    """A training on twelve images of four pixels, whose encoder is the identity."""
    changed = {path.replace("__", "."): value for path, value in changes.items()}
    config = resolve_config("tiny", recipe, SETTINGS | changed)
    small = config.dataset.model_copy(update={"size": 2, "subset": None})
    config = config.model_copy(update={"dataset": small})
    pixels = torch.randint(0, 256, (IMAGES, 1, 2, 2), generator=generator(1), dtype=torch.uint8)
    labels = torch.zeros(IMAGES, dtype=torch.int64)
    job = PretrainJob(id="tiny", recipe=recipe, seed=SEED, config=config, code="test")
    return train.start(job, ImageSet(pixels, labels, pixels, labels), CPU)


@dataclass(frozen=True)
class Seen:
    """What one step of a training saw and left; the twin is the one that it used."""

    step: int
    images: list[int]
    views: list[Any]
    local: list[Any]
    source: torch.Generator
    loss: float
    online: list[Any]
    twin: list[Any]


def matrices(module: nn.Module) -> list[Any]:
    return [exact(p.detach() if p.ndim == 2 else p.detach()[None]) for p in module.parameters()]


def steps(training: train.Training, count: int) -> Iterator[Seen]:
    """Run some steps across the ends of epochs, and show each."""
    for number in range(count):
        training.epoch, training.step = divmod(number, STEPS_AN_EPOCH)
        order = train.epoch_order(training)
        chosen = order[training.step * BATCH :][:BATCH]
        both, *local = train.make_views(training, chosen)
        loss = train.train_step(training, order).item()
        assert training.twin is not None
        yield Seen(
            step=number,
            images=chosen.tolist(),
            views=[exact(view.flatten(1)) for view in both.split(BATCH)],
            local=[exact(view.flatten(1)) for view in local],
            source=device_generator("cpu", SEED, training.epoch, training.step, "steps"),
            loss=loss,
            online=matrices(training.model),
            twin=matrices(training.twin),
        )


def oldest_first(twin: Twin) -> Queue:
    keys = twin.queue.roll(-int(twin.next_slot), 0)
    owners = twin.owners.roll(-int(twin.next_slot), 0).tolist()
    return Queue(exact(keys), [None if owner < 0 else owner for owner in owners])


def assert_close(found: Any, expected: Any) -> None:
    """Nested lists of numbers, to 1e-11 of the largest: errors add up over the steps."""
    if isinstance(expected, Decimal):
        assert float(found) == pytest.approx(float(expected), rel=1e-11, abs=1e-12)
        return
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)


def linear(parameters: Parameters, rows: Any) -> Any:
    """MoCo v1's head."""
    return layers.linear(rows, *parameters)


def mlp(parameters: Parameters, rows: Any) -> Any:
    """MoCo v2's head."""
    first, shift, last, bias = parameters
    return layers.linear(layers.relu(layers.linear(rows, first, shift)), last, bias)


def normed(parameters: Parameters, rows: Any) -> Any:
    """BYOL's head and predictor: batch norm in the hidden layer."""
    first, shift, scale, offset, last, bias = parameters
    hidden = layers.batch_norm(layers.linear(rows, first, shift), scale, offset)
    return layers.linear(layers.relu(hidden), last, bias)


def twice_normed(parameters: Parameters, rows: Any) -> Any:
    """PSM's head and predictor: no biases, batch norm after both layers."""
    first, scale, offset, last = parameters
    hidden = layers.batch_norm(layers.linear(rows, first), scale, offset)
    return layers.batch_norm(layers.linear(layers.relu(hidden), last))


def deep(parameters: Parameters, rows: Any) -> Any:
    """DINO's head: three layers with GELU, then cosines with the prototypes."""
    *pairs, directions = parameters
    for number in (0, 2, 4):
        rows = layers.linear(rows, pairs[number], pairs[number + 1])
        rows = layers.gelu(rows) if number < 4 else rows
    return layers.prototypes(rows, directions)


STARTED = 2  # the first epoch in which MoCHi mixes here


def drawn_mixing(recipe: str, seen: Seen) -> Mixing | None:
    """The draws of a step, in the order of the recipe's steps."""
    settings = {"hardest": 3, "synthetics": 2, "query_mixes": 1}
    if "synthetics" not in MOCO[recipe]:
        return None
    if recipe == "mochi" and seen.step // STEPS_AN_EPOCH < STARTED:
        return None
    pairs, blends = draws(recipe, settings, BATCH, seen.source)
    return Mixing(settings["hardest"], pairs, blends)


@pytest.mark.parametrize("recipe", MOCO)
@pytest.mark.parametrize("mask_own", [False, True])
def test_steps_of_queued_recipes_equal_the_slow_loop(recipe: str, mask_own: bool) -> None:
    """Past the end of the first epoch, so that keys of the same images lie in the queue."""
    encode = linear if recipe == "moco_v1" else mlp
    changes = {"knobs__start": STARTED} if recipe == "mochi" else {}
    training = begin(recipe, twin__mask_own=mask_own, **changes)
    assert training.twin is not None
    online = matrices(training.model)
    state = start(online, len(online), oldest_first(training.twin))
    prior = Decimal("0.1") if "prior" in MOCO[recipe] else Decimal(0)
    beta = Decimal("0.2") if "beta" in MOCO[recipe] else Decimal(0)
    for seen in steps(training, 8 if recipe == "mochi" else 5):
        state = moco_step(
            state, encode, (seen.views[0], seen.views[1]), seen.images, RULE, TWIN, HALF,
            mask_own, drawn_mixing(recipe, seen), prior, beta,
        )  # fmt: skip
        assert_step(seen, state, state.twin)
        queue = oldest_first(training.twin)
        assert_close(queue.keys, state.queue.keys)
        assert list(queue.images) == list(state.queue.images)


def assert_step(seen: Seen, state: Record, twin: Parameters) -> None:
    assert seen.loss == pytest.approx(float(state.loss), rel=1e-11, abs=0)
    assert_close(seen.online, state.online)
    assert_close(seen.twin, twin)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_steps_of_byol_equal_the_slow_loop(schedule: str) -> None:
    """Steps are counted from 1 for the momentum; the twin follows after a step."""
    training = begin("byol", network__head_norm=True, twin__schedule=schedule)
    online = matrices(training.model)
    own = len(online) // 2
    state = start(online, own)
    total = STEPS_AN_EPOCH * EPOCHS
    for seen in steps(training, 5):
        before, views = state.twin, (seen.views[0], seen.views[1])
        momentum = momentum_at(seen.step + 1, total, TWIN) if schedule == "cosine" else TWIN
        state = byol_step(state, normed, normed, views, RULE, momentum)
        assert_step(seen, state, before)


def test_steps_of_dino_equal_the_slow_loop() -> None:
    training = begin(
        "dino", twin__schedule="cosine", twin__centre_momentum=0.75,
        knobs__teacher_temperature=0.25, network__head_hidden=2, network__prototypes=3,
    )  # fmt: skip
    online = matrices(training.model)
    state = start(online, len(online), prototypes=3)
    for seen in steps(training, 4):
        before, crops = state.twin, [*seen.views, *seen.local]
        momentum = momentum_at(seen.step + 1, STEPS_AN_EPOCH * EPOCHS, TWIN)
        temperatures = (Decimal("0.25"), HALF)
        state = dino_step(
            state, deep, crops, RULE, momentum, temperatures, centre_momentum=Decimal("0.75")
        )
        assert len(crops) == 4
        assert_step(seen, state, before)
        assert training.twin is not None
        assert_close(exact(training.twin.centre), state.centre)


@pytest.mark.parametrize("recipe", PSM)
def test_steps_of_psm_equal_the_slow_loop(recipe: str) -> None:
    training = begin(recipe)
    assert training.twin is not None
    online = matrices(training.model)
    own = len(online) // 2
    state = start(online, own, oldest_first(training.twin))
    for seen in steps(training, 4):
        grouped, instance = psm_draws(BATCH, 2, seen.source)
        mining = Mining(2, PSM[recipe]["soft"], PSM[recipe]["raw"], grouped, instance)
        state = psm_step(
            state, twice_normed, twice_normed, (seen.views[0], seen.views[1]), seen.images, RULE,
            TWIN, HALF, mining,
        )  # fmt: skip
        assert_step(seen, state, state.twin)
        assert_close(oldest_first(training.twin).keys, state.queue.keys)
