"""Published weights: their tensors, where they are served, and the pins of what was fetched.

Nobody published a hash of these files. So the first one that holds the right tensors is pinned, in
a lock file that belongs into the repository, and any other one is refused from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from reclaim.records import (
    FileStamp,
    ReclaimError,
    WeightsLock,
    WeightsManifest,
    did_you_mean,
    read,
    stamps_hold,
    write,
)

LOCK = Path("workflow/weights.lock.json")
MADE_UP_LOCK = Path("results/weights/rehearsal.lock.json")
ENCODER = "encoder.safetensors"
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class WeightsFacts:
    """One published checkpoint: `file` of at least `least` bytes, under each of `sites`.

    `shapes` are those of its tensors by name, of float32, but int64 where the name ends in
    `num_batches_tracked`. A rehearsal's weights are made up, in the format of those that they
    `stands_for`.
    """

    name: str
    title: str
    file: str
    least: int
    sites: tuple[str, ...]
    shapes: Shapes
    stands_for: str | None = None


def resnet50_shapes() -> dict[str, tuple[int, ...]]:
    """The tensors of torchvision's `resnet50` without `fc`, three channels, ImageNet's stem.

    Another stem has another `conv1`: weights are not bent to fit one (`learning.nets`).
    """
    shapes = dict(_conv_norm("conv1", "bn1", 64, 3, 7))
    before = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            place = f"layer{stage + 1}.{block}."
            for number, (out, into, kernel) in enumerate(
                ((width, before, 1), (width, width, 3), (4 * width, width, 1)), start=1
            ):
                names = f"{place}conv{number}", f"{place}bn{number}"
                shapes.update(_conv_norm(*names, out, into, kernel))
            if block == 0:
                names = f"{place}downsample.0", f"{place}downsample.1"
                shapes.update(_conv_norm(*names, 4 * width, before, 1))
            before = 4 * width
    return shapes


def _conv_norm(
    conv: str, norm: str, out: int, into: int, kernel: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{conv}.weight", (out, into, kernel, kernel)
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield f"{norm}.{name}", (out,)
    yield f"{norm}.num_batches_tracked", ()


WEIGHTS: dict[str, WeightsFacts] = {
    facts.name: facts
    for facts in (
        WeightsFacts(
            name="dino_resnet50",
            title="DINO ResNet-50, ImageNet (Caron et al. 2021)",
            file="dino_resnet50_pretrain.pth",
            least=94_245_032,  # its numbers alone; its exact size is not known
            sites=("https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/",),
            shapes=resnet50_shapes(),
        ),
    )
}

WEIGHTS["rehearsal_dino_resnet50"] = replace(
    WEIGHTS["dino_resnet50"],
    name="rehearsal_dino_resnet50",
    title="made-up weights in the format of dino_resnet50",
    file="rehearsal_dino_resnet50.pth",
    sites=(),
    stands_for="dino_resnet50",
)


def lock_of(name: str) -> Path:
    """Where a pin is kept: those of made-up weights are no part of the repository."""
    return MADE_UP_LOCK if weights(name).stands_for else LOCK


def weights(name: str) -> WeightsFacts:
    """The facts of published weights. Raises ReclaimError for an unknown name."""
    if name in WEIGHTS:
        return WEIGHTS[name]
    hint = did_you_mean(name, WEIGHTS)
    raise ReclaimError(f"weights {name!r} are not known; {hint}known: {', '.join(WEIGHTS)}")


def pinned(name: str, lock: Path = LOCK) -> FileStamp | None:
    """The pin of a fetched file, None before the first. Raises ReclaimError for a damaged lock."""
    return _read_lock(lock).pins.get(name)


def pin(name: str, stamp: FileStamp, lock: Path = LOCK) -> None:
    """Pin a fetched file, if it is the first one."""
    pins = _read_lock(lock).pins
    if name not in pins:
        write(lock, WeightsLock(pins={**pins, name: stamp}))


def _read_lock(lock: Path) -> WeightsLock:
    if not lock.exists():
        return WeightsLock()
    return read(lock, WeightsLock, "take it back from the repository")


def stored_weights(folder: Path, lock: Path | None = None) -> WeightsManifest | None:
    """The manifest of converted weights that are whole and of the pinned file, else None."""
    lock = lock or lock_of(folder.name)
    try:
        manifest = read(folder / "manifest.json", WeightsManifest, "")
    except ReclaimError:
        return None
    whole = set(manifest.files) == {ENCODER} and stamps_hold(folder, manifest.files)
    fits = manifest.name == folder.name and pinned(folder.name, lock) == manifest.checkpoint
    return manifest if whole and fits else None
