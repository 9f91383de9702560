"""The pairing, the steps and `contrast`, each on its own, against the slow loops."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from reclaim.learning.candidates import Candidates, Context, Outputs, in_batch
from reclaim.learning.objectives import contrast
from reclaim.learning.steps import (
    PairDraws,
    QueryDraws,
    apply_pairs,
    apply_query,
    debias,
    draw_pairs,
    harden,
    mix_pairs,
)
from tests.loops import contrast as loop
from tests.loops import steps as rows
from tests.loops.tensors import exact, exact_draws

FLOAT64, CPU = torch.float64, torch.device("cpu")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(temperature: float = 0.5, seed: int = 1) -> Context:
    return Context(temperature=temperature, generator=generator(seed))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=FLOAT64, generator=generator(seed))


def unit(seed: int, count: int, dim: int) -> Tensor:
    return torch.nn.functional.normalize(normal(seed, count, dim), dim=1)


def batch(seed: int, images: int, dim: int) -> Candidates:
    z1, z2 = normal(seed, 2, images, dim)
    return in_batch(Outputs(z1=z1, z2=z2))


def weighted(seed: int, anchors: int = 4, bank: int = 7, positives: int = 1) -> Candidates:
    """A record no pairing makes: anchors apart from the bank, weights of all sizes and zeros."""
    a, b = unit(seed, anchors, 3), unit(seed + 1000, bank, 3)
    w_neg = torch.rand(anchors, bank, dtype=FLOAT64, generator=generator(seed)) * 3
    w_neg[normal(seed + 1, anchors, bank) > 0.7] = 0.0
    w_neg[:, 0] = 1.0
    w_pos = torch.rand(anchors, positives, dtype=FLOAT64, generator=generator(seed)) + 0.1
    return Candidates(
        anchor=a, bank=b, pos=normal(seed + 2, anchors, positives).tanh(), neg=a @ b.T,
        w_pos=w_pos, w_neg=w_neg, prior=0.0,
    )  # fmt: skip


def assert_only_changed(before: Candidates, after: Candidates, *names: str) -> None:
    for field in dataclasses.fields(Candidates):
        same = getattr(after, field.name) is getattr(before, field.name)
        assert same == (field.name not in names)


def slow_contrast(c: Candidates, temperature: float) -> float:
    lists = zip(exact(c.pos), exact(c.neg), exact(c.w_pos), exact(c.w_neg), strict=True)
    return float(
        loop.add(
            [rows.contrast(*row, Decimal(temperature), Decimal(c.prior)) for row in lists]
        ) / len(c.anchor)
    )  # fmt: skip


# --- the pairing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "dim"), [(1, 3), (2, 2), (5, 4)])
def test_in_batch_pairs_every_view_with_its_partner(images: int, dim: int) -> None:
    z1, z2 = normal(3, 2, images, dim)
    c = in_batch(Outputs(z1=z1, z2=z2))
    units = loop.unit_rows(exact(z1), exact(z2))
    n = len(units)
    expected = torch.tensor([[float(x) for x in u] for u in units], dtype=FLOAT64)
    torch.testing.assert_close(c.anchor, expected, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(c.bank, expected, rtol=1e-14, atol=1e-15)
    assert c.prior == 0 and c.pos.shape == c.w_pos.shape == (n, 1) and (c.w_pos == 1).all()
    for i in range(n):
        cosine = float(loop.dot(units[i], units[loop.partner(i, n)]))
        assert c.pos[i, 0].item() == pytest.approx(cosine, abs=1e-14)
        assert torch.nonzero(c.w_neg[i]).flatten().tolist() == loop.others(i, n)
        for j in range(n):
            cosine = float(loop.dot(units[i], units[j]))
            assert c.neg[i, j].item() == pytest.approx(cosine, abs=1e-14)
    assert set(c.w_neg.unique().tolist()) <= {0.0, 1.0}


def test_a_record_cannot_be_changed() -> None:
    c = batch(1, 2, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        c.prior = 0.5  # type: ignore[misc]


# --- harden and debias ----------------------------------------------------------------------------


@given(
    seed=st.integers(0, 999),
    beta=st.sampled_from([0.3, 1.0, 5.0]),
    temperature=st.sampled_from([0.05, 0.5, 4.0]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_harden_equals_the_slow_loop(seed: int, beta: float, temperature: float) -> None:
    before = weighted(seed)
    after = harden(before, context(temperature), beta=beta)
    for i in range(len(before.anchor)):
        weights = rows.harden(
            exact(before.neg[i]), exact(before.w_neg[i]), Decimal(temperature), Decimal(beta)
        )
        assert after.w_neg[i].tolist() == pytest.approx([float(w) for w in weights], rel=1e-12)
        live = after.w_neg[i] > 0
        assert torch.equal(live, before.w_neg[i] > 0)
        assert after.w_neg[i][live].mean().item() == pytest.approx(1.0, rel=1e-14)
    assert_only_changed(before, after, "w_neg")


def test_the_weights_carry_gradient() -> None:
    """HCL and SSCL do not stop it: for two live negatives dw_1/ds_1 = (beta / t) w_1 w_2 / 2."""
    c = weighted(2, anchors=1, bank=2)
    neg = c.neg.clone().requires_grad_()
    w = harden(
        dataclasses.replace(c, neg=neg, w_neg=torch.ones_like(neg)), context(0.5), beta=3.0
    ).w_neg
    (slope,) = torch.autograd.grad(w[0, 0], neg)
    expected = (3.0 / 0.5 * w[0, 0] * w[0, 1] / 2).item()
    assert slope[0].tolist() == pytest.approx([expected, -expected], rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
def test_a_weight_too_small_for_a_float_still_counts(dtype: torch.dtype) -> None:
    """At t = 0.001 the hardest has all the weight, N e^{s/t}, and N stays 4: log(1 + 4)."""
    neg = torch.tensor([[0.9, 0.1, -0.5, -0.9]], dtype=dtype)
    c = Candidates(
        anchor=neg, bank=torch.eye(4, dtype=dtype), pos=neg[:, :1], neg=neg,
        w_pos=torch.ones_like(neg[:, :1]), w_neg=torch.ones_like(neg), prior=0.1,
    )  # fmt: skip
    hard = harden(c, context(0.001), beta=1.0)
    assert (hard.w_neg > 0).all()
    assert contrast(hard, context(0.001)).item() == pytest.approx(math.log(5), rel=1e-4)


def test_debias_sets_the_prior_and_nothing_else() -> None:
    before = weighted(4)
    after = debias(before, context(), prior=0.3)
    assert after.prior == 0.3
    assert_only_changed(before, after, "prior")


# --- the draws ------------------------------------------------------------------------------------


def test_draws_have_their_shape_and_range() -> None:
    draws = draw_pairs(6, 3, 4, generator(1), torch.float32, CPU)
    for index in (draws.first, draws.second):
        assert index.shape == (6, 4) and index.dtype == torch.int64
        assert index.min() >= 0 and index.max() < 3
    assert draws.alpha.shape == (6, 4) and draws.alpha.dtype == torch.float32
    assert draws.alpha.min() >= 0 and draws.alpha.max() <= 1
    assert draw_pairs(6, 3, 0, generator(1), FLOAT64, CPU).alpha.shape == (6, 0)
    assert not draws.alpha.requires_grad


def test_draws_are_a_function_of_the_generator() -> None:
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    one, same, other = (draw_pairs(9, 5, 4, generator(s), FLOAT64, CPU) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    for field in ("first", "second", "alpha"):
        assert torch.equal(getattr(one, field), getattr(same, field))
        assert not torch.equal(getattr(one, field), getattr(other, field))


@pytest.mark.parametrize("hardest", [2, 5])
def test_draws_are_uniform_and_independent_with_replacement(hardest: int) -> None:
    """Chi-square over all (first, second) cells, the diagonal included; Kolmogorov for alpha."""
    draws = draw_pairs(400, hardest, 60, generator(3), FLOAT64, CPU)
    cells = (draws.first * hardest + draws.second).flatten()
    counts = torch.bincount(cells, minlength=hardest**2)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4
    assert stats.kstest(draws.alpha.flatten().numpy(), "uniform").pvalue > 1e-4
    groups = [draws.alpha.flatten()[cells == cell].numpy() for cell in range(hardest**2)]
    assert stats.kruskal(*groups).pvalue > 1e-4


def test_draws_differ_between_anchors_and_between_synthetics() -> None:
    draws = draw_pairs(300, 4, 50, generator(5), FLOAT64, CPU)
    for field in (draws.first.double(), draws.second.double(), draws.alpha):
        for table in (field, field.T):
            correlation = torch.corrcoef(table)
            off = correlation[~torch.eye(len(table), dtype=torch.bool)]
            assert off.mean().abs() < 0.01 and off.max() < 0.9


# --- mixing ---------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 999),
    images=st.integers(2, 5),
    hardest=st.integers(1, 8),
    synthetics=st.integers(0, 4),
    mix=st.booleans(),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_mixing_equals_the_slow_loop(
    seed: int, images: int, hardest: int, synthetics: int, mix: bool
) -> None:
    hardest = min(hardest, 2 * images - 2)
    z1, z2 = normal(seed, 2, images, 3)
    before = in_batch(Outputs(z1=z1, z2=z2))
    draws = draw_pairs(2 * images, hardest, synthetics, generator(seed), FLOAT64, CPU)
    after = apply_pairs(before, draws, hardest, mix)
    made = loop.synthesise(
        exact(z1), exact(z2), exact_draws(draws.first, draws.second, draws.alpha), hardest, mix
    )
    units = loop.unit_rows(exact(z1), exact(z2))
    for i, u in enumerate(units):
        expected = [float(loop.dot(u, h)) for h in made[i]]
        assert after.neg[i, 2 * images :].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-14)
    assert torch.equal(after.neg[:, : 2 * images], before.neg)
    assert torch.equal(after.w_neg[:, : 2 * images], before.w_neg)
    assert (after.w_neg[:, 2 * images :] == 1).all() and after.w_neg.shape == after.neg.shape
    assert_only_changed(before, after, "neg", "w_neg")


def test_mix_pairs_draws_then_applies() -> None:
    c = batch(8, 5, 4)
    draws = draw_pairs(10, 3, 2, generator(6), FLOAT64, CPU)
    for mix in (True, False):
        step = mix_pairs(c, context(seed=6), hardest=3, synthetics=2, mix=mix)
        applied = apply_pairs(c, draws, 3, mix)
        assert torch.equal(step.neg, applied.neg) and torch.equal(step.w_neg, applied.w_neg)
    assert torch.equal(
        mix_pairs(c, context(seed=6), hardest=3, synthetics=2).neg,
        apply_pairs(c, draws, 3, True).neg,
    )


def test_the_released_file_duplicates_its_hardest_negatives() -> None:
    """Each new column copies one of the anchor's s hardest; the draw says which."""
    c = batch(9, 6, 4)
    draws = draw_pairs(12, 3, 5, generator(6), FLOAT64, CPU)
    after = apply_pairs(c, draws, 3, False)
    ranked = torch.where(c.w_neg > 0, c.neg, -math.inf).sort(dim=1, descending=True).values
    torch.testing.assert_close(after.neg[:, 12:], ranked.gather(1, draws.first), rtol=0, atol=1e-15)
    for i in range(12):
        multiset = after.neg[i][after.w_neg[i] > 0].sort().values
        assert (multiset.diff() < 1e-14).sum() == 5


def test_mixing_takes_parents_from_live_bank_rows_only() -> None:
    """The most similar rows are dead (weight 0) or appended: neither may be a parent."""
    anchor = torch.tensor([[1.0, 0.0]], dtype=FLOAT64)
    angles = torch.tensor([5.0, 60.0, 90.0, 150.0], dtype=FLOAT64).deg2rad()
    bank = torch.stack([angles.cos(), angles.sin()], dim=1)
    c = Candidates(
        anchor=anchor, bank=bank, pos=torch.ones(1, 1, dtype=FLOAT64), neg=anchor @ bank.T,
        w_pos=torch.ones(1, 1, dtype=FLOAT64),
        w_neg=torch.tensor([[0.0, 2.0, 0.5, 1.0]], dtype=FLOAT64), prior=0.0,
    )  # fmt: skip
    zero, one = torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.int64)
    half = torch.full((1, 1), 0.5, dtype=FLOAT64)
    once = apply_pairs(c, PairDraws(first=zero, second=one, alpha=half), 2, True)
    assert once.neg[0, 4].item() == pytest.approx(math.cos(math.radians(75)), rel=1e-13)
    twice = apply_pairs(once, PairDraws(first=one, second=one, alpha=half), 2, True)
    assert twice.neg[0, 5].item() == pytest.approx(0.0, abs=1e-15)
    assert twice.neg.shape == (1, 6)


@pytest.mark.parametrize("live", [0, 1, 2, 4])
def test_with_fewer_live_rows_than_the_hardest_no_dead_one_is_a_parent(live: int) -> None:
    """Of four rows `live` are; all ranks of four are drawn, and fall on those in turn."""
    anchor = torch.tensor([[1.0, 0.0]], dtype=FLOAT64)
    angles = torch.tensor([20.0, 50.0, 80.0, 110.0], dtype=FLOAT64).deg2rad()
    bank = torch.stack([angles.cos(), angles.sin()], dim=1)
    weights = torch.tensor([[0.0] * (4 - live) + [1.0] * live], dtype=FLOAT64)  # the near are dead
    c = Candidates(
        anchor=anchor, bank=bank, pos=torch.ones(1, 1, dtype=FLOAT64), neg=anchor @ bank.T,
        w_pos=torch.ones(1, 1, dtype=FLOAT64), w_neg=weights, prior=0.0,
    )  # fmt: skip
    ranks = torch.arange(4).unsqueeze(0)
    share = torch.zeros(1, 4, dtype=FLOAT64)
    copies = apply_pairs(c, PairDraws(ranks, ranks, share), 4, True)
    blends = apply_query(c, QueryDraws(ranks, share), 4)
    for after in (copies, blends):
        assert (after.w_neg[0, 4:] == (1 if live else 0)).all()
        if live:
            expected = [c.neg[0, 4 - live + rank % live].item() for rank in range(4)]
            assert after.neg[0, 4:].tolist() == pytest.approx(expected, rel=1e-12)
    if not live:
        assert contrast(copies, context()).item() == 0


@pytest.mark.parametrize("mix", [True, False])
def test_synthetics_stop_the_gradient_to_everything_but_the_anchor(mix: bool) -> None:
    a, b = unit(1, 3, 4).requires_grad_(), unit(2, 6, 4).requires_grad_()
    pos = normal(3, 3, 1).tanh().requires_grad_()
    w_neg = torch.ones(3, 6, dtype=FLOAT64, requires_grad=True)
    c = Candidates(
        anchor=a, bank=b, pos=pos, neg=a @ b.T, w_pos=torch.ones(3, 1, dtype=FLOAT64),
        w_neg=w_neg, prior=0.0,
    )  # fmt: skip
    draws = draw_pairs(3, 4, 2, generator(5), FLOAT64, CPU)
    made = apply_pairs(c, draws, 4, mix).neg[:, 6:]
    to_anchor, *stopped = torch.autograd.grad(made.sum(), [a, b, pos, w_neg], allow_unused=True)
    assert all(g is None or torch.equal(g, torch.zeros_like(g)) for g in stopped)
    order = (a @ b.T).argsort(dim=1, descending=True)
    for i in range(3):
        total = torch.zeros(4, dtype=FLOAT64)
        for k in range(2):
            n_a, n_b = b[order[i, draws.first[i, k]]], b[order[i, draws.second[i, k]]]
            h = draws.alpha[i, k] * n_a + (1 - draws.alpha[i, k]) * n_b if mix else n_a
            total += (h / h.norm()).detach()
        torch.testing.assert_close(to_anchor[i], total, rtol=1e-12, atol=1e-14)


# --- contrast -------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 999),
    positives=st.integers(1, 3),
    prior=st.sampled_from([0.0, 0.1, 0.5]),
    temperature=st.sampled_from([0.1, 0.5, 4.0]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_contrast_equals_the_slow_loop(
    seed: int, positives: int, prior: float, temperature: float
) -> None:
    """With weights no step makes, and several positives: a weight 0 takes one out altogether."""
    c = dataclasses.replace(weighted(seed, positives=positives), prior=prior)
    c.w_pos[:, 1:][normal(seed, 4, positives - 1) > 0.8] = 0.0
    expected = slow_contrast(c, temperature)
    rounding = 4 * torch.finfo(FLOAT64).eps / temperature  # of s+/t, where the loss is near 0
    value = contrast(c, context(temperature)).item()
    assert value == pytest.approx(expected, rel=1e-12, abs=rounding)


def test_positive_weights_weigh_terms_and_not_the_denominator() -> None:
    c = weighted(3, positives=2)
    doubled = dataclasses.replace(c, w_pos=2 * c.w_pos)
    assert contrast(doubled, context()).item() == pytest.approx(2 * contrast(c, context()).item())


@pytest.mark.parametrize("prior", [0.0, 0.1])
def test_an_anchor_without_a_live_negative_has_no_loss(prior: float) -> None:
    """Exactly 0, with zero gradient; the other anchors keep theirs."""
    c = dataclasses.replace(weighted(6), prior=prior)
    c.w_neg[1] = 0.0
    anchor, pos, neg = (x.clone().requires_grad_() for x in (c.anchor, c.pos, c.neg))
    alone = dataclasses.replace(
        c, anchor=anchor[1:2], pos=pos[1:2], neg=neg[1:2], w_neg=c.w_neg[1:2], w_pos=c.w_pos[1:2]
    )
    for steps in (alone, harden(alone, context(), beta=1.0)):
        value = contrast(steps, context())
        assert value.item() == 0.0
        for g in torch.autograd.grad(value, [pos, neg], allow_unused=True):
            assert g is None or torch.equal(g, torch.zeros_like(g))
    whole = contrast(dataclasses.replace(c, pos=pos, neg=neg), context())
    assert whole.item() == pytest.approx(slow_contrast(c, 0.5), rel=1e-12)
    for g in torch.autograd.grad(whole, [pos, neg]):
        assert g.isfinite().all() and (g[1] == 0).all() and (g[0] != 0).any()


@pytest.mark.parametrize("prior", [0.0, 0.1])
def test_one_image_has_no_loss(prior: float) -> None:
    z1, z2 = (z.requires_grad_() for z in (normal(1, 1, 4), normal(2, 1, 4)))
    c = harden(in_batch(Outputs(z1=z1, z2=z2)), context(), beta=1.0)
    value = contrast(debias(c, context(), prior=prior), context())
    assert value.item() == 0.0
    for g in torch.autograd.grad(value, [z1, z2]):
        assert torch.equal(g, torch.zeros_like(g))


def test_dead_columns_get_no_gradient_and_do_not_count() -> None:
    c = dataclasses.replace(weighted(7), prior=0.1)
    neg = c.neg.clone().requires_grad_()
    wild = torch.where(c.w_neg > 0, neg, 0.999)
    value = contrast(dataclasses.replace(c, neg=wild), context())
    assert value.item() == contrast(c, context()).item()
    (g,) = torch.autograd.grad(
        contrast(harden(dataclasses.replace(c, neg=neg), context(), beta=1.0), context()), neg
    )
    assert (g[c.w_neg == 0] == 0).all() and (g[c.w_neg > 0] != 0).all()


def test_a_clamped_term_passes_no_gradient_to_the_negatives() -> None:
    """loss = log(e^{s+/t} + N e^{-1/t}) - s+/t, so only the positive has a slope."""
    c = dataclasses.replace(weighted(8), prior=0.9, pos=torch.full((4, 1), 0.95, dtype=FLOAT64),
                            w_pos=torch.ones(4, 1, dtype=FLOAT64))  # fmt: skip
    pos, neg = (x.clone().requires_grad_() for x in (c.pos, c.neg))
    value = contrast(dataclasses.replace(c, pos=pos, neg=neg), context())
    to_pos, to_neg = torch.autograd.grad(value, [pos, neg])
    n = (c.w_neg > 0).double().sum(dim=1, keepdim=True)
    assert value.item() == pytest.approx(slow_contrast(c, 0.5), rel=1e-12)
    assert torch.equal(to_neg, torch.zeros_like(to_neg))
    share = (n * math.exp(-2.0)) / (n * math.exp(-2.0) + (c.pos / 0.5).exp())
    torch.testing.assert_close(to_pos, -share / 0.5 / 4, rtol=1e-12, atol=0)


# --- order ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_steps_matters(seed: int) -> None:
    """Hardened first, the synthetics keep weight 1; each order equals its own loop."""
    c, t, beta = batch(seed, 4, 3), Decimal("0.5"), Decimal(2)
    draws = draw_pairs(8, 3, 2, generator(seed), FLOAT64, CPU)
    mixed_first = harden(apply_pairs(c, draws, 3, True), context(), beta=2.0)
    mixed_last = apply_pairs(harden(c, context(), beta=2.0), draws, 3, True)
    assert torch.equal(mixed_first.neg, mixed_last.neg)
    for i in range(8):
        negatives, weights = exact(mixed_first.neg[i]), exact(c.w_neg[i])
        all_hard = rows.harden(negatives, [*weights, Decimal(1), Decimal(1)], t, beta)
        some_hard = [*rows.harden(negatives[:8], weights, t, beta), Decimal(1), Decimal(1)]
        for found, expected in ((mixed_first, all_hard), (mixed_last, some_hard)):
            assert found.w_neg[i].tolist() == pytest.approx(list(map(float, expected)), rel=1e-12)
    first, last = contrast(mixed_first, context()).item(), contrast(mixed_last, context()).item()
    assert first == pytest.approx(slow_contrast(mixed_first, 0.5), rel=1e-12)
    assert last == pytest.approx(slow_contrast(mixed_last, 0.5), rel=1e-12)
    assert abs(first - last) > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_permuted_images_with_their_draws_leave_the_loss_unchanged(seed: int) -> None:
    z1, z2 = normal(seed, 2, 6, 4)
    draws = draw_pairs(12, 4, 3, generator(seed), FLOAT64, CPU)
    order = torch.randperm(6, generator=generator(seed))
    both = torch.cat([order, order + 6])
    values = []
    for a, b, drawn in [
        (z1, z2, draws),
        (z1[order], z2[order], PairDraws(draws.first[both], draws.second[both], draws.alpha[both])),
    ]:
        c = apply_pairs(in_batch(Outputs(z1=a, z2=b)), drawn, 4, True)
        c = debias(harden(c, context(), beta=1.0), context(), prior=0.1)
        values.append(contrast(c, context()).item())
    assert values[0] == pytest.approx(values[1], rel=1e-12)
