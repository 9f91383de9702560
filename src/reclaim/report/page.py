"""The page: verdicts, the recipes beside their controls, and printed against measured numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reclaim import records
from reclaim.records import Verdict, Verdicts
from reclaim.registry.claims import Paper, StatementClaim, Table, ValueClaim
from reclaim.registry.datasets import DATASETS
from reclaim.report import numbers, plots
from reclaim.report.standing import CONTROLS, PAPER_SCALE, recipe_order, standing, tally

if TYPE_CHECKING:
    import pandas as pd

METRICS = {"top1": "top-1", "top5": "top-5"}
QUALITY = (
    ("linear", "top1"), ("linear", "top5"), ("knn", "top1"), ("knn", "top5"),
    ("geometry", "alignment"), ("geometry", "uniformity"),
)  # fmt: skip


def write_report(
    scale: str,
    verdicts: Verdicts,
    measurements: pd.DataFrame,
    quality: pd.DataFrame,
    papers: Mapping[str, Paper],
    out: Path,
) -> Path:
    """Write one self-contained page without scripts or requests; equal inputs, equal bytes.

    `quality` is `inference.controls.controls(measurements)`. Raises ReclaimError if it cannot be
    written.
    """
    records.write_text(out, render(scale, verdicts, measurements, quality, papers))
    return out


def render(
    scale: str,
    verdicts: Verdicts,
    measurements: pd.DataFrame,
    quality: pd.DataFrame,
    papers: Mapping[str, Paper],
) -> str:
    """The page's text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    shelf = Environment(
        loader=PackageLoader("reclaim.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shelf.filters.update(plain=numbers.plain, signed=numbers.signed, standing=standing)
    shelf.globals.update(
        bracketed=numbers.bracketed, absent=numbers.absent, metrics=METRICS, controls=CONTROLS
    )
    recipes = recipe_order(list(quality["recipe"].unique()), verdicts)
    rows = value_rows(verdicts, papers)
    datasets = list(quality["dataset"].unique())
    elsewhere = " or ".join(datasets) if scale != PAPER_SCALE else None
    return shelf.get_template("page.html.j2").render(
        scale=scale,
        transfers=scale != PAPER_SCALE,
        datasets=[dataset_title(name) for name in datasets],
        counts=tally(verdicts.verdicts),
        quality=quality_tables(quality, recipes),
        figures=list(figures(rows, recipes, elsewhere)),
        papers=[paper_section(paper, verdicts, rows) for paper in papers.values()],
        sources=sources(verdicts, measurements),
        seeds=seeds_of(measurements),
    )


# --- what the claims and verdicts say ------------------------------------------------------------


@dataclass(frozen=True)
class ValueRow:
    """A printed number, its verdict, and the gain over its baseline row as printed (percent)."""

    claim: ValueClaim
    verdict: Verdict
    label: str
    printed_gain: Decimal | None

    @property
    def decimals(self) -> int:
        """How many decimals the paper prints."""
        return len(self.claim.printed.partition(".")[2])


def value_rows(verdicts: Verdicts, papers: Mapping[str, Paper]) -> list[ValueRow]:
    """Every judged printed number, in the papers' order."""
    judged = {verdict.claim: verdict for verdict in verdicts.verdicts}
    rows = []
    for paper in papers.values():
        claims = {claim.id: claim for claim in paper.claims if isinstance(claim, ValueClaim)}
        for claim in claims.values():
            table, row = place(paper, claim)
            against = claims.get(claim.baseline or "")
            gain = percent(claim) - percent(against) if against else None
            rows.append(ValueRow(claim, judged[claim.id], table.rows[row].label, gain))
    return rows


def place(paper: Paper, claim: ValueClaim) -> tuple[Table, str]:
    """The table and the row that a claim was printed in."""
    table, _, rest = claim.cell.partition("[")
    return paper.tables[table], rest.rstrip("]").partition(",")[2]


def percent(claim: ValueClaim) -> Decimal:
    """A printed number in percent."""
    return Decimal(claim.printed) * (100 if claim.unit == "fraction" else 1)


def paper_section(paper: Paper, verdicts: Verdicts, rows: Sequence[ValueRow]) -> dict[str, Any]:
    """A paper's tables, each as columns of rows, and its statements."""
    own = [row for row in rows if row.claim.paper == paper.id]
    tables: dict[str, dict[str, list[ValueRow]]] = {}
    for row in own:
        table, _ = place(paper, row.claim)
        tables.setdefault(table.id, {}).setdefault(column_title(row.claim), []).append(row)
    said = {claim.id: claim for claim in paper.claims if isinstance(claim, StatementClaim)}
    judged = [verdict for verdict in verdicts.verdicts if verdict.claim in said]
    return {
        "id": paper.id,
        "about": paper.about,
        "tables": [
            {"table": paper.tables[name], "columns": columns, "tally": tally_rows(columns)}
            for name, columns in tables.items()
        ],
        "statements": [(verdict, said[verdict.claim].statement) for verdict in judged],
        "tally": tally(judged),
    }


def tally_rows(columns: Mapping[str, Sequence[ValueRow]]) -> dict[str, int]:
    """The tally of one table."""
    return tally([row.verdict for rows in columns.values() for row in rows])


def column_title(claim: ValueClaim) -> str:
    """CIFAR-10, top-1."""
    return f"{dataset_title(claim.dataset)}, {METRICS.get(claim.metric, claim.metric)}"


def dataset_title(name: str) -> str:
    """A data set's name without who made it."""
    title = DATASETS[name].title if name in DATASETS else name
    return title.partition(" (")[0].partition(",")[0]


# --- the recipes beside their controls -----------------------------------------------------------


def quality_tables(quality: pd.DataFrame, recipes: Sequence[str]) -> list[dict[str, Any]]:
    """For each data set a row per recipe, a cell per metric, and the plot of the gains."""
    datasets: dict[str, dict[tuple[str, str, str], dict[str, Any]]] = {}
    for cell in quality.to_dict("records"):
        key = (str(cell["recipe"]), str(cell["protocol"]), str(cell["metric"]))
        datasets.setdefault(str(cell["dataset"]), {})[key] = {str(k): v for k, v in cell.items()}
    return [quality_table(name, cells, recipes) for name, cells in datasets.items()]


def quality_table(
    dataset: str, cells: Mapping[tuple[str, str, str], dict[str, Any]], recipes: Sequence[str]
) -> dict[str, Any]:
    """The table and the plot of one data set."""
    shown = [name for name in recipes if any(key[0] == name for key in cells)]
    linear = [cells[key] for name in shown if (key := (name, "linear", "top1")) in cells]
    return {
        "dataset": dataset_title(dataset),
        "rows": [(name, [cells.get((name, *kind)) for kind in QUALITY]) for name in shown],
        "plot": quality_plot(linear, recipes),
        "compared": any(not numbers.absent(c["minus_untrained"]) for c in linear),
        "level": [c["recipe"] for c in linear if not c["low"] > 0 and c["recipe"] not in CONTROLS],
    }


def quality_plot(cells: Sequence[Mapping[str, Any]], recipes: Sequence[str]) -> str:
    """Each recipe's linear top-1 minus the untrained encoder's; nothing where none was measured."""
    shown = [
        {"recipe": cell["recipe"], "printed": None, "difference": cell["minus_untrained"],
         "low": none(cell["low"]), "high": none(cell["high"])}
        for cell in cells
        if not numbers.absent(cell["minus_untrained"])
    ]  # fmt: skip
    return plots.gains(shown, recipes, "gain over untrained, points") if shown else ""


def none(number: float) -> float | None:
    """None for NaN, which JSON does not have."""
    return None if numbers.absent(number) else number


# --- printed against measured --------------------------------------------------------------------


def figures(
    rows: Sequence[ValueRow], recipes: Sequence[str], elsewhere: str | None
) -> Iterator[dict[str, str]]:
    """A pair of plots for each printed column that has measurements; a number drawn once.

    `elsewhere` names the images that were measured instead of the papers' own, if they were.
    """
    columns: dict[tuple[str, str, str], dict[tuple[str | None, str], ValueRow]] = {}
    for row in rows:
        claim = row.claim
        if row.verdict.mean is not None and not claim.knobs:
            column = columns.setdefault((claim.paper, claim.dataset, claim.metric), {})
            column.setdefault((claim.recipe, claim.printed), row)
    for (_, _, metric), found in columns.items():
        shown = list(found.values())
        yield {
            "title": column_title(shown[0].claim),
            "metric": metric,
            "scatter": values_plot(shown, recipes, elsewhere),
            "gains": gains_plot(shown, recipes),
        }


def values_plot(rows: Sequence[ValueRow], recipes: Sequence[str], elsewhere: str | None) -> str:
    """Printed against measured values."""
    points = [
        {"recipe": row.claim.recipe, "printed": float(percent(row.claim)),
         "mean": row.verdict.mean, "sd": row.verdict.sd or 0.0}
        for row in rows
    ]  # fmt: skip
    title = f"measured on {elsewhere}, %" if elsewhere else "measured, %"
    return plots.scatter(points, recipes, title, identity=elsewhere is None)


def gains_plot(rows: Sequence[ValueRow], recipes: Sequence[str]) -> str:
    """Printed and measured gains over the baseline row; nothing where there is no baseline."""
    shown = [
        {
            "recipe": row.claim.recipe,
            "printed": float(row.printed_gain),
            "difference": row.verdict.difference,
            "low": row.verdict.interval.low if row.verdict.interval else None,
            "high": row.verdict.interval.high if row.verdict.interval else None,
        }
        for row in rows
        if row.printed_gain is not None
    ]
    return plots.gains(shown, recipes, "gain over baseline, points") if shown else ""


# --- where the numbers come from -----------------------------------------------------------------


def sources(verdicts: Verdicts, measurements: pd.DataFrame) -> dict[str, Any]:
    """Hash of the measurements, and which evaluation code measured which recipes."""
    codes = measurements.groupby("code")["recipe"].unique()
    return {
        "measurements": verdicts.measurements,
        "runs": measurements["run"].nunique(),
        "rows": len(measurements),
        "codes": {str(code): sorted(names) for code, names in codes.items()},
    }


def seeds_of(measurements: pd.DataFrame) -> str:
    """How many seeds the recipes have: "1 seed", "3 seeds" or "3 to 10 seeds"."""
    counts = measurements.groupby("recipe")["seed"].nunique()
    least, most = int(counts.min()), int(counts.max())
    many = "seed" if most == 1 else "seeds"
    return f"{least} {many}" if least == most else f"{least} to {most} {many}"
