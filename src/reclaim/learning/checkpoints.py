"""A run's checkpoints: atomic, checksummed, the last two kept, exact to resume from."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reclaim.records import write_bytes

KEPT = 2


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training in a folder; those of another key are not seen.

    `key` is a hash of all that decides what the training learns. A run's id does not hold its
    code, so after an edit its folder is the same.
    """

    folder: Path
    key: str

    @property
    def paths(self) -> list[Path]:
        """The oldest first."""
        return sorted(self.folder.glob(f"{self.key[:16]}-*.pt"))

    def save(self, progress: int, state: dict[str, Any]) -> Path:
        """Write a state (tensors and plain values) under its progress in steps; drop older ones."""
        buffer = io.BytesIO()
        torch.save({"key": self.key, **state}, buffer)
        body = buffer.getvalue()
        path = self.folder / f"{self.key[:16]}-{progress:012d}.pt"
        write_bytes(path, hashlib.sha256(body).digest() + body)
        for old in self.paths[:-KEPT]:
            with suppress(OSError):  # one more than needed does no harm
                old.unlink()
        return path

    def newest(self, device: torch.device) -> dict[str, Any] | None:
        """The newest whole one; damaged and unreadable ones are passed over."""
        for path in reversed(self.paths):
            try:
                data = path.read_bytes()
            except OSError:
                continue
            if hashlib.sha256(data[32:]).digest() != data[:32]:
                continue
            try:
                state = torch.load(io.BytesIO(data[32:]), map_location=device, weights_only=True)
            except pickle.UnpicklingError:  # whole, but none of ours: it asks for code to be run
                continue
            if isinstance(state, dict) and state.get("key") == self.key:
                return state
        return None

    def clear(self) -> None:
        """Remove the folder, whatever a killed process or an older code left there: it is done."""
        shutil.rmtree(self.folder, ignore_errors=True)
