"""The networks: ResNet-18/50 with the papers' stems, a narrow ResNet for small scales, heads."""

from __future__ import annotations

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize
from torchvision.models import resnet

from reclaim.records import Config, Dataset, Network, ReclaimError


class Model(nn.Module):
    """An encoder (images to features), a head (features to projections or logits) and, where a
    recipe has one, a predictor (projections to predictions)."""

    def __init__(
        self, encoder: nn.Module, head: nn.Module, predictor: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.predictor = predictor

    def forward(self, images: Tensor) -> Tensor:
        """The projections or logits (B, D) of images."""
        projections: Tensor = self.head(self.encoder(images))
        return projections


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


class Prototypes(nn.Module):
    """Cosines with K learned directions: DINO's last layer, its weights' lengths fixed at 1."""

    def __init__(self, features: int, prototypes: int) -> None:
        super().__init__()
        self.directions = nn.Linear(features, prototypes, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to (B, K)."""
        return linear(normalize(features, dim=1), normalize(self.directions.weight, dim=1))


def build_head(network: Network, features: int) -> nn.Module:
    """The projection head.

    mlp: linear, [batch norm], ReLU, linear, [batch norm without weights]. linear: one layer
    (MoCo v1). prototypes: linear, [batch norm], GELU, twice, linear, then `Prototypes` (Caron et
    al. 2021, DINO).
    """
    hidden, out = network.head_hidden, network.head_out
    if network.head == "linear":
        return nn.Linear(features, out)
    if network.head == "prototypes":
        layers: list[nn.Module] = []
        for before in (features, hidden):
            norm = [nn.BatchNorm1d(hidden)] if network.head_norm else []
            layers += [nn.Linear(before, hidden), *norm, nn.GELU()]
        last = Prototypes(out, network.prototypes)
        return nn.Sequential(*layers, nn.Linear(hidden, out), last)
    return _mlp(features, hidden, out, network)


def build_predictor(network: Network) -> nn.Module | None:
    """From projections to predictions of them, in the form of the head's `mlp` (BYOL, PSM)."""
    if not network.predictor:
        return None
    return _mlp(network.head_out, network.predictor_hidden, network.head_out, network)


def _mlp(before: int, hidden: int, out: int, network: Network) -> nn.Sequential:
    bias = not network.head_out_norm
    norm = [nn.BatchNorm1d(hidden)] if network.head_norm else []
    last = [nn.BatchNorm1d(out, affine=False)] if network.head_out_norm else []
    return nn.Sequential(
        nn.Linear(before, hidden, bias), *norm, nn.ReLU(), nn.Linear(hidden, out, bias), *last
    )


def projection_width(network: Network) -> int:
    """The length of a projection."""
    return network.prototypes if network.head == "prototypes" else network.head_out


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
        predictor = build_predictor(config.network)
    model = Model(encoder, head, predictor)
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
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def load_encoder(encoder: nn.Module, data: bytes, where: str) -> None:
    """Fill an encoder with the weights of a safetensors file.

    Raises ReclaimError, naming `where`, if a tensor is missing, left over or of another shape.
    """
    try:
        stored = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise ReclaimError(
            f"{where}: not readable as safetensors ({error}); make it anew"
        ) from error
    own = encoder.state_dict()
    for fault, names in (("lacks", set(own) - set(stored)), ("has also", set(stored) - set(own))):
        if names:
            raise ReclaimError(
                f"{where}: {fault} the tensor {min(names)!r}: it is of another architecture"
            )
    for name, value in stored.items():
        if value.shape != own[name].shape:
            raise ReclaimError(
                f"{where}: {name} is {tuple(value.shape)} and not {tuple(own[name].shape)}: it is "
                "of another architecture, stem or number of channels"
            )
    encoder.load_state_dict(stored)
