"""The page: verdicts, the recipes beside their controls, and printed against measured numbers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reclaim import records
from reclaim.records import PAPER, Noise, Verdict, Verdicts
from reclaim.registry.claims import Paper, StatementClaim, Table, ValueClaim
from reclaim.registry.datasets import DATASETS
from reclaim.registry.recipes import CONTROLS
from reclaim.report import numbers, plots
from reclaim.report.details import deciding_p, details, ranged
from reclaim.report.standing import flagged, recipe_order, standing, tally

if TYPE_CHECKING:
    import pandas as pd

Cell = Mapping[str, Any]

METRICS = {"top1": "top-1", "top5": "top-5"}
EVALUATIONS = {"linear": "linear", "knn": "kNN", "fine_tune": "fine-tuned"}
QUALITY = {
    ("linear", "top1"): "Linear top-1", ("linear", "top5"): "Linear top-5",
    ("knn", "top1"): "kNN top-1", ("knn", "top5"): "kNN top-5",
    ("fine_tune", "top1"): "Fine-tuned top-1", ("fine_tune", "top5"): "Fine-tuned top-5",
    ("geometry", "alignment"): "Alignment", ("geometry", "uniformity"): "Uniformity",
}  # fmt: skip
SWEPT = [kind for kind in QUALITY if kind[1] == "top1"]


def write_report(
    scale: str,
    verdicts: Verdicts,
    measurements: pd.DataFrame,
    quality: pd.DataFrame,
    papers: Mapping[str, Paper],
    out: Path,
    stale: Mapping[str, str] | None = None,
) -> Path:
    """Write one self-contained page without scripts or requests; equal inputs, equal bytes.

    `quality` is `inference.controls.controls(measurements, plan)`, `stale` why claims are stale,
    by id (`inference.stale`). Raises ReclaimError if it cannot be written.
    """
    records.write_text(out, render(scale, verdicts, measurements, quality, papers, stale))
    return out


def render(
    scale: str,
    verdicts: Verdicts,
    measurements: pd.DataFrame,
    quality: pd.DataFrame,
    papers: Mapping[str, Paper],
    stale: Mapping[str, str] | None = None,
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
    shelf.filters.update(
        plain=numbers.plain,
        signed=numbers.signed,
        standing=standing,
        worded=worded,
        details=details,
        deciding_p=deciding_p,
        ranged=ranged,
    )
    shelf.globals.update(
        bracketed=numbers.bracketed, absent=numbers.absent, metrics=METRICS, controls=CONTROLS
    )
    recipes = recipe_order(list(quality["recipe"].unique()), verdicts)
    rows = value_rows(verdicts, papers)
    datasets = list(quality["dataset"].unique())
    elsewhere = " or ".join(datasets) if scale != PAPER else None
    return shelf.get_template("page.html.j2").render(
        scale=scale,
        transfers=scale != PAPER,
        datasets=[dataset_title(name) for name in datasets],
        counts=tally(verdicts.verdicts),
        quality=quality_tables(quality, recipes),
        sweeps=sweep_tables(quality, recipes),
        figures=list(figures(rows, recipes, elsewhere)),
        papers=[paper_section(paper, verdicts, rows) for paper in papers.values()],
        rankings=verdicts.rankings,
        noise=noise_rows(verdicts, recipes),
        sources=sources(verdicts, measurements),
        seeds=seeds_of(measurements),
        stale=stale or {},
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
        "divergences": paper.divergences,
        "statements": [(verdict, said[verdict.claim].statement) for verdict in judged],
        "tally": tally(judged),
    }


def noise_rows(verdicts: Verdicts, recipes: Sequence[str]) -> list[Noise]:
    """The noise of linear top-1 of every config, in the order of the recipes."""
    linear = [found for found in verdicts.noise if found.protocol == "linear"]
    return sorted(linear, key=lambda found: (found.dataset, recipes.index(found.recipe)))


def tally_rows(columns: Mapping[str, Sequence[ValueRow]]) -> dict[str, int]:
    """The tally of one table."""
    return tally([row.verdict for rows in columns.values() for row in rows])


def column_title(claim: ValueClaim) -> str:
    """CIFAR-10, top-1; where it is no linear probe's: CIFAR-10, top-1, fine-tuned."""
    how = "" if claim.evaluation == "linear" else f", {EVALUATIONS.get(claim.evaluation, '')}"
    return f"{dataset_title(claim.dataset)}, {METRICS.get(claim.metric, claim.metric)}{how}"


def worded(value: Any) -> str:
    """A value of a claim file as text: words as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def dataset_title(name: str) -> str:
    """A data set's name without who made it."""
    title = DATASETS[name].title if name in DATASETS else name
    return title.partition(" (")[0].partition(",")[0]


# --- the recipes beside their controls -----------------------------------------------------------


def quality_tables(quality: pd.DataFrame, recipes: Sequence[str]) -> list[dict[str, Any]]:
    """For each data set a row per planned config, a cell per metric, and the plot of the gains."""
    planned = quality[quality["variant"] == ""]
    return [
        quality_table(str(name), cells_of(part), recipes)
        for name, part in planned.groupby("dataset", sort=False)
    ]


def cells_of(quality: pd.DataFrame) -> dict[str, dict[tuple[str, str], Cell]]:
    """The rows of a table of controls by config, then protocol and metric."""
    cells: dict[str, dict[tuple[str, str], Cell]] = {}
    for row in quality.to_dict("records"):
        cell = {str(key): value for key, value in row.items()}
        cells.setdefault(cell["config"], {})[cell["protocol"], cell["metric"]] = cell
    return cells


def quality_table(
    dataset: str, configs: Mapping[str, Mapping[tuple[str, str], Cell]], recipes: Sequence[str]
) -> dict[str, Any]:
    """The table and the plot of one data set; a column for each kind that was measured."""
    rows = [(next(iter(cells.values())), cells) for cells in configs.values()]
    rows.sort(key=lambda row: recipes.index(row[0]["recipe"]))
    kinds = [kind for kind in QUALITY if any(kind in cells for _, cells in rows)]
    linear = [cells[kind] for _, cells in rows if (kind := ("linear", "top1")) in cells]
    flags = flagged(linear)
    return {
        "dataset": dataset_title(dataset),
        "columns": [QUALITY[kind] for kind in kinds],
        "rows": [
            (about, flags.get(about["name"], ""), [cells.get(kind) for kind in kinds])
            for about, cells in rows
        ],
        "plot": quality_plot(linear),
        "compared": any(not numbers.absent(c["minus_untrained"]) for c in linear),
        "level": flags,
    }


def quality_plot(cells: Sequence[Cell]) -> str:
    """Each recipe's linear top-1 minus the untrained encoder's; nothing where none was measured."""
    shown = [
        {"recipe": cell["name"], "printed": None, "difference": cell["minus_untrained"],
         "low": none(cell["low"]), "high": none(cell["high"])}
        for cell in cells
        if not numbers.absent(cell["minus_untrained"])
    ]  # fmt: skip
    names = [cell["name"] for cell in cells]
    return plots.gains(shown, names, "gain over untrained, points") if shown else ""


def sweep_tables(quality: pd.DataFrame, recipes: Sequence[str]) -> list[dict[str, Any]]:
    """For each data set the sweeps' top-1 beside the planned runs', recipe by recipe."""
    own = quality["protocol"].isin(EVALUATIONS)  # under other readings: in the verdicts
    swept = quality[own & (quality["metric"] == "top1")]
    tables = []
    for dataset, part in swept.groupby("dataset", sort=False):
        varied = set(part.loc[part["variant"] != "", "recipe"])
        rows = [
            (next(iter(cells.values())), cells)
            for cells in cells_of(part[part["recipe"].isin(varied)]).values()
        ]
        rows.sort(key=lambda row: (recipes.index(row[0]["recipe"]), row[0]["variant"] != ""))
        kinds = [kind for kind in SWEPT if any(kind in cells for _, cells in rows)]
        if rows:
            tables.append(
                {
                    "dataset": dataset_title(str(dataset)),
                    "columns": [QUALITY[kind] for kind in kinds],
                    "rows": [(about, [cells.get(kind) for kind in kinds]) for about, cells in rows],
                    "compared": int(part["minus_planned"].notna().sum()),
                    "moved": [words for row in rows if (words := moved(*row))],
                }
            )
    return tables


def moved(about: Cell, cells: Mapping[tuple[str, str], Cell]) -> str:
    """What is clearly not as planned: sscl synthetics=2 (linear, kNN); nothing where all may be."""
    found = [
        EVALUATIONS[kind]
        for (kind, _), cell in cells.items()
        if cell["planned_low"] > 0 or cell["planned_high"] < 0
    ]
    return f"{about['recipe']} {about['variant']} ({', '.join(found)})" if found else ""


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
    columns: dict[tuple[str, ...], dict[tuple[str | None, str], ValueRow]] = {}
    for row in rows:
        claim = row.claim
        if row.verdict.mean is not None and not claim.knobs:
            key = (claim.metric, claim.paper, claim.dataset, claim.evaluation)
            columns.setdefault(key, {}).setdefault((claim.recipe, claim.printed), row)
    for (metric, *_), found in columns.items():
        shown = list(found.values())
        yield {
            "title": f"{shown[0].claim.paper}: {column_title(shown[0].claim)}",
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
    """Hash of the measurements, and which code measured which recipes in which way."""
    codes: dict[tuple[str, str], set[str]] = {}
    columns = measurements[["protocol", "code", "recipe"]].sort_values(["protocol", "code"])
    for protocol, code, recipe in columns.itertuples(index=False):
        codes.setdefault((protocol, code), set()).add(recipe)
    several = Counter(protocol for protocol, _ in codes)
    return {
        "measurements": verdicts.measurements,
        "runs": measurements["run"].nunique(),
        "rows": len(measurements),
        "codes": [
            (protocol, code, ", ".join(sorted(names)) if several[protocol] > 1 else "every run")
            for (protocol, code), names in codes.items()
        ],
    }


def seeds_of(measurements: pd.DataFrame) -> str:
    """How many seeds the recipes have: "1 seed", "3 seeds" or "3 to 10 seeds"."""
    counts = measurements.groupby("recipe")["seed"].nunique()
    least, most = int(counts.min()), int(counts.max())
    many = "seed" if most == 1 else "seeds"
    return f"{least} {many}" if least == most else f"{least} to {most} {many}"
