"""What a paper's text says about its numbers, as structure.

A statement of a kind that compares gives `pairs` of cells, (greater, lesser) or (minuend,
subtrahend), from which its truth in print and in measurements can be computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from reclaim.registry.claims.files import (
    Cell,
    Cells,
    DatasetName,
    Entry,
    Knobs,
    Name,
    Printed,
    RecipeName,
    Text,
)
from reclaim.registry.claims.names import MOST, refuse
from reclaim.registry.claims.printed import split

Quantifier = Literal["all", "almost_all", "most", "some", "none"]
Pair = tuple[str, str]


def _column(cell: str) -> str:
    return split(cell)[1]


def _pairs(first: Sequence[str], second: Sequence[str]) -> tuple[Pair, ...]:
    """Each cell of the first with each other cell of the second that stands in the same column."""
    columns: dict[str, list[str]] = {}
    for cell in second:
        columns.setdefault(_column(cell), []).append(cell)
    return tuple((a, b) for a in first for b in columns.get(_column(a), ()) if a != b)


def _check_pairs(first: Sequence[str], second: Sequence[str]) -> None:
    sizes = Counter(_column(cell) for cell in second)
    if sum(sizes[_column(cell)] for cell in first) > MOST:
        raise refuse(f"compares too much; expected at most {MOST} pairs of cells")
    compared = {a for a, _ in _pairs(first, second)}
    for cell in first:
        if cell not in compared:
            raise refuse(f"{cell} points at no cell to compare with; expected one of its column")


class Said(Entry):
    """What every statement has: where it stands and what it says, in words of our own.

    `word` is the paper's own term for what it states ("relative improvement"); statements made in
    one breath share a `group`.
    """

    text: Text
    locator: Text
    word: Text | None = None
    group: Name | None = None
    note: Text | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells it speaks about, in order."""
        return tuple(dict.fromkeys(cell for pair in self.pairs for cell in pair))

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """What it compares, cell by cell of one column."""
        return ()


class Value(Said):
    """A cell's number, said again in the text."""

    kind: Literal["value"]
    cell: Cell
    printed: Printed

    @property
    def cells(self) -> tuple[str, ...]:
        """The one cell."""
        return (self.cell,)


class Sum(Said):
    """A total of cells, printed in the text."""

    kind: Literal["sum"]
    terms: Cells
    printed: Printed

    @property
    def cells(self) -> tuple[str, ...]:
        """The terms."""
        return self.terms


class Difference(Said):
    """minuend − subtrahend as printed: in points, or relative to the subtrahend.

    `percent`: the paper writes % and does not say which.
    """

    kind: Literal["difference"]
    minuend: Cell
    subtrahend: Cell
    printed: Printed
    unit: Literal["points", "relative_percent", "percent"]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """(minuend, subtrahend), which may stand in different columns."""
        return ((self.minuend, self.subtrahend),)


class Order(Said):
    """Cells said to be greater than others, column by column."""

    kind: Literal["order"]
    greater: Cells
    lesser: Cells
    quantifier: Quantifier = "all"

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """(greater, lesser)."""
        return _pairs(self.greater, self.lesser)

    @model_validator(mode="after")
    def _compares(self, info: ValidationInfo) -> Self:
        if info.context is not None:
            _check_pairs(self.greater, self.lesser)
        return self


class Superlative(Said):
    """Cells said to be the greatest (or least) of their column among others."""

    kind: Literal["superlative"]
    best: Cells
    among: Cells
    direction: Literal["greatest", "least"] = "greatest"
    quantifier: Quantifier = "all"

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """(greater, lesser)."""
        pairs = _pairs(self.best, self.among)
        return pairs if self.direction == "greatest" else tuple((b, a) for a, b in pairs)

    @model_validator(mode="after")
    def _compares(self, info: ValidationInfo) -> Self:
        if info.context is not None:
            _check_pairs(self.best, self.among)
        return self


class Magnitude(Said):
    """Gaps described by a word instead of a number, column by column."""

    kind: Literal["magnitude"]
    minuend: Cells
    subtrahend: Cells
    direction: Literal["increase", "decrease"]
    size: Literal["large", "small", "negligible"]
    quantifier: Quantifier = "all"

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """(minuend, subtrahend)."""
        return _pairs(self.minuend, self.subtrahend)

    @model_validator(mode="after")
    def _compares(self, info: ValidationInfo) -> Self:
        if info.context is not None:
            _check_pairs(self.minuend, self.subtrahend)
        return self


class Trend(Said):
    """How a result moves with a knob: over `curve`, cells in the order of `values`.

    Where only a figure shows it, `curve` is empty, `unprinted` says so, and print cannot test it.
    `where` narrows the range, `fixed` are the other knobs, `at` is a peak's cell.
    """

    kind: Literal["trend"]
    knob: Name
    shape: Literal["rises", "falls", "no_steady_rise", "peak"]
    curve: tuple[Cell, ...] = ()
    values: tuple[Printed, ...] = ()
    at: Cell | None = None
    where: Text | None = None
    fixed: Knobs = Field(default_factory=dict)
    recipes: tuple[RecipeName, ...] = ()
    datasets: tuple[DatasetName, ...] = ()
    unprinted: Text | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The curve."""
        return self.curve

    @model_validator(mode="after")
    def _shown(self) -> Self:
        if bool(self.curve) == bool(self.unprinted):
            raise refuse("points at no cell; expected 'curve', or 'unprinted' with a reason")
        if len(self.values) != len(self.curve):
            raise refuse(f"{len(self.values)} values; expected one for each cell of the curve")
        if (self.at in self.curve) != (self.shape == "peak" and bool(self.curve)):
            raise refuse("expected 'at' with a cell of the curve for a peak, and only there", "at")
        return self


class Unprinted(Said):
    """A comparison of results of which no number is printed: a picture, or words alone."""

    kind: Literal["unprinted"]
    recipes: tuple[RecipeName, ...] = ()
    datasets: tuple[DatasetName, ...] = ()
    unprinted: Text


Statement = Annotated[
    Value | Sum | Difference | Order | Superlative | Magnitude | Trend | Unprinted,
    Field(discriminator="kind"),
]


class StatementsFile(Entry):
    """statements.yaml, by id."""

    statements: dict[Name, Statement] = Field(default_factory=dict)
