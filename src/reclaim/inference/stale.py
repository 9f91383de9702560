"""Which claims rest on results that older code, or an older plan, made: they are marked.

Such results count for nothing until they are made again or their runs are certified anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reclaim.records import Plan, Verdicts
from reclaim.registry.claims import Claim, Paper, ValueClaim
from reclaim.registry.jobs import RESULTS, stale

MARK = "stale: "
Stale = Mapping[tuple[str, str], str]


def stale_claims(plan: Plan, papers: Mapping[str, Paper], found: Stale) -> dict[str, str]:
    """Why a claim is stale, by claim id: a number's run or its baseline's is, or a statement's.

    `found` is what `registry.jobs.stale` says of the plan, by run and kind of protocol.
    """
    served = [(claim, run.id) for run in plan.runs for claim in run.claims]
    numbers = {claim.id: claim for paper in papers.values() for claim in paper.cells()}
    known = [(numbers[claim], run) for claim, run in served if claim in numbers]
    whys = {
        (claim.paper, claim.cell): found[run, claim.evaluation]
        for claim, run in known
        if (run, claim.evaluation) in found
    }
    return {
        claim.id: whys[claim.paper, cell]
        for paper in papers.values()
        for claim in paper.claims
        for cell in rests_on(claim)
        if (claim.paper, cell) in whys
    }


def rests_on(claim: Claim) -> tuple[str, ...]:
    """The cells whose measurements a verdict is made of: a number's own, and its baseline's."""
    if not isinstance(claim, ValueClaim):
        return claim.cells
    baseline = (claim.baseline or "").removeprefix(f"{claim.paper}:")
    return (*([baseline] if baseline else []), claim.cell)


def marks(plan: Plan, papers: Mapping[str, Paper], results: Path = RESULTS) -> dict[str, str]:
    """The claims that are stale as a plan's results lie there now, and why, by claim id."""
    return stale_claims(plan, papers, stale(plan, results))


def with_marks(verdicts: Verdicts, marked: Mapping[str, str]) -> Verdicts:
    """The verdicts, those on stale claims with a note that says so."""
    return verdicts.model_copy(
        update={
            "verdicts": tuple(
                verdict.model_copy(
                    update={"notes": (*verdict.notes, f"{MARK}{marked[verdict.claim]}")}
                )
                if verdict.claim in marked
                else verdict
                for verdict in verdicts.verdicts
            )
        }
    )
