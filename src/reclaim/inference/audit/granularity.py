"""Check 1: is every printed accuracy k/n, and if n is not known, which n explains the numbers?

(a) *Test set.* With n images every accuracy of one run is k/n before rounding (the GRIM test, Brown
& Heathers 2017, doi:10.1177/1948550616673876). Its power is the share of strings of the printed
precision that are no k/n; where the grid is as fine as the digits, power and finding are nil.

(b) *Denominators.* With n unknown, every n up to 2,000 is tried under five roundings on every
grouping of cells. If the cells had nothing to do with n, each would be explained with the chance
coverage c = (strings between the least and the greatest cell that n can print) / (all of them), so
p = P(X ≥ explained), X ~ Bin(total, c), and p_corrected = p times all (n, rounding, grouping)
tried. Since k/n = 2k/2n, an n stands for its class {n, 2n, …}. The best class takes the cells it
explains; the next must explain what is left.

Not k/n: means over runs (k/(n·runs) if all runs tested on n) and means of batch means with a
smaller last batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reclaim.inference.audit.cases import Case
from reclaim.inference.audit.findings import finding
from reclaim.inference.audit.lattice import ROUNDINGS, coverage, explains, units
from reclaim.records import Finding
from reclaim.registry.claims import ValueClaim, split

CHECK = "granularity"
MOST = 2000  # the greatest denominator tried
ALARM = 0.001  # of p_corrected
FEWEST = 3  # cells of a grouping
LOOKED_AT = 1000  # cells of one unit, evenly spread, where a paper prints more
GROUPINGS = 200  # above this many, columns are not tried
SMALL_MULTIPLE = 8
RUNS = (2, 3, 4, 5, 10)  # over which a paper may have averaged without saying so

Cell = tuple[int, int]  # U and the printed integer (see `lattice`)


@dataclass(frozen=True)
class Class:
    """A denominator n with its multiples, on the grouping and under the rounding that suit it."""

    n: int
    multiples: tuple[int, ...]
    rounding: str
    explained: int
    total: int
    chance: Fraction
    p_corrected: float
    grouping: str


@dataclass(frozen=True)
class Inference:
    """The classes whose p_corrected is below the alarm, the nearest of the rest, and the power.

    `detectable` is the greatest n that would be found if it explained every cell under half-up
    (None: no n would); `tried` is the number of hypotheses.
    """

    classes: tuple[Class, ...]
    nearest: tuple[Class, ...]
    tried: int
    detectable: int | None


def infer(cells: Sequence[Cell], groups: Mapping[str, Sequence[int]]) -> Inference:
    """Denominators of groupings of cells, which are given as indices into `cells`.

    Cells of one grouping have one unit; groupings of fewer than three cells are left out, and of
    equal ones the first counts. Assumes that the cells are distinct measurements.

    >>> sevenths = [(10000, round(10000 * k / 49)) for k in (5, 9, 13, 22, 30, 31, 38, 45)]
    >>> found = infer(sevenths, {"paper": range(8)})
    >>> [(best.n, best.explained, best.chance) for best in found.classes]
    [(49, 8, Fraction(41, 8165))]
    """
    distinct = {tuple(sorted(set(index))): name for name, index in reversed(groups.items())}
    kept = {name: list(key) for key, name in reversed(distinct.items()) if len(key) >= FEWEST}
    sizes = np.arange(1, MOST + 1, dtype=np.int64)
    tried = len(kept) * len(ROUNDINGS) * MOST
    explained = _explained(cells, sizes)
    detectable = _detectable(cells, kept, sizes, tried)
    classes: list[Class] = []
    while ranked := _ranked(cells, kept, explained, sizes, tried):
        best = ranked[0]
        if best.p_corrected >= ALARM:
            break
        classes.append(best)
        gone = explained[ROUNDINGS.index(best.rounding), :, best.n - 1]
        kept = {name: [i for i in index if not gone[i]] for name, index in kept.items()}
        kept = {name: index for name, index in kept.items() if len(index) >= FEWEST}
    return Inference(tuple(classes), tuple(ranked[:3]), tried, detectable)


def _explained(cells: Sequence[Cell], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each n explains each cell: (roundings, cells, sizes)."""
    unit, value = np.array(cells, dtype=np.int64).reshape(-1, 2).T[:, :, None]
    return np.stack([explains(value, sizes, unit, rounding) for rounding in ROUNDINGS])


def _ranked(
    cells: Sequence[Cell],
    groups: Mapping[str, Sequence[int]],
    explained: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    tried: int,
) -> list[Class]:
    """The ten likeliest classes, least p first; of an n, the grouping and rounding with least p."""
    if not groups:
        return []
    tails = np.stack(
        [
            tail(
                explained[:, list(index)].sum(axis=1),
                len(index),
                np.stack([chances(cells, index, sizes, rounding)[0] for rounding in ROUNDINGS])
                / chances(cells, index, sizes, "half_up")[1],
            )
            for index in groups.values()
        ]
    )  # groups, roundings, sizes
    p = tails.reshape(-1, len(sizes))
    best, where = p.min(axis=0), p.argmin(axis=0)
    made: list[Class] = []
    for n in (np.lexsort((sizes, best)) + 1).tolist():
        if len(made) == 10 or best[n - 1] >= 1:
            break
        if all(n % other.n for other in made):
            group, rounding = divmod(int(where[n - 1]), len(ROUNDINGS))
            name = list(groups)[group]
            made.append(_class(n, name, ROUNDINGS[rounding], cells, groups[name], best, tried))
    return made


def _class(
    n: int,
    grouping: str,
    rounding: str,
    cells: Sequence[Cell],
    index: Sequence[int],
    tails: NDArray[np.float64],
    tried: int,
) -> Class:
    count, width = chances(cells, index, np.array([n]), rounding)
    return Class(
        n=n,
        multiples=tuple(range(2 * n, MOST + 1, n)),
        rounding=rounding,
        explained=sum(bool(explains(cells[i][1], n, cells[i][0], rounding)) for i in index),
        total=len(index),
        chance=Fraction(int(count[0]), width),
        p_corrected=min(1.0, float(tails[n - 1]) * tried),
        grouping=grouping,
    )


def chances(
    cells: Sequence[Cell], index: Sequence[int], sizes: NDArray[np.int64], rounding: str
) -> tuple[NDArray[np.int64], int]:
    """How many strings between the least and the greatest cell each n prints, and of how many.

    >>> counts, width = chances([(100, 20), (100, 60)], [0, 1], np.array([4, 10]), "half_up")
    >>> counts.tolist(), width
    ([2, 5], 41)
    """
    values = [cells[i][1] for i in index]
    low, high = min(values), max(values)
    return coverage(low, high, sizes, cells[index[0]][0], rounding), high - low + 1


def tail(explained: Any, total: int, chance: Any) -> NDArray[np.float64]:
    """P(X ≥ explained) for X ~ Bin(total, chance), as arrays; 1 where it surely exceeds 1/1000.

    It surely does where e^(−total·KL(explained/total ‖ chance)) / (total + 1) does, a lower bound
    of P(X = explained) (method of types; Cover & Thomas, theorem 11.1.4).

    >>> float(tail(np.array([3]), 3, np.array([0.01]))[0])  # doctest: +ELLIPSIS
    1.0000000...e-06
    """
    from scipy.special import betainc, rel_entr

    share = np.asarray(explained) / total
    divergence = rel_entr(share, chance) + rel_entr(1 - share, 1 - chance)
    rare = (share > chance) & (np.exp(-total * divergence) / (total + 1) < 0.001)
    made = np.ones(share.shape)
    x = np.asarray(explained)[rare]
    made[rare] = betainc(x, total - x + 1, np.asarray(chance)[rare])
    return made


def _detectable(
    cells: Sequence[Cell],
    groups: Mapping[str, Sequence[int]],
    sizes: NDArray[np.int64],
    tried: int,
) -> int | None:
    found = 0
    for index in groups.values():
        count, width = chances(cells, index, sizes, "half_up")
        sure = (count / width) ** len(index) * tried < ALARM
        found = max(found, int(sizes[sure].max(initial=0)))
    return found or None


# --- over papers ---------------------------------------------------------------------------------


def check(cases: Sequence[Case]) -> Iterator[Finding]:
    """Both parts for each paper: a finding for each table and test set, one for denominators."""
    for case in cases:
        if case.accuracies:
            yield from test_sets(case)
            yield denominators(case)


def cell_of(case: Case, claim: ValueClaim) -> Cell:
    """U and the printed integer of a cell, its dropped zeros put back."""
    digits = case.decimals(claim)
    value = Fraction(claim.printed) * 10**digits
    return units(digits, claim.unit == "percent"), int(value)


def _in_range(cell: Cell) -> bool:
    return 0 <= cell[1] <= cell[0]


# --- (a) ---


def test_sets(case: Case) -> Iterator[Finding]:
    """GRIM by table, stated test sets and number of runs."""
    groups: dict[tuple[Any, ...], list[ValueClaim]] = {}
    for claim in case.accuracies.values():
        if _in_range(cell_of(case, claim)):
            key = (split(claim.cell)[0], tuple(case.images(claim)), claim.runs, claim.unit)
            groups.setdefault(key, []).append(claim)
    for (table, _, runs, _), claims in groups.items():
        yield _test_set(case, table, case.images(claims[0]), runs, claims)


def _test_set(
    case: Case, table: str, stated: dict[int, str], runs: int | None, claims: list[ValueClaim]
) -> Finding:
    cells = {claim.cell: cell_of(case, claim) for claim in claims}
    unit = next(iter(cells.values()))[0]
    looked = [_at(n, where, runs, unit, list(cells.values())) for n, where in stated.items()]
    about = {"kind": "test_set", "runs": runs, "sizes": looked}
    if not stated:
        message = f"{table}: no size of the test set is stated; a claims folder can state it"
        return finding(case.id, CHECK, cells, "untestable", message, **about)
    n = min(stated, key=lambda n: len(misses(list(cells.values()), n * (runs or 1))))
    bad = [list(cells)[i] for i in misses(list(cells.values()), n * (runs or 1))]
    shown = f"{table}: {len(cells)} cells at n = {' or '.join(f'{n:,}' for n in stated)}"
    if runs:
        shown += f" and {runs} runs"
    if not bad:
        power = 1 - Fraction(coverage(0, unit, n * (runs or 1), unit, "mixed"), unit + 1)
        if not power:
            message = f"{shown}: every number of this precision is some k/n, so the power is nil"
            return finding(case.id, CHECK, cells, "untestable", message, power=power, **about)
        message = f"{shown}: all are k/n; a wrong number would be seen with power {float(power):.1%}"
        return finding(case.id, CHECK, cells, "consistent", message, power=power, **about)
    return _missed(case, shown, n, runs, cells, bad, claims, about)


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
    """Cells that are no k/n: first the innocent explanations, then a contradiction."""
    values = list(cells.values())
    batch = case.paper.protocol_of(claims[0].recipe, claims[0].dataset).get(
        f"evaluate.{claims[0].evaluation}.batch"
    )
    if batch is not None and (ragged := of_batches(n, batch.value)):
        if not misses(values, ragged * (runs or 1)):
            message = f"{shown}: {len(bad)} cells are no k/n, but means of batches of {batch.value}"
            return finding(case.id, CHECK, cells, "consistent", message, **about)
    if runs is None and 2 * len(bad) > len(cells):
        over = next((r for r in RUNS if not misses(values, n * r)), None)
        if over:
            message = (
                f"{shown}: {len(bad)} cells are no k/n; as means over {over} runs all would be, "
                "but no number of runs is stated"
            )
            return finding(case.id, CHECK, bad, "untestable", message, **about)
    message = (
        f"{shown}: {_few(bad)} {'is' if len(bad) == 1 else 'are'} no k/n under any rounding, if "
        f"{'each number is' if runs is None else 'the mean of so many runs is'} over all images; "
        "the number of correct answers would resolve it"
    )
    answers = case.answers(*bad)
    return finding(case.id, CHECK, bad, "contradiction", message, answers=answers, **about)


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
class Printed:
    """The distinct measurements of a paper: their cells (all that print one) and groupings."""

    cells: list[Cell]
    locators: list[list[str]]
    groups: dict[str, list[int]]


def distinct(case: Case) -> Printed:
    """A paper's accuracies, an entity that is printed twice alike once; groupings by name."""
    index: dict[tuple[Any, ...], int] = {}
    made = Printed([], [], {})
    chosen = _spread([c for c in case.accuracies.values() if _in_range(cell_of(case, c))])
    for claim in chosen:
        cell = cell_of(case, claim)
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
    made = distinct(case)
    return infer(made.cells, made.groups)


def inferred(case: Case) -> dict[str, tuple[int, ...]]:
    """The denominators found, by cell: of the tables that they fit, the cells that they explain."""
    found: dict[str, tuple[int, ...]] = {}
    for best in case.inference.classes:
        fitting = fitted(case, best)
        for cell, claim in case.accuracies.items():
            unit, value = cell_of(case, claim)
            if split(cell)[0] in fitting and explains(value, best.n, unit, best.rounding):
                found[cell] = (*found.get(cell, ()), best.n)
    return found


def fitted(case: Case, best: Class) -> dict[str, float]:
    """The tables that a class fits, with p of its cells in that table times the number of tables.

    A table is fitted where that is below the alarm, so a table of two cells hardly ever is.
    """
    made = distinct(case)
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
    made = distinct(case)
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
        return finding(case.id, CHECK, cells, "untestable", message, **about)
    message = (
        f"no number of images up to {MOST:,} explains the {len(cells)} distinct cells beyond "
        f"chance; one up to {found.detectable:,} that explained all would have been found"
    )
    return finding(case.id, CHECK, cells, "consistent", message, **about)


def _found(case: Case, made: Printed, about: dict[str, Any]) -> Finding:
    best = case.inference.classes[0]
    fits = fitted(case, best)
    inside = [i for i in range(len(made.cells)) if _tables(made.locators[i]) & set(fits)]
    hits = [i for i in inside if _hit(made.cells[i], best)]
    odd = [made.locators[i][0] for i in inside if i not in hits]
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
    if left := [name for name in _result_tables(case) if name not in fits]:
        message += f"Nothing is said about {_few(left)}. "
    message += "Means over runs, and over batches of unequal size, are not k/n."
    verdict = "implausible" if stated and not as_stated else "consistent"
    return finding(
        case.id,
        CHECK,
        [made.locators[i][0] for i in hits],
        verdict,
        message,
        unexplained=odd,
        tables=fits,
        not_fitted=left,
        named=named,
        stated=stated,
        assumption="each number is the share of correct answers in one run on so many images",
        resolve="the number of images that were evaluated, or the per-image outcomes",
        answers=case.answers(*cells_of(made)),
        **about,
    )


def cells_of(made: Printed) -> list[str]:
    """Every locator."""
    return [cell for locators in made.locators for cell in locators]


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
