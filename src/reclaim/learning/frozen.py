"""A run's encoder as it was left, with the images it is judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from reclaim.learning.device import generator
from reclaim.learning.images import ImageSet
from reclaim.learning.nets import build_encoder, load_encoder
from reclaim.learning.views import augment
from reclaim.records import Op, PretrainJob, Protocol, ReclaimError
from reclaim.registry.jobs import ENCODERS, run_folder

CHUNK = 500


@dataclass(frozen=True)
class Frozen:
    """A frozen encoder with the images it is judged on."""

    encoder: nn.Module
    features: int
    classes: int
    images: ImageSet
    seed: int
    device: torch.device

    def embed(self, images: Tensor, views: tuple[Op, ...], *key: int | str) -> Tensor:
        """Features (N, F) of uint8 images (N, C, H, W), float32, without gradient."""
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), CHUNK):
                draws = generator("cpu", self.seed, *key, start)
                batch = augment(images[start : start + CHUNK], views, draws)
                batch = batch.contiguous(memory_format=torch.channels_last)
                parts.append(self.encoder(batch).float())
        features = torch.cat(parts)
        if not features.isfinite().all():
            raise ReclaimError(
                "the encoder gives features that are no numbers: its training broke in the last "
                "step; lower optimiser.lr and train again"
            )
        return features


def load_frozen(
    pretrained: PretrainJob,
    results: Path,
    protocol: Protocol,
    images: ImageSet,
    device: torch.device,
) -> Frozen:
    """A run's encoder, of the epoch that a protocol asks for, in evaluation mode.

    Raises ReclaimError if the stored tensors are not those of the run's network, or no whole test
    batch is there.
    """
    config = pretrained.config
    folder = run_folder(results, pretrained.recipe, pretrained.id)
    path = folder / ENCODERS[protocol.encoder]
    encoder, features = build_encoder(config.network, config.dataset)
    load_encoder(encoder, path.read_bytes(), str(path))
    encoder = encoder.float().to(device).to(memory_format=torch.channels_last).eval()
    shown = whole_batches(images, getattr(protocol, "test_batch", None))
    return Frozen(encoder, features, config.dataset.classes, shown, pretrained.seed, device)


def whole_batches(images: ImageSet, test_batch: int | None) -> ImageSet:
    """The images without the last, ragged test batch, which some loaders drop (None: with it).

    Raises ReclaimError if that leaves none.
    """
    kept = len(images.test) - len(images.test) % (test_batch or 1)
    if not kept:
        raise ReclaimError(
            f"test_batch {test_batch}: only {len(images.test)} test images; take a smaller one"
        )
    return replace(images, test=images.test[:kept], test_labels=images.test_labels[:kept])
