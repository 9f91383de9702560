"""True papers with the faults of style that real ones have, counted from simulated images.

For every method, data set and run each test image gets the rank of its true label among the
classes. Whatever a paper prints is counted from these ranks and then printed carelessly: zeros
dropped, decimals and roundings mixed, differences taken of rounded cells. All of it stays true.

`draw` makes a `Draft` (plain values), `paper` the model that an audit takes, `write` the folder
that `reclaim audit --claims` reads. Nothing here knows how an audit works.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from reclaim.registry.claims import Paper, Table
from reclaim.registry.claims.files import PaperFile, ProtocolFile
from reclaim.registry.claims.names import setting
from reclaim.registry.claims.statements import StatementsFile

Ranks = npt.NDArray[np.int16]  # (runs, images): rank of the true label, 1 = right
Entity = tuple[str, str, str, str]  # recipe, knobs as JSON, dataset, evaluation
Said = dict[str, Any]

# How often a paper has a fault or habit of style; the tests hold the generator to these rates.
RATES = {
    "drop_zeros": 0.30,  # 75 for 75.00, in the whole paper
    "mixed_decimals": 0.20,  # some rows with one decimal less
    "fraction": 0.08,  # 0.7512 for 75.12 %
    "n_stated": 0.75,  # the size of the test sets is printed
    "runs_stated": 0.50,  # how many runs a number stands for is printed
    "sd": 0.40,  # deviations beside means over runs
    "from_cells": 0.50,  # numbers in the text computed from rounded cells
    "rerun": 0.05,  # a second paper that measured the same methods anew
}
# `batches`: the mean of batch means, the last batch a ragged one; `dropped`: that batch left out.
AVERAGES = {"single": 0.55, "runs": 0.25, "batches": 0.15, "dropped": 0.05}
# `binary` is what printing a double gives; `rows` is another rounding in every row.
ROUNDINGS = {"half_up": 0.35, "half_even": 0.20, "binary": 0.20, "truncate": 0.15, "rows": 0.10}
DECIMALS = {0: 0.03, 1: 0.35, 2: 0.57, 3: 0.05}
USUAL_SIZE = 0.35  # chance of a round size; otherwise log-uniform between the bounds
SIZES = (100, 200, 500, 1000, 2000, 5000, 10_000)
SIZE_BOUNDS = (32, 10_000)
CLASSES = (2, 3, 5, 10, 20, 50, 100, 200, 1000)
BATCHES = (32, 64, 100, 128, 256)
DATASETS = ("birds", "coins", "ferns", "knots", "masks", "ships")
METHODS = ("amber", "basalt", "cobalt", "dolomite", "emery", "flint", "garnet", "halite")
OURS = "ours"
KNOB = "strength"
ALMOST_ALL = Fraction(20, 100)  # the share of exceptions that the phrase allows


@dataclass(frozen=True)
class Style:
    """How a paper averages, rounds and prints; `runs` and `batch` count where they apply."""

    average: str
    rounding: str
    decimals: int
    runs: int
    batch: int
    drop_zeros: bool
    mixed_decimals: bool
    fraction: bool
    n_stated: bool
    runs_stated: bool
    sd: bool
    from_cells: bool


@dataclass(frozen=True)
class Dataset:
    """A made-up data set: its classes, its sizes and how well a plain method does on it."""

    classes: int
    test: int
    train: int
    skill: float


@dataclass
class Draft:
    """A paper in the making, as plain values; `values` are exact percentages by locator."""

    id: str
    style: Style
    datasets: dict[str, Dataset]
    methods: dict[str, str]
    lead: float = 0.0  # how much better our method is, on average
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    cells: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    entities: dict[str, tuple[Entity, str]] = field(default_factory=dict)
    ranks: dict[Entity, Ranks] = field(default_factory=dict)
    values: dict[str, Fraction] = field(default_factory=dict)
    statements: dict[str, Said] = field(default_factory=dict)
    protocol: list[dict[str, Any]] = field(default_factory=list)

    def copy(self) -> Draft:
        """Another draft whose print can be changed; the measured ranks are shared."""
        own = ("tables", "cells", "values", "statements", "protocol")
        return replace(self, **{name: deepcopy(getattr(self, name)) for name in own})

    def printed(self, cell: str) -> str:
        """The printed string at a locator."""
        table, column, row = parts(cell)
        return self.cells[table][row][column]

    def set(self, cell: str, printed: str) -> None:
        """Print something else at a locator."""
        table, column, row = parts(cell)
        self.cells[table][row][column] = printed

    def shown(self, cell: str) -> Fraction:
        """The percentage that a cell prints."""
        return Fraction(self.printed(cell)) * (100 if self.style.fraction else 1)


def locator(table: str, column: str, row: str) -> str:
    """The name of a cell."""
    return f"{table}[{column},{row}]"


def parts(cell: str) -> tuple[str, str, str]:
    """Table, column and row of a locator."""
    table, _, inner = cell.removesuffix("]").partition("[")
    column, _, row = inner.partition(",")
    return table, column, row


# --- printing ------------------------------------------------------------------------------------


def rounded(value: Fraction, decimals: int, rounding: str) -> str:
    """An exact number as a paper prints it; away from zero where `half_up` meets a half."""
    if rounding == "binary":
        text = f"{float(value):.{decimals}f}"
        return text.removeprefix("-") if not float(text) else text
    scaled = abs(value) * 10**decimals
    whole = {"half_up": floor(scaled + Fraction(1, 2)), "half_even": round(scaled),
             "truncate": floor(scaled), "ceiling": ceil(scaled)}[rounding]  # fmt: skip
    digits = str(whole).zfill(decimals + 1)
    sign = "-" if value < 0 and whole else ""
    return sign + (f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits)


def without_zeros(text: str) -> str:
    """75.50 as 75.5 and 75.00 as 75."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def average(ranks: Ranks, metric: str, style: Style) -> Fraction:
    """The exact percentage of a metric: over all images and runs, or the mean of batch means."""
    right = ranks <= (1 if metric == "top1" else 5)
    batch = style.batch
    if style.average == "dropped":
        right = right[:, : right.shape[1] // batch * batch]
    if style.average != "batches":
        return Fraction(100 * int(right.sum()), right.size)
    starts = np.arange(0, right.shape[1], batch)
    hits = np.add.reduceat(right, starts, axis=1, dtype=np.int64).sum(axis=0)
    sizes = np.diff([*starts, right.shape[1]]) * len(right)
    means = [Fraction(int(hit), int(size)) for hit, size in zip(hits, sizes, strict=True)]
    return 100 * sum(means, Fraction(0)) / len(means)


# --- the world behind a paper --------------------------------------------------------------------


def one_of(rng: np.random.Generator, weights: Mapping[Any, float]) -> Any:
    """A key, with the chance that stands beside it."""
    return list(weights)[int(rng.choice(len(weights), p=list(weights.values())))]


def some_of(rng: np.random.Generator, names: Sequence[str], count: int) -> list[str]:
    """So many different names, in the given order."""
    return [names[i] for i in sorted(rng.choice(len(names), size=count, replace=False))]


def draw_style(rng: np.random.Generator) -> Style:
    """A style at the stated rates."""
    has = {name: bool(rng.random() < rate) for name, rate in RATES.items() if name != "rerun"}
    kind = one_of(rng, AVERAGES)
    return Style(
        **has | {"sd": has["sd"] and kind == "runs"},
        average=kind,
        rounding=one_of(rng, ROUNDINGS),
        decimals=one_of(rng, DECIMALS),
        runs=int(rng.choice([3, 5, 10])) if kind == "runs" else 1,
        batch=int(rng.choice(BATCHES)),
    )


def draw_dataset(rng: np.random.Generator, style: Style) -> Dataset:
    """A size, classes that it can hold, and a skill well above chance."""
    low, high = SIZE_BOUNDS
    usual = rng.random() < USUAL_SIZE
    n = int(rng.choice(SIZES) if usual else round(low * (high / low) ** rng.random()))
    if style.average in ("batches", "dropped"):
        n = max(n, style.batch + 1)
        n -= (n % style.batch == 0) * (style.batch // 3)  # the last batch is a ragged one
    classes = int(rng.choice([c for c in CLASSES if c <= n]))
    skill = 1 / classes + (1 - 1 / classes) * rng.uniform(0.15, 0.95)
    return Dataset(classes, n, n * int(rng.integers(2, 10)), skill)


def measure(rng: np.random.Generator, shape: tuple[int, int], classes: int, skill: float) -> Ranks:
    """Ranks of independent images: first with chance `skill`, else beyond, nearer ones likelier.

    With sharpness 1 the other classes are ordered at random, which is as bad as a top-5 gets.
    """
    sharpness = rng.uniform(1, 6)
    ranks = np.ones(shape, dtype=np.int16)
    wrong = rng.random(shape, dtype=np.float32) >= skill
    beyond = rng.random(np.count_nonzero(wrong)) ** sharpness * (classes - 1)
    ranks[wrong] = 2 + beyond.astype(np.int16)
    return ranks


def measured(rng: np.random.Generator, draft: Draft, entity: Entity) -> Ranks:
    """The ranks of an entity, made when it is first asked for."""
    if entity not in draft.ranks:
        about = draft.datasets[entity[2]]
        better = draft.lead * (entity[0] == OURS)
        skill = np.clip(about.skill + rng.normal(better, 0.03), 1 / about.classes, 0.995)
        shape = (draft.style.runs, about.test)
        draft.ranks[entity] = measure(rng, shape, about.classes, float(skill))
    return draft.ranks[entity]


def metrics_of(about: Dataset, both: bool) -> list[str]:
    """Top-5 is printed only where it says something."""
    return ["top1", "top5"] if both and about.classes >= 10 else ["top1"]


def columns_of(draft: Draft, datasets: Sequence[str], both: bool) -> dict[str, Any]:
    """Columns for the metrics of some data sets, each with its deviation where that is printed."""
    unit = "fraction" if draft.style.fraction else "percent"
    columns: dict[str, Any] = {}
    for dataset in datasets:
        for metric in metrics_of(draft.datasets[dataset], both):
            name = f"{dataset}.{metric}"
            about = {"dataset": dataset, "metric": metric, "unit": unit}
            columns[name] = about
            if draft.style.sd:
                columns[f"{name}.sd"] = {**about, "statistic": "sd", "of": name}
    return columns


def add_table(
    draft: Draft, name: str, columns: dict[str, Any], rows: dict[str, Any], **about: Any
) -> None:
    """A results table without numbers yet; what its cells measure is fixed here."""
    style = draft.style
    table = {"title": f"The numbers of {name}", "locator": name.title(), "kind": "results",
             "evaluation": "linear", **about, "columns": columns, "rows": rows}  # fmt: skip
    if style.runs_stated:
        table["runs"] = style.runs
    draft.tables[name] = table
    for row, of in rows.items():
        knobs = json.dumps(of.get("knobs", {}), sort_keys=True)
        for column, meant in columns.items():
            entity = (of["recipe"], knobs, meant["dataset"], table["evaluation"])
            draft.entities[locator(name, column, row)] = (entity, meant["metric"])


def row_of(recipe: str, role: str | None = None, **knobs: float) -> dict[str, Any]:
    """A row for a method."""
    label = recipe.title() + "".join(f", {knob} {value}" for knob, value in knobs.items())
    said = {"label": label, "recipe": recipe, "role": role, "knobs": knobs}
    return {key: value for key, value in said.items() if value}


def add_main(rng: np.random.Generator, draft: Draft) -> None:
    """The main table: all methods on all data sets, ours last."""
    both = bool(rng.random() < 0.6)
    first = next(iter(draft.methods))
    roles = {name: "ours" if name == OURS else "baseline" for name in draft.methods}
    rows = {name: row_of(name, role) for name, role in roles.items()}
    columns = columns_of(draft, list(draft.datasets), both)
    add_table(draft, "table1", columns, rows, baseline=first)
    if rng.random() < 0.2:
        add_table(draft, "table2", columns, rows, baseline=first, evaluation="knn")


def add_ablation(rng: np.random.Generator, draft: Draft) -> None:
    """Parts of the method, between two rows that the main table has printed before."""
    datasets = some_of(rng, list(draft.datasets), int(rng.integers(1, len(draft.datasets) + 1)))
    first = next(iter(draft.methods))
    rows = {first: row_of(first, "baseline")}
    for part in some_of(rng, ("mixing", "weights", "debias"), int(rng.integers(1, 4))):
        rows[part] = {**row_of(f"ours_{part}", "ablation"), "label": f"with {part} alone"}
    rows[OURS] = row_of(OURS, "ours")
    add_table(draft, "table3", columns_of(draft, datasets, True), rows, baseline=first)


def add_sweep(rng: np.random.Generator, draft: Draft) -> None:
    """One knob of the method over several values, on one data set."""
    dataset = str(rng.choice(list(draft.datasets)))
    values = [round(0.1 * i, 1) for i in range(1, 1 + int(rng.integers(3, 10)))]
    rows = {f"at{i}": row_of(OURS, None, **{KNOB: value}) for i, value in enumerate(values)}
    columns = columns_of(draft, [dataset], False)
    add_table(draft, "table4", columns, rows)


def add_sizes(rng: np.random.Generator, draft: Draft) -> None:
    """The table of the data sets, as printed text."""
    thousands = str(rng.choice(["", " ", ","]))
    columns: dict[str, Any] = {"training_set": {}, "test_set": {}, "categories": {}}
    rows = {name: {"label": name.title(), "dataset": name} for name in draft.datasets}
    draft.tables["sizes"] = {"title": "The data sets", "locator": "Table 0", "kind": "data",
                             "columns": columns, "rows": rows}  # fmt: skip
    draft.cells["sizes"] = {
        name: {
            "training_set": f"{about.train:,}".replace(",", thousands),
            "test_set": f"{about.test:,}".replace(",", thousands),
            "categories": str(about.classes),
        }
        for name, about in draft.datasets.items()
    }


@cache
def queue_path() -> str:
    """Where the length of the queue is set."""
    return "twin.queue" if setting("twin.queue") is not None else "queue"


def add_protocol(rng: np.random.Generator, draft: Draft) -> None:
    """Some settings, all in agreement: the batch divides the queue, sizes are the table's."""
    first = next(iter(draft.methods))
    batch = int(rng.choice([64, 100, 128, 256]))
    values: list[tuple[str, Any, dict[str, Any]]] = [
        ("epochs", 200, {}), ("temperature", 0.5, {}), ("batch", batch, {})
    ]  # fmt: skip
    if rng.random() < 0.3:  # the queue's method has a batch of its own
        batch = batch // 2 + 25
        values.append(("batch", batch, {"recipes": [first]}))
    values.append((queue_path(), batch * int(rng.integers(3, 300)), {"recipes": [first]}))
    if draft.style.average in ("batches", "dropped"):
        values.append(("evaluate.linear.batch", draft.style.batch, {}))
    for name, about in draft.datasets.items():
        values.append(("dataset.subset", about.train, {"datasets": [name]}))
        if draft.style.n_stated:
            values.append(("facts.test_images", about.test, {"datasets": [name]}))
    for path, value, when in values:
        said = {"path": path, "value": value, "source": "printed", "locator": "Section 4"}
        draft.protocol.append(said | ({"when": when} if when else {}))


def world(rng: np.random.Generator, name: str, **fixed: Any) -> Draft:
    """Style, data sets, methods and tables, and what was measured; nothing printed yet."""
    style = replace(draw_style(rng), **fixed)
    datasets = some_of(rng, DATASETS, int(rng.integers(1, 4)))
    methods = some_of(rng, METHODS, int(rng.integers(3, 8)))
    parts_of_ours = [f"ours_{part}" for part in ("mixing", "weights", "debias")]
    draft = Draft(
        name, style, {each: draw_dataset(rng, style) for each in datasets},
        {each: each.title() for each in (*methods, OURS)}, float(rng.uniform(0, 0.12)),
    )  # fmt: skip
    add_main(rng, draft)
    if rng.random() < 0.6:
        add_ablation(rng, draft)
        draft.methods |= {each: each for each in parts_of_ours}
    if rng.random() < 0.5:
        add_sweep(rng, draft)
    evaluate(rng, draft)
    return draft


def evaluate(rng: np.random.Generator, draft: Draft) -> None:
    """Measure what is not measured yet, and the exact value of every cell."""
    known: dict[tuple[Entity, str], Fraction] = {}
    for cell, (entity, metric) in draft.entities.items():
        if (entity, metric) not in known:
            known[entity, metric] = average(measured(rng, draft, entity), metric, draft.style)
        draft.values[cell] = known[entity, metric]


def deviation(ranks: Ranks, metric: str) -> Fraction:
    """The standard deviation of a metric over the runs, in points."""
    right = ranks <= (1 if metric == "top1" else 5)
    return Fraction(float(np.std(100 * right.mean(axis=1), ddof=1)))


# --- what is printed -----------------------------------------------------------------------------


def print_tables(rng: np.random.Generator, draft: Draft) -> None:
    """All numbers of the results tables, row by row in the paper's style."""
    style = draft.style
    for name, table in draft.tables.items():
        if table["kind"] == "results":
            draft.cells[name] = {row: {} for row in table["rows"]}
            for row in table["rows"]:
                coarse = style.mixed_decimals and rng.random() < 0.3
                decimals = max(0, style.decimals - coarse) + 2 * style.fraction
                print_row(draft, name, row, decimals, row_rounding(rng, style))


def row_rounding(rng: np.random.Generator, style: Style) -> str:
    """The paper's rounding, or any where every row has its own."""
    if style.rounding != "rows":
        return style.rounding
    return str(rng.choice(["half_up", "half_even", "truncate"]))


def print_row(draft: Draft, table: str, row: str, decimals: int, rounding: str) -> None:
    """One row of numbers."""
    for column, about in draft.tables[table]["columns"].items():
        cell = locator(table, column, row)
        value = draft.values[cell]
        if about.get("statistic") == "sd":
            entity, metric = draft.entities[cell]
            value = deviation(draft.ranks[entity], metric)
        text = rounded(value / (100 if draft.style.fraction else 1), decimals, rounding)
        draft.set(cell, without_zeros(text) if draft.style.drop_zeros else text)


def say(rng: np.random.Generator, draft: Draft, value: Fraction, decimals: int) -> str:
    """A number in the text."""
    text = rounded(value, decimals, row_rounding(rng, draft.style))
    return without_zeros(text) if draft.style.drop_zeros else text


def known(draft: Draft, cell: str) -> Fraction:
    """What the authors take for a cell's percentage: the exact one, or the rounded one."""
    return draft.shown(cell) if draft.style.from_cells else draft.values[cell]


# --- statements ----------------------------------------------------------------------------------


def results(draft: Draft) -> list[str]:
    """The results tables."""
    return [name for name, table in draft.tables.items() if table["kind"] == "results"]


def values_columns(draft: Draft, table: str) -> list[str]:
    """The columns of a results table but its deviations."""
    columns = draft.tables[table]["columns"]
    return [name for name, about in columns.items() if "statistic" not in about]


def pick(rng: np.random.Generator, names: Sequence[str]) -> str:
    """One of some names."""
    return names[int(rng.integers(len(names)))]


def two_cells(rng: np.random.Generator, draft: Draft) -> tuple[str, str]:
    """Two cells of one column, mostly the greater first."""
    table = pick(rng, results(draft))
    column = pick(rng, values_columns(draft, table))
    rows = rng.permutation(list(draft.tables[table]["rows"]))[:2]
    a, b = (locator(table, column, str(row)) for row in rows)
    swap = (draft.values[a] < draft.values[b]) != (rng.random() < 0.1)
    return (b, a) if swap else (a, b)


def gap(draft: Draft, a: str, b: str, unit: str) -> Fraction | None:
    """a − b in points, or relative to b in percent; None where it is nothing to write about."""
    difference = known(draft, a) - known(draft, b)
    if difference == 0 or (unit == "relative" and known(draft, b) == 0):
        return None
    return 100 * difference / known(draft, b) if unit == "relative" else difference


def difference(rng: np.random.Generator, draft: Draft) -> Said | None:
    """A difference in points or relative, called so, or just "percent"."""
    a, b = two_cells(rng, draft)
    unit = one_of(rng, {"points": 0.6, "relative": 0.4})
    value = gap(draft, a, b, unit)
    if value is None:
        return None
    decimals = draft.style.decimals if rng.random() < 0.7 else max(0, draft.style.decimals - 1)
    named = {"points": "points", "relative": "relative_percent"}[unit]
    return {
        "kind": "difference",
        "minuend": a,
        "subtrahend": b,
        "printed": say(rng, draft, value, decimals),
        "unit": "percent" if rng.random() < 0.2 else named,
    }


def value(rng: np.random.Generator, draft: Draft) -> Said | None:
    """A cell's number said again, perhaps with fewer decimals (and so perhaps rounded twice)."""
    cell, _ = two_cells(rng, draft)
    decimals = len(draft.printed(cell).partition(".")[2])
    if rng.random() < 0.5 and decimals > 2 * draft.style.fraction:
        decimals -= 1
    number = known(draft, cell) / (100 if draft.style.fraction else 1)
    return {"kind": "value", "cell": cell, "printed": say(rng, draft, number, decimals)}


def total(rng: np.random.Generator, draft: Draft) -> Said | None:
    """The sum of a method's top-1 accuracies over the data sets."""
    table = pick(rng, results(draft))
    row = pick(rng, list(draft.tables[table]["rows"]))
    columns = [name for name in values_columns(draft, table) if name.endswith("top1")]
    if len(columns) < 2 or draft.style.fraction:
        return None
    terms = [locator(table, column, row) for column in columns]
    number = sum((known(draft, term) for term in terms), Fraction(0))
    said = say(rng, draft, number, draft.style.decimals)
    return {"kind": "sum", "terms": terms, "printed": said}


def quantifier(holds: Sequence[bool]) -> str:
    """The strongest word that the cases bear."""
    true = sum(holds)
    if true in (0, len(holds)):
        return "all" if true else "none"
    if len(holds) - true <= ALMOST_ALL * len(holds):
        return "almost_all"
    return "most" if 2 * true > len(holds) else "some"


def pairs(greater: Sequence[str], lesser: Sequence[str]) -> list[tuple[str, str]]:
    """Cells of one column, each of the first with each other of the second."""
    return [(a, b) for a in greater for b in lesser if a != b and parts(a)[1] == parts(b)[1]]


def truths(draft: Draft, compared: Sequence[tuple[str, str]]) -> list[bool]:
    """Which first cells are really greater than the second."""
    return [draft.values[a] > draft.values[b] for a, b in compared]


def order(rng: np.random.Generator, draft: Draft) -> Said | None:
    """A method, mostly ours, above others over some columns, said as strongly as is true."""
    table = pick(rng, results(draft))
    rows = [str(row) for row in rng.permutation(list(draft.tables[table]["rows"]))]
    if OURS in rows and rng.random() < 0.6:
        rows.sort(key=lambda row: row != OURS)
    columns = values_columns(draft, table)
    if rng.random() < 0.5:
        columns = some_of(rng, columns, int(rng.integers(1, len(columns) + 1)))
    others = rows[1 : 2 + int(rng.integers(6))]
    greater = [locator(table, column, rows[0]) for column in columns]
    lesser = [locator(table, column, row) for row in others for column in columns]
    word = quantifier(truths(draft, pairs(greater, lesser)))
    return {"kind": "order", "greater": greater, "lesser": lesser, "quantifier": word}


def _is_best(draft: Draft, cell: str, against: Sequence[tuple[str, str]], sign: int) -> bool:
    return all(sign * draft.values[cell] > sign * draft.values[other] for _, other in against)


def superlative(rng: np.random.Generator, draft: Draft) -> Said | None:
    """The best (or worst) method of a column, or ours over all columns."""
    table = pick(rng, results(draft))
    rows, columns = list(draft.tables[table]["rows"]), values_columns(draft, table)
    least = bool(rng.random() < 0.2)
    if rng.random() < 0.5 and OURS in rows and not least:
        row = OURS
    else:
        columns = [pick(rng, columns)]
        cells = {row: draft.values[locator(table, columns[0], row)] for row in rows}
        row = (min if least else max)(cells, key=lambda name: cells[name])
    best = [locator(table, column, row) for column in columns]
    among = [locator(table, column, row) for row in rows for column in columns]
    sign = -1 if least else 1
    word = quantifier([_is_best(draft, cell, pairs([cell], among), sign) for cell in best])
    if word == "none":  # nobody writes that
        return None
    direction = "least" if least else "greatest"
    said = {"kind": "superlative", "best": best, "among": among, "quantifier": word}
    return said | {"direction": direction}


def magnitude(rng: np.random.Generator, draft: Draft) -> Said | None:
    """A gap that anybody would call large, or one that nobody would notice."""
    a, b = two_cells(rng, draft)
    points = abs(draft.values[a] - draft.values[b])
    if not (points > 5 or 0 < points < Fraction(2, 10)):
        return None
    rise = draft.values[a] > draft.values[b]
    size = "large" if points > 5 else "negligible"
    said = {"kind": "magnitude", "minuend": [a], "subtrahend": [b], "size": size}
    return said | {"direction": "increase" if rise else "decrease"}


def curve(draft: Draft) -> tuple[list[str], list[str]]:
    """The cells and knob values of the sweep, if there is one."""
    if "table4" not in draft.tables:
        return [], []
    column = values_columns(draft, "table4")[0]
    rows = draft.tables["table4"]["rows"]
    cells = [locator("table4", column, row) for row in rows]
    return cells, [str(about["knobs"][KNOB]) for about in rows.values()]


def shapes(draft: Draft, cells: Sequence[str]) -> list[str]:
    """All true words for the shape of a curve."""
    numbers = [draft.values[cell] for cell in cells]
    rises = all(a < b for a, b in pairwise(numbers))
    falls = all(a > b for a, b in pairwise(numbers))
    peak = numbers.count(max(numbers)) == 1
    true = {"rises": rises, "falls": falls, "no_steady_rise": not rises, "peak": peak}
    return [name for name, holds in true.items() if holds]


def trend(rng: np.random.Generator, draft: Draft) -> Said | None:
    """How the sweep goes."""
    cells, values = curve(draft)
    if not cells:
        return None
    shape = pick(rng, shapes(draft, cells))
    said = {"kind": "trend", "knob": KNOB, "shape": shape, "curve": cells, "values": values}
    top = max(cells, key=lambda cell: draft.values[cell])
    return said | ({"at": top} if shape == "peak" else {})


def unprinted(rng: np.random.Generator, draft: Draft) -> Said | None:
    """Something that only a picture shows."""
    return {"kind": "unprinted", "unprinted": "A picture.", "recipes": [OURS]}


STATEMENTS: dict[Callable[[np.random.Generator, Draft], Said | None], float] = {
    difference: 0.36, value: 0.10, total: 0.08, order: 0.14, superlative: 0.14, magnitude: 0.06,
    trend: 0.10, unprinted: 0.02,
}  # fmt: skip


def add_statement(draft: Draft, said: Said) -> str:
    """A statement under the next id, which is returned."""
    name = f"s{len(draft.statements)}"
    draft.statements[name] = {**said, "text": f"A {said['kind']}.", "locator": "Section 4"}
    return name


def state(rng: np.random.Generator, draft: Draft) -> None:
    """Four to ten true statements."""
    for _ in range(int(rng.integers(4, 11))):
        if said := one_of(rng, STATEMENTS)(rng, draft):
            add_statement(draft, said)


# --- whole papers --------------------------------------------------------------------------------

Edit = Callable[[Draft], None]


def draw(seed: int, edit: Edit | None = None, **fixed: Any) -> Draft:
    """A true paper; `edit` changes what was measured before it is printed, `fixed` the style."""
    build, finish = (np.random.default_rng([seed, stage]) for stage in (0, 1))
    draft = world(build, f"paper{seed}", **fixed)
    if edit is not None:
        edit(draft)
    return finished(finish, draft)


def finished(rng: np.random.Generator, draft: Draft) -> Draft:
    """The draft with tables, protocol and text printed."""
    print_tables(rng, draft)
    if rng.random() < 0.5 and draft.style.n_stated:
        add_sizes(rng, draft)
    if rng.random() < 0.6:
        add_protocol(rng, draft)
    state(rng, draft)
    return draft


def rerun(seed: int, draft: Draft) -> Draft:
    """A second true paper that measured everything anew, so that most numbers differ a little."""
    rng = np.random.default_rng([seed, 2])
    again = Draft(f"{draft.id}_again", draft.style, draft.datasets, draft.methods, draft.lead)
    again.tables = {name: deepcopy(draft.tables[name]) for name in results(draft)}
    again.entities = dict(draft.entities)
    evaluate(rng, again)
    return finished(rng, again)


def true_papers(seed: int) -> list[Draft]:
    """A true paper, at the stated rate with another that measured the same anew."""
    draft = draw(seed)
    twice = np.random.default_rng([seed, 3]).random() < RATES["rerun"]
    return [draft, rerun(seed, draft)] if twice else [draft]


def about(draft: Draft) -> dict[str, Any]:
    """paper.yaml."""
    datasets = {}
    for name, of in draft.datasets.items():
        stated = {"test_images": of.test} if draft.style.n_stated else {}
        datasets[name] = {"title": name.title(), "classes": of.classes, **stated}
    return {"title": "A made-up paper", "authors": "Nobody", "year": 2024,
            "methods": draft.methods, "datasets": datasets}  # fmt: skip


def paper(draft: Draft) -> Paper:
    """The paper as `reclaim.registry.claims.load_papers` would give it. Raises ValidationError."""
    tables = {
        name: {**spec, "id": name, "cells": draft.cells[name]}
        for name, spec in sorted(draft.tables.items())
    }
    return Paper(
        id=draft.id,
        about=PaperFile.model_validate(about(draft)),
        tables={name: Table.model_validate(table) for name, table in tables.items()},
        protocol=ProtocolFile.model_validate({"values": draft.protocol}).values,
        statements=StatementsFile.model_validate({"statements": draft.statements}).statements,
    )


def write(draft: Draft, root: Path) -> Path:
    """The paper's folder in the claims format, below `root`."""
    folder = root / draft.id
    (folder / "tables").mkdir(parents=True)
    files = {"paper": about(draft), "protocol": {"values": draft.protocol},
             "statements": {"statements": draft.statements}}  # fmt: skip
    files |= {f"tables/{name}": table for name, table in draft.tables.items()}
    for name, content in files.items():
        text = yaml.dump(content, Dumper=_Quoting, sort_keys=False, allow_unicode=True)
        (folder / f"{name}.yaml").write_text(text)
    for name, rows in draft.cells.items():
        write_csv(folder / "tables" / f"{name}.csv", list(draft.tables[name]["columns"]), rows)
    return folder


def write_csv(file: Path, columns: Sequence[str], rows: Mapping[str, Mapping[str, str]]) -> None:
    """A table's printed strings."""
    lines = [",".join(["row", *columns])]
    for row, cells in rows.items():
        quoted = [f'"{cells[column]}"' for column in columns]
        lines.append(",".join([row, *quoted]))
    file.write_text("\n".join(lines) + "\n")


class _Quoting(yaml.SafeDumper):
    """No anchors: the claims format refuses them."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True
