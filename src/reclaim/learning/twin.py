"""The EMA twin of a network, with what it keeps of earlier steps: its queue and its centre."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from reclaim import records
from reclaim.learning.nets import Model


class Twin(nn.Module):
    """A copy of encoder and head that follows them and never learns (He et al. 2020, MoCo, eq. 2).

    queue (K, D) and owners (K,): the newest K outputs as they came, and whose image each was (-1
    for the random ones of the start); `next_slot` is where the oldest lies. centre (D,): the
    running mean of all outputs, from 0 (Caron et al. 2021, DINO, eq. 4). All are part of the
    state, so a run resumes with the same bits.
    """

    queue: Tensor
    owners: Tensor
    next_slot: Tensor
    centre: Tensor

    def __init__(
        self, config: records.Twin, model: Model, width: int, generator: torch.Generator
    ) -> None:
        """`width` is D; the generator fills the queue."""
        super().__init__()
        self.config = config
        self.encoder = copy.deepcopy(model.encoder).requires_grad_(False)
        self.head = copy.deepcopy(model.head).requires_grad_(False)
        keys = config.queue or 0
        self.register_buffer("queue", torch.randn(keys, width, generator=generator))
        self.register_buffer("owners", torch.full((keys,), -1))
        self.register_buffer("next_slot", torch.zeros((), dtype=torch.int64))
        self.register_buffer("centre", torch.zeros(width))

    def forward(self, images: Tensor) -> Tensor:
        """The projections (B, D) of images, without gradient."""
        with torch.no_grad():
            projections: Tensor = self.head(self.encoder(images))
        return projections

    @torch.no_grad()
    def follow(self, model: Model, progress: float) -> None:
        """weights <- m weights + (1 - m) the model's; buffers of batch norm are the twin's own.

        `progress` in [0, 1] is the part of the training that is done. Made at the start of a
        step, which is after the last one's update: the order of MoCo and BYOL alike.

        Notes: where the momentum grows, the authors of BYOL and DINO take that of the step just
        made and here it is that of the step to come; a kept twin has not followed the last step.
        """
        share = 1 - momentum(self.config, progress)
        for mine, followed in (
            (self.encoder, model.encoder),
            (self.head, model.head),
        ):
            for weight, target in zip(mine.parameters(), followed.parameters(), strict=True):
                weight.lerp_(target, share)

    def own(self, images: Tensor) -> Tensor | None:
        """(B, K): which queued keys are of the same image; None where they stay candidates."""
        return self.owners == images.unsqueeze(1) if self.config.mask_own else None

    @torch.no_grad()
    def remember(self, keys: Tensor, images: Tensor) -> None:
        """Put a step's keys (B, D) of images (B,) in the place of the oldest."""
        slots = (self.next_slot + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[slots] = keys.to(self.queue.dtype)
        self.owners[slots] = images
        self.next_slot.copy_((self.next_slot + len(keys)) % len(self.queue))

    @torch.no_grad()
    def recentre(self, outputs: Tensor, centre_momentum: float) -> None:
        """centre <- m centre + (1 - m) the mean of a step's outputs (2B, D)."""
        self.centre.lerp_(outputs.mean(dim=0).to(self.centre.dtype), 1 - centre_momentum)


def momentum(config: records.Twin, progress: float) -> float:
    """Constant, or 1 - (1 - m) (cos(pi progress) + 1) / 2 (Grill et al. 2020, BYOL, 3.3)."""
    if config.schedule == "constant":
        return config.momentum
    return 1 - (1 - config.momentum) * (math.cos(math.pi * progress) + 1) / 2
