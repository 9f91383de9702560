"""How a long run shows where it is: a bar in a terminal, one line an epoch in a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class EpochProgress:
    """Counts views; shows epochs, views a second and the time left.

    `pause`: the least seconds between two lines of a log.
    """

    def __init__(
        self, name: str, epochs: int, steps: int, done: int = 0, pause: float = 0.0
    ) -> None:
        self.name, self.epochs, self.steps, self.pause = name, epochs, steps, pause
        self.started, self.first, self.views = time.monotonic(), done, 0
        self.shown = self.started
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            disable=not sys.stderr.isatty(),
        )
        self.task = self.bar.add_task(name, total=epochs * steps, completed=done, note="")

    def __enter__(self) -> EpochProgress:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def step(self, views: int) -> None:
        """One optimiser step on so many views is done."""
        self.views += views
        self.bar.advance(self.task)

    def epoch(self, epoch: int, loss: float, lr: float) -> None:
        """An epoch (counted from 0) is done."""
        speed = self.views / max(time.monotonic() - self.started, 1e-9)
        note = f"epoch {epoch + 1}/{self.epochs}  loss {loss:.4f}  {speed:,.0f} views/s"
        self.bar.update(self.task, note=note)
        if self.bar.disable and time.monotonic() - self.shown >= self.pause:
            self.shown = time.monotonic()
            done = (epoch + 1) * self.steps - self.first
            left = (time.monotonic() - self.started) / max(done, 1)
            left *= (self.epochs - epoch - 1) * self.steps
            print(f"{self.name}  {note}  lr {lr:.5f}  {left:,.0f} s left", file=sys.stderr)
