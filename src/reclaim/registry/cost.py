"""What a run is expected to need: steps, views, memory and hours on a named GPU. No torch here.

A network is walked layer by layer as numbers: weights, multiply-adds of a forward pass, and what a
forward pass keeps for the backward pass. A backward pass counts as two forward ones; the EMA twin
and an encoder that is only measured run forward alone. Hours are multiply-adds at the rate of a
stated training, the anchor, which is taken as one of full precision.

Left out: loading, augmentation, the loss and its candidates, the optimiser's own arithmetic, the
probe's linear layer, and how well a network fills a GPU (many small layers run slower than few
large ones). bfloat16 and a newer GPU are faster than the anchor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import Field

from reclaim.records import (
    Config,
    Cost,
    Dataset,
    FineTuneProtocol,
    GeometryProtocol,
    LinearProtocol,
    Model,
    Network,
    Op,
    Protocol,
    Sees,
    Term,
)
from reclaim.registry.datasets import DATASETS

MIB = 2**20
NUMBER = {"float64": 8, "bfloat16": 2}  # bytes; else 4: `auto` may find no bfloat16
SEEN: dict[Sees, int] = {"first": 1, "second": 1, "together": 2, "apart": 2}
CHUNK = 500  # images that an evaluation embeds at once
WORKSPACE = 1024 * MIB  # assumed: CUDA's context, cuDNN's workspaces, the allocator's slack
COPIES = 10  # assumed: tensors of the size of the similarities that a loss holds at once
MIXES = 5  # assumed: tensors of the size of the mixed negatives that a step holds at once


class Anchor(Model):
    """A stated training time, from which other runs' times are scaled by their multiply-adds.

    Both views pass through `network` with gradient at each of `steps` an epoch.
    """

    gpu: str
    hours: float = Field(gt=0)
    epochs: int = Field(gt=0)
    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    network: Network
    size: int = Field(gt=0)
    channels: int = Field(default=3, gt=0)
    source: str

    @property
    def products_per_hour(self) -> float:
        """Multiply-adds."""
        work = of_model(self.network, self.channels, self.size)
        views = 2 * self.epochs * self.steps * self.batch
        return 3 * views * work.products / self.hours


# --- one image through a network -----------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """Weights, and of one image: multiply-adds of a forward pass, numbers and pooling's indices
    that it keeps for the backward pass, and the numbers of its largest layer."""

    weights: int = 0
    products: int = 0
    kept: int = 0
    indices: int = 0
    largest: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.weights + other.weights,
            self.products + other.products,
            self.kept + other.kept,
            self.indices + other.indices,
            max(self.largest, other.largest),
        )


@dataclass
class _Walk:
    """A map on its way through an encoder, and the work behind it."""

    channels: int
    side: int
    work: Work = field(default_factory=Work)

    def conv(self, channels: int, kernel: int, stride: int = 1, keeps: int = 2) -> None:
        """Convolution, batch norm, ReLU: the inputs of norm and of the next layer are kept."""
        side = (self.side + 2 * (kernel // 2) - kernel) // stride + 1
        weights, numbers = self.channels * channels * kernel**2, channels * side**2
        norm = 2 * channels
        self.work += Work(weights + norm, weights * side**2, keeps * numbers, 0, numbers)
        self.channels, self.side = channels, side

    def pool(self, stride: int, padding: int) -> None:
        """Max-pooling of 3x3 pixels, which keeps its result and where each number came from."""
        self.side = (self.side + 2 * padding - 3) // stride + 1
        numbers = self.channels * self.side**2
        self.work += Work(kept=numbers, indices=numbers)

    def block(self, width: int, stride: int, bottleneck: bool) -> None:
        """A residual block; a shortcut's result is added at once, so only its norm keeps input."""
        shortcut = _Walk(self.channels, self.side)
        if bottleneck:
            self.conv(width, 1)
            self.conv(width, 3, stride)
            self.conv(4 * width, 1)
        else:
            self.conv(width, 3, stride)
            self.conv(width, 3)
        if (shortcut.channels, shortcut.side) != (self.channels, self.side):
            shortcut.conv(self.channels, 1, stride, keeps=1)
            self.work += shortcut.work


STAGES = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
WIDTHS = (64, 128, 256, 512)


def of_encoder(network: Network, channels: int, size: int) -> tuple[Work, int]:
    """An encoder's work on an image of `size` pixels a side, and the length of its features."""
    if network.arch == "pixels":
        return Work(), channels * size**2
    walk = _Walk(channels, size, Work(kept=channels * size**2))
    if network.arch == "narrow":
        walk.conv(network.widths[0], 3, 1 if network.stem == "stride1" else 2)
        stages = [(width, 1) for width in network.widths]
    else:
        walk.conv(64, *((7, 2) if network.stem == "imagenet" else (3, 1)))
        if network.stem != "cifar":
            walk.pool(*((2, 1) if network.stem == "imagenet" else (1, 0)))
        stages = list(zip(WIDTHS, STAGES[network.arch], strict=True))
    for stage, (width, blocks) in enumerate(stages):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            walk.block(width, stride, bottleneck=network.arch == "resnet50")
    return walk.work, walk.channels


def _linear(before: int, after: int, kept: int = 0) -> Work:
    """A linear layer, which keeps its input, and so many numbers more after it."""
    return Work(before * after + after, before * after, before + kept, 0, after)


def of_model(network: Network, channels: int, size: int, classes: int | None = None) -> Work:
    """An encoder with its head and predictor, or with a layer for so many classes as its head."""
    encoder, features = of_encoder(network, channels, size)
    hidden, out = network.head_hidden, network.head_out
    if classes is not None:
        return encoder + _linear(features, classes)
    if network.head == "linear":
        return encoder + _linear(features, out)
    if network.head == "prototypes":
        inner = _linear(features, hidden, hidden) + _linear(hidden, hidden, hidden)
        return encoder + inner + _linear(hidden, out) + _linear(out, network.prototypes)
    norm = hidden if network.head_norm else 0
    head = encoder + _linear(features, hidden, norm) + _linear(hidden, out)
    if not network.predictor:
        return head
    inner_width = network.predictor_hidden
    norm = inner_width if network.head_norm else 0
    return head + _linear(out, inner_width, norm) + _linear(inner_width, out)


# --- a run ---------------------------------------------------------------------------------------


def cost(config: Config, protocols: Iterable[Protocol], anchor: Anchor | None) -> Cost:
    """What a run and its evaluations need; hours only where there is an anchor."""
    protocols = tuple(protocols)
    train, _ = images(config.dataset)
    steps = min(train // config.batch, config.max_steps or train) * config.epochs
    rate = anchor.products_per_hour if anchor else None
    measured = sum(_evaluated(config, protocol) for protocol in protocols)
    return Cost(
        steps=steps,
        images_seen=steps * config.batch * (2 + config.local_crops),
        memory_mib=memory(config, protocols) // MIB + 1,
        gpu_hours=None if rate is None else round(steps * products_per_step(config) / rate, 2),
        evaluation_gpu_hours=None if rate is None else round(measured / rate, 2),
    )


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of costs; of their memory, the largest."""
    costs = list(costs)
    known = [cost for cost in costs if cost.gpu_hours is not None]
    return Cost(
        steps=sum(cost.steps for cost in costs),
        images_seen=sum(cost.images_seen for cost in costs),
        memory_mib=max((cost.memory_mib for cost in costs), default=0),
        gpu_hours=round(sum(cost.gpu_hours or 0 for cost in known), 2) if known else None,
        evaluation_gpu_hours=(
            round(sum(cost.evaluation_gpu_hours or 0 for cost in known), 2) if known else None
        ),
    )


def images(dataset: Dataset) -> tuple[int, int]:
    """Training and test images of a data set as a run uses it."""
    facts = DATASETS[dataset.name]
    train = dataset.subset or facts.n_train
    return train, facts.n_train - train if dataset.held_out else facts.n_test


def side(views: Iterable[Op], size: int) -> int:
    """The edge of a view of an image of `size` pixels: that of the last crop."""
    for op in views:
        size = op.params.get("size", size)
    return size


def _learning(config: Config, view: int) -> Work:
    learns_labels = any(term.loss == "classify" for term in config.terms)
    classes = config.dataset.classes if learns_labels else None
    return of_model(config.network, config.dataset.channels, view, classes)


def _passes(config: Config) -> list[tuple[int, Work]]:
    """The images that pass through the learning network in a step, with the work of each."""
    size, crops = config.dataset.size, config.local_crops
    made = [(SEEN[config.online] * config.batch, _learning(config, side(config.views, size)))]
    local = _learning(config, side(config.local_views, size))
    return [*made, (crops * config.batch, local)] if crops else made


def products_per_step(config: Config) -> int:
    """Multiply-adds of an optimiser step: three forward passes' worth, one of the twin's."""
    learned = sum(3 * count * work.products for count, work in _passes(config))
    if config.twin is None:
        return learned
    followed = _learning(config, side(config.views, config.dataset.size))
    return learned + SEEN[config.twin.sees] * config.batch * followed.products


def _evaluated(config: Config, protocol: Protocol) -> int:
    """Multiply-adds of an evaluation: what passes through the encoder."""
    dataset = config.dataset
    train, test = images(dataset)

    def forward(views: Iterable[Op]) -> int:
        view = side(views, dataset.size)
        return of_encoder(config.network, dataset.channels, view)[0].products

    clean = forward(protocol.test_views)
    if isinstance(protocol, GeometryProtocol):
        return test * (2 * forward(protocol.views) + clean)
    if isinstance(protocol, FineTuneProtocol):
        return 3 * protocol.epochs * train * forward(protocol.views) + test * clean
    once = (train + test) * clean
    if not isinstance(protocol, LinearProtocol) or not protocol.views:
        return once
    learned = protocol.epochs * train * forward(protocol.views)
    return learned + (once if protocol.needs_clean else test * clean)


# --- memory --------------------------------------------------------------------------------------


def memory(config: Config, protocols: Iterable[Protocol]) -> int:
    """Bytes at the peak of a run or of its evaluations, estimated from above.

    The images as stored, weights, their gradients and momenta, the twin and its queue, what the
    forward passes keep for the backward pass, two gradients of the largest layer, the loss's
    similarities and mixed negatives, and a workspace.
    """
    dataset = config.dataset
    stored = sum(images(dataset)) * dataset.channels * dataset.size**2
    peaks = [_training(config)] if config.epochs else []
    peaks += [_evaluating(config, protocol) for protocol in protocols]
    return stored + WORKSPACE + max(peaks, default=0)


def _training(config: Config) -> int:
    number, network, twin = NUMBER.get(config.precision, 4), config.network, config.twin
    passes = _passes(config)
    weights = passes[0][1].weights
    width = network.prototypes if network.head == "prototypes" else network.head_out
    state = 4 * weights * (2 + (config.optimiser.momentum > 0))
    state += 4 * (weights + width * (twin.queue or 0)) if twin else 0
    return state + sum(_backward(*part, number) for part in passes) + _compared(config, width)


def _backward(count: int, work: Work, number: int) -> int:
    """What so many images keep for the backward pass, their views and the largest gradients."""
    return count * (number * (work.kept + 2 * work.largest) + 8 * work.indices)


def _compared(config: Config, width: int) -> int:
    """The similarities and mixed negatives of a recipe's terms, in single precision."""
    queue = config.twin.queue if config.twin and config.twin.queue else 0
    return 4 * sum(_of_term(term, config.batch, queue, width) for term in config.terms)


def _of_term(term: Term, batch: int, queue: int, width: int) -> int:
    anchors, columns = {
        "in_batch": (2 * batch, 2 * batch),
        "instance": (2 * batch, 2 * batch),
        "queued": (batch, queue),
        "neighbour_group": (batch, queue + batch * (1 + term.pairing_knobs.get("neighbours", 0))),
    }.get(term.pairing or "", (2 * batch, width))
    made = ("synthetics", "query_mixes")
    mixed = sum(int(step.knobs.get(knob, 0)) for step in term.steps for knob in made)
    ways = 2 if term.symmetric else 1
    return int(ways * anchors * (COPIES * (columns + mixed) + MIXES * mixed * width))


def _evaluating(config: Config, protocol: Protocol) -> int:
    dataset = config.dataset
    encoder, features = of_encoder(
        config.network, dataset.channels, side(protocol.test_views, dataset.size)
    )
    if isinstance(protocol, FineTuneProtocol):
        view = side(protocol.views, dataset.size)
        work = of_model(config.network, dataset.channels, view, dataset.classes)
        number = NUMBER.get(config.precision, 4)
        return 4 * 3 * work.weights + _backward(protocol.batch, work, number)
    train, test = images(dataset)
    if isinstance(protocol, LinearProtocol) and not protocol.needs_clean:
        train = 0
    kept = 2 * 4 * features * (train + test)
    return 4 * (encoder.weights + 3 * CHUNK * encoder.largest) + kept
