"""Views against torchvision: the same draws give the same images, and the draws the same law."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor
from torchvision.transforms import ColorJitter, RandomResizedCrop, v2
from torchvision.transforms.v2 import functional as reference

from reclaim.learning import views
from reclaim.records import Op, ReclaimError

CLOSE = {"rtol": 0, "atol": 1e-5}
UNLIKELY = 1e-4  # fixed seeds: a test below this level is a fault, not bad luck

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
CIFAR = {"mean": [0.49, 0.48, 0.45], "std": [0.25, 0.24, 0.26]}
COLOUR_OPS = (
    Op(op="colour_jitter", p=0.8, params=JITTER),
    Op(op="greyscale", p=0.2),
    Op(op="gaussian_blur", p=0.5, params={"kernel": 5, "sigma": [0.1, 2.0]}),
    Op(op="random_resized_crop", params={"size": 16, "scale": [0.08, 1.0]}),
    Op(op="horizontal_flip", p=0.5),
    Op(op="normalise", params=CIFAR),
)
GREY_OPS = (
    Op(op="random_resized_crop", params={"size": 28, "scale": [0.2, 1.0]}),
    Op(op="horizontal_flip", p=0.5),
    Op(op="colour_jitter", p=0.8, params={"brightness": 0.4, "contrast": 0.4}),
    Op(op="gaussian_blur", p=0.5, params={"kernel": 3}),
    Op(op="normalise", params={"mean": [0.28], "std": [0.35]}),
)


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def floats(*shape: int, seed: int = 1) -> Tensor:
    """Noise, with a part rounded so that equal channels and black pixels occur."""
    images = torch.rand(shape, generator=seeded(seed))
    images[..., : shape[-1] // 3] = (images[..., : shape[-1] // 3] * 2).round() / 2
    return images


def pixels(*shape: int, seed: int = 2) -> Tensor:
    return torch.randint(0, 256, shape, generator=seeded(seed), dtype=torch.uint8)


@contextmanager
def torchvision_seed(seed: int) -> Iterator[None]:
    """Torchvision draws from the global generator: seed it for a while."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def parameters(name: str, **params: Any) -> Any:
    return views.OPS[name].params(**params)


# --- apply: one image at a time, by torchvision, with the same draws -----------------------------


def crop_one(image: Tensor, params: Any, draws: dict[str, Tensor]) -> Tensor:
    size = [params.size, params.size]
    return reference.resized_crop(image, *draws["box"].tolist(), size, antialias=True)


def jitter_one(image: Tensor, params: Any, draws: dict[str, Tensor]) -> Tensor:
    adjust = (
        reference.adjust_brightness,
        reference.adjust_contrast,
        reference.adjust_saturation,
        reference.adjust_hue,
    )
    amount = (params.brightness, params.contrast, params.saturation, params.hue)
    for kind in draws["order"].tolist():
        if amount[kind] > 0:
            image = adjust[kind](image, draws["factor"][kind].item())
    return image


def blur_one(image: Tensor, params: Any, draws: dict[str, Tensor]) -> Tensor:
    sigma = draws["sigma"].item()
    return reference.gaussian_blur(image, [params.kernel] * 2, [sigma, sigma])


SLOW: dict[str, Callable[[Tensor, Any, dict[str, Tensor]], Tensor]] = {
    "random_resized_crop": crop_one,
    "centre_crop": lambda image, params, _: reference.center_crop(image, [params.size]),
    "horizontal_flip": lambda image, *_: reference.hflip(image),
    "colour_jitter": jitter_one,
    "greyscale": lambda image, *_: reference.rgb_to_grayscale(image, image.shape[0]),
    "gaussian_blur": blur_one,
    "normalise": lambda image, params, _: reference.normalize(
        image, list(params.mean), list(params.std)
    ),
}


def slowly(
    images: Tensor, name: str, params: Any, draws: dict[str, Tensor], chosen: Tensor | None = None
) -> Tensor:
    rows = [{key: values[row] for key, values in draws.items()} for row in range(len(images))]
    return torch.stack([
        SLOW[name](image, params, rows[row]) if chosen is None or chosen[row] else image
        for row, image in enumerate(images)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("random_resized_crop", {"size": 12, "scale": [0.05, 1.0], "ratio": [0.3, 3.0]}),
        ("random_resized_crop", {"size": 40, "scale": [0.01, 0.3]}),
        ("centre_crop", {"size": 13}),
        ("centre_crop", {"size": 15}),
        ("horizontal_flip", {}),
        ("colour_jitter", {"brightness": 1.5}),
        ("colour_jitter", {"contrast": 1.5}),
        ("colour_jitter", {"saturation": 1.5}),
        ("colour_jitter", {"hue": 0.5}),
        ("colour_jitter", {"brightness": 0.4, "hue": 0.2}),
        ("colour_jitter", JITTER),
        ("greyscale", {}),
        ("gaussian_blur", {"kernel": 3, "sigma": [0.1, 2.0]}),
        ("gaussian_blur", {"kernel": 9, "sigma": [0.5, 5.0]}),
        ("normalise", CIFAR),
    ],
)
@pytest.mark.parametrize("shape", [(64, 3, 20, 27), (64, 1, 27, 20)])
def test_apply_equals_torchvision(name: str, params: dict[str, Any], shape: tuple[int, ...]):
    if name == "normalise":
        params = {key: values[: shape[1]] for key, values in params.items()}
    checked = parameters(name, **params)
    images = floats(*shape)
    before = images.clone()
    draws = views.OPS[name].draw(checked, shape, seeded())
    fast = views.OPS[name].apply(images, checked, draws)
    torch.testing.assert_close(fast, slowly(images, name, checked, draws), **CLOSE)
    assert torch.equal(images, before), "apply wrote into its input"


@pytest.mark.parametrize("size", [1, 5, 8, 30])
def test_every_box_resizes_as_torchvision_does(size: int):
    box = torch.tensor([
        [top, left, height, width]
        for height in range(1, 8) for width in range(1, 10)
        for top in range(0, 8 - height, 2) for left in range(0, 10 - width, 2)
    ])  # fmt: skip
    images = floats(len(box), 2, 7, 9)
    params = parameters("random_resized_crop", size=size)
    fast = views.apply_crop(images, params, {"box": box})
    slow = slowly(images, "random_resized_crop", params, {"box": box})
    torch.testing.assert_close(fast, slow, **CLOSE)


@pytest.mark.parametrize("turns", [-0.5, -1 / 3, -1e-3, 0.0, 1 / 6, 0.25, 0.5])
def test_hue_equals_torchvision_on_every_corner_of_the_colour_cube(turns: float):
    level = torch.tensor([0.0, 1e-4, 0.3, 0.7, 1.0])
    colours = torch.cartesian_prod(level, level, level)[:, :, None, None]
    fast = views._turn_hue(colours, torch.full((len(colours),), turns))
    torch.testing.assert_close(fast, reference.adjust_hue(colours, turns), **CLOSE)


@pytest.mark.parametrize(
    ("ops", "shape"), [(COLOUR_OPS, (96, 3, 19, 24)), (GREY_OPS, (96, 1, 28, 28))]
)
def test_augment_equals_torchvision_given_the_same_draws(ops: Sequence[Op], shape: tuple[int, ...]):
    images, generator = pixels(*shape), seeded(4)
    slow = images.float() / 255
    for op, params in zip(ops, views.check_ops(ops, shape[1]), strict=True):
        chosen, draws = views.draw_op(op, params, slow.shape, generator)
        slow = slowly(slow, op.op, params, draws, chosen)
    fast = views.augment(images, ops, seeded(4))
    assert fast.dtype == torch.float32
    torch.testing.assert_close(fast, slow, rtol=0, atol=4e-5)  # normalising magnifies by 1 / std


# --- draw: the same law as torchvision's ---------------------------------------------------------


def same_law(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """The p-value of a chi-square test on two samples of a discrete value; rare values pooled."""
    counts = Counter(ours), Counter(theirs)
    total = counts[0] + counts[1]
    frequent = [value for value in total if total[value] >= 20]
    table = [[count[value] for value in frequent] for count in counts]
    rare = [sum(count.values()) - sum(row) for count, row in zip(counts, table, strict=True)]
    if sum(rare) >= 20:
        table = [[*row, rest] for row, rest in zip(table, rare, strict=True)]
    return float(stats.chi2_contingency(table).pvalue)


def our_boxes(params: Any, height: int, width: int, count: int) -> Tensor:
    box = views.draw_crop(params, (count, 3, height, width), seeded(5))["box"]
    assert (box >= 0).all()
    assert (box[:, :2] + box[:, 2:] <= torch.tensor([height, width])).all()
    return box


def their_boxes(params: Any, height: int, width: int, count: int) -> list[tuple[int, ...]]:
    image, scale, ratio = torch.empty(3, height, width), list(params.scale), list(params.ratio)
    with torchvision_seed(6):
        return [RandomResizedCrop.get_params(image, scale, ratio) for _ in range(count)]


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (5, 9, (0.08, 1.0), (3 / 4, 4 / 3)),
        (8, 8, (0.2, 1.0), (3 / 4, 4 / 3)),
        (8, 8, (0.1, 0.5), (1.2, 3.0)),  # wide boxes only: an aspect is width / height
        (4, 9, (0.6, 1.0), (3 / 4, 4 / 3)),  # ten tries often fail: the widest central box
        (9, 4, (0.6, 1.0), (3 / 4, 4 / 3)),  # the same, the highest
        (5, 6, (0.9, 1.0), (0.5, 2.0)),  # fallback to the whole image
    ],
)
def test_boxes_have_torchvisions_joint_law(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float]
):
    params = parameters("random_resized_crop", size=8, scale=scale, ratio=ratio)
    ours = [tuple(box) for box in our_boxes(params, height, width, 10_000).tolist()]
    theirs = their_boxes(params, height, width, 10_000)
    assert same_law(ours, theirs) > UNLIKELY


def test_area_aspect_and_position_of_boxes_have_torchvisions_law():
    params = parameters("random_resized_crop", size=8, scale=(0.08, 1.0))
    samples = []
    for boxes in (our_boxes(params, 300, 400, 10_000), their_boxes(params, 300, 400, 10_000)):
        top, left, height, width = np.asarray(boxes, dtype=float).T
        free = (height < 300) & (width < 400)
        across, down = left[free] / (400 - width[free]), top[free] / (300 - height[free])
        samples.append((height * width, np.log(width / height), across, down))
    for ours, theirs in zip(*samples, strict=True):
        assert stats.ks_2samp(ours, theirs).pvalue > UNLIKELY


def test_jitter_factors_and_orders_have_torchvisions_law():
    amounts = {"brightness": 0.4, "contrast": 1.3, "saturation": 0.2, "hue": 0.1}
    draws = views.draw_jitter(parameters("colour_jitter", **amounts), (10_000, 3, 8, 8), seeded(7))
    jitter = ColorJitter(**amounts)
    ranges = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    with torchvision_seed(8):
        theirs = [ColorJitter.get_params(*ranges) for _ in range(10_000)]
    for kind in range(4):
        factors = [draw[kind + 1] for draw in theirs]
        assert stats.ks_2samp(draws["factor"][:, kind].numpy(), factors).pvalue > UNLIKELY
    ours = [tuple(order) for order in draws["order"].tolist()]
    assert same_law(ours, [tuple(draw[0].tolist()) for draw in theirs]) > UNLIKELY
    counts = Counter(ours)
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > UNLIKELY


def test_sigma_has_torchvisions_law():
    params = parameters("gaussian_blur", kernel=5, sigma=(0.1, 2.0))
    ours = views.draw_blur(params, (10_000, 3, 8, 8), seeded(9))["sigma"]
    blur = v2.GaussianBlur(5, (0.1, 2.0))
    with torchvision_seed(10):
        theirs = [blur.make_params([])["sigma"][0] for _ in range(10_000)]
    assert stats.ks_2samp(ours.numpy(), theirs).pvalue > UNLIKELY


def test_draws_are_independent_between_images_and_parameters():
    count, generator = 10_000, seeded(11)
    shape = (count, 3, 40, 40)
    jitter = views.draw_jitter(parameters("colour_jitter", **JITTER), shape, generator)
    blur = views.draw_blur(parameters("gaussian_blur", kernel=3), shape, generator)
    crop = parameters("random_resized_crop", size=8, scale=(0.1, 0.3))
    box = views.draw_crop(crop, shape, generator)["box"].double()
    columns = torch.cat([
        jitter["factor"], jitter["order"][:, :1], blur["sigma"][:, None],
        box[:, :2] / (40 - box[:, 2:]), box[:, 2:].prod(1, keepdim=True),
    ], 1)  # fmt: skip
    columns = torch.cat([columns[:-1], columns[1:]], 1)  # each image beside the next one
    correlation = np.corrcoef(columns.T.numpy()) - np.eye(columns.shape[1])
    assert np.abs(correlation).max() < 5 / count**0.5


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_each_image_is_chosen_with_probability_p(p: float):
    count = 10_000
    images = torch.tensor([[0, 200], [0, 100], [0, 50]], dtype=torch.uint8)
    images = images.view(1, 3, 1, 2).expand(count, 3, 1, 2).contiguous()
    ops = [Op(op="horizontal_flip", p=p), Op(op="greyscale", p=p)]
    result = views.augment(images, ops, seeded(12))
    flipped, grey = result[:, 0, 0, 0] > 0, result[:, 0].amax((1, 2)) < 0.7
    for happened in (flipped, grey):
        assert stats.binomtest(int(happened.sum()), count, p).pvalue > UNLIKELY
    both, next_too = (flipped & grey).sum().item(), (flipped[1:] & flipped[:-1]).sum().item()
    assert stats.binomtest(both, count, p * p).pvalue > UNLIKELY
    # Overlapping pairs: a wide normal bound rather than a binomial test.
    assert abs(next_too / (count - 1) - p * p) <= 5 / count**0.5


def test_whole_views_have_the_law_of_torchvisions_pipeline():
    count = 1500
    ramp = torch.linspace(0, 255, 24)
    image = torch.stack([ramp.expand(24, 24), ramp.flip(0)[:, None].expand(24, 24) / 2,
                         (ramp[:, None] * ramp / 255)]).to(torch.uint8)  # fmt: skip
    compose = v2.Compose([
        v2.ToDtype(torch.float32, scale=True),
        v2.RandomApply([ColorJitter(**JITTER)], p=0.8),
        v2.RandomGrayscale(0.2),
        v2.RandomApply([v2.GaussianBlur(5, (0.1, 2.0))], p=0.5),
        v2.RandomResizedCrop(16, scale=(0.08, 1.0), antialias=True),
        v2.RandomHorizontalFlip(0.5),
        v2.Normalize(**CIFAR),
    ])  # fmt: skip
    with torchvision_seed(13):
        theirs = torch.stack([compose(image) for _ in range(count)])
    ours = views.augment(image.expand(count, 3, 24, 24), COLOUR_OPS, seeded(14))
    for statistic in (
        lambda view: view.mean((1, 2, 3)),
        lambda view: view.std((2, 3)).mean(1),
        lambda view: view[:, 0, 0, 0],
        lambda view: view[:, 1, 8, 8] - view[:, 2, 8, 8],
        lambda view: view[:, 0, 8, 15] - view[:, 0, 8, 0],
    ):
        p = stats.ks_2samp(statistic(ours).numpy(), statistic(theirs).numpy()).pvalue
        assert p > UNLIKELY


# --- determinism ---------------------------------------------------------------------------------


def test_the_generator_alone_decides():
    images = pixels(40, 3, 20, 20)
    torch.manual_seed(1)
    first = views.augment(images, COLOUR_OPS, seeded(3))
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    assert torch.equal(first, views.augment(images, COLOUR_OPS, seeded(3)))
    assert torch.equal(state, torch.random.get_rng_state()), "global randomness was used"
    assert not torch.equal(first, views.augment(images, COLOUR_OPS, seeded(4)))
    generator = seeded(3)
    assert torch.equal(first, views.augment(images, COLOUR_OPS, generator))
    assert not torch.equal(first, views.augment(images, COLOUR_OPS, generator))


@pytest.mark.parametrize(("ops", "channels"), [(COLOUR_OPS, 3), (GREY_OPS, 1)])
def test_bits_do_not_depend_on_the_number_of_threads(ops: Sequence[Op], channels: int):
    images, threads = pixels(300, channels, 28, 28), torch.get_num_threads()
    results = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        results.append(views.augment(images, ops, seeded()))
    torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_mixed_precision_around_does_not_blur_the_pixels():
    images = pixels(20, 3, 20, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = views.augment(images, COLOUR_OPS, seeded())
    assert torch.equal(inside, views.augment(images, COLOUR_OPS, seeded()))


def test_the_images_stay_as_they_were():
    images = pixels(20, 3, 20, 20)
    before = images.clone()
    views.augment(images, COLOUR_OPS, seeded())
    assert torch.equal(images, before)


def test_without_operations_pixels_are_scaled_to_one():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    expected = torch.tensor([0, 0.2, 1]).view(3, 1, 1, 1)
    assert torch.equal(views.augment(images, [], seeded()), expected)


@pytest.mark.parametrize(("ops", "channels", "size"), [(COLOUR_OPS, 3, 16), (GREY_OPS, 1, 28)])
@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_are_batches_too(ops: Sequence[Op], channels: int, size: int, count: int):
    result = views.augment(pixels(count, channels, 20, 20), ops, seeded())
    assert result.shape == (count, channels, size, size)
    assert result.isfinite().all()


def test_an_operation_in_place_may_follow_greyscale():
    ops = [Op(op="greyscale"), Op(op="horizontal_flip", p=0.5)]
    result = views.augment(pixels(20, 3, 6, 6), ops, seeded())
    assert torch.equal(result[:, 0], result[:, 2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_gpu_shows_the_same_views():
    images = pixels(64, 3, 24, 24)
    on_gpu = views.augment(images.cuda(), COLOUR_OPS, seeded()).cpu()
    torch.testing.assert_close(on_gpu, views.augment(images, COLOUR_OPS, seeded()), **CLOSE)


# --- grey images ---------------------------------------------------------------------------------


def test_saturation_hue_and_greyscale_leave_grey_images():
    images = pixels(30, 1, 9, 9)
    for op in (
        Op(op="greyscale"),
        Op(op="colour_jitter", params={"saturation": 0.9, "hue": 0.5}),
    ):
        assert torch.equal(views.augment(images, [op], seeded()), images.float() / 255)


def test_grey_images_keep_brightness_and_contrast_of_a_colour_jitter():
    images, both = pixels(30, 1, 9, 9), {"brightness": 0.4, "contrast": 0.4}
    grey = views.augment(images, [Op(op="colour_jitter", params=both)], seeded())
    colour = Op(op="colour_jitter", params=both | {"saturation": 0.9, "hue": 0.5})
    assert torch.equal(views.augment(images, [colour], seeded()), grey)
    assert not torch.equal(grey, images.float() / 255)


# --- bad parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("random_resized_crop", {}, "size"),
        ("random_resized_crop", {"size": 0}, "size"),
        ("random_resized_crop", {"size": 8, "sale": [0.1, 1]}, "sale"),
        ("random_resized_crop", {"size": 8, "scale": [0.0, 1]}, "scale"),
        ("random_resized_crop", {"size": 8, "scale": [0.1, 1.1]}, "scale"),
        ("random_resized_crop", {"size": 8, "scale": [0.5, 0.1]}, "lower end"),
        ("random_resized_crop", {"size": 8, "scale": [0.5]}, "scale"),
        ("random_resized_crop", {"size": 8, "ratio": [-1, 1]}, "ratio"),
        ("random_resized_crop", {"size": 8, "ratio": [2, 1]}, "lower end"),
        ("centre_crop", {"size": -3}, "size"),
        ("centre_crop", {"size": 33}, "larger"),
        ("horizontal_flip", {"axis": 1}, "axis"),
        ("colour_jitter", {"brightness": -0.1}, "brightness"),
        ("colour_jitter", {"contrast": float("inf")}, "contrast"),
        ("colour_jitter", {"saturation": float("nan")}, "saturation"),
        ("colour_jitter", {"hue": 0.6}, "hue"),
        ("greyscale", {"p": 0.2}, "p:"),
        ("gaussian_blur", {}, "kernel"),
        ("gaussian_blur", {"kernel": 4}, "odd"),
        ("gaussian_blur", {"kernel": -3}, "kernel"),
        ("gaussian_blur", {"kernel": 65}, "too wide"),
        ("gaussian_blur", {"kernel": 3, "sigma": [0, 1]}, "sigma"),
        ("gaussian_blur", {"kernel": 3, "sigma": [2, 1]}, "lower end"),
        ("normalise", {"mean": [0.5, 0.5, 0.5]}, "std"),
        ("normalise", {"mean": [0.5], "std": [0.5]}, "per channel"),
        ("normalise", {"mean": [0.5] * 3, "std": [0.5, 0.5, 0]}, "std"),
    ],
)
def test_a_bad_parameter_is_one_line_that_names_it(name: str, params: dict[str, Any], says: str):
    ops = [Op(op="horizontal_flip"), Op(op=name, params=params)]
    with pytest.raises(ReclaimError) as caught:
        views.check_ops(ops, 3, 32)
    message = str(caught.value)
    assert f"operation 2 ({name})" in message
    assert says in message
    assert "\n" not in message
    with pytest.raises(ReclaimError):
        views.augment(pixels(2, 3, 32, 32), ops, seeded())


def test_a_crop_of_some_images_only_is_refused():
    with pytest.raises(ReclaimError, match="two sizes"):
        views.check_ops([Op(op="random_resized_crop", p=0.5, params={"size": 8})], 3)


def test_colour_needs_one_or_three_channels():
    with pytest.raises(ReclaimError, match="2 channels"):
        views.check_ops([Op(op="greyscale")], 2)


def test_the_size_is_followed_through_the_crops():
    ops = [
        Op(op="random_resized_crop", params={"size": 40}),
        Op(op="gaussian_blur", params={"kernel": 23}),
        Op(op="centre_crop", params={"size": 9}),
        Op(op="gaussian_blur", params={"kernel": 23}),
    ]
    views.check_ops(ops[:3], 3, 8)
    with pytest.raises(ReclaimError, match="operation 4"):
        views.check_ops(ops, 3, 8)


def test_the_table_knows_every_operation_a_config_may_name():
    assert set(views.OPS) == set(Op.model_fields["op"].annotation.__args__)
