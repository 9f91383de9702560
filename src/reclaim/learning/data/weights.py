"""Getting published weights: a foreign checkpoint, checked, pinned, converted to safetensors once.

Nothing of it is run. First its outline is read, by a reader that knows tensors alone; only one with
exactly the expected tensors is then read by `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reclaim.learning.data.fetch import (
    MIRROR,
    Folder,
    Site,
    Unavailable,
    alone_in,
    mirrors,
)
from reclaim.learning.data.untrusted import UNPICKLABLE, UNREADABLE, checkpoint_outline, fault
from reclaim.records import FileStamp, ReclaimError, WeightsManifest, stamp, write, write_bytes
from reclaim.registry.datasets import Archive
from reclaim.registry.weights import (
    ENCODER,
    WeightsFacts,
    lock_of,
    pin,
    pinned,
    stored_weights,
    weights,
)

if TYPE_CHECKING:
    from torch import Tensor

MOST = 2
"""How many times the size of its numbers a file may have."""

log = logging.getLogger(__name__)


def fetch_weights(name: str, root: Path, lock: Path | None = None) -> Path:
    """Get published weights and store them under `root`; returns their manifest.

    Those that are stored whole are left alone. The first file that holds the expected tensors is
    pinned in `lock`. Raises ReclaimError for an unknown name, when no source has the true file, or
    no space is left.
    """
    facts, lock = weights(name), lock or lock_of(name)
    manifest = root / name / "manifest.json"
    if stored_weights(root / name, lock) is None:
        with alone_in(root, name, f"reclaim fetch weights {name}") as archives:
            if stored_weights(root / name, lock) is None:
                path, tensors = obtain(facts, archives, pinned(name, lock), lock)
                convert(facts, tensors, stamp(path), manifest, lock)
    return manifest


def convert(
    facts: WeightsFacts, tensors: dict[str, Tensor], made_of: FileStamp, manifest: Path, lock: Path
) -> None:
    """Store checked tensors as safetensors and pin their file; the manifest comes last."""
    import safetensors.torch

    encoder = manifest.parent / ENCODER
    write_bytes(encoder, safetensors.torch.save(tensors))
    pin(facts.name, made_of, lock)
    files = {ENCODER: stamp(encoder)}
    write(
        manifest,
        WeightsManifest(name=facts.name, source=facts.title, checkpoint=made_of, files=files),
    )


def obtain(
    facts: WeightsFacts, archives: Path, expected: FileStamp | None, lock: Path
) -> tuple[Path, dict[str, Tensor]]:
    """A true file and its tensors, from the first source that has them.

    Raises ReclaimError, with every source that was tried and what it lacked.
    """
    tried: list[str] = []
    for label, source, file in sources(facts, archives):
        try:
            path = source.get(archive_of(facts, source, file, expected))
            tensors = read_tensors(path, facts)
        except Unavailable as reason:
            tried.append(f"{label}: {reason}")
        except ReclaimError as reason:
            tried.append(str(reason))
            if path.parent == archives:
                path.unlink()
        else:
            log.info("%s: %s from %s", facts.name, file, label)
            return path, tensors
        log.warning("%s: %s", facts.name, tried[-1])
    kept = f" ({lock} pins sha256 {expected.sha256})" if expected else ""
    raise ReclaimError(
        f"{facts.name}: no source has the true {facts.file}{kept}: {'; '.join(tried)}. Put it into "
        f"a folder and set {MIRROR}=FOLDER, or mend the network; then run "
        f"`reclaim fetch weights {facts.name}` again"
    )


def sources(facts: WeightsFacts, archives: Path) -> Iterator[tuple[str, Folder | Site, str]]:
    """The sources in the order in which they are tried, with the file's name there."""
    if facts.stands_for and not (archives / facts.file).is_file():
        from reclaim.learning.rehearsal import checkpoint

        write_bytes(archives / facts.file, checkpoint())
    if (archives / facts.file).is_file():
        yield str(archives), Folder(archives, own=True), facts.file
    own = Path(os.environ.get(MIRROR, ""))
    if own.is_file():
        yield str(own), Folder(own.parent), own.name
    else:
        for label, source in mirrors(archives):
            yield label, source, facts.file
    for address in facts.sites:
        yield address, Site(address, archives), facts.file


def archive_of(
    facts: WeightsFacts, source: Folder | Site, file: str, expected: FileStamp | None
) -> Archive:
    """The file with its pins, or at first use with the length that the source says.

    Raises Unavailable for a length that cannot be right.
    """
    if expected is not None:
        return Archive(file, expected.bytes, sha256=expected.sha256)
    found = source.size_of(file)
    if not facts.least <= found <= MOST * facts.least:
        raise Unavailable(f"{file} has {found} bytes, expected {facts.least} or a little more")
    return Archive(file, found)


def read_tensors(path: Path, facts: WeightsFacts) -> dict[str, Tensor]:
    """The tensors of a checkpoint, exactly the expected ones, every number finite.

    Raises ReclaimError for anything else, before PyTorch reads a byte of it.
    """
    check_outline(path, facts)
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, *UNPICKLABLE) as error:
        cause = str(error).partition("\n")[0]
        raise fault(path.name, f"not readable as a checkpoint ({cause})") from error
    for name, value in state.items():
        if not value.isfinite().all():
            raise fault(path.name, f"{name} holds what is no number")
    return {name: value.contiguous().clone() for name, value in state.items()}


def check_outline(path: Path, facts: WeightsFacts) -> None:
    """Refuse a checkpoint with a missing, extra or misshapen tensor, or one of another type."""
    found = checkpoint_outline(path, MOST * facts.least)
    for what, names in (
        ("lacks the tensor", set(facts.shapes) - set(found)),
        ("holds an unexpected tensor", set(found) - set(facts.shapes)),
    ):
        if names:
            raise fault(path.name, f"{what} {min(names)!r} ({len(names)} in all)")
    for name, shape in facts.shapes.items():
        expected = ("int64" if name.endswith("num_batches_tracked") else "float32", shape)
        if found[name] != expected:
            raise fault(path.name, f"{name} is {found[name]}, expected {expected}")
