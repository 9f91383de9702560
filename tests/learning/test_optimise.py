"""The learning rate of every epoch, and LARS by hand."""

from __future__ import annotations

import math

import pytest
import torch

from reclaim.learning.optimise import LARS, build_optimiser, learning_rate
from reclaim.records import Optimiser

SSCL = Optimiser(lr=0.1, warmup_epochs=20, warmup_lr=1e-4, final_lr=1e-4)


def test_the_schedule_is_that_of_the_released_loop() -> None:
    """The authors step chained schedulers once an epoch: replayed here epoch by epoch."""
    rate, rates = 1e-4, []
    for epoch in range(1, 201):
        rates.append(rate)
        if epoch <= 20:
            rate = 1e-4 + (0.1 - 1e-4) * epoch / 20
        else:
            t = epoch - 20  # the closed recursion of cosine annealing
            rate = (1 + math.cos(math.pi * t / 180)) / (1 + math.cos(math.pi * (t - 1) / 180)) * (
                rate - 1e-4
            ) + 1e-4
    found = [learning_rate(SSCL, epoch, 200) for epoch in range(200)]
    assert found == pytest.approx(rates, rel=1e-9)
    assert found[0] == 1e-4
    assert found[20] == 0.1
    assert found[110] == pytest.approx((0.1 + 1e-4) / 2, rel=1e-9)


def test_the_cosine_part_equals_torchs_scheduler() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=180, eta_min=1e-4)
    for epoch in range(180):
        expected = optimiser.param_groups[0]["lr"]
        assert learning_rate(SSCL, 20 + epoch, 200) == pytest.approx(expected, rel=1e-9)
        optimiser.step()
        cosine.step()


def test_a_constant_rate_is_constant_and_no_warm_up_starts_at_the_rate() -> None:
    assert learning_rate(Optimiser(lr=0.3, schedule="constant"), 7, 10) == 0.3
    assert learning_rate(Optimiser(lr=0.3), 0, 10) == 0.3


def test_lars_equals_two_steps_by_hand() -> None:
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    bias = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimiser = LARS([weight, bias], lr=0.5, momentum=0.9, weight_decay=0.1, trust=0.01)
    w, b, v, u = [3.0, 4.0], 2.0, [0.0, 0.0], 0.0
    for gradient, slope in (([1.0, -2.0], 0.5), ([0.3, 0.7], -1.0)):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        bias.grad = torch.tensor([slope], dtype=torch.float64)
        optimiser.step()
        decayed = [g + 0.1 * x for g, x in zip(gradient, w, strict=True)]
        trust = 0.01 * math.hypot(*w) / math.hypot(*decayed)
        v = [0.9 * old + 0.5 * trust * g for old, g in zip(v, decayed, strict=True)]
        w = [x - step for x, step in zip(w, v, strict=True)]
        u = 0.9 * u + 0.5 * slope  # a vector: neither decay nor trust
        b -= u
    assert weight.tolist()[0] == pytest.approx(w, rel=1e-12)
    assert bias.item() == pytest.approx(b, rel=1e-12)


def test_lars_trusts_fully_where_a_norm_is_zero() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    LARS([weight], lr=0.1, momentum=0.0).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), -0.1))
    still = torch.nn.Parameter(torch.ones(2, 2))
    still.grad = torch.zeros(2, 2)
    LARS([still], lr=0.1, momentum=0.0).step()
    assert torch.equal(still.detach(), torch.ones(2, 2))


def test_sgd_decays_every_parameter_as_the_released_code() -> None:
    model = torch.nn.BatchNorm1d(3)
    optimiser = build_optimiser(Optimiser(lr=0.1, weight_decay=0.01), model)
    assert isinstance(optimiser, torch.optim.SGD)
    assert [len(group["params"]) for group in optimiser.param_groups] == [2]
    assert optimiser.param_groups[0]["weight_decay"] == 0.01
    assert not optimiser.param_groups[0]["nesterov"]
