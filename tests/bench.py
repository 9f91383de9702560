"""`make bench`: how much of the bare network's speed a recipe keeps, and how fast the verbs start.

A round times the same number of optimiser steps twice: on ready tensors with a plain mean-square
loss, and as a run takes them (batch, augmented views, networks, steps, loss, update). The ratio
is taken round by round, so a machine whose speed drifts does not matter.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich import print as show
from rich.table import Table

from reclaim.learning import train
from reclaim.learning.device import pick_device, use_one_thread
from reclaim.learning.images import load_images
from reclaim.registry.jobs import DATA, job_of, read_plan

STEPS, ROUNDS, SETTLE = 4, 5, 1
VERBS = (
    "--help",
    "plan --check --scale {scale}",
    "judge --scale {scale}",
    "report --scale {scale}",
)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall seconds of a piece of work, the device's queue included."""
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def recipe_speed(scale: str, recipe: str, device: torch.device) -> tuple[float, float]:
    """Views a second of a recipe, and the median ratio to the bare network's in the same round."""
    plan = read_plan(scale)
    run = next(run for run in plan.runs if run.recipe == recipe)
    job = job_of(plan, run).pretrain
    training = train.start(job, load_images(job.config.dataset, device, DATA), device)
    order = train.epoch_order(training)
    config = job.config
    chosen = order[: config.batch]
    ready = train.make_views(training, chosen)

    def bare() -> None:
        for _ in range(STEPS):
            training.optimiser.zero_grad(set_to_none=True)
            seen = vars(train.forward(training, ready, chosen)).values()
            learned = [part for part in seen if part is not None and part.requires_grad]
            torch.stack([part.square().mean() for part in learned]).sum().backward()
            training.optimiser.step()

    def whole() -> None:
        for step in range(STEPS):
            training.step = step % training.steps
            train.train_step(training, order)

    pairs = [(seconds(bare, device), seconds(whole, device)) for _ in range(SETTLE + ROUNDS)]
    timed = pairs[SETTLE:]
    views = (2 + config.local_crops) * config.batch * STEPS
    return (
        views / statistics.median(run_time for _, run_time in timed),
        statistics.median(bare_time / run_time for bare_time, run_time in timed),
    )


def start_up(verb: str) -> float:
    """Median wall seconds of a verb as a whole process."""
    command = [Path(sys.executable).parent / "reclaim", *verb.split()]
    return statistics.median(
        seconds(
            lambda: subprocess.run(command, check=True, capture_output=True), torch.device("cpu")
        )
        for _ in range(5)
    )


def main(scale: str) -> None:
    """Print both tables for a scale whose data, measurements and verdicts are there."""
    use_one_thread()
    device = pick_device()
    table = Table(
        "recipe", "views/s", "of the bare network", title=f"{scale}, one thread, {device}"
    )
    plan = read_plan(scale)
    trained = dict.fromkeys(run.recipe for run in plan.runs if run.cost.steps)
    for recipe in trained:
        speed, ratio = recipe_speed(scale, recipe, device)
        table.add_row(recipe, f"{speed:,.0f}", f"{ratio:.0%}")
    show(table)
    starts = Table("verb", "seconds", title="start to end, whole process")
    for verb in VERBS:
        command = verb.format(scale=scale)
        starts.add_row(f"reclaim {command}", f"{start_up(command):.2f}")
    show(starts)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fashion")
