"""Archives, pickles and checkpoints, read without trust: nothing is unpacked to disk or run."""

from __future__ import annotations

import io
import lzma
import pickle
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path, PurePosixPath
from typing import IO, Any

import numpy as np

from reclaim.records import ReclaimError

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,
)
"""What the standard readers raise on a broken archive (zipfile: RuntimeError, if encrypted)."""

UNPICKLABLE = (pickle.UnpicklingError, TypeError, AttributeError, ArithmeticError, MemoryError)
"""What else a broken pickle may raise."""


def fault(where: str, what: str) -> ReclaimError:
    """The error for an archive whose pins hold and whose content is wrong all the same."""
    line = " ".join(what.split())  # the readers' own words may be several
    return ReclaimError(
        f"{where}: {line}; nothing was stored, take the archive from its official site"
    )


# --- members of an archive -----------------------------------------------------------------------


def check_name(where: str, name: str, seen: set[str]) -> None:
    """Refuse a name that leaves the archive's folder or comes twice, on whatever file system."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise fault(where, f"member {name!r} points outside the archive")
    key = unicodedata.normalize("NFKC", str(path)).casefold()
    if key in seen:
        raise fault(where, f"member {name!r} is there twice")
    seen.add(key)


MEMBERS = 8
"""How many members of the greatest size a tar may hold in all."""

XZ_MEMORY = 2**27
"""Bytes that unpacking may need beside its result; a dictionary may ask for 4 GiB."""


@dataclass(frozen=True)
class Bounded:
    """A stream that is never asked for more than `limit` bytes: the headers of a tar ask too."""

    stream: IO[bytes] | GzipFile
    limit: int

    def read(self, size: int = -1) -> bytes:
        """So many bytes. Raises ValueError for too many."""
        if not 0 <= size <= self.limit:
            raise ValueError(f"asks for {size} bytes at once, over {self.limit}")
        return self.stream.read(size)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        return self.stream.seek(place, whence)

    def tell(self) -> int:
        """The place."""
        return self.stream.tell()


@contextmanager
def open_tar(stream: IO[bytes] | GzipFile, limit: int) -> Iterator[tarfile.TarFile]:
    """An open tar of which no part is over `limit` bytes."""
    bounded: Any = Bounded(stream, limit)
    with tarfile.open(fileobj=bounded, mode="r:") as tar:
        yield tar


def tar_members(tar: tarfile.TarFile, where: str, limit: int) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files of a tar, with their names, each of at most `limit` bytes."""
    seen: set[str] = set()
    total = 0
    for member in tar:
        check_name(where, member.name, seen)
        if not (member.isreg() or member.isdir()):
            raise fault(where, f"member {member.name!r} is a link or a device")
        total += member.size
        if member.size > limit or total > MEMBERS * limit:
            raise fault(
                where,
                f"member {member.name!r} has {member.size} bytes, over {limit}, or all of them "
                f"have {total}, over {MEMBERS * limit}",
            )
        if member.isdir():
            continue
        stream = tar.extractfile(member)
        if stream is not None:
            yield str(PurePosixPath(member.name)), stream


def pick(tar: tarfile.TarFile, where: str, wanted: list[str], limit: int) -> dict[str, bytes]:
    """The content of the wanted members of a tar, every member of which is checked."""
    found = {
        name: stream.read() for name, stream in tar_members(tar, where, limit) if name in wanted
    }
    for name in wanted:
        if name not in found:
            raise fault(where, f"member {name!r} is missing")
    return found


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """An open zip; whatever the readers of it raise becomes a ReclaimError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except UNREADABLE as error:
        raise fault(path.name, f"not readable ({error})") from error


def zip_names(archive: zipfile.ZipFile, where: str, limit: int) -> list[str]:
    """The names of the regular files of a zip, each of at most `limit` bytes."""
    seen: set[str] = set()
    names = []
    for member in archive.infolist():
        check_name(where, member.filename, seen)
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise fault(where, f"member {member.filename!r} is a link or a device")
        if member.file_size > limit:
            raise fault(
                where, f"member {member.filename!r} has {member.file_size} bytes, over {limit}"
            )
        if not member.is_dir():
            names.append(member.filename)
    return names


def zip_content(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member of a zip. One that unpacks to more than it says is a fault before it is unpacked."""
    with archive.open(name) as file:  # `archive.read` unpacks first, and then cuts
        return file.read(archive.getinfo(name).file_size)


def debian_members(path: Path, folder: str, wanted: list[str], limit: int) -> dict[str, bytes]:
    """The wanted files of one folder of a .deb: an `ar` archive that holds `data.tar.xz`."""
    with path.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise fault(path.name, "not a Debian package")
        while header := file.read(60):
            name, size = header[:16].strip().rstrip(b"/").decode("latin1"), int(header[48:58])
            if size < 0:
                raise fault(path.name, f"member {name!r} has a length of {size}")
            if name == "data.tar.xz":
                break
            file.seek(size + size % 2, io.SEEK_CUR)
        else:
            raise fault(path.name, "no data.tar.xz in the package")
        content = unpack_xz(path.name, file.read(size), MEMBERS * limit)
        with open_tar(io.BytesIO(content), limit) as tar:
            paths = {f"{folder}/{name}": name for name in wanted}
            found = pick(tar, path.name, list(paths), limit)
    return {paths[name]: content for name, content in found.items()}


def unpack_xz(where: str, packed: bytes, limit: int) -> bytes:
    """The content of an .xz, in bounded memory. Raises ReclaimError if it is cut or too long."""
    reader = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
    content = reader.decompress(packed, max_length=limit)
    if not reader.eof:
        raise fault(where, f"is cut short or unpacks to more than {limit} bytes")
    return content


# --- pickles -------------------------------------------------------------------------------------


def encode_latin1(text: str, codec: str) -> bytes:
    """Stands for `_codecs.encode`, with which Python 3 writes bytes in an old pickle."""
    if codec != "latin1":
        raise pickle.UnpicklingError(f"codec {codec!r} is not allowed")
    return text.encode("latin1")


class ArrayUnpickler(pickle.Unpickler):
    """Reads containers, text, numbers and numpy arrays; refuses every other class or function."""

    ALLOWED: Mapping[tuple[str, str], Any] = {
        # What numpy itself names when it writes an array, whichever its version.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): encode_latin1,
    }

    def find_class(self, module: str, name: str) -> Any:
        """What a name in a pickle stands for. Raises UnpicklingError if it is not allowed."""
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file") from None


def unpickle(where: str, raw: bytes) -> Any:
    """A pickle of plain values and arrays; anything else is refused and never run.

    Raises ReclaimError.
    """
    try:
        return ArrayUnpickler(io.BytesIO(raw), encoding="latin1").load()
    except (*UNREADABLE, *UNPICKLABLE) as error:
        raise fault(where, f"not a plain pickle ({error})") from error


# --- checkpoints ---------------------------------------------------------------------------------

Outline = tuple[str, tuple[int, ...]]
"""The type and the shape of a tensor, whose numbers are not read."""

STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
}  # fmt: skip
LEGACY_PARTS = 4
"""A checkpoint of PyTorch before 1.6: magic number, version, machine, content; then the numbers."""


def outline_tensor(kind: str, offset: int, size: tuple[int, ...], *_: object) -> Outline:
    """Stands for `torch._utils._rebuild_tensor_v2`."""
    return kind, tuple(size)


class OutlineUnpickler(pickle.Unpickler):
    """Reads containers, text, numbers and the outlines of tensors; refuses everything else."""

    ALLOWED: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): outline_tensor,
        **{("torch", name): kind for name, kind in STORAGES.items()},
    }

    def find_class(self, module: str, name: str) -> Any:
        """What a name in a pickle stands for. Raises UnpicklingError if it is not allowed."""
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in weights") from None

    def persistent_load(self, pid: Any) -> Any:
        """The type of a storage: ('storage', type, key, device, length)."""
        return pid[1]


def checkpoint_outline(path: Path, limit: int) -> dict[str, Outline]:
    """Type and shape of the tensors of a PyTorch checkpoint by name, of at most `limit` bytes.

    Raises ReclaimError if it is none, or holds anything else.
    """
    with path.open("rb") as file:
        packed = file.read(4) == b"PK\3\4"
    content = _zipped_outline(path, limit) if packed else _legacy_outline(path)
    if not isinstance(content, dict) or not content:
        raise fault(path.name, "no table of tensors")
    for name, value in content.items():
        if not isinstance(name, str) or not _is_outline(value):
            raise fault(path.name, f"holds {name!r}, which is no tensor")
    return dict(content)


def _is_outline(value: object) -> bool:
    match value:
        case (str(kind), tuple(shape)):
            return kind in STORAGES.values() and all(type(size) is int for size in shape)
    return False


def _zipped_outline(path: Path, limit: int) -> Any:
    with open_zip(path) as archive:
        names = [n for n in zip_names(archive, path.name, limit) if n.endswith("/data.pkl")]
        if len(names) != 1 or sum(member.file_size for member in archive.infolist()) > limit:
            raise fault(path.name, f"{len(names)} tables of tensors, or over {limit} bytes")
        raw = zip_content(archive, names[0])
    return outline(path.name, io.BytesIO(raw), 1)


def _legacy_outline(path: Path) -> Any:
    with path.open("rb") as file:
        return outline(path.name, file, LEGACY_PARTS)


def outline(where: str, file: IO[bytes], parts: int) -> Any:
    """The last of so many pickles in a row, with outlines for tensors. Raises ReclaimError."""
    try:
        for _ in range(parts):
            content = OutlineUnpickler(file, encoding="utf-8").load()
    except (*UNREADABLE, *UNPICKLABLE) as error:
        raise fault(where, f"not a plain checkpoint ({error})") from error
    return content
