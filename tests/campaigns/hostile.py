"""A corpus of hostile inputs: each is refused with one line, nothing is run, nothing gets out.

`python -m tests.campaigns.hostile` tries them all and prints a table; the suite tries each, and of
those that need an engine a few.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import json
import logging
import lzma
import os
import pickle
import resource
import runpy
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from typer.testing import CliRunner

from reclaim import cli
from reclaim.inference import measurements
from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.data import fetch_data
from reclaim.learning.data.weights import fetch_weights
from reclaim.records import (
    SEAL,
    EvaluationManifest,
    Plan,
    ReclaimError,
    RunManifest,
    content_hash,
    read,
    stamp,
)
from reclaim.registry import jobs
from reclaim.registry.claims import load_papers
from reclaim.registry.datasets import DATASETS
from reclaim.registry.plan import load_scale
from reclaim.registry.weights import WEIGHTS, WeightsFacts
from tests.learning.data import conftest as official
from tests.registry import made_results

MOST_MEMORY = 2**26  # bytes that refusing may take
MOST_DISK = 2**22  # bytes that may be left below the target, archives in downloading apart
CIFAR, TINY = "cifar-10-batches-py", "tiny-imagenet-200"
Member = tuple[str | tarfile.TarInfo, bytes]


@dataclass(frozen=True)
class Attack:
    """A hostile input: `run(folder)` gives it to a verb, which says `words`."""

    kind: str
    name: str
    run: Callable[[Path], object]
    words: str


@dataclass(frozen=True)
class Result:
    """What came of an attack: the error, and what it cost."""

    message: str
    outside: list[str]
    memory: int
    disk: int

    def repelled(self, attack: Attack) -> bool:
        """One line that says what is wrong; nothing outside, and little memory and disk."""
        refused = attack.words in self.message and "\n" not in self.message
        bounded = self.memory <= MOST_MEMORY and self.disk <= MOST_DISK
        return refused and not self.outside and bounded


class Runs:
    """Pickled as a call that makes a file."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call[0], self.call[1:]


MARK = "/tmp/reclaim-hostile-mark"  # what an attack that succeeded leaves


# --- archives ------------------------------------------------------------------------------------


@contextmanager
def published(made: official.Made, folder: Path) -> Iterator[None]:
    """A made-up image set of a true name, whose archives lie in a mirror."""
    mirror = folder / "mirror"
    mirror.mkdir()
    for file, content in made.archives.items():
        (mirror / file).write_bytes(content)
    with ExitStack() as stack:
        stack.enter_context(patch.dict(DATASETS, {made.facts.name: made.facts}))
        stack.enter_context(patch.dict(os.environ, {"RECLAIM_MIRROR": str(mirror)}))
        yield


def fetch(make: Callable[[], official.Made], folder: Path) -> None:
    """Fetch a made-up image set into the folder's target."""
    made = make()
    tracemalloc.reset_peak()  # what the attacker needed to build it does not count
    with published(made, folder):
        fetch_data(made.facts.name, folder / "target")


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> Any:
    """The header of a member."""
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size
    return made


def with_members(*members: Member) -> official.Made:
    """CIFAR-10 with more members, put first."""
    return official.cifar("cifar10", extra=list(members))


def raw_tar(content: bytes) -> official.Made:
    """An archive of CIFAR-10 with this tar in it."""
    made = official.cifar("cifar10")
    (file,) = made.archives
    return official.repin(made, {file: gzip.compress(content, 1)})


def header_asks(kind: bytes, size: int) -> official.Made:
    """A header of a long name, or of extended facts, that asks for so many bytes, all of them
    there."""
    return raw_tar(info("long", kind, size=size).tobuf() + bytes(size) + bytes(1024))


def not_as_pinned(change: Callable[[bytes], bytes]) -> official.Made:
    """An archive that is another one than its pins say."""
    made = official.cifar("cifar10")
    return replace(made, archives={file: change(raw) for file, raw in made.archives.items()})


def sparse() -> tarfile.TarInfo:
    """A file of a tebibyte in no space at all."""
    made = info(f"{CIFAR}/sparse", tarfile.GNUTYPE_SPARSE)
    made.size = 2**40
    return made


TARS: Mapping[str, tuple[Callable[[], official.Made], str]] = {
    "a name above the folder": (lambda: with_members(("../x", b"x")), "points outside"),
    "a name that climbs": (lambda: with_members((f"{CIFAR}/../../x", b"x")), "points outside"),
    "an absolute name": (lambda: with_members((MARK, b"x")), "points outside"),
    "a name for Windows": (lambda: with_members(("..\\x", b"x")), "points outside"),
    "a symbolic link": (
        lambda: with_members((info(f"{CIFAR}/l", tarfile.SYMTYPE, "/etc/passwd"), b"")), "a link",
    ),
    "a file through a symbolic link": (
        lambda: with_members(
            (info(f"{CIFAR}/up", tarfile.SYMTYPE, "../.."), b""), (f"{CIFAR}/up/x", b"x")
        ),
        "a link",
    ),
    "a hard link": (
        lambda: with_members((info(f"{CIFAR}/h", tarfile.LNKTYPE, "/etc/passwd"), b"")), "a link",
    ),
    "a chain of hard links": (
        lambda: with_members(
            (info(f"{CIFAR}/a", tarfile.LNKTYPE, f"{CIFAR}/b"), b""),
            (info(f"{CIFAR}/b", tarfile.LNKTYPE, f"{CIFAR}/c"), b""),
            (info(f"{CIFAR}/c", tarfile.LNKTYPE, "../../etc/passwd"), b""),
        ),
        "a link",
    ),
    "a pipe": (lambda: with_members((info(f"{CIFAR}/p", tarfile.FIFOTYPE), b"")), "a device"),
    "a character device": (
        lambda: with_members((info(f"{CIFAR}/c", tarfile.CHRTYPE), b"")), "a device",
    ),
    "a block device": (
        lambda: with_members((info(f"{CIFAR}/b", tarfile.BLKTYPE), b"")), "a device",
    ),
    "a member twice": (lambda: with_members((f"{CIFAR}/test_batch", b"")), "is there twice"),
    "a member twice, spelt otherwise": (
        lambda: with_members((f"./{CIFAR}//test_batch", b"")), "is there twice",
    ),
    "names that differ by case": (
        lambda: with_members((f"{CIFAR}/TEST_batch", b"")), "is there twice",
    ),
    "names that differ by their Unicode form": (
        lambda: with_members((f"{CIFAR}/\u00e9", b""), (f"{CIFAR}/e\u0301", b"")), "is there twice",
    ),
    "a member that is too long": (
        lambda: with_members((f"{CIFAR}/big", bytes(3 * 2**20))), "3145728 bytes, over",
    ),
    "a thousand members that are too long in all": (
        lambda: with_members(*((f"{CIFAR}/{n}", bytes(2**20)) for n in range(40))), "of them have",
    ),
    "a sparse file of a tebibyte": (lambda: raw_tar(sparse().tobuf() + bytes(1024)), "over"),
    "extended facts of 256 MiB": (lambda: header_asks(tarfile.XHDTYPE, 2**28), "at once, over"),
    "a name of 256 MiB": (lambda: header_asks(tarfile.GNUTYPE_LONGNAME, 2**28), "at once, over"),
    "a negative length": (
        lambda: raw_tar(
            info(f"{CIFAR}/n").tobuf()[:124] + b"\xff" * 12 + info("n").tobuf()[136:] + bytes(1024)
        ),
        "not readable",
    ),
    "an archive cut short": (
        lambda: official.repin(
            made := official.cifar("cifar10"),
            {file: raw[:-200] for file, raw in made.archives.items()},
        ),
        "not readable",
    ),
    "another length than pinned": (lambda: not_as_pinned(lambda raw: raw + b"x"), "expected"),
    "another hash than pinned": (
        lambda: not_as_pinned(lambda raw: raw[:-1] + b"?"), "sha256",
    ),
}  # fmt: skip


def with_zip(*members: tuple[str | zipfile.ZipInfo, bytes]) -> official.Made:
    """TinyImageNet with more members."""
    made = official.tiny()
    ((file, content),) = made.archives.items()
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.writestr(*member)
    return official.repin(made, {file: buffer.getvalue()})


def zip_info(name: str, mode: int) -> zipfile.ZipInfo:
    """A member of a kind."""
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made


def changed_zip(change: Callable[[dict[str, bytes]], object]) -> official.Made:
    """TinyImageNet with another tree."""
    return official.tiny(lambda tree: change(tree) and None)


def lying_zip() -> official.Made:
    """A list that says it is of 1 KiB, and unpacks to 64 MiB."""
    made = official.tiny()
    ((file, content),) = made.archives.items()
    buffer, name = io.BytesIO(), f"{TINY}/val/val_annotations.txt"
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in old.namelist():
            new.writestr(member, bytes(2**26) if member == name else old.read(member))
    long, short = struct.pack("<I", 2**26), struct.pack("<I", 2**10)
    return official.repin(made, {file: buffer.getvalue().replace(long, short)})


def locked_zip() -> official.Made:
    """All members say that they are encrypted."""
    made = official.tiny()
    ((file, content),) = made.archives.items()
    raw = bytearray(content)
    for mark, place in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        start = raw.find(mark)
        while start >= 0:
            raw[start + place] |= 1
            start = raw.find(mark, start + 4)
    return official.repin(made, {file: bytes(raw)})


def wide_jpeg(tree: dict[str, bytes]) -> None:
    """An image whose header says 65,000 times 65,000 pixels."""
    name = f"{TINY}/val/images/val_3.JPEG"
    raw = tree[name]
    start = raw.index(b"\xff\xc0")
    tree[name] = raw[: start + 5] + struct.pack(">HH", 65_000, 65_000) + raw[start + 9 :]


ZIPS: Mapping[str, tuple[Callable[[], official.Made], str]] = {
    "a name above the folder": (lambda: with_zip(("../x", b"x")), "points outside"),
    "a name that climbs": (lambda: with_zip((f"{TINY}/../../x", b"x")), "points outside"),
    "an absolute name": (lambda: with_zip((MARK, b"x")), "points outside"),
    "a name for Windows": (lambda: with_zip(("..\\x", b"x")), "points outside"),
    "a symbolic link": (
        lambda: with_zip((zip_info(f"{TINY}/l", stat.S_IFLNK | 0o777), b"/etc/passwd")), "a link",
    ),
    "a device": (lambda: with_zip((zip_info(f"{TINY}/d", stat.S_IFCHR), b"")), "a device"),
    "a member twice": (lambda: with_zip((f"{TINY}/wnids.txt", b"n1")), "is there twice"),
    "names that differ by case": (
        lambda: with_zip((f"{TINY}/WNIDS.txt", b"n1")), "is there twice",
    ),
    "a bomb: 64 MiB in 64 KiB": (lambda: with_zip((f"{TINY}/big", bytes(2**26))), "bytes, over"),
    "a bomb that says it is small": (lying_zip, "not readable"),
    "encrypted members": (locked_zip, "not readable"),
    "an image of 4 gigapixels": (lambda: official.tiny(wide_jpeg), "not a JPEG"),
    "an image that is none": (
        lambda: official.tiny(lambda t: t.update({f"{TINY}/val/images/val_3.JPEG": b"GIF89a"})),
        "JPEG",
    ),
    "a class that nobody named": (
        lambda: with_zip((f"{TINY}/train/n99/images/n99_0.JPEG", b"")), "wnids.txt lacks",
    ),
    "cut short": (
        lambda: official.repin(
            made := official.tiny(), {file: raw[:-50] for file, raw in made.archives.items()}
        ),
        "not readable",
    ),
}  # fmt: skip


def idx(change: Callable[[bytes], bytes], content: bool = True) -> official.Made:
    """Fashion-MNIST with other images; `content`: its pins are those of the hostile content."""
    made = official.fashion()
    file = "t10k-images-idx3-ubyte.gz"
    raw = change(gzip.decompress(made.archives[file]))
    packed = {**made.archives, file: gzip.compress(raw, 1)}
    pins = tuple(
        replace(pin, content=replace(pin.content, bytes=len(raw), sha256=sha(raw)))
        if content and pin.file == file and pin.content
        else pin
        for pin in made.facts.archives
    )
    return official.repin(replace(made, facts=replace(made.facts, archives=pins)), packed)


def sha(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def debian(change: Callable[[str, dict[str, bytes]], bytes]) -> official.Made:
    """Debian's package alone, made by `change` from the folder and the files in it."""
    made = official.with_debian(official.fashion())
    package = made.facts.debian
    assert package is not None
    files = {pin.file: made.archives[pin.file] for pin in made.facts.archives}
    raw = change(package.folder, files)
    pin = replace(package.archive, bytes=len(raw), sha256=sha(raw))
    facts = replace(made.facts, debian=replace(package, archive=pin))
    return official.Made(facts, {pin.file: raw})


def ar(data: bytes, name: str = "data.tar.xz", length: int | None = None) -> bytes:
    """A .deb with one member, which may say that it is of another length."""
    says = len(data) if length is None else length
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{says:<10}`\n"
    return b"!<arch>\n" + header.encode() + data


def greedy_xz() -> bytes:
    """An .xz whose dictionary is of 1.5 GiB."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0}]
    packed = bytearray(lzma.compress(bytes(2**10), filters=filters, check=lzma.CHECK_NONE))
    start = packed.index(b"\x21\x01")  # filter LZMA2, one byte of properties: the dictionary
    packed[start + 2] = 37
    head = 12  # the stream header
    length = (packed[head] + 1) * 4
    packed[head + length - 4 : head + length] = struct.pack(
        "<I", zlib.crc32(bytes(packed[head : head + length - 4]))
    )
    return bytes(packed)


OTHERS: Mapping[str, tuple[Callable[[], official.Made], str]] = {
    "a gzip bomb: 256 MiB": (
        lambda: idx(lambda raw: raw + bytes(2**28), content=False), "unpacks to",
    ),
    "an idx file of 2^96 images": (
        lambda: idx(lambda raw: raw[:4] + b"\xff" * 12 + raw[16:]), "expected (20, 28, 28)",
    ),
    "an idx file of 255 dimensions": (
        lambda: idx(lambda raw: raw[:3] + b"\xff" + raw[4:]), "expected (20, 28, 28)",
    ),
    "an idx file of objects": (lambda: idx(lambda raw: b"\0\0\x0e" + raw[3:]), "not an idx file"),
    "a package that climbs": (
        lambda: debian(lambda folder, files: official.deb(folder, {**files, "../../../x": b"x"})),
        "points outside",
    ),
    "a package that is none": (lambda: debian(lambda *_: b"<html>"), "not a Debian package"),
    "a package without data": (lambda: debian(lambda *_: b"!<arch>\n"), "no data.tar.xz"),
    "a package whose members lead back": (
        lambda: debian(lambda *_: ar(b"", "x", -60)), "a length of -60",
    ),
    "an xz bomb: 256 MiB": (
        lambda: debian(lambda *_: ar(lzma.compress(bytes(2**28), preset=0))), "unpacks to more",
    ),
    "an xz file that needs 1.5 GiB": (lambda: debian(lambda *_: ar(greedy_xz())), "not readable"),
}  # fmt: skip


# --- pickles -------------------------------------------------------------------------------------


def batch(raw: bytes) -> official.Made:
    """CIFAR-10 whose test batch is this pickle."""
    made = official.cifar("cifar10")
    members = dict(official.members(made.facts, made.expected))
    members[f"{CIFAR}/test_batch"] = raw
    (file,) = made.archives
    return official.repin(made, {file: gzip.compress(official.tar(list(members.items())))})


def nested(depth: int) -> bytes:
    """Lists in lists."""
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def array_of(shape: tuple[int, ...]) -> bytes:
    """An array that is made before its numbers are read."""
    import numpy as np

    made = pickle.dumps(np.zeros(1, np.uint8), protocol=2)
    assert b"K\x00\x85" in made
    size = b"\x8a\x06" + shape[0].to_bytes(6, "little")
    return made.replace(b"K\x00\x85", size + b"\x85", 1)


PICKLES: Mapping[str, tuple[bytes, str]] = {
    "os.system": (pickle.dumps({"data": Runs(os.system, f"touch {MARK}")}, 2), "is not allowed"),
    "open for writing": (pickle.dumps({"data": Runs(open, MARK, "w")}, 2), "is not allowed"),
    "eval": (b"c__builtin__\neval\n(S'open(\"%s\",\"w\")'\ntR." % MARK.encode(), "is not allowed"),
    "subprocess": (b"csubprocess\nPopen\n((S'touch'\nS'%s'\nltR." % MARK.encode(), "not allowed"),
    "numpy.load": (b"cnumpy\nload\n(S'/etc/passwd'\ntR.", "is not allowed"),
    "a function of a function": (
        b"cnumpy.core.multiarray\n_reconstruct.__globals__\n.", "is not allowed",
    ),
    "a module through another": (b"cnumpy\ncore.os.system\n(S'true'\ntR.", "is not allowed"),
    "bytes by a codec": (b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.", "is not allowed"),
    "an extension code": (b"\x80\x02\x82\x01.", "not a plain pickle"),
    "a persistent name": (b"Pevil\n.", "not a plain pickle"),
    "an instance by the old opcode": (b"(ios\nsystem\n.", "is not allowed"),
    "lists a hundred thousand deep": (nested(100_000), "no uint8 array"),
    "text of 4 GiB that is not there": (b"\x80\x02X\xff\xff\xff\xff", "not a plain pickle"),
    "a number of 2 GiB that is not there": (b"\x80\x02\x8b\xff\xff\xff\x7f", "not a plain pickle"),
    "a memo of 4 billion places": (b"\x80\x02Nr\xff\xff\xff\xff.", "not a plain pickle"),
    "an array of 256 TiB": (array_of((2**48 - 1,)), "not a plain pickle"),
}  # fmt: skip


# --- checkpoints ---------------------------------------------------------------------------------

SHAPES = {"conv1.weight": (3, 1, 2, 2), "bn1.weight": (3,)}


def weights(make: Callable[[], bytes], folder: Path) -> None:
    """Fetch weights whose file is this one."""
    raw = make()
    tracemalloc.reset_peak()
    path = folder / "weights.pth"
    path.write_bytes(raw)
    facts = WeightsFacts("hostile", "Small weights", path.name, 60, (), SHAPES)
    with ExitStack() as stack:
        stack.enter_context(patch.dict(WEIGHTS, {"hostile": facts}))
        stack.enter_context(patch.dict(os.environ, {"RECLAIM_MIRROR": str(path)}))
        stack.enter_context(patch("reclaim.learning.data.weights.MOST", 2**20))
        fetch_weights("hostile", folder / "target", folder / "target/lock.json")


def packed(content: object, legacy: bool = False) -> bytes:
    """A checkpoint of PyTorch."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def sound() -> dict[str, Any]:
    return {name: torch.ones(shape) for name, shape in SHAPES.items()}


def more_in_zip(*members: tuple[str, bytes]) -> bytes:
    """A sound checkpoint with more in it."""
    buffer = io.BytesIO(packed(sound()))
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.writestr(*member)
    return buffer.getvalue()


CHECKPOINTS: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "os.system": (
        lambda: packed(sound() | {"bn1.weight": Runs(os.system, f"touch {MARK}")}), "not allowed",
    ),
    "os.system, as before PyTorch 1.6": (
        lambda: packed(sound() | {"bn1.weight": Runs(os.system, f"touch {MARK}")}, legacy=True),
        "not allowed",
    ),
    "a model with code of its own": (lambda: packed(torch.nn.Linear(2, 2)), "not allowed"),
    "a pickle before the checkpoint": (
        lambda: pickle.dumps(Runs(os.system, f"touch {MARK}"), 2) + packed(sound(), legacy=True),
        "not allowed",
    ),
    "a name above the folder": (lambda: more_in_zip(("../x", b"x")), "points outside"),
    "a bomb: 256 MiB": (lambda: more_in_zip(("archive/data/9", bytes(2**28))), "over"),
    "two tables of tensors": (lambda: more_in_zip(("b/data.pkl", b"N.")), "2 tables"),
    "an unknown tensor": (lambda: packed(sound() | {"fc": torch.ones(2)}), "unexpected tensor"),
    "a tensor of 2^60 numbers": (
        lambda: packed(sound() | {"bn1.weight": torch.ones(1).expand(2**60)}), "expected (",
    ),
    "no checkpoint at all": (lambda: b"<html>" * 99, "not a plain checkpoint"),
}  # fmt: skip


def own_checkpoint(folder: Path) -> None:
    """A run's own checkpoint, with a right checksum, that runs code."""
    body = io.BytesIO()
    torch.save({"key": "k" * 64, "epoch": Runs(os.system, f"touch {MARK}")}, body)
    (folder / "target").mkdir()
    digest = hashlib.sha256(body.getvalue()).digest()
    (folder / f"target/{'k' * 16}-000000000001.pt").write_bytes(digest + body.getvalue())
    if (
        Checkpoints(folder / "target", "k" * 64, "cpu in float32").newest(torch.device("cpu"))
        is None
    ):
        raise ReclaimError("passed over")


# --- text ----------------------------------------------------------------------------------------


def paper(file: str, change: Callable[[str], str], folder: Path) -> None:
    """Load a copy of a real paper of which a file was changed."""
    shutil.copytree("workflow/claims/liu2024", folder / "claims/liu2024")
    path = folder / "claims/liu2024" / file
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    tracemalloc.reset_peak()
    load_papers(folder / "claims")


@cache
def first_table() -> str:
    """The name of some table of the paper, without its ending."""
    return min(Path("workflow/claims/liu2024/tables").glob("*.yaml")).stem


def in_yaml(text: str) -> Callable[[Path], object]:
    """A paper whose first file ends with this text."""
    return partial(paper, "paper.yaml", lambda old: f"{old}\n{text}\n")


def in_csv(cell: str) -> Callable[[Path], object]:
    """A paper with this cell in a table."""

    def run(folder: Path) -> None:
        def change(old: str) -> str:
            lines = old.splitlines()
            lines[1] = ",".join([*lines[1].split(",")[:-1], cell])
            return "\n".join(lines)

        paper(f"tables/{first_table()}.csv", change, folder)

    return run


def scale(text: str, folder: Path) -> None:
    """Load a scale whose file ends with this text."""
    (folder / "target").mkdir()
    whole = Path("workflow/scales/digits.yaml").read_text(encoding="utf-8")
    with chdir(folder / "target"):
        Path("workflow/scales").mkdir(parents=True)
        Path("workflow/scales/digits.yaml").write_text(f"{whole}\n{text}\n", encoding="utf-8")
        load_scale("digits")


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(9)
)
YAMLS: Mapping[str, tuple[str, str]] = {
    "a tag that runs code": (f"note: !!python/object/apply:os.system ['touch {MARK}']", "the tag"),
    "a tag that makes an object": ("note: !!python/name:os.system", "the tag"),
    "a tag of its own": ("note: !evil x", "the tag"),
    "a billion laughs": (BOMB, "an anchor or alias"),
    "an alias of itself": ("a: &a [*a]", "an anchor or alias"),
    "a merge": ("<<: {title: x}", "unknown key '<<'"),
    "a hundred thousand levels": ("a: " + "[" * 100_000, "nested too deeply"),
    "two megabytes": ("a: " + "x" * 2**21, "expected at most"),
    "a key twice": ("title: x", "duplicate"),
}
CSVS: Mapping[str, tuple[str, str]] = {
    "a formula": ("=1+1", "expected"),
    "a formula that starts a program": ("=cmd|' /C calc'!A0", "expected"),
    "a formula by +": ("+SUM(1)", "expected"),
    "a formula by -": ("-SUM(1)", "expected"),
    "a formula by @": ("@SUM(1)", "expected"),
    "a formula behind a tab": ("\t=1+1", "expected"),
    "a zero byte": ("1\0", "expected"),
    "not a number": ("nan", "expected"),
}


# --- settings ------------------------------------------------------------------------------------

ENGINES = {
    "Snakemake": ("snakemake", "--cores", "1", "-n"),
    "DVC": ("dvc", "repro", "resolve", "data"),
}
MOST_OF_ENGINE = {resource.RLIMIT_AS: 3 * 2**30, resource.RLIMIT_CPU: 60}  # or it is killed


def settings(engine: str, change: Callable[[str], str], folder: Path) -> None:
    """Start an engine, as a process, in a project whose params.yaml somebody changed."""
    project = folder / "target"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    for name in ("Snakefile", "dvc.yaml"):
        shutil.copy(name, project)
    for name in ("workflow", "src", "envs"):
        (project / name).symlink_to(Path(name).resolve())
    (project / "profiles").symlink_to("workflow/profiles")
    text = change(Path("params.yaml").read_text(encoding="utf-8"))
    (project / "params.yaml").write_text(text, encoding="utf-8")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with subprocess.Popen(
        ENGINES[engine], cwd=project, env=os.environ | {"PATH": path}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as started:  # fmt: skip
        for limit, most in MOST_OF_ENGINE.items():
            resource.prlimit(started.pid, limit, (most, most))
        said, _ = started.communicate()
    raise ReclaimError(" ".join(said.split()) if started.returncode > 0 else "ACCEPTED")


def put(old: str, new: str) -> Callable[[str], str]:
    """What puts another setting into the place of one that is there."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


def add(text: str) -> Callable[[str], str]:
    """What adds a setting."""
    return lambda old: f"{old}\n{text}\n"


SCALE, RECIPE, JOBS = "scale: digits", "  simclr: {}", "jobs: 2"
DATA, FLAGS = "dataset: digits", "flags: {sweeps: false}"
CLIMBING, SHELL = put(SCALE, "scale: ../../x"), f"digits; touch {MARK}"
PARAMS: Mapping[str, Mapping[str, tuple[Callable[[str], str], str]]] = {
    "Snakemake": {
        **{name: (add(text), words) for name, (text, words) in YAMLS.items() if name != "a merge"},
        "a key twice": (add(SCALE), "duplicate"),
        "a scale that climbs": (CLIMBING, "does not match"),
        "a scale with a command": (put(SCALE, f"scale: '{SHELL}'"), "does not match"),
        "a scale of 5,000 letters": (put(SCALE, f"scale: {'x' * 5000}"), "does not match"),
        "a scale that is a list": (put(SCALE, "scale: [digits]"), "is not of type 'string'"),
        "a recipe that climbs": (put(RECIPE, "  ../../x: {}"), "does not match"),
        "a recipe with a command": (put(RECIPE, f"  '$(touch {MARK})': {{}}"), "does not match"),
        "a million processes": (put(JOBS, "jobs: 1000000"), "greater than the maximum"),
        "half a process": (put(JOBS, "jobs: 0.5"), "is not of type 'integer'"),
        "an option that nobody has": (add("sweep: true"), "'sweep' was unexpected"),
    },
    "DVC": {
        "a tag that runs code": (add(YAMLS["a tag that runs code"][0]), "tag"),
        "a key twice": (add(SCALE), "duplicate"),
        "a scale that climbs": (CLIMBING, "does not match"),
        "a scale with a command": (put(SCALE, f"scale: '{SHELL}'"), "does not match"),
        "a data set with a command": (put(DATA, f"dataset: '{SHELL}'"), "does not match"),
        "a number with a command": (put(JOBS, f"jobs: '{SHELL}'"), "is not of type 'integer'"),
        "a flag with a command": (put(FLAGS, f"flags: {{'{SHELL}': true}}"), "was unexpected"),
        "a recipe that climbs": (put(RECIPE, "  ../../x: {}"), "is specified in"),
        "a recipe with a command": (put(RECIPE, f"  '$(touch {MARK})': {{}}"), "does not match"),
    },
}  # fmt: skip


# --- names ---------------------------------------------------------------------------------------

SLY = ("../../x", "/etc/passwd", "..", "a/../../x", "x\0y", "x\ny", "~root", "$HOME", "x" * 5000)


def verb(*words: str) -> Callable[[Path], object]:
    """A verb in a project folder, with hostile words; its error is raised."""

    def run(folder: Path) -> None:
        project = folder / "target"
        project.mkdir()
        (project / "workflow").symlink_to(Path("workflow").resolve())
        with chdir(project):
            done = CliRunner().invoke(cli.app, list(words))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        raise ReclaimError(done.output if done.exit_code else "ACCEPTED")

    return run


def sly_plan(change: Callable[[dict[str, Any]], object], folder: Path) -> None:
    """Ask for the job of a plan's first run, of which somebody changed the plan."""
    made = json.loads(Path("workflow/plans/digits.json").read_text(encoding="utf-8"))
    del made[SEAL]  # a stranger can write one too
    change(made)
    (folder / "plan.json").write_text(json.dumps(made), encoding="utf-8")
    plan = read(folder / "plan.json", Plan, "run `reclaim plan`")
    jobs.job_of(plan, plan.runs[0])


def sly_result(field: str, value: str, folder: Path) -> None:
    """Gather an evaluation that says it is another's."""
    source = min(Path("results/reference/digits/evaluations/simclr").glob("*/linear"))
    place = folder / "target/digits/evaluations/simclr" / source.parent.name
    shutil.copytree(source, place / "linear")
    path = place / "linear/metrics.json"
    made = read(path, EvaluationManifest, "").model_dump(mode="json") | {field: value}
    path.write_text(json.dumps(made), encoding="utf-8")
    measurements.gather("digits", folder / "target")


def shipped(ship: Callable[[Path], object], folder: Path) -> None:
    """Recertify results in which a stranger changed the first run and its kNN."""
    recertify = runpy.run_path("workflow/recertify.py")["recertify"]
    target = folder / "target"
    target.mkdir()
    with chdir(target):
        results = made_results.write_results(target)
        ship(results)
        importlib.import_module("reclaim.learning.witness")
        tracemalloc.clear_traces()  # what modules and these results take does not count
        tracemalloc.reset_peak()
        if not any(recertify(made_results.SCALE, results, results / "recertify", device="cpu")):
            raise ReclaimError("nothing is carried")


VICTIM = made_results.RUNS[0]
DEEP = f"{VICTIM.id}/a/b/c/d/e"  # a name from below which a way out of all is one back into results
WAY_OUT = "../" * 7 + "x"  # to beside the target, from where an evaluation of the victim lies


def forged(path: Path, **changes: Any) -> str:
    """Change a manifest as who made it could; returns its hash."""
    made = json.loads(path.read_bytes()) | changes
    made.pop(SEAL, None)
    path.write_text(json.dumps(made), encoding="utf-8")
    return content_hash(made)


def sly_evaluation(results: Path, place: str, run: str, run_manifest: str, *files: str) -> None:
    """Put the kNN of the victim below another place, as one of another run, with more files."""
    job = jobs.job_of(made_results.PLAN, VICTIM).evaluate.model_copy(update={"id": run})
    old, new = (results / f"evaluations/simclr/{name}/knn" for name in (VICTIM.id, place))
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)
    for name in files:
        (new / name).write_text("got out", encoding="utf-8")
    forged(
        new / "metrics.json", run=run, job=jobs.protocol_hash(job, "knn"),
        run_manifest=run_manifest, files={name: stamp(new / name).model_dump() for name in files},
    )  # fmt: skip


def sly_id(results: Path) -> None:
    """The run says that it is one far below itself: a copy of what measured it gets out."""
    hashed = forged(results / f"runs/simclr/{VICTIM.id}/run.json", id=DEEP)
    sly_evaluation(results, DEEP, DEEP, hashed, WAY_OUT)


def sly_certificate(results: Path) -> None:
    """A certificate says that the run was one far below itself."""
    place = results / f"runs/simclr/{VICTIM.id}"
    said = json.loads((place / "config.json").read_bytes())
    path = place / "certificate-0.json"
    said = {"job": said, "carried": "0", "carried_id": DEEP}
    path.write_text(json.dumps(said), encoding="utf-8")
    stamps = json.loads((place / "run.json").read_bytes())["files"]
    hashed = forged(place / "run.json", files=stamps | {path.name: stamp(path).model_dump()})
    sly_evaluation(results, DEEP, VICTIM.id, hashed, WAY_OUT)


def sly_lock(results: Path) -> None:
    """An evaluation says that it is of a run whose lock lies beside the target."""
    made = read(results / f"runs/simclr/{VICTIM.id}/run.json", RunManifest, "")
    sly_evaluation(results, VICTIM.id, "../" * 4 + "x", content_hash(made))


SHIPPED: Mapping[str, Callable[[Path], object]] = {
    "a run's id": sly_id,
    "an id in a certificate": sly_certificate,
    "an evaluation's run": sly_lock,
}


def names() -> Iterator[Attack]:
    """Path tricks in everything that names a file."""
    for sly in SLY:
        shown = repr(sly if len(sly) < 30 else f"{sly[0]}*{len(sly)}")
        kind = "path tricks in names"
        yield Attack(kind, f"run {shown}", verb("pretrain", sly), "unknown run")
        yield Attack(kind, f"data set {shown}", verb("fetch", "data", sly), "is not known")
    for sly in SLY[:4]:
        yield Attack(kind, f"weights {sly!r}", verb("fetch", "weights", sly), "are not known")
        yield Attack(kind, f"scale {sly!r}", verb("gather", "--scale", sly), "unknown scale")
        yield Attack(
            kind,
            f"recipe {sly!r}",
            verb("evaluate", "--recipe", sly),
            "no recipe",
        )
        yield Attack(
            kind,
            f"id of a plan's run {sly!r}",
            partial(sly_plan, lambda plan, sly=sly: plan["runs"][0].update(id=sly)),
            "no plain name",
        )
        yield Attack(
            kind,
            f"start of a plan's run {sly!r}",
            partial(sly_plan, lambda plan, sly=sly: plan["runs"][0].update(init=sly)),
            "no plain name",
        )
        yield Attack(
            kind, f"run of an evaluation {sly!r}", partial(sly_result, "run", sly), "no plain name",
        )  # fmt: skip
    for name, ship in SHIPPED.items():
        yield Attack(kind, f"{name}, recertified", partial(shipped, ship), "nothing is carried")


# --- the corpus ----------------------------------------------------------------------------------


def corpus() -> Iterator[Attack]:
    """Every attack."""
    for kind, archives in (("tar", TARS), ("zip", ZIPS), ("gz, idx, deb, xz", OTHERS)):
        for name, (make, words) in archives.items():
            yield Attack(kind, name, partial(fetch, make), words)
    for name, (raw, words) in PICKLES.items():
        yield Attack("pickle", name, partial(fetch, partial(batch, raw)), words)
    for name, (body, words) in CHECKPOINTS.items():
        yield Attack("checkpoint", name, partial(weights, body), words)
    yield Attack("checkpoint", "a run's own that runs code", own_checkpoint, "passed over")
    for name, (text, words) in YAMLS.items():
        yield Attack("YAML", f"claims: {name}", in_yaml(text), words)
        words = words.replace("unknown key '<<'", "<<").replace("duplicate", "title")
        yield Attack("YAML", f"scale: {name}", partial(scale, text), words)
    for name, (cell, words) in CSVS.items():
        yield Attack("CSV", name, in_csv(cell), words)
    yield from names()


def engines() -> Iterator[Attack]:
    """Every attack on the settings of both engines: a process each."""
    for engine, attacks in PARAMS.items():
        for name, (change, words) in attacks.items():
            yield Attack(f"params.yaml, {engine}", name, partial(settings, engine, change), words)


def tried(attack: Attack, folder: Path) -> Result:
    """Try an attack in a folder and look at what it did."""
    mark = Path(MARK)
    mark.unlink(missing_ok=True)
    target = folder / "inner/target"
    (folder / "inner").mkdir()
    (folder / "beside").write_text("beside")
    message = "ACCEPTED"
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attack.run(folder / "inner")
    except ReclaimError as error:
        message = str(error).strip()
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    given = {"mirror", "target", "weights.pth", "claims", "plan.json"}
    outside = [path.name for path in (folder / "inner").iterdir() if path.name not in given]
    outside += [path.name for path in folder.iterdir() if path.name not in ("inner", "beside")]
    outside += [str(mark)] if mark.exists() else []
    disk = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    return Result(message, outside, peak, disk)


def main() -> None:
    """Try all attacks and print how many of each kind were repelled."""
    logging.disable()
    rows: dict[str, list[Result]] = {}
    failed = []
    for attack in chain(corpus(), engines()):
        with tempfile.TemporaryDirectory() as scratch:
            result = tried(attack, Path(scratch))
        rows.setdefault(attack.kind, []).append(result)
        if not result.repelled(attack):
            failed.append(f"{attack.kind}: {attack.name}: {result}"[:300])
    print("| input | attacks | most memory, MiB | most disk, MiB |\n|---|---|---|---|")
    for kind, results in rows.items():
        memory, disk = (max(getattr(r, name) for r in results) for name in ("memory", "disk"))
        print(f"| {kind} | {len(results)} | {memory / 2**20:.1f} | {disk / 2**20:.2f} |")
    print(f"\n{sum(map(len, rows.values()))} attacks, {len(failed)} not repelled")
    print("\n".join(failed))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
