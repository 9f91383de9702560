"""Getting an image set: from a folder or site of one's own, the official sites, or Debian.

Nothing is read before its size and hash were checked against the pins in `registry.datasets`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import requests
from filelock import FileLock
from rich.console import Console
from rich.progress import DownloadColumn, Progress
from urllib3.exceptions import HTTPError

from reclaim.learning.data import formats, synthetic
from reclaim.learning.data.store import ROOT, store, stored
from reclaim.records import ReclaimError, write_bytes
from reclaim.registry.datasets import Archive, DatasetFacts, DebianPackage, dataset

MIRROR = "RECLAIM_MIRROR"
CONNECT_SECONDS, READ_SECONDS, APT_SECONDS = 10, 30, 300
CHUNK = 2**20

log = logging.getLogger(__name__)


def fetch_data(name: str, root: Path = ROOT) -> Path:
    """Get an image set and store it under `root`; returns its manifest.

    One that is stored whole is left alone. Archives are kept in `root/archives`, a download that
    was cut is continued, and several processes that ask at once make one download. Raises
    ReclaimError for an unknown name, when no source has the true archives, or no space is left.
    """
    facts = dataset(name)
    if done := stored(facts, root):
        return done
    with alone_in(root, name, f"reclaim fetch data {name}") as archives:
        return stored(facts, root) or store(
            facts, formats.read(facts, obtain(facts, archives)), root
        )


@contextmanager
def alone_in(root: Path, name: str, command: str) -> Iterator[Path]:
    """The folder of archives, for one process at a time; a full disk is a message for people."""
    try:
        archives = root / "archives"
        archives.mkdir(parents=True, exist_ok=True)
        with FileLock(archives / f"{name}.lock"):  # freed by the system when its holder dies
            yield archives
    except OSError as error:
        raise ReclaimError(
            f"{error.filename or root}: {error.strerror or error}; free some space or mend the "
            f"permissions and run `{command}` again: a part that was downloaded is continued"
        ) from error


# --- which files, from where ---------------------------------------------------------------------


class Unavailable(Exception):
    """A source does not have an archive, or not the true one."""


class Unreachable(Unavailable):
    """A source that answers nothing, so that asking it for the other archives is no use."""


class Source(Protocol):
    """A place that may have an archive."""

    def get(self, archive: Archive) -> Path:
        """A file with the pinned content. Raises Unavailable."""
        ...


def obtain(facts: DatasetFacts, archives: Path) -> dict[str, Path]:
    """Verified files that hold the whole data set, by the name of the archive.

    Raises ReclaimError, with every source that was tried and what it lacked.
    """
    have: dict[str, Path] = {}
    tried: list[str] = []
    for label, source, offered in sources(facts, archives):
        for archive in offered:
            if archive.file in have or whole(facts, have):
                continue
            try:
                have[archive.file] = source.get(archive)
                log.info("%s: %s from %s", facts.name, archive.file, label)
            except Unavailable as reason:
                tried.append(f"{label}: {reason}")
                log.warning("%s: %s", facts.name, tried[-1])
                if isinstance(reason, Unreachable):
                    break
    if whole(facts, have):
        return have
    raise ReclaimError(
        f"{facts.name}: no source has the true archives: {'; '.join(tried)}. Put "
        f"{', '.join(archive.file for archive in facts.archives)} into a folder and set "
        f"{MIRROR}=FOLDER, or mend the network; then run `reclaim fetch data {facts.name}` again"
    )


def ways(facts: DatasetFacts) -> list[tuple[Archive, ...]]:
    """The sets of archives of which each is the whole data set."""
    return [facts.archives, *([(facts.debian.archive,)] if facts.debian else [])]


def whole(facts: DatasetFacts, have: Mapping[str, Path]) -> bool:
    """Whether the files at hand are the whole data set."""
    return any(all(archive.file in have for archive in way) for way in ways(facts))


def sources(facts: DatasetFacts, archives: Path) -> Iterator[tuple[str, Source, Iterable[Archive]]]:
    """The sources in the order in which they are tried, with the archives to ask each for."""
    every = [archive for way in ways(facts) for archive in way]
    kept = [archive for archive in every if (archives / archive.file).is_file()]
    yield str(archives), Folder(archives, own=True), kept
    if facts.stands_for:
        yield "built here", Built(facts, archives), facts.archives
    for label, source in mirrors(archives):
        yield label, source, every
    for address in facts.sites:
        yield address, Site(address, archives), facts.archives
    if facts.debian:
        yield "Debian", Apt(facts.debian, archives), [facts.debian.archive]


def mirrors(archives: Path) -> Iterator[tuple[str, Folder | Site]]:
    """The folder or site of one's own, if one is named."""
    if mirror := os.environ.get(MIRROR):
        yield mirror, Site(mirror, archives) if "://" in mirror else Folder(Path(mirror))


def verify(path: Path, archive: Archive) -> str | None:
    """What is wrong with a file, or None if its size and hash, if there is one, are as pinned."""
    size = path.stat().st_size
    if size != archive.bytes:
        return f"{archive.file} has {size} bytes, expected {archive.bytes}"
    kind, expected = ("sha256", archive.sha256) if archive.sha256 else ("md5", archive.md5)
    if expected is None:
        return None
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    return None if found == expected else f"{archive.file} has {kind} {found}, expected {expected}"


def keep(path: Path, archive: Archive, folder: Path) -> Path:
    """Move a verified file into the folder of archives; throw a wrong one away."""
    if wrong := verify(path, archive):
        path.unlink()
        raise Unavailable(wrong)
    return path.replace(folder / archive.file)


@dataclass(frozen=True)
class Folder:
    """A folder with archives, read in place; a wrong one is thrown away where it is our `own`."""

    folder: Path
    own: bool = False

    def get(self, archive: Archive) -> Path:
        """The file where it lies. Raises Unavailable."""
        path = self.folder / archive.file
        if not path.is_file():
            raise Unavailable(f"{archive.file} is not there")
        if wrong := verify(path, archive):
            if self.own:
                path.unlink()
            raise Unavailable(wrong)
        return path

    def size_of(self, file: str) -> int:
        """How many bytes a file has. Raises Unavailable."""
        path = self.folder / file
        if not path.is_file():
            raise Unavailable(f"{file} is not there")
        return path.stat().st_size


@dataclass(frozen=True)
class Built:
    """A rehearsal's archive, made here."""

    facts: DatasetFacts
    archives: Path

    def get(self, archive: Archive) -> Path:
        """The file, written into the archives. Raises Unavailable."""
        part = self.archives / f"{archive.file}.part"
        write_bytes(part, synthetic.build(self.facts))
        return keep(part, archive, self.archives)


@dataclass(frozen=True)
class Apt:
    """Debian's registry: the package is downloaded, never installed."""

    debian: DebianPackage
    archives: Path

    def get(self, archive: Archive) -> Path:
        """The package, moved into the archives. Raises Unavailable."""
        wanted = f"{self.debian.package}={self.debian.version}"
        with tempfile.TemporaryDirectory(dir=self.archives) as temporary:
            try:
                done = subprocess.run(
                    ["apt-get", "download", wanted],
                    cwd=temporary, capture_output=True, text=True, timeout=APT_SECONDS,
                )  # fmt: skip
            except FileNotFoundError:
                raise Unavailable("this machine has no apt-get") from None
            except subprocess.TimeoutExpired:
                raise Unavailable(f"apt-get took over {APT_SECONDS} s") from None
            for path in Path(temporary).glob("*.deb"):
                return keep(path, archive, self.archives)
        complaint = next((line for line in done.stderr.splitlines() if line[:2] == "E:"), "")
        raise Unavailable(
            f"`apt-get download {wanted}` failed ({complaint}); `apt-get update`, as root, may "
            "mend it"
        )


# --- a site --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """An address that serves archives under their names. A cut download is continued."""

    address: str
    archives: Path

    def get(self, archive: Archive) -> Path:
        """The file, loaded into the archives. Raises Unavailable."""
        part = self.archives / f"{archive.file}.part"
        continued = size(part) > 0
        self.transfer(archive, part)
        if continued and verify(part, archive):  # the earlier piece may be of another file
            part.unlink()
            self.transfer(archive, part)
        return keep(part, archive, self.archives)

    def size_of(self, file: str) -> int:
        """How many bytes a file has, as the site says. Raises Unavailable."""
        try:
            with self.ask(file, {}) as response:
                length = response.headers.get("Content-Length", "")
        except requests.RequestException as error:
            raise Unreachable(f"{file}: {cause(error)}") from error
        if not response.ok:
            raise Unavailable(f"{file}: status {response.status_code} {response.reason}")
        if not length.isdigit():
            raise Unavailable(f"{file}: the site does not say how long it is")
        return int(length)

    def ask(self, file: str, headers: Mapping[str, str]) -> requests.Response:
        """An answer whose body is not read yet."""
        return requests.get(
            f"{self.address.rstrip('/')}/{file}",
            headers={"Accept-Encoding": "identity", **headers},
            stream=True,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
        )

    def transfer(self, archive: Archive, part: Path) -> None:
        """Load until `part` has the pinned size; after a cut, as long as each answer adds to it."""
        while (before := size(part)) < archive.bytes:
            reason = f"ends after {before} bytes, expected {archive.bytes}"
            try:
                self.answer(archive, part, before)
            except (requests.RequestException, HTTPError) as error:
                reason = cause(error)
            if size(part) <= before:
                raise Unreachable(f"{archive.file}: {reason}")

    def answer(self, archive: Archive, part: Path, before: int) -> None:
        """Append one answer to `part`, or start again where the site sends the whole file."""
        part_of = {"Range": f"bytes={before}-"} if before else {}
        with self.ask(archive.file, part_of) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()
                raise Unavailable(
                    f"{archive.file} ends by {before} bytes, expected {archive.bytes}"
                )
            start = before if response.status_code == requests.codes.partial_content else 0
            check_answer(response, archive, start)
            with part.open("ab" if start else "wb") as file, progress(archive, start) as advance:
                for piece in response.raw.stream(CHUNK, decode_content=False):
                    file.write(piece)
                    advance(len(piece))
                    if file.tell() > archive.bytes:
                        return


def check_answer(response: requests.Response, archive: Archive, start: int) -> None:
    """Refuse what cannot be the archive before a byte of it is loaded. Raises Unavailable."""
    if not response.ok:
        raise Unavailable(f"{archive.file}: status {response.status_code} {response.reason}")
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and start + int(length) != archive.bytes:
        raise Unavailable(
            f"{archive.file} has {start + int(length)} bytes, expected {archive.bytes}"
        )


def size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def cause(error: BaseException) -> str:
    """The innermost reason of a chain of network errors, short."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


@contextmanager
def progress(archive: Archive, start: int) -> Iterator[Callable[[int], None]]:
    """A bar in a terminal, nothing elsewhere."""
    with Progress(
        *Progress.get_default_columns(), DownloadColumn(), console=Console(stderr=True),
        transient=True, disable=not sys.stderr.isatty(),
    ) as bar:  # fmt: skip
        task = bar.add_task(archive.file, total=archive.bytes, completed=start)
        yield lambda count: bar.advance(task, count)
