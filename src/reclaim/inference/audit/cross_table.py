"""Check 3: is one measurement printed twice with two values?

Two cells print one measurement where method, settings, data, evaluation and metric are the same
(`Case.entity`) and so is the number of runs. Their values lie in intervals on a line, and intervals
have a common point as soon as each two of them have one (Helly 1923, in one dimension): so the
minimal sets of cells of which at least one must be wrong are pairs. A pair is claimed only where
the cells cannot be one number, rounded in two ways or printed with fewer digits.

Across papers two values of one entity are two trainings, so they are listed and never a
contradiction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

from reclaim.inference.audit.arithmetic import Text
from reclaim.inference.audit.cases import Case, fraction, last_digit
from reclaim.inference.audit.findings import Basis
from reclaim.inference.audit.readings import Interval, meets
from reclaim.records import Finding
from reclaim.registry.claims import Difference, Sum, Value, ValueClaim

CHECK = "cross_table"
ONE_MEASUREMENT = Basis(
    "cells with the same method, settings, data, evaluation, metric and number of runs print one "
    "measurement",
    "the log of that run",
)
TWO_TRAININGS = Basis(
    "rows and columns of the same name mean the same method, data and metric in both papers",
    "a re-run under both protocols",
)


def apart(values: Sequence[Interval]) -> list[tuple[int, int]]:
    """The pairs of open intervals without a common value: the minimal inconsistent sets.

    >>> apart([(Fraction(1), Fraction(3)), (Fraction(3), Fraction(4)), (Fraction(2), Fraction(5))])
    [(0, 1)]
    """
    return [
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(values), 2)
        if a[1] <= b[0] or b[1] <= a[0]
    ]


def may_be(value: Fraction, unit: Fraction) -> Interval:
    """What a printed value may stand for if it was rounded in any way: a unit on either side.

    >>> may_be(Fraction(3, 4), Fraction(1, 100))
    (Fraction(37, 50), Fraction(19, 25))
    """
    return value - unit, value + unit


def check(cases: Sequence[Case]) -> Iterator[Finding]:
    """For each paper the measurements at odds and those alike; then for each pair of papers."""
    for case in cases:
        yield from within(case)
    for first, second in combinations(cases, 2):
        if found := across(first, second):
            yield found


def within(case: Case) -> Iterator[Finding]:
    """The measurements that one paper prints more than once."""
    alike: list[list[str]] = []
    for claims in repeated(case):
        values = [_wide(case, claim) for claim in claims]
        if pairs := apart(values):
            yield _at_odds(case, claims, pairs)
        else:
            alike.append([claim.cell for claim in claims])
    if alike:
        differ = [cells for cells in alike if len({_value(case, cell) for cell in cells}) > 1]
        message = f"{len(alike)} measurements are printed more than once and agree"
        if differ:
            message += f", {len(differ)} of them up to the last digit, which rounding can change"
        cells = [cell for group in alike for cell in group]
        about: dict[str, Any] = {"sets": [], "alike": alike}
        yield case.finding(CHECK, cells, "consistent", message, ONE_MEASUREMENT, **about)


def repeated(case: Case) -> list[list[ValueClaim]]:
    """The accuracies of one entity and number of runs, where there are two or more."""
    groups: dict[tuple[Any, ...], list[ValueClaim]] = {}
    for claim in case.accuracies.values():
        groups.setdefault((case.entity(claim), claim.runs), []).append(claim)
    return [claims for claims in groups.values() if len(claims) > 1]


def _value(case: Case, cell: str) -> Fraction:
    return fraction(case.values[cell])


def _at_odds(case: Case, claims: list[ValueClaim], pairs: list[tuple[int, int]]) -> Finding:
    sets = [[claims[i].cell, claims[j].cell] for i, j in pairs]
    cells = list(dict.fromkeys(cell for pair in sets for cell in pair))
    supports = {cell: supporters(case, cell) for cell in cells}
    shown = ", ".join(f"{case.paper.printed(cell)} in {cell}" for cell in cells)
    backed = "; ".join(
        f"{case.paper.printed(cell)} fits {', '.join(names)}"
        for cell, names in supports.items()
        if names
    )
    claim = claims[0]
    message = (
        f"{', '.join((claim.recipe, *claim.entity[2:]))} is printed as {shown}: "
        "they cannot all be right if they are one measurement, as their labels say."
        f"{' ' + backed + '.' if backed else ''}"
    )
    return case.finding(
        CHECK,
        cells,
        "contradiction",
        message,
        ONE_MEASUREMENT,
        sets=sets,
        values={cell: 100 * _value(case, cell) for cell in cells},
        gap=100 * abs(_value(case, sets[0][0]) - _value(case, sets[0][1])),
        supports=supports,
    )


def supporters(case: Case, cell: str) -> list[str]:
    """The statements whose number is right with what a cell prints."""
    return [
        name
        for name, said in case.paper.statements.items()
        if isinstance(said, (Value, Sum, Difference))
        and cell in said.cells
        and any(meets(said.printed, value) for value in Text(case, name, said).stated().values())
    ]


# --- across papers -------------------------------------------------------------------------------


def across(first: Case, second: Case) -> Finding | None:
    """The entities that two papers print, and which of their settings differ."""
    theirs = {second.entity(claim): claim for claim in reversed(second.accuracies.values())}
    ours = {first.entity(claim): claim for claim in reversed(first.accuracies.values())}
    shared = [(ours[entity], theirs[entity]) for entity in reversed(ours) if entity in theirs]
    if not shared:
        return None
    cells = [
        f"{case.id}:{c.cell}"
        for pair in shared
        for case, c in zip((first, second), pair, strict=True)
    ]
    own = [claim.cell for claim, _ in shared]
    differ = [(a, b) for a, b in shared if apart([_wide(first, a), _wide(second, b)])]
    settings = sorted({path for a, _ in differ for path in settings_apart(first, second, a)})
    about: dict[str, Any] = {
        "papers": [first.id, second.id],
        "shared": [
            {"cells": [a.cell, b.cell], "values": [100 * fraction(a), 100 * fraction(b)]}
            for a, b in shared
        ],
        "settings": settings,
    }
    common = f"{first.id} and {second.id} both print {len(shared)} measurements by name"
    if not differ:
        message = f"{common}, and they agree; print does not say whether one cites the other"
        return first.finding(CHECK, cells, "consistent", message, TWO_TRAININGS, own, **about)
    shown = ", ".join(
        f"{a.printed} and {b.printed} ({a.recipe}, {a.metric})" for a, b in differ[:4]
    )
    why = (
        f"settings that differ: {', '.join(settings)}" if settings else "no stated setting differs"
    )
    message = (
        f"{common}; {len(differ)} differ: {shown}{' …' if len(differ) > 4 else ''}. These are two "
        f"trainings ({why}), so print cannot tell"
    )
    return first.finding(CHECK, cells, "untestable", message, TWO_TRAININGS, own, **about)


def _wide(case: Case, claim: ValueClaim) -> Interval:
    return may_be(fraction(claim), last_digit(case.fewest_decimals(claim), claim.unit))


def settings_apart(first: Case, second: Case, claim: ValueClaim) -> set[str]:
    """The settings, stated in both papers, that differ for one recipe and data set."""
    ours, theirs = (case.paper.settings(claim.recipe, claim.dataset) for case in (first, second))
    return {path for path in ours if path in theirs and ours[path] != theirs[path]}
