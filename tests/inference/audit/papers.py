"""Small papers, made in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from reclaim.inference.audit.cases import Case
from reclaim.registry.claims import Paper, ProtocolValue, Statement, Table
from reclaim.registry.claims.files import Answer, PaperFile

STATEMENT: TypeAdapter[Statement] = TypeAdapter(Statement)


def table(name: str, cells: Mapping[str, Mapping[str, str]], **about: Any) -> Table:
    """A results table: the recipe of a row is its name, a column `data.metric` says both."""
    columns = about.pop("columns", {}) or {
        column: {"dataset": column.split(".")[0], "metric": column.split(".")[1], "unit": "percent"}
        for column in next(iter(cells.values()))
    }
    rows = about.pop("rows", {})
    return Table(
        id=name,
        title=name,
        locator=name,
        kind="results",
        evaluation=about.pop("evaluation", "linear"),
        columns=columns,
        rows={row: {"label": row, "recipe": row, **rows.get(row, {})} for row in cells},
        cells={row: dict(values) for row, values in cells.items()},
        **about,
    )


def paper(
    *tables: Table,
    statements: Mapping[str, Mapping[str, Any]] | None = None,
    protocol: Mapping[str, Any] | None = None,
    name: str = "made_up",
    **about: Any,
) -> Paper:
    """A paper of some tables; `protocol` by path, `statements` by id without text and locator."""
    said = {
        key: STATEMENT.validate_python({"text": key, "locator": "here", **value})
        for key, value in (statements or {}).items()
    }
    values = tuple(
        ProtocolValue(path=path, value=value, source="printed", locator="here")
        for path, value in (protocol or {}).items()
    )
    answers = about.pop("answers", {})
    return Paper(
        id=name,
        about=PaperFile(title=name, authors="nobody", year=2024, **about),
        tables={made.id: made for made in tables},
        protocol=values,
        statements=said,
        answers={key: Answer.model_construct(**value) for key, value in answers.items()},
    )


def case(*tables: Table, **about: Any) -> Case:
    """The case of a paper."""
    return Case(paper(*tables, **about))
