"""The test of what a statement claims apart from a size: signs, orders, optima, trends.

A statement that u of n differences have their sign is tested by Bonferroni's partial conjunction,
(n − u + 1) times the u-th smallest one-sided p-value (Benjamini & Heller 2008): "all" needs the
largest, "some" n times the smallest. So is its contrary, and the smaller of the two, doubled, goes
into the paper's family.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise

import numpy as np

from reclaim.inference.replication.estimates import Estimate, Transfer, transfer
from reclaim.inference.replication.families import over_readings
from reclaim.inference.replication.orders import Table, optimum, page
from reclaim.inference.replication.values import ALPHA
from reclaim.inference.verdicts.evidence import PLANNED, Evidence, Pair, Reading, Sides
from reclaim.inference.verdicts.values import (
    AS_PLANNED,
    NOT_MEASURED,
    Order,
    measured_words,
    order_key,
    order_word,
    two_sided,
)
from reclaim.records import Margin, ReadingVerdict
from reclaim.registry.claims import (
    Magnitude,
    Statement,
    StatementClaim,
    Superlative,
    Trend,
    ValueClaim,
    split,
)

Cells = Mapping[str, ValueClaim]
Margins = Mapping[str, Margin | None]


@dataclass(frozen=True)
class Part:
    """One difference, first minus second, and its claimed sign (0: said to be nil), by reading."""

    first: ValueClaim
    second: ValueClaim
    sign: int
    pairs: Mapping[str, Pair | None]
    transfers: Mapping[str, Transfer]

    @property
    def gap(self) -> Estimate | None:
        """The difference as planned."""
        pair = self.pairs[PLANNED.name]
        return pair.gap if pair else None

    @property
    def transfer(self) -> Transfer:
        """Whether its sign holds elsewhere, as planned."""
        return self.transfers[PLANNED.name]

    @property
    def words(self) -> str:
        """The difference in words, or nothing where it was not measured."""
        pair = f"{self.first.recipe} − {self.second.recipe}, {self.first.metric}"
        return f"{pair}: {measured_words(self.gap)}" if self.gap else ""


@dataclass(frozen=True)
class Case:
    """A statement with what it is judged by."""

    claim: StatementClaim
    cells: Cells
    margins: Margins
    evidence: Evidence

    @property
    def said(self) -> Statement:
        """What the paper says."""
        return self.claim.statement

    @cached_property
    def named(self) -> list[ValueClaim]:
        """The printed numbers that it speaks about."""
        names = (f"{self.claim.paper}:{cell}" for cell in self.claim.cells)
        return [self.cells[name] for name in names if name in self.cells]

    @cached_property
    def unmeasured(self) -> list[ValueClaim]:
        """Those that were not measured."""
        return [cell for cell in self.named if not self.evidence.of_claim(cell)]

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """The planned reading, then the others."""
        return self.evidence.readings(self.named)

    def cell(self, name: str) -> ValueClaim | None:
        """A cell of this paper by its locator."""
        return self.cells.get(f"{self.claim.paper}:{name}")

    def margin(self, cell: ValueClaim) -> Margin | None:
        """The margin of the table that a cell is in."""
        return self.margins.get(split(cell.cell)[0])

    @cached_property
    def parts(self) -> list[Part]:
        """The statement's differences, each with the sign that the statement gives it."""
        sign = claimed_sign(self.said)
        found = []
        for names in claimed_differences(self.said):
            first, second = (self.cell(name) for name in names)
            if first is not None and second is not None:
                pairs = {r.name: self.evidence.pair(first, second, r) for r in self.readings}
                words = {name: transfer(sign, p.gap if p else None) for name, p in pairs.items()}
                found.append(Part(first, second, sign, pairs, words))
        return found

    def transfer(self, reading: Reading = PLANNED) -> Transfer:
        """Whether the statement holds elsewhere, by the test of its order, at α on its own."""
        sides = None if claims_no_sign(self.said) else statement_sides(self, reading)
        if sides is None or two_sided(sides) >= ALPHA:
            return "open"
        return "holds" if sides[0] < sides[1] else "reversed"

    def complete(self, reading: Reading) -> bool:
        """Whether each part that was measured as planned was measured under a reading."""
        return all(
            part.pairs[reading.name] is not None
            for part in self.parts
            if part.pairs[PLANNED.name] is not None
        )

    def pairs(self, reading: Reading = PLANNED) -> list[Pair]:
        """The differences that were measured under a reading."""
        return [pair for part in self.parts if (pair := part.pairs[reading.name]) is not None]


def claimed_differences(said: Statement) -> Sequence[tuple[str, str]]:
    """(first, second) cells of a statement's differences, first minus second.

    They are (greater, lesser) cells, but for a printed difference, which stays as it is printed. A
    magnitude has a direction; a trend orders neighbours on its curve. A total orders nothing.
    """
    if said.kind == "magnitude":
        return flipped(said.pairs, said.direction == "decrease")
    if said.kind == "trend":
        last_rise = {"falls": 0, "peak": said.curve.index(said.at) if said.at else 0}
        rises = last_rise.get(said.shape, len(said.curve))
        return [(b, a) if i < rises else (a, b) for i, (a, b) in enumerate(pairwise(said.curve))]
    return said.pairs


def claimed_sign(said: Statement) -> int:
    """The sign of a statement's differences; 0 where none is claimed."""
    if claims_no_sign(said):
        return 0
    return -1 if said.kind == "difference" and Decimal(said.printed) < 0 else 1


def claims_no_sign(said: Statement) -> bool:
    """Whether the sign of a statement's differences decides nothing: they are said to be nil."""
    if said.kind == "difference":
        return Decimal(said.printed) == 0
    return said.kind == "magnitude" and said.size == "negligible"


def flipped(pairs: Sequence[tuple[str, str]], flip: bool) -> Sequence[tuple[str, str]]:
    """Pairs, the other way round if asked."""
    return [(b, a) for a, b in pairs] if flip else pairs


def quantifier(said: Statement) -> str:
    """How many of a statement's differences must have their sign."""
    if said.kind == "trend" and said.shape == "no_steady_rise":
        return "not_all"
    return getattr(said, "quantifier", "all")


# --- one test of several differences -------------------------------------------------------------


UNKNOWN = (1.0, 1.0)
HOLD, CONTRARY = 0, 1


@dataclass(frozen=True)
class Demand:
    """At least `count` differences that have their claimed sign, or at least so many that do not.

    `side`: which of their one-sided p-values says so.
    """

    count: int
    side: int

    def p(self, sides: Sequence[Sides]) -> float:
        """The p-value that so many are shown."""
        return at_least(self.count, [one[self.side] for one in sides])


def order_of(case: Case) -> Order | None:
    """The test of what a statement claims apart from a size; None where that is nothing."""
    if not case.parts or (claims_no_sign(case.said) and not isinstance(case.said, Magnitude)):
        return None
    return over_all(key_of(case), [statement_sides(case, reading) for reading in case.readings])


def order_of_two(
    greater: ValueClaim, lesser: ValueClaim, evidence: Evidence
) -> tuple[Order | None, tuple[ReadingVerdict, ...]]:
    """The test that one number is above another, as that of a statement which says so.

    With how this stands under each reading, not adjusted; nothing if there is one.
    """
    places = [place for cell in (greater, lesser) if (place := evidence.place(cell))]
    readings = evidence.readings([greater, lesser])
    pairs = [evidence.pair(greater, lesser, reading) for reading in readings]
    sides = [pair.sides() if pair else None for pair in pairs]
    stands = tuple(
        ReadingVerdict(reading=reading.name or AS_PLANNED, stands=sides_word(one))
        for reading, one in zip(readings, sides, strict=True)
    )
    return over_all(order_key(places), sides), stands if len(readings) > 1 else ()


def over_all(key: Hashable, sides: Sequence[Sides | None]) -> Order | None:
    """One test over the readings of a claim, the planned one first; None where that has none."""
    if sides[0] is None:
        return None
    over = over_readings([s and s[1] for s in sides], [s and s[0] for s in sides])
    return Order(key, two_sided((over.tost_p, over.p)), over.tost_p <= over.p)


def key_of(case: Case) -> Hashable:
    """What makes two statements one test: the same differences, put together in the same way."""
    places = [
        tuple(place for cell in (part.first, part.second) if (place := case.evidence.place(cell)))
        for part in case.parts
    ]
    if len(places) == 1 and not claims_no_sign(case.said):
        return order_key(places[0])
    curves = tuple((curve.place, curve.least, curve.falls) for curve in curves_of(case))
    return "order", frozenset(places), quantifier(case.said), claims_no_sign(case.said), curves


def statement_sides(case: Case, reading: Reading) -> Sides | None:
    """One-sided p-values for a statement and against it; None where nothing of it was measured."""
    curves = [curve.sides() for curve in curves_of(case, reading)]
    units = [part_sides(case, part, reading) for part in case.parts]
    if all(unit is None for unit in units):
        return None
    given = [unit or UNKNOWN for unit in units]
    if curves and isinstance(case.said, Trend) and case.said.at is None:
        (rise, contrary), step = curves[0], at_least(1, [unit[1] for unit in given])
        return rise, min(1.0, 2 * min(contrary, step))  # one clear step back is no rise
    return conjunction(curves or given, quantifier(case.said))


def conjunction(sides: Sequence[Sides], said: str) -> Sides:
    """p-values for and against a statement about several differences, by its quantifier.

    >>> conjunction([(0.01, 0.99), (0.2, 0.8)], "all")
    (0.2, 1.0)
    >>> conjunction([(0.01, 0.99), (0.2, 0.8)], "some")
    (0.02, 0.99)
    """
    for_it, against = demands(len(sides), said)
    return for_it.p(sides), against.p(sides)


def demands(n: int, said: str) -> tuple[Demand, Demand]:
    """What shows a statement about n differences by its quantifier, and what shows its contrary."""
    half = n // 2 + 1
    return {
        "all": (Demand(n, HOLD), Demand(1, CONTRARY)),
        "almost_all": (Demand(half, HOLD), Demand(half, CONTRARY)),
        "most": (Demand(half, HOLD), Demand(half, CONTRARY)),
        "some": (Demand(1, HOLD), Demand(n, CONTRARY)),
        "none": (Demand(n, CONTRARY), Demand(1, HOLD)),
        "not_all": (Demand(1, CONTRARY), Demand(n, HOLD)),
    }[said]


def at_least(count: int, p: Sequence[float]) -> float:
    """p-value that at least so many hypotheses are false, however the tests hang together."""
    return min(1.0, (len(p) - count + 1) * sorted(p)[count - 1])


def part_sides(case: Case, part: Part, reading: Reading) -> Sides | None:
    """One-sided p-values for and against one claimed difference; None where there is no test.

    A difference said to be negligible is one within the margin, and none beyond it.
    """
    pair = part.pairs[reading.name]
    if pair is None:
        return None
    if part.sign:
        sides = pair.sides()
        return sides[::-1] if sides and part.sign < 0 else sides
    margin = case.margin(part.first)
    if margin is None:
        return UNKNOWN
    above, below = pair.sides(margin.points), pair.sides(-margin.points)
    if above is None or below is None:
        return None
    return max(above[1], below[0]), min(1.0, 2 * min(above[0], below[1]))


# --- curves --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """A knob's curve, seeds by cells (None: not measured), and what is said of it.

    `place` is that of the printed optimum, the `least` or the greatest; without one it is said to
    rise, or to fall where `falls`.
    """

    table: Table | None
    place: int | None = None
    least: bool = False
    falls: bool = False

    def sides(self) -> Sides:
        """One-sided p-values for and against what is said.

        An optimum: that it is the only one left of those that may be the best, and that it is not
        among them (multiple comparisons with the best); halved, as both come from one set, which
        makes no two chances of them. A rise or fall: Page's exact test over seeds.
        """
        if self.table is None:
            return UNKNOWN
        if self.place is None:
            found = page(self.table)
            return (found.p_fall, found.p_rise) if self.falls else (found.p_rise, found.p_fall)
        best = optimum(self.table, smallest=self.least)
        if best is None:
            return UNKNOWN
        others = max(p for i, p in enumerate(best.p) if i != self.place)
        return others / 2, best.p[self.place] / 2


def curves_of(case: Case, reading: Reading = PLANNED) -> list[Curve]:
    """The curves that a statement is about; none where it is of another kind.

    Once seeds were added no test of a whole curve holds at every look, and it is taken difference
    by difference.
    """
    said = case.said
    if any(pair.start is not None for pair in case.pairs(reading)):
        return []
    if isinstance(said, Superlative):
        return swept(case, said, reading)
    if not isinstance(said, Trend) or not said.curve or said.shape == "no_steady_rise":
        return []
    place = None if said.at is None else said.curve.index(said.at)
    return [Curve(seed_table(case, said.curve, reading), place, falls=said.shape == "falls")]


def swept(case: Case, said: Superlative, reading: Reading) -> list[Curve]:
    """The printed optimum of each column of a sweep; none where rows are different recipes."""
    cells = {name: cell for name in said.among if (cell := case.cell(name)) is not None}
    if len({cell.recipe for cell in cells.values()}) > 1 or len(cells) < len(said.among):
        return []
    found = []
    for best in said.best:
        curve = [name for name in cells if split(name)[1] == split(best)[1]]
        if best not in curve or len(curve) <= 2:
            return []
        table = seed_table(case, curve, reading)
        found.append(Curve(table, curve.index(best), least=said.direction == "least"))
    return found


def seed_table(case: Case, curve: Sequence[str], reading: Reading) -> Table | None:
    """Measured values, seeds by cells, of the seeds that all have; None for fewer than two."""
    cells = [case.cell(name) for name in curve]
    values = [case.evidence.of_claim(cell, reading) if cell else {} for cell in cells]
    seeds = [seed for seed in values[0] if all(seed in other for other in values)]
    if len(seeds) < 2:
        return None
    return np.array([[column[seed] for column in values] for seed in seeds])


def reading_word(case: Case, reading: Reading) -> str:
    """What a claimed order comes to under one reading, not adjusted."""
    return sides_word(statement_sides(case, reading))


def sides_word(sides: Sides | None) -> str:
    """What one-sided p-values come to, not adjusted."""
    return order_word(two_sided(sides), sides[0] <= sides[1]) if sides else NOT_MEASURED
