"""`make bench`: how much of the bare network's speed a recipe keeps, and how fast the verbs are.

A round times the same number of optimiser steps twice: on ready tensors with a plain mean-square
loss, and as a run takes them (batch, augmented views, networks, steps, loss, update). The ratio
is taken round by round, so a machine whose speed drifts does not matter. The verbs are timed as
whole processes; judging also on a made-up paper of 10,000 numbers with 20 seeds each.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich import print as show
from rich.table import Table

from reclaim.inference.measurements import COLUMNS
from reclaim.learning import train
from reclaim.learning.device import pick_device, use_one_thread
from reclaim.learning.images import load_images
from reclaim.records import Cost, Plan, Run, write
from reclaim.registry.jobs import DATA, job_of, plan_path, read_plan

STEPS, ROUNDS, SETTLE = 4, 5, 1
TABLES, ROWS, SEEDS = 10, 250, 20  # twice two numbers a row: top-1 and top-5
EVALUATIONS, METRICS = ("linear", "fine_tune"), ("top1", "top5")
TABLE = """
title: Made up
locator: nowhere
kind: results
dataset: cifar10
baseline: r0
evaluation: EVALUATION
columns:
  top1: {metric: top1, unit: percent}
  top5: {metric: top5, unit: percent}
margin: {rule: half_smallest_interpreted_gap, cells: [["TABLE[top1,r0]", "TABLE[top1,r1]"]]}
rows:
"""
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


def start_up(verb: str, folder: Path = Path()) -> float:
    """Median wall seconds of a verb as a whole process."""
    command = [str(Path(sys.executable).parent / "reclaim"), *verb.split()]
    return statistics.median(
        seconds(
            lambda: subprocess.run(command, check=True, capture_output=True, cwd=folder),
            torch.device("cpu"),
        )
        for _ in range(5)
    )


def many_claims(folder: Path) -> None:
    """A project whose one paper has 10,000 numbers, four of each run, each with 20 seeds."""
    rng = np.random.default_rng(0)
    tables, results = folder / "workflow/claims/made_up/tables", folder / "results/paper"
    for path in (tables, results, folder / "workflow/plans"):
        path.mkdir(parents=True)
    (tables.parent / "paper.yaml").write_text("title: Made up\nauthors: Nobody\nyear: 2024\n")
    printed: dict[str, list[str]] = {}
    runs, measured = [], [",".join(COLUMNS)]
    for n, r in itertools.product(range(TABLES), range(ROWS)):
        config, true = f"simclr-{n}-{r}", 80 + rng.normal(0, 1, (2, 2))
        for kind, numbers in zip(EVALUATIONS, true + rng.normal(0, 0.3, (2, 2)), strict=True):
            printed.setdefault(f"{kind}{n}", []).append("r{},{:.2f},{:.2f}".format(r, *numbers))
        claims = tuple(
            f"made_up:{kind}{n}[{metric},r{r}]" for kind in EVALUATIONS for metric in METRICS
        )
        for seed in range(SEEDS):
            run = f"{config}-s{seed}"
            runs.append(
                Run(
                    id=run, recipe="simclr", dataset="cifar10", seed=seed, config=config,
                    protocols=EVALUATIONS, claims=claims, cost=Cost(steps=1, images_seen=1),
                )
            )  # fmt: skip
            values = (true + rng.normal(0, 0.3, (2, 2))) / 100
            measured += [
                f"1,paper,{run},simclr,cifar10,{seed},{kind},{metric},{value!r},c0de"
                for kind, pair in zip(EVALUATIONS, values.tolist(), strict=True)
                for metric, value in zip(METRICS, pair, strict=True)
            ]
    for name, rows in printed.items():
        kind, n = name.rstrip("0123456789"), int(name.lstrip("abcdefghijklmnopqrstuvwxyz_"))
        about = TABLE.replace("TABLE", name).replace("EVALUATION", kind)
        about += "".join(
            f"  r{r}: {{label: A, recipe: simclr, knobs: {{hardest: {n * ROWS + r + 1}}}}}\n"
            for r in range(ROWS)
        )
        (tables / f"{name}.yaml").write_text(about)
        (tables / f"{name}.csv").write_text("\n".join(["row,top1,top5", *rows]) + "\n")
    (results / "measurements.csv").write_text("\n".join(measured) + "\n")
    plan = Plan(scale="paper", configs={}, protocols={}, runs=tuple(runs))
    write(folder / plan_path("paper"), plan)


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
    with tempfile.TemporaryDirectory() as folder:
        many_claims(Path(folder))
        took = start_up("judge --scale paper", Path(folder))
        starts.add_row(
            f"reclaim judge, {4 * TABLES * ROWS:,} numbers x {SEEDS} seeds", f"{took:.2f}"
        )
    show(starts)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "fashion")
