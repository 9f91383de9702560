"""Made-up image sets in the official formats, for the dress rehearsal. No torch here.

They go the way of the real ones: an archive is built, checked against a pin of its own, and read.
So its bytes must be the same everywhere: nothing is compressed, and pixels are hash values.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reclaim.learning.data.formats import CIFAR, TINY
from reclaim.registry.datasets import DatasetFacts

PATCHES = 4  # an image is so many flat patches a side
STORED = 65_535  # bytes of a stored block at most (RFC 1951, 3.2.4)
Member = tuple[str, bytes]


@dataclass(frozen=True)
class Split:
    """images (N, H, W, C) uint8 and labels (N) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def build(facts: DatasetFacts) -> bytes:
    """The one archive of a made-up image set."""
    train, test = (split(facts, name, n) for name, n in (("train", facts.n_train),
                                                         ("test", facts.n_test)))  # fmt: skip
    if facts.format == "cifar":
        return gzipped(tar(cifar_members(facts, train, test)))
    return zipped(tiny_members(facts, train, test))


def split(facts: DatasetFacts, name: str, count: int) -> Split:
    """Images of flat patches of any colour; the labels go round the classes."""
    shape = (count, PATCHES, PATCHES, facts.channels)
    stream = hashlib.shake_256(f"{facts.name} {name}".encode())
    colours = np.frombuffer(stream.digest(int(np.prod(shape))), np.uint8).reshape(shape)
    edge = facts.size // PATCHES
    return Split(
        colours.repeat(edge, axis=1).repeat(edge, axis=2), np.arange(count) % facts.classes
    )


# --- containers ----------------------------------------------------------------------------------


def tar(members: Sequence[tuple[str | tarfile.TarInfo, bytes]]) -> bytes:
    """A tar of files that nobody owns and that are of no date."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def gzipped(content: bytes) -> bytes:
    """A gzip file of stored blocks (RFC 1951, RFC 1952): no compressor's taste is in its bytes."""
    out = [b"\x1f\x8b\x08" + bytes(6) + b"\xff"]
    for start in range(0, len(content), STORED):
        block = content[start : start + STORED]
        last = start + STORED >= len(content)
        out += [struct.pack("<BHH", last, len(block), len(block) ^ STORED), block]
    return b"".join([*out, struct.pack("<II", zlib.crc32(content), len(content))])


def zipped(members: Sequence[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """A zip of stored files of no date, as a Unix system writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, content in members:
            info = zipfile.ZipInfo(member) if isinstance(member, str) else member
            info.create_system = 3
            archive.writestr(info, content)
    return buffer.getvalue()


# --- CIFAR: pickles as Python 2 wrote them -------------------------------------------------------


def cifar_members(facts: DatasetFacts, train: Split, test: Split) -> list[Member]:
    """The members of an official archive, in an order that is not that of the batches."""
    layout = CIFAR[facts.stands_for or facts.name]
    step = facts.n_train // len(layout.train)
    batches = {
        name: _rows(layout.labels, "train", _part(train, slice(n * step, (n + 1) * step)))
        for n, name in enumerate(layout.train)
    }
    batches = dict(reversed(batches.items())) | {layout.test: _rows(layout.labels, "test", test)}
    members = [(f"{layout.folder}/{name}", py2_pickle(batch)) for name, batch in batches.items()]
    meta = {"label_names": [f"class {label}" for label in range(facts.classes)]}
    last = "batches.meta" if len(layout.train) > 1 else "meta"
    return [
        (f"{layout.folder}/readme.html", b"<html>"),
        *members,
        (f"{layout.folder}/{last}", py2_pickle(meta)),
    ]


def _part(whole: Split, rows: slice) -> Split:
    return Split(whole.images[rows], whole.labels[rows])


def _rows(key: str, name: str, part: Split) -> dict[str, object]:
    """A batch: an image's red, green and blue planes are a row of `data`."""
    rows: dict[str, object] = {
        "data": part.images.transpose(0, 3, 1, 2).reshape(len(part.images), -1),
        key: part.labels.tolist(),
        "filenames": [f"{name}_{i}.png" for i in range(len(part.labels))],
    }
    return rows | ({"coarse_labels": (part.labels // 5).tolist()} if key == "fine_labels" else {})


def py2_pickle(value: object) -> bytes:
    """A pickle as Python 2's cPickle wrote it in protocol 2."""
    return pickle.PROTO + b"\2" + py2(value) + pickle.STOP


def py2(value: object) -> bytes:
    """The opcodes of a value: whole numbers, text, lists, dicts, byte arrays of two dimensions."""
    match value:
        case bool():
            raise TypeError(value)
        case int():
            return pickle.BININT + struct.pack("<i", value)
        case str():
            raw = value.encode("latin1")
            return pickle.BINSTRING + struct.pack("<i", len(raw)) + raw
        case list():
            return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(py2, value)) + pickle.APPENDS
        case dict():
            items = b"".join(py2(key) + py2(item) for key, item in value.items())
            return pickle.EMPTY_DICT + pickle.MARK + items + pickle.SETITEMS
        case np.ndarray():
            return _py2_array(value)
    raise TypeError(value)


def _py2_array(array: NDArray[np.uint8]) -> bytes:
    def name(module: str, attribute: str) -> bytes:
        return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()

    empty = name("numpy", "ndarray") + py2(0) + pickle.TUPLE1 + py2("b") + pickle.TUPLE3
    kind = name("numpy", "dtype") + py2("u1") + py2(0) + py2(1) + pickle.TUPLE3 + pickle.REDUCE
    kind_state = py2(3) + py2("|") + pickle.NONE * 3 + py2(-1) + py2(-1) + py2(0)
    kind += pickle.MARK + kind_state + pickle.TUPLE + pickle.BUILD
    shape = py2(array.shape[0]) + py2(array.shape[1]) + pickle.TUPLE2
    state = py2(1) + shape + kind + pickle.NEWFALSE + py2(array.tobytes().decode("latin1"))
    made = name("numpy.core.multiarray", "_reconstruct") + empty + pickle.REDUCE
    return made + pickle.MARK + state + pickle.TUPLE + pickle.BUILD


# --- TinyImageNet: a tree of JPEGs ---------------------------------------------------------------


def tiny_members(facts: DatasetFacts, train: Split, test: Split) -> list[Member]:
    """The tree of TinyImageNet, with an unlabelled test image as the real one has 10,000."""
    wnids = [f"n{label:08d}" for label in range(facts.classes)]
    members = [(f"{TINY}/wnids.txt", "\n".join(wnids).encode())]
    seen = dict.fromkeys(wnids, 0)
    for image, label in zip(train.images, train.labels, strict=True):
        wnid = wnids[label]
        place = f"{TINY}/train/{wnid}/images/{wnid}_{seen[wnid]}.JPEG"
        members.append((place, jpeg(image)))
        seen[wnid] += 1
    lines = []
    for number, (image, label) in enumerate(zip(test.images, test.labels, strict=True)):
        members.append((f"{TINY}/val/images/val_{number}.JPEG", jpeg(image)))
        lines.append(f"val_{number}.JPEG\t{wnids[label]}\t0\t0\t{facts.size}\t{facts.size}\n")
    members.append((f"{TINY}/val/val_annotations.txt", "".join(lines).encode()))
    return [*members, (f"{TINY}/test/images/test_0.JPEG", jpeg(test.images[0]))]


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """A JPEG. Flat patches of whole blocks leave an encoder nothing to choose."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
