"""Which claims rest on results that older code, or an older plan, made: they are marked.

Such results count for nothing until they are made again or their runs are certified anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from reclaim.records import Plan, Verdicts
from reclaim.registry.claims import Claim, Paper, ValueClaim
from reclaim.registry.jobs import RESULTS, place_under, stale

MARK = "stale: "
Stale = Mapping[tuple[str, str], str]


def stale_claims(plan: Plan, papers: Mapping[str, Paper], found: Stale) -> dict[str, str]:
    """Why a claim is stale, by claim id: a number's run or its baseline's is, or a statement's.

    Or one that stands for these under another reading of the paper, which is named then. `found`
    is what `registry.jobs.stale` says of the plan, by run and folder.
    """
    if not found:
        return {}
    whys: dict[tuple[str, str], str] = {}
    runs_of, configs_of = _served(plan)
    for paper in papers.values():
        for claim in paper.cells():
            for (config, folder), under in _places(claim, paper, plan, configs_of):
                for run in runs_of[config]:
                    if why := found.get((run, folder)):
                        whys.setdefault((claim.paper, claim.cell), why + under)
    return {
        claim.id: whys[claim.paper, cell]
        for paper in papers.values()
        for claim in paper.claims
        for cell in rests_on(claim)
        if (claim.paper, cell) in whys
    }


def _served(plan: Plan) -> tuple[dict[str, list[str]], dict[str, dict[str, None]]]:
    """The runs of each config, and the configs that serve each claim."""
    runs: dict[str, list[str]] = {}
    configs: dict[str, dict[str, None]] = {}
    for run in plan.runs:
        runs.setdefault(run.config, []).append(run.id)
        for claim in run.claims:
            configs.setdefault(claim, {})[run.config] = None
    return runs, configs


def _places(
    claim: ValueClaim, paper: Paper, plan: Plan, configs_of: Mapping[str, Iterable[str]]
) -> Iterator[tuple[tuple[str, str], str]]:
    """Where (config, folder) the numbers are that a claim is judged by: its own, its readings'.

    With each what to say of its reading.
    """
    for config in configs_of.get(claim.id, ()):
        yield (config, claim.evaluation), ""
        for reading in paper.readings(claim.recipe, claim.dataset, claim.knobs):
            if place := place_under(plan, config, claim.evaluation, reading.name):
                yield place, f", under {reading.name}"


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
