"""The linear probe: one layer learned on the features of a frozen encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.device import generator
from reclaim.learning.fitting import Fitting, fit
from reclaim.learning.frozen import Frozen
from reclaim.records import LinearProtocol


def linear_scores(frozen: Frozen, protocol: LinearProtocol, name: str, keep: Checkpoints) -> Tensor:
    """Logits (N, C) of a linear probe of the last epoch on the test images.

    Weights start as N(0, 0.01), biases at 0; SGD under cosine decay to 0, stepped once an epoch
    (Dong et al. 2024, 4.1.2, and the authors' `linear` script). Without augmentation the features
    are computed once; `standardise` scales them to mean 0 and SD 1 over the training images as
    they are; with `replacement` an epoch draws images with replacement, as the authors' sampler.
    Raises ReclaimError as `fit`.
    """
    images, labels = frozen.images.train, frozen.images.train_labels
    test = frozen.embed(frozen.images.test, protocol.test_views, "clean")
    clean = (
        frozen.embed(images, protocol.test_views, "clean")
        if protocol.needs_clean
        else test.new_empty(0, frozen.features)
    )
    mean, deviation = test.new_zeros(frozen.features), test.new_ones(frozen.features)
    if protocol.standardise:
        mean, deviation = clean.mean(dim=0), clean.std(dim=0).clamp(min=1e-6)
    layer = nn.Linear(frozen.features, frozen.classes).to(frozen.device)
    first = generator(frozen.device, frozen.seed, "probe")
    nn.init.normal_(layer.weight, std=0.01, generator=first)
    nn.init.zeros_(layer.bias)

    def order(epoch: int) -> Tensor:
        return probe_order(frozen, protocol, epoch)

    def loss(chosen: Tensor, epoch: int, step: int) -> Tensor:
        batch = (
            frozen.embed(images[chosen], protocol.views, epoch, step, "probe view")
            if protocol.views
            else clean[chosen]
        )
        return cross_entropy(layer((batch - mean) / deviation), labels[chosen])

    steps = -(-len(images) // protocol.batch)
    fit(Fitting(name, protocol, layer, frozen.device, steps, order, loss), keep)
    with torch.no_grad():
        scores: Tensor = layer((test - mean) / deviation)
    return scores


def probe_order(frozen: Frozen, protocol: LinearProtocol, epoch: int) -> Tensor:
    """An epoch's images in order: a permutation, or draws with replacement."""
    images = len(frozen.images.train)
    draws = generator("cpu", frozen.seed, epoch, "probe order")
    if protocol.replacement:
        return torch.randint(images, (images,), generator=draws).to(frozen.device)
    return torch.randperm(images, generator=draws).to(frozen.device)
