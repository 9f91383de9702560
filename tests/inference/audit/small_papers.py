"""Papers of a few cells, made in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from reclaim.inference.audit.cases import Case
from reclaim.registry.claims import Answer, Paper, ProtocolValue, Statement, Table
from reclaim.registry.claims.files import PaperFile

STATEMENT: TypeAdapter[Statement] = TypeAdapter(Statement)
ABOUT = {"title": "A paper", "authors": "Nobody", "year": 2024}

Cells = Mapping[str, Mapping[str, str]]


def table(name: str, cells: Cells, **changes: Any) -> Table:
    """Rows of printed strings by column; a column is dataset.metric, a row its own recipe.

    `changes`: fields of the table, or `columns` and `rows` with fields of some of them.
    """
    columns = {column: column.rpartition(".") for row in cells.values() for column in row}
    about = {
        name: {"dataset": dataset or "shapes", "metric": metric, "unit": "percent"}
        | changes.get("columns", {}).get(name, {})
        for name, (dataset, _, metric) in columns.items()
    }
    rows = {
        row: {"label": row, "recipe": row} | changes.get("rows", {}).get(row, {}) for row in cells
    }
    changes = {key: value for key, value in changes.items() if key not in ("columns", "rows")}
    given = {"title": name, "locator": name, "kind": "results", "evaluation": "linear"} | changes
    full = {row: {column: row_cells.get(column, "-") for column in columns}
            for row, row_cells in cells.items()}  # fmt: skip
    return Table(**given, id=name, columns=about, rows=rows, cells=full)


def case(
    *tables: Table,
    statements: Mapping[str, Mapping[str, Any]] | None = None,
    protocol: Sequence[Mapping[str, Any]] = (),
    images: int | None = 1000,
    classes: int | None = 10,
    inferred: Mapping[str, tuple[int, ...]] | None = None,
    **changes: Any,
) -> Case:
    """A paper whose data set `shapes` has `images` test images; `inferred` by cell."""
    shapes = {"title": "Shapes", "classes": classes, "test_images": images}
    said = {
        name: STATEMENT.validate_python({"text": name, "locator": "Section 1", **statement})
        for name, statement in (statements or {}).items()
    }
    values = tuple(
        ProtocolValue.model_validate({"source": "printed", "locator": "Section 2", **value})
        for value in protocol
    )
    made = Case(
        Paper(
            id="made_up",
            about=PaperFile(**ABOUT, datasets={"shapes": shapes}),
            tables={table.id: table for table in tables},
            statements=said,
            protocol=values,
            **changes,
        )
    )
    made.__dict__["denominators"] = dict(inferred or {})  # not what granularity would find
    return made


def answer(*about: str) -> dict[str, Answer]:
    """An author's answer, for `case(answers=...)`."""
    said = {"date": "2024", "text": "It is a slip.", "source": "mail"}
    return {"reply": Answer.model_construct(about=about, **said)}


def order(greater: str, lesser: str, **changes: Any) -> dict[str, Any]:
    """A statement that one cell is above another."""
    return {"kind": "order", "greater": [greater], "lesser": [lesser], **changes}
