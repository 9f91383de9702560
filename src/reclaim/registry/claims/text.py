"""YAML and CSV read strictly: plain values, and the line of each for the error messages.

A file may come from anybody, so nothing here builds objects, follows references or reads without
a limit.
"""

from __future__ import annotations

import csv
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from reclaim.records import ReclaimError
from reclaim.registry.claims.printed import NOT_PRINTED, is_decimal

YAML_BYTES = 1 << 20
CSV_BYTES = 1 << 25
CELLS = 100_000  # of one table; the audit takes minutes for so many
DEPTH = 20

Location = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# The scalars of YAML 1.2's core schema: no dates, no sexagesimal numbers, and `no` is a word.
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)
_MEND = "mend the line, or get the file again"
_TEXT_CELL = re.compile(r"(?![=@]|[+-]\D)[^\x00-\x1f\x7f]+")


def fault(file: Path, line: int, message: str) -> ReclaimError:
    """An error of one line that names file and line."""
    return ReclaimError(f"{file}:{line}: {textwrap.shorten(message, 600, placeholder=' ...')}")


def short(value: object) -> str:
    """A value for a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_text(file: Path, most: int) -> str:
    """A UTF-8 file of at most `most` bytes. Raises ReclaimError."""
    try:
        if not file.is_file():
            raise fault(file, 1, "no such file; expected it here")
        if (size := file.stat().st_size) > most:
            raise fault(file, 1, f"{size} bytes; expected at most {most}")
        data = file.read_bytes()
    except OSError as error:
        raise fault(file, 1, f"cannot read: {error.strerror}; expected a text file") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise fault(file, line, "not UTF-8; expected a file saved as UTF-8 text") from error


# --- YAML ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Document:
    """A YAML file as plain values, and the line of every key and item."""

    file: Path
    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)

    def fault(self, location: Sequence[str | int], message: str) -> ReclaimError:
        """An error at the deepest part of a location that the file has."""
        found: Location = ()
        for part in location:
            found = (*found, part) if (*found, part) in self.lines else found
        where = ".".join(str(part) for part in found)
        message = f"{where[:200]}: {message}" if where else message
        return fault(self.file, self.lines.get(found, 1), message)


def read_yaml(file: Path) -> Document:
    """One document with text keys, no tags, anchors or repeated keys. Raises ReclaimError."""
    text = read_text(file, YAML_BYTES)
    document = Document(file)
    try:
        _refuse_tricks(file, text)
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = _line(error.problem_mark or error.context_mark)
        raise fault(file, line, f"not YAML: {error.problem or error.context}; {_MEND}") from error
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise fault(file, line, f"not YAML: {getattr(error, 'reason', error)}; {_MEND}") from error
    value = None if node is None else _plain(document, node, ())
    return Document(file, value, document.lines)


def _line(mark: Any) -> int:
    return int(mark.line) + 1 if mark is not None else 1


def _refuse_tricks(file: Path, text: str) -> None:
    """One pass over the events, before anything is built that could be deep or shared."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = _line(event.start_mark)
        if getattr(event, "anchor", None) is not None:
            raise fault(file, line, "an anchor or alias; expected the value written out")
        if (tag := getattr(event, "tag", None)) is not None:
            raise fault(file, line, f"the tag {short(tag)}; expected a plain value")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise fault(file, line, f"nested too deeply; expected at most {DEPTH} levels")


def _plain(document: Document, node: Any, location: Location) -> Any:
    document.lines.setdefault(location, _line(node.start_mark))
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, location)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(document, item, (*location, i)) for i, item in enumerate(node.value)]
    return _scalar(document, node)


def _mapping(document: Document, node: Any, location: Location) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in node.value:
        line = _line(key.start_mark)
        if not isinstance(key, yaml.ScalarNode):
            raise fault(document.file, line, "a list or mapping as a key; expected a name")
        if key.value in mapping:
            message = f"duplicate {short(key.value)}; expected each name once"
            raise fault(document.file, line, message)
        document.lines[*location, key.value] = line
        mapping[key.value] = _plain(document, value, (*location, key.value))
    return mapping


def _scalar(document: Document, node: Any) -> Any:
    text = node.value
    if node.style:  # quoted or a block: text, whatever it looks like
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    number = float(text) if _FLOAT.fullmatch(text) else None
    if _NOT_FINITE.fullmatch(text) or (number is not None and not math.isfinite(number)):
        message = f"{short(text)}; expected a finite number, or quotes for text"
        raise fault(document.file, _line(node.start_mark), message)
    return text if number is None else number


# --- CSV -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sheet:
    """A table's printed strings by row and column, and the line of every row."""

    file: Path
    columns: tuple[str, ...]
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


def read_csv(file: Path, numbers: bool) -> Sheet:
    """A header `row,<columns>`, then a row per name; `numbers`: all cells are printed decimals.

    Raises ReclaimError.
    """
    reader = csv.reader(StringIO(read_text(file, CSV_BYTES), newline=""), strict=True)
    sheet = None
    try:
        for fields in reader:
            if sheet is None:
                sheet = Sheet(file, _header(file, fields))
            else:
                _add_row(sheet, reader.line_num, fields, numbers)
    except csv.Error as error:
        raise fault(file, reader.line_num, f"not CSV: {error}; {_MEND}") from error
    if sheet is None or not sheet.rows:
        raise fault(file, 1, "empty; expected a header and at least one row")
    return sheet


def _header(file: Path, fields: list[str]) -> tuple[str, ...]:
    if fields[:1] != ["row"] or len(fields) < 2:
        raise fault(file, 1, "expected a header that begins with 'row' and names the columns")
    seen: set[str] = set()
    for name in fields[1:]:
        if name in seen:
            raise fault(file, 1, f"duplicate column {short(name)}; expected each column once")
        seen.add(name)
    return tuple(fields[1:])


def _add_row(sheet: Sheet, line: int, fields: list[str], numbers: bool) -> None:
    if len(fields) != len(sheet.columns) + 1:
        message = f"{len(fields)} fields; expected {len(sheet.columns) + 1}"
        raise fault(sheet.file, line, message)
    if (len(sheet.rows) + 1) * len(sheet.columns) > CELLS:
        raise fault(sheet.file, line, f"too many cells; expected at most {CELLS:,} in a table")
    name, cells = fields[0], dict(zip(sheet.columns, fields[1:], strict=True))
    if name in sheet.rows:
        raise fault(sheet.file, line, f"duplicate row {short(name)}; expected each row once")
    for column, cell in cells.items():
        if cell != NOT_PRINTED and not (
            is_decimal(cell) if numbers else _TEXT_CELL.fullmatch(cell)
        ):
            raise fault(sheet.file, line, f"{column}: {short(cell)} is not {_EXPECTED[numbers]}")
    sheet.rows[name], sheet.lines[name] = cells, line


_EXPECTED = {
    True: f"a printed decimal; expected digits such as 82.35, or {NOT_PRINTED} for nothing printed",
    False: f"plain text; expected the printed text, or {NOT_PRINTED} for nothing printed",
}
