"""How many seeds would settle what is still open, for `reclaim plan --extend`.

At `paper` scale a claim is open where its verdict is; it then meets Bonferroni's share of α, which
Holm's adjustment may spare it. At a transfer scale it is open where its field `transfer` is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from reclaim.inference.replication.planning import (
    Wanted,
    seeds_for_nil,
    seeds_for_optimum,
    seeds_for_order,
    seeds_for_trend,
    seeds_for_value,
)
from reclaim.inference.replication.values import ALPHA, Printed
from reclaim.inference.verdicts.evidence import PLANNED, Evidence, Pair, margins_of, unit_of
from reclaim.inference.verdicts.orders import (
    Case,
    Curve,
    Margins,
    claims_no_sign,
    curves_of,
    quantifier,
)
from reclaim.inference.verdicts.statements import seeds_for_difference
from reclaim.inference.verdicts.values import OPEN, UNREAD, two_sided
from reclaim.records import SeedsWanted, Verdict, Verdicts
from reclaim.registry.claims import Difference, Magnitude, Paper, StatementClaim, ValueClaim, split

ANY = ("some", "not_all")  # quantifiers that one difference decides
ALONE = Wanted(None, "none: nothing to compare with")
ABSENT = Wanted(None, "none: not all of it was measured")
SETTLED = Wanted(None, "none: what was measured stands out already")


def seeds_wanted(verdicts: Verdicts, evidence: Evidence) -> SeedsWanted:
    """The seeds in all that each open claim needs, and each config for the claims it serves."""
    claims: dict[str, int | str] = {}
    configs: dict[str, int] = {}
    for paper in evidence.papers.values():
        own = [verdict for verdict in verdicts.verdicts if verdict.paper == paper.id]
        neighbours = sum(len(r.adjacent) for r in verdicts.rankings if r.paper == paper.id)
        for claim, wanted, cells in Planning.of(paper, own, neighbours, evidence).wanted():
            claims[claim] = wanted.why if wanted.seeds is None else wanted.seeds
            places = [place for cell in cells if (place := evidence.place(cell))]
            for config, *_ in places if wanted.seeds is not None else ():
                configs[config] = max(configs.get(config, 1), wanted.seeds or 1)
    return SeedsWanted(scale=evidence.scale, configs=configs, claims=claims)


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
        tests = sum((v.p is not None) + (v.order_p is not None) for v in verdicts)
        tests += neighbours
        cells = evidence.cells(paper.id)
        alpha = ALPHA if evidence.transfers else ALPHA / max(1, tests)
        by_id = {verdict.claim: verdict for verdict in verdicts}
        return cls(paper, by_id, evidence, alpha, cells, margins_of(paper, cells))

    def wanted(self) -> Iterator[tuple[str, Wanted, Sequence[ValueClaim]]]:
        """Each open claim that was measured: what it needs, of the cells whose runs it rests on."""
        for claim in self.evidence.claims[self.paper.id]:
            verdict = self.verdicts[claim.id]
            word = verdict.transfer if self.evidence.transfers else verdict.verdict
            if verdict.verdict.startswith(UNREAD):
                yield claim.id, Wanted(None, "none: not measured under every reading"), ()
            if word not in ("open", OPEN):
                continue
            cells, needs = (
                self.of_value(claim) if isinstance(claim, ValueClaim) else self.of_statement(claim)
            )
            yield claim.id, most_of(needs), cells

    def of_value(
        self, claim: ValueClaim, printed: str | None = None
    ) -> tuple[list[ValueClaim], list[Wanted]]:
        """A printed number, or at a transfer scale its difference from the baseline."""
        if self.evidence.transfers:
            baseline = self.cells.get(claim.baseline or "")
            pair = self.evidence.pair(claim, baseline) if baseline else None
            cells = [claim, *([baseline] if baseline else [])]
            return cells, self.of_pairs([pair]) or [SETTLED] if pair else [ALONE]
        values = list(self.evidence.of_claim(claim).values())
        said = Printed.of(printed or claim.printed, claim.runs, claim.sd, unit_of(claim))
        margin = self.margins.get(split(claim.cell)[0])
        within = margin and Fraction(margin.exact)
        return [claim], [seeds_for_value(values, said, within, alpha=self.alpha)]

    def of_statement(self, claim: StatementClaim) -> tuple[list[ValueClaim], list[Wanted]]:
        """What a statement's differences need, all of them or the easiest."""
        said = claim.statement
        if said.kind == "value":
            return self.of_value(self.cells[f"{self.paper.id}:{said.cell}"], said.printed)
        case = Case(claim, self.cells, self.margins, self.evidence)
        if (curves := curves_of(case)) and not self.evidence.transfers:
            return case.named, [self.of_curve(curve) for curve in curves]
        needs = self.of_nil(case) if claims_no_sign(said) else self.of_pairs(case.pairs())
        if needs and quantifier(said) in ANY:
            needs = [min(needs, key=lambda wanted: wanted.seeds or float("inf"))]
        if isinstance(said, Difference) and not self.evidence.transfers:
            needs += seeds_for_difference(case, said, self.alpha)
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
            return [Wanted(None, "none: claims no direction")]
        found = []
        for part in case.parts if isinstance(case.said, Magnitude) else ():
            pair, margin = part.pairs[PLANNED.name], case.margin(part.first)
            if margin is None:
                found.append(Wanted(None, "none: no margin, so nothing counts as nil"))
            elif pair is None:
                found.append(ABSENT)
            else:
                found.append(seeds_for_nil(pair.differences, margin.points, self.alpha))
        return found

    def of_pairs(self, pairs: Sequence[Pair]) -> list[Wanted]:
        """What those of some differences need that do not stand out yet at the claim's level."""
        tests = [(pair, pair.sides()) for pair in pairs]
        return [
            seeds_for_order(pair.differences, alpha=self.alpha)
            for pair, sides in tests
            if sides is None or two_sided(sides) >= self.alpha
        ]


def most_of(needs: Sequence[Wanted]) -> Wanted:
    """What all of several need: the most, or that one of them cannot be settled."""
    return max(needs, key=lambda wanted: wanted.seeds or float("inf"))
