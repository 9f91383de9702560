"""Settings at which one recipe must become another, and a step must change nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

import reclaim
from reclaim.learning.candidates import Candidates, Context, Outputs, in_batch, queued
from reclaim.learning.objectives import contrast
from reclaim.learning.steps import debias, harden, mix_pairs

SEEDS = range(4)


def projections(seed: int, batch: int = 6, dim: int = 5) -> tuple[Tensor, Tensor]:
    made = torch.randn(
        2, batch, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    return made[0], made[1]


def context(temperature: float = 0.5) -> Context:
    return Context(temperature=temperature, generator=torch.Generator().manual_seed(1))


def record(seed: int) -> Candidates:
    z1, z2 = projections(seed)
    return in_batch(Outputs(z1=z1, z2=z2))


def assert_same(before: Candidates, after: Candidates) -> None:
    for field in dataclasses.fields(Candidates):
        old, new = getattr(before, field.name), getattr(after, field.name)
        if isinstance(old, Tensor):
            torch.testing.assert_close(new, old, rtol=1e-15, atol=0)
        else:
            assert new == old


@pytest.mark.parametrize("seed", SEEDS)
def test_neutral_steps_change_nothing(seed: int) -> None:
    before = record(seed)
    assert_same(before, harden(before, context(), beta=0.0))
    assert_same(before, debias(before, context(), prior=0.0))
    assert_same(before, mix_pairs(before, context(), hardest=4, synthetics=0))
    assert_same(before, mix_pairs(before, context(), hardest=4, synthetics=0, mix=False))


@pytest.mark.parametrize("seed", SEEDS)
def test_hardening_by_nothing_keeps_weights_already_hardened(seed: int) -> None:
    before = harden(record(seed), context(), beta=1.0)
    assert_same(before, harden(before, context(), beta=0.0))


IDENTITIES = [
    ("hcl", {"beta": 0.0, "prior": 0.2}, "dcl", {"prior": 0.2}),
    ("dcl", {"prior": 0.0}, "simclr", {}),
    ("hcl", {"beta": 0.0, "prior": 0.0}, "simclr", {}),
    ("sscl", {"synthetics": 0, "beta": 2.0}, "hcl", {"beta": 2.0}),
    ("sscl", {"synthetics": 0, "beta": 0.0}, "dcl", {}),
    ("sscl_released", {"synthetics": 0}, "hcl", {}),
    ("sscl_synthesis", {"synthetics": 0}, "simclr", {}),
    ("sscl_synthesis_debias", {"synthetics": 0}, "dcl", {}),
    ("sscl_synthesis_debias", {"prior": 0.0, "synthetics": 3}, "sscl_synthesis", {"synthetics": 3}),
    ("sscl", {"beta": 0.0, "synthetics": 3}, "sscl_synthesis_debias", {"synthetics": 3}),
    ("simclr_enlarge", {"threshold": -1.0}, "simclr", {}),
    ("simclr_enlarge", {"threshold": 1.9}, "simclr", {}),
    ("simclr_enlarge", {"delta": 0.0}, "simclr", {}),
]


@pytest.mark.parametrize(("name", "knobs", "other", "its"), IDENTITIES)
@pytest.mark.parametrize("temperature", [0.1, 0.5, 3.0])
@pytest.mark.parametrize("seed", SEEDS)
def test_one_recipe_is_another(
    name: str,
    knobs: dict[str, Any],
    other: str,
    its: dict[str, Any],
    temperature: float,
    seed: int,
) -> None:
    """In value and in gradient, with the same draws."""
    results = []
    for recipe, chosen in ((name, knobs), (other, its)):
        leaves = [z.requires_grad_() for z in projections(seed)]
        draws = torch.Generator().manual_seed(2)
        value = reclaim.loss(recipe, *leaves, temperature=temperature, generator=draws, **chosen)
        results.append((value, torch.autograd.grad(value, leaves)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_hardest_negative_makes_mixes_and_copies_the_same(seed: int) -> None:
    z1, z2 = projections(seed)
    knobs: dict[str, Any] = {"hardest": 1, "synthetics": 3}
    values = [reclaim.loss(name, z1, z2, **knobs) for name in ("sscl", "sscl_released")]
    torch.testing.assert_close(values[0], values[1], rtol=1e-13, atol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bank_without_masked_rows_has_the_same_value(seed: int) -> None:
    """Columns of weight 0 may as well be absent: each anchor's own negatives, nothing else."""
    c = harden(record(seed), context(), beta=1.5)
    live = c.w_neg > 0
    rows = len(live)
    alone = dataclasses.replace(
        c, neg=c.neg[live].reshape(rows, -1), w_neg=c.w_neg[live].reshape(rows, -1), prior=0.1
    )
    full = contrast(dataclasses.replace(c, prior=0.1), context())
    torch.testing.assert_close(contrast(alone, context()), full, rtol=1e-14, atol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_queue_of_an_anchors_negatives_has_the_value_of_the_batch(seed: int) -> None:
    """Not the gradient: keys carry none."""
    z1, z2 = projections(seed)
    views, batch = torch.cat([z1, z2]), len(z1)
    values = []
    for anchor in range(2 * batch):
        positive = (anchor + batch) % (2 * batch)
        others = [i for i in range(2 * batch) if i not in (anchor, positive)]
        alone = Outputs(z1=views[[anchor]], k2=views[[positive]], queue=views[others])
        values.append(contrast(queued(alone), context()))
    mean = torch.stack(values).mean()
    torch.testing.assert_close(mean, reclaim.loss("simclr", z1, z2), rtol=1e-13, atol=0)
