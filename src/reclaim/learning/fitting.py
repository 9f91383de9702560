"""A model fitted to labels, epoch by epoch: what fine-tuning and the linear probe share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from reclaim.learning.checkpoints import Checkpoints, State, saving
from reclaim.learning.optimise import learning_rate
from reclaim.learning.progress import EpochProgress
from reclaim.records import FineTuneProtocol, LinearProtocol, Optimiser, ReclaimError

PAUSE = 5.0


@dataclass
class Fitting:
    """What fitting is made of. `step` counts within `epoch`, of `steps`; both are the next.

    `order`: an epoch's images. `loss`: of chosen images, at an epoch and step, with gradient.
    """

    name: str
    protocol: FineTuneProtocol | LinearProtocol
    model: nn.Module
    device: torch.device
    steps: int
    order: Callable[[int], Tensor]
    loss: Callable[[Tensor, int, int], Tensor]
    epoch: int = 0
    step: int = 0
    optimiser: torch.optim.Optimizer = field(init=False)
    loss_sum: Tensor = field(init=False)

    def __post_init__(self) -> None:
        p = self.protocol
        self.optimiser = torch.optim.SGD(
            self.model.parameters(), p.lr, p.momentum, weight_decay=p.weight_decay
        )
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)

    @property
    def done(self) -> int:
        """Steps made since the first epoch."""
        return self.epoch * self.steps + self.step


def fit(fitting: Fitting, keep: Checkpoints) -> None:
    """Fit the model for all epochs of its protocol: SGD under cosine decay to 0, stepped once each.

    Cut short, it goes on from its newest checkpoint and ends with the same bits. Raises
    ReclaimError for a loss that is no number, a signal to stop, or as `Checkpoints.newest`.
    """
    protocol = fitting.protocol
    schedule = Optimiser(
        lr=protocol.lr, schedule="warmup_cosine", warmup_epochs=0, warmup_lr=0.0, final_lr=0.0
    )
    resume(fitting, keep)
    with (
        saving(keep, fitting.name) as save,
        EpochProgress(
            fitting.name, protocol.epochs, fitting.steps, fitting.done, PAUSE
        ) as progress,
    ):
        while fitting.epoch < protocol.epochs:
            lr = learning_rate(schedule, fitting.epoch, protocol.epochs)
            fitting.optimiser.param_groups[0]["lr"] = lr
            batches = fitting.order(fitting.epoch).split(protocol.batch)
            while fitting.step < fitting.steps:
                chosen = batches[fitting.step]
                fitting.loss_sum += fit_step(fitting, chosen)
                fitting.step += 1
                progress.step(len(chosen))
                save(fitting.done, lambda: _state(fitting))
            _check_finite(fitting)
            progress.epoch(fitting.epoch, fitting.loss_sum.item() / fitting.steps, lr)
            fitting.epoch, fitting.step = fitting.epoch + 1, 0
            fitting.loss_sum.zero_()


def fit_step(fitting: Fitting, chosen: Tensor) -> Tensor:
    """One optimiser step on the chosen images; their loss, detached."""
    loss = fitting.loss(chosen, fitting.epoch, fitting.step)
    fitting.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    fitting.optimiser.step()
    return loss.detach()


def resume(fitting: Fitting, keep: Checkpoints) -> None:
    """Go on from the newest whole checkpoint, if there is one. Raises as `Checkpoints.newest`."""
    state = keep.newest(fitting.device)
    if state is None:
        return
    fitting.model.load_state_dict(state["model"])
    fitting.optimiser.load_state_dict(state["optimiser"])
    fitting.loss_sum.copy_(state["loss_sum"])
    fitting.epoch, fitting.step = state["epoch"], state["step"]


def _state(fitting: Fitting) -> State:
    _check_finite(fitting)
    return {
        "epoch": fitting.epoch,
        "step": fitting.step,
        "loss_sum": fitting.loss_sum,
        "model": fitting.model.state_dict(),
        "optimiser": fitting.optimiser.state_dict(),
    }


def _check_finite(fitting: Fitting) -> None:
    weights = fitting.model.state_dict().values()
    if not math.isfinite(fitting.loss_sum.item()) or not all(w.isfinite().all() for w in weights):
        raise ReclaimError(
            f"{fitting.name}: loss or weights are no longer numbers in epoch {fitting.epoch + 1}; "
            f"the checkpoints before it are kept; lower evaluate.{fitting.protocol.kind}.lr"
        )
