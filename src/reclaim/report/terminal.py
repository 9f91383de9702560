"""What the verbs print in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich import print as show
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reclaim.records import Audit, AuditVerdict, Finding, Plan, Verdict, Verdicts
from reclaim.registry.plan import summary
from reclaim.report.numbers import absent, bracketed, plain, signed
from reclaim.report.standing import (
    LADDER,
    PAPER_SCALE,
    TRANSFER,
    WORDS,
    recipe_order,
    standing,
    tally,
)

if TYPE_CHECKING:
    import pandas as pd

COLOURS = {"holds": "green", "reproduced": "green", "reversed": "red", "not reproduced": "red"}


AUDIT_COLOURS: dict[AuditVerdict, str] = {
    "contradiction": "red",
    "implausible": "magenta",
    "unsupported": "yellow",
    "consistent": "green",
    "untestable": "",
}
GRAVE = ("contradiction", "implausible", "unsupported")
FOLDED = 3  # findings of one check that are not grave are shown up to this number


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


def print_audit(audit: Audit, console: Console | None = None) -> None:
    """A table for each paper, the gravest findings first, and how many there are of each kind."""
    console = console or Console()
    for paper in dict.fromkeys(found.paper for found in audit.findings):
        table = Table(title=f"audit: {paper}", title_justify="left", box=None, pad_edge=False)
        table.add_column("verdict", no_wrap=True)
        table.add_column("check", no_wrap=True)
        table.add_column("finding", overflow="fold")
        own = [found for found in audit.findings if found.paper == paper]
        for (verdict, check), several in groupby(own, lambda found: (found.verdict, found.check)):
            shown = list(several)
            kept = len(shown) if verdict in GRAVE or len(shown) <= FOLDED else FOLDED - 1
            for found in shown[:kept]:
                text = Text(f"{finding_head(found)}{found.message}")
                table.add_row(Text(verdict, style=AUDIT_COLOURS[verdict]), check, text)
            if more := len(shown) - kept:
                table.add_row("", check, Text(f"and {more} more that are {verdict} (see --json)"))
        console.print(table, "", sep="\n")
    counts = Counter(found.verdict for found in audit.findings)
    words = ", ".join(f"{counts[word]} {word}" for word in AUDIT_COLOURS if counts[word])
    console.print(f"{len(audit.findings)} findings from print alone: {words or 'nothing to say'}")


def finding_head(found: Finding) -> str:
    """Where a finding stands: its statement's id, else its cell if it is one."""
    if said := found.evidence.get("statement"):
        return f"{said}: "
    return f"{found.cells[0]}: " if len(found.cells) == 1 else ""


def print_table(verdicts: Verdicts, quality: pd.DataFrame, console: Console | None = None) -> None:
    """The table of verdicts: a line per recipe, a line per statement that was compared, counts.

    `quality` is `inference.controls.controls` of the measurements that were judged.
    """
    console = console or Console()
    console.print(recipe_table(verdicts, quality))
    statements = [verdict for verdict in verdicts.verdicts if verdict.recipe is None]
    if any(standing(verdict) != "untested" for verdict in statements):
        console.print("", statement_table(statements), "", sep="\n")
    counts = ", ".join(f"{n} {word}" for word, n in tally(verdicts.verdicts).items())
    console.print(f"{len(verdicts.verdicts)} claims: {counts}")
    if verdicts.scale != PAPER_SCALE:
        console.print(
            "Transfer evidence: whether printed directions hold on other images. "
            "The verdict on every printed number is untestable: transfer scale."
        )


def recipe_table(verdicts: Verdicts, quality: pd.DataFrame) -> Table:
    """Linear top-1, minus the untrained encoder's, and how each recipe's printed numbers stand."""
    linear = quality[(quality["protocol"] == "linear") & (quality["metric"] == "top1")]
    datasets = list(linear["dataset"].unique())
    title = f"Scale {verdicts.scale}: measured on {', '.join(datasets)}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for name in ("linear top-1", "− untrained, 95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    words = LADDER if verdicts.scale == PAPER_SCALE else TRANSFER
    for word in words:
        table.add_column(word, justify="right", style=COLOURS.get(word, ""))
    cells = {(row["recipe"], row["dataset"]): row for row in linear.to_dict("records")}
    for name in recipe_order(list(linear["recipe"].unique()), verdicts):
        for dataset in (found for recipe, found in cells if recipe == name):
            counts = numbers_stand(verdicts, name, dataset, words)
            where = f" {dataset}" if len(datasets) > 1 else ""
            table.add_row(name + where, *measured(cells[name, dataset]), *counts)
    return table


def numbers_stand(verdicts: Verdicts, recipe: str, dataset: str, words: Sequence[str]) -> list[str]:
    """How many of a recipe's printed numbers stand how; blanks where none was printed."""
    elsewhere = verdicts.scale != PAPER_SCALE
    own = [
        verdict
        for verdict in verdicts.verdicts
        if verdict.recipe == recipe and (elsewhere or verdict.dataset == dataset)
    ]
    counts = tally(own)
    return [str(counts.get(word, 0)) if own else "" for word in words]


def measured(cell: dict[Any, Any]) -> tuple[str, str]:
    """84.22±0.11 and +6.73 [+5.96, +7.49]."""
    spread = "" if absent(cell["sd"]) else f"±{plain(cell['sd'])}"
    gain = f"{signed(cell['minus_untrained'])} {bracketed(cell['low'], cell['high'])}"
    return plain(cell["mean"]) + spread, gain.strip()


def statement_table(statements: list[Verdict]) -> Table:
    """The statements that were compared, those with an answer first."""
    table = Table(title="\nStatements", title_justify="left", box=None, pad_edge=False)
    table.add_column("stands", no_wrap=True)
    table.add_column("statement")
    compared = [verdict for verdict in statements if standing(verdict) != "untested"]
    for verdict in sorted(compared, key=lambda verdict: WORDS.index(standing(verdict))):
        word = standing(verdict)
        table.add_row(Text(word, style=COLOURS.get(word, "")), Text(verdict.text))
    if left := len(statements) - len(compared):
        table.add_row(Text("untested"), Text(f"{left} more, with reasons in the report"))
    return table
