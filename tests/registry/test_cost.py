"""Costs: the walk over the layers agrees with PyTorch's own count, sums with closed forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from reclaim.learning import train
from reclaim.learning.candidates import Context
from reclaim.learning.images import ImageSet
from reclaim.learning.losses import total_loss
from reclaim.learning.nets import Model, build_encoder, build_head, build_predictor
from reclaim.records import Config, Cost, Dataset, LinearProtocol, Network, PretrainJob
from reclaim.registry import cost, jobs
from reclaim.registry.plan import load_scale
from reclaim.registry.recipes import RECIPES
from tests.conftest import tiny_config

BATCH = 4
NETWORKS = [
    (Network(arch="resnet18", stem="cifar_maxpool"), 3, 32),
    (Network(arch="resnet18", stem="cifar", head_norm=True, predictor=True), 3, 32),
    (Network(arch="resnet18", stem="imagenet", head="linear"), 3, 64),
    (Network(arch="resnet50", stem="imagenet", head_hidden=2048), 3, 32),
    (Network(arch="resnet50", stem="cifar", head="prototypes", prototypes=256), 3, 32),
    (Network(arch="narrow", stem="stride2", widths=(32, 64, 128)), 1, 28),
    (Network(arch="narrow", stem="stride1", widths=(16, 32, 64)), 1, 8),
]


@contextmanager
def kept(model: nn.Module) -> Iterator[list[int]]:
    """The bytes of every tensor that is saved for the backward pass, the model's own left out."""
    own = {value.untyped_storage()._cdata for value in model.state_dict().values()}
    alive: dict[int, Tensor] = {}
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and storage._cdata not in alive:
            alive[storage._cdata] = tensor
            sizes.append(storage.nbytes())
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield sizes


def on_meta(network: Network, channels: int, size: int) -> tuple[Model, Tensor]:
    """The real network without a number in it, and a batch of images."""
    dataset = Dataset(name="none", size=size, channels=channels, classes=10)
    with torch.device("meta"):
        encoder, features = build_encoder(network, dataset)
        model = Model(encoder, build_head(network, features), build_predictor(network))
        return model, torch.empty(BATCH, channels, size, size)


@pytest.mark.parametrize(
    ("network", "channels", "size"), NETWORKS, ids=lambda value: str(value)[:40]
)
def test_a_network_costs_what_pytorch_counts(network: Network, channels: int, size: int) -> None:
    model, images = on_meta(network, channels, size)
    work = cost.of_model(network, channels, size)

    def forward() -> Tensor:
        projections = model(images)
        return model.predictor(projections) if model.predictor else projections

    with FlopCounterMode(display=False) as counter, kept(model) as sizes:
        forward()
    once = counter.get_total_flops()
    assert once == 2 * BATCH * work.products
    assert 0.94 < BATCH * (4 * work.kept + 8 * work.indices) / sum(sizes) <= 1
    weights = sum(weight.numel() for weight in model.parameters())
    assert work.weights == pytest.approx(weights, rel=1e-3)
    with FlopCounterMode(display=False) as counter:
        forward().sum().backward()
    assert counter.get_total_flops() == pytest.approx(3 * once, rel=0.03)


def widened(recipe: str, **changes: Any) -> Config:
    """A config whose network outweighs its similarities, with all that a recipe may ask for."""
    views = [{"op": "random_resized_crop", "params": {"size": 4}}]
    settings: dict[str, Any] = {
        "network__widths": [16, 32, 64],
        "network__predictor_hidden": 16,
        "network__prototypes": 16,
        "twin__momentum": 0.9,
        "twin__queue": 32,
        "twin__centre_momentum": 0.9,
        "local_crops": 3,
        "local_views": views,
    }
    return tiny_config(recipe, **settings | changes)


def started(config: Config) -> train.Training:
    """A training of made-up images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.arange(64) % 10
    job = PretrainJob(id="r", recipe=config.recipe, seed=0, config=config, code="test")
    return train.start(job, ImageSet(images, labels, images, labels), torch.device("cpu"))


def step(training: train.Training) -> Callable[[], Tensor]:
    """A forward pass and the loss of the first batch; the views are made before."""
    chosen = torch.arange(training.config.batch)
    views = train.make_views(training, chosen)

    def run() -> Tensor:
        context = Context(0.5, torch.Generator().manual_seed(0))
        outputs = train.forward(training, views, chosen)
        return total_loss(training.config.terms, outputs, context)

    return run


TRAINED = [name for name, row in RECIPES.items() if row.terms]


@pytest.mark.parametrize("recipe", TRAINED)
def test_a_step_costs_what_pytorch_counts(recipe: str) -> None:
    config = widened(recipe)
    forward = step(started(config))
    with FlopCounterMode(display=False) as counter:
        forward().backward()
    # The estimate leaves out similarities and counts the images' gradient, which nobody computes.
    assert counter.get_total_flops() == pytest.approx(2 * cost.products_per_step(config), rel=0.1)


@pytest.mark.parametrize("recipe", TRAINED)
def test_the_memory_estimate_holds_what_a_step_keeps(recipe: str) -> None:
    config = widened(recipe, batch=32, twin__queue=64)
    training = started(config)
    forward = step(training)
    with kept(training.model) as sizes:
        forward()
    estimate = cost.memory(config, ()) - cost.WORKSPACE
    assert sum(sizes) < estimate < 4 * sum(sizes) + 3e6


def test_memory_grows_with_the_batch_the_queue_and_what_is_mixed() -> None:
    def estimate(recipe: str, **changes: Any) -> int:
        return cost.memory(widened(recipe, **changes), ())

    one, two = (estimate("simclr", batch=batch) for batch in (16, 32))
    three = estimate("simclr", batch=48)
    assert three - two > two - one > 0  # similarities grow with its square
    longer = estimate("moco_v2", twin__queue=64) - estimate("moco_v2", twin__queue=32)
    assert longer == 4 * (8 * 32 + 16 * 32 * cost.COPIES)
    mixed = estimate("sscl", knobs__synthetics=2) - estimate("sscl", knobs__synthetics=1)
    assert mixed == 4 * 32 * (cost.COPIES + cost.MIXES * 8)


def paper(recipe: str, dataset: str, arch: str = "resnet18") -> tuple[Config, Cost]:
    made = jobs.read_plan("paper")
    [(key, config)] = [
        (key, config)
        for key, config in made.configs.items()
        if (config.recipe, config.dataset.name, config.network.arch) == (recipe, dataset, arch)
    ]
    return config, next(run.cost for run in made.runs if run.config == key)


def test_the_anchor_costs_what_was_stated() -> None:
    assert load_scale("paper").anchor is not None
    _, simclr = paper("simclr", "cifar10")
    assert simclr.gpu_hours == 5.08
    assert simclr.images_seen == 200 * 195 * 2 * 256


def test_hours_follow_the_passes() -> None:
    both, byol, moco = (paper(name, "cifar10")[1] for name in ("simclr", "byol", "moco_v2"))
    assert both.gpu_hours and byol.gpu_hours and moco.gpu_hours
    # Of four passes' worth: two views learned from, 6; both through the twin, 2 more; one each, 4.
    assert byol.gpu_hours == pytest.approx(both.gpu_hours * 8 / 6, rel=0.01)
    assert moco.gpu_hours == pytest.approx(both.gpu_hours * 4 / 6, rel=0.01)


def test_an_evaluation_costs_its_passes() -> None:
    config, planned = paper("simclr", "cifar10")
    run = next(run for run in jobs.read_plan("paper").runs if run.cost == planned)
    protocols = [jobs.read_plan("paper").protocols[name] for name in run.protocols]
    linear, knn, geometry = protocols
    per_view = cost.of_encoder(config.network, 3, 32)[0].products
    anchor = load_scale("paper").anchor
    assert anchor is not None

    def views(protocol: Any) -> float:
        hours = cost.cost(config, [protocol], anchor).evaluation_gpu_hours
        assert hours is not None
        return hours * anchor.products_per_hour / per_view

    assert views(linear) == pytest.approx(10_000 + 100 * 50_000, rel=0.02)
    assert views(geometry) == pytest.approx(30_000, abs=anchor.products_per_hour / per_view * 0.006)
    assert views(knn) == pytest.approx(60_000, abs=anchor.products_per_hour / per_view * 0.006)


def test_a_probe_embeds_the_clean_training_images_only_where_it_needs_them() -> None:
    config, _ = paper("simclr", "cifar10")
    planned = jobs.read_plan("paper").protocols.values()
    linear = next(p for p in planned if isinstance(p, LinearProtocol) and p.views)
    scaled = linear.model_copy(update={"standardise": True})
    encoder, features = cost.of_encoder(config.network, 3, 32)
    less = cost._evaluated(config, scaled) - cost._evaluated(config, linear)
    assert less == 50_000 * encoder.products
    less = cost._evaluating(config, scaled) - cost._evaluating(config, linear)
    assert less == 50_000 * features * 2 * 4


def test_a_total_adds_up_and_keeps_the_largest_memory() -> None:
    one = Cost(steps=1, images_seen=2, memory_mib=30, gpu_hours=0.5, evaluation_gpu_hours=0.25)
    other = one.model_copy(update={"memory_mib": 40})
    assert cost.total([one, other]) == Cost(
        steps=2, images_seen=4, memory_mib=40, gpu_hours=1.0, evaluation_gpu_hours=0.5
    )
    assert cost.total([Cost(steps=1, images_seen=2)]).gpu_hours is None
    assert cost.total([]).memory_mib == 0
