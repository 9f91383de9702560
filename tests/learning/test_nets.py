"""The networks: the papers' shapes, torchvision's own values, weights drawn from the generator."""

from __future__ import annotations

import pytest
import torch
import torchvision
from pydantic import ValidationError

from reclaim.learning import nets
from reclaim.records import Dataset, Network, ReclaimError

RGB32 = Dataset(name="d", size=32, channels=3, classes=10)


def encoder(arch: str, stem: str | None, **shape: object) -> tuple[torch.nn.Module, int]:
    network = Network.model_validate({"arch": arch, "stem": stem, **shape})
    return nets.build_encoder(network, RGB32)


@pytest.mark.parametrize(("arch", "depth"), [("resnet18", 512), ("resnet50", 2048)])
@pytest.mark.parametrize(
    ("stem", "first", "pooled"), [("imagenet", 16, 8), ("cifar", 32, 32), ("cifar_maxpool", 32, 30)]
)
def test_stems_have_the_papers_sizes(
    arch: str, depth: int, stem: str, first: int, pooled: int
) -> None:
    net, features = encoder(arch, stem)
    image = torch.zeros(1, 3, 32, 32)
    stemmed = net.conv1(image)
    assert stemmed.shape[-1] == first
    assert net.maxpool(stemmed).shape[-1] == pooled
    assert features == depth
    assert net.eval()(image).shape == (1, depth)


def test_the_imagenet_stem_is_torchvisions_network() -> None:
    net, _ = encoder("resnet18", "imagenet")
    other = torchvision.models.resnet18()
    other.fc = torch.nn.Identity()
    assert set(net.state_dict()) == set(other.state_dict())
    other.load_state_dict(net.state_dict())
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(net.eval()(image), other.eval()(image))


@pytest.mark.parametrize(("stem", "stride"), [("stride1", 1), ("stride2", 2)])
def test_the_narrow_network_halves_between_stages(stem: str, stride: int) -> None:
    net, features = encoder("narrow", stem, widths=(4, 8, 16))
    sizes = []
    for stage in net.stages:
        stage.register_forward_hook(lambda _m, _i, out: sizes.append(tuple(out.shape[1:])))
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 16)
    edge = 32 // stride
    assert sizes == [(4, edge, edge), (8, edge // 2, edge // 2), (16, edge // 4, edge // 4)]
    assert features == 16


def test_pixels_are_the_image_itself() -> None:
    net, features = encoder("pixels", None)
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert features == 3072
    assert torch.equal(net(image), image.flatten(1))
    assert not net.state_dict()


def test_a_stem_of_another_network_is_refused() -> None:
    with pytest.raises(ValidationError, match="'stride2' of resnet18; take one of"):
        encoder("resnet18", "stride2")
    unchecked = Network.model_construct(arch="resnet18", stem="stride2")
    with pytest.raises(ReclaimError, match="'stride2' of resnet18: take one of cifar, cifar_max"):
        nets.build_encoder(unchecked, RGB32)


def test_the_head_is_linear_relu_linear_with_norm_on_request() -> None:
    kinds = [type(layer).__name__ for layer in nets.build_head(Network(arch="pixels"), 16)]
    assert kinds == ["Linear", "ReLU", "Linear"]
    with_norm = nets.build_head(Network(arch="pixels", head_norm=True), 16)
    assert [type(layer).__name__ for layer in with_norm] == [
        "Linear", "BatchNorm1d", "ReLU", "Linear"
    ]  # fmt: skip


def test_first_weights_come_from_the_generator_with_the_stated_spread() -> None:
    models = []
    for seed in (0, 0, 1):
        net, features = encoder("resnet18", "cifar")
        models.append(nets.Model(net, nets.build_head(Network(arch="pixels"), features)))
        nets.initialise(models[-1], torch.Generator().manual_seed(seed))
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["encoder.conv1.weight"], states[2]["encoder.conv1.weight"])
    weight = states[0]["encoder.layer4.1.conv2.weight"]  # fan-out 512 * 9
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
    linear = states[0]["head.0.weight"]
    assert linear.abs().max().item() == pytest.approx(512**-0.5, rel=0.001)
    assert linear.std().item() == pytest.approx((512**-0.5) / 3**0.5, rel=0.02)


def test_building_leaves_the_global_generator_alone() -> None:
    from tests.conftest import tiny_config

    torch.manual_seed(0)
    nets.build_model(tiny_config("simclr"), torch.Generator().manual_seed(0))
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(3))
