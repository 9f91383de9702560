"""Which code a result depends on, as a hash: comments and docstrings do not count.

A run depends on the training core, whole, and on the definitions that its row names: the
pairing, the steps, the loss, and whatever those call in their own file. So editing one step
makes stale the runs that use it and no others, and editing one protocol its own measurements.
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
    "linear": {"probe.py": "linear_scores", "fitting.py": "fit"},
    "knn": {"evaluate.py": "knn_scores"},
    "geometry": {"evaluate.py": "geometry"},
    "fine_tune": {"finetune.py": "fine_tune", "fitting.py": "fit"},
}
EVERY_MEASURE = ("predictions", "accuracies")


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
    named = {file: {measure} for file, measure in MEASURES[kind].items()}
    named["evaluate.py"] = named.get("evaluate.py", set()) | set(EVERY_MEASURE)
    return content_hash({**_parts(named), **whole((*SHARED, "frozen.py"))})


def _parts(named: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {name: definitions(LEARNING / name, sorted(roots)) for name, roots in named.items()}


def whole(names: Sequence[str]) -> dict[str, str]:
    """Whole modules of `learning`, as normal source text by name."""
    return {name: _text(_stripped(LEARNING / name)) for name in names}


def definitions(path: Path, roots: Iterable[str]) -> str:
    """The named top-level definitions of a module and those they refer to, as normal source text.

    Raises ReclaimError if the module does not define a root, or is not Python.
    """
    nodes = _top_level(path)
    missing = sorted(set(roots) - set(nodes))
    if missing:
        raise ReclaimError(
            f"{path}: defines no {missing[0]!r}, which a recipe of the plan names; add it, or run "
            "`reclaim plan` after mending the recipe"
        )
    wanted, open_names = set(roots), list(roots)
    while open_names:
        fresh = (_names(nodes[open_names.pop()]) & set(nodes)) - wanted
        wanted |= fresh
        open_names += sorted(fresh)
    return "\n".join(_text(node) for name, node in nodes.items() if name in wanted)


def _top_level(path: Path) -> dict[str, ast.stmt]:
    nodes: dict[str, ast.stmt] = {}
    for node in _stripped(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            nodes[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = (part for target in targets for part in ast.walk(target))
            nodes |= {part.id: node for part in named if isinstance(part, ast.Name)}
    return nodes


@cache
def _names(node: ast.AST) -> frozenset[str]:
    return frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name))


@cache
def _text(node: ast.AST) -> str:
    return ast.unparse(node)


@cache
def _stripped(path: Path) -> ast.Module:
    """A module without its docstrings. Raises ReclaimError for a file that is not Python."""
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
    return tree
