"""A run's checkpoints: atomic, checksummed, the last two kept, exact to resume from."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from reclaim.records import write_bytes

KEPT = 2


def save(folder: Path, progress: int, state: dict[str, Any]) -> Path:
    """Write a state (tensors and plain values) under its progress in steps; drop older ones."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    body = buffer.getvalue()
    path = folder / f"{progress:012d}.pt"
    write_bytes(path, hashlib.sha256(body).digest() + body)
    for old in sorted(folder.glob("*.pt"))[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def newest(folder: Path, job: str, device: torch.device) -> dict[str, Any] | None:
    """The newest whole checkpoint of this job; damaged ones and those of another job are passed."""
    for path in sorted(folder.glob("*.pt"), reverse=True):
        data = path.read_bytes()
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            continue
        state = torch.load(io.BytesIO(data[32:]), map_location=device, weights_only=True)
        if state["job"] == job:
            return dict(state)
    return None


def clear(folder: Path) -> None:
    """Remove a run's checkpoints: it has finished."""
    for path in folder.glob("*.pt"):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
