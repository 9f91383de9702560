"""Is every damage to a bundle found, and the damaged file named, and no other?

    python -m tests.campaigns.bitflips [FOLDER] [FLIPS]

flips single bits of a copy of a bundle, each bit of all its files as likely as any other, and then
takes away, cuts short, renames, doubles and empties each file once. Each damage is mended again.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reclaim.records import ReclaimError
from reclaim.registry.bundle import check

SEED = 20261122


@dataclass(frozen=True)
class Trial:
    """One damage: what was done to which file, whether it was seen, and what was named."""

    damage: str
    path: str
    found: bool
    named: frozenset[str]

    @property
    def right(self) -> bool:
        """The damaged file is named, and no other."""
        return self.named == {self.path}


def see(folder: Path, damage: str, path: str) -> Trial:
    """What checking a folder says after a damage."""
    try:
        _, faults = check(folder)
    except ReclaimError as error:
        blamed = str(error).split(": ")[0]
        return Trial(damage, path, True, frozenset({str(Path(blamed).relative_to(folder))}))
    return Trial(damage, path, bool(faults), frozenset(fault.path for fault in faults))


def flips(folder: Path, trials: int, generator: np.random.Generator) -> Iterator[Trial]:
    """Single flipped bits, drawn from all bits of all files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    ends = np.cumsum([path.stat().st_size for path in paths])
    for place, bit in zip(
        generator.integers(ends[-1], size=trials), generator.integers(8, size=trials), strict=True
    ):
        n = int(np.searchsorted(ends, place, side="right"))
        old = paths[n].read_bytes()
        new = bytearray(old)
        new[int(place) - int(ends[n])] ^= 1 << int(bit)  # counted from the end of the file
        paths[n].write_bytes(new)
        yield see(folder, "one bit flipped", str(paths[n].relative_to(folder)))
        paths[n].write_bytes(old)


def damages(folder: Path) -> Iterator[Trial]:
    """Every file once: missing, cut short, longer, empty, renamed, and another one beside it."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, old = str(path.relative_to(folder)), path.read_bytes()
        for damage, data in (
            ("last byte cut off", old[:-1]),
            ("first half alone", old[: len(old) // 2]),
            ("one byte longer", old + b"\n"),
            ("empty", b""),
        ):
            path.write_bytes(data)
            yield see(folder, damage, name)
        path.unlink()
        yield see(folder, "missing", name)
        other = path.with_name(f"{path.name}.old")
        other.write_bytes(old)
        yield see(folder, "renamed", name)
        path.write_bytes(old)
        yield see(folder, "a copy added", str(other.relative_to(folder)))
        other.unlink()


def table(trials: list[Trial]) -> str:
    """Damages by how many were found and named, as markdown."""
    lines = ["| damage | trials | found | the file named, and no other |", "|---|---|---|---|"]
    for damage in dict.fromkeys(trial.damage for trial in trials):
        part = [trial for trial in trials if trial.damage == damage]
        found, right = sum(t.found for t in part), sum(t.right for t in part)
        lines.append(f"| {damage} | {len(part)} | {found} | {right} |")
    return "\n".join(lines)


def run(source: Path, count: int, say: Callable[[str], object] = print) -> list[Trial]:
    """All trials on a copy of a bundle's folder."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "bundle"
        shutil.copytree(source, folder)
        if check(folder)[1]:
            raise SystemExit(f"{source}: not whole before anything was damaged")
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        say(f"{source}: {len(files)} files, {size:,} bytes\n")
        trials = list(flips(folder, count, np.random.default_rng(SEED)))
        return trials + list(damages(folder))


if __name__ == "__main__":
    source = Path(sys.argv[1] if sys.argv[1:] else "results/reference/fashion")
    made = run(source, int(sys.argv[2]) if sys.argv[2:] else 10_000)
    print(table(made))
    missed = [trial for trial in made if not trial.right]
    for trial in missed[:10]:
        print(trial, file=sys.stderr)
    sys.exit(bool(missed))
