"""A claim is marked where a run that it rests on is stale, in the way that it was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from reclaim.inference import stale
from reclaim.records import LinearProtocol, Plan, StandIn, Verdict, Verdicts
from reclaim.registry import jobs
from reclaim.registry.claims import ValueClaim, load_papers
from tests.registry import made_results
from tests.registry.made_results import PLAN, RUNS, SCALE

PAPERS = load_papers()
NUMBERS = [claim for paper in PAPERS.values() for claim in paper.cells()]
STATED = next(
    claim for paper in PAPERS.values() for claim in paper.claims
    if not isinstance(claim, ValueClaim) and claim.cells
)  # fmt: skip
[CELL] = [c for c in NUMBERS if (c.paper, c.cell) == (STATED.paper, STATED.cells[0])]
OTHER = next(claim for claim in NUMBERS if claim.cell not in STATED.cells)
SERVED = PLAN.model_copy(
    update={
        "runs": (
            RUNS[0].model_copy(update={"claims": (CELL.id,)}),
            RUNS[2].model_copy(update={"claims": (OTHER.id,)}),
        )
    }
)
READ, READING = next(
    (claim, reading.name) for claim in NUMBERS
    for reading in PAPERS[claim.paper].readings(claim.recipe, claim.dataset, claim.knobs)
)  # fmt: skip


def read_as(stand_in: StandIn, reading: str = READING) -> Plan:
    """A plan whose first config serves a number, with what stands for its runs under a reading."""
    served = RUNS[0].model_copy(update={"claims": (READ.id,)})
    readings = {served.config: {reading: stand_in}}
    changed = LinearProtocol(epochs=1, batch=64, lr=0.5, test_views=(), encoder="last")
    return PLAN.model_copy(update={
        "runs": (served, *RUNS[1:]), "readings": readings,
        "protocols": {**PLAN.protocols, "linear-1": changed},
    })  # fmt: skip


def test_a_number_and_the_statements_on_it_are_marked() -> None:
    found = {(RUNS[0].id, CELL.evaluation): "trained by other code"}
    marked = stale.stale_claims(SERVED, PAPERS, found)
    assert {CELL.id, STATED.id} <= set(marked)
    assert set(marked.values()) == {"trained by other code"}
    assert OTHER.id not in marked
    for name in set(marked) - {CELL.id}:
        [claim] = [c for c in PAPERS[CELL.paper].claims if c.id == name]
        own = claim.baseline == CELL.id if isinstance(claim, ValueClaim) else None
        assert own or CELL.cell in claim.cells


def test_a_number_is_marked_where_its_baseline_is_stale() -> None:
    number = next(claim for claim in NUMBERS if claim.baseline)
    [base] = [claim for claim in NUMBERS if claim.id == number.baseline]
    plan = PLAN.model_copy(update={"runs": (RUNS[0].model_copy(update={"claims": (base.id,)}),)})
    marked = stale.stale_claims(plan, PAPERS, {(RUNS[0].id, base.evaluation): "old"})
    assert {number.id, base.id} <= set(marked)


def test_a_number_is_marked_where_a_reading_of_its_run_is_stale() -> None:
    plan = read_as(StandIn(config=RUNS[0].config, protocols=("linear-1",)))
    reread = jobs.reread_name(READ.evaluation, READING)
    marked = stale.stale_claims(plan, PAPERS, {(RUNS[0].id, reread): "old"})
    assert marked[READ.id] == f"old, under {READING}"
    own = {(RUNS[0].id, READ.evaluation): "trained", (RUNS[0].id, reread): "old"}
    assert stale.stale_claims(plan, PAPERS, own)[READ.id] == "trained"
    other = {(RUNS[0].id, f"{reread}-more"): "old", (RUNS[2].id, reread): "old"}
    assert stale.stale_claims(plan, PAPERS, other) == {}


def test_a_number_is_marked_where_what_stands_for_its_run_is_stale() -> None:
    plan = read_as(StandIn(config=RUNS[2].config))
    found = {(RUNS[2].id, READ.evaluation): "old"}
    assert stale.stale_claims(plan, PAPERS, found)[READ.id] == f"old, under {READING}"
    reread = {(RUNS[2].id, jobs.reread_name(READ.evaluation, READING)): "old"}
    assert stale.stale_claims(plan, PAPERS, reread) == {}
    of_another_paper = read_as(StandIn(config=RUNS[2].config), "nobody=1")
    assert stale.stale_claims(of_another_paper, PAPERS, found) == {}


def test_another_kind_of_measurement_marks_nothing() -> None:
    assert stale.stale_claims(SERVED, PAPERS, {(RUNS[0].id, "geometry"): "old"}) == {}
    assert stale.stale_claims(SERVED, PAPERS, {}) == {}


def test_what_lies_there_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made_results.write_results(tmp_path)
    knn = CELL.model_copy(update={"evaluation": "knn"})
    paper = PAPERS[CELL.paper]
    monkeypatch.setattr(type(paper), "cells", lambda self: [knn] if self.id == knn.paper else [])
    assert stale.marks(SERVED, PAPERS) == {}
    monkeypatch.setattr(jobs, "evaluate_code", lambda kind: "edited")
    assert stale.marks(SERVED, PAPERS)[CELL.id] == "measured by other code"


def test_verdicts_say_so() -> None:
    verdict = Verdict(
        claim=CELL.id, paper=CELL.paper, kind="value", text="x", verdict="untestable", notes=("n",)
    )  # fmt: skip
    verdicts = Verdicts(scale=SCALE, measurements="", verdicts=(verdict,))
    [marked] = stale.with_marks(verdicts, {CELL.id: "old"}).verdicts
    assert marked == verdict.model_copy(update={"notes": ("n", "stale: old")})
    assert stale.with_marks(verdicts, {OTHER.id: "old"}) == verdicts
