"""What the verbs print in a terminal."""

from __future__ import annotations

from rich import print as show
from rich.table import Table

from reclaim.records import Plan
from reclaim.registry.plan import summary


def show_plan(plan: Plan) -> None:
    """A row per recipe and data set: seeds, optimiser steps, GPU-hours where they are known."""
    table = Table(title=f"plan: {plan.scale}", title_justify="left")
    for name in ("recipe", "data", "seeds", "steps", "GPU-hours"):
        table.add_column(name, justify="left" if name in ("recipe", "data") else "right")
    rows = summary(plan)
    for recipe, dataset, seeds, steps, hours in rows:
        shown = "" if hours is None else f"{hours:.1f}"
        table.add_row(recipe, dataset, str(seeds), f"{steps:,}", shown)
    show(table)
    known = [hours for *_, hours in rows if hours is not None]
    total = f", {sum(known):,.0f} GPU-hours" if known else ""
    steps = sum(row[3] for row in rows)
    show(f"{len(plan.runs)} runs, {steps:,} steps{total}; {len(plan.not_run)} claims not run")
