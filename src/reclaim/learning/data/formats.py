"""The published formats, each read into blocks of (images, labels) without unpacking to disk.

An archive has been checked against its pins before it comes here. Still nothing in it is trusted:
names, links, sizes, shapes and pickles are checked, and a fault is a ReclaimError.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reclaim.learning.data.subset import stratified
from reclaim.learning.data.untrusted import (
    UNREADABLE,
    debian_members,
    fault,
    open_tar,
    open_zip,
    pick,
    unpickle,
    zip_content,
    zip_names,
)
from reclaim.records import ReclaimError
from reclaim.registry.datasets import Archive, DatasetFacts

Block = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images (N, H, W, C) and their labels (N)."""


@dataclass(frozen=True)
class Splits:
    """The two splits of an image set, as blocks in a fixed order."""

    train: Iterator[Block]
    test: Iterator[Block]


def read(facts: DatasetFacts, files: Mapping[str, Path]) -> Splits:
    """The images of the verified `files` (archive name -> where it lies)."""
    return READERS[facts.format](facts, files)


# --- idx: Fashion-MNIST --------------------------------------------------------------------------


def read_idx(facts: DatasetFacts, files: Mapping[str, Path]) -> Splits:
    """Four .gz files, from their own archives or from Debian's package."""
    packed = idx_archives(facts, files)
    train_images, train_labels, test_images, test_labels = (
        unpack_idx(archive, packed[archive.file]) for archive in facts.archives
    )
    return Splits(
        train=iter([idx_block(facts, facts.n_train, train_images, train_labels)]),
        test=iter([idx_block(facts, facts.n_test, test_images, test_labels)]),
    )


def idx_archives(facts: DatasetFacts, files: Mapping[str, Path]) -> dict[str, bytes]:
    """The four .gz files: the official ones, or those in Debian's package."""
    names = [archive.file for archive in facts.archives]
    if all(name in files for name in names):
        return {name: files[name].read_bytes() for name in names}
    assert facts.debian is not None
    path = files[facts.debian.archive.file]
    limit = max(archive.bytes for archive in facts.archives)
    try:
        return debian_members(path, facts.debian.folder, names, limit)
    except UNREADABLE as error:
        raise fault(path.name, f"not readable ({error})") from error


def unpack_idx(archive: Archive, packed: bytes) -> bytes:
    """The content of a .gz, never more than its pin allows, checked against the pin."""
    content = archive.content
    assert content is not None
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            raw = file.read(content.bytes + 1)
    except UNREADABLE as error:
        raise fault(archive.file, f"not readable ({error})") from error
    digest = hashlib.sha256(raw).hexdigest()
    if len(raw) != content.bytes or digest != content.sha256:
        raise fault(
            archive.file,
            f"unpacks to {len(raw)} bytes or more with sha256 {digest}, "
            f"expected {content.bytes} bytes with sha256 {content.sha256}",
        )
    return raw


def idx_block(facts: DatasetFacts, count: int, images: bytes, labels: bytes) -> Block:
    """A split from its two idx files."""
    pixels = idx_array(f"{facts.name} images", images, (count, facts.size, facts.size))
    numbers = idx_array(f"{facts.name} labels", labels, (count,))
    return pixels[..., None], numbers.astype(np.int64)


def idx_array(where: str, raw: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An idx file: 0, 0, type (8 = uint8), number of dimensions, big-endian sizes, values."""
    if raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise fault(where, f"not an idx file of bytes (starts {raw[:8].hex()})")
    found = struct.unpack_from(f">{raw[3]}I", raw, 4)
    values = raw[4 + 4 * len(found) :]
    if found != shape or len(values) != int(np.prod(shape)):
        raise fault(
            where, f"an idx file of shape {found} with {len(values)} values, expected {shape}"
        )
    return np.frombuffer(values, np.uint8).reshape(shape)


# --- CIFAR ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CifarLayout:
    """The names inside a CIFAR archive."""

    folder: str
    train: tuple[str, ...]
    test: str
    labels: str


CIFAR = {
    "cifar10": CifarLayout(
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch",
        "labels",
    ),
    "cifar100": CifarLayout("cifar-100-python", ("train",), "test", "fine_labels"),
}


def read_cifar(facts: DatasetFacts, files: Mapping[str, Path]) -> Splits:
    """One tar.gz of pickles, each a dict of `data` (N, 3072) and a list of labels."""
    layout = CIFAR[facts.stands_for or facts.name]
    where = facts.archives[0].file
    train = [f"{layout.folder}/{name}" for name in layout.train]
    test = f"{layout.folder}/{layout.test}"
    limit = 2 * int(np.prod(facts.shape(facts.n_train))) + 2**20
    try:
        with gzip.open(files[where]) as stream, open_tar(stream, limit) as tar:
            members = pick(tar, where, [*train, test], limit)
    except UNREADABLE as error:
        raise fault(where, f"not readable ({error})") from error

    def block(name: str, count: int) -> Block:
        return cifar_block(facts, f"{where}: {name}", members.pop(name), layout.labels, count)

    return Splits(
        train=(block(name, facts.n_train // len(train)) for name in train),
        test=(block(name, facts.n_test) for name in [test]),
    )


def cifar_block(facts: DatasetFacts, where: str, raw: bytes, key: str, count: int) -> Block:
    """A batch: red, green and blue planes per row become (N, H, W, C)."""
    batch = unpickle(where, raw)
    data, labels = (batch.get("data"), batch.get(key)) if isinstance(batch, dict) else (None, None)
    width = facts.channels * facts.size**2
    if not (
        isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape == (count, width)
    ):
        raise fault(where, f"no uint8 array 'data' of shape ({count}, {width})")
    if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
        raise fault(where, f"no list of whole numbers {key!r}")
    if len(labels) != count:
        raise fault(where, f"{len(labels)} labels for {count} images")
    planes = data.reshape(count, facts.channels, facts.size, facts.size)
    return planes.transpose(0, 2, 3, 1), np.array(labels, np.int64)


# --- TinyImageNet --------------------------------------------------------------------------------

TINY = "tiny-imagenet-200"
TINY_LIMIT = 16 * 2**20
TINY_BLOCK = 500


def read_tiny_imagenet(facts: DatasetFacts, files: Mapping[str, Path]) -> Splits:
    """A zip of JPEGs: a folder per class for training; `val`, with its list of labels, as test.

    The class index is the place of the class in `wnids.txt`; training images lie class by class,
    each class in the order of the numbers in its file names.
    """
    path = files[facts.archives[0].file]
    with open_zip(path) as archive:
        names = zip_names(archive, path.name, TINY_LIMIT)
        index = class_index(archive, path.name, facts.classes)
        train = train_rows(names, path.name, index, facts.n_train // facts.classes)
        test = val_rows(archive, path.name, index, facts.n_test)
    return Splits(train=jpegs(facts, path, train), test=jpegs(facts, path, test))


def class_index(archive: zipfile.ZipFile, where: str, classes: int) -> dict[str, int]:
    """The label of each class: its place in `wnids.txt`."""
    wnids = zip_content(archive, f"{TINY}/wnids.txt").decode("ascii").split()
    index = {wnid: label for label, wnid in enumerate(wnids)}
    if not len(wnids) == len(index) == classes:
        raise fault(where, f"wnids.txt names {len(index)} classes, expected {classes}")
    return index


def train_rows(
    names: list[str], where: str, index: Mapping[str, int], per_class: int
) -> list[tuple[str, int]]:
    """(member, label) of every training image."""
    by_class: dict[str, list[str]] = {wnid: [] for wnid in index}
    for name in names:
        match name.split("/"):
            case ["tiny-imagenet-200", "train", wnid, "images", _]:
                if wnid not in by_class:
                    raise fault(where, f"member {name!r} is of a class that wnids.txt lacks")
                by_class[wnid].append(name)
    for wnid, members in by_class.items():
        if len(members) != per_class:
            raise fault(where, f"class {wnid} has {len(members)} images, expected {per_class}")
        members.sort(key=lambda name: (len(name), name))
    return [(name, index[wnid]) for wnid, members in by_class.items() for name in members]


def val_rows(
    archive: zipfile.ZipFile, where: str, index: Mapping[str, int], count: int
) -> list[tuple[str, int]]:
    """(member, label) of every validation image, in the order of its list of labels."""
    lines = zip_content(archive, f"{TINY}/val/val_annotations.txt").decode("ascii").splitlines()
    label = {}
    for line in lines:
        name, wnid, *_ = line.split("\t")
        if wnid not in index:
            raise fault(where, f"val_annotations.txt: {name} is of unknown class {wnid!r}")
        label[f"{TINY}/val/images/{name}"] = index[wnid]
    if not len(lines) == len(label) == count:
        raise fault(where, f"val_annotations.txt labels {len(label)} images, expected {count}")
    return list(label.items())


def jpegs(facts: DatasetFacts, path: Path, rows: list[tuple[str, int]]) -> Iterator[Block]:
    """The images of the rows, decoded in blocks so that memory stays bounded."""
    with open_zip(path) as archive:
        for start in range(0, len(rows), TINY_BLOCK):
            part = rows[start : start + TINY_BLOCK]
            images = [
                decode(facts, f"{path.name}: {name}", zip_content(archive, name))
                for name, _ in part
            ]
            yield np.stack(images), np.array([label for _, label in part], np.int64)


def decode(facts: DatasetFacts, where: str, raw: bytes) -> NDArray[np.uint8]:
    """A JPEG as (H, W, 3); grey images become red = green = blue."""
    try:
        with Image.open(io.BytesIO(raw), formats=["JPEG"]) as image:
            if image.size != (facts.size, facts.size):  # known before a pixel is decoded
                raise fault(where, f"an image of {image.size}, expected side {facts.size}")
            return np.asarray(image.convert("RGB"))
    except (*UNREADABLE, SyntaxError, Image.DecompressionBombError) as error:
        raise fault(where, f"not a JPEG ({error})") from error


# --- digits --------------------------------------------------------------------------------------


def read_digits(facts: DatasetFacts, files: Mapping[str, Path]) -> Splits:
    """scikit-learn's digits, grey values 0..16 stored as round(x * 255 / 16).

    The test split is `stratified(labels, n_test, seed 0)`; the others, in order, are for training.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = data.target.astype(np.int64)
    if images.shape != facts.shape(facts.n_train + facts.n_test):
        raise ReclaimError(
            f"digits: scikit-learn holds images of shape {images.shape}; install the version "
            "that reclaim pins"
        )
    test = stratified(labels, facts.n_test, seed=0)
    train = np.setdiff1d(np.arange(len(labels)), test)
    return Splits(
        train=iter([(images[train], labels[train])]), test=iter([(images[test], labels[test])])
    )


READERS: dict[str, Callable[[DatasetFacts, Mapping[str, Path]], Splits]] = {
    "digits": read_digits,
    "idx": read_idx,
    "cifar": read_cifar,
    "tiny_imagenet": read_tiny_imagenet,
}
