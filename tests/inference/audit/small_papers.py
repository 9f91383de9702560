"""Papers about one data set, `shapes`, whose size and classes a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reclaim.inference.audit.cases import Case
from reclaim.registry.claims import Answer, ProtocolValue, Table
from tests.inference.audit import papers


def table(name: str, cells: Mapping[str, Mapping[str, str]], **about: Any) -> Table:
    """`papers.table` with `-` for cells that a row does not have; a column is dataset.metric, or a
    metric on `shapes`. `columns` has what is to be different in some of them."""
    named = {column: column.rpartition(".") for row in cells.values() for column in row}
    changes = about.pop("columns", {})
    columns = {
        name: {"dataset": dataset or "shapes", "metric": metric, "unit": "percent"}
        | changes.get(name, {})
        for name, (dataset, _, metric) in named.items()
    }
    full = {row: dict.fromkeys(columns, "-") | dict(some) for row, some in cells.items()}
    return papers.table(name, full, columns=columns, **about)


def case(
    *tables: Table,
    statements: Mapping[str, Mapping[str, Any]] | None = None,
    protocol: Sequence[Mapping[str, Any]] = (),
    images: int | None = 1000,
    classes: int | None = 10,
    inferred: Mapping[str, tuple[int, ...]] | None = None,
    **changes: Any,
) -> Case:
    """A paper whose `shapes` have `images` test images; `inferred` numbers of images by cell."""
    shapes = {"title": "Shapes", "classes": classes, "test_images": images}
    values = tuple(
        ProtocolValue.model_validate({"source": "printed", "locator": "Section 2", **value})
        for value in protocol
    )
    paper = papers.paper(*tables, statements=statements, datasets={"shapes": shapes})
    made = Case(paper.model_copy(update={"protocol": values, **changes}))
    made.__dict__["denominators"] = dict(inferred or {})  # not what granularity would find
    return made


def answer(*about: str) -> dict[str, Answer]:
    """An author's answer, for `case(answers=...)`."""
    said = {"date": "2024", "text": "It is a slip.", "source": "mail"}
    return {"reply": Answer.model_construct(about=about, **said)}


def order(greater: str, lesser: str, **changes: Any) -> dict[str, Any]:
    """A statement that one cell is above another."""
    return {"kind": "order", "greater": [greater], "lesser": [lesser], **changes}
