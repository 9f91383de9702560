"""The stored image sets: memory-mappable arrays and a manifest in `results/data/<name>/`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from reclaim.learning.data.formats import Block, Splits
from reclaim.records import DataManifest, ReclaimError, read, render, stamp, stamps_hold, sync
from reclaim.registry.datasets import DatasetFacts, dataset

ROOT = Path("results/data")
REMEDY = "nothing was stored, take the archive from its official site"


@dataclass(frozen=True)
class Images:
    """An image set, memory-mapped: images (N, H, W, C) uint8, labels (N) int64."""

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def layout(facts: DatasetFacts) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
    """Type and shape of each stored array, by the name of its file without `.npy`."""
    return {
        "train_images": (np.uint8, facts.shape(facts.n_train)),
        "train_labels": (np.int64, (facts.n_train,)),
        "test_images": (np.uint8, facts.shape(facts.n_test)),
        "test_labels": (np.int64, (facts.n_test,)),
    }


# --- reading -------------------------------------------------------------------------------------


def load(name: str, root: Path = ROOT) -> Images:
    """A stored image set. Raises ReclaimError if it is unknown, not there or damaged."""
    facts, folder = dataset(name), root / name
    remedy = f"run `reclaim fetch data {name}`"
    manifest = read(folder / "manifest.json", DataManifest, remedy)
    if manifest.name != name:
        raise ReclaimError(f"{folder}: holds {manifest.name}, expected {name}; {remedy}")
    arrays: dict[str, Any] = {}
    for array, (kind, shape) in layout(facts).items():
        path = folder / f"{array}.npy"
        expected = manifest.files.get(path.name)
        if expected is None or not stamps_hold(folder, {path.name: expected}):
            raise ReclaimError(f"{path}: missing or not as its manifest says; {remedy}")
        arrays[array] = open_array(path, kind, shape, remedy)
    return Images(**arrays)


def open_array(
    path: Path, kind: type[np.generic], shape: tuple[int, ...], remedy: str
) -> NDArray[Any]:
    """A memory-mapped array of the expected type and shape."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ReclaimError(f"{path}: not readable as an array ({error}); {remedy}") from error
    if array.dtype != kind or array.shape != shape:
        raise ReclaimError(
            f"{path}: {array.dtype} {array.shape}, expected {np.dtype(kind)} {shape}; {remedy}"
        )
    return array


def stored(facts: DatasetFacts, root: Path) -> Path | None:
    """The manifest of an image set that is stored whole (every hash holds), else None."""
    path = root / facts.name / "manifest.json"
    try:
        manifest = read(path, DataManifest, "")
    except ReclaimError:
        return None
    complete = {f"{array}.npy" for array in layout(facts)} == set(manifest.files)
    fits = manifest.name == facts.name and manifest.source == facts.title
    return path if complete and fits and stamps_hold(path.parent, manifest.files) else None


# --- writing -------------------------------------------------------------------------------------


def store(facts: DatasetFacts, splits: Splits, root: Path) -> Path:
    """Write the arrays and their manifest; returns its path. One process at a time.

    All is made in a folder of its own and moved at the end, the manifest last: a fault on the way
    (images and labels that do not match, a full disk: ReclaimError) leaves what was there before,
    and a crash between two moves a manifest that its arrays do not fit, which no reader takes.
    """
    folder, fresh = root / facts.name, root / f".{facts.name}.new"
    try:
        shutil.rmtree(fresh, ignore_errors=True)  # left by a process that was killed
        fresh.mkdir(parents=True)
        write_split(fresh, facts, "train", splits.train)
        write_split(fresh, facts, "test", splits.test)
        files = {f"{array}.npy": stamp(fresh / f"{array}.npy") for array in layout(facts)}
        made = DataManifest(name=facts.name, source=facts.title, classes=facts.classes, files=files)
        with (fresh / "manifest.json").open("wb") as file:
            file.write(render(made).encode())
            flush(file)
        folder.mkdir(exist_ok=True)
        for name in (*files, "manifest.json"):
            (fresh / name).replace(folder / name)
        sync(folder)
    except OSError as error:
        raise ReclaimError(
            f"{folder}: cannot write: {error.strerror or error}; free some space or mend the "
            "permissions and start again"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / "manifest.json"


def write_split(fresh: Path, facts: DatasetFacts, split: str, blocks: Iterable[Block]) -> None:
    """Stream the images of a split to its file, block by block; then its labels."""
    _, shape = layout(facts)[f"{split}_images"]
    labels: list[NDArray[np.int64]] = []
    with (fresh / f"{split}_images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(file, header)
        for images, numbers in blocks:
            check_block(facts, split, images, numbers)
            file.write(np.ascontiguousarray(images).data)
            labels.append(numbers)
        flush(file)
    every = np.concatenate(labels)
    if len(every) != shape[0]:
        raise ReclaimError(
            f"{facts.name}: {len(every)} {split} images, expected {shape[0]}; {REMEDY}"
        )
    with (fresh / f"{split}_labels.npy").open("wb") as file:
        npy.write_array(file, every, allow_pickle=False)
        flush(file)


def flush(file: BinaryIO) -> None:
    """Bring a file to the disk, where a lack of space shows."""
    file.flush()
    os.fsync(file.fileno())


def check_block(
    facts: DatasetFacts, split: str, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> None:
    """Labels must match their images in number and lie in 0..classes-1."""
    if images.dtype != np.uint8 or images.shape != facts.shape(len(labels)):
        raise ReclaimError(
            f"{facts.name}: {split} images {images.dtype} {images.shape} for {len(labels)} labels, "
            f"expected uint8 {facts.shape(len(labels))}; {REMEDY}"
        )
    outside = labels[(labels < 0) | (labels >= facts.classes)]
    if len(outside):
        raise ReclaimError(
            f"{facts.name}: {split} label {outside[0]} does not fit {facts.classes} classes "
            f"(0..{facts.classes - 1}); {REMEDY}"
        )
