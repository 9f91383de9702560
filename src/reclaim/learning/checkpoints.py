"""A run's checkpoints: atomic, checksummed, the last two kept, exact to resume from."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from reclaim.records import ReclaimError, write_bytes

KEPT = 2
CHECKPOINT_SECONDS = 10.0
REST = 100  # the next save waits at least so many times what the last one took
State = dict[str, Any]  # tensors and plain values
Save = Callable[[int, Callable[[], State]], None]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training in a folder; those of another key are not seen.

    `key` is a hash of all that decides what the training learns. A run's id does not hold its
    code, so after an edit its folder is the same. `arithmetic` says where and in what precision it
    learns: what was begun in one does not go on in another, which would end with other bits.
    """

    folder: Path
    key: str
    arithmetic: str

    @property
    def paths(self) -> list[Path]:
        """The oldest first."""
        return sorted(self.folder.glob(f"{self.key[:16]}-*.pt"))

    def save(self, progress: int, state: State) -> Path:
        """Write a state under its progress in steps; keep it and the one before, drop all others.

        What lies beyond it is damaged or cannot be read: the training began before it.
        """
        buffer = io.BytesIO()
        torch.save({"key": self.key, "arithmetic": self.arithmetic, **state}, buffer)
        body = buffer.getvalue()
        path = self.folder / f"{self.key[:16]}-{progress:012d}.pt"
        write_bytes(path, hashlib.sha256(body).digest() + body)
        paths = self.paths
        kept = [other for other in paths if other <= path][-KEPT:]
        for other in paths:
            if other not in kept:
                with suppress(OSError):  # one more than needed does no harm
                    other.unlink()
        return path

    def newest(self, device: torch.device) -> State | None:
        """The newest whole one; damaged and unreadable ones are passed over.

        Raises ReclaimError if that was made in another arithmetic.
        """
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
                self._check_arithmetic(path, state)
                return state
        return None

    def _check_arithmetic(self, path: Path, state: State) -> None:
        told = str(state.get("arithmetic"))
        made, here = (set(text.split(", ")) for text in (told, self.arithmetic))
        if made != here:
            there, now = (", ".join(sorted(facts)) for facts in (made - here, here - made))
            raise ReclaimError(
                f"{path}: made by other arithmetic (there: {there or '-'}; here: {now or '-'}), "
                f"of which no run is mixed; go on there, or remove {self.folder} to start anew"
            )

    def clear(self) -> None:
        """Remove the folder, whatever a killed process or an older code left there: it is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def saving(keep: Checkpoints, name: str) -> Iterator[Save]:
    """A function of the progress and its state, for after each step: it saves when that is due.

    Due is a save CHECKPOINT_SECONDS after the last, later where saving takes long; and when the
    process is asked to stop, by SIGTERM or a scheduler's SIGUSR1: then the function raises
    ReclaimError, which says that `name` can go on.
    """
    every = CHECKPOINT_SECONDS
    due = time.monotonic() + every
    with stop_signals() as stopped:

        def after_step(progress: int, state: Callable[[], State]) -> None:
            nonlocal due
            started = time.monotonic()
            if not stopped and started < due:
                return
            keep.save(progress, state())
            saved = time.monotonic()
            due = saved + max(every, REST * (saved - started)) if every else saved
            if stopped:
                raise ReclaimError(
                    f"{name} stopped by {signal.Signals(stopped[0]).name} after a checkpoint; "
                    "start the same command again to go on"
                )

        yield after_step


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that fills when the process is asked to stop."""
    stopped: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        stopped.append(number)

    asked = (signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, note) for number in asked}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
