"""From measurements to verdicts: one per claim, always.

At `paper` scale a verdict is about the paper's number. At any other scale it is
`untestable: transfer scale`, and the field `transfer` says whether the printed direction holds
elsewhere. First form: no equivalence margin, so the ladder stops at `compatible, imprecise`.

A statement rests on differences between cells, each with a claimed sign. `transfer` of a difference
is `holds` or `reversed` where the paired 95 % t interval over seeds excludes 0, else `open`;
a statement is put together by its quantifier (`replication.quantified`; plain statements need every
difference to hold, and one reversed difference reverses them). Differences that were not measured
are open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from reclaim import records
from reclaim.inference.controls import controls
from reclaim.inference.measurements import digest, points, read
from reclaim.inference.replication import (
    Estimate,
    Transfer,
    mean_interval,
    paired_difference,
    prediction_interval,
    quantified,
    rounding,
    transfer,
)
from reclaim.records import REHEARSAL, Plan, ReclaimError, Verdict, Verdicts
from reclaim.registry.claims import (
    Paper,
    Statement,
    StatementClaim,
    ValueClaim,
    load_papers,
    signed,
)
from reclaim.registry.jobs import RESULTS, read_plan

if TYPE_CHECKING:
    import pandas as pd

PAPER_SCALE = "paper"
WORDS = {"holds": "hold", "reversed": "reversed", "open": "open", "not measured": "not measured"}
LADDER = {"holds": "reproduced", "reversed": "not reproduced", "open": "compatible, imprecise"}


def judge(
    scale: str, papers: Mapping[str, Paper], plan: Plan, measurements: pd.DataFrame
) -> Verdicts:
    """One verdict for every claim of every paper, in the papers' order.

    Raises ReclaimError for measurements or a plan of another scale, or a run the plan lacks.
    """
    evidence = Evidence.of(scale, plan, measurements)
    return Verdicts(
        scale=scale,
        measurements=digest(measurements),
        verdicts=tuple(
            verdict for paper in papers.values() for verdict in verdicts_of(paper, evidence)
        ),
    )


def judge_scale(scale: str, results: Path = RESULTS) -> Path:
    """Judge a scale's gathered measurements and write `verdicts.json`; returns its path.

    Raises ReclaimError for a missing or faulty plan, claim or measurement; nothing is written then.
    """
    plan = plan_of(scale)
    measured = read(results / scale / "measurements.csv")
    target = results / scale / "verdicts.json"
    records.write(target, judge(scale, load_papers(), plan, measured))
    return target


def judged(
    scale: str, results: Path = RESULTS, papers: Mapping[str, Paper] | None = None
) -> tuple[Verdicts, pd.DataFrame, pd.DataFrame]:
    """A scale's verdicts, the measurements they were made from, and the table of controls.

    `papers` are those of the claims folder unless given. Raises ReclaimError for a missing or
    faulty file, or verdicts on other measurements or claims.
    """
    plan = plan_of(scale)
    remedy = f"run `reclaim judge --scale {scale}`"
    path = results / scale / "verdicts.json"
    verdicts = records.read(path, Verdicts, remedy)
    measured = read(results / scale / "measurements.csv")
    if (verdicts.scale, verdicts.measurements) != (scale, digest(measured)):
        raise ReclaimError(f"{path}: not made from the present measurements; {remedy}")
    known = load_papers() if papers is None else papers
    claims = [claim.id for paper in known.values() for claim in paper.claims]
    if claims != [verdict.claim for verdict in verdicts.verdicts]:
        raise ReclaimError(f"{path}: not made from the present claims; {remedy}")
    return verdicts, measured, controls(measured, plan)


def plan_of(scale: str) -> Plan:
    """The plan that measurements are judged by: with its sweeps, as far as they were run.

    Raises ReclaimError for a scale without a plan, and for a rehearsal, which measures nothing.
    """
    if scale == REHEARSAL:
        raise ReclaimError(
            "a rehearsal measures nothing: two steps on made-up images; judge and report take "
            "the results of other scales"
        )
    left_out = read_plan(scale).not_run
    return read_plan(scale, sweeps=True).model_copy(update={"not_run": left_out})


def verdicts_of(paper: Paper, evidence: Evidence) -> Iterator[Verdict]:
    """The verdicts on one paper: its numbers, then its statements."""
    cells = {claim.id: claim for claim in paper.claims if isinstance(claim, ValueClaim)}
    for claim in paper.claims:
        if isinstance(claim, ValueClaim):
            yield value_verdict(claim, cells, evidence)
        elif claim.statement.kind == "value":
            yield repeated_verdict(claim, cells, evidence)
        else:
            yield statement_verdict(claim, cells, evidence)


# --- what was measured, seen from the claims -----------------------------------------------------


@dataclass(frozen=True)
class Evidence:
    """The measurements behind each value claim: `runs` by claim and seed, `values` by run.

    A claim's runs are those whose row of the plan lists it: other runs of its recipe, such as a
    sweep's, are no evidence for it.
    """

    scale: str
    runs: dict[str, dict[int, str]]
    values: dict[tuple[str, str, str], float]
    not_run: dict[str, str]

    @classmethod
    def of(cls, scale: str, plan: Plan, measurements: pd.DataFrame) -> Evidence:
        """Join a plan with its measurements; of a seed's several runs the first counts."""
        scales = {plan.scale, *measurements["scale"].unique()}
        if scales != {scale}:
            raise ReclaimError(
                f"asked to judge {scale!r}, but plan and measurements are of {scales}"
            )
        planned = {run.id for run in plan.runs}
        if strangers := sorted(set(measurements["run"]) - planned):
            raise ReclaimError(
                f"measurements of {strangers[0]}, a run that the plan of {scale!r} does not have; "
                f"run `reclaim gather --scale {scale}` again"
            )
        runs: dict[str, dict[int, str]] = {}
        for run in plan.runs:
            for claim in run.claims:
                runs.setdefault(claim, {}).setdefault(run.seed, run.id)
        rows = measurements[["run", "protocol", "metric", "value"]].itertuples(index=False)
        values = {(row[0], row[1], row[2]): row[3] * points(row[2]) for row in rows}
        return cls(scale, runs, values, plan.not_run)

    @property
    def transfers(self) -> bool:
        """Whether this scale says nothing about the papers' own numbers."""
        return self.scale != PAPER_SCALE

    def of_claim(self, claim: ValueClaim) -> dict[int, float]:
        """Measured value by seed; accuracies in percent."""
        found = {
            seed: self.values.get((run, claim.evaluation, claim.metric))
            for seed, run in self.runs.get(claim.id, {}).items()
        }
        return {seed: value for seed, value in found.items() if value is not None}

    def measurement(self, claim: ValueClaim) -> tuple[dict[int, str] | None, str, str]:
        """What decides which numbers a claim is compared with."""
        return self.runs.get(claim.id), claim.evaluation, claim.metric

    def runs_of(self, claims: Sequence[ValueClaim]) -> tuple[str, ...]:
        """The measured runs behind some claims."""
        found = (self.runs[claim.id][seed] for claim in claims for seed in self.of_claim(claim))
        return tuple(dict.fromkeys(found))

    def difference(self, first: ValueClaim, second: ValueClaim) -> Estimate | None:
        """First minus second over the seeds both have; None where there is nothing to compare.

        At a transfer scale two cells can be one measurement (two datasets became one).
        """
        if self.measurement(first) == self.measurement(second):
            return None
        a, b = self.of_claim(first), self.of_claim(second)
        seeds = sorted(a.keys() & b.keys())
        return paired_difference([a[i] for i in seeds], [b[i] for i in seeds]) if seeds else None

    def reason(self, claims: Sequence[ValueClaim]) -> str:
        """Why claims were not measured."""
        for claim in claims:
            if claim.id in self.not_run:
                return f"untestable: not run: {self.not_run[claim.id]}"
        if any(claim.id in self.runs for claim in claims):
            return "untestable: not run: planned, but not measured yet"
        return "untestable: not run: no run of this plan serves it"


# --- a printed number ----------------------------------------------------------------------------


def value_verdict(
    claim: ValueClaim, cells: Mapping[str, ValueClaim], evidence: Evidence
) -> Verdict:
    """A printed number against our seeds, and its difference from the table's baseline row."""
    measured = evidence.of_claim(claim)
    baseline = cells.get(claim.baseline or "")
    blank = Verdict(
        claim=claim.id, paper=claim.paper, kind=claim.kind, text=claim.text, printed=claim.printed,
        recipe=claim.recipe, dataset=claim.dataset, metric=claim.metric,
        verdict=evidence.reason([claim]),
    )  # fmt: skip
    if not measured:
        return blank
    own = mean_interval(list(measured.values()))
    gap = evidence.difference(claim, baseline) if baseline else None
    claimed = printed_points(claim) - printed_points(baseline) if baseline else Decimal(0)
    return blank.model_copy(
        update={
            "verdict": value_ladder(claim, list(measured.values()), evidence),
            "transfer": transfer(Fraction(claimed), gap) if evidence.transfers else None,
            "direction": baseline_words(claimed, gap)
            if baseline
            else "no baseline to compare with",
            "mean": own.mean,
            "sd": own.sd,
            "seeds": own.seeds,
            "difference": gap.mean if gap else None,
            "interval": gap.interval if gap else None,
            "runs": evidence.runs_of([claim]),
        }
    )


def value_ladder(claim: ValueClaim, measured: Sequence[float], evidence: Evidence) -> str:
    """`not reproduced` where no value that prints as the claim's lies in the prediction interval.

    The interval is for the mean of as many runs as the paper says (one if it says nothing).
    """
    if evidence.transfers:
        return "untestable: transfer scale"
    if len(measured) < 2:
        return "untestable: one seed"
    expected = prediction_interval(measured, claim.runs or 1)
    if expected is None:
        return "untestable: no seed variation"
    unit = 100 if claim.unit == "fraction" else 1
    least, greatest = (bound * unit for bound in rounding(claim.printed))
    outside = greatest < expected.low or least > expected.high
    return "not reproduced" if outside else "compatible, imprecise"


def printed_points(claim: ValueClaim) -> Decimal:
    """A printed number as a percentage (metrics that are no accuracies stay as they are)."""
    return Decimal(claim.printed) * (100 if claim.unit == "fraction" else 1)


def baseline_words(claimed: Decimal, gap: Estimate | None) -> str:
    """ "printed +3.85, measured +0.40 [-0.20, +1.00]", with a true minus sign."""
    return f"printed {signed(claimed, None)}, measured {measured_words(gap)}"


def measured_words(gap: Estimate | None) -> str:
    """A measured difference with its interval, or why there is none."""
    if gap is None:
        return "nothing to compare"
    if gap.interval is None:
        return f"{signed(gap.mean)} ({'one seed' if gap.seeds == 1 else 'no seed variation'})"
    return f"{signed(gap.mean)} [{signed(gap.interval.low)}, {signed(gap.interval.high)}]"


# --- a statement about numbers -------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One difference that a statement claims to be positive: greater minus lesser."""

    greater: ValueClaim
    lesser: ValueClaim
    gap: Estimate | None
    transfer: Transfer

    @property
    def words(self) -> str:
        """The difference in words, or nothing where it was not measured."""
        pair = f"{self.greater.recipe} − {self.lesser.recipe}, {self.greater.metric}"
        return f"{pair}: {measured_words(self.gap)}" if self.gap else ""


def repeated_verdict(
    claim: StatementClaim, cells: Mapping[str, ValueClaim], evidence: Evidence
) -> Verdict:
    """A cell's number said again in the text: judged as that cell, with the number of the text."""
    cell = cells[f"{claim.paper}:{claim.cells[0]}"]
    printed = getattr(claim.statement, "printed", cell.printed)
    verdict = value_verdict(cell.model_copy(update={"printed": printed}), cells, evidence)
    return verdict.model_copy(update={"claim": claim.id, "text": claim.text})


def statement_verdict(
    claim: StatementClaim, cells: Mapping[str, ValueClaim], evidence: Evidence
) -> Verdict:
    """A statement by the differences it claims."""
    named = [cells[name] for cell in claim.cells if (name := f"{claim.paper}:{cell}") in cells]
    unmeasured = [cell for cell in named if not evidence.of_claim(cell)]
    parts = parts_of(claim, cells, evidence)
    gaps = [part.gap for part in parts if part.gap is not None]
    blank = Verdict(
        claim=claim.id, paper=claim.paper, kind=claim.kind, text=claim.text,
        printed=getattr(claim.statement, "printed", None),
        verdict=untested(claim, unmeasured, evidence),
    )  # fmt: skip
    if not named or (not gaps and unmeasured):
        return blank
    found = quantified([part.transfer for part in parts], quantifier(claim.statement))
    only = gaps[0] if len(parts) == len(gaps) == 1 else None
    return blank.model_copy(
        update={
            "verdict": statement_ladder(claim, found, gaps, unmeasured, evidence),
            "transfer": found if evidence.transfers else None,
            "direction": statement_words(parts, claims_no_sign(claim.statement)),
            "seeds": min((gap.seeds for gap in gaps), default=0),
            "difference": only.mean if only else None,
            "interval": only.interval if only else None,
            "runs": evidence.runs_of(named),
        }
    )


def statement_ladder(
    claim: StatementClaim,
    found: Transfer,
    gaps: Sequence[Estimate],
    unmeasured: Sequence[ValueClaim],
    evidence: Evidence,
) -> str:
    """The verdict on a statement: at `paper` scale its signs decide (sizes are not judged yet)."""
    if evidence.transfers:
        return "untestable: transfer scale"
    if not gaps or claims_no_sign(claim.statement):
        return "untestable: claims no order"
    if found == "open" and unmeasured:
        return evidence.reason(unmeasured)
    if found == "open" and all(gap.interval is None for gap in gaps):
        alone = all(gap.seeds == 1 for gap in gaps)
        return "untestable: one seed" if alone else "untestable: no seed variation"
    return LADDER[found]


def untested(claim: StatementClaim, unmeasured: Sequence[ValueClaim], evidence: Evidence) -> str:
    """The verdict on a statement that could not be compared."""
    if (why := getattr(claim.statement, "unprinted", None)) is not None:
        return f"untestable: no number printed: {why}"
    return evidence.reason(unmeasured)


def parts_of(
    claim: StatementClaim, cells: Mapping[str, ValueClaim], evidence: Evidence
) -> list[Part]:
    """The statement's differences, each with the sign that the statement gives it."""
    parts = []
    sign = 0 if claims_no_sign(claim.statement) else 1
    for greater, lesser in claimed_order(claim.statement):
        first, second = cells.get(f"{claim.paper}:{greater}"), cells.get(f"{claim.paper}:{lesser}")
        if first is not None and second is not None:
            gap = evidence.difference(first, second)
            parts.append(Part(first, second, gap, transfer(sign, gap)))
    return parts


def claimed_order(said: Statement) -> Sequence[tuple[str, str]]:
    """(greater, lesser) cells as a statement has them.

    A printed difference has the sign of its number, a magnitude its direction; a trend orders
    neighbours on its curve. A total orders nothing.
    """
    if said.kind == "difference":
        return flipped(said.pairs, Decimal(said.printed) < 0)
    if said.kind == "magnitude":
        return flipped(said.pairs, said.direction == "decrease")
    if said.kind == "trend":
        last_rise = {"falls": 0, "peak": said.curve.index(said.at) if said.at else 0}
        rises = last_rise.get(said.shape, len(said.curve))
        return [(b, a) if i < rises else (a, b) for i, (a, b) in enumerate(pairwise(said.curve))]
    return said.pairs


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


def statement_words(parts: Sequence[Part], no_sign: bool) -> str:
    """How the differences stand, and each distinct one that was measured."""
    if all(part.gap is None for part in parts):
        return "nothing to compare"
    counts = Counter(part.transfer if part.gap else "not measured" for part in parts)
    said = [f"{counts[word]} {plural}" for word, plural in WORDS.items() if counts[word]]
    head = f"{len(parts)} comparisons ({', '.join(said)}): " if len(parts) > 1 else ""
    tail = "; said to be negligible, so no sign counts" if no_sign else ""
    return head + "; ".join(dict.fromkeys(part.words for part in parts if part.gap)) + tail
