"""What a claim may name: checks that need more than the value itself.

They see the rest of the folder through pydantic's validation context; without one (a model made in
code, or read back) they let every well-formed name pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import filter as matching
from functools import cache
from types import UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationInfo
from pydantic_core import PydanticCustomError

from reclaim import records
from reclaim.records import Config, ReclaimError
from reclaim.registry.claims.printed import NOT_PRINTED, is_decimal, split
from reclaim.registry.claims.text import short

MOST = 100_000  # cells or pairs of one statement


class PrintedTable(Protocol):
    """What a locator is looked up in."""

    @property
    def kind(self) -> str:
        """Only results can be claimed."""

    @property
    def columns(self) -> Mapping[str, object]:
        """By id, in printed order."""

    @property
    def cells(self) -> Mapping[str, Mapping[str, str]]:
        """Printed strings by row and column."""


@dataclass(frozen=True)
class Known:
    """The names of the registry, of paper.yaml and of the files read so far.

    `tables` is None until all are read: cells are not looked up.
    """

    recipes: Collection[str]
    datasets: Collection[str]
    tables: Mapping[str, PrintedTable] | None = None
    statements: Collection[str] = ()


def refuse(message: str, *at: str | int) -> PydanticCustomError:
    """A fault, at the place `at` (keys and indices) inside the value being checked."""
    return PydanticCustomError("claim", "{message}", {"message": message, "at": at})


def one_of(kind: str, names: Callable[[Known], Collection[str]], entry: str) -> AfterValidator:
    """A check that a name is among those that the context knows; others need an `entry`."""

    def check(name: str, info: ValidationInfo) -> str:
        if info.context is None or name in (known := names(info.context)):
            return name
        expected = ", ".join(sorted(known))
        others = f"or one that paper.yaml names under '{entry}'"
        raise refuse(f"unknown {kind} {short(name)}; expected one of {expected}, {others}")

    return AfterValidator(check)


def printed(value: object) -> object:
    """A printed decimal, which is text: 75 and 75.00 differ."""
    if isinstance(value, str) and is_decimal(value):
        return value
    hint = "" if isinstance(value, str) else " in quotes"
    raise refuse(f"{short(value)} is not a printed decimal; expected digits such as '82.35'{hint}")


def expand(selectors: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    """The cells that locators stand for, `*` meaning any, each once and in order."""
    cells: dict[str, None] = {}
    for i, selector in enumerate(selectors):
        if not (found := _matches(selector, info.context)):
            raise refuse(f"{short(selector)} points at no cell; expected table[column,row]", i)
        cells.update(dict.fromkeys(found))
        if len(cells) > MOST:
            raise refuse(f"{short(selector)} is too much; expected at most {MOST} cells", i)
    return tuple(cells)


def single(cell: str, info: ValidationInfo) -> str:
    """One cell that is there."""
    if "*" in cell or not _matches(cell, info.context):
        raise refuse(f"{short(cell)} points at no cell; expected table[column,row]")
    return cell


def known_path(path: str) -> str:
    """A dotted path that `setting` knows."""
    if setting(path) is None:
        raise refuse(f"unknown path {short(path)}; expected one of a run's settings")
    return path


def subject(name: str, info: ValidationInfo) -> str:
    """A statement or a cell that is there."""
    if _matches(name, info.context) or (info.context and name in info.context.statements):
        return name
    expected = "expected a statement's id or table[column,row]"
    raise refuse(f"{short(name)} is no statement and no cell; {expected}")


def _matches(selector: str, known: Known | None) -> list[str]:
    try:
        name, columns, rows = split(selector)
    except ReclaimError:
        return []
    if known is None or known.tables is None:
        return [selector]
    table = known.tables.get(name)
    if table is None or table.kind != "results":
        return []
    return [
        f"{name}[{column},{row}]"
        for row in _fitting(rows, table.cells)
        for column in _fitting(columns, table.columns)
        if table.cells[row][column] != NOT_PRINTED
    ]


def _fitting(pattern: str, names: Collection[str]) -> list[str]:
    if "*" in pattern:
        return matching(names, pattern)
    return [pattern] if pattern in names else []


def variant(settings: Mapping[str, Any]) -> str:
    """How a reader tells settings from those as planned."""
    return ", ".join(f"{path.removeprefix('knobs.')}={value}" for path, value in settings.items())


# --- the paths of a protocol ---------------------------------------------------------------------

_BESIDE_CONFIG: dict[str, TypeAdapter[Any]] = {
    "seeds": TypeAdapter(tuple[Annotated[int, Field(ge=0)], ...]),
}


@cache
def setting(path: str) -> TypeAdapter[Any] | None:
    """What may stand at a dotted path of `records.Config`, of an evaluation protocol
    (`evaluate.linear.lr`) or of what a plan knows beside them; None for a path that is unknown.

    `knobs.*` and `facts.*` hold anything: recipes check their knobs, facts set nothing.
    """
    head, _, rest = path.partition(".")
    if head in ("knobs", "facts"):
        return TypeAdapter(Any) if rest else None
    if path in _BESIDE_CONFIG:
        return _BESIDE_CONFIG[path]
    if head == "evaluate":
        kind, _, rest = rest.partition(".")
        return _leaf(_protocols().get(kind), rest)
    return None if head in ("scale", "recipe", "terms") else _leaf(Config, path)


def _protocols() -> dict[str, type[BaseModel]]:
    models = get_args(get_args(records.Protocol)[0])
    return {model.model_fields["kind"].default: model for model in models}


def _leaf(model: type[BaseModel] | None, path: str) -> TypeAdapter[Any] | None:
    name, _, rest = path.partition(".")
    found = model.model_fields.get(name) if model else None
    if found is None:
        return None
    if (inner := _nested(found.annotation)) is not None:
        return _leaf(inner, rest)
    exact_type: Any = Annotated[found.annotation, found]
    return None if rest else TypeAdapter(exact_type)


def _nested(annotation: Any) -> type[BaseModel] | None:
    """The model of a field that holds one: `Twin`, or `Twin | None`."""
    kinds = get_args(annotation) if get_origin(annotation) in _UNIONS else (annotation,)
    models = (kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return next(models, None)


_UNIONS = (Union, UnionType)
