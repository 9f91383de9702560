"""The slow loops themselves, against numbers worked out by hand and other people's code."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import torch
from lightly.loss import DINOLoss, NegativeCosineSimilarity, NTXentLoss
from lightly.models.utils import update_momentum
from lightly.utils.lars import LARS
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn
from torch.nn import functional as F

from tests.loops import byol, dino, enlarge, layers, moco, psm
from tests.loops.contrast import Draw, Matrix, nt_xent
from tests.loops.moco import Blend, Queue
from tests.loops.optimise import (
    Parameters,
    Rule,
    each,
    follow,
    lars,
    learning_rate,
    momentum_at,
    sgd,
    slopes,
    zeros,
)
from tests.loops.tensors import exact
from tests.loops.training import (
    Mining,
    Mixing,
    Record,
    byol_step,
    dino_step,
    moco_step,
    psm_step,
    start,
)

ZERO, ONE, HALF = Decimal(0), Decimal(1), Decimal("0.5")
FLOAT64 = torch.float64


def normal(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=FLOAT64, generator=generator)


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, dtype=FLOAT64, generator=torch.Generator().manual_seed(seed))


def at_angles(*degrees: float, length: float = 2.0) -> list[list[Decimal]]:
    """Plane vectors at the given angles; not of length one, for the loops normalise."""
    turns = [math.radians(angle) for angle in degrees]
    return [[Decimal(length * math.cos(t)), Decimal(length * math.sin(t))] for t in turns]


def angles(rows: Matrix) -> list[float]:
    return [math.degrees(math.atan2(float(row[1]), float(row[0]))) for row in rows]


def floats(rows: Any) -> Any:
    return [floats(row) for row in rows] if isinstance(rows, Sequence) else float(rows)


def near(value: Any, rel: float = 1e-13) -> Any:
    return pytest.approx(value, rel=rel, abs=1e-15)


def assert_close(found: Any, expected: Tensor, rel: float = 1e-12) -> None:
    found = torch.tensor(floats(found), dtype=FLOAT64)
    torch.testing.assert_close(found, expected.detach(), rtol=rel, atol=1e-14)


def strangers(keys: Matrix) -> Queue:
    """A queue of keys drawn at random: no image's own."""
    return Queue(keys, [None] * len(keys))


# --- the queue and its mixes ----------------------------------------------------------------------


def test_the_oldest_keys_leave_first() -> None:
    queue = Queue(at_angles(0, 10, 20, 30), [None, None, 7, 8])
    queue = moco.enqueue(queue, at_angles(40, 50), [1, 2])
    assert angles(queue.keys) == near([20, 30, 40, 50]) and queue.images == [7, 8, 1, 2]
    queue = moco.enqueue(queue, at_angles(60, 70), [3, 4])
    assert angles(queue.keys) == near([40, 50, 60, 70]) and queue.images == [1, 2, 3, 4]


def test_moco_by_hand() -> None:
    """q.k = 1, two keys at a right angle and one opposite."""
    queue = strangers([*at_angles(90, 270, length=5), *at_angles(180)])
    value = moco.loss(at_angles(0), at_angles(0, length=9), queue, HALF)
    assert float(value) == near(math.log(1 + 2 * math.exp(-2) + math.exp(-4)))


def test_an_images_own_old_keys_are_left_out_when_masked() -> None:
    queue = Queue(at_angles(90, 180, 0), [4, 5, 6])
    queries = at_angles(0, 0)
    value = moco.loss(queries, queries, queue, HALF, images=[5, 6])
    first = math.log(1 + math.exp(-2) + 1)
    second = math.log(1 + math.exp(-2) + math.exp(-4))
    assert float(value) == near((first + second) / 2)
    only = Queue(at_angles(90), [4])
    assert float(moco.loss(at_angles(0), at_angles(0), only, HALF, images=[4])) == 0
    assert angles(moco.hardest(at_angles(0)[0], queue, 2, 6)) == near([90, 180])


def test_mixes_of_known_draws() -> None:
    queue = strangers([*at_angles(100, 40), *at_angles(20, length=7)])
    pairs = [[Draw(0, 1, HALF), Draw(2, 2, HALF), Draw(1, 0, ONE)]]
    made = moco.mix_pairs(at_angles(0), queue, pairs, 3, [None])[0]
    assert angles(made) == near([30, 100, 40])
    assert [math.hypot(*floats(h)) for h in made] == near([1, 1, 1])
    blends = [[Blend(0, HALF), Blend(1, ZERO)]]
    assert angles(moco.mix_query(at_angles(0), queue, blends, 2, [None])[0]) == near([10, 40])
    [third] = moco.mix_query(at_angles(0), queue, [[Blend(2, Decimal("0.25"))]], 3, [None])[0:1]
    x, y = 0.25 + 0.75 * math.cos(math.radians(100)), 0.75 * math.sin(math.radians(100))
    assert angles(third) == near([math.degrees(math.atan2(y, x))])


@pytest.mark.parametrize(("batch", "size", "dim"), [(2, 4, 3), (3, 9, 5), (4, 8, 2)])
def test_moco_equals_lightlys_memory_bank(batch: int, size: int, dim: int) -> None:
    queries, keys, bank = normal(1, batch, dim), normal(2, batch, dim), normal(3, size, dim)
    theirs = NTXentLoss(temperature=0.2, memory_bank_size=(size, dim))
    theirs.memory_bank.bank = F.normalize(bank, dim=1)
    leaf = queries.clone().requires_grad_()
    expected = theirs(leaf, keys)
    queue, t = strangers(exact(bank)), Decimal("0.2")
    assert float(moco.loss(exact(queries), exact(keys), queue, t)) == near(expected.item())
    (gradient,) = torch.autograd.grad(expected, leaf)
    [found] = slopes(lambda p: moco.loss(p[0], exact(keys), queue, t), [exact(queries)])
    assert_close(found, gradient)
    queue = moco.enqueue(queue, exact(keys), range(batch))
    held = theirs.memory_bank.bank.roll(-batch, 0)  # theirs overwrites in place
    assert_close(layers.unit_rows(queue.keys), held)


def test_mixes_count_as_further_negatives() -> None:
    """With tau+ = 0 and beta = 0 the loss is the softmax over positive, queue and mixes."""
    queries, keys, bank = normal(1, 3, 4), normal(2, 3, 4), normal(3, 6, 4)
    made = normal(4, 3, 2, 4)
    q, k, n, h = (F.normalize(x, dim=-1) for x in (queries, keys, bank, made))
    logits = torch.cat(
        [(q * k).sum(1, keepdim=True), q @ n.T, torch.einsum("qd,qmd->qm", q, h)], dim=1
    )
    expected = F.cross_entropy(logits / 0.5, torch.zeros(3, dtype=torch.long))
    found = moco.loss(
        exact(queries), exact(keys), strangers(exact(bank)), HALF, synthetics=exact(h)
    )
    assert float(found) == near(expected.item())


def test_weights_and_debiasing_over_queue_and_mixes() -> None:
    """N counts queue and mixes: K + k = 2 + 1 here, by hand."""
    queue, t, beta, prior = strangers(at_angles(90, 180)), 0.5, 0.2, 0.1
    made = [[[HALF, Decimal("0.75").sqrt()]]]
    s = [0.0, -1.0, 0.5]
    omega = [math.exp(beta * x / t) for x in s]
    weighted = 3 * sum(w * math.exp(x / t) for w, x in zip(omega, s, strict=True)) / sum(omega)
    positive = math.cos(math.radians(60))
    g = max((weighted - prior * 3 * math.exp(positive / t)) / (1 - prior), 3 * math.exp(-1 / t))
    found = moco.loss(
        at_angles(0), at_angles(60), queue, HALF, None, made, Decimal(prior), Decimal(beta)
    )
    assert float(found) == near(math.log(1 + g * math.exp(-positive / t)))


# --- BYOL and DINO --------------------------------------------------------------------------------


def test_byol_equals_lightlys_cosines() -> None:
    p1, p2, k1, k2 = normal(5, 4, 3, 6)
    cosine = NegativeCosineSimilarity()
    expected = 2 + cosine(p1, k2) + cosine(p2, k1)
    found = byol.loss(*(exact(x) for x in (p1, p2, k1, k2)))
    assert float(found) == near(expected.item())
    assert float(byol.regress(at_angles(0, 0), at_angles(90, 180))) == near((2 + 4) / 2)


@pytest.mark.parametrize("crops", [2, 3, 5])
def test_dino_equals_lightlys(crops: int) -> None:
    outputs, teachers, centre = normal(6, crops, 3, 5), normal(7, 2, 3, 5), normal(8, 5)
    theirs = DINOLoss(output_dim=5, teacher_temp=0.25, student_temp=0.5, center_momentum=0.75)
    theirs.center.data = centre.reshape(1, 1, 5)
    leaf = outputs.clone().requires_grad_()
    expected = theirs(list(teachers), list(leaf))
    given = exact(teachers), exact(centre), Decimal("0.25"), HALF
    assert float(dino.loss(exact(outputs), *given)) == near(expected.item())
    (gradient,) = torch.autograd.grad(expected, leaf)
    assert_close(slopes(lambda p: dino.loss(p, *given), exact(outputs)), gradient)
    found = dino.recentre(exact(centre), exact(teachers), Decimal("0.75"))
    assert_close(found, theirs.center.flatten())


def test_dino_of_uniform_outputs_is_log_k() -> None:
    flat = [[[ZERO] * 4] * 2] * 3
    assert float(dino.loss(flat, flat[:2], [ONE] * 4, HALF, HALF)) == near(math.log(4))


# --- Enlarge Distance -----------------------------------------------------------------------------


def test_enlarged_similarities() -> None:
    threshold, delta = Decimal("0.75"), HALF
    given = [Decimal(x) for x in ("-0.25", "0.5", "0.7499", "0.75", "1")]
    found = [enlarge.enlarged(s, threshold, delta) for s in given]
    assert floats(found) == [-0.75, 0.0, near(0.2499), 0.75, 1.0]
    found = [enlarge.enlarged(s, threshold, delta, unit_interval=True) for s in given]
    assert floats(found) == [-0.125, 0.75, near(0.87495), 0.875, 1.0]


def test_enlarge_by_hand() -> None:
    """Pairs at 0/0 and 90/90: positives stay at 1, negatives fall from 0 to -1/2."""
    z = at_angles(0, 90)
    found = enlarge.loss(z, z, HALF, Decimal("0.75"), HALF)
    assert float(found) == near(math.log(1 + 2 * math.exp(-3)))
    found = enlarge.loss(z, z, HALF, Decimal("0.75"), HALF, unit_interval=True)
    assert float(found) == near(math.log(1 + 2 * math.exp(-2)))


def test_enlarging_all_or_nothing_is_nt_xent() -> None:
    z1, z2 = exact(normal(9, 4, 3)), exact(normal(10, 4, 3))
    expected = float(nt_xent(z1, z2, HALF))
    for threshold in (-2, 2):
        assert float(enlarge.loss(z1, z2, HALF, Decimal(threshold), HALF)) == near(expected)
        wide = enlarge.loss(z1, z2, HALF / 2, Decimal(threshold), HALF, unit_interval=True)
        assert float(wide) == near(expected)  # half the range at half the temperature


# --- PSM ------------------------------------------------------------------------------------------


def never(rows: int, columns: int) -> list[list[Decimal]]:
    """Draws that keep everything that any chance at all would."""
    return [[ZERO] * columns] * rows


def test_the_chance_of_acceptance() -> None:
    one, two = Decimal(1), Decimal(2)
    assert psm.chance(one, one, HALF, ZERO) == Decimal("0.999")
    assert float(psm.chance(two, ZERO, HALF, ZERO)) == near(math.exp(-2))
    assert float(psm.chance(ZERO, two, HALF, ZERO)) == near(math.exp(-2))
    assert psm.chance(two, one, HALF, one) == Decimal("0.999")
    assert float(psm.chance(ZERO, one, Decimal(3), one)) == near(math.exp(-12))


def test_groups_hold_the_key_and_its_nearest_entries() -> None:
    bank = [*at_angles(100, 11, 50), *at_angles(3, length=0.1)]
    [first, second] = psm.groups(at_angles(0, 80), bank, 2)
    assert angles(first) == near([0, 3, 11]) and angles(second) == near([80, 100, 50])


def test_soft_weights_are_a_softmax_without_temperature() -> None:
    group = at_angles(0, 60, 90, length=1)
    e = [math.exp(0.5), 1.0]
    found = psm.weights(at_angles(0)[0], group, soft=True)
    assert floats(found) == near([1, e[0] / sum(e), e[1] / sum(e)])
    assert floats(psm.weights(at_angles(0)[0], group, soft=False)) == [1, 1, 1]


def test_acceptance_by_groups() -> None:
    """Anchor at 0 with its key at 60; the other group lies at 90 (0.12 off) and 180 (1.5 off)."""
    queries, groups = at_angles(0, 90), [at_angles(60, 60, length=1), at_angles(90, 180, length=1)]
    chances = [math.exp(-0.5 * 0.25), math.exp(-0.5 * 2.25)]
    for margin, expected in ((1e-9, False), (-1e-9, True)):
        draws = [[ZERO, ZERO, *(Decimal(c + margin) for c in chances)], [ZERO] * 4]
        kept = psm.accept_groups(queries, groups, draws, HALF, ZERO)
        assert kept[0] == [True, True, expected, expected] and kept[1] == [True] * 4


def test_group_loss_with_everything_kept_is_a_sum_of_cross_entropies() -> None:
    queries, heads, keys, bank = (normal(seed, 3, 4) for seed in range(20, 24))
    bank = torch.cat([bank, normal(24, 4, 4)])
    groups = psm.groups(exact(keys), exact(bank), 2)
    kept = psm.accept_groups(exact(queries), groups, never(3, 9), HALF, ZERO)
    q, h = F.normalize(queries, dim=1), F.normalize(heads, dim=1)
    entries = torch.tensor(floats(groups), dtype=FLOAT64)
    logs = torch.log_softmax(q @ entries.flatten(0, 1).T / 0.5, dim=1).reshape(3, 3, 3)
    own = torch.stack([logs[i, i] for i in range(3)])
    hard = psm.group_loss(exact(queries), exact(heads), groups, kept, HALF, soft=False)
    assert float(hard) == near(-own.sum(1).mean().item())
    weights = torch.softmax(torch.einsum("id,ijd->ij", h, entries[:, 1:]), dim=1)
    expected = -(own[:, 0] + (weights * own[:, 1:]).sum(1)).mean()
    soft = psm.group_loss(exact(queries), exact(heads), groups, kept, HALF, soft=True)
    assert float(soft) == near(expected.item())


def test_group_loss_without_negatives_is_that_of_the_own_group() -> None:
    """Nothing kept: three equal positives, log 3 each."""
    same = [at_angles(10, 10, 10, length=1)] * 2
    none = [[False] * 6] * 2
    found = psm.group_loss(at_angles(0, 90), at_angles(0, 0), same, none, HALF, soft=False)
    assert float(found) == near(3 * math.log(3))
    found = psm.group_loss(at_angles(0, 90), at_angles(0, 0), same, none, HALF, soft=True)
    assert float(found) == near(2 * math.log(3))


def test_instance_loss_with_everything_kept_is_nt_xent() -> None:
    queries, keys = normal(25, 4, 3), normal(26, 4, 3)
    kept = [[True] * 8] * 8
    expected = NTXentLoss(temperature=0.5)(queries, keys)
    found = psm.instance_loss(exact(queries), exact(keys), kept, HALF)
    assert float(found) == near(expected.item())
    nothing = [[False] * 8] * 8
    assert psm.instance_loss(exact(queries), exact(keys), nothing, HALF) == 0


def test_raw_products_reject_what_cosines_accept() -> None:
    """Length 10: products of 100 and 0 are 100 apart, cosines 1."""
    rows = at_angles(0, 90, length=10)
    draws = never(4, 4)
    assert psm.accept_instances(rows, rows, draws, HALF, ZERO, raw=False) == [[True] * 4] * 4
    draws = [[Decimal("1e-3")] * 4] * 4
    kept = psm.accept_instances(rows, rows, draws, HALF, ZERO, raw=True)
    assert kept == [[True, False] * 2, [False, True] * 2] * 2


def test_both_directions_and_both_losses() -> None:
    found = psm.total((ONE, Decimal(3)), (Decimal(5), Decimal(9)), HALF)
    assert found == Decimal("5.5")


# --- layers, schedules, optimisers ----------------------------------------------------------------


def test_layers_equal_torchs() -> None:
    rows, weight, bias = normal(30, 5, 3), normal(31, 4, 3), normal(32, 4)
    scale, shift = normal(33, 3), normal(34, 3)
    found = layers.linear(exact(rows), exact(weight), [exact(bias)])
    assert_close(found, F.linear(rows, weight, bias))
    assert_close(layers.relu(exact(rows)), rows.relu())
    assert_close(layers.gelu(exact(rows)), F.gelu(rows))
    normed = layers.batch_norm(exact(rows), [exact(scale)], [exact(shift)])
    assert_close(normed, F.batch_norm(rows, None, None, scale, shift, training=True))
    found = layers.prototypes(exact(rows), exact(weight))
    assert_close(found, F.normalize(rows, dim=1) @ F.normalize(weight, dim=1).T)


def test_the_twins_momentum_grows_to_one() -> None:
    """lightly's cosine reaches its end in its last step, the papers' one step later."""
    base = Decimal("0.9")
    found = [float(momentum_at(step, 7, base)) for step in range(8)]
    assert found == near([cosine_schedule(step, 8, 0.9, 1.0) for step in range(8)])
    assert found[0] == 0.9 and found[7] == 1


def test_the_rate_by_epochs() -> None:
    """Torch's own linear and cosine schedulers, chained at the end of the warm-up."""
    weight = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    warm = torch.optim.lr_scheduler.LinearLR(optimiser, 0.01, total_iters=3)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=7, eta_min=0.001)
    chain = torch.optim.lr_scheduler.SequentialLR(optimiser, [warm, cosine], milestones=[3])
    for epoch in range(1, 11):
        found = learning_rate(epoch, 10, 3, Decimal("0.001"), Decimal("0.1"))
        assert float(found) == near(optimiser.param_groups[0]["lr"], rel=1e-12)
        optimiser.step()
        chain.step()


def three_steps(
    theirs: type[torch.optim.Optimizer], rule: Any, settings: dict[str, float], ours: Rule
) -> None:
    """Three updates of a matrix by given gradients: theirs, and the loop's."""
    weight = nn.Parameter(normal(40, 3, 2))
    optimiser = theirs([weight], **settings)  # type: ignore[arg-type]
    loop: Parameters = [exact(weight.detach())]
    velocity: Parameters = zeros(loop)
    for seed in range(3):
        weight.grad = normal(41 + seed, 3, 2)
        optimiser.step()
        loop, velocity = rule(loop, [exact(weight.grad)], velocity, ours)
    assert_close(loop[0], weight, rel=1e-7 if theirs is LARS else 1e-13)


def test_sgd_equals_torchs() -> None:
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    ours = Rule(Decimal("0.1"), Decimal("0.9"), Decimal("0.01"))
    three_steps(torch.optim.SGD, sgd, settings, ours)


def test_lars_equals_lightlys_where_the_forms_agree() -> None:
    """At a constant rate and almost without decay lr may stand in or after the momentum."""
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-12, "trust_coefficient": 0.02}
    ours = Rule(Decimal("0.1"), Decimal("0.9"), Decimal("1e-12"), Decimal("0.02"))
    three_steps(LARS, lars, settings, ours)


def test_lars_by_hand() -> None:
    """|w| = 5, g + wd w = (3, 4): trust 0.1; a vector has neither; a zero gradient trust 1."""
    rule = Rule(Decimal(2), HALF, HALF, Decimal("0.1"))
    weights = [[[Decimal(3)], [Decimal(4)]], [[Decimal(7)]]]
    gradient = [[[Decimal("1.5")], [Decimal(2)]], [[Decimal(1)]]]
    moved, velocity = lars(weights, gradient, zeros(weights), rule)
    assert floats(velocity) == [[[near(0.6)], [near(0.8)]], [[2.0]]]
    assert floats(moved) == [[[near(2.4)], [near(3.2)]], [[5.0]]]
    still = [[[ZERO], [ZERO]], [[ZERO]]]
    moved, velocity = lars(still, gradient, still, rule)
    assert floats(moved) == [[[-3.0], [-4.0]], [[-2.0]]]


# --- several steps --------------------------------------------------------------------------------


class Tiny(nn.Module):
    """Linear, batch norm, ReLU, linear: what `encode` computes from the same parameters."""

    def __init__(self, seed: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Parameter(normal(seed, 4, inputs))
        self.last = nn.Parameter(normal(seed + 1, outputs, 4))
        self.bias = nn.Parameter(normal(seed + 2, outputs))

    def forward(self, rows: Tensor) -> Tensor:
        hidden = F.batch_norm(rows @ self.first.T, None, None, training=True)
        return F.linear(hidden.relu(), self.last, self.bias)

    def exact(self) -> list[Any]:
        shown = [p.detach() if p.ndim == 2 else p.detach()[None] for p in self.parameters()]
        return [exact(p) for p in shown]


def encode(parameters: Parameters, rows: Matrix) -> Matrix:
    first, last, bias = parameters
    hidden = layers.relu(layers.batch_norm(layers.linear(rows, first)))
    return layers.linear(hidden, last, bias)


def assert_same(state: Record, online: Sequence[nn.Module], twin: nn.Module) -> None:
    """Both parameter sets of the loop and of torch."""
    ours = itertools.chain(state.online, state.twin)
    networks = [*online, twin]
    theirs = itertools.chain(*(network.parameters() for network in networks))
    for found, expected in zip(ours, theirs, strict=True):
        assert_close(found, expected if expected.ndim == 2 else expected[None])


def rule(lr: float = 0.25) -> Rule:
    return Rule(Decimal(lr), Decimal("0.9"), Decimal("0.01"))


def optimiser(*networks: nn.Module) -> torch.optim.Optimizer:
    weights = [p for network in networks for p in network.parameters()]
    return torch.optim.SGD(weights, lr=0.25, momentum=0.9, weight_decay=0.01)


def test_steps_of_moco_equal_lightlys_parts() -> None:
    online = Tiny(50, 3, 2)
    twin = copy.deepcopy(online)
    criterion = NTXentLoss(temperature=0.5, memory_bank_size=(6, 2))
    bank = F.normalize(normal(53, 6, 2), dim=1)
    criterion.memory_bank.bank = bank.clone()
    sgd_ = optimiser(online)
    state = start(online.exact(), 3, strangers(exact(bank)))
    for step in range(5):
        x1, x2 = normal(60 + step, 2, 3, 3)
        update_momentum(online, twin, m=0.8)
        loss = criterion(online(x1), twin(x2).detach())
        sgd_.zero_grad()
        loss.backward()
        sgd_.step()
        state = moco_step(
            state, encode, (exact(x1), exact(x2)), range(3), rule(), Decimal("0.8"), HALF
        )
        assert float(state.loss) == near(loss.item(), rel=1e-11)
        assert_same(state, [online], twin)
        held = criterion.memory_bank.bank.roll(-int(criterion.memory_bank.bank_ptr), 0)
        assert_close(layers.unit_rows(state.queue.keys), held)


def test_steps_of_byol_equal_lightlys_parts() -> None:
    online, predictor = Tiny(50, 3, 2), Tiny(55, 2, 2)
    twin = copy.deepcopy(online)
    cosine, sgd_ = NegativeCosineSimilarity(), optimiser(online, predictor)
    state = start([*online.exact(), *predictor.exact()], 3)
    for step in range(4):
        x1, x2 = normal(70 + step, 2, 3, 3)
        k1, k2 = twin(x1).detach(), twin(x2).detach()
        p1, p2 = predictor(online(x1)), predictor(online(x2))
        loss = 2 + cosine(p1, k2) + cosine(p2, k1)
        sgd_.zero_grad()
        loss.backward()
        sgd_.step()
        update_momentum(online, twin, m=cosine_schedule(step, 5, 0.8, 1.0))
        views = exact(x1), exact(x2)
        momentum = momentum_at(step, 4, Decimal("0.8"))
        state = byol_step(state, encode, encode, views, rule(), momentum)
        assert float(state.loss) == near(loss.item(), rel=1e-11)
        assert_same(state, [online, predictor], twin)


def test_steps_of_dino_equal_lightlys_parts() -> None:
    online = Tiny(50, 3, 4)
    twin = copy.deepcopy(online)
    criterion = DINOLoss(output_dim=4, teacher_temp=0.25, student_temp=0.5, center_momentum=0.75)
    criterion.center = criterion.center.to(FLOAT64)
    sgd_ = optimiser(online)
    state = start(online.exact(), 3, prototypes=4)
    for step in range(4):
        crops = normal(80 + step, 3, 3, 3)
        loss = criterion([twin(x).detach() for x in crops[:2]], [online(x) for x in crops])
        sgd_.zero_grad()
        loss.backward()
        sgd_.step()
        update_momentum(online, twin, m=cosine_schedule(step, 5, 0.8, 1.0))
        momentum, temperatures = momentum_at(step, 4, Decimal("0.8")), (Decimal("0.25"), HALF)
        state = dino_step(
            state, encode, exact(crops), rule(), momentum, temperatures, Decimal("0.75")
        )
        assert float(state.loss) == near(loss.item(), rel=1e-11)
        assert_same(state, [online], twin)
        assert_close(state.centre, criterion.center.flatten(), rel=1e-11)


def test_a_step_of_moco_with_mixes_holds_the_mixes_still() -> None:
    """As its loss with the same mixes given: no gradient runs through them."""
    online, x = Tiny(50, 3, 2), exact(normal(90, 2, 3, 3))
    queue = strangers(exact(normal(91, 6, 2)))
    mixing = Mixing(3, [[Draw(0, 2, HALF)]] * 3, [[Blend(1, Decimal("0.25"))]] * 3)
    before = start(online.exact(), 3, queue)
    queries, keys = encode(before.online, x[0]), encode(before.twin, x[1])
    made = [
        [*a, *b]
        for a, b in zip(
            moco.mix_pairs(queries, queue, mixing.pairs or [], 3, [None] * 3),
            moco.mix_query(queries, queue, mixing.blends or [], 3, [None] * 3),
            strict=True,
        )
    ]
    gradient = slopes(
        lambda p: moco.loss(encode(p, x[0]), keys, queue, HALF, None, made), before.online
    )
    state = moco_step(
        before, encode, (x[0], x[1]), range(3), Rule(ONE), Decimal(1), HALF, mixing=mixing
    )
    expected = each(lambda w, g: w - g, before.online, gradient)
    assert floats(state.online) == [[near(floats(row)) for row in m] for m in expected]


def test_a_step_of_psm_equals_its_losses() -> None:
    """Every part from its own function, with all draws 0 and then with draws that matter."""
    online, predictor = Tiny(50, 3, 2), Tiny(55, 2, 2)
    x1, x2 = exact(normal(92, 2, 3, 3))
    bank = exact(normal(93, 6, 2))
    parameters = [*online.exact(), *predictor.exact()]
    state = replace(start(parameters, 3, strangers(bank)), twin=Tiny(58, 3, 2).exact())
    twin = follow(state.twin, online.exact(), Decimal("0.8"))
    for seed, soft, raw in ((1, False, True), (2, True, False)):
        grouped, instance = exact(uniform(seed, 2, 3, 9)), exact(uniform(seed + 10, 2, 6, 6))
        mining = Mining(2, soft, raw, grouped, instance)
        after = psm_step(
            state, encode, encode, (x1, x2), range(3), rule(), Decimal("0.8"), HALF, mining
        )
        k1, k2 = encode(twin, x1), encode(twin, x2)
        total = ZERO
        for x, k, per_group, per_row in zip((x1, x2), (k2, k1), grouped, instance, strict=True):
            h = encode(parameters[:3], x)
            q, groups = encode(parameters[3:], h), psm.groups(k, bank, 2)
            kept = psm.accept_groups(q, groups, per_group, HALF, ZERO)
            total += psm.group_loss(q, h, groups, kept, HALF, soft) / 2
            kept = psm.accept_instances(q, k, per_row, HALF, ZERO, raw)
            total += psm.instance_loss(q, k, kept, HALF) / 2
        assert float(after.loss) == near(float(total))
        assert_close(after.queue.keys, torch.tensor(floats([*bank[3:], *k2]), dtype=FLOAT64))
        moved, _ = sgd(parameters, after.velocity, zeros(parameters), Rule(rule().lr))
        assert floats(after.online) == floats(moved)
