"""How many seeds would settle what is still open, for `reclaim plan --extend`.

At `paper` scale a claim is open where its verdict is; it then meets Bonferroni's share of α, which
Holm's adjustment may spare it. At a transfer scale it is open where its field `transfer` is. What a
reading that was not measured keeps from being shown, however many the seeds, is not planned for. A
claim that fails under every measured reading wants the planned runs of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from reclaim.inference.replication.planning import (
    NOTHING,
    Wanted,
    seeds_for_nil,
    seeds_for_optimum,
    seeds_for_order,
    seeds_for_trend,
    seeds_for_value,
)
from reclaim.inference.replication.values import ALPHA, Printed
from reclaim.inference.verdicts.evidence import (
    PLANNED,
    Evidence,
    Place,
    Reading,
    margins_of,
    unit_of,
)
from reclaim.inference.verdicts.orders import (
    Case,
    Curve,
    Demand,
    Margins,
    Part,
    claims_no_sign,
    curves_of,
    demands,
    part_sides,
    quantifier,
)
from reclaim.inference.verdicts.statements import seeds_for_difference
from reclaim.inference.verdicts.values import OPEN, UNREAD, printed_gap
from reclaim.records import RankingVerdict, SeedsWanted, Verdict, Verdicts
from reclaim.registry.claims import (
    Difference,
    Magnitude,
    Paper,
    StatementClaim,
    ValueClaim,
    split,
)

NO_BASELINE = Wanted(None, "none: nothing to compare with")
NO_DIRECTION = Wanted(None, "none: claims no direction")
ABSENT = Wanted(None, "none: not all of it was measured")
NOW = Wanted(1)  # stands out already
NOT_EVALUATED = Wanted(None, "none: planned, but not evaluated under every reading")
PARTLY_READ = Wanted(None, "none: not measured under every reading")
SETTLED = Wanted(None, "none: as planned it stands out already")


def seeds_wanted(verdicts: Verdicts, evidence: Evidence) -> SeedsWanted:
    """The seeds in all that each open claim needs, and each config for the claims it serves."""
    claims: dict[str, int | str] = {}
    configs: dict[str, int] = {}
    readings: dict[str, int] = {}
    for paper in evidence.papers.values():
        own = [verdict for verdict in verdicts.verdicts if verdict.paper == paper.id]
        rankings = [ranking for ranking in verdicts.rankings if ranking.paper == paper.id]
        neighbours = sum(len(ranking.adjacent) for ranking in rankings)
        planning = Planning.of(paper, own, neighbours, evidence)
        for found, counts in ((planning.wanted(), configs), (planning.unread(rankings), readings)):
            for claim, wanted, places in found:
                claims[claim] = wanted.why if wanted.seeds is None else wanted.seeds
                for config, *_ in places if wanted.seeds is not None else ():
                    counts[config] = max(counts.get(config, 1), wanted.seeds or 1)
    return SeedsWanted(scale=evidence.scale, configs=configs, readings=readings, claims=claims)


@dataclass(frozen=True)
class Planning:
    """The open claims of one paper, and the level that each would meet."""

    paper: Paper
    verdicts: dict[str, Verdict]
    evidence: Evidence
    alpha: float
    cells: dict[str, ValueClaim]
    margins: Margins

    @classmethod
    def of(
        cls, paper: Paper, verdicts: Sequence[Verdict], neighbours: int, evidence: Evidence
    ) -> Planning:
        """From a paper's verdicts and the number of its rankings' neighbours.

        Those that share a test count as often as they are.
        """
        tests = sum((v.prediction is not None) + (v.order_p is not None) for v in verdicts)
        tests += neighbours
        tests = max(tests, sum(v.tost_p is not None for v in verdicts))
        cells = evidence.cells(paper.id)
        alpha = ALPHA if evidence.transfers else ALPHA / max(1, tests)
        by_id = {verdict.claim: verdict for verdict in verdicts}
        return cls(paper, by_id, evidence, alpha, cells, margins_of(paper, cells))

    def wanted(self) -> Iterator[tuple[str, Wanted, Sequence[Place]]]:
        """Each open claim that was measured: what it needs, and the places that it rests on."""
        for claim in self.evidence.claims[self.paper.id]:
            verdict = self.verdicts[claim.id]
            word = verdict.transfer if self.evidence.transfers else verdict.verdict
            if word not in ("open", OPEN):
                continue
            cells, needs = (
                self.of_value(claim, verdict)
                if isinstance(claim, ValueClaim)
                else self.of_statement(claim, verdict)
            )
            places = [place for cell in cells if (place := self.evidence.place(cell))]
            yield claim.id, most_of(needs), places

    def unread(
        self, rankings: Iterable[RankingVerdict]
    ) -> Iterator[tuple[str, Wanted, Sequence[Place]]]:
        """What the other readings need of each claim that fails under all that was measured.

        And of each ranked column with neighbours that do.
        """
        for claim in self.evidence.claims[self.paper.id]:
            if self.verdicts[claim.id].verdict.startswith(UNREAD):
                own = (claim.cell,) if isinstance(claim, ValueClaim) else claim.cells
                yield claim.id, *self.of_readings(own)
        for ranking in rankings:
            pairs = [pair for *pair, word in ranking.adjacent if word.startswith(UNREAD)]
            if pairs:
                cells = dict.fromkeys(cell for pair in pairs for cell in pair)
                yield f"{ranking.paper}:{ranking.column}", *self.of_readings(cells)

    def of_readings(self, named: Iterable[str]) -> tuple[Wanted, list[Place]]:
        """The planned runs of readings that were not measured, as many seeds as as planned."""
        cells = [self.cells[f"{self.paper.id}:{cell}"] for cell in named]
        ways = [(cell, reading) for reading in self.evidence.readings(cells) for cell in cells]
        places = [place for way in ways if (place := self.evidence.place(*way))]
        own = {place[0] for cell in cells if (place := self.evidence.place(cell))}
        absent = [place for place in places if not self.evidence.values(place)]
        further = [place for place in absent if place[0] not in own]
        seeds = max(len(self.evidence.of_claim(cell)) for cell in cells)
        if further:
            return Wanted(seeds), further
        return (NOT_EVALUATED if absent else PARTLY_READ), []

    def of_value(
        self, claim: ValueClaim, verdict: Verdict, printed: str | None = None
    ) -> tuple[list[ValueClaim], list[Wanted]]:
        """A printed number, or at a transfer scale its difference from the baseline."""
        if self.evidence.transfers:
            return self.of_baseline(claim, self.cells.get(claim.baseline or ""))
        values = list(self.evidence.of_claim(claim).values())
        said = Printed.of(printed or claim.printed, claim.runs, claim.sd, unit_of(claim))
        margin = self.margins.get(split(claim.cell)[0])
        within = margin and Fraction(margin.exact)
        different = verdict.p is not None
        found = seeds_for_value(values, said, within, alpha=self.alpha, different=different)
        return [claim], [found if found.seeds or different else PARTLY_READ]

    def of_baseline(
        self, claim: ValueClaim, baseline: ValueClaim | None
    ) -> tuple[list[ValueClaim], list[Wanted]]:
        """The difference of a printed number from the baseline."""
        pair = self.evidence.pair(claim, baseline) if baseline else None
        if baseline is None or pair is None:
            return [claim], [NO_BASELINE]
        if not printed_gap(claim, baseline):
            return [claim, baseline], [NO_DIRECTION]
        return [claim, baseline], [seeds_for_order(pair.differences, alpha=self.alpha)]

    def of_statement(
        self, claim: StatementClaim, verdict: Verdict
    ) -> tuple[list[ValueClaim], list[Wanted]]:
        """What the test of a statement's order needs, and that of its size."""
        said = claim.statement
        if said.kind == "value":
            cell = self.cells[f"{self.paper.id}:{said.cell}"]
            return self.of_value(cell, verdict, said.printed)
        case = Case(claim, self.cells, self.margins, self.evidence)
        if curves := curves_of(case):
            return case.named, [self.of_curve(curve) for curve in curves]
        needs = self.of_nil(case) if claims_no_sign(said) else self.of_parts(case)
        if isinstance(said, Difference) and not self.evidence.transfers:
            different = verdict.p is not None
            sizes = seeds_for_difference(case, said, self.alpha, different)
            needs += [one if one.seeds or different else PARTLY_READ for one in sizes]
        return case.named, needs or [ABSENT if case.unmeasured else SETTLED]

    def of_curve(self, curve: Curve) -> Wanted:
        """What an optimum, a rise or a fall needs."""
        if curve.table is None:
            return ABSENT
        if curve.place is None:
            return seeds_for_trend(curve.table, falls=curve.falls, alpha=self.alpha)
        return seeds_for_optimum(curve.table, curve.place, smallest=curve.least, alpha=self.alpha)

    def of_nil(self, case: Case) -> list[Wanted]:
        """What differences need that are said to be nil; a printed 0 has a size alone."""
        if self.evidence.transfers:
            return [NO_DIRECTION]
        found = []
        for part in case.parts if isinstance(case.said, Magnitude) else ():
            pair, margin = part.pairs[PLANNED.name], case.margin(part.first)
            if margin is None:
                found.append(Wanted(None, "none: no margin, so nothing counts as nil"))
            elif pair is None:
                found.append(ABSENT)
            elif abs(pair.gap.mean) >= margin.points and not all(part.pairs.values()):
                found.append(PARTLY_READ)
            else:
                found.append(seeds_for_nil(pair.differences, margin.points, self.alpha))
        return found

    def of_parts(self, case: Case) -> list[Wanted]:
        """What an order needs to be shown, or its contrary, whichever is less; nothing if settled.

        The contrary has to be shown under every reading; the order under one, which counts as often
        as there are readings. At a transfer scale the planned one alone counts.
        """
        if not case.parts:
            return [] if case.unmeasured else [NO_DIRECTION]
        readings = case.readings[:1] if self.evidence.transfers else case.readings
        for_it, against = demands(len(case.parts), quantifier(case.said))
        found = [
            self.of_demand(case, for_it, readings[:1], self.alpha / len(readings)),
            self.of_demand(case, against, readings, self.alpha),
        ]
        wanted = min(found, key=lambda one: (one.seeds or float("inf"), one.why == NOTHING))
        return [] if wanted == NOW else [wanted]

    def of_demand(
        self, case: Case, demand: Demand, readings: Sequence[Reading], alpha: float
    ) -> Wanted:
        """What the last of as many differences needs as must be shown, those that need least."""
        level = alpha / (len(case.parts) - demand.count + 1)
        found = [
            self.of_part(case, part, demand.side, level)
            if all(part.pairs[reading.name] for reading in readings[1:])
            else PARTLY_READ
            for part in case.parts
        ]
        return sorted(found, key=lambda wanted: wanted.seeds or float("inf"))[demand.count - 1]

    def of_part(self, case: Case, part: Part, side: int, alpha: float) -> Wanted:
        """What one difference needs to be shown with its claimed sign, or the contrary one."""
        pair, sides = part.pairs[PLANNED.name], part_sides(case, part, PLANNED)
        if pair is None:
            return ABSENT
        if sides is not None and sides[side] > sides[1 - side]:
            return Wanted(None, NOTHING)
        if sides is not None and 2 * sides[side] < alpha:
            return NOW
        return seeds_for_order(pair.differences, alpha=alpha)


def most_of(needs: Sequence[Wanted]) -> Wanted:
    """What all of several need: the most, or that one of them cannot be settled."""
    return max(needs, key=lambda wanted: wanted.seeds or float("inf"))
