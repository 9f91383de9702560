"""Which code a result depends on, as a hash: comments and docstrings do not count.

A run depends on the training core, whole, and on the definitions that its row names: the
pairing, the steps, the loss, and whatever those call or import in their own file. So editing one
step makes stale the runs that use it and no others, and editing one kind of evaluation its own
measurements.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

from reclaim.records import Config, ReclaimError, content_hash

LEARNING = Path(__file__).parents[1] / "learning"
# What is stored is not in it: a run keeps the hash of the arrays it learned from.
SHARED = ("data/subset.py", "device.py", "images.py", "nets.py", "optimise.py", "views.py")
CORE = (*SHARED, "train.py")
MEASURES = {
    "linear": ("probe.py", "fitting.py"),
    "knn": ("knn.py",),
    "geometry": ("geometry.py",),
    "fine_tune": ("finetune.py", "fitting.py"),
}


def pretrain_code(config: Config) -> str:
    """The hash of all code that decides what a run of this config learns."""
    named: dict[str, set[str]] = {
        "losses.py": {"total_loss"},
        "candidates.py": {"Outputs", "Context"},
        "steps.py": {step.name for term in config.terms for step in term.steps},
        "objectives.py": {term.loss for term in config.terms},
    }
    named["candidates.py"] |= {term.pairing for term in config.terms if term.pairing}
    core = (*CORE, "twin.py") if config.twin else CORE
    return content_hash({**_parts(named), **whole(core)})


def evaluate_code(kind: str) -> str:
    """The hash of all code that decides what one kind of protocol measures."""
    return content_hash(whole((*SHARED, "evaluate.py", "frozen.py", *MEASURES[kind])))


def forget() -> None:
    """Look at the files again: this process may have read them before it waited for others."""
    _stripped.cache_clear()


def _parts(named: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {name: definitions(LEARNING / name, sorted(roots)) for name, roots in named.items()}


def whole(names: Sequence[str]) -> dict[str, str]:
    """Whole modules of `learning`, as normal source text by name."""
    return {name: _text(_stripped(LEARNING / name)) for name in names}


def definitions(path: Path, roots: Iterable[str]) -> str:
    """The named top-level definitions of a module and those they refer to, as normal source text.

    An import defines the name it binds; a statement that names nothing belongs to all.
    Raises ReclaimError if the module does not define a root, or is not Python.
    """
    nodes, always = _top_level(path)
    missing = sorted(set(roots) - set(nodes))
    if missing:
        raise ReclaimError(
            f"{path}: defines no {missing[0]!r}, which a recipe of the plan names; add it, or run "
            "`reclaim plan` after mending the recipe"
        )
    wanted: list[ast.stmt] = []
    waiting = [*always, *(node for name in sorted(roots) for node in nodes[name])]
    while waiting:
        node = waiting.pop()
        if node not in wanted:
            wanted.append(node)
            waiting += [used for name in _names(node) for used in nodes.get(name, ())]
    return "\n".join(_text(node) for node in _stripped(path).body if node in wanted)


def _top_level(path: Path) -> tuple[dict[str, list[ast.stmt]], list[ast.stmt]]:
    """A module's statements by the names they bind, and those that bind none."""
    nodes: dict[str, list[ast.stmt]] = {}
    always: list[ast.stmt] = []
    for node in _stripped(path).body:
        names = _bound(node)
        for name in names:
            nodes.setdefault(name, []).append(node)
        always += [] if names else [node]
    return nodes, always


def _bound(node: ast.stmt) -> list[str]:
    """The names that a definition, an assignment or an import binds."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    parts = (part for target in targets for part in ast.walk(target))
    named = (part for part in parts if isinstance(part, ast.Name))
    return [part.id for part in named if isinstance(part.ctx, ast.Store)]


@cache
def _names(node: ast.AST) -> frozenset[str]:
    return frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name))


@cache
def _text(node: ast.AST) -> str:
    return ast.unparse(node)


@cache
def _stripped(path: Path) -> ast.Module:
    """A module without its docstrings, each name imported by a statement of its own.

    Raises ReclaimError for a file that is not Python.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ReclaimError(f"{path}:{error.lineno}: {error.msg}; mend the file") from error
    except ValueError as error:  # other bytes than text, or a null byte
        raise ReclaimError(f"{path}: {error}; mend the file") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    tree.body = [single for node in tree.body for single in _single(node)]
    return tree


def _single(node: ast.stmt) -> list[ast.stmt]:
    """A statement, or an import of several names as one import each."""
    if isinstance(node, ast.Import):
        return [ast.Import([alias]) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]
    return [node]
