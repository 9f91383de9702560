"""What the verbs print in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reclaim.records import PAPER, Audit, AuditVerdict, Cost, Finding, Plan, Verdict, Verdicts
from reclaim.registry.cost import total
from reclaim.registry.plan import summary
from reclaim.report.details import deciding_p, ranged
from reclaim.report.numbers import absent, bracketed, plain, signed
from reclaim.report.standing import (
    LADDER,
    TRANSFER,
    WORDS,
    flag,
    recipe_order,
    standing,
    tally,
)

if TYPE_CHECKING:
    import pandas as pd

Cell = Mapping[str, Any]
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


def show_plan(plan: Plan, console: Console | None = None) -> None:
    """A row per recipe, encoder and data set with what one seed needs; below, what all runs do."""
    console = console or Console()
    table = Table(title=f"plan: {plan.scale}", title_justify="left", box=None, pad_edge=False)
    for name in ("one seed of", "on", "encoder"):
        table.add_column(name, overflow="fold")
    for name in ("steps", "10⁶ views", "MiB", "GPU-hours", "evaluation"):
        table.add_column(name, justify="right", no_wrap=True)
    for config, cost in summary(plan):
        table.add_row(config.recipe, config.dataset.name, config.network.arch, *_cost(cost))
    table.add_row(f"all {len(plan.runs)} runs", "", "", *_cost(total(r.cost for r in plan.runs)))
    console.print(table)
    console.print("MiB: the peak, estimated from above.")
    if plan.gpu is not None:
        console.print(f"GPU-hours: of one {plan.gpu}, by multiply-adds (`registry/cost.py`).")
    console.print(f"{len(plan.not_run)} claims are not run by this plan.")


def _cost(cost: Cost) -> tuple[str, ...]:
    hours = (cost.gpu_hours, cost.evaluation_gpu_hours)
    return (
        f"{cost.steps:,}",
        f"{cost.images_seen / 1e6:,.2f}",
        f"{cost.memory_mib:,}",
        *("" if value is None else f"{value:,.2f}" for value in hours),
    )


def print_audit(audit: Audit, console: Console | None = None, *, written: bool = True) -> None:
    """A table for each paper, the gravest findings first, and how many there are of each kind.

    Below grave findings stands, dimly, what they assume, what would resolve them, and what the
    author answered; of the others `--json` has it. `written`: whether the file has these too.
    """
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
            for found, after in zip_longest(shown[:kept], shown[1:kept]):
                text = Text(f"{finding_head(found)}{found.message}")
                if verdict in GRAVE and (after is None or _basis(after) != _basis(found)):
                    text.append(f"\n{_basis(found)}", style="dim")
                table.add_row(Text(verdict, style=AUDIT_COLOURS[verdict]), check, text)
            if more := len(shown) - kept:
                table.add_row("", check, Text(f"and {more} more that are {verdict} (see --json)"))
        console.print(table, "", sep="\n")
    counts = Counter(found.verdict for found in audit.findings)
    words = ", ".join(f"{counts[word]} {word}" for word in AUDIT_COLOURS if counts[word])
    console.print(f"{len(audit.findings)} findings from print alone: {words or 'nothing to say'}")
    if not written:
        console.print("Not written to results/audit.json, which has all checks on all papers.")


def _basis(found: Finding) -> str:
    said = found.evidence
    lines = [f"assumes: {said['assumption']}", f"resolved by: {said['resolve']}"]
    return "\n".join([*lines, *(f"the author: {answer}" for answer in said["answers"])])


def finding_head(found: Finding) -> str:
    """Where a finding stands: its statement's id, else its cell if it is one."""
    if said := found.evidence.get("statement"):
        return f"{said}: "
    return f"{found.cells[0]}: " if len(found.cells) == 1 else ""


def print_table(verdicts: Verdicts, quality: pd.DataFrame, console: Console | None = None) -> None:
    """The table of verdicts: a line per recipe, a line per statement with an answer, counts.

    `quality` is `inference.controls.controls` of the measurements that were judged.
    """
    console = console or Console()
    cells = planned(quality, verdicts)
    linear = [cell for cell in cells if cell["protocol"] == "linear"]
    tuned = [cell for cell in cells if cell["protocol"] == "fine_tune"]
    console.print(recipe_table(verdicts, linear))
    if tuned:
        console.print("", tuned_table(tuned), sep="\n")
    for line in notes(linear, quality):
        console.print(line)
    numbers = [verdict for verdict in verdicts.verdicts if verdict.size and verdict.recipe]
    if answered := [verdict for verdict in numbers if verdict.verdict != "compatible, imprecise"]:
        console.print("", number_table(answered), sep="\n")
    statements = [verdict for verdict in verdicts.verdicts if verdict.recipe is None]
    if any(standing(verdict) != "untested" for verdict in statements):
        console.print("", statement_table(statements), "", sep="\n")
    counts = ", ".join(f"{n} {word}" for word, n in tally(verdicts.verdicts).items())
    console.print(f"{len(verdicts.verdicts)} claims: {counts}")
    if verdicts.scale != PAPER:
        console.print(
            "Transfer evidence: whether printed directions hold on other images. "
            "The verdict on every printed number is untestable: transfer scale."
        )


def planned(quality: pd.DataFrame, verdicts: Verdicts) -> list[dict[str, Any]]:
    """Top-1 of every planned config, sweeps left out, in the order of `recipe_order`."""
    chosen = quality[(quality["metric"] == "top1") & (quality["variant"] == "")]
    order = recipe_order(list(quality["recipe"].unique()), verdicts)
    cells = [{str(key): value for key, value in row.items()} for row in chosen.to_dict("records")]
    return sorted(cells, key=lambda cell: order.index(cell["recipe"]))


def recipe_table(verdicts: Verdicts, cells: Sequence[Cell]) -> Table:
    """Linear top-1, minus the untrained encoder's, and how each recipe's printed numbers stand."""
    datasets = list(dict.fromkeys(cell["dataset"] for cell in cells))
    title = f"Scale {verdicts.scale}: measured on {', '.join(datasets)}"
    table = _quality_table(title, "linear top-1")
    words = LADDER if verdicts.scale == PAPER else TRANSFER
    for word in words:
        table.add_column(word, justify="right", style=COLOURS.get(word, ""))
    for cell in cells:
        counts = numbers_stand(verdicts, cell, words)
        table.add_row(_named(cell, len(datasets) > 1), *measured(cell), *counts)
    return table


def tuned_table(cells: Sequence[Cell]) -> Table:
    """Top-1 after fine-tuning, minus that of the untrained encoder, fine-tuned alike."""
    datasets = {cell["dataset"] for cell in cells}
    table = _quality_table(None, "fine-tuned top-1")
    for cell in cells:
        table.add_row(_named(cell, len(datasets) > 1), *measured(cell))
    return table


def _quality_table(title: str | None, column: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for name in (column, "− untrained, 95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def notes(linear: Sequence[Cell], quality: pd.DataFrame) -> Iterator[Text]:
    """What needs a look: recipes not above the untrained encoder, or beside their own start."""
    several = len({cell["dataset"] for cell in linear}) > 1
    words = [(flag(cell), _named(cell, several)) for cell in linear]
    for word in dict.fromkeys(word for word, _ in words if word):
        names = ", ".join(name for own, name in words if own == word)
        yield Text(f"{word} (linear top-1): {names}", style="yellow")
    for cell in linear:
        if not absent(cell["minus_start"]):
            gap = (
                f"{signed(cell['minus_start'])} {bracketed(cell['start_low'], cell['start_high'])}"
            )
            name = _named(cell, several)
            yield Text(f"{name} − {cell['start']}, where it starts: {gap.strip()}")
    variants = quality.loc[quality["variant"] != "", "config"].nunique()
    if variants:
        yield Text(f"Sweeps: {variants} measured, beside the planned runs in the report")


def _named(cell: Cell, several: bool) -> str:
    """A config's name, with its data set where there are several."""
    return f"{cell['name']} {cell['dataset']}" if several else str(cell["name"])


def numbers_stand(verdicts: Verdicts, cell: Cell, words: Sequence[str]) -> list[str]:
    """How many of a config's printed numbers stand how; blanks where none was printed.

    A run's id is its config's with the seed, so what a sweep measured is not counted here.
    """
    elsewhere = verdicts.scale != PAPER
    own = [
        verdict
        for verdict in verdicts.verdicts
        if verdict.recipe == cell["recipe"] and (elsewhere or verdict.dataset == cell["dataset"])
    ]
    counts = tally(
        [
            verdict
            for verdict in own
            if any(run.rpartition("-s")[0] == cell["config"] for run in verdict.runs)
        ]
    )
    return [str(counts.get(word, 0)) if own else "" for word in words]


def measured(cell: Cell) -> tuple[str, str]:
    """84.22±0.11 and +6.73 [+5.96, +7.49]."""
    spread = "" if absent(cell["sd"]) else f"±{plain(cell['sd'])}"
    gain = f"{signed(cell['minus_untrained'])} {bracketed(cell['low'], cell['high'])}"
    return plain(cell["mean"]) + spread, gain.strip()


def number_table(verdicts: Sequence[Verdict]) -> Table:
    """The printed numbers with an answer: where they should fall, and how they stand."""
    table = Table(title="Printed numbers", title_justify="left", box=None, pad_edge=False)
    for name in ("stands", "p adjusted", "printed", "expected, 95 %", "controls"):
        table.add_column(name, no_wrap=True)
    table.add_column("number", overflow="fold")
    for verdict in verdicts:
        word = standing(verdict)
        table.add_row(
            Text(word, style=COLOURS.get(word, "")), deciding_p(verdict), verdict.printed or "",
            ranged(verdict.prediction), verdict.control or "", Text(verdict.claim),
        )  # fmt: skip
    return table


def statement_table(statements: Sequence[Verdict]) -> Table:
    """The statements with an answer; the others are counted."""
    table = Table(title="Statements", title_justify="left", box=None, pad_edge=False)
    for name in ("stands", "p adjusted", "paper"):
        table.add_column(name, no_wrap=True)
    table.add_column("statement")
    silent = ("open", "compatible, imprecise", "untested")
    answered = [verdict for verdict in statements if standing(verdict) not in silent]
    for verdict in sorted(answered, key=lambda verdict: WORDS.index(standing(verdict))):
        word = standing(verdict)
        colour = Text(word, style=COLOURS.get(word, ""))
        table.add_row(colour, deciding_p(verdict), verdict.paper, Text(verdict.text))
    left = {word: n for word, n in tally(statements).items() if word in silent}
    for word, n in left.items():
        table.add_row(word, "", "", f"{n} more, each with its reason in the report")
    return table
