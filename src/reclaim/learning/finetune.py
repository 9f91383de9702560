"""Fine-tuning: a run's encoder and a new linear layer, trained together on the labels."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.device import autocast, generator, resolve_precision
from reclaim.learning.frozen import Frozen
from reclaim.learning.images import ImageSet
from reclaim.learning.optimise import learning_rate
from reclaim.learning.progress import EpochProgress
from reclaim.learning.train import CHECKPOINT_SECONDS, stop_signals
from reclaim.learning.views import augment, check_ops
from reclaim.records import FineTuneProtocol, Op, Optimiser, ReclaimError


@dataclass
class Tuning:
    """What fine-tuning is made of. `step` counts within `epoch`; both are the next."""

    name: str
    protocol: FineTuneProtocol
    images: ImageSet
    model: nn.Sequential
    optimiser: torch.optim.Optimizer
    seed: int
    device: torch.device
    dtype: torch.dtype
    epoch: int = 0
    step: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    @property
    def steps(self) -> int:
        """Steps in an epoch: the last, ragged batch is dropped, unless it is the only one."""
        return max(1, len(self.images.train) // self.protocol.batch)

    @property
    def done(self) -> int:
        """Steps made since the first epoch."""
        return self.epoch * self.steps + self.step

    @property
    def full(self) -> torch.dtype:
        """The dtype of images, logits and losses: what autocast leaves alone."""
        return torch.float64 if self.dtype is torch.float64 else torch.float32


def fine_tune(
    frozen: Frozen,
    protocol: FineTuneProtocol,
    name: str,
    precision: str,
    keep: Checkpoints,
) -> Tensor:
    """Logits (N, C) on the test images after fine-tuning for all epochs; the encoder is changed.

    The layer starts as N(0, 0.01) with biases 0; SGD under cosine decay to 0, stepped once an
    epoch; batch norm learns while it trains and is fixed in the test (Chen et al. 2020, SimCLR,
    B.8.2; the values are the protocol's). Cut short, it goes on from its newest checkpoint and
    ends with the same bits. Raises ReclaimError for views that do not fit, a loss that is no
    number, or a signal to stop.
    """
    tuning = start(frozen, protocol, name, precision)
    resume(tuning, keep)
    with stop_signals() as stopped:
        _tune(tuning, keep, stopped)
    return scores(tuning)


def start(frozen: Frozen, protocol: FineTuneProtocol, name: str, precision: str) -> Tuning:
    """Fine-tuning before its first step."""
    channels, size = frozen.images.train.shape[1], frozen.images.train.shape[2]
    check_ops(protocol.views, channels, size)
    layer = nn.Linear(frozen.features, frozen.classes)
    nn.init.normal_(layer.weight, std=0.01, generator=generator("cpu", frozen.seed, "fine-tune"))
    nn.init.zeros_(layer.bias)
    dtype = resolve_precision(precision, frozen.device)
    model = nn.Sequential(frozen.encoder, layer.to(frozen.device))
    if dtype is torch.float64:
        model = model.double()
    optimiser = torch.optim.SGD(
        model.parameters(), protocol.lr, protocol.momentum, weight_decay=protocol.weight_decay
    )
    tuning = Tuning(
        name, protocol, frozen.images, model, optimiser, frozen.seed, frozen.device, dtype
    )
    tuning.loss_sum = tuning.loss_sum.to(frozen.device)
    return tuning


def tune_step(tuning: Tuning, order: Tensor) -> Tensor:
    """One optimiser step on the next batch of an epoch's order; its loss, detached."""
    batch = tuning.protocol.batch
    chosen = order[tuning.step * batch :][:batch]
    views = _views(
        tuning, tuning.images.train[chosen], tuning.protocol.views, tuning.epoch, tuning.step
    )
    tuning.model.train()
    with autocast(tuning.device, tuning.dtype):
        logits = tuning.model(views)
    loss = cross_entropy(logits.to(tuning.full), tuning.images.train_labels[chosen])
    tuning.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    tuning.optimiser.step()
    return loss.detach()


def epoch_order(tuning: Tuning) -> Tensor:
    """An epoch's images in order: a permutation."""
    draws = generator("cpu", tuning.seed, tuning.epoch, "fine-tune order")
    return torch.randperm(len(tuning.images.train), generator=draws).to(tuning.device)


def scores(tuning: Tuning) -> Tensor:
    """Logits (N, C) of the test images, in evaluation mode and full precision."""
    tuning.model.eval()
    parts = tuning.images.test.split(tuning.protocol.batch)
    with torch.no_grad():
        return torch.cat(
            [
                tuning.model(_views(tuning, part, tuning.protocol.test_views, "test", place))
                for place, part in enumerate(parts)
            ]
        )


def _views(tuning: Tuning, images: Tensor, ops: tuple[Op, ...], *place: int | str) -> Tensor:
    draws = generator("cpu", tuning.seed, *place, "fine-tune view")
    return augment(images, ops, draws).to(tuning.full, memory_format=torch.channels_last)


def _tune(tuning: Tuning, keep: Checkpoints, stopped: list[int]) -> None:
    protocol, saved = tuning.protocol, time.monotonic()
    schedule = Optimiser(lr=protocol.lr)
    with EpochProgress(tuning.name, protocol.epochs, tuning.steps, tuning.done) as progress:
        while tuning.epoch < protocol.epochs:
            lr = learning_rate(schedule, tuning.epoch, protocol.epochs)
            tuning.optimiser.param_groups[0]["lr"] = lr
            order = epoch_order(tuning)
            while tuning.step < tuning.steps:
                tuning.loss_sum += tune_step(tuning, order)
                tuning.step += 1
                progress.step(min(protocol.batch, len(order)))
                if stopped or time.monotonic() - saved >= CHECKPOINT_SECONDS:
                    _checkpoint(tuning, keep)
                    saved = time.monotonic()
                if stopped:
                    raise ReclaimError(
                        f"{tuning.name} stopped by {signal.Signals(stopped[0]).name} after a "
                        "checkpoint; start the same command again to go on"
                    )
            _check_finite(tuning)
            progress.epoch(tuning.epoch, tuning.loss_sum.item() / tuning.steps, lr)
            tuning.epoch, tuning.step = tuning.epoch + 1, 0
            tuning.loss_sum.zero_()


def _check_finite(tuning: Tuning) -> None:
    weights = tuning.model.state_dict().values()
    if not math.isfinite(tuning.loss_sum.item()) or not all(w.isfinite().all() for w in weights):
        raise ReclaimError(
            f"{tuning.name}: loss or weights are no longer numbers in epoch {tuning.epoch + 1}; "
            "the checkpoints before it are kept; lower evaluate.fine_tune.lr"
        )


def _checkpoint(tuning: Tuning, keep: Checkpoints) -> None:
    _check_finite(tuning)
    state = {
        "epoch": tuning.epoch,
        "step": tuning.step,
        "loss_sum": tuning.loss_sum,
        "model": tuning.model.state_dict(),
        "optimiser": tuning.optimiser.state_dict(),
    }
    keep.save(tuning.done, state)


def resume(tuning: Tuning, keep: Checkpoints) -> None:
    """Go on from the newest whole checkpoint, if there is one."""
    state = keep.newest(tuning.device)
    if state is None:
        return
    tuning.model.load_state_dict(state["model"])
    tuning.optimiser.load_state_dict(state["optimiser"])
    tuning.loss_sum.copy_(state["loss_sum"])
    tuning.epoch, tuning.step = state["epoch"], state["step"]
