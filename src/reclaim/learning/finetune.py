"""Fine-tuning: a run's encoder and a new linear layer, trained together on the labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.device import autocast, generator, resolve_precision
from reclaim.learning.fitting import Fitting, fit
from reclaim.learning.frozen import Frozen
from reclaim.learning.views import augment, check_ops
from reclaim.records import FineTuneProtocol, Op


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
    B.8.2; the values are the protocol's). An epoch drops its last, ragged batch, unless it is the
    only one. Raises ReclaimError for views that do not fit, and as `fit`.
    """
    images, labels = frozen.images.train, frozen.images.train_labels
    check_ops(protocol.views, images.shape[1], images.shape[2])
    dtype = resolve_precision(precision, frozen.device)
    full = torch.float64 if dtype is torch.float64 else torch.float32
    model = nn.Sequential(frozen.encoder, _layer(frozen)).to(full)

    def order(epoch: int) -> Tensor:
        draws = generator("cpu", frozen.seed, epoch, "fine-tune order")
        return torch.randperm(len(images), generator=draws).to(frozen.device)

    def seen(images: Tensor, ops: tuple[Op, ...], *place: int | str) -> Tensor:
        draws = generator("cpu", frozen.seed, *place, "fine-tune view")
        return augment(images, ops, draws).to(full, memory_format=torch.channels_last)

    def loss(chosen: Tensor, epoch: int, step: int) -> Tensor:
        views = seen(images[chosen], protocol.views, epoch, step)
        with autocast(frozen.device, dtype):
            logits = model.train()(views)
        return cross_entropy(logits.to(full), labels[chosen])

    steps = max(1, len(images) // protocol.batch)
    fit(Fitting(name, protocol, model, frozen.device, steps, order, loss), keep)
    model.eval()
    parts = enumerate(frozen.images.test.split(protocol.batch))
    with torch.no_grad():
        return torch.cat(
            [model(seen(part, protocol.test_views, "test", place)) for place, part in parts]
        )


def _layer(frozen: Frozen) -> nn.Linear:
    layer = nn.Linear(frozen.features, frozen.classes)
    nn.init.normal_(layer.weight, std=0.01, generator=generator("cpu", frozen.seed, "fine-tune"))
    nn.init.zeros_(layer.bias)
    return layer.to(frozen.device)
