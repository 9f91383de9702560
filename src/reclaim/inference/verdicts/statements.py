"""Statements: the differences that they claim, each with a sign, put together by a quantifier.

`transfer` of a difference is `holds` or `reversed` where its paired 95 % interval over seeds
excludes 0, that of a statement where the test of its order does at α, not adjusted for other
claims; else `open`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from statistics import fmean

from reclaim.inference.replication import differences
from reclaim.inference.replication.estimates import Estimate
from reclaim.inference.replication.orders import WORST_FIRST
from reclaim.inference.replication.planning import Wanted, seeds_for_size
from reclaim.inference.replication.sequences import compare_difference_sequentially
from reclaim.inference.replication.values import Printed, ValueTest
from reclaim.inference.verdicts.evidence import PLANNED, Evidence, Pair, Reading, unit_of
from reclaim.inference.verdicts.orders import (
    Case,
    Cells,
    Margins,
    Part,
    claims_no_sign,
    order_of,
    reading_word,
)
from reclaim.inference.verdicts.values import (
    ALONE,
    AS_PLANNED,
    NOT_MEASURED,
    Draft,
    Outcome,
    Size,
    size_of,
    value_draft,
)
from reclaim.records import Effect, Margin, ReadingVerdict, Telescope, Verdict
from reclaim.registry.claims import Difference, StatementClaim, ValueClaim, split

# --- the size of a printed difference -------------------------------------------------------------
# What a paper gives in percent without saying which is read both ways.

POINTS, RELATIVE = "in points", "relative"
WORST: Sequence[str] = WORST_FIRST
UNITS = {
    "points": (POINTS,),
    "relative_percent": (RELATIVE,),
    "percent": (POINTS, RELATIVE),
}


def size_of_difference(case: Case, said: Difference) -> tuple[Size | None, dict[str, object]]:
    """The test of a printed difference, and the fields of its verdict that show it."""
    first, second = case.cell(said.minuend), case.cell(said.subtrahend)
    if first is None or second is None:
        return None, {}
    margin, units = margin_between(case, first, second), UNITS[said.unit]
    runs = [reading for reading in case.readings for _ in units]
    pairs = [case.evidence.pair(first, second, reading) for reading in runs]
    ways = list(zip(runs, pairs, units * len(case.readings), strict=True))
    outcomes = [
        Outcome(
            Reading(named(reading.name, unit, len(units))),
            size_test(sized(pair, said.printed, (first, second), unit, margin), pair),
        )
        for reading, pair, unit in ways
    ]
    places = case.evidence.place(first), case.evidence.place(second)
    key = places, said.printed, said.unit, margin and margin.exact
    size, update = size_of(key, outcomes, margin)
    if "readings" in update and not claims_no_sign(said):
        words = [reading_word(case, reading) for reading in runs]
        update["readings"] = with_orders(update["readings"], words)
    update |= {"margin": margin, "unit": "% relative" if units == (RELATIVE,) else None}
    return size, update | telescope_of(case, said, update.get("notes"))


def named(reading: str, unit: str, units: int) -> str:
    """A reading's name, with that of the unit where there is a choice."""
    return ", ".join(part for part in (reading, unit if units > 1 else "") if part)


def with_orders(readings: object, words: Sequence[str]) -> tuple[ReadingVerdict, ...]:
    """Readings by the worse of size and order."""
    assert isinstance(readings, tuple)
    return tuple(
        found.model_copy(update={"stands": min(found.stands, word, key=WORST.index)})
        if NOT_MEASURED not in (found.stands, word)
        else found
        for found, word in zip(readings, words, strict=False)
    )


@dataclass(frozen=True)
class Sized:
    """A printed difference beside ours, both in the unit that it is read in."""

    first: Sequence[float]
    second: Sequence[float]
    claimed: Printed
    arms: tuple[Printed, Printed]
    margin: Fraction | None


def sized(
    pair: Pair | None,
    printed: str,
    cells: tuple[ValueClaim, ValueClaim],
    unit: str,
    margin: Margin | None,
) -> Sized | None:
    """A printed difference in its unit; None where it was not measured, or relative to nothing.

    A relative difference 100·(A/B − 1) is taken by its linear part: A counts 100/B̄ points each, B
    100·Ā/B̄², and so do printed standard deviations and the margin (delta method).
    """
    if pair is None:
        return None
    claimed = Printed.of(printed, min(cell.runs or 1 for cell in cells))
    one, other = (Printed.of(cell.printed, cell.runs, cell.sd, unit_of(cell)) for cell in cells)
    within = None if margin is None else Fraction(margin.exact)
    if unit == POINTS:
        return Sized(pair.first, pair.second, claimed, (one, other), within)
    base = fmean(pair.second)
    if not base:
        return None
    ratio = fmean(pair.first) / base
    scales = Fraction(100 / base), Fraction(100 * ratio / base)
    return Sized(
        [100 * (a / base - 1) for a in pair.first],
        [100 * ratio * (b / base - 1) for b in pair.second],
        claimed,
        (scaled(one, scales[0]), scaled(other, scales[1])),
        within and within * scales[0],
    )


def size_test(found: Sized | None, pair: Pair | None) -> ValueTest | None:
    """The test of a printed difference; None where there is none."""
    if found is None or pair is None:
        return None
    a, b, margin = found.first, found.second, found.margin
    if pair.start is None:
        return differences.size_test(a, b, found.claimed, *found.arms, margin=margin)
    if pair.start < 2:
        return None
    return compare_difference_sequentially(
        a, b, found.claimed, *found.arms, start=pair.start, margin=margin
    )


def seeds_for_difference(
    case: Case, said: Difference, alpha: float, different: bool
) -> list[Wanted]:
    """The seeds that would settle a printed difference's size, in the unit that needs fewest."""
    first, second = case.cell(said.minuend), case.cell(said.subtrahend)
    if first is None or second is None:
        return []
    pair, margin = case.evidence.pair(first, second), margin_between(case, first, second)
    found = [sized(pair, said.printed, (first, second), u, margin) for u in UNITS[said.unit]]
    needs = [
        seeds_for_size(
            one.first,
            one.second,
            one.claimed,
            *one.arms,
            margin=one.margin,
            alpha=alpha,
            different=different,
        )
        for one in found
        if one is not None
    ]
    return [min(needs, key=lambda wanted: wanted.seeds or inf)] if needs else []


def margin_between(case: Case, first: ValueClaim, second: ValueClaim) -> Margin | None:
    """The margin of the table that two cells share."""
    same = split(first.cell)[0] == split(second.cell)[0]
    return case.margin(first) if same else None


def scaled(arm: Printed, scale: Fraction) -> Printed:
    """A printed arm in other units."""
    sd = arm.sd and (arm.sd[0] * scale, arm.sd[1] * scale)
    return Printed(arm.low * scale, arm.high * scale, arm.runs, sd)


def telescope_of(case: Case, said: Difference, notes: object) -> dict[str, object]:
    """Whether the paper's runs could have seen a difference as large as ours can be."""
    pair = case.parts[0].pairs[PLANNED.name]
    if pair is None or claims_no_sign(said):
        return {}
    (part,) = case.parts
    runs = min(cell.runs or 1 for cell in (part.first, part.second))
    seen = differences.telescope(pair.first, pair.second, part.sign, runs)
    if seen is None:
        return {}
    found = Telescope(upper=seen.upper, d33=seen.least_seen, too_small=seen.too_small)
    assert isinstance(notes, tuple | None)
    decided = seen.too_small and pair.start is None  # after a look its level is not known
    said_so = (*(notes or ()), *(["too small to have been seen"] if decided else []))
    return {"telescope": found, "notes": said_so}


# --- a statement ---------------------------------------------------------------------------------


WORDS = {"holds": "hold", "reversed": "reversed", "open": "open", "not measured": "not measured"}


def repeated_draft(
    claim: StatementClaim, cells: Cells, margins: Margins, evidence: Evidence
) -> Draft:
    """A cell's number said again in the text: judged as that cell, with the number of the text."""
    cell = cells[f"{claim.paper}:{claim.cells[0]}"]
    printed = getattr(claim.statement, "printed", cell.printed)
    again = cell.model_copy(update={"printed": printed})
    draft = value_draft(again, cells, margins.get(split(cell.cell)[0]), evidence)
    update = {"claim": claim.id, "text": claim.text}
    return Draft(draft.verdict.model_copy(update=update), draft.size, draft.order)


def statement_draft(
    claim: StatementClaim, cells: Cells, margins: Margins, evidence: Evidence
) -> Draft:
    """A statement by the differences it claims."""
    case = Case(claim, cells, margins, evidence)
    gaps = [part.gap for part in case.parts if part.gap is not None]
    blank = Verdict(
        claim=claim.id, paper=claim.paper, kind=claim.kind, text=claim.text,
        printed=getattr(claim.statement, "printed", None), verdict="",
    )  # fmt: skip
    if not case.named or (not gaps and case.unmeasured):
        return Draft(blank.model_copy(update={"verdict": untested(case)}))
    shown = blank.model_copy(update=beside(case, gaps))
    order = order_of(case)
    if why := evidence.no_verdict() or undecided(case, gaps):
        return Draft(shown.model_copy(update={"verdict": why}), order=order)
    said = case.said
    size, update = size_of_difference(case, said) if isinstance(said, Difference) else (None, {})
    otherwise = evidence.reason(case.unmeasured) if case.unmeasured else None
    return Draft(shown.model_copy(update=update), size, order, otherwise)


def untested(case: Case) -> str:
    """The verdict on a statement that could not be compared."""
    if (why := getattr(case.said, "unprinted", None)) is not None:
        return f"untestable: no number printed: {why}"
    return case.evidence.reason(case.unmeasured)


def undecided(case: Case, gaps: Sequence[Estimate]) -> str | None:
    """Why no test decides a measured statement."""
    if not gaps:
        return "untestable: claims no order"
    if any(pair.start is not None and pair.start < 2 for pair in case.pairs()):
        return ALONE
    if any(gap.interval is not None for gap in gaps):
        return None
    return f"untestable: {'one seed' if gaps[0].seeds == 1 else 'no seed variation'}"


def beside(case: Case, gaps: Sequence[Estimate]) -> dict[str, object]:
    """What is shown of a statement whatever its verdict."""
    only = case.parts[0].pairs[PLANNED.name] if len(case.parts) == len(gaps) == 1 else None
    return {
        "transfer": case.transfer() if case.evidence.transfers else None,
        "direction": statement_words(case.parts, claims_no_sign(case.said)),
        "seeds": min((gap.seeds for gap in gaps), default=0),
        "difference": only.gap.mean if only else None,
        "interval": only.gap.interval if only else None,
        "images": case.evidence.per_image(only),
        "effect": effect_of(only),
        "sequence": any(pair.start is not None for pair in case.pairs()),
        "readings": readings_of(case),
        "runs": case.evidence.runs_of(case.named),
    }


def effect_of(pair: Pair | None) -> Effect | None:
    """How large the one difference of a statement is beside the noise of seeds."""
    found = differences.effect(pair.first, pair.second) if pair else None
    if found is None:
        return None
    return Effect(
        g=found.g, g_interval=found.interval,
        chance=found.chance, chance_interval=found.chance_interval,
    )  # fmt: skip


def readings_of(case: Case) -> tuple[ReadingVerdict, ...]:
    """How a statement stands under each of its readings, not adjusted; nothing if it has one."""
    if len(case.readings) == 1:
        return ()
    return tuple(reading_verdict(case, reading) for reading in case.readings)


def reading_verdict(case: Case, reading: Reading) -> ReadingVerdict:
    """How a statement stands under one reading."""
    pairs, name = case.pairs(reading), reading.name or AS_PLANNED
    if not pairs or not case.complete(reading):
        return ReadingVerdict(reading=name, stands=NOT_MEASURED)
    gap = pairs[0].gap if len(case.parts) == 1 else None
    return ReadingVerdict(
        reading=name,
        stands=case.transfer(reading) if case.evidence.transfers else reading_word(case, reading),
        value=gap and gap.mean,
        interval=gap and gap.interval,
    )


def statement_words(parts: Sequence[Part], no_sign: bool) -> str:
    """How the differences stand, and each distinct one that was measured."""
    if all(part.gap is None for part in parts):
        return "nothing to compare"
    counts = Counter(part.transfer if part.gap else "not measured" for part in parts)
    said = [f"{counts[word]} {plural}" for word, plural in WORDS.items() if counts[word]]
    head = f"{len(parts)} comparisons ({', '.join(said)}): " if len(parts) > 1 else ""
    tail = "; said to be negligible, so no sign counts" if no_sign else ""
    return head + "; ".join(dict.fromkeys(part.words for part in parts if part.gap)) + tail
