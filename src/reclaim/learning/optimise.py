"""The optimisers and the learning rate of an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from reclaim.records import Optimiser


def learning_rate(optimiser: Optimiser, epoch: int, epochs: int) -> float:
    """The rate of an epoch (counted from 0): linear warm-up, then cosine decay.

    With W warm-up epochs of E: warmup_lr + (lr - warmup_lr) e / W below W, then
    final_lr + (lr - final_lr) (1 + cos(pi (e - W) / (E - W))) / 2.
    (Dong et al. 2024, 4.1.2; the constants are those of the authors' training loop, which steps
    once an epoch: the first epoch runs at warmup_lr.)
    """
    if optimiser.schedule == "constant":
        return optimiser.lr
    warmup = optimiser.warmup_epochs
    if epoch < warmup:
        return optimiser.warmup_lr + (optimiser.lr - optimiser.warmup_lr) * epoch / warmup
    done = (epoch - warmup) / max(1, epochs - warmup)
    return (
        optimiser.final_lr
        + (optimiser.lr - optimiser.final_lr) * (1 + math.cos(math.pi * done)) / 2
    )


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling, in the form of SimCLR's own `lars_optimizer.py`.

    g <- g + wd w; trust = eta |w| / |g| (1 where either norm is 0); v <- m v + lr trust g;
    w <- w - v. Vectors (batch norm, biases) get neither decay nor trust, as SimCLR excludes them.
    (You et al. 2017; Chen et al. 2020.) Of the published forms this is the one of the paper that
    Liu 2024 builds on; Barlow Twins scales by lr after the momentum, solo-learn adds wd |w| to
    the denominator.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        defaults = {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust
        }  # fmt: skip
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)
        return loss

    def _update(self, weight: nn.Parameter, group: dict[str, Any]) -> None:
        gradient = weight.grad
        assert gradient is not None
        trust: torch.Tensor | float = 1.0
        if weight.ndim > 1:
            gradient = gradient + group["weight_decay"] * weight
            size, slope = weight.norm(), gradient.norm()
            trust = torch.where((size > 0) & (slope > 0), group["trust"] * size / slope, 1.0)
        velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
        velocity.mul_(group["momentum"]).add_(group["lr"] * trust * gradient)
        weight.sub_(velocity)


def build_optimiser(optimiser: Optimiser, model: nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum (decay on every parameter, as the SSCL authors' code), or LARS."""
    lr, momentum, decay = optimiser.lr, optimiser.momentum, optimiser.weight_decay
    if optimiser.name == "lars":
        return LARS(model.parameters(), lr, momentum, decay, optimiser.trust)
    return torch.optim.SGD(model.parameters(), lr, momentum, weight_decay=decay)
