"""Check 1: is every printed accuracy k/n, and if n is not known, which n explains the numbers?

(a) *Test set.* With n images every accuracy of one run is k/n before rounding (the GRIM test, Brown
& Heathers 2017, doi:10.1177/1948550616673876). Its power is the share of strings of the printed
precision that are no k/n; where the grid is as fine as the digits, power and finding are nil.

(b) *Denominators.* With n unknown, which n up to 2,000 explain more cells than chance would: see
`denominators`. An entity that is printed twice counts once; no claim is made for a table that the
denominator does not fit.

Not k/n: means over runs (k/(n·runs) if all runs tested on n) and means of batch means with a
smaller last batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from reclaim.inference.audit.cases import Case
from reclaim.inference.audit.denominators import (
    ALARM,
    MOST,
    Cell,
    Class,
    Inference,
    chances,
    infer,
    tail,
)
from reclaim.inference.audit.findings import Basis
from reclaim.inference.audit.lattice import ROUNDINGS, coverage, explains, units
from reclaim.records import AuditVerdict, Finding
from reclaim.registry.claims import ValueClaim, split

CHECK = "granularity"
LOOKED_AT = 1000  # cells of one unit, evenly spread, where a paper prints more
GROUPINGS = 200  # above this many, columns are not tried
SMALL_MULTIPLE = 8
RUNS = (3, 5, 10)  # over which a paper may have averaged without saying so
SHARES = Basis(
    "each number is the share of correct answers of one run, or the mean of the stated runs, in "
    "which each test image is counted once",
    "the numbers of correct answers, or the per-image outcomes",
)
UNKNOWN = Basis(SHARES.assumption, "the number of test images")
ONE_NUMBER = Basis(
    "each number is the share of correct answers in one run on so many images",
    "the number of images that were evaluated, or the per-image outcomes",
)


def check(cases: Sequence[Case]) -> Iterator[Finding]:
    """Both parts for each paper: a finding for each table and test set, one for denominators."""
    for case in cases:
        if case.accuracies:
            yield from test_sets(case)
            yield denominators(case)


def cell_of(claim: ValueClaim, digits: int) -> Cell:
    """U and the printed integer of a cell that has so many digits, its dropped zeros put back."""
    value = Fraction(claim.printed) * 10**digits
    return units(digits, claim.unit == "percent"), int(value)


def _in_range(cell: Cell) -> bool:
    return 0 <= cell[1] <= cell[0]


# --- (a) ---


def test_sets(case: Case) -> Iterator[Finding]:
    """GRIM by table, stated test sets and number of runs."""
    groups: dict[tuple[Any, ...], list[ValueClaim]] = {}
    for claim in case.accuracies.values():
        if _in_range(cell_of(claim, case.decimals(claim))):
            where = (split(claim.cell)[0], tuple(case.images(claim)), _batch(case, claim))
            key = (*where, claim.runs, claim.unit)
            groups.setdefault(key, []).append(claim)
    for (table, _, _, runs, _), claims in groups.items():
        yield _test_set(case, table, case.images(claims[0]), runs, claims)


def _test_set(
    case: Case, table: str, stated: dict[int, str], runs: int | None, claims: list[ValueClaim]
) -> Finding:
    cells = {claim.cell: cell_of(claim, case.decimals(claim)) for claim in claims}
    unit = next(iter(cells.values()))[0]
    looked = [_at(n, where, runs, unit, list(cells.values())) for n, where in stated.items()]
    about: dict[str, Any] = {"kind": "test_set", "runs": runs, "sizes": looked}
    if not stated:
        message = f"{table}: no size of the test set is stated; a claims folder can state it"
        return case.finding(CHECK, cells, "untestable", message, UNKNOWN, **about)
    n, bad = min(
        ((n, _bad(case, cells, claims, n * (runs or 1))) for n in stated),
        key=lambda one: len(one[1]),
    )
    shown = f"{table}: {len(cells)} cells at n = {' or '.join(f'{n:,}' for n in stated)}"
    if runs:
        shown += f" and {runs} run{'s' * (runs > 1)}"
    if not bad:
        power = 1 - Fraction(coverage(0, unit, n * (runs or 1), unit, "mixed"), unit + 1)
        if not power:
            message = f"{shown}: every number of this precision is some k/n, so the power is nil"
            return case.finding(CHECK, cells, "untestable", message, SHARES, power=power, **about)
        message = (
            f"{shown}: all are k/n; a wrong number would be seen with power {float(power):.1%}"
        )
        return case.finding(CHECK, cells, "consistent", message, SHARES, power=power, **about)
    return _missed(case, shown, n, runs, cells, bad, claims, about)


def _bad(case: Case, cells: dict[str, Cell], claims: list[ValueClaim], n: int) -> list[str]:
    """The cells that are no k/n, neither with their dropped zeros nor with the digits they have."""
    short = {claim.cell: cell_of(claim, case.fewest_decimals(claim)) for claim in claims}
    return [name for name, cell in cells.items() if misses([cell], n) and misses([short[name]], n)]


def _missed(
    case: Case,
    shown: str,
    n: int,
    runs: int | None,
    cells: dict[str, Cell],
    bad: list[str],
    claims: list[ValueClaim],
    about: dict[str, Any],
) -> Finding:
    """Cells that are no k/n: first the innocent explanations, then how sure the rest is.

    It is never a contradiction: the batch of the test is not that of the training and seldom
    stated, and means over batches of unequal size may print some k/n among others.
    """
    values, batch = list(cells.values()), _batch(case, claims[0])
    ragged = batch and of_batches(n, batch)
    if ragged and not misses(values, ragged * (runs or 1)):
        message = f"{shown}: {len(bad)} cells are no k/n, but can be means of unequal batches"
        return case.finding(CHECK, cells, "consistent", message, SHARES, **about)
    most_fit = 2 * len(bad) < len(cells)
    over = next((r for r in RUNS if not misses(values, n * r)), None)
    if over and runs is None and not most_fit:
        message = (
            f"{shown}: {len(bad)} cells are no k/n; as means over {over} runs all would be, "
            "but no number of runs is stated"
        )
        return case.finding(CHECK, bad, "untestable", message, SHARES, **about)
    message = (
        f"{shown}: {_few(bad)} {'is' if len(bad) == 1 else 'are'} no k/n under any rounding, so "
        "not from one run that counted each image once; a mean over runs or of unequal batches, or "
        "another n, would do it"
    )
    return case.finding(CHECK, bad, "implausible", message, SHARES, **about)


def _batch(case: Case, claim: ValueClaim) -> int | None:
    """The stated batch of an evaluation; None for one that is inferred or assumed."""
    protocol = case.protocol(claim)
    stated = protocol.get(f"evaluate.{claim.evaluation}.batch")
    sound = stated is not None and stated.source in ("printed", "released-code")
    return stated.value if stated is not None and sound else None


def misses(cells: Sequence[Cell], n: int) -> list[int]:
    """Which cells no k of n prints as, under any rounding.

    >>> misses([(10000, 6406), (10000, 6068)], 192)
    [1]
    """
    return [i for i, (unit, value) in enumerate(cells) if not explains(value, n, unit, "mixed")]


def of_batches(n: int, batch: int) -> int | None:
    """The denominator of a mean of batch means with a smaller last batch; None where there is none.

    (k₁/b + … + k_m/r)/m with r images in the last of m batches has the denominator m·lcm(b, r).

    >>> of_batches(10000, 256), of_batches(10000, 100)
    (10240, None)
    """
    rest = n % batch
    return (n // batch + 1) * lcm(batch, rest) if rest and n > batch else None


def _at(n: int, where: str, runs: int | None, unit: int, cells: list[Cell]) -> dict[str, Any]:
    """One stated size: the power and the cells explained, for each rounding."""
    size = n * (runs or 1)
    return {
        "images": n,
        "where": where,
        "power": {
            name: 1 - Fraction(coverage(0, unit, size, unit, name), unit + 1) for name in ROUNDINGS
        },
        "explained": {
            name: sum(bool(explains(value, size, unit, name)) for _, value in cells)
            for name in ROUNDINGS
        },
        "total": len(cells),
    }


# --- (b) ---


@dataclass(frozen=True)
class Distinct:
    """The distinct measurements of a paper: their cells (all that print one) and groupings."""

    cells: list[Cell]
    locators: list[list[str]]
    groups: dict[str, list[int]]


def distinct(case: Case) -> Distinct:
    """A paper's accuracies, an entity that is printed twice alike once; groupings by name."""
    index: dict[tuple[Any, ...], int] = {}
    made = Distinct([], [], {})
    chosen = _spread(
        [c for c in case.accuracies.values() if _in_range(cell_of(c, case.decimals(c)))]
    )
    for claim in chosen:
        cell = cell_of(claim, case.decimals(claim))
        i = index.setdefault((case.entity(claim), cell), len(index))
        if i == len(made.cells):
            made.cells.append(cell)
            made.locators.append([])
        made.locators[i].append(claim.cell)
    everywhere: dict[str, dict[int, list[int]]] = {}
    for i, locators in enumerate(made.locators):
        for name in dict.fromkeys(name for cell in locators for name in _groupings(cell)):
            everywhere.setdefault(name, {}).setdefault(made.cells[i][0], []).append(i)
    if len(everywhere) > GROUPINGS:
        everywhere = {name: by for name, by in everywhere.items() if "[" not in name}
    for name in sorted(everywhere, key=lambda name: (name != "paper", "[" in name)):
        for unit, members in everywhere[name].items():
            made.groups[name if len(everywhere[name]) == 1 else f"{name} at 1/{unit}"] = members
    return made


def _spread(claims: list[ValueClaim]) -> list[ValueClaim]:
    return claims[:: -(-len(claims) // LOOKED_AT)] if claims else []


def _groupings(locator: str) -> tuple[str, str, str]:
    table, column, _ = split(locator)
    return "paper", table, f"{table}[{column}]"


def inference(case: Case) -> Inference:
    """`infer` for a paper."""
    made = case.distinct
    return infer(made.cells, made.groups)


def inferred(case: Case) -> dict[str, tuple[int, ...]]:
    """The denominators found, by cell: of the tables that they fit, the cells that they explain."""
    found: dict[str, tuple[int, ...]] = {}
    for best in case.inference.classes:
        fitting = fitted(case, best)
        for cell, claim in case.accuracies.items():
            unit, value = cell_of(claim, case.decimals(claim))
            if split(cell)[0] in fitting and explains(value, best.n, unit, best.rounding):
                found[cell] = (*found.get(cell, ()), best.n)
    return found


def fitted(case: Case, best: Class) -> dict[str, float]:
    """The tables that a class fits, with p of its cells in that table times the number of tables.

    A table is fitted where that is below the alarm, so a table of two cells hardly ever is.
    """
    made = case.distinct
    tables = {name: index for name, index in made.groups.items() if name in case.paper.tables}
    fits: dict[str, float] = {}
    for name, index in tables.items():
        count, width = chances(made.cells, index, np.array([best.n]), best.rounding)
        hits = [explains(made.cells[i][1], best.n, made.cells[i][0], best.rounding) for i in index]
        p = float(tail(np.array([sum(map(bool, hits))]), len(index), count / width)[0])
        if p * len(tables) < ALARM:
            fits[name] = p * len(tables)
    return fits


def denominators(case: Case) -> Finding:
    """What the numbers of a paper say about how many images they were counted on."""
    found = case.inference
    made = case.distinct
    cells = [locators[0] for locators in made.locators]
    about: dict[str, Any] = {
        "kind": "denominators",
        "denominators": [best.n for best in found.classes],
        "classes": [vars(best) for best in found.classes],
        "nearest": [vars(best) for best in found.nearest],
        "distinct": len(made.cells),
        "tried": found.tried,
        "detectable": found.detectable,
    }
    if found.classes:
        return _found(case, made, about)
    if found.detectable is None:
        message = f"{len(cells)} distinct cells are too few to infer how many images they count"
        return case.finding(CHECK, cells, "untestable", message, ONE_NUMBER, **about)
    message = (
        f"no number of images up to {MOST:,} explains the {len(cells)} distinct cells beyond "
        f"chance; one up to {found.detectable:,} that explained all would have been found"
    )
    return case.finding(CHECK, cells, "consistent", message, ONE_NUMBER, **about)


def _found(case: Case, made: Distinct, about: dict[str, Any]) -> Finding:
    best = case.inference.classes[0]
    fits = fitted(case, best)
    inside = [i for i in range(len(made.cells)) if _tables(made.locators[i]) & set(fits)]
    hits = [i for i in inside if _hit(made.cells[i], best)]
    left_over = [i for i in inside if i not in hits]
    odd = [made.locators[i][0] for i in left_over]
    turned = [made.locators[i][0] for i in left_over if not misses([made.cells[i]], best.n)]
    stated = sorted({n for claim in case.accuracies.values() for n in case.images(claim)})
    runs = {claim.runs or 1 for claim in case.accuracies.values()}
    as_stated = any(n * r % best.n == 0 and n * r <= MOST for n in stated for r in runs)
    named = named_multiples(best.n, case.sizes())
    message = (
        f"{best.explained} of {best.total} distinct cells ({best.grouping}) are k/{best.n} "
        f"({best.rounding}); by chance {float(best.chance):.1%} would be, "
        f"p = {best.p_corrected:.1g} after {case.inference.tried:,} tries. "
    )
    if named:
        message += f"{best.n} = {' = '.join(named)}. "
    if stated and not as_stated:
        message += f"Expected: {' or '.join(f'{n:,}' for n in stated)} images. "
    if odd:
        message += f"Not among them: {_few(odd)}. "
    if turned:
        message += f"Of these, rounded in another way: {_few(turned)}. "
    if left := [name for name in _result_tables(case) if name not in fits]:
        message += f"Nothing is said about {_few(left)}. "
    message += "Means over runs, and over batches of unequal size, are not k/n."
    verdict: AuditVerdict = "implausible" if stated and not as_stated else "consistent"
    hit = [made.locators[i][0] for i in hits]
    others = [cell for locators in made.locators for cell in locators]
    return case.finding(
        CHECK,
        hit,
        verdict,
        message,
        ONE_NUMBER,
        others,
        unexplained=odd,
        otherwise_rounded=turned,
        tables=fits,
        not_fitted=left,
        named=named,
        stated=stated,
        **about,
    )


def named_multiples(n: int, numbers: Iterator[tuple[str, int]]) -> list[str]:
    """How n is a small multiple of numbers of the protocol.

    >>> named_multiples(192, iter([("batch", 96), ("epochs", 200), ("seed", 3)]))
    ['2 x batch (96)']
    """
    named = {
        f"{n // value} x {path} ({value})": None
        for path, value in numbers
        if n % value == 0 and n // value <= SMALL_MULTIPLE
    }
    return list(named)


def _hit(cell: Cell, best: Class) -> bool:
    return bool(explains(cell[1], best.n, cell[0], best.rounding))


def _tables(locators: list[str]) -> set[str]:
    return {split(cell)[0] for cell in locators}


def _result_tables(case: Case) -> list[str]:
    return list(dict.fromkeys(split(cell)[0] for cell in case.accuracies))


def _few(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
