"""Small archives in the exact official formats, built byte by byte, and places that serve them."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import resource
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from reclaim.learning.data.synthetic import (
    Split,
    cifar_members,
    jpeg,
    py2_pickle,
    tar,
    zipped,
)
from reclaim.registry.datasets import DATASETS, Archive, Content, DatasetFacts, DebianPackage

Array = NDArray[Any]


# --- ar ------------------------------------------------------------------------------------------


def deb(folder: str, files: dict[str, bytes]) -> bytes:
    members = [(f"./{folder}/{name}", content) for name, content in files.items()]
    data = lzma.compress(tar(members))
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": lzma.compress(tar([]))}
    out = b"!<arch>\n"
    for name, content in {**parts, "data.tar.xz": data}.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        out += content + b"\n" * (len(content) % 2)
    return out


# --- image sets ----------------------------------------------------------------------------------


@dataclass
class Made:
    """An image set made by a test: its facts, its archives, and the arrays they must give."""

    facts: DatasetFacts
    archives: dict[str, bytes]
    expected: dict[str, Array] = field(default_factory=dict)


def repin(made: Made, archives: dict[str, bytes]) -> Made:
    pins = tuple(
        replace(
            pin,
            bytes=len(archives[pin.file]),
            sha256=hashlib.sha256(archives[pin.file]).hexdigest(),
        )
        for pin in made.facts.archives
    )
    return Made(replace(made.facts, archives=pins, sites=()), archives, made.expected)


def random_set(facts: DatasetFacts, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        "train_images": rng.integers(0, 256, facts.shape(facts.n_train), np.uint8),
        "train_labels": rng.permutation(np.arange(facts.n_train) % facts.classes),
        "test_images": rng.integers(0, 256, facts.shape(facts.n_test), np.uint8),
        "test_labels": rng.permutation(np.arange(facts.n_test) % facts.classes),
    }


def idx(array: Array) -> bytes:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def fashion(images: dict[str, Array] | None = None) -> Made:
    """Fashion-MNIST with 40 + 20 images, and its Debian package."""
    real = DATASETS["fashion_mnist"]
    facts = replace(real, n_train=40, n_test=20, sites=(), debian=None)
    arrays = images or random_set(facts)
    order = ("train_images", "train_labels", "test_images", "test_labels")
    raw = [idx(a[..., 0] if a.ndim == 4 else a) for a in (arrays[name] for name in order)]
    packed = [gzip.compress(content, mtime=1) for content in raw]
    pins = tuple(
        Archive(pin.file, 0, content=Content(len(r), hashlib.sha256(r).hexdigest()))
        for pin, r in zip(real.archives, raw, strict=True)
    )
    archives = {pin.file: p for pin, p in zip(pins, packed, strict=True)}
    return repin(Made(replace(facts, archives=pins), archives, arrays), archives)


def with_debian(made: Made) -> Made:
    """The same set with a package whose archives differ in the gzip header, as Debian's do."""
    real = DATASETS["fashion_mnist"].debian
    assert real is not None
    files = {f: gzip.compress(gzip.decompress(c), mtime=2) for f, c in made.archives.items()}
    package = deb(real.folder, files)
    pin = Archive(real.archive.file, len(package), sha256=hashlib.sha256(package).hexdigest())
    debian = DebianPackage(real.package, real.version, pin, real.folder)
    archives = {**made.archives, pin.file: package}
    return Made(replace(made.facts, debian=debian), archives, made.expected)


def members(facts: DatasetFacts, arrays: dict[str, Array]) -> list[tuple[str, bytes]]:
    """The members of an official archive of these arrays."""
    train, test = (Split(arrays[f"{n}_images"], arrays[f"{n}_labels"]) for n in ("train", "test"))
    return cifar_members(facts, train, test)


def cifar(name: str, extra: list[tuple[str | tarfile.TarInfo, bytes]] | None = None) -> Made:
    """CIFAR-10 or -100 with 100 + 50 images; `extra` members come first."""
    real = DATASETS[name]
    facts = replace(real, n_train=100, n_test=50, sites=())
    arrays = random_set(facts)
    content = tar([*(extra or []), *members(facts, arrays)])
    made = Made(facts, {real.archives[0].file: gzip.compress(content)}, arrays)
    return repin(made, made.archives)


def tiny_members(facts: DatasetFacts) -> tuple[list[tuple[str, bytes]], dict[str, Array]]:
    """The tree of TinyImageNet; classes are not in alphabetical order, some images are grey."""
    top, rng = "tiny-imagenet-200", np.random.default_rng(0)
    wnids = ["n02124075", "n01443537", "n04067472"]

    def picture(grey: bool) -> tuple[bytes, Array]:
        shape = (facts.size, facts.size) if grey else (facts.size, facts.size, 3)
        raw = jpeg(rng.integers(0, 256, shape, np.uint8))
        with Image.open(io.BytesIO(raw)) as image:
            pixels = np.asarray(image)
        return raw, np.repeat(pixels[..., None], 3, axis=2) if grey else pixels

    members = [(f"{top}/wnids.txt", "\n".join(wnids).encode()), (f"{top}/words.txt", b"n0\tx\n")]
    train: dict[tuple[int, int], Array] = {}
    each = facts.n_train // facts.classes
    for label in reversed(range(facts.classes)):
        wnid = wnids[label]
        members.append((f"{top}/train/{wnid}/{wnid}_boxes.txt", b""))
        for number in reversed(range(each)):
            raw, train[label, number] = picture(grey=number == 10)
            members.append((f"{top}/train/{wnid}/images/{wnid}_{number}.JPEG", raw))
    lines, test, labels = [], [], []
    for number in range(facts.n_test):
        raw, pixels = picture(grey=number == 1)
        label = (2 * number + 1) % facts.classes
        members.append((f"{top}/val/images/val_{number}.JPEG", raw))
        lines.append(f"val_{number}.JPEG\t{wnids[label]}\t0\t32\t44\t62")
        test.append(pixels)
        labels.append(label)
    members.append((f"{top}/val/val_annotations.txt", ("\n".join(lines) + "\n").encode()))
    members.append((f"{top}/test/images/test_0.JPEG", picture(grey=False)[0]))
    return members, {
        "train_images": np.stack([train[key] for key in sorted(train)]),
        "train_labels": np.array([label for label, _ in sorted(train)]),
        "test_images": np.stack(test),
        "test_labels": np.array(labels),
    }


def tiny(change: Callable[[dict[str, bytes]], None] | None = None) -> Made:
    """TinyImageNet with three classes of 12 training images and 7 validation images."""
    real = DATASETS["tiny_imagenet"]
    facts = replace(real, classes=3, n_train=36, n_test=7, sites=())
    members, arrays = tiny_members(facts)
    tree = dict(members)
    if change:
        change(tree)
    made = Made(facts, {real.archives[0].file: zipped(list(tree.items()))}, arrays)
    return repin(made, made.archives)


# --- places --------------------------------------------------------------------------------------


@dataclass
class Server:
    """A site on this machine.

    The first `cuts` answers end after `cut` bytes; after `answers` it hangs up; without `ranges`
    it sends the whole file whatever part was asked for; without `lengths` it does not say how much.
    """

    files: dict[str, bytes]
    cut: int | None = None
    cuts: int = 1
    ranges: bool = True
    answers: int = 99
    lengths: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    address: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.answers -= 1
        if self.answers < 0:
            return
        name, wanted = handler.path.rsplit("/", 1)[-1], handler.headers["Range"]
        self.asked.append((name, wanted))
        if name not in self.files:
            handler.send_error(404)
            return
        body, start = self.files[name], 0
        if wanted and self.ranges:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                handler.send_error(416)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        if self.lengths:
            handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        cut = self.cut if self.cuts > 0 else None
        self.cuts -= 1
        handler.close_connection = True
        with suppress(ConnectionError):  # the other side may have had enough
            handler.wfile.write(body[start:][:cut])


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Let it answer at an address of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.address = f"http://127.0.0.1:{http.server_address[1]}/some/folder"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """The kernel refuses to let a file of this process grow over `size` bytes: a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers of archives; they end with the test."""
    with ExitStack() as running:
        yield lambda files, **how: running.enter_context(serving(Server(files, **how)))


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a set known and puts its archives into the mirror, a folder; returns that folder."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("RECLAIM_MIRROR", str(mirror))
    monkeypatch.setenv("NO_PROXY", "*")

    def put(made: Made) -> Path:
        monkeypatch.setitem(DATASETS, made.facts.name, made.facts)
        for file, content in made.archives.items():
            (mirror / file).write_bytes(content)
        return mirror

    return put


@pytest.fixture
def official() -> SimpleNamespace:
    """The builders of small official archives."""
    return SimpleNamespace(
        fashion=fashion, with_debian=with_debian, cifar=cifar, cifar_members=members,
        tiny=tiny, targz=lambda members: gzip.compress(tar(members)), py2_pickle=py2_pickle,
        repin=repin, jpeg=jpeg,
    )  # fmt: skip
