"""Views: random augmentations of a whole batch, as tensor operations on the images' own device.

Every operation means what torchvision's of the same name means and is a pair: `draw` takes one set
of random parameters per image from a generator, `apply` is deterministic given the draws. With a
generator on the CPU the draws are the same on every device and no operation waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import AfterValidator, Field, ValidationError
from torch import Generator, Tensor

from reclaim.learning.device import move
from reclaim.records import Model, Op, ReclaimError, first_fault

Draws = dict[str, Tensor]  # every tensor has one row per image

CROP_TRIES = 10
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
LUMA = (0.2989, 0.587, 0.114)


# --- the parameters an operation takes -----------------------------------------------------------


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("the lower end is above the upper end")
    return value


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd")
    return value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class CropParams(Model):
    size: int = Field(gt=0)
    scale: Annotated[tuple[Fraction, Fraction], AfterValidator(_ascending)] = (0.08, 1.0)
    ratio: Annotated[tuple[Positive, Positive], AfterValidator(_ascending)] = (3 / 4, 4 / 3)


class CentreCropParams(Model):
    size: int = Field(gt=0)


class JitterParams(Model):
    brightness: Amount = 0.0
    contrast: Amount = 0.0
    saturation: Amount = 0.0
    hue: float = Field(default=0.0, ge=0, le=0.5)


class BlurParams(Model):
    kernel: Annotated[int, Field(gt=0), AfterValidator(_odd)]
    sigma: Annotated[tuple[Positive, Positive], AfterValidator(_ascending)] = (0.1, 2.0)


class NormaliseParams(Model):
    mean: tuple[Finite, ...]
    std: tuple[Positive, ...]


class NoParams(Model):
    pass


# --- drawing: one set of random parameters per image ---------------------------------------------


def draw_nothing(params: Model, shape: Sequence[int], generator: Generator) -> Draws:
    """No draws: the operation is the same for every image."""
    return {}


def draw_crop(params: CropParams, shape: Sequence[int], generator: Generator) -> Draws:
    """`box` (B, 4) int64: top, left, height, width, inside images of `shape` (B, C, H, W).

    Area uniform in `scale`, aspect log-uniform in `ratio`; the first of ten tries that fits, else
    the largest central box of an allowed aspect (torchvision RandomResizedCrop.get_params).
    """
    count, _, height, width = shape
    whole = torch.tensor([height, width], dtype=torch.float64, device=generator.device)
    tries = _crop_tries(params, count, whole, generator)
    fits = ((tries > 0) & (tries <= whole)).all(2)
    found = fits.any(1, keepdim=True)
    first = fits.to(torch.uint8).argmax(1)[:, None, None].expand(-1, 1, 2)
    central = tries.new_tensor(_central_extent(height, width, params.ratio))
    extent = torch.where(found, tries.gather(1, first).squeeze(1), central)
    room = whole - extent
    corner = torch.where(found, _uniform((count, 2), generator) * (room + 1), room / 2).floor()
    return {"box": torch.cat([corner, extent], 1).long()}


def _crop_tries(params: CropParams, count: int, whole: Tensor, generator: Generator) -> Tensor:
    """Heights and widths to try, (B, 10, 2), in whole pixels but not all within the image."""
    chance = _uniform((2, count, CROP_TRIES), generator)
    area = _between(chance[0], params.scale) * whole.prod()
    low, high = params.ratio
    aspect = _between(chance[1], (math.log(low), math.log(high))).exp()
    return torch.stack([area / aspect, area * aspect], 2).sqrt().round()


def _central_extent(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest box whose aspect (width / height) lies in `ratio`."""
    if width / height < ratio[0]:
        return max(1, round(width / ratio[0])), width
    if width / height > ratio[1]:
        return height, max(1, round(height * ratio[1]))
    return height, width


def draw_jitter(params: JitterParams, shape: Sequence[int], generator: Generator) -> Draws:
    """`factor` (B, 4) float32 and `order` (B, 4) int64, a permutation of the four adjustments.

    Columns: brightness, contrast, saturation (uniform in [max(0, 1 - a), 1 + a]), hue (uniform in
    [-a, a], in turns of the colour circle), as in torchvision ColorJitter.get_params.
    """
    count = shape[0]
    order = _uniform((count, 4), generator).argsort(1)
    around = [(max(0.0, 1 - amount), 1 + amount) for amount in _amounts(params)[:HUE]]
    ranges = torch.tensor([*around, (-params.hue, params.hue)], device=generator.device)
    factor = _uniform((count, 4), generator) * (ranges[:, 1] - ranges[:, 0]) + ranges[:, 0]
    return {"order": order, "factor": factor.float()}


def _amounts(params: JitterParams) -> tuple[float, float, float, float]:
    return params.brightness, params.contrast, params.saturation, params.hue


def draw_blur(params: BlurParams, shape: Sequence[int], generator: Generator) -> Draws:
    """`sigma` (B,) float32, in pixels, uniform (torchvision GaussianBlur)."""
    return {"sigma": _between(_uniform((shape[0],), generator), params.sigma).float()}


def _uniform(shape: tuple[int, ...], generator: Generator) -> Tensor:
    """Uniform in [0, 1), float64: a float32 draw would show its grid in products."""
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)


def _between(chance: Tensor, ends: tuple[float, float]) -> Tensor:
    return chance * (ends[1] - ends[0]) + ends[0]


# --- applying: deterministic, leaves its input as it was -----------------------------------------


def apply_crop(images: Tensor, params: CropParams, draws: Draws) -> Tensor:
    """Each image's box, resized alone to (size, size): bilinear with antialias.

    images (B, C, H, W) → (B, C, size, size); torchvision resized_crop(antialias=True).
    """
    top, left, height, width = _moved(draws["box"], images).to(images.dtype).unbind(1)
    rows = _resizing(top, height, images.shape[2], params.size)
    cols = _resizing(left, width, images.shape[3], params.size)
    return _resample(images, rows, cols)


def _resizing(start: Tensor, extent: Tensor, length: int, size: int) -> Tensor:
    """Matrices (B, size, length) that resize pixels [start, start + extent) of `length` to `size`.

    A triangle of half-width max(1, extent / size) pixels round each new pixel's centre, cut at the
    box and normalised.
    """
    scale = (extent / size)[:, None, None]
    pixel = torch.arange(length, device=start.device) + 0.5 - start[:, None, None]
    outside = (pixel < 0) | (pixel > extent[:, None, None])
    pixel = pixel.masked_fill(outside, math.inf)
    centre = scale * (torch.arange(size, device=start.device)[:, None] + 0.5)
    slope = -1 / scale.clamp(min=1)
    weight = (pixel - centre).abs_().mul_(slope).add_(1).clamp_(min=0)
    return weight.div_(weight.sum(2, keepdim=True))


def _resample(images: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """The product rows (B, S, H) · images (B, C, H, W) · colsᵀ (B, W, T) → (B, C, S, T)."""
    across = images.flatten(1, 2) @ cols.mT
    return rows[:, None] @ across.view(*images.shape[:3], cols.shape[1])


def apply_centre_crop(images: Tensor, params: CentreCropParams, draws: Draws) -> Tensor:
    """The central (size, size) pixels, as torchvision center_crop."""
    top, left = (round((length - params.size) / 2) for length in images.shape[2:])
    return images[:, :, top : top + params.size, left : left + params.size]


def apply_flip(images: Tensor, params: NoParams, draws: Draws) -> Tensor:
    """Left and right exchanged."""
    return images.flip(3)


def apply_greyscale(images: Tensor, params: NoParams, draws: Draws) -> Tensor:
    """The luma in every channel (torchvision rgb_to_grayscale); grey images stay as they are."""
    return _luma(images).expand_as(images).contiguous()


def _luma(images: Tensor) -> Tensor:
    """(B, 3, H, W) or (B, 1, H, W) → (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    luma = images[:, :1] * LUMA[0]
    return luma.add_(images[:, 1:2], alpha=LUMA[1]).add_(images[:, 2:], alpha=LUMA[2])


def apply_jitter(images: Tensor, params: JitterParams, draws: Draws) -> Tensor:
    """The four adjustments in each image's own order, each cut to [0, 1] (torchvision ColorJitter).

    Saturation and hue leave grey images as they are.
    """
    known = (BRIGHTNESS, CONTRAST, SATURATION, HUE) if images.shape[1] == 3 else (0, 1)
    active = [kind for kind in known if _amounts(params)[kind] > 0]
    order = draws["order"]
    kept = sum((order == kind for kind in active), torch.zeros_like(order, dtype=torch.bool))
    order = order[kept].view(len(order), len(active))
    factor = draws["factor"].gather(1, order)
    for position in range(len(active)):
        images = _adjust(images, order[:, position], factor[:, position])
    return images


def _adjust(images: Tensor, kind: Tensor, factor: Tensor) -> Tensor:
    """One adjustment per image: `kind` (B,) says which."""
    turned = (kind == HUE).nonzero().squeeze(1)
    images = _blend(images, _moved(kind, images), _moved(factor, images))
    if len(turned):
        at = _moved(turned, images)
        hue = _turn_hue(images.index_select(0, at), _moved(factor[turned], images))
        images.index_copy_(0, at, hue)
    return images


def _blend(images: Tensor, kind: Tensor, factor: Tensor) -> Tensor:
    """The blend factor · image + (1 - factor) · base, cut to [0, 1].

    base: black for brightness, the mean luma for contrast, the luma for saturation; hue is left.
    """
    kind, factor = kind[:, None, None, None], factor[:, None, None, None].to(images.dtype)
    factor = torch.where(kind == HUE, 1, factor)
    luma = _luma(images)
    level = luma.mean((1, 2, 3), keepdim=True)
    base = (luma * (kind == SATURATION)).add_(level * (kind == CONTRAST))
    return torch.lerp(base, images, factor).clamp_(0, 1)


def _turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """RGB images with the hue of HSV turned; value and chroma stay (torchvision adjust_hue).

    In sixths of the colour circle and channels scaled to [0, 1] by the least and the largest, the
    hue lies 1 + g + b - r from red, on the green side where g > b; and a channel's colour at
    distance d from it is value - chroma · clamp(d - 1, 0, 1). No sextant needs a branch.
    """
    red, green, blue = images.unbind(1)
    low, value = images.amin(1), images.amax(1)  # aminmax is twenty times slower on a CPU
    chroma = value - low
    from_red = (green + blue - red - low).div_(chroma.clamp(min=1e-12)).add_(1)
    hue = from_red.copysign_(green - blue).add_(6 * turns[:, None, None])
    primary = torch.arange(0, 6, 2, device=images.device)[:, None, None]
    distance = hue[:, None] - primary
    distance.sub_((distance / 6).round_().mul_(6)).abs_()
    return value[:, None] - chroma[:, None] * distance.sub_(1).clamp_(0, 1)


def apply_blur(images: Tensor, params: BlurParams, draws: Draws) -> Tensor:
    """A Gaussian of one sigma per image, `kernel` taps wide, edges mirrored (gaussian_blur)."""
    sigma = _moved(draws["sigma"], images).to(images.dtype)
    rows = _blurring(sigma, params.kernel, images.shape[2])
    cols = _blurring(sigma, params.kernel, images.shape[3])
    return _resample(images, rows, cols)


def _blurring(sigma: Tensor, kernel: int, length: int) -> Tensor:
    """Matrices (B, length, length): Gaussian taps with the mirrored edge folded in."""
    pixel = torch.arange(length, device=sigma.device)
    tap = torch.arange(kernel, device=sigma.device) - kernel // 2
    weight = (-0.5 * (tap / sigma[:, None]) ** 2).softmax(1)
    source = (pixel[:, None] + tap[:, None, None]).abs()
    source = (length - 1) - ((length - 1) - source).abs()
    reads = (source == pixel).to(sigma.dtype)
    return (weight @ reads.flatten(1)).view(-1, length, length)


def apply_normalise(images: Tensor, params: NormaliseParams, draws: Draws) -> Tensor:
    """(image - mean) / std, per channel."""
    mean, std = (
        _moved(torch.tensor(values, dtype=images.dtype), images)[:, None, None]
        for values in (params.mean, params.std)
    )
    return (images - mean).div_(std)


def _moved(draws: Tensor, images: Tensor) -> Tensor:
    """The draws on the images' device, without waiting for it."""
    return move(draws, images.device)


# --- the table, and a list of operations on a batch ----------------------------------------------


class Operation(NamedTuple):
    """An operation: the parameters it takes, how it draws, how it applies."""

    params: type[Model]
    draw: Callable[[Any, Sequence[int], Generator], Draws]
    apply: Callable[[Tensor, Any, Draws], Tensor]


OPS: dict[str, Operation] = {
    "random_resized_crop": Operation(CropParams, draw_crop, apply_crop),
    "centre_crop": Operation(CentreCropParams, draw_nothing, apply_centre_crop),
    "horizontal_flip": Operation(NoParams, draw_nothing, apply_flip),
    "colour_jitter": Operation(JitterParams, draw_jitter, apply_jitter),
    "greyscale": Operation(NoParams, draw_nothing, apply_greyscale),
    "gaussian_blur": Operation(BlurParams, draw_blur, apply_blur),
    "normalise": Operation(NormaliseParams, draw_nothing, apply_normalise),
}


def check_ops(ops: Sequence[Op], channels: int, size: int | None = None) -> list[Model]:
    """The parameters of each operation, checked for images of `channels` (and edge `size` pixels).

    Raises ReclaimError for an unknown parameter, a value out of range, or an operation that such
    images cannot have.
    """
    checked = []
    for place, op in enumerate(ops):
        try:
            params = OPS[op.op].params.model_validate(op.params)
        except ValidationError as error:
            raise _fault(place, op, first_fault(error)) from error
        problem = _problem(op, params, channels, size)
        if problem:
            raise _fault(place, op, problem)
        size = getattr(params, "size", size)
        checked.append(params)
    return checked


def _fault(place: int, op: Op, problem: str) -> ReclaimError:
    return ReclaimError(f"views: operation {place + 1} ({op.op}): {problem}; mend it")


def _problem(op: Op, params: Model, channels: int, size: int | None) -> str | None:
    """What does not fit although each parameter is in range."""
    if hasattr(params, "size") and op.p < 1:
        return f"p = {op.p:g} would leave images of two sizes, p must be 1"
    if isinstance(params, NormaliseParams) and {len(params.mean), len(params.std)} != {channels}:
        return f"mean and std must have one number per channel ({channels})"
    if op.op in ("colour_jitter", "greyscale") and channels not in (1, 3):
        return f"images have {channels} channels, it needs 1 or 3"
    if size is None:
        return None
    if isinstance(params, CentreCropParams) and params.size > size:
        return f"size {params.size} is larger than the image ({size} pixels)"
    if isinstance(params, BlurParams) and params.kernel // 2 >= size:
        return f"kernel {params.kernel} is too wide for an image of {size} pixels"
    return None


def augment(images: Tensor, ops: Sequence[Op], generator: Generator) -> Tensor:
    """One view of every image: the operations in order, each on an image with probability `p`.

    images (B, C, H, W) uint8 → (B, C, S, S) float32 on the same device, S the last crop's size
    (without a crop: H, W), pixels in [0, 1] until normalised. Raises ReclaimError as `check_ops`.
    """
    checked = check_ops(ops, images.shape[1], min(images.shape[2:]))
    views = images.float().div_(255)
    # Mixed precision is for the network: its matrix products would round the pixels to bfloat16.
    with torch.autocast(images.device.type, enabled=False):
        for op, params in zip(ops, checked, strict=True):
            chosen, draws = draw_op(op, params, views.shape, generator)
            views = _apply_op(views, op, params, chosen, draws)
    return views


def draw_op(
    op: Op, params: Model, shape: Sequence[int], generator: Generator
) -> tuple[Tensor | None, Draws]:
    """Which images the operation is for, (B,) bool or None for all, and every image's draws."""
    chosen = None if op.p == 1 else _uniform((shape[0],), generator) < op.p
    return chosen, OPS[op.op].draw(params, shape, generator)


def _apply_op(views: Tensor, op: Op, params: Model, chosen: Tensor | None, draws: Draws) -> Tensor:
    """Apply to the chosen images, in place unless all are chosen."""
    apply = OPS[op.op].apply
    if chosen is None:
        return apply(views, params, draws)
    rows = chosen.nonzero().squeeze(1)
    at = _moved(rows, views)
    part = {name: values[rows] for name, values in draws.items()}
    return views.index_copy_(0, at, apply(views.index_select(0, at), params, part))
