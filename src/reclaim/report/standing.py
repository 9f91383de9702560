"""How claims stand, in one word each and in counts, and the order in which recipes are shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from reclaim.records import Verdict, Verdicts
from reclaim.registry.recipes import CONTROLS
from reclaim.report.numbers import absent

TRANSFER = ("holds", "reversed", "open")
LADDER = ("reproduced", "compatible, imprecise", "not reproduced")
WORDS = (*TRANSFER, *LADDER, "untested")


def standing(verdict: Verdict) -> str:
    """One word for a verdict: what its row is coloured and counted by."""
    if verdict.transfer is not None:
        return verdict.transfer
    return "untested" if verdict.verdict.startswith("untestable") else verdict.verdict


def tally(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many claims stand how, in the order of WORDS; without those that none has."""
    counts = Counter(standing(verdict) for verdict in verdicts)
    return {word: counts[word] for word in WORDS if counts[word]}


def recipe_order(measured: Sequence[str], verdicts: Verdicts) -> list[str]:
    """Claimed recipes in the papers' order, then unclaimed ones, then the controls."""
    claimed = dict.fromkeys(verdict.recipe for verdict in verdicts.verdicts)
    first = [name for name in claimed if name is not None and name in measured]
    rest = [name for name in measured if name not in claimed and name not in CONTROLS]
    return [*first, *rest, *(name for name in CONTROLS if name in measured)]


def flag(cell: Mapping[str, Any]) -> str:
    """What a recipe's gain over the untrained encoder calls for; "" where it is clear or unknown.

    `cell` is a row of `inference.controls.controls`.
    """
    if cell["recipe"] in CONTROLS or absent(cell["low"]) or cell["low"] > 0:
        return ""
    return "below untrained" if cell["high"] < 0 else "not above untrained"


def flagged(cells: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The flags of those that have one, by name."""
    return {cell["name"]: word for cell in cells if (word := flag(cell))}
