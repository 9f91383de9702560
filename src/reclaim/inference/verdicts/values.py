"""Drafts of verdicts, how a paper's tests settle them, and the drafts on printed numbers.

A draft has everything that its claim alone decides. Holm's adjustment within the paper decides the
rest: differences (of printed numbers, and claimed orders) are one family, equivalences another. A
test that a paper's claims ask for twice, because a number is printed twice, is in a family once;
two of one key with different p-values (other readings, other runs or spreads) are two tests.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from reclaim.inference.replication.estimates import Estimate, transfer
from reclaim.inference.replication.families import holm, over_readings
from reclaim.inference.replication.orders import worst
from reclaim.inference.replication.sequences import compare_value_sequentially
from reclaim.inference.replication.values import (
    ALPHA,
    Printed,
    Rung,
    ValueTest,
    compare_value,
    ladder,
    note,
    untestable,
)
from reclaim.inference.verdicts.evidence import (
    Evidence,
    Pair,
    Place,
    Reading,
    Sides,
    estimate,
    unit_of,
)
from reclaim.records import Margin, ReadingVerdict, Verdict
from reclaim.registry.claims import ValueClaim, signed

OPEN: Rung = "compatible, imprecise"
NOT_MEASURED = "not measured"
AS_PLANNED = "as planned"
UNREAD = "untestable: not run under "  # other readings, which may yet bear the claim out


@dataclass(frozen=True)
class Size:
    """A printed number against ours: the p-value of a difference and, with a margin, TOST's.

    `p` is None where a reading was not measured: that test could show no difference, whatever the
    seeds. It counts in the family all the same, as 1: else the readings that are measured because
    of what the planned one showed would choose the family.
    """

    key: Hashable
    p: float | None
    tost_p: float | None


@dataclass(frozen=True)
class Order:
    """A claimed order: the two-sided p-value, and whether what was seen speaks for the claim."""

    key: Hashable
    p: float
    holds: bool


@dataclass(frozen=True)
class Draft:
    """A verdict, and the tests that are still to be adjusted.

    `verdict.verdict` is "" where these decide it; else they are shown and decide nothing.
    `otherwise`: what to say instead of "open", where something was not measured.
    """

    verdict: Verdict
    size: Size | None = None
    order: Order | None = None
    otherwise: str | None = None


@dataclass(frozen=True)
class Family:
    """The tests of one paper by key and p-value, adjusted: of differences, of equivalences."""

    differences: Mapping[Hashable, float]
    equivalences: Mapping[Hashable, float]

    @classmethod
    def of(cls, drafts: Iterable[Draft], orders: Iterable[Order]) -> Family:
        """From a paper's drafts, and the orders of its rankings' neighbours."""
        differences: dict[Hashable, float] = {(one.key, one.p): one.p for one in orders}
        equivalences: dict[Hashable, float] = {}
        for draft in drafts:
            if (size := draft.size) is not None:
                differences[size.key, size.p] = sure(size.p)
                if size.tost_p is not None:
                    equivalences[size.key, size.tost_p] = size.tost_p
            if (order := draft.order) is not None:
                differences[order.key, order.p] = order.p
        return cls(adjusted(differences), adjusted(equivalences))

    def of_order(self, order: Order) -> tuple[float, Rung]:
        """A claimed order's adjusted p-value, and what it comes to."""
        p = self.differences[order.key, order.p]
        return p, order_word(p, order.holds)

    def settled(self, draft: Draft) -> Verdict:
        """The verdict on one claim."""
        verdict, undecided = draft.verdict, not draft.verdict.verdict
        update: dict[str, object] = {}
        words: dict[str, Rung] = {}
        if (size := draft.size) is not None:
            p = None if size.p is None else self.differences[size.key, size.p]
            equivalent = self.equivalences.get((size.key, size.tost_p))
            update |= {"p": size.p, "p_adjusted": p}
            update |= {"tost_p": size.tost_p, "tost_p_adjusted": equivalent}
            words["size"] = ladder(sure(p), sure(equivalent))
            if also := note(sure(p), sure(equivalent)):
                update["notes"] = (*verdict.notes, also)
        if (order := draft.order) is not None:
            p, words["order"] = self.of_order(order)
            update |= {"order_p": order.p, "order_p_adjusted": p}
        if undecided:
            word = worst(list(words.values())) if words else OPEN
            instead = draft.otherwise or not_charged(verdict.readings)
            update |= words | {"verdict": instead if word == OPEN and instead else word}
        return verdict.model_copy(update=update)


def sure(p: float | None) -> float:
    """A p-value; 1 of a test that there is not."""
    return 1.0 if p is None else p


def adjusted(tests: Mapping[Hashable, float]) -> dict[Hashable, float]:
    """A family of p-values, adjusted by Holm."""
    return dict(zip(tests, holm(list(tests.values())), strict=True))


def not_charged(readings: Sequence[ReadingVerdict]) -> str | None:
    """The verdict on a claim that fails as read by all that was measured, where not all was.

    A paper is charged only with what fails under all of its readings, and such a claim is not
    compatible either. "Fails" is as the readings are listed: each at α, not adjusted within the
    paper.
    """
    absent = [reading.reading for reading in readings if reading.stands == NOT_MEASURED]
    failed = all(r.stands in ("not reproduced", NOT_MEASURED) for r in readings)
    return f"{UNREAD}{', '.join(absent)}" if absent and failed else None


def order_word(p: float, holds: bool) -> Rung:
    """What a claimed order comes to, by its two-sided p-value and whether it is what was seen."""
    if p >= ALPHA:
        return OPEN
    return "reproduced" if holds else "not reproduced"


def two_sided(sides: Sides) -> float:
    """One p-value of a test for and a test against: the smaller, for two chances."""
    return min(1.0, 2 * min(sides))


# --- a printed number ----------------------------------------------------------------------------


def value_draft(
    claim: ValueClaim, cells: Mapping[str, ValueClaim], margin: Margin | None, evidence: Evidence
) -> Draft:
    """A printed number against our seeds, and its difference from the table's baseline row."""
    measured = evidence.of_claim(claim)
    blank = Verdict(
        claim=claim.id, paper=claim.paper, kind=claim.kind, text=claim.text, printed=claim.printed,
        recipe=claim.recipe, dataset=claim.dataset, metric=claim.metric, verdict="",
    )  # fmt: skip
    if not measured:
        return Draft(blank.model_copy(update={"verdict": evidence.reason([claim])}))
    baseline = cells.get(claim.baseline or "")
    shown = blank.model_copy(update=beside(claim, baseline, evidence))
    place = evidence.place(claim)
    start = evidence.start(measured, place) if place else None
    alone = start is not None and start < 2
    why = evidence.no_verdict() or (ALONE if alone else _untestable(list(measured.values())))
    if why is None:
        return _judged(claim, shown, margin, evidence)
    pair = evidence.pair(claim, baseline) if baseline and evidence.transfers else None
    order = order_of(pair, printed_gap(claim, baseline)) if pair else None
    return Draft(shown.model_copy(update={"verdict": why}), order=order)


ALONE = "untestable: fewer than two seeds before others were added"


def _untestable(values: Sequence[float]) -> str | None:
    why = untestable(values)
    return why and f"untestable: {why}"


def order_of(pair: Pair, claimed: Decimal) -> Order | None:
    """The order of a value and its baseline, which is shown at a transfer scale."""
    sides = pair.sides()
    if sides is None or not claimed:
        return None
    return Order(order_key(pair.places), two_sided(sides), (pair.gap.mean > 0) == (claimed > 0))


def order_key(places: Iterable[Place]) -> Hashable:
    """What makes the orders of two measured places one test, whichever is claimed the greater."""
    return "order", frozenset(places)


# --- the ladder ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """A number's test under one reading; `test` None where that was not measured, or cannot be."""

    reading: Reading
    test: ValueTest | None


def _judged(claim: ValueClaim, shown: Verdict, margin: Margin | None, evidence: Evidence) -> Draft:
    printed = Printed.of(claim.printed, claim.runs, claim.sd, unit_of(claim))
    outcomes = [
        Outcome(reading, value_test(claim, printed, margin, evidence, reading))
        for reading in evidence.readings([claim])
    ]
    places = tuple(evidence.place(claim, outcome.reading) for outcome in outcomes)
    size, update = size_of(
        (places, printed, margin and margin.exact), outcomes, margin, shown.notes
    )
    return Draft(shown.model_copy(update=update | {"margin": margin}), size=size)


def value_test(
    claim: ValueClaim,
    printed: Printed,
    margin: Margin | None,
    evidence: Evidence,
    reading: Reading,
) -> ValueTest | None:
    """The test of a printed number under a reading; None where there is none."""
    place = evidence.place(claim, reading)
    measured = evidence.values(place)
    if place is None or not measured:
        return None
    values = list(measured.values())
    within = None if margin is None else Fraction(margin.exact)
    start = evidence.start(measured, place)
    if start is None:
        return compare_value(values, printed, within)
    return compare_value_sequentially(values, printed, start, within) if start > 1 else None


def size_of(
    key: Hashable,
    outcomes: Sequence[Outcome],
    margin: Margin | None,
    notes: Sequence[str] = (),
) -> tuple[Size | None, dict[str, object]]:
    """A claim's test over its readings, and the fields of its verdict that show it.

    The first outcome is that of the planned reading, which the verdict's own numbers are of.
    """
    tests = [outcome.test for outcome in outcomes]
    first = tests[0]
    if first is None:
        return None, {}
    over = over_readings(
        [None if test is None else test.p for test in tests],
        [None if test is None else test.tost_p for test in tests],
    )
    p = None if None in tests else over.p
    size = Size(("size", key), p, None if margin is None else over.tost_p)
    several = len(outcomes) > 1
    return size, {
        "prediction": first.interval,
        "sequence": first.method == "sequence",
        "readings": tuple(map(of_reading, outcomes)) if several else (),
        "notes": (*notes, *(about_readings(outcomes, over.best) if several else ())),
    }


def of_reading(outcome: Outcome) -> ReadingVerdict:
    """What a number comes to under one reading."""
    name, test = outcome.reading.name or AS_PLANNED, outcome.test
    if test is None:
        return ReadingVerdict(reading=name, stands=NOT_MEASURED)
    return ReadingVerdict(
        reading=name, stands=ladder(test.p, test.tost_p), value=test.mean, interval=test.interval,
        p=test.p, tost_p=test.tost_p,
    )  # fmt: skip


def about_readings(outcomes: Sequence[Outcome], best: int | None) -> list[str]:
    """Under which reading a claim stands best, and what was not measured."""
    absent = [outcome.reading.name for outcome in outcomes if outcome.test is None]
    notes = [] if best is None else [f"closest {under(outcomes[best].reading)}"]
    return notes + ([f"not measured under {', '.join(absent)}"] if absent else [])


def under(reading: Reading) -> str:
    """A reading in words."""
    return f"under {reading.name}" if reading.name else AS_PLANNED


# --- what stands beside a number -----------------------------------------------------------------


def beside(claim: ValueClaim, baseline: ValueClaim | None, evidence: Evidence) -> dict[str, object]:
    """The measured number, its difference from the baseline, its place between the controls."""
    place = evidence.place(claim)
    measured = evidence.values(place)
    start = place and evidence.start(measured, place)
    own = estimate(list(measured.values()), None)
    pair = evidence.pair(claim, baseline) if baseline else None
    gap, claimed = pair.gap if pair else None, printed_gap(claim, baseline)
    words = baseline_words(claimed, gap) if baseline else "no baseline to compare with"
    return {
        "transfer": transfer(Fraction(claimed), gap) if evidence.transfers else None,
        "direction": words,
        "mean": own.mean,
        "sd": own.sd,
        "seeds": own.seeds,
        "difference": gap.mean if gap else None,
        "interval": gap.interval if gap else None,
        "sequence": start is not None,
        "images": evidence.per_image(pair),
        "control": evidence.control(claim),
        "notes": evidence.unfinished(place),
        "runs": evidence.runs_of([claim]),
    }


def printed_points(claim: ValueClaim) -> Decimal:
    """A printed number as a percentage (metrics that are no accuracies stay as they are)."""
    return Decimal(claim.printed) * unit_of(claim)


def printed_gap(claim: ValueClaim, baseline: ValueClaim | None) -> Decimal:
    """A printed number minus that of the baseline row; 0 without one."""
    return printed_points(claim) - printed_points(baseline) if baseline else Decimal(0)


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
