"""A paper and its claims."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from reclaim.records import Model, ReclaimError
from reclaim.registry.claims.files import (
    Answer,
    Divergence,
    PaperFile,
    ProtocolValue,
    Role,
    Table,
    Unit,
)
from reclaim.registry.claims.names import variant
from reclaim.registry.claims.printed import NOT_PRINTED, split
from reclaim.registry.claims.statements import Statement


@dataclass(frozen=True)
class Alternative:
    """Another reading of a paper: its name, and what a run of it sets, or the recipe to run."""

    name: str
    settings: Mapping[str, Any]
    recipe: str | None = None

    @property
    def runs(self) -> bool:
        """Whether anything here can run it: a fact that sets nothing and names no recipe cannot."""
        return bool(self.settings or self.recipe)


class ValueClaim(Model):
    """One printed number: what was measured, how, and what the paper compares it with.

    `cell` is its locator, `id` and `baseline` are claim ids, `printed` and `sd` printed strings;
    `runs` is how many runs the paper says the number stands for (None: it does not say). `knobs`
    are those that differ from the paper's own protocol: a sweep's row at the default has none.
    """

    kind: Literal["value"] = "value"
    id: str
    paper: str
    text: str
    cell: str
    printed: str
    recipe: str
    dataset: str
    metric: str
    unit: Unit
    evaluation: str
    role: Role | None
    knobs: dict[str, int | float | bool | str]
    baseline: str | None
    runs: int | None
    sd: str | None

    @property
    def entity(self) -> tuple[str, ...]:
        """What was measured: two cells of one entity should print one number."""
        knobs = json.dumps(self.knobs, sort_keys=True)
        return (self.recipe, knobs, self.dataset, self.evaluation, self.metric)


class StatementClaim(Model):
    """One statement about numbers; `cells` are the locators it rests on."""

    kind: str
    id: str
    paper: str
    text: str
    cells: tuple[str, ...]
    statement: Statement


Claim = ValueClaim | StatementClaim


class Paper(Model):
    """Everything a claims folder says about one paper."""

    id: str
    about: PaperFile
    tables: dict[str, Table]
    protocol: tuple[ProtocolValue, ...] = ()
    statements: dict[str, Statement] = Field(default_factory=dict)
    divergences: dict[str, Divergence] = Field(default_factory=dict)
    answers: dict[str, Answer] = Field(default_factory=dict)

    def printed(self, cell: str) -> str:
        """The printed string at a locator. Raises ReclaimError for a cell that is not there."""
        table, column, row = split(cell)
        try:
            return self.tables[table].cells[row][column]
        except KeyError as error:
            raise ReclaimError(f"{self.id}: there is no cell {cell}") from error

    def cells(self) -> Iterator[ValueClaim]:
        """A claim for every printed number of the results tables, in printed order."""
        for table in self.tables.values():
            if table.kind == "results":
                yield from _value_claims(self, table)

    @property
    def claims(self) -> Iterator[Claim]:
        """All value claims, then all statements."""
        yield from self.cells()
        for name, said in self.statements.items():
            yield StatementClaim(
                kind=said.kind,
                id=f"{self.id}:{name}",
                paper=self.id,
                text=said.text,
                cells=said.cells,
                statement=said,
            )

    def protocol_of(self, recipe: str, dataset: str) -> dict[str, ProtocolValue]:
        """The protocol of one run by path; of several values that hold, the most specific."""
        holding = (value for value in self.protocol if value.when.holds(recipe, dataset))
        return {value.path: value for value in sorted(holding, key=lambda value: value.when.weight)}

    def settings(self, recipe: str, dataset: str) -> dict[str, Any]:
        """The default values of `protocol_of` that set something: all but `facts`."""
        chosen = self.protocol_of(recipe, dataset)
        return {
            path: value.value for path, value in chosen.items() if path.split(".")[0] != "facts"
        }

    def readings(
        self, recipe: str, dataset: str, knobs: Collection[str] = ()
    ) -> Iterator[Alternative]:
        """Every other reading of one run; of its own `knobs` it has none."""
        own = {f"knobs.{knob}" for knob in knobs}
        for value in self.protocol_of(recipe, dataset).values():
            for reading in value.readings if value.path not in own else ():
                if reading.no_run is None:
                    said = {value.path: reading.value, **reading.also}
                    sets = {
                        path: part
                        for path, part in said.items()
                        if path not in own and not path.startswith("facts.")
                    }
                    yield Alternative(variant(said), sets, reading.recipe)


def _value_claims(paper: Paper, table: Table) -> Iterator[ValueClaim]:
    deviations = {column.of: name for name, column in table.columns.items() if column.of}
    for row, cells in table.cells.items():
        for name, column in table.columns.items():
            if column.statistic == "value" and cells[name] != NOT_PRINTED:
                yield _value_claim(paper, table, row, name, cells.get(deviations.get(name, "")))


def _value_claim(paper: Paper, table: Table, row: str, name: str, sd: str | None) -> ValueClaim:
    about, column = table.rows[row], table.columns[name]
    recipe = about.recipe or ""
    baseline = about.baseline or table.baseline
    against = (
        baseline is not None and baseline != row and table.cells[baseline][name] != NOT_PRINTED
    )
    dataset = column.dataset or about.dataset or table.dataset or ""
    printed = table.cells[row][name]
    return ValueClaim(
        id=f"{paper.id}:{table.id}[{name},{row}]",
        paper=paper.id,
        text=f"{about.label}, {dataset}, {column.metric}: {printed} ({table.locator})",
        cell=f"{table.id}[{name},{row}]",
        printed=printed,
        recipe=recipe,
        dataset=dataset,
        metric=column.metric or "",
        unit=column.unit or "percent",
        evaluation=about.evaluation or table.evaluation or "",
        role=about.role,
        knobs={
            knob: value
            for knob, value in about.knobs.items()
            if paper.settings(recipe, dataset).get(f"knobs.{knob}") != value
        },
        baseline=f"{paper.id}:{table.id}[{name},{baseline}]" if against else None,
        runs=about.runs or table.runs,
        sd=None if sd == NOT_PRINTED else sd,
    )
