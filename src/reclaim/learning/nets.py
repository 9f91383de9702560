"""The networks: ResNet-18/50 with the papers' stems, a narrow ResNet for small scales, heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models import resnet

from reclaim.records import Config, Dataset, Network, ReclaimError


class Model(nn.Module):
    """An encoder (images to features) and a head (features to projections or logits)."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(images))


class NarrowResNet(nn.Module):
    """One residual block a stage, halving the image between stages; the mean over the last map."""

    def __init__(self, channels: int, widths: tuple[int, ...], stem_stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = nn.Sequential(
            *(
                _block(before, width, stride=1 if index == 0 else 2)
                for index, (before, width) in enumerate(
                    zip((widths[0], *widths), widths, strict=False)
                )
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, S, S) to (B, widths[-1])."""
        return self.stages(torch.relu(self.bn1(self.conv1(images)))).mean(dim=(2, 3))


def _block(before: int, width: int, stride: int) -> resnet.BasicBlock:
    shortcut = None
    if stride != 1 or before != width:
        shortcut = nn.Sequential(
            nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
        )
    return resnet.BasicBlock(before, width, stride, shortcut)


def _resnet(depth: resnet.ResNet, channels: int, stem: str | None) -> resnet.ResNet:
    """Swap torchvision's stem.

    imagenet: 7x7 stride 2, then 3x3 max-pool stride 2. cifar: 3x3 stride 1, no pool.
    cifar_maxpool: 3x3 stride 1, then 3x3 max-pool stride 1 without padding, 32 to 30 pixels
    (the SSCL authors' `network.py`).
    """
    depth.fc = nn.Identity()
    if stem == "imagenet":
        depth.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    else:
        depth.conv1 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        depth.maxpool = nn.MaxPool2d(3, 1, 0) if stem == "cifar_maxpool" else nn.Identity()
    return depth


def build_encoder(network: Network, dataset: Dataset) -> tuple[nn.Module, int]:
    """An encoder with undefined weights, and the length of its features.

    Raises ReclaimError for a stem that the architecture does not have.
    """
    channels, stem = dataset.channels, network.stem
    if network.arch == "pixels":
        return nn.Flatten(), channels * dataset.size**2
    stems = {"stride1": 1, "stride2": 2} if network.arch == "narrow" else {
        "cifar": 1, "cifar_maxpool": 1, "imagenet": 2
    }  # fmt: skip
    if stem not in stems:
        raise ReclaimError(
            f"network.stem {stem!r} of {network.arch}: take one of {', '.join(stems)}"
        )
    if network.arch == "narrow":
        return NarrowResNet(channels, network.widths, stems[stem]), network.widths[-1]
    if network.arch == "resnet18":
        return _resnet(resnet.resnet18(), channels, stem), 512
    return _resnet(resnet.resnet50(), channels, stem), 2048


def build_head(network: Network, features: int) -> nn.Module:
    """The projection head: linear, [batch norm], ReLU, linear."""
    hidden = network.head_hidden
    norm = [nn.BatchNorm1d(hidden)] if network.head_norm else []
    return nn.Sequential(
        nn.Linear(features, hidden), *norm, nn.ReLU(), nn.Linear(hidden, network.head_out)
    )


def build_model(config: Config, generator: torch.Generator) -> Model:
    """The model of a run with its first weights, all drawn from the generator."""
    with torch.random.fork_rng(devices=[]):
        encoder, features = build_encoder(config.network, config.dataset)
        learns_labels = any(term.loss == "classify" for term in config.terms)
        head = (
            nn.Linear(features, config.dataset.classes)
            if learns_labels
            else build_head(config.network, features)
        )
    model = Model(encoder, head)
    initialise(model, generator)
    return model


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Kaiming fan-out for convolutions (He et al. 2015), PyTorch's default for linear layers."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(
                module.weight, mode="fan_out", nonlinearity="relu", generator=generator
            )
        elif isinstance(module, nn.Linear):
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
