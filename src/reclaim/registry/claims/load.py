"""Reading a claims folder: whole and right, or one error with file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from reclaim.records import ReclaimError, write_text_if_changed
from reclaim.registry.claims.files import (
    AnswersFile,
    DivergencesFile,
    Entry,
    PaperFile,
    ProtocolFile,
    ProtocolValue,
    Table,
    TableFile,
)
from reclaim.registry.claims.names import Known
from reclaim.registry.claims.papers import Paper
from reclaim.registry.claims.printed import NAME
from reclaim.registry.claims.statements import StatementsFile
from reclaim.registry.claims.text import Document, Sheet, fault, read_csv, read_yaml, short

ROOT = Path("workflow/claims")
SCHEMAS = Path("workflow/schemas")

_FILES: dict[str, type[Entry]] = {
    "paper": PaperFile,
    "table": TableFile,
    "protocol": ProtocolFile,
    "statements": StatementsFile,
    "divergences": DivergencesFile,
    "answers": AnswersFile,
}
AnyFile = TypeVar("AnyFile", bound=Entry)


def load_papers(
    root: Path = ROOT,
    only: Sequence[str] = (),
    *,
    recipes: Collection[str] | None = None,
    datasets: Collection[str] | None = None,
) -> dict[str, Paper]:
    """Every paper of a claims folder by id, or those named; `root` may be one paper's own folder.

    `recipes` and `datasets` are the names a claim may use (default: the registry's). Raises
    ReclaimError, one line with file and line, for anything that is not as the schemas have it.
    """
    known = Known(
        _registry_recipes() if recipes is None else recipes,
        _registry_datasets() if datasets is None else datasets,
    )
    folders = _folders(Path(root))
    if unknown := [name for name in only if name not in folders]:
        raise ReclaimError(
            f"{root}: unknown paper {unknown[0]!r}; expected one of {', '.join(folders)}"
        )
    return {name: _load(folders[name], known) for name in folders if not only or name in only}


def _registry_recipes() -> Collection[str]:
    from reclaim.registry.recipes import RECIPES

    return set(RECIPES)


def _registry_datasets() -> Collection[str]:
    from reclaim.registry.datasets import DATASETS

    return set(DATASETS)


def _folders(root: Path) -> dict[str, Path]:
    if (root / "paper.yaml").is_file():
        return {_name(root.resolve()): root}
    folders = sorted(path for path in root.glob("[!.]*") if path.is_dir())
    if not folders:
        raise ReclaimError(f"{root}: no papers there; expected a folder per paper with paper.yaml")
    return {_name(path): path for path in folders}


def _name(path: Path) -> str:
    """The id that a file or folder gives to what it holds."""
    name = path.name if path.is_dir() else path.stem
    if not re.fullmatch(NAME, name):
        raise fault(path, 1, f"{short(name)} is no name; {_NAMES}")
    return name


_NAMES = "expected lower-case letters, digits, _ and ."


def _load(folder: Path, known: Known) -> Paper:
    _refuse_strays(folder, {"tables", *(f"{name}.yaml" for name in _FILES if name != "table")})
    about = _validate(read_yaml(folder / "paper.yaml"), PaperFile, known)
    known = Known({*known.recipes, *about.methods}, {*known.datasets, *about.datasets})
    tables = _load_tables(folder / "tables", known)
    known = replace(known, tables=tables)
    said = _optional(folder / "statements.yaml", StatementsFile, known).statements
    known = replace(known, statements=said)
    return Paper(
        id=folder.resolve().name,
        about=about,
        tables=tables,
        protocol=_load_protocol(folder / "protocol.yaml", known),
        statements=said,
        divergences=_optional(folder / "divergences.yaml", DivergencesFile, known).divergences,
        answers=_optional(folder / "answers.yaml", AnswersFile, known).answers,
    )


def _refuse_strays(folder: Path, expected: Collection[str]) -> None:
    for path in sorted(folder.glob("[!.]*")):
        if path.name not in expected and path.suffix != ".md":
            raise fault(path, 1, f"unknown file; expected one of {', '.join(sorted(expected))}")


def _validate(document: Document, model: type[AnyFile], known: Known) -> AnyFile:
    try:
        return model.model_validate(document.value, context=known)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        location = (*found["loc"], *found.get("ctx", {}).get("at", ()))
        raise document.fault(location, _message(found)) from error


def _message(found: Any) -> str:
    """One of pydantic's faults in words: what was given, what was expected."""
    kind, given = found["type"], short(found["input"])
    if kind == "claim":
        return str(found["msg"])
    if kind == "missing":
        return f"expected the key {found['loc'][-1]!r}"
    if kind == "string_pattern_mismatch":
        return f"{given} is no name; {_NAMES}"
    if kind == "union_tag_not_found":
        return "expected the key 'kind'"
    if kind == "union_tag_invalid":
        return f"unknown kind; expected one of {found['ctx']['expected_tags']}"
    return f"given {given}; expected: {_KINDS.get(kind, found['msg'])}"


_KINDS = {
    "dict_type": "names with values, as in 'name: value'",
    "model_type": "names with values, as in 'name: value'",
    "tuple_type": "a list",
    "string_type": "text",
}


def _optional(file: Path, model: type[AnyFile], known: Known) -> AnyFile:
    return _validate(read_yaml(file), model, known) if file.exists() else model()


def _load_protocol(file: Path, known: Known) -> tuple[ProtocolValue, ...]:
    values = _optional(file, ProtocolFile, known).values
    first: dict[tuple[str, str | None, str | None], int] = {}
    for i, value in enumerate(values):
        for key in _held_at(value):
            if first.setdefault(key, i) != i:
                document = read_yaml(file)
                line = document.lines["values", first[key]]
                message = f"duplicate of line {line}; expected one value where both hold"
                raise document.fault(("values", i, "path"), message)
    return values


def _held_at(value: ProtocolValue) -> Iterator[tuple[str, str | None, str | None]]:
    """What a value decides; one with more conditions goes before it and decides something else."""
    recipes: Collection[str | None] = set(value.when.recipes) or (None,)
    datasets: Collection[str | None] = set(value.when.datasets) or (None,)
    return ((value.path, recipe, dataset) for recipe in recipes for dataset in datasets)


def _load_tables(folder: Path, known: Known) -> dict[str, Table]:
    names = sorted({_name(path) for path in folder.glob("[!.]*")})
    if not names:
        raise fault(folder, 1, "no tables; expected <table>.csv and <table>.yaml")
    _refuse_strays(folder, {f"{name}{end}" for name in names for end in (".csv", ".yaml")})
    documents = {name: read_yaml(folder / f"{name}.yaml") for name in names}
    tables = {name: _load_table(document, name, known) for name, document in documents.items()}
    for document in documents.values():  # again, now that a margin's cells can be looked up
        _validate(document, TableFile, replace(known, tables=tables))
    return tables


def _load_table(document: Document, name: str, known: Known) -> Table:
    about = _validate(document, TableFile, known)
    sheet = read_csv(document.file.with_suffix(".csv"), about.kind == "results")
    _refuse_unmatched(document, "columns", about.columns, sheet, dict.fromkeys(sheet.columns, 1))
    _refuse_unmatched(document, "rows", about.rows, sheet, sheet.lines)
    return Table(**dict(about), id=name, cells=sheet.rows)


def _refuse_unmatched(
    document: Document, kind: str, about: Collection[str], sheet: Sheet, shown: Mapping[str, int]
) -> None:
    """Rows or columns that only one of a table's two files has."""
    for name, line in shown.items():
        if name not in about:
            message = f"{short(name)} is not among the {kind} of {document.file.name}"
            raise fault(sheet.file, line, f"{message}; expected one of {', '.join(about)}")
    for name in about:
        if name not in shown:
            message = f"not among the {kind} of {sheet.file.name}"
            raise document.fault((kind, name), f"{message}; expected one of {', '.join(shown)}")


# --- JSON Schemas --------------------------------------------------------------------------------


def schemas() -> dict[str, str]:
    """The JSON Schema of every YAML file of a claims folder, by file name."""
    return {f"claims.{name}.schema.json": _schema(model) for name, model in _FILES.items()}


def _schema(model: type[Entry]) -> str:
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | model.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def write_schemas(folder: Path = SCHEMAS) -> None:
    """Write them where they differ. Raises ReclaimError if the folder cannot be written."""
    for name, text in schemas().items():
        write_text_if_changed(folder / name, text)
